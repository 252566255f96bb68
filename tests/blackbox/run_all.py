#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run_all.py - run every black-box script here, and sum up.

    tests/blackbox/run_all.py --server PATH [--workers 1,2,4] [FILTER ...]

Every line of every script is passed on with the script's name before the test's; the last line is
the sum. With several numbers of workers the scripts run once for each.
"""

import argparse
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = ["opening", "joins_and_leaves", "devices", "limits", "memory", "mailbox", "backpressure",
           "abuse", "server_mail", "mailbox_page", "v1", "options", "lifecycle", "logs", "daemon",
           "control"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default=os.environ.get("FAMEZ_SERVER"))
    parser.add_argument("--workers", default="1,2,4", help="numbers of workers (default 1,2,4)")
    parser.add_argument("--scripts", default=",".join(SCRIPTS), help="which, with commas")
    parser.add_argument("filter", nargs="*")
    chosen = parser.parse_args()
    if not chosen.server:
        parser.error("no server: pass --server PATH or set FAMEZ_SERVER")
    sums = {"ok": 0, "FAIL": 0, "SKIP": 0}
    for workers in chosen.workers.split(","):
        for script in chosen.scripts.split(","):
            begun = time.monotonic()
            command = [sys.executable, os.path.join(HERE, script + ".py"), "--server",
                       chosen.server, "--workers", workers, *chosen.filter]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                failed = 0
                for line in process.stdout:
                    kind, _, rest = line.rstrip("\n").partition(" ")
                    if kind in sums:
                        sums[kind] += 1
                        failed += kind == "FAIL"
                        print(f"{kind} {script}/{workers}: {rest}", flush=True)
            if process.returncode and not failed:
                sums["FAIL"] += 1
                print(f"FAIL {script}/{workers}: the script ended with status "
                      f"{process.returncode}", flush=True)
            print(f"# {script} with {workers} workers: {time.monotonic() - begun:.1f} s",
                  file=sys.stderr, flush=True)
    skipped = f", {sums['SKIP']} skipped" if sums["SKIP"] else ""
    print(f"{sums['ok']} passed, {sums['FAIL']} failed{skipped}")
    return 1 if sums["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
