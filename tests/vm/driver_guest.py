# SPDX-License-Identifier: MIT
"""
driver_guest.py - guests that have the driver: famez.ko, a shell that obeys us, drive.c.

The module is built here, against the headers of the kernel that is booted: Debian's newest 6.1, or
with FAMEZ_VM_KERNEL=FOLDER that of tests/vm/debug_kernel.sh, which finds more faults. The kit's
kernel and initramfs are kept as kit.py keeps them. A guest's orders are lines for its shell, on
a second serial port; what it prints comes back in base64, with the exit status. When a guest is
done with, its console is searched for what a kernel says when something went wrong in it.
"""

import base64
import glob
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

from guest import ACCEL, CONSOLE
from kit import Kit, kernel_image, pack, static_busybox
from qtest import Process, until
from stage import HERE, Skip, need

ROOT = os.path.abspath(os.path.join(HERE, "..", ".."))
SOURCES = os.path.join(ROOT, "tools", "driver")
OTHER_KERNEL = os.environ.get("FAMEZ_VM_KERNEL")
BUILD_HANG_S = 300

# What no console may say. "nowatchdog" is not given here: a hang is to be seen.
FAULT = re.compile(r"BUG:|WARNING:|Oops|general protection|Call Trace|KASAN|UBSAN|INFO: task|"
                   r"INFO: rcu|lockdep|possible (?:circular|recursive|irq)|soft lockup|"
                   r"unreferenced object|ODEBUG|Kernel panic|kernel NULL pointer|scheduling while|"
                   r"sleeping function|bad unlock|suspicious RCU|trying to register non-static")

# A report of KCSAN's. Strict as it is, it has much to say of the kernel itself, which is not ours.
RACE = re.compile(r"={60,}\r?\n[^\n]*BUG: KCSAN:.*?\n[^\n]*={60,}\r?\n", re.DOTALL)

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t debugfs debug /sys/kernel/debug 2>/dev/null
hostname vm
stty -F /dev/ttyS1 raw -echo
sh /serve
poweroff -f
"""

# Not in init itself: whose parent has ended is init's child, and each end of one would have init's
# `read` lose what it has read of a line.
SERVE = """exec </dev/ttyS1 3>/dev/ttyS1
echo ready >&3
while read -r line; do
	sh -c "$line" >/tmp/.said 2>&1 </dev/null
	status=$?
	echo "$(base64 -w0 /tmp/.said) $status" >&3
