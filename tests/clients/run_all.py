#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run_all.py - run every script here, and sum up.

    tests/clients/run_all.py --build DIR [--large] [FILTER ...]

DIR is a build folder: broker/famez-server, tools/client/famez-client, tools/stress/famez-stress.
--large adds what only a release build does in good time: 1,000 peers with 4 vectors, and
tools/quickstart.sh. Every line of every script is passed on with the script's name before the
test's; the last line is the sum.
"""

import argparse
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = ["client", "messages", "stress"]
LARGE = ["large", "quickstart"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True, help="the build folder")
    parser.add_argument("--large", action="store_true", help="the large tests, too")
    parser.add_argument("--scripts", default=None, help="which, with commas")
    parser.add_argument("filter", nargs="*", help="run tests whose names contain one of these")
    chosen = parser.parse_args()
    scripts = (chosen.scripts.split(",") if chosen.scripts
               else SCRIPTS + LARGE * chosen.large)
    server = os.path.join(os.path.abspath(chosen.build), "broker", "famez-server")
    sums = {"ok": 0, "FAIL": 0, "SKIP": 0}
    for script in scripts:
        begun = time.monotonic()
        command = [sys.executable, os.path.join(HERE, script + ".py"), "--server", server,
                   *chosen.filter]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            failed = 0
            for line in process.stdout:
                kind, _, rest = line.rstrip("\n").partition(" ")
                if kind in sums:
                    sums[kind] += 1
                    failed += kind == "FAIL"
                    print(f"{kind} {script}: {rest}", flush=True)
        if process.returncode and not failed:
            sums["FAIL"] += 1
            print(f"FAIL {script}: the script ended with status {process.returncode}", flush=True)
        print(f"# {script}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
    skipped = f", {sums['SKIP']} skipped" if sums["SKIP"] else ""
    print(f"{sums['ok']} passed, {sums['FAIL']} failed{skipped}")
    return 1 if sums["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
