#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""options.py - the command line: what every option does, and what is said of a wrong one."""

import contextlib
import grp
import os
import re
import resource
import shutil
import signal
import stat
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import (  # noqa: E402
    HANG_SECONDS, Broker, RawPeer, listening, readable, run_once, run_tests, settings,
    unprivileged_uid)


def wrong(*options, says=None):
    """These options end in exit 2 and one line that begins with the program's name."""
    status, out, err = run_once("-F", "-S", "/nonexistent/famez/sock", *options)
    what = " ".join(options)
    assert status == 2, f"`{what}`: exit {status}, said {err!r}"
    assert err.count("\n") == 1 and err.startswith("famez-server: "), f"`{what}`: said {err!r}"
    assert len(err) > len("famez-server: ") + 10
    if says:
        assert re.search(says, err), f"`{what}`: said {err!r}, without {says}"
    assert not out


def test_help_fits_a_screen_and_names_every_option():
    for option in ("-h", "--help"):
        status, out, err = run_once(option)
        assert status == 0 and not err
        lines = out.splitlines()
        assert len(lines) <= 40, f"{len(lines)} lines"
        assert max(map(len, lines)) <= 80, "wider than 80 columns"
        for name in ("help", "version", "verbose", "foreground", "daemon", "pidfile", "socketpath",
                     "shm-name", "shm-path", "mailbox", "size", "vectors", "peers", "nClients",
                     "silent", "leaves", "device-names", "stall-timeout", "workers", "cpus",
                     "socket-mode", "socket-owner", "logfile", "log-format", "check", "layout",
                     "dialect", "personality", "socket-group", "allow-uid", "allow-gid",
                     "max-per-uid", "joins-per-second", "zone", "bind", "watchdog"):
            assert f"--{name}" in out, f"--{name} is not in the help"


def test_version_is_told_on_stdout():
    status, out, err = run_once("--version")
    assert status == 0 and not err
    assert re.match(r"famez-server .*\d+\.\d+", out)


def test_an_unknown_option_is_named():
    wrong("--nonsense", says="nonsense")
    wrong("-Z", says="Z")
    wrong("--socketpaht", "x", says="socketpaht")


def test_what_is_no_option_is_refused():
    wrong("stray", says="stray")


def test_a_missing_value_is_refused():
    for option in ("-S", "-l", "-n", "-M", "-m", "-p", "--peers", "--workers", "--logfile",
                   "--stall-timeout", "--cpus", "--leaves", "--log-format", "--socket-mode",
                   "--socket-owner", "--device-names", "--nClients", "--mailbox", "--layout",
                   "--dialect", "--personality", "--socket-group", "--allow-uid", "--allow-gid",
                   "--max-per-uid", "--joins-per-second", "--zone", "--bind", "--watchdog"):
        wrong(option)


def test_vectors_are_1_to_2048():
    for value in ("0", "2049", "65540", "-1", "four", "4x", "", " 4 4", "99999999999999999999"):
        wrong("-n", value, says="2048")
    wrong("--vectors", "0", says="2048")


def test_sizes_are_numbers_with_k_m_or_g():
    for value in ("0", "-1", "big", "4X", "", "4MM", "M", "1e6", "99999999999999999999",
                  "99999999999G"):
        wrong("-l", value)


def test_peers_are_counted_from_1_to_what_16_bits_can_number():
    for value in ("0", "-3", "many", "65537", "70000", "", "10 20"):
        wrong("--peers", value)
    wrong("--peers", "65536")  # the server itself needs an ID beyond them


def test_workers_are_a_small_number():
    for value in ("0", "-1", "x", "", "100000"):
        wrong("--workers", value)


def test_cpus_are_a_list():
    for value in ("", "a", "3-1", "1,,2", "-", "1-", "0;1", "999999"):
        wrong("--cpus", value)


def test_words_are_one_of_those_that_exist():
    wrong("--leaves", "sometimes", says="auto.*always.*never|always.*never")
    wrong("--log-format", "xml", says="text.*json|json.*text")
    wrong("--layout", "rings", says="auto.*lanes.*slots.*plain")
    wrong("--dialect", "swiss", says="fee.*famez")
    wrong("--personality", "split", says="genz.*none")


def test_a_socket_mode_is_octal_and_an_owner_exists():
    for value in ("999", "rw", "", "01777777", "-1"):
        wrong("--socket-mode", value)
    for value in ("no-such-user-here", "root:no-such-group-here", "", ":"):
        wrong("--socket-owner", value)


def test_users_groups_and_quotas_are_checked_before_anything_opens():
    for value in ("no-such-user-here", "", "1,,2", "1,", "-1"):
        wrong("--allow-uid", value, says="users")
        wrong("--allow-gid", value, says="groups")
    for value in ("0", "-1", "many", ""):
        wrong("--max-per-uid", value, says="from 1")
        wrong("--joins-per-second", value, says="from 1")
    wrong("--socket-group", "no-such-group-here", says="group")


