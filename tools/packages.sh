# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# packages.sh - which Debian packages FAME-Z needs, and getting the missing ones.
#
# To be sourced, by tools/quickstart.sh and tests/run.sh. Installs with apt-get,
# and only what is missing; touches nothing else.

# What the broker and its tools need to be built.
# shellcheck disable=SC2034 # used by whoever sources this
FAMEZ_BUILD_PACKAGES=(
	build-essential cmake ninja-build pkg-config
	liburing-dev libjemalloc-dev libck-dev libsystemd-dev libseccomp-dev
	libedit-dev libcjson-dev liblzma-dev libcmocka-dev
)

# What the tests need besides: QEMU and a guest to boot, clang for fuzzing, checkers.
# shellcheck disable=SC2034
FAMEZ_TEST_PACKAGES=(
	python3 qemu-system-x86 busybox-static cpio xz-utils linux-image-amd64 linux-headers-amd64
	clang llvm clang-format clang-tidy libclang-rt-dev shellcheck mandoc spin
	lintian mmdebstrap apparmor
	libbenchmark-dev valgrind sparse dkms
	libzmq3-dev libnng-dev libnats-dev
	libvirt-clients libxml2-utils libvirt-daemon-driver-qemu
)

# famez_packages_missing PACKAGE... - prints those that aren't installed, a line each.
famez_packages_missing() {
	local package
	for package in "$@"; do
		if [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
			printf '%s\n' "$package"
		fi
	done
}

# famez_packages_install PACKAGE... - installs them; what apt-get says goes to stdout.
# Needs root, or sudo.
famez_packages_install() {
	local become=()
	if ((EUID != 0)); then
		if ! command -v sudo >/dev/null; then
			printf 'not root, and there is no sudo\n' >&2
			return 1
		fi
		become=(sudo)
	fi
	"${become[@]}" apt-get -q update &&
		"${become[@]}" env DEBIAN_FRONTEND=noninteractive \
			apt-get -q install -y --no-install-recommends "$@"
}
