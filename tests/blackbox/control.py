#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""control.py - the tests tell a harmful server from a harmless one.

The naive server does what kills virtual machines. Here the same assertions that famez-server must
pass have to fail against it; else they prove nothing. Its path: FAMEZ_NAIVE_SERVER, or where the
build that --server is of puts it.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import Broker, Skip, run_tests, settings  # noqa: E402


def naive(*options):
    found = os.environ.get("FAMEZ_NAIVE_SERVER") or os.path.join(
        os.path.dirname(settings.server), "..", "tests", "control", "famez-naive-server")
    if not os.access(found, os.X_OK):
        raise Skip("no famez-naive-server: set FAMEZ_NAIVE_SERVER")
    broker = Broker(start=False, binary=found, notify=False)
    broker.command = [found, "-F", "-S", broker.path, "-l", "1M", "-n", "4", *options]
    broker.start()
    return broker


def must_fail(test, saying):
    try:
        test()
    except AssertionError as err:
        assert saying in str(err), f"failed, but for another reason: {err}"
    else:
        raise AssertionError("the naive server passed")


def test_the_control_serves_at_all():
    with naive() as broker:
        a, b = broker.join(), broker.join()
        a.until_knows(b.id)
        a.ring(b.id, 2)
        assert b.wait(2) == 1


def test_a_leave_told_to_a_device_is_noticed():
    with naive() as broker:
        device, p = broker.join(device=True), broker.join()
        device.until_knows(p.id)
        ident = p.id
        p.leave()
        must_fail(device.step, f"was told that {ident} left")


def test_an_id_told_twice_is_noticed():
    with naive("--announce-twice") as broker:
        device = broker.join(device=True)
        p = broker.join()
        device.until_knows(p.id)
        must_fail(device.step, f"was told vector 4 of {p.id}")


def test_new_eventfds_under_a_reused_id_are_noticed():
    with naive() as broker:
        a, b = broker.join(), broker.join()
        before = b.bell_ids(b.id)
        kept = [os.dup(fd) for fd in b.peers[b.id]]  # so that no new eventfd gets their numbers
        a.until_knows(b.id)
        ident = b.id
        b.leave()
        a.until_left(ident)
        b = broker.join()
        assert b.id == ident and b.bell_ids(ident) != before
        for fd in kept:
            os.close(fd)


def test_an_opening_that_was_lost_in_a_full_socket_is_noticed():
    with naive() as broker:
        peers = [broker.connect() for _ in range(100)]
        # All are handled: the last one's own vectors are there, or will never be.
        last = peers[-1]
        last.preamble()
        sleeper = peers[0]
        sleeper.preamble()

        def whole():
            while len(sleeper.complete()) < 100:
                assert sleeper.pending(), "the rest was lost"
                sleeper.step()

        must_fail(whole, "")


if __name__ == "__main__":
    run_tests(globals())
