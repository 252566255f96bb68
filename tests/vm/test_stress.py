#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
test_stress.py - famez-stress with real VMs, and in one.

What its host's side does with guests that lie, hang or die is in tests/clients/guests.py, where it
takes no QEMU. Here they boot.
"""

import argparse
import json
import os
import re
import signal
import subprocess

import test_famez_vm as vm_of
from stage import run_tests, settings

HANG_SECONDS = 300


def environment(place):
    """Where famez-vm finds its kit, and where nothing may be left."""
    cache = vm_of.cache()[1]
    os.makedirs(cache, exist_ok=True)
    os.symlink(cache, os.path.join(place, "famez"))
    return dict(vm_of.of_place(place), XDG_CACHE_HOME=place)


def stress(place, *words):
    return subprocess.Popen(
        [vm_of.program("famez-stress"), "--server", settings.server, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(place))


def test_two_real_vms_take_part_and_all_is_accounted_for():
    vm_of.need_guests()
    with vm_of.place() as place:
        file = os.path.join(place, "json")
        run = stress(place, "mesh", "--vm", "2", "--peers", "20", "--time", "1", "--json", file)
        out, err = run.communicate(timeout=HANG_SECONDS)
        assert run.returncode == 0 and "0 unaccounted" in out, out + err
        assert re.search(r"real VM  +[\d,]+  +0 ", out) and "to a real VM" in out, out
        with open(file, encoding="utf-8") as f:
            real = json.load(f)["real_vms"]
        assert real["count"] == 2 and "-accel" in real["what"], real["what"]
        assert real["round_trip_ns"]["count"] > 0
        for series in real["series"]:
            assert series["sent"] == series["heard"] > 0, series["name"]
            assert series["latency_ns"]["p50"] > 0, series["name"]
        assert [s["name"] for s in real["series"]] == ["mesh, doorbells", "mesh, messages"]
        left = vm_of.processes_of(place)
        assert not left, left


def test_a_real_vm_that_is_killed_is_one_line_and_leaves_nothing():
    vm_of.need_guests()
    with vm_of.place() as place:
        run = stress(place, "bulk", "--vm", "1", "--peers", "4", "--time", "60")
        for line in run.stdout:
            if "full mesh" in line:
                break
        qemu, = [pid for pid, line in vm_of.processes_of(place)
                 if b"qemu-system" in line.split(b"\0")[0]]
        os.kill(qemu, signal.SIGKILL)
        _, err = run.communicate(timeout=HANG_SECONDS)
        assert run.returncode == 1, err
        assert re.match(r"famez-stress: real VM 1 \(ID \d+\) has gone", err.splitlines()[-1]), err
        left = vm_of.processes_of(place)
        assert not left, left


def test_within_a_guest_with_two_devices_it_runs_as_on_the_host():
    vm_of.need_guests()
    both = "--connect /dev/famez0 --connect /dev/famez1"
    with vm_of.place() as place:
        out, _ = vm_of.vm(
            "run", "-N", "1", "--devices", "2", *vm_of.cache(), "--timeout", str(HANG_SECONDS),
            "--program", vm_of.program("famez-stress"), "--exec",
            f"for s in pairs mesh bulk; do famez-stress $s {both} --time 1 || exit 1; done; "
            "famez-stress --connect /dev/famez0 --peers 1 --join-only",
            env=vm_of.of_place(place))
        assert out.count("all accounted for") == 3, out
        for name in ("pairs, doorbells", "mesh, messages", "bulk, 64 B"):
            assert name in out, out
        assert "1 emulated VM at" in out, out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--kit")
    ours, theirs = parser.parse_known_args()
    vm_of.kit_folder = ours.kit and os.path.abspath(ours.kit)
    run_tests(globals(), theirs)
