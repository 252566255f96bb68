# SPDX-License-Identifier: MIT
"""suite.py - runs test scripts one after the other, and sums up."""

import subprocess
import sys
import time


def run_scripts(runs):
    """Run each of these (name, command). Their lines are passed on with the name before the
    test's; the last line is the sum. Returns the exit status for all."""
    sums = {"ok": 0, "FAIL": 0, "SKIP": 0}
    for name, command in runs:
        begun = time.monotonic()
        with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE,
                              text=True) as process:
            failed = 0
            for line in process.stdout:
                kind, _, rest = line.rstrip("\n").partition(" ")
                if kind in sums:
                    sums[kind] += 1
                    failed += kind == "FAIL"
                    print(f"{kind} {name}: {rest}", flush=True)
        if process.returncode and not failed:
            sums["FAIL"] += 1
            print(f"FAIL {name}: the script ended with status {process.returncode}", flush=True)
        print(f"# {name}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
    skipped = f", {sums['SKIP']} skipped" if sums["SKIP"] else ""
    print(f"{sums['ok']} passed, {sums['FAIL']} failed{skipped}")
    return 1 if sums["FAIL"] else 0
