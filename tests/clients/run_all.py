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
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from suite import run_scripts  # noqa: E402

SCRIPTS = ["client", "messages", "stress", "guests"]
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
    return run_scripts((script, [os.path.join(HERE, script + ".py"), "--server", server,
                                 *chosen.filter]) for script in scripts)


if __name__ == "__main__":
    sys.exit(main())
