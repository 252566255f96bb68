#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mail.py - messages to the server while it is dead, and what they lead to under its successor.

While the keeper is stopped, nobody takes the place of a broker that was killed. torture.py has the
same under load, killed at any instant; tests/unit/test_mail_resume.c at every store.
"""

import os
import signal
import sys
import time
from contextlib import contextmanager

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from example import Example  # noqa: E402
from fabric import HANG_SECONDS, Broker, readable, run_tests  # noqa: E402
from lanes import DATA, ENTER, EXIT, GROUP, LINK, Lanes, Slot  # noqa: E402

NUMBER = 9


def lanes_broker(peers=6, vectors=16, size="4M"):
    return Broker("--peers", str(peers), "--layout", "lanes", vectors=vectors, size=size)


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().rpartition(") ")[2][0]


def until_state(pid, letter):
    deadline = time.monotonic() + HANG_SECONDS
    while state_of(pid) != letter:
        assert time.monotonic() < deadline, f"process {pid} is {state_of(pid)}, not {letter}"
        time.sleep(0.001)


@contextmanager
def nobody_serves(broker):
    """Killed; and after it a successor serves."""
    child, start = broker.child, broker.mark()
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        until_state(broker.pid, "T")
        os.kill(child, signal.SIGKILL)
        until_state(child, "Z")
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    broker.wait_event("resumed", start)


def answer(lanes):
    return lanes.receive(lanes.server).payload.decode()


def test_what_is_said_while_nobody_serves_is_answered_by_the_successor():
    with lanes_broker() as broker:
        peers = [Lanes(broker.join()) for _ in range(4)]
        for lanes in peers:
            assert lanes.ask("ping!EZT=1") == "pong!EZT=2"
        for death in range(3):
            with nobody_serves(broker):
                for n in range(5):
                    for lanes in peers:
                        assert lanes.send(lanes.server, f"ping!EZT={10 * death + n + 3}".encode(),
                                          LINK)
            for lanes in peers:
                for n in range(5):
                    assert answer(lanes) == f"pong!EZT={10 * death + n + 4}"
                assert lanes.take(lanes.server) is None


def test_who_never_spoke_before_and_one_who_started_anew_are_answered_too():
    with lanes_broker() as broker:
        silent, anew = Lanes(broker.join()), Lanes(broker.join())
        assert anew.ask("ping") == "pong"
        with nobody_serves(broker):
            anew.start()
            for lanes in (silent, anew):
                assert lanes.send(lanes.server, b"ping!EZT=5", LINK)
        assert answer(silent) == answer(anew) == "pong!EZT=6"


def test_membership_of_groups_survives_and_so_does_what_is_said_to_them():
    with lanes_broker() as broker:
        stays, leaves, comes, speaks = (Lanes(broker.join()) for _ in range(4))
        for lanes in (stays, leaves):
            assert lanes.send(lanes.server, b"", ENTER, group=NUMBER)
            assert lanes.ask("ping") == "pong"
        assert leaves.send(leaves.server, b"", EXIT, group=NUMBER)
        assert leaves.ask("ping") == "pong"
        with nobody_serves(broker):
            for n in range(3):
                assert speaks.send(speaks.server, f"{n}".encode(), GROUP, group=NUMBER)
        for n in range(3):
            m = stays.receive(stays.server)
            assert (m.payload, m.type, m.origin) == (f"{n}".encode(), GROUP, speaks.id), m
        with nobody_serves(broker):
            assert comes.send(comes.server, b"", ENTER, group=NUMBER)
            assert comes.send(comes.server, b"ping", LINK)
        assert answer(comes) == "pong"
        assert speaks.send(speaks.server, b"again", GROUP, group=NUMBER)
        for lanes in (stays, comes):
            assert lanes.receive(lanes.server).payload == b"again"
        assert leaves.ask("ping") == "pong"
        assert broker.report().mail["memberships"] == 2


def test_who_waits_for_room_is_rung_by_the_successor():
    with lanes_broker() as broker:
        lanes = Lanes(broker.join())
        assert lanes.ask("ping") == "pong"
        bell = lanes.peer.peers[lanes.id][lanes.own_vector(lanes.server)]
        with nobody_serves(broker):
            while lanes.send(lanes.server, bytes(lanes.payload_max() // 2), DATA):
                pass
            lanes.u32[(lanes.control(lanes.server, lanes.id) + 128) // 4] = 1
        assert readable(bell, HANG_SECONDS), "it was not rung"
        broker.until("there is room", lambda: not lanes.unread(lanes.server))
        assert lanes.ask("ping") == "pong"


def test_what_an_id_s_owner_said_before_he_left_is_not_the_next_one_s():
    with lanes_broker(peers=2) as broker:
        member, old = Lanes(broker.join()), Lanes(broker.join())
        assert member.send(member.server, b"", ENTER, group=NUMBER)
        assert member.ask("ping") == "pong"
        assert old.ask("ping") == "pong"
        with nobody_serves(broker):
            assert old.send(old.server, b"ping", LINK)
            assert old.send(old.server, b"farewell", GROUP, group=NUMBER)
            ident = old.id
            old.peer.leave()
        broker.until_peers(1)
        new = Lanes(broker.join())
        assert new.id == ident
        assert new.ask("ping!EZT=1") == "pong!EZT=2"
        assert member.receive(member.server).payload == b"farewell"


def test_a_v1_client_s_text_is_answered_and_the_server_keeps_what_it_knows_of_it():
    with Broker("--peers", "14", vectors=16, size="4M") as broker:
        a = Slot(broker.join(), "a")
        assert a.ask("Link RFC TTC=27us").endswith("Tag=1")
        with nobody_serves(broker):
            a.say(a.server, "Link RFC TTC=27us")
        assert a.hear(a.server).endswith("Tag=2")
        with nobody_serves(broker):
            pass
        assert a.ask("Link RFC TTC=27us").endswith("Tag=3")


def test_peers_by_libfamez_speak_to_each_other_meanwhile():
    with lanes_broker() as broker:
        with Example(broker.path, "listens") as listens:
            broker.until_peers(1)
            with nobody_serves(broker):
                pass
            with Example(broker.path, "speaks", "listens", "hello"):
                assert listens.line() == "speaks: hello"


def test_the_server_s_heartbeat_goes_on_from_where_it_was():
    with lanes_broker() as broker:
        lanes = Lanes(broker.join())
        at = (lanes.entry(lanes.server) + 80) // 8
        generation = lanes.generation_of(lanes.server)
        broker.until("the server lives", lambda: lanes.u64[at] >= 1)
        with nobody_serves(broker):
            before = lanes.u64[at]
        broker.until("it lives again", lambda: lanes.u64[at] > before)
        assert lanes.u64[at] <= before + 30
        assert lanes.generation_of(lanes.server) == generation


if __name__ == "__main__":
    run_tests(globals())
