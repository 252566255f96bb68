#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""join.py - every system call of a join fails once: the 1st, the 2nd, the 3rd...

Each time the newcomer is served or refused with version -1 (never just closed: a QEMU
would spin for ever), nobody else notices, and who comes later is served.
"""

from plan import NTH_MAX, attempt, faulty, only_with_faults
from fabric import Bells, Broker, Refused, full_mesh, run_tests  # found by plan

VECTORS = 2
# One call fails, so one of the clients at most is refused.
CLIENTS = 4
UNHARMED_IN_A_ROW = 6


def come(broker, refused):
    """One more client: joined, or counted as refused."""
    try:
        peer = broker.join()
        # Who could not be looked at is taken for a device, and told no leaves.
        peer.device = broker.wait_event("join", id=peer.id)["kind"] == "device"
        return [peer]
    except Refused as err:
        assert err.args[0] == -1, f"refused with version {err.args[0]}"
        refused.append(broker)
        return []


def one_fabric(plan, *options):
    """Some clients come; one leaves, one comes. Returns how many were refused."""
    refused = []
    with faulty(plan, "--peers", "8", *options, vectors=VECTORS, size="1M") as broker:
        members = []
        for _ in range(CLIENTS):
            members += come(broker, refused)
        assert len(members) >= CLIENTS - 1, f"{plan}: {len(refused)} were refused"
        goer = members.pop(0)
        ident = goer.id
        goer.leave()
        members += come(broker, refused)
        members += come(broker, refused)
        assert len(refused) <= 1, f"{plan}: {len(refused)} were refused for one failing call"
        ids = {m.id for m in members}
        assert ident not in ids
        for member in members:
            if member.device:
                member.until_knows(*ids, 9)  # the server's own ID is 9
            else:
                member.until_exactly(ids | {9})
        full_mesh([m for m in members if not m.device],
                  extra={9} | {m.id for m in members if m.device})
        sender, receiver = members[0], members[-1]
        sender.ring(receiver.id, 1)
        receiver.wait(1)
    return len(refused)


def starts(plan, *options):
    return attempt(plan, "-n", str(VECTORS), "--peers", "8", *options).ready


def each_join(call, error, *options, harmless=False):
    """Fail the Nth call for every N that a start survives."""
    unharmed = refusals = served = 0
    for nth in range(1, NTH_MAX):
        plan = f"{call}:{nth}:{error}"
        if not starts(plan, *options):
            unharmed = 0
            continue
        refused = one_fabric(plan, *options)
        refusals += refused
        served += 1
        unharmed = 0 if refused else unharmed + 1
        if unharmed == UNHARMED_IN_A_ROW:
            break
    assert served >= UNHARMED_IN_A_ROW, f"{call}: nothing was tried"
    if harmless:
        assert refusals == 0, f"{call}: {refusals} clients refused, though it could be made up for"
    return refusals


def test_the_server_under_test_takes_plans():
    only_with_faults()


def test_eventfd():
    # The newcomer's vectors cannot be made: some N must hit a join.
    assert each_join("eventfd", "EMFILE") >= VECTORS
    each_join("eventfd", "ENFILE")


def test_fcntl():
    each_join("fcntl", "EINVAL")


def test_accept():
    for error in ("EMFILE", "ENFILE", "ENOMEM", "ECONNABORTED", "EINTR", "EAGAIN"):
        each_join("accept", error, harmless=error != "ECONNABORTED")


def test_getsockopt():
    each_join("getsockopt", "ENOMEM", harmless=True)


def test_readlink():
    # An executable that can't be read is a device; a device is served like anybody.
    for error in ("EACCES", "ENOMEM"):
        with faulty(f"readlink:1:{error}:100", "--peers", "8", vectors=VECTORS) as broker:
            peer = broker.join(device=True)
            other = broker.join(device=True)
            peer.until_knows(other.id)
            assert broker.wait_event("join")["kind"] == "device"


def test_open_of_a_devices_limits():
    with faulty("open:1:EMFILE:0", "--device-names", "python3*", vectors=VECTORS) as broker:
        broker.join(device=True)
    for first in range(1, 12):
        plan = f"open:{first}:EMFILE:1000"
        if not attempt(plan, "--device-names", "python3*").ready:
            continue
        with faulty(plan, "--device-names", "python3*", "--peers", "8",
                    vectors=VECTORS) as broker:
            one, two = broker.join(device=True), broker.join(device=True)
            one.until_knows(two.id)


def test_ioctl_that_looks_at_a_socket():
    for error in ("EINVAL", "ENOMEM"):
        each_join("ioctl", error)


def test_calloc():
    each_join("calloc", "ENOMEM")


def test_every_join_can_fail_and_the_server_serves_on():
    bells = Bells()
    with Broker("--peers", "8", vectors=VECTORS, env={"FAMEZ_FAULT": "eventfd:15:EMFILE:9"}) \
            as broker:
        served = refused = 0
        while served < 3:
            try:
                served += bool(broker.join(bells=bells))
            except Refused:
                refused += 1
                assert refused < 20, "nobody is let in any more"
        broker.until_peers(served)
    bells.close()


if __name__ == "__main__":
    run_tests(globals())
