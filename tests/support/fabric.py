# SPDX-License-Identifier: MIT
"""fabric.py - a broker under test, and raw ivshmem peers to test it with.

Who works in here: every black-box test. What it owns: one private directory a
broker, with its socket in it, and the descriptors of the peers. What it never
touches: the broker's code, anything outside that directory, and the clock as
a judge. Everything that waits, waits for an event; the time limits are hang
guards, so large that only a hang meets them.

    from fabric import Broker, RawPeer, run_tests

    def test_the_opening_ends_with_the_own_vectors():
        with Broker() as broker:
            peer = broker.join()
            assert peer.order[-1] == peer.id

    if __name__ == "__main__":
        run_tests(globals())

A Broker is stopped at the end of its `with`, and the test fails if it did not
end well: exit status, something left behind, a line of a sanitizer.

A RawPeer is the plainest client there can be: one socket, read message by
message, every rule of the protocol that can be judged from one client's seat
asserted as the messages come. The rules differ by kind: a `device` must never
be told a leave or a vector twice, a plain client is told both as they happen.
"""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import time
import traceback

# Tests import all of it from here; each part has a file of its own.
from fabric_base import (AS_DEVICES, AS_PLAIN, HANG_SECONDS, ID_MAX, SANITIZER,  # noqa: F401
                         SIOCOUTQ, Gone, Hang, Refused, Skip, settings)
from fabric_broker import Broker, listening  # noqa: F401
from fabric_log import Log, Report, parse_line  # noqa: F401
from fabric_peer import Bells, RawPeer, barrier, eventfd_id, full_mesh, readable  # noqa: F401
from fabric_process import PeerProcess  # noqa: F401

TEST_HANG_SECONDS = 240  # the hang guard of a whole test


# ---------------------------------------------------------------- little tools


def look_until(what, judge):
    """Look again and again until it is true: for what nothing tells of, as a file's content."""
    deadline = time.monotonic() + HANG_SECONDS
    while not judge():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.002)


def stop_process(pid):
    """SIGSTOP to a child of ours, which stands still when this returns."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


def unprivileged_uid():
    """A user without rights, if we may become it."""
    if os.geteuid() != 0:
        raise Skip("needs root, to become somebody else")
    return 65534


def run_once(*options, binary=None, argv0=None, env=None, cwd=None, **popen):
    """Run the server to its end: (status, stdout, stderr). For command line tests."""
    binary = binary or settings.server
    done = subprocess.run([argv0 or binary, *options], executable=binary, capture_output=True,
                          text=True, timeout=HANG_SECONDS, env=env, cwd=cwd,
                          stdin=subprocess.DEVNULL, check=False, **popen)
    assert not SANITIZER.search(done.stderr), done.stderr
    return done.returncode, done.stdout, done.stderr


def seals(fd):
    return fcntl.fcntl(fd, 1034)  # F_GET_SEALS


F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW = 1, 2, 4


# ---------------------------------------------------------------- the runner


def arguments(argv=None):
    """The command line that all test scripts share."""
    parser = argparse.ArgumentParser(add_help=True)
    parser.add_argument("--server", default=settings.server, help="server binary (FAMEZ_SERVER)")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--naive", action="store_true",
                        help="the server is the control: pass it -F -S -l -n only")
    parser.add_argument("filter", nargs="*", help="run tests whose names contain one of these")
    chosen = parser.parse_args(argv)
    if not chosen.server:
        parser.error("no server: pass --server PATH or set FAMEZ_SERVER")
    settings.server = os.path.abspath(chosen.server)
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    settings.workers = chosen.workers
    settings.naive = chosen.naive
    return chosen


def _why(err):
    text = " ".join(str(err).split("\n")[0].split())
    if not text:
        frames = traceback.extract_tb(err.__traceback__)
        frame = next((f for f in reversed(frames) if not os.path.basename(f.filename).startswith("fabric")),
                     frames[-1])
        text = f"line {frame.lineno}: {frame.line}"
    return f"{type(err).__name__}: {text}"


def run_tests(namespace, argv=None):
    """Run all test_* functions of a module in their order, print a line each, and exit."""
    chosen = arguments(argv)
    passed = failed = skipped = 0

    def hang(_sign, _frame):
        raise Hang(f"no end after {TEST_HANG_SECONDS} s")

    signal.signal(signal.SIGALRM, hang)
    for name, test in list(namespace.items()):
        if not name.startswith("test_") or not callable(test):
            continue
        name = name[len("test_"):]
        if chosen.filter and not any(f.replace(" ", "_") in name for f in chosen.filter):
            continue
        before = time.monotonic()
        signal.alarm(TEST_HANG_SECONDS)
        try:
            test()
            signal.alarm(0)
            print(f"ok {name}", flush=True)
            passed += 1
        except Skip as err:
            signal.alarm(0)
            print(f"SKIP {name}: {err}", flush=True)
            skipped += 1
        except KeyboardInterrupt:
            raise
        except BaseException as err:  # a Hang is not an Exception
            signal.alarm(0)
            print(f"FAIL {name}: {_why(err)}", flush=True)
            traceback.print_exc()
            failed += 1
        if os.environ.get("FAMEZ_TEST_TIMES"):
            print(f"  {time.monotonic() - before:7.2f} s {name}", file=sys.stderr, flush=True)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""),
          flush=True)
    sys.exit(1 if failed else 0)
