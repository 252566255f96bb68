#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""logs.py - one line an event, in two formats, to a file that can be rotated; never in the way."""

import fcntl
import json
import os
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import (  # noqa: E402
    HANG_SECONDS, Bells, Broker, PeerProcess, barrier, look_until, parse_line, readable,
    run_tests)


def provoke(broker):
    """Something of every kind: joins, a leave, a drop, refusals, a report."""
    peers = [broker.join() for _ in range(2)]
    refused = broker.connect()
    assert refused.message() == (-1, None)
    peers[0].until_knows(peers[1].id)
    ident = peers[1].id
    peers[1].sock.send(b"x")
    peers[0].until_left(ident)
    late = broker.join()
    peers[0].until_knows(late.id)
    late.leave()
    peers[0].until_left(late.id)
    broker.wait_event("leave", id=late.id)
    broker.report()
    return {"start", "listening", "join", "refuse", "drop", "leave", "report", "report-peer",
            "report-end", "stop"}


def test_every_text_line_is_time_level_and_pairs():
    with Broker("--peers", "2", verbose=2) as broker:
        expected = provoke(broker)
        broker.stop()
        pairs = re.compile(r'^event=[a-z-]+( [a-z_]+=("([^"\\]|\\.)*"|[^ "]*))*$')
        for line in broker.log.lines:
            entry = parse_line(line)
            assert entry, f"not a log line: {line!r}"
            assert pairs.match(line.split(" ", 2)[2]), f"not key=value throughout: {line!r}"
        assert expected <= {e["event"] for e in broker.log.entries}


def test_every_json_line_is_an_object_with_time_level_and_event():
    with Broker("--peers", "2", "--log-format", "json", verbose=2) as broker:
        expected = provoke(broker)
        broker.stop()
        seen = set()
        for line in broker.log.lines:
            value = json.loads(line)
            assert re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$", value["time"])
            assert value["level"] in ("error", "warning", "notice", "info", "debug")
            seen.add(value["event"])
            if value["event"] == "join":
                assert isinstance(value["id"], int) and isinstance(value["pid"], int)
                assert isinstance(value["kind"], str)
        assert expected <= seen


def test_joins_and_leaves_are_logged_with_v_only():
    for verbose, logged in ((0, False), (1, True)):
        with Broker(verbose=verbose) as broker:
            a = broker.join()
            b = broker.join()
            a.until_knows(b.id)
            ident = b.id
            b.leave()
            a.until_left(ident)
            broker.stop()  # and all its lines are written
            assert bool(broker.events("join")) == logged
            assert bool(broker.events("leave")) == logged


def test_a_join_tells_who_came():
    with Broker() as broker:
        peer = broker.join()
        entry = broker.wait_event("join", id=peer.id)
        assert entry["level"] == "info" and entry["kind"] == "plain"
        assert int(entry["pid"]) == os.getpid() and int(entry["uid"]) == os.getuid()
        assert entry["exe"].startswith("python3") and "worker" in entry


def test_the_start_tells_what_is_served():
    with Broker("--peers", "7", vectors=3, workers=1) as broker:
        entry = broker.wait_event("start")
        assert entry["socket"] == broker.path and entry["level"] == "notice"
        assert (entry["peers"], entry["vectors"], entry["workers"]) == ("7", "3", "1")
        assert (entry["first_id"], entry["server_id"]) == ("1", "8")
        assert entry["memory_bytes"] == str(1 << 20)
        assert int(entry["descriptors"]) > 7 * 3


def test_names_with_odd_bytes_are_quoted_and_cannot_forge_a_line():
    evil = 'a b"c\\d\nevent=join id=666 \x1b[31m'
    for form in ("text", "json"):
        with Broker("--log-format", form) as broker:
            with PeerProcess(broker, name=evil) as process:
                process.run("p = RawPeer(path); p.open()")
                entry = broker.wait_event("join", id=process.ask("p.id"))
                assert "\x1b" not in "".join(broker.log.lines), "raw escape bytes in the log"
                assert not broker.events("join", id=666)
                assert all(broker.log.entries), "a line that is none"
                if form == "json":
                    assert entry["exe"].startswith('a b"c\\d'), entry["exe"]


