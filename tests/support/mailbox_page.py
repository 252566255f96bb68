# SPDX-License-Identifier: MIT
"""mailbox_page.py - a peer of the message layer, written from docs/mailbox.md and docs/wire.md.

It proves that those pages are enough: no header of the project was looked at for it, and it
shares no code with the rest. So where it differs from libfamez, one of them or a page is wrong.
The names of things and steps are the page's. It is plain rather than fast.

Python has neither atomic words nor fences. GCC's libatomic has them as functions, which ctypes can
call; so every access that the page gives an order has just that order.

    with Peer.join(path, "alice") as alice:
        alice.send(3, b"hello", timeout=5)
        print(alice.receive(timeout=5).payload)
"""

import collections
import ctypes
import mmap
import os
import random
import select
import socket
import struct
import time

RELAXED, ACQUIRE, RELEASE, ORDERED = 0, 2, 3, 5  # gcc's numbers of the four words

MAGIC = int.from_bytes(b"MAILBEX2", "little")
FEATURE_OLD_SLOTS, FEATURE_VECTOR_IS_SENDER = 1, 2
NOBODY = 0xFFFFFFFF
PAD = 0x80000000
DATA, LINK, GROUP, GROUP_ENTER, GROUP_EXIT = range(5)
ABSENT, JOINING, PRESENT = range(3)
TICK_SECONDS = 1.0
SKIPS_MAX = 256
MASK = 0xFFFFFFFFFFFFFFFF

Message = collections.namedtuple("Message", "sender origin type group generation payload")


class NoMailbox(Exception):
    """The file has no message layer."""


class BadHeader(Exception):
    """The header does not fit the file."""


class TooLarge(Exception):
    """The message is larger than half a lane less 24."""


class Full(Exception):
    """There was no room in time."""


class NotThere(Exception):
    """The receiver takes no lanes, or went away while we waited."""


class Garbled(Exception):
    """The lane made no sense, and was set right."""


def up(value, to):
    return (value + to - 1) // to * to


def signed(value):
    """As a signed number of 64 bits."""
    value &= MASK
    return value - (1 << 64) if value >> 63 else value


def unsigned(value):
    return value & MASK


# ---------------------------------------------------------------- the file


class Atomic:
    """The functions of libatomic, for words of 4 and 8 bytes."""

    def __init__(self):
        library = ctypes.PyDLL("libatomic.so.1")
        self.functions = {}
        for size, word in ((4, ctypes.c_uint32), (8, ctypes.c_uint64)):
            for name, arguments in (("load", []), ("store", [word]), ("exchange", [word]),
                                    ("fetch_or", [word]), ("fetch_and", [word])):
                function = getattr(library, f"__atomic_{name}_{size}")
                function.argtypes = [ctypes.c_void_p, *arguments, ctypes.c_int]
                function.restype = None if name == "store" else word
                self.functions[name, size] = function

        self.compare_exchange = library["__atomic_compare_exchange_8"]
        self.compare_exchange.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64,
                                          ctypes.c_int, ctypes.c_int]

    def __getitem__(self, key):
        return self.functions[key]


