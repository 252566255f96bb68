#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""life.py - the keeper: whom it starts again, when it ends, and with which exit code.

    tests/keeper/life.py --server PATH [FILTER ...]

How a client's view comes through a death is for points.py and torture.py; here it is only asked
whether somebody serves.
"""

import fcntl
import mmap
import os
import re
import resource
import signal
import struct
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import (  # noqa: E402
    HANG_SECONDS, Broker, RawPeer, Skip, listening, look_until, readable, run_once, run_tests,
    settings)

FATAL = ["SIGKILL", "SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGSYS", "SIGTRAP",
         "SIGXCPU", "SIGXFSZ", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF"]


def kill_child(broker, sign=signal.SIGKILL):
    """Kill the process that serves, and wait for its successor. Returns the line of its death."""
    mark = broker.mark()
    before = broker.child
    os.kill(before, sign)
    died = broker.wait_event("died", mark, broker=before)
    broker.wait_event("resumed", mark)
    assert broker.child != before
    return died


def kept(broker):
    if broker.child == broker.pid:
        raise Skip("this build has no keeper by default")


def state_file(broker):
    """The state memory of a broker, open to read and write."""
    folder = f"/proc/{broker.pid}/fd"
    for fd in os.listdir(folder):
        if "memfd:famez-state" in os.readlink(os.path.join(folder, fd)):
            return open(os.path.join(folder, fd), "r+b", buffering=0)
    raise AssertionError("it has no state")


def test_each_fatal_signal_has_a_successor():
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # a shell's background ignores it, and so would it
    with Broker() as broker:
        kept(broker)
        peers = [broker.join() for _ in range(2)]
        for name in FATAL:
            if name not in ("SIGKILL", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGQUIT", "SIGTRAP",
                            "SIGXCPU", "SIGXFSZ", "SIGSYS", "SIGABRT") and "asan" in settings.server:
                continue  # a sanitizer has a word to say to these
            died = kill_child(broker, getattr(signal, name))
            assert died["signal"] == name[3:] and died["served"] == "yes", died
            peers.append(broker.join())
        peers[0].until_knows(*[p.id for p in peers])
        peers[-1].until_knows(*[p.id for p in peers])


def test_the_process_that_was_started_stays_and_is_small():
    with Broker() as broker:
        kept(broker)
        for _ in range(3):
            kill_child(broker)
        assert broker.process.poll() is None
        assert len(os.listdir(f"/proc/{broker.pid}/task")) == 1, "the keeper has threads"
        with open(broker.path + ".lock", encoding="ascii") as f:
            assert int(f.read()) == broker.pid


def test_deaths_leave_no_descriptors_behind():
    with Broker() as broker:
        kept(broker)
        for _ in range(3):
            broker.join()
        kill_child(broker)
        broker.report()
        before = broker.fd_count()
        for _ in range(10):
            kill_child(broker)
        broker.join().leave()
        broker.until_fds(before + broker.vectors)  # those of the ID stay


def test_what_was_inherited_stays_open():
    inside, outside = os.pipe()
    try:
        with Broker(pass_fds=[outside]) as broker:
            kept(broker)
            kill_child(broker)
            kill_child(broker)
            assert os.path.exists(f"/proc/{broker.pid}/fd/{outside}")
            os.close(outside)
            outside = -1
            assert not readable(inside), "it was closed"
        assert readable(inside, HANG_SECONDS)
    finally:
        os.close(inside)
        if outside >= 0:
            os.close(outside)


def test_who_connects_while_nobody_serves_is_served_later():
    with Broker() as broker:
        kept(broker)
        first = broker.join()
        for _ in range(5):
            mark = broker.mark()
            os.kill(broker.child, signal.SIGSTOP)
            waiting = [broker.connect() for _ in range(4)]
            os.kill(broker.child, signal.SIGKILL)
            for peer in waiting:
                peer.open()
            broker.wait_event("resumed", mark)
            first.until_knows(*[p.id for p in waiting])
            for peer in waiting:
                peer.leave()


def test_one_that_keeps_dying_is_started_less_and_less_often():
    with Broker() as broker:
        kept(broker)
        mark = broker.mark()
        deaths = 0
        # As soon as there is one it is killed; nothing is judged by the clock but that the pauses
        # are there: a hundred without any would take no second.
        times = []
        while deaths < 12:
            at = broker.log.wait("resumed" if deaths else "listening", mark if deaths else 0)
            mark = at + 1
            os.kill(broker.child, signal.SIGKILL)
            times.append(broker.wait_event("died", mark)["time"])
            deaths += 1
        seconds = [float(t[17:-1]) for t in times]
        pauses = [(b - a) % 60 for a, b in zip(seconds, seconds[1:])]
        assert max(pauses[-3:]) > 0.5, pauses
        broker.join()


def test_last_words_are_logged():
    with Broker() as broker:
        kept(broker)
        with state_file(broker) as f, mmap.mmap(f.fileno(), 0) as state:
            # Of struct state_head the offset of the words is the last member but one.
            words = struct.unpack_from("<Q", state, 168)[0]
            state[words:words + 9] = b'oh "dear"'
            died = kill_child(broker, signal.SIGABRT)
            assert died["words"] == 'oh "dear"', died
            died = kill_child(broker)
            assert not died["words"], "words of another one"


def test_a_fault_has_words_too():
    faults = os.path.join(os.path.dirname(settings.server), "famez-server-faults")
    if not os.path.exists(faults):
        raise Skip(f"no {faults}")
    if any(word in settings.server for word in ("asan", "tsan")):
        raise Skip("a sanitizer has a word to say to these")
    with Broker(binary=faults, env={"FAMEZ_TRESPASS": "fault"}) as broker:
        kept(broker)
        died = broker.wait_event("died")
        assert died["signal"] == "SEGV", died
        assert re.match(r"address 0x10, instruction famez-server\+0x[0-9a-f]+$", died["words"]), died
        broker.wait_event("resumed")
        died = kill_child(broker, signal.SIGSEGV)
        assert died["words"] == f"sent by process {os.getpid()}", died


def oom_score_adj(pid):
    with open(f"/proc/{pid}/oom_score_adj", encoding="ascii") as f:
        return int(f.read())


def test_when_memory_runs_out_the_broker_goes_before_its_keeper():
    with Broker() as broker:
        kept(broker)
        scores = oom_score_adj(broker.pid), oom_score_adj(broker.child)
        assert scores[0] < scores[1] or scores[1] in (-1000, 1000), scores
        kill_child(broker)
        assert scores == (oom_score_adj(broker.pid), oom_score_adj(broker.child))
        mark = broker.mark()
        os.kill(broker.pid, signal.SIGUSR2)
        broker.wait_event("upgrade", mark, result="done")
        assert scores == (oom_score_adj(broker.pid), oom_score_adj(broker.child))


def policies(broker):
    """The scheduler's policy of the keeper, and those of the broker's and its looker's threads."""
    with open(f"/proc/{broker.child}/task/{broker.child}/children", encoding="ascii") as f:
        processes = [broker.child, *map(int, f.read().split())]
    threads = [int(tid) for pid in processes for tid in os.listdir(f"/proc/{pid}/task")]
    of = {tid: os.sched_getscheduler(tid) & ~os.SCHED_RESET_ON_FORK
          for tid in (broker.pid, *threads)}
    return of.pop(broker.pid), set(of.values())


