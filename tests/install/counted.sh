# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# counted.sh - what the scripts here count their tests with. To be sourced; $place is a folder of
# the script's own.

# shellcheck disable=SC2034 # the scripts look at failed
passed=0 failed=0 skipped=0

# check NAME COMMAND... - one test; what it said is shown where it fails. It runs in this very
# shell, so that what it starts is the script's.
check() {
	local name=$1
	shift
	# shellcheck disable=SC2154 # the script's
	if "$@" >"$place/words" 2>&1; then
		printf 'ok %s\n' "$name"
		passed=$((passed + 1))
	else
		printf 'FAIL %s: %s\n' "$name" "$(tail -n 1 "$place/words" | grep . || echo 'no word why')"
		cat "$place/words" >&2
		failed=$((failed + 1))
	fi
}

skip() {
	printf 'SKIP %s: %s\n' "$1" "$2"
	skipped=$((skipped + 1))
}

# sum - the last line; returns whether all is well.
sum() {
	if ((skipped > 0)); then
		printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
	else
		printf '%d passed, %d failed\n' "$passed" "$failed"
	fi
	((failed == 0))
}
