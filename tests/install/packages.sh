#!/bin/bash
# SPDX-License-Identifier: MIT
#
# packages.sh BUILD_DIR - makes the Debian packages of a build of preset `deb`, installs them with
# apt in a fresh Debian 12, and has its systemd run them.
#
# The fresh Debian is a folder (mmdebstrap, from the mirror that this machine uses); its systemd
# is the first process of namespaces of its own. Needs root, and is left out where it can't be had;
# the packages are looked at all the same.

set -uo pipefail

if (($# != 1)) || [[ ! -f $1/CMakeCache.txt ]]; then
	echo 'Usage: tests/install/packages.sh BUILD_DIR (a folder that cmake has configured: preset deb)' >&2
	exit 2
fi
build=$(realpath "$1")
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
place=$(mktemp -d "${TMPDIR:-/tmp}/famez-test.XXXXXX")
root=$place/root
installed=(famez-server famez-tools libfamez0 libfamez-dev)
names=("${installed[@]}" famez-dkms)
container='' init=''
# shellcheck source=tests/install/counted.sh
source "$here/counted.sh"

# Nothing is mounted below $place but in the container's namespace, which ends with its init.
clean_up() {
	if [[ -n $container ]]; then
		kill -KILL "$container" 2>/dev/null
		wait "$container" 2>/dev/null
	fi
	rm -rf --one-file-system -- "$place"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# until_true COMMAND... - looks again and again; the limit guards against a hang.
until_true() {
	local i
	for ((i = 0; i < 2400; i++)); do
		"$@" >"$place/last" 2>&1 && return 0
		sleep 0.05
	done
	echo "in vain: $*: $(tail -n 1 "$place/last")"
	return 1
}

# ---------------------------------------------------------------- the packages

packages_are_made() {
	rm -f "$build"/*.deb
	cmake --build "$build" --target package && (($(find "$build" -maxdepth 1 -name '*.deb' | wc -l) == 5))
}

package() {
	find "$build" -maxdepth 1 -name "$1_*.deb" -print -quit | grep .
}

# Each file of one is in no other, and each has its manual pages, changelog and licence.
packages_are_whole() {
	local name
	for name in "${names[@]}"; do
		dpkg-deb --fsys-tarfile "$(package "$name")" | tar -t | grep -v '/$' | sort >"$place/$name.files"
		if (($(grep -cE "/doc/$name/(copyright|changelog.Debian.gz)$" "$place/$name.files") != 2)); then
			echo "$name has no copyright or changelog"
			return 1
		fi
	done
	! sort "$place"/*.files | uniq -d | grep . &&
		grep -q man8/famez-server.8.gz "$place/famez-server.files" &&
		grep -q man1/famez-client.1.gz "$place/famez-tools.files" &&
		grep -q man3/ "$place/libfamez-dev.files"
}

# Not for the Debian archive: no bug is closed, and running brokers are no business of
# deb-systemd-invoke, which would restart them. CPack calls ldconfig(8) in scripts, not by a trigger.
lintian_finds_nothing() {
	lintian --allow-root --no-cfg --fail-on warning,error --tag-display-limit 0 --suppress-tags \
		initial-upload-closes-no-bugs,maintainer-script-calls-systemctl,lacks-ldconfig-trigger,maintscript-calls-ldconfig \
		"$build"/*.deb
}

# The driver's package, as apt would leave it, and DKMS with folders of its own instead of the
# machine's.
dkms_builds_the_driver() {
	local version kernel dkms
	dpkg-deb -x "$(package famez-dkms)" "$place/driver" || return 1
	version=$(dpkg-deb -f "$(package famez-dkms)" Version)
	kernel=$(find /usr/src -maxdepth 1 -name 'linux-headers-*-amd64' -printf '%f\n' | sort -V | tail -n 1)
	dkms=(--dkmstree "$place/dkms" --sourcetree "$place/driver/usr/src" -m famez -v "${version%-*}")
	mkdir "$place/dkms" && dkms add "${dkms[@]}" &&
		dkms build "${dkms[@]}" -k "${kernel#linux-headers-}" --kernelsourcedir "/usr/src/$kernel" || return 1
	find "$place/dkms" -name 'famez.ko*' | grep .
}

# ---------------------------------------------------------------- a fresh Debian

# Why there can't be one here; nothing if there can.
obstacle() {
	if ((EUID != 0)); then
		echo 'not root'
	elif ! command -v mmdebstrap >/dev/null; then
		echo 'no mmdebstrap here'
	fi
}

# The mirrors are those of the machine; packages that it has downloaded need not come again.
debian_is_made() {
	# shellcheck disable=SC2016 # mmdebstrap's shell expands it
	timeout 300 mmdebstrap --quiet --mode=root --variant=apt --dpkgopt=force-unsafe-io \
		--include=systemd-sysv --customize-hook='chroot "$1" apt-get -q update' \
		--skip=cleanup/apt bookworm "$root"
}

# apt finds what they depend on. All but the driver's, which would bring a compiler.
packages_install() {
	mkdir "$root/packages" && cp "$build"/*.deb "$root/packages" && rm "$root"/packages/famez-dkms_* &&
		chroot "$root" sh -c 'DEBIAN_FRONTEND=noninteractive apt-get -q install -y \
			--no-install-recommends /packages/*.deb'
}

programs_run() {
	local program
	for program in famez-server famez-client famez-stress; do
		chroot "$root" "$program" --version || return 1
	done
}

# ---------------------------------------------------------------- under its systemd

# inside COMMAND... - in the container.
inside() {
	nsenter --target "$init" --all -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# Is the container's first process up?
is_up() {
	local state
	state=$(inside systemctl is-system-running 2>/dev/null)
	[[ $state == running || $state == degraded ]]
}

systemd_starts() {
	unshare --mount --pid --fork --kill-child --uts --ipc --cgroup "$here/boot.sh" "$root" \
		>"$place/boot.log" 2>&1 </dev/null &
	container=$!
	# shellcheck disable=SC2317
	is_born() {
		init=$(cat "/proc/$container/task/$container/children") && init=${init%% *}
		[[ -n $init && $(cat "/proc/$init/comm") == systemd ]] || ! kill -0 "$container"
	}
	if ! until_true is_born 2>/dev/null || [[ -z $init ]] || ! until_true is_up; then
		echo 'it does not come up'
		cat "$place/boot.log"
		return 1
	fi
}

main_pid() {
	inside systemctl show --property MainPID --value "famez@$1"
}

an_instance_starts() {
	inside systemctl start famez@net || {
		inside journalctl --no-pager -u famez@net
		return 1
	}
	inside systemctl is-active famez@net
}

a_client_joins() {
	[[ $(inside famez-client -S "/run/famez/$1.sock" memory) == *' bytes ('* ]]
}

peers_talk_and_ring() {
	inside famez-stress -S /run/famez/net.sock --peers 8 --time 0
}

options_come_from_files() {
	echo 'FAMEZ_OPTIONS="--vectors 2 --peers 8 --logfile /var/log/famez/small.log"' >"$root/etc/famez/small.conf"
	inside systemctl start famez@small &&
		grep -q 'event=start .*peers=8 vectors=2' "$root/var/log/famez/small.log" &&
		inside systemctl stop famez@small && ! a_client_joins small
}

the_socket_starts_it() {
	inside systemctl start famez@lazy.socket &&
		[[ $(inside systemctl is-active famez@lazy.service) == inactive ]] &&
		a_client_joins lazy &&
		inside systemctl is-active famez@lazy.service &&
		inside famez-server --stop -p /run/famez/lazy.pid &&
		inside systemctl stop famez@lazy.socket
}

reload_is_a_signal() {
	local before
	before=$(main_pid net)
	inside systemctl reload famez@net && [[ $(main_pid net) == "$before" ]] && a_client_joins net
}

# broker PID - the process that serves for this keeper, by the container's numbers.
broker() {
	inside cat "/proc/$1/task/$1/children" | tr -d ' \n'
}

has_a_successor() {
	local now
	now=$(broker "$1")
	[[ -n $now && $now != "$2" ]]
}

its_broker_has_a_successor() {
	local keeper before
	keeper=$(main_pid net)
	before=$(broker "$keeper")
	[[ -n $before ]] && inside sh -c "kill -KILL $before" &&
		until_true has_a_successor "$keeper" "$before" &&
		a_client_joins net && [[ $(main_pid net) == "$keeper" ]]
}

# A device, as the broker takes it for one: by the name of its program.
device_stays() {
	cp "$root/usr/bin/famez-client" "$root/usr/local/bin/qemu-famez" || return 1
	mkfifo "$root/orders" || return 1
	exec {orders}<>"$root/orders"
	inside /usr/local/bin/qemu-famez -S /run/famez/net.sock <"$root/orders" >"$place/device.log" 2>&1 &
	echo memory >&"$orders"
	until_true grep -q ' bytes (' "$place/device.log" && device_is_known
}

# Whoever asks for the server to be stopped is told of it.
device_is_known() {
	inside famez-server --stop -S /run/famez/net.sock
	(($? == 5))
}

# Of the same version, which is all the same to dpkg and to the broker.
an_upgrade_is_not_noticed() {
	local keeper before
	keeper=$(main_pid net)
	before=$(broker "$keeper")
	inside sh -c 'dpkg -i /packages/famez-server_*.deb' >"$place/dpkg.log" 2>&1
	cat "$place/dpkg.log"
	[[ $(main_pid net) == "$keeper" ]] && grep -q 'is upgraded' "$place/dpkg.log" &&
		[[ $(broker "$keeper") != "$before" ]] && device_is_known && a_client_joins net
}

# The device as it is listed: by ID and process.
listed() {
	inside famez-server --stop -S /run/famez/net.sock </dev/null 2>/dev/null | grep '^id '
}

# Its keeper is another process afterwards, and the device the same.
a_restart_is_not_noticed() {
	local before keeper
	keeper=$(main_pid net)
	before=$(listed)
	inside systemctl restart famez@net && [[ $(main_pid net) != "$keeper" ]] && a_client_joins net &&
		[[ -n $before && $(listed) == "$before" ]] && device_hears
}

# After systemd has stored what is open, which takes its time.
the_death_of_all_is_not_noticed() {
	local before keeper
	keeper=$(main_pid net)
	before=$(listed)
	inside systemctl kill --signal KILL famez@net && until_true is_another_keeper "$keeper" &&
		until_true a_client_joins net && [[ -n $before && $(listed) == "$before" ]] && device_hears
}

is_another_keeper() {
	local now
	now=$(main_pid net)
	((now != 0 && now != $1))
}

# Whoever comes now is told of it, and its ring gets through: only then is the second order obeyed.
device_hears() {
	local id
	id=$(listed | sed 's/^id \([0-9]*\):.*/\1/')
	: >"$place/device.log"
	printf '%s\n' 'wait 1 --timeout 600' memory >&"$orders"
	inside famez-client -S /run/famez/net.sock ring "$id" 1 && until_true grep -q ' bytes (' "$place/device.log"
}

removal_is_refused_for_a_device() {
	! inside apt-get -q remove -y famez-server >"$place/apt.log" 2>&1 &&
		grep -q 'famez-server is not removed' "$place/apt.log" &&
		inside systemctl is-active famez@net && device_is_known
}

removal_leaves_nothing() {
	echo quit >&"$orders"
	until_true inside famez-server --stop -S /run/famez/net.sock && [[ $(main_pid net) == 0 ]] || return 1
	rm "$root/etc/famez/small.conf" # an administrator's own stays
	inside apt-get -q purge -y "${installed[@]}" || return 1
	! inside find / -xdev -name '*famez*' -not -path '/proc/*' -not -path '/packages/*' \
		-not -path '/usr/local/*' -not -path '/var/log/*' -not -path '/var/cache/*' | grep .
}

# As check(), and what the service has logged where it fails.
check_service() {
	local before=$failed
	check "$@"
	if ((failed > before)); then
		inside journalctl --no-pager -n 60 -u famez@net >&2
	fi
}

check 'five packages are made' packages_are_made
if ((failed > 0)); then
	sum
	exit 1
fi
check 'each has what belongs to it, with licence and changelog' packages_are_whole
if command -v lintian >/dev/null; then
	check 'lintian finds nothing' lintian_finds_nothing
else
	skip 'lintian finds nothing' 'no lintian here'
fi
if command -v dkms >/dev/null; then
	check 'DKMS builds the driver from its package' dkms_builds_the_driver
else
	skip 'DKMS builds the driver from its package' 'no dkms here'
fi
why=$(obstacle)
if [[ -z $why ]] && ! debian_is_made >"$place/debian.log" 2>&1; then
	cat "$place/debian.log" >&2
	why="no Debian from its mirror: $(grep -m 1 '^E: ' "$place/debian.log")"
fi
if [[ -n $why ]]; then
	skip 'they install and run on a fresh Debian 12' "$why"
	sum
	exit
fi
check 'apt installs them on a fresh Debian 12' packages_install
check 'the programs run there' programs_run
check 'its systemd starts' systemd_starts
if ((failed > 0)); then
	sum
	exit 1
fi
check_service 'an instance of the unit starts' an_instance_starts
check_service 'a client joins it' a_client_joins net
check_service 'many peers come, ring and leave' peers_talk_and_ring
check_service 'the options of a fabric are read from files' options_come_from_files
check_service 'the socket starts it when the first client comes' the_socket_starts_it
check_service 'systemctl reload is no restart' reload_is_a_signal
check_service 'a broker that is killed has a successor under systemd' its_broker_has_a_successor
check_service 'a device keeps the server from being stopped' device_stays
check_service 'an upgrade of the package is one of the broker, under a device' an_upgrade_is_not_noticed
check_service 'a restart of the unit is not noticed by a device' a_restart_is_not_noticed
check_service 'the death of all its processes is not noticed by a device' the_death_of_all_is_not_noticed
check_service 'the package is not removed under a device' removal_is_refused_for_a_device
check_service 'removed, it leaves nothing' removal_leaves_nothing
sum
