#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""successor.py - the sources of another famez-server, for upgrade.py to change over to.

    successor.py next|later BROKER_DIR OUTPUT_DIR

Who works in here: the build. It copies the broker's sources with some changes, each of which must
find its place.

next    the state is the same, all else that a process has lies elsewhere: it can take over
later   another version of the state, with one field more in it: it can't
"""
import glob
import os
import re
import sys

FIELD = "\tunsigned char of_the_next_version[72];\n"
ALWAYS = [("worker.h", "struct peer {\n", FIELD), ("worker.h", "struct worker {\n", FIELD),
          ("registrar.h", "struct registrar {\n", FIELD), ("mail.h", "struct mail_peer {\n", FIELD),
          ("membership.h", "struct membership {\n", FIELD)]
LATER = [("state.h", "struct state_live {\n", "\tuint64_t of_the_next_version;\n")]


def change(folder, name, place, more):
    path = os.path.join(folder, name)
    with open(path, encoding="utf-8") as source:
        text = source.read()
    if text.count(place) != 1:
        sys.exit(f"successor.py: {name} has {place!r} {text.count(place)} times, want once")
    with open(path, "w", encoding="utf-8") as target:
        target.write(text.replace(place, place + more))


def main(kind, broker, output):
    for path in glob.glob(os.path.join(broker, "*.[ch]")):
        with open(path, encoding="utf-8") as source:
            text = source.read()
        if kind == "later" and path.endswith("/state.h"):
            text, found = re.subn(r"(#define STATE_VERSION) (\d+)u", lambda m:
                                  f"{m[1]} {int(m[2]) + 1}u", text)
            if found != 1:
                sys.exit("successor.py: where is STATE_VERSION?")
        with open(os.path.join(output, os.path.basename(path)), "w", encoding="utf-8") as target:
            target.write(text)
    for name, place, more in ALWAYS + (LATER if kind == "later" else []):
        change(output, name, place, more)


main(*sys.argv[1:])
