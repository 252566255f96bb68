#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
test_device_harm.py - QEMU's real ivshmem device, with stopped CPUs, and what could harm it.

The device can be killed or frozen by what a server tells it. Each way that is
known (all reproduced with QEMU 7.2), and the test here that shows that the
broker does not go it, here or in test_device.py:

  what harms a QEMU                            what shows that we don't do it
  -------------------------------------------  -----------------------------------------------
  an ID told as left is announced again        a_freed_id_is_not_announced_to_a_device_again
  the same, thousands of times; IDs wrap at    seventy_thousand_joins_and_leaves_pass_a_...
    65,536 in a server that counts up
  a leave told twice, or of nobody             abrupt_leaves_harm_no_device (a raw peer beside
                                               it asserts that no leave comes twice)
  unplug after any leave (double free)         a_device_is_unplugged_after_leaves_...
  a descriptor lost in the QEMU's limit reads  at_1024_descriptors_..., two_devices_share_...
    as a leave
  two descriptors in one send, or a send lost  a_device_that_sleeps_through_a_storm_...,
    in a full socket (both read as leaves)     sixteen_devices_among_a_thousand_raw_clients:
                                               each eventfd of each peer is looked for
  own vectors before the memory: SIGSEGV       a_device_in_the_midst_of_a_storm_is_complete,
                                               and all others: every start is such an opening
  a known peer announced again: error lines    every test: a QEMU's stderr must stay empty
  IDs that are negative or above 65535         every test (position()), and id_zero_...
  memory no power of two: SIGABRT; < 4096 or   any_size_asked_for_suits_a_device
    no multiple of a page: exit 1
  memory truncated later: SIGBUS               nobody_can_truncate_the_memory_under_a_device
  memory read-only: exit 1                     every test: BAR2 is written through the device
  more vectors than the device has: surplus    surplus_vectors_left_blocking_stop_nobody
    eventfds are left blocking for everyone
  fewer vectors: the rest are dead             fewer_vectors_than_the_device_has_work
  a silent close in the opening: QEMU spins    a_full_server_refuses_a_qemu_...,
                                               a_refused_hot_plug_..., a_server_that_ends_...
  an opening that stalls: a start that hangs,  a_device_is_hot_plugged_amid_a_storm,
    a running VM frozen by device_add          a_device_in_the_midst_of_a_storm_is_complete
  the server dies: the device must live on     a_device_outlives_its_server
  rings before the vector is announced         doorbells_rung_before_the_vectors_arrive_...
  a peer that stops reading                    a_device_that_sleeps_through_a_storm_...

Not ours to test here: `reconnect=` on QEMU's command line (hangs whatever the
server does), `vectors=` out of range, `master=on`, and that TCG forgets an
interrupt that comes while MSI-X is off: no server can cause or prevent them.
IDs up to 65535 need 65,536 sockets. Split messages and the order of sends are
judged message by message by the black-box tests.

