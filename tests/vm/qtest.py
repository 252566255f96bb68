# SPDX-License-Identifier: MIT
"""
qtest.py - QEMU's real ivshmem device, driven without a guest.

Starts qemu-system-x86_64 with stopped CPUs and plays the guest itself over the
qtest channel: finds the device in configuration space, places its BARs, points
every MSI-X vector at a word of guest RAM, rings the doorbell register. A device
costs 0.03 s and 40 MiB. Owns the QEMU process (Process, which guest.py builds on
too) and the files of its run folder that begin with its name; never talks to
the server.

QEMU answers qtest and QMP only after the device is realized, and that waits for
the server's shared memory message: start() does not wait, Device() does.
"""

import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import time

QEMU = os.environ.get("FAMEZ_QEMU", "qemu-system-x86_64")
HANG_S = float(os.environ.get("FAMEZ_HANG_S", "60"))  # a guard, not a measure

PCI_ID = 0x11101AF4
BAR0, BAR1, BAR2 = 0xE0000000, 0xE0100000, 0x1000000000  # where we place a first device
IV_POSITION, DOORBELL = 8, 12
RAM_WORDS = 0x100000  # guest RAM that the vectors write to: 16 KiB a device


class Hang(AssertionError):
    """A guard ran out: what should have happened has not."""


def until(what, condition, guard=HANG_S, pause=0.005):
    """Wait for condition() to be true and return it; no measure of time, only a guard."""
    end = time.monotonic() + guard
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Hang(f"{what}: not within {guard:.0f} s")
        time.sleep(pause)


class Lines:
    """A UNIX stream socket that speaks in lines."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(HANG_S)
        self.held = b""

    def put(self, text):
        self.sock.sendall(text.encode() + b"\n")

    def get(self):
        while b"\n" not in self.held:
            try:
                more = self.sock.recv(65536)
            except socket.timeout:
                raise Hang("no answer") from None
            if not more:
                raise EOFError("the other side has closed")
            self.held += more
        line, self.held = self.held.split(b"\n", 1)
        return line.decode(errors="replace").rstrip("\r")

    def close(self):
        self.sock.close()


class Qmp:
    """QEMU's monitor."""

    def __init__(self, path):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        self.lines = Lines(sock)
        self.events = []
        json.loads(self.lines.get())
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        self.lines.put(json.dumps({"execute": command, "arguments": arguments}))
        while True:
            answer = json.loads(self.lines.get())
            if "event" in answer:
                self.events.append(answer)
                continue
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            return answer["return"]

    def wait_event(self, name):
        while True:
            for i, event in enumerate(self.events):
                if event["event"] == name:
                    return self.events.pop(i)
            answer = json.loads(self.lines.get())
            if "event" in answer:
                self.events.append(answer)

    def close(self):
        self.lines.close()


