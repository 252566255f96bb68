#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lifecycle.py - start, readiness, the socket's life, signals and the end."""

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import shutil

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import (  # noqa: E402
    HANG_SECONDS, Broker, Gone, RawPeer, listening, readable, run_once, run_tests, settings)


def test_readiness_is_notified_when_the_socket_listens():
    with Broker() as broker:
        assert "READY=1" in broker.notices
        assert listening(broker.path)
        broker.wait_event("listening")


def test_sigterm_and_sigint_end_it_cleanly():
    for sign in (signal.SIGTERM, signal.SIGINT):
        broker = Broker()
        peers = [broker.join() for _ in range(5)]
        mark = broker.mark()
        broker.peers.clear()
        broker.stop(sign)
        assert any(e and e["event"] == "stop" for e in broker.log.entries[mark:])
        for p in peers:
            p.until_closed()
            p.close()


def test_it_ends_with_peers_that_never_read():
    broker = Broker()
    peers = [broker.connect() for _ in range(100)]
    broker.until_connected(100)
    broker.peers.clear()
    broker.stop()
    for p in peers:
        p.close()


def test_two_signals_at_once_end_it_once():
    broker = Broker()
    broker.join()
    os.kill(broker.pid, signal.SIGTERM)
    os.kill(broker.pid, signal.SIGTERM)
    os.kill(broker.pid, signal.SIGINT)
    broker.stop()


def test_it_ends_in_the_middle_of_a_storm_of_joins():
    broker = Broker()
    peers = [broker.connect() for _ in range(60)]
    os.kill(broker.pid, signal.SIGTERM)
    broker.peers.clear()
    broker.stop()
    for p in peers:
        p.until_closed()
        p.close()


def test_a_client_that_dies_does_not_raise_sigpipe():
    with Broker() as broker:
        witness = broker.join()
        for _ in range(50):
            broker.connect().vanish()
        late = broker.join()
        witness.until_knows(late.id)


def test_the_socket_of_a_living_server_is_not_stolen_nor_connected_to():
    with Broker() as broker:
        peer = broker.join()
        broker.wait_event("join", id=peer.id)
        mark = broker.mark()
        inode = os.stat(broker.path).st_ino
        for _ in range(3):
            status, _, err = run_once("-F", "-S", broker.path, "-n", "4")
            assert status == 4, f"exit {status}: {err}"
            assert err.count("\n") == 1 and broker.path in err, err
        assert os.stat(broker.path).st_ino == inode
        report = broker.report()
        assert report["joins"] == 1 and report["peers"] == 1
        assert not broker.events("join", mark)
        late = broker.join()
        assert late.id == peer.id + 1, "somebody connected in between"


def test_the_socket_of_another_program_is_not_stolen_nor_connected_to():
    room = tempfile.mkdtemp(prefix="famez-test-")
    path = os.path.join(room, "sock")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.bind(path)
            other.listen(5)
            status, _, err = run_once("-F", "-S", path)
            assert status == 4, f"exit {status}: {err}"
            assert not readable(other), "it connected"
            assert listening(path)
    finally:
        shutil.rmtree(room)


def test_a_living_server_under_another_spelling_of_the_path_is_not_stolen():
    with Broker() as broker:
        aside = os.path.join(broker.dir, "..", os.path.basename(broker.dir), "sock")
        status, _, err = run_once("-F", "-S", aside)
        assert status == 4, f"exit {status}: {err}"
        status, _, err = run_once("-F", "-S", "sock", cwd=broker.dir)
        assert status == 4, f"exit {status}: {err}"
        broker.join()


def test_a_stale_socket_is_replaced():
    with Broker(start=False) as broker:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
            dead.bind(broker.path)
        broker.start()
        broker.join()


def test_what_a_killed_server_left_is_taken_over():
    first = Broker()
    peers = [first.join() for _ in range(2)]
    peers[0].until_knows(peers[1].id)
    first.process.kill()
    first.process.wait()
    # The members go on without it.
    peers[0].ring(peers[1].id, 0)
    assert peers[1].wait(0) == 1
    with Broker(directory=first.dir) as second:
        second.join()
    for p in peers:
        p.close()
    assert not os.path.exists(first.path)
    first.kill()


