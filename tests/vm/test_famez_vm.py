#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
test_famez_vm.py - famez-vm: what it prints is taken by QEMU and libvirt, what it runs talks.

The tour is driven through a pseudo terminal, as a user would. What famez-vm makes once (kernel,
driver) is kept in the kit's folder.
"""

import contextlib
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import xml.etree.ElementTree

from kit import run_with_kit, the_folder
from stage import Broker, Skip, need, settings
from fabric import HANG_SECONDS, SANITIZER  # stage knows its folder

QEMU = {"qemu-system-x86_64": "qemu-system-x86"}
KEY = "\x1d"  # ^]
BOOT_SECONDS = 150  # of several guests, on a machine that has other work
BRACKETS = re.compile(r"\x1b\[\d*[A-Za-z]")


def program(name):
    build = os.path.dirname(os.path.dirname(settings.server))
    path = os.path.join(build, "tools", name.removeprefix("famez-"), name)
    if not os.access(path, os.X_OK):
        raise Skip(f"no {name} was built beside the server")
    return path


def vm(*words, code=0, env=None):
    """famez-vm to its end: (standard output, standard error)."""
    done = subprocess.run([program("famez-vm"), *words], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False, timeout=3 * BOOT_SECONDS, env=env)
    assert not SANITIZER.search(done.stderr), done.stderr
    assert done.returncode == code, f"exit {done.returncode}: {done.stdout}\n{done.stderr}"
    return done.stdout, done.stderr


def cache():
    return ["--cache", the_folder()]


def need_guests():
    """All that a guest with the driver is made of, or Skip."""
    need(QEMU)
    need({"make": "make", "gcc": "gcc"})
    release = os.path.basename(max(
        (n for n in os.listdir("/boot") if n.startswith("vmlinuz-")), default=""))
    if not release:
        raise Skip("no kernel image in /boot: install Debian's package linux-image-amd64")
    release = release.removeprefix("vmlinuz-")
    if not os.path.exists(f"/lib/modules/{release}/build/Makefile") and \
            not os.path.exists(f"/usr/src/linux-headers-{release}/Makefile"):
        raise Skip(f"no headers of kernel {release}: install Debian's package linux-headers-amd64")
    with open(program("famez-client"), "rb") as f:
        if re.search(rb"__[at]san_init", f.read()):
            raise Skip("a sanitizer's build: too large and too slow for an emulated machine")


@contextlib.contextmanager
def place():
    """A folder of our own for what famez-vm makes; nothing of a run may be left in it."""
    path = tempfile.mkdtemp(prefix="famez-vm-")
    try:
        yield path
        assert not [n for n in os.listdir(path) if n.startswith("famez-vm.")], os.listdir(path)
    finally:
        shutil.rmtree(path)


def of_place(path):
    return dict(os.environ, XDG_RUNTIME_DIR=path)


def processes_of(path):
    """Whose command line names that folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                line = f.read()
        except OSError:
            continue
        if path.encode() in line and int(pid) != os.getpid():
            found.append((int(pid), line))
    return found


class Tour:
    """famez-vm run on a terminal of its own."""

    def __init__(self, path, *words):
        self.text = ""
        argv = [program("famez-vm"), "run", *cache(), *words]
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(argv[0], argv, of_place(path))

    def until(self, pattern, seconds=HANG_SECONDS):
        """Wait for this on the screen; what came before it is forgotten."""
        deadline = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.text)
            if found:
                self.text = self.text[found.end():]
                return found
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in:\n{self.text}"
            if select.select([self.terminal], [], [], left)[0]:
                try:
                    more = os.read(self.terminal, 65536)
                except OSError:
                    raise AssertionError(f"it ended, no {pattern!r} in:\n{self.text}") from None
                self.text += BRACKETS.sub("", more.decode(errors="replace"))

    def type(self, text):
        os.write(self.terminal, text.encode())

    def node(self, number):
        self.type(f"{KEY}{number}")
        self.until(f"-- node {number} --")

    def end(self, code):
        deadline = time.monotonic() + HANG_SECONDS
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            assert time.monotonic() < deadline, f"famez-vm does not end: {self.text}"
            with contextlib.suppress(OSError):
                if select.select([self.terminal], [], [], 0.1)[0]:
                    self.text += os.read(self.terminal, 65536).decode(errors="replace")
        os.close(self.terminal)
        self.pid = None
        assert os.waitstatus_to_exitcode(status) == code, (status, self.text)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.terminal)


