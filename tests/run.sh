#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh - installs what is missing, builds with sanitizers, and passes all tests.
#
#     tests/run.sh            everything
#     tests/run.sh STEP ...   only these steps (--list names them)
#
# Every test prints a line: ok, FAIL or SKIP, with its name. The last line is the sum.
# Exits 0 only if nothing failed. Full output of each step is kept in build/logs/.

set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# shellcheck source=tools/packages.sh
source tools/packages.sh

logs=build/logs
passed=0 failed=0 skipped=0
jobs=$(nproc)
# Seconds of the great soak; 60 is what it was made for, by hand or over night.
export FAMEZ_SOAK_S=${FAMEZ_SOAK_S:-8}

# say WORDS - what happens now, apart from the tests' own lines.
say() {
	printf '# %s\n' "$*"
}

# one_test NAME COMMAND... - a command that passes or fails as a whole.
one_test() {
	local name=$1
	shift
	if "$@" >>"$log" 2>&1; then
		printf 'ok %s\n' "$name"
		passed=$((passed + 1))
	else
		printf 'FAIL %s: see %s\n' "$name" "$log"
		tail -n 20 "$log" | sed 's/^/    /'
		failed=$((failed + 1))
	fi
}

# many_tests NAME COMMAND... - a program that prints a line a test and ends with the
# sum. One that ends without a sum, or with an exit code that does not fit it, failed.
many_tests() {
	local name=$1 sum code before
	shift
	before=$(wc -l <"$log" 2>/dev/null || echo 0)
	"$@" 2>&1 | tee -a "$log" | grep --line-buffered -E '^(ok|FAIL|SKIP) ' | sed -u "s/^\([A-Za-z]*\) /\1 $name: /"
	code=${PIPESTATUS[0]}
	sum=$(tail -n +"$((before + 1))" "$log" | grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' | tail -n 1)
	if [[ $sum =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)?$ ]] &&
		{ ((code == 0)) || ((BASH_REMATCH[2] > 0)); }; then
		passed=$((passed + BASH_REMATCH[1]))
		failed=$((failed + BASH_REMATCH[2]))
		skipped=$((skipped + ${BASH_REMATCH[4]:-0}))
	else
		printf 'FAIL %s: ended with status %s and the sum "%s"; see %s\n' "$name" "$code" "$sum" "$log"
		tail -n 20 "$log" | sed 's/^/    /'
		failed=$((failed + 1))
	fi
}

# build PRESET - configure and build one preset.
build() {
	say "building $1"
	one_test "configure $1" cmake --preset "$1"
	one_test "build $1" cmake --build --preset "$1" -j "$jobs"
}

unit_tests() {
	local test
	for test in build/"$1"/tests/unit/test_*; do
		[[ -x $test && ! -d $test ]] && many_tests "$1 $(basename "$test")" "$test"
	done
}

step_format() {
	local files
	mapfile -t files < <(git ls-files '*.c' '*.h' '*.cc')
	one_test 'clang-format: every source is formatted' clang-format --dry-run --Werror "${files[@]}"
	mapfile -t files < <(git ls-files '*.sh' '.ci/run')
	one_test 'shellcheck: every script is clean' shellcheck -x "${files[@]}"
	mapfile -t files < <(git ls-files 'docs/man/*')
	one_test 'mandoc: every manual page is clean' mandoc -T lint -W warning "${files[@]}"
}

step_asan() {
	build asan
	unit_tests asan
	many_tests 'asan lanes' build/asan/tests/lanes/lane_stress
	local script
	for script in start join sending; do
		many_tests "asan faults $script" python3 "tests/faults/$script.py" --server build/asan/broker/famez-server-faults
	done
	many_tests 'asan blackbox' python3 tests/blackbox/run_all.py --server build/asan/broker/famez-server --workers 1,2
	many_tests 'asan clients' python3 tests/clients/run_all.py --build build/asan
	many_tests 'asan soak' python3 tests/soak/soak.py --server build/asan/broker/famez-server
}

step_tsan() {
	build tsan
	unit_tests tsan
	many_tests 'tsan lanes' build/tsan/tests/lanes/lane_stress --messages 50000
	many_tests 'tsan blackbox' python3 tests/blackbox/run_all.py --server build/tsan/broker/famez-server --workers 4
	many_tests 'tsan soak' python3 tests/soak/soak.py --server build/tsan/broker/famez-server
}

step_model() {
	many_tests 'model' tests/model/run.sh
}

step_release() {
	build release
	many_tests 'release lanes' build/release/tests/lanes/lane_stress --messages 300000
	many_tests 'release mutations' tests/mutations/run.sh build/release
	many_tests 'release blackbox' python3 tests/blackbox/run_all.py --server build/release/broker/famez-server --workers 1
	many_tests 'release clients' python3 tests/clients/run_all.py --build build/release --large
	many_tests 'release soak' python3 tests/soak/soak.py --server build/release/broker/famez-server 64_peers takes_nothing
	many_tests 'release vm' python3 tests/vm/run_all.py --server build/release/broker/famez-server \
		--kit build/kit
	many_tests 'release kernel' python3 tests/kernel/run.py --kit build/kit
	many_tests 'release install' tests/install/run.sh build/release
}

step_clang() {
	build fuzz
	many_tests 'fuzz' tests/fuzz/run.sh build/fuzz "${FAMEZ_FUZZ_SECONDS:-8}"
	one_test 'clang-tidy: every source is clean' tests/tidy.sh build/fuzz 3>&1
}

steps=(format model asan tsan release clang)
case ${1-} in
--list)
	printf '%s\n' "${steps[@]}"
	exit 0
	;;
-h | --help)
	sed -n '4,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
	exit 0
	;;
esac
(($# > 0)) && steps=("$@")

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
for step in "${steps[@]}"; do
	if ! declare -F "step_$step" >/dev/null; then
		printf "run.sh: no step '%s'; there are: %s\n" "$step" 'format model asan tsan release clang' >&2
		exit 2
	fi
	log=$logs/$step.log
	: >"$log"
	begun=$SECONDS
	"step_$step"
	say "$step took $((SECONDS - begun)) s"
done
if ((skipped > 0)); then
	printf '%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
else
	printf '%s passed, %s failed\n' "$passed" "$failed"
fi
((failed == 0))
