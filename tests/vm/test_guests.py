#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
test_guests.py - running Linux guests on the broker.

Debian's kernel, an initramfs made here, QEMU's ivshmem-doorbell: what a user of
the broker has, at 1.5 to 2.5 s a boot under TCG. The kit is kept in the build
folder, or in --kit FOLDER. Each way to harm a QEMU has its test in
test_device.py; here is shown that guests see and do what the specification says.
"""

import os
import signal

from guest import Guest
from kit import run_with_kit, the_kit
from stage import Stage, held_back, known, map_of, meet, until_known


def start(stage, names, **how):
    """Guests that boot at once; returned when all of them obey."""
    kit = the_kit()
    guests = []
    for name in names:
        guest = Guest(stage.run, name, kit, stage.broker.path, vectors=stage.vectors, **how)
        stage.adopt(guest)
        guests.append(guest)
    return [guest.boot() for guest in guests]


def test_a_guest_sees_the_device_that_the_specification_describes():
    the_kit()
    with Stage("--peers", "20", vectors=16, size="256M") as s:
        first, second = start(s, ["first", "second"])
        seen = s.broker.report().peers
        for guest in (first, second):
            device, revision, kind, subsystem, bytes_, vectors, position = guest.ask("info")
            assert device == "1af4:1110" and subsystem == "1af4:1100"
            assert revision == "1" and kind == "050000"
            assert int(bytes_) == 256 << 20
            assert int(vectors) == 16
            assert int(seen[int(position)]["pid"]) == guest.pid
            assert seen[int(position)]["kind"] == "device"
        assert {first.id, second.id} == {1, 2}


def test_host_and_guests_see_one_memory_and_ring_each_other():
    the_kit()
    with Stage(size="64M") as s:
        first, second = start(s, ["first", "second"])
        peer = s.peer()
        end = (64 << 20) - 16
        with map_of(peer) as memory:
            memory[end:end + 13] = b"from the host"
            assert first.load(end, 13) == second.load(end, 13) == b"from the host"
            first.store(0, b"from first")
            assert second.load(0, 10) == memory[0:10] == b"from first"
            second.store(4096, b"from second")
            assert first.load(4096, 11) == memory[4096:4107] == b"from second"
        meet(peer, first, second)
        rings_of_guest(first, peer)
        rings_of_guest(second, peer)
        for guest in (first, second):
            until_known(guest, peer, first.id, second.id)
        for v in range(4):
            first.ring(second.id, v)
            second.wait_rung({v})
            second.ring(first.id, v)
            first.wait_rung({v})


def rings_of_guest(guest, peer):
    for v in range(guest.vectors):
        guest.ring(peer.id, v)
        peer.wait(v)
        peer.ring(guest.id, v)
        guest.wait_rung({v})


def test_masked_doorbells_wait_in_the_pending_bit_array():
    the_kit()
    with Stage() as s:
        guest, = start(s, ["guest"])
        peer = s.peer()
        meet(peer, guest)
        guest.arm("pending")
        assert guest.rung() == set()
        peer.ring(guest.id, 2)
        guest.wait_rung({2})
        peer.ring(guest.id, 0)
        guest.wait_rung({0, 2})


def test_a_killed_guest_s_id_comes_back_while_the_others_live():
    the_kit()
    with Stage("--peers", "3") as s:
        first, second = start(s, ["first", "second"])
        peer = s.peer()
        meet(peer, first, second)
        for guest in (first, second):
            until_known(guest, peer, first.id, second.id, peer.id)
        heir = second
        for name in ("heir", "grandchild"):
            gone = heir.id
            os.kill(heir.pid, signal.SIGKILL)
            heir.wait()
            s.qemus.remove(heir)
            heir.kill()
            peer.until_left(gone)
            first.ring(gone, 1)  # into nowhere
            heir, = start(s, [name])
            assert heir.id == gone, "the only free ID is the dead guest's"
            peer.until_knows(gone)
            until_known(heir, peer, first.id, peer.id)
            rings_of_guest(heir, peer)
            rings_of_guest(first, peer)
            first.ring(heir.id, 3)
            heir.wait_rung({3})
            heir.ring(first.id, 0)
            first.wait_rung({0})
            first.store(64, name.encode())
            assert heir.load(64, len(name)) == name.encode()
        heir.ask("off")
        assert heir.wait() == 0
        s.may_end.add(heir.name)
        peer.until_left(heir.id)
        rings_of_guest(first, peer)


def test_a_guest_at_1024_descriptors_survives_1500_peers():
    the_kit()
    with Stage("--peers", "1510", "--layout", "plain", vectors=1) as s:
        guest, = start(s, ["guest"], nofile=1024)
        peer = s.peer()
        meet(peer, guest)
        crowd = s.crowd(1500)
        held = s.broker.wait_event("held-back", pid=guest.pid)
        assert held["limit"] == "1024", held
        s.broker.until("peers are held back", lambda: held_back(s, guest) > 0)
        last = crowd("ids")[-1]
        peer.until_knows(last)
        assert not known(guest, peer, last)
        rings_of_guest(guest, peer)
        crowd("leave", 1500)
        peer.until_left(last)
        rings_of_guest(guest, peer)
        guest.check_alive()


if __name__ == "__main__":
    run_with_kit(globals())