# ---- args and xml

def test_the_arguments_are_those_that_a_broker_of_that_kind_needs():
    out, remarks = vm("args", "-S", "/run/a,b.sock", "-N", "12", "--node", "3", "-n", "16")
    assert out == ("-name node03 -chardev socket,id=famez,path=/run/a,,b.sock "
                   "-device ivshmem-doorbell,id=famez0,chardev=famez,vectors=16\n"), out
    assert "max_files = 272" in remarks, remarks  # (12 + 1) x 16 + 64
    out, _ = vm("args", "-N", "12")
    assert len(out.splitlines()) == 12


def test_fames_forty_nodes_and_160_terabytes_are_arguments_and_xml():
    for how in ("args", "xml"):
        out, remarks = vm(how, "-N", "40", "--fam", "160T")
        assert out.count("ivshmem-doorbell") == 40
        assert "phys-bits=50" in remarks and "160T is no power of two" in remarks
    assert re.search(r"<maxphysaddr mode='emulate' bits='50'/>", out), out


def test_what_would_not_do_is_said_in_one_line():
    for words, says in (
            (("args", "--mailbox", "3M"), "no power of two"),
            (("args", "-n", "2049"), "1 to 2048"),
            (("args", "-n", "0"), "1 to 2048"),
            (("args", "-N", "65535"), "1 to 65534"),
            (("args", "-N", "2", "--node", "3"), "--node must be 1 to 2"),
            (("args", "--fam", "2048T", "--mailbox", "1024T"), "too much"),
            (("args", "--fam", "lots"), "such as 64M"),
            (("args", "-S", "famez.sock"), "must begin with '/'"),
            (("args", "-S", "/" + "x" * 120), "1 to 107 characters"),
            (("args", "--name", "a b"), "letters, digits"),
            (("xml", "--name", "a--b"), "no two '-' in a row"),
            (("args", "--hugepages", "2M"), "needs --memory"),
            (("args", "--memory", "65M", "--hugepages", "2M"), "no multiple of 2M"),
            (("args", "--memory", "1G", "--hugepages", "4M"), "2M or 1G"),
            (("xml", "--exec", "true"), "not an option of xml"),
            (("run", "--fam", "1G"), "not an option of run"),
            (("run", "-N", "65"), "1 to 64 guests"),
            (("run", "--devices", "5"), "a number from 1 to 4"),
            (("args", "--devices", "2"), "--devices is not an option of args"),
            (("run", "--timeout", "5"), "for --exec"),
            (("console",), "of which node"),
            (("start",), "args, xml, run or console"),
            (("args", "word"), "nothing that it could be")):
        out, err = vm(*words, code=2)
        assert not out and len(err.splitlines()) == 1 and says in err, (words, err)
    out, _ = vm("--help")
    assert max(map(len, out.splitlines())) <= 80 and len(out.splitlines()) <= 40, out
    _, err = vm("args", "-S", "/run/it's $HOME.sock")
    assert r"broker: famez-server -S '/run/it'\''s $HOME.sock' --peers" in err, err
    _, err = vm("run", "-S", "/nowhere.sock", "--no-driver", *cache(), code=1)
    assert "no broker at /nowhere.sock" in err, err


def test_qemu_starts_with_the_arguments_printed():
    need(QEMU)
    with Broker("--peers", "14", vectors=16) as broker, place() as path:
        fam = os.path.join(path, "fam, it's big")
        out, _ = vm("args", "-S", broker.path, "-n", "16", "-N", "2", "--node", "2", "--fam", "4T",
                    "--fam-file", fam, "--memory", "64M")
        line = ["qemu-system-x86_64", "-S", "-accel", "tcg", "-nodefaults", "-no-user-config",
                "-display", "none", "-qmp", "stdio", *shlex.split(out)]
        with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True) as qemu:
            try:
                broker.until_peers(1)
                qemu.stdin.write('{"execute": "qmp_capabilities"}\n{"execute": "query-pci"}\n'
                                 '{"execute": "quit"}\n')
                qemu.stdin.flush()
                said, _ = qemu.communicate(timeout=HANG_SECONDS)
            finally:
                qemu.kill()
        assert qemu.returncode == 0, said
        assert '"qdev_id": "famez0"' in said and '"qdev_id": "fam0"' in said, said
        assert f'"size": {4 << 40}' in said, said


