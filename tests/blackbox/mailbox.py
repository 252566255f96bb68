#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mailbox.py - what is laid out in the shared memory, and who is in its directory."""

import contextlib
import fcntl
import mmap
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import Broker, run_once, run_tests  # noqa: E402

MIB = 1 << 20
MAGIC = b"MAILBEX2"
OLD_SLOTS, VECTOR_IS_SENDER = 1, 2
NOBODY = 0xFFFFFFFF
ABSENT, JOINING, PRESENT = range(3)
SPEAKS_LANES = 1


def text(raw):
    return raw.split(b"\0")[0].decode(errors="replace")


class Entry:
    """One line of the directory."""

    def __init__(self, raw):
        self.presence, self.joins, self.cid, self.sid, self.device = struct.unpack_from("<5I", raw)
        self.join, self.generation, self.speaks, self.watches = struct.unpack_from("<4I", raw, 64)
        self.heartbeat, = struct.unpack_from("<Q", raw, 80)
        self.name, self.cclass = text(raw[128:160]), text(raw[160:192])


class Mailbox:
    """A peer's view of the memory."""

    def __init__(self, memory):
        self.size = os.fstat(memory).st_size
        self.map = mmap.mmap(memory, self.size)
        (self.slot_bytes, self.text_offset, self.clients, self.events,
         self.v1_server) = struct.unpack_from("<5Q", self.map)
        self.magic = self.map[64:72]
        (self.version, self.features, self.bytes, self.ids, self.server_id, self.vectors,
         self.lane_bytes, self.inbox_bytes, self.shards, self.directory, self.inbox, self.lane,
         self.data) = struct.unpack_from("<IIQIIIIII4Q", self.map, 72)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.map.close()

    def changes(self):
        return struct.unpack_from("<Q", self.map, 64 + 80)[0]

    def entry(self, ident):
        at = self.directory + 192 * ident
        return Entry(self.map[at:at + 192])

    def introduce(self, ident, name, watch=0):
        """Do what a library does when it starts."""
        at = self.directory + 192 * ident
        self.map[at + 128:at + 160] = name.encode().ljust(32, b"\0")
        now = self.entry(ident)
        struct.pack_into("<I", self.map, at + 68, now.generation % NOBODY + 1)
        struct.pack_into("<I", self.map, at + 76, watch)
        struct.pack_into("<I", self.map, at + 64, now.joins)

    def present(self):
        return {i for i in range(self.ids) if self.entry(i).presence == PRESENT}


def is_empty(memory):
    with mmap.mmap(memory, os.fstat(memory).st_size) as view:
        return not any(view[i:i + MIB].strip(b"\0") for i in range(0, len(view), MIB))


def present(broker):
    """The only peer: it has its own opening before the others, and the directory, know of it."""
    peer = broker.join()
    broker.until_peers(1)
    return peer


# ---------------------------------------------------------------- the layout


def test_without_options_there_are_large_lanes_for_64_peers_in_a_sparse_file():
    with Broker(size=None, vectors=None) as broker:
        peer = broker.join(vectors=4)
        assert os.fstat(peer.memory).st_blocks * 512 < 2 * MIB
        with Mailbox(peer.memory) as box:
            assert (box.magic, box.version) == (MAGIC, 2)
            assert box.ids == 66 and box.server_id == 65
            assert box.lane_bytes == 65536 and box.bytes == box.size == 512 * MIB
            start = broker.wait_event("start")
            assert start["layout"] == "lanes"
            assert (int(start["lane_bytes"]), int(start["memory_bytes"])) == (
                box.lane_bytes, box.size)


def test_few_peers_have_lanes_of_64_kib():
    with Broker("--peers", "8", size=None) as broker:
        with Mailbox(broker.join().memory) as box:
            assert box.lane_bytes == 65536 and box.ids == 10 and box.size == 8 * MIB


