#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""server_mail.py - the server as a peer that can be messaged: lanes, v1 slots, groups."""

import os
import sys
from random import Random

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import Broker, run_tests  # noqa: E402
from lanes import DATA, ENTER, EXIT, GROUP, LINK, PAD, Lanes, Slot  # noqa: E402

PEERS = 6


def lanes_broker(*options, vectors=16, peers=PEERS, size="4M", **how):
    return Broker("--peers", str(peers), "--layout", "lanes", *options, vectors=vectors, size=size,
                  **how)


# ---- lanes ----------------------------------------------------------------------------------


def test_the_server_answers_ping_by_lane():
    with lanes_broker() as broker:
        a = Lanes(broker.join())
        assert a.ask("ping") == "pong"
        assert a.ask("ping!EZT=1") == "pong!EZT=2"


def test_the_server_answers_where_all_ring_vector_0():
    with lanes_broker(vectors=4) as broker:
        for lanes in [Lanes(broker.join()) for _ in range(PEERS)]:
            assert lanes.ask("ping") == "pong"


def test_more_workers_than_can_be_rung_apart_do_no_harm():
    with lanes_broker(vectors=2, workers=7) as broker:
        for lanes in [Lanes(broker.join()) for _ in range(PEERS)]:
            assert lanes.ask("ping") == "pong"
    with Broker("--peers", "3", "--layout", "slots", vectors=1, workers=5, size="4096") as broker:
        for _ in range(3):
            broker.join()
        assert broker.report()["peers"] == 3


def test_many_questions_are_answered_in_order():
    with lanes_broker() as broker:
        peers = [Lanes(broker.join()) for _ in range(PEERS)]
        for start in range(1, 400, 40):
            for n in range(start, start + 40):
                for lanes in peers:
                    assert lanes.send(lanes.server, f"ping!EZT={n}".encode(), LINK)
            for n in range(start, start + 40):
                for lanes in peers:
                    assert lanes.receive(lanes.server).payload == f"pong!EZT={n + 1}".encode()


def test_an_id_s_next_owner_hears_nothing_of_the_last_one_s():
    with lanes_broker(peers=1) as broker:
        old = broker.join()
        lanes = Lanes(old)
        for _ in range(5):
            assert lanes.send(lanes.server, b"ping", LINK)
        assert lanes.receive(lanes.server).payload == b"pong"
        ident = old.id
        old.leave()
        broker.wait_event("leave", id=ident)
        new = broker.join()
        assert new.id == ident
        assert Lanes(new).ask("ping!EZT=7") == "pong!EZT=8"


def test_what_the_last_owner_of_an_id_left_unread_is_not_taken_for_the_next_one_s():
    with lanes_broker(peers=2) as broker:
        member, old = Lanes(broker.join()), Lanes(broker.join())
        assert member.send(member.server, b"", ENTER, group=9)
        assert member.ask("ping") == "pong"
        # Nobody looks there until the next owner says that there is something.
        assert old.send(old.server, b"ping", LINK, ring=False)
        assert old.send(old.server, b"", ENTER, group=7, ring=False)
        assert old.send(old.server, b"farewell", GROUP, group=9, ring=False)
        ident = old.id
        old.peer.leave()
        broker.wait_event("leave", id=ident)
        new = Lanes(broker.join())
        assert new.id == ident
        assert new.ask("ping!EZT=1") == "pong!EZT=2"
        farewell = member.receive(member.server)
        assert (farewell.payload, farewell.origin) == (b"farewell", ident)
        mail = broker.report().mail
        assert mail["stale"] == 2 and mail["memberships"] == 1, mail
        assert mail["received"] == 4 and mail["sent"] == 3, mail


def test_a_peer_that_starts_anew_is_answered_under_its_new_generation():
    with lanes_broker() as broker:
        lanes = Lanes(broker.join())
        assert lanes.ask("ping") == "pong"
        for start in range(3):
            lanes.send(lanes.server, b"ping!EZT=90", LINK)  # answered to nobody
            lanes.start()
            assert lanes.ask(f"ping!EZT={start + 1}") == f"pong!EZT={start + 2}"


