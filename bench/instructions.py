# SPDX-License-Identifier: MIT
"""instructions.py - counts the instructions of each hot path, by famez-bench-guard and callgrind.

What could make the same program take another way is held still: the environment, the addresses,
and which of the C library's copies it chooses for this processor.
"""
import collections
import os
import re
import subprocess
import tempfile

# What a path may grow beyond its claim: small fabrics have a part that does not grow at all, large
# ones another that comes once in many times.
CLAIMS_SLACK = 0.15

# The memcpy() of every x86-64, however modern the machine is that counts.
PLAIN_LIBRARY = "glibc.cpu.hwcaps=" + ",".join("-" + feature for feature in (
    "AVX2", "AVX", "AVX512F", "AVX512VL", "AVX512BW", "ERMS", "FSRM", "SSE4_2", "SSSE3",
    "BMI1", "BMI2", "RTM", "MOVBE", "LZCNT", "AVX_Fast_Unaligned_Load", "Prefer_No_VZEROUPPER"))

SECONDS_MAX = 600  # it takes ten; a guard against hanging

Path = collections.namedtuple("Path", "each times claim functions")
Counts = collections.namedtuple("Counts", "built paths")


class Failed(Exception):
    """It could not be counted; says why."""


def functions(lines):
    """What each function took itself, of the lines of one of callgrind's files."""
    names, took, current, called = {}, collections.Counter(), None, False
    for line in lines:
        if line.startswith("fn="):
            number, _, name = line[3:].strip().partition(" ")
            names.setdefault(number, name)
            current = names[number]
        elif line.startswith("cfn="):
            number, _, name = line[4:].strip().partition(" ")
            if name:
                names.setdefault(number, name)
        elif line.startswith("calls="):
            called = True  # the next line is what that call took, which is the other one's
        elif re.match(r"[-+*\d]", line):
            if called:
                called = False
            elif current:
                took[current] += int(line.split()[1])
    return took


def read(path):
    """(name, sum, by function) of one of callgrind's files."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    name = total = None
    for line in lines:
        if line.startswith("desc: Trigger: Client Request: "):
            name = line.split(": ", 3)[3]
        elif line.startswith("summary: "):
            total = int(line.split()[1])
    return name, total, functions(lines)


def count(program, progress=lambda done: None):
    """Counts of all hot paths of PROGRAM, or Failed."""
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "GLIBC_TUNABLES": PLAIN_LIBRARY,
                   "LD_BIND_NOW": "1"}
    built = subprocess.run([program, "--built"], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode:
        raise Failed(f"{program} --built failed")
    with tempfile.TemporaryDirectory(prefix="famez-guard-") as folder:
        command = ["setarch", "--addr-no-randomize", "valgrind", "-q", "--tool=callgrind",
                   "--toggle-collect=guard_counts", "--compress-pos=no",
                   f"--callgrind-out-file={folder}/counts", os.path.abspath(program)]
        lines = []
        with tempfile.TemporaryFile("w+", encoding="utf-8") as errors, subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
                cwd=folder) as child:
            try:
                for line in child.stdout:
                    lines.append(line.split())
                    progress(len(lines))
                code = child.wait(SECONDS_MAX)
            except BaseException:
                child.kill()
                raise
            errors.seek(0)
            said = errors.read().strip()
        if code:
            raise Failed(f"{program} under valgrind ended with {code}: {said}")
        sums = {}
        for file in os.listdir(folder):
            if re.fullmatch(r"counts\.\d+", file):
                name, total, by = read(os.path.join(folder, file))
                sums[name] = total, by
    paths = {}
    for name, times, _, claim in lines:
        total, by = sums.get(name, (0, {}))
        if not total:
            raise Failed(f"callgrind counted nothing of {name}")
        paths[name] = Path(total / int(times), int(times), claim,
                           {function: took / int(times) for function, took in by.items()})
    return Counts(built.stdout.strip(), paths)
