#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
test_driver.py - the guest driver in running guests, and what happens to it there.

Debian's kernel under TCG, the driver of tools/driver, and on the host a broker, peers written
from the documents alone (mailbox_page.py) and v1 clients. At the end of each test the console of
every guest is searched for what a kernel says of a fault; with FAMEZ_VM_KERNEL=FOLDER the guests
boot a kernel of debug_kernel.sh, which looks harder. FAMEZ_VM_SCRIBBLE_S: for how long a hostile
peer scribbles (4; 30 is what the driver was once shown to stand).
"""

import argparse
import hashlib
import os
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time

import test_guests as guests_of
from driver_guest import SOURCES, DriverGuest, DriverKit, build_module, doorbell, plain
from stage import Skip, Stage, run_tests, until

# noqa: stage knows its folder
from lanes import Lanes  # noqa: E402
from mailbox_page import Peer  # noqa: E402
from v1_clients import V1Client  # noqa: E402

SCRIBBLE_S = float(os.environ.get("FAMEZ_VM_SCRIBBLE_S", "4"))
SERVER = 7  # with --peers 6
LANE_MAX = 32744  # bytes of a message where lanes have 64 KiB
CHECKPATCH = "linux-source-6.1/scripts/checkpatch.pl"
LANES, SLOTS, REGISTERS, CLAIMED = 2, 4, 8, 32  # FAMEZ_INFO_x


def the_kit():
    guests_of.the_kit()
    return DriverKit(guests_of.kit_folder)


class Scene(Stage):
    """A stage with guests that have the driver. Six peers, lanes of 64 KiB, a vector an ID."""

    def __init__(self, *options, vectors=8, size="8M", **how):
        self.kit = the_kit()
        self.guests = []
        super().__init__("--peers", "6", *options, vectors=vectors, size=size, **how)

    def boot(self, *names, load=True, more=()):
        """Guests with a doorbell device each, and what `more` names; in parallel."""
        new = []
        for name in names:
            guest = DriverGuest(self.run, name, self.kit,
                                [doorbell(self.broker.path, self.vectors), *more])
            self.adopt(guest)
            new.append(guest)
        for guest in new:
            guest.boot(load)
        self.guests += new
        return new

    def host(self, name="host"):
        """A peer on the host, by the documents alone."""
        peer = Peer.join(self.broker.path, name)
        self.things.append(peer)
        return peer

    def raw(self):
        return self.peer(vectors=self.vectors)

    def __exit__(self, kind, value, trace):
        if kind is None:
            try:
                for guest in self.guests:
                    guest.judge()
            except BaseException as err:
                super().__exit__(type(err), err, err.__traceback__)
                raise
        elif isinstance(value, AssertionError):
            for guest in self.guests:
                value.add_note(f"({guest.name}'s console:)\n{guest.console()[-1500:]}")
        return super().__exit__(kind, value, trace)


def echo(guest, to, text, device=0):
    guest.do(f"echo '{to}:{text}' >/dev/famez{device}")


def hears(guest, text, device=0):
    """The next message that a guest reads is this one."""
    said = guest.do(f"timeout 30 head -n 1 </dev/famez{device}")
    assert said == text, f"{guest.name} read {said!r} and not {text!r}"


def host_hears(peer, sender, payload):
    while True:
        m = peer.receive(30)
        assert m, f"nothing came from {sender}, {payload!r} was expected"
        if m.sender == sender:
            assert m.payload == payload, m
            return m


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


def until_knows(stage, guest, peer):
    peer.until_knows(guest.id)
    until(f"{guest.name} is told of {peer.id}",
          lambda: all(n in guest.eventfds() for n in peer.bell_ids(peer.id)))


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


# ---- what happens to it ----------------------------------------------------------------------


def test_a_guest_killed_in_mid_send_harms_nobody():
    with Scene() as s:
        first, second, third = s.boot("first", "second", "third")
        victim, gone = first, first.id
        second.background("cat /dev/famez0 >/dev/null", "reader")
        victim.background(f"drive send /dev/famez0 {second.id} 100000000 {LANE_MAX} 1", "flood")
        second.until("the flood is on", "test $(cat /sys/class/famez/famez0/counters/received) "
                     "-gt 500 && echo on", "on")
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
        s.guests.remove(victim)
        s.qemus.remove(victim)
        victim.kill()
        echo(third, second.id, "still here?")
        until("it is seen to be gone", lambda: str(gone) not in second.fact("peers").split(","))
        heir, = s.boot("heir")
        before = second.count("received")
        heir.do(f"drive send /dev/famez0 {second.id} 2000 {LANE_MAX} 2")
        second.until("it hears the heir", "test $(cat /sys/class/famez/famez0/counters/received) "
                     f"-ge {before + 2000} && echo all", "all")
        assert second.count("garbled") == 0


def test_the_driver_does_not_notice_that_the_broker_died():
    with Scene() as s:
        first, second = s.boot("first", "second")
        plan = f"6000 {LANE_MAX}"
        second.background(f"drive recv /dev/famez0 {first.id} {plan} 5", "received")
        first.background(f"drive send /dev/famez0 {second.id} {plan} 5", "sent")
        for _ in range(3):
            child = s.broker.child
            os.kill(child, signal.SIGKILL)
            until("the keeper starts another", lambda c=child: s.broker.child not in (0, c))
        first.end_of("sent")
        second.end_of("received")
        echo(first, "server", "ping")
        hears(first, f"{SERVER}00,27:pong")
        assert first.count("garbled") == second.count("garbled") == 0


def flood(stage, guest):
    """A host peer that rings and sends, again and again, from a process of its own."""
    code = ("import sys; sys.path.insert(0, sys.argv[1])\n"
            "from mailbox_page import *\n"
            "peer = Peer.join(sys.argv[2], 'flooder'); to = int(sys.argv[3]); n = 0\n"
            "print(peer.id, flush=True)\n"
            "while True:\n"
            "    n += 1\n"
            "    try: peer.send(to, b'flood' * (n % 400), type=n % 2)\n"
            "    except (Full, NotThere, KeyError): peer.notices()\n"
            "    if to in peer.bells: peer.ring(to)\n")
    support = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support")
    process = subprocess.Popen(["python3", "-c", code, support, stage.broker.path, str(guest.id)],
                               stdout=subprocess.PIPE, text=True)

    class Flooder:
        id = int(process.stdout.readline())

        @staticmethod
        def close():
            process.kill()
            process.wait()
            process.stdout.close()
    stage.things.append(Flooder)
    return Flooder


def users(guest, peer):
    """All that one can do with a device, at once."""
    guest.background("drive hold /dev/famez0", "hold")
    guest.background("cat /dev/famez0 >/dev/null", "cat")
    guest.background(f"while echo {peer}:x >/dev/famez0; do :; done", "echo")
    guest.background(f"drive send /dev/famez0 {peer} 100000000 4000 1", "send")
    guest.until("it is held", "cat /tmp/hold", "holding")


def test_unbind_and_rmmod_under_a_flood_with_all_files_open():
    with Scene() as s:
        guest, = s.boot("flooded")
        flooder = flood(s, guest)
        sink = s.host("sink")
        slot = guest.do("basename $(readlink /sys/class/famez/famez0/device)")
        for n in range(4):
            users(guest, sink.id)
            guest.until("the flood is on", "test $(cat /sys/class/famez/famez0/counters/received) "
                        "-gt 100 && echo on", "on")
            guest.do(f"echo {slot} >/sys/bus/pci/drivers/famez/unbind")
            assert guest.end_of("hold").split() == ["holding", "gone"]
            for name in ("cat", "echo", "send"):
                guest.end_of(name, None)
            guest.do("rmmod famez")
            guest.do("insmod /famez.ko")
            sink.keep()
        flooder.close()
        echo(guest, sink.id, "done")
        while host_any(sink).payload != b"done":
            pass


def host_any(peer):
    m = peer.receive(30)
    assert m, "nothing came"
    return m


def test_a_device_is_unplugged_and_plugged_while_it_is_open_and_flooded():
    with Scene() as s:
        guest, = s.boot("plugged")
        flood(s, guest)
        sink = s.host("sink")
        qmp = guest.qmp()
        for n in range(2):
            users(guest, sink.id)
            device = f"D{n}" if n else "D0"
            qmp("device_del", id=device)
            guest.end_of("hold")
            for name in ("cat", "echo", "send"):
                guest.end_of(name, None)
            qmp.wait_event("DEVICE_DELETED")
            assert "famez0" not in guest.do("ls /sys/class/famez /dev")
            qmp("chardev-remove", id="Z0" if n == 0 else f"Y{n}")
            qmp("chardev-add", id=f"Y{n + 1}", backend={"type": "socket", "data": {
                "addr": {"type": "unix", "data": {"path": s.broker.path}}, "server": False}})
            qmp("device_add", driver="ivshmem-doorbell", id=f"D{n + 1}", chardev=f"Y{n + 1}",
                vectors=8)
            guest.until("it is there again", "ls /sys/class/famez", "famez0")
            sink.keep()
        echo(guest, "server", "ping")
        guest.until("it is answered", "timeout 5 grep -m 1 -a pong /dev/famez0", "pong")


def scribble(lanes, own, seconds, seed):
    """Nonsense all over the mailbox: words that look like something, and noise."""
    rand = random.Random(seed)
    end = time.monotonic() + seconds
    words = [0, 1, 2, 0xFFFFFFFFFFFFFFFF, 0x80000000, 0x7FFFFFFF, 1 << 63, 16, 0x10000]
    regions = [(0, 512 * lanes.ids), (lanes.directory, 192 * lanes.ids),
               (lanes.inbox, lanes.inbox_bytes * lanes.ids),
               (lanes.lane, 192 * lanes.ids * lanes.ids)]
    regions += [(lanes.ring_at(r, t), 4096) for r in range(lanes.ids) for t in range(lanes.ids)]
    count = 0
    while time.monotonic() < end:
        at, size = regions[rand.randrange(4)] if rand.random() < 0.6 else rand.choice(regions)
        for _ in range(64):
            where = (at + rand.randrange(size)) // 8
            lanes.u64[where] = (rand.choice(words) if rand.random() < 0.5
                                else rand.getrandbits(64))
        for victim in own:
            lanes.peer.ring(victim, rand.randrange(8))
        count += 64
    return count


def test_a_hostile_peer_that_scribbles_all_over_the_mailbox_stops_no_guest():
    with Scene() as s:
        first, second = s.boot("first", "second")
        peer = s.raw()
        lanes = Lanes(peer, "hostile")
        for guest in (first, second):
            until_knows(s, guest, peer)
        a, b = first.id, second.id
        for here, there in ((first, b), (second, a)):
            here.background("cat /dev/famez0 >/dev/null", "cat")
            here.do("touch /tmp/go")
            here.background(f"while test -e /tmp/go; do echo {there}:text >/dev/famez0; cat "
                            "/sys/class/famez/famez0/names; done >/dev/null", "echo")
            here.background("while test -e /tmp/go; do timeout 1 drive send /dev/famez0 "
                            f"{there} 999999 {LANE_MAX} 1; done", "send")
        print(f"  {scribble(lanes, (a, b), SCRIBBLE_S, 20)} words in {SCRIBBLE_S:.0f} s")
        for guest in (first, second):
            guest.do("echo alive")
            assert guest.count("looks") > 0
        # The broker and both drivers set right what is theirs; then messages flow again.
        for guest in (first, second):
            guest.do("rm /tmp/go; killall cat drive; true")
        peer.close()
        second.do("until timeout 1 grep -q -a -m 1 after /dev/famez0; do :; done & "
                  "echo $! >/tmp/grep")

        def through():
            first.try_(f"timeout 2 sh -c 'echo {b}:after >/dev/famez0'")
            return second.try_("kill -0 $(cat /tmp/grep)")[0] != 0
        until("messages flow again", through, pause=0.1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--kit")
    ours, theirs = parser.parse_known_args()
    guests_of.kit_folder = ours.kit and os.path.abspath(ours.kit)
    run_tests(globals(), theirs)
