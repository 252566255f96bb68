#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
test_kernel.py - the broker itself on Linux 6.1, whatever the host runs.

The other way round than test_guests.py: here the guest has no ivshmem device, it
is the host. Debian 12's kernel boots from an initramfs that holds busybox, this
build's famez-server and famez-stress and the libraries they ask for; an init
script runs them, with the kernel's trace of io_uring set-ups on, kills brokers,
and says how they ended. A 6.1 from elsewhere: FAMEZ_KERNEL names its image.
"""

import os
import re
import shutil
import subprocess
import tempfile

from guest import ACCEL, CONSOLE
from kit import kernel_image, pack, run_with_kit, static_busybox, the_kit
from qtest import Process
from stage import NEEDED, Skip, need, settings

# noqa: stage knows its folder
from fabric import SANITIZER  # noqa: E402

BOOT_HANG_S = 200  # a guard for the whole life of the guest; a busy host is slow under TCG
PEERS = 40
WORKERS = 2
DEATHS = 3

# What io_uring_setup(2) of 6.1 offers and the broker takes where it is offered.
COOP_TASKRUN, SINGLE_ISSUER, DEFER_TASKRUN = 1 << 8, 1 << 12, 1 << 13

# The beginning of the script of a guest that is a host. The server's log comes through a pipe: the
# line that it listens is what the script waits for, and the end of the log is the end of the
# server. Lines that we judge begin with an @, whatever the others have left on the console's line.
HEAD = """#!/bin/sh
say() {{
	printf '\\n@%s\\n' "$*"
}}
# The next line of the log that has the word; `broker` is who serves.
await() {{
	while read -r -t 60 line <&3; do
		echo "$line"
		case $line in *event=start*|*event=resumed*)
			broker=$(echo "$line" | sed 's/.* broker=\\([0-9]*\\).*/\\1/') ;;
		esac
		case $line in *event=$1*) return ;; esac
	done
}}
export PATH=/usr/sbin:/bin LD_LIBRARY_PATH={libraries}
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /run
mkdir -p /dev/shm
mount -t tmpfs tmp /dev/shm
ulimit -n 65536
say "release $(uname -r)"
"""

# It is killed at rest, and twice while peers come and ring: nobody may notice. All of the sandbox
# is there, or it does not start.
INIT = HEAD + """mount -t tracefs trace /sys/kernel/tracing
echo 1 >/sys/kernel/tracing/events/io_uring/io_uring_create/enable
mkfifo /run/log
famez-server -S /run/f.sock --peers 60 -n 2 --workers {workers} --sandbox required -v 2>/run/log &
server=$!
exec 3</run/log
await listening
kill -9 $broker
await resumed
famez-stress mesh -S /run/f.sock --peers {peers} --rounds 4 --time 1 --warm-up 0 3<&- &
stress=$!
await join
kill -9 $broker
await resumed
kill -9 $broker
await resumed
cat <&3 &
log=$!
wait $stress
say "stress $?"
kill -TERM $server
wait $server
say "server $?"
wait $log
for file in /run/f.sock /run/f.sock.lock; do
	[ -e $file ] && say "left $file"