The control: the death tests must fail against tests/control's naive server by
the death of a QEMU. Else they would show nothing.
"""

import os
import signal
import tempfile

from qtest import Device, until
from stage import (Gone, Stage, held_back, hot_plug, hot_unplug, known, meet, naive_server, rings,
                   run_tests, settings, until_known, waiting_at)


# ---------------------------------------------------------------- refusals and ends


def test_a_full_server_refuses_a_qemu_which_ends_and_does_not_spin():
    with Stage("--peers", "1") as s:
        peer = s.peer()
        for _ in range(3):
            qemu = s.qemu(may_say="server sent version -1, expecting 0", may_end=True)
            assert qemu.wait() == 1
            assert "server sent version -1" in qemu.stderr()
        assert len(s.broker.events("refuse", reason="full")) == 3
        assert not peer.pending()
        peer.close()
        s.broker.wait_event("leave", id=1)
        assert s.device().position() == 1


def test_a_device_that_is_started_anew_at_its_own_socket_is_the_same_peer():
    with tempfile.TemporaryDirectory(prefix="famez-vm-") as folder:
        own, ids = os.path.join(folder, "own"), os.path.join(folder, "ids")
        with open(ids, "w", encoding="ascii") as f:
            f.write(f"id=7 socket={own}\n")
        with Stage("--bind", ids, "--peers", "9") as s:
            peer = s.peer()
            for _ in range(2):
                device = s.device(path=own, may_end=True)
                assert device.position() == 7
                meet(peer, device)
                rings(device, peer)
                device.qemu.kill()
                peer.until_left(7)
            holder = s.device(path=own)
            assert holder.position() == 7
            qemu = s.qemu(path=own, may_say="server sent version -1", may_end=True)
            assert qemu.wait() == 1
            s.broker.wait_event("refuse", reason="bound", pid=qemu.pid)


def test_a_refused_hot_plug_leaves_the_qemu_running():
    with Stage("--peers", "1") as s:
        peer = s.peer()
        qemu = s.qemu(socket_path=None, name="later")
        qemu.link()
        for number in range(3):
            try:
                hot_plug(qemu, s.broker.path, number)
            except RuntimeError as error:
                assert "server sent version -1" in str(error)
            else:
                raise AssertionError("a second peer was let in")
            qemu.qmp()("chardev-remove", id=f"H{number}")
        peer.close()
        s.broker.wait_event("leave", id=1)
        hot_plug(qemu, s.broker.path, 9)
        assert Device(qemu).position() == 1


def test_a_server_that_ends_leaves_no_qemu_spinning_at_its_door():
    with Stage() as s:
        child = s.broker.child
        os.kill(child, signal.SIGSTOP)
        qemus = [s.qemu(may_say="server sent version -1|read from server failed", may_end=True)
                 for _ in range(4)]
        until("the QEMUs connect", lambda: waiting_at(s.broker.path) == 4)
        os.kill(s.broker.pid, signal.SIGTERM)
        # Else it may let them in first.
        until("the keeper has told the broker to stop", lambda: signals_wait_for(child))
        os.kill(child, signal.SIGCONT)
        s.broker.stop()
        assert [qemu.wait() for qemu in qemus] == [1] * 4


def signals_wait_for(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return any(int(line.split()[1], 16) for line in status
                   if line.startswith(("SigPnd:", "ShdPnd:")))


def test_a_device_outlives_its_server():
    with Stage() as s:
        first, second = s.device(), s.device()
        peer = s.peer()
        meet(peer, first, second)
        os.kill(s.broker.pid, signal.SIGKILL)
        s.broker.process.wait()
        try:
            while True:
                peer.step()
        except Gone:
            pass
        for d in (first, second):
            rings(d, peer)
        first.ring(second.position(), 0)
        second.wait_rung({0})
        first.store(0, b"still")
        assert second.load(0, 5) == b"still"
        s.broker.kill()


def test_a_server_s_clean_end_harms_no_device():
    with Stage() as s:
        first, second = s.device(), s.device()
        peer = s.peer()
        meet(peer, first, second)
        s.broker.process.send_signal(signal.SIGTERM)
        s.broker.process.wait()
        for d in (first, second):
            rings(d, peer)
        s.broker.stop()
        first.qemu.check_alive()


def test_a_stranded_vm_is_rescued_by_plugging_its_device_anew():
    """As docs/operations.md has it, after a full stop."""
    with Stage() as s:
        qemu = s.qemu(socket_path=None, name="stranded")
        qemu.link()
        hot_plug(qemu, s.broker.path, 0)
        device = Device(qemu)
        peer = s.peer()
        meet(peer, device)
        peer.close()
        s.broker.wait_event("leave", id=peer.id)
        s.broker.process.send_signal(signal.SIGTERM)
        s.broker.process.wait()
        s.broker.start()
        hot_unplug(device, 0)
        hot_plug(qemu, s.broker.path, 1)
        device = Device(qemu)
        peer = s.peer()
        meet(peer, device)
        rings(device, peer)


# ---------------------------------------------------------------- what kills


def death_test(test):
    """Marks a test that must fail, by a QEMU's death, against the naive server."""
    death_test.all.append(test)
    return test