class Process:
    """One QEMU process and its monitor; ends without leaving anything behind.

    Files: RUN/NAME.err holds what it says, RUN/NAME.qmp is its monitor's socket. At RUN/NAME.line
    we listen for the channel on which it obeys us: qtest here, an agent in a guest.
    """

    def __init__(self, run, name, argv, nofile=None):
        self.name = name
        self.stem = os.path.join(run, name)
        self.qmp_path = self.stem + ".qmp"
        self.err_path = self.stem + ".err"
        self._qmp = None
        self._link = None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.stem + ".line")
        self.listener.listen(1)
        argv = [QEMU, *argv, "-nodefaults", "-no-user-config", "-display", "none",
                "-qmp", f"unix:{self.qmp_path},server=on,wait=off"]
        if nofile:
            argv = ["prlimit", f"--nofile={nofile}:"] + argv
        with open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=err, stderr=err)

    @property
    def pid(self):
        return self.process.pid

    def stderr(self):
        with open(self.err_path, errors="replace") as f:
            return f.read()

    def link(self):
        """The channel on which it obeys us, once QEMU has opened it."""
        if self._link is None:
            until(f"{self.name} opens its channel",
                  lambda: select.select([self.listener], [], [], 0.2)[0] or not self.alive())
            if not self.alive():
                raise AssertionError(self.obituary())
            self._link = Lines(self.listener.accept()[0])
        return self._link

    def qmp(self):
        if self._qmp is None:
            until(f"{self.name} makes its monitor", lambda: os.path.exists(self.qmp_path))
            self._qmp = Qmp(self.qmp_path)
        return self._qmp

    def alive(self):
        return self.process.poll() is None

    def obituary(self):
        """How it died, for a failed test's line."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return f"{self.name} closed its channel but runs on"
        how = signal.Signals(-code).name if code < 0 else f"exit {code}"
        last = self.stderr().strip().splitlines()[-1:]
        return f"{self.name} died: {how} {last}"

    def wait(self):
        try:
            return self.process.wait(timeout=HANG_S)
        except subprocess.TimeoutExpired:
            raise Hang(f"{self.name} does not end") from None

    def eventfds(self):
        """The kernel's numbers of all eventfds that the process holds."""
        numbers = set()
        folder = f"/proc/{self.pid}/fdinfo"
        try:
            for name in os.listdir(folder):
                with open(f"{folder}/{name}", "rb") as info:
                    found = re.search(rb"^eventfd-id:\s*(\d+)", info.read(), re.M)
                if found:
                    numbers.add(int(found[1]))
        except (FileNotFoundError, ProcessLookupError):
            pass  # a descriptor closed meanwhile, or the process: the caller looks again
        if not self.alive():
            raise AssertionError(self.obituary())
        return numbers

    def descriptors(self):
        """How many descriptors the process holds."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def stop(self):
        """SIGSTOP, and wait until the kernel says that it is stopped."""
        os.kill(self.pid, signal.SIGSTOP)

        def stopped():
            with open(f"/proc/{self.pid}/stat") as f:
                return f.read().rsplit(")", 1)[1].split()[0] == "T"
        until(f"{self.name} stops", stopped)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    def kill(self):
        """SIGKILL, and nothing of it is left."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thing in (self._link, self._qmp, self.listener):
            if thing is not None:
                thing.close()
        for path in (self.stem + ".line", self.qmp_path):
            if os.path.exists(path):
                os.unlink(path)


class Qemu(Process):
    """A QEMU with stopped CPUs, played by us over its qtest channel."""

    def __init__(self, run, name, socket_path=None, vectors=4, devices=1, nofile=None, extra=()):
        argv = ["-M", "pc", "-accel", "tcg", "-S", "-m", "16",
                "-qtest", f"unix:{run}/{name}.line", "-qtest-log", "none"]
        if socket_path:
            for i in range(devices):
                argv += ["-chardev", f"socket,id=Z{i},path={socket_path}",
                         "-device", f"ivshmem-doorbell,id=D{i},chardev=Z{i},vectors={vectors}"]
        super().__init__(run, name, [*argv, *extra], nofile)

    def ask(self, command):
        return self.ask_all([command])[0]

    def ask_all(self, commands):
        """Several qtest commands in one go; their answers without the leading OK."""
        answers = []
        try:
            link = self.link()
            link.put("\n".join(commands))
            for command in commands:
                answer = link.get()
                while answer.startswith("IRQ"):
                    answer = link.get()
                if not answer.startswith("OK"):
                    raise AssertionError(f"qtest {command!r}: {answer}")
                answers.append(answer[3:])
        except (EOFError, ConnectionError):
            raise AssertionError(self.obituary()) from None
        return answers

    def read32(self, address):
        return int(self.ask(f"readl {address:#x}"), 16)

    def write32(self, address, value):
        self.ask(f"writel {address:#x} {value:#x}")

    def read(self, address, length):
        return bytes.fromhex(self.ask(f"read {address:#x} {length:#x}")[2:])

    def write(self, address, data):
        self.ask(f"write {address:#x} {len(data):#x} 0x{data.hex()}")

    def config_read(self, slot, offset):
        return int(self.ask_all([f"outl 0xcf8 {0x80000000 | slot << 11 | offset & 0xfc:#x}",
                                 "inl 0xcfc"])[1], 16)

    def config_write(self, slot, offset, value):
        self.ask_all([f"outl 0xcf8 {0x80000000 | slot << 11 | offset & 0xfc:#x}",
                      f"outl 0xcfc {value & 0xffffffff:#x}"])

    def config_write16(self, slot, offset, value):
        self.ask_all([f"outl 0xcf8 {0x80000000 | slot << 11 | offset & 0xfc:#x}",
                      f"outw {0xcfc + (offset & 2):#x} {value:#x}"])

    def slots(self):
        """The slots on bus 0 that hold an ivshmem device."""
        return [slot for slot in range(32) if self.config_read(slot, 0) == PCI_ID]

    def eject(self, slot):
        """What the guest's ACPI code does when it agrees to an unplug."""
        self.ask(f"outl 0xae08 {1 << slot:#x}")

    def check_alive(self):
        """It runs, and its main loop still answers."""
        if not self.alive():
            raise AssertionError(self.obituary())
        self.ask("readb 0x0")


