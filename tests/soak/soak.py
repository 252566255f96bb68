#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""soak.py - peers that talk, die and scribble, at a real broker; every message accounted for.

    tests/soak/soak.py --server PATH [FILTER ...]

famez-soak, of the same build, is the fabric: it starts the peers, notes in memory of its own who
said what to whom, kills some, and judges. Its seed is printed and can be given back.

Environment: FAMEZ_SOAK_S, seconds that the great soak talks (20); the others take a part of it.
FAMEZ_SOAK_SEED, the seed of all runs (each its own). FAMEZ_TEST_HANG, the guard.
"""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import fabric  # noqa: E402
from fabric import HANG_SECONDS, SANITIZER, Broker, run_tests, settings  # noqa: E402

SECONDS = int(os.environ.get("FAMEZ_SOAK_S", "20"))
SEED = os.environ.get("FAMEZ_SOAK_SEED")

# Seconds for joining, meeting, and leaving; a hang is found by famez-soak itself.
fabric.TEST_HANG_SECONDS = 6 * HANG_SECONDS + SECONDS


def lanes_for(ids, lane_bytes):
    """The size of a file with such lanes: include/famez/mailbox.h, famez_geometry_needs()."""
    def page(value):
        return -(-value // 4096) * 4096
    inbox = 64 + -(-(-(-ids // 64) * 8) // 64) * 64
    front = page(page(page(page(ids * 512) + ids * 192) + ids * inbox) + ids * ids * 192)
    size = 4096
    while size < front + ids * ids * lane_bytes:
        size *= 2
    return size


def shortened(text, lines=120):
    """Its beginning and end: a hang is told with all lanes of all peers."""
    text = text.splitlines()
    if len(text) > lines:
        text[lines // 2:-lines // 2] = [f"... {len(text) - lines} lines ..."]
    return "\n".join(text)


def soak(peers, seconds, *words, lane_bytes=4096, vectors=1, options=(), others=1):
    """One run at a broker of its own, which must end well."""
    size = lanes_for(peers + others + 2, lane_bytes)
    with Broker("--peers", str(peers + others), "--layout", "lanes", *options, size=size,
                vectors=vectors, verbose=0) as broker:
        command = [os.path.join(os.path.dirname(os.path.dirname(settings.server)), "tests", "soak",
                                "famez-soak"),
                   "-S", broker.path, "--peers", str(peers), "--seconds", str(seconds), "--hang",
                   str(HANG_SECONDS), *map(str, words)]
        if SEED:
            command += ["--seed", SEED]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, text=True, capture_output=True,
                              check=False)
        print("".join(f"# {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
        said = shortened(done.stderr)
        assert not SANITIZER.search(done.stderr), said
        assert done.returncode == 0, f"exit {done.returncode}: {said}"
        still_serves(broker)


def still_serves(broker):
    """Whatever was done to the memory: it introduces peers, and they can ring each other."""
    broker.until_peers(0)
    one, other = broker.join(), broker.join()
    one.until_knows(other.id)
    one.ring(other.id, 0)
    other.wait(0)


def test_64_peers_lose_nothing_while_some_of_them_are_killed():
    soak(64, SECONDS, "--kills")


def test_64_peers_in_large_lanes_lose_nothing_while_some_of_them_are_killed():
    soak(64, SECONDS // 4, "--kills", lane_bytes=65536)


def test_peers_that_are_told_no_leaves_lose_nothing_while_some_of_them_are_killed():
    soak(16, SECONDS // 4, "--kills", options=["--leaves", "never"])


def test_peers_that_ring_the_vector_of_the_sender_lose_nothing_while_some_are_killed():
    soak(12, SECONDS // 4, "--kills", vectors=16)


def test_nonsense_in_two_peers_lanes_and_inboxes_harms_no_other_pair():
    soak(8, SECONDS // 4, "--scribble", "pair", others=2)


def test_nonsense_in_the_header_does_nothing_to_those_who_are_there():
    soak(8, SECONDS // 4, "--scribble", "header", others=2)


def test_nonsense_in_all_lanes_and_inboxes_ends_with_its_author():
    soak(8, SECONDS // 4, "--scribble", "lanes", others=2)


def test_nonsense_in_the_whole_file_ends_with_its_author():
    soak(8, SECONDS // 4, "--scribble", "all", others=2)


def test_who_takes_nothing_and_who_never_stops_harm_no_other_pair():
    soak(12, SECONDS // 4, "--mutes", 2, "--floods", 2)


if __name__ == "__main__":
    run_tests(globals())