def test_a_successor_goes_before_others_for_its_first_moments_only():
    with Broker() as broker:
        kept(broker)
        assert policies(broker)[1] == {os.SCHED_OTHER}, "nobody waits for the first one"
        for end in (lambda: os.kill(broker.child, signal.SIGKILL),
                    lambda: os.kill(broker.pid, signal.SIGUSR2)):
            mark = broker.mark()
            end()
            if broker.wait_event("resumed", mark)["haste"] == "no":
                assert policies(broker) == (os.SCHED_OTHER, {os.SCHED_OTHER})
                raise Skip("nothing may be of SCHED_RR here: no CAP_SYS_NICE, and RLIMIT_RTPRIO "
                           "below 2, or a control group that allows none")
            assert policies(broker)[0] == os.SCHED_RR

            def everybody_gave_it_up():
                RawPeer(broker.path, broker.vectors).open().leave()  # all threads turn
                return policies(broker)[1] == {os.SCHED_OTHER}

            look_until("nobody goes before others any more", everybody_gave_it_up)


def test_who_was_started_with_a_policy_keeps_it():
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        broker = Broker()
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    with broker:
        kept(broker)
        mark = broker.mark()
        kill_child(broker)
        assert broker.wait_event("resumed", mark)["haste"] == "no"
        assert policies(broker) == (os.SCHED_BATCH, {os.SCHED_BATCH})


