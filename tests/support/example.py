# SPDX-License-Identifier: MIT
"""example.py - docs/example.c as a peer in tests: somebody who uses libfamez as users do."""

import os
import subprocess

from fabric import Skip, settings


class Example:
    """docs/example.c, which prints what it is sent: a peer by libfamez."""

    def __init__(self, socket_path, *words):
        build = os.path.dirname(os.path.dirname(settings.server))
        binary = os.path.join(build, "docs", "example")
        if not os.path.exists(binary):
            raise Skip(f"no {binary}")
        self.process = subprocess.Popen([binary, socket_path, *words], stdout=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL)

    def line(self):
        line = self.process.stdout.readline().decode()
        assert line, f"the example ended: status {self.process.wait()}"
        return line.rstrip("\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
