# SPDX-License-Identifier: MIT
"""
stage.py - what one device or guest test stands on: a broker, a run folder,
QEMUs, raw peers, a crowd.

A Stage ends everything that it started, and then asserts what must hold after
every test: no QEMU died by itself, none complained on its stderr (what a test
provokes on purpose it names in may_say), the broker ended cleanly, and neither
a process nor a file is left. It uses tests/support/fabric.py for the broker
and the raw peers and never looks into the broker's code.
"""

import atexit
import contextlib
import mmap
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))

# noqa: its folder is known only now; some of it is for the tests
from fabric import Broker, Gone, Skip, run_tests, settings  # noqa: E402, F401
from qtest import QEMU, Device, Qemu, until  # noqa: E402

NEEDED = {QEMU: "qemu-system-x86"}
DEVICE_NOFILE = 8192  # soft limit of a QEMU; what libvirt's service file gives
_built = {}


def need(programs):
    """Skip, aloud and with the package's name, unless these programs are installed."""
    for program, package in programs.items():
        if not shutil.which(program):
            raise Skip(f"{program} is missing: install Debian's package {package}")


def helper(name, source):
    """A C helper: the build's own, or compiled here if the build has none."""
    if name in _built:
        return _built[name]
    build = os.path.dirname(os.path.dirname(settings.server))
    folder = os.path.dirname(os.path.relpath(source, os.path.join(HERE, "..")))
    path = os.path.join(build, "tests", folder, name)
    if not os.path.exists(path):
        need({"gcc": "gcc"})
        where = tempfile.mkdtemp(prefix="famez-vm-bin-")
        atexit.register(shutil.rmtree, where, ignore_errors=True)
        path = os.path.join(where, name)
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-D_GNU_SOURCE", "-o", path, source],
                       check=True)
    _built[name] = path
    return path