def test_signals_reach_the_one_that_serves():
    with tempfile.TemporaryDirectory(prefix="famez-test-") as room:
        log = os.path.join(room, "log")
        with Broker("--logfile", log) as broker:
            kept(broker)

            def lines(path):
                with open(path, encoding="utf-8") as f:
                    return f.read().splitlines()

            os.rename(log, log + ".1")
            os.kill(broker.pid, signal.SIGHUP)
            look_until("there is a new file", lambda: os.path.exists(log))
            look_until("which says so", lambda: any("event=reopened" in l for l in lines(log)))
            # And the keeper writes into the same.
            os.kill(broker.child, signal.SIGKILL)
            look_until("the death is in the new one",
                       lambda: any("event=resumed" in l for l in lines(log)))
            assert any("event=died" in l for l in lines(log))
            assert not any("event=died" in l for l in lines(log + ".1"))
            # The successor has the same file, and can open the next.
            os.rename(log, log + ".2")
            os.kill(broker.pid, signal.SIGHUP)
            look_until("there is a third file", lambda: os.path.exists(log))


def test_what_is_asked_while_nobody_serves_is_done_by_the_next():
    with Broker() as broker:
        kept(broker)
        broker.join()
        mark = broker.mark()
        # So many that the next one has to wait.
        for _ in range(4):
            at = broker.mark()
            os.kill(broker.child, signal.SIGKILL)
            broker.wait_event("died", at)
            os.kill(broker.pid, signal.SIGUSR1)
            broker.wait_event("report-end", at)
        assert len(broker.events("report", mark)) == 4


def pending(pid, sign):
    """Has it been sent that, and not taken it yet?"""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return any(line.startswith("ShdPnd:") and int(line.split()[1], 16) >> (sign - 1) & 1
                   for line in f)


def test_what_was_asked_of_one_that_dies_over_it_is_done_by_the_next():
    with tempfile.TemporaryDirectory(prefix="famez-test-") as room:
        log, zones = (os.path.join(room, name) for name in ("log", "zones"))

        def write(text):
            with open(zones, "w", encoding="ascii") as f:
                f.write(text)

        def lines(what):
            with open(log, encoding="utf-8") as f:
                return [line for line in f if what in line]

        write("default-zone a\n")
        with Broker("--logfile", log, "--zone", zones) as broker:
            kept(broker)
            broker.join()
            for n in range(1, 4):
                child = broker.child
                os.kill(child, signal.SIGSTOP)
                write("default-zone a\n" + "zone b uid=61001\n" * n)
                os.rename(log, f"{log}.{n}")
                for sign in (signal.SIGHUP, signal.SIGUSR1):
                    os.kill(broker.pid, sign)
                    look_until("it is passed on", lambda s=sign: pending(child, s))
                os.kill(child, signal.SIGKILL)
                look_until("there is a new log", lambda: os.path.exists(log))
                look_until("a report", lambda: lines("event=report-end"))
                with open(f"{log}.{n}", encoding="utf-8") as f:
                    assert f"event=rules zone_lines={n}" in f.read()
                broker.join()


