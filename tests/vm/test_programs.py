#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
test_programs.py - programs of libfamez in guests, the same ones as on the host, unchanged.

Guests boot with famez-vm. The first test's have two doorbell devices each, since a device is one
program's at a time; all that its programs do is in one boot, which is the dear part of it. Messages
and their order are judged by exchange.c, which knows every byte that must come.
"""

import json
import os
import re
import subprocess
import threading

import test_famez_vm as vm_of
from kit import run_with_kit
from stage import HERE, settings

COUNT = 10000
IDLE_MS = 2500
HANG_SECONDS = 400

# Node 1 and node 2 exchange messages; then node 1 and the host, and within node 2 its own programs.
GUEST = f"""
interrupts() {{ cat /sys/class/famez/famez0/counters/interrupts; }}
exchange() {{ famez-vm-exchange /dev/famez0 "$1" "$2" {COUNT} {IDLE_MS} || exit 1; }}
before=$(interrupts)
if [ "$NODE" = 1 ]; then exchange one two; else exchange two one; fi
echo "interrupts $(($(interrupts) - before))"
if [ "$NODE" = 1 ]; then exchange guest host; exit; fi
both="-S /dev/famez0 -S /dev/famez1"
famez-bench-messages stream famez $both -t 300 || exit 1
famez-bench-messages trip famez:sleep $both -t 300 || exit 1
famez-bench-messages stream famez -S /dev/famez0 -t 300 2>/tmp/said
echo "one device: $? $(cat /tmp/said)"
famez-client -S /dev/famez1 serve --for 60 >/dev/null &
until famez-client -S /dev/famez0 who | grep -q "^ *$(cat /sys/class/famez/famez1/id) .*lanes"; do
	sleep 0.2
done
famez-client -S /dev/famez0 --json bench "$(cat /sys/class/famez/famez1/id)" --seconds 1 || exit 1
kill $!
"""


def built(*path):
    build = os.path.dirname(os.path.dirname(settings.server))
    return os.path.join(build, *path)


class Run:
    """famez-vm run --exec, and a program on the host once there is a broker."""

    def __init__(self, folder, words, on_host):
        self.said, self.host = [], None
        self.process = subprocess.Popen(
            [vm_of.program("famez-vm"), "run", *vm_of.cache(), "--timeout", str(HANG_SECONDS),
             *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=vm_of.of_place(folder))
        ear = threading.Thread(target=self.listen, args=(on_host,))
        ear.start()
        self.lines = self.process.stdout.read().splitlines()
        ear.join()
        code = self.process.wait()
        out = ""
        if self.host:
            out, err = self.host.communicate(timeout=HANG_SECONDS)
            assert self.host.returncode == 0, err + "\n".join(self.lines)
        assert code == 0, "".join(self.said) + "\n".join(self.lines)
        self.lines += [f"host| {line}" for line in out.splitlines()]

    def listen(self, on_host):
        for line in self.process.stderr:
            self.said.append(line)
            socket = re.match(r"broker +(\S+/famez\.sock),", line)
            if socket:
                self.host = subprocess.Popen(on_host(socket[1]), stdout=subprocess.PIPE,
                                             stderr=subprocess.PIPE, text=True)

    def of(self, node):
        """What one node said, without its name: a list of lines."""
        return [line.partition("| ")[2] for line in self.lines if line.startswith(f"{node}| ")]


def results(lines):
    return [json.loads(line) for line in lines if line.startswith("{")]


def check_exchange(one, other):
    for here, there in ((one, other), (other, one)):
        assert here["sent"] == there["received"], (here, there)
        assert here["sent"]["messages"] == COUNT
        assert (here["sent"]["smallest"], here["sent"]["largest"]) == (1, 32744), here
        # A tick a second, and whoever comes and goes meanwhile (within node 2). Who looks every few
        # milliseconds would sleep much more often, and who polls would use all of its time.
        assert here["idle_sleeps"] < 100, here
        assert here["idle_cpu_ms"] < here["idle_ms"] / 2, here


def test_programs_of_the_library_run_in_guests_as_they_do_on_the_host():
    vm_of.need_guests()
    exchange = built("tests", "vm", "famez-vm-exchange")
    with vm_of.place() as folder:
        run = Run(folder, ["-N", "2", "--devices", "2", "--program", exchange, "--program",
                           built("bench", "famez-bench-messages"), "--exec", GUEST],
                  lambda socket: [exchange, socket, "host", "guest", str(COUNT), str(IDLE_MS)])
    first, second, host = (results(run.of(name)) for name in ("node1", "node2", "host"))
    check_exchange(first[0], second[0])
    check_exchange(first[1], host[0])
    for name in ("node1", "node2"):
        rings, = [int(line.split()[1]) for line in run.of(name) if line.startswith("interrupts ")]
        print(f"  {name}: {2 * COUNT} messages, {rings} interrupts")
        # One for each message would be a receiver that is always asleep, or a sender who never
        # looks whether it is.
        assert 0 < rings < COUNT, rings
    stream, trip, client = second[1:4]
    assert stream["scenario"] == "stream" and stream["messages"] > 0, stream
    assert trip["scenario"] == "trip" and trip["messages"] > 0 and trip["p50_ns"] > 0, trip
    assert client["result"] == "bench" and client["round_trip"]["count"] > 0, client
    refused, = [line for line in run.of("node2") if line.startswith("one device: ")]
    assert refused.startswith("one device: 1 ") and "-S /dev/famez0 -S /dev/famez1" in refused, \
        refused
    assert not [line for line in run.of("node2") if line.startswith("famez-bench")], run.of("node2")


def test_the_figures_of_guests_are_whole_and_make_sense():
    vm_of.need_guests()
    with vm_of.place() as folder:
        to = os.path.join(folder, "figures")
        done = subprocess.run(
            [os.path.join(HERE, "..", "..", "bench", "guests"), "--build", built(), "--rounds", "1",
             "--seconds", "1", "--json", to, *vm_of.cache()], capture_output=True, text=True,
            check=False, timeout=HANG_SECONDS, env=vm_of.of_place(folder))
        assert done.returncode == 0, done.stdout + done.stderr
        with open(to, encoding="utf-8") as f:
            figures = [json.loads(line) for line in f]
    seen = sorted((r["ends"], r["system"], r["what"], r.get("bytes", 0)) for r in figures)
    assert seen == sorted((ends, system, what, size)
                          for ends in ("guest-guest", "guest-host") for system in ("famez", "raw")
                          for what, size in (("bells", 0), ("stream", 100), ("stream", 4096))), seen
    for r in figures:
        if r["what"] == "bells":
            assert r["trips"] > 0 and 0 < r["min_us"] <= r["p50_us"] <= r["p99_us"], r
        else:
            assert r["messages"] > 64 and r["seconds"] > 0, r
            assert abs(r["per_second"] * r["seconds"] / r["messages"] - 1) < 0.01, r
    for words in ("doorbell round trip, p50 us", "100 B, messages/s", "4 KiB, MiB/s"):
        assert done.stdout.count(words) == 2, done.stdout


if __name__ == "__main__":
    run_with_kit(globals())
