#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
run_all.py - all tests of this folder, each file in a process of its own.

Passes its arguments on, --kit only to those who boot guests. Their lines come as
they are; the last line sums them up. At the end it looks whether anything was
left in a temporary folder of their own.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def run(script, arguments):
    """One script: (passed, failed, skipped)."""
    process = subprocess.Popen([sys.executable, os.path.join(HERE, script), *arguments],
                               stdout=subprocess.PIPE, text=True)
    counts = None
    for line in process.stdout:
        found = re.match(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", line)
        if found:
            counts = [int(word or 0) for word in found.groups()]
        else:
            print(line, end="", flush=True)
    if process.wait() in (0, 1) and counts:
        return counts
    print(f"FAIL {script}: ended with {process.returncode}", flush=True)
    return [0, 1, 0]


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--kit")
    ours, theirs = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="famez-vm-all-") as private:
        os.environ["TMPDIR"] = private  # what is left behind in there is ours
        kit = ["--kit", ours.kit] if ours.kit else []
        results = [run("test_device.py", theirs), run("test_device_harm.py", theirs),
                   run("test_guests.py", theirs + kit),
                   run("test_kernel.py", theirs + kit),
                   run("test_apparmor.py", theirs + kit),
                   run("test_famez_vm.py", theirs + kit),
                   run("test_programs.py", theirs + kit),
                   run("test_stress.py", theirs + kit)]
        left = sorted(os.listdir(private))
    if left:
        print(f"FAIL nothing_is_left_behind: {left}")
    else:
        print("ok nothing_is_left_behind")
    results.append([not left, bool(left), 0])
    passed, failed, skipped = (sum(column) for column in zip(*results))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
