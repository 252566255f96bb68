#!/bin/sh
# SPDX-License-Identifier: MIT
#
# init.sh - the first program of a guest of famez-vm.
#
# Loads the driver, tells famez-vm on the second serial port that we are there and which ID we
# have, and then is a shell on the first one; or runs what --exec said, tells how that ended, and
# powers the guest off. busybox is all there is; famez-vm sets node, nodes and libraries.

/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=vt100
mkdir -p /dev/shm
mount -t tmpfs tmp /dev/shm
mount -t tmpfs tmp /tmp
# shellcheck disable=SC3045 # busybox has it
ulimit -n 65536
# shellcheck disable=SC2013 # words are what is wanted
for word in $(cat /proc/cmdline); do
	case $word in
	famez.node=*) NODE=${word#*=} ;;
	famez.nodes=*) NODES=${word#*=} ;;
	famez.name=*) hostname "${word#*=}" ;;
	famez.libraries=*) export LD_LIBRARY_PATH="${word#*=}" ;;
	esac
done
export NODE NODES
ip link set lo up 2>/dev/null # not every kernel has it

if [ -e /famez.ko ] && ! insmod /famez.ko; then
	echo 'failed the driver cannot be loaded' >/dev/ttyS1
	poweroff -f
fi
ID=$(cat /sys/class/famez/famez0/id 2>/dev/null)
export ID
cd /root || exit

if [ -e /exec ]; then
	echo "ready $ID" >/dev/ttyS1
	sh /exec </dev/null
	echo "exit $?" >/dev/ttyS1
	dmesg -n 1 # that the machine powers off is no news
	poweroff -f
fi
stty -F /dev/ttyS0 sane
export PS1='\h \$ '
echo "ready $ID" >/dev/ttyS1
setsid -c sh </dev/ttyS0 >/dev/ttyS0 2>&1
echo "exit 0" >/dev/ttyS1
poweroff -f
