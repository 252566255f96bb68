#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""named_tests.py - every test that a page of docs/ names is there.

A page names one as `tests/FOLDER/FILE: name`, in Python with its "test_", in C as its function.
"""
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
NAMED = re.compile(r"`(tests/[\w/]+\.(py|c)): (\w+)`")
DEFINED = {"py": r"^def {}\(", "c": r"^static void {}\(void \*\*"}


def is_there(path, kind, name):
    try:
        with open(os.path.join(ROOT, path), encoding="utf-8") as source:
            return re.search(DEFINED[kind].format(name), source.read(), re.MULTILINE)
    except FileNotFoundError:
        return False


def main():
    passed = failed = 0
    pages = os.path.join(ROOT, "docs")
    for page in sorted(os.listdir(pages)):
        if not page.endswith(".md"):
            continue
        with open(os.path.join(pages, page), encoding="utf-8") as text:
            named = NAMED.findall(text.read())
        missing = [f"{path}: {name}" for path, kind, name in named
                   if not is_there(path, kind, name)]
        if not named:
            continue
        if missing:
            failed += 1
            print(f"FAIL docs/{page} names tests that are not there: {'; '.join(missing)}")
        else:
            passed += 1
            print(f"ok each of the {len(named)} tests that docs/{page} names is there")
    print(f"{passed} passed, {failed} failed")
    return failed != 0


sys.exit(main())
