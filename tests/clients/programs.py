# SPDX-License-Identifier: MIT
"""programs.py - famez-client and famez-stress under test, and servers that misbehave.

Who works in here: the scripts of this folder. What it owns: the processes that it starts, and the
fake server's sockets. The programs are taken from the build folder that --server points into; the
broker is fabric.py's. Everything that waits, waits for an event, with fabric.py's hang guard.
"""

import contextlib
import fcntl
import json
import os
import pty
import queue
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import HANG_SECONDS, SANITIZER, Broker, RawPeer, Skip, readable  # noqa: E402,F401
from fabric import run_tests, settings, stop_process  # noqa: E402,F401


def program(name):
    """The path of a program of the build under test."""
    build = os.path.dirname(os.path.dirname(settings.server))
    return os.path.join(build, "tools", name.removeprefix("famez-"), name)


@contextlib.contextmanager
def folder():
    """A private folder, gone afterwards."""
    path = tempfile.mkdtemp(prefix="famez-test-")
    try:
        yield path
    finally:
        shutil.rmtree(path)


class Done:
    """What a program that has ended left: .code, .out, .err."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err
        assert not SANITIZER.search(err), f"a sanitizer or an assertion spoke:\n{err}"

    def __repr__(self):
        return f"exit {self.code}, said {self.out!r}, complained {self.err!r}"

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def objects(self):
        """Every line of the output as JSON."""
        return [json.loads(line) for line in self.lines]


def run(name, *words, stdin="", binary=None, timeout=2 * HANG_SECONDS, **popen):
    """Run a program to its end."""
    done = subprocess.run([binary or program(name), *map(str, words)], input=stdin, text=True,
                          capture_output=True, check=False, timeout=timeout, **popen)
    return Done(done.returncode, done.stdout, done.stderr)


def client(broker, *words, stdin="", **popen):
    """famez-client at a broker (or at a path), with options or a command."""
    return run("famez-client", "-S", getattr(broker, "path", broker), *words, stdin=stdin, **popen)


def stress(broker, *words, **popen):
    return run("famez-stress", "-S", getattr(broker, "path", broker), *words, **popen)


def complains(done, code, program_name, *parts):
    """Assert an exit code and exactly one line of error, with these parts in it."""
    lines = done.err.splitlines()
    assert done.code == code, f"not exit {code}: {done}"
    assert len(lines) == 1 and lines[0].startswith(f"{program_name}: "), f"not one line: {done}"
    for part in parts:
        assert part in lines[0], f"no {part!r}: {done}"


class Live:
    """A program that runs while the test goes on. Its output is read line by line."""

    def __init__(self, name, *words, executable=None, **popen):
        self.process = subprocess.Popen(
            [executable or program(name), *map(str, words)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1, **popen)
        self.pid = self.process.pid
        self.errors = []
        self.out, self.err = queue.Queue(), queue.Queue()
        self.threads = [
            threading.Thread(target=self._collect, args=(stream, into), daemon=True)
            for stream, into in ((self.process.stdout, self.out), (self.process.stderr, self.err))]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def _collect(stream, into):
        for line in stream:
            into.put(line.rstrip("\n"))
        into.put(None)

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _next(self, lines):
        try:
            line = lines.get(timeout=HANG_SECONDS)
        except queue.Empty:
            raise AssertionError("the program says no more") from None
        assert line is not None, f"the program's output ended; errors: {self.errors_so_far()}"
        return line

    def errors_so_far(self):
        while not self.err.empty():
            line = self.err.get()
            if line is not None:
                self.errors.append(line)
        return self.errors

    def line(self):
        """The next line that it prints."""
        return self._next(self.out)

    def error(self):
        """The next line on standard error."""
        self.errors.append(self._next(self.err))
        return self.errors[-1]

    def expect(self, *lines):
        """Assert that these lines come next."""
        for wanted in lines:
            line = self.line()
            assert line == wanted, f"{line!r} instead of {wanted!r}; {self.errors_so_far()}"

    def ask(self, command):
        """Say a command that answers in one line; returns the line."""
        self.say(command)
        return self.line()

    def end(self, sign=None):
        """Close its input (or send a signal), and wait for its end: Done of what is left."""
        if sign is not None:
            self.process.send_signal(sign)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        code = self.process.wait(2 * HANG_SECONDS)
        for thread in self.threads:
            thread.join(HANG_SECONDS)
        out = []
        while not self.out.empty():
            out.append(self.out.get())
        self.process.stdout.close()
        self.process.stderr.close()
        text = "".join(line + "\n" for line in out if line is not None)
        return Done(code, text, "".join(line + "\n" for line in self.errors_so_far()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.end()


def live_client(broker, *words, **popen):
    return Live("famez-client", "-S", getattr(broker, "path", broker), *words, **popen)


class Terminal:
    """famez-client at a terminal of its own."""

    def __init__(self, broker, *words, columns=80):
        self.text = ""
        self.fd, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            [program("famez-client"), "-S", broker.path, *words], stdin=other, stdout=other,
            stderr=other, start_new_session=True, env={"TERM": "xterm", "HOME": "/nonexistent",
                                              "PATH": "/usr/bin:/bin"},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(other)

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, wanted):
        """Read until this was shown; returns all up to there, and forgets it."""
        while wanted not in self.text:
            assert readable(self.fd, HANG_SECONDS), f"no {wanted!r} in {self.text!r}"
            try:
                self.text += os.read(self.fd, 4096).decode("utf-8", "replace")
            except OSError:
                raise AssertionError(f"ended without {wanted!r}: {self.text!r}") from None
        before, _, self.text = self.text.partition(wanted)
        return before

    def prompt(self):
        """Read until it takes keys: the prompt is shown shortly before the line editor takes the
        terminal over, which nothing but the terminal's mode tells. Returns what came before."""
        before = self.until("famez> ")
        deadline = time.monotonic() + HANG_SECONDS
        while termios.tcgetattr(self.fd)[3] & termios.ICANON:
            assert time.monotonic() < deadline, "the prompt takes no keys"
            time.sleep(0.002)
        return before

    def end(self):
        """Read to the end; returns the exit code."""
        with contextlib.suppress(OSError):
            while readable(self.fd, HANG_SECONDS):
                more = os.read(self.fd, 4096)
                if not more:
                    break
                self.text += more.decode("utf-8", "replace")
        assert not SANITIZER.search(self.text), self.text
        return self.process.wait(HANG_SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.fd)