def domain(out, node):
    """A whole domain around the elements of one node."""
    parts = dict(re.findall(r"<!-- \w+: (in .*?) -->\n((?:(?!<!--).*\n)*)", out))
    within = parts.get("in <domain>", "<memory unit='MiB'>64</memory>\n")
    if "<memory " not in within:
        within = "<memory unit='MiB'>64</memory>\n" + within
    return ("<domain type='qemu'>\n"
            f"<name>{node}</name>\n{within}"
            "<os><type arch='x86_64' machine='pc'>hvm</type></os>\n"
            "<devices>\n<emulator>/usr/bin/qemu-system-x86_64</emulator>\n"
            f"{parts['in <devices>']}</devices>\n"
            f"{parts.get('in <domain>, after <devices>', '')}</domain>\n")


def test_libvirt_takes_the_elements_printed():
    need({"virt-xml-validate": "libvirt-clients", "xmllint": "libxml2-utils"})
    with place() as path:
        for number, words in enumerate((
                ["--fam", "1G"],
                ["--fam", "4T", "--fam-file", "/srv/a & <b>/fam"],
                ["--memory", "1G", "--hugepages", "2M", "-S", "/run/it's.sock"])):
            out, _ = vm("xml", "-N", "2", "--node", "2", "-n", "16", *words)
            text = domain(out, "node2")
            xml.etree.ElementTree.fromstring(text)
            name = os.path.join(path, f"{number}.xml")
            with open(name, "w", encoding="utf-8") as f:
                f.write(text)
            done = subprocess.run(["virt-xml-validate", name, "domain"], capture_output=True,
                                  text=True, check=False, timeout=HANG_SECONDS)
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"


def test_libvirt_makes_the_same_arguments_of_them():
    need(QEMU)
    need({"virsh": "libvirt-clients"})
    if not os.path.exists("/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/"
                          "libvirt_driver_qemu.so"):
        raise Skip("install Debian's package libvirt-daemon-driver-qemu")
    with place() as path:
        out, _ = vm("xml", "-N", "2", "--node", "2", "-n", "16", "--fam", "64M",
                    "-S", "/run/famez.sock")
        name = os.path.join(path, "node2.xml")
        with open(name, "w", encoding="utf-8") as f:
            f.write(domain(out, "node2"))
        os.chmod(path, 0o777)
        outside = os.path.dirname(path)  # may be a test run's own, and closed to others
        os.chmod(outside, os.stat(outside).st_mode | 0o011)
        # As somebody who is not root, libvirt needs no users of its own.
        somebody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        done = subprocess.run(
            ["virsh", "-q", "-c", f"qemu:///embed?root={path}/root", "domxml-to-native",
             "qemu-argv", name], capture_output=True, text=True, check=False,
            timeout=HANG_SECONDS, **somebody,
            env=dict(os.environ, HOME=path, XDG_RUNTIME_DIR=path, XDG_CACHE_HOME=path))
        assert done.returncode == 0, done.stderr
        for words in ("path=/run/famez.sock", '"driver":"ivshmem-doorbell"', '"vectors":16',
                      '"driver":"ivshmem-plain"', "/dev/shm/famez-fam"):
            assert words in done.stdout, f"no {words} in\n{done.stdout}"


# ---- run

def test_each_guest_runs_the_command_and_the_largest_code_comes_out():
    need_guests()
    with place() as path:
        out, err = vm("run", "-N", "2", *cache(), "--exec", "echo I am $NODE of $NODES, ID $ID; "
                      "exit $((NODE * 3))", code=6, env=of_place(path))
        assert "node1| I am 1 of 2, ID 1\n" in out and "node2| I am 2 of 2, ID 2\n" in out, out
        assert "2 of 2 up" in err, err
        assert not processes_of(path)


def test_without_a_driver_guests_boot_all_the_same():
    need_guests()
    with place() as path:
        out, _ = vm("run", "-N", "1", "--no-driver", *cache(), "--exec", "ls /dev/famez0 || true",
                    env=of_place(path))
        assert "No such file" in out, out