def test_a_stall_timeout_is_a_number_of_seconds():
    for value in ("-1", "soon", "", "1h"):
        wrong("--stall-timeout", value)


def test_a_socket_path_must_fit_the_kernels_108_bytes():
    status, _, err = run_once("-F", "-S", "/tmp/" + "x" * 120)
    assert status == 2 and err.count("\n") == 1 and "10" in err, err


def test_names_of_memory_have_no_slash_within():
    wrong("-M", "a/b")
    wrong("-M", "")


def test_of_two_places_for_the_memory_the_later_counts():
    name = f"famez-test-{os.getpid()}-place"
    with Broker("-M", name, "-m", "/tmp") as broker:
        assert os.readlink(f"/proc/self/fd/{broker.join().memory}").startswith("/tmp/")
        assert not os.path.exists("/dev/shm/" + name)


def test_clients_of_famez_are_counted():
    for value in ("0", "x", "-1", ""):
        wrong("--nClients", value)


def test_verbosity_is_a_number():
    wrong("--verbose=loud")
    wrong("--verbose=-1")


def test_long_options_take_their_value_with_or_without_an_equals_sign():
    for options in (["--vectors=3"], ["--vectors", "3"], ["-n3"], ["-n", "3"]):
        with Broker("--silent", *options, vectors=None) as broker:
            broker.join(vectors=3)


def test_the_later_of_two_equal_options_counts():
    with Broker("-n", "7", vectors=3) as broker:
        broker.join(vectors=7)


def test_four_vectors_and_64_peers_by_default():
    with Broker(vectors=None, size=None) as broker:
        start = broker.wait_event("start")
        assert start["vectors"] == "4" and start["peers"] == "64"
        assert start["first_id"] == "1" and start["server_id"] == "65"
        assert "--peers" in broker.wait_event("default-peers", peers=64)["hint"]
        broker.join(vectors=4)


def test_where_the_memory_does_not_grow_with_them_there_is_room_for_a_thousand():
    for options, size in (((), "1M"), (["--layout", "plain"], None), (["--silent"], None)):
        with Broker(*options, size=size) as broker:
            assert broker.wait_event("start")["peers"] == "1000"
            assert not broker.events("default-peers")


def test_nclients_sets_peers_and_two_more_vectors():
    with Broker("--nClients", "14", vectors=None) as broker:
        peer = broker.join(vectors=16)
        assert set(peer.peers) == {1, 15}
    with Broker("--nClients", "14", vectors=5) as broker:
        assert set(broker.join(vectors=5).peers) == {1, 15}


def test_silent_servers_have_no_id():
    with Broker("--silent", "--peers", "3") as broker:
        start = broker.wait_event("start")
        assert start["first_id"] == "0"
        peers = [broker.join() for _ in range(3)]
        for p in peers:
            p.until_exactly([0, 1, 2])


def test_the_largest_ids_can_be_had():
    for options in (["--peers", "65534"], ["--peers", "65536", "--silent"]):
        # 3: the descriptor limit of this machine forbids it, and that is all that does.
        status, _, err = run_once("-F", "-S", "/nonexistent/s", "-n", "1", "--check", *options)
        assert status in (0, 3), err


def test_more_workers_than_cpus_work():
    with Broker("--workers", "7") as broker:
        peers = [broker.join() for _ in range(20)]
        for p in peers:
            p.until_exactly({q.id for q in peers} | {1001})
        seen = {e["worker"] for e in broker.report().peers.values()}
        assert len(seen) == 7, f"only workers {seen} have peers"


def test_workers_are_pinned_to_the_cpus_of_the_list():
    cpu = min(os.sched_getaffinity(0))
    with Broker("--cpus", str(cpu), "--workers", "2") as broker:
        broker.join()
        sets = []
        for thread in os.listdir(f"/proc/{broker.child}/task"):
            with contextlib.suppress(ProcessLookupError):  # one of the kernel's, which come and go
                sets.append(os.sched_getaffinity(int(thread)))
        assert sets.count({cpu}) >= 2, sets


def test_the_sockets_mode_and_owner_are_set():
    with Broker("--socket-mode", "0620") as broker:
        assert stat.S_IMODE(os.stat(broker.path).st_mode) == 0o620
    uid = unprivileged_uid()
    group = grp.getgrgid(os.getgid()).gr_name
    with Broker("--socket-owner", f"nobody:{group}", "--socket-mode", "660") as broker:
        found = os.stat(broker.path)
        assert found.st_uid == uid and found.st_gid == os.getgid()
        assert stat.S_IMODE(found.st_mode) == 0o660


def test_check_prints_the_budget_and_does_nothing():
    with Broker(start=False) as broker:
        status, out, err = run_once("-F", "-S", broker.path, "--check", "--peers", "100", "-n", "4")
        assert status == 0, err
        assert "descriptor" in out + err and re.search(r"\d{3}", out + err)
        assert not os.listdir(broker.dir)


