#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""start.py - every system call of the start fails once: the 1st, the 2nd, the 3rd...

Each time the server either starts all the same, or ends with status 1, 3 or 4 and one
line that says what was wrong; it never crashes or hangs, and leaves nothing behind.
"""

import contextlib
import os
import struct

from plan import attempt, each_start, fabric, judge, only_with_faults

SHM = f"famez-fault-{os.getpid()}"


def must_fail(call, error, *options, **judged):
    failures = each_start(call, error, *options, **judged)
    assert failures, f"no start was harmed by a failing {call}: is it called at all?"


def may_fail(call, error, *options):
    each_start(call, error, *options)


def test_the_server_under_test_takes_plans():
    only_with_faults()


def test_a_start_without_faults_is_clean():
    judge("none", attempt("write:100000:EIO"))


def test_socket():
    must_fail("socket", "EMFILE")


def test_connect_that_looks_for_a_living_server():
    may_fail("connect", "EACCES")


def test_bind():
    must_fail("bind", "EACCES")
    must_fail("bind", "EADDRINUSE")


def test_listen():
    must_fail("listen", "EADDRINUSE")


def test_chmod_and_chown_of_the_socket():
    must_fail("fchmod", "EPERM", "--socket-mode", "0660")
    must_fail("lchown", "EPERM", "--socket-owner", f"{os.getuid()}:{os.getgid()}")


def test_open_of_lock_pidfile_and_log():
    must_fail("open", "EACCES", "--pidfile", "{dir}/pid", "--logfile", "{dir}/log")
    must_fail("open", "EMFILE", "--pidfile", "{dir}/pid", "--logfile", "{dir}/log")


def test_flock():
    # A lock file that could not be locked may be another server's by now: it must stay,
    # and does no harm.
    must_fail("flock", "ENOSPC", may_stay={"sock.lock"})


def test_memory_sealed():
    must_fail("memfd", "ENOMEM")
    must_fail("ftruncate", "ENOSPC")
    must_fail("fallocate", "ENOSPC", "--layout", "lanes", "--peers", "4")
    must_fail("fcntl", "EPERM")
    may_fail("fstat", "EIO")


def test_memory_named_object():
    options = ("-M", SHM)
    # At its end the server looks whether the name is still its own, and where it can't,
    # leaves it.
    must_fail("open", "EACCES", *options, unsure={SHM})
    must_fail("ftruncate", "ENOSPC", *options)
    may_fail("fstat", "EIO", *options)
    may_fail("flock", "EINTR", *options)
    may_fail("fcntl", "EINVAL", *options)


def test_memory_file():
    options = ("-m", "{dir}/box")
    must_fail("open", "ENOSPC", *options, unsure={"box"})
    must_fail("ftruncate", "ENOSPC", *options)
    may_fail("fstat", "EIO", *options)


@contextlib.contextmanager
def left_by_an_earlier_server():
    """A named object with FAME-Z's header, and rubbish behind it."""
    path = "/dev/shm/" + SHM
    with open(path, "wb") as f:
        f.write(struct.pack("<5Q", 512, 128, 14, 16, 15).ljust(1 << 20, b"\xee"))
    try:
        yield path
    finally:
        os.unlink(path)


def test_mapping_the_memory():
    must_fail("mmap", "ENOMEM")
    clean = attempt("mmap:2:ENOMEM", "--layout", "plain")  # the first is of the state
    assert clean.ready, "what is left alone need not be mapped"


def test_emptying_an_existing_memory():
    with left_by_an_earlier_server():
        must_fail("fallocate", "EIO", "-M", SHM)
        must_fail("fcntl", "EACCES", "-M", SHM)


def test_emptying_an_existing_memory_where_no_holes_can_be_punched():
    with left_by_an_earlier_server() as path:
        # The first two are of the state and of its log.
        judge("fallocate:3:EOPNOTSUPP", attempt("fallocate:3:EOPNOTSUPP", "-M", SHM))
        with open(path, "rb") as f:
            # Six IDs with lanes of 16 KiB end at 596 KiB.
            assert b"\xee" not in f.read(590 << 10)


def test_memory_in_a_folder():
    options = ("-m", "{dir}")
    must_fail("open", "EACCES", *options)
    must_fail("ftruncate", "ENOSPC", *options)


def test_eventfd():
    must_fail("eventfd", "EMFILE")
    must_fail("eventfd", "ENFILE")


def test_signalfd():
    must_fail("signalfd", "EMFILE")


def test_threads():
    must_fail("pthread", "EAGAIN")


def test_memory_of_our_own():
    must_fail("calloc", "ENOMEM")


def test_the_limit_of_open_files():
    may_fail("setrlimit", "EPERM")
    fewer = attempt("setrlimit:1:EPERM", "--peers", "4")
    judge("setrlimit:1:EPERM", fewer)


def test_io_uring_that_is_forbidden_or_short_of_memory():
    for error in ("ENOMEM", "EPERM", "ENOSYS", "EMFILE"):
        must_fail("uring", error)


def test_write_of_lock_and_pidfile():
    may_fail("write", "ENOSPC", "--pidfile", "{dir}/pid")
    may_fail("write", "EIO", "--pidfile", "{dir}/pid", "--logfile", "{dir}/log")


def test_an_invalid_argument_of_ours_is_no_usage_error():
    # EINVAL of a system call must not be taken for that of the command line (status 2).
    for call in ("socket", "bind", "listen", "memfd", "ftruncate", "eventfd", "signalfd",
                 "pthread", "open"):
        must_fail(call, "EINVAL", "--pidfile", "{dir}/pid")


def test_two_calls_at_once():
    for plan in ("socket:1:EMFILE,open:2:EACCES", "memfd:1:ENOMEM,calloc:5:ENOMEM",
                 "pthread:2:EAGAIN,calloc:30:ENOMEM", "uring:3:ENOMEM,eventfd:4:EMFILE",
                 "listen:1:EADDRINUSE,write:2:EIO"):
        judge(plan, attempt(plan, "--pidfile", "{dir}/pid"))


if __name__ == "__main__":
    fabric.run_tests(globals())
