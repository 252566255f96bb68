# SPDX-License-Identifier: MIT
"""Cost curves: what one more peer costs while more and more are present.

One run climbs through all stops with one broker and one crowd (famez-bench scale). While it
stands still at a stop, the broker's memory and descriptors are read, and two members of libfamez
exchange messages. A line a stop.
"""

import json
import os
import subprocess
import sys

from .servers import of_size
from .systems import Failed, Famez, wait_for_line

STOPS = ["10x1", "30x1", "100x1", "300x1", "1000x1", "2000x1", "4000x1"]
WORKERS = (1, 2, 4)
STRANGERS = 4  # IDs besides the crowd's: one more, and two who exchange messages
TRIPS = {"message_sleep": ("famez:sleep", 0.2), "message_poll": ("famez", 0.1),
         "eventfd": ("eventfd", 0.1)}


def systems(server):
    return [Famez(f"famez-{workers}", server, ["--workers", str(workers)])
            for workers in WORKERS]


def kernel_bytes():
    """What the kernel holds that no page of a process is: both ends of all that we open."""
    wanted = ("SUnreclaim:", "VmallocUsed:", "PageTables:", "Percpu:")
    with open("/proc/meminfo", encoding="ascii") as info:
        return sum(int(line.split()[1]) * 1024 for line in info if line.startswith(wanted))


def from_outside(server, kernel_before):
    """The broker as the kernel sees it, and its own report."""
    report = server.report()
    pid = server.serving
    return {"allocated": report["allocated_bytes"], "resident": report["resident_bytes"],
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "kernel_bytes": kernel_bytes() - kernel_before}


def messages(bench, server, milliseconds):
    """Round trips of two who join now: the median and the tail, by way of waiting."""
    found = {}
    for name, (system, part) in TRIPS.items():
        run = bench.trip(system, server, max(10, int(milliseconds * part * 5)))
        found |= {f"{name}_p50_ns": run["p50_ns"], f"{name}_p999_ns": run["p999_ns"]}
    return found


class Bench:
    """famez-bench and famez-bench-messages, as this measurement calls them."""

    def __init__(self, crowd, messages_path, milliseconds):
        """@crowd: a servers.Bench."""
        self.crowd, self.messages_path, self.milliseconds = crowd, messages_path, milliseconds

    def trip(self, system, server, milliseconds):
        argv = [self.messages_path, "trip", system, "--split", "-b", "100", "-t",
                str(milliseconds), "-S", server.socket]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"{system}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def climb(self, system, stops, vectors):
        """A run a stop."""
        before = kernel_bytes()
        with system.start(stops[-1] + STRANGERS, vectors, messages=True) as server:
            argv = self.crowd.argv("scale", f"{stops[-1]}x{vectors}", [
                "-S", server.socket, "-p", str(server.serving), "-H", "-a", "1",
                *self.crowd.joins, *self.crowd.slices, "-s", ",".join(map(str, stops))])
            with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True) as crowd:
                for stop in stops:
                    try:
                        run = json.loads(wait_for_line(crowd.stdout))
                    except Failed:
                        crowd.kill()
                        raise Failed(f"at {stop}: {crowd.stderr.read().strip()}") from None
                    yield {**run, **from_outside(server, before),
                           **messages(self, server, self.milliseconds)}
                    crowd.stdin.write("\n")
                    crowd.stdin.flush()


def made_for(some_systems, sizes):
    """What a broker takes for so many peers, all of it at its start. Always the same: one round."""
    for size in sizes or STOPS:
        peers, vectors = of_size(size)
        for system in some_systems:
            where = {"measurement": "scale-memory", "system": system.name, "size": size,
                     "round": 0, "load": round(os.getloadavg()[0], 2)}
            try:
                with system.start(peers, vectors, messages=True) as server:
                    yield {**where, "made_for": server.report()["allocated_bytes"]}
            except Failed as why:
                yield {**where, "failed": str(why)}


def run_all(bench, some_systems, sizes, rounds):
    sizes = sorted((of_size(size) for size in sizes or STOPS), key=lambda size: size[::-1])
    for vectors in sorted({size[1] for size in sizes}):
        stops = [size[0] for size in sizes if size[1] == vectors]
        for nth in range(rounds):
            for system in some_systems if nth % 2 == 0 else reversed(some_systems):
                where = {"measurement": "scale", "system": system.name, "round": nth}
                try:
                    for run in bench.climb(system, stops, vectors):
                        size = f"{run['clients']}x{vectors}"
                        print(f"scale round {nth + 1}/{rounds} {system.name} {size}",
                              file=sys.stderr, flush=True)
                        yield {**where, "size": size, **run,
                               "load": round(os.getloadavg()[0], 2)}
                except Failed as why:
                    print(f"scale {system.name}: {why}", file=sys.stderr, flush=True)
                    yield {**where, "size": f"{stops[-1]}x{vectors}", "failed": str(why),
                           "load": round(os.getloadavg()[0], 2)}
