#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""footprint.py - the broker's own memory: as --check foretells it, as little as it should be, and
taken at start.

Judged by the allocator's own figure in the report that SIGUSR1 asks for, and the size of the
state memory beside it.
"""

import itertools
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import (  # noqa: E402
    AS_DEVICES, AS_PLAIN, Broker, Skip, run_once, run_tests)

SIZES = [10, 100, 1000]
VECTORS = [1, 4, 16]
# Each has a replica of the tables. So all these are tried, whatever --workers says.
WORKERS = [1, 2, 4]
KINDS = [[], ["--silent"]]


def options_of(peers, *options):
    return [*(["--peers", str(peers)] if peers else []), *options]


def foretold(peers, vectors, workers, *options):
    status, out, err = run_once("-F", "-S", "/nonexistent/s", "--check", "-n", str(vectors),
                                "--workers", str(workers), *options_of(peers, *options))
    if status == 3:
        raise Skip(err.strip())
    assert status == 0, err
    return int(re.search(r"together +(\d+) +bytes of our own", out)[1])


def allocated_now(broker):
    report = broker.report()
    if not report["allocated_bytes"]:
        raise Skip("this build has an allocator without figures")
    return report["allocated_bytes"] + report["state_bytes"]


def allocated(peers, vectors, workers, *options):
    with Broker(*options_of(peers, *options), size=None, vectors=vectors,
                workers=workers) as broker:
        return allocated_now(broker)


def agrees(*size):
    said, is_so = foretold(*size), allocated(*size)
    assert is_so <= said <= is_so * 1.15 + (256 << 10), \
        f"peers, vectors, workers {size}: {said} foretold, {is_so} allocated"


def test_check_foretells_what_is_allocated_and_little_more():
    for peers, vectors, workers, kind in itertools.product(SIZES, VECTORS, WORKERS, KINDS):
        agrees(peers, vectors, workers, *kind)


def test_check_foretells_it_for_as_many_workers_as_there_may_be():
    agrees(1, 1, 256)


def test_check_foretells_it_for_every_layout():
    for layout, kind in itertools.product(("slots", "plain", "lanes"), KINDS):
        agrees(100, 4, 2, "--layout", layout, *kind)
    # As many vectors as IDs: v1 clients can speak to the server.
    agrees(10, 12, 2)
    agrees(100, 102, 4, "--layout", "slots")
    # Too small for lanes between as many peers as there may be by default.
    agrees(None, 1, 2, "-l", "1M")


def allowed(peers, vectors):
    """2 KiB a peer, 64 bytes a vector, one bit a pair."""
    return 2048 * peers + 64 * peers * vectors + peers * peers // 8


def test_a_peer_more_costs_at_most_2_kib_64_bytes_a_vector_and_a_bit_a_pair():
    for vectors, workers, kind in itertools.product(VECTORS, WORKERS, KINDS):
        took = [allocated(peers, vectors, workers, *kind) for peers in SIZES]
        for few, many in itertools.combinations(range(len(SIZES)), 2):
            goal = allowed(SIZES[many], vectors) - allowed(SIZES[few], vectors)
            assert took[many] - took[few] <= goal, \
                f"{SIZES[few]} to {SIZES[many]} peers, {vectors} vectors, {workers} workers, " \
                f"{kind}: {took[many] - took[few]} bytes, and {goal} are allowed"


def test_1000_peers_and_2_workers_cost_no_more_than_that_in_all():
    for vectors, kind in itertools.product(VECTORS, KINDS):
        took = allocated(1000, vectors, 2, *kind)
        assert took <= allowed(1000, vectors), \
            f"{vectors} vectors, {kind}: {took} bytes of {allowed(1000, vectors)}"


def test_who_comes_and_goes_costs_nothing_that_was_not_taken_at_start():
    for options in (AS_DEVICES, AS_PLAIN):
        with Broker("--peers", "13", *options) as broker:
            before = allocated_now(broker)
            peers = [broker.join() for _ in range(13)]
            broker.until_peers(13)
            assert allocated_now(broker) == before
            for peer in peers:
                peer.leave()
            broker.until_peers(0)
            assert allocated_now(broker) == before


if __name__ == "__main__":
    run_tests(globals())
