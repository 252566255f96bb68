#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""limits.py - a device is never sent more descriptors than its process may hold.

A QEMU whose descriptor limit is exceeded aborts. What would not fit is held back, logged once for
that client and counted; plain clients mind their own descriptors.
"""

import os
import re
import resource
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import (  # noqa: E402
    Bells, Broker, PeerProcess, Skip, barrier, run_tests, settings, unprivileged_uid)

RESERVE = 64


def crowd(broker, bells, count):
    """So many plain peers in this process, of whom one copy of each eventfd is kept."""
    peers = [broker.connect(bells=bells) for _ in range(count)]
    for peer in peers:
        peer.open()
    return peers


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def until_told(broker, ident):
    """Until nothing is due to this peer any more."""
    broker.until(f"{ident} is told", lambda: int(broker.report().peers[ident]["behind"]) == 0)


def close_all(peers, bells):
    for peer in peers:
        peer.close()
    bells.close()


def test_a_device_with_few_descriptors_is_not_told_what_would_not_fit():
    bells = Bells()
    with Broker() as broker, PeerProcess(broker, nofile=256) as vm:
        vm.run("d = RawPeer(path, device=True); d.open()")
        ident = vm.ask("d.id")
        peers = crowd(broker, bells, 90)  # 360 descriptors
        entry = broker.wait_event("held-back", id=ident)
        assert int(entry["limit"]) == 256 and int(entry["pid"]) == vm.pid

        def told():
            vm.run("d.drain()")
            return int(broker.report().peers[ident]["behind"]) == 0

        broker.until("the device is told what fits", told)
        vm.run("d.drain()")
        known = vm.ask("len(d.complete())")
        assert 20 <= known <= (256 - RESERVE) // 4, f"{known} peers told"
        assert descriptors(vm) + RESERVE <= 256
        report = broker.report()
        assert int(report.peers[ident]["held_back"]) > 0
        assert report["held_back"] > 0
        assert len(broker.events("held-back")) == 1
        close_all(peers, bells)


def test_a_newcomer_that_cannot_hold_all_is_still_told_its_own_vectors():
    bells = Bells()
    with Broker() as broker:
        peers = crowd(broker, bells, 90)
        with PeerProcess(broker, nofile=200) as vm:
            vm.run("d = RawPeer(path, device=True); d.open()")
            assert vm.ask("len(d.peers[d.id])") == 4
            assert vm.ask("d.order[-4:] == [d.id] * 4")
            assert descriptors(vm) + RESERVE <= 200
            broker.wait_event("held-back", id=vm.ask("d.id"))
            peers[0].until_knows(vm.ask("d.id"))
            peers[0].ring(vm.ask("d.id"), 2)
            assert vm.ask("d.wait(2)") == 1
        close_all(peers, bells)


def test_a_device_whose_limit_is_far_away_is_told_everything():
    bells = Bells()
    with Broker() as broker, PeerProcess(broker, nofile=1024) as vm:
        vm.run("d = RawPeer(path, device=True); d.open()")
        peers = crowd(broker, bells, 150)
        vm.run(f"d.until_knows(*{[p.id for p in peers]})")
        assert not broker.events("held-back")
        assert broker.report()["held_back"] == 0
        close_all(peers, bells)


def test_two_devices_of_one_process_share_its_limit():
    bells = Bells()
    with Broker() as broker, PeerProcess(broker, nofile=400) as vm:
        vm.run("d = RawPeer(path, device=True); d.open(); e = RawPeer(path, device=True); e.open()")
        peers = crowd(broker, bells, 90)  # 720 descriptors for the two
        for name in "de":
            broker.wait_event("held-back", id=vm.ask(f"{name}.id"))
        probe = broker.join(bells=bells)
        peers[0].until_knows(probe.id)
        vm.run("d.drain(); e.drain()")
        assert descriptors(vm) + RESERVE <= 400, f"{descriptors(vm)} descriptors"
        assert vm.ask("len(d.complete()) + len(e.complete())") >= 20
        close_all(peers, bells)


def test_a_device_that_uses_many_descriptors_otherwise_is_told_less():
    bells = Bells()
    with Broker() as broker, PeerProcess(broker, nofile=512) as vm:
        vm.run("hoard = [os.dup(0) for _ in range(350)]")
        vm.run("d = RawPeer(path, device=True); d.open()")
        peers = crowd(broker, bells, 60)
        broker.wait_event("held-back", id=vm.ask("d.id"))
        vm.run("d.drain()")
        assert descriptors(vm) + RESERVE <= 512, f"{descriptors(vm)} descriptors"
        close_all(peers, bells)


def test_plain_clients_are_not_guarded():
    bells = Bells()
    with Broker() as broker, PeerProcess(broker, name="client", nofile=256) as client:
        client.run("s = Bells(); p = RawPeer(path)")
        # It closes what it is sent, as a tool with a store of its own may.
        client.run("""
p.preamble()
seen = {}
def look():
    value, fd = p.message()
    seen[value] = seen.get(value, 0) + 1
    os.close(fd)
""")
        peers = crowd(broker, bells, 90)
        client.run("while len(seen) < 92 or any(n < 4 for n in seen.values()): look()")
        assert not broker.events("held-back")
        barrier(broker, peers[:2])
        close_all(peers, bells)


def test_what_a_device_of_a_process_held_is_free_for_its_next_one():
    bells = Bells()
    with Broker() as broker, PeerProcess(broker, nofile=400) as vm:
        vm.run("d = RawPeer(path, device=True); d.open()")
        peers = crowd(broker, bells, 30)
        vm.run("e = RawPeer(path, device=True); e.open()")
        for _ in range(10):
            ident = vm.ask("e.id")
            peers[0].until_knows(ident)
            vm.run("e.close()")
            peers[0].until_left(ident)
            vm.run("e = RawPeer(path, device=True); e.open()")
        vm.run(f"e.until_knows(*{[p.id for p in peers]})")
        close_all(peers, bells)


def test_churn_beyond_a_devices_limit_harms_it_not():
    with Broker("--peers", "100", "--leaves", "auto") as broker, PeerProcess(
            broker, nofile=180) as vm:
        vm.run("d = RawPeer(path, device=True); d.open()")
        device = vm.ask("d.id")
        for _ in range(200):
            p = broker.member()
            # Who comes and goes quickly is skipped; here each is told, or held back.
            until_told(broker, device)
            p.leave()
            broker.until_peers(1)
        until_told(broker, device)
        vm.run("d.drain()")
        assert descriptors(vm) + RESERVE <= 180
        assert vm.ask("all(len(b) == 4 for b in d.peers.values())")
        assert len(broker.events("held-back")) == 1


def test_memory_that_may_not_be_locked_is_told_with_the_limit_to_set():
    with open(settings.server, "rb") as program:
        if re.search(rb"__[at]san_init", program.read()):
            raise Skip("a sanitizer says that memory is locked, and locks none")
    # On newer kernels rings count as well, and then this is the end of the start; on others it
    # serves.
    broker = Broker(user=unprivileged_uid(), ready=False,
                    limits={resource.RLIMIT_MEMLOCK: (4096, 4096)})
    try:
        said = broker.wait_event("unlocked")
        assert int(said["limit"]) == 4096 < int(said["bytes"]), said
        assert "LimitMEMLOCK=" in said["hint"], said
    finally:
        broker.kill()


if __name__ == "__main__":
    run_tests(globals())
