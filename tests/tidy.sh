#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tidy.sh BUILD_DIR - clang-tidy over every C file that BUILD_DIR compiles, on all cores.
#
# It takes minutes: how far it is goes to descriptor 3, if that is open.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
{ true >&3; } 2>/dev/null || exec 3>/dev/null
commands=$(mktemp -d "${TMPDIR:-/tmp}/famez-tidy.XXXXXX")
trap 'rm -rf -- "$commands"' EXIT

# clang-tidy looks at a file once for each time that it is compiled, and many are compiled for
# several targets. Once is enough, but for the file that FAMEZ_FAULTS makes another. The largest
# come first, lest one of them be alone in the end. The guest's driver is the kernel's to judge:
# tests/vm/test_driver.py has its checkpatch do so.
python3 - "$1/compile_commands.json" "$commands/compile_commands.json" >"$commands/files" <<'E'
import json
import os
import subprocess
import sys

ours = {os.path.abspath(name) for name in
        subprocess.run(["git", "ls-files", "*.c"], stdout=subprocess.PIPE, text=True,
                       check=True).stdout.splitlines()}
chosen = {}
for entry in json.load(open(sys.argv[1], encoding="utf-8")):
    name = os.path.normpath(os.path.join(entry["directory"], entry["file"]))
    if name in ours and "/tools/driver/" not in name:
        faults = name.endswith("/broker/sys.c") and "FAMEZ_FAULTS" in entry["command"]
        chosen.setdefault((name, faults), entry)
json.dump(list(chosen.values()), open(sys.argv[2], "w", encoding="utf-8"))
for name in sorted({name for name, _ in chosen}, key=os.path.getsize, reverse=True):
    print(os.path.relpath(name))
E
total=$(wc -l <"$commands/files")
((total > 0))

# The analyzer follows what is shipped on all paths that it can, tests and benchmarks on a few: their
# many checks in a row branch without end, and would take most of the time.
few_paths='--extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang --extra-arg=mode=shallow'

# one FILE - what there is to say of it in one piece, then a line for the count.
one() {
	local said code=0 how=()
	[[ $1 == tests/* || $1 == bench/* ]] && read -r -a how <<<"$few_paths"
	said=$(clang-tidy --quiet -p "$commands" "${how[@]}" "$1" 2>&1) || code=$?
	if ((code != 0)); then
		printf '%s: %s\n' "$1" "$said" >&2
	fi
	echo
	return "$code"
}
export -f one
export commands few_paths
through=0
# shellcheck disable=SC2016 # $1 is the inner shell's
tr '\n' '\0' <"$commands/files" | xargs -0 -P "$(nproc)" -n 1 bash -c 'one "$1"' one |
	while read -r _; do
		((++through % 16)) || printf '# clang-tidy: %d of %d files\n' "$through" "$total" >&3
	done