class Device:
    """One ivshmem-doorbell function of a Qemu, placed and with MSI-X on."""

    def __init__(self, qemu, index=0, slot=None):
        self.qemu = qemu
        if slot is None:
            slots = qemu.slots()
            if index >= len(slots):
                raise AssertionError(f"{qemu.name}: no ivshmem device {index}")
            slot = slots[index]
        self.slot = slot
        self.index = index
        self.bar0 = BAR0 + index * 0x200000
        self.bar1 = BAR1 + index * 0x200000
        self.words = RAM_WORDS + index * 0x4000
        self.vectors, self.cap = self._find_msix()
        self.bar2_bytes = self._bar2_bytes()
        self.bar2 = BAR2 + index * 0x1000000000  # 64 GiB apart: any size we test fits
        self.place()
        self.enable_msix()

    def _find_msix(self):
        at = self.qemu.config_read(self.slot, 0x34) & 0xFC
        while at:
            head = self.qemu.config_read(self.slot, at)
            if head & 0xFF == 0x11:
                return (head >> 16 & 0x7FF) + 1, at
            at = head >> 8 & 0xFC
        raise AssertionError(f"{self.qemu.name}: no MSI-X capability")

    def _bar2_bytes(self):
        old = [self.qemu.config_read(self.slot, 0x18 + i) for i in (0, 4)]
        for i in (0, 4):
            self.qemu.config_write(self.slot, 0x18 + i, 0xFFFFFFFF)
        low, high = (self.qemu.config_read(self.slot, 0x18 + i) for i in (0, 4))
        for i in (0, 1):
            self.qemu.config_write(self.slot, 0x18 + 4 * i, old[i])
        return (1 << 64) - ((high << 32 | low) & ~0xF)

    def place(self):
        for offset, value in ((0x10, self.bar0), (0x14, self.bar1),
                              (0x18, self.bar2 & 0xFFFFFFFF), (0x1C, self.bar2 >> 32)):
            self.qemu.config_write(self.slot, offset, value)
        self.qemu.config_write16(self.slot, 4, 0x6)  # memory space, bus master

    def enable_msix(self):
        where = self.qemu.config_read(self.slot, self.cap + 4)
        assert where & 7 == 1, "the ivshmem spec puts the MSI-X table in BAR1"
        table = self.bar1 + (where & ~7)
        commands = []
        for v in range(self.vectors):
            entry = struct.pack("<4I", self.words + 4 * v, 0, self.message(v), 0)
            commands.append(f"write {table + 16 * v:#x} 0x10 0x{entry.hex()}")
        self.qemu.ask_all(commands)
        self.clear()
        self.qemu.config_write16(self.slot, self.cap + 2, 0x8000)

    def message(self, vector):
        """The value that this vector's interrupt writes into guest RAM."""
        return 0x1A400000 | self.index << 16 | vector + 1

    # What a guest does with it.

    def position(self):
        value = self.qemu.read32(self.bar0 + IV_POSITION)
        return value - (1 << 32) if value >> 31 else value

    def ring(self, peer, vector):
        self.qemu.write32(self.bar0 + DOORBELL, peer << 16 | vector)

    def ring_all(self, pairs):
        self.qemu.ask_all([f"writel {self.bar0 + DOORBELL:#x} {p << 16 | v:#x}"
                           for p, v in pairs])

    def rung(self):
        """The vectors whose interrupt has come since clear()."""
        data = self.qemu.read(self.words, 4 * self.vectors)
        seen = set()
        for v, word in enumerate(struct.unpack(f"<{self.vectors}I", data)):
            if word:
                assert word == self.message(v), f"vector {v} wrote {word:#x}"
                seen.add(v)
        return seen

    def clear(self):
        self.qemu.write(self.words, bytes(4 * self.vectors))

    def wait_rung(self, vectors):
        """Wait for these vectors' interrupts, take them, and see no others."""
        want = set(vectors)
        until(f"{self.qemu.name} is interrupted on {sorted(want)}",
              lambda: self.rung() >= want)
        got = self.rung()
        self.clear()
        assert got == want, f"{self.qemu.name}: vectors {sorted(got - want)} came unasked"

    def load(self, offset, length):
        return self.qemu.read(self.bar2 + offset, length)

    def store(self, offset, data):
        self.qemu.write(self.bar2 + offset, data)