def content(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def test_a_log_file_is_written_instead_of_stderr_and_may_be_rotated():
    with Broker(start=False) as broker:
        where = os.path.join(broker.dir, "log")
        broker.may_stay |= {"log", "log.1"}
        broker.command += ["--logfile", where]
        broker.start()
        a = broker.join()
        look_until("its lines are written", lambda: "event=listening" in content(where))
        os.rename(where, where + ".1")
        os.kill(broker.pid, signal.SIGHUP)
        look_until("there is a new file", lambda: os.path.exists(where))
        late = broker.join()
        a.until_knows(late.id)
        broker.stop()
        assert not [line for line in broker.log.lines if "event=" in line], "stderr is written too"


def test_the_lines_after_a_rotation_are_in_the_new_file_and_none_is_lost():
    with Broker(start=False) as broker:
        where = os.path.join(broker.dir, "log")
        broker.command += ["--logfile", where]
        broker.start()
        broker.own_directory = False
        a = broker.join()
        os.rename(where, where + ".1")
        os.kill(broker.pid, signal.SIGHUP)
        b = broker.join()
        a.until_knows(b.id)
        look_until("there is a new file", lambda: os.path.exists(where))
        broker.stop()
        broker.own_directory = True
        entries = [parse_line(line)
                   for line in (content(where + ".1") + content(where)).splitlines()]
        assert sorted(e["id"] for e in entries if e["event"] == "join") == ["1", "2"]
        assert "event=stop" in content(where)
        broker.kill()


def test_a_log_file_that_cannot_be_opened_is_an_error():
    broker = Broker("--logfile", "/nonexistent/famez/log", start=False)
    try:
        broker.start(ready=False)
        assert broker.process.wait(60) == 1
        broker.log.thread.join(60)
        assert len(broker.log.lines) == 1 and "/nonexistent/famez/log" in broker.log.lines[0]
    finally:
        broker.kill()


def test_a_log_nobody_reads_stops_nobody():
    """stderr is a pipe, full from the start: lines are lost and counted, clients are served."""
    bells = Bells()
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 512)
    except BlockingIOError:
        pass
    try:
        while True:
            os.write(write, b"x")
    except BlockingIOError:
        pass
    os.set_blocking(write, True)
    try:
        with Broker(stderr=write, verbose=2) as broker:
            peers = [broker.join(bells=bells) for _ in range(150)]
            for p in peers:
                p.until_exactly({q.id for q in peers} | {1001})
            barrier(broker, peers[:3])
            os.kill(broker.pid, signal.SIGUSR1)
            probe = broker.join(bells=bells)
            peers[5].until_knows(probe.id)
            for p in peers:
                p.close()
            bells.close()
    finally:
        os.close(read)
        os.close(write)


def test_a_log_whose_reader_has_gone_stops_nobody():
    read, write = os.pipe()
    os.close(read)
    try:
        with Broker(stderr=write, verbose=2) as broker:
            peers = [broker.join() for _ in range(20)]
            for p in peers:
                p.until_exactly({q.id for q in peers} | {1001})
    finally:
        os.close(write)


def test_a_log_that_is_read_again_goes_on_with_whole_lines():
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    text = b""
    try:
        with Broker("--peers", "50", stderr=write, verbose=2) as broker:
            crowd = [broker.join() for _ in range(40)]
            for _ in range(100):
                os.kill(broker.pid, signal.SIGUSR1)  # some 40 lines each time
                p = broker.join()
                crowd[0].until_knows(p.id)
                ident = p.id
                p.leave()
                crowd[0].until_left(ident)
                broker.peers.remove(p)
            # Now it is read, until a report has come to its end.
            mark = None
            while mark is None or b"event=report-end" not in text[mark:]:
                if mark is None and not readable(read):
                    mark = len(text)
                    os.kill(broker.pid, signal.SIGUSR1)
                assert readable(read, HANG_SECONDS), "the log does not go on"
                text += os.read(read, 65536)
    finally:
        os.close(read)
        os.close(write)
    for line in text.decode().split("\n")[:-1]:
        assert parse_line(line), f"not a whole line: {line!r}"


def test_logging_to_a_full_disk_stops_nobody():
    with Broker("--logfile", "/dev/full", verbose=2) as broker:
        peers = [broker.join() for _ in range(10)]
        for p in peers:
            p.until_exactly({q.id for q in peers} | {1001})


if __name__ == "__main__":
    run_tests(globals())
