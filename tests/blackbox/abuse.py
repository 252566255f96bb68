#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""abuse.py - what a hostile or broken client can do: nothing but lose its place.

After each abuse the server still serves, everybody else's view is exact, nothing leaks, and the
log says what happened without being flooded.
"""

import array
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import Bells, Broker, Skip, barrier, full_mesh, readable, run_tests  # noqa: E402


def warm(broker, count):
    """Give every ID an owner once, so that the eventfds of all IDs are there; then: how many
    descriptors an idle server has."""
    broker.until_connected(0)
    crowd = []
    for _ in range(count):
        crowd.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        crowd[-1].connect(broker.path)
    broker.until_connected(count)
    for s in crowd:
        s.close()
    broker.until_connected(0)
    return broker.fd_count()


def still_serves(broker, server_id):
    peers = [broker.join() for _ in range(3)]
    for p in peers:
        p.until_knows(*[q.id for q in peers])
        p.read_until(lambda p=p: set(p.peers) == {q.id for q in peers} | {server_id})
    full_mesh(peers, extra=[server_id])
    for p in peers:
        p.leave()
        broker.peers.remove(p)


def dropped(broker, abuse, reason=None):
    """Somebody abuses the server so: it is dropped, others are told, nothing is left."""
    base = warm(broker, 8)
    witness = broker.join()
    culprit = broker.join()
    witness.until_knows(culprit.id)
    mark = broker.mark()
    abuse(culprit)
    witness.until_left(culprit.id)
    entry = broker.wait_event("drop", mark, id=culprit.id)
    assert int(entry["pid"]) == os.getpid() and entry["level"] == "warning"
    if reason:
        assert entry["reason"] == reason, entry
    culprit.until_closed()
    culprit.close()
    witness.leave()
    broker.peers.clear()
    broker.until_peers(0)
    broker.until_fds(base)
    still_serves(broker, 9)


def test_a_client_that_speaks_is_dropped():
    with Broker("--peers", "8") as broker:
        dropped(broker, lambda p: p.sock.send(b"x"), "spoke")
        dropped(broker, lambda p: p.sock.send(bytes(8)), "spoke")
        dropped(broker, lambda p: p.sock.send(b"GET / HTTP/1.0\r\n\r\n"), "spoke")


def test_a_client_that_speaks_without_end_is_dropped_at_its_first_bytes():
    def pour(peer):
        try:
            while True:
                peer.sock.send(bytes(65536))
        except (BrokenPipeError, ConnectionResetError):
            pass
    with Broker("--peers", "8") as broker:
        dropped(broker, pour, "spoke")


def test_a_client_that_sends_descriptors_is_dropped_and_they_are_closed():
    read, write = os.pipe()

    def send(peer):
        socket.send_fds(peer.sock, [b"fd"], [write] * 64)
    with Broker("--peers", "8") as broker:
        dropped(broker, send, "spoke")
        dropped(broker, send, "spoke")
        os.close(write)
        # All copies are closed: the pipe is at its end.
        assert readable(read, 60)
        assert os.read(read, 1) == b""
        os.close(read)


def test_descriptors_with_an_endless_stream_of_bytes_are_all_closed():
    read, write = os.pipe()

    def send(peer):
        try:
            for _ in range(50):
                socket.send_fds(peer.sock, [b"many"], [write] * 250)
        except (BrokenPipeError, ConnectionResetError):
            pass
    with Broker("--peers", "8") as broker:
        dropped(broker, send)
        os.close(write)
        assert readable(read, 60)
        assert os.read(read, 1) == b""
        os.close(read)


def test_a_client_that_closes_half_has_left():
    with Broker("--peers", "8") as broker:
        base = warm(broker, 8)
        witness, p = broker.join(), broker.join()
        witness.until_knows(p.id)
        p.half_close()
        witness.until_left(p.id)
        p.until_closed()
        p.close()
        witness.leave()
        broker.peers.clear()
        broker.until_peers(0)
        broker.until_fds(base)
        still_serves(broker, 9)


def test_speaking_before_anything_was_read_is_no_trouble():
    with Broker("--peers", "200") as broker:
        base = warm(broker, 200)
        for _ in range(100):
            p = broker.connect()
            try:
                p.sock.send(b"hello?")
            except (BrokenPipeError, ConnectionResetError):
                pass
            p.vanish()
        broker.peers.clear()
        broker.until_peers(0)
        still_serves(broker, 201)
        broker.until_peers(0)
        broker.until_fds(base)


def test_ten_thousand_who_connect_and_vanish_leave_nothing_behind():
    with Broker("--peers", "50", verbose=0) as broker:
        base = warm(broker, 50)
        witness = broker.join()
        address = broker.path
        for _ in range(10000):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.connect(address)
            s.close()
        # Whoever joins now has been accepted after all of them.
        while True:
            broker.until("there is a place", lambda: broker.report()["peers"] < 50)
            last = broker.connect()
            value, _ = last.message()
            last.vanish()
            if value == 0:
                break
        broker.until_connected(1)
        barrier(broker, [witness])
        full_mesh([witness], extra=[51])
        witness.leave()
        broker.peers.clear()
        broker.until_peers(0)
        broker.until_fds(base)
        assert broker.fd_count() == base
        said = [e for e in broker.log.entries if e and not e["event"].startswith("report")]
        assert len(said) < 1000, f"{len(said)} log lines"
        still_serves(broker, 51)


def test_a_flood_of_refusals_does_not_flood_the_log():
    with Broker("--peers", "2", verbose=0) as broker:
        sitters = [broker.join() for _ in range(2)]
        mark, begun = broker.mark(), time.monotonic()
        for _ in range(3000):
            p = broker.connect()
            assert p.message() == (-1, None)
            p.close()
        broker.peers.clear()
        assert broker.report()["refused"] == 3000
        broker.wait_event("refuse", mark)
        refusals = broker.events("refuse", mark)
        most = 50 + 10 * (time.monotonic() - begun)  # lines at once, and a second
        assert len(refusals) <= most, f"{len(refusals)} lines about refusals"
        for p in sitters:
            p.close()


def test_a_thousand_silent_connections_delay_nobody_and_leave_nothing():
    bells = Bells()
    with Broker("--peers", "1100", vectors=1) as broker:
        base = warm(broker, 1100)
        silent = []
        for _ in range(1000):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.connect(broker.path)
            silent.append(s)
        a, b = broker.join(bells=bells), broker.join(bells=bells)
        a.until_knows(b.id)
        a.ring(b.id, 0)
        assert b.wait(0) == 1
        assert set(a.peers) <= set(range(1, 1102))
        # One that came when 278 were there has not read its opening: it is let in no further.
        broker.until("1002 served", lambda: sum(
            broker.report()[key] for key in ("peers", "opening")) == 1002)
        for s in silent:
            s.close()
        a.read_until(lambda: set(a.peers) == {a.id, b.id, 1101})
        a.close()
        b.close()
        broker.peers.clear()
        broker.until_peers(0)
        broker.until_fds(base)
    bells.close()


def test_clients_that_vanish_amid_a_flood_of_messages_leak_nothing():
    with Broker("--peers", "60", vectors=8) as broker:
        base = warm(broker, 60)
        sitters = [broker.join() for _ in range(40)]
        for turn in range(200):
            p = broker.connect()
            for _ in range(turn % 7):
                p.message_raw()
            p.vanish()
            broker.peers.remove(p)
            if turn % 20 == 0:
                for q in sitters:
                    q.drain()
        broker.until_peers(40)
        for p in sitters:
            p.until_exactly({q.id for q in sitters} | {61})
        barrier(broker, sitters)
        full_mesh(sitters, extra=[61])
        for p in sitters:
            p.leave()
        broker.peers.clear()
        broker.until_peers(0)
        broker.until_fds(base)


def test_a_client_with_a_tiny_receive_buffer_still_gets_everything():
    with Broker(vectors=4) as broker:
        crowd = [broker.join() for _ in range(40)]
        p = broker.connect()
        p.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        p.open()
        p.until_exactly({q.id for q in crowd} | {p.id, 1001})


def test_out_of_band_bytes_keep_nobody_busy_and_no_member_alive():
    with Broker("--peers", "8") as broker:
        base = warm(broker, 8)
        p = broker.join()
        try:
            p.sock.send(b"!", socket.MSG_OOB)
        except OSError as err:
            raise Skip("no out-of-band bytes on this kernel's UNIX sockets") from err
        witness = broker.join()
        before = broker.cpu_ticks()
        assert not readable(witness.sock, 0.5) or witness.drain() is None
        assert broker.cpu_ticks() - before <= 25, "the server spins"
        p.close()
        witness.close()
        broker.until_peers(0)
        broker.peers.clear()
        broker.until_fds(base)


def test_credentials_with_the_bytes_change_nothing():
    with Broker("--peers", "8") as broker:
        def send(peer):
            control = array.array("i", [os.getpid(), os.getuid(), os.getgid()])
            peer.sock.sendmsg([b"me"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, control)])
        dropped(broker, send, "spoke")


if __name__ == "__main__":
    run_tests(globals())
