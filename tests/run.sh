#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh - installs what is missing, builds with sanitizers, and passes all tests.
#
#     tests/run.sh            everything
#     tests/run.sh STEP ...   only these steps (--list names them)
#
# Every test prints a line: ok, FAIL or SKIP, with its name. At the end come each step's time,
# all FAIL lines once more, and as the last line the sum. Exits 0 only if nothing failed.
# The full output of each program that tests is kept in build/logs/.
#
# A step is a list of tasks: a build, or a program that prints tests. Most tests wait for
# processes, so two and more tasks run at once, and beside them, when nobody else wants the
# processor, the builds for later tasks and clang-tidy. Lines are never cut by other lines.

set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# shellcheck source=tools/packages.sh
source tools/packages.sh

logs=build/logs
jobs=$(nproc)
# Tasks at once, not counting the one in the background. A test waits more than it computes: one
# more than there are cores; the large ones need some memory each.
lanes=$((jobs < 2 ? 2 : jobs > 4 ? 5 : jobs + 1))
# Seconds of the great soak; 60 is what it was made for, by hand or over night.
export FAMEZ_SOAK_S=${FAMEZ_SOAK_S:-8}
# With it, Python writes a line and its end one after the other, and others' words come between.
unset PYTHONUNBUFFERED

# say WORDS - what happens now, apart from the tests' own lines.
say() {
	printf '# %s\n' "$*"
}

# ---------------------------------------------------------------- inside a task
# Each task is a process of its own with its own $log, $failures and counts.

# whole - lines of one write each, so that no other task's line gets between.
whole() {
	LC_ALL=C sed -u 's/^\(.\{1500\}\).*/\1.../'
}

# fail LINE - one more test that failed. The end of the log comes with it, here and at the end.
fail() {
	{
		printf 'FAIL %s\n' "$1"
		tail -n 20 "$log" | sed 's/^/    /'
	} | tee -a "$failures" | whole
	failed=$((failed + 1))
}

# one_test NAME COMMAND... - a command that passes or fails as a whole.
one_test() {
	local name=$1
	shift
	if "$@" >>"$log" 2>&1; then
		printf 'ok %s\n' "$name"
		passed=$((passed + 1))
	else
		fail "$name: see $log"
	fi
}

