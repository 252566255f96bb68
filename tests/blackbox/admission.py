#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""admission.py - who is let in: by user, by group, and by how many of a user there are.

Real clients of several users, so it needs root. Whoever is refused reads a version of -1, and the
log says who it was and why.
"""

import os
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import look_until, run_tests  # noqa: E402
from rules import ALICE, BOB, CAROL, CREW, OpenBroker, Peer, needs_root  # noqa: E402


def refused(broker, *who, **how):
    """A peer that is refused. Returns its pid."""
    with Peer(broker, *who, join=False, **how) as peer:
        assert peer.is_refused(), "it was let in"
        return peer.pid


def welcome(broker, *who, **how):
    with Peer(broker, *who, **how):
        pass


def test_only_users_on_the_list_are_let_in():
    needs_root()
    with OpenBroker("--allow-uid", f"{ALICE},{CAROL}") as broker:
        welcome(broker, ALICE)
        welcome(broker, CAROL)
        gone = [refused(broker, BOB), refused(broker, BOB, device=True), refused(broker, 0)]
        assert broker.report()["refused_not_allowed"] == 3
        assert broker.refused("not-allowed") == [(gone[0], BOB), (gone[1], BOB), (gone[2], 0)]


def test_groups_count_whether_first_or_supplementary():
    needs_root()
    with OpenBroker("--allow-gid", str(CREW)) as broker:
        welcome(broker, ALICE, gid=CREW)
        welcome(broker, ALICE, groups=[61101, CREW, 61102])
        welcome(broker, ALICE, groups=range(62000, 62000 + 400), gid=CREW)
        refused(broker, ALICE)
        refused(broker, ALICE, groups=range(62000, 62000 + 400))
        assert broker.report()["refused_not_allowed"] == 2


def test_a_user_or_a_group_will_do():
    needs_root()
    with OpenBroker("--allow-uid", str(ALICE), "--allow-gid", str(CREW)) as broker:
        welcome(broker, ALICE)
        welcome(broker, BOB, groups=[CREW])
        refused(broker, BOB)


def test_a_user_has_so_many_peers_at_once():
    needs_root()
    with OpenBroker("--max-per-uid", "2") as broker, Peer(broker, BOB), Peer(broker, ALICE) as a:
        with Peer(broker, ALICE, device=True):
            pid = refused(broker, ALICE)
            assert broker.refused("max-per-uid") == [(pid, ALICE)]
            welcome(broker, BOB)
        broker.until_peers(2)
        welcome(broker, ALICE)
        assert a.id and broker.report()["refused_quota"] == 1


def test_who_is_refused_for_another_reason_does_not_count():
    needs_root()
    with OpenBroker("--max-per-uid", "2", "--peers", "1") as broker:
        with Peer(broker, ALICE):
            for _ in range(4):
                refused(broker, ALICE)
            assert len(broker.refused("full")) == 4
        broker.until_peers(0)
        welcome(broker, ALICE)


def test_a_user_joins_so_often_in_a_second():
    """With one a second: of joins one after the other one is refused before long, and later one is
    let in again."""
    needs_root()
    with OpenBroker("--joins-per-second", "1") as broker:
        def let_in(uid):
            with Peer(broker, uid, join=False) as peer:
                return not peer.is_refused()

        look_until("a join is refused", lambda: not let_in(ALICE))
        assert {uid for _, uid in broker.refused("joins-per-second")} == {ALICE}
        assert let_in(BOB), "others have to do with it"
        look_until("a join is let in again", lambda: let_in(ALICE))
        assert broker.report()["refused_quota"] >= 1


def test_a_dead_brokers_successor_counts_those_who_are_here():
    needs_root()
    with OpenBroker("--max-per-uid", "2", "--allow-uid", f"{ALICE},{BOB}") as broker:
        with Peer(broker, ALICE), Peer(broker, ALICE, device=True):
            broker.until_peers(2)
            broker.die()
            refused(broker, ALICE)
            refused(broker, CAROL)
            welcome(broker, BOB)
        broker.until_peers(0)
        with Peer(broker, ALICE), Peer(broker, ALICE):
            refused(broker, ALICE)


def test_the_sockets_group_may_connect_and_nobody_else():
    needs_root()
    with OpenBroker("--socket-group", str(CREW)) as broker:
        # As the test's broker was given a mode, that one counts.
        st = os.stat(broker.path)
        assert st.st_gid == CREW and stat.S_IMODE(st.st_mode) == 0o666
    with OpenBroker("--socket-group", str(CREW), mode=None) as broker:
        st = os.stat(broker.path)
        assert st.st_gid == CREW and stat.S_IMODE(st.st_mode) == 0o660
        welcome(broker, ALICE, groups=[CREW])
        try:
            welcome(broker, ALICE)
        except AssertionError as err:
            assert "PermissionError" in str(err)
        else:
            raise AssertionError("a stranger got in")


if __name__ == "__main__":
    run_tests(globals())