def test_a_file_that_is_no_socket_is_left_alone():
    with Broker(start=False) as broker:
        with open(broker.path, "w", encoding="ascii") as f:
            f.write("precious")
        status, _, err = run_once("-F", "-S", broker.path)
        assert status == 1, f"exit {status}: {err}"
        with open(broker.path, encoding="ascii") as f:
            assert f.read() == "precious"
        os.unlink(broker.path)
        os.mkdir(broker.path)
        status, _, err = run_once("-F", "-S", broker.path)
        assert status == 1, f"exit {status}: {err}"
        os.rmdir(broker.path)
        broker.kill()


def test_a_directory_that_is_not_there_is_told_in_one_line():
    status, _, err = run_once("-F", "-S", "/nonexistent/famez/sock")
    assert status == 1, f"exit {status}: {err}"
    assert "/nonexistent/famez" in err


def test_of_two_that_start_at_once_one_wins():
    room = tempfile.mkdtemp(prefix="famez-test-")
    try:
        for _ in range(10):
            path = os.path.join(room, "sock")
            box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            box.bind(os.path.join(room, "notify"))
            box.settimeout(HANG_SECONDS)
            env = dict(os.environ, NOTIFY_SOCKET=os.path.join(room, "notify"))
            both = [subprocess.Popen([settings.server, "-F", "-S", path, "-l", "1M"], env=env,
                                     stderr=subprocess.DEVNULL) for _ in range(4)]
            while "READY=1" not in box.recv(4096).decode().split("\n"):
                pass
            # Three end by themselves; which, is not ours to say.
            ends = {os.pidfd_open(p.pid): p for p in both}
            poll = select.poll()
            for fd in ends:
                poll.register(fd, select.POLLIN)
            losers = []
            while len(losers) < 3:
                for fd, _ in poll.poll(HANG_SECONDS * 1000):
                    poll.unregister(fd)
                    losers.append(ends[fd].wait())
            assert losers == [4, 4, 4], losers
            RawPeer(path).open().close()
            winner = next(p for p in both if p.poll() is None)
            winner.terminate()
            assert winner.wait(HANG_SECONDS) == 0
            for fd in ends:
                os.close(fd)
            box.close()
            os.unlink(os.path.join(room, "notify"))
            assert not os.listdir(room), os.listdir(room)
    finally:
        shutil.rmtree(room)


def test_the_lock_file_holds_the_pid_and_goes_at_the_end():
    with Broker() as broker:
        with open(broker.path + ".lock", encoding="ascii") as f:
            assert int(f.read()) == broker.pid


def test_the_pid_file_holds_the_pid_and_goes_at_the_end():
    with Broker(start=False) as broker:
        where = os.path.join(broker.dir, "pid")
        broker.command += ["--pidfile", where]
        broker.start()
        with open(where, encoding="ascii") as f:
            assert int(f.read()) == broker.pid


def test_a_pid_file_that_cannot_be_written_is_an_error():
    with Broker(start=False) as broker:
        status, _, err = run_once("-F", "-S", broker.path, "-p", "/nonexistent/famez/pid")
        assert status == 1, f"exit {status}: {err}"
        assert "/nonexistent/famez/pid" in err
        assert not os.listdir(broker.dir)


