#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
test_device.py - QEMU's real ivshmem device on the broker, with stopped CPUs: that it works, also in
crowds and storms. What a server could do to it, and which tests show that ours does not, is told in
test_device_harm.py.
"""

import os
import socket
import struct

from qtest import PCI_ID, Device, until
from stage import Stage, hot_plug, known, map_of, meet, rings, run_tests, until_known


# ---------------------------------------------------------------- that it works


def test_a_device_gets_its_id_and_a_bar2_of_the_memory_s_size():
    with Stage(size="16M") as s:
        first, second = s.device(), s.device()
        peer = s.peer()
        assert first.qemu.config_read(first.slot, 0) == PCI_ID
        assert first.qemu.config_read(first.slot, 8) == 0x05000001  # RAM, revision 1
        assert first.bar2_bytes == 16 << 20
        assert first.vectors == 4
        assert [first.position(), second.position(), peer.id] == [1, 2, 3]
        seen = s.broker.report().peers
        assert [seen[i]["kind"] for i in (1, 2, 3)] == ["device", "device", "plain"]
        assert [int(seen[i]["pid"]) for i in (1, 2)] == [first.qemu.pid, second.qemu.pid]


def test_memory_is_seen_both_ways():
    with Stage(size="2M") as s:
        first, second = s.device(), s.device()
        peer = s.peer()
        end = (2 << 20) - 8
        with map_of(peer) as memory:
            memory[end:end + 8] = b"from you"
            assert first.load(end, 8) == second.load(end, 8) == b"from you"
            first.store(end, b"from vm1")
            assert second.load(end, 8) == memory[end:end + 8] == b"from vm1"
            second.store(0, b"from vm2")
            assert first.load(0, 8) == memory[0:8] == b"from vm2"


def test_all_vectors_ring_both_ways_between_device_and_raw_client():
    with Stage(vectors=16) as s:
        early = s.peer()
        device = s.device()
        late = s.peer()
        meet(early, device)
        meet(late, device)
        rings(device, early)
        rings(device, late)


def test_all_vectors_ring_both_ways_between_two_devices_and_to_oneself():
    with Stage() as s:
        first, second = s.device(), s.device()
        peer = s.peer()
        meet(peer, first, second)
        until_known(first.qemu, peer, 1, 2)
        until_known(second.qemu, peer, 1, 2)
        for v in range(4):
            first.ring(second.position(), v)
            second.wait_rung({v})
            second.ring(first.position(), v)
            first.wait_rung({v})
            first.ring(first.position(), v)
            first.wait_rung({v})


def test_a_device_rings_the_server():
    with Stage("--peers", "10") as s:
        device = s.device()
        peer = s.peer()
        meet(peer, device)
        until_known(device.qemu, peer, 11)
        device.ring(11, 3)
        s.broker.until("the server counts the ring",
                       lambda: s.broker.report().vectors.get(3, 0) == 1)


def test_id_zero_is_given_and_rung_when_the_server_is_silent():
    with Stage("--silent") as s:
        first, second = s.device(), s.device()
        peer = s.peer()
        assert [first.position(), second.position(), peer.id] == [0, 1, 2]
        meet(peer, first, second)
        rings(first, peer)
        rings(second, peer)


def test_any_size_asked_for_suits_a_device():
    for asked, made in (("1", None), ("5000", 8192), ("3M", 4 << 20), ("1G", 1 << 30),
                        ("33G", 64 << 30)):
        with Stage(size=asked) as s:
            device = s.device()
            peer = s.peer()
            bytes_ = device.bar2_bytes
            assert bytes_ == os.fstat(peer.memory).st_size
            assert bytes_ >= 4096 and bytes_ & bytes_ - 1 == 0
            assert made in (None, bytes_), f"-l {asked} became {bytes_}"
            device.store(bytes_ - 4, b"last")
            assert os.pread(peer.memory, 4, bytes_ - 4) == b"last"


def test_nobody_can_truncate_the_memory_under_a_device():
    with Stage() as s:
        device = s.device()
        peer = s.peer()
        for size in (0, 4096, 2 << 20):
            try:
                os.ftruncate(peer.memory, size)
            except PermissionError:
                continue
            raise AssertionError(f"a client resized the memory to {size}")
        device.store((1 << 20) - 4, b"last")
        device.qemu.check_alive()


def test_all_of_2048_vectors_work():
    with Stage("--peers", "2", vectors=2048) as s:
        device = s.device()
        peer = s.peer()
        meet(peer, device)
        assert device.vectors == 2048
        device.ring_all([(peer.id, v) for v in range(2048)])
        assert all(peer.rung(v) for v in range(2048))
        for v in range(2048):
            peer.ring(device.position(), v)
        device.wait_rung(range(2048))


def test_fewer_vectors_than_the_device_has_work():
    with Stage(vectors=2) as s:
        device = s.device(vectors=4)
        peer = s.peer()
        meet(peer, device)
        assert device.vectors == 4
        rings(device, peer, [0, 1])
        device.ring(peer.id, 3)
        device.qemu.check_alive()


def test_surplus_vectors_left_blocking_stop_nobody():
    with Stage("--peers", "3", vectors=8) as s:
        watcher = s.peer()
        device = s.device(vectors=4, may_say="Too many eventfd received")
        own = device.position()
        watcher.until_knows(own)
        # The device has refused, and left blocking: its own, the watcher's, the server's.
        for i in (own, watcher.id, 4):
            until(f"the device leaves vector 7 of {i} blocking",
                  lambda i=i: os.get_blocking(watcher.peers[i][7]))
        rings(device, watcher, range(4))
        # The server listens to its own surplus vectors, and waits for none.
        for v in range(8):
            watcher.ring(4, v)
        s.broker.until("the server counts all eight",
                       lambda: all(s.broker.report().vectors.get(v) == 1 for v in range(8)))
        # It drains the dead device's eventfds, rung or not, before they are given away.
        watcher.ring(own, 6)
        device.qemu.kill()
        s.qemus.remove(device.qemu)
        watcher.until_left(own)
        later = [s.peer(), s.peer()]
        assert own in [p.id for p in later]
        heir = next(p for p in later if p.id == own)
        assert not any(heir.rung(v) for v in range(8)), "an old ring was inherited"
        watcher.until_knows(*(p.id for p in later))
        watcher.ring(own, 7)
        assert heir.wait(7) == 1
        for p in later:
            p.close()
        watcher.until_left(*(p.id for p in later))


class Relay:
    """Stands between one QEMU and the broker and passes messages on when told to."""

    def __init__(self, stage):
        self.path = os.path.join(stage.run, "relay")
        self.server_path = stage.broker.path
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind(self.path)
        self.door.listen(1)
        self.door.settimeout(60)
        self.client = self.server = None
        stage.things.append(self)

    def meet(self):
        self.client = self.door.accept()[0]
        self.server = socket.socket(socket.AF_UNIX)
        self.server.settimeout(60)
        self.server.connect(self.server_path)

    def receive(self):
        data, fds, _, _ = socket.recv_fds(self.server, 8, 1)
        return data, fds

    def send(self, message):
        data, fds = message
        socket.send_fds(self.client, [data], fds) if fds else self.client.sendall(data)
        for fd in fds:
            os.close(fd)

    def close(self):
        for sock in (self.door, self.client, self.server):
            if sock:
                sock.close()
        os.unlink(self.path)


def test_doorbells_rung_before_the_vectors_arrive_are_not_lost():
    with Stage("--leaves", "never") as s:
        peer = s.peer(device=True)
        relay = Relay(s)
        qemu = s.qemu(path=relay.path)
        relay.meet()
        for _ in range(3):
            relay.send(relay.receive())
        device = Device(qemu)
        own = device.position()
        kept = [relay.receive() for _ in range(3 * 4)]  # the server's, the peer's, its own
        assert {struct.unpack("<q", data)[0] for data, _ in kept[-4:]} == {own}
        peer.until_knows(own)
        for v in range(4):
            peer.ring(own, v)
        assert device.rung() == set()
        for message in kept:
            relay.send(message)
        device.wait_rung(range(4))
        until_known(qemu, peer, peer.id)
        rings(device, peer)


def test_rings_are_kept_and_coalesce_while_a_qemu_is_stopped():
    with Stage() as s:
        device = s.device()
        peer = s.peer()
        meet(peer, device)
        own = device.position()
        device.qemu.stop()
        for _ in range(1000):
            peer.ring(own, 1)
        peer.ring(own, 3)
        device.qemu.resume()
        device.wait_rung({1, 3})


def test_a_reset_guest_keeps_its_id_its_memory_and_its_peers():
    with Stage() as s:
        device = s.device()
        peer = s.peer()
        meet(peer, device)
        own = device.position()
        device.store(100, b"kept")
        for _ in range(3):
            device.qemu.qmp()("system_reset")
            device.qemu.qmp().wait_event("RESET")
            again = Device(device.qemu)
            assert again.position() == own
            assert again.load(100, 4) == b"kept"
            rings(again, peer)
        assert not peer.pending(), "the reset was told to somebody"


def test_two_devices_in_one_qemu_are_two_peers():
    with Stage() as s:
        qemu = s.qemu(devices=2)
        first, second = Device(qemu, 0), Device(qemu, 1)
        peer = s.peer()
        meet(peer, first, second)
        assert {first.position(), second.position(), peer.id} == {1, 2, 3}
        rings(first, peer)
        rings(second, peer)
        first.ring(second.position(), 2)
        second.wait_rung({2})
        assert first.rung() == set()


def test_a_plain_memory_device_may_stand_beside_it():
    with Stage() as s:
        path = os.path.join(s.run, "fam.err")
        qemu = s.qemu(extra=["-object", f"memory-backend-file,id=FAM,mem-path={path},size=4M,"
                             "share=on", "-device", "ivshmem-plain,memdev=FAM"])
        with_msix = []
        for slot in qemu.slots():
            try:
                with_msix.append(Device(qemu, slot=slot))
            except AssertionError:
                pass
        assert len(qemu.slots()) == 2 and len(with_msix) == 1
        peer = s.peer()
        meet(peer, *with_msix)
        rings(with_msix[0], peer)
        os.unlink(path)


# ---------------------------------------------------------------- crowds and storms


def test_sixteen_devices_among_a_thousand_raw_clients():
    with Stage("--peers", "1100") as s:
        crowd = s.crowd(500)
        qemus = [s.qemu() for _ in range(16)]
        devices = [Device(qemu) for qemu in qemus]
        crowd("join", 500)
        own = [d.position() for d in devices]
        assert len(set(own)) == 16
        peer = s.peer()
        everybody = crowd("ids") + own + [peer.id, 1101]
        assert len(set(everybody)) == 1018
        peer.until_exactly(everybody)
        for qemu in qemus:
            until_known(qemu, peer, *everybody)
        raw = [(i, v) for i in crowd("ids") for v in range(4)]
        for d in devices:
            d.ring_all(raw)
            assert crowd("rung") == [4000], "a device does not reach all of the crowd"
        for d, i in zip(devices, own):
            for v in range(4):
                assert crowd("ring", i, v) == [1]
            d.wait_rung(range(4))
        for d in devices:
            d.ring_all([(i, v) for i in own for v in range(4) if i != d.position()])
        for d in devices:
            d.wait_rung(range(4))
        crowd("leave", 1000)
        peer.until_exactly(own + [peer.id, 1101])
        for d in devices:
            rings(d, peer)


def test_a_device_in_the_midst_of_a_storm_is_complete():
    with Stage("--peers", "600") as s:
        crowd = s.crowd(50)
        crowd.start("join", 400)
        devices = [s.device() for _ in range(4)]
        crowd.answer()
        peer = s.peer()
        everybody = crowd("ids") + [d.position() for d in devices] + [peer.id, 601]
        crowd("full", len(everybody))
        peer.until_exactly(everybody)
        for d in devices:
            until_known(d.qemu, peer, *everybody)
            rings(d, peer)


def test_a_device_that_sleeps_through_a_storm_has_a_complete_view_afterwards():
    with Stage("--peers", "500") as s:
        device = s.device()
        peer = s.peer()
        meet(peer, device)
        own = device.position()
        device.qemu.stop()
        crowd = s.crowd(300)  # 1,200 announcements: a socket holds 278; nobody else waits
        crowd("leave", 100)
        crowd("join", 50)
        peer.ring(own, 2)
        everybody = crowd("ids") + [own, peer.id, 501]
        peer.until_exactly(everybody)
        assert not known(device.qemu, peer, *everybody)
        device.qemu.resume()
        until_known(device.qemu, peer, *everybody)
        device.wait_rung({2})
        device.ring_all([(i, v) for i in crowd("ids") for v in range(4)])
        assert crowd("rung") == [1000]


def test_a_device_is_hot_plugged_amid_a_storm():
    with Stage("--peers", "600") as s:
        crowd = s.crowd(100)
        qemu = s.qemu(socket_path=None, name="later")
        qemu.link()
        qmp = qemu.qmp()
        crowd.start("join", 300)
        hot_plug(qemu, s.broker.path, 0)
        device = Device(qemu)
        crowd.answer()
        peer = s.peer()
        everybody = crowd("ids") + [device.position(), peer.id, 601]
        peer.until_exactly(everybody)
        until_known(qemu, peer, *everybody)
        rings(device, peer)
        assert qmp("query-status")["status"] == "prelaunch"


if __name__ == "__main__":
    run_tests(globals())
