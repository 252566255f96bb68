#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
kit.py - what a test guest boots from: vmlinux and initrd.img, in one folder.

Made from Debian's packages, with nothing of the host configured or changed: the
ELF kernel is unpacked out of the newest /boot/vmlinuz-* (it boots in 1.5 s, the
compressed image in 4.4), the initramfs holds busybox, our agent (agent.c, static)
and an init script. No kernel module is needed. A kit is reused as long as what
it was made of has not changed.

    kit.py FOLDER     makes the kit and prints what it is made of
"""

import argparse
import atexit
import glob
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

from stage import HERE, Skip, need, run_tests, settings

_folder = None  # --kit
KERNELS = os.environ.get("FAMEZ_KERNEL", "/boot/vmlinuz-*")

INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/agent /dev/ttyS1
/bin/busybox poweroff -f
"""


def _version(path):
    return [int(word) if word.isdigit() else word for word in re.split(r"(\d+)", path)]


def kernel_image():
    """The newest readable kernel image, or Skip."""
    found = sorted((k for k in glob.glob(KERNELS) if os.access(k, os.R_OK)), key=_version)
    if not found:
        raise Skip("no kernel image in /boot: install Debian's package linux-image-amd64")
    return found[-1]


def unpack_kernel(image, to):
    """The ELF kernel out of a bzImage (Documentation/x86/boot.rst: payload_offset)."""
    with open(image, "rb") as f:
        data = f.read()
    if data[0x202:0x206] != b"HdrS":
        raise Skip(f"{image} is no x86 boot image")
    setup = (data[0x1F1] or 4) * 512 + 512
    offset, length = struct.unpack_from("<2I", data, 0x248)
    payload = data[setup + offset:setup + offset + length]
    if payload[:6] != b"\xfd7zXZ\0":
        raise Skip(f"{image} is not packed with xz, as Debian's is")
    # Behind the stream stand four bytes, the unpacked length: not xz's.
    kernel = lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(payload)
    if kernel[:4] != b"\x7fELF":
        raise Skip(f"{image} holds no ELF kernel")
    with open(to, "wb") as f:
        f.write(kernel)


def static_busybox():
    path = shutil.which("busybox")
    if path:
        with open(path, "rb") as f:
            if b"/ld-linux" not in f.read():
                return path
    raise Skip("no static busybox: install Debian's package busybox-static")


def pack(root, to):
    """All that is in a folder, as an initramfs."""
    names = ["."]
    for folder, folders, files in os.walk(root):
        folders.sort()
        names += [os.path.relpath(os.path.join(folder, n), root) for n in folders + sorted(files)]
    with open(to, "wb") as f:
        subprocess.run(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=root,
                       input="\n".join(names).encode(), stdout=f, check=True)


def make_initramfs(to):
    busybox = static_busybox()
    with tempfile.TemporaryDirectory(prefix="famez-kit-") as root:
        for folder in ("bin", "dev", "proc", "sys"):
            os.mkdir(os.path.join(root, folder))
        shutil.copy(busybox, os.path.join(root, "bin", "busybox"))
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-D_GNU_SOURCE", "-static", "-o",
                        os.path.join(root, "bin", "agent"), os.path.join(HERE, "agent.c")],
                       check=True)
        with open(os.path.join(root, "init"), "w", encoding="ascii") as f:
            f.write(INIT)
        os.chmod(os.path.join(root, "init"), 0o755)
        pack(root, to)


def the_folder():
    """Where kits are kept: --kit FOLDER, or in the build's."""
    global _folder
    if _folder is None:
        build = os.path.dirname(os.path.dirname(settings.server))
        if os.access(os.path.join(build, "tests", "vm"), os.W_OK):
            _folder = os.path.join(build, "tests", "vm", "kit")
        else:
            _folder = tempfile.mkdtemp(prefix="famez-kit-")
            atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    return _folder


def run_with_kit(tests):
    """run_tests(), of a program that takes --kit."""
    global _folder
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--kit", type=os.path.abspath)
    ours, theirs = parser.parse_known_args()
    _folder = ours.kit
    run_tests(tests, theirs)


class Kit:
    def __init__(self, folder):
        need({"cpio": "cpio", "gcc": "gcc"})
        image = kernel_image()
        self.vmlinux = os.path.join(folder, "vmlinux")
        self.initrd = os.path.join(folder, "initrd.img")
        os.makedirs(folder, exist_ok=True)
        self._make(self.vmlinux, [image], lambda to: unpack_kernel(image, to))
        self._make(self.initrd, [os.path.join(HERE, "agent.c"), os.path.abspath(__file__),
                                 static_busybox()], make_initramfs)

    @staticmethod
    def _make(path, sources, make):
        """Make a file anew if what it is made of has changed; never leave half of one."""
        made_of = "\n".join(f"{s} {os.stat(s).st_size} {os.stat(s).st_mtime_ns}" for s in sources)
        note = path + ".made-of"
        if os.path.exists(path) and os.path.exists(note):
            with open(note, encoding="utf-8") as f:
                if f.read() == made_of:
                    return
        handle, new = tempfile.mkstemp(dir=os.path.dirname(path))
        os.close(handle)
        try:
            make(new)
            os.replace(new, path)
        except BaseException:
            os.unlink(new)
            raise
        with open(note, "w", encoding="utf-8") as f:
            f.write(made_of)


def the_kit():
    """The kit, made at the first call; Skip with what is missing."""
    return Kit(the_folder())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: kit.py FOLDER")
    try:
        kit = Kit(sys.argv[1])
    except Skip as why:
        sys.exit(f"kit.py: {why}")
    print(f"{kernel_image()} -> {kit.vmlinux}\n{kit.initrd}")
