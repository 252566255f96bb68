#!/bin/bash
# SPDX-License-Identifier: MIT
#
# quickstart.sh - from a fresh Debian 12 to 1,000 emulated VMs in one command.
#
# Installs the packages that are missing, builds, starts a broker of its own on
# a socket in a private folder, lets famez-stress put 1,000 VMs on it, says how to
# attach a real VM, and stops the broker. Leaves nothing behind but the build
# folder (and the packages).

set -euo pipefail

peers=1000
vectors=1
case ${1-} in
'') ;;
-h | --help)
	echo 'Usage: tools/quickstart.sh [--peers N]'
	echo 'Installs what is missing, builds FAME-Z, and shows 1,000 emulated VMs at work, or N.'
	exit 0
	;;
--peers)
	peers=${2-}
	if ! [[ $peers =~ ^[0-9]{1,4}$ ]] || ((10#$peers < 2 || $# > 2)); then
		echo "quickstart.sh: --peers takes a number from 2 to 9999, not '$peers'" >&2
		exit 2
	fi
	;;
*)
	echo "quickstart.sh: takes --peers N or nothing, got '$1' (try --help)" >&2
	exit 2
	;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
build=$root/build/release
# shellcheck source=tools/packages.sh
source tools/packages.sh

# A line drawn with block characters beats one of '#': take UTF-8 where nobody chose otherwise.
if [[ -z ${LC_ALL-}${LC_CTYPE-}${LANG-} ]]; then
	export LC_ALL=C.UTF-8
fi
bold='' plain=''
if [[ -t 1 ]]; then
	bold=$'\e[1m' plain=$'\e[0m'
fi

run_dir=''
broker=''

# Stops the broker, if there is one, and returns its exit code.
stop_broker() {
	local pid=$broker code=0
	broker=''
	[[ -n $pid ]] || return 0
	kill -TERM "$pid" 2>/dev/null || true # it may have ended by itself
	timeout 30 tail -s 0.1 --pid="$pid" -f /dev/null >/dev/null ||
		kill -KILL "$pid" 2>/dev/null || true # a broker that does not end is a failure
	wait "$pid" || code=$?
	wait # for what passed its words on to the log
	return "$code"
}

clean_up() {
	local code=$?
	trap - EXIT
	stop_broker || true # on the way out after a failure; its code was looked at elsewhere
	if [[ -n $run_dir ]]; then
		rm -rf -- "$run_dir"
	fi
	exit "$code"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM

step() {
	printf '%s%-9s%s %s\n' "$bold" "$1" "$plain" "$2"
}

die() {
	printf 'quickstart.sh: %s\n' "$1" >&2
	exit 1
}

# On a terminal, the last line that came, on a line of its own that goes away at the end.
show_last_line() {
	local line
	while IFS= read -r line; do
		[[ ! -t 1 ]] || printf '\r          %.68s\e[K' "$line"
	done
	[[ ! -t 1 ]] || printf '\r\e[K'
}

# logged WHAT LOG COMMAND... - runs it with its output in LOG; shows the end of it after a failure.
logged() {
	local what=$1 log=$2
	shift 2
	if ! "$@" </dev/null 2>&1 | tee "$log" | show_last_line; then
		tail -n 15 "$log" >&2
		die "$what failed; all it said is in $log"
	fi
}

# 1. Packages
mapfile -t missing < <(famez_packages_missing "${FAMEZ_BUILD_PACKAGES[@]}")
mkdir -p "$build"
if ((${#missing[@]})); then
	step packages "installing ${missing[*]}"
	if ((EUID != 0)) && command -v sudo >/dev/null; then
		sudo -v || die 'installing packages needs root'
	fi
	logged 'installing packages' "$build/packages.log" famez_packages_install "${missing[@]}"
else
	step packages 'all there'
fi

# 2. Build
step build "release, in ${build#"$root"/}"
logged configuring "$build/configure.log" cmake --preset release
logged building "$build/build.log" \
	cmake --build "$build" --target famez-server famez-client famez-stress

# 3. A broker
parent=/tmp
if [[ -n ${XDG_RUNTIME_DIR-} && -w $XDG_RUNTIME_DIR ]]; then
	parent=$XDG_RUNTIME_DIR
fi
run_dir=$(mktemp -d "$parent/famez.XXXXXX") # mktemp makes it 0700
socket=$run_dir/famez.sock
log=$run_dir/broker.log
mkfifo -m 0600 "$run_dir/said"
"$build/broker/famez-server" --foreground --socketpath "$socket" --vectors "$vectors" --peers "$peers" \
	>"$run_dir/said" 2>&1 &
broker=$!
# What it says goes through here to the log, until it ends; `listening` is its word that the
# socket takes connections.
exec {said}<"$run_dir/said"
listening=false
while IFS= read -r -t 60 -u "$said" line; do
	printf '%s\n' "$line" >>"$log"
	if [[ $line == *' event=listening'* ]]; then
		listening=true
		break
	fi
done
if ! $listening; then
	cat "$log" >&2 2>/dev/null || true
	die 'the broker did not start'
fi
cat <&"$said" >>"$log" & # ends with the broker
exec {said}<&-
step broker "$socket, for $peers VMs"
echo

# 4. The VMs
"$build/tools/stress/famez-stress" mesh --socketpath "$socket" --peers "$peers" --vectors "$vectors" \
	--json "$build/stress.json" --svg "$build/stress.svg"
echo
step figures "${build#"$root"/}/stress.json, and drawn: ${build#"$root"/}/stress.svg"

# 5. A real one
cat <<EOF

${bold}Attach a real VM${plain}

  qemu-system-x86_64 ... \\
    -chardev socket,id=famez,path=$socket \\
    -device ivshmem-doorbell,chardev=famez,vectors=$vectors

  <shmem name='famez'>                                  in libvirt's <devices>
    <model type='ivshmem-doorbell'/>
    <server path='$socket'/>
    <msi vectors='$vectors' ioeventfd='on'/>
  </shmem>

This broker ends now. One that stays, at the same place:

  mkdir -m 700 $run_dir
  ${build#"$root"/}/broker/famez-server -S $socket -n $vectors

EOF

# 6. The end
code=0
stop_broker || code=$?
((code == 0)) || die "the broker ended with exit code $code"
[[ ! -e $socket ]] || die "the broker left its socket behind: $socket"
step 'done' 'the broker ended cleanly; nothing is left but the build'
