#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh BUILD_DIR [--steps N] - the simulation from a fixed seed on, a million steps unless told
# otherwise; then each wrong order of stores of mutate.py, which it must notice within 50 millions.
set -u

if [ $# -lt 1 ]; then
	echo "usage: run.sh BUILD_DIR [--steps N]" >&2
	exit 2
fi
here=$(dirname "${BASH_SOURCE[0]}")
programs=$1/tests/sim
steps=1000000
[ "${2-}" = --steps ] && steps=$3
passed=0
failed=0

# check NAME CODE
check() {
	if [ "$2" -eq 0 ]; then
		echo "ok $1"
		passed=$((passed + 1))
	else
		echo "FAIL $1"
		failed=$((failed + 1))
	fi
}

"$programs/sim" --steps "$steps" | grep -v ' passed, '
check "the broker keeps its promises for $steps steps, whenever it dies" "${PIPESTATUS[0]}"
"$programs/sim_keeper" --steps "$steps" | grep -v ' passed, '
check "the keeper keeps its promises for $steps steps, whatever ends" "${PIPESTATUS[0]}"
while IFS=$'\t' read -r name _ what; do
	[ -x "$programs/sim_$name" ] || continue # not in builds with sanitizers
	# One that is noticed ends there; so the limit costs nothing.
	said=$("$programs/sim_$name" --steps 50000000 2>/dev/null | grep '^FAIL')
	echo "# $name: ${said#FAIL }"
	[ -n "$said" ]
	check "noticed: $what" $?
done < <(python3 "$here/mutate.py" --list)
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
