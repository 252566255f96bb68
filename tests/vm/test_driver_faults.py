#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
test_driver_faults.py - what happens to the guest driver: peers and brokers that die, devices that go
while they are in use, peers that are hostile. No guest's kernel may have a word to say of it.

As test_driver.py. FAMEZ_VM_SCRIBBLE_S: for how long a hostile peer scribbles (4; 30 is what the
driver was once shown to stand).
"""

import os
import random
import signal
import subprocess
import time

from driver_scene import LANE_MAX, SERVER, Scene, echo, hears, until_knows
from kit import run_with_kit
from stage import until

# noqa: stage knows its folder
from lanes import Lanes  # noqa: E402

SCRIBBLE_S = float(os.environ.get("FAMEZ_VM_SCRIBBLE_S", "4"))


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
    run_with_kit(globals())
