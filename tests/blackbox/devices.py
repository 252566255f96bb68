#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""devices.py - what a QEMU must never be told, and what it is told instead.

A device is never told a leave, nor a vector of an ID twice: either corrupts its heap. An ID owns
its eventfds, so the one that a device was told once goes on reaching whoever has the ID. RawPeer
with device=True asserts the two rules at every message.
"""

import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import (  # noqa: E402
    AS_DEVICES, Broker, PeerProcess, readable, run_tests)


def settle(broker):
    """Wait until every peer has been told all that is due to it."""
    broker.until("nobody is behind",
                 lambda: all(int(p["behind"]) == 0 for p in broker.report().peers.values()))


def present(broker, count):
    broker.until_peers(count)
    settle(broker)


def test_a_device_is_told_no_leave_and_no_id_twice():
    with Broker(*AS_DEVICES, "--peers", "4") as broker:
        device = broker.join(device=True)
        for _ in range(40):
            p = broker.join(device=True)
            device.until_knows(p.id)  # who comes and goes quickly is skipped
            p.leave()
            present(broker, 1)
            device.drain()
        assert set(device.peers) == device.complete() == {1, 2, 3, 4, 5}
        assert len(device.order) == 20


def test_a_device_that_knows_all_ids_is_told_nothing_any_more():
    with Broker(*AS_DEVICES, "--peers", "3") as broker:
        device = broker.join(device=True)
        for _ in range(3):
            other = broker.join(device=True)
            device.until_knows(other.id)
            other.leave()
            present(broker, 1)
        device.until_exactly([1, 2, 3, 4])
        sent = broker.report().peers[device.id]["sent"]
        for _ in range(300):
            broker.join(device=True).leave()
            broker.until_peers(1)
        settle(broker)
        assert broker.report().peers[device.id]["sent"] == sent
        assert not readable(device.sock)


def test_what_a_device_was_told_once_reaches_every_later_owner_of_the_id():
    with Broker(*AS_DEVICES, "--peers", "2") as broker:
        device = broker.join(device=True)
        bells = None
        for turn in range(20):
            p = broker.join(device=True)
            assert p.id == 2
            device.until_knows(2)
            p.until_knows(1)
            bells = bells or p.bell_ids(2)
            assert p.bell_ids(2) == bells == device.bell_ids(2)
            vector = turn % 4
            device.ring(2, vector)
            assert p.wait(vector) == 1
            p.ring(1, vector)
            assert device.wait(vector) == 1
            p.vanish()
            p.close()
            broker.until_peers(1)
            # Rung while nobody has the ID: the next owner must not be woken by it.
            if turn % 2:
                device.ring(2, 3)
                late = broker.join(device=True)
                assert not any(late.rung(v) for v in range(4))
                late.leave()
                broker.until_peers(1)


def test_devices_and_plain_clients_among_each_other_are_each_told_their_own_way():
    with Broker("--peers", "5") as broker, PeerProcess(broker) as vm:
        plain = broker.join()
        vm.run("d = RawPeer(path, device=True); d.open()")
        device = vm.ask("d.id")
        plain.until_knows(device)
        for _ in range(12):
            p = broker.join()
            plain.until_knows(p.id)
            ident = p.id
            vm.run(f"d.until_knows({ident}); d.ring({ident}, 1)")
            assert p.wait(1) == 1
            p.leave()
            plain.until_left(ident)
        assert vm.ask("sorted(d.complete())") == [1, 2, 3, 4, 5, 6]
        assert plain.order.count(("left", 3)) == 4
        # A device that is killed leaves like anybody else, for those who may be told.
        vm.close()
        plain.until_left(device)


def test_a_killed_device_comes_back_under_its_id_and_is_reached_through_the_old_eventfds():
    with Broker("--peers", "2") as broker:
        with PeerProcess(broker) as other:
            other.run("d = RawPeer(path, device=True); d.open()")
            for _ in range(4):
                with PeerProcess(broker) as vm:
                    vm.run("d = RawPeer(path, device=True); d.open()")
                    assert vm.ask("d.id") == 2
                    other.run("d.until_knows(2); d.ring(2, 0)")
                    assert vm.ask("d.wait(0)") == 1
                    vm.run("d.until_knows(1); d.ring(1, 2)")
                    assert other.ask("d.wait(2)") == 1
                broker.until_peers(1)


def test_the_kind_is_asked_of_the_executable():
    cases = {"qemu-system-x86_64": "device", "qemu-kvm": "device", "kvm": "device",
             "qemu-": "device", "my-qemu-thing": "device",
             ".qemu-system-x86_64-wrapped": "device", "kvmtool": "plain", "client": "plain"}
    with Broker() as broker:
        for name, kind in cases.items():
            with PeerProcess(broker, name=name) as process:
                process.run("p = RawPeer(path); p.open()")
                entry = broker.wait_event("join", id=process.ask("p.id"), pid=process.pid)
                assert entry["kind"] == kind, f"{name} was taken for a {entry['kind']}"
                assert entry["exe"] == name


def test_the_list_of_device_names_can_be_chosen():
    with Broker("--device-names", "client*,vmm") as broker:
        for name, kind in {"client-7": "device", "vmm": "device", "vmm2": "plain",
                           "qemu-system-x86_64": "plain"}.items():
            with PeerProcess(broker, name=name) as process:
                process.run("p = RawPeer(path); p.open()")
                entry = broker.wait_event("join", id=process.ask("p.id"))
                assert entry["kind"] == kind, f"{name} was taken for a {entry['kind']}"


def test_leaves_never_tells_them_to_nobody():
    with Broker("--leaves", "never", "--peers", "3") as broker:
        a = broker.join(device=True)
        for _ in range(10):
            p = broker.join(device=True)
            a.until_knows(p.id)
            p.leave()
            present(broker, 1)
            a.drain()
        assert len(a.order) == 16


def test_leaves_always_tells_them_to_devices_too():
    with Broker(*AS_DEVICES, "--leaves", "always", "--peers", "3") as broker:
        a = broker.join()
        for turn in range(6):
            p = broker.join()
            assert p.id == 2 + turn % 2
            ident = p.id
            a.until_knows(ident)
            p.leave()
            a.until_left(ident)


def test_a_device_that_reads_nothing_meanwhile_is_told_each_vector_once_all_the_same():
    """Its socket is full amid somebody's vectors when all leave, and others come under the IDs.
    (Told nobody leaves, for the guard would find that 121 devices are too many for one process.)"""
    with Broker("--leaves", "never", "--peers", "121", vectors=4) as broker:
        device = broker.join(device=True)
        for _ in range(3):
            crowd = [broker.connect(device=True) for _ in range(120)]
            broker.until_connected(121)
            for p in crowd:
                p.vanish()
                p.close()
            broker.until_connected(1)
        survivors = [broker.join(device=True) for _ in range(20)]
        device.until_knows(*[p.id for p in survivors])
        settle_reading(broker, device)
        # Of those who are not there any more it may have been told; but no vector twice, and
        # nobody by half.
        assert set(device.peers) == device.complete()
        for p in survivors:
            assert p.bell_ids(p.id) == device.bell_ids(p.id)
            device.ring(p.id, 3)
            assert p.wait(3) == 1


def settle_reading(broker, peer):
    """Read until the server says that nothing more is due to this peer."""
    def quiet():
        peer.drain()
        return int(broker.report().peers[peer.id]["behind"]) == 0 and not readable(peer.sock)
    broker.until("the peer is told all", quiet)


def test_random_churn_never_breaks_the_rules_and_every_ring_arrives():
    with Broker(*AS_DEVICES, "--peers", "16", vectors=2) as broker:
        dice = random.Random(99)
        watchers = [broker.join(device=True) for _ in range(3)]
        others = []
        for _ in range(150):
            if others and (len(others) == 13 or dice.random() < 0.5):
                gone = others.pop(dice.randrange(len(others)))
                gone.vanish()
                gone.close()
                broker.until("it is gone",
                             lambda: broker.report()["peers"] == 3 + len(others))
            else:
                others.append(broker.join(device=True))
            if dice.random() < 0.2:
                dice.choice(watchers).drain()
        for w in watchers:
            w.until_knows(*[p.id for p in others])
        for p in others:
            for w in watchers:
                w.ring(p.id, 1)
                assert p.wait(1) == 1
        full = watchers + others
        for w in watchers:
            assert w.complete() >= {p.id for p in full}


def test_eventfds_that_a_peer_left_blocking_stop_nobody():
    """A QEMU switches what it refuses to blocking, for everybody who holds it."""
    with Broker(*AS_DEVICES, "--peers", "2") as broker:
        a, b = broker.join(device=True), broker.join(device=True)
        a.until_knows(2)
        for bells in list(a.peers.values()) + list(b.peers.values()):
            for fd in bells:
                os.set_blocking(fd, True)
        b.leave()  # parking drains them, rung or not
        broker.until_peers(1)
        a.ring(2, 1)
        b = broker.join(device=True)
        assert not any(b.rung(v) for v in range(4))
        for fd in b.peers[2] + b.peers[3]:
            os.set_blocking(fd, True)
        for turn in range(50):
            b.ring(3, turn % 4)  # the server's own
        broker.until("the rings are counted", lambda: sum(broker.report().vectors.values()) == 50)
        b.leave()
        broker.until_peers(1)


def test_a_peer_that_empties_the_servers_own_eventfds_does_not_stop_it():
    with Broker("--peers", "4") as broker:
        thief = broker.join()
        bells = thief.peers[5]
        for fd in bells:
            os.set_blocking(fd, False)
        for turn in range(3000):
            os.eventfd_write(bells[turn % 4], 1)
            try:
                os.eventfd_read(bells[turn % 4])
            except BlockingIOError:
                pass
        for fd in bells:
            os.set_blocking(fd, True)
        for turn in range(500):
            os.eventfd_write(bells[turn % 4], 1)
            if readable(bells[turn % 4]):
                # The server may have been quicker since: then a read would wait.
                os.set_blocking(bells[turn % 4], False)
                try:
                    os.eventfd_read(bells[turn % 4])
                except BlockingIOError:
                    pass
                os.set_blocking(bells[turn % 4], True)
        late = broker.join()
        thief.until_knows(late.id)
        assert broker.report()["peers"] == 2


def test_a_peer_that_fills_counters_stops_neither_the_server_nor_a_leave():
    full = 2**64 - 2
    with Broker("--peers", "3") as broker:
        a, b = broker.join(), broker.join()
        a.until_knows(b.id)
        for vector in range(4):
            a.ring(b.id, vector, full)  # b's counters are at their end
            a.ring(4, vector, full)     # and the server's, until it looks
        broker.report()
        ident = b.id
        b.vanish()
        b.close()
        a.until_left(ident)
        c = broker.join()
        a.until_knows(c.id)
        c.leave()
        broker.until_peers(1)
        d = broker.join()
        assert d.id == ident, "the next to be given is what was filled"
        assert not any(d.rung(v) for v in range(4))
        a.until_knows(d.id)
        a.ring(4, 0)
        assert broker.report()["peers"] == 2


def test_an_idle_server_whose_eventfds_are_rung_to_the_brim_uses_no_cpu():
    with Broker("--peers", "2") as broker:
        a = broker.join()
        a.ring(3, 0, 2**64 - 2)
        a.ring(3, 1)
        broker.until("looked at", lambda: broker.report().vectors.get(1) == 1)
        before = broker.cpu_ticks()
        poll_for_a_while(a)
        assert broker.cpu_ticks() - before <= 20, "the server spins"


def poll_for_a_while(peer):
    """Half a second in which nothing is sent: what a spinning server would use up is 50 ticks."""
    assert not readable(peer.sock, 0.5)


if __name__ == "__main__":
    run_tests(globals())
