#!/bin/bash
# SPDX-License-Identifier: MIT
#
# debug_kernel.sh - small guest kernels that watch themselves, for the driver's tests.
#
#     debug_kernel.sh FOLDER [kasan|kcsan]
#
# Built from Debian's package linux-source-6.1 into FOLDER: about 10 minutes of 2 CPUs, and 2 GB.
# "kasan" finds memory errors (KASAN), undefined behaviour, locks taken in the wrong order, sleeps
# where none may be, and leaks. "kcsan" finds data races, by the strictest rules that there are; no
# kernel can do both. Then, and not by itself in any test run:
#
#     FAMEZ_VM_KERNEL=FOLDER/kasan python3 tests/vm/test_driver.py --server build/release/broker/famez-server
#
# and the same with test_driver_faults.py.
#
# Needs flex, bison, bc, libelf-dev, libssl-dev, xz-utils. Touches nothing but FOLDER.

set -euo pipefail

folder=${1:?usage: debug_kernel.sh FOLDER [kasan|kcsan]}
kind=${2:-kasan}
source=/usr/src/linux-source-6.1.tar.xz
[[ -r $source ]] || {
	echo "debug_kernel.sh: $source is missing: install Debian's package linux-source-6.1" >&2
	exit 1
}
for program in flex bison bc make gcc xz; do
	command -v "$program" >/dev/null || {
		echo "debug_kernel.sh: $program is missing: install Debian's package of that name" >&2
		exit 1
	}
done

# What any guest of the tests needs, and what finds faults with all else.
options=(
	64BIT SMP MODULES MODULE_UNLOAD PRINTK BUG MULTIUSER FUTEX EPOLL EVENTFD SIGNALFD TIMERFD
	POSIX_TIMERS SHMEM PROC_FS PROC_SYSCTL PROC_PAGE_MONITOR SYSFS TMPFS DEVTMPFS TTY VT INPUT UNIX98_PTYS
	SERIAL_8250 SERIAL_8250_CONSOLE BINFMT_ELF BINFMT_SCRIPT BLK_DEV_INITRD KERNEL_GZIP
	HIGH_RES_TIMERS NO_HZ_IDLE HYPERVISOR_GUEST PARAVIRT ACPI PCI PCI_MSI HOTPLUG_PCI
	HOTPLUG_PCI_ACPI MTRR X86_PAT KALLSYMS KALLSYMS_ALL UNWINDER_FRAME_POINTER
	DEBUG_KERNEL DEBUG_FS DETECT_HUNG_TASK SOFTLOCKUP_DETECTOR WQ_WATCHDOG
)
settings=()
case $kind in
kasan)
	options+=(
		DEBUG_LIST DEBUG_OBJECTS DEBUG_OBJECTS_FREE DEBUG_OBJECTS_TIMERS DEBUG_OBJECTS_WORK
		DEBUG_ATOMIC_SLEEP DEBUG_SHIRQ DEBUG_VM DEBUG_SG PROVE_LOCKING PROVE_RCU RCU_EXPERT
		KASAN KASAN_GENERIC KASAN_OUTLINE KASAN_VMALLOC UBSAN UBSAN_BOUNDS UBSAN_SHIFT DEBUG_KMEMLEAK
	)
	;;
kcsan)
	# A watch on one in 500 accesses, not in 4000, and a longer one: a guest's clock runs on while
	# its other processor, emulated, does not.
	options+=(KCSAN KCSAN_STRICT KCSAN_WEAK_MEMORY KCSAN_INTERRUPT_WATCHER PREEMPT)
	settings+=(KCSAN_SKIP_WATCH=500 KCSAN_UDELAY_TASK=200 KCSAN_REPORT_ONCE_IN_MS=1000)
	;;
*)
	echo "debug_kernel.sh: no kernel of the kind $kind: kasan or kcsan" >&2
	exit 2
	;;
esac
mkdir -p "$folder"
cd "$folder"
if [[ ! -d linux-source-6.1 ]]; then
	echo "debug_kernel.sh: unpacking $source"
	tar xf "$source"
fi
make=(make -C linux-source-6.1 "O=$PWD/$kind" KBUILD_BUILD_USER=famez KBUILD_BUILD_HOST=famez)
"${make[@]}" allnoconfig >/dev/null
{
	printf 'CONFIG_%s=y\n' "${options[@]}"
	((${#settings[@]} == 0)) || printf 'CONFIG_%s\n' "${settings[@]}"
} >>"$kind/.config"
"${make[@]}" olddefconfig >/dev/null 2>&1
for option in "${options[@]}"; do
	grep -q "^CONFIG_$option=y" "$kind/.config" || echo "debug_kernel.sh: this kernel has no $option"
done
echo "debug_kernel.sh: building, on $(nproc) processors"
"${make[@]}" -j"$(nproc)" bzImage modules_prepare >"$kind/build.log" 2>&1 || {
	tail -n 20 "$kind/build.log" >&2
	exit 1
}
# Modules that are built without modpost's list of symbols have no versions of them, and need none.
[[ -f $kind/Module.symvers ]] || cp "$kind/vmlinux.symvers" "$kind/Module.symvers"
echo "debug_kernel.sh: FAMEZ_VM_KERNEL=$PWD/$kind"