death_test.all = []


def still_works(stage, *devices):
    """Everything told so far has reached these devices: a raw peer that joined later and they
    ring each other. Dead or dumb ones fail here."""
    peer = stage.peer()
    meet(peer, *devices)
    for d in devices:
        rings(d, peer)
        d.qemu.check_alive()
    peer.close()


def come_and_go(stage, count):
    """For the naive server, which loses what a crowd would wait for."""
    crowd = stage.crowd()
    crowd("come", count)
    crowd("leave", count)
    crowd("come", count)


def until_dead(qemu):
    """Against the naive server: what has been told by now must kill it."""
    until(f"{qemu.name} dies", lambda: not qemu.alive())
    raise AssertionError(qemu.obituary())


@death_test
def test_a_freed_id_is_not_announced_to_a_device_again():
    with Stage("--peers", "4") as s:
        device = s.device()
        watcher = s.peer()
        meet(watcher, device)
        seen = set()
        for _ in range(60):
            guest = s.peer()
            meet(guest, device)
            rings(device, guest, [0, 3])
            seen.add(guest.id)
            watcher.until_knows(guest.id)
            gone = guest.id
            guest.close()
            watcher.until_left(gone)
            device.ring(gone, 1)  # into nowhere
        still_works(s, device)
        if not settings.naive:
            assert seen == {3, 4}, "the IDs went round"


@death_test
def test_abrupt_leaves_harm_no_device():
    with Stage("--peers", "40") as s:
        device = s.device()
        watcher = s.peer()  # asserts that nobody's leave comes twice
        meet(watcher, device)
        for number in range(8):
            crowd = s.crowd(20)
            crowd.close()  # SIGKILL, with everything unread
            for _ in range(5):
                half = s.peer()
                half.half_close()
                half.close()
                talker = s.peer()
                try:
                    talker.sock.sendall(b"hello")
                except OSError:
                    pass
                talker.close()
                early = s.broker.connect()
                early.preamble()
                early.vanish()
                early.close()
                s.broker.connect().vanish()
            guest = s.peer()
            watcher.until_exactly({guest.id, watcher.id, device.position(),
                                   *([] if settings.naive else [41])})
            meet(guest, device)
            rings(device, guest, [number % 4])
            guest.close()
            watcher.until_left(guest.id)
        still_works(s, device)


@death_test
def test_devices_killed_and_restarted_harm_no_other():
    with Stage("--peers", "4") as s:
        watcher = s.peer()
        devices = [s.device() for _ in range(3)]
        for d in devices:
            watcher.until_knows(d.position())
        for number in range(9):
            victim = devices.pop(0)
            own = victim.position()
            victim.qemu.kill()
            s.qemus.remove(victim.qemu)
            watcher.until_left(own)
            heir = s.device(name=f"heir{number}")
            assert heir.position() == own, "a full fabric has one free ID"
            watcher.until_knows(own)
            devices.append(heir)
            ids = [d.position() for d in devices]
            for d in devices:
                until_known(d.qemu, watcher, *ids)
            for d in devices[:-1]:
                d.ring(own, number % 4)
                heir.wait_rung({number % 4})
                heir.ring(d.position(), 1)
                d.wait_rung({1})
        watcher.close()
        if not settings.naive:
            s.broker.wait_event("leave", id=1)
            still_works(s, *devices)


