#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sending.py - sends fail, and kernels refuse flags.

What is only "not now" is made up for: everything arrives in the end, exactly once and
in order (RawPeer asserts it with every message). What says that the client is gone
costs that client and nobody else. And a kernel without the newer flags of io_uring
serves as well.
"""

from plan import attempt, faulty, judge, only_with_faults
from fabric import Gone, Refused, barrier, full_mesh, run_tests  # found by plan

VECTORS = 3
SERVER = 17  # --peers 16


def storm(broker, device=False):
    """Joins, leaves, joins again; everybody is told everything."""
    members = [broker.join(device=device) for _ in range(6)]
    if not device:
        for goer in members[:2]:
            goer.leave()
        members = members[2:] + [broker.join() for _ in range(3)]
        ids = {m.id for m in members}
        for member in members:
            member.until_exactly(ids | {SERVER})
        full_mesh(members, extra={SERVER})
        barrier(broker, members)
        return members
    ids = {m.id for m in members}
    for member in members:
        member.until_exactly(ids | {SERVER})
    full_mesh(members, extra={SERVER})
    return members


def fabric_with(plan, *options):
    return faulty(plan, "--peers", "16", *options, vectors=VECTORS, size="2M")


def test_the_server_under_test_takes_plans():
    only_with_faults()


def back_pressure(error):
    for first in (1, 2, 3, 5, 13, 34):
        for times in (1, 7, 60):
            with fabric_with(f"sendmsg:{first}:{error}:{times}") as broker:
                storm(broker)


def test_eagain_is_back_pressure():
    back_pressure("EAGAIN")


def test_etoomanyrefs_is_back_pressure():
    back_pressure("ETOOMANYREFS")


def test_enomem_is_back_pressure():
    back_pressure("ENOMEM")


def test_enobufs_is_back_pressure():
    back_pressure("ENOBUFS")


def test_eintr_is_tried_again():
    for first in (1, 4, 10):
        with fabric_with(f"sendmsg:{first}:EINTR:3") as broker:
            storm(broker)


def test_devices_meet_back_pressure_too():
    for error in ("EAGAIN", "ETOOMANYREFS"):
        for first in (1, 5, 17):
            with fabric_with(f"sendmsg:{first}:{error}:20", "--device-names", "python3*") as broker:
                storm(broker, device=True)


def a_dead_end(error, first):
    """The Nth send says that its client is gone: one is dropped, the rest goes on."""
    dropped = 0
    with fabric_with(f"sendmsg:{first}:{error}") as broker:
        members = []
        for _ in range(5):
            try:
                members.append(broker.join())
            except (Gone, Refused):
                dropped += 1
        later = [broker.join() for _ in range(2)]
        alive = []
        ids = None
        for member in members + later:
            try:
                # Whoever was dropped reads the end of its stream here.
                member.read_until(lambda m=member: set(m.complete()) >=
                                  {x.id for x in later} | {SERVER})
                alive.append(member)
            except Gone:
                dropped += 1
        assert dropped <= 1, f"sendmsg:{first}:{error} cost {dropped} clients"
        ids = {m.id for m in alive}
        broker.until_peers(len(alive))
        for member in alive:
            member.until_exactly(ids | {SERVER})
        full_mesh(alive, extra={SERVER})
        if dropped:
            broker.until("a line that says who went",
                         lambda: broker.events("leave") or broker.events("drop"))
    return dropped


def test_epipe_drops_that_peer_and_nobody_else():
    assert sum(a_dead_end("EPIPE", first) for first in range(1, 24)) >= 12


def test_econnreset_drops_that_peer_and_nobody_else():
    assert sum(a_dead_end("ECONNRESET", first) for first in range(1, 24)) >= 12


# ---- io_uring of older kernels


def test_flags_refused_once_or_twice_are_done_without():
    served = 0
    for first in (1, 2, 3, 4, 5, 6):
        for times in (1, 2):
            plan = f"uring:{first}:EINVAL:{times}"
            outcome = attempt(plan)
            judge(plan, outcome)
            assert outcome.ready, f"{plan}: did not start: {outcome.lines}"
            with fabric_with(plan, "--workers", "2") as broker:
                storm(broker)
                served += 1
    assert served == 12


def test_a_kernel_that_refuses_every_flag_is_served_or_refused_with_a_line():
    ready = set()
    for times in range(1, 16):
        plan = f"uring:1:EINVAL:{times}"
        outcome = attempt(plan)
        judge(plan, outcome)
        if outcome.ready:
            ready.add(times)
    assert {1, 2} <= ready, f"served with {sorted(ready)} refusals"
    judge("uring:1:EINVAL:1000", attempt("uring:1:EINVAL:1000"))


if __name__ == "__main__":
    run_tests(globals())
