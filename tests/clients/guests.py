#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""guests.py - famez-stress --vm: the host's side, with guests that are none.

In place of famez-vm stands a script that runs the guests' program on the host, at the broker's
socket; so each test takes a second, and sanitizers see both sides. Real ones: tests/vm/test_stress.py.
"""

import contextlib
import json
import os
import shutil
import signal
import time

from programs import HANG_SECONDS, Live, complains, folder, program, run, run_tests, settings

AGENTS = """#!/bin/sh
# famez-vm run -S SOCKET -N COUNT ...
echo "boot      $5 guests, Linux none, -accel none"
n=0
while [ $n -lt "$5" ]; do "$(dirname "$0")/famez-stress" --agent "$3" & n=$((n + 1)); done
trap 'kill $(jobs -p) 2>/dev/null; exit 0' TERM
wait
"""


@contextlib.contextmanager
def with_guests(script):
    """The path of famez-stress, beside a famez-vm of our own."""
    with folder() as place:
        binary = os.path.join(place, "famez-stress")
        shutil.copy(program("famez-stress"), binary)
        with open(os.path.join(place, "famez-vm"), "w", encoding="utf-8") as f:
            f.write(script)
        os.chmod(f.name, 0o755)
        yield binary
        left = processes_of(place)
        assert not left, f"left behind: {left}"


def processes_of(place):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
            line = f.read()
            if place.encode() in line:
                found.append((int(pid), line))
    return found


def go(binary, *words):
    return run("famez-stress", "--server", settings.server, "--time", "0.3", *words, binary=binary)


def last_line_complains(done, *parts):
    """Whatever progress was shown, the last line says it all."""
    done.err = "".join(line + "\n" for line in done.err.splitlines() if line[:2] != "  ")
    complains(done, 1, "famez-stress", *parts)


def test_guests_take_part_and_all_is_accounted_for():
    for scenario, peers, guests in (("mesh", 10, 2), ("pairs", 2, 3), ("ring", 5, 2),
                                    ("incast", 4, 1), ("bulk", 6, 2)):
        with with_guests(AGENTS) as binary, folder() as place:
            file = os.path.join(place, "json")
            done = go(binary, scenario, "--vm", guests, "--peers", peers, "--json", file)
            assert done.code == 0 and "all accounted for" in done.out, (scenario, done)
            assert max(map(len, done.lines)) <= 80, max(done.lines, key=len)
            with open(file, encoding="utf-8") as f:
                figures = json.load(f)
            real = figures["real_vms"]
            assert real["count"] == guests and real["what"] == "Linux none, -accel none"
            emulated = {s["name"]: s for s in figures["series"]}
            seen = {s["name"]: s for s in real["series"]}
            assert seen.keys() == emulated.keys(), (scenario, seen.keys())
            for name, s in seen.items():
                assert s["sent"] == s["heard"] > 0, (name, s)
                timed = s["latency_ns"]
                assert timed["count"] == sum(b[2] for b in timed.get("buckets", []))
                if "messages" in name:  # of so short a time, doorbells may have none
                    assert timed["count"] > 0, name
                assert scenario != "bulk" or timed["count"] == 0, name
            if scenario in ("mesh", "pairs"):
                assert real["round_trip_ns"]["count"] > 0


def test_an_open_loop_has_guests_as_well():
    with with_guests(AGENTS) as binary:
        done = go(binary, "mesh", "--vm", 2, "--peers", 6, "--rate", 2000, "--processes", 2)
        assert done.code == 0 and "all accounted for" in done.out, done


def test_a_given_server_needs_lanes_and_two_vectors():
    with with_guests(AGENTS) as binary:
        done = go(binary, "--vm", 1, "--peers", 4, "--vectors", 1)
        complains(done, 3, "famez-stress", "--vectors 2")


def test_guests_that_do_not_come_up_are_told_of_with_the_reason():
    with with_guests("#!/bin/sh\necho 'famez-vm: no kernel in /boot: install it' >&2\nexit 1\n") \
            as binary:
        complains(go(binary, "--vm", 1, "--peers", 4), 3, "famez-stress", "did not come up",
                  "no kernel in /boot")
    with with_guests("#!/bin/sh\n") as binary:
        os.remove(os.path.join(os.path.dirname(binary), "famez-vm"))
        done = run("famez-stress", "--server", settings.server, "--vm", 1, "--peers", 4,
                   binary=binary, env={"PATH": "/nonexistent"})
        complains(done, 3, "famez-stress", "did not come up", "cannot be run")


def test_a_guest_that_lies_is_found_out():
    liar = os.path.join(os.path.dirname(os.path.dirname(settings.server)), "tests", "vm",
                        "famez-vm-liar")
    for how, *parts in (("garbled", "tells nonsense: no words of ours"),
                        ("early", "tells nonsense: what was not asked for"),
                        ("forward", "tells nonsense: an answer to what was not asked"),
                        ("backward", "tells nonsense: counts that go backwards"),
                        ("hasty", "tells nonsense: it is further than it can be"),
                        ("deaf", "did not arrive within 1 s"),
                        ("deaf", "has told no figures"),
                        ("figures", "tells nonsense: its figures are not what it has counted"),
                        ("rude", "says: ?[2J?all is well")):
        with with_guests(f'#!/bin/sh\nexec {liar} "$3" {how}\n') as binary:
            # In pairs nobody speaks to a guest that does not begin.
            scenario = "mesh" if "did not arrive within 1 s" in parts else "pairs"
            done = go(binary, scenario, "--vm", 1, "--peers", 4, "--patience", 1)
            assert done.code == 1, (how, done)
            last_line_complains(done, *parts)


def agents(binary):
    return [pid for pid, line in processes_of(os.path.dirname(binary)) if line.split(b"\0")[1:2] == [b"--agent"]]


def dies(sign, *parts):
    with with_guests(AGENTS) as binary:
        live = Live("famez-stress", "--server", settings.server, "pairs", "--vm", 2, "--peers", 4,
                    "--time", 5, "--patience", 1, executable=binary)
        with live:
            while "booted" not in live.line():
                pass
            os.kill(agents(binary)[0], sign)
            last_line_complains(live.end(), *parts)


def test_a_guest_that_dies_is_noticed_at_once():
    dies(signal.SIGKILL, "real VM", "has gone")


def test_a_guest_that_hangs_is_given_up_after_the_patience():
    dies(signal.SIGSTOP, "did not come back within 1 s")


def test_guests_end_with_the_run_whatever_ends_it():
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with with_guests(AGENTS) as binary:
            live = Live("famez-stress", "--server", settings.server, "--vm", 1, "--peers", 4,
                        "--time", 60, executable=binary)
            with live:
                while "booted" not in live.line():
                    pass
                os.kill(live.pid, sign)
                live.process.wait(timeout=HANG_SECONDS)
            deadline = time.monotonic() + HANG_SECONDS
            while processes_of(os.path.dirname(binary)):
                assert time.monotonic() < deadline, processes_of(os.path.dirname(binary))
                time.sleep(0.02)


def test_an_agent_without_a_host_says_what_it_is_for():
    done = run("famez-stress", "--agent", "/nonexistent/famez0")
    complains(done, 1, "famez-stress", "/nonexistent/famez0")


if __name__ == "__main__":
    run_tests(globals())
