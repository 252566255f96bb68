# SPDX-License-Identifier: MIT
"""The measurements of messages: which systems take part in each, and how one run is made.

A run is a flat dictionary: what famez-bench-messages printed, and which measurement, system
and round it belongs to. The server of a measurement runs throughout; ours is in the path only
where it is asked itself. It and the receiver are on the first CPU, senders on the second.
"""

import json
import os
import subprocess
import sys
import tempfile

from .systems import Failed, Nats, Server

RAW = ["raw:spin", "raw:yield", "raw:event", "raw:batch", "raw:inband", "raw:hybrid"]
SLOW = ["raw:bell", "raw:naive"]
OURS = ["lane", "lane:event", "famez"]
SINGLY = ["famez:peek", "famez:recv"]
OTHERS = ["unix", "zeromq", "nng", "nats"]
# What users would ask about, and why it does not take part.
ABSENT = {"aeron": "Debian 12 has no package of it, so no client could be built in and tried"}
NOT_BUILT_IN = {
    "zeromq": "not built in: libzmq3-dev was not there at the build",
    "nng": "not built in: libnng-dev was not there at the build",
    "nats": "not built in: libnats-dev was not there at the build",
}
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
            + each(["lane", "lane:event", "famez"]) + ["memcpy"] + OTHERS + [*ABSENT]),
    "1024": (STREAM + ["-b", "1024"], ["memcpy"] + RAW + OURS + OTHERS + [*ABSENT]),
    "16384": (STREAM + ["-b", "16384"], ["memcpy"] + RAW + OURS + OTHERS + [*ABSENT]),
    "65536": (STREAM + ["-b", "65536"], ["memcpy"] + RAW + OURS + OTHERS + [*ABSENT]),
    "8-to-1": (["stream", "-s", "8", "-b", "100"],
               RAW + ["lane", "lane:yield", "lane:event", "famez", *SINGLY] + OTHERS
               + [*ABSENT]),
    "polling": (TRIP, ["line", "raw:spin", "raw:inband", "raw:hybrid", "lane", "lane:spin",
                       "famez", "famez:recv"] + [*ABSENT]),
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

    def __init__(self, path, server, nats, milliseconds):
        self.path, self.server, self.nats = path, server, nats
        self.milliseconds = milliseconds
        done = subprocess.run([path, "systems"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"{path} systems: {done.stderr.strip()}")
        self.built_in = set(done.stdout.split())

    def missing(self, name):
        """Why system @name can't take part, or None."""
        system = name.partition("/")[0]
        if system in ABSENT:
            return ABSENT[system]
        if system == "nats" and system in self.built_in and not self.nats:
            return "no nats-server: install its package, or give --nats-server PATH"
        if system not in self.built_in:
            return NOT_BUILT_IN.get(system, "famez-bench-messages does not have it")
        return None

    def start_server(self, peers, vectors, *sizes):
        folder = tempfile.mkdtemp(prefix="famez-bench-")
        return Server(["taskset", "-c", "0", self.server, "-S",
                       os.path.join(folder, "socket"), "--peers", str(peers), "-n", str(vectors),
                       *sizes], folder)

    def _once(self, argv):
        done = subprocess.run(argv, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise Failed(done.stderr.strip() or f"status {done.returncode}")
        return json.loads(done.stdout)

    def _with_nats(self, argv):
        with Nats(self.nats) as server:
            return self._once([*argv, "-S", server.url, "-p", str(server.serving)])

    def run(self, argv, name, server):
        """One run of system @name."""
        system, _, how = name.partition("/")
        argv = [self.path, *argv]
        if argv[1] != "fan":
            argv.insert(2, system)
        argv += ["-t", str(self.milliseconds)]
        if how:
            argv += ["-f", "1"]
        if argv[1] == "fan":
            argv += ["-p", str(server.serving), "-m", str(FAN_MEMBERS)]
        if system == "nats":
            return self._with_nats(argv)
        if system.startswith("famez"):
            argv += ["-S", server.socket]
        elif system in OTHERS:
            argv += ["-S", server.folder]
        return self._once(argv)


def chosen(name, wanted):
    return [s for s in MEASURES[name][1] if not wanted or s.partition("/")[0] in wanted]


def run_once(bench, argv, system, server, where):
    try:
        run = {**bench.run(argv, system, server), **where}
    except Failed as why:
        run = {**where, "failed": str(why)}
    return {**run, "load": round(os.getloadavg()[0], 2)}


def run_all(bench, names, wanted, rounds):
    """Round by round, system after system, so that all see the machine's same moods. Who can't
    take part is a run as well, with `absent` in place of figures."""
    for name in names:
        systems = chosen(name, wanted)
        absent = {system: why for system in systems if (why := bench.missing(system))}
        for system, why in absent.items():
            yield {"measurement": name, "system": system, "absent": why}
        systems = [system for system in systems if system not in absent]
        if not systems:
            continue
        sizes = [FAN_MEMBERS + 1, 1] if name == "fan" else [9, 11, "-l", "128M"]
        with bench.start_server(*sizes) as server:
            for nth in range(rounds):
                for system in systems if nth % 2 == 0 else reversed(systems):
                    run = run_once(bench, MEASURES[name][0], system, server,
                                   {"measurement": name, "system": system, "round": nth})
                    print(f"{name} round {nth + 1}/{rounds} {system}"
                          f"{': ' + run['failed'] if 'failed' in run else ''}",
                          file=sys.stderr, flush=True)
                    yield run
