#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""opening.py - what a client is told first, and in which order.

Version, ID, memory; then every present peer's eventfds in vector order; its own last. RawPeer
asserts the grammar of each message; these tests look at the whole.
"""

import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import Bells, Broker, barrier, full_mesh, readable, run_tests  # noqa: E402


def blocks(order):
    """The order of notices with runs of one ID drawn together: [(id, length), ...]."""
    runs = []
    for ident in order:
        if runs and runs[-1][0] == ident:
            runs[-1][1] += 1
        else:
            runs.append([ident, 1])
    return [tuple(run) for run in runs]


def test_the_first_three_messages_are_version_0_the_id_and_the_memory():
    with Broker("--silent") as broker:
        peer = broker.connect()
        assert peer.message() == (0, None)
        value, fd = peer.message()
        assert (value, fd) == (0, None)
        value, fd = peer.message()
        assert value == -1 and os.fstat(fd).st_size == 1 << 20
        os.close(fd)


def test_a_lone_client_of_a_silent_server_is_told_its_own_vectors_only():
    with Broker("--silent", vectors=3) as broker:
        peer = broker.join()
        assert peer.order == [peer.id] * 3


def test_ids_start_at_0_with_silent_and_count_up():
    with Broker("--silent") as broker:
        assert [broker.join().id for _ in range(5)] == [0, 1, 2, 3, 4]


def test_ids_start_at_1_and_the_server_is_one_more_than_the_most_peers():
    with Broker("--peers", "9") as broker:
        peers = [broker.join() for _ in range(9)]
        assert [p.id for p in peers] == list(range(1, 10))
        first = peers[0]
        assert sorted(set(first.order)) == [1, 10]
        for p in peers:
            p.until_exactly(range(1, 11))


def test_the_server_has_as_many_vectors_as_any_peer_and_counts_who_rang_which():
    with Broker("--peers", "9", vectors=3) as broker:
        peer = broker.join()
        assert len(peer.peers[10]) == 3
        peer.ring(10, 2)
        broker.until("a ring counted", lambda: broker.report().vectors.get(2) == 1)
        for vector in (0, 2, 2):
            peer.ring(10, vector)
        # Two rings may be seen in one look, but each is counted: an eventfd adds up.
        broker.until("more rings counted", lambda: broker.report().vectors.get(2, 0) == 3
                     and broker.report().vectors.get(0) == 1)
        assert 1 not in broker.report().vectors


def test_all_peers_are_told_in_vector_order_and_the_own_vectors_come_last():
    with Broker("--silent", vectors=5) as broker:
        peers = []
        for n in range(12):
            peer = broker.join()
            broker.until_peers(n + 1)  # then it is present for the next one
            peers.append(peer)
            runs = blocks(peer.order)
            assert all(length == 5 for _, length in runs)
            assert {ident for ident, _ in runs} == set(range(n + 1))
            assert runs[-1][0] == peer.id
        for peer in peers:
            peer.until_exactly(range(12))
        full_mesh(peers)


def test_vectors_are_told_in_the_order_in_which_their_owner_was_told_them():
    with Broker(vectors=7) as broker:
        a, b = broker.join(), broker.join()
        a.until_knows(b.id)
        b.until_knows(a.id)
        for vector in range(7):
            a.ring(b.id, vector)
            assert b.wait(vector) == 1
            assert not any(b.rung(v) for v in range(7))
            b.ring(a.id, vector)
            assert a.wait(vector) == 1


def test_a_peer_can_ring_itself():
    with Broker() as broker:
        peer = broker.join()
        peer.ring(peer.id, 3, 7)
        assert peer.wait(3) == 7


def test_rings_before_anybody_waits_are_kept_and_added_up():
    with Broker() as broker:
        a, b = broker.join(), broker.join()
        a.until_knows(b.id)
        for _ in range(5):
            a.ring(b.id, 1)
        assert b.wait(1) == 5


def test_one_vector_and_many_vectors():
    for vectors in (1, 2, 64, 2048):
        with Broker("--peers", "4", vectors=vectors) as broker:
            a, b = broker.join(), broker.join()
            for p in (a, b):
                p.until_exactly([1, 2, 5])
            full_mesh([a, b], extra=[5])


def test_every_eventfd_is_nonblocking_and_belongs_to_one_vector_alone():
    with Broker(vectors=6) as broker:
        a, b = broker.join(), broker.join()
        a.until_knows(b.id)
        b.until_knows(a.id)
        seen = [i for peer in a.peers for i in a.bell_ids(peer)]
        assert len(set(seen)) == len(seen) == 18
        for bells in a.peers.values():
            for fd in bells:
                assert not os.get_blocking(fd)


def test_a_client_that_reads_late_finds_the_three_openers_in_one_read_of_24_bytes():
    with Broker("--silent") as broker:
        peer = broker.connect()
        other = broker.join()
        while peer.pending_bytes() < 24:
            assert readable(peer.sock, 60)
        data, fds = peer.receive(4096)
        assert len(data) == 24 and len(fds) == 1
        assert struct.unpack("<qqq", data) == (0, 0, -1)
        os.close(fds[0])
        # From then on one message a read, however large the read.
        for _ in range(4):
            data, fds = peer.receive(4096)
            assert data == struct.pack("<q", 0) and len(fds) == 1
            os.close(fds[0])
        for _ in range(4):
            data, fds = peer.receive(4096)
            assert data == struct.pack("<q", other.id) and len(fds) == 1
            os.close(fds[0])


def test_a_newcomer_is_announced_only_when_its_own_opening_is_queued():
    with Broker(vectors=4) as broker:
        peers = [broker.join() for _ in range(20)]
        witness = peers[0]
        witness.until_knows(*[p.id for p in peers])
        for _ in range(20):
            late = broker.connect()
            known = set(witness.peers)
            witness.read_until(lambda: witness.peers.keys() - known)
            # Now somebody has been told: then the whole opening must be readable without waiting.
            late.preamble()
            while not late.opened:
                assert late.pending(), "announced before its own opening was queued"
                late.step()
            witness.until_knows(late.id)
            peers.append(late)


def test_dozens_of_peers_joining_at_once_see_an_exact_full_mesh():
    with Broker(vectors=4) as broker:
        peers = [broker.connect() for _ in range(50)]
        for peer in peers:
            peer.open()
        ids = {p.id for p in peers}
        assert ids == set(range(1, 51))
        for peer in peers:
            peer.until_exactly(ids | {1001})
        full_mesh(peers, extra=[1001])
        barrier(broker, peers)
        full_mesh(peers, extra=[1001])


def test_a_hundred_and_fifty_peers_with_four_vectors_see_an_exact_full_mesh():
    bells = Bells()
    with Broker(vectors=4) as broker:
        peers = [broker.connect(bells=bells) for _ in range(150)]
        for peer in peers:
            peer.open()
        ids = {p.id for p in peers}
        for peer in peers:
            peer.until_exactly(ids | {1001})
        full_mesh(peers, extra=[1001])
        for peer in peers:
            peer.close()
    bells.close()


def test_the_opening_of_a_client_that_came_among_many_lists_them_all():
    bells = Bells()
    with Broker("--silent", vectors=4) as broker:
        crowd = [broker.connect(bells=bells) for _ in range(120)]
        for peer in crowd:
            peer.open()
        # 480 messages: more than a socket holds unread.
        late = broker.join(bells=bells)
        assert set(late.peers) == set(range(121))
        assert blocks(late.order)[-1] == (late.id, 4)
        for peer in crowd:
            peer.close()
    bells.close()


if __name__ == "__main__":
    run_tests(globals())
