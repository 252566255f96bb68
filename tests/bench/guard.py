#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""guard.py - the hot paths have not become longer, and bench/guard would notice if they had.

    tests/bench/guard.py --build DIR

DIR is a release build. Instructions are counted, not times, so a busy machine changes nothing.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
GUARD = os.path.join(ROOT, "bench", "guard")
PAGE = os.path.join(ROOT, "docs", "benchmarks.md")
# What micro_pad.c makes longer, what a little of that is, and what it leaves alone.
PADDED = {"library/send/bytes:100/batch:16", "membership/newcomer/peers:4096"}
SPARED = "library/recv/bytes:100/batch:16"
LONGER = re.compile(r"^(\S+) .* ([+-][\d.]+) % LONGER$", re.MULTILINE)


class Tests:
    def __init__(self, build):
        self.bench = os.path.join(build, "bench")
        self.passed = self.failed = self.skipped = 0

    def run(self, *arguments):
        done = subprocess.run([sys.executable, GUARD, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=900, check=False)
        return done.returncode, done.stdout

    def say(self, good, name, why=""):
        self.passed += bool(good)
        self.failed += not good
        print(f"ok {name}" if good else f"FAIL {name}: {why.strip()}", flush=True)

    def skip(self, name, why):
        self.skipped += 1
        print(f"SKIP {name}: {why}", flush=True)

    def no_hot_path_is_longer_than_was_recorded(self):
        name = "no hot path takes 2 % more instructions than was recorded, nor grows as it should not"
        code, said = self.run(os.path.join(self.bench, "famez-bench-guard"))
        print(said)
        if code == 3:
            self.skip(name, said.strip())
        else:
            # Of the table, who is longer, and of the claims, what is broken.
            bad = [" ".join(line.split()) for line in said.splitlines()
                   if line.endswith("LONGER") or " is claimed, but " in line]
            self.say(code == 0, name, "; ".join(bad) or said)

    def five_percent_more_are_noticed(self):
        paths = "|".join(sorted(PADDED | {SPARED}))
        code, said = self.run("--only", f"^({paths})$",
                              os.path.join(self.bench, "famez-bench-guard"),
                              os.path.join(self.bench, "famez-bench-guard-padded"))
        print(said)
        longer = {path: float(share) for path, share in LONGER.findall(said)}
        self.say(code == 1 and set(longer) == PADDED and max(longer.values()) < 6,
                 "5 % more instructions in a hot path are noticed, and where they are", said)

    def counts_are_the_same_again(self):
        program = os.path.join(self.bench, "famez-bench-guard")
        code, said = self.run("--tolerance", "0", "--only", "^(library|server)/.*[:/](100|8|16)",
                              program, program)
        self.say(code == 0 or "0 are more than 0 % longer" in said,
                 "counted twice, each hot path of library and server takes as many", said)

    def each_hot_path_runs(self):
        name = "each microbenchmark runs, and does what it is to measure"
        program = os.path.join(self.bench, "famez-bench-micro")
        if not os.access(program, os.X_OK):
            self.skip(name, "there is no famez-bench-micro (libbenchmark-dev)")
            return
        done = subprocess.run([program, "--benchmark_min_time=0.0001", "--benchmark_color=false"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=900, check=False)
        print(done.stdout)
        bad = [line for line in done.stdout.splitlines() if "ERROR OCCURRED" in line]
        self.say(done.returncode == 0 and not bad, name,
                 "\n".join(bad) or f"it ended with {done.returncode}")

    def the_page_names_what_there_is(self):
        with open(PAGE, encoding="utf-8") as page:
            named = set(re.findall(r"`((?:lane|inbox|library|doorbell|membership|server|histogram|"
                                   r"log|queue)/\w+)`", page.read()))
        made = set()
        bench = os.path.join(ROOT, "bench")
        for file in os.listdir(bench):
            if re.fullmatch(r"micro_\w+\.c", file):
                with open(os.path.join(bench, file), encoding="utf-8") as source:
                    made |= set(re.findall(r'\.name = "([\w/]+)"', source.read()))
        made = {name for name in made if not name.startswith("eventfd/")}
        self.say(named == made, "docs/benchmarks.md has each hot path that is measured, and no other",
                 f"only there: {sorted(named - made)}; missing there: {sorted(made - named)}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True, help="a release build")
    tests = Tests(os.path.abspath(parser.parse_args().build))
    tests.the_page_names_what_there_is()
    tests.each_hot_path_runs()
    if not os.access(os.path.join(tests.bench, "famez-bench-guard"), os.X_OK) or \
            not shutil.which("valgrind"):
        tests.skip("bench/guard", "there is no famez-bench-guard, or no valgrind")
    else:
        tests.no_hot_path_is_longer_than_was_recorded()
        tests.five_percent_more_are_noticed()
        tests.counts_are_the_same_again()
    print(f"{tests.passed} passed, {tests.failed} failed, {tests.skipped} skipped")
    return tests.failed != 0


sys.exit(main())