def test_a_socket_that_was_replaced_meanwhile_is_not_removed():
    with Broker() as broker:
        os.unlink(broker.path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.bind(broker.path)
        broker.may_stay.add("sock")
        where = broker.dir
        broker.own_directory = False
        broker.stop()
        assert os.path.exists(os.path.join(where, "sock")), "it removed another's socket"
        shutil.rmtree(where)


def test_sigusr1_reports_peers_and_counters():
    with Broker("--peers", "20") as broker:
        peers = [broker.join() for _ in range(5)]
        peers[0].until_knows(*[p.id for p in peers])
        gone = peers.pop()
        ident = gone.id
        gone.leave()
        peers[0].until_left(ident)
        for p in peers:
            p.ring(21, 1)
        broker.until("all told", lambda: all(
            int(p["behind"]) == 0 for p in broker.report().peers.values()))
        broker.until("all rung", lambda: broker.report().vectors.get(1) == 4)
        report = broker.report()
        assert report["peers"] == 4 and report["joins"] == 5 and report["leaves"] == 1
        assert report["refused"] == 0 and report["held_back"] == 0
        assert set(report.peers) == {p.id for p in peers}
        for entry in report.peers.values():
            assert int(entry["pid"]) == os.getpid() and entry["kind"] == "plain"
            assert int(entry["cursor"]) == int(entry["end"])
            assert {"worker", "sent", "held_back", "state"} <= entry.keys()


def test_the_notices_reported_are_the_messages_sent():
    with Broker("--silent", "--peers", "20") as broker:
        peers = [broker.join() for _ in range(6)]
        for p in peers:
            p.until_exactly(range(6))
        report = broker.report()
        sent = {p.id: int(report.peers[p.id]["sent"]) for p in peers}
        assert len(set(sent.values())) == 1, sent
        # 6 peers x 4 vectors; the opening's three messages may or may not be counted.
        assert sent[0] in (24, 27), sent


def test_reports_in_rapid_succession_all_come_to_an_end():
    with Broker() as broker:
        for _ in range(20):
            broker.join()
        for _ in range(50):
            os.kill(broker.pid, signal.SIGUSR1)
        assert len(broker.report().peers) == 20


def test_who_asks_again_when_a_report_has_ended_is_answered():
    with Broker() as broker:
        for _ in range(3):
            broker.join()
        for _ in range(300):
            assert len(broker.report().peers) == 3


def activated(path, *options):
    """A server that is given its listening socket, as systemd does.
    Returns (process, socket, notifications)."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(100)
    box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    box.bind(path + ".notify")
    box.settimeout(HANG_SECONDS)
    return hand_over(path, listener, *options), listener, box


def hand_over(path, listener, *options):
    script = f'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3<&{listener.fileno()}'
    env = dict(os.environ, NOTIFY_SOCKET=path + ".notify")
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", settings.server, "-F", "-l", "1M", "-n", "4", *options],
        pass_fds=[listener.fileno()], env=env, stderr=subprocess.PIPE)
    return process


def test_a_socket_handed_over_by_systemd_is_served_and_not_removed():
    room = tempfile.mkdtemp(prefix="famez-test-")
    path = os.path.join(room, "sock")
    try:
        process, listener, box = activated(path, "-S", path)
        with listener, box:
            early = RawPeer(path)  # queued before the server is up, perhaps
            early.open()
            while "READY=1" not in box.recv(4096).decode().split("\n"):
                pass
            late = RawPeer(path).open()
            early.until_knows(late.id)
            process.terminate()
            assert process.wait(HANG_SECONDS) == 0, process.stderr.read().decode()
            process.stderr.close()
            assert os.path.exists(path), "it removed a socket that it had not made"
            for p in (early, late):
                p.close()
            # Who comes between two servers waits for the second.
            between = RawPeer(path)
            process = hand_over(path, listener, "-S", path)
            between.open()
            after = RawPeer(path).open()
            between.until_knows(after.id)
            process.terminate()
            assert process.wait(HANG_SECONDS) == 0, process.stderr.read().decode()
            process.stderr.close()
            for p in (between, after):
                p.close()
    finally:
        shutil.rmtree(room)


def test_listen_fds_meant_for_another_process_are_ignored():
    with Broker(env={"LISTEN_PID": "1", "LISTEN_FDS": "1"}) as broker:
        broker.join()


def test_standard_descriptors_that_are_closed_do_no_harm():
    room = tempfile.mkdtemp(prefix="famez-test-")
    path = os.path.join(room, "sock")
    try:
        box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        box.bind(os.path.join(room, "notify"))
        box.settimeout(HANG_SECONDS)
        env = dict(os.environ, NOTIFY_SOCKET=os.path.join(room, "notify"))
        process = subprocess.Popen(
            ["bash", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "bash", settings.server, "-F", "-S", path,
             "-l", "1M", "--verbose"], env=env)
        while "READY=1" not in box.recv(4096).decode().split("\n"):
            pass
        peers = [RawPeer(path).open() for _ in range(5)]
        for p in peers:
            # Nothing but notices comes over the socket: no log line lands in a client's stream.
            p.until_exactly([1, 2, 3, 4, 5, 1001])
        process.terminate()
        assert process.wait(HANG_SECONDS) == 0
        for p in peers:
            p.until_closed()
            p.close()
        box.close()
    finally:
        shutil.rmtree(room)


def test_sighup_without_a_log_file_is_no_end():
    with Broker() as broker:
        peer = broker.join()
        os.kill(broker.pid, signal.SIGHUP)
        late = broker.join()
        peer.until_knows(late.id)


def test_the_end_of_the_server_is_the_end_of_the_stream_for_all():
    broker = Broker()
    peers = [broker.join() for _ in range(10)]
    for p in peers:
        p.until_exactly({q.id for q in peers} | {1001})
    broker.peers.clear()
    broker.stop()
    for p in peers:
        try:
            p.step()
        except Gone:
            p.close()
        else:
            raise AssertionError("a notice at the server's end")


if __name__ == "__main__":
    run_tests(globals())
