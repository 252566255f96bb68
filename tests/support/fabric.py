# SPDX-License-Identifier: MIT
"""fabric.py - a broker under test, and raw ivshmem peers to test it with.

Who works in here: every black-box test. What it owns: one private directory a
broker, with its socket in it, and the descriptors of the peers. What it never
touches: the broker's code, anything outside that directory, and the clock as
a judge. Everything that waits, waits for an event; the time limits are hang
guards, so large that only a hang meets them.

    from fabric import Broker, RawPeer, run_tests

    def test_the_opening_ends_with_the_own_vectors():
        with Broker() as broker:
            peer = broker.join()
            assert peer.order[-1] == peer.id

    if __name__ == "__main__":
        run_tests(globals())

A Broker is stopped at the end of its `with`, and the test fails if it did not
end well: exit status, something left behind, a line of a sanitizer.

A RawPeer is the plainest client there can be: one socket, read message by
message, every rule of the protocol that can be judged from one client's seat
asserted as the messages come. The rules differ by kind: a `device` must never
be told a leave or a vector twice, a plain client is told both as they happen.
"""

import argparse
import array
import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import traceback

# Hang guards; nothing is judged by them. A control that must fail may fail sooner.
HANG_SECONDS = int(os.environ.get("FAMEZ_TEST_HANG", "60"))
TEST_HANG_SECONDS = 240  # the same for a whole test
ID_MAX = 65535
SIOCOUTQ = 0x5411

# A broker sees this process as a device with the one, as a plain client with the other.
AS_DEVICES = ["--device-names", "python3*,qemu-fake"]
AS_PLAIN = ["--leaves", "auto"]

SANITIZER = re.compile(
    r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer|runtime error:"
    r"|Assertion .* failed"
)


class Settings:
    """What the command line of a test script chose."""

    server = os.environ.get("FAMEZ_SERVER", "")
    workers = None  # None: the broker's default
    naive = False  # the server only takes -F -S -l -n


settings = Settings()


class Refused(Exception):
    """The server sent a version other than 0."""


class Gone(Exception):
    """The server closed our connection."""


class Skip(Exception):
    """Raised by a test that cannot run here; the message says why."""


class Hang(BaseException):
    """A test took so long that it can only hang."""


# ---------------------------------------------------------------- log lines

_PAIR = re.compile(r'([A-Za-z0-9_.-]+)=("(?:[^"\\]|\\.)*"|[^ ]*)')
_TEXT = re.compile(
    r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (error|warning|notice|info|debug) (event=.*)$"
)


def parse_line(line):
    """A log line, text or JSON, as a dict of strings; None if it is neither."""
    if line.startswith("{"):
        try:
            return {k: v if isinstance(v, str) else json.dumps(v) for k, v in
                    json.loads(line).items()}
        except ValueError:
            return None
    match = _TEXT.match(line)
    if not match:
        return None
    fields = {"time": match[1], "level": match[2]}
    for key, value in _PAIR.findall(match[3]):
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        fields[key] = value
    return fields


def _matches(entry, event, fields):
    return (entry is not None and entry.get("event") == event
            and all(entry.get(k) == str(v) for k, v in fields.items()))


class Log:
    """Lines of a pipe, collected by a thread so that the writer never waits."""

    def __init__(self, stream):
        self.lines = []
        self.entries = []
        self.closed = False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._collect, args=(stream,), daemon=True)
        self.thread.start()

    def _collect(self, stream):
        for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            with self.changed:
                self.lines.append(line)
                self.entries.append(parse_line(line))
                self.changed.notify_all()
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def wait(self, event, start=0, **fields):
        """The index of the first line from `start` on that has the event and the fields."""
        def find():
            for i in range(start, len(self.entries)):
                if _matches(self.entries[i], event, fields):
                    return i
            return None

        with self.changed:
            if not self.changed.wait_for(lambda: find() is not None or self.closed, HANG_SECONDS):
                raise AssertionError(f"no event={event} {fields} came; log:\n{self.tail()}")
            found = find()
        if found is None:
            raise AssertionError(f"the log ended without event={event} {fields}:\n{self.tail()}")
        return found

    def wait_any(self, events, start=0):
        """The index of the first line from `start` on that has one of the events."""
        at = start

        def find():
            nonlocal at
            while at < len(self.entries):
                if self.entries[at] and self.entries[at].get("event") in events:
                    return True
                at += 1
            return False

        with self.changed:
            if not self.changed.wait_for(lambda: find() or self.closed, HANG_SECONDS):
                raise AssertionError(f"none of {sorted(events)} came; log:\n{self.tail()}")
            if not find():
                raise AssertionError(f"the log ended without {sorted(events)}:\n{self.tail()}")
        return at

    def find_last(self, event, end):
        """The index of the last line before `end` that has the event, or -1."""
        while end > 0:
            end -= 1
            if _matches(self.entries[end], event, {}):
                return end
        return -1

    def tail(self, count=25):
        return "\n".join(self.lines[-count:])