def test_what_nobody_understands_is_counted_and_not_answered():
    with lanes_broker() as broker:
        lanes = Lanes(broker.join())
        for text in ("", "pingping", "Link", "\0ping", "x" * 500, "Link CTL NAK", "!EZT=1"):
            assert lanes.send(lanes.server, text.encode(), LINK)
        assert lanes.send(lanes.server, b"ping", DATA)
        assert lanes.send(lanes.server, b"ping", 9)
        assert lanes.send(lanes.server, b"", ENTER, group=0)
        assert lanes.ask("ping") == "pong"
        mail = broker.report().mail
        assert mail["ignored"] == 9 and mail["data"] == 1, mail
        assert mail["received"] == 11 and mail["sent"] == 1, mail


def test_a_peer_that_reads_no_answers_loses_them_and_nobody_else_does():
    with lanes_broker() as broker:
        deaf, other = Lanes(broker.join()), Lanes(broker.join())
        broker.until("answers are dropped", lambda: (
            [deaf.send(deaf.server, b"ping", LINK) for _ in range(300)],
            broker.report().mail["dropped"] > 0)[1])
        broker.wait_event("unread", id=deaf.id)
        assert other.ask("ping") == "pong"
        broker.until("all it said is read", lambda: not deaf.unread(deaf.server))
        while deaf.take(deaf.server):
            pass
        assert deaf.ask("ping") == "pong"


