#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mailbox_page.py - the message layer, seen by a peer that was written from docs/mailbox.md alone.

tests/support/mailbox_page.py is that peer. It talks to its like, to libfamez (through
famez-client) and to the server; it dies, restarts and is lied to. What it can't do, or what the
others do otherwise, shows that the page is wrong.
"""

import contextlib
import os
import random
import signal
import struct
import sys
import threading
import traceback
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from example import Example  # noqa: E402
from fabric import HANG_SECONDS, Broker, readable, run_tests, stop_process  # noqa: E402
from mailbox_page import (  # noqa: E402
    ABSENT, DATA, FEATURE_VECTOR_IS_SENDER, GROUP, GROUP_ENTER, GROUP_EXIT, LINK, ORDERED, PRESENT,
    File, Full, NoMailbox, NotThere, Peer, TooLarge)

SERVER = 9
LONG = HANG_SECONDS


class Fabric(Broker):
    """A broker with 8 peers, and peers from the page."""

    def __init__(self, *options, vectors=10, **how):
        super().__init__("--peers", "8", *options, vectors=vectors, size=None, **how)
        self.joined = []

    def page(self, name, **how):
        peer = Peer.join(self.path, name, **how)
        self.joined.append(peer)
        return peer

    def there(self, *peers):
        """Wait until all of these are present, not only joining."""
        for peer in peers:
            self.until(f"{peer.id} is present", lambda p=peer: p.who(p.id).presence == PRESENT)
        return peers

    def memory(self):
        """A descriptor of the memory, as a raw client gets it."""
        return self.join().memory

    def two_of_eight(self):
        """Two of as many as there is room for: whoever comes after one left has its ID."""
        return self.there(*(self.page(f"p{n}") for n in range(8)))[:2]

    def __exit__(self, kind, value, trace):
        for peer in self.joined:
            with contextlib.suppress(OSError, ValueError, AssertionError):
                peer.vanish()
        return super().__exit__(kind, value, trace)


def gone(fabric, peer):
    """Have a peer vanish without a word, and wait until the server has said so."""
    fabric.joined.remove(peer)
    leaves = fabric.report()["leaves"]
    peer.vanish()
    fabric.until("it left", lambda: fabric.report()["leaves"] > leaves)


def fill(peer, to, body):
    """Send until the lane is full; returns how often."""
    sent = 0
    with contextlib.suppress(Full):
        while True:
            peer.send(to, body)
            sent += 1
    return sent


class Waiter(threading.Thread):
    """A peer that sends one message, and waits for room as long as it takes. .error: how it ended.
    """

    def __init__(self, peer, to, body):
        super().__init__()
        self.what = peer, to, body
        self.error = None
        self.start()

    def run(self):
        peer, to, body = self.what
        try:
            peer.send(to, body, timeout=LONG)
        except Exception as err:
            self.error = err

    def ended(self):
        self.join()
        return self.error


class Process:
    """A peer in a process of its own: `body(peer)` runs there. Its end is its verdict."""

    def __init__(self, fabric, name, body, **how):
        ours, theirs = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(ours)
            status = 1
            try:
                signal.alarm(LONG * 2)
                peer = Peer.join(fabric.path, name, **how)
                os.write(theirs, bytes([peer.id]))
                body(peer)
                peer.close()
                status = 0
            except BaseException:
                traceback.print_exc()
            os._exit(status)
        os.close(theirs)
        with os.fdopen(ours, "rb") as pipe:
            self.id = pipe.read(1)[0]

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        return self.end()

    def end(self):
        return os.waitpid(self.pid, 0)[1]


# ---------------------------------------------------------------- file and directory


def test_the_header_is_what_the_formulas_give():
    for peers, vectors, options in ((8, 10, ()), (8, 1, ("--layout", "lanes")), (70, 72, ())):
        with Broker("--peers", str(peers), *options, vectors=vectors, size=None) as broker:
            raw = broker.join()
            file = File(raw.memory)
            g = file.geometry()
            assert (g.ids, g.server_id, g.vectors) == (peers + 2, peers + 1, vectors)
            told = [file.load(8, at) for at in (112, 120, 128, 136)]
            assert told == [g.directory_offset, g.inbox_offset, g.lane_offset, g.data_offset]
            assert file.load(4, 104) == g.inbox_bytes
            assert bool(g.features & FEATURE_VECTOR_IS_SENDER) == (vectors >= g.ids)
            assert [file.load(8, 8 * n) for n in range(5)] == [
                512, 128, peers, peers + 2, peers + 1]
            file.close()


def test_a_file_with_slots_only_has_no_header():
    with Broker("--peers", "8", "--layout", "slots", vectors=10, size=None) as broker:
        file = File(broker.join().memory)
        try:
            file.geometry()
        except NoMailbox:
            pass
        else:
            raise AssertionError("a header in a file without lanes")
        file.close()


def test_the_directory_shows_who_is_there():
    with Fabric() as fabric:
        alice, bob = fabric.there(fabric.page("alice", cclass="Compute"), fabric.page("bob"))
        entry = alice.who(bob.id)
        assert (entry.presence, entry.lanes, entry.name, entry.cclass) == (
            PRESENT, True, "bob", "Page")
        assert entry.joins == entry.join == 1 and entry.device == 0
        assert bob.named("alice") == alice.id and bob.who(alice.id).cclass == "Compute"
        server = alice.who(SERVER)
        assert server.presence == PRESENT and server.lanes and server.generation and server.name
        for ident in {0, *range(1, 9)} - {alice.id, bob.id}:
            assert alice.who(ident).presence == ABSENT
        ident = bob.id
        gone(fabric, bob)
        fabric.until("absent", lambda: alice.who(ident).presence == ABSENT)


def rings(peer):
    """How often a peer was rung since we last asked."""
    return sum(os.eventfd_read(bell) for bell in peer.bells[peer.id] if readable(bell))


def test_joins_and_leaves_are_counted_and_ring_those_who_watch():
    with Fabric() as fabric:
        watcher, other = fabric.there(fabric.page("watcher", watch=True), fabric.page("other"))
        # A ring for those two may come yet: what counts is one after which more changes are seen.
        before = fabric.report()["joins"]
        late, = fabric.there(fabric.page("late"))
        fabric.until("rung for the join", lambda: rings(watcher) and watcher.changes > before)
        assert watcher.named("late") == late.id
        before = watcher.changes
        gone(fabric, late)
        fabric.until("rung for the leave", lambda: rings(watcher) and watcher.changes > before)
        assert watcher.named("late") is None
        assert not rings(other)


# ---------------------------------------------------------------- messages


def test_messages_of_every_size_arrive_in_order_and_whole():
    with Fabric() as fabric:
        alice, bob = fabric.page("alice"), fabric.page("bob")
        dice = random.Random(1)
        sizes = [0, 1, 7, 8, 9, alice.payload_max] + [
            dice.randrange(alice.payload_max + 1) for _ in range(200)]
        for n in sizes:
            body = dice.randbytes(n)
            alice.send(bob.id, body)
            message = bob.receive(LONG)
            assert message.payload == body
            assert (message.sender, message.origin, message.type, message.generation) == (
                alice.id, alice.id, DATA, alice.generation)
        try:
            alice.send(bob.id, bytes(alice.payload_max + 1))
        except TooLarge:
            pass
        else:
            raise AssertionError("a message above half a lane was sent")
        told = bob.control(bob.id, alice.id)
        assert told["messages"] == len(sizes) and told["payload_bytes"] == sum(sizes)
        assert told["stale"] == told["garbled"] == 0


def test_a_batch_is_seen_when_it_is_published_and_not_before():
    with Fabric() as fabric:
        alice, bob = fabric.page("alice"), fabric.page("bob")
        for n in range(50):
            assert alice.put(bob.id, b"message %d" % n)
        assert bob.receive() is None
        alice.flush(bob.id)
        assert [bob.receive().payload for _ in range(50)] == [b"message %d" % n for n in range(50)]
        assert bob.receive() is None


def test_a_peer_can_send_to_itself():
    with Fabric() as fabric:
        alice = fabric.page("alice")
        alice.send(alice.id, b"note")
        assert alice.receive(LONG)[:2] == (alice.id, alice.id)


def traffic(peer, other_name, seed, count):
    """Send and receive `count` messages each way, with checksums, sleeping in between."""
    dice = random.Random(seed)
    other = None
    while other is None or not peer.who(other).lanes:
        other = peer.named(other_name)
        if other is None:
            peer.rest(0.01)
    sent = got = 0
    while sent < count or got < count:
        if sent < count and dice.random() < 0.55:
            body = bytes([sent & 255]) * dice.choice((0, 100, 1000, peer.payload_max - 8))
            peer.send(other, struct.pack("<II", sent, zlib.crc32(body)) + body, timeout=LONG)
            sent += 1
        elif got < count:
            message = peer.receive(0 if sent < count else LONG)
            if message is None:
                assert sent < count, f"message {got} never came"
                continue
            number, check = struct.unpack("<II", message.payload[:8])
            assert number == got and check == zlib.crc32(message.payload[8:])
            got += 1
    assert peer.receive() is None and not peer.garbled


def test_two_processes_talk_both_ways_and_sleep_and_lose_nothing():
    for vectors, options in ((10, ()), (2, ("--layout", "lanes"))):
        # Small lanes, so that they are full all the time.
        with Fabric("-l", "1M", *options, vectors=vectors) as fabric:
            pairs = [Process(fabric, name, lambda p, o=other, s=seed: traffic(p, o, s, 2000))
                     for name, other, seed in (("left", "right", 1), ("right", "left", 2))]
            assert [p.end() for p in pairs] == [0, 0]


def test_three_senders_keep_one_receiver_busy_and_none_is_lost():
    with Fabric("-l", "1M") as fabric:
        sink = fabric.page("sink")

        def send(peer):
            for n in range(1500):
                peer.send(sink.id, b"%d" % n + bytes(n % 700), timeout=LONG)
            while sink.id in peer.sending and peer.sending[sink.id].unread():
                peer.rest(1)
        senders = [Process(fabric, f"s{n}", send) for n in range(3)]
        seen = {s.id: 0 for s in senders}
        while sum(seen.values()) < 4500:
            message = sink.receive(LONG)
            assert message, f"lost: {seen}"
            n = seen[message.sender]
            assert message.payload == b"%d" % n + bytes(n % 700)
            seen[message.sender] += 1
        sink.keep()
        assert [s.end() for s in senders] == [0] * 3


def test_a_full_lane_says_so_and_whoever_waits_is_woken_when_there_is_room():
    with Fabric() as fabric:
        alice, bob = fabric.page("alice"), fabric.page("bob")
        body = bytes(1000)
        sent = fill(alice, bob.id, body)
        assert sent * 1016 >= alice.g.lane_bytes // 2
        waiter = Waiter(alice, bob.id, b"last" + bytes(996))
        try:
            for _ in range(sent):
                assert bob.receive(LONG).payload == body
            assert bob.receive(LONG).payload[:4] == b"last"
        finally:
            error = waiter.ended()
        assert not error, error
        assert alice.control(bob.id, alice.id)["full"] > 0
        assert bob.file.load(4, bob.g.control(bob.id, alice.id) + 128) == 0


def test_a_sender_that_waits_for_one_who_leaves_is_told():
    with Fabric() as fabric:
        alice, bob = fabric.there(fabric.page("alice"), fabric.page("bob"))
        fill(alice, bob.id, bytes(1000))
        waiter = Waiter(alice, bob.id, bytes(1000))
        gone(fabric, bob)
        assert isinstance(waiter.ended(), NotThere), "it waited for somebody who is gone"


# ---------------------------------------------------------------- the server


def test_the_server_answers_ping_with_pong():
    for vectors, options in ((10, ()), (1, ("--layout", "lanes")), (4, ("--layout", "lanes"))):
        with Fabric(*options, vectors=vectors) as fabric:
            peers = [fabric.page(f"p{n}") for n in range(5)]
            for _ in range(3):
                for peer in peers:
                    peer.send(SERVER, b"ping", type=LINK)
                for peer in peers:
                    answer = peer.receive(LONG)
                    assert answer, f"no answer to {peer.id}"
                    assert (answer.sender, answer.origin, answer.type, answer.payload) == (
                        SERVER, SERVER, LINK, b"pong")


def test_the_server_takes_more_than_a_lane_of_pings_and_answers_each():
    with Fabric("-l", "1M") as fabric:
        alice = fabric.page("alice")
        sent = answered = 0
        while answered < 3000:
            if sent < 3000 and sent - answered < 40:
                alice.send(SERVER, b"ping", type=LINK, timeout=LONG)
                sent += 1
            elif alice.receive(LONG):
                answered += 1
            else:
                raise AssertionError(f"{sent} sent, {answered} answered")


def test_a_group_hears_what_one_of_it_says_and_the_speaker_does_not():
    with Fabric() as fabric:
        crowd = [fabric.page(f"p{n}") for n in range(5)]
        inside, outside = crowd[:4], crowd[4]
        for peer in inside:
            peer.send(SERVER, b"", type=GROUP_ENTER, group=7)
            # Answered after that, by the same worker or another: so it is done.
            peer.send(SERVER, b"ping", type=LINK)
            assert peer.receive(LONG).payload == b"pong"
        # Whoever of them is served by another worker may hear a little later of who entered:
        # speak until all hear.
        heard = {p.id: [] for p in inside[1:]}
        for n in range(1000):
            inside[0].send(SERVER, b"hello %d" % n, type=GROUP, group=7, timeout=LONG)
            for peer in inside[1:]:
                message = peer.receive(0.05)
                if message:
                    heard[peer.id].append(message)
            if all(heard.values()):
                break
        for messages in heard.values():
            assert messages, "a member heard nothing"
            assert (messages[0].sender, messages[0].origin, messages[0].type,
                    messages[0].group) == (SERVER, inside[0].id, GROUP, 7)
            assert messages[0].payload.startswith(b"hello ")
        assert inside[0].receive() is None and outside.receive() is None
        for peer in inside:
            peer.send(SERVER, b"", type=GROUP_EXIT, group=7)


def test_the_server_is_not_disturbed_by_what_it_does_not_know():
    with Fabric() as fabric:
        alice = fabric.page("alice")
        for kind in range(16):
            for group in (0, 1, 4095):
                alice.send(SERVER, b"\xff" * 300, type=kind, group=group, timeout=LONG)
        alice.send(SERVER, b"", type=LINK)
        alice.send(SERVER, bytes(alice.payload_max), type=LINK, timeout=LONG)
        alice.send(SERVER, b"ping", type=LINK, timeout=LONG)
        while True:
            answer = alice.receive(LONG)
            assert answer, "the server is silent"
            if answer.payload == b"pong":
                break


# ---------------------------------------------------------------- restarts and new owners


def test_a_receiver_that_starts_anew_does_not_read_what_was_meant_for_the_last():
    with Fabric() as fabric:
        alice, bob = fabric.page("alice"), fabric.page("bob")
        alice.send(bob.id, b"first")
        assert bob.receive(LONG).payload == b"first"
        for n in range(5):
            alice.send(bob.id, b"for the last one %d" % n)
        # The driver is loaded anew: the same connection and ID.
        again = Peer(fabric.memory(), bob.id, bob.bells, "bob")
        assert again.generation != bob.generation
        alice.send(bob.id, b"for the new one")
        assert again.receive(LONG).payload == b"for the new one"
        assert again.receive() is None
        assert again.control(bob.id, alice.id)["stale"] == 5
        again.file.close()


def test_the_next_owner_of_an_id_reads_nothing_of_the_last_one_s():
    with Fabric() as fabric:
        alice, bob = fabric.two_of_eight()
        alice.send(bob.id, b"secret")
        bob.send(alice.id, b"old words")
        ident, generation = bob.id, bob.generation
        gone(fabric, bob)
        heir = fabric.page("heir")
        assert heir.id == ident and heir.generation != generation
        heir.send(alice.id, b"new words")
        alice.send(ident, b"for the heir", timeout=LONG)
        assert heir.receive(LONG).payload == b"for the heir"
        assert heir.receive() is None
        # What the last one said is still good, and tells whose it is.
        first, second = alice.receive(LONG), alice.receive(LONG)
        assert (first.payload, first.generation) == (b"old words", generation)
        assert (second.payload, second.generation) == (b"new words", heir.generation)
        assert alice.who(ident).generation == heir.generation


def test_a_sender_killed_at_any_point_leaves_whole_messages_and_stalls_nobody():
    with Fabric("-l", "1M") as fabric:
        alice = fabric.page("alice")
        crowd = [fabric.join() for _ in range(6)]  # so that the next ID is free, always the same
        fabric.until_peers(7)
        dice = random.Random(7)
        last = {}
        for round_ in range(12):
            def flood(peer):
                n = 0
                while True:
                    body = bytes([n & 255]) * (n * 37 % 1500)
                    peer.send(alice.id, struct.pack("<II", n, zlib.crc32(body)) + body,
                              timeout=LONG)
                    n += 1
            sender = Process(fabric, f"victim{round_}", flood)
            for _ in range(dice.randrange(1, 400)):
                message = alice.receive(LONG)
                assert message and message.sender == sender.id
                check_flood(message, last)
            sender.kill()
            while (message := alice.receive()) is not None:
                check_flood(message, last)
            fabric.until_peers(7)
        assert len(last) == 12 and not alice.garbled
        for raw in crowd:
            raw.leave()


def check_flood(message, last):
    # By generation: what a victim published and did not signal any more comes with the next one's.
    number, check = struct.unpack("<II", message.payload[:8])
    assert check == zlib.crc32(message.payload[8:]), "half a message"
    assert number == last.get(message.generation, -1) + 1
    last[message.generation] = number


def test_a_batch_that_its_sender_did_not_live_to_publish_is_never_seen():
    with Fabric() as fabric:
        alice, bob = fabric.two_of_eight()
        bob.send(alice.id, b"whole")
        for n in range(10):
            bob.put(alice.id, b"never published %d" % n)
        ident = bob.id
        gone(fabric, bob)
        heir = fabric.page("heir")
        assert heir.id == ident
        heir.send(alice.id, b"after it")
        assert [alice.receive(LONG).payload for _ in range(2)] == [b"whole", b"after it"]
        assert alice.receive() is None and not alice.garbled


def test_a_sender_that_died_before_it_said_what_it_published_is_taken_over():
    with Fabric() as fabric:
        alice, bob = fabric.two_of_eight()
        bob.send(alice.id, b"one")
        end = bob.sending[alice.id]
        for text in (b"two", b"three"):
            bob.put(alice.id, text)
        # S1, and no more.
        end.file.store(8, end.place(end.begun), end.first, ORDERED)
        ident = bob.id
        gone(fabric, bob)
        heir = fabric.page("heir")
        assert heir.id == ident
        heir.send(alice.id, b"four")
        assert [alice.receive(LONG).payload for _ in range(4)] == [
            b"one", b"two", b"three", b"four"]
        assert not alice.garbled


# ---------------------------------------------------------------- lies


def flows(sender, receiver, count=30):
    """Does the lane carry messages again? Some of the first may be lost."""
    lost, last = 0, None
    for n in range(count):
        try:
            sender.send(receiver.id, b"check %d" % n, timeout=5)
        except Full:
            lost += 1
        while (message := receiver.receive()) is not None:
            last = message.payload
    return last == b"check %d" % (count - 1) and lost == 0


def test_a_garbled_lane_is_set_right_and_the_others_flow_on():
    with Fabric() as fabric:
        alice, bob, carol = fabric.page("alice"), fabric.page("bob"), fabric.page("carol")
        dice = random.Random(3)
        kept = 0
        for round_ in range(200):
            for peer in (alice, carol):
                for n in range(3):
                    peer.send(bob.id, b"%d %d" % (round_, n) + bytes(round_), timeout=5)
            control = bob.g.control(bob.id, alice.id)
            data = bob.g.data(bob.id, alice.id)
            end = alice.sending[bob.id]
            at = data + (end.begun - 8 * dice.randrange(1, 10)) % bob.g.lane_bytes
            what = round_ % 6
            if what == 0:
                bob.file.store(8, at, dice.getrandbits(64))
            elif what == 1:
                bob.file.store(8, control, dice.getrandbits(64))
            elif what == 2:
                bob.file.store(8, control + 64, dice.getrandbits(64))
            elif what == 3:
                bob.file.store(4, control + 128, dice.getrandbits(32))
            elif what == 4:
                bob.file.map[data:data + 4096] = dice.randbytes(4096)
            else:
                bob.file.store(8, control, (end.begun + 8 * dice.randrange(-99, 99)) % 2**64)
                bob.file.store(8, control + 64, (end.begun + 8 * dice.randrange(-99, 99)) % 2**64)
            from_carol = []
            for _ in range(500):
                message = bob.receive()
                if message is None:
                    break
                if message.sender == carol.id:
                    from_carol.append(message.payload)
            assert from_carol == [b"%d %d" % (round_, n) + bytes(round_) for n in range(3)]
            kept += len(from_carol)
            assert flows(alice, bob, 8), f"round {round_}: the lane does not recover"
        assert kept == 600
        assert bob.control(bob.id, alice.id)["garbled"] > 0
        assert bob.control(bob.id, carol.id)["garbled"] == 0


def test_produced_scribbled_on_while_the_lane_is_full_does_not_stop_it_for_good():
    with Fabric() as fabric:
        alice, bob = fabric.page("alice"), fabric.page("bob")
        for lie in (0, 8, 2**40, 2**64 - 8, 12345):
            fill(alice, bob.id, bytes(1000))
            bob.file.store(8, bob.g.control(bob.id, alice.id), lie)
            while bob.receive() is not None:
                pass
            assert flows(alice, bob)


def test_a_lane_filled_with_records_that_have_no_end_is_left_after_a_round():
    for first in (48, 1):  # so that all fits to the end; or makes no sense there
        forge(first)


def forge(first):
    with Fabric() as fabric:
        alice, bob = fabric.page("alice"), fabric.page("bob")
        alice.send(bob.id, b"x" * first)
        assert bob.receive(LONG).payload == b"x" * first
        data = bob.g.data(bob.id, alice.id)
        record = struct.pack("<IIIHH", 64, bob.generation, alice.generation, 0, alice.id)
        whole = (record + bytes(48)) * (bob.g.lane_bytes // 64)
        bob.file.map[data:data + bob.g.lane_bytes] = whole
        word = bob.g.inbox(bob.id) + 64
        bob.file.change("fetch_or", 8, word, 1 << alice.id)
        count = 0
        while bob.receive() is not None:
            count += 1
            assert count < 2 * bob.g.lane_bytes // 64, "round and round"
        assert flows(alice, bob)


def test_who_scribbles_on_flags_delays_by_ticks_at_most():
    with Fabric() as fabric:
        alice, bob = fabric.page("alice"), fabric.page("bob")
        stop = threading.Event()
        scribbler = File(fabric.memory())
        g = bob.g

        def scribble():
            dice = random.Random(5)
            while not stop.is_set():
                scribbler.store(4, g.inbox(bob.id), 0)
                scribbler.store(4, g.inbox(alice.id), dice.choice((0, 1, 2**32 - 1)))
                scribbler.store(8, g.inbox(bob.id) + 64, 0)
                scribbler.store(8, g.inbox(alice.id) + 64, dice.choice((0, 2**64 - 1)))
                scribbler.store(4, g.control(bob.id, alice.id) + 128, 0)
                stop.wait(0.001)
        thread = threading.Thread(target=scribble)
        thread.start()
        try:
            peers = Process(fabric, "left", lambda p: traffic(p, "right", 1, 60)), Process(
                fabric, "right", lambda p: traffic(p, "left", 2, 60))
            for n in range(3):
                alice.send(bob.id, b"%d" % n)
                message = None
                while message is None:
                    alice.rest(0.01)  # its tick tells of the message again
                    message = bob.receive(0.5)
                assert message.payload == b"%d" % n
            assert [p.end() for p in peers] == [0, 0]
        finally:
            stop.set()
            thread.join()
            scribbler.close()


def test_header_and_geometry_changed_after_the_start_have_no_effect():
    with Fabric() as fabric:
        alice, bob = fabric.page("alice"), fabric.page("bob")
        alice.file.map[0:40] = b"\xff" * 40
        alice.file.map[64:152] = random.Random(2).randbytes(88)
        for n in range(200):
            alice.send(bob.id, b"%d" % n, timeout=LONG)
            assert bob.receive(LONG).payload == b"%d" % n
        alice.send(SERVER, b"ping", type=LINK)
        assert alice.receive(LONG).payload == b"pong"


# ---------------------------------------------------------------- libfamez


def test_libfamez_and_the_page_s_peer_send_each_other_messages():
    with Fabric() as fabric:
        alice = fabric.page("alice")
        fabric.there(alice)
        with Example(fabric.path, "lib", "alice", "hello from the library") as lib:
            message = alice.receive(LONG)
            assert message and message.payload == b"hello from the library"
            # It may speak before the server has announced it to anybody.
            ident = message.sender
            assert message.origin == ident == alice.named("lib")
            assert alice.who(ident).generation == message.generation
            alice.send(ident, b"hello from the page", timeout=LONG)
            assert lib.line() == "alice: hello from the page"


def test_libfamez_reads_all_that_the_page_s_peer_sends_through_full_lanes():
    with Fabric("-l", "1M") as fabric:
        alice, bob = fabric.page("alice"), fabric.page("bob")
        fabric.there(alice)
        with Example(fabric.path, "lib", "alice", "here") as lib:
            ident = alice.receive(LONG).sender
            lines = []
            reader = threading.Thread(target=lambda: lines.extend(lib.line() for _ in range(6000)))
            reader.start()
            stop_process(lib.process.pid)  # until a lane is full
            for n in range(3000):
                for peer in (alice, bob):
                    body = b"%d " % n + b"x" * (n % 1500)
                    try:
                        peer.send(ident, body)
                    except Full:
                        os.kill(lib.process.pid, signal.SIGCONT)
                        peer.send(ident, body, timeout=LONG)
            reader.join()
            for name in ("alice", "bob"):
                assert [line for line in lines if line.startswith(name)] == [
                    f"{name}: {n} " + "x" * (n % 1500) for n in range(3000)]
            assert alice.sending[ident].counters[3] + bob.sending[ident].counters[3] > 0


def test_a_libfamez_peer_that_is_killed_releases_who_waits_for_it():
    with Fabric() as fabric:
        alice = fabric.page("alice")
        fabric.there(alice)
        with Example(fabric.path, "lib", "alice", "here") as lib:
            ident = alice.receive(LONG).sender
            stop_process(lib.process.pid)
            fill(alice, ident, bytes(1000))
            waiter = Waiter(alice, ident, bytes(1000))
            os.kill(lib.process.pid, signal.SIGKILL)
            assert isinstance(waiter.ended(), NotThere)


if __name__ == "__main__":
    run_tests(globals())