done
grep -o 'io_uring_create:.*flags 0x.*' /sys/kernel/tracing/trace | sed 's/.*flags /@ring /'
say "end of the test"
poweroff -f
"""

APPLETS = ["cat", "dd", "dmesg", "grep", "mkdir", "mkfifo", "mount", "poweroff", "sed", "sh", "uname"]


class Host(Process):
    """The guest: boots, does as its init says, powers off."""

    def __init__(self, run, vmlinux, initrd, append=CONSOLE):
        self.console_path = f"{run}/host.console"
        super().__init__(run, "host", [
            "-M", "pc,hpet=off", "-accel", ACCEL, "-m", "512", "-smp", str(WORKERS),
            "-no-reboot", "-kernel", vmlinux, "-initrd", initrd, "-append", append,
            "-serial", f"file:{self.console_path}"])

    def console(self):
        with open(self.console_path, errors="replace", newline="") as f:
            return re.sub("\r+\n", "\n", f.read())

    def live(self):
        """What it said from boot to power-off."""
        try:
            self.process.wait(timeout=BOOT_HANG_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the guest does not end:\n{self.console()[-4000:]}") from None
        return self.console()


def programs():
    """Server and stress program of a build without sanitizers, or Skip."""
    server = settings.server
    build = os.path.dirname(os.path.dirname(server))
    stress = os.path.join(build, "tools", "stress", "famez-stress")
    if not os.access(stress, os.X_OK):
        raise Skip("no famez-stress was built beside the server")
    for program in (server, stress):
        with open(program, "rb") as f:
            if re.search(rb"__[at]san_init", f.read()):
                raise Skip("a sanitizer's build: too large and too slow for an emulated machine")
    return server, stress


def libraries(binaries):
    """All that the loader would map for these, the loader included."""
    found = set()
    for binary in binaries:
        said = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
        assert "not found" not in said, said
        found.update(re.findall(r"^\s*(?:\S+ => )?(/\S+) \(0x", said, re.M))
    return sorted(found)


def make_initramfs(to, binaries, init, also=()):
    """`init` is a text with {libraries}; `also` are pairs: a file here, and its path there."""
    needed = libraries(binaries)
    with tempfile.TemporaryDirectory(prefix="famez-kernel-") as root:
        for folder in ("bin", "dev", "proc", "run", "sys"):
            os.mkdir(os.path.join(root, folder))
        shutil.copy(static_busybox(), os.path.join(root, "bin", "busybox"))
        for name in APPLETS:
            os.symlink("busybox", os.path.join(root, "bin", name))
        for binary in binaries:
            shutil.copy(binary, os.path.join(root, "bin"))
        for library in needed:
            os.makedirs(root + os.path.dirname(library), exist_ok=True)
            shutil.copy(library, root + library)
        with open(os.path.join(root, "init"), "w", encoding="ascii") as f:
            f.write(init.format(libraries=":".join(sorted({os.path.dirname(n) for n in needed})),
                                workers=WORKERS, peers=PEERS))
        for source, there in also:
            os.makedirs(root + os.path.dirname(there), exist_ok=True)
            shutil.copy(source, root + there)
        os.chmod(os.path.join(root, "init"), 0o755)
        pack(root, to)


def boot(init, also=(), append=CONSOLE):
    """What the guest said."""
    need(NEEDED)
    binaries = programs()
    if not os.path.basename(kernel_image()).startswith("vmlinuz-6.1."):
        raise Skip(f"{kernel_image()} is no 6.1: let FAMEZ_KERNEL name an image of one")
    vmlinux = the_kit().vmlinux
    with tempfile.TemporaryDirectory(prefix="famez-vm-") as run:
        initrd = os.path.join(run, "initrd.img")
        make_initramfs(initrd, binaries, init, also)
        host = Host(run, vmlinux, initrd, append)
        try:
            console = host.live()
            assert not host.stderr(), f"QEMU said: {host.stderr()}"
        finally:
            host.kill()
    return console


def all_said(console, what):
    return re.findall(rf"^@{what} (.*)$", console, re.M)


def test_the_broker_runs_and_dies_on_linux_6_1_in_its_sandbox():
    judge(boot(INIT))


def judge(console):
    tail = f"\n{console[-4000:]}"
    assert all_said(console, "end") == ["of the test"], "the guest died" + tail
    release, = all_said(console, "release")
    assert release.startswith("6.1."), release
    assert not SANITIZER.search(console), "an assertion spoke" + tail
    server, stress = all_said(console, "server"), all_said(console, "stress")
    assert server == ["0"], f"famez-server: exit {server}" + tail
    assert stress == ["0"], f"famez-stress: exit {stress}" + tail
    assert not all_said(console, "left"), f"left behind: {all_said(console, 'left')}"
    sandbox = re.findall(r"event=sandbox seccomp=yes landlock=([1-9]\d*)", console)
    assert len(sandbox) == 1, "it does not say that it has its sandbox" + tail
    died = re.findall(r"event=died .*signal=(\w+) served=(\w+)", console)
    assert died == [("KILL", "yes")] * DEATHS, f"deaths: {died}" + tail
    assert len(re.findall("event=resumed", console)) == DEATHS, tail
    rings = [int(flags, 16) for flags in all_said(console, "ring")]
    assert len(rings) == (WORKERS + 1) * (DEATHS + 1), \
        f"of each broker, the workers' rings and the registrar's: {rings}" + tail
    for flags in rings:
        want = COOP_TASKRUN | SINGLE_ISSUER | DEFER_TASKRUN
        assert flags & want == want, f"io_uring set up with {flags:#x} only"
    print(f"  on Linux {release}: io_uring flags {', '.join(map(hex, set(rings)))}, "
          f"Landlock {sandbox[0]}")


if __name__ == "__main__":
    run_with_kit(globals())