def test_a_garbled_lane_is_told_of_and_others_flow_on():
    with lanes_broker() as broker:
        bad, good = Lanes(broker.join()), Lanes(broker.join())
        assert bad.ask("ping") == "pong"
        at = bad.tx[bad.server]
        bad.u64[(bad.ring_at(bad.server, bad.id) + at % bad.lane_bytes) // 8] = 0x7777777
        bad.nudge(bad.server)
        broker.wait_event("garbled", id=bad.id)
        assert good.ask("ping") == "pong"
        assert broker.report().mail["garbled"] >= 1


def test_the_server_shows_its_name_and_that_it_lives():
    with lanes_broker() as broker:
        lanes = Lanes(broker.join())
        e = lanes.entry(lanes.server)
        assert lanes.text(e + 128) == "Z-switch" and lanes.text(e + 160) == "FabricSwitch"
        heartbeat = lanes.u64[(e + 80) // 8]
        broker.until("a heartbeat", lambda: lanes.u64[(e + 80) // 8] > heartbeat)
    with lanes_broker("--personality", "none") as broker:
        peer = broker.join()
        lanes, slot = Lanes(peer), Slot(peer)
        e = lanes.entry(lanes.server)
        assert lanes.text(e + 128) == slot.name(slot.server) == "server"
        assert lanes.text(e + 160) == slot.cclass(slot.server) == "Server"
        assert lanes.ask("ping") == "pong"
        assert lanes.send(lanes.server, b"Link CTL Peer-Attribute", LINK)
        assert lanes.ask("ping") == "pong"


# ---- link messages --------------------------------------------------------------------------


def configure(ask, say, hear, mark, cid, server_cid):
    """The conversation of facts: a peer asks to be configured. Returns with it told who it is."""
    attributes = ask(f"Link CTL Peer-Attribute{mark}1")
    write = ask(f"Link RFC TTC=27us{mark}1")
    if mark == "!EZT=":
        assert attributes == f"Link CTL ACK cclass=FabricSwitch,CID0={server_cid},SID0=27!EZT=2"
        assert write == (f"CTL-Write Space=0,PFMCID={server_cid},PFMSID=27,CID={cid},SID=27,Tag=1"
                         "!EZT=2")
    else:
        assert attributes == f"Link CTL ACK C-Class=Switch,SID0=27,CID0={server_cid}!FZT=2"
        assert write == (f"CTL-Write Space=0,PFMSID=27,PFMCID={server_cid},SID=27,CID={cid},Tag=1"
                         "!FZT=2")
    assert ask(f"Standalone Acknowledgment Tag=1,Reason=OK{mark}3") == (
        f"Link CTL Peer-Attribute{mark}4")
    say(f"Link CTL ACK cclass=Bridge,CID0={cid},SID0=27{mark}5")


def test_a_lane_peer_is_configured_and_its_ids_stand_in_the_directory():
    with lanes_broker() as broker:
        for _ in range(PEERS):
            peer = broker.join()
            lanes = Lanes(peer)
            assert lanes.identity(lanes.id) == (0, 0)
            configure(lanes.ask, lambda text, to=lanes: to.send(to.server, text.encode(), LINK),
                      None, "!EZT=", lanes.id * 100, lanes.server * 100)
            assert lanes.ask("ping") == "pong"
            assert lanes.identity(lanes.id) == (lanes.id * 100, 27)
            broker.wait_event("named", id=lanes.id, cid=lanes.id * 100, sid=27)


def test_a_dump_goes_to_the_log():
    with lanes_broker() as broker:
        lanes = [Lanes(broker.join(), name=f"node{n}") for n in range(3)]
        lanes[1].send(lanes[1].server, b"Link CTL ACK C-Class=Bridge,CID0=5,SID0=6", LINK)
        for peer in lanes:
            assert peer.ask("ping") == "pong"
        lanes[0].send(lanes[0].server, b"dump", LINK)
        broker.wait_event("port", id=lanes[1].id, name="node1", cid=5, sid=6, state="up",
                          **{"class": "Bridge"})
        broker.wait_event("port", id=lanes[2].id, name="node2", state="silent")


# ---- v1 slots -------------------------------------------------------------------------------


def v1_broker(*options, dialect="fee", layout="slots", **how):
    return Broker("--peers", "14", "--layout", layout, "--dialect", dialect, *options,
                  vectors=16, size="32M" if layout == "lanes" else "8192", **how)


def test_a_v1_client_is_answered_by_the_servers_slot():
    for layout in ("slots", "lanes"):
        with v1_broker(layout=layout) as broker:
            slots = [Slot(broker.join(), f"node{n}") for n in range(5)]
            assert slots[0].name(slots[0].server) == "Z-switch"
            assert slots[0].cclass(slots[0].server) == "FabricSwitch"
            for n, slot in enumerate(slots):
                assert slot.ask(f"ping!EZT={n + 1}") == f"pong!EZT={n + 2}"
                assert slot.word(slot.id, 0) == 0, "the handshake"
                assert slot.word(slot.id, 3) == 27 and slot.word(slot.id, 4) == slot.id * 100
                assert slot.word(slot.server, 2) == slot.id, "last_responder"
            mail = broker.report().mail
            assert mail["slots_received"] == mail["slots_sent"] == 5, mail
            assert mail["stuck"] == 0


def test_v1_clients_of_both_dialects_are_configured():
    for dialect, mark in (("fee", "!EZT="), ("famez", "!FZT=")):
        with v1_broker(dialect=dialect) as broker:
            old = dialect == "famez"
            peer = broker.join()
            slot = Slot(peer, old=old)
            if old:
                assert slot.hear(slot.server) == "Link CTL Peer-Attribute!FZT=1"
            configure(slot.ask, lambda text: slot.say(slot.server, text), None, mark,
                      slot.id * 100, 1500)
            broker.wait_event("named", id=slot.id)


def test_answers_to_many_v1_clients_queue_up_for_the_one_slot():
    with v1_broker() as broker:
        slots = [Slot(broker.join()) for _ in range(14)]
        for slot in slots:
            slot.say(slot.server, f"ping!EZT={slot.id}")
        waiting = {slot.id: slot for slot in slots}
        while waiting:
            reader = slots[0].word(slots[0].server, 2)
            if reader in waiting and slots[0].word(slots[0].server, 0):
                slot = waiting.pop(reader)
                assert slot.hear(slot.server) == f"pong!EZT={slot.id + 1}"


def test_a_v1_client_that_reads_nothing_is_told_of_and_others_are_served():
    with v1_broker() as broker:
        stuck, other = Slot(broker.join()), Slot(broker.join())
        stuck.say(stuck.server, "ping!EZT=1")
        stuck.peer.wait(stuck.server)
        other.say(other.server, "ping!EZT=5")
        broker.wait_event("slot-stuck", id=stuck.id)
        assert other.hear(other.server) == "pong!EZT=6"
        assert broker.report().mail["stuck"] == 1


def test_a_v1_client_that_leaves_with_its_answer_unread_frees_the_slot():
    with v1_broker() as broker:
        gone, other = Slot(broker.join()), Slot(broker.join())
        gone.say(gone.server, "ping")
        gone.peer.wait(gone.server)
        gone.peer.leave()
        other.peer.until_left(gone.id)
        assert other.ask("ping!EZT=1") == "pong!EZT=2"
        assert broker.report().mail["stuck"] == 0


def test_hostile_slots_are_survived():
    with v1_broker() as broker:
        slot, other = Slot(broker.join()), Slot(broker.join())
        for length in (1, 383, 384, 512, 1 << 20, 1 << 63, (1 << 64) - 1):
            slot.put(b"x" * 384, length)
            slot.peer.ring(slot.server, slot.id)
            broker.until("taken", lambda: slot.word(slot.id, 0) == 0)
        for vector in range(16):
            slot.peer.ring(slot.server, vector)
        slot.put(b"ping\0\xff\x01" + b"!" * 300)
        slot.peer.ring(slot.server, slot.id)
        assert slot.hear(slot.server) == "pong"
        assert other.ask("ping!EZT=1") == "pong!EZT=2"


def test_lanes_and_slots_are_answered_each_by_its_own():
    with v1_broker(layout="lanes") as broker:
        lanes, slot = Lanes(broker.join()), Slot(broker.join())
        for n in range(20):
            slot.say(slot.server, f"ping!EZT={n + 1}")
            assert lanes.ask("ping") == "pong"
            assert slot.hear(slot.server) == f"pong!EZT={n + 2}"


# ---- scribblers -----------------------------------------------------------------------------


def test_words_scribbled_all_over_the_servers_part_hurt_nobody_else():
    seed = int(os.environ.get("FAMEZ_TEST_SEED", str(int.from_bytes(os.urandom(4), "little"))))
    print(f"# seed {seed}", file=sys.stderr)
    random = Random(seed)
    with lanes_broker() as broker:
        bad = [Lanes(broker.join()) for _ in range(PEERS - 1)]
        good = Lanes(broker.join())
        server = good.server
        for lanes in bad:
            assert lanes.ask("ping") == "pong"
            assert lanes.send(server, b"", ENTER, group=1)
        regions = [(good.inbox + server * good.inbox_bytes, good.inbox_bytes)]
        for lanes in bad:
            regions += [(lanes.entry(lanes.id), 192), (lanes.id * 512, 512),
                        (lanes.inbox + lanes.id * lanes.inbox_bytes, lanes.inbox_bytes)]
            for to, sender in ((server, lanes.id), (lanes.id, server)):
                regions += [(lanes.control(to, sender), 192), (lanes.ring_at(to, sender), 512)] * 3
        interesting = [0, 1, 8, 15, 16, 24, 4096, good.lane_bytes, PAD, PAD | 8,
                       PAD | good.lane_bytes, (1 << 32) - 1, (1 << 63), (1 << 64) - 1]
        for n in range(300):
            for _ in range(50):
                at, size = random.choice(regions)
                word = random.choice(interesting)
                if random.random() < 0.5:
                    word |= good.generation_of(server) << 32 & (1 << 64) - 1
                good.u64[at // 8 + random.randrange(size // 8)] = word & (1 << 64) - 1
            random.choice(bad).nudge(server)
            if n % 10 == 0:
                random.choice(bad).peer.ring(server, random.randrange(16))
            # It is woken by the look of every second at the latest.
            assert good.send(server, f"ping!EZT={n + 1}".encode(), LINK)
            if n % 50 == 49:
                for m in range(n - 48, n + 2):
                    assert good.receive(server).payload == f"pong!EZT={m + 1}".encode()
        assert broker.report()["peers"] == PEERS
        # Membership goes on, and who starts anew is served.
        for lanes in bad[:2]:
            lanes.peer.leave()
        broker.until_peers(PEERS - 2)
        broker.join()


# ---- memory that goes away ------------------------------------------------------------------


def test_that_the_memory_is_gone_is_told_by_whoever_meets_it():
    with Broker("--peers", "14", "--layout", "slots", vectors=16, size="8192",
                start=False) as broker:
        path = os.path.join(broker.dir, "mailbox")
        broker.may_stay.add("mailbox")
        broker.command += ["-m", path]
        broker.start()
        peer = broker.join()
        broker.until_peers(1)
        os.truncate(path, 0)
        # Nothing happens that wakes anybody but the worker whose vector it is.
        peer.ring(15, peer.id)
        broker.wait_event("mailbox-lost")


# ---- groups ---------------------------------------------------------------------------------


def group_of(broker, count, group=7):
    members = [Lanes(broker.join()) for _ in range(count)]
    for lanes in members:
        assert lanes.send(lanes.server, b"", ENTER, group=group)
        assert lanes.ask("ping") == "pong"
    return members


def test_all_members_but_the_sender_are_told_and_nobody_else():
    with lanes_broker(peers=8) as broker:
        members = group_of(broker, 6)
        stranger = Lanes(broker.join())
        for sender in [*members, stranger]:
            text = f"hello from {sender.id}".encode()
            assert sender.send(sender.server, text, GROUP, group=7, origin=3)
            for lanes in members:
                if lanes is sender:
                    continue
                m = lanes.receive(lanes.server)
                assert (m.payload, m.type, m.group, m.origin) == (text, GROUP, 7, sender.id), m
        for lanes in [*members, stranger]:
            assert lanes.ask("ping") == "pong"
        mail = broker.report().mail
        assert mail["memberships"] == 6 and mail["groups"] == 1, mail
        assert mail["group_messages"] == 7, mail
        assert mail["group_copies"] == 6 * 5 + 6, mail


def test_who_exits_leaves_or_starts_anew_is_no_member():
    with lanes_broker(peers=4) as broker:
        stays, exits, anew, leaves = members = group_of(broker, 4)
        assert exits.send(exits.server, b"", EXIT, group=7)
        assert exits.ask("ping") == "pong"
        anew.start()
        assert anew.ask("ping") == "pong"
        ident = leaves.id
        stays.peer.until_knows(ident)
        leaves.peer.leave()
        stays.peer.until_left(ident)
        new = Lanes(broker.join())
        assert new.id == ident
        assert new.ask("ping") == "pong"
        assert broker.report().mail["memberships"] == 1
        assert exits.send(exits.server, b"one", GROUP, group=7)
        assert stays.receive(stays.server).payload == b"one"
        for lanes in (exits, anew, new):
            assert lanes.ask("ping") == "pong"
        assert len(members) == 4


def test_order_is_kept_and_sizes_do_not_matter():
    with lanes_broker(peers=5) as broker:
        members = group_of(broker, 5)
        sender, others = members[0], members[1:]
        sizes = [0, 1, 7, 8, 9, 100, 1000, sender.payload_max()] * 10
        for n, size in enumerate(sizes):
            payload = bytes([n]) * size
            while not sender.send(sender.server, payload, GROUP, group=7):
                pass
            for lanes in others:
                m = lanes.receive(lanes.server)
                assert m.payload == payload and m.origin == sender.id, (n, size, m)


def test_a_message_of_8_mib_reaches_all_and_others_are_answered_meanwhile():
    with lanes_broker(peers=4, size="1G") as broker:
        members = group_of(broker, 3)
        sender, other = members[0], Lanes(broker.join())
        payload = os.urandom(1 << 16) * (sender.payload_max() >> 16)
        assert len(payload) > 7 << 20
        for n in range(4):
            assert sender.send(sender.server, payload, GROUP, group=7)
            assert other.ask(f"ping!EZT={n + 1}") == f"pong!EZT={n + 2}"
            for lanes in members[1:]:
                assert lanes.receive(lanes.server).payload == payload
        assert broker.report().mail["group_copies"] == 8


def test_many_senders_at_once_reach_all():
    with lanes_broker(peers=6, size="16M") as broker:
        members = group_of(broker, 6)
        for n in range(100):
            for sender in members:
                while not sender.send(sender.server, bytes([sender.id, n]), GROUP, group=7):
                    raise AssertionError("there was room for all")
        for lanes in members:
            seen = {m.id: [] for m in members if m is not lanes}
            for _ in range(500):
                m = lanes.receive(lanes.server)
                assert m.payload[0] == m.origin
                seen[m.origin].append(m.payload[1])
            assert all(got == list(range(100)) for got in seen.values())
        assert broker.report().mail["dropped"] == 0


def test_a_member_that_does_not_read_holds_up_nobody():
    with lanes_broker(peers=4) as broker:
        members = group_of(broker, 4)
        sender, deaf, *others = members
        payload = b"x" * sender.payload_max()
        for _ in range(20):
            while not sender.send(sender.server, payload, GROUP, group=7):
                pass
            for lanes in others:
                assert lanes.receive(lanes.server).payload == payload
        broker.wait_event("unread", id=deaf.id)
        assert broker.report().mail["dropped"] > 10


def test_what_was_said_to_a_group_before_leaving_arrives():
    with lanes_broker(peers=4) as broker:
        members = group_of(broker, 3)
        sender, *others = members
        for n in range(50):
            assert sender.send(sender.server, bytes([n]), GROUP, group=7, ring=n == 49)
        sender.peer.leave()
        for lanes in others:
            for n in range(50):
                assert lanes.receive(lanes.server).payload == bytes([n])


if __name__ == "__main__":
    run_tests(globals())