class Crowd:
    """Many raw clients in one C process; see crowd.c for its commands."""

    def __init__(self, path, vectors):
        binary = helper("famez-vm-crowd", os.path.join(HERE, "crowd.c"))
        self.process = subprocess.Popen([binary, path, str(vectors)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def start(self, command, *numbers):
        """Begin a command, without waiting for its end."""
        self.process.stdin.write(" ".join([command, *map(str, numbers)]) + "\n")
        self.process.stdin.flush()

    def answer(self):
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError(self.process.stderr.read().strip() or "crowd: ended")
            if line.startswith("progress"):
                print(f"  ... {line.split()[1]} joins and leaves", flush=True)
                continue
            return line.split()[1:]

    def __call__(self, command, *numbers):
        self.start(command, *numbers)
        return [int(word) for word in self.answer()]

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


class Stage:
    """One broker and those who use it, for one test."""

    def __init__(self, *options, vectors=4, size="1M", **broker):
        need(NEEDED)
        # Devices are to see a small BAR. Lanes between many peers would not fit it.
        if "--peers" in options and "--layout" not in options and size == "1M" and \
                not settings.naive:
            options += ("--layout", "plain")
        self.broker = Broker(*options, vectors=vectors, size=size, **broker)
        self.run = tempfile.mkdtemp(prefix="famez-vm-")
        self.vectors = vectors
        self.qemus = []   # started by us, in order
        self.may_say = {}  # name of a QEMU: what its stderr may match
        self.may_end = set()
        self.crowds = []
        self.things = []  # anything else with a close()

    def __enter__(self):
        return self

    def qemu(self, may_say=None, may_end=False, name=None, nofile=None, path=None, **how):
        """Start a QEMU with stopped CPUs; does not wait for its device."""
        name = name or f"qemu{len(self.qemus)}"
        how.setdefault("vectors", self.vectors)
        how.setdefault("socket_path", path or self.broker.path)
        if nofile is None:
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            nofile = DEVICE_NOFILE if hard == resource.RLIM_INFINITY else min(DEVICE_NOFILE, hard)
        qemu = Qemu(self.run, name, nofile=nofile, **how)
        self.adopt(qemu, may_say, may_end)
        return qemu

    def adopt(self, qemu, may_say=None, may_end=False):
        self.qemus.append(qemu)
        if may_say:
            self.may_say[qemu.name] = may_say
        if may_end:
            self.may_end.add(qemu.name)

    def device(self, **how):
        """A QEMU and its only device, placed, MSI-X on."""
        return Device(self.qemu(**how))

    def peer(self, **how):
        return self.broker.join(**how)

    def crowd(self, count=0):
        crowd = Crowd(self.broker.path, self.vectors)
        self.crowds.append(crowd)
        if count:
            crowd("join", count)
        return crowd

    def __exit__(self, kind, value, trace):
        dead = [q.obituary() for q in self.qemus if not q.alive() and q.name not in self.may_end]
        for crowd in self.crowds:
            crowd.close()
        for thing in self.things:
            thing.close()
        for qemu in self.qemus:
            qemu.kill()
        said = [f"{q.name} said: {line}" for q in self.qemus for line in q.stderr().splitlines()
                if not re.search(self.may_say.get(q.name, r"^\b$"), line)]
        left = [f for f in os.listdir(self.run) if not f.endswith((".err", ".console"))]
        shutil.rmtree(self.run)
        if kind is None and not self.broker.stopped and not settings.naive:
            for peer in self.broker.peers:
                peer.close()
            self.broker.until_peers(0)  # it has noticed each of these ends
        if kind is not None and isinstance(value, AssertionError):
            for line in dead + said[:5]:
                value.add_note(line)
        self.broker.__exit__(kind, value, trace)
        if kind is None:
            assert not dead, "; ".join(dead)
            assert not said, "; ".join(said[:5])
            assert not left, f"left in the run folder: {left}"
        return False


def known(qemu, peer, *ids):
    """Does this QEMU hold every eventfd of these IDs that the raw peer holds?"""
    held = qemu.eventfds()
    return all(number in held for i in ids for number in peer.bell_ids(i))


def until_known(qemu, peer, *ids):
    """Wait until a QEMU has been told of all these IDs; the raw peer must know them."""
    until(f"{qemu.name} is told of {len(ids)} peers", lambda: known(qemu, peer, *ids))


def meet(peer, *devices):
    """The raw peer reads until it knows these devices, and they know the raw peer."""
    peer.until_knows(*(d.position() for d in devices))
    for d in devices:
        until_known(d.qemu, peer, peer.id)


def held_back(stage, device):
    """How many announcements the broker keeps from a device, for its limit's sake."""
    return int(stage.broker.report().peers[device.position()]["held_back"])


def map_of(peer):
    return mmap.mmap(peer.memory, os.fstat(peer.memory).st_size)


def rings(device, peer, vectors=None):
    """A device and a raw peer ring each other, on every vector."""
    vectors = range(device.vectors) if vectors is None else vectors
    own = device.position()
    for v in vectors:
        device.ring(peer.id, v)
        peer.wait(v)
        peer.ring(own, v)
        device.wait_rung({v})


def hot_plug(qemu, path, number, vectors=4):
    qmp = qemu.qmp()
    qmp("chardev-add", id=f"H{number}", backend={"type": "socket", "data": {
        "server": False, "addr": {"type": "unix", "data": {"path": path}}}})
    qmp("device_add", driver="ivshmem-doorbell", id=f"P{number}", chardev=f"H{number}",
        vectors=vectors)


def hot_unplug(device, number):
    """device_del; the guest agrees; then the chardev, and with it the connection."""
    qmp = device.qemu.qmp()
    qmp("device_del", id=f"P{number}")
    device.qemu.eject(device.slot)
    qmp.wait_event("DEVICE_DELETED")
    qmp("chardev-remove", id=f"H{number}")


def waiting_at(path):
    """How many are connected to this path whom the listener has not accepted yet."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        rows = [line.split() for line in table if line.rstrip().endswith(" " + path)]
    return sum(row[6] == "0" for row in rows)  # no inode: nobody has a descriptor


@contextlib.contextmanager
def naive_server():
    """The control in the broker's place: the server that harms."""
    before = settings.server, settings.naive
    binary = helper("famez-naive-server", os.path.join(HERE, "..", "control", "naive_server.c"))
    settings.server, settings.naive = binary, True
    try:
        yield
    finally:
        settings.server, settings.naive = before
