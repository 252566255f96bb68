#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""own_sockets.py - an ID with a socket of its own: whoever comes there gets that ID, and no other,
whatever becomes of the broker and of the file meanwhile.
"""

import os
import signal
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from fabric import Broker, RawPeer, Refused, Skip, listening, run_once, run_tests  # noqa: E402
from rules import ALICE, BOB, OpenBroker, Peer, RuleFile, needs_root  # noqa: E402


class Here(OpenBroker):
    """A broker with a file of rules, whose {0}, {1} ... are paths in its directory."""

    def __init__(self, text, *options, **how):
        self.rules = RuleFile("")
        self.text = text
        super().__init__("--bind", self.rules.path, *options, **how)

    def start(self, ready=True):
        self.write(self.text)
        super().start(ready)

    def at(self, nth):
        return os.path.join(self.dir, f"own{nth}.sock")

    def write(self, text):
        self.rules.write(text.format(*(self.at(n) for n in range(5))))

    def change(self, text):
        """Have other rules read; returns what the log says of them."""
        self.needs_keeper()
        self.write(text)
        mark = self.mark()
        os.kill(self.pid, signal.SIGHUP)
        return self.log.entries[self.log.wait_any(("rules", "rules-wrong"), mark)]

    def needs_keeper(self):
        if self.child == self.pid and "--no-keeper" not in self.options:
            raise Skip("this build has no keeper")

    def come(self, nth, device=False):
        p = RawPeer(self.at(nth), vectors=self.vectors, device=device)
        self.peers.append(p)
        return p

    def join_at(self, nth, device=False):
        p = self.come(nth, device)
        p.open()
        return p

    def is_refused_at(self, nth):
        p = self.come(nth)
        try:
            p.open()
        except Refused:
            return True
        return False

    def __exit__(self, *how):
        self.rules.remove()
        return super().__exit__(*how)


def test_who_comes_by_it_has_that_id_and_nobody_else():
    with Here("id=5 socket={0}\nid=2 socket={1}\n", "--peers", "12") as broker:
        for _ in range(3):
            a, b = broker.join_at(0), broker.join_at(1, device=True)
            assert (a.id, b.id) == (5, 2)
            others = [broker.join() for _ in range(10)]
            assert not {p.id for p in others} & {2, 5}
            a.until_knows(2, *(p.id for p in others))
            for p in (a, b, *others):
                p.leave()
            broker.until_peers(0)


def test_a_taken_id_is_refused_where_its_owner_stays():
    with Here("id=5 socket={0}\n") as broker:
        first = broker.join_at(0)
        assert broker.is_refused_at(0)
        assert broker.refused("bound") == [(os.getpid(), os.getuid())]
        # The second comes while the first still ends, as a VM that is started anew.
        second = broker.come(0)
        broker.report()
        assert not second.pending()
        first.leave()
        second.open()
        assert second.id == 5


def test_whom_the_rest_of_the_line_does_not_fit_is_refused():
    needs_root()
    with Here(f"id=5 socket={{0}} uid={ALICE}\nid=6 socket={{1}} name=web1\n") as broker:
        with Peer(broker, BOB, join=False) as p:
            p.process.run(f"p.close(); p = RawPeer({broker.at(0)!r}, vectors=4)")
            assert p.is_refused()
            assert broker.refused("not-allowed") == [(p.pid, BOB)]
        with Peer(broker, ALICE, join=False) as p:
            p.process.run(f"p.close(); p = RawPeer({broker.at(0)!r}, vectors=4)")
            assert p.join() == 5
        with Peer(broker, vm="web1", join=False) as p:
            p.process.run(f"p.close(); p = RawPeer({broker.at(1)!r}, vectors=4, device=True)")
            assert p.join() == 6
        # By the fabric's own socket the lines mean nothing.
        with Peer(broker, vm="web1") as p:
            assert p.id not in (5, 6)


def test_mode_and_owner_are_those_of_the_fabrics_socket():
    needs_root()
    with Here("id=5 socket={0}\n", "--socket-owner", f"{ALICE}:{BOB}", mode="0620") as broker:
        for path in (broker.path, broker.at(0)):
            st = os.stat(path)
            assert stat.S_ISSOCK(st.st_mode)
            assert (st.st_mode & 0o7777, st.st_uid, st.st_gid) == (0o620, ALICE, BOB), path


def test_sockets_come_and_go_with_the_file_and_nobody_notices():
    with Here("id=5 socket={0}\nid=6 socket={1}\n") as broker:
        a, b = broker.join_at(0, device=True), broker.join_at(1, device=True)
        done = broker.change("id=6 socket={1}\nid=7 socket={2}\n")
        assert done["event"] == "rules" and done["sockets"] == "2", done
        assert not os.path.exists(broker.at(0))
        c = broker.join_at(2, device=True)
        assert c.id == 7
        a.until_knows(6, 7)
        a.ring(7, 0)
        assert c.wait(0) == 1
        b.leave()
        broker.until_peers(2)
        assert broker.join_at(1).id == 6
        # A socket may be another ID's from now on, and another may be an ID's.
        done = broker.change("id=5 socket={2}\nid=7 socket={0}\nid=6 socket={1}\n")
        assert done["event"] == "rules" and done["sockets"] == "3", done
        a.leave()
        c.leave()
        broker.until_peers(1)
        assert (broker.join_at(2).id, broker.join_at(0).id) == (5, 7)
        assert not broker.events("died")


def test_a_change_that_cant_be_made_changes_nothing():
    with Here("id=5 socket={0}\n") as broker:
        with open(broker.at(1), "w", encoding="ascii"):
            pass
        broker.may_stay.add(os.path.basename(broker.at(1)))
        done = broker.change("id=6 socket={2}\nid=7 socket={1}\n")
        assert done["event"] == "rules-wrong" and "is no socket" in done["error"], done
        assert not os.path.exists(broker.at(2))
        assert broker.join_at(0).id == 5
        other = broker.join()
        done = broker.change("id=6 socket={2}\nid=6 socket={1}\n")
        assert done["event"] == "rules-wrong" and "line 2" in done["error"], done
        other.leave()
        broker.until_peers(1)
        # Another server's socket is not taken, and one that was left behind is.
        with Broker() as living:
            done = broker.change("id=7 socket=" + living.path + "\n")
            assert done["event"] == "rules-wrong" and "living server" in done["error"], done
            assert living.join().id == 1


def test_they_outlive_the_broker():
    with Here("id=5 socket={0}\nid=6 socket={1}\n") as broker:
        broker.needs_keeper()
        a = broker.join_at(0, device=True)
        broker.write("nonsense\n")
        for _ in range(3):
            broker.die()
            b = broker.join_at(1)
            assert b.id == 6
            a.until_knows(6)
            b.leave()
            broker.until_peers(1)
        # Who comes while nobody serves is answered by the next broker.
        os.kill(broker.child, signal.SIGSTOP)
        waits = broker.come(1)
        mark = broker.mark()
        os.kill(broker.child, signal.SIGKILL)
        broker.wait_event("resumed", mark)
        waits.open()
        assert waits.id == 6


def test_they_outlive_an_upgrade():
    with Here("id=5 socket={0}\n") as broker:
        broker.needs_keeper()
        a = broker.join_at(0, device=True)
        mark = broker.mark()
        status, _, err = run_once("--upgrade", "-S", broker.path)
        assert status == 0, err
        broker.wait_event("resumed", mark)
        done = broker.change("id=5 socket={0}\nid=6 socket={1}\n")
        assert done["event"] == "rules", done
        assert broker.join_at(1).id == 6
        a.until_knows(6)


def test_their_names_go_with_the_server():
    with Here("id=5 socket={0}\n") as broker:
        broker.change("id=5 socket={0}\nid=6 socket={1}\n")
        waits = broker.come(1)
        waits.open()
        os.kill(broker.pid, signal.SIGKILL)
        broker.process.wait()
        # What a killed server left behind is taken over by the next one.
        assert os.path.exists(broker.at(0)) and os.path.exists(broker.at(1))
        with Broker("--bind", broker.rules.path, path=broker.path) as after:
            back = RawPeer(broker.at(1))
            back.open()
            assert back.id == 6
            back.close()
            after.stop()
        assert not os.path.exists(broker.at(0)) and not os.path.exists(broker.at(1))
        broker.stopped = True


def test_without_a_keeper_they_change_at_a_start_only():
    with Here("id=5 socket={0}\n", "--no-keeper") as broker:
        assert broker.join_at(0).id == 5
        done = broker.change("id=5 socket={1}\n")
        assert done["event"] == "rules-wrong" and "--no-keeper" in done["error"], done
        assert listening(broker.at(0)) and not os.path.exists(broker.at(1))


def test_a_crowd_at_one_keeps_nobody_from_another():
    with Here("id=5 socket={0}\nid=6 socket={1}\n", "--peers", "64") as broker:
        crowd = [broker.come(0) for _ in range(200)]
        assert broker.join_at(1).id == 6
        assert broker.join().id
        for p in crowd:
            p.close()


def test_a_wrong_line_is_a_wrong_option():
    for text, says in (("id=5 socket=web.sock\n", "whole path"),
                       ("id=5 socket=/" + 110 * "x" + "\n", "at most 107 bytes"),
                       ("id=5 socket=/a\nid=6 socket=/a\n", "line 2"),
                       ("id=5 socket=/a\nid=5 socket=/b\n", "line 2")):
        with RuleFile(text) as ids:
            status, _, err = run_once("--bind", ids.path, "--check")
            assert status == 2 and says in err and err.count("\n") == 1, err
    with RuleFile("id=5 socket=/nonexistent/own\n") as ids:
        status, _, err = run_once("--bind", ids.path)
        assert status == 1 and "/nonexistent/own" in err and err.count("\n") == 1, err


if __name__ == "__main__":
    run_tests(globals())
