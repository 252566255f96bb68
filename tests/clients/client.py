#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""client.py - famez-client: commands, scripts, the prompt, JSON, exit codes, and servers that end.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 could not join, 4 timed out.
"""

import json
import mmap
import os
import re
import signal
import struct
import subprocess

from programs import (HANG_SECONDS, Broker, Done, Live, LyingServer, OneAnswer, Skip, Terminal,
                      client, complains, folder, live_client, program, run, run_tests)

COMMANDS = ["peers", "ring", "int", "watch", "wait", "await", "id", "who", "send", "spoof", "link",
            "ping", "rfc", "dump", "group", "serve", "bench", "memory", "peek", "poke", "help", "?",
            "quit", "exit"]


def succeeds(done, out=None):
    assert done.code == 0 and not done.err, done
    if out is not None:
        assert done.out == out, f"{done.out!r} instead of {out!r}"
    return done


# ---------------------------------------------------------------- one-shot commands


def test_id_is_what_the_server_gave():
    with Broker() as broker:
        first = int(succeeds(client(broker, "id")).out)
        assert first == 1
        peer = broker.member()
        with live_client(broker) as live:
            other = int(live.ask("id"))
            peer.until_knows(other)
            assert succeeds(live.end()).out == ""


def test_peers_lists_everyone_with_their_vectors_and_marks_us():
    with Broker("--peers", "10", "--layout", "plain", vectors=3) as broker:
        peers = [broker.member(), broker.member()]
        for name in ("peers", "dump"):
            broker.until_peers(2)
            lines = succeeds(client(broker, name)).lines
            rows = {}
            for line in lines[1:-1]:
                words = line.split()
                rows[int(words[0])] = (int(words[1]), "(this client)" in line)
            own = [i for i, row in rows.items() if row[1]]
            assert len(own) == 1 and own[0] not in (peers[0].id, peers[1].id, 11)
            assert {i: v for i, (v, _) in rows.items()} == {
                i: 3 for i in (peers[0].id, peers[1].id, 11, own[0])}
            assert lines[0].split() == ["peer", "vectors"] and lines[-1] == "4 peers"


def test_memory_tells_the_size():
    with Broker(size="3M") as broker:
        succeeds(client(broker, "memory"), "4194304 bytes (4 MiB)\n")


def test_help_and_its_alias_list_every_command():
    with Broker() as broker:
        texts = {succeeds(client(broker, name)).out for name in ("help", "?")}
        assert len(texts) == 1
        text = texts.pop()
        for name in COMMANDS:
            assert re.search(rf"(^  |or: ){re.escape(name)}\b|or: \?", text, re.M), name


def test_quit_and_its_alias_leave():
    with Broker() as broker:
        for name in ("quit", "exit"):
            succeeds(client(broker, f"id; {name}; nonsense"))


def test_several_commands_are_one_argument_or_many_words():
    with Broker() as broker:
        lines = succeeds(client(broker, "memory; ;  peek 0 1 ;memory # and no more; nonsense")).lines
        assert lines[0] == lines[2] and len(lines) == 3
        assert len(succeeds(client(broker, "peek", "0x0", "1")).lines) == 1


def test_ring_rings_one_vector_of_one_peer_and_no_other():
    with Broker() as broker:
        peer, other = broker.member(), broker.member()
        for name in ("ring", "int"):
            succeeds(client(broker, name, peer.id, 2), f"rang peer {peer.id}, vector 2\n")
            assert peer.wait(2) == 1
        succeeds(client(broker, "ring", peer.id, "0x3"))
        assert peer.wait(3) == 1
        assert not any(p.rung(v) for p in (peer, other) for v in range(4))


def test_ring_all_vectors_of_a_peer():
    with Broker() as broker:
        peer, other = broker.member(), broker.member()
        succeeds(client(broker, "int", peer.id, "all"), "rang 4 doorbells\n")
        assert [peer.wait(v) for v in range(4)] == [1] * 4
        assert not any(other.rung(v) for v in range(4))


def test_ring_all_peers_but_us():
    with Broker() as broker:
        peers = [broker.member() for _ in range(3)]
        # The server is a peer as well: 4 peers are rung.
        succeeds(client(broker, "ring", "all", 1), "rang 4 doorbells\n")
        assert [[p.rung(v) for v in range(4)] for p in peers] == [[False, True, False, False]] * 3
        assert [p.wait(1) for p in peers] == [1] * 3
        for words in (["ring", "all", "all"], ["int", "all"]):
            broker.until_peers(3)  # the client before has left
            succeeds(client(broker, *words), "rang 16 doorbells\n")
            assert [[p.wait(v) for v in range(4)] for p in peers] == [[1] * 4] * 3
        broker.until("the server was rung on vectors 0 to 3",
                     lambda: [broker.report().vectors.get(v) for v in range(4)] == [2, 3, 2, 2])
        broker.until_peers(3)
        with live_client(broker) as live:
            assert live.ask("ring all 0") == "rang 4 doorbells"
            live.say("wait --timeout 0.1")  # it did not ring itself
            done = live.end()
            complains(done, 4, "famez-client", "line 2: timed out: nobody rang")


def test_a_ring_is_seen_by_another_client():
    with Broker() as broker, live_client(broker) as heard, live_client(broker) as rings:
        own, other = int(heard.ask("id")), int(rings.ask("id"))
        assert own != other
        heard.say("wait 3")
        assert rings.ask(f"await {own}") == f"peer {own} is here, 4 vectors"
        assert rings.ask(f"ring {own} 3") == f"rang peer {own}, vector 3"
        heard.expect("vector 3 rang")
        heard.say("wait")
        rings.say(f"ring {own} 0")
        heard.expect("vector 0 rang")
        succeeds(rings.end())
        succeeds(heard.end())


def test_rings_that_came_before_anybody_looked_are_not_lost():
    with Broker() as broker, live_client(broker) as live:
        own = int(live.ask("id"))
        peer = broker.member()
        peer.until_knows(own)
        peer.ring(own, 1, 3)
        peer.ring(own, 2)
        assert live.ask("wait 2") == "vector 2 rang"
        assert live.ask("watch --count 1") == "vector 1 rang 3 times"
        peer.ring(own, 0)
        peer.ring(own, 3)
        assert {live.ask("wait"), live.ask("wait")} == {"vector 0 rang", "vector 3 rang"}
        succeeds(live.end(), "")


def test_watch_shows_doorbells_joins_and_leaves():
    with Broker(*["--leaves", "always"]) as broker, live_client(broker) as live:
        own = int(live.ask("id"))
        other = broker.member()
        other.until_knows(own)
        live.say(f"await {other.id}; watch --count 5; id")
        live.expect(f"peer {other.id} is here, 4 vectors")
        other.ring(own, 1)
        live.expect("vector 1 rang")  # so now it watches
        peer = broker.member()
        live.expect(f"peer {peer.id} joined")
        peer.until_knows(own)
        peer.ring(own, 3)
        live.expect("vector 3 rang")
        peer.ring(own, 0, 7)
        live.expect("vector 0 rang 7 times")
        ident = peer.id
        peer.leave()
        live.expect(f"peer {ident} left", str(own))
        succeeds(live.end(), "")


def test_watch_ends_in_time():
    with Broker() as broker:
        succeeds(client(broker, "watch", "--for", "0.05"), "")
        complains(client(broker, "watch --count 1 --for 0.05"), 4, "famez-client", "timed out")
        succeeds(client(broker, "watch --count 0"), "")


def test_wait_and_await_give_up_in_time():
    with Broker() as broker:
        complains(client(broker, "wait --timeout 0.05"), 4, "famez-client", "nobody rang")
        complains(client(broker, "wait 1 --timeout 0"), 4, "famez-client", "nobody rang")
        complains(client(broker, "await 9 --timeout 0.05"), 4, "famez-client", "has not come")


def test_await_waits_for_a_peer_that_comes_later():
    with Broker(vectors=7) as broker, live_client(broker) as live:
        own = int(live.ask("id"))
        assert live.ask(f"await {own}") == f"peer {own} is here, 7 vectors"
        live.say(f"await {own + 1} --timeout {HANG_SECONDS}; ring {own + 1} 6")
        peer = broker.member()
        assert peer.id == own + 1
        live.expect(f"peer {peer.id} is here, 7 vectors", f"rang peer {peer.id}, vector 6")
        assert peer.wait(6) == 1
        succeeds(live.end(), "")


def test_what_is_poked_is_seen_by_another_client_and_peeked_from_it():
    with (Broker("--layout", "plain") as broker, live_client(broker) as one,
          live_client(broker) as two):
        peer = broker.member()
        with mmap.mmap(peer.memory, 1 << 20) as memory:
            assert one.ask("poke 4096 de AD beef 00 7e") == "wrote 6 bytes at 4096"
            assert memory[4096:4102] == bytes.fromhex("deadbeef007e")
            want = "00001000  de ad be ef 00 7e" + " " * 32 + " |.....~|"
            assert two.ask("peek 0x1000 6") == want
            memory[0:4] = b"FAME"
            two.say("peek 0 17")
            two.expect("00000000  46 41 4d 45 00 00 00 00  00 00 00 00 00 00 00 00  |FAME"
                       "............|", "00000010  00" + " " * 47 + " |.|")
            two.say("peek 0")  # 64 bytes unless told
            assert [two.line().split()[0] for _ in range(4)] == [
                "00000000", "00000010", "00000020", "00000030"]
            two.say("peek 1048574")  # unless the memory ends before that
            two.expect("000ffffe  00 00" + " " * 44 + " |..|")
            assert one.ask("poke 1048575 ff") == "wrote 1 byte at 1048575"
            assert memory[1048575] == 255
        succeeds(one.end(), "")
        succeeds(two.end(), "")


def test_peek_and_poke_stay_inside_the_memory():
    with Broker() as broker:
        for words in ("peek 1048576", "peek 1048575 2", "peek 18446744073709551615 2",
                      "poke 1048575 0000", "poke 0xffffffffffffffff 00"):
            complains(client(broker, words), 1, "famez-client", "beyond the shared memory's 1048576")
        for words in ("peek 0 0", "peek 0 65537", "peek 0 -1", "peek -1", "peek", "peek 0 1 2",
                      "peek 1k", "peek 99999999999999999999", "poke 0", "poke 0 0", "poke 0 0x12",
                      "poke 0 gg", "poke z 00"):
            complains(client(broker, words), 2, "famez-client")
        assert len(succeeds(client(broker, "peek 0 65536")).lines) == 4096


def test_memory_that_somebody_makes_smaller_kills_nobody():
    with folder() as place, Broker("-m", os.path.join(place, "file"), size=None) as broker:
        os.truncate(os.path.join(place, "file"), 4096)
        with live_client(broker) as live:
            live.ask("id")
            os.truncate(os.path.join(place, "file"), 0)
            live.say("peek 0")
            done = live.end()
            complains(done, 1, "famez-client", "smaller")
        os.truncate(os.path.join(place, "file"), 64 << 20)


# ---------------------------------------------------------------- wrong usage, and its one line


def test_wrong_words_are_wrong_usage_in_one_line():
    with Broker() as broker:
        peer = broker.member()
        for words, part in (
                ("nonsense", "no such command: nonsense"), ("ring", "usage: ring"),
                (f"ring {peer.id}", "usage: ring"), ("ring 1 2 3", "usage: ring"),
                ("ring x 1", "`x` is no peer"), ("ring 65536 1", "`65536` is no peer"),
                ("ring -1 1", "`-1` is no peer"), (f"ring {peer.id} 2048", "`2048` is no vector"),
                (f"ring {peer.id} some", "`some` is no vector"), ("wait x", "`x` is no vector"),
                ("wait 1 2", "usage: wait"), ("wait --timeout", "usage: wait"),
                ("wait --timeout soon", "usage: wait"), ("wait --timeout -1", "usage: wait"),
                ("wait --timeout nan", "usage: wait"), ("await", "usage: await"),
                ("await 1x", "`1x` is no peer"), ("await 1 2 3", "usage: await"),
                ("watch 3", "usage: watch"), ("watch --count", "usage: watch"),
                ("watch --count x", "usage: watch"), ("watch --for", "usage: watch"),
                ("id 1", "usage: id"), ("peers 1", "usage: peers"), ("memory 1", "usage: memory"),
                ("help 1", "usage: help"), ("quit 1", "usage: quit"),
                ("id " * 1025, "more than 1024 words")):
            done = client(broker, words)
            complains(done, 2, "famez-client", part)
            assert not done.out, done


def test_who_is_not_there_cannot_be_rung():
    with Broker() as broker:
        peer = broker.member()
        complains(client(broker, "ring 60000 0"), 1, "famez-client", "no peer 60000")
        complains(client(broker, "ring", peer.id, 4), 1, "famez-client", "no vector 4, only 0 to 3")
        complains(client(broker, "wait 4"), 1, "famez-client", "no vector 4")
        succeeds(client(broker, "ring all 4"), "rang 0 doorbells\n")


def test_a_full_doorbell_is_said_and_the_others_are_rung():
    with Broker("--silent") as broker:
        peer, other = broker.member(), broker.member()
        other.until_knows(peer.id)
        os.eventfd_write(peer.peers[peer.id][0], 2 ** 64 - 2)
        complains(client(broker, "ring", peer.id, 0), 1, "famez-client", "rung too often")
        broker.until_peers(2)
        done = client(broker, "ring all 0")
        complains(done, 1, "famez-client", f"peer {peer.id}, vector 0: rung too often")
        assert done.out == "rang 1 doorbell\n" and other.wait(0) == 1


def test_wrong_options_are_wrong_usage():
    for words, part in ((["--nope"], "--nope"), (["-x"], "-x"), (["-S"], "-S needs a value"),
                        (["--socketpath"], "--socketpath needs a value"),
                        (["--json=1"], "--json=1"), (["-t", "soon", "id"], "--timeout soon"),
                        (["--timeout", "-1", "id"], "--timeout -1"),
                        (["--timeout=inf", "id"], "--timeout inf")):
        done = run("famez-client", *words)
        complains(done, 2, "famez-client", part)
        assert not done.out, done


def test_help_fits_a_terminal_and_names_everything():
    done = succeeds(run("famez-client", "--help"))
    assert succeeds(run("famez-client", "-h")).out == done.out
    assert len(done.lines) <= 23, f"{len(done.lines)} lines leave no room for the next prompt"
    assert max(map(len, done.lines)) <= 80
    for name in COMMANDS + ["--socketpath", "--json", "--retry", "--timeout", "--verbose",
                            "--version"]:
        assert name in done.out, name


def test_the_version_is_one_line():
    done = succeeds(run("famez-client", "--version"))
    assert re.fullmatch(r"famez-client \d+\.\d+\.\d+\n", done.out), done


def test_output_that_cannot_be_written_is_a_failure():
    with Broker() as broker, open("/dev/full", "w", encoding="ascii") as full:
        for words in (["-S", broker.path, "id"], ["--help"], ["--version"]):
            done = subprocess.run([program("famez-client"), *words], stdout=full,
                                  stderr=subprocess.PIPE, text=True, check=False,
                                  timeout=HANG_SECONDS)
            complains(Done(done.returncode, "", done.stderr), 1, "famez-client",
                      "not all output could be written")


# ---------------------------------------------------------------- JSON


def test_json_is_one_object_a_line_for_every_command():
    with Broker("--peers", "10", "--layout", "plain") as broker:
        peer = broker.member()
        script = f"""
            id; peers; memory
            ring {peer.id} 1; ring {peer.id} all; ring all 2; int all
            poke 16 00ff7f; peek 15 5; await {peer.id}
            help; ?
            watch --for 0
            quit
        """
        done = succeeds(client(broker, "--json", stdin=script))
        objects = done.objects
        own = objects[0]["id"]
        assert objects == [
            {"result": "id", "id": own},
            {"result": "peers", "peers": sorted(
                ({"id": i, "vectors": 4, "self": i == own} for i in (own, peer.id, 11)),
                key=lambda one: one["id"])},
            {"result": "memory", "bytes": 1 << 20},
            {"result": "ring", "peer": peer.id, "vector": 1, "rung": 1},
            {"result": "ring", "peer": peer.id, "vector": "all", "rung": 4},
            {"result": "ring", "peer": "all", "vector": 2, "rung": 2},
            {"result": "ring", "peer": "all", "vector": "all", "rung": 8},
            {"result": "poke", "offset": 16, "bytes": 3},
            {"result": "peek", "offset": 15, "hex": "0000ff7f00"},
            {"result": "await", "peer": peer.id, "vectors": 4},
        ], objects
        complains(client(broker, "-j", "wait --timeout 0"), 4, "famez-client")


def test_json_tells_events():
    def expect(live, **wanted):
        line = live.line()
        assert json.loads(line) == wanted, f"{line} instead of {wanted}"

    with Broker("--leaves", "always") as broker, live_client(broker, "--json") as live:
        own = json.loads(live.ask("id"))["id"]
        other = broker.member()
        other.until_knows(own)
        live.say(f"await {other.id}; watch --count 4; wait 2; watch --count 2")
        expect(live, result="await", peer=other.id, vectors=4)
        other.ring(own, 0)
        expect(live, event="doorbell", vector=0, count=1)
        peer = broker.member()
        ident = peer.id
        expect(live, event="join", peer=ident)
        peer.until_knows(own)
        peer.ring(own, 1, 5)
        expect(live, event="doorbell", vector=1, count=5)
        peer.leave()
        expect(live, event="leave", peer=ident)
        other.ring(own, 2, 3)
        expect(live, event="doorbell", vector=2, count=3)
        other.ring(own, 3)
        expect(live, event="doorbell", vector=3, count=1)
        ident = other.id
        other.leave()
        expect(live, event="leave", peer=ident)
        live.say("watch --count 1")
        broker.stop()
        expect(live, event="lost")
        succeeds(live.end(), "")


# ---------------------------------------------------------------- scripts


def test_a_script_has_comments_empty_lines_and_any_line_ends():
    with Broker() as broker:
        script = "# first\n\n  memory # here\r\n\tmemory;memory\n;;\nquit\nnonsense\n"
        assert len(succeeds(client(broker, stdin=script)).lines) == 3
        assert len(succeeds(client(broker, stdin="memory\nmemory")).lines) == 2
        succeeds(client(broker, stdin=""), "")


def test_a_script_stops_at_the_first_failure_and_names_its_line():
    with Broker() as broker:
        done = client(broker, stdin="memory\n\nring 60000 0\nmemory\n")
        complains(done, 1, "famez-client", "line 3: ", "60000")
        assert len(done.lines) == 1
        complains(client(broker, stdin="memory; ring\n"), 2, "famez-client", "line 1: usage: ring")
        complains(client(broker, stdin="wait --timeout 0\n"), 4, "famez-client", "line 1: ")


def test_a_line_as_long_as_allowed_is_done_and_a_longer_one_refused():
    with Broker() as broker:
        succeeds(client(broker, stdin="id".ljust(16382) + "\n"))
        complains(client(broker, stdin="id".ljust(16384) + "\n"), 1, "famez-client", "too long")


def test_a_script_is_done_as_it_comes():
    with Broker() as broker, live_client(broker, "--verbose") as live:
        own = int(live.ask("id"))
        peer = broker.member()
        live.expect(f"peer {peer.id} joined")
        peer.until_knows(own)
        peer.ring(own, 2)
        live.expect("vector 2 rang")
        live.process.stdin.write("i")
        live.process.stdin.flush()
        peer.ring(own, 3)
        live.expect("vector 3 rang")
        assert live.ask("d") == str(own)
        succeeds(live.end(), "")


def test_without_verbose_a_script_shows_only_what_it_asks_for():
    with Broker() as broker, live_client(broker) as live:
        own = int(live.ask("id"))
        peer = broker.member()
        peer.until_knows(own)
        peer.ring(own, 2)
        assert live.ask(f"await {peer.id}") == f"peer {peer.id} is here, 4 vectors"
        succeeds(live.end(), "")


# ---------------------------------------------------------------- as ivshmem-client


def test_as_ivshmem_client_it_carries_on_and_shows_events():
    with Broker() as broker, folder() as place:
        link = os.path.join(place, "ivshmem-client")
        os.symlink(program("famez-client"), link)
        with Live("", "-v", "-S", broker.path, executable=link) as live:
            live.say("int 60000 0")
            assert live.error().startswith("famez-client: line 1: ")
            live.say("nonsense")
            assert live.error().startswith("famez-client: line 2: ")
            own = int(live.ask("id"))
            peer = broker.member()
            live.expect(f"peer {peer.id} joined")
            assert live.ask(f"int {peer.id} 2") == f"rang peer {peer.id}, vector 2"
            assert peer.wait(2) == 1
            assert live.ask(f"int {peer.id} all") == "rang 4 doorbells"
            assert [peer.wait(v) for v in range(4)] == [1] * 4
            peer.until_knows(own)
            peer.ring(own, 1)
            live.expect("vector 1 rang")
            live.say("quit")
            assert live.end().code == 0


def test_as_ivshmem_client_it_looks_for_that_programs_socket_until_it_is_there():
    if os.path.exists("/tmp/ivshmem_socket"):
        raise Skip("/tmp/ivshmem_socket is in use")
    with folder() as place:
        link = os.path.join(place, "ivshmem-client")
        os.symlink(program("famez-client"), link)
        with Live("", executable=link) as live:
            assert "/tmp/ivshmem_socket" in live.error()
            live.expect("trying again every second")


# ---------------------------------------------------------------- servers


def test_where_nobody_serves_it_says_so():
    with folder() as place:
        path = os.path.join(place, "sock")
        complains(client(path, "id"), 3, "famez-client", path, "is famez-server running?")
        for path in (os.path.join(place, "x" * 200), ""):
            complains(client(path, "id"), 2, "famez-client", "--socketpath", "1 to 107 bytes")
        complains(client(place, "id"), 3, "famez-client", place, "is no socket")
    with OneAnswer(hangs=True) as stale:
        complains(client(stale, "id"), 3, "famez-client", "nobody serves", stale.path)


def test_a_full_server_refuses_and_it_says_so():
    with Broker("--peers", "1") as broker:
        peer = broker.member()
        complains(client(broker, "id"), 3, "famez-client", "refused us (full?)")
        peer.leave()
        broker.until_peers(0)
        succeeds(client(broker, "id"), "1\n")


def test_a_silent_server_is_given_up():
    with OneAnswer(stay=True) as server:
        complains(client(server, "-t", "0.05", "id"), 3, "famez-client", "did not answer within 0.05 s")


def test_what_is_no_ivshmem_server_is_said():
    with OneAnswer(struct.pack("<qq", 0, 70000), stay=True) as server:
        complains(client(server, "id"), 3, "famez-client", "is no ivshmem server")
    with OneAnswer(b"SSH-2.0-OpenSSH\r\n", stay=True) as server:
        complains(client(server, "id"), 3, "famez-client")
    with OneAnswer(b"\0" * 8) as server:
        complains(client(server, "id"), 3, "famez-client", "hung up")


def test_a_server_that_ends_is_told_and_peers_ring_on():
    with Broker() as broker, live_client(broker) as live, live_client(broker) as other:
        own, ident = int(live.ask("id")), int(other.ask("id"))
        assert live.ask(f"await {ident}") == f"peer {ident} is here, 4 vectors"
        assert other.ask(f"await {own}") == f"peer {own} is here, 4 vectors"
        live.say("watch --count 1")
        broker.stop()
        live.expect("the server is gone; doorbells between peers go on")
        assert live.ask(f"ring {ident} 1") == f"rang peer {ident}, vector 1"
        assert other.ask("wait 1") == "vector 1 rang"
        other.say(f"ring {own} 0")
        other.expect(f"rang peer {own}, vector 0")
        assert live.ask("wait") == "vector 0 rang"
        assert live.ask(f"await {ident}") == f"peer {ident} is here, 4 vectors"
        live.say("await 60000")
        complains(live.end(), 1, "famez-client", "the server is gone, so peer 60000 can't come")
        succeeds(other.end(), "")


def test_a_server_that_is_killed_does_not_leave_anyone_waiting_for_a_peer():
    with Broker() as broker, live_client(broker, "await 60000") as live:
        broker.wait_event("join")
        broker.kill()
        done = live.end()
        complains(done, 1, "famez-client", "can't come")


def test_the_end_of_the_server_is_shown_to_who_looks_later():
    with Broker() as broker, live_client(broker) as live:
        own = live.ask("id")
        broker.stop()
        assert live.ask("id") == own  # takes in what has come, and shows nothing of it
        live.say("watch --count 1; watch --for 0")
        live.expect("the server is gone; doorbells between peers go on")
        succeeds(live.end(), "")  # once is enough


def test_a_server_that_turns_to_nonsense_is_left():
    with LyingServer(2) as server, live_client(server) as live, live_client(server) as other:
        assert {live.ask("id"), other.ask("id")} == {"1", "2"}
        live.say("await 2; await 1; watch --count 1; ring 2 1")
        live.expect("peer 2 is here, 2 vectors", "peer 1 is here, 2 vectors")
        server.send(0, 70000)
        server.send(1, 70000)
        assert "what no ivshmem server sends" in live.error()
        live.expect("the server is gone; doorbells between peers go on")
        assert live.line().startswith("rang peer 2, vector 1")


def test_retry_joins_once_the_server_is_there_and_again_after_its_end():
    with folder() as place:
        path = os.path.join(place, "sock")
        with live_client(path, "--retry", "--verbose") as live:
            assert "there is no" in live.error()
            live.expect("trying again every second")
            with Broker(directory=place, path=path) as broker:
                assert live.ask("id") == "1"
                broker.stop()
            live.expect("the server is gone; doorbells between peers go on")
            assert "famez-client: " in live.error()
            live.expect("trying again every second")
            with Broker(directory=place, path=path) as broker:
                peer = broker.member()
                live.say(f"await {peer.id}; ring {peer.id} 1; id")
                said = [live.line()]
                while not said[-1].isdigit():
                    said.append(live.line())
                # Which of the two was there first, is not ours to say.
                if said[0] == f"peer {peer.id} joined":
                    said.pop(0)
                assert said[:2] == [f"peer {peer.id} is here, 4 vectors",
                                    f"rang peer {peer.id}, vector 1"], said
                assert int(said[2]) != peer.id
                assert peer.wait(1) == 1
                done = live.end()
                assert done.code == 0, done


def test_it_leaves_nothing_in_the_server():
    with Broker() as broker:
        descriptors = broker.fd_count()
        for _ in range(3):
            succeeds(client(broker, "peers; ring all"))
        with live_client(broker) as live:
            live.ask("id")
            live.end(signal.SIGKILL)
        broker.until_peers(0)
        broker.until_fds(descriptors + 5 * 4)  # IDs keep their eventfds


# ---------------------------------------------------------------- the prompt


def test_the_prompt_answers_and_ctrl_d_leaves():
    with Broker() as broker, Terminal(broker) as terminal:
        assert "Peer 1 at" in terminal.prompt()
        terminal.type("id\r")
        terminal.until("\n1\r\n")
        terminal.prompt()
        terminal.type("nonsense\r")
        terminal.until("famez-client: no such command: nonsense")
        terminal.prompt()
        terminal.type("\x04")
        assert terminal.end() == 0


def test_the_prompt_shows_events_above_the_line_being_typed():
    with Broker("--leaves", "always") as broker, Terminal(broker) as terminal:
        terminal.prompt()
        terminal.type("mem")
        terminal.until("mem")
        peer = broker.member()
        ident = peer.id
        terminal.until(f"peer {ident} joined\r\n")
        terminal.until("famez> mem")
        peer.until_knows(1)
        peer.ring(1, 2, 9)
        terminal.until("vector 2 rang 9 times\r\n")
        terminal.until("famez> mem")
        peer.leave()
        terminal.until(f"peer {ident} left\r\n")
        terminal.until("famez> mem")
        terminal.type("ory\r")
        terminal.until("1048576 bytes (1 MiB)")
        terminal.prompt()
        terminal.type("quit\r")
        assert terminal.end() == 0


def test_the_prompt_completes_commands_and_peers():
    with Broker("--peers", "100", "--layout", "plain", size="1M") as broker:
        peer = broker.member()
        with Terminal(broker) as terminal:
            terminal.prompt()
            terminal.type("mem\t\r")
            terminal.until("1048576 bytes")
            terminal.prompt()
            terminal.type("p\t")  # there are more: as far as they agree, then the list
            terminal.until("p")
            terminal.type("\t")
            assert "peers" in terminal.until("poke")
            terminal.prompt()
            terminal.type("eer\t\r")
            terminal.until("3 peers")
            terminal.prompt()
            terminal.type("ring 10\t3\r")
            terminal.until("rang peer 101, vector 3")
            terminal.prompt()
            terminal.type(f"int {peer.id} \t2;id\r")  # no peer is the second word
            terminal.until(f"rang peer {peer.id}, vector 2")
            assert peer.wait(2) == 1
            terminal.prompt()
            terminal.type("exit\r")
            assert terminal.end() == 0


def test_ctrl_c_empties_the_line_and_ends_a_command_but_not_the_client():
    with Broker() as broker, Terminal(broker) as terminal:
        terminal.prompt()
        terminal.type("nonsense")
        terminal.until("nonsense")
        terminal.type("\x03")
        terminal.until("`quit` leaves")
        terminal.prompt()
        terminal.type("watch\r")
        terminal.until("Ctrl-C ends it\r\n")
        terminal.type("\x03")
        terminal.prompt()
        terminal.type("wait\r\x03")
        terminal.prompt()
        terminal.type("id\r")
        terminal.until("\n1\r\n")
        terminal.type("quit\r")
        assert terminal.end() == 0


def test_the_prompt_outlives_the_server():
    with Broker() as broker, Terminal(broker) as terminal:
        terminal.prompt()
        broker.stop()
        terminal.until("the server is gone; doorbells between peers go on")
        terminal.prompt()
        terminal.type("id\r")
        terminal.until("\n1\r\n")
        terminal.prompt()
        terminal.type("quit\r")
        assert terminal.end() == 0


if __name__ == "__main__":
    run_tests(globals())