def test_the_header_fits_the_file_and_itself():
    for peers, vectors, size in (("1", 1, "64K"), ("13", 15, "1M"), ("62", 64, None),
                                 ("300", 4, None)):
        with Broker("--peers", peers, vectors=vectors, size=size) as broker:
            with Mailbox(broker.join().memory) as box:
                ids = int(peers) + 2
                assert (box.ids, box.server_id, box.vectors) == (ids, ids - 1, vectors)
                assert bool(box.features & VECTOR_IS_SENDER) == (vectors >= ids)
                assert box.lane_bytes & (box.lane_bytes - 1) == 0
                assert ids * 512 <= box.directory
                assert box.directory + ids * 192 <= box.inbox
                assert box.inbox + ids * box.inbox_bytes <= box.lane
                assert box.lane + ids * ids * 192 <= box.data
                assert box.data + ids * ids * box.lane_bytes <= box.size == box.bytes
                assert 1 <= box.shards <= 16


def test_v1_clients_find_the_globals_and_their_slots():
    for layout in ("lanes", "slots"):
        with Broker("--nClients", "14", "--layout", layout, vectors=None, size=None) as broker:
            with Mailbox(broker.join(vectors=16).memory) as box:
                assert (box.slot_bytes, box.text_offset) == (512, 128)
                assert (box.clients, box.events, box.v1_server) == (14, 16, 15)
                for slot in range(1, 16):
                    assert struct.unpack_from("<Q", box.map, 512 * slot + 72)[0] == slot
                assert (box.magic == MAGIC) == (layout == "lanes")


def test_in_famezs_dialect_slots_have_no_class():
    with Broker("--nClients", "14", "--dialect", "famez", vectors=None, size=None) as broker:
        with Mailbox(broker.join(vectors=16).memory) as box:
            assert box.features & OLD_SLOTS
            for slot in range(1, 16):
                assert struct.unpack_from("<Q", box.map, 512 * slot + 40)[0] == slot


def test_a_silent_server_leaves_the_memory_empty():
    for options in (["--silent"], ["--layout", "plain"], ["--silent", "--peers", "2"]):
        with Broker(*options) as broker:
            peer, other = broker.join(), broker.join()
            other.leave()
            broker.until_peers(1)
            assert is_empty(peer.memory), options
            assert broker.wait_event("start")["layout"] == "plain"


def test_a_silent_server_told_to_lays_out_lanes_without_a_server():
    with Broker("--silent", "--layout", "lanes", "--peers", "3") as broker:
        peer = present(broker)
        assert peer.id == 1, "slot 0 is the header"
        with Mailbox(peer.memory) as box:
            assert box.server_id == NOBODY and box.version == 2
            assert box.present() == {1}


def test_called_ivshmem_server_it_lays_nothing_out():
    with Broker(start=False, argv0="ivshmem-server") as broker:
        broker.command = ["ivshmem-server", "-F", "-S", broker.path, "-m", broker.dir,
                          "--workers", "1", "-v"]
        broker.start()
        peer = broker.join(vectors=1)
        assert is_empty(peer.memory) and os.fstat(peer.memory).st_size == 4 * MIB


# ---------------------------------------------------------------- sizes


def refused(*options):
    status, out, err = run_once("-F", "-S", "/nonexistent/famez/sock", *options)
    assert status == 3, f"{options}: exit {status}: {out}{err}"
    assert err.count("\n") == 1
    return err


def test_size_and_peers_that_do_not_go_together_are_refused_with_what_would_do():
    line = refused("-l", "1M", "--peers", "100")
    assert "-l 64M" in line and "--peers 13" in line, line
    for options in (["-l", "64M", "--peers", "100"], ["-l", "1M", "--peers", "13"]):
        with Broker(*options, size=None) as broker:
            with Mailbox(broker.join().memory) as box:
                assert box.version == 2


def test_lanes_that_were_asked_for_are_not_given_up():
    assert "-l 8G" in refused("--layout", "lanes", "-l", "1M")
    assert "--peers 16" in refused("--layout", "lanes", "--peers", "17000", "-n", "1", "--check") \
        or os.sysconf("SC_OPEN_MAX") < 40000
    assert "-l 512K" in refused("--layout", "slots", "-l", "64K", "--peers", "1000")


def test_a_size_alone_that_is_too_small_leaves_the_memory_empty_and_says_what_would_give_lanes():
    for size in ("1M", "64K"):
        with Broker(size=size) as broker:
            said = broker.wait_event("mailbox")
            assert said["layout"] == "plain" and said["level"] == "notice"
            assert "-l 8G" in said["hint"]
            assert size != "1M" or "--peers 13" in said["hint"]
            first, second = broker.join(), broker.join()
            first.until_knows(second.id)
            second.leave()
            first.until_left(second.id)
            assert is_empty(first.memory)