class Report:
    """What SIGUSR1 printed: .totals, .peers (by id), .vectors (by vector), .mail."""

    def __init__(self, entries):
        self.totals = next(e for e in entries if e["event"] == "report")
        self.peers = {int(e["id"]): e for e in entries if e["event"] == "report-peer"}
        self.vectors = {int(e["vector"]): int(e["rung"]) for e in entries
                        if e["event"] == "report-vector"}
        self.mail = {k: int(v) for e in entries if e["event"] == "report-mail"
                     for k, v in e.items() if v.isdigit()}

    def __getitem__(self, name):
        return int(self.totals[name])


# ---------------------------------------------------------------- the broker


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
        return [e for e in self.log.entries[start:] if _matches(e, event, fields)]

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


# ---------------------------------------------------------------- a raw peer


def eventfd_id(fd):
    """The kernel's number of an eventfd: equal for two descriptors of the same one. The number of
    one that nobody holds any more may be given to another."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
        for line in info:
            if line.startswith("eventfd-id:"):
                return int(line.split()[1])
    raise AssertionError(f"descriptor {fd} is no eventfd")


def readable(fd, seconds=0):
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(int(seconds * 1000)))


class Bells:
    """One copy kept of every eventfd, however many peers of this process are sent it."""

    def __init__(self):
        self.kept = {}

    def keep(self, fd):
        """Keep a descriptor, or close it if we have one of the same eventfd already."""
        known = self.kept.setdefault(eventfd_id(fd), fd)
        if known != fd:
            os.close(fd)
        return known

    def close(self):
        for fd in self.kept.values():
            os.close(fd)
        self.kept.clear()


class RawPeer:
    """One ivshmem client on one socket.

    After open(): .id, .memory (descriptor), .peers {id: [eventfd, ...]} in vector order, ourselves
    included. .order holds the IDs of all notices in the order they came, leaves as ("left", id).

    vectors  how many each peer has; None: unknown, and completeness is not asserted
    device   True: a leave, or a vector told twice, is an assertion
    bells    a Bells store; then .peers shares descriptors with other peers
    """

    def __init__(self, path, vectors=4, device=False, bells=None, receive_bytes=None):
        self.vectors = vectors
        self.device = device
        self.bells = bells
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(HANG_SECONDS)
        self.sock.connect(path)
        self.id = None
        self.memory = None
        self.version = None
        self.peers = {}
        self.order = []
        self.unfinished = None  # the ID whose vectors are being told
        self.opened = False
        self.closed = False

    # -- reading

    def receive(self, size=8):
        """One read: (bytes, [descriptors]). Raises Gone at the end of the stream."""
        try:
            data, fds, flags, _ = socket.recv_fds(self.sock, size, 8, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError as err:
            raise Gone("the server reset the connection") from err
        except TimeoutError as err:
            raise AssertionError(
                f"peer {self.id}: nothing came in {HANG_SECONDS} s; knows "
                f"{ {k: len(v) for k, v in self.peers.items()} }") from err
        assert not flags & socket.MSG_CTRUNC, "descriptors were lost on their way"
        if not data:
            raise Gone("the server closed the connection")
        return data, fds

    def message(self):
        """One message: (value, descriptor or None). At most one descriptor, exactly 8 bytes."""
        data, fds = self.receive()
        assert len(data) == 8, f"a read returned {len(data)} bytes"
        assert len(fds) <= 1, f"{len(fds)} descriptors in one message"
        return struct.unpack("<q", data)[0], fds[0] if fds else None

    def pending(self):
        """Is there something to read?"""
        return readable(self.sock)

    def pending_bytes(self):
        """Bytes that could be read at once."""
        buf = array.array("i", [0])
        fcntl.ioctl(self.sock, termios.FIONREAD, buf)
        return buf[0]

    def preamble(self):
        """Read version, ID and memory."""
        while self.memory is None:
            self.step()

    def step(self):
        """Read and judge one message. Of a notice returns (id, vector), of a leave (id, None)."""
        value, fd = self.message()
        if self.memory is not None:
            return self.judge(value, fd)
        if self.version is None:
            assert fd is None, "the version came with a descriptor"
            self.version = value
            if value != 0:
                raise Refused(value)
        elif self.id is None:
            assert fd is None, "the ID came with a descriptor"
            assert 0 <= value <= ID_MAX, f"an ID of {value}"
            self.id = value
        else:
            assert value == -1, f"{value} in place of the memory's -1"
            assert fd is not None, "no descriptor came with the memory"
            assert stat.S_ISREG(os.fstat(fd).st_mode)
            self.memory = fd
        return None

    def judge(self, value, fd):
        assert 0 <= value <= ID_MAX, f"a notice about {value}"
        assert self.unfinished in (None, value), (
            f"peer {self.id}: {value} came amid the vectors of {self.unfinished}")
        if fd is None:
            self.order.append(("left", value))
            assert not self.device, f"device {self.id} was told that {value} left"
            assert value != self.id, "a client was told that itself left"
            assert value in self.peers, f"peer {self.id} was told that {value} left, unknown to it"
            self.unfinished = None
            self._forget(value)
            return value, None
        if self.bells:
            fd = self.bells.keep(fd)
        if value == self.id and value not in self.peers:
            assert not self.opened
        bells = self.peers.setdefault(value, [])
        bells.append(fd)
        self.order.append(value)
        if self.vectors is not None:
            assert len(bells) <= self.vectors, (
                f"peer {self.id} was told vector {len(bells) - 1} of {value}, which has "
                f"{self.vectors}")
            self.unfinished = value if len(bells) < self.vectors else None
            if value == self.id and self.unfinished is None:
                self.opened = True
        return value, len(bells) - 1

    def open(self):
        """Read the whole opening: it ends with the last own vector. Needs `vectors`."""
        self.preamble()
        while not self.opened:
            self.step()
        return self

    def read_until(self, done):
        """Read notices until done() holds."""
        while not done():
            self.step()

    def complete(self):
        """IDs of the peers whose vectors are all known."""
        return {i for i, bells in self.peers.items() if len(bells) == self.vectors}

    def until_knows(self, *ids):
        """Read until all of these are known completely."""
        self.read_until(lambda: self.complete() >= set(ids))

    def until_exactly(self, ids):
        """Read until these, and no others, are known, completely."""
        ids = set(ids)
        self.read_until(lambda: set(self.peers) == ids == self.complete())

    def until_left(self, *ids):
        """Read until none of these is known any more."""
        self.read_until(lambda: not self.peers.keys() & set(ids))

    def drain(self):
        """Read what is there now, without waiting."""
        while self.pending():
            self.step()

    def until_closed(self):
        """Read until the server closes; assert that it does."""
        try:
            while True:
                self.message_raw()
        except Gone:
            pass

    def message_raw(self):
        _, fds = self.receive(4096)
        for fd in fds:
            os.close(fd)

    def bell_ids(self, peer):
        """The kernel's numbers of a peer's eventfds."""
        return [eventfd_id(fd) for fd in self.peers[peer]]

    # -- doorbells

    def ring(self, peer, vector, count=1):
        os.eventfd_write(self.peers[peer][vector], count)

    def wait(self, vector, timeout=HANG_SECONDS):
        """Wait until an own vector was rung: returns how often."""
        fd = self.peers[self.id][vector]
        assert readable(fd, timeout), f"vector {vector} of peer {self.id} was not rung"
        return os.eventfd_read(fd)

    def rung(self, vector):
        """Is an own vector rung? Leaves it so."""
        return readable(self.peers[self.id][vector])

    # -- leaving

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def leave(self):
        """Leave politely: with everything read."""
        while self.pending():
            try:
                self.message_raw()
            except Gone:
                break
        self.close()

    def vanish(self):
        """Close the socket alone, as it is: unread messages make it a reset for the server. The
        eventfds stay ours, as a process may keep what it was sent."""
        self.sock.close()

    def close(self):
        """Close everything."""
        if self.closed:
            return
        self.closed = True
        self.sock.close()
        if self.memory is not None:
            os.close(self.memory)
        for peer in list(self.peers):
            self._forget(peer)

    def _forget(self, peer):
        for fd in self.peers.pop(peer):
            if not self.bells:
                os.close(fd)


def full_mesh(peers, extra=()):
    """Assert that all of these peers (their notices read) know each other, and `extra` IDs, and
    nobody else, each through the very eventfds that the other calls its own."""
    ids = {p.id for p in peers}
    assert len(ids) == len(peers), "an ID was given twice"
    own = {p.id: p.bell_ids(p.id) for p in peers}
    numbers = {}  # with a Bells store few descriptors are looked up, many times
    for p in peers:
        assert set(p.peers) == ids | set(extra), (
            f"peer {p.id} knows {sorted(p.peers)} instead of {sorted(ids | set(extra))}")
        for other, bells in p.peers.items():
            if other not in own:
                continue
            if p.bells:
                seen = []
                for fd in bells:
                    if fd not in numbers:
                        numbers[fd] = eventfd_id(fd)
                    seen.append(numbers[fd])
            else:
                seen = [eventfd_id(fd) for fd in bells]
            assert seen == own[other], f"peer {p.id} holds other eventfds of {other} than itself"


def barrier(broker, peers):
    """Prove that everything that happened before was told to these plain peers: somebody joins,
    and leaves, and they read until they saw both."""
    probe = broker.join()
    for p in peers:
        p.read_until(lambda p=p: probe.id in p.complete())
    ident = probe.id
    probe.leave()
    for p in peers:
        if not p.device:
            p.until_left(ident)


# ---------------------------------------------------------------- a process of its own


class PeerProcess:
    """Peers in a process of their own, whose executable has another name and other limits.

    The process is this Python under another name (default `qemu-fake`, which the broker takes for
    a device), a copy of the binary, since the broker looks at /proc/PID/exe. `arguments` follow on
    its command line. run() executes
    statements in it, ask() evaluates an expression; RawPeer and the rest of this module are known
    there, and `path` is the broker's socket.
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
names = dict(vars(fabric), path=sys.argv[2])
for line in channel:
    kind, text = json.loads(line)
    try:
        value = exec(text, names) if kind == "run" else eval(text, names)
        channel.write(json.dumps([True, value]) + "\n")
    except BaseException:
        channel.write(json.dumps([False, traceback.format_exc()]) + "\n")
    channel.flush()
