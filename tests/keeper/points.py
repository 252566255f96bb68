#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""points.py - the broker is killed behind every store into the state and every message sent.

    tests/keeper/points.py --server .../famez-server-faults [FILTER ...]

Each scene (scenes.py) is played once to learn which points it passes (broker/point.h), and then
again and again with a death at one of them, or with a second death while the successor takes over.
However it was interrupted, it must end as it does undisturbed. A point that stands in the sources
and that no scene passes is a failure, unless it is listed here, with the reason.

Environment: FAMEZ_POINTS=all plays each scene for every passing of every point, which takes
minutes; FAMEZ_POINTS=N for N passings of each (2; 1: builds with sanitizers). FAMEZ_POINTS_SEED
says which; it is printed.
"""

import glob
import os
import random
import re
import subprocess
import sys
import time

import scenes
from members import settle
from fabric import Gone, run_tests, settings  # found by members
from scenes import SCENES, House, fabric

SEED = int(os.environ.get("FAMEZ_POINTS_SEED", time.time_ns() % 1000000))
EACH = os.environ.get("FAMEZ_POINTS", "2")
SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "broker")

# No broker passes these: the keeper does, before there is one, or in its place. Its own death is
# the end of all (tests/keeper/life.py).
KEEPERS = {f"{unit}.c/sys_{call}" for unit, calls in {
    "budget": "setrlimit",
    "handover": "execve open",
    "keeper": "fork",
    "listener": "fcntl flock ftruncate open write",
    "main": "fork open write",
    "memory": "fcntl fstat ftruncate memfd open shm_open",
    "sandbox": "fstat memfd",
    "state_map": "fallocate fcntl fstat ftruncate memfd mmap",
}.items() for call in calls.split()}

_undisturbed = {}


def undisturbed(scene):
    """{place: how often it is passed}, and from then on the scene knows its descriptors."""
    if scene not in _undisturbed:
        play = scene("trace")
        assert not play.died
        assert play.passed(), "no point was passed: no keeper, or is it not famez-server-faults?"
        scene.undisturbed = play.open_now
        _undisturbed[scene] = play.passed()
    return _undisturbed[scene]


def attempt(scene, plan):
    """One play, whose failure says by which plan it can be had again."""
    try:
        return scene(plan).died
    except BaseException as err:
        scenes.new_devices()
        err.add_note(f"({scene.__name__}, FAMEZ_CRASH={plan})")
        print(f"# failed: {scene.__name__} with FAMEZ_CRASH={plan}", flush=True)
        raise


def listed():
    """All places that are compiled in."""
    said = subprocess.run([settings.server], env=dict(os.environ, FAMEZ_CRASH="list"),
                          capture_output=True, text=True, check=True).stdout
    return set(said.split())


def in_the_sources():
    """Where a file of the broker's says that it has stored something."""
    places = set()
    for path in glob.glob(os.path.join(SOURCES, "*.c")):
        with open(path, encoding="utf-8") as source:
            places.update(f"{os.path.basename(path)}:{n}" for n, line in enumerate(source, 1)
                          if re.match(r"\s*state_point\(\);", line))
    return places


def own(scene):
    """Places that it passes, and none before it."""
    before = set().union(*(undisturbed(s) for s in SCENES[:SCENES.index(scene)]))
    return {place: count for place, count in undisturbed(scene).items() if place not in before}


def chosen(dice, count):
    if EACH == "all":
        return range(count, 0, -1)
    drawn = {dice.randint(1, count) for _ in range(int(EACH) - 2)}
    return sorted({1} | ({count} if int(EACH) > 1 else set()) | drawn, reverse=True)


def test_every_point_in_the_sources_is_passed_by_some_scene():
    assert in_the_sources() <= listed(), sorted(in_the_sources() - listed())
    passed = set().union(*map(undisturbed, SCENES))
    never = listed() - passed - KEEPERS
    assert not never, f"no scene passes {sorted(never)}: make one do it"
    assert not KEEPERS - listed(), f"not there any more: {sorted(KEEPERS - listed())}"
    assert not KEEPERS & passed, f"a broker passes them after all: {sorted(KEEPERS & passed)}"


def test_the_scenes_undisturbed_and_again_come_out_the_same():
    for scene in SCENES:
        undisturbed(scene)
        assert attempt(scene, "1000000") == []


def test_a_death_at_each_point_is_a_non_event():
    dice = random.Random(SEED)
    hit, plays = set(), 0
    for scene in SCENES:
        # The first has nearly all, so the others are played for what it has not.
        passed = undisturbed(scene) if EACH == "all" else own(scene)
        for place, count in sorted(passed.items()):
            for nth in chosen(dice, count):
                hit.update(attempt(scene, f"{place}:{nth}"))
                plays += 1
            if place not in hit:  # it was passed less often this time
                hit.update(attempt(scene, f"{place}:1"))
    never = listed() - KEEPERS - hit
    print(f"# seed {SEED}: {plays} plays, {len(hit)} points had their death", flush=True)
    # The keeper's own clone(2) returns in the broker as well, which is none yet.
    assert never <= {"keeper.c/sys_clone"}, f"nobody died at {sorted(never)}"


def test_a_death_anywhere_in_the_other_scenes_is_one_as_well():
    dice = random.Random(SEED + 3)
    for scene in SCENES[1:2] if EACH != "all" else SCENES[1:]:
        total = sum(undisturbed(scene).values())
        for _ in range(15 * int(EACH) if EACH != "all" else 400):
            attempt(scene, str(dice.randint(1, total)))


def test_a_second_death_while_the_successor_takes_over_is_one_as_well():
    dice = random.Random(SEED + 1)
    total = sum(undisturbed(House).values())
    twice = 0
    # A successor passes its first points while it makes out what there was.
    for second in range(1, 60 if EACH == "all" else 25):
        for _ in range(8 if EACH == "all" else 1):
            twice += len(attempt(House, f"{dice.randint(1, total)},{second}")) == 2
    assert twice > 10, f"only {twice} successors died"


def test_nor_do_more_of_them_matter():
    dice = random.Random(SEED + 2)
    total = sum(undisturbed(House).values())
    for _ in range(40 if EACH == "all" else 8):
        attempt(House, ",".join(str(n) for n in (dice.randint(1, total), dice.randint(1, 40),
                                                 dice.randint(1, 40),
                                                 dice.randint(1, total // 3))))


def test_a_client_that_is_in_its_opening_is_not_closed():
    """Who has connected, and whom nobody has accepted or answered yet."""
    passed = undisturbed(House)
    for nth in range(1, 4):
        for place in sorted(p for p in passed if "/" in p):
            with fabric(f"{place}:{nth}", peers=House.PEERS, vectors=House.VECTORS) as broker:
                peers = [broker.connect() for _ in range(House.PEERS)]
                for peer in peers:
                    try:
                        peer.open()
                    except Gone:
                        raise AssertionError(f"{place}:{nth}: a newcomer saw an end") from None
                for peer in peers:
                    peer.until_exactly(range(1, House.SERVER + 1))
                settle(broker, peers)
                if not broker.events("died"):
                    broker.kill()
            if EACH != "all" and nth > 1:
                break


if __name__ == "__main__":
    print(f"# seed {SEED}", file=sys.stderr)
    run_tests(globals())
