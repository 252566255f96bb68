#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh BUILD_DIR - installs a build into folders of its own, and uses what was installed: the
# programs, the libraries through pkg-config, the manual pages, the systemd unit. Twice: into a
# prefix, as a user does, and with DESTDIR below /usr, as a package does. Touches nothing else.

set -uo pipefail

if (($# != 1)) || [[ ! -f $1/CMakeCache.txt ]]; then
	echo 'Usage: tests/install/run.sh BUILD_DIR (a folder that cmake has configured and built)' >&2
	exit 2
fi
build=$(realpath "$1")
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
root=$(realpath "$here/../..")
place=$(mktemp -d "${TMPDIR:-/tmp}/famez-test.XXXXXX")
prefix=$place/prefix
package=$place/package
broker=''
talkers=()
# shellcheck source=tests/install/counted.sh
source "$here/counted.sh"

clean_up() {
	local talker
	for talker in "${talkers[@]}"; do
		kill "$talker" 2>/dev/null
		wait "$talker" 2>/dev/null
	done
	if [[ -n $broker ]]; then
		kill "$broker" 2>/dev/null
		wait "$broker" 2>/dev/null
	fi
	rm -rf -- "$place"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# One of the options that cmake chose for this build.
cached() {
	sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"
}

# in_prefix FILE - its place under $prefix, wherever that build puts libraries and the like.
in_prefix() {
	find "$prefix" -name "$1" -not -path '*/bash-completion/*' -print -quit | grep .
}

# ---------------------------------------------------------------- what is installed

# Nothing may go elsewhere than below the prefix. Looked at before anything is installed.
nothing_goes_outside_the_prefix() {
	! find "$build" -name cmake_install.cmake -exec \
		sed -n 's/^ *file(INSTALL DESTINATION "\(\/[^"]*\)".*/goes outside the prefix: \1/p' {} + |
		grep .
}

install_into_prefix() {
	cmake --install "$build" --prefix "$prefix"
}

install_as_package() {
	DESTDIR=$package cmake --install "$build" --prefix /usr
}

# Each file of a list of patterns is there, and in no other folder than its own.
everything_is_there() {
	local file
	for file in 'sbin/famez-server' 'bin/famez-client' 'bin/famez-stress' 'include/famez/peer.h' \
		'include/famez/wire.h' 'include/famez/atomic.h' 'include/famez/mailbox.h' \
		'include/famez/lane.h' 'include/famez/inbox.h' 'lib*/libfamez.a' 'lib*/libfamez.so' 'lib*/libfamez.so.0' \
		'lib*/pkgconfig/famez.pc' 'share/man/man1/famez-client.1' \
		'share/man/man1/famez-stress.1' 'share/man/man3/*.3' 'share/man/man8/famez-server.8' \
		'lib*/systemd/system/famez@.service' 'lib*/systemd/system/famez@.socket' 'etc/default/famez' \
		'etc/apparmor.d/usr.sbin.famez-server' 'etc/apparmor.d/abstractions/libvirt-qemu.d/famez'; do
		find "$1" -path "$1/$file" | grep -q . || {
			echo "no $file"
			return 1
		}
	done
}

nothing_of_the_tests_is_installed() {
	! find "$prefix" -name '*test*' -o -name '*-faults*' -o -name '*bench*' -o -name '*naive*' | grep .
}

nothing_names_the_place_it_was_built_in() {
	! grep -rIlF -e "$build" -e "$root" "$package"
}

programs_tell_their_version() {
	local program
	for program in famez-server famez-client famez-stress; do
		"$(in_prefix "$program")" --version | grep -Eq "^$program [0-9]+\.[0-9]+\.[0-9]+$" || {
			echo "$program --version"
			return 1
		}
		"$(in_prefix "$program")" --help | grep -Eqi '^usage: ' || {
			echo "$program --help"
			return 1
		}
	done
}

# ---------------------------------------------------------------- manual pages

page_is_readable() {
	local text
	if command -v mandoc >/dev/null; then
		mandoc -T lint -W error "$1" || return 1
		text=$(mandoc -T utf8 "$1" | col -b)
	else
		text=$(MANWIDTH=80 man -l "$1" | col -b)
	fi
	[[ $text == *NAME* && $text == *"$(basename "${1%.*}" | cut -d_ -f1)"* ]]
}

# ---------------------------------------------------------------- the library

# flags WORD... - what pkg-config answers, of the installed file alone.
flags() {
	PKG_CONFIG_PATH='' PKG_CONFIG_LIBDIR=$(dirname "$(in_prefix famez.pc)") pkg-config "$@" famez
}

# built_with COMPILER SOURCE OUTPUT FLAG... - this file and nothing but these flags.
built_with() {
	local compiler=$1 source=$2 output=$3 sanitize
	shift 3
	sanitize=$(cached FAMEZ_SANITIZE)
	"$compiler" -std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Wpedantic -Werror \
		${sanitize:+"-fsanitize=$sanitize"} -o "$output" "$source" "$@"
}

compiler() {
	local chosen
	chosen=$(cached CMAKE_C_COMPILER)
	printf '%s' "${chosen:-cc}"
}

# shared_is_linked SOURCE OUTPUT
# shellcheck disable=SC2046 # flags are words
shared_is_linked() {
	built_with "$(compiler)" "$1" "$2" $(flags --cflags --libs) &&
		objdump -p "$2" | grep -q 'NEEDED.*libfamez.so.0'
}

# static_is_linked SOURCE OUTPUT
# shellcheck disable=SC2046
static_is_linked() {
	# As one does who wants this one library in the program: the linker is told so by name.
	built_with "$(compiler)" "$1" "$2" $(flags --cflags) \
		-Wl,-Bstatic $(flags --static --libs) -Wl,-Bdynamic &&
		! objdump -p "$2" | grep -q 'NEEDED.*libfamez'
}

example_is_short() {
	(($(wc -l <"$root/docs/example.c") <= 40))
}

# Each by itself, so that none leans on what another includes; and with the warnings that C++ has
# beyond C's, which -Wextra does not name in every compiler.
headers_are_cxx() {
	local header cxx standard
	for cxx in "$(cached CMAKE_CXX_COMPILER)" g++ clang++; do
		command -v "$cxx" >/dev/null || continue
		for standard in c++11 c++17; do
			for header in "$prefix"/include/famez/*.h; do
				# shellcheck disable=SC2046
				printf '#include <famez/%s>\n' "$(basename "$header")" |
					"$cxx" "-std=$standard" -Wall -Wextra -Wshadow -Wpedantic -Werror \
						-Wmissing-field-initializers $(flags --cflags) -x c++ -fsyntax-only - || {
					echo "$(basename "$header"), $cxx -std=$standard"
					return 1
				}
			done
		done
	done
}

only_its_own_names_are_exported() {
	local names
	names=$(nm -D --defined-only "$(in_prefix libfamez.so.0)" | awk '$2 ~ /[TDBRVW]/ {print $3}')
	[[ -n $names ]] && ! grep -v '^famez_' <<<"$names"
}

# Starts the installed broker; its word that it listens comes through the pipe.
start_broker() {
	local line
	mkfifo "$place/said" || return 1
	"$(in_prefix famez-server)" -F -S "$place/sock" -l 2M -n 3 --peers 10 >"$place/said" 2>&1 &
	broker=$!
	exec {said}<"$place/said"
	while IFS= read -r -t 60 -u "$said" line; do
		if [[ $line == *' event=listening'* ]]; then
			cat <&"$said" >/dev/null & # ends with the broker
			exec {said}<&-
			return 0
		fi
		printf '%s\n' "$line"
	done
	return 1
}

shared_joins() {
	LD_LIBRARY_PATH=$(dirname "$(in_prefix libfamez.so.0)") "$place/member-shared" "$place/sock" |
		grep -Eq '^[0-9]+ 2$'
}

static_joins() {
	"$place/member-static" "$place/sock" | grep -Eq '^[0-9]+ 2$'
}

# heard LINE - the first example prints this next.
heard() {
	local line
	IFS= read -r -t 60 -u "$ears" line
	[[ $line == "$1" ]] || {
		echo "heard '$line' instead of '$1'"
		return 1
	}
}

# One with the shared library, one with the static one. The first sends itself a message, to say
# that it is there.
examples_talk() {
	mkfifo "$place/heard" || return 1
	LD_LIBRARY_PATH=$(dirname "$(in_prefix libfamez.so.0)") \
		"$place/example-shared" "$place/sock" alice alice ready >"$place/heard" &
	talkers+=($!)
	exec {ears}<"$place/heard"
	heard 'alice: ready' || return 1
	"$place/example-static" "$place/sock" bob alice 'hello, there' &
	talkers+=($!)
	heard 'bob: hello, there'
}

examples_end_with_the_broker() {
	local talker
	for talker in "${talkers[@]}"; do
		wait "$talker" || return 1
	done
	talkers=()
}

client_joins() {
	[[ $("$(in_prefix famez-client)" -S "$place/sock" memory) == '2097152 bytes (2 MiB)' ]]
}

stress_joins() {
	"$(in_prefix famez-stress)" -S "$place/sock" --peers 8 --time 0
}

broker_ends() {
	local code=0 pid=$broker
	broker=''
	[[ -n $pid ]] || return 1
	kill "$pid" && { wait "$pid" || code=$?; }
	((code == 0)) && [[ ! -e $place/sock && ! -e $place/sock.lock ]]
}

# ---------------------------------------------------------------- systemd

# The unit names the program where a package puts it; it is looked at where we put it.
units_are_right() {
	local unit exec
	unit=$(find "$package" -name famez@.service -print -quit)
	exec=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$unit")
	[[ -x $package$exec || $exec == "$(cached CMAKE_INSTALL_PREFIX)"/* ]] || {
		echo "ExecStart=$exec is not what was installed"
		return 1
	}
	mkdir -p "$place/units" && cp "$(dirname "$unit")/famez@.socket" "$place/units" &&
		sed "s|^ExecStart=[^ ]*|ExecStart=$(in_prefix famez-server)|" "$unit" >"$place/units/famez@.service"
	systemd-analyze verify --man=no "$place/units/famez@net.service" "$place/units/famez@net.socket" 2>&1 |
		tee "$place/verdict"
	((PIPESTATUS[0] == 0)) && ! grep -q 'famez' "$place/verdict"
}

# What it makes of the hardening: 0 is all that there is, 100 is nothing. The rest is what the broker
# needs: root, other processes in /proc, and descriptors beyond its limit (docs/operations.md).
unit_is_hardened() {
	systemd-analyze security --offline=true --threshold=30 "$place/units/famez@net.service"
}

# ---------------------------------------------------------------- AppArmor

# Parsed as libvirt's profile would have it, and as a profile of its own. Not loaded.
apparmor_takes_it() {
	local rules parse=(apparmor_parser --skip-kernel-load --skip-cache)
	rules=$(find "$package" -path '*/abstractions/libvirt-qemu.d/famez' -print -quit)
	printf 'abi <abi/3.0>,\ninclude <tunables/global>\nprofile famez-test {\n  include "%s"\n}\n' "$rules" \
		>"$place/libvirt" &&
		"${parse[@]}" "$place/libvirt" &&
		"${parse[@]}" "$(find "$package" -name usr.sbin.famez-server -print -quit)"
}

check 'nothing is installed outside the prefix' nothing_goes_outside_the_prefix
if ((failed > 0)); then
	sum # to go on would write there
	exit 1
fi
check 'a build installs into a prefix' install_into_prefix
check 'a build installs below DESTDIR' install_as_package
if ((failed > 0)); then
	sum # there is nothing to look at
	exit 1
fi
check 'all that belongs to it is in the prefix' everything_is_there "$prefix"
check 'all that belongs to it is in the package' everything_is_there "$package/usr"
check 'nothing of the tests is installed' nothing_of_the_tests_is_installed
check 'no installed text names the folder it was built in' nothing_names_the_place_it_was_built_in
check 'the programs tell version and usage' programs_tell_their_version
while IFS= read -r page; do
	name="the manual page $(basename "$page") is readable"
	if command -v mandoc >/dev/null || command -v man >/dev/null; then
		check "$name" page_is_readable "$page"
	else
		skip "$name" 'neither mandoc nor man here'
	fi
done < <(find "$prefix" -path '*/man/man*/*' -type f | sort)
check 'a program links with the shared library by pkg-config alone' \
	shared_is_linked "$here/member.c" "$place/member-shared"
check 'a program links with the static library by pkg-config alone' \
	static_is_linked "$here/member.c" "$place/member-static"
check 'the example is at most 40 lines' example_is_short
check 'the example links with the shared library' \
	shared_is_linked "$root/docs/example.c" "$place/example-shared"
check 'the example links with the static library' \
	static_is_linked "$root/docs/example.c" "$place/example-static"
check 'the headers are C++ as well' headers_are_cxx
check 'the shared library exports only famez_ names' only_its_own_names_are_exported
check 'the installed broker starts' start_broker
check 'the program with the shared library joins it, and hears its own ring' shared_joins
check 'the program with the static library joins it, and hears its own ring' static_joins
check 'the installed client joins it' client_joins
check 'the installed stress tool joins it' stress_joins
check 'one example hears what the other sends' examples_talk
check 'the installed broker ends cleanly' broker_ends
check 'the examples end with it' examples_end_with_the_broker
if command -v systemd-analyze >/dev/null; then
	check 'systemd finds no fault with the units' units_are_right
	check 'systemd finds the broker well confined' unit_is_hardened
else
	skip 'systemd finds no fault with the units' 'no systemd-analyze here'
	skip 'systemd finds the broker well confined' 'no systemd-analyze here'
fi
if command -v apparmor_parser >/dev/null; then
	check 'AppArmor takes the profile and the rules for libvirt' apparmor_takes_it
else
	skip 'AppArmor takes the profile and the rules for libvirt' 'no apparmor_parser here'
fi
sum
