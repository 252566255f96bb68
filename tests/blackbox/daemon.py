#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""daemon.py - in the background: the parent returns, truthfully, when the socket listens.

A daemon is not our child: it is found by its pid file, watched through a pidfd and ended by it.
"""

import os
import shutil
import signal
import socket
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import (  # noqa: E402
    HANG_SECONDS, RawPeer, listening, look_until, parse_line, readable, run_once, run_tests)


class Daemon:
    """A daemon in a directory of its own, from its start to its end."""

    def __init__(self, *options):
        self.dir = tempfile.mkdtemp(prefix="famez-test-")
        self.path = os.path.join(self.dir, "sock")
        self.pidfile = os.path.join(self.dir, "pid")
        self.log = os.path.join(self.dir, "log")
        self.options = ["--daemon", "-S", self.path, "-p", self.pidfile, "--logfile", self.log,
                        "-l", "1M", "-n", "4", "--verbose", *options]
        self.death = None

    def start(self, **how):
        status, out, err = run_once(*self.options, **how)
        if status == 0:
            with open(self.pidfile, encoding="ascii") as f:
                self.pid = int(f.read())
            self.death = os.pidfd_open(self.pid)
        return status, out, err

    def end(self, sign=signal.SIGTERM):
        signal.pidfd_send_signal(self.death, sign)
        assert readable(self.death, HANG_SECONDS), "it does not end"
        os.close(self.death)
        self.death = None

    def entries(self):
        with open(self.log, encoding="utf-8") as f:
            return [parse_line(line) for line in f.read().splitlines()]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.death is not None:
            self.end(signal.SIGKILL)
        shutil.rmtree(self.dir)


def test_the_parent_returns_0_when_the_socket_listens():
    with Daemon() as daemon:
        status, out, err = daemon.start()
        assert status == 0 and not out and not err, err
        assert listening(daemon.path)
        a, b = RawPeer(daemon.path).open(), RawPeer(daemon.path).open()
        a.until_knows(b.id)
        daemon.end()
        for p in (a, b):
            p.until_closed()
            p.close()
        assert sorted(os.listdir(daemon.dir)) == ["log"], os.listdir(daemon.dir)
        events = [e["event"] for e in daemon.entries()]
        assert "listening" in events and events[-1] == "stop"


def test_it_is_a_session_of_its_own_with_no_terminal_and_no_pipes_of_ours():
    with Daemon() as daemon:
        daemon.start()
        assert os.getsid(daemon.pid) != os.getsid(0)
        for fd in ("0", "1", "2"):
            where = os.readlink(f"/proc/{daemon.pid}/fd/{fd}")
            assert where in ("/dev/null", daemon.log), f"descriptor {fd} is {where}"
        daemon.end()


def test_relative_paths_mean_where_it_was_started():
    with Daemon() as daemon:
        daemon.options = ["--daemon", "-S", "sock", "-p", "pid", "--logfile", "log", "-l", "1M"]
        status, _, err = daemon.start(cwd=daemon.dir)
        assert status == 0, err
        assert listening(daemon.path) or listening("sock")
        peer = RawPeer(daemon.path).open()
        peer.close()
        daemon.end()
        assert sorted(os.listdir(daemon.dir)) == ["log"], os.listdir(daemon.dir)


def test_the_parent_returns_4_when_the_socket_is_in_use():
    with Daemon() as daemon:
        daemon.start()
        with open(daemon.pidfile, encoding="ascii") as f:
            before = f.read()
        status, _, err = run_once("--daemon", "-S", daemon.path, "-l", "1M")
        assert status == 4 and daemon.path in err, (status, err)
        status, _, err = run_once(*daemon.options)
        assert status == 4, (status, err)
        with open(daemon.pidfile, encoding="ascii") as f:
            assert f.read() == before, "the loser wrote the winner's pid file"
        daemon.end()


def test_the_parent_returns_1_when_the_start_fails():
    with Daemon("-m", "/nonexistent/famez/file") as daemon:
        status, _, err = daemon.start()
        assert status == 1, (status, err)
        assert not os.path.exists(daemon.pidfile) and not os.path.exists(daemon.path)
        said = err
        if os.path.exists(daemon.log):
            with open(daemon.log, encoding="utf-8") as f:
                said += f.read()
        assert "/nonexistent/famez" in said, "nobody says why"


def test_the_parent_returns_2_for_a_wrong_option():
    with Daemon("-n", "0") as daemon:
        status, _, err = daemon.start()
        assert status == 2 and err.startswith("famez-server: "), (status, err)


def test_a_killed_daemon_leaves_what_the_next_one_takes_over():
    with Daemon() as daemon:
        daemon.start()
        first = daemon.pid
        daemon.end(signal.SIGKILL)
        assert os.path.exists(daemon.pidfile)
        status, _, err = daemon.start()
        assert status == 0, err
        assert daemon.pid != first
        RawPeer(daemon.path).open().close()
        daemon.end()


def test_it_reopens_its_log_and_reports_into_it():
    with Daemon() as daemon:
        daemon.start()
        os.rename(daemon.log, daemon.log + ".1")
        signal.pidfd_send_signal(daemon.death, signal.SIGHUP)
        look_until("there is a new file", lambda: os.path.exists(daemon.log))
        signal.pidfd_send_signal(daemon.death, signal.SIGUSR1)
        look_until("there is a report in it",
                   lambda: "report-end" in {e["event"] for e in daemon.entries() if e})
        daemon.end()
        assert daemon.entries()[-1]["event"] == "stop"


def test_readiness_is_notified_by_the_daemon_too():
    with Daemon() as daemon:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as box:
            where = os.path.join(daemon.dir, "notify")
            box.bind(where)
            box.settimeout(HANG_SECONDS)
            status, _, err = daemon.start(env=dict(os.environ, NOTIFY_SOCKET=where))
            assert status == 0, err
            heard = box.recv(4096).decode().split("\n")
            assert "READY=1" in heard
            daemon.end()


if __name__ == "__main__":
    run_tests(globals())
