# SPDX-License-Identifier: MIT
"""v1_clients.py - clients that know slots only, as FAME-Z, F.E.E. and EmerGen-Z's guests do.

Written from the formats of those programs, as docs/mailbox.md ("Slots") and the link messages of
docs/personality.md have them, and from how they are known to behave. It shares no code with
libfamez or the broker. What those clients insist on is asserted here as they assert it:

* the first read returns exactly the 24 bytes of version, ID and memory, and one descriptor;
* each later read returns exactly 8 bytes, however large the buffer;
* a slot is filled only after whoever it was for has zeroed its length.

V1Client is the Python client of one of the two dialects. GuestDriver is the kernel's.
"""

import array
import collections
import fcntl
import mmap
import os
import re
import select
import socket
import struct
import termios
import time

HANG_SECONDS = int(os.environ.get("FAMEZ_TEST_HANG", "60"))
SLOT_BYTES, TEXT_OFFSET, TEXT_BYTES = 512, 128, 384

# What differs between the two: where a slot's words lie, the tracker's token, the key in an ACK.
Dialect = collections.namedtuple(
    "Dialect", "name tracker class_key length_at peer_id_at responder_at sid_at cid_at class_at")
FEE = Dialect("fee", "!EZT=", "cclass", 64, 72, 80, 88, 96, 32)
FAMEZ = Dialect("famez", "!FZT=", "C-Class", 32, 40, 48, 56, 64, None)
DIALECTS = {d.name: d for d in (FEE, FAMEZ)}

Heard = collections.namedtuple("Heard", "sender text tracker")


class Refused(Exception):
    """The server sent a version other than 0."""


class StuckSlot(Exception):
    """Nobody takes what stands in our slot. The Python clients would write over it."""


def pairs(text):
    """"a=1,b=2" as a dict."""
    return dict(p.split("=", 1) for p in text.split(",") if "=" in p)


def readable(fd, seconds):
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(int(seconds * 1000)))


