# SPDX-License-Identifier: MIT
"""load.py - a fabric in full use, while the tests beside it kill or replace its broker.

Who works in here: torture.py and upgrade.py. A Load owns the processes of all peers: famez-soak
(messages from peer to peer, killed peers, groups), crews of raw devices and plain clients that
ring, come and go (crew.py), one that asks the server, and two Linux guests in QEMU where they can
be had. end() stops all that and holds everybody's view against who is there.
"""

import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", folder) for folder in ("support", "soak", "vm")]

from fabric import HANG_SECONDS, SANITIZER, Broker, PeerProcess, Skip, settings  # noqa: E402
from qtest import until  # noqa: E402
from soak import lanes_for, shortened  # noqa: E402

VECTORS = 3  # 0: mail, 1: the crews' (crew.BELL), 2: famez-soak's
BELL = 1
GUESTS = int(os.environ.get("FAMEZ_TORTURE_GUESTS", "2"))  # 0: builds with sanitizers


class Load:
    """seats: of famez-soak; devices, plain: who stay in the crews; roam: of each kind."""

    def __init__(self, seats, devices, plain, roam, seconds, seed, guests=GUESTS, binary=None, env=None,
                 options=(), directory=None):
        self.count = seats + devices + plain + 2 * roam + 4 + guests
        most = self.count + 20  # those who try, and those whose death is not yet noticed
        assert most <= 250, "more than famez-soak can count"
        self.broker = Broker("--peers", str(most), "--layout", "lanes", *options, vectors=VECTORS,
                             size=lanes_for(most + 2, 4096), verbose=0, binary=binary, env=env,
                             directory=directory)
        self.server = most + 1
        self.run = tempfile.mkdtemp(prefix="famez-keeper-")
        self.processes = []
        self.guests = []
        self.soak = None
        try:
            self._start(seats, devices, plain, roam, seconds, seed, guests)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise

    def _start(self, seats, devices, plain, roam, seconds, seed, guests):
        self._crew("qemu-crew", f"Crew(path, {VECTORS}, {devices}, {roam}, True, {seed})")
        self._crew("plain-crew", f"Crew(path, {VECTORS}, {plain}, {roam}, False, {seed + 1})")
        self._crew("talkers", f"Talkers(path, {VECTORS}, 2, {seed + 2})")
        if guests:
            self._boot(guests)
        self.said = tempfile.TemporaryFile("w+")
        self.soak = subprocess.Popen(
            [os.path.join(os.path.dirname(os.path.dirname(settings.server)), "tests", "soak",
                          "famez-soak"),
             "-S", self.broker.path, "--peers", str(seats), "--seconds", str(seconds), "--hang",
             str(HANG_SECONDS), "--seed", str(seed), "--kills"],
            stdin=subprocess.DEVNULL, stdout=self.said, stderr=self.said)
        for process in self.processes:
            process.run("crew.start()")

    def _crew(self, name, make):
        process = PeerProcess(self.broker, name)
        self.processes.append(process)
        process.run(f"import sys; sys.path.insert(0, {HERE!r}); from crew import *")
        process.run(f"crew = {make}")

    def _boot(self, count):
        from guest import Guest
        from kit import Kit
        from stage import NEEDED, need
        try:
            need(NEEDED)
            kit = Kit(os.path.join(os.path.dirname(os.path.dirname(settings.server)), "tests",
                                   "vm", "kit"))
        except Skip as why:
            print(f"# without guests: {why}", flush=True)
            self.count -= count
            return
        self.guests = [Guest(self.run, f"guest{n}", kit, self.broker.path, vectors=VECTORS,
                             nofile=8192) for n in range(count)]
        for guest in self.guests:
            guest.boot()

    @property
    def talks(self):
        return self.soak.poll() is None

    def guests_ring(self):
        """Each guest rings the other."""
        for guest in self.guests:
            for other in self.guests:
                if other is guest:
                    continue
                guest.ring(other.id, BELL)
                until(f"{other.name} is interrupted", lambda o=other: BELL in o.rung())

    def failures(self):
        """What the crews found wrong so far."""
        return [f for f in (p.ask("crew.failure") for p in self.processes) if f]

    def end(self):
        """All stop, and everything is judged. Returns what was done: a dict of sums."""
        self.soak.wait(6 * HANG_SECONDS)
        self.said.seek(0)
        said = self.said.read()
        assert not SANITIZER.search(said), shortened(said)
        assert self.soak.returncode == 0, f"famez-soak: {self.soak.returncode}: {shortened(said)}"
        print("".join(f"# {line}\n" for line in said.splitlines()), end="", flush=True)
        for process in self.processes:
            process.run("crew.end()")
        self._judge()
        self.guests_ring()
        sums = {}
        for process in self.processes:
            assert not process.ask("crew.miscounted()"), process.ask("crew.miscounted()")
            for what, count in process.ask("crew.sums()").items():
                sums[what] = sums.get(what, 0) + count
        return sums

    def _views(self):
        return {int(i): {int(k): bells for k, bells in view.items()}
                for p in self.processes for i, view in p.ask("crew.views()").items()}

    def _judge(self):
        """Everybody who is left knows all others, and no client more than that."""
        ids = {guest.id for guest in self.guests}
        ids.update(i for p in self.processes for i in self._ids(p))

        def settled():
            for p in self.processes:
                p.run("crew.drain()")
            report = self.broker.report()
            return (set(report.peers) == ids
                    and all(int(p["behind"]) == 0 for p in report.peers.values()))
        self.broker.until(f"peers {sorted(ids)} alone, and nobody behind", settled)
        for p in self.processes:
            p.run("crew.drain()")
        views = self._views()
        devices = self._ids(self.processes[0])
        living = ids | {self.server}
        for i, view in views.items():
            if i in devices:
                assert set(view) >= living, f"device {i} misses {sorted(living - set(view))}"
            else:
                assert set(view) == living, \
                    f"peer {i} misses {sorted(living - set(view))}, has {sorted(set(view) - living)}"
            for other, bells in view.items():
                assert len(bells) == VECTORS, f"peer {i} holds {len(bells)} of {other}"
                if other in views:
                    assert bells == views[other][other], f"peer {i} holds others of {other}"
        for guest in self.guests:
            held = guest.eventfds()
            for i in ids - {g.id for g in self.guests}:
                assert held.issuperset(views[i][i]), f"{guest.name} does not hold all of {i}"

    @staticmethod
    def _ids(process):
        return set(process.ask("[p.id for p in getattr(crew, 'stay', getattr(crew, 'peers', []))]"))

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.soak and self.soak.poll() is None:
            self.soak.kill()
            self.soak.wait()
        dead = [g.obituary() for g in self.guests if not g.alive()]
        for guest in self.guests:
            guest.kill()
        if kind is not None and value is not None:
            for line in dead:
                value.add_note(line)
        for process in self.processes:
            process.close()
        shutil.rmtree(self.run, ignore_errors=True)
        self.broker.__exit__(kind, value, trace)
        assert kind is not None or not dead, dead
        return False


class Clock:
    """How long the fabric served nobody."""

    def __init__(self):
        self.seconds = []

    def note(self, seconds):
        self.seconds.append(seconds)

    def percentile(self, part):
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(len(self.seconds) * part))]

    def say(self, what):
        if self.seconds:
            print(f"# {what}: {len(self.seconds)} times, p50 {self.percentile(.5) * 1e3:.1f} ms, "
                  f"p99 {self.percentile(.99) * 1e3:.1f} ms, most "
                  f"{max(self.seconds) * 1e3:.1f} ms", flush=True)


__all__ = ["Clock", "Load"]