done
"""


def is_ours(race):
    """Is one of a report's two accesses the driver's, or of who was called by it? What has only
    interrupted it is not."""
    for stack in race.split("\n\n"):
        for frame in stack.splitlines():
            if " asm_" in frame:
                break
            if "[famez]" in frame:
                return True
    return False


def kernel():
    """(a kernel, or None for the kit's, folder to build modules in)"""
    if OTHER_KERNEL:
        found = glob.glob(os.path.join(OTHER_KERNEL, "arch/x86/boot/bzImage"))
        if not found:
            raise Skip(f"FAMEZ_VM_KERNEL={OTHER_KERNEL}: there is no bzImage in it")
        return found[0], os.path.abspath(OTHER_KERNEL)
    release = os.path.basename(kernel_image()).removeprefix("vmlinuz-")
    for build in (f"/lib/modules/{release}/build", f"/usr/src/linux-headers-{release}"):
        if os.path.exists(os.path.join(build, "Makefile")):
            return None, build
    raise Skip(f"no headers of kernel {release}: install Debian's package linux-headers-amd64")


def build_module(folder, *extra):
    """famez.ko from a copy of its sources; returns (its path, what make said)."""
    need({"make": "make", "gcc": "gcc"})
    for name in os.listdir(SOURCES):
        if name == "Kbuild" or name.endswith((".c", ".h")):
            shutil.copy(os.path.join(SOURCES, name), folder)
    done = subprocess.run(
        ["make", "-C", kernel()[1], f"M={folder}", f"FAMEZ_INCLUDE={ROOT}/include", *extra,
         "modules"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=BUILD_HANG_S, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return os.path.join(folder, "famez.ko"), done.stdout


def make_initramfs(to):
    with tempfile.TemporaryDirectory(prefix="famez-driver-") as work:
        root = os.path.join(work, "root")
        for folder in ("bin", "dev", "proc", "sys", "tmp"):
            os.makedirs(os.path.join(root, folder))
        module = os.path.join(work, "module")
        os.mkdir(module)
        shutil.copy(build_module(module)[0], root)
        shutil.copy(static_busybox(), os.path.join(root, "bin", "busybox"))
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-D_GNU_SOURCE", "-static",
                        f"-I{ROOT}/include", "-o", os.path.join(root, "bin", "drive"),
                        os.path.join(HERE, "drive.c")], check=True)
        subprocess.run(["strip", "--strip-debug", os.path.join(root, "famez.ko")], check=True)
        for name, text in (("init", INIT), ("serve", SERVE)):
            with open(os.path.join(root, name), "w", encoding="ascii") as f:
                f.write(text)
        os.chmod(os.path.join(root, "init"), 0o755)
        pack(root, to)


class DriverKit(Kit):
    """The kit's kernel, or another one, and an initramfs with the driver."""

    def __init__(self, folder):
        need({"cpio": "cpio", "gcc": "gcc", "make": "make"})
        vmlinux, build = kernel()
        os.makedirs(folder, exist_ok=True)
        if vmlinux:
            self.vmlinux = vmlinux
        else:
            self.vmlinux = Kit(folder).vmlinux
        mark = hashlib.sha256(build.encode()).hexdigest()[:8]
        self.initrd = os.path.join(folder, f"driver-{mark}.img")
        sources = [os.path.join(SOURCES, n) for n in sorted(os.listdir(SOURCES))
                   if n == "Kbuild" or n.endswith((".c", ".h"))]
        sources += sorted(glob.glob(f"{ROOT}/include/famez/*.h"))
        self._make(self.initrd, [*sources, os.path.join(HERE, "drive.c"),
                                 os.path.abspath(__file__), static_busybox()], make_initramfs)


class DriverGuest(Process):
    """A guest that obeys by its shell. @devices: QEMU's words for each, in order."""

    def __init__(self, run, name, kit, devices, memory=None):
        memory = memory or (384 if OTHER_KERNEL else 128)
        words = []
        for i, device in enumerate(devices):
            words += [word.replace("%", str(i)) for word in device]
        super().__init__(run, name, [
            "-M", "pc,hpet=off", "-accel", ACCEL, "-m", str(memory), "-no-reboot",
            "-smp", "2" if OTHER_KERNEL else "1",
            "-kernel", kit.vmlinux, "-initrd", kit.initrd, "-append",
            CONSOLE.replace("nowatchdog ", "") + " kmemleak=on",
            "-serial", f"file:{run}/{name}.console",
            "-chardev", f"socket,id=cmd,path={run}/{name}.line", "-serial", "chardev:cmd", *words])

    def boot(self, load=True):
        try:
            ready = self.link().get()
        except (EOFError, ConnectionError):
            raise AssertionError(self.obituary()) from None
        assert ready == "ready", ready
        if OTHER_KERNEL:
            self.do("dmesg -n 8")  # with whom was it that something went wrong
        if load:
            self.do("insmod /famez.ko")
        return self

    def start(self, line):
        """An order whose answer is fetched later."""
        self.link().put(line)

    def answer(self, line="?"):
        try:
            words = self.link().get().rsplit(" ", 1)
        except (EOFError, ConnectionError):
            raise AssertionError(self.obituary()) from None
        said = base64.b64decode(words[0]).decode("utf-8", "replace")
        return int(words[1]), said

    def try_(self, line):
        """(exit status, what was said)"""
        self.start(line)
        return self.answer(line)

    def do(self, line):
        status, said = self.try_(line)
        assert status == 0, f"{self.name}: {line!r} ended with {status}: {said[-400:]}"
        return said.strip()

    def fact(self, name, device=0):
        """What a file of the device in sysfs says."""
        return self.do(f"cat /sys/class/famez/famez{device}/{name}")

    def count(self, name, device=0):
        return int(self.fact(f"counters/{name}", device))

    @property
    def id(self):
        return int(self.fact("id"))

    def until(self, what, line, wanted):
        """Wait until a command says so."""
        return until(f"{self.name}: {what}", lambda: wanted in self.try_(line)[1], pause=0.05)

    def background(self, line, to):
        """Leaves a command running; its output goes to /tmp/TO, and at its end .../TO.status."""
        self.do(f"(({line}) >/tmp/{to} 2>&1; echo $? >/tmp/{to}.new; "
                f"mv /tmp/{to}.new /tmp/{to}.status) >/dev/null 2>&1 &")

    def end_of(self, name, status=0):
        """Wait for a background command, and return what it said. @status: None for any."""
        until(f"{self.name}: {name} ends",
              lambda: self.try_(f"test -e /tmp/{name}.status")[0] == 0, pause=0.05)
        said = self.do(f"cat /tmp/{name}")
        ended = int(self.do(f"cat /tmp/{name}.status"))
        assert status in (None, ended), f"{self.name}: {name} ended with {ended}: {said[-400:]}"
        return said

    def console(self):
        with open(self.stem + ".console", errors="replace") as f:
            return f.read()

    def judge(self):
        """Nothing went wrong in its kernel."""
        if OTHER_KERNEL and self.alive():
            self.try_("echo scan >/sys/kernel/debug/kmemleak")
            leaks = self.try_("cat /sys/kernel/debug/kmemleak")[1]
            assert "famez" not in leaks, f"{self.name} leaks:\n{leaks[:2000]}"
        said = RACE.sub(lambda race: race[0] if is_ours(race[0]) else "", self.console())
        found = FAULT.search(said)
        assert not found, f"{self.name}'s kernel:\n{said[max(0, found.start() - 200):][:3000]}"


def doorbell(socket_path, vectors):
    return ["-chardev", f"socket,id=Z%,path={socket_path}",
            "-device", f"ivshmem-doorbell,id=D%,chardev=Z%,vectors={vectors}"]


def plain(path, size):
    return ["-object", f"memory-backend-file,id=F%,mem-path={path},size={size},share=on",
            "-device", "ivshmem-plain,id=D%,memdev=F%"]
