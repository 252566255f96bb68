#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""binds.py - an ID that is kept for a VM: whatever happens meanwhile, it comes back as the same
peer, and is reached through the doorbells that others were told of long ago.

The VMs are processes that look like a QEMU, with its -name and -uuid; RawPeer asserts that a
device is never told anything twice.
"""

import contextlib
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import Skip, run_once, run_tests  # noqa: E402
from rules import ALICE, BOB, OpenBroker, Peer, RuleFile, needs_root  # noqa: E402

WEB1 = "8a3c1e2f-52b0-4a51-9d5d-0e6f3f6a7b11"


def test_a_vm_that_reboots_is_the_same_peer_for_all():
    with RuleFile("id=5 name=web1\n") as ids, OpenBroker("--bind", ids.path) as broker:
        with Peer(broker, vm="db") as db:
            bells = None
            for _ in range(4):
                with Peer(broker, vm="web1") as web:
                    assert web.id == 5
                    assert 5 in db.neighbours()
                    bells = bells or web.bells()
                    assert web.bells() == bells == db.bells(5)
                    db.rings(web)
                    web.knows()
                    web.rings(db)
                # Others come and go meanwhile, more than there are other IDs.
                for _ in range(15):
                    broker.join().leave()
                broker.until_peers(1)


def test_an_id_is_kept_by_name_by_uuid_or_by_user():
    needs_root()
    text = f"id=3 uuid={WEB1.upper()}\nid=4 name=web? uid={ALICE}\nid=5 uid={BOB}\n"
    with RuleFile(text) as ids, OpenBroker("--bind", ids.path) as broker:
        with Peer(broker, vm="x", uuid=WEB1) as p:
            assert p.id == 3
        with Peer(broker, ALICE, vm="web7") as p:
            assert p.id == 4
        with Peer(broker, BOB) as p:
            assert p.id == 5
        # A name alone would do for anybody who may connect; with a user it does not.
        with Peer(broker, BOB, vm="web7") as p:
            assert p.id == 5
        with Peer(broker, vm="web7") as p:
            assert p.id not in (3, 4, 5)


def test_what_a_plain_client_says_of_itself_does_not_count():
    with RuleFile("id=3 name=web1\n") as ids, \
            OpenBroker("--bind", ids.path, "--device-names", "nothing") as broker:
        with Peer(broker, vm="web1") as p:
            assert p.id != 3


def test_nobody_else_is_given_a_bound_id():
    with RuleFile("id=1 name=web1\nid=3 name=web3\n") as ids, \
            OpenBroker("--bind", ids.path, "--peers", "4") as broker:
        others = [broker.join() for _ in range(2)]
        assert {p.id for p in others} == {2, 4}
        with Peer(broker, vm="web9", join=False) as p:
            assert p.is_refused()
        assert len(broker.refused("full")) == 1
        with Peer(broker, vm="web3") as p:
            assert p.id == 3
        for p in others:
            p.leave()


def test_several_lines_may_keep_several_ids_for_the_devices_of_one_vm():
    text = "id=2 name=web1\nid=4 name=web1\n"
    with RuleFile(text) as ids, OpenBroker("--bind", ids.path) as broker:
        with Peer(broker, vm="web1") as first:
            first.process.run("q = RawPeer(path, device=True, vectors=4)\nq.open()")
            assert (first.id, first.process.ask("q.id")) == (2, 4)


def test_while_the_old_one_still_ends_the_new_one_waits():
    with RuleFile("id=5 name=web1\n") as ids, OpenBroker("--bind", ids.path) as broker:
        old = Peer(broker, vm="web1")
        with Peer(broker, vm="web1", join=False) as new:
            assert broker.join().id != 5  # others don't wait with it
            broker.report()
            assert not new.process.ask("p.pending()")
            old.close()
            assert new.join() == 5


def test_one_who_gives_up_waiting_is_in_nobodys_way():
    with RuleFile("id=5 name=web1\n") as ids, OpenBroker("--bind", ids.path) as broker:
        old = Peer(broker, vm="web1")
        for _ in range(3):
            Peer(broker, vm="web1", join=False).close()
        with Peer(broker, vm="web1", join=False) as new:
            old.close()
            assert new.join() == 5


def test_where_the_old_one_stays_the_new_one_is_refused_in_the_end():
    with RuleFile("id=5 name=web1\n") as ids, OpenBroker("--bind", ids.path) as broker:
        with Peer(broker, vm="web1") as old, Peer(broker, vm="web1", join=False) as new:
            assert new.is_refused()
            assert broker.refused("bound") == [(new.pid, 0)]
            assert old.knows() == {5, broker.server_id()}
            assert broker.report()["refused_bound"] == 1


def test_so_many_wait_and_no_more():
    with RuleFile("id=5 uid=0\n") as ids, OpenBroker("--bind", ids.path) as broker:
        first = broker.join()
        assert first.id == 5
        waiting = [broker.connect() for _ in range(66)]
        broker.until("two were too many", lambda: broker.report()["refused_bound"] == 2)
        assert not any(p.pending() for p in waiting[:64])
        for p in waiting[1:]:
            p.close()
        first.leave()
        waiting[0].open()
        assert waiting[0].id == 5


def test_the_file_is_read_again_at_sighup():
    with RuleFile("id=5 name=web1\n") as ids, \
            OpenBroker("--bind", ids.path, "--peers", "12") as broker:
        with Peer(broker, vm="web2") as web2:
            assert web2.id == 1
            ids.write("id=1 name=web1\nid=6 name=web2\n")
            assert broker.hup()["bound"] == "2"
            assert web2.knows() == {1, broker.server_id()}, "who is here keeps its ID"
        with Peer(broker, vm="web1") as web1, Peer(broker, vm="web2") as web2:
            assert (web1.id, web2.id) == (1, 6)
            ids.write("id=1 name=web1\nid=70 name=web2\n")
            wrong = broker.hup()
            assert wrong["event"] == "rules-wrong"
            assert "line 2" in wrong["error"] and "id=70" in wrong["error"]
        broker.until_peers(0)
        with Peer(broker, vm="web2") as web2:
            assert web2.id == 6
        # An ID that is kept no longer is given to whoever comes, in its turn.
        ids.write("")
        broker.hup()
        broker.until_peers(0)
        got = [broker.join() for _ in range(12)]
        assert {1, 6} <= {p.id for p in got}


def test_a_wrong_file_is_a_wrong_option():
    with RuleFile("id=5\n") as ids:
        for extra in ([], ["--check"]):
            status, _, err = run_once("--bind", ids.path, *extra)
            assert status == 2 and "line 1" in err and err.count("\n") == 1, err
        ids.write("id=65 uid=1\n")  # there is room for 64
        status, _, err = run_once("--bind", ids.path)
        assert status == 2 and "1 to 64" in err, err
    status, _, err = run_once("--bind", "/nonexistent/ids")
    assert status == 2 and "/nonexistent/ids" in err, err


def test_a_dead_brokers_successor_keeps_ids_for_the_same_vms():
    with RuleFile("id=5 name=web1\n") as ids, OpenBroker("--bind", ids.path) as broker:
        with Peer(broker, vm="db") as db:
            with Peer(broker, vm="web1") as web1:
                db.neighbours()
                broker.die()
                db.rings(web1)
            # What was read is in force, whatever has become of the file.
            ids.write("nonsense\n")
            broker.until_peers(1)
            broker.die()
            for _ in range(15):
                other = broker.join()
                assert other.id != 5
                other.leave()
            broker.until_peers(1)
            with Peer(broker, vm="web1") as web1:
                assert web1.id == 5
                db.knows()
                db.rings(web1)
                assert "line 1" in broker.hup()["error"]


def test_one_who_waits_when_the_broker_dies_gets_its_id_from_the_next():
    with RuleFile("id=5 name=web1\n") as ids, OpenBroker("--bind", ids.path) as broker:
        old = Peer(broker, vm="web1")
        with Peer(broker, vm="web1", join=False) as new:
            broker.report()
            broker.die()
            broker.report()
            assert not new.process.ask("p.pending()")
            old.close()
            assert new.join() == 5


def lookers(broker):
    """In the order in which they were started."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", encoding="ascii") as f:
            text = f.read()
            name = text[text.index("(") + 1:text.rindex(")")]
            parent = int(text[text.rindex(")") + 2:].split()[1])
            if name == "famez-looker" and parent == broker.child:
                found.append(int(entry))
    return sorted(found)


