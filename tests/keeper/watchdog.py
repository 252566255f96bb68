#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""watchdog.py - a broker that hangs is replaced, and one that was only stopped is not.

    tests/keeper/watchdog.py --server PATH/famez-server-faults [FILTER ...]

The rules themselves are tested by tests/unit/test_watchdog.c, without a clock. Here a broker is
left alone for some times of the watchdog's second: nothing can be waited for where nothing is to
happen.
"""

import array
import ctypes
import fcntl
import os
import signal
import sys
import termios
import threading
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


def queued(pipe):
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def fill_log(broker, pipe):
    """Until nothing more goes into the pipe, whatever there is to be said: each report is longer
    than what is free there."""
    same = 0
    while same < 10:
        before = queued(pipe)
        os.kill(broker.pid, signal.SIGUSR1)
        broker.join().close()
        same = same + 1 if before and queued(pipe) == before else 0


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
        # Nor is that one blamed for what was not answered before it came.
        time.sleep(LONG_S)
        assert len(broker.events("died")) == 1, broker.events("died")


def test_one_whose_worker_hangs_has_a_successor():
    """The registrar answers, and so does the other worker."""
    for how in ("hang-worker", "block-worker"):
        with Broker(*ONE_SECOND, workers=2, env={"FAMEZ_TRESPASS": how}) as broker:
            died = broker.wait_event("died")
            assert died["signal"] == "ABRT" and died["served"] == "yes", died
            assert died["words"] == "watchdog: worker 1 did not answer for 1 s", died
            broker.wait_event("resumed")
            peers = [broker.join() for _ in range(4)]
            for peer in peers:
                peer.until_knows(*[p.id for p in peers if p is not peer])


def test_one_whose_log_nobody_reads_lives():
    """The logger hangs in a write to a full pipe, and is no part of what serves."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    rest = threading.Thread(target=lambda: open(reader, "rb").read(), daemon=True)
    with Broker(*ONE_SECOND, stderr=writer) as broker:
        os.close(writer)
        kept(broker)
        child = broker.child
        fill_log(broker, reader)
        time.sleep(LONG_S)
        assert broker.child == child
        peers = [broker.join() for _ in range(2)]
        peers[0].until_knows(peers[1].id)
        assert broker.child == child
        rest.start()
    rest.join()


def test_one_that_stood_still_with_its_keeper_lives():
    """As in a container that was frozen, or a VM that was paused: for both time has gone on."""
    with Broker(*ONE_SECOND) as broker:
        kept(broker)
        child, peers = broker.child, [broker.join()]
        for _ in range(3):
            os.kill(broker.pid, signal.SIGSTOP)
            os.kill(child, signal.SIGSTOP)
            time.sleep(LONG_S / 2)
            os.kill(broker.pid, signal.SIGCONT)
            os.kill(child, signal.SIGCONT)
        still_there(broker, child, peers)


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
