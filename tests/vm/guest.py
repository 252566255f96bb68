# SPDX-License-Identifier: MIT
"""
guest.py - a running Linux guest with an ivshmem device, that obeys us.

Boots the kit (kit.py) under QEMU and talks to its agent (agent.c) over a second
serial port. Under TCG, or what FAMEZ_ACCEL names. Owns what qtest.Process owns,
and RUN/NAME.console.
"""

import os

from qtest import Process, until

ACCEL = os.environ.get("FAMEZ_ACCEL", "tcg")
CONSOLE = ("console=ttyS0 quiet nokaslr mitigations=off cryptomgr.notests nowatchdog "
           "random.trust_cpu=on panic=-1 no_timer_check")


class Guest(Process):
    def __init__(self, run, name, kit, socket_path, vectors=4, nofile=None):
        super().__init__(run, name, [
            "-M", "pc,hpet=off", "-accel", ACCEL, "-m", "128", "-no-reboot",
            "-kernel", kit.vmlinux, "-initrd", kit.initrd, "-append", CONSOLE,
            "-serial", f"file:{run}/{name}.console",
            "-chardev", f"socket,id=cmd,path={run}/{name}.line", "-serial", "chardev:cmd",
            "-chardev", f"socket,id=Z0,path={socket_path}",
            "-device", f"ivshmem-doorbell,id=D0,chardev=Z0,vectors={vectors}"], nofile)
        self.vectors = vectors
        self.id = None

    def obituary(self):
        with open(self.stem + ".console", errors="replace") as f:
            last = f.read().strip().splitlines()[-3:]
        return f"{super().obituary()}, console: {last}"

    def ask(self, order, *words):
        """One order to the agent, and its answer's words."""
        try:
            link = self.link()
            link.put(" ".join([order, *map(str, words)]))
            answer = link.get().split()
        except (EOFError, ConnectionError):
            raise AssertionError(self.obituary()) from None
        assert answer[:1] in (["ok"], [order]), f"{self.name}, {order!r}: {' '.join(answer)}"
        return answer[1:]

    def boot(self):
        """Wait for the agent, and let interrupts be seen."""
        try:
            ready = self.link().get()
        except (EOFError, ConnectionError):
            raise AssertionError(self.obituary()) from None
        assert ready == "ready", ready
        self.id = int(self.ask("id")[0])
        # KVM cannot deliver an MSI to where no interrupt controller is.
        self.arm("ram" if ACCEL == "tcg" else "pending")
        return self

    def arm(self, how):
        self.pending = how == "pending"
        self.ask("arm", how)

    def position(self):
        return self.id

    def ring(self, peer, vector):
        self.ask("ring", peer, vector)

    def rung(self):
        return {int(word) for word in self.ask("rung")}

    def wait_rung(self, vectors):
        """Wait for these vectors, and see no others (pending bits stay: there, others may be)."""
        want, seen = set(vectors), set()

        def come():
            seen.update(self.rung())
            return seen >= want
        until(f"{self.name} is interrupted on {sorted(want)}", come)
        assert seen == want or self.pending, f"vectors {sorted(seen - want)} came unasked"

    def load(self, offset, length):
        return bytes.fromhex(self.ask("read", offset, length)[0])

    def store(self, offset, data):
        self.ask("write", offset, data.hex())

    def check_alive(self):
        assert int(self.ask("id")[0]) == self.id

    @property
    def qemu(self):
        return self
