#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run_all.py - run every black-box script here, and sum up.

    tests/blackbox/run_all.py --server PATH [--workers 1,2,4] [FILTER ...]

Every line of every script is passed on with the script's name before the test's; the last line is
the sum. With several numbers of workers the scripts run once for each.
"""

import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from suite import run_scripts  # noqa: E402

SCRIPTS = ["opening", "joins_and_leaves", "devices", "limits", "memory", "footprint", "mailbox",
           "backpressure", "abuse", "server_mail", "mailbox_page", "v1", "options", "lifecycle",
           "logs", "daemon", "control", "admission", "zones", "binds", "own_sockets"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default=os.environ.get("FAMEZ_SERVER"))
    parser.add_argument("--workers", default="1,2,4", help="numbers of workers (default 1,2,4)")
    parser.add_argument("--scripts", default=",".join(SCRIPTS), help="which, with commas")
    parser.add_argument("filter", nargs="*")
    chosen = parser.parse_args()
    if not chosen.server:
        parser.error("no server: pass --server PATH or set FAMEZ_SERVER")
    return run_scripts(
        (f"{script}/{workers}", [os.path.join(HERE, script + ".py"), "--server", chosen.server,
                                 "--workers", workers, *chosen.filter])
        for workers in chosen.workers.split(",") for script in chosen.scripts.split(","))


if __name__ == "__main__":
    sys.exit(main())
