# SPDX-License-Identifier: MIT
"""scenes.py - what is played while points.py kills the broker: together they pass every point.

Who works in here: points.py. A scene opens a fabric under a plan of deaths (broker/point.h), plays
its part, and judges that all came out as it does undisturbed, whatever happened in between. What
the order of things alone decides it leaves open; what a peer can see it does not.
"""

import contextlib
import os
import signal
import socket
import tempfile
import time
from unittest import mock

from members import Devices, judge, settle, until_let_in
from fabric import (AS_PLAIN, HANG_SECONDS, Broker, RawPeer, Refused, eventfd_id,  # found by members
                    look_until, readable, settings)
from fdstore import Service, all_is_well
from lanes import DATA, ENTER, EXIT, GROUP, LINK, Lanes, Slot
from rules import RuleFile

REPEAT_S = 1.05  # after which a v1 client repeats what got no answer

_devices = None


def the_devices():
    """Shared by all plays: to start a process for each would take longer than they do."""
    global _devices
    if _devices is None:
        _devices = Devices()
    return _devices


def new_devices():
    """After a failure, whatever state the old ones are in."""
    global _devices
    if _devices:
        _devices.process.close()
    _devices = None


class Scene:
    """One play of it under `plan`. Afterwards: .died, the points at which a broker died, in order;
    .lines of the log; .open_now, descriptors at the end, or 0."""

    def __init__(self, plan):
        self.plan = plan
        self.open_now = 0
        self.lines = []
        with self.open() as broker:
            self.act(broker)
            self.judge_log(broker)
            self.open_now = self.descriptors(broker)
            the_devices().forget()
            if plan != "trace" and len(self.died) < len(plan.split(",")):
                broker.kill()  # or it may yet die amid its end, and that is no good end

    undisturbed = None  # descriptors at the end of one, once it is known

    def descriptors(self, broker):
        if type(self).undisturbed:
            broker.until_fds(type(self).undisturbed)  # nothing of the dead ones is left open
        return broker.fd_count()

    def judge_log(self, broker):
        self.lines += broker.log.lines
        told = broker.events("died")
        for entry in told:
            assert entry["signal"] == "KILL", f"it died by itself: {entry}"
        died = sum(line.startswith("# dies ") for line in broker.log.lines)
        assert len(told) == died, f"{died} deaths, and the log tells of {len(told)}"

    @property
    def died(self):
        return [line.split()[2] for line in self.lines if line.startswith("# dies ")]

    def passed(self):
        """{place: how often a broker passed it}, of a play with the plan `trace`."""
        count = {}
        for line in self.lines:
            if line.startswith("# passed "):
                _, _, place, nth = line.split()
                count[place] = max(count.get(place, 0), int(nth))
        return count


def fabric(plan, *options, peers, vectors):
    return Broker("--peers", str(peers), "--layout", "lanes", *AS_PLAIN, *options,
                  vectors=vectors, size="4M", workers=settings.workers or 2,
                  env={"FAMEZ_CRASH": plan})


# ---------------------------------------------------------------- a full house


def talk(asker, member, other, start):
    """Questions are answered once and in order, and so is what is said to a group passed on."""
    for n in range(start, start + 3):
        assert asker.send(asker.server, f"ping!EZT={n}".encode(), LINK)
    for lanes in (member, other):
        assert lanes.send(lanes.server, b"", ENTER, group=9)
        assert lanes.ask(f"ping!EZT={start}") == f"pong!EZT={start + 1}"
    for n in range(start, start + 3):
        assert asker.send(asker.server, str(n).encode(), GROUP, group=9)
    for n in range(start, start + 3):
        assert asker.receive(asker.server).payload == f"pong!EZT={n + 1}".encode()
        for lanes in (member, other):
            heard = lanes.receive(lanes.server)
            assert (heard.payload, heard.group) == (str(n).encode(), 9), heard
    assert other.send(other.server, b"", EXIT, group=9)
    assert other.ask("ping") == "pong"
    assert asker.send(asker.server, b"last", GROUP, group=9)
    assert member.receive(member.server).payload == b"last"
    for lanes in (asker, member, other):
        more = lanes.take(lanes.server)
        assert more is None, f"{more} came once more"