class Geometry:
    """Where everything is, from the two numbers that it follows from."""

    def __init__(self, size, ids):
        self.bytes = size
        self.ids = ids
        self.inbox_bytes = 64 + up(up(ids, 64) // 8, 64)
        self.directory_offset = up(ids * 512, 4096)
        self.inbox_offset = up(self.directory_offset + ids * 192, 4096)
        self.lane_offset = up(self.inbox_offset + ids * self.inbox_bytes, 4096)
        self.data_offset = up(self.lane_offset + ids * ids * 192, 4096)
        self.lane_bytes = 1 << 30
        while self.lane_bytes and self.data_offset + ids * ids * self.lane_bytes > size:
            self.lane_bytes >>= 1
        self.features = 0
        self.server_id = NOBODY
        self.vectors = 0
        self.server_shards = 1

    def entry(self, ident):
        return self.directory_offset + ident * 192

    def inbox(self, receiver):
        return self.inbox_offset + receiver * self.inbox_bytes

    def control(self, receiver, sender):
        return self.lane_offset + (receiver * self.ids + sender) * 192

    def data(self, receiver, sender):
        return self.data_offset + (receiver * self.ids + sender) * self.lane_bytes


class File:
    """The mapped file, and its words."""

    def __init__(self, fd):
        self.size = os.fstat(fd).st_size
        self.map = mmap.mmap(fd, self.size)
        self.buffer = (ctypes.c_char * self.size).from_buffer(self.map)
        self.address = ctypes.addressof(self.buffer)
        self.atomic = Atomic()

    def close(self):
        self.buffer = None
        self.map.close()

    def load(self, size, offset, order=RELAXED):
        assert 0 <= offset <= self.size - size and offset % size == 0
        return self.atomic["load", size](self.address + offset, order)

    def store(self, size, offset, value, order=RELAXED):
        assert 0 <= offset <= self.size - size and offset % size == 0
        self.atomic["store", size](self.address + offset, value, order)

    def change(self, how, size, offset, value):
        """An atomic "fetch_or", "fetch_and" or "exchange": ordered. Returns what was there."""
        assert 0 <= offset <= self.size - size and offset % size == 0
        return self.atomic[how, size](self.address + offset, value, ORDERED)

    def clear(self, offset, expected):
        """Compare and exchange: 0, if `expected` is still there."""
        assert 0 <= offset <= self.size - 8 and offset % 8 == 0
        seen = ctypes.c_uint64(expected)
        self.atomic.compare_exchange(self.address + offset, ctypes.byref(seen), 0, ORDERED, RELAXED)

    def geometry(self):
        if self.size < 512:
            raise NoMailbox(f"{self.size} bytes")
        version = self.load(4, 72, ACQUIRE)
        if self.load(8, 64) != MAGIC or version == 0:
            raise NoMailbox("no header")
        features, size, ids = self.load(4, 76), self.load(8, 80), self.load(4, 88)
        server_id, vectors = self.load(4, 92), self.load(4, 96)
        lane_bytes, shards = self.load(4, 100), self.load(4, 108)
        if version != 2 or size != self.size or size & (size - 1) or not 3 <= ids <= 65538:
            raise BadHeader(f"version {version}, {size} bytes, {ids} IDs")
        g = Geometry(size, ids)
        if (g.lane_bytes != lane_bytes or lane_bytes < 4096 or server_id not in (ids - 1, NOBODY)
                or not 1 <= vectors <= 2048 or not 1 <= shards <= 16
                or features & FEATURE_VECTOR_IS_SENDER and vectors < ids):
            raise BadHeader(f"lanes {lane_bytes}, server {server_id}, vectors {vectors}, "
                            f"shards {shards}, features {features}")
        g.features, g.server_id, g.vectors, g.server_shards = features, server_id, vectors, shards
        return g

    def text(self, offset, size):
        return self.map[offset:offset + size].split(b"\0")[0].decode("utf-8", "replace")


def head_size(word, position, lane_bytes):
    """Bytes of the record or pad with this head word; 0 if it makes no sense there."""
    low = word & 0xFFFFFFFF
    left = lane_bytes - position % lane_bytes
    if low & PAD:
        return left if low & ~PAD == left and left < lane_bytes // 2 else 0
    size = up(low, 8)
    return size if low >= 16 and size <= lane_bytes // 2 - 8 and size <= left else 0


# ---------------------------------------------------------------- one lane


class Lane:
    """What both ends of a lane have in common."""

    def __init__(self, file, g, receiver, sender):
        self.file = file
        self.g = g
        self.receiver = receiver
        self.sender = sender
        self.bytes = g.lane_bytes
        self.control = g.control(receiver, sender)
        self.data = g.data(receiver, sender)

    def place(self, position):
        return self.data + position % self.bytes

    def head(self, position, order=RELAXED):
        return self.file.load(8, self.place(position), order)

    @property
    def produced(self):
        return self.file.load(8, self.control, ACQUIRE)

    @property
    def consumed(self):
        return self.file.load(8, self.control + 64, ACQUIRE)


class SendingEnd(Lane):
    """The sender's end of one lane."""

    def __init__(self, file, g, receiver, sender, to, generation):
        super().__init__(file, g, receiver, sender)
        self.to = to
        self.generation = generation
        self.rung = 0
        self.nonsense = 0
        self.first = 0
        self.counters = [file.load(8, self.control + 8 * n) for n in range(1, 5)]
        consumed = self.consumed & ~7
        produced = at = self.produced
        while unsigned(at - produced) < self.bytes and at % 8 == 0:
            word = self.head(at, ACQUIRE)
            size = head_size(word, at, self.bytes)
            if not word or not size:
                break
            at = unsigned(at + size)
        if unsigned(at - consumed) > self.bytes - 8 or at % 8:
            self.nonsense += 1
            at = consumed
        self.at = self.begun = at
        self.limit = unsigned(consumed + self.bytes)
        file.store(8, self.place(at), 0)
        file.store(8, self.control, at, RELEASE)

    def room(self, n, order=ACQUIRE, known=True):
        """Is there room for n bytes? `known`: what we remember will do."""
        if known and signed(self.limit - (self.at + n + 8)) >= 0:
            return True
        consumed = self.file.load(8, self.control + 64, order)
        if self.file.load(8, self.control) != self.begun:
            self.file.store(8, self.control, self.begun, RELEASE)
        if unsigned(self.at - consumed) > self.bytes or consumed % 8:
            self.nonsense += 1
            self.file.store(8, self.place(self.begun), 0)
            return False
        self.limit = unsigned(consumed + self.bytes)
        return signed(self.limit - (self.at + n + 8)) >= 0

    def put_head(self, word, n):
        self.file.store(8, self.place(self.at + n), 0)
        if self.begun == self.at:
            self.first = word
        else:
            self.file.store(8, self.place(self.at), word)
        self.at = unsigned(self.at + n)

    def sizes(self, payload_bytes):
        size = up(16 + payload_bytes, 8)
        if size > self.bytes // 2 - 8:
            raise TooLarge(payload_bytes)
        return size, self.bytes - self.at % self.bytes

    def put(self, payload, kind, origin):
        """Write one record. False: the lane is full."""
        size, left = self.sizes(len(payload))
        if size > left:
            if not self.room(left):
                return self.no_room()
            self.put_head(PAD + left, left)
        if not self.room(size):
            return self.no_room()
        start = self.place(self.at)
        self.file.map[start + 16:start + 16 + len(payload)] = payload
        self.file.store(8, start + 8, self.generation | kind << 32 | origin << 48)
        self.put_head(16 + len(payload) | self.to << 32, size)
        self.counters[0] += 1
        self.counters[1] += len(payload)
        return True

    def no_room(self):
        self.counters[3] += 1
        return False

    def publish(self):
        """S1. False: there was nothing."""
        if self.begun == self.at:
            return False
        self.file.store(8, self.place(self.begun), self.first, ORDERED)
        self.begun = self.at
        self.file.store(8, self.control, self.at, RELEASE)
        for n, value in enumerate(self.counters, 1):
            self.file.store(8, self.control + 8 * n, unsigned(value))
        return True

    def nudge(self):
        """S3, S4. True: ring the receiver (S5)."""
        word = self.g.inbox(self.receiver) + 64 + self.sender // 64 * 8
        bit = 1 << self.sender % 64
        if not self.file.load(8, word, ORDERED) & bit:
            self.file.change("fetch_or", 8, word, bit)
        shard = self.sender % self.g.server_shards if self.receiver == self.g.server_id else 0
        asleep = self.file.load(4, self.g.inbox(self.receiver) + 4 * shard, ORDERED)
        if asleep in (0, self.rung):
            return False
        self.rung = asleep
        self.counters[2] += 1
        return True

    def wait(self, payload_bytes):
        """W1, W2. True: there is room after all."""
        size, left = self.sizes(payload_bytes)
        self.file.store(4, self.control + 128, 1, ORDERED)
        return self.room(min(size, left), ORDERED, known=False)

    def unread(self):
        return self.consumed != self.begun


class ReceivingEnd(Lane):
    """The receiver's end of one lane."""

    def __init__(self, file, g, receiver, sender, generation):
        super().__init__(file, g, receiver, sender)
        self.generation = generation
        self.at = self.published = self.looked = self.consumed & ~7
        self.stale = file.load(8, self.control + 72)
        self.garbled = file.load(8, self.control + 80)

    def resynchronize(self, produced):
        self.garbled += 1
        self.at = self.published = produced & ~7
        word = self.head(self.at, ACQUIRE)
        if word:
            self.file.clear(self.place(self.at), word)
        self.file.store(8, self.control + 80, self.garbled)
        self.file.store(8, self.control + 64, self.at, ORDERED)

    def read(self):
        """The next message, taken; None: nothing now. (Message, ring the sender?)"""
        for _ in range(SKIPS_MAX):
            word = self.head(self.at, ACQUIRE)
            if not word:
                return None
            size = head_size(word, self.at, self.bytes)
            if not size:
                self.resynchronize(self.produced)
                raise Garbled(self.sender)
            if word & PAD:
                self.done(size, False)
                continue
            if word >> 32 != self.generation:
                self.stale += 1
                self.file.store(8, self.control + 72, self.stale)
                self.done(size, False)
                continue
            start = self.place(self.at)
            more = self.file.load(8, start + 8)
            payload = self.file.map[start + 16:start + (word & 0xFFFFFFFF)]
            kind = more >> 32 & 0xFFFF
            message = Message(self.sender, more >> 48, kind & 15, kind >> 4, more & 0xFFFFFFFF,
                              payload)
            return message, self.done(size, True)
        return None

    def done(self, size, was_message):
        """Give back by quarters. True: ring the sender."""
        self.at = unsigned(self.at + size)
        if unsigned(self.at - self.published) < self.bytes // 4:
            return False
        if self.astray():
            return False
        if was_message and unsigned(self.at - self.looked) >= self.bytes // 2:
            return self.give_back()
        self.file.store(8, self.control + 64, self.at, RELEASE)
        self.published = self.at
        return False

    def astray(self):
        """Have we read more than the sender can have written?"""
        produced = self.produced
        if signed(self.at - produced) <= self.bytes:
            return False
        self.resynchronize(produced)
        return True

    def give_back(self):
        """V1, V3. True: ring the sender."""
        self.file.store(8, self.control + 64, self.at, ORDERED)
        self.published = self.looked = self.at
        if not self.file.load(4, self.control + 128, ORDERED):
            return False
        return self.file.change("exchange", 4, self.control + 128, 0) == 1

    def careful_look(self):
        """(more?, ring the sender?)"""
        ring = self.give_back()
        produced = self.produced & ~7
        if self.head(self.at, ORDERED):
            self.astray()
            return True, ring
        if produced == self.at:
            return False, ring
        if signed(produced - self.at) <= 0 and self.leads_here(produced):
            return False, ring
        if self.file.load(8, self.control, ORDERED) & ~7 == produced:
            self.resynchronize(produced)
        return True, ring

    def leads_here(self, at):
        if at % 8 or unsigned(self.at - at) > self.bytes:
            return False
        while signed(self.at - at) > 0:
            size = head_size(self.head(at, ACQUIRE), at, self.bytes)
            if not size:
                return False
            at = unsigned(at + size)
        return at == self.at


# ---------------------------------------------------------------- a peer


class Entry:
    """What the directory says of a peer."""

    def __init__(self, file, g, ident):
        at = g.entry(ident)
        self.presence, self.joins, self.cid, self.sid, self.device = (
            file.load(4, at + 4 * n) for n in range(5))
        self.join = file.load(4, at + 64, ACQUIRE)
        self.speaks = file.load(4, at + 72, ACQUIRE)
        self.generation = file.load(4, at + 68)
        self.watches = file.load(4, at + 76)
        self.heartbeat = file.load(8, at + 80)
        self.ours = self.join == self.joins  # the last two lines are this owner's
        self.name = file.text(at + 128, 32) if self.ours else ""
        self.cclass = file.text(at + 160, 32) if self.ours else ""

    @property
    def lanes(self):
        return self.presence in (JOINING, PRESENT) and self.ours and self.speaks & 1 == 1


class Peer:
    """One peer: its connection, its entry, its lanes. Belongs to one thread."""

    def __init__(self, fd, ident, bells, name, cclass="Page", watch=False, sock=None):
        """Take part. `bells`: {ID: [eventfd of vector 0, ...]}, our own among them."""
        self.file = File(fd)
        self.g = self.file.geometry()
        self.id = ident
        self.bells = bells
        self.sock = sock
        self.sending = {}
        self.receiving = {}
        self.in_hand = {}
        self.kept = collections.deque()
        self.garbled = 0
        self.rings = 0  # of ours, at others
        self.sleeps = 0
        self.naps = 0   # sleeps that no doorbell ended
        at = self.entry_at = self.g.entry(ident)
        joins = self.file.load(4, at + 4)
        self.file.store(4, at + 72, 0)
        self.generation = (self.file.load(4, at + 68) + 1) & 0xFFFFFFFF or 1
        self.file.store(4, at + 68, self.generation)
        for offset, text in ((128, name), (160, cclass)):
            self.file.map[at + offset:at + offset + 32] = text.encode().ljust(32, b"\0")
        self.file.store(4, at + 76, int(watch))
        self.heartbeat = self.file.load(8, at + 80) + 1
        self.file.store(8, at + 80, self.heartbeat)
        self.file.store(4, at + 64, joins, RELEASE)
        self.file.store(4, at + 72, 1, RELEASE)
        self.sleep_number = random.randrange(1, 1 << 31)
        self.next_tick = time.monotonic() + TICK_SECONDS
        self.poll = select.poll()
        for bell in bells[ident]:
            self.poll.register(bell, select.POLLIN)
        if sock:
            self.poll.register(sock, select.POLLIN)

    # -- the connection, by docs/wire.md

    @classmethod
    def join(cls, path, name, **how):
        """Join the fabric at a socket, and take part."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.settimeout(60)
        sock.connect(path)
        bells = {}
        version, _ = cls._message(sock)
        if version != 0:
            raise ConnectionRefusedError(f"the server sent version {version}")
        ident, _ = cls._message(sock)
        value, fd = cls._message(sock)
        assert value == -1 and fd is not None
        # Every peer has as many vectors as the header says; our own come last.
        probe = File(fd)
        vectors = probe.geometry().vectors
        probe.close()
        while len(bells.get(ident, ())) < vectors:
            cls._notice(bells, *cls._message(sock))
        peer = cls(fd, ident, bells, name, sock=sock, **how)
        os.close(fd)
        return peer

    @staticmethod
    def _message(sock):
        data, fds, _, _ = socket.recv_fds(sock, 8, 4, socket.MSG_CMSG_CLOEXEC)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        assert len(data) == 8
        return struct.unpack("<q", data)[0], fds[0] if fds else None

    @staticmethod
    def _notice(bells, ident, fd):
        if fd is not None:
            bells.setdefault(ident, []).append(fd)
            return
        for old in bells.pop(ident, ()):
            os.close(old)

    def notices(self):
        """Read what the server has told us."""
        told = select.poll()
        if self.sock:
            told.register(self.sock, select.POLLIN)
        while self.sock and told.poll(0):
            self._notice(self.bells, *self._message(self.sock))

    def ring(self, ident):
        """Ring who is to look at what we wrote."""
        if self.g.features & FEATURE_VECTOR_IS_SENDER:
            vector = self.id
        else:
            vector = self.id % self.g.server_shards if ident == self.g.server_id else 0
        self.notices()
        bells = self.bells.get(ident, ())
        if vector >= len(bells):
            return  # we hear of it when we hear of its doorbells; the tick tries again
        self.rings += 1
        writable = select.poll()
        writable.register(bells[vector], select.POLLOUT)
        if writable.poll(0):
            os.eventfd_write(bells[vector], 1)

    def close(self):
        """Leave."""
        self.file.store(4, self.entry_at + 72, 0, RELEASE)
        self.vanish()

    def vanish(self):
        """Be gone, as if killed."""
        if self.sock:
            self.sock.close()
            for bells in self.bells.values():
                for fd in bells:
                    os.close(fd)
        self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- who is there

    def who(self, ident):
        return Entry(self.file, self.g, ident)

    def named(self, name):
        """The ID of the first peer of that name, announced or not yet; None."""
        for ident in range(self.g.ids):
            entry = self.who(ident)
            if entry.presence in (JOINING, PRESENT) and entry.ours and entry.name == name:
                return ident
        return None

    @property
    def changes(self):
        return self.file.load(8, 144, ACQUIRE)

    @property
    def payload_max(self):
        return self.g.lane_bytes // 2 - 24

    def control(self, receiver, sender):
        """The counters of any lane."""
        at = self.g.control(receiver, sender)
        names = {"produced": 0, "messages": 8, "payload_bytes": 16, "rings": 24, "full": 32,
                 "consumed": 64, "stale": 72, "garbled": 80}
        return {name: self.file.load(8, at + offset) for name, offset in names.items()}

    # -- sending

    def lane_to(self, ident):
        """The lane to a peer, which is there; its generation is the present one."""
        entry = self.who(ident)
        if not entry.lanes:
            raise NotThere(ident)
        end = self.sending.get(ident)
        if end is None:
            end = self.sending[ident] = SendingEnd(self.file, self.g, ident, self.id,
                                                   entry.generation, self.generation)
        elif end.to != entry.generation:
            end.to, end.rung = entry.generation, 0
        return end

    def put(self, to, payload, type=DATA, group=0, origin=None):
        """One record, not yet published. False: full."""
        return self.lane_to(to).put(payload, type | group << 4,
                                    self.id if origin is None else origin)

    def flush(self, to):
        """Publish, and wake the receiver if it sleeps."""
        end = self.sending[to]
        if end.publish() and end.nudge():
            self.ring(to)

    def send(self, to, payload, type=DATA, group=0, origin=None, timeout=0):
        """Send one message. Raises Full, NotThere, TooLarge. What comes meanwhile is kept."""
        deadline = time.monotonic() + timeout
        generation = self.lane_to(to).to
        while not self.put(to, payload, type, group, origin):
            self.flush(to)
            left = deadline - time.monotonic()
            if left <= 0:
                raise Full(to)
            end = self.sending[to]
            if end.wait(len(payload)):
                continue
            if end.nudge():
                self.ring(to)
            self.rest(left)
            self.keep()
            if self.lane_to(to).to != generation:
                raise NotThere(to)
        self.flush(to)

    # -- receiving

    def lane_from(self, ident):
        end = self.receiving.get(ident)
        if end is None:
            end = self.receiving[ident] = ReceivingEnd(self.file, self.g, self.id, ident,
                                                       self.generation)
        return end

    def collect(self):
        """Lanes whose bits are set come in hand. True: one came."""
        came = False
        for first in range(0, self.g.ids, 64):
            word = self.file.load(8, self.g.inbox(self.id) + 64 + first // 8, ORDERED)
            for n in range(64):
                if word >> n & 1 and first + n < self.g.ids and first + n not in self.in_hand:
                    self.in_hand[first + n] = self.lane_from(first + n)
                    came = True
        return came

    def keep(self):
        """Read all that is there now."""
        self.collect()
        for sender, end in list(self.in_hand.items()):
            self.read_lane(end)
            # C1, C2
            word = self.g.inbox(self.id) + 64 + sender // 64 * 8
            self.file.change("fetch_and", 8, word, MASK ^ (1 << sender % 64))
            if not self.look(end):
                del self.in_hand[sender]

    def read_lane(self, end, most=64):
        for _ in range(most):
            try:
                found = end.read()
            except Garbled:
                self.garbled += 1
                continue
            if found is None:
                return
            self.kept.append(found[0])
            if found[1]:
                self.ring(end.sender)

    def look(self, end):
        garbled = end.garbled
        more, ring = end.careful_look()
        self.garbled += end.garbled - garbled
        if ring:
            self.ring(end.sender)
        return more

    def rest(self, seconds):
        """Sleep until there may be something, for that long at most, and for a tick at most."""
        self.notices()
        self.sleep_number = self.sleep_number % 0xFFFFFFFF + 1
        asleep = self.g.inbox(self.id)
        self.file.store(4, asleep, self.sleep_number, ORDERED)  # R1
        more = any([self.look(end) for end in self.in_hand.values()])  # R3
        if self.collect() or more:
            self.file.store(4, asleep, 0)
            return
        self.sleeps += 1
        until = max(0, min(seconds, self.next_tick - time.monotonic()))
        ready = {fd for fd, _ in self.poll.poll(int(until * 1000) + 1)}  # R4
        self.file.store(4, asleep, 0)  # R5
        self.naps += not ready
        for bell in self.bells[self.id]:
            if bell in ready:
                os.eventfd_read(bell)
        self.tick()

    def tick(self):
        if time.monotonic() < self.next_tick:
            return
        self.next_tick = time.monotonic() + TICK_SECONDS
        self.heartbeat += 1
        self.file.store(8, self.entry_at + 80, self.heartbeat)
        for ident, end in self.sending.items():
            if end.unread() and end.nudge():
                self.ring(ident)

    def receive(self, timeout=0):
        """The next message, or None."""
        deadline = time.monotonic() + timeout
        while not self.kept:
            self.keep()
            if self.kept:
                break
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.rest(left)
        return self.kept.popleft()


# ---------------------------------------------------------------- for tests without a server


def lay_out(fd, ids, vectors, server=False, shards=1):
    """Write globals and header into an empty file of zeros, as the page has them."""
    file = File(fd)
    g = Geometry(file.size, ids)
    for n, value in enumerate((512, 128, ids - 2, ids, ids - 1)):
        file.store(8, 8 * n, value)
    file.store(8, 64, MAGIC)
    file.store(4, 76, FEATURE_VECTOR_IS_SENDER if vectors >= ids else 0)
    file.store(8, 80, file.size)
    for n, value in enumerate((ids, ids - 1 if server else NOBODY, vectors, g.lane_bytes,
                               g.inbox_bytes, shards)):
        file.store(4, 88 + 4 * n, value)
    for n, value in enumerate((g.directory_offset, g.inbox_offset, g.lane_offset, g.data_offset)):
        file.store(8, 112 + 8 * n, value)
    file.store(4, 72, 2, RELEASE)
    file.close()
    return g
