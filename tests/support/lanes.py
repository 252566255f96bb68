# SPDX-License-Identifier: MIT
"""lanes.py - messages by lanes and by v1 slots, for the black-box tests.

Who works in here: tests that message the server, or let peers message each other. What it owns:
the mapping of one RawPeer's shared memory. What it never touches: sockets; what is in the memory
but is not this peer's to write, unless a test scribbles on purpose.

    lanes = Lanes(peer)                      # takes part: directory entry, generation
    lanes.send(lanes.server, b"ping", LINK)
    lanes.receive(lanes.server).payload      # b"pong"

    slot = Slot(peer, "name")                # a v1 client
    slot.say(slot.server, "ping")
    slot.hear(slot.server)                   # "pong"

Python has no ordered stores of its own. It is slow enough between two of them that the broker sees
them in their order; and if one were missed, the broker's look of every second finds it.
"""

import mmap
import os
import select
import struct

from fabric import HANG_SECONDS

DATA, LINK, GROUP, ENTER, EXIT = range(5)
MAGIC = 0x325845424C49414D
VECTOR_IS_SENDER = 2
OLD_SLOTS = 1
HEAD = 16
PAD = 1 << 31


def up(value, to):
    return (value + to - 1) // to * to


class Message:
    def __init__(self, sender, payload, kind, origin, generation):
        self.sender = sender
        self.payload = payload
        self.type = kind & 15
        self.group = kind >> 4
        self.origin = origin
        self.generation = generation

    def __repr__(self):
        return (f"Message(from {self.sender}, origin {self.origin}, type {self.type}, group "
                f"{self.group}, {self.payload[:40]!r})")


class Memory:
    """The shared memory of a peer, mapped."""

    def __init__(self, peer):
        self.peer = peer
        self.id = peer.id
        self.bytes = os.fstat(peer.memory).st_size
        self.map = mmap.mmap(peer.memory, self.bytes)
        view = memoryview(self.map)
        self.u64 = view.cast("Q")
        self.u32 = view.cast("I")

    def text(self, at, size=32):
        return self.map[at:at + size].split(b"\0")[0].decode("latin-1")

    def put_text(self, at, text, size=32):
        raw = text.encode("latin-1")
        assert len(raw) < size
        self.map[at:at + size] = raw + bytes(size - len(raw))


