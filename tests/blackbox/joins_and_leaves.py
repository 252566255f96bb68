#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""joins_and_leaves.py - what plain clients are told as others come and go.

A leave is the ID without a descriptor; whoever comes under that ID later is announced afresh,
through the same eventfds, since an ID owns them. Freed IDs queue up: the one freed longest ago
is given next.
"""

import os
import random
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import (  # noqa: E402
    Bells, Broker, Gone, Refused, barrier, eventfd_id, full_mesh, readable, run_tests)


def refused(broker):
    """Somebody asks and is refused as the contract says: -1, 8 bytes, no descriptor, the end."""
    peer = broker.connect()
    try:
        peer.preamble()
    except Refused:
        assert peer.version == -1
        try:
            peer.receive(4096)
        except Gone:
            peer.close()
            return True
        raise AssertionError("something followed a refusal")
    return False


def test_a_leave_is_told_to_everybody_once_and_without_a_descriptor():
    with Broker() as broker:
        peers = [broker.join() for _ in range(8)]
        gone = peers.pop(3)
        for peer in peers:
            peer.until_knows(*[p.id for p in peers], gone.id)
        ident = gone.id
        gone.leave()
        for peer in peers:
            peer.until_left(ident)
        barrier(broker, peers)
        for peer in peers:
            assert peer.order.count(("left", ident)) == 1
        full_mesh(peers, extra=[1001])


def test_a_peer_that_vanishes_with_unread_messages_is_told_to_have_left():
    with Broker() as broker:
        witness = broker.join()
        for _ in range(20):
            victim = broker.connect()
            witness.read_until(lambda: len(witness.complete()) == 3)
            ident = (witness.complete() - {witness.id, 1001}).pop()
            victim.vanish()
            witness.until_left(ident)


def test_the_next_owner_of_an_id_gets_the_same_eventfds_and_is_announced_afresh():
    with Broker("--peers", "3") as broker:
        a, b, c = broker.join(), broker.join(), broker.join()
        for p in (a, b):
            p.until_exactly([a.id, b.id, c.id, 4])
        before = c.bell_ids(c.id)
        kept = [os.dup(fd) for fd in c.peers[c.id]]  # so that no new eventfd gets their numbers
        ident = c.id
        c.leave()
        a.until_left(ident)
        b.until_left(ident)
        c = broker.join()
        assert c.id == ident, "with all places but one taken only that ID was free"
        assert c.bell_ids(ident) == before
        for fd in kept:
            os.close(fd)
        for p in (a, b):
            p.until_knows(ident)
        full_mesh([a, b, c], extra=[4])
        assert a.order.count(ident) == 8


def test_rings_for_an_owner_that_has_left_do_not_reach_the_next_one():
    with Broker("--peers", "2") as broker:
        a, b = broker.join(), broker.join()
        a.until_knows(b.id)
        a.ring(b.id, 0)
        a.ring(b.id, 3, 1000)
        kept = [os.dup(fd) for fd in a.peers[b.id]]
        ident = b.id
        b.leave()
        a.until_left(ident)
        b = broker.join()
        assert b.id == ident and not any(b.rung(v) for v in range(4))
        # Through what was kept of the last owner's eventfds the new one is reached.
        os.eventfd_write(kept[2], 5)
        assert b.wait(2) == 5
        for fd in kept:
            os.close(fd)


def test_the_id_freed_longest_ago_is_given_next():
    with Broker("--silent", "--peers", "6") as broker:
        peers = {p.id: p for p in (broker.join() for _ in range(6))}
        gone = [4, 1, 5, 0]
        peers[2].until_knows(*peers)
        for ident in gone:
            peers.pop(ident).leave()
            peers[2].until_left(ident)
        assert [broker.join().id for _ in range(4)] == gone


def test_never_used_ids_are_given_before_freed_ones():
    with Broker("--silent", "--peers", "5") as broker:
        a = broker.join()
        for expected in (1, 2, 3, 4, 1, 2, 3, 4, 1):
            p = broker.join()
            assert p.id == expected
            a.until_knows(p.id)
            p.leave()
            a.until_left(expected)


def test_who_comes_to_a_full_server_is_refused_and_a_leave_frees_the_place():
    with Broker("--peers", "3") as broker:
        peers = [broker.join() for _ in range(3)]
        for _ in range(5):
            assert refused(broker)
        broker.wait_event("refuse", reason="full")
        ident = peers[1].id
        peers[0].until_knows(*[p.id for p in peers])
        peers.pop(1).leave()
        peers[0].until_left(ident)
        late = broker.join()
        assert late.id == ident
        assert refused(broker)
        for p in peers + [late]:
            p.until_exactly([1, 2, 3, 4])
        full_mesh(peers + [late], extra=[4])
        assert broker.report()["refused"] == 6


def test_after_a_leave_nothing_follows_until_the_client_has_read_it():
    """The Python clients read once with a large buffer and insist on 8 bytes: no notice may be
    glued to a leave's, which has no descriptor to keep them apart."""
    with Broker("--silent") as broker:
        reader, a = broker.join(), broker.join()
        reader.until_knows(a.id)
        for turn in range(10):
            b = broker.join()
            a.until_knows(b.id)
            ident_a, ident_b = a.id, b.id
            a.leave()
            b.until_left(ident_a)
            b.leave()
            a = broker.join()
            c = broker.join()
            a.until_knows(c.id)
            # All this is due to the reader now; it reads generously.
            expected = {reader.id, a.id, c.id}
            while set(reader.peers) != expected or reader.complete() != expected:
                data, fds = reader.receive(4096)
                assert len(data) == 8, f"turn {turn}: {len(data)} bytes in one read"
                assert len(fds) <= 1
                reader.judge(struct.unpack("<q", data)[0], fds[0] if fds else None)
            ident_c = c.id
            c.leave()
            reader.until_left(ident_c)
            a.until_left(ident_c)


