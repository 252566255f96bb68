#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run.py - the headers that a guest driver shares, compiled in a kernel module and run in a guest.

    run.py [--kit FOLDER]

The module (headers.c) is built against the headers of the newest kernel in /boot, with warnings
as errors, in a folder of its own. Then a guest boots that kernel from the kit (tests/vm/kit.py),
loads the module, which sends itself messages, and says how that went.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "vm"))
import kit as kits  # noqa: E402
from stage import Skip, need  # noqa: E402

INCLUDE = os.path.abspath(os.path.join(HERE, "..", "..", "include"))
HANG_SECONDS = 120
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox insmod /famez-headers.ko && echo loaded > /dev/ttyS0
/bin/busybox dmesg | /bin/busybox grep famez > /dev/ttyS0
/bin/busybox poweroff -f
"""


class Work:
    """One run: its folder, and what one test made for the next."""

    def __init__(self, folder, kit):
        self.folder = folder
        self.kit = kit
        self.module = None

    def kernel(self):
        """The release of the kernel that the kit boots, and where its headers are."""
        release = os.path.basename(kits.kernel_image()).removeprefix("vmlinuz-")
        for build in (f"/lib/modules/{release}/build", f"/usr/src/linux-headers-{release}"):
            if os.path.exists(os.path.join(build, "Makefile")):
                return build
        raise Skip(f"no headers of kernel {release}: install Debian's package linux-headers-amd64")


def build(work, module, extra):
    """Build headers.c in a folder of its own; returns make's status and what was said."""
    build_tree = work.kernel()
    need({"make": "make", "gcc": "gcc"})
    folder = os.path.join(work.folder, module)
    os.mkdir(folder)
    for name in ("Kbuild", "headers.c"):
        shutil.copy(os.path.join(HERE, name), folder)
    done = subprocess.run(["make", "-C", build_tree, f"M={folder}", f"FAMEZ_INCLUDE={INCLUDE}",
                           *extra, "modules"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=HANG_SECONDS, check=False)
    return done.returncode, done.stdout, os.path.join(folder, "famez-headers.ko")


def test_the_headers_compile_in_a_kernel_module_with_warnings_as_errors(work):
    status, said, module = build(work, "plain", [])
    assert status == 0, said
    assert "warning" not in said, said
    work.module = module


def test_the_module_needs_nothing_but_what_the_kernel_exports_to_everybody(work):
    if not work.module:
        raise Skip("there is no module")
    names = subprocess.run(["nm", "-u", work.module], stdout=subprocess.PIPE, text=True, check=True)
    # No __atomic_* or __sync_*: those would be calls into a library that the kernel has not.
    strangers = re.findall(r"\b(?:__atomic|__sync|__ud|__mod)\w*", names.stdout)
    assert not strangers, strangers


def test_a_guest_kernel_sends_itself_messages_through_a_lane(work):
    if not work.module:
        raise Skip("there is no module")
    need({"qemu-system-x86_64": "qemu-system-x86", "cpio": "cpio"})
    busybox = kits.static_busybox()
    kit = kits.Kit(work.kit or os.path.join(work.folder, "kit"))
    root = os.path.join(work.folder, "root")
    for folder in ("bin", "dev"):
        os.makedirs(os.path.join(root, folder))
    shutil.copy(busybox, os.path.join(root, "bin", "busybox"))
    shutil.copy(work.module, root)
    with open(os.path.join(root, "init"), "w", encoding="ascii") as f:
        f.write(INIT)
    os.chmod(os.path.join(root, "init"), 0o755)
    initrd = os.path.join(work.folder, "initrd.img")
    kits.pack(root, initrd)
    done = subprocess.run(
        ["qemu-system-x86_64", "-M", "pc,hpet=off", "-accel", "tcg", "-m", "128", "-nodefaults",
         "-no-user-config", "-display", "none", "-no-reboot", "-kernel", kit.vmlinux, "-initrd",
         initrd, "-append", "console=ttyS0 quiet nokaslr mitigations=off cryptomgr.notests "
         "nowatchdog random.trust_cpu=on panic=-1", "-serial", "stdio"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=HANG_SECONDS, check=False)
    said = done.stdout.decode("utf-8", "replace")
    assert "famez-headers: 1000 messages, vector 1" in said and "loaded" in said, said


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kit", help="folder of the guest's kernel (default: made anew)")
    chosen = parser.parse_args()
    sums = {"ok": 0, "FAIL": 0, "SKIP": 0}
    with tempfile.TemporaryDirectory(prefix="famez-kernel-") as folder:
        work = Work(folder, chosen.kit)
        for name, test in list(globals().items()):
            if not name.startswith("test_"):
                continue
            kind, why = "ok", ""
            try:
                test(work)
            except Skip as skipped:
                kind, why = "SKIP", f": {skipped}"
            except (AssertionError, OSError, subprocess.SubprocessError) as err:
                kind, why = "FAIL", f": {' '.join(str(err).split())[-300:]}"
                print(err, file=sys.stderr)
            sums[kind] += 1
            print(f"{kind} {name.removeprefix('test_')}{why}", flush=True)
    skipped = f", {sums['SKIP']} skipped" if sums["SKIP"] else ""
    print(f"{sums['ok']} passed, {sums['FAIL']} failed{skipped}")
    return 1 if sums["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