def test_two_vms_chat_with_each_other_and_with_a_client_on_the_host():
    need_guests()
    with place() as path, Tour(path, "--nodes", "2") as tour:
        tour.until("2 guests are up", BOOT_SECONDS)
        socket = tour.until(r"famez-client -S (\S+/famez\.sock)")[1]
        tour.until("node1 # ")
        tour.node(2)
        tour.until("node2 # ")
        tour.type("cat /dev/famez0\r")
        tour.until(r"cat /dev/famez0\r*\n")
        tour.node(1)
        tour.type('echo "2:hello from the first" >/dev/famez0\r')
        tour.node(2)
        tour.until(r"100,27:hello from the first\r*\n")
        # And the host: to the second guest, whose cat shows it.
        said = subprocess.run([program("famez-client"), "-S", socket, "-n", "host", "send 2 hi you"],
                              capture_output=True, text=True, check=False, timeout=HANG_SECONDS)
        assert said.returncode == 0, said
        tour.until(r"\d+,27:hi you\r*\n")
        tour.type("\x03")
        tour.until("node2 # ")
        # By the same program in the guest: the library has the device.
        tour.type("famez-client -S /dev/famez0 -n second who\r")
        tour.until(r" 1 +node1\S* .*VM +lanes")
        tour.until(r" 2 +second .*this client")
        tour.type(f"{KEY}q")
        tour.end(0)
        assert not processes_of(path)


def test_a_console_can_be_had_on_another_terminal():
    need_guests()
    with place() as path, Tour(path, "--nodes", "1") as tour:
        tour.until("1 guest is up", BOOT_SECONDS)
        tour.until("node1 # ")
        other = subprocess.Popen([program("famez-vm"), "console", "1"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env=of_place(path))
        other.stdin.write("echo $((6 * 7)) is it\n")
        other.stdin.flush()
        tour.until("42 is it")
        other.stdin.write(f"{KEY}q")
        said, _ = other.communicate(timeout=HANG_SECONDS)
        assert other.returncode == 0 and "node1 # " in said, said
        # A shell that ends powers its guest off; the last one ends the run.
        tour.type("exit\r")
        tour.end(0)


def test_a_signal_ends_all_of_it_at_any_time():
    need_guests()
    for up in (False, True):
        with place() as path, Tour(path, "--nodes", "1") as tour:
            tour.until("1 guest is up" if up else "boot ", BOOT_SECONDS)
            os.kill(tour.pid, signal.SIGTERM)
            tour.end(143)
            assert not processes_of(path)


def test_a_qemu_that_ends_and_leaves_its_ports_to_another_holds_up_nobody():
    """As a wrapper around QEMU would that starts something beside it."""
    need_guests()
    with place() as path:
        wrapper = os.path.join(path, "qemu-system-x86_64")
        with open(wrapper, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\n"
                    f"sleep 300 & echo $! >{path}/helper\n"
                    "printf '\\033[31mno display\\n' >&2\nexit 3\n")
        os.chmod(wrapper, 0o755)
        env = dict(of_place(path), PATH=path + ":" + os.environ["PATH"])
        try:
            _, err = vm("run", "-N", "1", "--no-driver", *cache(), code=1, env=env)
            assert "node 1 is gone: QEMU ended with 3, ?[31mno display" in err, err
        finally:
            with open(os.path.join(path, "helper"), encoding="ascii") as f:
                os.kill(int(f.read()), signal.SIGKILL)


def test_a_guest_that_dies_is_told_of():
    need_guests()
    with place() as path, Tour(path, "--nodes", "1") as tour:
        tour.until("node1 # ", BOOT_SECONDS)
        qemu, = [pid for pid, line in processes_of(path) if b"qemu-system" in line.split(b"\0")[0]]
        os.kill(qemu, signal.SIGKILL)
        tour.until("node 1 is gone: QEMU ended with 137")
        tour.end(0)


def test_a_guest_that_cannot_boot_is_told_of_with_what_its_kernel_says():
    need_guests()
    with place() as path, Tour(path, "--nodes", "1", "--memory", "90M") as tour:
        tour.until(r"node 1 is gone: QEMU ended with 0\r*\n", BOOT_SECONDS)
        tour.until("its console says Kernel panic - not syncing: .*memory")
        tour.end(1)


if __name__ == "__main__":
    run_with_kit(globals())