def test_a_command_line_that_cant_be_read_holds_up_nobody_else():
    # A looker that is stopped is one that hangs: which of them is asked next is the broker's.
    text = "id=5 name=web1\nid=6 name=web2\n"
    with RuleFile(text) as ids, OpenBroker("--bind", ids.path) as broker:
        spare = lookers(broker)[1:]
        if not spare:
            raise Skip("without a sandbox there are no lookers")
        assert len(spare) == 3
        try:
            with Peer(broker, vm="web1", connect=False) as hung, \
                    Peer(broker, vm="web2", connect=False) as web2, \
                    Peer(broker, vm="other", connect=False) as other:
                os.kill(spare[0], signal.SIGSTOP)
                hung.connect()
                web2.connect()
                assert web2.join() == 6
                broker.report()
                assert not hung.process.ask("p.pending()")
                for pid in spare[1:]:
                    os.kill(pid, signal.SIGSTOP)
                # Nobody can be read: who is no VM comes in all the same.
                other.connect()
                assert broker.join().id not in (5, 6)
                for pid in spare:
                    os.kill(pid, signal.SIGCONT)
                assert hung.join() == 5
                assert other.join() not in (5, 6)
        finally:
            for pid in spare:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def test_one_whose_command_line_is_never_read_counts_as_one_without_a_name():
    with RuleFile("id=5 name=web1\n") as ids, OpenBroker("--bind", ids.path) as broker:
        spare = lookers(broker)[1:]
        if not spare:
            raise Skip("without a sandbox there are no lookers")
        for pid in spare:
            os.kill(pid, signal.SIGSTOP)
        with Peer(broker, vm="web1") as p:
            assert p.id != 5
        broker.kill()


if __name__ == "__main__":
    run_tests(globals())
