#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""large.py - 1,000 peers with 4 vectors each: a full mesh at 1, 2 and 4 workers.

Four million descriptors a run; for release builds.
"""

import json
import os
import signal

from programs import Broker, folder, run_tests, stress

PEERS, VECTORS = 1000, 4
RUN_HANG_SECONDS = 900


def full_mesh(workers):
    signal.alarm(RUN_HANG_SECONDS)
    with Broker(vectors=VECTORS, workers=workers, verbose=0) as broker, folder() as place:
        file = os.path.join(place, "json")
        # A common store and one witness; every eventfd that arrives is compared.
        done = stress(broker, "--peers", PEERS, "--time", 0, "--json", file, "--patience", 60,
                      timeout=RUN_HANG_SECONDS)
        assert done.code == 0, done
        with open(file, encoding="utf-8") as f:
            figures = json.load(f)
        assert figures["verdict"] == "nothing lost" and figures["vectors"] == VECTORS
        # All but the first VM join in the storm: each is told of all, and all of it, once.
        assert figures["notices"] >= (PEERS * PEERS - 1) * VECTORS
        assert figures["doorbells"]["rung"] == figures["doorbells"]["arrived"] > 0
        assert figures["doorbells"]["strays"] == 0
        assert figures["doorbells"]["copies_checked"] == (
            figures["doorbells"]["copies"] * (PEERS - 1) * VECTORS)
        broker.until_peers(0)


def test_1000_peers_with_4_vectors_see_a_full_mesh_at_1_worker():
    full_mesh(1)


def test_1000_peers_with_4_vectors_see_a_full_mesh_at_2_workers():
    full_mesh(2)


def test_1000_peers_with_4_vectors_see_a_full_mesh_at_4_workers():
    full_mesh(4)


if __name__ == "__main__":
    run_tests(globals())
