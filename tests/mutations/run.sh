#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh BUILD_DIR [--stress] - weakens each order of lane.h and inbox.h, one at a time, and sees
# that a test notices. With --stress it also tries real threads and processes, and only says what
# they notice: x86 hides most (ninja stress_mutations builds them). The models' part of this is in
# tests/model/run.sh.
set -u

if [ $# -lt 1 ]; then
	echo "usage: run.sh BUILD_DIR [--stress]" >&2
	exit 2
fi
programs=$1/tests/mutations
tries=4
passed=0
failed=0

# notices PROGRAM ARGUMENT... - does it fail, by its own account?
notices() {
	"$@" 2>/dev/null | grep -Eq '^[0-9]+ passed, [1-9][0-9]* failed$'
}

for step in S1 S3 S4 R1 C1 V1 V3 W1; do
	if notices "$programs/schedules_without_$step" --schedules 3000; then
		echo "ok the schedules notice that $step is weak"
		passed=$((passed + 1))
	else
		echo "FAIL the schedules do not notice that $step is weak"
		failed=$((failed + 1))
	fi
	[ "${2-}" = --stress ] || continue
	noticed=0
	for ((seed = 1; seed <= tries; seed++)); do
		notices "$programs/stress_without_$step" --messages 200000 --hang-ms 1000 --seed "$seed" &&
			noticed=$((noticed + 1))
	done
	echo "# real threads and processes noticed it in $noticed runs of $tries"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