def test_a_stop_while_nobody_serves_is_a_clean_one():
    for sign in (signal.SIGTERM, signal.SIGINT):
        broker = Broker()
        kept(broker)
        peer = broker.join()
        for _ in range(5):
            at = broker.mark()
            os.kill(broker.child, signal.SIGKILL)
            broker.wait_event("died", at)
        broker.process.send_signal(sign)
        peer.until_closed()
        broker.stop(sign)


def test_only_the_keeper_can_stop_the_one_that_serves():
    with Broker() as broker:
        kept(broker)
        peer = broker.join()
        child = broker.child
        os.kill(child, signal.SIGTERM)
        os.kill(child, signal.SIGINT)
        late = broker.join()
        peer.until_knows(late.id)
        broker.report()
        assert broker.child == child


def test_a_terminals_interrupt_is_one_stop():
    broker = Broker()
    kept(broker)
    peer = broker.join()
    # As ^C does it: to all processes of the group at once. The broker's is that of this process,
    # so by hand.
    os.kill(broker.child, signal.SIGINT)
    broker.peers.clear()
    broker.stop(signal.SIGINT)
    assert len(broker.events("stop")) == 1, broker.events("stop")
    peer.until_closed()
    peer.close()


def test_a_log_that_nobody_reads_holds_up_no_successor():
    inside, outside = os.pipe()
    try:
        os.set_blocking(outside, False)
        with Broker(stderr=outside, start=False) as broker:
            broker.start()
            kept(broker)
            try:
                while True:
                    os.write(outside, b"x" * 4096)
            except BlockingIOError:
                pass
            try:
                while True:
                    os.write(outside, b"x")
            except BlockingIOError:
                pass
            os.set_blocking(outside, True)  # of all who have it open
            before = broker.child
            os.kill(before, signal.SIGKILL)
            broker.join()
            assert broker.child != before
            os.set_blocking(inside, False)
            try:
                while os.read(inside, 65536):
                    pass
            except BlockingIOError:
                pass
    finally:
        os.close(inside)
        os.close(outside)


def test_what_a_dead_one_had_not_logged_the_next_one_logs():
    inside, outside = os.pipe()
    fcntl.fcntl(inside, fcntl.F_SETPIPE_SZ, 4096)
    try:
        with Broker("--verbose", stderr=outside, start=False) as broker:
            broker.start()
            kept(broker)
            first = broker.join()
            ids = [first.id]
            for _ in range(30):  # more than the pipe takes, and fewer than a flood
                peer = broker.join()
                first.until_knows(peer.id)  # which is told of when its line is in the queue
                ids.append(peer.id)
                peer.leave()
            before = broker.child
            os.kill(before, signal.SIGKILL)
            broker.join()
            assert broker.child != before
            text = b""
            while b"event=resumed" not in text or not text.endswith(b"\n"):
                assert readable(inside, HANG_SECONDS), text[-500:]
                text += os.read(inside, 65536)
            said = text.decode().split("event=resumed")[0].splitlines()
            joins = [line for line in said if " event=join " in line]
            told = [int(line.split(" id=")[1].split()[0]) for line in dict.fromkeys(joins)]
            assert sorted(told) == sorted(ids), (told, ids)
            assert len(joins) <= len(ids) + 1, "more than one line came twice"
    finally:
        os.close(inside)
        os.close(outside)


def test_the_keepers_death_is_the_end_of_all():
    broker = Broker()
    kept(broker)
    peer = broker.join()
    death = os.pidfd_open(broker.child)
    broker.process.kill()
    broker.process.wait()
    assert readable(death, HANG_SECONDS), "the one that served lives on"
    os.close(death)
    peer.until_closed()
    # And somebody else may take its place at once.
    with Broker(directory=broker.dir) as second:
        second.join()
    broker.kill()


