#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""upgrade.py - the broker's program is exchanged under a fabric in full use: nobody notices.

    tests/keeper/upgrade.py --server PATH [FILTER ...]

The server runs from a folder of the test's, where its program is replaced as a package manager
does it, and SIGUSR2 sent. The next one is famez-server-next, built from other sources: all that is
not in the state lies elsewhere (successor.py); or FAMEZ_UPGRADE_OLD, a build of an earlier commit,
is what is begun with. What can't take over, as famez-server-later, whose state is another, must be
refused before the old one lets go, or rolled back, and neither is noticed.

Environment, for the long run: FAMEZ_UPGRADES (6; the issue's number is 50), FAMEZ_TORTURE_PEERS
(90; 200), FAMEZ_TORTURE_GUESTS (2), FAMEZ_TORTURE_SEED, FAMEZ_UPGRADE_OLD (that program's path).
"""

import contextlib
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

from load import Clock, Load  # it finds the others
from members import Devices, judge
import fabric
from fabric import AS_PLAIN, HANG_SECONDS, Broker, RawPeer, run_once, run_tests, settings

UPGRADES = int(os.environ.get("FAMEZ_UPGRADES", "6"))
PEERS = int(os.environ.get("FAMEZ_TORTURE_PEERS", "90"))
SEED = int(os.environ.get("FAMEZ_TORTURE_SEED", time.time_ns() % 1000000))
FINE = 77  # exit code of a program that can take over: broker/keeper.h

fabric.TEST_HANG_SECONDS = 6 * HANG_SECONDS + 4 * UPGRADES


def version_of(program):
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return re.search(r"\d+\.\d+\.\d+\S*", done.stdout)[0]


def beside(name):
    """A program that is built for tests: beside the server, or in its own folder."""
    broker = os.path.dirname(settings.server)
    for folder in (broker, os.path.join(os.path.dirname(broker), "tests", "keeper")):
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    raise AssertionError(f"{name} is not built")


def contents(path):
    with open(path, "rb") as f:
        return f.read()


class Programs:
    """A folder with one program in it, which can be exchanged."""

    def __init__(self, old=None, following=None):
        self.dir = tempfile.mkdtemp(prefix="famez-programs-")
        self.path = os.path.join(self.dir, "famez-server")
        self.old = contents(old or settings.server)
        self.next = contents(following or beside("famez-server-next"))
        self.put(self.next)
        self.next_version = version_of(self.path)
        self.put(self.old)
        self.version = version_of(self.path)

    def put(self, data, mode=0o755):
        """Replace it at once, as packages do; None: remove it."""
        if data is None:
            os.unlink(self.path)
            return
        with open(self.path + ".new", "wb") as f:
            f.write(data)
        os.chmod(self.path + ".new", mode)
        os.replace(self.path + ".new", self.path)

    def close(self):
        shutil.rmtree(self.dir)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def upgrade(broker, result):
    """Ask for an upgrade and wait for its end, which must be this one. Returns its log line."""
    mark = broker.mark()
    os.kill(broker.pid, signal.SIGUSR2)
    while True:
        at = broker.log.wait("upgrade", mark)
        line = broker.log.entries[at]
        if line["result"] != "begins":
            assert line["result"] == result, f"{line} in place of {result}"
            return line
        mark = at + 1


def test_upgrades_under_full_use_are_not_noticed():
    dice = random.Random(SEED)
    print(f"# seed {SEED}", flush=True)
    clock = Clock()
    seats = min(128, PEERS // 2)
    rest = PEERS - seats - 6
    with Programs(old=os.environ.get("FAMEZ_UPGRADE_OLD")) as programs, \
            Load(seats, rest // 2, rest // 4, rest // 8, UPGRADES + 2, SEED,
                 binary=programs.path) as load:
        broker = load.broker
        done = 0
        while done < UPGRADES or load.talks:
            forth = done % 2 == 0
            programs.put(programs.next if forth else programs.old)
            before = broker.child
            begun = time.monotonic()
            line = upgrade(broker, "done")
            with contextlib.closing(RawPeer(broker.path, broker.vectors)) as newcomer:
                newcomer.preamble()
            clock.note(time.monotonic() - begun)
            assert line["version"] == (programs.next_version if forth else programs.version), line
            assert broker.child != before
            done += 1
            load.guests_ring()
            failed = load.failures()
            assert not failed, failed[0]
            time.sleep(dice.random() * 0.5)
        sums = load.end()
        assert not broker.events("died"), broker.events("died")[0]
        print(f"# {load.count} peers, {done} upgrades; " +
              ", ".join(f"{k} {v}" for k, v in sums.items()), flush=True)
    clock.say("from the signal to a newcomer's answer")


@contextlib.contextmanager
def small_fabric(programs, env=None):
    """Devices and plain clients, whose views are judged at the end."""
    vm = Devices()
    try:
        with Broker("--peers", "12", *AS_PLAIN, vectors=2, binary=programs.path, env=env) as broker:
            members = [broker.join(), vm.join(broker), broker.join(), vm.join(broker)]

            def and_more():
                """Some more come, and all know all."""
                members.extend([broker.join(), vm.join(broker)])
                judge(broker, members, 13, 1)
            yield broker, and_more
            and_more()
            vm.forget()
    finally:
        vm.close()


def other_version(state):
    """The state memory, as a program of the future would have written its head."""
    return state[:8] + struct.pack("<I", struct.unpack_from("<I", state, 8)[0] + 1) + state[12:]


def test_what_cannot_take_over_is_refused_before_the_old_one_lets_go():
    with Programs() as programs:
        bad = [(contents(beside("famez-server-later")), 0o755), (contents("/bin/false"), 0o755),
               (contents("/bin/true"), 0o755), (b"no program\n", 0o755), (b"", 0o755),
               (programs.next, 0o644), (programs.next[:5000], 0o755),
               (b"#!/bin/sh\nkill -9 $$\n", 0o755), (b"#!/bin/sh\nsleep 60\n", 0o755), (None, 0)]
        with small_fabric(programs) as (broker, and_more):
            child = broker.child
            for data, mode in bad:
                programs.put(data, mode)
                line = upgrade(broker, "refused")
                assert line["reason"], line
                assert broker.child == child, "the old one let go"
            and_more()
            programs.put(programs.next)
            assert upgrade(broker, "done")["version"] == programs.next_version


def test_another_version_of_the_state_is_refused():
    with Programs() as programs, small_fabric(programs) as (broker, _):
        folder = f"/proc/{broker.pid}/fd"
        found = [fd for fd in os.listdir(folder)
                 if "memfd:famez-state" in os.readlink(os.path.join(folder, fd))]
        assert len(found) == 1, found
        with open(os.path.join(folder, found[0]), "rb") as f:
            state = f.read()
        # With the options that it runs with, as it is asked at an upgrade.
        options = broker.command[1:]
        for data, fine in ((state, True), (other_version(state), False), (state[:4096], False),
                           (bytes(len(state)), False), (state[:64] + b"\xff" + state[65:], False),
                           (b"", False)):
            fd = os.memfd_create("state")
            try:
                os.write(fd, data)
                status, _, err = run_once("--check-state", str(fd), *options, pass_fds=[fd])
            finally:
                os.close(fd)
            assert (status == FINE) == fine, f"exit {status}: {err}"
            assert fine or err.count("\n") == 1, f"said {err!r}"


def test_one_that_does_not_come_to_serve_is_rolled_back():
    # The old one takes no notice of these plans; in the other its broker dies each time, or its
    # keeper can't take over.
    for plan in ({"FAMEZ_CRASH": ",".join(["1"] * 20)}, {"FAMEZ_CRASH": ",".join(["4"] * 20)},
                 {"FAMEZ_FAULT": "uring:1:ENOMEM:1000"}):
        with Programs(following=beside("famez-server-faults")) as programs, \
                small_fabric(programs, plan) as (broker, and_more):
            programs.put(programs.next)
            line = upgrade(broker, "rolled-back")
            assert line["reason"], line
            and_more()
            programs.put(programs.old)
            upgrade(broker, "done")


def test_a_broker_that_dies_amid_an_upgrade_is_no_trouble():
    dice = random.Random(SEED + 1)
    with Programs() as programs, small_fabric(programs) as (broker, and_more):
        for n in range(UPGRADES):
            programs.put(programs.old if n % 2 else programs.next)
            mark = broker.mark()
            child = broker.child
            os.kill(broker.pid, signal.SIGUSR2)
            time.sleep(dice.random() * 0.01)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            while broker.log.entries[mark := broker.log.wait("upgrade", mark)]["result"] == "begins":
                mark += 1
            assert broker.log.entries[mark]["result"] == "done", broker.log.entries[mark]
        and_more()


def test_the_command_tells_how_it_came_out():
    with Programs() as programs, small_fabric(programs) as (broker, _):
        programs.put(programs.next)
        mark = broker.mark()
        status, out, err = run_once("--upgrade", "-S", broker.path)
        assert status == 0, f"exit {status}: {out}{err}"
        assert broker.wait_event("upgrade", mark, result="done")["version"] == \
            programs.next_version
        programs.put(contents("/bin/false"))
        child = broker.child
        status, out, err = run_once("--upgrade", "-S", broker.path)
        assert status == 1 and err.count("\n") == 1, f"exit {status}: {out}{err}"
        assert broker.child == child
        status, _, err = run_once("--upgrade", "-S", broker.path + "-nobody")
        assert status == 1 and err.count("\n") == 1, f"exit {status}: {err}"


if __name__ == "__main__":
    print(f"# seed {SEED}", file=sys.stderr)
    run_tests(globals())