@death_test
def test_a_device_is_unplugged_after_leaves_and_the_qemu_lives():
    # One unplug a QEMU: 7.2 forgets to stop watching the device's own eventfds (under TCG), so
    # that whatever descriptor takes their numbers later can kill it, whoever the server is.
    with Stage("--peers", "8") as s:
        watcher = s.peer()
        for number in range(4):
            qemu = s.qemu(socket_path=None)
            qemu.link()
            hot_plug(qemu, s.broker.path, number)
            device = Device(qemu)
            own = device.position()
            watcher.until_knows(own)
            for _ in range(3):
                guest = s.peer()
                meet(guest, device)
                rings(device, guest, [1])
                watcher.until_knows(guest.id)
                gone = guest.id
                guest.close()
                watcher.until_left(gone)
            still_works(s, device)
            hot_unplug(device, number)
            watcher.until_left(own)
            qemu.check_alive()
            assert qemu.slots() == []


def limited(count, vectors):
    """A QEMU at the usual soft limit, and more peers than fit."""
    with Stage("--peers", str(count + 10), vectors=vectors) as s:
        device = s.device(nofile=1024)
        watcher = s.peer()
        meet(watcher, device)
        if settings.naive:
            come_and_go(s, count)
            until_dead(device.qemu)
        crowd = s.crowd(count)
        held = s.broker.wait_event("held-back", pid=device.qemu.pid)
        assert held["limit"] == "1024", held
        last = crowd("ids")[-1]
        watcher.until_knows(last)
        assert not known(device.qemu, watcher, last)
        s.broker.until("the device has all that fits", lambda: held_back(s, device) > 0)
        rings(device, watcher)
        assert device.qemu.descriptors() <= 1024 - 32
        crowd("leave", count)
        watcher.until_left(last)
        rings(device, watcher)
        device.qemu.check_alive()
        assert len(s.broker.events("held-back", pid=device.qemu.pid)) == 1, "logged once"


@death_test
def test_at_1024_descriptors_260_peers_of_4_vectors_are_survived():
    limited(260, 4)


@death_test
def test_at_1024_descriptors_1500_peers_are_survived():
    limited(1500, 1)


@death_test
def test_two_devices_share_their_qemu_s_limit():
    with Stage("--peers", "300") as s:
        qemu = s.qemu(nofile=1024, devices=2)
        devices = [Device(qemu, 0), Device(qemu, 1)]
        watcher = s.peer()
        meet(watcher, *devices)
        if settings.naive:
            come_and_go(s, 150)
            until_dead(qemu)
        s.crowd(150)  # 2 x 150 x 4 is too many; 1 x 150 x 4 would fit
        s.broker.wait_event("held-back", pid=qemu.pid)
        s.broker.until("something is held back",
                       lambda: sum(held_back(s, d) for d in devices) > 0)
        for d in devices:
            rings(d, watcher)
        qemu.check_alive()


@death_test
def test_seventy_thousand_joins_and_leaves_pass_a_living_device():
    with Stage() as s:
        device = s.device()
        peer = s.peer()
        meet(peer, device)
        crowd = s.crowd()
        if settings.naive:
            crowd("churn", 1000)
            until_dead(device.qemu)
        crowd("churn", 70000)
        rings(device, peer)
        peer.close()
        late = s.device(name="late")
        still_works(s, device, late)
        device.ring(late.position(), 1)
        late.wait_rung({1})
        late.ring(device.position(), 2)
        device.wait_rung({2})


def test_ten_thousand_that_connect_and_vanish_harm_no_device():
    with Stage() as s:
        device = s.device()
        crowd = s.crowd()
        crowd("vanish", 10000)
        until("those at the door have been dealt with", lambda: not waiting_at(s.broker.path))
        still_works(s, device)


# ---------------------------------------------------------------- the control


def test_the_suite_notices_a_server_that_reuses_ids():
    with naive_server():
        for test in death_test.all:
            try:
                test()
            except AssertionError as error:
                words = " ".join([str(error), *getattr(error, "__notes__", [])])
                assert " died: SIG" in words, f"{test.__name__} failed, but by: {words}"
                print(f"  ... {test.__name__[5:]}: {words[words.index(' died: SIG') + 7:][:60]}",
                      flush=True)
            else:
                raise AssertionError(f"{test.__name__} passes against the naive server")


if __name__ == "__main__":
    run_tests(globals())