# many_tests NAME COMMAND... - a program that prints a line a test and ends with the
# sum. One that ends without a sum, or with an exit code that does not fit it, failed.
many_tests() {
	local name=$1 sum code before
	shift
	before=$(wc -l <"$log")
	"$@" 2>&1 | tee -a "$log" | grep --line-buffered -E '^(ok|FAIL|SKIP) ' |
		sed -u "s/^\([A-Za-z]*\) /\1 $name: /" | whole
	code=${PIPESTATUS[0]}
	tail -n +"$((before + 1))" "$log" | sed -n "s|^FAIL .*|&\n    see $log|; s|^FAIL |&$name: |p" >>"$failures"
	sum=$(tail -n +"$((before + 1))" "$log" | grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' | tail -n 1)
	if [[ $sum =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]] &&
		{ ((code == 0)) || ((BASH_REMATCH[2] > 0)); }; then
		passed=$((passed + BASH_REMATCH[1]))
		failed=$((failed + BASH_REMATCH[2]))
		skipped=$((skipped + ${BASH_REMATCH[4]:-0}))
	else
		fail "$name: ended with status $code and the sum \"$sum\"; see $log"
	fi
}

# build PRESET [TARGET...] - configure one preset, and build it, or what its tests need.
build() {
	local preset=$1
	shift
	say "building $preset"
	one_test "configure $preset" cmake --preset "$preset"
	one_test "build $preset" cmake --build --preset "$preset" -j "$jobs" ${1:+--target "$@"}
}

# unit_tests PRESET - all but the long ones, which are tasks of their own.
unit_tests() {
	local test name
	for test in build/"$1"/tests/unit/test_*; do
		name=$(basename "$test")
		[[ -x $test && ! -d $test && " ${long_units[*]} " != *" $name "* ]] &&
			many_tests "$1 $name" "$test"
	done
}

# those_units PRESET TEST... - these alone.
those_units() {
	local preset=$1 test
	shift
	for test in "$@"; do
		many_tests "$preset $test" "build/$preset/tests/unit/$test"
	done
}

faults() {
	local script
	for script in start join sending; do
		many_tests "asan faults $script" python3 "tests/faults/$script.py" --server build/asan/broker/famez-server-faults
	done
}

# keeper PRESET - the broker's death and upgrade, in the size of a quick run.
keeper() {
	local bin=build/$1/broker
	many_tests "$1 keeper doubt" "build/$1/tests/keeper/send_doubt"
	many_tests "$1 keeper points" python3 tests/keeper/points.py --server "$bin/famez-server-faults"
	many_tests "$1 keeper torture" python3 tests/keeper/torture.py --server "$bin/famez-server"
	many_tests "$1 keeper life" python3 tests/keeper/life.py --server "$bin/famez-server"
	many_tests "$1 keeper watchdog" python3 tests/keeper/watchdog.py --server "$bin/famez-server-faults"
	many_tests "$1 keeper sandbox" python3 tests/keeper/sandbox.py --server "$bin/famez-server-faults"
	many_tests "$1 keeper upgrade" python3 tests/keeper/upgrade.py --server "$bin/famez-server"
	many_tests "$1 keeper fdstore" python3 tests/keeper/fdstore.py --server "$bin/famez-server"
	many_tests "$1 keeper control" python3 tests/keeper/control.py --server "$bin/famez-server"
	many_tests "$1 keeper mail" python3 tests/keeper/mail.py --server "$bin/famez-server"
}

# keeper_short PRESET - the same in a build with sanitizers, which sees what no client would: every
# point once, some deaths and upgrades under load. Seconds.
keeper_short() {
	local bin=build/$1/broker small=(env FAMEZ_TORTURE_PEERS=40 FAMEZ_TORTURE_GUESTS=0 FAMEZ_TORTURE_KILLS=4 FAMEZ_UPGRADES=2)
	many_tests "$1 keeper points" env FAMEZ_POINTS=1 python3 tests/keeper/points.py --server "$bin/famez-server-faults" \
		every_point each_point
	many_tests "$1 keeper torture" "${small[@]}" python3 tests/keeper/torture.py --server "$bin/famez-server" in_full_use
	many_tests "$1 keeper upgrade" "${small[@]}" python3 tests/keeper/upgrade.py --server "$bin/famez-server" \
		under_full_use amid_an_upgrade
}

formats() {
	local files
	mapfile -t files < <(git ls-files '*.c' '*.h' '*.cc')
	one_test 'clang-format: every source is formatted' clang-format --dry-run --Werror "${files[@]}"
	mapfile -t files < <(git ls-files '*.sh' '.ci/run')
	one_test 'shellcheck: every script is clean' shellcheck -x "${files[@]}"
	mapfile -t files < <(git ls-files 'docs/man/*')
	one_test 'mandoc: every manual page is clean' mandoc -T lint -W warning "${files[@]}"
}

# What is printed while clang-tidy goes on: descriptor 3, see tests/tidy.sh.
tidy() {
	one_test 'clang-tidy: every source is clean' tests/tidy.sh build/fuzz 3>&1
}

# ---------------------------------------------------------------- the steps

# task NAME AFTER COMMAND... - one task of the step that is being listed; AFTER is the task that
# must have passed before it, or nothing. Those that are asked for first begin first.
task() {
	names+=("$1") needs+=("$2") step_of+=("$step") background+=("$behind") state+=(waiting)
	index[$1]=$((${#names[@]} - 1))
	shift 2
	commands+=("${*@Q}")
}

# later NAME AFTER COMMAND... - the same in the background: one at a time, on all cores, when
# nobody else wants them.
later() {
	behind=1
	task "$@"
	behind=0
}

long_units=(test_oracle test_lane_schedules)
# What these show, no build with sanitizers can.
plain_units=(test_sandbox test_mailbox_lost)

# threaded_units - those that start threads: the others have nothing that a race could be in.
threaded_units() {
	grep -l pthread_create tests/unit/test_*.c | sed 's|.*/||; s|\.c$||' | grep -vx test_sandbox
}

units() {
	local test
	for test in "${long_units[@]}"; do
		task "$1 $test" "build $1" many_tests "$1 $test" "build/$1/tests/unit/$test"
	done
	task "$1 unit" "build $1" unit_tests "$1"
}

# blackbox PRESET WORKERS
blackbox() {
	task "$1 blackbox with $2" "build $1" many_tests "$1 blackbox" python3 tests/blackbox/run_all.py \
		--server "build/$1/broker/famez-server" --workers "$2"
}

# soak PRESET WORD... - which tests of it.
soak() {
	local preset=$1
	shift
	task "$preset soak" "build $preset" many_tests "$preset soak" python3 tests/soak/soak.py \
		--server "build/$preset/broker/famez-server" "$@"
}

step_format() {
	task 'format' '' formats
	task 'docs' '' many_tests 'docs' tests/docs/named_tests.py
	task 'figures' '' many_tests 'figures' tests/docs/figures.py
}

step_model() {
	task 'model' '' many_tests 'model' tests/model/run.sh
}

step_asan() {
	later 'build asan' '' build asan broker/all tools/all docs/all tests/control/all famez-server-next \
		tests/{lanes,sim,soak,unit,vm}/all
	blackbox asan 1
	blackbox asan 2
	units asan
	task 'asan faults' 'build asan' faults
	task 'asan clients' 'build asan' many_tests 'asan clients' python3 tests/clients/run_all.py --build build/asan
	task 'asan keeper' 'build asan' keeper_short asan
	task 'asan sim' 'build asan' many_tests 'asan sim' build/asan/tests/sim/sim --steps 500000
	task 'asan lanes' 'build asan' many_tests 'asan lanes' build/asan/tests/lanes/lane_stress
	soak asan
}

step_tsan() {
	local units
	mapfile -t units < <(threaded_units)
	later 'build tsan' '' build tsan broker/all docs/all famez-server-next tests/{control,lanes,soak}/all "${units[@]}"
	task 'tsan unit' 'build tsan' those_units tsan "${units[@]}"
	blackbox tsan 4
	task 'tsan keeper' 'build tsan' keeper_short tsan
	task 'tsan lanes' 'build tsan' many_tests 'tsan lanes' build/tsan/tests/lanes/lane_stress --messages 50000
	soak tsan
}

step_release() {
	local test

	later 'build release' '' build release broker/all tools/all bench/all docs/all \
		tests/{control,keeper,lanes,mutations,sim,soak,vm}/all "${plain_units[@]}"
	task 'release unit' 'build release' those_units release "${plain_units[@]}"
	task 'release clients' 'build release' many_tests 'release clients' \
		python3 tests/clients/run_all.py --build build/release --large
	task 'release vm' 'build release' many_tests 'release vm' \
		python3 tests/vm/run_all.py --server build/release/broker/famez-server --kit build/kit
	for test in driver driver_faults; do
		task "release $test" 'build release' many_tests "release $test" \
			python3 "tests/vm/test_$test.py" --server build/release/broker/famez-server --kit build/kit
	done
	blackbox release 1
	task 'release kernel' 'build release' many_tests 'release kernel' python3 tests/kernel/run.py --kit build/kit
	task 'release keeper' 'build release' keeper release
	task 'release guard' 'build release' many_tests 'release guard' python3 tests/bench/guard.py --build build/release
	task 'release lanes' 'build release' many_tests 'release lanes' build/release/tests/lanes/lane_stress --messages 300000
	task 'release sim' 'build release' many_tests 'release sim' tests/sim/run.sh build/release --steps "${FAMEZ_SIM_STEPS:-5000000}"
	task 'release mutations' 'build release' many_tests 'release mutations' tests/mutations/run.sh build/release
	task 'release bench' 'build release' many_tests 'release bench' tests/bench/harness.py --build build/release
	task 'release install' 'build release' many_tests 'release install' tests/install/run.sh build/release
	later 'build deb' '' build deb
	task 'deb' 'build deb' many_tests 'deb' tests/install/packages.sh build/deb
	soak release 64_peers takes_nothing
}

step_clang() {
	# clang-tidy looks at all the rest with clang's own warnings.
	later 'build fuzz' '' build fuzz tests/fuzz/all
	task 'fuzz' 'build fuzz' many_tests 'fuzz' tests/fuzz/run.sh build/fuzz "${FAMEZ_FUZZ_SECONDS:-8}"
	later 'clang-tidy' 'build fuzz' tidy
}

# ---------------------------------------------------------------- running them

# perform NUMBER - one task from its beginning to its end, in a process of its own. That it is
# through goes to descriptor 9.
perform() {
	local name=${names[$1]} TIMEFORMAT='%R %U %S'
	trap 'printf "%s\n" "$1" >&9' EXIT
	log=$logs/${name// /-}.log
	failures=$scratch/$1.failures
	passed=0 failed=0 skipped=0
	: >"$log"
	: >"$failures"
	((background[$1])) && renice -n 10 -p "$BASHPID" >/dev/null
	{ time eval "${commands[$1]}" 2>&4 4>&- 9>&-; } 4>&2 2>"$scratch/$1.time"
	printf '%s %s %s %s\n' "$passed" "$failed" "$skipped" "$(<"$scratch/$1.time")" >"$scratch/$1.sum"
	((failed == 0))
}

# begin NUMBER
begin() {
	local at=$1 step=${step_of[$1]} place=${background[$1]}
	perform "$at" </dev/null &
	running[at]=$!
	state[at]=running
	busy[place]=$((busy[place] + 1))
	first[$step]=${first[$step]-$SECONDS}
}

# end NUMBER - adds up what it left.
end() {
	local at=$1 step=${step_of[$1]} place=${background[$1]} code sum=()
	wait "${running[at]}"
	code=$?
	unset "running[$at]"
	busy[place]=$((busy[place] - 1))
	[[ -s $scratch/$at.sum ]] && read -r -a sum <"$scratch/$at.sum"
	if ((${#sum[@]} != 6)); then
		printf 'FAIL %s: ended with status %s and no sum\n' "${names[at]}" "$code" | tee -a "$scratch/$at.failures"
		sum=(0 1 0 0.000 0.000 0.000)
	fi
	state[at]=$((sum[1] == 0)) # 1: it passed
	ended=$((ended + 1)) last[$step]=$SECONDS
	passed=$((passed + sum[0])) failed=$((failed + sum[1])) skipped=$((skipped + sum[2]))
	# Bash has no fractions: thousandths.
	used[$step]=$((${used[$step]-0} + 10#${sum[4]/./} + 10#${sum[5]/./}))
	say "${names[at]} took ${sum[3]%.*} s, $(((10#${sum[4]/./} + 10#${sum[5]/./}) / 1000)) s of processor; $ended of ${#names[@]} are through after $SECONDS s"
}

# begin_ready - begins what may begin now. What needs something that failed never may.
begin_ready() {
	local at need
	for at in "${!names[@]}"; do
		[[ ${state[at]} == waiting ]] || continue
		need=${needs[at]:+${state[${index[${needs[at]}]}]}}
		if [[ $need == 0 ]]; then
			state[at]=0
			ended=$((ended + 1)) failed=$((failed + 1))
			printf 'FAIL %s: not run, since this failed: %s\n' "${names[at]}" "${needs[at]}" |
				tee "$scratch/$at.failures"
		elif [[ -z $need || $need == 1 ]] && ((busy[background[at]] < (background[at] ? 1 : lanes))); then
			begin "$at"
		fi
	done
}

# stop CODE - ends all tasks with their children, as ^C would, and us.
stop() {
	local pid
	trap '' INT TERM HUP
	for pid in "${running[@]}"; do
		kill -INT -- "-$pid" 2>/dev/null
	done
	wait
	rm -rf -- "$scratch"
	printf 'run.sh: stopped\n' >&2
	exit "$1"
}

steps=(format model asan tsan release clang)
case ${1-} in
--list)
	printf '%s\n' "${steps[@]}"
	exit 0
	;;
-h | --help)
	sed -n '4,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
	exit 0
	;;
esac
names=() needs=() step_of=() background=() state=() commands=() behind=0 step=''
declare -A index=() first=() last=() used=() listed=()
all_steps=${steps[*]}
(($# > 0)) && steps=("$@")
for step in "${steps[@]}"; do
	if ! declare -F "step_$step" >/dev/null; then
		printf "run.sh: no step '%s'; there are: %s\n" "$step" "$all_steps" >&2
		exit 2
	fi
	[[ ${listed[$step]-} ]] || "step_$step"
	listed[$step]=1
done

mkdir -p "$logs"
mapfile -t missing < <(famez_packages_missing "${FAMEZ_BUILD_PACKAGES[@]}" "${FAMEZ_TEST_PACKAGES[@]}")
if ((${#missing[@]} > 0)); then
	say "installing ${missing[*]}"
	if ! famez_packages_install "${missing[@]}" >"$logs/packages.log" 2>&1; then
		tail -n 20 "$logs/packages.log"
		printf 'FAIL packages: see %s\n' "$logs/packages.log"
		printf '0 passed, 1 failed\n'
		exit 1
	fi
fi

scratch=$(mktemp -d "${TMPDIR:-/tmp}/famez-run.XXXXXX") || exit 1
mkfifo "$scratch/through" && exec 9<>"$scratch/through" || exit 1
passed=0 failed=0 skipped=0 ended=0
running=() busy=(0 0)
# Each task gets a process group of its own, and signals as they are by default: tests send them.
set -m
trap 'stop 130' INT
trap 'stop 143' TERM HUP
say "${#names[@]} tasks, $lanes at once and one behind; all that they say is kept in $logs/"
begin_ready
while ((${#running[@]} > 0)); do
	if read -r -t 10 -u 9 at; then
		end "$at"
	else # one that was killed cannot say that it is through
		for at in "${!running[@]}"; do
			kill -0 "${running[at]}" 2>/dev/null || end "$at"
		done
	fi
	begin_ready
done

for step in "${!listed[@]}"; do
	say "$step: ended after ${last[$step]-0} s, begun after ${first[$step]-0} s, $((${used[$step]-0} / 1000)) s of processor"
done | sort -n -k 5
say "all: ended after $SECONDS s"
((failed > 0)) && say 'what failed, once more:'
for at in "${!names[@]}"; do
	[[ -s $scratch/$at.failures ]] && whole <"$scratch/$at.failures"
done
rm -rf -- "$scratch"
if ((skipped > 0)); then
	printf '%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
else
	printf '%s passed, %s failed\n' "$passed" "$failed"
fi
((failed == 0))
