# SPDX-License-Identifier: MIT
"""The measurements of messages: which systems take part in each, and how one run is made.

A run is a flat dictionary: what famez-bench-messages printed, and which measurement, system
and round it belongs to. The server of a measurement runs throughout; it is in the path only
where it is asked itself. It and the receiver are on the first CPU, senders on the second.
"""

import json
import os
import subprocess
import sys
import tempfile

from systems import Failed, Server

RAW = ["raw:spin", "raw:yield", "raw:event", "raw:batch", "raw:inband", "raw:hybrid"]
SLOW = ["raw:bell", "raw:naive"]
OURS = ["lane", "lane:event", "famez"]
SINGLY = ["famez:peek", "famez:recv"]
OTHERS = ["unix", "zeromq", "nng"]
# One technique less, or another way of waiting.
WORTH = ["lane", "lane:index", "lane:limit-each", "lane:consumed-each", "lane:bell", "lane:spin",
         "lane:yield", "lane:event"]

STREAM = ["stream", "--split"]
TRIP = ["trip", "--split", "-b", "100"]


def each(systems):
    """The same, flushed after every message."""
    return [f"{system}/each" for system in systems]


MEASURES = {
    "100": (STREAM + ["-b", "100"], RAW + SLOW + OURS + SINGLY
            + each(["lane", "lane:event", "famez"]) + OTHERS),
    "1024": (STREAM + ["-b", "1024"], RAW + OURS + OTHERS),
    "16384": (STREAM + ["-b", "16384"], RAW + OURS + OTHERS),
    "65536": (STREAM + ["-b", "65536"], RAW + OURS + OTHERS),
    "8-to-1": (["stream", "-s", "8", "-b", "100"],
               RAW + ["lane", "lane:yield", "lane:event", "famez", *SINGLY, "zeromq"]),
    "polling": (TRIP, ["raw:spin", "raw:inband", "raw:hybrid", "lane", "lane:spin", "famez",
                       "famez:recv"]),
    "sleeping": (TRIP, ["eventfd", "raw:event", "lane:event", "famez:sleep"] + OTHERS),
    "server": (TRIP, ["famez:sleep", "famez:server"]),
    "fan": (["fan"], ["famez"]),
    "worth": (STREAM + ["-b", "100"], ["raw:batch"] + WORTH + each(WORTH)),
    "worth-trip": (TRIP, WORTH),
    "alone": (["alone", "-b", "100"], ["raw:batch", "raw:inband", "lane", *OURS[2:], *SINGLY]),
}

FAN_MEMBERS = 1000


class Bench:
    """famez-bench-messages, called for one run at a time."""

    def __init__(self, path, server, milliseconds, urgent):
        self.path, self.server, self.milliseconds = path, server, milliseconds
        self.before = ["nice", "-n", "-20"] if urgent else []

    def start_server(self, peers, vectors, *sizes):
        folder = tempfile.mkdtemp(prefix="famez-bench-")
        return Server([*self.before, "taskset", "-c", "0", self.server, "-S",
                       os.path.join(folder, "socket"), "--peers", str(peers), "-n", str(vectors),
                       *sizes], folder)

    def _once(self, argv):
        done = subprocess.run([*self.before, *argv], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise Failed(done.stderr.strip() or f"status {done.returncode}")
        return json.loads(done.stdout)

    def run(self, argv, name, server):
        """One run of system @name."""
        system, _, how = name.partition("/")
        argv = [self.path, *argv]
        if argv[1] != "fan":
            argv.insert(2, system)
        argv += ["-t", str(self.milliseconds)]
        if how:
            argv += ["-f", "1"]
        if system.startswith("famez"):
            argv += ["-S", server.socket]
        elif system in OTHERS:
            argv += ["-S", server.folder]
        if argv[1] == "fan":
            argv += ["-p", str(server.serving), "-m", str(FAN_MEMBERS)]
        return {**self._once(argv), "load": round(os.getloadavg()[0], 2)}


def run_all(bench, names, wanted, rounds):
    """Round by round, system after system, so that all see the machine's same moods."""
    for name in names:
        argv, systems = MEASURES[name]
        systems = [s for s in systems if not wanted or s.split("/")[0] in wanted]
        if not systems:
            continue
        sizes = [FAN_MEMBERS + 1, 1] if name == "fan" else [9, 11, "-l", "128M"]
        missing = set()
        with bench.start_server(*sizes) as server:
            for nth in range(rounds):
                for system in systems if nth % 2 == 0 else reversed(systems):
                    where = {"measurement": name, "round": nth}
                    if system in missing:
                        continue
                    try:
                        run = {**bench.run(argv, system, server), **where, "system": system}
                    except Failed as why:
                        run = {**where, "system": system, "failed": str(why)}
                        if run["failed"].startswith("famez-bench-messages: no "):
                            missing.add(system)  # it was not built in
                            continue
                    print(f"{name} round {nth + 1}/{rounds} {system}"
                          f"{': ' + run['failed'] if 'failed' in run else ''}",
                          file=sys.stderr, flush=True)
                    yield run
