#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""fdstore.py - the whole server ends, and systemd's descriptor store brings it back.

    tests/keeper/fdstore.py --server PATH [FILTER ...]

A stand-in for systemd keeps what it is given (sd_notify(3), FDSTORE=1), starts the server again with
it (sd_listen_fds(3)), and lets go of what hung up. Nobody who is attached may notice. The real one
does it in tests/install/packages.sh.
"""

import array
import ctypes
import os
import select
import signal
import socket
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import AS_DEVICES, HANG_SECONDS, Broker, RawPeer, Skip, run_tests  # noqa: E402

LIBC = ctypes.CDLL(None, use_errno=True)
KCMP = 312 if os.uname().machine == "x86_64" else 272

# Its descriptors become 3, 4, ...; then it is the server, in the same process.
STARTER = """
import os, sys
fds = [int(word) for word in sys.argv[1].split(",") if word]
above = max(fds + [3 + len(fds)]) + 1
for i, fd in enumerate(fds):
    os.dup2(fd, above + i)
for i, _ in enumerate(fds):
    os.dup2(above + i, 3 + i, inheritable=True)
os.closerange(3 + len(fds), above + len(fds))
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Systemd:
    """What it has of one service: [(name, descriptor)], and whether that says to be ready."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "systemd")
        self.box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.box.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.box.bind(self.path)
        self.stored = []
        self.ready = 0
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        size = socket.CMSG_SPACE(array.array("i").itemsize)
        while True:
            data, control, _, _ = self.box.recvmsg(4096, size)
            if not data:
                return
            fds = array.array("i")
            for _, _, bytes_ in control:
                fds.frombytes(bytes_)
            lines = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
            with self.changed:
                self.ready += "READY" in lines
                for fd in fds:
                    self._store(lines["FDNAME"], fd)
                self.changed.notify_all()

    def _store(self, name, fd):
        """As systemd, which looks whether it has the same open file already."""
        us = os.getpid()
        if any(LIBC.syscall(KCMP, us, us, 0, fd, kept) == 0 for _, kept in self.stored):
            os.close(fd)
        else:
            self.stored.append((name, fd))

    @staticmethod
    def is_socket(fd):
        return os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")

    def forget_the_gone(self):
        """Those that hung up are dropped; systemd hears of it by epoll."""
        with self.changed:
            for name, fd in list(self.stored):
                poll = select.poll()
                poll.register(fd, 0)
                if any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0)):
                    self.stored.remove((name, fd))
                    os.close(fd)

    def wait(self, what):
        with self.changed:
            assert self.changed.wait_for(what, HANG_SECONDS), \
                f"systemd waits in vain; it has {[name for name, _ in self.stored]}"

    def wait_for(self, sockets, others):
        """Until it has so many of each, or more."""
        def there():
            count = sum(self.is_socket(fd) for _, fd in self.stored)
            return count >= sockets and len(self.stored) - count >= others
        self.wait(there)

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.path)
        self.thread.join(HANG_SECONDS)
        self.box.close()
        for _, fd in self.stored:
            os.close(fd)


class Service:
    """A server that systemd starts, as often as need be; one Broker object a life."""

    VECTORS = 2

    def __init__(self, *options):
        self.folder = tempfile.TemporaryDirectory()
        self.systemd = Systemd(self.folder.name)
        self.options = ["--peers", "8", "--fdstore", *AS_DEVICES, *options]
        self.broker = None
        self.peers = []

    def start(self, *more, ready=True):
        before = self.systemd.ready
        stored = list(self.systemd.stored)
        self.broker = Broker(
            *self.options, *more, vectors=self.VECTORS, directory=self.folder.name, start=False)
        self.broker.may_stay.add("systemd")
        fds = [fd for _, fd in stored]
        self.broker.command = [sys.executable, "-c", STARTER, ",".join(map(str, fds)),
                               *self.broker.command]
        self.broker.binary = None
        self.broker.pass_fds = fds
        self.broker.notify = False
        # Broker takes away what it would have set.
        env = self.broker.env
        env["LISTEN_FDS"] = str(len(fds))
        env["LISTEN_FDNAMES"] = ":".join(name for name, _ in stored)
        self.broker.env = Environment(env, NOTIFY_SOCKET=self.systemd.path)
        self.broker.start(ready=False)
        self.broker.peers = self.peers
        if ready:
            self.systemd.wait(lambda: self.systemd.ready > before)
            if self.broker.child == self.broker.pid:
                raise Skip("no keeper here")
        return self.broker

    def joined(self):
        """One more, and systemd has what belongs to it."""
        peer = self.broker.member(device=True)
        # Listening socket and owners; memory, state, lock, and bells of owners and the server.
        self.systemd.wait_for(1 + len(self.peers), 3 + self.VECTORS * (len(self.peers) + 1))
        return peer

    def end(self, number):
        os.kill(self.broker.pid, number)
        status = self.broker.process.wait(HANG_SECONDS)
        assert status == (0 if number == signal.SIGTERM else -number), status
        self.broker.log.thread.join(HANG_SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.broker and self.broker.process and self.broker.process.poll() is None:
            self.broker.process.kill()
            self.broker.process.wait(HANG_SECONDS)
        for peer in self.peers:
            peer.close()
        self.systemd.close()
        self.folder.cleanup()


class Environment(dict):
    """A dict of which some entries can't be taken away."""

    def __init__(self, entries, **fixed):
        super().__init__(entries, **fixed)
        self.fixed = fixed

    def pop(self, key, *default):
        return self.fixed[key] if key in self.fixed else super().pop(key, *default)


