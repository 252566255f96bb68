# SPDX-License-Identifier: MIT
"""The measurements: each is a list of cases, a case is run once a round by each system.

A run is a flat dictionary: what famez-bench printed, and which system, round and load of
the machine it belongs to. Nothing is left out of it afterwards.
"""

import json
import os
import subprocess
import sys

from .systems import Failed, Famez, Floor, wait_for_line

MESH = ["66x4", "274x1", "16x16", "300x4", "100x16", "1000x4", "4000x1"]
JOIN = ["66x4", "274x1", "300x4", "1000x4"]
STALL = ["66x4"]
DOORBELL = ["2x4", "100x4", "1000x4"]
MEMORY = [f"{peers}x{vectors}" for peers in (10, 100, 1000) for vectors in (1, 4, 16)]
OURS_ALONE = ("burst", "memory")  # in which no other server takes part


def of_size(size):
    clients, vectors = size.split("x")
    return int(clients), int(vectors)


class Bench:
    """famez-bench, called for one run at a time."""

    def __init__(self, path, patience, joins=None, slices=None):
        self.path, self.patience = path, patience
        self.joins = ["-r", str(joins)] if joins else []
        self.slices = ["-l", str(slices)] if slices else []

    def argv(self, scenario, size, options):
        clients, vectors = of_size(size)
        return [self.path, scenario, "-c", str(clients), "-n", str(vectors),
                "-w", str(self.patience), *options]

    def alone(self, scenario, size, *options):
        done = subprocess.run(self.argv(scenario, size, options), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise Failed(done.stderr.strip())
        return json.loads(done.stdout)

    def on(self, system, scenario, size, *options, more_peers=0):
        clients, vectors = of_size(size)
        with system.start(clients + more_peers, vectors) as server:
            return self.alone(scenario, size, *options, "-S", server.socket,
                              "-p", str(server.serving))


def floor_burst(bench, system, size):
    """What a second thread is worth where nothing but the senders runs."""
    if isinstance(system, Floor):
        yield bench.alone("floor", size, "-u", "-t", str(system.threads))


def mesh(bench, system, size):
    if isinstance(system, Floor):
        yield bench.alone("floor", size, "-t", str(system.threads))
    else:
        yield bench.on(system, "mesh", size)


def join(bench, system, size):
    if not isinstance(system, Floor):
        yield bench.on(system, "join", size, *bench.joins, more_peers=1)


def stall(bench, system, size):
    """With members that don't read, and with as many that do."""
    if isinstance(system, Floor):
        return
    for extras in (1, 10):
        for deaf in ([], ["-d"]):
            yield bench.on(system, "mesh", size, "-x", str(extras), *deaf, more_peers=extras)


def doorbell(bench, system, size):
    if not isinstance(system, Floor):
        yield bench.on(system, "doorbell", size, *bench.slices)


def memory(bench, system, size):
    """Of a plain broker, and of one that serves messages."""
    if not isinstance(system, Famez):
        return
    for messages in (False, True):
        yield memory_of(bench, system, size, messages)


def memory_of(bench, system, size, messages):
    """What the broker itself has allocated, before anybody came and with all present."""
    clients, vectors = of_size(size)
    with system.start(clients, vectors, messages) as server:
        idle = server.report()
        argv = bench.argv("mesh", size, ["-H", "-S", server.socket,
                                         "-p", str(server.serving)])
        run = {"scenario": "memory", "clients": clients, "vectors": vectors,
               "messages": messages, "foretold": system.foretold(clients, vectors, messages),
               "idle_allocated": idle["allocated_bytes"], "idle_resident": idle["resident_bytes"]}
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True) as crowd:
            try:
                mesh_run = json.loads(wait_for_line(crowd.stdout))
            except Failed:
                return run  # so many clients can't be had here
            full = server.report()
    # A server that serves messages is a peer as well: more doorbells than the clients expect.
    complete = full["peers"] == clients if messages else mesh_run["complete"]
    return {**run, "complete": complete, "peers": full["peers"],
            "full_allocated": full["allocated_bytes"], "full_resident": full["resident_bytes"]}


# Its sizes, and how many rounds have something new to say.
ANY = sys.maxsize
SCENARIOS = {
    "burst": (floor_burst, ["1000x4"], ANY),
    "mesh": (mesh, MESH, ANY),
    "join": (join, JOIN, ANY),
    "stall": (stall, STALL, ANY),
    "doorbell": (doorbell, DOORBELL, ANY),
    "memory": (memory, MEMORY, 1),
}


def run_once(bench, system, name, size, nth):
    """All runs of one system in one round; a failure is a run, too."""
    measure = SCENARIOS[name][0]
    where = {"measurement": name, "size": size, "system": system.name, "round": nth}
    try:
        for figures in measure(bench, system, size):
            yield {**where, **figures, "load": round(os.getloadavg()[0], 2)}
    except Failed as why:
        yield {**where, "failed": str(why), "load": round(os.getloadavg()[0], 2)}


def run_all(bench, systems, names, sizes, rounds):
    """Round by round, system after system, so that all see the machine's same moods. Who can't
    take part is a run as well, with `absent` in place of figures."""
    for name in names:
        for system in systems:
            if system.missing and name not in OURS_ALONE:
                yield {"measurement": name, "system": system.name, "absent": system.missing}
        _, usual_sizes, rounds_max = SCENARIOS[name]
        for size in sizes or usual_sizes:
            for nth in range(min(rounds, rounds_max)):
                there = [system for system in systems if not system.missing]
                for system in there if nth % 2 == 0 else reversed(there):
                    for run in run_once(bench, system, name, size, nth):
                        print(f"{name} {size} round {nth + 1}/{rounds} {system.name}"
                              f"{': ' + run['failed'] if 'failed' in run else ''}",
                              file=sys.stderr, flush=True)
                        yield run
