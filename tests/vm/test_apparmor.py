#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
test_apparmor.py - the broker under its AppArmor profile, enforced, on a kernel that has AppArmor.

As test_kernel.py, whose guest this is: Debian 12's kernel, with famez-server where the package
puts it. The profile that the package brings is compiled here, without its `complain`, and loaded
there as the bytes that the kernel takes. Who serves under it must do all that it ever does; what
it is not for must be denied.
"""

import os
import re
import shutil
import subprocess
import tempfile

import test_kernel as kernel
from guest import CONSOLE
from kit import run_with_kit
from stage import HERE, Skip

PROFILE = os.path.join(HERE, "..", "..", "tools", "apparmor", "usr.sbin.famez-server")
SERVER = "/usr/sbin/famez-server"

INIT = kernel.HEAD + """mount -t securityfs security /sys/kernel/security
mkdir -p /run/famez /tmp /root
say "lsm $(cat /sys/kernel/security/lsm)"
dd if=/profile of=/sys/kernel/security/apparmor/.load bs=1M count=1 2>/dev/null
say "loaded $? $(cat /sys/kernel/security/apparmor/profiles)"

# What it is not for, with root's rights otherwise.
famez-server -S /tmp/forbidden.sock --peers 4
say "elsewhere $?"
famez-server -S /run/famez/f.sock --peers 4 --logfile /root/log
say "log $?"
[ -e /root/log ] && say "left /root/log"
mkfifo /run/log /run/other
echo "id=3 socket=/tmp/own.sock" >/run/famez/ids
famez-server -S /run/famez/f.sock --peers 4 --bind /run/famez/ids
say "own $?"
echo "id=60 socket=/run/famez/own.sock" >/run/famez/ids

famez-server -S /run/famez/f.sock --peers 60 -n 2 --workers {workers} --bind /run/famez/ids \\
	--socket-mode 0660 --socket-owner 0:5 --sandbox required -M fabric -l 512M -v 2>/run/log &
server=$!
exec 3</run/log
await listening
say "keeper $(cat /proc/$server/attr/current)"
say "broker $(cat /proc/$broker/attr/current)"
[ -S /run/famez/own.sock ] && say "has own.sock"
kill -9 $broker
await resumed
(
	famez-stress mesh -S /run/famez/f.sock --peers {peers} --rounds 2 --time 0 --warm-up 0
	say "stress $?"
	famez-server --upgrade -S /run/famez/f.sock
	say "upgrade $?"
) 3<&- &
work=$!
await join
kill -9 $broker
await resumed
cat <&3 &
log=$!
wait $work
echo >/run/famez/ids
kill -HUP $server
famez-server --stop --force -S /run/famez/f.sock
say "stop $?"
wait $server
say "server $?"
wait $log
for file in /run/famez/*.sock /run/famez/*.lock /dev/shm/*; do
	[ -e $file ] && say "left $file"
done
dmesg | grep -o 'apparmor=.DENIED.*' | sed 's/^/@denied /'
say "end of the test"
poweroff -f
"""


def compiled(folder):
    """The package's profile as the kernel takes it, enforcing; or Skip."""
    if not shutil.which("apparmor_parser") and not os.path.exists("/usr/sbin/apparmor_parser"):
        raise Skip("no apparmor_parser: install Debian's package apparmor")
    with open(PROFILE, encoding="ascii") as f:
        text, changed = re.subn(r", complain\)", ")", f.read())
    assert changed == 1, "the profile does not complain: then this test wants no change of it"
    source, binary = os.path.join(folder, "profile"), os.path.join(folder, "profile.bin")
    with open(source, "w", encoding="ascii") as f:
        f.write(text)
    done = subprocess.run(["/usr/sbin/apparmor_parser", "-Q", "-K", "-o", binary, source],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return binary


def test_an_enforced_profile_lets_it_do_its_work_and_nothing_else():
    with tempfile.TemporaryDirectory(prefix="famez-vm-") as folder:
        binary = compiled(folder)
        server, _ = kernel.programs()
        console = kernel.boot(INIT, [(binary, "/profile"), (server, SERVER)],
                              f"{CONSOLE} apparmor=1 security=apparmor")
    judge(console)


def judge(console):
    tail = f"\n{console[-6000:]}"

    def said(what):
        return kernel.all_said(console, what)

    assert said("end") == ["of the test"], "the guest died" + tail
    assert "apparmor" in said("lsm")[0], f"no AppArmor in this kernel: {said('lsm')}"
    assert said("loaded") == ["0 famez-server (enforce)"], f"{said('loaded')}" + tail
    for what in ("elsewhere", "log", "own"):
        assert said(what) == ["1"], f"what is forbidden ({what}) ended with {said(what)}" + tail
    denied = said("denied")
    for path in ("/tmp/forbidden.sock.lock", "/root/log", "/tmp/own.sock"):
        assert any(f'name="{path}"' in line for line in denied), f"{path}: {denied}" + tail
    for who in ("keeper", "broker"):
        assert said(who) == ["famez-server (enforce)"], f"{who}: {said(who)}" + tail
    assert said("has") == ["own.sock"], tail
    for what in ("stress", "upgrade", "stop", "server"):
        assert said(what) == ["0"], f"{what}: exit {said(what)}" + tail
    died = re.findall(r"event=died .*signal=(\w+) served=(\w+)", console)
    assert died == [("KILL", "yes")] * 2, f"deaths: {died}" + tail
    assert "event=upgrade result=done" in console, tail
    assert not said("left"), f"left behind: {said('left')}" + tail
    surplus = [line for line in denied
               if not re.search(r'name="/(tmp/forbidden|root/log|tmp/own)', line)]
    assert not surplus, f"denied, and nobody forbade it: {surplus}" + tail
    print(f"  on Linux {said('release')[0]}, {said('lsm')[0]}")


if __name__ == "__main__":
    run_with_kit(globals())
