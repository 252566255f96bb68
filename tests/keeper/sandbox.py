#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sandbox.py - what a broker can't do any more once it serves, and what becomes of one that tries.

To be run with famez-server-faults, whose first broker tries what FAMEZ_TRESPASS names
(broker/trespass.h). That everything else works inside of the sandbox is what all the other tests
show: it is on by default.
"""

import os
import select
import signal
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import (  # noqa: E402
    AS_DEVICES, AS_PLAIN, HANG_SECONDS, Broker, Skip, run_once, run_tests)

# What it tries, and the system call that is to be named.
TRESPASSES = {
    "execve": "execve",
    "fork": "clone",
    "socket": "socket",
    "shadow": "openat",
    "ptrace": "ptrace",
    "process_vm_readv": "process_vm_readv",
    "kill": "kill",
    "mprotect": "mprotect",
    "urgency": "sched_setscheduler",
    "io_uring_setup": "io_uring_setup",
}


def sandboxed(broker):
    """The line on the sandbox; skips where there can be none."""
    line = broker.wait_event("sandbox")
    if line["seccomp"] != "yes":
        raise Skip(line.get("missing"))
    return line


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def tasks(pid):
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]


def looker_of(broker):
    with open(f"/proc/{broker.child}/task/{broker.child}/children", encoding="utf-8") as f:
        return [int(word) for word in f.read().split()]


def test_who_tries_dies_of_it_is_named_and_has_a_successor():
    with Broker() as broker:
        sandboxed(broker)
    for what, call in TRESPASSES.items():
        with Broker(env={"FAMEZ_TRESPASS": what}) as broker:
            died = broker.wait_event("died")
            assert died["signal"] == "SYS", f"{what}: {died}"
            assert f"refused the system call {call}, " in died["words"], f"{what}: {died}"
            broker.wait_event("resumed")
            first, second = broker.join(), broker.join()
            first.until_knows(second.id)
            assert len(broker.events("died")) == 1, f"{what}: {broker.events('died')}"
            assert not [line for line in broker.log.lines if "trespass: done" in line], what


def test_a_ring_does_not_go_past_it():
    with Broker(env={"FAMEZ_TRESPASS": "ring"}) as broker:
        broker.join()
        broker.report()  # by now all lines of the start are there
        assert "# trespass: EACCES" in broker.log.lines, broker.log.lines
        assert not broker.events("died")


def test_every_thread_is_in_it():
    with Broker() as broker:
        line = sandboxed(broker)
        broker.join()
        threads = tasks(broker.child)
        assert len(threads) >= 3, threads
        for thread in threads:
            status = status_of(thread)
            assert status["Seccomp"] == "2", f"thread {thread}: {status['Seccomp']}"
            assert status["NoNewPrivs"] == "1", f"thread {thread}"
            # CAP_IPC_LOCK; CAP_SYS_RESOURCE, or CAP_SYS_ADMIN where that is not to be had.
            for which in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                assert int(status[which], 16) & ~(1 << 14) in (0, 1 << 24, 1 << 21), which
        assert int(line["landlock"]) >= 0


def test_the_looker_is_in_one_of_its_own_and_holds_nothing():
    with Broker(*AS_PLAIN) as broker:
        sandboxed(broker)
        for _ in range(3):
            broker.join()
        (looker,) = looker_of(broker)
        status = status_of(looker)
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
        # CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_SYS_RESOURCE or CAP_SYS_ADMIN
        allowed = 1 << 2 | 1 << 19 | 1 << 21 | 1 << 24
        assert not int(status["CapEff"], 16) & ~allowed, status["CapEff"]
        held = {os.readlink(f"/proc/{looker}/fd/{fd}") for fd in os.listdir(f"/proc/{looker}/fd")}
        sockets = [name for name in held if name.startswith("socket:")]
        assert len(sockets) == 1 and held <= {*sockets, "/dev/null"}, held


def test_devices_are_told_from_others_and_counted_through_the_looker():
    with Broker(*AS_DEVICES, verbose=1) as broker:
        sandboxed(broker)
        peer = broker.join()
        joined = broker.wait_event("join", id=peer.id)
        assert joined["kind"] == "device" and joined["exe"].startswith("python3"), joined
        late = broker.join()
        peer.until_knows(late.id)


def test_a_broker_whose_looker_is_gone_has_a_successor_with_a_new_one():
    with Broker() as broker:
        sandboxed(broker)
        peer = broker.join()
        (looker,) = looker_of(broker)
        os.kill(looker, signal.SIGKILL)
        late = broker.join()
        peer.until_knows(late.id)
        assert broker.wait_event("died")["words"] == "the looker is gone"
        broker.wait_event("resumed")
        (new,) = looker_of(broker)
        assert new != looker


def test_a_lookers_life_ends_with_its_broker():
    with Broker() as broker:
        sandboxed(broker)
        (looker,) = looker_of(broker)
        gone = os.pidfd_open(looker)
        os.kill(broker.child, signal.SIGKILL)
        assert select.select([gone], [], [], HANG_SECONDS)[0], "it lives on"
        os.close(gone)
        broker.wait_event("resumed")


def test_a_log_is_opened_anew_from_inside():
    with tempfile.TemporaryDirectory(prefix="famez-test-") as room:
        log = os.path.join(room, "log")
        with Broker("--logfile", log) as broker:
            os.rename(log, log + ".old")
            os.kill(broker.pid, signal.SIGHUP)
            first, second = broker.join(), broker.join()
            first.until_knows(second.id)
            os.kill(broker.pid, signal.SIGUSR1)
            while not os.path.exists(log) or "report-end" not in open(log, encoding="utf-8").read():
                assert not broker.events("died")
                os.sched_yield()


def test_off_is_off_and_said():
    with Broker("--sandbox", "off") as broker:
        line = broker.wait_event("sandbox")
        assert line["seccomp"] == "no" and line["missing"] == "--sandbox off", line
        assert status_of(broker.child)["Seccomp"] in ("0", status_of(os.getpid())["Seccomp"])
        assert not looker_of(broker)


def test_required_is_there_or_nothing_starts():
    with Broker() as broker:
        missing = broker.wait_event("sandbox").get("missing")
    if missing:
        status, _, err = run_once("-F", "-S", "/tmp/famez-test-none", "--sandbox", "required")
        assert status == 1 and missing in err, err
    else:
        with Broker("--sandbox", "required") as broker:
            broker.join()
    status, _, err = run_once(
        "-F", "-S", "/tmp/famez-test-none", "--sandbox", "required", "--no-keeper")
    assert status == 1 and "--sandbox required: " in err and err.count("\n") == 1, err


if __name__ == "__main__":
    run_tests(globals())
