#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""figures.py - the pages of figures are what bench/report writes, and what points there arrives.

Of README.md and the pages: every link to an anchor of ours has its heading, every plot its file;
and a claim with a figure in README.md has a link to a page of figures.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
PAGES = ["README.md", "docs/performance.md", "docs/messages.md", "docs/scale.md"]
# A figure with what it is of, as in 1.02 of, 37 ms, 12 million, 5 %.
CLAIM = re.compile(r"\d(\.\d+)?( \([^)]*\))? (of (a|the|that|its|all)\b|[unm]s\b|%|million\b|[KMG]i?B/s)")
SOURCES = ("docs/performance.md#", "docs/messages.md#", "docs/scale.md#")


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text):
    """As GitHub makes them of headings."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", without_code(text), flags=re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower())
        found.add(plain.strip().replace(" ", "-"))
    return found


def broken_links(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(read(page))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        full = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        if not os.path.exists(os.path.join(ROOT, full)):
            yield f"{target}: no such file"
        elif anchor and anchor not in anchors(read(full)):
            yield f"{target}: no such heading"


def claims_without_source():
    """Paragraphs and items of README.md that state a figure and don't say where it is from."""
    text = re.sub(r"^    .*$", "", without_code(read("README.md")), flags=re.MULTILINE)
    for part in re.split(r"\n\s*\n|\n(?=[*-] )", text):
        if CLAIM.search(part) and not any(source in part for source in SOURCES):
            yield " ".join(part.split())[:100]


def report_is_current():
    done = subprocess.run([sys.executable, os.path.join(ROOT, "bench", "report"), "--check"],
                          capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else done.stderr.strip().splitlines() or ["no reason given"]


def main():
    tests = {"the pages of figures are what bench/report writes from the kept runs":
             report_is_current(),
             "each claim with a figure in README.md points to a page of figures":
             list(claims_without_source())}
    for page in PAGES:
        tests[f"each link of {page} arrives"] = list(broken_links(page))
    failed = 0
    for name, problems in tests.items():
        failed += bool(problems)
        print(f"FAIL {name}: {'; '.join(problems)}" if problems else f"ok {name}")
    print(f"{len(tests) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