def all_at_once(*members):
    """Several speak to a group at the same time: more than one is being passed on at once."""
    for m in members:
        assert m.send(m.server, b"", ENTER, group=8)
        assert m.ask("ping") == "pong"
    for n in range(4):
        for m in members:
            assert m.send(m.server, bytes([n]) * 40, GROUP, group=8, ring=n == 3)
    for m in members:
        heard = {other.id: [] for other in members if other is not m}
        for _ in range(4 * len(heard)):
            message = m.receive(m.server)
            heard[message.origin].append(message.payload[0])
        assert all(said == [0, 1, 2, 3] for said in heard.values()), f"{m.id} heard {heard}"
    for m in members:
        assert m.send(m.server, b"", EXIT, group=8)
        assert m.ask("ping") == "pong"
        assert m.take(m.server) is None, "something came once more"


def wait_for_room(lanes):
    """Its lane to the server is full; it waits, and is rung when there is room."""
    bell = lanes.peer.peers[lanes.id][lanes.own_vector(lanes.server)]
    waiting = (lanes.control(lanes.server, lanes.id) + 128) // 4
    rung = False
    while not rung:  # else the server had read it all before we waited
        while lanes.send(lanes.server, bytes(lanes.payload_max() // 2), DATA, ring=False):
            pass
        lanes.u32[waiting] = 1
        if lanes.unread(lanes.server) < lanes.lane_bytes // 2:
            lanes.u32[waiting] = 0
            continue
        lanes.nudge(lanes.server)
        assert readable(bell, HANG_SECONDS), f"{lanes.id} waits for room in vain"
        os.eventfd_read(bell)
        rung = not lanes.u32[waiting]
    look_until("there is room", lambda: not lanes.unread(lanes.server))
    assert lanes.ask("ping") == "pong"


class House(Scene):
    """Devices and plain clients come, leave and come again under the same IDs, somebody is refused,
    somebody vanishes, somebody waits for room in his lane; questions, groups."""

    PEERS = 6
    SERVER = PEERS + 1
    VECTORS = 2
    BELL = 1  # the vector that is not for mail

    def open(self):
        return fabric(self.plan, peers=self.PEERS, vectors=self.VECTORS)

    def act(self, broker):
        vm = the_devices()
        a = broker.join()
        one = vm.join(broker)
        b = broker.join()
        two = vm.join(broker)
        c = broker.join()
        d = broker.join()
        for peer in (a, b, c, d):
            peer.until_exactly(range(1, self.SERVER + 1))
        for device in (one, two):
            device.until_knows(*range(1, self.SERVER + 1))
        refused(broker)
        asker, member, other = (Lanes(p) for p in (c, d, b))
        talk(asker, member, other, 10)
        wait_for_room(asker)
        ident = b.id
        b.leave()
        a.until_left(ident)
        e = until_let_in(broker)
        assert e.id == ident
        a.until_knows(ident)
        ident = two.id
        two.leave()
        c.until_left(ident)
        two = until_let_in(broker, vm.join)
        assert two.id == ident
        c.until_knows(ident)
        ident = a.id
        a.vanish()  # much unread
        c.until_left(ident)
        f = until_let_in(broker)
        assert f.id == ident
        other = Lanes(e)
        talk(asker, member, other, 20)
        all_at_once(asker, member, other, Lanes(f))
        for ident in range(1, self.PEERS + 1):
            assert asker.u32[asker.entry(ident) // 4], f"{ident} is not in the directory"
        judge(broker, [one, two, c, d, e, f], self.SERVER, self.BELL)
        assert member.take(member.server) is None and asker.take(asker.server) is None


def refused(broker):
    try:
        broker.join()
    except Refused as err:
        assert err.args[0] == -1, f"refused with version {err.args[0]}"
        broker.peers.pop().close()
        return
    raise AssertionError("one too many was let in")


# ---------------------------------------------------------------- v1 clients, and rules


def ask_again(slot, text, want):
    """As a v1 client: what gets no answer in time is said again. What a broker had in its hands
    when it died is the one thing that is lost."""
    bell = slot.peer.peers[slot.id][slot.server]
    deadline = time.monotonic() + HANG_SECONDS
    while True:
        slot.say(slot.server, text)
        again = time.monotonic() + REPEAT_S
        while (left := again - time.monotonic()) > 0:
            if not readable(bell, left):
                break
            os.eventfd_read(bell)
            length = slot.word(slot.server, 0)
            if not length or slot.word(slot.server, 2) != slot.id:
                continue  # rung once too often, or it is another's by now
            at = slot.server * 512 + 128
            said = bytes(slot.map[at:at + length]).decode()
            slot.set_word(slot.server, 0, 0)
            if said == want:  # not a greeting, nor the answer to what we had said before
                return
        assert time.monotonic() < deadline, f"{slot.id} says {text!r}, and is not answered"


def read_rules(broker, **fields):
    """SIGHUP, once: whoever dies over it, somebody reads them."""
    mark = broker.mark()
    os.kill(broker.pid, signal.SIGHUP)
    line = broker.log.entries[broker.log.wait_any({"rules", "rules-wrong"}, mark)]
    assert line["event"] == "rules", line
    assert all(line[key] == value for key, value in fields.items()), line


def report(broker):
    """SIGUSR1, once."""
    mark = broker.mark()
    os.kill(broker.pid, signal.SIGUSR1)
    broker.wait_event("report-end", mark)


class Rules(Scene):
    """v1 clients ask the server by their slots; IDs are in zones, one is kept for somebody, a user
    may have so many; and all of that is read again."""

    PEERS = 6
    SERVER = PEERS + 1
    VECTORS = PEERS + 2  # then the vector says who rings
    BELL = 0
    APART = "zone low ids=1-3\nzone high ids=4-6\n"

    @contextlib.contextmanager
    def open(self):
        with RuleFile(self.APART) as self.zones, RuleFile("id=6 uid=61001\n") as self.ids, \
                fabric(self.plan, "--zone", self.zones.path, "--bind", self.ids.path,
                       "--max-per-uid", "6", *self.more, peers=self.PEERS,
                       vectors=self.VECTORS) as broker:
            yield broker

    more = ()

    def act(self, broker):
        members = [broker.join() for _ in range(5)]
        assert {peer.id for peer in members} == {1, 2, 3, 4, 5}, "the sixth is not for them"
        for peer in members:
            peer.until_exactly((self.SERVER, *((1, 2, 3) if peer.id < 4 else (4, 5))))
        refused(broker)
        slots = [Slot(peer, f"v1-{peer.id}") for peer in members[1:4]]
        for n, slot in enumerate(slots, 1):
            ask_again(slot, f"ping!EZT={10 * n}", f"pong!EZT={10 * n + 1}")
        self.ids.write("# for anybody\n")
        self.zones.write(self.APART + "zone low ids=4-6\n")
        read_rules(broker, bound="0", zone_lines="3")
        members.append(until_let_in(broker))
        assert members[5].id == 6
        refused(broker)
        for peer in members:
            peer.until_exactly(range(1, self.SERVER + 1))
        for n, slot in enumerate(slots, 1):
            ask_again(slot, f"ping!EZT={10 * n + 5}", f"pong!EZT={10 * n + 6}")
        report(broker)
        lanes = Lanes(members[0])
        assert lanes.ask("ping") == "pong"
        judge(broker, members, self.SERVER, self.BELL)


class Bare(Rules):
    """... without a sandbox: the broker opens files itself, and looks for itself who comes. The
    memory is a file that was there before."""

    @contextlib.contextmanager
    def open(self):
        with tempfile.NamedTemporaryFile(prefix="famez-memory-") as memory:
            os.truncate(memory.name, 4 << 20)
            self.more = ("--sandbox", "off", "-m", memory.name)
            with super().open() as broker:
                yield broker

    def act(self, broker):
        super().act(broker)
        vm = the_devices()
        broker.peers[0].leave()
        device = until_let_in(broker, vm.join)
        settle(broker, [*broker.peers[1:], device])


class Doors(Scene):
    """IDs have sockets of their own; some come and some go with the file, and one leads to another
    ID than before."""

    PEERS = 5
    SERVER = PEERS + 1
    VECTORS = 2
    BELL = 1

    @contextlib.contextmanager
    def open(self):
        with tempfile.TemporaryDirectory(prefix="famez-test-") as folder:
            self.folder = folder
            with RuleFile(self.lines_of({1: 1, 2: 2})) as self.ids, \
                    fabric(self.plan, "--bind", self.ids.path, "--socket-mode", "0600",
                           "--socket-owner", f"{os.getuid()}:{os.getgid()}",
                           peers=self.PEERS, vectors=self.VECTORS) as broker:
                yield broker

    def at(self, nth):
        return os.path.join(self.folder, f"own{nth}")

    def lines_of(self, which):
        return "".join(f"id={ident} socket={self.at(nth)}\n" for ident, nth in which.items())

    def come(self, broker, nth):
        """Refused are those that wait at a socket which goes; here they come when there is one."""
        peer = RawPeer(self.at(nth), vectors=self.VECTORS)
        broker.peers.append(peer)
        peer.open()
        return peer

    def act(self, broker):
        first, second = self.come(broker, 1), self.come(broker, 2)
        assert (first.id, second.id) == (1, 2)
        other = broker.join()
        assert other.id == 3
        with socket.socket(socket.AF_UNIX) as dead:  # somebody left this behind
            dead.bind(self.at(4))
        self.ids.write(self.lines_of({2: 2, 4: 4}) + f"id=5 socket={self.at(5)} uid=61001\n")
        read_rules(broker, bound="3", sockets="3")
        assert not os.path.exists(self.at(1))
        fourth = self.come(broker, 4)
        assert fourth.id == 4
        try:
            self.come(broker, 5)
            raise AssertionError("another user's socket let us in")
        except Refused:
            broker.peers.pop().close()
        self.ids.write(self.lines_of({2: 4, 5: 5, 4: 2}))
        read_rules(broker, bound="3", sockets="3")
        fifth = self.come(broker, 5)
        assert fifth.id == 5
        judge(broker, [first, second, other, fourth, fifth], self.SERVER, self.BELL)


# ---------------------------------------------------------------- what takes its time


class Beats(Scene):
    """The server's heart beats once a second."""

    VECTORS = 2

    def open(self):
        return fabric(self.plan, peers=3, vectors=self.VECTORS)

    def act(self, broker):
        lanes = Lanes(broker.join())
        at = (lanes.entry(lanes.server) + 80) // 8
        look_until("two heartbeats", lambda: lanes.u64[at] >= 2)
        assert lanes.ask("ping") == "pong"


class Stored(Scene):
    """systemd keeps the descriptors, and all begins anew; of one who has left it has lost some."""

    class Fabric:
        """What Scene asks of a broker, over both lives of one."""

        def __init__(self, service):
            self.service = service

        def kill(self):
            self.service.broker.kill()

    @contextlib.contextmanager
    def open(self):
        with mock.patch.dict(os.environ, FAMEZ_CRASH=self.plan), Service() as service:
            yield self.Fabric(service)

    def act(self, fabric):
        service = fabric.service
        service.start()
        for _ in range(3):
            service.joined()
        gone = service.peers.pop()
        lost = {eventfd_id(fd) for fd in gone.peers[gone.id]}
        gone.close()
        service.broker.until_peers(2)
        self.judge_log(service.broker)
        service.end(signal.SIGTERM)
        stored = service.systemd.stored
        for name, fd in list(stored):
            if "eventfd" in os.readlink(f"/proc/self/fd/{fd}") and eventfd_id(fd) in lost:
                stored.remove((name, fd))
                os.close(fd)
        service.start()
        all_is_well(service)
        self.judge_log(service.broker)

    def judge_log(self, broker):
        if not isinstance(broker, self.Fabric):  # of each life it was done
            super().judge_log(broker)

    def descriptors(self, broker):
        return 0


SCENES = (House, Rules, Beats, Bare, Doors, Stored)
