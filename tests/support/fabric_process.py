# SPDX-License-Identifier: MIT
"""fabric_process.py - peers in a process that looks like somebody else. Owns that process.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

from fabric_base import HANG_SECONDS


class PeerProcess:
    """Peers in a process of their own, whose executable has another name and other limits.

    The process is this Python under another name (default `qemu-fake`, which the broker takes for
    a device), a copy of the binary, since the broker looks at /proc/PID/exe. `arguments` follow on
    its command line. run() executes statements in it, ask() evaluates an expression; RawPeer and
    the rest of fabric.py are known there, and `path` is the broker's socket.
    """

    def __init__(self, broker, name="qemu-fake", nofile=None, arguments=(), **popen):
        self.dir = tempfile.mkdtemp(prefix="famez-test-")
        os.chmod(self.dir, 0o755)
        binary = os.path.join(self.dir, name)
        shutil.copy(os.path.realpath(sys.executable), binary)
        env = dict(os.environ, PYTHONHOME=sys.base_prefix,
                   PYTHONPATH=os.path.dirname(os.path.abspath(__file__)))
        ours, theirs = socket.socketpair()
        hard = None
        if nofile is not None:
            import resource
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

        def limit():
            import resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, hard))

        with theirs:
            self.process = subprocess.Popen(
                [binary, "-S", "-c", _SLAVE, str(theirs.fileno()), broker.path, *arguments], env=env,
                pass_fds=[theirs.fileno()], preexec_fn=limit if nofile is not None else None,
                **popen)
        self.pid = self.process.pid
        ours.settimeout(HANG_SECONDS * 2)
        self.socket = ours
        self.file = ours.makefile("rw", encoding="utf-8")

    def _call(self, kind, text):
        self.file.write(json.dumps([kind, text]) + "\n")
        self.file.flush()
        line = self.file.readline()
        assert line, f"the process with our peers ended: status {self.process.poll()}"
        good, value = json.loads(line)
        assert good, f"in the process with our peers:\n{value}"
        return value

    def run(self, text):
        self._call("run", text)

    def ask(self, text):
        return self._call("ask", text)

    def close(self):
        """End it as SIGKILL ends a virtual machine."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.file.close()
        self.socket.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


_SLAVE = r"""
import json, os, socket, sys, traceback
import fabric
from fabric import *
channel = socket.socket(fileno=int(sys.argv[1])).makefile("rw", encoding="utf-8")
names = {**globals(), **vars(fabric), "path": sys.argv[2]}
for line in channel:
    kind, text = json.loads(line)
    try:
        value = exec(text, names) if kind == "run" else eval(text, names)
        channel.write(json.dumps([True, value]) + "\n")
    except BaseException:
        channel.write(json.dumps([False, traceback.format_exc()]) + "\n")
    channel.flush()
"""
