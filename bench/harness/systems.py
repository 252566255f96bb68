# SPDX-License-Identifier: MIT
"""The systems that are compared: how each server is started, and stopped again.

A server runs for one measurement, in a folder of its own that goes with it, so that no
measurement inherits IDs, sockets or log lines from the one before.
"""

import glob
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

PATIENCE_S = 60


STOCK = "stock"
STOCK_MISSING = ("no path was given: --ivshmem-server PATH (Debian's source package qemu has it in "
                 "contrib/ivshmem-server)")


class Failed(Exception):
    """A measurement that gave no figures; says why."""


class Server:
    """One running server: a context manager that gives its socket and its process."""

    def __init__(self, argv, folder):
        self.folder = folder
        self.socket = os.path.join(folder, "socket")
        self.log_path = os.path.join(folder, "log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __enter__(self):
        give_up = time.monotonic() + PATIENCE_S
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > give_up:
                log = self.log()
                self.__exit__()
                raise Failed(f"{self.process.args[0]} did not start: {log.strip()[-300:]}")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self):
        """Listening is seen in the kernel's list: a client would cost an ID."""
        with open("/proc/net/unix", encoding="utf-8") as sockets:
            return any(" 00010000 " in line and line.rstrip().endswith(" " + self.socket)
                       for line in sockets)

    @property
    def serving(self):
        """The process whose CPU time counts: famez-server's child, of any other the only one."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
            for child in children.read().split():
                if len(os.listdir(f"/proc/{child}/task")) > 1:
                    return int(child)
        return pid

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def report(self):
        """famez-server's counters, as SIGUSR1 prints them."""
        before = self.log().count("event=report-end")
        self.process.send_signal(signal.SIGUSR1)
        give_up = time.monotonic() + PATIENCE_S
        while self.log().count("event=report-end") == before:
            if time.monotonic() > give_up:
                raise Failed("no report came")
            time.sleep(0.01)
        line = [line for line in self.log().splitlines() if "event=report " in line][-1]
        return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)\b", line)}


class Nats(Server):
    """A nats-server on a port of this machine alone that it chose itself."""

    def __init__(self, path):
        self.url = None
        folder = tempfile.mkdtemp(prefix="famez-bench-")
        super().__init__([path, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", folder],
                         folder)

    def _answers(self):
        for path in glob.glob(os.path.join(glob.escape(self.folder), "*.ports")):
            try:
                with open(path, encoding="utf-8") as ports:
                    self.url = json.load(ports)["nats"][0]
            except ValueError:
                return False  # half written
        return self.url is not None


class Famez:
    """Our server; silent unless its messages are what is measured, since no other is a peer of
    its own."""

    def __init__(self, name, path, options=()):
        self.name, self.path, self.options = name, path, list(options)

    def arguments(self, peers, vectors, messages):
        return ["-n", str(vectors), "--peers", str(peers), *self.options,
                *([] if messages else ["--silent", "-l", "4M"])]

    missing = None

    def start(self, peers, vectors, messages=False):
        folder = tempfile.mkdtemp(prefix="famez-bench-")
        return Server([self.path, "-S", os.path.join(folder, "socket"),
                       *self.arguments(peers, vectors, messages)], folder)

    def foretold(self, peers, vectors, messages):
        """The memory of its own that --check says it will take."""
        done = subprocess.run(
            [self.path, "--check", "-S", "/nowhere/socket",
             *self.arguments(peers, vectors, messages)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(done.stderr.strip())
        return int(re.search(r"together +(\d+) +bytes of our own", done.stdout)[1])


class Stock:
    """QEMU's ivshmem-server, or any other that takes its options."""

    def __init__(self, name, path):
        self.name, self.path = name, path
        self.missing = None if path else STOCK_MISSING

    def start(self, peers, vectors):
        del peers  # it has no such option
        folder = tempfile.mkdtemp(prefix="famez-bench-")
        return Server([self.path, "-F", "-S", os.path.join(folder, "socket"), "-l", "4M",
                       "-n", str(vectors)], folder)


class Floor:
    """No server: the bare loop, with so many threads."""

    missing = None

    def __init__(self, name, threads):
        self.name, self.threads = name, threads


def wait_for_line(stream):
    """One line of a pipe, or Failed after a while."""
    ready, _, _ = select.select([stream], [], [], 20 * PATIENCE_S)
    line = stream.readline() if ready else ""
    if not line:
        raise Failed("famez-bench gave no result")
    return line
