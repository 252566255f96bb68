#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""zones.py - a peer is told of its neighbours and of nobody else, and nobody else can ring it.

An ID's doorbells stay with the ID, and a device keeps what it was told of. So the hard case is an
ID whose owner is gone: it must not go to a peer of another zone while a device is here that holds
it, whatever happens to the broker meanwhile. RawPeer asserts that a device is never told an ID
twice, nor a leave.
"""

import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import run_once, run_tests  # noqa: E402
from rules import ALICE, BOB, CAROL, OpenBroker, Peer, RuleFile, needs_root  # noqa: E402

BY_NAME = "zone a name=a*\nzone b name=b*\nzone a name=both*\nzone b name=both*\n"


def ids(*peers):
    return {p.id for p in peers}


def test_peers_are_told_of_those_who_share_a_zone_with_them():
    needs_root()
    text = (f"zone a uid={ALICE}\nzone b uid={BOB}  # the other one\n"
            f"zone a uid={CAROL}\nzone b uid={CAROL}\n")
    with RuleFile(text) as zones, OpenBroker("--zone", zones.path) as broker:
        with Peer(broker, ALICE) as a1, Peer(broker, BOB) as b, Peer(broker, CAROL) as both, \
                Peer(broker, ALICE, device=True) as a2, Peer(broker) as nobody, \
                Peer(broker, BOB, device=True) as b2:
            assert a1.neighbours() == ids(a2, both)
            assert a2.neighbours() == ids(a1, both)
            assert b.neighbours() == ids(b2, both)
            assert b2.neighbours() == ids(b, both)
            assert both.neighbours() == ids(a1, a2, b, b2)
            assert nobody.neighbours() == set()
            for one, other in ((a1, a2), (a2, both), (both, b), (b2, both)):
                one.rings(other)
                other.rings(one)
            # Leaves as well are told to neighbours, those of them who are told leaves at all.
            a2.close()
            broker.until_peers(5)
            assert a1.neighbours() == ids(both)
            assert b.neighbours() == ids(b2, both)
            joins = {e["id"]: e["zones"] for e in broker.events("join")}
            assert joins[str(a1.id)] == "a" and joins[str(both.id)] == "a,b"
            assert joins[str(nobody.id)] == ""


def test_a_vms_name_and_its_id_may_say_where_it_is():
    text = "zone web name=web-*\nzone low ids=1-2,9 name=db?\ndefault-zone rest\n"
    with RuleFile(text) as zones, OpenBroker("--zone", zones.path) as broker:
        with Peer(broker, vm="db1") as db1, Peer(broker, vm="web-1") as web1, \
                Peer(broker, vm="db2") as db2, Peer(broker, vm="web-2") as web2, \
                Peer(broker) as plain:
            assert (db1.id, db2.id) == (1, 3)
            # db2 has an ID that the line does not name, so it is with the rest.
            assert db1.neighbours() == set()
            assert web1.neighbours() == ids(web2)
            assert db2.neighbours() == ids(plain)


def test_an_id_that_a_device_holds_goes_to_no_stranger():
    with RuleFile(BY_NAME) as zones, \
            OpenBroker("--zone", zones.path, "--peers", "3") as broker:
        with Peer(broker, vm="a1") as watcher, Peer(broker, vm="b1") as b1:
            with Peer(broker, vm="a2") as a2:
                held = a2.id
                bells = watcher.neighbours() and watcher.bells(held)
            broker.until_peers(2)
            # The only free ID is one that the watcher can ring, for as long as it lives.
            for _ in range(3):
                with Peer(broker, vm="b2", join=False) as b2:
                    assert b2.is_refused()
            assert len(broker.refused("zones")) == broker.report()["refused_zones"] == 3
            # One of its own zone comes back to it.
            with Peer(broker, vm="a3") as a3:
                assert a3.id == held and a3.bells() == bells
                watcher.rings(a3)
            broker.until_peers(2)
            with Peer(broker, vm="both") as both:
                assert both.id == held
                assert both.neighbours() == ids(watcher, b1)
            broker.until_peers(2)
            # Now b1 holds it as well; for a stranger to both it takes that both are gone.
            with Peer(broker, vm="c", join=False) as c:
                assert c.is_refused()
            assert watcher.neighbours() == {held}
        broker.until_peers(0)
        with Peer(broker, vm="b3") as b3, Peer(broker, vm="b4") as b4, \
                Peer(broker, vm="b5") as b5:
            assert b3.neighbours() == ids(b4, b5)


def test_a_stranger_gets_another_id_as_long_as_there_is_one():
    with RuleFile(BY_NAME) as zones, \
            OpenBroker("--zone", zones.path, "--peers", "4") as broker:
        with Peer(broker, vm="a1") as watcher:
            held = set()
            for _ in range(2):
                with Peer(broker, vm="a2") as a2:
                    held.add(a2.id)
                    watcher.neighbours()
                broker.until_peers(1)
            with Peer(broker, vm="b1") as b1:
                assert b1.id not in held
                assert b1.neighbours() == set()
                assert watcher.neighbours() == held


def test_churn_in_many_zones_never_introduces_strangers():
    """Devices come and go at random. Nobody holds the ID of a stranger; and whoever is refused is
    refused for want of an ID that is safe."""
    with RuleFile(BY_NAME) as zones, \
            OpenBroker("--zone", zones.path, "--peers", "9", vectors=1) as broker:
        dice = random.Random(4)
        vms = {name: Peer(broker, vm=name, join=False) for name in ("a", "b", "both")}
        for vm in vms.values():  # each has many devices
            vm.process.run("p.close(); peers = {}")
        broker.until_connected(0)
        here, refused = {}, 0
        for step in range(150):
            if here and (len(here) == 9 or dice.random() < 0.45):
                ident = dice.choice(sorted(here))
                vms[here.pop(ident)].process.run(f"peers.pop({ident}).close()")
                broker.until_connected(len(here))
                continue
            name = dice.choice(sorted(vms))
            vms[name].process.run(
                "q = RawPeer(path, device=True, vectors=1)\ntry:\n    q.open()\n"
                "    peers[q.id] = q\nexcept Refused:\n    q.close(); q = None")
            ident = vms[name].process.ask("q and q.id")
            if ident is None:
                refused += 1
            else:
                assert ident not in here
                here[ident] = name
            if step == 75 and broker.child != broker.pid:
                broker.die()
            broker.settle()
            for one, vm in vms.items():
                vm.process.run("for q in peers.values(): q.drain()")
                for mine, known in vm.process.ask(
                        "[(i, sorted(q.complete())) for i, q in peers.items()]"):
                    now = {i for i in here if i != mine and (
                        here[i] == one or "both" in (here[i], one))}
                    assert now <= set(known), f"{one} {mine} was not told of {now - set(known)}"
                    strangers = {i for i in here if i != mine} - now
                    assert not strangers & set(known), (
                        f"{one} {mine} can ring {strangers & set(known)}")
        assert refused, "it never came to that"
        assert len(broker.refused("zones") + broker.refused("full")) == refused
        for vm in vms.values():
            vm.close()


def test_strangers_cost_a_device_no_descriptors():
    """A process with room for some ten peers among thirty strangers knows all its neighbours."""
    with RuleFile(BY_NAME) as zones, \
            OpenBroker("--zone", zones.path, "--peers", "40") as broker:
        with Peer(broker, vm="b1") as crowd, Peer(broker, vm="a2") as a2, \
                Peer(broker, vm="a1", nofile=128) as small, Peer(broker, vm="a3") as a3:
            crowd.process.run("more = [RawPeer(path, device=True, vectors=4).open() "
                              "for _ in range(30)]")
            assert small.neighbours() == ids(a2, a3)
            assert not broker.events("held-back", id=small.id)
            assert int(broker.report().peers[small.id]["held_back"]) == 0
            assert len(crowd.neighbours()) == 30


def test_zones_are_read_again_at_sighup_and_add_neighbours_at_once():
    with RuleFile(BY_NAME) as zones, OpenBroker("--zone", zones.path) as broker:
        with Peer(broker, vm="a1") as a1, Peer(broker, vm="b1") as b1, Peer(broker) as plain:
            assert not a1.neighbours() and not b1.neighbours() and not plain.neighbours()
            zones.write(BY_NAME + "zone new name=?1\ndefault-zone new\n")
            assert broker.hup()["event"] == "rules"
            assert a1.neighbours() == ids(b1, plain)
            assert b1.neighbours() == ids(a1, plain)
            assert plain.neighbours() == ids(a1, b1)
            a1.rings(b1)
            plain.rings(a1)
            # A zone that one is taken out of ends when the peer leaves: a QEMU can't be untold.
            zones.write(BY_NAME)
            broker.hup()
            assert a1.neighbours() == ids(b1, plain)
            with Peer(broker, vm="a2") as a2:
                assert a2.neighbours() == ids(a1)
                b1.close()
                broker.until_peers(3)
                # Nothing that was told is taken back, and nobody told twice, at any reload.
                for _ in range(3):
                    broker.hup()
                assert a1.neighbours() == ids(a2, b1, plain)
                assert plain.neighbours() == ids(a1)
                with Peer(broker, vm="b2") as b2:
                    assert b2.id != b1.id and b2.neighbours() == set()


def test_plain_clients_too_are_told_of_new_neighbours_and_of_nobody_twice():
    needs_root()
    text = f"zone a uid={ALICE}\nzone b uid={BOB}\n"
    with RuleFile(text) as zones, OpenBroker("--zone", zones.path) as broker:
        with Peer(broker, ALICE) as a1, Peer(broker, ALICE) as a2, Peer(broker, BOB) as b:
            assert a1.neighbours() == ids(a2)
            zones.write(text + f"zone a uid={BOB}\n")
            broker.hup()
            assert a1.neighbours() == ids(a2, b)
            order = a1.process.ask("p.order")
            assert order.count(a2.id) == 4 and order.count(b.id) == 4, order
            b.close()
            broker.until_peers(2)
            assert a1.neighbours() == ids(a2)


def test_a_file_with_a_mistake_changes_nothing_and_is_told_line_by_line():
    with RuleFile(BY_NAME) as zones, OpenBroker("--zone", zones.path) as broker:
        with Peer(broker, vm="a1") as a1:
            for text, words in (("zone a name=*\nzone\n", ["line 2", "ids=, uid= or name="]),
                                ("zone a uid=alice\n", ["line 1", "uid=alice"]),
                                ("\n\nzone a colour=red\n", ["line 3", "colour=red"])):
                zones.write(text)
                wrong = broker.hup()
                assert wrong["event"] == "rules-wrong" and wrong["level"] == "warning"
                assert zones.path in wrong["error"]
                for word in words:
                    assert word in wrong["error"], wrong
            zones.remove()
            assert zones.path in broker.hup()["error"]
            with Peer(broker, vm="a2") as a2, Peer(broker, vm="b1") as b1:
                assert a1.neighbours() == ids(a2)
                assert b1.neighbours() == set()


def test_a_wrong_file_is_a_wrong_option():
    with RuleFile("zone a ids=3-1\n") as zones:
        for extra in ([], ["--check"]):
            status, _, err = run_once("--zone", zones.path, *extra)
            assert status == 2 and "line 1" in err and err.count("\n") == 1, err
    status, _, err = run_once("--zone", "/nonexistent/zones")
    assert status == 2 and "/nonexistent/zones" in err, err


def test_a_dead_brokers_successor_keeps_strangers_apart():
    with RuleFile(BY_NAME) as zones, \
            OpenBroker("--zone", zones.path, "--peers", "3") as broker:
        with Peer(broker, vm="a1") as watcher, Peer(broker, vm="b1") as b1:
            with Peer(broker, vm="a2") as a2:
                held = a2.id
                assert watcher.neighbours() == {held}
                broker.die()
                watcher.rings(a2)
            broker.until_peers(2)
            broker.die()
            with Peer(broker, vm="b2", join=False) as b2:
                assert b2.is_refused()
            with Peer(broker, vm="a3") as a3:
                assert a3.id == held
                assert watcher.neighbours() == {held}
                watcher.rings(a3)
            assert b1.neighbours() == set()


def test_a_dead_brokers_successor_has_the_zones_that_were_read_last():
    with RuleFile(BY_NAME) as zones, OpenBroker("--zone", zones.path) as broker:
        with Peer(broker, vm="a1") as a1, Peer(broker, vm="b1") as b1:
            zones.write(BY_NAME + "zone new name=?1\n")
            broker.hup()
            zones.write("nonsense\n")
            broker.die()
            assert a1.neighbours() == ids(b1)
            with Peer(broker, vm="c1") as c1, Peer(broker, vm="b2") as b2:
                assert c1.neighbours() == ids(a1, b1)
                assert b2.neighbours() == ids(b1)
            broker.until_peers(2)
            # And zones keep their bits: what is read now means the same to those who are here.
            zones.write("zone z name=z\nzone new name=c1\nzone b name=d1\n")
            assert broker.hup()["event"] == "rules"
            with Peer(broker, vm="c1") as c1, Peer(broker, vm="d1") as d1, \
                    Peer(broker, vm="z") as z:
                assert c1.neighbours() == ids(a1, b1)
                assert d1.neighbours() == ids(b1)
                assert z.neighbours() == set()


def doorbells_of_both_after(text, names):
    """A program is told of two IDs, keeps their doorbells, and all leave. Then {ID: whether who has
    it now can be rung by what it kept}, of peers with those names, in the order that they come."""
    with RuleFile(text) as zones, OpenBroker("--zone", zones.path, "--peers", "4") as broker:
        first = Peer(broker, vm="a1")
        spy = Peer(broker, vm="a2")
        assert (first.id, spy.id) == (1, 2) and spy.neighbours() == {1}
        kept = {bell for ident in (1, 2) for bell in spy.bells(ident)}
        spy.process.run("p.sock.close()")
        first.close()
        broker.until_peers(0)
        peers = [Peer(broker, vm=name) for name in names]
        said = {p.id: bool(kept & set(p.bells())) for p in peers}
        for p in peers:
            p.close()
        spy.close()
        return said


def test_doorbells_that_a_program_kept_ring_who_has_those_ids_later():
    """What zones are not; docs/security.md says why, and what to do."""
    said = doorbells_of_both_after(BY_NAME, ("b1", "b2", "b3", "b4"))
    assert said == {1: True, 2: True, 3: False, 4: False}, said


def test_where_zones_are_ranges_of_ids_kept_doorbells_ring_nobody_of_another():
    said = doorbells_of_both_after("zone low ids=1-2\nzone high ids=3-4\n", ("b1", "b2", "b3", "b4"))
    # Those of the zone that it was in itself, and no others.
    assert said == {1: True, 2: True, 3: False, 4: False}, said


if __name__ == "__main__":
    run_tests(globals())
