#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""messages.py - famez-client: messages, files, groups, the directory, and who does not answer.

Exit codes as in client.py: 0 done, 1 failed, 2 wrong usage, 3 could not join, 4 timed out.
"""

import json
import os
import random
import signal
import zlib

from programs import (HANG_SECONDS, Broker, Terminal, client, complains, folder, live_client, run,  # noqa: F401
                      run_tests, stop_process)
from v1_clients import V1Client

ROOM = ("--peers", "10")  # lanes of 4 KiB in 1 MiB
SERVER = 11
NUMBER = "00000000000000a1"  # of a transfer, in lines that we write ourselves


def succeeds(done, out=None):
    assert done.code == 0 and not done.err, done
    if out is not None:
        assert done.out == out, f"{done.out!r} instead of {out!r}"
    return done


def named(broker, name, *words, **popen):
    """A client that is there under a name, and says what it is told to."""
    live = live_client(broker, "-n", name, *words, **popen)
    live.ident = None
    return live


def script(broker, name, *words):
    """The same for a script on standard input; .ident is its ID. It is there, and counted."""
    live = named(broker, name, *words)
    line = live.ask("id")
    live.ident = json.loads(line)["id"] if line.startswith("{") else int(line)
    broker.report()
    return live


def until(live, wanted):
    """Read lines until this one; returns those before."""
    before = []
    while True:
        line = live.line()
        if line == wanted:
            return before
        before.append(line)


def objects_until(live, matches):
    """Read objects until one matches; returns it."""
    while True:
        one = json.loads(live.line())
        if matches(one):
            return one


def is_message(one):
    return one.get("event") == "message"


def hexed(data):
    return (data if isinstance(data, bytes) else data.encode()).hex()


# ---------------------------------------------------------------- saying and hearing


def test_two_clients_talk_by_name():
    with Broker(*ROOM) as broker, script(broker, "bob") as bob, script(broker, "eve") as eve:
        eve.say("await bob; send bob hello   there")
        eve.expect(f"peer {bob.ident} is here, 4 vectors", "sent 11 bytes to 1 peer")
        bob.say("watch")
        until(bob, f"peer {eve.ident} (eve): hello there")
        eve.say(f"send {bob.ident} \"it's me;  # 1\"")
        until(bob, f"peer {eve.ident} (eve): it's me;  # 1")
        eve.say("link bob Link what ever; send --link bob 'and so'")
        until(bob, f"peer {eve.ident} (eve), link: Link what ever")
        until(bob, f"peer {eve.ident} (eve), link: and so")


def test_words_of_the_command_line_are_said_as_they_are():
    with Broker(*ROOM) as broker, script(broker, "bob") as bob:
        bob.say("watch")
        done = succeeds(client(broker, "-n", "eve", "send", "bob", "a;  b", "#c", "'d'"))
        assert done.lines[-1] == "sent 12 bytes to 1 peer", done
        while not bob.line().endswith(" (eve): a;  b #c 'd'"):
            pass


def test_a_script_says_hears_and_stops_at_what_fails():
    with Broker(*ROOM) as broker, named(broker, "bob", "watch") as bob:
        text = """
            await bob          # by name
            send bob one
            send bob "two;     # three"
            send nobody four
            send bob five
        """
        done = client(broker, "-n", "eve", stdin=text)
        complains(done, 1, "famez-client", "line 5: there is nobody called `nobody`")
        # Of who comes and goes so fast bob may hear nothing but the messages.
        succeeds(client(broker, "-n", "mallory", "send", "bob", "was that all?"))
        heard = []
        while not heard or not heard[-1].endswith("(mallory): was that all?"):
            heard.append(bob.line())
        assert [line.partition(": ")[2] for line in heard if "(eve): " in line] == [
            "one", "two;     # three"]


def test_messages_that_come_while_nobody_looks_are_kept():
    with Broker(*ROOM) as broker, script(broker, "bob") as bob, script(broker, "eve") as eve:
        eve.say("send bob 1; send bob 2; send bob 3; ping bob")
        for _ in range(3):
            eve.expect("sent 1 byte to 1 peer")
        eve.line()  # the pong: bob has taken in all of them
        eve.line()
        assert bob.ask("id") == str(bob.ident)
        bob.say("watch")
        for n in "123":
            assert not [line for line in until(bob, f"peer {eve.ident} (eve): {n}") if "eve" in line]


def test_so_many_that_nobody_keeps_them_all_are_counted():
    with Broker(*ROOM) as broker, script(broker, "bob") as bob, script(broker, "eve") as eve:
        eve.say("send bob x;" * 1003 + "ping bob")
        for _ in range(1005):
            eve.line()
        bob.say("watch")
        shown = until(bob, "3 messages were dropped: nobody looked in time")
        assert shown.count(f"peer {eve.ident} (eve): x") == 1000


def test_a_name_an_id_server_and_switch_name_a_peer():
    with Broker(*ROOM) as broker, script(broker, "bob") as bob, script(broker, "eve") as eve:
        for name in ("server", "switch", SERVER):
            assert eve.ask(f"send {name} x") == "sent 1 byte to 1 peer"
        assert eve.ask(f"send {bob.ident} y") == "sent 1 byte to 1 peer"
        assert eve.ask("send bob z") == "sent 1 byte to 1 peer"
        bob.say("watch")
        until(bob, f"peer {eve.ident} (eve): y")
        until(bob, f"peer {eve.ident} (eve): z")


def test_all_are_everyone_but_us_and_others_are_not_the_server():
    with (Broker(*ROOM) as broker, script(broker, "bob") as bob, script(broker, "ann") as ann,
          script(broker, "eve") as eve):
        broker.member()  # takes no messages
        assert eve.ask("send others x") == "sent 1 byte to 2 peers"
        assert eve.ask("send all y") == "sent 1 byte to 3 peers"
        for live in (bob, ann):
            live.say("watch --for 0")
            until(live, f"peer {eve.ident} (eve): x")
            until(live, f"peer {eve.ident} (eve): y")
        assert eve.ask("id") == str(eve.ident)
        eve.say("watch --for 0; id")
        assert not any("(eve)" in line for line in until(eve, str(eve.ident)))


def test_whom_one_cannot_reach_is_said():
    with Broker(*ROOM) as broker:
        raw = broker.member()
        for words, code, part in (
                ("send nobody x", 1, "nobody called `nobody`"),
                (f"send {raw.id} x", 1, f"peer {raw.id} takes no messages"),
                ("send 9 x", 1, "there is no peer 9"), ("send 60000 x", 1, "no peer 60000"),
                ("send 65536 x", 2, "`65536` is no peer ID"), ("send -1 x", 2, "usage: send"),
                ("send bob", 2, "usage: send"), ("send", 2, "usage: send"),
                ("send --hex server 0", 2, "is not bytes"), ("send --nope", 2, "usage: send"),
                ("link server", 2, "usage: link"), ("spoof 1 server", 2, "usage: spoof"),
                ("ping", 2, "usage: ping"), ("ping server 0", 2, "usage: ping"),
                ("ping server 1 2", 2, "usage: ping"), ("ping server --timeout", 2, "usage: ping"),
                ("who x", 2, "usage: who"), ("rfc x", 2, "usage: rfc"), ("dump 1", 2, "usage: dump"),
                ("group enter 0", 2, "`0` is no group"), ("group enter 4096", 2, "is no group"),
                ("group", 2, "usage: group"), ("group send 1", 2, "usage: group"),
                ("group dance 1", 2, "usage: group"), ("serve x", 2, "usage: serve"),
                ("bench", 2, "usage: bench"), ("bench server --bytes x", 2, "usage: bench"),
                ("bench server --bytes 4096", 1, "serves no benchmarks"),
                ("send --file x", 2, "usage: send"), ("send --hex --file x server", 2, "usage: send"),
                ("await nobody --timeout 0.05", 4, "nobody of that name"),
                ("send server \"x", 2, "a quote without its end"),
                ("send server 'x'y", 2, "a quote without its end")):
            complains(client(broker, words), code, "famez-client", part)
        long = client(broker, stdin="send server " + "x" * 3000)
        complains(long, 1, "famez-client", "too long", "2024 bytes are the most")


def test_who_reads_nothing_is_waited_for_and_given_up_in_time():
    with Broker(*ROOM) as broker, script(broker, "bob") as bob:
        stop_process(bob.pid)
        try:
            block = "00" * 1000
            done = client(broker, stdin=f"send --timeout 0 --hex bob {block}\n" * 8)
            complains(done, 4, "famez-client", "timed out", "(bob) reads nothing")
            assert all(line == "sent 1000 bytes to 1 peer" for line in done.lines)
            complains(client(broker, "ping bob --timeout 0.1"), 4, "famez-client", "timed out")
        finally:
            bob.process.send_signal(signal.SIGCONT)


def test_wrong_names_are_wrong_usage():
    for words in (["-n", ""], ["-n", "x" * 32], ["-n", "a b"], ["--name", "a\x1bb"], ["-n", "1st"],
                  ["--class", "FAME-Z Adapter"], ["--class", "a,b"], ["-n", "ä"]):
        complains(run("famez-client", *words, "id"), 2, "famez-client", "printable characters")
    complains(run("famez-client", "--receive-max", "1X"), 2, "famez-client", "such as 64M")


def test_it_talks_with_a_client_that_knows_slots_only():
    with (Broker("--peers", "14", vectors=16) as broker, script(broker, "bob") as bob,
          V1Client(broker.path, name="old") as old):
        old.ready()
        assert bob.ask(f"await {old.id}") == f"peer {old.id} is here, 16 vectors"
        old.until("its name is seen", lambda: old.conversation(old.server_id)[1:])
        assert bob.ask("send old hello") == "sent 5 bytes to 1 peer"
        assert old.hear(text="hello").sender == bob.ident
        bob.say("ping old")
        assert old.hear(text="ping").sender == bob.ident  # and has answered
        assert bob.line().startswith(f"pong from peer {old.id} (old) after ")
        assert bob.line().startswith("1 round trip")
        bob.say("watch")
        old.send(bob.ident, "hi there", fresh=True)
        until(bob, f"peer {old.id} (old), link, slot: hi there!EZT=1")
        old.send(bob.ident, "ping", fresh=True)
        pong = old.hear(text="pong")
        assert (pong.sender, pong.tracker) == (bob.ident, 2), pong
    with Broker("--peers", "14", vectors=16) as broker, V1Client(broker.path, name="old") as old:
        old.ready()
        old.until("its name is seen", lambda: old.conversation(old.server_id)[1:])
        complains(client(broker, stdin="send old " + "x" * 384), 1, "famez-client", "too long",
                  "383 for one that has but a slot")
        complains(client(broker, "send --file /dev/null old"), 1, "famez-client", "no lanes")


def test_who_leaves_at_once_stays_until_a_v1_client_has_taken_and_answered():
    with Broker("--peers", "14", vectors=16) as broker, V1Client(broker.path, name="old") as old:
        old.ready()
        old.until("its name is seen", lambda: old.conversation(old.server_id)[1:])
        for command in (["link", "old", "ping"], ["send", "old", "ping"]):
            with live_client(broker, *command) as once:
                old.hear(text="ping")  # and has answered
                succeeds(once.end(), "sent 4 bytes to 1 peer\n")
                # Nobody else would take it, and its next text would have to wait.
                assert old.length(old.id) == 0
        with live_client(broker, "link", "old", "no question") as once:
            old.hear(text="no question")
            succeeds(once.end(), "sent 11 bytes to 1 peer\n")


# ---------------------------------------------------------------- what strangers may say


def test_what_others_say_reaches_the_terminal_escaped():
    with (Broker(*ROOM) as broker, script(broker, "eve") as eve,
          named(broker, "bob", "watch", env=dict(os.environ, LC_ALL="C.UTF-8")) as bob,
          named(broker, "ann", "watch", env=dict(os.environ, LC_ALL="C")) as ann):
        for data, shown, plain in (
                (b"\x1b[2J\x07x\x7f", "\\x1b[2J\\x07x\\x7f", None),
                (b"a\nb\tc\\", "a\\nb\\tc\\\\", None),
                ("\u009b2J".encode(), "\\u{9b}2J", None),
                ("\u202eabc\u200b".encode(), "\\u{202e}abc\\u{200b}", None),
                ("grüße €".encode(), "grüße €", "gr\\u{fc}\\u{df}e \\u{20ac}"),
                (b"\xffab", "3 bytes: ff6162", None),
                (b"a\0b", "3 bytes: 610062", None),
                (bytes(range(40)), "40 bytes: " + bytes(range(32)).hex() + "...", None),
                (b"", "", None)):
            eve.say(f"await bob; await ann; send --hex others '{hexed(data)}'")
            until(bob, f"peer {eve.ident} (eve): {shown}")
            until(ann, f"peer {eve.ident} (eve): {plain or shown}")


def test_json_is_valid_whatever_bytes_come():
    dice = random.Random(7)
    with (Broker(*ROOM) as broker, script(broker, "eve") as eve,
          named(broker, "bob", "--json", "watch") as bob):
        samples = ["grüße € 😀 \" \\ \x1b \x7f \u009b \u2028 \n".encode(), b"", b"\0", b"\xed\xa0\x80",
                   b"\xf4\x90\x80\x80", b"\xc0\x80", bytes(range(256))]
        samples += [dice.randbytes(dice.randrange(50)) for _ in range(50)]
        for data in samples:
            eve.say(f"await bob; send --hex bob '{hexed(data)}'")
            while True:
                line = bob.line()
                assert line.isascii() and line.isprintable(), line
                one = json.loads(line)
                if is_message(one):
                    break
            assert (one["from"], one["name"], one["type"]) == (eve.ident, "eve", "data"), one
            assert one["bytes"] == len(data)
            said = one["text"].encode() if "text" in one else bytes.fromhex(one["hex"])
            assert said == data, one
            assert ("text" in one) == (b"\0" not in data and is_utf8(data)), one


def is_utf8(data):
    try:
        data.decode("utf-8")
        return True
    except UnicodeDecodeError:
        return False


def test_a_spoofed_sender_is_told_from_the_real_one():
    with (Broker(*ROOM) as broker, script(broker, "eve") as eve, script(broker, "ann") as ann,
          script(broker, "bob") as bob):
        assert eve.ask("spoof ann bob boo") == "sent 3 bytes to 1 peer"
        bob.say("watch")
        until(bob, f"peer {eve.ident} (eve) as {ann.ident} (ann): boo")
        with script(broker, "jay", "--json") as jay:
            assert eve.ask("spoof server jay boo") == "sent 3 bytes to 1 peer"
            jay.say("watch")
            one = objects_until(jay, is_message)
            assert one == {"event": "message", "from": eve.ident, "name": "eve", "origin": SERVER,
                           "type": "data", "bytes": 3, "text": "boo"}, one


def test_only_the_server_writes_our_component_id():
    with Broker(*ROOM) as broker, script(broker, "bob") as bob, script(broker, "eve") as eve:
        eve.say("link bob CTL-Write Space=0,PFMCID=1,PFMSID=2,CID=3,SID=4,Tag=5; "
                "link bob Link CTL Peer-Attribute; watch")
        until(eve, f"peer {bob.ident} (bob), link: Link CTL ACK cclass=Client,CID0=0,SID0=0")


# ---------------------------------------------------------------- asking


def test_who_shows_names_kinds_and_who_lives():
    with (Broker(*ROOM) as broker, script(broker, "bob", "--class", "Memory") as bob,
          script(broker, "eve") as eve):
        raw = broker.member()
        eve.say(f"await {raw.id}; who; who --now")
        eve.line()
        lines = until(eve, "4 peers")
        heads = lines[0].split()
        assert heads == ["id", "name", "class", "CID,SID", "kind", "speaks", "generation", "alive"]
        rows = {int(line.split()[0]): line.split() for line in lines[1:]}
        assert rows[bob.ident][1:6] == ["bob", "Memory", "-", "client", "lanes"], rows
        assert rows[bob.ident][7] == "yes"
        assert rows[eve.ident][7:] == ["yes", "(this", "client)"], rows
        assert rows[raw.id][4:6] == ["client", "-"] and rows[raw.id][7] == "-", rows
        assert rows[SERVER][4:6] == ["server", "lanes"] and rows[SERVER][7] == "yes", rows
        assert len({line.index(row) for line, row in (
            (line, line.split()[4]) for line in lines[1:])}) == 1, "columns do not line up"
        now = until(eve, "4 peers")
        assert [line.split()[-1] for line in now if " bob " in line] == ["-"], now


def test_who_tells_a_client_that_no_longer_lives():
    with Broker(*ROOM) as broker, script(broker, "bob") as bob:
        stop_process(bob.pid)
        try:
            one = succeeds(client(broker, "--json", "who")).objects[0]
            rows = {row["id"]: row for row in one["peers"]}
            assert rows[bob.ident]["alive"] is False and rows[SERVER]["alive"] is True, one
            assert rows[bob.ident]["name"] == "bob" and rows[bob.ident]["class"] == "Client"
            assert rows[bob.ident]["speaks"] == "lanes" and rows[bob.ident]["generation"] > 0
            assert rows[SERVER]["kind"] == "server" and not rows[SERVER]["self"]
            assert [row["self"] for row in rows.values()].count(True) == 1
        finally:
            bob.process.send_signal(signal.SIGCONT)


def test_ping_answers_from_a_peer_and_from_the_server():
    with Broker(*ROOM) as broker, named(broker, "bob", "watch") as bob:
        done = succeeds(client(broker, "await bob; ping bob 3; ping server"))
        assert len([line for line in done.lines if line.startswith("pong from peer ")]) == 4, done
        assert done.lines[4].startswith("3 round trips to peer "), done
        assert all(word in done.lines[4] for word in ("(bob)", "min ", "p50 ", "p99 ", "max "))
        assert done.lines[-1].startswith(f"1 round trip to peer {SERVER}"), done
        objects = succeeds(client(broker, "-j", "ping all 2")).objects
        results = [one for one in objects if "result" in one]
        assert [one["round_trips"] for one in results] == [2, 2], objects
        assert {one["peer"] for one in results} >= {SERVER}
        for one in results:
            assert 0 < one["min_ns"] <= one["p50_ns"] <= one["p99_ns"] <= one["max_ns"], one
        pongs = [one for one in objects if one.get("event") == "pong"]
        assert len(pongs) == 4 and all(one["ns"] > 0 for one in pongs)
        bob.end(signal.SIGTERM)


def test_a_peer_that_leaves_or_does_not_answer_ends_the_ping():
    with Broker(*ROOM) as broker, script(broker, "bob") as bob, script(broker, "eve") as eve:
        stop_process(bob.pid)
        complains(client(broker, "ping bob --timeout 0.1"), 4, "famez-client", "does not answer")
        raw = broker.member()
        sent = traffic(raw, eve.ident, bob.ident)
        eve.say("ping bob --timeout 60")
        eve.say("id")
        broker.until("eve has sent its ping", lambda: traffic(raw, eve.ident, bob.ident) == sent + 1)
        bob.end(signal.SIGKILL)
        complains(eve.end(), 1, "famez-client", f"peer {bob.ident} has left")


def traffic(raw, sender, to):
    """Messages in a lane, read out of the file (docs/mailbox.md)."""
    header = os.pread(raw.memory, 88, 64)
    ids = int.from_bytes(header[24:28], "little")
    lanes = int.from_bytes(header[64:72], "little")
    return int.from_bytes(os.pread(raw.memory, 8, lanes + (to * ids + sender) * 192 + 8), "little")


def test_the_rfc_conversation_has_five_messages():
    with Broker(*ROOM) as broker:
        objects = succeeds(client(broker, "-j", "--class", "Bridge", "rfc")).objects
        texts = [one["text"] for one in objects[:-1]]
        assert [one["event"] for one in objects[:-1]] == ["said", "message"] * 2 + ["said"], objects
        bare = [text.partition("!")[0].rstrip() for text in texts]
        tag = bare[1].rpartition("Tag=")[2]
        cid = objects[-1]["cid"]
        assert bare[0] == "Link RFC TTC=27us"
        assert bare[1].startswith("CTL-Write Space=0,") and f",CID={cid},SID=27," in bare[1]
        assert bare[2] == f"Standalone Acknowledgment Tag={tag},Reason=OK"
        assert bare[3] == "Link CTL Peer-Attribute"
        assert bare[4] == f"Link CTL ACK cclass=Bridge,CID0={cid},SID0=27"
        assert [int(text.rpartition("!EZT=")[2]) for text in texts] == [1, 2, 3, 4, 5]
        assert objects[-1] == {"result": "rfc", "messages": 5, "cid": cid, "sid": 27}
        done = succeeds(client(broker, "rfc"))
        assert len(done.lines) == 6 and done.lines[-1].startswith("5 messages; we are component ")


def test_the_rfc_conversation_in_the_other_dialect():
    with Broker(*ROOM, "--dialect", "famez") as broker:
        objects = succeeds(client(broker, "-j", "rfc")).objects
        assert len(objects) == 6 and objects[-1]["messages"] == 5, objects
        texts = [one["text"] for one in objects[:-1]]
        assert [int(text.rpartition("!FZT=")[2]) for text in texts] == [1, 2, 3, 4, 5], texts
        assert texts[4].startswith("Link CTL ACK C-Class=Client,SID0=27,CID0="), texts


def test_dump_asks_the_server_and_shows_the_directory():
    with Broker(*ROOM) as broker, script(broker, "bob") as bob:
        done = succeeds(client(broker, "-n", "eve", "dump"))
        assert done.lines[0].split()[:2] == ["id", "name"] and done.lines[-1] == "3 peers", done
        assert any(line.split()[:2] == [str(bob.ident), "bob"] for line in done.lines[1:-1])
        broker.wait_event("port", name="bob")


def test_a_silent_server_is_no_peer():
    with (Broker(*ROOM, "--silent", "--layout", "lanes") as broker, script(broker, "bob") as bob):
        for words in ("send server x", "ping switch", "rfc"):
            complains(client(broker, words), 1, "famez-client", "the server is no peer")
        complains(client(broker, "group enter 1"), 1, "famez-client", "no groups here")
        broker.until_peers(1)  # those before have left
        done = succeeds(client(broker, "-n", "eve", "send all hi; ping bob; dump"))
        assert done.lines[0] == "sent 2 bytes to 1 peer" and done.lines[-1] == "2 peers", done
        bob.say("watch")
        while not bob.line().endswith(" (eve): hi"):
            pass


# ---------------------------------------------------------------- watching, groups, the prompt


def test_watch_shows_who_comes_goes_and_speaks_and_when():
    with (Broker(*ROOM, "--leaves", "always") as broker,
          script(broker, "bob", "-j", "--time") as bob):
        bob.say("watch")
        eve = script(broker, "eve", "--class", "Memory")
        up = objects_until(bob, lambda one: one["event"] == "up" and one.get("name") == "eve")
        assert up["peer"] == eve.ident and up["class"] == "Memory" and up["generation"] > 0
        eve.ask("send bob hi")
        message = objects_until(bob, is_message)
        assert message["text"] == "hi" and up["time"] <= message["time"]
        assert len(message["time"]) == len("2026-11-22T15:04:05.123456Z")
        eve.end()
        seen = set()
        while not seen >= {"down", "leave"}:
            one = json.loads(bob.line())
            assert one["peer"] == eve.ident, one
            seen.add(one["event"])


def test_the_time_stands_before_events_only():
    with Broker(*ROOM) as broker:
        line = succeeds(client(broker, "-T", "ping server")).lines
        assert line[0][2] == line[0][5] == ":" and line[0][8] == "." and " pong from" in line[0]
        assert line[1].startswith("1 round trip")


def watch_until(live, wanted):
    """Look again and again, until this is among what is shown; returns all of that."""
    shown = []
    while wanted not in shown:
        live.say("watch --for 0.01; id")
        shown += until(live, str(live.ident))
    return shown


def test_a_group_hears_what_is_said_to_it_until_one_leaves():
    with (Broker(*ROOM) as broker, script(broker, "bob") as bob, script(broker, "ann") as ann,
          script(broker, "eve") as eve):
        for live in (bob, ann):
            assert live.ask("group enter 7") == "entered group 7"
            live.say("ping server")  # so that the server has it
            live.line(), live.line()
        assert eve.ask("group send 7 'to all of you'") == "sent to group 7"
        for live in (bob, ann):
            watch_until(live, f"peer {eve.ident} (eve) to group 7: to all of you")
        assert ann.ask("group exit 7") == "left group 7"
        ann.say("ping server")
        ann.line(), ann.line()
        assert eve.ask("group send 7 again") == "sent to group 7"
        watch_until(bob, f"peer {eve.ident} (eve) to group 7: again")
        assert eve.ask("send ann last") == "sent 4 bytes to 1 peer"
        shown = watch_until(ann, f"peer {eve.ident} (eve): last")
        assert not any("again" in line for line in shown), shown


def test_the_prompt_takes_part_shows_messages_and_completes_names():
    with Broker(*ROOM) as broker, script(broker, "bobby") as bob:
        with Terminal(broker, "-n", "eve") as terminal:
            terminal.prompt()
            terminal.type("send bo\thi\r")
            terminal.until("bby hi")
            terminal.until("sent 2 bytes to 1 peer")
            terminal.prompt()
            terminal.type("mem")
            terminal.until("mem")
            bob.say("await eve; send eve hello; ping eve")
            terminal.until(f"peer {bob.ident} (bobby): hello\r\n")
            terminal.until("famez> mem")
            bob.line(), bob.line()
            assert bob.line().startswith("pong from peer ")
            terminal.type("ory\r")
            terminal.until("1048576 bytes")
            terminal.prompt()
            terminal.type("quit\r")
            assert terminal.end() == 0


def test_where_there_is_no_mailbox_it_says_so_and_the_rest_goes_on():
    with Broker(*ROOM, "--layout", "plain") as broker:
        for words in ("who", "send server x", "link 1 x", "spoof 1 1 x", "ping 1", "rfc",
                      "group enter 1", "serve", "bench 1", "await bob", "send --file /dev/null 1"):
            complains(client(broker, words), 1, "famez-client", "no messages here", "--layout plain")
        complains(client(broker, "-n", "bob", "id"), 1, "famez-client", "no messages here")
        done = succeeds(client(broker, "dump; watch --for 0"))
        assert done.lines[0].split() == ["peer", "vectors"], done
        with Terminal(broker) as terminal:
            terminal.prompt()
            terminal.type("id\r")
            terminal.prompt()
            terminal.type("quit\r")
            assert terminal.end() == 0


# ---------------------------------------------------------------- files


def receiver(broker, place, *words):
    return named(broker, "bob", "-j", "--receive", place, *words, "watch")


def file_event(bob):
    return objects_until(bob, lambda one: one["event"] == "file")


def crafted(broker, *messages):
    """Send these as they are, and then a ping, so that all of them have been read."""
    lines = ["await bob"] + [f"send --hex bob {hexed(message)}" for message in messages]
    return succeeds(client(broker, "-n", "eve", stdin="\n".join(lines + ["ping bob"])))


def begin(name, size, number=NUMBER):
    return f"famez-file begin {number} {size} {name}\n"


def part(offset, data, number=NUMBER):
    return f"famez-file part {number} {offset}\n".encode() + data


def end(data, number=NUMBER):
    return f"famez-file end {number} {zlib.crc32(data):08x}\n"


def test_a_file_arrives_as_it_was():
    with folder() as place, folder() as here, Broker(*ROOM) as broker, receiver(
            broker, place) as bob:
        for name, size in (("empty", 0), ("one byte", 1), ("many.bin", 100_000)):
            data = random.Random(size).randbytes(size)
            path = os.path.join(here, name)
            with open(path, "wb") as file:
                file.write(data)
            done = succeeds(client(broker, "-j", stdin=f"await bob\nsend --file '{path}' bob\n"))
            result = done.objects[-1]
            assert result["result"] == "file" and result["bytes"] == size, done
            one = file_event(bob)
            assert one["stored"] and one["file"] == name and one["bytes"] == size, one
            with open(os.path.join(place, name), "rb") as file:
                assert file.read() == data
        assert sorted(os.listdir(place)) == ["empty", "many.bin", "one byte"]


def test_no_file_is_written_over_another():
    with folder() as place, Broker(*ROOM) as broker, receiver(broker, place) as bob:
        with open(os.path.join(place, "a"), "w", encoding="ascii") as file:
            file.write("old")
        os.symlink("/nonexistent/target", os.path.join(place, "b"))
        for name, number, stored in (("a", 1, "a.1"), ("a", 2, "a.2"), ("b", 3, "b.1")):
            number = f"{number:016x}"
            crafted(broker, begin(name, 3, number), part(0, b"new", number), end(b"new", number))
            assert file_event(bob)["file"] == stored
        assert open(os.path.join(place, "a"), encoding="ascii").read() == "old"
        assert sorted(os.listdir(place)) == ["a", "a.1", "a.2", "b", "b.1"]


def test_hostile_names_stay_in_the_folder():
    with folder() as outer, Broker(*ROOM) as broker:
        place = os.path.join(outer, "place")
        os.mkdir(place)
        with receiver(broker, place) as bob:
            names = {"../evil1": "evil1", "%2e%2e%2fevil2": "evil2", "/etc/evil3": "evil3",
                     "..": "_.", ".": "_", ".bashrc": "_bashrc", "-rf": "_rf", "a%0ab%1b": "a_b_",
                     "x%ff": "x_", "d/": "_", "%2f": "__", "l" * 300: "l" * 200,
                     "%c3%a4": "ä"}
            stored = []
            for i, name in enumerate(names):
                number = f"{i:016x}"
                crafted(broker, begin(name, 1, number), part(0, b"x", number), end(b"x", number))
                one = file_event(bob)
                assert one["stored"], (name, one)
                stored.append(one["file"])
            assert os.listdir(outer) == ["place"]
            assert sorted(os.listdir(place)) == sorted(stored)
            for name, made in zip(stored, names.values()):
                assert name == made or made in ("_", "__"), (name, made)


def test_lines_that_make_no_sense_are_shown_as_messages_and_harm_nothing():
    with folder() as place, Broker(*ROOM) as broker, receiver(broker, place) as bob:
        lines = ["famez-file", "famez-file ", "famez-file begin", "famez-file begin x 1 n\n",
                 f"famez-file begin {NUMBER} -1 n\n", f"famez-file begin {NUMBER} 1 %zz\n",
                 f"famez-file begin {NUMBER} 1 %00\n", f"famez-file begin {NUMBER} 1 \n",
                 f"famez-file begin {NUMBER}0 1 n\n", f"famez-file end {NUMBER} 123456789\n",
                 f"famez-file part {NUMBER} 0", f"famez-file begin {NUMBER} 99999999999999999999 n",
                 f"famez-file eat {NUMBER}\n"]
        crafted(broker, *lines)
        for line in lines:
            assert objects_until(bob, is_message)["text"] == line
        assert os.listdir(place) == []


def test_what_is_not_complete_or_not_right_is_not_kept():
    with folder() as place, Broker(*ROOM) as broker, receiver(
            broker, place, "--receive-max", "10K") as bob:
        for messages, why in (
                ([begin("n", 4), part(0, b"ab"), end(b"ab")], "it is not complete"),
                ([begin("n", 2), part(0, b"ab"), end(b"xy")], "its checksum does not fit"),
                ([begin("n", 4), part(2, b"cd")], "a part is missing"),
                ([begin("n", 2), part(0, b"abc")], "more than was announced"),
                ([begin("n", 10241)], "too large (--receive-max)"),
                ([begin("n", 10 ** 17)], "too large (--receive-max)"),
                ([begin("n", 4), part(0, b"ab")], "its sender left before it was complete")):
            crafted(broker, *messages)
            one = file_event(bob)
            assert not one["stored"] and one["reason"] == why, one
            assert os.listdir(place) == [], why
        # What is stored counts, and small files count as 4 KiB.
        for number, stored in (("1", True), ("2", True), ("3", False)):
            crafted(broker, begin("s" + number, 0, number), end(b"", number))
            assert file_event(bob)["stored"] == stored
        assert sorted(os.listdir(place)) == ["s1", "s2"]


def test_one_sender_that_ends_no_file_leaves_places_for_others():
    with folder() as place, Broker(*ROOM) as broker, receiver(broker, place) as bob:
        with script(broker, "mallory") as mallory:
            mallory.ask("await bob")
            for n in range(20):
                mallory.ask("send --hex bob " + hexed(begin(f"n{n}", 1, f"{n:016x}")))
            for n in range(4, 20):
                one = file_event(bob)
                assert one["file"] == f"n{n}" and one["reason"] == "too many files at once", one
            crafted(broker, begin("mine", 2), part(0, b"ab"), end(b"ab"))
            assert file_event(bob)["stored"]
        for _ in range(4):
            assert file_event(bob)["reason"] == "its sender left before it was complete"
        assert os.listdir(place) == ["mine"]


def test_nothing_is_written_where_nobody_asked_for_files():
    with (folder() as place, Broker(*ROOM) as broker,
          named(broker, "bob", "-j", "watch", cwd=place) as bob):
        path = os.path.join(place, "offered")
        with open(path, "wb") as file:
            file.write(bytes(10000))
        done = client(broker, stdin=f"await bob\nsend --file {path} bob\n")
        complains(done, 1, "famez-client", "did not store it: takes no files (--receive)")
        one = file_event(bob)
        assert not one["stored"] and one["file"] == "offered", one
        assert os.listdir(place) == ["offered"]
        for words, part_ in ((f"send --file {place} bob", "is no regular file"),
                             (f"send --file {place}/none bob", "No such file"),
                             ("send --file /dev/zero bob", "is no regular file"),
                             (f"send --file {path} 9", "there is no peer 9")):
            complains(client(broker, words), 1, "famez-client", part_)
    with Broker(*ROOM) as broker:
        complains(client(broker, "--receive", "/nonexistent/folder", "id"), 1, "famez-client",
                  "/nonexistent/folder")


# ---------------------------------------------------------------- the memory


def test_a_shared_memory_that_is_cut_ends_it_in_one_line():
    with folder() as place:
        box = os.path.join(place, "box")
        with Broker(*ROOM, "-m", box) as broker, script(broker, "bob") as bob:
            os.truncate(box, 0)
            # It shows every second that it lives.
            line = bob.error()
            assert bob.process.wait(HANG_SECONDS) == 1
            assert line.startswith("famez-client: the shared memory has lost pages"), line
            broker.wait_event("mailbox-lost")


# ---------------------------------------------------------------- benchmarks


def test_bench_measures_a_peer_that_serves():
    with Broker(*ROOM) as broker, named(broker, "bob", "serve"):
        for _ in range(200):
            done = client(broker, "-j", "await bob; bench bob --seconds 0.2 --bytes 64")
            if "does not serve" not in done.err:
                break  # else it is there, and not yet at it
        one = succeeds(done).objects[-1]
        assert one["result"] == "bench" and one["bytes"] == 64, one
        trips, way = one["round_trip"], one["one_way"]
        assert trips["count"] > 0 and 0 < trips["min_ns"] <= trips["p50_ns"] <= trips["max_ns"]
        assert way["messages"] > 0 and way["bytes_a_second"] > way["messages_a_second"] > 0
        for size in (0, 1, 2024):
            done = succeeds(client(broker, "bench", "bob", "--seconds", "0.05", "--bytes", size))
            assert f"{size} bytes to peer " in done.out and "one way" in done.out, done
            assert all(len(line) <= 80 for line in done.lines), done
        complains(client(broker, "bench bob --bytes 2025"), 2, "famez-client", "2024 at most")
        succeeds(client(broker, "ping bob"))


def test_bench_says_when_nobody_serves():
    with Broker(*ROOM) as broker, named(broker, "bob", "watch"):
        complains(client(broker, "await bob; bench bob"), 1, "famez-client",
                  "does not serve: run `famez-client serve` there")


if __name__ == "__main__":
    run_tests(globals())