class V1Client:
    """One client. `answers`: it answers as the Python clients do, while it waits in hear()."""

    def __init__(self, path, dialect="fee", name="client", cclass="Client", answers=True):
        self.dialect = DIALECTS[dialect]
        self.name, self.cclass = name, cclass
        self.answers = answers
        self.cid = self.sid = self.pfm_cid = self.pfm_sid = 0
        self.state = "up"
        self.tracker = 0
        self.bells = {}
        self.heard = collections.deque()   # not yet asked for
        self.transcript = []               # ("to"/"from", peer, text with tracker)
        self.left = []
        self.attributes = {}               # what others answered to Peer-Attribute
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(HANG_SECONDS)
        self.sock.connect(path)
        try:
            self._open()
        except BaseException:
            self.sock.close()
            raise

    # -- the connection

    def _read(self):
        data, fds, flags, _ = socket.recv_fds(self.sock, 4096, 8, socket.MSG_CMSG_CLOEXEC)
        assert not flags & socket.MSG_CTRUNC
        return data, fds

    def _open(self):
        # These clients come to their first read a good while after their connect().
        waiting = array.array("i", [0])
        deadline = time.monotonic() + HANG_SECONDS
        while waiting[0] < 24:
            assert readable(self.sock, HANG_SECONDS), "no word from the server"
            fcntl.ioctl(self.sock, termios.FIONREAD, waiting)
            if waiting[0] == 8:
                peeked = self.sock.recv(8, socket.MSG_PEEK)
                if peeked and struct.unpack("<q", peeked)[0] != 0:
                    raise Refused(struct.unpack("<q", self.sock.recv(8))[0])
            assert time.monotonic() < deadline, f"{waiting[0]} bytes of an opening"
        data, fds = self._read()
        assert len(data) == 24 and len(fds) == 1, (
            f"the first read returned {len(data)} bytes and {len(fds)} descriptors")
        version, self.id, minus_one = struct.unpack("<qqq", data)
        assert version == 0 and minus_one == -1 and self.id > 0
        self.map = mmap.mmap(fds[0], os.fstat(fds[0]).st_size)
        os.close(fds[0])
        self.words = memoryview(self.map).cast("Q")
        slot_bytes, text_offset, self.clients, self.events, self.server_id = self.words[:5]
        assert (slot_bytes, text_offset) == (SLOT_BYTES, TEXT_OFFSET)
        assert self.events == self.clients + 2 and self.server_id == self.clients + 1
        self.order = []
        while len(self.bells.get(self.id, ())) < self.events:
            self.notice()
        self.poll = select.poll()
        self.poll.register(self.sock, select.POLLIN)
        for bell in self.bells[self.id]:
            self.poll.register(bell, select.POLLIN)

    def notice(self):
        """One read of the socket: a peer's doorbell, or its leave."""
        data, fds = self._read()
        assert len(data) == 8, f"a later read returned {len(data)} bytes"
        assert len(fds) <= 1
        ident = struct.unpack("<q", data)[0]
        if fds:
            if not self.bells.get(ident):
                self.order.append(ident)
            self.bells.setdefault(ident, []).append(fds[0])
            assert len(self.bells[ident]) <= self.events
        else:
            self.left.append(ident)
            for fd in self.bells.pop(ident):
                os.close(fd)

    def close(self):
        """Leave, without a word, as these clients do."""
        if self.sock.fileno() < 0:
            return
        self.sock.close()
        for bells in self.bells.values():
            for fd in bells:
                os.close(fd)
        self.words.release()
        self.map.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- slots

    def word(self, ident, at):
        """A word of somebody's slot."""
        return self.words[(ident * SLOT_BYTES + at) // 8]

    def set_word(self, ident, at, value):
        self.words[(ident * SLOT_BYTES + at) // 8] = value

    def bytes_at(self, ident, at, size):
        start = ident * SLOT_BYTES + at
        return self.map[start:start + size]

    def string(self, ident, at, size=32):
        return self.bytes_at(ident, at, size).split(b"\0")[0].decode("utf-8", "replace")

    def set_string(self, at, text, size=32):
        start = self.id * SLOT_BYTES + at
        self.map[start:start + size] = text.encode().ljust(size, b"\0")

    def name_of(self, ident):
        return self.string(ident, 0)

    def class_of(self, ident):
        return self.string(ident, self.dialect.class_at) if self.dialect.class_at else None

    def length(self, ident):
        return self.word(ident, self.dialect.length_at)

    def who(self):
        """{ID: (name, class)} of all whose doorbells we have."""
        return {i: (self.name_of(i), self.class_of(i)) for i in sorted(self.bells)}

    def ready(self):
        """What these clients do first: show themselves, ask the server who it is."""
        self.set_string(0, self.name)
        if self.dialect.class_at:
            self.set_string(self.dialect.class_at, self.cclass)
        self.send(self.server_id, "Link CTL Peer-Attribute", fresh=True)

    # -- saying

    def taken(self):
        """Has somebody taken what we said last?"""
        return self.length(self.id) == 0

    def until_taken(self):
        """Wait for it, as they do, by looking every now and then."""
        deadline = time.monotonic() + HANG_SECONDS
        while not self.taken():
            if time.monotonic() > deadline:
                raise StuckSlot(f"client {self.id}: {self.length(self.id)} bytes")
            time.sleep(0.002)

    def send(self, to, text, fresh=False, bare=False):
        """Say something to a peer. `fresh`: the operator began a conversation. `bare`: no tracker.
        """
        if not bare:
            self.tracker = 1 if fresh else self.tracker + 1
            text += f"{self.dialect.tracker}{self.tracker}"
        self.put(to, text.encode())

    def put(self, to, data):
        assert len(data) < TEXT_BYTES
        self.until_taken()
        self.set_word(self.id, self.dialect.length_at, len(data))
        start = self.id * SLOT_BYTES + TEXT_OFFSET
        self.map[start:start + len(data) + 1] = data + b"\0"
        self.transcript.append(("to", to, data.decode("utf-8", "replace")))
        self.ring(to)

    def ring(self, to):
        """Ring a peer's doorbell that has our own number."""
        while len(self.bells.get(to, ())) < self.events:
            self.notice()
        os.eventfd_write(self.bells[to][self.id], 1)

    # -- hearing

    def take(self, sender):
        """Take what stands in a slot; None: nothing."""
        length = self.length(sender)
        if not length:
            return None
        assert length < TEXT_BYTES, f"slot {sender} says that it holds {length} bytes"
        text = self.bytes_at(sender, TEXT_OFFSET, TEXT_BYTES)
        assert text[length] == 0, "no 0 behind the text"
        assert 0 not in text[:length], f"a 0 inside the text: {text[:length]!r}"
        self.set_word(sender, self.dialect.length_at, 0)
        whole = text[:length].decode("utf-8")
        self.transcript.append(("from", sender, whole))
        text, _, number = whole.partition(self.dialect.tracker)
        if number:
            assert re.fullmatch(r"[1-9]\d*", number), f"a tracker of {number!r}"
            self.tracker = int(number)
        return Heard(sender, text, int(number) if number else None)

    def pump(self, seconds=HANG_SECONDS):
        """Wait for anything, for so long at most; take and answer all that came."""
        found = {fd for fd, _ in self.poll.poll(int(seconds * 1000))}
        if self.sock.fileno() in found:
            self.notice()
        for sender, bell in enumerate(self.bells[self.id]):
            if bell not in found:
                continue
            os.eventfd_read(bell)
            heard = self.take(sender)
            if heard:
                self.heard.append(heard)
                if self.answers:
                    self.answer(heard)
        return bool(found)

    def hear(self, sender=None, text=None):
        """The next text, of this sender, that begins so; what came before it is left for later."""
        deadline = time.monotonic() + HANG_SECONDS
        while True:
            for heard in self.heard:
                if ((sender is None or heard.sender == sender)
                        and (text is None or heard.text.startswith(text))):
                    self.heard.remove(heard)
                    return heard
            if not self.pump(max(0.0, deadline - time.monotonic())):
                raise AssertionError(
                    f"client {self.id} waits for {text or 'anything'} from {sender}; "
                    f"heard: {list(self.heard)}; transcript: {self.transcript[-8:]}")

    def until(self, what, judge):
        """Take part until something is so."""
        deadline = time.monotonic() + HANG_SECONDS
        while not judge():
            self.pump(0.01)
            assert time.monotonic() < deadline, f"client {self.id}: never {what}"

    def answer(self, heard):
        """What a Python client answers."""
        words = heard.text.split()
        if heard.text == "ping":
            self.send(heard.sender, "pong")
        elif words[:3] == ["Link", "CTL", "Peer-Attribute"] and len(words) == 3:
            self.acknowledge(heard.sender)
        elif words[:3] == ["Link", "CTL", "ACK"] and len(words) == 4:
            self.attributes[heard.sender] = pairs(words[3])
        elif words[:1] == ["CTL-Write"] and len(words) == 2:
            self.configure(heard.sender, words[1])

    def acknowledge(self, to):
        if self.dialect is FEE:
            own = f"{self.dialect.class_key}={self.cclass},CID0={self.cid},SID0={self.sid}"
        else:
            own = f"{self.dialect.class_key}={self.cclass},SID0={self.sid},CID0={self.cid}"
        self.send(to, f"Link CTL ACK {own}")

    def configure(self, sender, text):
        given = pairs(text)
        if given.get("Space") != "0":
            return
        self.cid, self.sid = int(given["CID"]), int(given["SID"])
        self.pfm_cid, self.pfm_sid = int(given["PFMCID"]), int(given["PFMSID"])
        self.state = "configured"
        self.send(sender, f"Standalone Acknowledgment Tag={given['Tag']},Reason=OK")

    def conversation(self, peer):
        """The transcript with one peer: ["> text", "< text", ...]."""
        return [f"{'>' if way == 'to' else '<'} {text}" for way, who, text in self.transcript
                if who == peer]


class GuestDriver(V1Client):
    """EmerGen-Z's kernel driver: no trackers, a strict reader, stamps of its own."""

    WRITE = re.compile(r"CTL-Write Space=0,PFMCID=(\d+),PFMSID=(\d+),CID=(\d+),SID=(\d+),Tag=(\d+)")

    def __init__(self, path, name="node.0000:00:05.0", answers=True):
        super().__init__(path, "fee", name, "FEEadapter", answers)
        # It binds to a slot that says whose it is, in a fabric with vectors enough.
        assert self.word(self.id, self.dialect.peer_id_at) == self.id
        assert self.events >= 16

    def ready(self):
        start = self.id * SLOT_BYTES
        self.map[start:start + SLOT_BYTES] = bytes(SLOT_BYTES)
        self.set_string(0, self.name)
        self.set_string(self.dialect.class_at, self.cclass)
        self.cclass = "DiscreteBridge"
        self.set_string(self.dialect.class_at, self.cclass)
        self.send(self.server_id, "Link CTL Peer-Attribute")
        self.send(self.server_id, "dump")

    def send(self, to, text, fresh=False, bare=True):
        super().send(to, text, fresh, bare=True)
        self.set_word(self.id, self.dialect.responder_at, to)

    def take(self, sender):
        heard = super().take(sender)
        if heard:
            self.set_word(sender, self.dialect.sid_at, 27)
            self.set_word(sender, self.dialect.cid_at, sender * 100)
        return heard

    def answer(self, heard):
        # It compares the whole text: with a tracker behind it a ping is none.
        if heard.text == "ping" and heard.tracker is not None:
            return
        if heard.text.startswith("CTL-Write") and not self.WRITE.match(heard.text):
            return
        super().answer(heard)

    def acknowledge(self, to):
        self.send(to, f"Link CTL ACK C-Class={self.cclass},CID0={self.cid},SID0={self.sid}")