# ---------------------------------------------------------------- servers that misbehave


class OneAnswer:
    """Listens, sends every client the same bytes, and hangs up, or else (stay) says no more."""

    def __init__(self, data=b"", stay=False, hangs=False):
        self.dir = tempfile.mkdtemp(prefix="famez-test-")
        self.path = os.path.join(self.dir, "sock")
        self.data, self.stay = data, stay
        self.kept = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        if not hangs:
            self.listener.listen(16)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        if not hangs:
            self.thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                conn, _ = self.listener.accept()
                conn.sendall(self.data)
                if self.stay:
                    self.kept.append(conn)
                else:
                    conn.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        if self.thread.ident:
            self.thread.join(HANG_SECONDS)
        self.listener.close()
        for conn in self.kept:
            conn.close()
        shutil.rmtree(self.dir)


class LyingServer:
    """A server that tells its clients what a test makes of the truth.

    lie(to, about, vector, fd)  what client `to` is told instead of this eventfd: an eventfd, or
                                None for nothing at all. Clients are counted from 0, and client n
                                gets the ID ids[n].
    and_then(server)            is called once `clients` are in and told of each other.
    """

    def __init__(self, clients, vectors=2, lie=lambda to, about, vector, fd: fd, ids=None,
                 and_then=None):
        self.dir = tempfile.mkdtemp(prefix="famez-test-")
        self.path = os.path.join(self.dir, "sock")
        self.clients, self.vectors, self.lie = clients, vectors, lie
        self.ids = ids or [n + 1 for n in range(clients)]
        self.and_then = and_then
        self.conns, self.bells = [], []
        self.spare = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        self.memory = os.memfd_create("memory")
        os.ftruncate(self.memory, 1 << 16)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(16)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def send(self, to, value, fd=None):
        # A client that has seen enough hangs up: its verdict is what the test looks at.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(self.conns[to], [struct.pack("<q", value)], [] if fd is None else [fd],
                            socket.MSG_NOSIGNAL)

    def tell(self, to, about):
        for vector, fd in enumerate(self.bells[about]):
            fd = self.lie(to, about, vector, fd)
            if fd is not None:
                self.send(to, self.ids[about], fd)

    def _serve(self):
        with contextlib.suppress(OSError):
            for n in range(self.clients):
                self.conns.append(self.listener.accept()[0])
                self.bells.append([os.eventfd(0, os.EFD_NONBLOCK) for _ in range(self.vectors)])
                self.send(n, 0)
                self.send(n, self.ids[n])
                self.send(n, -1, self.memory)
                for other in range(n + 1):
                    self.tell(n, other)
                for other in range(n):
                    self.tell(other, n)
            if self.and_then:
                self.and_then(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(HANG_SECONDS)
        self.listener.close()
        for conn in self.conns:
            conn.close()
        for fd in [fd for bells in self.bells for fd in bells] + self.spare + [self.memory]:
            os.close(fd)
        shutil.rmtree(self.dir)