def as_nobody(limit, *options):
    """Run the server as a user who cannot raise the limit."""
    uid = unprivileged_uid()
    room = tempfile.mkdtemp(prefix="famez-test-")
    try:
        binary = os.path.join(room, "famez-server")
        shutil.copy(settings.server, binary)
        os.chmod(room, 0o755)
        os.chown(room, uid, uid)

        def lower():
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        return run_once("-F", "-S", os.path.join(room, "sock"), *options, binary=binary, user=uid,
                        group=uid, extra_groups=[], cwd=room, preexec_fn=lower)
    finally:
        shutil.rmtree(room)


def test_a_budget_that_does_not_fit_is_refused_with_the_number_to_set():
    for options in (["--peers", "500", "-n", "4"], ["--peers", "500", "-n", "4", "--check"]):
        status, out, err = as_nobody(300, *options)
        assert status == 3, f"exit {status}: {out}{err}"
        numbers = [int(n) for n in re.findall(r"\d+", out + err)]
        assert any(2500 <= n < 4000 for n in numbers), f"no number that would do: {out}{err}"


def test_the_number_that_is_named_does():
    _, out, err = as_nobody(300, "--peers", "50", "-n", "8", "--check")
    needed = max(int(n) for n in re.findall(r"(?<![\d.])\d{3,4}(?![\d.])", err or out))
    status, out, err = as_nobody(needed, "--peers", "50", "-n", "8", "--check")
    assert status == 0, f"{needed} was not enough: {out}{err}"


def test_a_default_number_of_peers_is_lowered_to_the_limit_with_a_notice():
    status, out, err = as_nobody(600, "--check", "-n", "4")
    assert status == 0, f"exit {status}: {out}{err}"
    assert "notice" in err or "peers" in out


class Stock:
    """The binary under the stock server's name."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="famez-test-")
        self.binary = os.path.join(self.dir, "ivshmem-server")
        return self

    def copied(self):
        shutil.copy(settings.server, self.binary)
        return self.binary

    def linked(self):
        os.symlink(settings.server, self.binary)
        return self.binary

    def __exit__(self, *_):
        shutil.rmtree(self.dir)


def test_called_ivshmem_server_it_has_that_programs_defaults():
    for how in ("copied", "linked"):
        name = f"famez-test-{os.getpid()}-{how}"
        with Stock() as stock, Broker(
                "-F", "-S", stock.dir + "/sock", "-p", stock.dir + "/pid", "-M", name,
                bare=True, path=stock.dir + "/sock", binary=getattr(stock, how)()) as broker:
            assert os.stat("/dev/shm/" + name).st_size == 4 << 20
            a, b = broker.join(vectors=1), broker.join(vectors=1)
            a.until_exactly([0, 1])
            assert (a.id, b.id) == (0, 1), "silent servers give 0 first"
            with open(stock.dir + "/pid", encoding="ascii") as f:
                assert int(f.read()) == broker.pid


def test_called_ivshmem_server_it_goes_to_the_background():
    name = f"famez-test-{os.getpid()}-background"
    with Stock() as stock:
        path, pidfile = stock.dir + "/sock", stock.dir + "/pid"
        status, _, err = run_once("-S", path, "-p", pidfile, "-M", name, binary=stock.copied())
        assert status == 0, err
        with open(pidfile, encoding="ascii") as f:
            pid = int(f.read())
        death = os.pidfd_open(pid)
        try:
            assert listening(path)
            peer = RawPeer(path, vectors=1).open()
            assert peer.id == 0
            peer.close()
        finally:
            os.kill(pid, signal.SIGTERM)
            assert readable(death, HANG_SECONDS)
            os.close(death)
        assert sorted(os.listdir(stock.dir)) == ["ivshmem-server"]
        assert not os.path.exists("/dev/shm/" + name)


def test_the_options_of_ivshmem_server_are_all_taken():
    name = f"famez-test-{os.getpid()}-all"
    with Stock() as stock, Broker(
            "-v", "-F", "-p", stock.dir + "/pid", "-S", stock.dir + "/sock", "-M", name, "-l", "2M",
            "-n", "3", bare=True, path=stock.dir + "/sock", binary=stock.copied()) as broker:
        peer = broker.join(vectors=3)
        assert os.fstat(peer.memory).st_size == 2 << 20


def test_the_default_socket_is_in_the_users_runtime_directory():
    uid = unprivileged_uid()
    room = tempfile.mkdtemp(prefix="famez-test-")
    binary = os.path.join(room, "famez-server")
    shutil.copy(settings.server, binary)
    try:
        with Broker("-F", bare=True, path=room + "/famez.sock", directory=room, binary=binary,
                    user=uid, env={"XDG_RUNTIME_DIR": room}) as broker:
            assert listening(broker.path)
    finally:
        shutil.rmtree(room)


if __name__ == "__main__":
    run_tests(globals())