def test_check_prints_what_will_be_laid_out():
    status, out, err = run_once("-F", "-S", "/nonexistent/s", "--check", "--peers", "8")
    assert status == 0, err
    assert str(8 * MIB) in out and "lanes" in out and "65536" in out, out
    _, out, _ = run_once("-F", "-S", "/nonexistent/s", "--check", "--silent")
    assert "plain" in out and "lane " not in out, out


# ---------------------------------------------------------------- the directory


def test_the_server_is_in_the_directory():
    with Broker("--peers", "5") as broker:
        with Mailbox(broker.join().memory) as box:
            server = box.entry(6)
            assert server.presence == PRESENT and server.join == server.joins
            assert server.generation and server.speaks & SPEAKS_LANES
            assert server.name and server.cclass is not None


def test_whoever_joins_is_in_the_directory_before_anybody_is_told():
    with Broker("--peers", "5") as broker:
        first = present(broker)
        with Mailbox(first.memory) as box:
            assert box.present() == {1, 6}
            assert box.changes() == 1
            second = broker.join()
            first.until_knows(second.id)
            entry = box.entry(second.id)
            assert entry.presence == PRESENT and entry.joins == 1
            assert entry.join != entry.joins, "nobody has introduced himself yet"
            assert box.changes() == 2
            second.leave()
            first.until_left(second.id)
            assert box.entry(second.id).presence == ABSENT
            assert box.changes() == 3


def test_who_is_being_opened_is_joining():
    with Broker("--peers", "5") as broker:
        first = broker.join()
        with Mailbox(first.memory) as box:
            late = broker.connect()
            late.preamble()
            assert box.entry(late.id).presence in (JOINING, PRESENT)
            assert box.entry(late.id).joins == 1


def test_an_ids_next_owner_is_another():
    with Broker("--peers", "1") as broker:
        owners = []
        for n in range(3):
            peer = broker.join()
            with Mailbox(peer.memory) as box:
                entry = box.entry(1)
                owners.append(entry.joins)
                assert entry.join != entry.joins, "what the last owner said still counts"
                box.introduce(1, f"owner-{n}")
            peer.leave()
            broker.until_peers(0)
        assert owners == [1, 2, 3]


def test_a_device_is_marked():
    with Broker("--device-names", "python3*", "--peers", "2") as broker:
        with Mailbox(broker.join().memory) as box:
            assert box.entry(1).device == 1
    with Broker("--peers", "2") as broker:
        with Mailbox(broker.join().memory) as box:
            assert box.entry(1).device == 0


def test_who_leaves_loses_the_name_in_its_slot():
    for layout in ("lanes", "slots"):
        with Broker("--peers", "5", "--layout", layout) as broker:
            first, second = broker.join(), broker.join()
            with Mailbox(first.memory) as box:
                at = 512 * second.id
                box.map[at:at + 64] = b"n" * 32 + b"c" * 32
                box.map[512:512 + 64] = b"m" * 64
                first.until_knows(second.id)
                second.leave()
                first.until_left(second.id)
                assert box.map[at:at + 64] == bytes(64)
                assert box.map[512:512 + 64] == b"m" * 64


def test_scribbling_on_the_header_hurts_the_broker_not():
    with Broker("--peers", "5") as broker:
        first = broker.join()
        with Mailbox(first.memory) as box:
            box.map[:512] = os.urandom(512)
            box.map[box.directory:box.directory + 192 * 7] = b"\xff" * (192 * 7)
            second = broker.join()
            first.until_knows(second.id)
            assert box.entry(second.id).joins == 1, "it was read back"
            second.leave()
            first.until_left(second.id)
            assert box.entry(2).presence == ABSENT


# ---------------------------------------------------------------- watchers


def watch_vector(box):
    return box.server_id if box.features & VECTOR_IS_SENDER else 0


