#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""watchdog.py - a broker that hangs is replaced, and one that was only stopped is not.

    tests/keeper/watchdog.py --server PATH/famez-server-faults [FILTER ...]

The rules themselves are tested by tests/unit/test_watchdog.c, without a clock. Here a broker is
left alone for some times of the watchdog's second: nothing can be waited for where nothing is to
happen.
"""

import ctypes
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import Broker, Skip, run_tests  # noqa: E402

ONE_SECOND = ("--watchdog", "1")
LONG_S = 2.5
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000  # waitpid(2): threads, too


def kept(broker):
    if broker.child == broker.pid:
        raise Skip("this build has no keeper by default")


def still_there(broker, child, peers):
    """The same one serves, and everybody."""
    assert broker.child == child and not broker.events("died"), broker.events("died")
    peers.append(broker.join())
    peers[0].until_knows(*[p.id for p in peers])
    assert not broker.events("died"), broker.events("died")


def test_one_that_hangs_has_a_successor():
    with Broker(*ONE_SECOND, env={"FAMEZ_TRESPASS": "hang"}) as broker:
        died = broker.wait_event("died")
        assert died["signal"] == "ABRT" and died["served"] == "yes", died
        assert died["words"] == "watchdog: the registrar did not answer for 1 s", died
        broker.wait_event("resumed")
        peers = [broker.join() for _ in range(2)]
        peers[0].until_knows(peers[1].id)


def test_without_a_watchdog_it_hangs_on():
    with Broker("--watchdog", "0", env={"FAMEZ_TRESPASS": "hang"}) as broker:
        kept(broker)
        time.sleep(LONG_S)
        assert not broker.events("died")
        mark = broker.mark()
        os.kill(broker.child, signal.SIGKILL)
        broker.wait_event("resumed", mark)


def test_one_with_nothing_to_do_lives():
    with Broker(*ONE_SECOND) as broker:
        kept(broker)
        child, peers = broker.child, [broker.join()]
        time.sleep(LONG_S)
        still_there(broker, child, peers)


def test_one_that_was_stopped_lives():
    with Broker(*ONE_SECOND) as broker:
        kept(broker)
        child, peers = broker.child, [broker.join()]
        os.kill(child, signal.SIGSTOP)
        time.sleep(LONG_S)
        os.kill(child, signal.SIGCONT)
        still_there(broker, child, peers)


def test_one_in_a_debugger_lives():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    libc.ptrace.restype = ctypes.c_long
    with Broker(*ONE_SECOND) as broker:
        kept(broker)
        child, peers = broker.child, [broker.join()]
        threads = [int(t) for t in os.listdir(f"/proc/{child}/task")]
        for thread in threads:
            if libc.ptrace(PTRACE_SEIZE, thread, None, None):
                raise Skip(f"ptrace: {os.strerror(ctypes.get_errno())}")
        for thread in threads:
            assert libc.ptrace(PTRACE_INTERRUPT, thread, None, None) == 0
            os.waitpid(thread, WALL)
        time.sleep(LONG_S)
        for thread in threads:
            assert libc.ptrace(PTRACE_DETACH, thread, None, None) == 0
        still_there(broker, child, peers)


if __name__ == "__main__":
    run_tests(globals())
