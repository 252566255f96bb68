#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""backpressure.py - a client that does not read costs a cursor and nothing else.

Others are not delayed by it; what it missed it is told when it reads on, without the peers that
came and went meanwhile; --stall-timeout drops it.
"""

import os
import resource
import select
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import (  # noqa: E402
    HANG_SECONDS, Bells, Broker, barrier, full_mesh, readable, run_tests, settings,
    unprivileged_uid)


def test_others_are_not_delayed_by_clients_that_never_read():
    bells = Bells()
    with Broker() as broker:
        asleep = [broker.connect(bells=bells) for _ in range(10)]
        peers = [broker.connect(bells=bells) for _ in range(100)]
        for peer in peers:
            peer.open()
        for peer in peers:
            peer.read_until(lambda p=peer: len(p.complete()) == 111)
        ids = {p.id for p in peers}
        late = broker.join(bells=bells)
        for peer in peers:
            peer.until_knows(late.id)
        # And the sleepers find everything when they wake.
        for peer in asleep:
            peer.open()
        everybody = peers + asleep + [late]
        for peer in everybody:
            peer.read_until(lambda p=peer: len(p.complete()) == 112)
        full_mesh(everybody, extra=[1001])
        assert len(ids) == 100
        for peer in everybody:
            peer.close()
    bells.close()


def test_a_backlog_of_far_more_than_a_socket_holds_is_told_in_full():
    bells = Bells()
    with Broker(vectors=16) as broker:
        sleeper = broker.join(bells=bells)
        peers = [broker.join(bells=bells) for _ in range(50)]  # 800 messages
        assert broker.report().peers[sleeper.id]["behind"] != "0"
        sleeper.until_exactly({p.id for p in peers} | {sleeper.id, 1001})
        for peer in peers:
            peer.until_exactly({p.id for p in peers} | {sleeper.id, 1001})
        full_mesh(peers + [sleeper], extra=[1001])
    bells.close()


def test_peers_that_came_and_went_meanwhile_are_skipped():
    with Broker("--peers", "2000", vectors=4) as broker:
        sleeper = broker.join()
        witness = broker.join()
        churned = 400
        for _ in range(churned):
            p = broker.join()
            ident = p.id
            witness.until_knows(ident)
            p.leave()
            witness.until_left(ident)
        last = broker.join()
        sleeper.until_exactly([sleeper.id, witness.id, last.id, 2001])
        # A socket holds some 278 messages; of the other peers nothing is said.
        heard = len(sleeper.order)
        assert heard < 600, f"{heard} messages about {churned} peers, all gone"
        barrier(broker, [sleeper])
        full_mesh([sleeper], extra=[witness.id, last.id, 2001])


def test_a_sleeper_is_told_the_leave_of_those_it_knows_and_nothing_of_those_it_does_not():
    bells = Bells()
    with Broker("--peers", "150", vectors=4) as broker:
        known = [broker.join(bells=bells) for _ in range(20)]
        sleeper = broker.join(bells=bells)
        crowd = [broker.join(bells=bells) for _ in range(100)]
        for p in known[:10] + crowd[:50]:
            p.leave()
        broker.until_peers(61)
        stay = {p.id for p in known[10:] + crowd[50:]}
        sleeper.until_exactly(stay | {sleeper.id, 151})
        barrier(broker, [sleeper])
        assert set(sleeper.peers) == stay | {sleeper.id, 151}
    bells.close()


def test_a_sleeper_sees_an_id_that_changed_its_owner_as_the_one_it_is():
    bells = Bells()
    with Broker("--peers", "82", vectors=4) as broker:
        sleeper = broker.join(bells=bells)
        crowd = [broker.join(bells=bells) for _ in range(81)]
        for _ in range(3):
            for p in crowd[40:]:
                p.leave()
            broker.until_peers(41)
            crowd[40:] = [broker.join(bells=bells) for _ in range(41)]
        sleeper.until_exactly({p.id for p in crowd} | {sleeper.id, 83})
        for p in crowd:
            p.until_exactly({q.id for q in crowd} | {sleeper.id, 83})
        full_mesh(crowd + [sleeper], extra=[83])
    bells.close()


def test_a_sleeper_that_reads_one_message_a_turn_catches_up():
    bells = Bells()
    with Broker(vectors=4) as broker:
        sleeper = broker.join(bells=bells)
        peers = []
        for _ in range(90):
            peers.append(broker.join(bells=bells))
            sleeper.step()
        sleeper.until_exactly({p.id for p in peers} | {sleeper.id, 1001})
    bells.close()


def test_a_client_that_never_reads_its_opening_is_a_member_once_it_is_queued():
    with Broker(vectors=2) as broker:
        witness = broker.join()
        sleeper = broker.connect()
        witness.read_until(lambda: len(witness.complete()) == 3)
        ident = (witness.complete() - {witness.id, 1001}).pop()
        witness.ring(ident, 1)
        sleeper.open()
        assert sleeper.id == ident and sleeper.wait(1) == 1


def test_an_opening_that_does_not_fit_the_socket_is_announced_when_the_rest_is_read():
    with Broker("--silent", "--peers", "20", vectors=64) as broker:
        peers = [broker.join() for _ in range(8)]  # 512 messages for the next one
        late = broker.connect()
        second = broker.join()  # joins in full while the other one's opening waits
        for p in peers:
            p.until_knows(second.id)
            assert 8 not in p.peers, "announced before its opening was queued"
        late.open()
        assert late.id == 8
        for p in peers + [second]:
            p.until_knows(8)
        for p in peers + [late, second]:
            p.until_exactly(range(10))
        full_mesh(peers + [late, second])


def test_stall_timeout_drops_who_does_not_read_and_nobody_else():
    bells = Bells()
    with Broker("--stall-timeout", "3", "--peers", "200") as broker:
        idle, reader = broker.join(bells=bells), broker.join(bells=bells)
        stuck = broker.join(bells=bells)
        crowd = []
        for _ in range(90):
            crowd.append(broker.join(bells=bells))
            for p in [idle, reader] + crowd:
                p.drain()
        for p in [idle, reader] + crowd:
            p.until_knows(*[q.id for q in crowd])
        entry = broker.wait_event("drop", id=stuck.id)
        assert entry["reason"] == "stalled" and int(entry["pid"]) == os.getpid()
        for p in [idle, reader] + crowd:
            p.until_left(stuck.id)
        full_mesh([idle, reader] + crowd, extra=[201])
        assert len(broker.events("drop")) == 1
        stuck.until_closed()
    bells.close()


def test_without_stall_timeout_a_stalled_client_stays():
    bells = Bells()
    with Broker("--peers", "200") as broker:
        stuck = broker.join(bells=bells)
        crowd = [broker.join(bells=bells) for _ in range(90)]
        last = crowd[-1]
        last.until_exactly({p.id for p in crowd} | {stuck.id, 201})
        assert not readable(last.sock, 1.5)
        assert broker.report()["peers"] == 91
        assert not broker.events("drop")
        stuck.until_exactly({p.id for p in crowd} | {stuck.id, 201})
    bells.close()


def test_a_stalled_server_process_uses_no_cpu():
    """With a client stuck the server waits for it: it does not try and try."""
    bells = Bells()
    with Broker("--peers", "200") as broker:
        stuck = broker.join(bells=bells)
        crowd = [broker.join(bells=bells) for _ in range(90)]
        for p in crowd:
            p.until_exactly({q.id for q in crowd} | {stuck.id, 201})
        before = broker.cpu_ticks()
        assert not readable(crowd[-1].sock, 1.0)
        assert broker.cpu_ticks() - before <= 40, "the server spins"
        stuck.drain()
    bells.close()


def test_descriptors_in_flight_beyond_the_limit_are_back_pressure():
    """An unprivileged server may have only RLIMIT_NOFILE descriptors in flight (ETOOMANYREFS)."""
    uid = unprivileged_uid()
    room = tempfile.mkdtemp(prefix="famez-test-")
    try:
        binary = shutil.copy(settings.server, os.path.join(room, "famez-server"))
        with Broker("--peers", "40", "--leaves", "always", binary=binary, directory=room,
                    user=uid, limits={resource.RLIMIT_NOFILE: (512, 512)}) as broker:
            peers = [broker.connect() for _ in range(40)]
            # Thousands are due; few can be in flight. Whoever reads makes room for all.
            # But nobody may wait for one's messages with the others' unread.
            poll = select.poll()
            of = {p.sock.fileno(): p for p in peers}
            for fd in of:
                poll.register(fd, select.POLLIN)
            waiting = set(of)
            while waiting:
                ready = poll.poll(HANG_SECONDS * 1000)
                assert ready, "nothing comes any more"
                for fd, _ in ready:
                    of[fd].step()
                    if len(of[fd].complete()) == 41:
                        waiting.discard(fd)
            full_mesh(peers, extra=[41])
            before = broker.cpu_ticks()
            assert not readable(peers[0].sock, 0.5)
            assert broker.cpu_ticks() - before <= 25, "the server spins"
    finally:
        shutil.rmtree(room)


def test_a_client_stuck_at_the_servers_end_sees_the_end_of_the_stream():
    bells = Bells()
    with Broker() as broker:
        stuck, other = broker.join(bells=bells), broker.join(bells=bells)
        crowd = [broker.join(bells=bells) for _ in range(80)]
        broker.peers.clear()
        broker.stop()
        for p in [stuck, other] + crowd:
            p.until_closed()
            p.close()
    bells.close()



if __name__ == "__main__":
    run_tests(globals())