def test_who_watches_is_rung_at_joins_and_leaves_and_misses_none():
    for vectors in (1, 12):
        with Broker("--peers", "10", vectors=vectors) as broker:
            watcher, idler = broker.join(), broker.member()
            watcher.until_knows(idler.id)
            with Mailbox(watcher.memory) as box:
                box.introduce(watcher.id, "watcher", watch=1)
                box.introduce(idler.id, "idler")
                bell = watch_vector(box)
                seen = box.changes()
                for _ in range(20):
                    peer = broker.join()
                    while box.changes() < seen + 1:
                        watcher.wait(bell)
                    peer.leave()
                    while box.changes() < seen + 2:
                        watcher.wait(bell)
                    seen += 2
                crowd = [broker.join() for _ in range(8)]
                for peer in crowd:
                    peer.vanish()
                while box.changes() < seen + 16:
                    watcher.wait(bell)
                assert box.changes() == seen + 16
                assert not any(idler.rung(v) for v in range(vectors)), "it did not ask"


def test_a_watcher_who_left_is_not_rung_and_neither_is_its_ids_next_owner():
    with Broker("--peers", "2", vectors=1) as broker:
        other, watcher = broker.join(), broker.join()
        with Mailbox(other.memory) as box:
            box.introduce(watcher.id, "watcher", watch=1)
            other.until_knows(watcher.id)
            watcher.leave()
            other.until_left(watcher.id)
            heir = broker.join()
            assert heir.id == watcher.id
            other.until_knows(heir.id)
            heir.until_knows(other.id)
            other.leave()
            heir.until_left(other.id)
            assert not heir.rung(0)


