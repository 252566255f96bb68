#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""points.py - the broker is killed behind every store into the state and every message sent.

    tests/keeper/points.py --server .../famez-server-faults [FILTER ...]

One scene: devices and plain clients come, leave and come again under the same IDs, somebody is
refused, somebody vanishes, questions, groups. It is played once to learn which points it passes
(broker/point.h), and then again and again with a death at one of them, or with a second death
while the successor takes over. However it was interrupted, it must end as it does undisturbed.

Environment: FAMEZ_POINTS=all plays it for every passing of every point, which takes minutes;
FAMEZ_POINTS=N for N passings of each (2). FAMEZ_POINTS_SEED says which; it is printed.
"""

import os
import random
import re
import subprocess
import sys
import time

from members import Devices, judge, settle, until_let_in
from fabric import AS_PLAIN, Broker, Gone, Refused, run_tests, settings  # found by members
from lanes import ENTER, EXIT, GROUP, LINK, Lanes

PEERS = 6
VECTORS = 2
SERVER = PEERS + 1
BELL = 1  # the vector that is not for mail
SEED = int(os.environ.get("FAMEZ_POINTS_SEED", time.time_ns() % 1000000))
EACH = os.environ.get("FAMEZ_POINTS", "2")

# Where every point must have been the last one of a broker.
STATE = re.compile(r"^(state|ledger|recover|peer|worker|registrar|mail|groups|bells|sweep)\w*\.c:")

devices = None


def the_devices():
    global devices
    if devices is None:
        devices = Devices()
    return devices


def fabric(plan, **how):
    return Broker("--peers", str(PEERS), "--layout", "lanes", *AS_PLAIN, vectors=VECTORS,
                  size="4M", workers=settings.workers or 2, env={"FAMEZ_CRASH": plan}, **how)


def talk(asker, member, other, start):
    """Questions are answered once and in order, and so is what is said to a group passed on."""
    for n in range(start, start + 3):
        assert asker.send(asker.server, f"ping!EZT={n}".encode(), LINK)
    for lanes in (member, other):
        assert lanes.send(lanes.server, b"", ENTER, group=9)
        assert lanes.ask(f"ping!EZT={start}") == f"pong!EZT={start + 1}"
    for n in range(start, start + 3):
        assert asker.send(asker.server, str(n).encode(), GROUP, group=9)
    for n in range(start, start + 3):
        assert asker.receive(asker.server).payload == f"pong!EZT={n + 1}".encode()
        for lanes in (member, other):
            heard = lanes.receive(lanes.server)
            assert (heard.payload, heard.group) == (str(n).encode(), 9), heard
    assert other.send(other.server, b"", EXIT, group=9)
    assert other.ask("ping") == "pong"
    assert asker.send(asker.server, b"last", GROUP, group=9)
    assert member.receive(member.server).payload == b"last"
    for lanes in (asker, member, other):
        more = lanes.take(lanes.server)
        assert more is None, f"{more} came once more"


def all_at_once(*members):
    """Several speak to a group at the same time: more than one is being passed on at once."""
    for m in members:
        assert m.send(m.server, b"", ENTER, group=8)
        assert m.ask("ping") == "pong"
    for n in range(4):
        for m in members:
            assert m.send(m.server, bytes([n]) * 40, GROUP, group=8, ring=n == 3)
    for m in members:
        heard = {other.id: [] for other in members if other is not m}
        for _ in range(4 * len(heard)):
            message = m.receive(m.server)
            heard[message.origin].append(message.payload[0])
        assert all(said == [0, 1, 2, 3] for said in heard.values()), f"{m.id} heard {heard}"
    for m in members:
        assert m.send(m.server, b"", EXIT, group=8)
        assert m.ask("ping") == "pong"
        assert m.take(m.server) is None, "something came once more"


def scene(broker):
    """Returns those who are there at its end."""
    vm = the_devices()
    a = broker.join()
    one = vm.join(broker)
    b = broker.join()
    two = vm.join(broker)
    c = broker.join()
    d = broker.join()
    for peer in (a, b, c, d):
        peer.until_exactly(range(1, SERVER + 1))
    for device in (one, two):
        device.until_knows(*range(1, SERVER + 1))
    try:
        broker.join()
        raise AssertionError("a seventh was let in")
    except Refused as err:
        assert err.args[0] == -1, f"refused with version {err.args[0]}"
        broker.peers.pop().close()
    asker, member, other = (Lanes(p) for p in (c, d, b))
    talk(asker, member, other, 10)
    ident = b.id
    b.leave()
    a.until_left(ident)
    e = until_let_in(broker)
    assert e.id == ident
    a.until_knows(ident)
    ident = two.id
    two.leave()
    c.until_left(ident)
    two = until_let_in(broker, vm.join)
    assert two.id == ident
    c.until_knows(ident)
    ident = a.id
    a.vanish()  # much unread
    c.until_left(ident)
    f = until_let_in(broker)
    assert f.id == ident
    other = Lanes(e)
    talk(asker, member, other, 20)
    all_at_once(asker, member, other, Lanes(f))
    return [one, two, c, d, e, f], asker, member


def play(plan):
    """The scene with these deaths; returns (the dead ones' points, lines of the log)."""
    with fabric(plan) as broker:
        members, asker, member = scene(broker)
        for ident in range(1, PEERS + 1):
            assert asker.u32[asker.entry(ident) // 4], f"{ident} is not in the directory"
        judge(broker, members, SERVER, BELL)
        assert member.take(member.server) is None and asker.take(asker.server) is None
        died = [line.split()[2] for line in broker.log.lines if line.startswith("# dies ")]
        told = broker.events("died")
        for entry in told:
            assert entry["signal"] == "KILL", f"it died by itself: {entry}"
        assert len(told) == len(died), f"{len(died)} deaths, and the log tells of {len(told)}"
        if _undisturbed:
            broker.until_fds(_undisturbed[1])  # nothing of the dead ones is left open
        open_now = broker.fd_count()
        lines = list(broker.log.lines)
        the_devices().forget()
        if plan != "trace" and len(died) < len(plan.split(",")):
            broker.kill()  # or it may yet die amid its end, and that is no good end
    return died, lines, open_now


_undisturbed = []


def undisturbed():
    """(passings of each point: {place: count}, descriptors open at the end)."""
    if not _undisturbed:
        died, lines, open_now = play("trace")
        assert not died
        passed = {}
        for line in lines:
            if line.startswith("# passed "):
                _, _, place, nth = line.split()
                passed[place] = max(passed.get(place, 0), int(nth))
        assert passed, "no point was passed: is there no keeper, or is it not famez-server-faults?"
        _undisturbed.extend((passed, open_now))
    return _undisturbed


def attempt(plan):
    """One play, whose failure says by which plan it can be had again."""
    try:
        died, _, _ = play(plan)
    except BaseException as err:
        the_devices().process.close()
        globals()["devices"] = None
        err.add_note(f"(FAMEZ_CRASH={plan})")
        print(f"# failed with FAMEZ_CRASH={plan}", flush=True)
        raise
    return died


def test_the_scene_undisturbed_and_again_comes_out_the_same():
    undisturbed()
    assert attempt("1000000") == []


def test_a_death_at_each_point_is_a_non_event():
    dice = random.Random(SEED)
    passed, _ = undisturbed()
    listed = subprocess.run([settings.server], env=dict(os.environ, FAMEZ_CRASH="list"),
                            capture_output=True, text=True, check=True).stdout.split()
    hit, plays = set(), 0
    for place, count in sorted(passed.items()):
        if EACH == "all":
            chosen = range(1, count + 1)
        else:
            chosen = {1, count} | {dice.randint(1, count) for _ in range(int(EACH) - 2)}
        for nth in sorted(chosen, reverse=True):
            hit.update(attempt(f"{place}:{nth}"))
            plays += 1
        if place not in hit:  # it was passed less often this time
            hit.update(attempt(f"{place}:1"))
    never = sorted(p for p in passed if p not in hit)
    print(f"# seed {SEED}: {plays} plays, {len(hit)} points of {len(set(listed))} had their death",
          flush=True)
    assert not any(STATE.match(p) for p in never), f"nobody died at {never}"


def test_a_second_death_while_the_successor_takes_over_is_one_as_well():
    dice = random.Random(SEED + 1)
    passed, _ = undisturbed()
    total = sum(passed.values())
    twice = 0
    # A successor passes its first points while it makes out what there was.
    for second in range(1, 60 if EACH == "all" else 25):
        for _ in range(8 if EACH == "all" else 1):
            twice += len(attempt(f"{dice.randint(1, total)},{second}")) == 2
    assert twice > 10, f"only {twice} successors died"


def test_nor_do_more_of_them_matter():
    dice = random.Random(SEED + 2)
    total = sum(undisturbed()[0].values())
    for _ in range(40 if EACH == "all" else 8):
        attempt(",".join(str(n) for n in (dice.randint(1, total), dice.randint(1, 40),
                                          dice.randint(1, 40), dice.randint(1, total // 3))))


def test_a_client_that_is_in_its_opening_is_not_closed():
    """Who has connected, and whom nobody has accepted or answered yet."""
    passed, _ = undisturbed()
    for nth in range(1, 4):
        for place in sorted(p for p in passed if p.startswith("sys.h:")):
            with fabric(f"{place}:{nth}") as broker:
                peers = [broker.connect() for _ in range(PEERS)]
                for peer in peers:
                    try:
                        peer.open()
                    except Gone:
                        raise AssertionError(f"{place}:{nth}: a newcomer saw an end") from None
                for peer in peers:
                    peer.until_exactly(range(1, SERVER + 1))
                settle(broker, peers)
                if not broker.events("died"):
                    broker.kill()
            if EACH != "all" and nth > 1:
                break


if __name__ == "__main__":
    print(f"# seed {SEED}", file=sys.stderr)
    run_tests(globals())
