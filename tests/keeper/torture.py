#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""torture.py - the broker is killed again and again under a fabric in full use: nobody notices.

    tests/keeper/torture.py --server PATH [FILTER ...]

Devices, plain clients, peers with messages and two Linux guests ring and send all the time, come
and go; the process that serves is killed with SIGKILL at random instants. No client may see an end
of its stream, everybody's view must be exact, no doorbell and no message lost, doubled or out of
order (load.py). Printed is the time from the kill until a newcomer's opening was answered.

Environment, for the long run: FAMEZ_TORTURE_KILLS (12; the issue's number is 200),
FAMEZ_TORTURE_PEERS (90; 200), FAMEZ_TORTURE_CROWD (200; 1000), FAMEZ_TORTURE_GUESTS (2), FAMEZ_TORTURE_SEED.
"""

import contextlib
import os
import random
import signal
import sys
import time

from load import Clock, Load  # it finds the others
import fabric
from fabric import HANG_SECONDS, Broker, RawPeer, run_tests
from stage import Crowd

KILLS = int(os.environ.get("FAMEZ_TORTURE_KILLS", "12"))
PEERS = int(os.environ.get("FAMEZ_TORTURE_PEERS", "90"))
CROWD = int(os.environ.get("FAMEZ_TORTURE_CROWD", "200"))
SEED = int(os.environ.get("FAMEZ_TORTURE_SEED", time.time_ns() % 1000000))
# A broker that lived so long is followed by the next one at once.
UNDELAYED_S = 1.0

fabric.TEST_HANG_SECONDS = 6 * HANG_SECONDS + 4 * KILLS


@contextlib.contextmanager
def no_waiting_of_ours():
    """What is measured is how long the broker takes, not how long this test waits for a processor;
    where that is not allowed, it is both."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        pass
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def kill(broker):
    """Kill it, come as a newcomer, and be answered: the seconds that it took."""
    mark = broker.mark()
    child = broker.child  # finding it takes this test 2 ms
    with no_waiting_of_ours():
        begun = time.monotonic()
        os.kill(child, signal.SIGKILL)
        with_nothing = RawPeer(broker.path, broker.vectors)
        with_nothing.preamble()
        took = time.monotonic() - begun
    broker.wait_event("resumed", mark)
    with_nothing.close()
    return took


def kill_all_the_time(broker, dice, count, clock, between=lambda: None):
    """So many kills: most after a second, some while the successor is busy with what it found."""
    for _ in range(count):
        if dice.random() < 0.8:
            between()
            time.sleep(UNDELAYED_S + dice.random() * 0.2)
            clock.note(kill(broker))
        else:
            time.sleep(dice.random() * 0.02)
            kill(broker)


def test_a_fabric_in_full_use_does_not_notice_that_its_broker_is_killed():
    dice = random.Random(SEED)
    print(f"# seed {SEED}", flush=True)
    clock = Clock()
    seats = min(128, PEERS // 2)
    rest = PEERS - seats - 6
    with Load(seats, rest // 2, rest // 4, rest // 8, KILLS + 2, SEED) as load:
        done = 0
        while done < KILLS or load.talks:
            kill_all_the_time(load.broker, dice, 1, clock, load.guests_ring)
            done += 1
            failed = load.failures()
            assert not failed, failed[0]
        sums = load.end()
        died = load.broker.events("died")
        assert len(died) == done, f"{done} were killed, and {len(died)} died"
        assert {e["signal"] for e in died} <= {"KILL", "SIGKILL", "9"}, died[0]
        print(f"# {load.count} peers, {done} kills; " +
              ", ".join(f"{k} {v}" for k, v in sums.items()), flush=True)
    clock.say("from death to a newcomer's answer")


def test_many_peers_are_served_again_soon():
    dice = random.Random(SEED + 1)
    clock = Clock()
    with Broker("--peers", str(CROWD + 8), vectors=4, size=None, verbose=0) as broker:
        crowd = Crowd(broker.path, 4)
        try:
            crowd("join", CROWD)
            crowd("full", CROWD + 1)
            for _ in range(KILLS):
                crowd.start("churn", 40)  # joins and leaves, all of them told to everybody
                kill_all_the_time(broker, dice, 1, clock)
                crowd.answer()
            crowd("full", CROWD + 1)
            broker.until_peers(CROWD)
        finally:
            crowd.close()
        inside = Clock()
        for line in broker.events("resumed"):
            inside.note(int(line["us"]) / 1e6)
    clock.say(f"{CROWD} peers x 4 vectors, from death to a newcomer's answer")
    inside.say("of which the successor took to begin")


if __name__ == "__main__":
    print(f"# seed {SEED}", file=sys.stderr)
    run_tests(globals())