def fill_up(bell):
    """Whoever rings it now has to wait until it is read."""
    fcntl.fcntl(bell, fcntl.F_SETFL, os.O_RDWR | os.O_NONBLOCK)
    for bit in range(63, -1, -1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.eventfd_write(bell, 1 << bit)
    fcntl.fcntl(bell, fcntl.F_SETFL, os.O_RDWR)


def test_a_watcher_whose_bell_blocks_keeps_nobody_waiting():
    with Broker("--peers", "8", vectors=1) as broker:
        evil, good = broker.join(), broker.member()
        evil.until_knows(good.id)
        with Mailbox(evil.memory) as box:
            bell = evil.peers[evil.id][0]
            box.introduce(evil.id, "evil", watch=1)
            box.introduce(good.id, "good", watch=1)
            for _ in range(5):
                fill_up(bell)
                before = box.changes()
                peer = broker.join()
                while box.changes() < before + 1:
                    good.wait(0)
                peer.leave()
                while box.changes() < before + 2:
                    good.wait(0)
            # Once it is emptied, the ring that waited comes through.
            fcntl.fcntl(bell, fcntl.F_SETFL, os.O_RDWR | os.O_NONBLOCK)
            os.eventfd_read(bell)
            broker.join()
            evil.wait(0)


def test_a_broker_whose_rings_are_stuck_still_ends():
    broker = Broker("--peers", "4", vectors=1)
    with broker:
        evil = broker.join()
        with Mailbox(evil.memory) as box:
            bell = evil.peers[evil.id][0]
            box.introduce(evil.id, "evil", watch=1)
            fill_up(bell)
            broker.join()
            broker.until_peers(2)


# ---------------------------------------------------------------- files that existed


class File:
    """A file that is there before the broker, in its directory."""

    def __init__(self, broker, content=b"", size=MIB):
        self.path = os.path.join(broker.dir, "box")
        with open(self.path, "wb") as f:
            f.write(content)
            f.truncate(size)
        broker.may_stay.add("box")
        broker.command += ["-m", self.path]


def test_what_no_broker_wrote_is_left_alone_with_a_notice():
    with Broker("--peers", "4", start=False) as broker:
        File(broker, b"precious")
        broker.start()
        said = broker.wait_event("mailbox")
        assert said["layout"] == "plain" and "--layout lanes" in said["hint"]
        peer = broker.join()
        assert os.pread(peer.memory, MIB, 0) == b"precious".ljust(MIB, b"\0")
    with Broker("--peers", "4", "--layout", "lanes", start=False) as broker:
        File(broker, b"precious")
        broker.start()
        with Mailbox(broker.join().memory) as box:
            assert box.version == 2


def test_a_file_of_famezs_own_server_is_taken():
    with Broker("--peers", "4", start=False) as broker:
        File(broker, struct.pack("<5Q", 512, 128, 14, 16, 15))
        broker.start()
        with Mailbox(broker.join().memory) as box:
            assert box.version == 2 and box.clients == 4


def test_an_existing_file_is_laid_out_as_large_as_it_is():
    for peers, vectors, size, layout in ((4, 4, 64 * MIB, "lanes"), (1000, 4, 4 * MIB, "plain"),
                                         (100, 4, MIB, "plain"), (100, 102, MIB, "slots")):
        with Broker("--peers", str(peers), vectors=vectors, size=None, start=False) as broker:
            File(broker, size=size)
            broker.start()
            assert broker.wait_event("start")["layout"] == layout
            with Mailbox(broker.join().memory) as box:
                assert box.size == size
                assert (box.bytes == size) == (layout == "lanes")
    with Broker("--layout", "lanes", size=None, start=False) as broker:
        where = File(broker)
        status, _, err = run_once(*broker.command[1:])
        assert status == 3 and "a memory of 32M" in err and os.stat(where.path).st_size == MIB, err


def test_the_next_broker_on_a_file_begins_with_a_clean_mailbox():
    with Broker("--peers", "4", vectors=6, start=False) as first:
        file = File(first)
        first.start()
        peer = first.join()
        with Mailbox(peer.memory) as box:
            box.introduce(1, "survivor", watch=1)
            generation = box.entry(5).generation
            # Somebody wrote everywhere, to the last byte.
            box.map[box.inbox:box.inbox + 64] = b"\1" * 64
            box.map[box.lane:] = b"\2" * (box.size - box.lane)
            end = box.data + box.ids ** 2 * box.lane_bytes
        first.process.kill()
        first.process.wait()
        first.stopped = True
        with Broker("--peers", "4", "-m", file.path, vectors=6) as second:
            with Mailbox(present(second).memory) as box:
                assert box.version == 2 and box.changes() == 1
                assert box.entry(5).generation not in (0, generation)
                assert box.entry(1).join != box.entry(1).joins
                assert box.entry(1).name == "", "a name of before"
                assert box.present() == {1, 5}
                # But for what peers and server write again: nothing.
                assert not box.map[box.data:end].strip(b"\0")
                lanes = box.map[box.lane:box.lane + box.ids ** 2 * 192]
                assert lanes.count(b"\2") == 0
        first.kill()


def test_two_brokers_do_not_lay_out_one_file():
    with Broker("--peers", "4", start=False) as first:
        file = File(first)
        first.start()
        with Mailbox(present(first).memory) as box:
            box.introduce(1, "mine")
            status, _, err = run_once("-F", "-S", first.path + "2", "-m", file.path, "--peers",
                                      "4", "-l", "1M")
            assert status == 4 and file.path in err, err
            assert box.entry(1).name == "mine" and box.present() == {1, 5}
        with Broker("--layout", "plain", "-m", file.path) as second:
            second.join()


# ---------------------------------------------------------------- memory that goes away


def test_truncating_a_named_file_does_not_end_the_broker():
    with Broker("--peers", "6", start=False) as broker:
        file = File(broker)
        broker.start()
        first = broker.join()
        os.truncate(file.path, 0)
        second = broker.join()
        said = broker.wait_event("mailbox-lost")
        assert said["level"] == "warning"
        first.until_knows(second.id)
        second.until_knows(first.id)
        first.ring(second.id, 1)
        second.wait(1)
        for _ in range(10):
            broker.join().leave()
            broker.until_peers(2)
        second.leave()
        first.until_left(second.id)
        broker.until_peers(1)
        assert len(broker.events("mailbox-lost")) == 1, "told once"


def test_a_file_that_is_cut_and_grown_again_does_no_harm():
    with Broker("--peers", "6", start=False) as broker:
        file = File(broker)
        broker.start()
        first = broker.join()
        for size in (4096, 0, MIB, 8192, 0, MIB):
            os.truncate(file.path, size)
            peer = broker.join()
            first.until_knows(peer.id)
            peer.leave()
            first.until_left(peer.id)


if __name__ == "__main__":
    run_tests(globals())
