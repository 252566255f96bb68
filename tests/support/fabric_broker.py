# SPDX-License-Identifier: MIT
"""fabric_broker.py - a server in a directory of its own, from its start to a clean end. Owns both,
and the peers that it was asked for.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from fabric_base import HANG_SECONDS, SANITIZER, settings
from fabric_log import Log, Report, matches
from fabric_peer import RawPeer


def listening(path):
    """Does anybody listen at this path? Looked up in the kernel's table, without connecting."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        for line in table:
            words = line.split()
            if len(words) == 8 and words[7] == path and int(words[3], 16) & 0x10000:
                return True
    return False


def _threads(pid):
    """How many threads a process has; 0 if there is none any more."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return len(os.listdir(f"/proc/{pid}/task"))
    return 0


def _children(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(word) for word in f.read().split()]
    return []


class Broker:
    """One server in a directory of its own: a keeper, which is the process that we started, and
    its child that serves; or one process for both. `pid` is the first's, `child` the other's.

    options    further command line options
    vectors    passed as -n; None leaves the option out
    size       passed as -l; None leaves the option out. Default: 1M, where lanes between as many
               peers as --peers says would fit, or where it says nothing
    binary     the executable; default: what --server named
    bare       nothing but `options` is passed (and no socket path: see `path`)
    stderr     an open descriptor to write the log to; default: a pipe we collect
    user       uid to run as (the directory is given to it)
    limits     {resource: (soft, hard)} set before exec
    """

    PEERS_IN_1M = 13

    def __init__(self, *options, vectors=4, size="", verbose=1, workers=None, binary=None,
                 bare=False, start=True, directory=None, path=None, stderr=None, user=None,
                 limits=None, env=None, pass_fds=(), notify=True, argv0=None, ready=True):
        self.vectors = vectors
        self.own_directory = directory is None
        self.dir = directory or tempfile.mkdtemp(prefix="famez-test-")
        self.path = path or os.path.join(self.dir, "sock")
        self.process = None
        self.log = None
        self.peers = []
        self.stopped = False
        self.may_stay = set()  # names in the directory that stop() must not complain of
        self.log_closed_by_test = False
        self.options = list(options)
        self.binary = binary or settings.server
        self.user = user
        self.limits = dict(limits or {})
        self.stderr = stderr
        self.env = dict(os.environ)
        self.env.update(env or {})
        self.pass_fds = pass_fds
        self.notify = notify and not settings.naive
        self.argv0 = argv0
        command = [self.binary]
        if size == "":
            peers = next((options[i + 1] for i, option in enumerate(options)
                          if option in ("--peers", "--nClients")), 0)
            size = "1M" if settings.naive or int(peers) <= self.PEERS_IN_1M else None
        if not bare:
            command += ["-F", "-S", self.path]
            if size is not None:
                command += ["-l", str(size)]
            if vectors is not None:
                command += ["-n", str(vectors)]
            if not settings.naive:
                workers = workers or settings.workers
                if workers:
                    command += ["--workers", str(workers)]
                if verbose:
                    command += [f"--verbose={verbose}"]
                if os.environ.get("FAMEZ_NO_KEEPER"):
                    command += ["--no-keeper"]
        if settings.naive:
            self.options = [o for o in self.options if o == "--announce-twice"]
        self.command = command + self.options
        if user is not None:
            os.chmod(self.dir, 0o755)
            os.chown(self.dir, user, user)
        if start:
            self.start(ready)

    def start(self, ready=True):
        box = None
        if self.notify:
            box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            where = os.path.join(self.dir, "notify")
            box.bind(where)
            os.chmod(where, 0o777)
            self.env["NOTIFY_SOCKET"] = where
        else:
            self.env.pop("NOTIFY_SOCKET", None)
        limits = self.limits

        def before_exec():
            import resource
            for what, pair in limits.items():
                resource.setrlimit(what, pair)

        self.process = subprocess.Popen(
            self.command, executable=self.argv0 and self.binary,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if self.stderr is None else self.stderr,
            env=self.env, pass_fds=self.pass_fds, user=self.user, group=self.user,
            extra_groups=[] if self.user is not None else None,
            preexec_fn=before_exec if limits else None, cwd=self.dir)
        self.pid = self.process.pid
        if self.stderr is None:
            self.log = Log(self.process.stderr)
        try:
            if ready:
                self._await_ready(box)
        except BaseException:
            self.kill()
            raise
        finally:
            if box:
                box.close()
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.dir, "notify"))

    def _await_ready(self, box):
        self.notices = []
        death = os.pidfd_open(self.pid)
        try:
            poll = select.poll()
            poll.register(death, select.POLLIN)
            if box:
                poll.register(box, select.POLLIN)
            deadline = time.monotonic() + HANG_SECONDS
            while True:
                # Without a notify socket the kernel's table is looked at every 2 ms.
                found = dict(poll.poll(HANG_SECONDS * 1000 if box else 2))
                if box and box.fileno() in found:
                    self.notices += box.recv(4096).decode().split("\n")
                    if "READY=1" in self.notices:
                        return
                if death in found:
                    self.process.wait()
                    if self.log:
                        self.log.thread.join(HANG_SECONDS)
                    raise AssertionError(
                        f"the server ended at its start, status {self.process.returncode}: "
                        f"{' '.join(self.command)}\n{self.log.tail() if self.log else ''}")
                if not box and listening(self.path):
                    return
                if time.monotonic() > deadline:
                    raise AssertionError("the server does not become ready")
        finally:
            os.close(death)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            if not self.stopped:
                self.stop()
        else:
            if self.log and isinstance(value, AssertionError) and self.process.poll() is not None:
                self.log.thread.join(HANG_SECONDS)
                value.add_note(f"(the server has ended: status {self.process.returncode})\n"
                               f"{self.log.tail()}")
            elif self.log:
                value.add_note(f"(the log's end:)\n{self.log.tail(8)}")
            self.kill()
        return False

    # -- looking at it

    def join(self, **how):
        """A RawPeer that has read its whole opening."""
        peer = self.connect(**how)
        peer.open()
        return peer

    def connect(self, **how):
        """A RawPeer that has read nothing yet."""
        how.setdefault("vectors", self.vectors)
        peer = RawPeer(self.path, **how)
        self.peers.append(peer)
        return peer

    def member(self, **how):
        """A RawPeer that has read its opening, and is counted: whoever connects from now on is told
        of it in the opening. After join() alone, the registrar may not have heard of it yet."""
        peer = self.join(**how)
        self.report()
        return peer

    def wait_event(self, event, start=0, **fields):
        """Wait for a log line; returns it as a dict."""
        return self.log.entries[self.log.wait(event, start, **fields)]

    def mark(self):
        """Where the log ends now: pass it as `start` to look at later lines only."""
        return len(self.log.lines)

    def events(self, event, start=0, **fields):
        return [e for e in self.log.entries[start:] if matches(e, event, fields)]

    def report(self):
        """Ask for a report with SIGUSR1, and read it. Whoever has read its opening before is
        present in it. Other lines of the log are not in step with it."""
        report = self._report()
        # A report counts first, and then has a word with every worker. What one of them had for
        # the registrar by then is in the next report.
        return self._report() if report["opening"] else report

    def _report(self):
        while True:
            start = self.mark()
            os.kill(self.pid, signal.SIGUSR1)
            end = self.log.wait_any({"report-end", "died", "resumed"}, start)
            if self.log.entries[end]["event"] != "report-end":
                continue  # who was asked is dead
            begin = self.log.find_last("report", end)
            if begin >= start:
                return Report([e for e in self.log.entries[begin:end + 1] if e])
            # Of one whose end is all that is left, nothing: ours is the next.
            begin = self.log.wait_any({"report", "died", "resumed"}, end)
            end = self.log.wait_any({"report-end", "died", "resumed"}, begin)
            if self.log.entries[end]["event"] == "report-end":
                return Report([e for e in self.log.entries[begin:end + 1] if e])

    @property
    def child(self):
        """The process that serves: it alone has threads. It may be another one after a death."""
        deadline = time.monotonic() + HANG_SECONDS
        while not settings.naive:
            for pid in (self.pid, *_children(self.pid)):
                if _threads(pid) > 1:
                    return pid
            assert time.monotonic() < deadline and self.process.poll() is None, "nobody serves"
            time.sleep(0.001)
        return self.pid

    def fd_count(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def until(self, what, judge):
        """Ask `judge()` until it is true. Every question is a round trip to the server's log, so
        that nothing spins; `what` is told should it never come true."""
        deadline = time.monotonic() + HANG_SECONDS
        while not judge():
            if time.monotonic() > deadline:
                raise AssertionError(f"never came true: {what}\n{self.log.tail()}")
            self.report()

    def until_peers(self, count):
        """Wait until the report counts so many peers."""
        self.until(f"{count} peers", lambda: self.report()["peers"] == count)

    def until_connected(self, count):
        """The same, with those counted whose opening does not fit their socket yet."""
        def connected():
            report = self.report()
            return report["peers"] + report["opening"] == count
        self.until(f"{count} peers, old and new", connected)

    def until_fds(self, count):
        """Wait until no more than `count` descriptors are open in the server."""
        deadline = time.monotonic() + HANG_SECONDS
        while self.fd_count() > count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.fd_count()} descriptors open, {count} at the start")
            self.report()

    def cpu_ticks(self):
        """Clock ticks of CPU that the server has used."""
        with open(f"/proc/{self.child}/stat", encoding="ascii") as f:
            words = f.read().rsplit(")", 1)[1].split()
        return int(words[11]) + int(words[12])

    # -- ending it

    def stop(self, sign=signal.SIGTERM, status=0):
        """End it cleanly, and see that it leaves nothing behind."""
        self.stopped = True
        for peer in self.peers:
            peer.close()
        if self.process:
            self.process.send_signal(sign)
            self.ended(status)
        if self.own_directory:
            left = set(os.listdir(self.dir)) - self.may_stay
            shutil.rmtree(self.dir)
            if not settings.naive:
                assert not left, f"the server left behind: {sorted(left)}"

    def ended(self, status=0):
        """Wait for its end; assert the exit status and that no sanitizer spoke."""
        self.stopped = True
        code = self.process.wait(HANG_SECONDS)
        if self.log:
            self.log.thread.join(HANG_SECONDS)
            self.process.stderr.close()
            said = [line for line in self.log.lines if SANITIZER.search(line)]
            assert not said, "a sanitizer or an assertion spoke:\n" + self.log.tail(60)
        if not settings.naive:
            assert code == status, f"exit status {code} instead of {status}:\n" + (
                self.log.tail() if self.log else "")

    def kill(self):
        """End it in any way, with no questions asked."""
        self.stopped = True
        for peer in self.peers:
            peer.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process and self.process.stderr and self.log:
            self.log.thread.join(HANG_SECONDS)
            self.process.stderr.close()
        if self.own_directory:
            shutil.rmtree(self.dir, ignore_errors=True)