def all_is_well(service):
    """Nobody noticed; who comes is told of all, and all of it; everybody rings everybody."""
    newcomer = service.joined()
    assert newcomer in service.peers
    for peer in service.peers:
        peer.until_knows(*(other.id for other in service.peers if other is not peer))
    for one in service.peers:
        for other in service.peers:
            if one is not other:
                one.ring(other.id, 1)
                other.wait(1)


def test_a_restart_is_not_noticed():
    with Service() as service:
        service.start()
        for _ in range(3):
            service.joined()
        for life in range(3):
            service.end(signal.SIGTERM)
            broker = service.start()
            with open(broker.path + ".lock", encoding="ascii") as lock:
                assert int(lock.read()) == broker.pid
            all_is_well(service)
            assert broker.report()["peers"] == 4 + life


def test_the_death_of_all_is_not_noticed():
    with Service() as service:
        service.start()
        for _ in range(3):
            service.joined()
        for _ in range(3):
            service.end(signal.SIGKILL)
            service.start()
            all_is_well(service)


def test_brokers_die_and_programs_change_in_between():
    with Service() as service:
        service.start()
        service.joined()
        for sign in (signal.SIGKILL, signal.SIGUSR2):
            broker = service.broker
            mark = broker.mark()
            os.kill(broker.child if sign == signal.SIGKILL else broker.pid, sign)
            broker.wait_event("resumed", mark)
            service.joined()
            service.end(signal.SIGTERM)
            service.start()
            all_is_well(service)


def test_who_leaves_meanwhile_is_gone_afterwards():
    # Whether systemd hears of that in time or not.
    for in_time in (True, False):
        with Service() as service:
            service.start()
            for _ in range(4):
                service.joined()
            service.peers.pop(0).close()
            service.broker.wait_event("leave")
            service.end(signal.SIGTERM)
            service.peers.pop(0).close()
            if in_time:
                service.systemd.forget_the_gone()
            service.start().until_peers(2)
            all_is_well(service)
            assert service.broker.report()["peers"] == 3


def test_sockets_of_ids_are_there_again_and_the_file_is_read_anew():
    with tempfile.TemporaryDirectory(prefix="famez-test-") as folder:
        ids, own = os.path.join(folder, "ids"), os.path.join(folder, "own")
        with open(ids, "w", encoding="ascii") as f:
            f.write(f"id=3 socket={own}3\n")
        with Service("--bind", ids) as service:
            def come(ident):
                peer = RawPeer(f"{own}{ident}", vectors=service.VECTORS, device=True)
                service.peers.append(peer)
                peer.open()
                assert peer.id == ident

            service.start()
            service.systemd.wait_for(2, 3 + service.VECTORS)
            come(3)
            service.systemd.wait_for(3, 3 + 2 * service.VECTORS)
            with open(ids, "a", encoding="ascii") as f:
                f.write(f"id=4 socket={own}4\n")
            service.end(signal.SIGTERM)
            service.start()
            come(4)
            service.peers[0].until_knows(4)


def test_another_fabric_is_not_made_of_what_is_stored():
    with Service() as service:
        service.start()
        service.joined()
        service.end(signal.SIGTERM)
        broker = service.start("-n", "3", ready=False)
        assert broker.process.wait(HANG_SECONDS) == 1
        broker.log.thread.join(HANG_SECONDS)
        assert any("another fabric" in line for line in broker.log.lines), broker.log.tail()
        service.start()
        all_is_well(service)


def test_without_the_option_nothing_is_stored():
    with Service() as service:
        service.options.remove("--fdstore")
        service.start()
        service.broker.member(device=True)
        service.end(signal.SIGTERM)
        assert not service.systemd.stored
        assert not os.path.exists(service.broker.path)


if __name__ == "__main__":
    run_tests(globals())