def test_an_upgraded_one_takes_away_what_the_one_before_it_made():
    name = f"famez-life-{os.getpid()}"
    with Broker("--peers", "4", "-M", name, "--pidfile", "pid", "--logfile", "log") as broker:
        kept(broker)
        broker.may_stay.add("log")
        where = os.path.join(broker.dir, "log")

        def said(what):
            with open(where, encoding="utf-8") as f:
                return sum(what in line for line in f)

        peer = broker.join()
        for n in range(2):
            os.kill(broker.pid, signal.SIGUSR2)
            look_until("it is upgraded", lambda n=n: said("event=upgrade result=done") > n)
        with open(os.path.join(broker.dir, "pid"), encoding="ascii") as f:
            assert int(f.read()) == broker.pid
        # Its log is reopened by the same name.
        os.rename(where, where + ".1")
        broker.may_stay.add("log.1")
        os.kill(broker.pid, signal.SIGHUP)
        look_until("there is a new log", lambda: os.path.exists(where))
        late = broker.join()
        peer.until_knows(late.id)
    assert not os.path.exists("/dev/shm/" + name), "the memory's name stayed"


def test_a_daemon_is_kept_and_upgraded():
    room = tempfile.mkdtemp(prefix="famez-test-")
    path, log, pidfile = (os.path.join(room, name) for name in ("sock", "log", "pid"))
    status, _, err = run_once("--daemon", "-S", path, "-p", pidfile, "--logfile", log, "-l", "1M",
                              "-n", "4", "--verbose")
    assert status == 0, err
    with open(pidfile, encoding="ascii") as f:
        pid = int(f.read())
    death = os.pidfd_open(pid)

    def lines(what):
        with open(log, encoding="utf-8") as f:
            return [line for line in f if what in line]

    try:
        peer = RawPeer(path).open()
        children = f"/proc/{pid}/task/{pid}/children"
        with open(children, encoding="ascii") as f:
            child = f.read().split()
        if child:
            os.kill(int(child[0]), signal.SIGKILL)
            look_until("it has a successor", lambda: lines("event=resumed"))
            os.kill(pid, signal.SIGUSR2)
            look_until("it is upgraded", lambda: lines("result=done"))
        late = RawPeer(path).open()
        peer.until_knows(late.id)
    finally:
        os.kill(pid, signal.SIGTERM)
        assert readable(death, HANG_SECONDS), "it does not end"
        os.close(death)
    assert os.listdir(room) == ["log"], os.listdir(room)
    os.unlink(log)
    os.rmdir(room)


def test_without_a_keeper_there_is_one_process():
    with Broker("--no-keeper") as broker:
        peer = broker.join()
        assert broker.child == broker.pid
        os.kill(broker.pid, signal.SIGUSR2)  # asks nobody
        late = broker.join()
        peer.until_knows(late.id)
    broker = Broker("--no-keeper")
    peer = broker.join()
    broker.process.kill()
    broker.process.wait()
    peer.until_closed()
    broker.kill()


def test_a_start_that_fails_ends_with_its_code_and_one_line():
    with Broker() as broker:
        status, _, err = run_once("-F", "-S", broker.path)
        assert status == 4 and err.count("\n") == 1, (status, err)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)
    status, _, err = run_once("-F", "-S", "/tmp/famez-life", "--peers", "5000",
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE,
                                                                    (64, soft[1])))
    assert status in (0, 3, 1) or err.count("\n") == 1, (status, err)


def test_one_that_never_comes_to_serve_is_given_up():
    faults = os.path.join(os.path.dirname(settings.server), "famez-server-faults")
    if not os.path.exists(faults):
        raise Skip(f"no {faults}")
    room = tempfile.mkdtemp(prefix="famez-test-")
    status, _, err = run_once("-F", "-S", os.path.join(room, "sock"), "-l", "1M", binary=faults,
                              env=dict(os.environ, FAMEZ_CRASH=",".join(["1"] * 60)))
    assert status == 1, (status, err)
    assert err.count("event=died") == 5, err
    assert not listening(os.path.join(room, "sock"))
    assert not os.listdir(room), os.listdir(room)
    os.rmdir(room)


if __name__ == "__main__":
    run_tests(globals())
