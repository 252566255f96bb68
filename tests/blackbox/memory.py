#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""memory.py - the shared memory: sealed, a power of two, never truncated under its users."""

import errno
import fcntl
import mmap
import os
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import (  # noqa: E402
    F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, Broker, Skip, run_once, run_tests, seals)

MIB = 1 << 20


class Named:
    """A name under /dev/shm that is ours, and is gone at the end."""

    def __init__(self, size=None, mode=0o600, uid=None, content=b""):
        self.name = f"famez-test-{os.getpid()}-{os.urandom(4).hex()}"
        self.path = f"/dev/shm/{self.name}"
        if size is not None:
            fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
            os.ftruncate(fd, size)
            os.pwrite(fd, content, 0)
            os.fchmod(fd, mode)
            if uid is not None:
                os.fchown(fd, uid, uid)
            os.close(fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if os.path.lexists(self.path):
            os.unlink(self.path)

    def exists(self):
        return os.path.lexists(self.path)

    def size(self):
        return os.stat(self.path).st_size


def size_of(peer):
    return os.fstat(peer.memory).st_size


def fails_to_start(*options, status=1):
    """The server must refuse to start so, in one line, and leave nothing behind."""
    broker = Broker(*options, start=False)
    try:
        got, _, err = run_once("-F", "-S", broker.path, "-n", "1", *options)
        assert got == status, f"exit {got} instead of {status}: {err}"
        lines = [line for line in err.splitlines() if " notice " not in line]
        assert len(lines) == 1, f"not one line: {err!r}"
        assert not os.listdir(broker.dir), os.listdir(broker.dir)
        return lines[0]
    finally:
        broker.kill()


def test_by_default_it_is_a_memfd_sealed_against_any_change_of_size():
    with Broker() as broker:
        peer = broker.join()
        assert "memfd" in os.readlink(f"/proc/self/fd/{peer.memory}")
        wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL
        assert seals(peer.memory) & wanted == wanted
        for size in (0, 4096, MIB - 1, 2 * MIB):
            try:
                os.ftruncate(peer.memory, size)
            except OSError as err:
                assert err.errno == errno.EPERM
            else:
                raise AssertionError("a peer could change the size")
        assert size_of(peer) == MIB


def test_all_peers_share_it_and_may_write():
    with Broker("--silent") as broker:
        a, b = broker.join(), broker.join()
        assert fcntl.fcntl(a.memory, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        with mmap.mmap(a.memory, MIB) as left, mmap.mmap(b.memory, MIB) as right:
            assert left[:16] == bytes(16)
            left[0:5] = b"hello"
            right[MIB - 5:] = b"there"
            assert right[0:5] == b"hello" and left[MIB - 5:] == b"there"


def test_what_was_written_stays_when_the_writer_leaves():
    with Broker() as broker:
        a = broker.join()
        os.pwrite(a.memory, b"kept", 4096)
        a.leave()
        assert os.pread(broker.join().memory, 4, 4096) == b"kept"


def test_sizes_take_k_m_and_g():
    for text, size in {"65536": 65536, "64K": 65536, "64k": 65536, "2M": 2 * MIB, "2m": 2 * MIB,
                       "1G": 1024 * MIB}.items():
        with Broker("--silent", size=text) as broker:
            peer = broker.join()
            assert size_of(peer) == size, f"{text} made {size_of(peer)}"


def test_the_default_size_of_a_memory_without_lanes_is_64_megabytes():
    with Broker("--silent", size=None) as broker:
        assert size_of(broker.join()) == 64 * MIB
        assert int(broker.wait_event("start")["memory_bytes"]) == 64 * MIB


def test_a_size_is_rounded_up_to_a_power_of_two_with_a_notice():
    for text, size in {"3M": 4 * MIB, "5000": 8192, "1025K": 2 * MIB, "4097": 8192}.items():
        with Broker("--silent", size=text) as broker:
            assert size_of(broker.join()) == size
            broker.wait_event("listening")
            said = [e for e in broker.log.entries if e and e["level"] == "notice"
                    and e["event"] not in ("start", "listening")]
            assert said, f"nothing was said of {text} becoming {size}"
            assert int(broker.wait_event("start")["memory_bytes"]) == size


def test_a_power_of_two_is_taken_as_it_is_without_a_word():
    with Broker("--silent", size="4M") as broker:
        assert size_of(broker.join()) == 4 * MIB
        said = {e["event"] for e in broker.log.entries if e and e["level"] == "notice"}
        assert said <= {"start", "sandbox", "listening"}, said


def test_a_size_below_a_page_becomes_a_page_or_is_refused():
    status, _, _ = run_once("--check", "-S", "/nonexistent/s", "-l", "1")
    if status == 2:
        return
    with Broker("--silent", size="1") as broker:
        assert size_of(broker.join()) >= 4096


def test_it_is_sparse():
    with Broker("--silent", size="1G") as broker:
        assert os.fstat(broker.join().memory).st_blocks * 512 < 16 * MIB


def test_a_named_object_is_made_and_removed_at_the_end():
    with Named() as named:
        with Broker("-M", named.name) as broker:
            peer = broker.join()
            assert named.size() == MIB == size_of(peer)
            assert not stat.S_IMODE(os.stat(named.path).st_mode) & 0o007
            os.pwrite(peer.memory, b"through the name", 100)
            with open(named.path, "rb") as f:
                f.seek(100)
                assert f.read(16) == b"through the name"
        assert not named.exists()


def test_a_name_may_begin_with_a_slash_as_posix_has_it():
    with Named() as named:
        with Broker("-M", "/" + named.name):
            assert named.exists()
        assert not named.exists()


def test_an_existing_object_is_reused_with_its_contents_and_stays():
    with Named(size=MIB, content=b"older than the server") as named:
        inode = os.stat(named.path).st_ino
        with Broker("-M", named.name) as broker:
            assert os.pread(broker.join().memory, 21, 0) == b"older than the server"
        assert os.stat(named.path).st_ino == inode and named.size() == MIB


def test_an_existing_object_that_is_larger_is_reused_and_not_truncated():
    with Named(size=4 * MIB, content=b"large") as named:
        with Broker("-M", named.name) as broker:
            assert size_of(broker.join()) == 4 * MIB
            assert int(broker.wait_event("start")["memory_bytes"]) == 4 * MIB
        assert named.size() == 4 * MIB


def test_an_existing_object_that_is_too_small_is_refused_and_left_alone():
    with Named(size=64 << 10, content=b"small") as named:
        line = fails_to_start("-l", "1M", "-M", named.name, status=3)
        assert named.name in line
        assert named.size() == 64 << 10
        with open(named.path, "rb") as f:
            assert f.read(5) == b"small"


def test_an_existing_object_whose_size_is_no_power_of_two_is_refused_and_left_alone():
    with Named(size=3 * MIB) as named:
        fails_to_start("-l", "1M", "-M", named.name)
        assert named.size() == 3 * MIB


def test_an_object_of_somebody_else_is_refused_and_left_alone():
    if os.geteuid() != 0:
        raise Skip("needs root, to make an object of somebody else's")
    with Named(size=MIB, uid=65534, mode=0o666) as named:
        fails_to_start("-l", "1M", "-M", named.name)
        assert named.size() == MIB and os.stat(named.path).st_uid == 65534


def test_an_object_made_by_a_server_that_was_killed_is_reused_by_the_next():
    with Named() as named:
        first = Broker("-M", named.name)
        os.pwrite(first.join().memory, b"survives", 0)
        first.kill()
        assert named.exists()
        with Broker("-M", named.name) as broker:
            assert os.pread(broker.join().memory, 8, 0) == b"survives"


def test_a_directory_gets_an_unnamed_file():
    with Broker(start=False) as broker:
        where = os.path.join(broker.dir, "room")
        os.mkdir(where)
        broker.may_stay.add("room")
        broker.command += ["-m", where]
        broker.start()
        peer = broker.join()
        assert size_of(peer) == MIB
        assert not os.listdir(where)
        assert os.fstat(peer.memory).st_nlink == 0
        assert os.fstat(peer.memory).st_dev == os.stat(where).st_dev


def test_a_file_is_made_and_removed_at_the_end():
    with Broker(start=False) as broker:
        where = os.path.join(broker.dir, "file")
        broker.command += ["-m", where]
        broker.start()
        assert os.stat(where).st_size == MIB == size_of(broker.join())


def test_an_existing_file_is_reused_and_stays():
    with Broker(start=False) as broker:
        where = os.path.join(broker.dir, "file")
        with open(where, "wb") as f:
            f.write(b"mine")
            f.truncate(MIB)
        broker.may_stay.add("file")
        broker.command += ["-m", where]
        broker.start()
        peer = broker.join()
        assert os.pread(peer.memory, 4, 0) == b"mine"
        os.pwrite(peer.memory, b"more", 4)
        peers = [peer]
        broker.peers.clear()
        broker.own_directory = False
        broker.stop()
        with open(where, "rb") as f:
            assert f.read(8) == b"minemore"
        for p in peers:
            p.close()
        broker.own_directory = True
        broker.kill()


def test_a_directory_that_is_not_there_is_an_error_in_one_line():
    line = fails_to_start("-m", "/nonexistent/famez/file")
    assert "/nonexistent/famez" in line


def test_a_device_node_is_no_shared_memory():
    fails_to_start("-m", "/dev/null")


def test_mailbox_without_a_slash_is_a_name_and_with_one_a_path():
    with Named() as named:
        with Broker("--mailbox", named.name):
            assert named.exists()
        assert not named.exists()
    with Broker(start=False) as broker:
        where = os.path.join(broker.dir, "box")
        broker.command += ["--mailbox", where]
        broker.start()
        assert os.path.exists(where)


def test_huge_pages_serve_as_memory():
    with open("/proc/mounts", encoding="utf-8") as f:
        mounts = [line.split() for line in f]
    mounts = [m[1] for m in mounts if m[2] == "hugetlbfs" and "pagesize=2M" in m[3]]
    with open("/proc/meminfo", encoding="ascii") as f:
        free = next(int(line.split()[1]) for line in f if line.startswith("HugePages_Free"))
    if not mounts or free < 1 or not os.access(mounts[0], os.W_OK):
        raise Skip("no hugetlbfs with free 2 MB pages")
    with Broker("-m", mounts[0], size="2M") as broker:
        peer = broker.join()
        assert size_of(peer) == 2 * MIB and os.fstat(peer.memory).st_blksize == 2 * MIB
        with mmap.mmap(peer.memory, 2 * MIB) as view:
            view[0:4] = b"huge"


def test_a_place_with_too_little_room_for_all_of_it_is_told_of_at_the_start():
    there = os.statvfs("/dev/shm")
    free, all_of_it = there.f_bavail * there.f_frsize, there.f_blocks * there.f_frsize
    if not all_of_it or free < 2 * MIB:
        raise Skip("/dev/shm has no limit, or is full")
    with Named() as named:
        with Broker("-M", named.name) as broker:
            broker.wait_event("listening")  # which comes later
            assert not broker.events("little-room")
    size = 1 << all_of_it.bit_length()
    with Named() as named:
        with Broker("-M", named.name, size=str(size)) as broker:
            said = broker.wait_event("little-room")
            assert said["level"] == "warning" and named.name in said["name"], said
            assert int(said["bytes"]) == size and 0 < int(said["room"]) <= all_of_it, said
            assert size_of(broker.join()) == size


def test_an_object_that_was_replaced_meanwhile_is_not_removed():
    """Only what the server made is its to remove: somebody may have put another in its place."""
    with Named() as named:
        with Broker("-M", named.name):
            os.unlink(named.path)
            with open(named.path, "wb") as f:
                f.write(b"another's")
        assert named.exists(), "the server removed what it had not made"


if __name__ == "__main__":
    run_tests(globals())
