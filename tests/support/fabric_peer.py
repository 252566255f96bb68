# SPDX-License-Identifier: MIT
"""fabric_peer.py - the plainest client there can be, which judges each message as it comes, and
what is true of several. Owns its socket and the descriptors that it was sent.
"""

import array
import fcntl
import os
import select
import socket
import stat
import struct
import termios

from fabric_base import HANG_SECONDS, ID_MAX, Gone, Refused


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