class Lanes(Memory):
    """This peer's part in the messages. `generation` is chosen anew at each start."""

    def __init__(self, peer, name="", cclass="Client", speak=True):
        super().__init__(peer)
        magic, version, self.features = struct.unpack_from("<QII", self.map, 64)
        assert magic == MAGIC and version == 2, f"no v2 header: {magic:x} {version}"
        (size, self.ids, self.server, self.vectors, self.lane_bytes, self.inbox_bytes, self.shards,
         self.directory, self.inbox, self.lane, self.data) = struct.unpack_from(
             "<QIIIIII4Q", self.map, 80)
        assert size == self.bytes
        self.tx = {}  # receiver: [at, generation]
        self.rx = {}  # sender: at
        self.sleeps = 0
        self.start(name, cclass)
        if speak:
            self.u32[(self.entry(self.id) + 72) // 4] = 1

    def start(self, name="", cclass="Client"):
        """Begin anew, as a driver does after a reset."""
        e = self.entry(self.id)
        old = self.u32[(e + 68) // 4]
        self.generation = old + 1 if old + 1 < 1 << 32 else 1
        self.u32[(e + 64) // 4] = self.u32[(e + 4) // 4]
        self.u32[(e + 68) // 4] = self.generation
        self.put_text(e + 128, name)
        self.put_text(e + 160, cclass)
        self.tx.clear()
        self.rx.clear()

    # -- where things are

    def entry(self, ident):
        return self.directory + ident * 192

    def identity(self, ident):
        """(CID, SID) of the directory."""
        e = self.entry(ident)
        return self.u32[(e + 8) // 4], self.u32[(e + 12) // 4]

    def generation_of(self, ident):
        return self.u32[(self.entry(ident) + 68) // 4]

    def control(self, receiver, sender):
        return self.lane + (receiver * self.ids + sender) * 192

    def ring_at(self, receiver, sender):
        return self.data + (receiver * self.ids + sender) * self.lane_bytes

    def payload_max(self):
        return self.lane_bytes // 2 - 24

    def own_vector(self, sender):
        return sender if self.features & VECTOR_IS_SENDER else 0

    # -- saying

    def send(self, to, payload=b"", kind=DATA, group=0, origin=None, generation=None, ring=True):
        """False: the lane is full."""
        control, data, size = self.control(to, self.id), self.ring_at(to, self.id), self.lane_bytes
        if to not in self.tx:
            self.tx[to] = self.u64[control // 8]
        at = self.tx[to]
        length = HEAD + len(payload)
        room = up(length, 8)
        consumed = self.u64[(control + 64) // 8]
        left = size - at % size
        pad = left if room > left else 0
        if at + pad + room + 8 - consumed > size:
            return False
        first = None
        if pad:
            self.u64[data // 8] = 0
            first = (at, PAD | pad)
            at += pad
        head = data + at % size
        self.map[head + HEAD:head + HEAD + len(payload)] = payload
        mark = self.generation | (kind | group << 4) << 32
        mark |= (self.id if origin is None else origin) << 48
        self.u64[(head + 8) // 8] = mark
        after = at + room
        self.u64[(data + after % size) // 8] = 0
        to_generation = self.generation_of(to) if generation is None else generation
        self.u64[head // 8] = length | to_generation << 32
        if first:
            self.u64[(data + first[0] % size) // 8] = first[1] | to_generation << 32
        self.tx[to] = after
        self.u64[control // 8] = after
        if ring:
            self.nudge(to)
        return True

    def unread(self, to):
        """Bytes of what we said that are not taken yet."""
        return self.tx[to] - self.u64[(self.control(to, self.id) + 64) // 8]

    def nudge(self, to):
        word = self.inbox + to * self.inbox_bytes + 64 + self.id // 8
        self.map[word] |= 1 << self.id % 8
        shard = self.id % self.shards if to == self.server else 0
        if self.u32[(self.inbox + to * self.inbox_bytes) // 4 + shard]:
            vector = self.own_vector(self.id)
            if to == self.server and not self.features & VECTOR_IS_SENDER:
                vector = shard
            self.peer.ring(to, vector)

    # -- hearing

    def take(self, sender):
        """The next message of this sender, or None."""
        control = self.control(self.id, sender)
        data, size = self.ring_at(self.id, sender), self.lane_bytes
        if sender not in self.rx:
            self.rx[sender] = self.u64[(control + 64) // 8]
        while True:
            at = self.rx[sender]
            head = data + at % size
            word = self.u64[head // 8]
            if not word:
                return None
            length = word & 0xFFFFFFFF
            if length & PAD:
                self.give_back(sender, at + (length & ~PAD))
                continue
            assert HEAD <= length <= size // 2 - 8, f"a record of {length} bytes"
            more = self.u64[(head + 8) // 8]
            payload = bytes(self.map[head + HEAD:head + length])
            self.give_back(sender, at + up(length, 8))
            if word >> 32 != self.generation:
                continue
            return Message(sender, payload, more >> 32 & 0xFFFF, more >> 48, more & 0xFFFFFFFF)

    def give_back(self, sender, at):
        self.rx[sender] = at
        self.u64[(self.control(self.id, sender) + 64) // 8] = at

    def receive(self, sender, seconds=HANG_SECONDS):
        """The next message of this sender; sleeps until it comes. None: not in that time."""
        bell = self.peer.peers[self.id][self.own_vector(sender)]
        asleep = (self.inbox + self.id * self.inbox_bytes) // 4
        while True:
            self.sleeps += 1
            self.u32[asleep] = self.sleeps
            found = self.take(sender)
            if found is None:
                poll = select.poll()
                poll.register(bell, select.POLLIN)
                if not poll.poll(seconds * 1000):
                    self.u32[asleep] = 0
                    assert seconds < HANG_SECONDS, f"nothing came from {sender}"
                    return None
                os.eventfd_read(bell)
            self.u32[asleep] = 0
            if found is not None:
                return found

    def ask(self, text):
        """Say something to the server, and what it answers."""
        assert self.send(self.server, text.encode(), LINK)
        m = self.receive(self.server)
        assert m.type == LINK and m.origin == self.server, m
        return m.payload.decode()


class Slot(Memory):
    """A v1 client: one text at a time in a slot, the vector rung is the sender's ID."""

    def __init__(self, peer, name="v1", cclass="Client", old=False):
        super().__init__(peer)
        size, text, self.clients, self.events, self.server = struct.unpack_from("<5Q", self.map, 0)
        assert (size, text) == (512, 128), f"no v1 globals: {size} {text}"
        self.at_bytes = 32 if old else 64
        assert self.word(self.id, 1) == self.id, "the slot is not marked with our ID"
        self.map[self.id * 512:self.id * 512 + 32] = bytes(32)
        self.put_text(self.id * 512, name)
        if not old:
            self.put_text(self.id * 512 + 32, cclass)

    def word(self, ident, nth):
        """0 length, 1 peer_id, 2 last_responder, 3 SID, 4 CID"""
        return self.u64[(ident * 512 + self.at_bytes) // 8 + nth]

    def set_word(self, ident, nth, value):
        self.u64[(ident * 512 + self.at_bytes) // 8 + nth] = value

    def name(self, ident):
        return self.text(ident * 512)

    def cclass(self, ident):
        return self.text(ident * 512 + 32)

    def put(self, text, length=None):
        raw = text if isinstance(text, bytes) else text.encode()
        at = self.id * 512 + 128
        self.map[at:at + len(raw)] = raw
        self.set_word(self.id, 0, len(raw) if length is None else length)

    def say(self, to, text):
        self.put(text)
        self.peer.ring(to, self.id)

    def hear(self, sender, take=True):
        self.peer.wait(sender)
        length = self.word(sender, 0)
        assert 0 < length < 384, f"a text of {length} bytes"
        at = sender * 512 + 128
        found = bytes(self.map[at:at + length]).decode()
        if take:
            self.set_word(sender, 0, 0)
        return found

    def ask(self, text):
        self.say(self.server, text)
        return self.hear(self.server)
