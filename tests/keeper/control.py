#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""control.py - famez-server --stop and --upgrade, said to a server that runs.

    tests/keeper/control.py --server PATH [FILTER ...]

Who stops a server is told first whose VM would be stranded; who upgrades it hears how that came out.
Neither may connect, or do anything to the server but send it a signal.
"""

import contextlib
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import (  # noqa: E402
    AS_DEVICES, AS_PLAIN, HANG_SECONDS, Broker, Skip, run_once, run_tests, settings,
    unprivileged_uid)

DONE, FAILED, USAGE, STRANDS = 0, 1, 2, 5


def says(what, *options, exit_code, **popen):
    """famez-server with these options ends so, and in failure with one line. (stdout, stderr)"""
    status, out, err = run_once(what, *options, **popen)
    assert status == exit_code, f"{what} {options}: exit {status}, said {out!r} {err!r}"
    if exit_code == DONE:
        assert out.count("\n") == 1 and not err, f"said {out!r} {err!r}"
    else:
        assert err.count("\n") == 1 and err.startswith("famez-server: "), f"said {err!r}"
    return out, err


def asked(broker, answer):
    """--stop on a terminal, with this answer: (exit code, what was on the screen)"""
    ours, theirs = pty.openpty()
    try:
        asker = subprocess.Popen([settings.server, "--stop", "-S", broker.path],
                                 stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        screen = b""
        while b"[y/N]" not in screen:
            assert select.select([ours], [], [], HANG_SECONDS)[0], f"no question: {screen}"
            screen += os.read(ours, 4096)
        os.write(ours, answer)
        with contextlib.suppress(OSError):  # its end is EIO here
            while data := os.read(ours, 4096):
                screen += data
        return asker.wait(HANG_SECONDS), screen.decode()
    finally:
        os.close(ours)


def goes_on(broker):
    """It serves, and nobody came whom we don't know."""
    report = broker.report()
    assert report["peers"] == len(broker.peers), report.totals
    assert report["joins"] == len(broker.peers), "who asks is no peer"
    broker.member()


def has_ended(broker):
    assert broker.process.wait(HANG_SECONDS) == 0
    broker.stopped = True
    assert not os.path.exists(broker.path) and not os.path.exists(broker.path + ".lock")


# ---------------------------------------------------------------- --stop


def test_a_server_without_devices_is_stopped():
    with Broker(*AS_PLAIN) as broker:
        broker.member()
        says("--stop", "-S", broker.path, exit_code=DONE)
        has_ended(broker)


def test_devices_keep_it_from_being_stopped_and_are_named():
    with Broker(*AS_DEVICES) as broker:
        ids = [broker.member().id for _ in range(3)]
        out, err = says("--stop", "-S", broker.path, exit_code=STRANDS)
        listed = re.findall(r"^id (\d+): (\S+), process (\d+), user (\d+)$", out, re.MULTILINE)
        assert [int(line[0]) for line in listed] == ids, out
        for _, exe, pid, uid in listed:
            assert exe.startswith("python3") and int(pid) == os.getpid() and int(uid) == os.getuid()
        assert ", ".join(map(str, ids)) in err and "--force" in err, err
        goes_on(broker)


def test_force_stops_it_all_the_same():
    with Broker(*AS_DEVICES) as broker:
        broker.member()
        status, out, err = run_once("--stop", "--force", "-S", broker.path)
        assert status == DONE and not err and out.startswith("id 1: "), f"{status} {out!r} {err!r}"
        has_ended(broker)


def test_devices_that_left_are_no_reason():
    with Broker(*AS_DEVICES) as broker:
        broker.member().close()
        broker.wait_event("leave")
        says("--stop", "-S", broker.path, exit_code=DONE)
        has_ended(broker)


def test_on_a_terminal_it_asks():
    with Broker(*AS_DEVICES) as broker:
        broker.member()
        for answer in (b"n\n", b"\n", b"\x04"):
            status, screen = asked(broker, answer)
            assert status == STRANDS and "1 device is attached" in screen, f"{status} {screen!r}"
        status, screen = asked(broker, b"y\n")
        assert status == DONE and "has ended" in screen, f"{status} {screen!r}"
        has_ended(broker)


def test_the_file_of_its_process_id_will_do():
    with Broker(*AS_DEVICES, "-p", "pid") as broker:
        broker.member()
        pidfile = os.path.join(broker.dir, "pid")
        says("--stop", "-p", pidfile, exit_code=STRANDS)
        goes_on(broker)
        status, _, _ = run_once("--stop", "--force", "--pidfile", pidfile)
        assert status == DONE
        has_ended(broker)