"""


# ---------------------------------------------------------------- little tools


def look_until(what, judge):
    """Look again and again until it is true: for what nothing tells of, as a file's content."""
    deadline = time.monotonic() + HANG_SECONDS
    while not judge():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.002)


def stop_process(pid):
    """SIGSTOP to a child of ours, which stands still when this returns."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


def unprivileged_uid():
    """A user without rights, if we may become it."""
    if os.geteuid() != 0:
        raise Skip("needs root, to become somebody else")
    return 65534


def run_once(*options, binary=None, argv0=None, env=None, cwd=None, **popen):
    """Run the server to its end: (status, stdout, stderr). For command line tests."""
    binary = binary or settings.server
    done = subprocess.run([argv0 or binary, *options], executable=binary, capture_output=True,
                          text=True, timeout=HANG_SECONDS, env=env, cwd=cwd,
                          stdin=subprocess.DEVNULL, check=False, **popen)
    assert not SANITIZER.search(done.stderr), done.stderr
    return done.returncode, done.stdout, done.stderr


def seals(fd):
    return fcntl.fcntl(fd, 1034)  # F_GET_SEALS


F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW = 1, 2, 4


# ---------------------------------------------------------------- the runner


def arguments(argv=None):
    """The command line that all test scripts share."""
    parser = argparse.ArgumentParser(add_help=True)
    parser.add_argument("--server", default=settings.server, help="server binary (FAMEZ_SERVER)")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--naive", action="store_true",
                        help="the server is the control: pass it -F -S -l -n only")
    parser.add_argument("filter", nargs="*", help="run tests whose names contain one of these")
    chosen = parser.parse_args(argv)
    if not chosen.server:
        parser.error("no server: pass --server PATH or set FAMEZ_SERVER")
    settings.server = os.path.abspath(chosen.server)
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    settings.workers = chosen.workers
    settings.naive = chosen.naive
    return chosen


def _why(err):
    text = " ".join(str(err).split("\n")[0].split())
    if not text:
        frames = traceback.extract_tb(err.__traceback__)
        frame = next((f for f in reversed(frames) if not f.filename.endswith("fabric.py")),
                     frames[-1])
        text = f"line {frame.lineno}: {frame.line}"
    return f"{type(err).__name__}: {text}"


def run_tests(namespace, argv=None):
    """Run all test_* functions of a module in their order, print a line each, and exit."""
    chosen = arguments(argv)
    passed = failed = skipped = 0

    def hang(_sign, _frame):
        raise Hang(f"no end after {TEST_HANG_SECONDS} s")

    signal.signal(signal.SIGALRM, hang)
    for name, test in list(namespace.items()):
        if not name.startswith("test_") or not callable(test):
            continue
        name = name[len("test_"):]
        if chosen.filter and not any(f.replace(" ", "_") in name for f in chosen.filter):
            continue
        before = time.monotonic()
        signal.alarm(TEST_HANG_SECONDS)
        try:
            test()
            signal.alarm(0)
            print(f"ok {name}", flush=True)
            passed += 1
        except Skip as err:
            signal.alarm(0)
            print(f"SKIP {name}: {err}", flush=True)
            skipped += 1
        except KeyboardInterrupt:
            raise
        except BaseException as err:  # a Hang is not an Exception
            signal.alarm(0)
            print(f"FAIL {name}: {_why(err)}", flush=True)
            traceback.print_exc()
            failed += 1
        if os.environ.get("FAMEZ_TEST_TIMES"):
            print(f"  {time.monotonic() - before:7.2f} s {name}", file=sys.stderr, flush=True)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""),
          flush=True)
    sys.exit(1 if failed else 0)
