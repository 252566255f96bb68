# SPDX-License-Identifier: MIT
"""Runs as they are kept: a line of JSON each, after one of the machine they were made on."""

import json
import os
import platform
import subprocess
import time


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as cpus:
        return next((line.partition(":")[2].strip() for line in cpus
                     if line.startswith("model name")), platform.machine())


def tree():
    """The commit that is measured, as far as git knows it; no figure depends on it."""
    done = subprocess.run(["git", "-C", os.path.dirname(__file__), "describe", "--always",
                           "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def machine():
    return {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "kernel": platform.release(), "cpus": os.cpu_count(), "cpu": cpu_model(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "load": round(os.getloadavg()[0], 2), "tree": tree()}


class Keeper:
    """Writes each run as it comes: what was measured is kept even if we are stopped."""

    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8") if path else None
        self._write({"machine": machine()})

    def _write(self, line):
        if self.file:
            print(json.dumps(line), file=self.file, flush=True)

    def keep(self, runs):
        """Passes @runs on, writing them down."""
        for run in runs:
            self._write(run)
            yield run


class Broken(Exception):
    """A file that is not what Keeper writes; says where."""


def lines_of(path):
    with open(path, encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            try:
                line = json.loads(text)
            except ValueError as why:
                raise Broken(f"{path}:{number}: not JSON ({why}); a line of --json was expected"
                             ) from None
            if not isinstance(line, dict) or not ("machine" in line or "measurement" in line):
                raise Broken(f"{path}:{number}: neither a machine nor a run; a line of --json "
                             "was expected")
            yield line


def kept(paths):
    """(runs, machines) of files that a Keeper wrote; the same round of two comparisons is two
    rounds."""
    runs, machines = [], []
    for path in paths:
        for line in lines_of(path):
            if "machine" in line:
                machines.append(line["machine"])
            else:
                runs.append({**line, "round": (len(machines), line.get("round", 0))})
    return runs, machines