def test_devices_are_known_after_the_broker_died():
    with Broker(*AS_DEVICES) as broker:
        if broker.child == broker.pid:
            raise Skip("no keeper here")
        broker.member()
        mark = broker.mark()
        os.kill(broker.child, 9)
        broker.wait_event("resumed", mark)
        says("--stop", "-S", broker.path, exit_code=STRANDS)


def test_there_may_be_no_such_server():
    with tempfile.TemporaryDirectory() as folder:
        sock = os.path.join(folder, "sock")
        with open(sock + ".lock", "w", encoding="ascii") as lock:
            lock.write("no number\n")
        with subprocess.Popen(["sleep", "600"]) as other:
            try:
                # The last is no process: cut to 32 bits it would be this one.
                pids = {"other": other.pid, "gone": 0, "large": (1 << 32) + other.pid}
                with subprocess.Popen(["true"]) as gone:
                    pids["gone"] = gone.pid
                for name, pid in pids.items():
                    with open(os.path.join(folder, name), "w", encoding="ascii") as file:
                        file.write(f"{pid}\n")
                for what in ("--stop", "--upgrade"):
                    _, err = says(what, "-S", os.path.join(folder, "none"), exit_code=FAILED)
                    assert "none.lock" in err, err
                    _, err = says(what, "-S", sock, exit_code=FAILED)
                    assert "no process ID" in err, err
                    _, err = says(what, "-p", os.path.join(folder, "large"), exit_code=FAILED)
                    assert "no process ID" in err, err
                    _, err = says(what, "-p", os.path.join(folder, "other"), exit_code=FAILED)
                    assert "no state memory" in err, err
                    _, err = says(what, "-p", os.path.join(folder, "gone"), exit_code=FAILED)
                    assert "has ended" in err, err
                assert other.poll() is None, "it got a signal"
            finally:
                other.kill()


def test_a_server_of_another_user_is_left_alone():
    user = unprivileged_uid()
    with Broker() as broker:
        os.chmod(broker.dir, 0o755)
        with tempfile.TemporaryDirectory() as folder:
            # Where that user may run it.
            os.chmod(folder, 0o755)
            server = shutil.copy(settings.server, folder)
            for what in ("--stop", "--upgrade"):
                _, err = says(what, "-S", broker.path, exit_code=FAILED, binary=server,
                              user=user, group=user, extra_groups=[])
                assert "another user" in err, err
        goes_on(broker)


def test_force_goes_with_stop_only():
    says("--force", exit_code=USAGE)
    says("--upgrade", "--force", exit_code=USAGE)


# ---------------------------------------------------------------- --upgrade


@contextlib.contextmanager
def copied(*options):
    """A server whose program may be replaced, and the path of that."""
    with tempfile.TemporaryDirectory() as folder:
        program = shutil.copy(settings.server, os.path.join(folder, "famez-server"))
        with Broker(*options, binary=program) as broker:
            yield broker, program


def replace(program, other):
    shutil.copy(other, program + ".new")
    os.replace(program + ".new", program)


def test_an_upgrade_is_waited_for():
    with copied(*AS_DEVICES) as (broker, program):
        if broker.child == broker.pid:
            raise Skip("no keeper here")
        broker.member()
        child = broker.child
        replace(program, settings.server)
        mark = broker.mark()
        says("--upgrade", "-S", broker.path, exit_code=DONE)
        assert broker.child != child
        broker.wait_event("upgrade", mark, result="done")
        goes_on(broker)


def test_the_reason_of_a_refusal_is_told():
    with copied(*AS_DEVICES) as (broker, program):
        if broker.child == broker.pid:
            raise Skip("no keeper here")
        broker.member()
        child = broker.child
        replace(program, "/bin/false")
        _, err = says("--upgrade", "-S", broker.path, exit_code=FAILED)
        assert "refused" in err and "can't take over" in err, err
        assert broker.child == child
        goes_on(broker)


def test_a_server_without_a_keeper_says_so():
    with Broker("--no-keeper", *AS_DEVICES) as broker:
        _, err = says("--upgrade", "-S", broker.path, exit_code=FAILED)
        assert "--no-keeper" in err, err
        goes_on(broker)


if __name__ == "__main__":
    run_tests(globals())
