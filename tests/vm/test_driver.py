#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
test_driver.py - the guest driver in running guests: what it is made of, and what it is used for.

Debian's kernel under TCG, the driver of tools/driver, and on the host a broker, peers written
from the documents alone (mailbox_page.py) and v1 clients. With FAMEZ_VM_KERNEL=FOLDER the guests
boot a kernel of debug_kernel.sh, which looks harder. What happens to it: test_driver_faults.py.
"""

import hashlib
import os
import re
import select
import shutil
import struct
import subprocess
import tempfile

from driver_guest import SOURCES, build_module, doorbell, plain
from driver_scene import LANE_MAX, SERVER, Scene, echo, hears, host_hears, until_knows
from kit import run_with_kit
from stage import Skip, until

# noqa: stage knows its folder
from v1_clients import V1Client  # noqa: E402

CHECKPATCH = "linux-source-6.1/scripts/checkpatch.pl"
LANES, SLOTS, REGISTERS, CLAIMED = 2, 4, 8, 32  # FAMEZ_INFO_x


# ---- what it is made of ----------------------------------------------------------------------


def test_the_module_is_built_without_a_warning_by_gcc_and_by_sparse():
    if not shutil.which("sparse"):
        raise Skip("sparse is missing: install Debian's package sparse")
    with tempfile.TemporaryDirectory(prefix="famez-driver-") as folder:
        _, said = build_module(folder, "W=1", "C=2", "CF=-D__CHECK_ENDIAN__ -Wsparse-error")
        assert not re.search("warning|error", said), said
        assert "CHECK" in said, "sparse did not run:\n" + said


def test_the_module_is_written_as_the_kernel_s_checkpatch_wants_it():
    archive = "/usr/src/linux-source-6.1.tar.xz"
    if not os.path.exists(archive):
        raise Skip("checkpatch is missing: install Debian's package linux-source-6.1")
    with tempfile.TemporaryDirectory(prefix="famez-driver-") as folder:
        files = [CHECKPATCH] + [f"{os.path.dirname(CHECKPATCH)}/{name}" for name in
                                ("spelling.txt", "const_structs.checkpatch")]
        subprocess.run(["tar", "xf", archive, "-C", folder, "--occurrence=1", *files], check=True)
        names = sorted(n for n in os.listdir(SOURCES) if n.endswith((".c", ".h")) or n == "Kbuild")
        # One source serves several kernels; in the kernel's own tree there is only one.
        done = subprocess.run(
            ["perl", os.path.join(folder, CHECKPATCH), "--no-tree", "--strict", "--terse",
             "--max-line-length=100", "--ignore", "LINUX_VERSION_CODE,CONSTANT_COMPARISON", "-f",
             *(os.path.join(SOURCES, n) for n in names)], stdout=subprocess.PIPE, text=True,
            check=False)
        assert done.returncode == 0, done.stdout


# ---- what it is used for ---------------------------------------------------------------------


def test_a_device_shows_itself_in_sysfs_and_begins_anew_with_each_probe():
    with Scene() as s:
        guest, = s.boot("one")
        seen = s.broker.report().peers[guest.id]
        assert int(seen["pid"]) == guest.pid
        assert guest.fact("kind") == "doorbell" and guest.fact("layout") == "v2"
        assert guest.fact("peers") == f"{guest.id},{SERVER}"
        assert guest.fact("geometry/bytes") == str(8 << 20)
        assert guest.fact("geometry/payload_max") == str(LANE_MAX)
        assert guest.fact("geometry/vectors") == "8"
        assert guest.do("drive rights /dev/famez0") == "rights"
        generation = int(guest.fact("generation"))
        name = guest.fact("name")
        slot = guest.do("basename $(readlink /sys/class/famez/famez0/device)")
        host = s.host()
        assert host.who(guest.id).name == name and name.startswith("vm.")
        guest.do("echo alice >/sys/class/famez/famez0/name")
        assert host.who(guest.id).name == "alice"
        assert guest.try_("echo 'a b' >/sys/class/famez/famez0/name")[0] != 0
        guest.until("the fabric's manager gives it its numbers", "cat /sys/class/famez/famez0/cid",
                    str(guest.id * 100))
        guest.do(f"echo {slot} >/sys/bus/pci/drivers/famez/unbind")
        assert guest.try_("test -e /dev/famez0")[0] != 0
        guest.do(f"echo {slot} >/sys/bus/pci/drivers/famez/bind")
        assert int(guest.fact("generation")) == generation + 1
        guest.do("sleep 1000 </dev/famez0 & echo $! >/tmp/pid")
        assert guest.try_("rmmod famez")[0] != 0, "the module went from under an opener"
        guest.do("kill $(cat /tmp/pid)")
        until("the module is away", lambda: guest.try_("rmmod famez")[0] == 0)
        guest.do("insmod /famez.ko name=bob")
        assert guest.fact("name").startswith("bob.")


def test_texts_go_all_ways_by_id_name_and_address():
    with Scene() as s:
        first, second = s.boot("first", "second")
        host = s.host("hosty")
        a, b, h = first.id, second.id, host.id
        second.do("echo bob >/sys/class/famez/famez0/name")
        for guest in (first, second):
            guest.until("the manager gives it its numbers", "cat /sys/class/famez/famez0/cid",
                        str(guest.id * 100))
        echo(first, b, "by id")
        hears(second, f"{a}00,27:by id")
        echo(first, "bob", "by name")
        hears(second, f"{a}00,27:by name")
        echo(second, f"{a}00,27", "by address")
        hears(first, f"{b}00,27:by address")
        echo(first, "hosty", "to the host")
        m = host_hears(host, a, b"to the host")
        assert m.type == 1 and m.origin == a
        host.send(b, b"from the host", type=1)
        hears(second, f"{h}00,27:from the host")
        host.send(b, b"data\nof two lines\n")
        hears(second, f"{h}00,27:data")
        echo(second, "server", "ping")
        hears(second, f"{SERVER}00,27:pong")
        # What a bridge answers by itself.
        host.send(a, b"ping!EZT=4", type=1)
        host_hears(host, a, b"pong!EZT=5")
        host.send(a, b"Link CTL Peer-Attribute", type=1)
        host_hears(host, a, f"Link CTL ACK cclass=DiscreteBridge,CID0={a}00,SID0=27".encode())
        host.send(a, b"ping", type=1, origin=b)  # under another's name: nobody is written to
        host.send(a, b"CTL-Write Space=0,PFMCID=1,PFMSID=1,CID=1,SID=1,Tag=9", type=1)
        assert first.fact("cid") == f"{a}00"


def test_ten_thousand_messages_each_way_come_whole_and_in_order():
    with Scene() as s:
        first, second = s.boot("first", "second")
        plan = f"10000 {LANE_MAX}"
        for here, there in ((first, second), (second, first)):
            here.background(f"drive recv /dev/famez0 {there.id} {plan} {there.id}", "received")
        for here, there in ((first, second), (second, first)):
            here.background(f"drive send /dev/famez0 {there.id} {plan} {here.id}", "sent")
        for guest, other in ((first, second), (second, first)):
            sent, received = guest.end_of("sent"), other.end_of("received")
            assert sent.split()[1:] == received.split()[1:] and "10000" in sent, (sent, received)
        for guest in (first, second):
            assert guest.count("received") == 10000 and guest.count("garbled") == 0
            rings = guest.count("interrupts")
            print(f"  {guest.name}: 10000 messages, {rings} interrupts")
            assert rings


def mix(value):
    value = value * 0x9E3779B97F4A7C15 & (1 << 64) - 1
    return value ^ value >> 29


def planned(seed, n):
    """Message n of a plan of drive.c's."""
    r = mix(seed + n) >> 8
    size = LANE_MAX if r % 64 == 0 else 1 + r // 64 % 200
    first = mix(seed + n)
    return b"".join(struct.pack("<Q", first + k & (1 << 64) - 1)
                    for k in range((size + 7) // 8))[:size]


def test_ten_thousand_messages_go_between_the_host_and_a_guest_too():
    with Scene() as s:
        guest, = s.boot("guest")
        host = s.host()
        guest.background(f"drive recv /dev/famez0 {host.id} 10000 {LANE_MAX} 77", "received")
        guest.background(f"drive send /dev/famez0 {host.id} 10000 {LANE_MAX} 88", "sent")
        to, heard = guest.id, 0

        def hear(seconds):
            nonlocal heard
            m = host.receive(seconds)
            while m:
                if m.type == 0:
                    assert m.payload == planned(88, heard), f"message {heard} is another"
                    heard += 1
                m = host.receive(0) if heard < 10000 else None
        for n in range(10000):
            host.send(to, planned(77, n), timeout=60)
            hear(0)
        while heard < 10000:
            before = heard
            hear(30)
            assert heard > before, f"after {heard} messages of the guest's no more came"
        assert "received 10000" in guest.end_of("received")
        assert "sent 10000" in guest.end_of("sent")


def uptime(guest):
    return int(float(guest.do("cat /proc/uptime").split()[0]))


def test_a_receiver_that_has_nothing_to_do_sleeps():
    with Scene() as s:
        guest, = s.boot("idle")
        peer = s.raw()
        pid = guest.do("pidof famez0")

        def spent():
            stat = guest.do(f"cat /proc/{pid}/stat").split()
            switches = guest.do(f"grep ctxt_switches /proc/{pid}/status").split()
            return int(stat[13]) + int(stat[14]), int(switches[1]) + int(switches[3])
        guest.background("cat /dev/famez0", "reader")
        (ticks, wakes), before, interrupts = spent(), uptime(guest), guest.count("interrupts")
        guest.do("sleep 4")
        (ticks2, wakes2), after = spent(), uptime(guest)
        # Each second a tick and the look after it; and what the sleep's rounding adds.
        assert wakes2 - wakes <= 3 * (after - before + 1), (wakes2 - wakes, after - before)
        assert ticks2 - ticks <= 10, f"{ticks2 - ticks} ticks of processor in {after - before} s"
        assert guest.count("interrupts") == interrupts
        until_knows(s, guest, peer)
        for n in range(5):
            peer.ring(guest.id, peer.id)
            guest.until("it is interrupted", "cat /sys/class/famez/famez0/counters/interrupts",
                        str(interrupts + n + 1))


def test_slow_readers_hold_up_their_senders_and_lose_nothing():
    with Scene() as s:
        guest, = s.boot("slow", load=False)
        guest.do("insmod /famez.ko queue_kib=64")
        eager, other = s.host("eager"), s.host("other")
        sent = 0
        while eager.put(guest.id, struct.pack("<I", sent) * 64, type=1):
            sent += 1
        eager.flush(guest.id)
        until("what there is room for is taken", lambda: guest.count("received") > 0)
        assert int(guest.count("queued_bytes")) <= 64 << 10
        # A flooder's full share is nobody else's: pings are answered, texts arrive.
        other.send(guest.id, b"ping", type=1)
        host_hears(other, guest.id, b"pong")
        guest.background("dd if=/dev/famez0 of=/tmp/all bs=4096 count=%d" % sent, "dd")
        guest.end_of("dd")
        lines = b"".join(f"{eager.id}00,27:".encode() + struct.pack("<I", n) * 64 +
                         (b"" if n >> 24 == 10 else b"\n") for n in range(sent))
        assert guest.do("md5sum </tmp/all").split()[0] == hashlib.md5(lines).hexdigest(), \
            f"not what was sent, of {sent} messages: {guest.do('wc -c /tmp/all')}, not {len(lines)}"
        eager.send(guest.id, b"on it goes", type=1, timeout=5)
        hears(guest, f"{eager.id}00,27:on it goes")
        assert guest.count("received") == sent + 1 and guest.count("dropped") == 0


def test_a_writer_who_does_not_wait_is_told_when_there_is_room():
    with Scene() as s:
        guest, = s.boot("full")
        host = s.host()
        guest.background(f"drive fill /dev/famez0 {host.id}", "fill")
        guest.until("the lane is full", "cat /tmp/fill", "full")
        assert guest.count("full") > 0
        while guest.try_("test -e /tmp/fill.status")[0]:
            host.receive(0.2)
        assert "room" in guest.end_of("fill")


def test_who_comes_and_goes_is_told_by_uevents():
    with Scene() as s:
        guest, = s.boot("listener")
        guest.background("drive uevents /dev/famez0", "uevents")
        guest.until("it listens, or can't", "cat /tmp/uevents", "n")
        said = guest.do("cat /tmp/uevents")
        if "netlink" in said:
            raise Skip(f"this kernel has none: {said}")
        host = s.host("visitor")
        guest.until("it is told of the visitor", "cat /tmp/uevents",
                    f"FAMEZ_EVENT=join FAMEZ_PEER={host.id} FAMEZ_NAME=")
        gone = host.id
        s.things.remove(host)
        host.close()
        guest.until("it is told of his end", "cat /tmp/uevents",
                    f"FAMEZ_EVENT=leave FAMEZ_PEER={gone} ")


def test_one_who_maps_the_lanes_has_them_alone_and_is_woken_by_eventfds():
    with Scene() as s:
        guest, = s.boot("mapper")
        host = s.host()
        words = guest.do("drive info /dev/famez0").split()
        flags, generation = int(words[1]), int(words[7])
        assert flags & LANES and flags & SLOTS and flags & REGISTERS and not flags & CLAIMED
        guest.background(f"drive claim /dev/famez0 {host.id} 20", "claim")
        guest.until("it has the lanes", "cat /tmp/claim", "claimed MAILBEX2")
        until("others see that it takes no mail", lambda: not host.who(guest.id).lanes)
        assert guest.fact("claimed") == "1" and guest.fact("generation") == "0"
        status, said = guest.try_(f"echo {host.id}:x >/dev/famez0")
        assert status and "busy" in said, said
        until("it rings us by its registers",
              lambda: any(os.eventfd_read(b) for b in ready(host.bells[host.id])))
        os.eventfd_write(host.bells[guest.id][5], 1)
        assert "rung 5" in guest.end_of("claim")
        assert int(guest.fact("generation")) == generation + 1, "it began anew"
        until("others see it", lambda: host.who(guest.id).lanes)
        echo(guest, host.id, "back")
        host_hears(host, guest.id, b"back")


def ready(bells):
    return select.select(bells, [], [], 0.2)[0]


def test_v1_clients_talk_with_a_guest_where_there_are_only_slots():
    for dialect in ("fee", "famez"):
        with Scene("--layout", "slots", "--dialect", dialect, size=None) as s:
            guest, = s.boot("old")
            assert guest.fact("layout") == "v1"
            with V1Client(s.broker.path, dialect, "pythonic") as client:
                client.ready()
                talk_by_slots(guest, client)
            until("it is seen to be gone", lambda: "pythonic" not in guest.fact("names"))
            status, said = guest.try_("echo pythonic:x >/dev/famez0")
            assert status, said


def talk_by_slots(guest, client):
    until(f"{guest.name} sees it", lambda: "pythonic" in guest.fact("names"))
    echo(guest, client.id, "hello by slot")
    client.hear(guest.id, "hello by slot")
    echo(guest, "pythonic", "and by name")
    client.hear(guest.id, "and by name")
    client.send(guest.id, "and back", bare=True)
    hears(guest, f"{client.id}00,27:and back")
    client.send(guest.id, "ping", bare=True)
    client.hear(guest.id, "pong")
    echo(guest, "server", "ping")
    hears(guest, f"{SERVER}00,27:pong")


def test_a_guest_speaks_lanes_to_some_and_slots_to_others():
    with Scene() as s:
        first, second = s.boot("first", "second")
        host = s.host("hosty")
        with V1Client(s.broker.path, "fee", "pythonic") as client:
            client.ready()
            talk_by_slots(first, client)
            for n in range(20):
                echo(first, second.id, f"lane {n}")
                echo(first, client.id, f"slot {n}")
                host.send(first.id, f"host {n}".encode(), type=1)
                client.hear(first.id, f"slot {n}")
                hears(second, f"{first.id}00,27:lane {n}")
                hears(first, f"{host.id}00,27:host {n}")
            first.do(f"(echo -n {client.id}:; head -c 400 /dev/zero | tr '\\0' x) >/tmp/long")
            status, said = first.try_("cat /tmp/long >/dev/famez0")
            assert status and "too long" in said.lower(), said


def test_a_vm_has_several_devices_of_both_kinds():
    with Scene() as s, tempfile.TemporaryDirectory(prefix="famez-fam-") as folder:
        fam = os.path.join(folder, "fam")
        with open(fam, "wb") as f:
            f.truncate(4 << 20)
        guest, = s.boot("many", more=[plain(fam, "4M"), doorbell(s.broker.path, 8)])
        kinds = [guest.fact("kind", n) for n in range(3)]
        assert kinds == ["doorbell", "plain", "doorbell"], kinds
        assert guest.fact("id", 1) == "-1" and guest.fact("geometry/bytes", 1) == str(4 << 20)
        assert guest.do("drive rights /dev/famez0") == "rights"
        ids = [int(guest.fact("id", n)) for n in (0, 2)]
        echo(guest, ids[1], "to myself", 0)
        hears(guest, f"{ids[0]}00,27:to myself", 2)
        status, said = guest.try_("cat /dev/famez1")
        assert status and "not supported" in said, said


if __name__ == "__main__":
    run_with_kit(globals())
