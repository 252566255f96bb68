#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""v1.py - clients of FAME-Z's and F.E.E.'s kind talk to the server and to each other, by slots.

The clients are tests/support/v1_clients.py; the conversations are those that the Python programs
were seen to have with their own servers. Every read of every client asserts the 24 and 8 bytes
that those programs insist on.
"""

import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from example import Example  # noqa: E402
from fabric import HANG_SECONDS, Broker, run_tests  # noqa: E402
from v1_clients import FEE, GuestDriver, Refused, V1Client, pairs  # noqa: E402

SERVER = 15


class Fabric(Broker):
    """A broker as those who use it in place of F.E.E.'s or FAME-Z's server start it."""

    def __init__(self, dialect="fee", *options):
        super().__init__("--peers", "14", "--dialect", dialect, *options, vectors=16, size=None)
        self.dialect = dialect

    def client(self, name="client", cclass="Client", **how):
        client = V1Client(self.path, self.dialect, name, cclass, **how)
        self.peers.append(client)
        return client

    def ready(self, name="client", cclass="Client"):
        """A client that has shown itself, and was told who the server is."""
        client = self.client(name, cclass)
        client.ready()
        client.hear(SERVER, "Link CTL ACK")
        if self.dialect == "famez":
            client.hear(SERVER, "Link CTL Peer-Attribute")
            client.until_taken()
        client.transcript.clear()
        return client

    def guest(self, name="node.0000:00:05.0"):
        guest = GuestDriver(self.path, name)
        self.peers.append(guest)
        return guest


def together(everybody, judge):
    """All take part until judge() holds of each. Whoever did not look would keep the others
    waiting: the server has one slot for all."""
    deadline = time.monotonic() + HANG_SECONDS
    while not all(judge(client) for client in everybody):
        for client in everybody:
            client.pump(0.001)
        assert time.monotonic() < deadline, [list(c.heard) for c in everybody]


def ping(client, **how):
    """Ask the server whether it is there; the text that it answers."""
    client.send(SERVER, "ping", **how)
    return client.hear(SERVER).text


def in_both_dialects(test):
    def both():
        for dialect in ("fee", "famez"):
            test(dialect)
    return both


@in_both_dialects
def test_a_client_joins_with_reads_of_24_and_8_bytes_and_finds_its_slot(dialect):
    with Fabric(dialect) as fabric:
        first = fabric.client()
        fabric.until_peers(1)  # then it is present for the next one
        second = fabric.client()
        assert (first.clients, first.events, first.server_id) == (14, 16, SERVER)
        assert first.id != second.id and {first.id, second.id} <= set(range(1, 15))
        # Those who are there, the server among them; one's own come last.
        assert second.order[-1] == second.id
        assert set(second.order) == {first.id, SERVER, second.id}
        assert all(len(bells) == 16 for bells in second.bells.values())
        for ident in range(1, 16):
            assert first.word(ident, first.dialect.peer_id_at) == ident
        for ident in (first.id, second.id):
            assert first.length(ident) == 0
        first.until("told of the second", lambda: len(first.bells.get(second.id, ())) == 16)


@in_both_dialects
def test_fourteen_clients_fit_and_the_next_is_sent_minus_one(dialect):
    with Fabric(dialect) as fabric:
        everybody = [fabric.client() for _ in range(14)]
        assert {c.id for c in everybody} == set(range(1, 15))
        try:
            V1Client(fabric.path, dialect)
        except Refused as refused:
            assert refused.args == (-1,)
        else:
            raise AssertionError("a fifteenth client was let in")


def test_who_shows_the_switch_and_the_others_by_name_and_class():
    with Fabric() as fabric:
        alice, bob = fabric.ready("alice", "Compute"), fabric.ready("bob", "Memory")
        alice.until("told of bob", lambda: len(alice.bells.get(bob.id, ())) == 16)
        assert alice.who() == {alice.id: ("alice", "Compute"), bob.id: ("bob", "Memory"),
                               SERVER: ("Z-switch", "FabricSwitch")}


def test_who_shows_names_in_the_old_layout():
    with Fabric("famez") as fabric:
        alice, bob = fabric.ready("alice"), fabric.ready("bob")
        alice.until("told of bob", lambda: len(alice.bells.get(bob.id, ())) == 16)
        names = {ident: name for ident, (name, _) in alice.who().items()}
        assert names == {alice.id: "alice", bob.id: "bob", SERVER: "Z-switch"}


@in_both_dialects
def test_a_client_that_is_ready_asks_who_the_server_is_and_is_answered(dialect):
    with Fabric(dialect) as fabric:
        client = fabric.client("alice")
        client.ready()
        heard = client.hear(SERVER, "Link CTL ACK ")
        own = pairs(heard.text.removeprefix("Link CTL ACK "))
        assert own == {client.dialect.class_key:
                       {"fee": "FabricSwitch", "famez": "Switch"}[dialect],
                       "CID0": "1500", "SID0": "27"}
        assert " " not in heard.text.removeprefix("Link CTL ACK "), "else no client can parse it"
        if dialect == "fee":
            assert client.conversation(SERVER) == [
                "> Link CTL Peer-Attribute!EZT=1",
                "< Link CTL ACK cclass=FabricSwitch,CID0=1500,SID0=27!EZT=2"]
            # The server's slot is free again, and nothing else comes.
            assert client.length(SERVER) == 0
            assert not client.heard


def test_the_old_dialect_s_server_asks_a_newcomer_who_it_is():
    with Fabric("famez") as fabric:
        client = fabric.client("alice", "Adapter")
        client.ready()
        client.hear(SERVER, "Link CTL Peer-Attribute")
        assert any(line.startswith("> Link CTL ACK C-Class=Adapter,SID0=0,CID0=0!FZT=")
                   for line in client.conversation(SERVER))
        client.until_taken()


@in_both_dialects
def test_ping_is_answered_with_pong_and_the_tracker_goes_on(dialect):
    with Fabric(dialect) as fabric:
        client = fabric.ready()
        for _ in range(3):
            client.send(SERVER, "ping", fresh=True)
            assert client.hear(SERVER) == (SERVER, "pong", 2)
        # A number that is not 1 is adopted as well.
        client.tracker = 40
        client.send(SERVER, "ping")
        assert client.hear(SERVER) == (SERVER, "pong", 42)


def test_a_text_without_a_tracker_is_legal():
    with Fabric() as fabric:
        client = fabric.ready()
        assert ping(client, bare=True) == "pong"


@in_both_dialects
def test_many_pings_in_a_row_are_each_answered_once(dialect):
    with Fabric(dialect) as fabric:
        client = fabric.ready()
        for _ in range(300):
            assert ping(client, fresh=True) == "pong"
        assert len(client.transcript) == 600 and not client.heard


@in_both_dialects
def test_two_clients_ping_each_other_past_the_server(dialect):
    with Fabric(dialect) as fabric:
        alice, bob = fabric.ready("alice"), fabric.ready("bob")
        for a, b in ((alice, bob), (bob, alice)):
            a.send(b.id, "ping", fresh=True)
            assert b.hear(a.id) == (a.id, "ping", 1)
            assert a.hear(b.id) == (b.id, "pong", 2)
        assert alice.conversation(SERVER) == bob.conversation(SERVER) == []


@in_both_dialects
def test_two_clients_send_each_other_texts_up_to_383_bytes(dialect):
    with Fabric(dialect) as fabric:
        alice, bob = fabric.ready("alice"), fabric.ready("bob")
        for n in (1, 20, 100, 383):
            alice.send(bob.id, "x" * n, bare=True)
            assert bob.hear(alice.id).text == "x" * n
            alice.until_taken()


def test_all_ask_the_server_at_once_and_each_is_answered_in_its_turn():
    # One slot serves the answers to all: none may be lost, or go to somebody else.
    with Fabric() as fabric:
        crowd = [fabric.client(f"n{n}") for n in range(14)]
        for client in crowd:
            client.ready()
        together(crowd, lambda client: client.heard)
        assert all(client.heard.popleft().text.startswith("Link CTL ACK") for client in crowd)
        for round_ in range(20):
            for client in crowd:
                client.tracker = 100 * round_
                client.send(SERVER, "ping")
            together(crowd, lambda client: client.heard)
            for client in crowd:
                assert client.heard.popleft() == (SERVER, "pong", 100 * round_ + 2)
        assert not any(client.heard for client in crowd)


def test_link_rfc_is_a_conversation_of_five_messages():
    with Fabric() as fabric:
        client = fabric.ready("alice", "Compute")
        cid = client.id * 100
        client.send(SERVER, "Link RFC TTC=27us", fresh=True)
        client.hear(SERVER, "Link CTL Peer-Attribute")
        client.until_taken()
        assert client.conversation(SERVER) == [
            "> Link RFC TTC=27us!EZT=1",
            f"< CTL-Write Space=0,PFMCID=1500,PFMSID=27,CID={cid},SID=27,Tag=1!EZT=2",
            "> Standalone Acknowledgment Tag=1,Reason=OK!EZT=3",
            "< Link CTL Peer-Attribute!EZT=4",
            f"> Link CTL ACK cclass=Compute,CID0={cid},SID0=27!EZT=5"]
        assert (client.state, client.cid, client.sid) == ("configured", cid, 27)
        assert (client.pfm_cid, client.pfm_sid) == (1500, 27)


def test_link_rfc_in_the_old_dialect_has_sids_before_cids():
    with Fabric("famez") as fabric:
        client = fabric.ready("alice", "Compute")
        cid = client.id * 100
        client.send(SERVER, "Link RFC TTC=27us", fresh=True)
        client.hear(SERVER, "Link CTL Peer-Attribute")
        client.until_taken()
        said = client.conversation(SERVER)
        assert said[0] == "> Link RFC TTC=27us!FZT=1"
        assert re.fullmatch(rf"< CTL-Write Space=0,PFMSID=27,PFMCID=1500,SID=27,CID={cid},"
                            r"Tag=\d+!FZT=2", said[1]), said
        assert re.fullmatch(r"> Standalone Acknowledgment Tag=\d+,Reason=OK!FZT=3", said[2])
        assert said[3] == "< Link CTL Peer-Attribute!FZT=4"
        assert said[4] == f"> Link CTL ACK C-Class=Compute,SID0=27,CID0={cid}!FZT=5"


def test_all_clients_are_configured_at_the_same_time_each_with_its_own_ids():
    with Fabric() as fabric:
        crowd = [fabric.ready(f"n{n}") for n in range(14)]
        for client in crowd:
            client.send(SERVER, "Link RFC TTC=27us", fresh=True)
        together(crowd, lambda client: len(client.conversation(SERVER)) == 5 and client.taken())
        for client in crowd:
            assert (client.state, client.cid) == ("configured", client.id * 100)


def test_link_rfc_without_a_time_in_microseconds_is_ignored():
    with Fabric() as fabric:
        client = fabric.ready()
        for text in ("Link RFC TTC=27ms", "Link RFC", "Link RFC TTD=27us", "Link RFC TTC"):
            client.send(SERVER, text, fresh=True)
            client.until_taken()
        assert ping(client, fresh=True) == "pong"
        assert client.state == "up"


@in_both_dialects
def test_what_the_server_does_not_know_is_taken_and_ignored(dialect):
    with Fabric(dialect) as fabric:
        client = fabric.ready()
        for text in ("pong", "hello there", "PING", "Link", "Link CTL", "Link CTL NAK x",
                     "Link CTL Peer-Attribute now", "CTL-Write Space=0,CID=1",
                     "Standalone Acknowledgment Tag=77,Reason=OK",
                     "Standalone Acknowledgment", "dump", " ", "x" * 383):
            client.send(SERVER, text, bare=True)
            client.until_taken()
        assert ping(client, bare=True) == "pong"
        assert not client.heard


@in_both_dialects
def test_a_tag_is_good_for_one_acknowledgment_only(dialect):
    with Fabric(dialect) as fabric:
        client = fabric.ready()
        client.send(SERVER, "Link RFC TTC=27us", fresh=True)
        client.hear(SERVER, "Link CTL Peer-Attribute")
        tag = re.search(r"Tag=(\d+)", " ".join(client.conversation(SERVER)))[1]
        client.until_taken()
        client.heard.clear()
        client.send(SERVER, f"Standalone Acknowledgment Tag={tag},Reason=OK")
        client.until_taken()
        assert ping(client, fresh=True) == "pong"


@in_both_dialects
def test_who_leaves_is_told_by_itself_and_its_name_and_class_are_gone(dialect):
    with Fabric(dialect) as fabric:
        alice, bob, carol = (fabric.ready(name) for name in ("alice", "bob", "carol"))
        alice.until("told of bob", lambda: len(alice.bells.get(bob.id, ())) == 16)
        bob.put(carol.id, b"never read")
        bob.close()
        carol.close()
        dave = fabric.ready("dave")
        # Four notices, and each is a read of 8 bytes: notice() asserts it.
        alice.until("told", lambda: len(alice.left) == 2 and dave.id in alice.bells)
        assert sorted(alice.left) == sorted([bob.id, carol.id])
        for ident in alice.left:
            if ident != dave.id:
                assert alice.bytes_at(ident, 0, 32) == bytes(32)
                assert alice.length(ident) == 0
                assert not alice.class_of(ident)


@in_both_dialects
def test_an_answer_that_nobody_takes_is_reported_and_gives_way(dialect):
    with Fabric(dialect) as fabric:
        deaf, client = fabric.ready("deaf"), fabric.ready("alice")
        start = fabric.mark()
        deaf.send(SERVER, "ping", fresh=True)
        fabric.until("answered", lambda: deaf.length(SERVER) > 0)
        assert ping(client, fresh=True) == "pong"
        assert fabric.wait_event("slot-stuck", start, id=deaf.id)["level"] == "warning"
        # It was not harmed by that, and is served again.
        deaf.heard.clear()
        deaf.pump(0)
        assert ping(deaf, fresh=True) == "pong"


@in_both_dialects
def test_an_answer_for_who_has_left_is_not_read_by_the_next_owner_of_its_id(dialect):
    with Fabric(dialect) as fabric:
        crowd = [fabric.client() for _ in range(14)]
        crowd[5].send(SERVER, "ping", fresh=True)
        crowd[6].until("answered", lambda: crowd[6].length(SERVER) > 0)
        ident = crowd[5].id
        crowd[5].close()
        crowd[6].until("told", lambda: ident in crowd[6].left)
        heir = fabric.client("heir")
        assert heir.id == ident
        heir.ready()
        assert heir.hear().text.startswith("Link CTL")


@in_both_dialects
def test_a_slot_s_nonsense_harms_nobody(dialect):
    with Fabric(dialect) as fabric:
        liar, client = fabric.ready("liar"), fabric.ready("alice")
        text_at = liar.id * 512 + 128
        for length, text in ((2**64 - 1, b"ping"), (384, b"x" * 384), (512, b"ping\0"),
                             (1, b"\0"), (383, b"\xff" * 384), (4, b"x" * 384),
                             (2**63, b"%s%n" * 96)):
            liar.map[text_at:text_at + len(text)] = text
            liar.set_word(liar.id, liar.dialect.length_at, length)
            liar.ring(SERVER)
            liar.until("taken", liar.taken)
            client.send(SERVER, "ping", fresh=True)
            assert client.hear(SERVER) == (SERVER, "pong", 2)
            liar.map[text_at:text_at + 384] = bytes(384)
            while liar.pump(0):
                pass
        # Globals and the others' slots are not where the server looks things up.
        for n in range(5):
            liar.words[n] = 2**64 - 1
        liar.set_word(SERVER, liar.dialect.peer_id_at, 3)
        client.send(SERVER, "ping", fresh=True)
        assert client.hear(SERVER) == (SERVER, "pong", 2)


def test_a_ring_without_a_text_is_ignored():
    with Fabric() as fabric:
        client = fabric.ready()
        rung = lambda: fabric.report().vectors.get(client.id, 0)
        before = rung()
        for _ in range(5):
            client.ring(SERVER)
        # A text's length is written before the text: who looks between takes half of it.
        fabric.until("the server has heard them", lambda: rung() >= before + 5)
        fabric.report()
        assert ping(client, fresh=True) == "pong"
        assert not client.heard


def test_a_guest_driver_is_understood_without_trackers_and_with_its_own_key():
    with Fabric() as fabric:
        guest, client = fabric.guest(), fabric.ready("alice")
        guest.ready()
        guest.hear(SERVER, "Link CTL ACK ")
        assert guest.attributes[SERVER]["cclass"] == "FabricSwitch"
        cid = guest.id * 100
        guest.send(SERVER, "Link RFC TTC=27us")
        guest.hear(SERVER, "Link CTL Peer-Attribute")
        guest.until_taken()
        said = [text.split("!")[0] for text in guest.conversation(SERVER)]
        assert said[-5:] == [
            "> Link RFC TTC=27us",
            f"< CTL-Write Space=0,PFMCID=1500,PFMSID=27,CID={cid},SID=27,Tag=1",
            "> Standalone Acknowledgment Tag=1,Reason=OK",
            "< Link CTL Peer-Attribute",
            f"> Link CTL ACK C-Class=DiscreteBridge,CID0={cid},SID0=27"]
        # What it stamped into the server's slot, and its own.
        assert client.word(SERVER, FEE.sid_at) == 27
        assert client.word(SERVER, FEE.cid_at) == SERVER * 100
        assert client.word(guest.id, FEE.responder_at) == SERVER
        client.until("told of the guest", lambda: len(client.bells.get(guest.id, ())) == 16)
        assert client.who()[guest.id] == ("node.0000:00:05.0", "DiscreteBridge")


def test_a_guest_driver_and_a_client_ping_each_other():
    with Fabric() as fabric:
        guest, client = fabric.guest(), fabric.ready("alice")
        guest.ready()
        guest.hear(SERVER, "Link CTL ACK ")
        guest.send(client.id, "ping")
        assert client.hear(guest.id).text == "ping"
        assert guest.hear(client.id).text == "pong"
        client.send(guest.id, "ping", bare=True)
        assert guest.hear(client.id).text == "ping"
        assert client.hear(guest.id).text == "pong"
        # With a tracker it is no ping to a guest.
        client.send(guest.id, "ping", fresh=True)
        assert guest.hear(client.id).tracker == 1
        assert guest.taken()


def test_with_the_personality_none_a_ping_is_answered_and_nothing_else():
    with Fabric("fee", "--personality", "none") as fabric:
        client = fabric.client()
        client.set_string(0, "alice")
        for text in ("Link CTL Peer-Attribute", "Link RFC TTC=27us"):
            client.send(SERVER, text, fresh=True)
            client.until_taken()
        assert ping(client, bare=True) == "pong"
        assert not client.heard


def test_with_slots_only_the_conversations_are_the_same():
    with Fabric("fee", "--layout", "slots") as fabric:
        client = fabric.ready("alice", "Compute")
        assert client.map[64:152] == bytes(88), "a header where there is no message layer"
        client.send(SERVER, "Link RFC TTC=27us", fresh=True)
        client.hear(SERVER, "Link CTL Peer-Attribute")
        assert client.state == "configured"


@in_both_dialects
def test_a_client_and_a_libfamez_peer_chat_by_slots(dialect):
    with Fabric(dialect) as fabric:
        alice = fabric.ready("alice")
        with Example(fabric.path, "lib", "alice", "hello from the library") as lib:
            heard = alice.hear(text="hello")
            assert heard.text == "hello from the library"
            assert alice.name_of(heard.sender) == "lib"
            for text in ("hello from alice", "x" * 383, "one more"):
                alice.send(heard.sender, text, bare=True)
                assert lib.line() == f"alice: {text}"


if __name__ == "__main__":
    run_tests(globals())