def test_a_leave_follows_an_announcement_without_being_glued_to_it():
    with Broker("--silent") as broker:
        reader = broker.join()

        def read():
            data, fds = reader.receive(4096)
            assert len(data) == 8, f"{len(data)} bytes in one read"
            return reader.judge(struct.unpack("<q", data)[0], fds[0] if fds else None)

        for _ in range(50):
            broker.join().leave()  # if it was quick enough the reader is told nothing at all
            while reader.pending():
                read()
        last = broker.join()
        while reader.peers.keys() != {reader.id, last.id} or reader.unfinished is not None:
            read()


def test_a_hundred_rejoins_keep_every_view_exact():
    with Broker("--peers", "12") as broker:
        dice = random.Random(20221)
        peers = [broker.join() for _ in range(12)]
        for _ in range(100):
            gone = peers.pop(dice.randrange(len(peers)))
            if dice.random() < 0.5:
                gone.leave()
            else:
                gone.vanish()
                gone.close()
            broker.until("the place is free", lambda: broker.report()["peers"] == 11)
            peers.append(broker.join())
            if dice.random() < 0.3:
                for p in peers:
                    p.drain()
        for p in peers:
            p.until_exactly({q.id for q in peers} | {13})
        full_mesh(peers, extra=[13])


def test_storms_of_joins_and_leaves_end_in_an_exact_full_mesh():
    with Broker("--peers", "400", vectors=2) as broker:
        dice = random.Random(7)
        peers = [broker.connect() for _ in range(20)]
        for p in peers:
            p.open()
        for _ in range(12):
            fresh = [broker.connect() for _ in range(20)]
            dice.shuffle(peers)
            for gone in peers[:15]:
                gone.vanish()
                gone.close()
            peers = peers[15:] + fresh
            for p in fresh:
                p.open()
            while len(peers) > 30:
                peers.pop(dice.randrange(len(peers))).close()
        ids = {p.id for p in peers}
        for p in peers:
            p.until_exactly(ids | {401})
        barrier(broker, peers)
        full_mesh(peers, extra=[401])


def test_a_peer_that_leaves_in_the_middle_of_its_opening_is_no_trouble():
    with Broker("--peers", "200") as broker:
        bells = Bells()
        witnesses = [broker.join(bells=bells) for _ in range(90)]
        for step in range(0, 60, 3):
            p = broker.connect()
            for _ in range(step):
                p.message_raw()
            p.vanish()
        barrier(broker, witnesses)
        for p in witnesses:
            p.until_exactly({w.id for w in witnesses} | {201})
        full_mesh(witnesses, extra=[201])
        for p in witnesses:
            p.close()
        bells.close()


def test_a_client_may_close_its_eventfds_and_still_be_rung_and_leave():
    with Broker() as broker:
        a, b = broker.join(), broker.join()
        a.until_knows(b.id)
        number = eventfd_id(b.peers[b.id][0])
        for ident in list(b.peers):
            b._forget(ident)
        a.ring(b.id, 0)
        ident = b.id
        b.vanish()
        a.until_left(ident)
        assert number


def test_the_server_tells_nothing_more_to_who_has_been_told_all():
    with Broker() as broker:
        a, b = broker.join(), broker.join()
        a.until_knows(b.id)
        barrier(broker, [a, b])
        report = broker.report()
        for p in (a, b):
            assert not readable(p.sock)
            assert int(report.peers[p.id]["behind"]) == 0


if __name__ == "__main__":
    run_tests(globals())
