#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh - checks the models with spin: as the steps are, each must hold; with a step weakened,
# the model must show what goes wrong. README.md has the table of steps and code.
set -u

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# verdict WHAT MODEL [DEFINE...] - prints holds, fails (a message unread, or somebody waits for ever),
# or why there is no answer: not searched to the end, for instance.
verdict() {
	local model=$2 dir optimise=-O1
	# What fails, fails soon: compiling takes longer than the search.
	[ "$1" = fails ] && optimise=-O0
	shift 2
	dir=$(mktemp -d "$work/XXXXXX")
	(
		cd "$dir" || exit
		spin "${@/#/-D}" -a "$here/$model.pml" >spin.out 2>&1 || { echo 'spin refuses it'; exit; }
		${CC:-cc} $optimise -w -DSAFETY -DCOLLAPSE -DMEMLIM=1000 -o pan pan.c || { echo 'not compiled'; exit; }
		./pan -m100000 >pan.out 2>&1
		if grep -q 'assertion violated\|invalid end state (' pan.out; then
			echo fails
		elif grep -q 'errors: 0' pan.out && ! grep -qi 'search not completed\|max search depth too small\|out of memory' pan.out; then
			echo holds
		else
			tail -n 20 pan.out >&2
			echo 'no answer'
		fi
	)
	rm -rf "$dir"
}

# expect WHAT NAME MODEL [DEFINE...]
expect() {
	local what=$1 name=$2 found
	shift 2
	found=$(verdict "$what" "$@")
	if [ "$found" = "$what" ]; then
		echo "ok $name"
		passed=$((passed + 1))
	else
		echo "FAIL $name: the model ${*:1:1} ($*): $found, expected: $what"
		failed=$((failed + 1))
	fi
}

if ! command -v spin >/dev/null; then
	echo 'FAIL models: there is no spin'
	echo '0 passed, 1 failed'
	exit 1
fi

expect holds 'two senders never lose a wake-up of their receiver' wakeup
for step in S1 S3 S4 R1 C1; do
	expect fails "with $step weakened, a wake-up is lost" wakeup "WEAK_$step"
done
expect fails 'with all sleeps of one number, a wake-up is lost' wakeup ONE_NUMBER

expect holds 'full lanes both ways: all is said and heard, nothing overwritten' lane
expect holds 'a sender is woken by one careful look of a receiver who polls' lane POLLING
expect fails 'with W1 weakened, a sender waits for ever' lane WEAK_W1
for step in V1 V3 W1; do
	expect fails "with $step weakened, the sender of one who polls waits for ever" lane POLLING "WEAK_$step"
done

for room in '' ROOM; do
	expect holds "a server that dies twice at any step loses and doubles nothing${room:+, whose lanes are full}" \
		death DEATHS=2 ${room:+"$room"}
done
for step in FILL EARLY EMPTY SLEEP REDO APPLY HAND WAKE; do
	expect fails "with $step weakened, a death loses or doubles something" death "WEAK_$step"
done
for step in OWED GIVE; do
	expect fails "with $step weakened, a death loses or doubles something where lanes are full" death ROOM "WEAK_$step"
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
