#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""quickstart.py - tools/quickstart.sh shows what it promises, and leaves nothing but the build.

It runs in a copy of the tree, with a runtime folder and temporary folder of its own, on a system
where the packages are installed.
"""

import os
import re
import shutil
import signal
import subprocess
import time

from programs import HANG_SECONDS, Live, folder, run_tests

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RUN_HANG_SECONDS = 1200


def copy_of_the_tree(into):
    """What a clone would have, and what is new and not ignored."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        source, target = os.path.join(ROOT, name), os.path.join(into, name)
        if not os.path.isfile(source):
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(source, target)


def tree(folder_path):
    return {os.path.relpath(os.path.join(at, name), folder_path)
            for at, _, names in os.walk(folder_path) for name in names
            if not os.path.relpath(at, folder_path).startswith("build")}


def processes_of(place):
    """Processes whose executable or folder lies there."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for link in ("exe", "cwd"):
            try:
                target = os.readlink(f"/proc/{pid}/{link}")
            except OSError:
                continue
            if target == place or target.startswith(place + "/"):
                found.append((int(pid), target))
    return found


def left_behind(place):
    """Nothing may be: no process (a moment is given to those that are just ending), no socket."""
    deadline = time.monotonic() + HANG_SECONDS
    while processes_of(place) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not processes_of(place), processes_of(place)
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        sockets = [line for line in table if place in line]
    assert not sockets, sockets
    left = os.listdir(os.path.join(place, "runtime"))
    assert not left, left


def prepared(place):
    """(the copy, its environment)"""
    copy = os.path.join(place, "copy")
    runtime = os.path.join(place, "runtime")
    os.makedirs(copy)
    os.mkdir(runtime, 0o700)
    copy_of_the_tree(copy)
    return copy, dict(os.environ, XDG_RUNTIME_DIR=runtime, LC_ALL="C.UTF-8")


def test_quickstart_shows_64_vms_and_leaves_nothing():
    signal.alarm(RUN_HANG_SECONDS)
    with folder() as place:
        copy, env = prepared(place)
        before = tree(copy)
        done = subprocess.run(["tools/quickstart.sh", "--peers", "64"], cwd=copy, env=env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False,
                              timeout=RUN_HANG_SECONDS)
        assert done.returncode == 0, f"exit {done.returncode}: {done.stdout} {done.stderr}"
        out = done.stdout
        socket = re.search(r"-chardev socket,id=famez,path=(\S+)", out)[1]
        assert socket.startswith(os.path.join(place, "runtime") + "/"), socket
        for words in ("64 emulated VMs", "full mesh", "4,096 vectors known",
                      "4,032 rung, arrived", "all accounted for", "0 unaccounted", "through FAME-Z", "raw eventfd", "us from",
                      "-device ivshmem-doorbell,chardev=famez,vectors=1", "<shmem name='famez'>",
                      "<model type='ivshmem-doorbell'/>", f"<server path='{socket}'/>",
                      "<msi vectors='1' ioeventfd='on'/>"):
            assert words in out, f"no {words!r} in\n{out}"
        assert re.search(r"^ +p50 +p99 +p99\.9 +max ", out, re.M), out
        for way in ("through FAME-Z", "raw eventfd"):
            assert re.search(rf"^  {way}( +[\d,.]+){{5}}$", out, re.M), out
        left_behind(place)
        assert tree(copy) == before, tree(copy) ^ before

        # Again, ended in the middle: it cleans up all the same.
        with Live("", "--peers", "64", executable=os.path.join(copy, "tools", "quickstart.sh"), cwd=copy,
                  env=env) as live:
            while not live.line().startswith("  full mesh"):
                pass
            done = live.end(signal.SIGTERM)
            assert done.code == 143, done
        left_behind(place)

        done = subprocess.run(["tools/quickstart.sh", "word"], cwd=copy, env=env, text=True,
                              capture_output=True, check=False, timeout=HANG_SECONDS)
        assert done.returncode == 2 and "takes --peers N or nothing" in done.stderr


if __name__ == "__main__":
    run_tests(globals())
