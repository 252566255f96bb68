#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh BUILD_DIR SECONDS [TARGET...] - runs each fuzz target for that long, from its kept
# corpus, which it leaves as it is. A crash's input is kept in BUILD_DIR/fuzz-crashes.
set -u

if [ $# -lt 2 ]; then
	echo "usage: run.sh BUILD_DIR SECONDS [TARGET...]" >&2
	exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
build=$1
seconds=$2
shift 2
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
	targets=(options lists zones binds qemu_args client log genz stream client_text machine lane driver)
fi

passed=0
failed=0
crashes=$build/fuzz-crashes
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
mkdir -p "$crashes"

for target in "${targets[@]}"; do
	program=$build/tests/fuzz/fuzz_$target
	[ -x "$program" ] || program=$build/fuzz/fuzz_$target
	mkdir -p "$found/$target"
	if "$program" -max_total_time="$seconds" -timeout=60 -max_len=4096 -print_final_stats=1 \
		-artifact_prefix="$crashes/$target-" "$found/$target" "$here/corpus/$target" \
		>"$found/$target.log" 2>&1; then
		echo "ok fuzz_$target"
		passed=$((passed + 1))
	else
		tail -n 30 "$found/$target.log" >&2
		echo "FAIL fuzz_$target: see the lines above and $crashes"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
