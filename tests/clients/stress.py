#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""stress.py - famez-stress: does it see what a server does wrong, and nothing where it does right?

Exit codes: 0 all accounted for, 1 lost, doubled or out of order, 2 usage, 3 could not join, 4 too
few descriptors.
"""

import csv
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import xml.etree.ElementTree

from programs import (HANG_SECONDS, Broker, Done, Live, LyingServer, OneAnswer, complains, folder,
                      program, run, run_tests, settings, stress)


def told_to(server, *words):
    """A run with a patience so short that a loss shows soon."""
    return stress(server, "--patience", "1", "--time", "0", *words)


def judged(done, *parts):
    """Assert exit 1 with one line on standard error that has all of these parts."""
    complains(done, 1, "famez-stress", *parts)


def finds_fault(parts, clients=4, vectors=2, **how):
    """A lying server is found out, at every stage, by every kind of run that gets that far."""
    for words in ([], ["--join-only"]):
        with LyingServer(clients, vectors, **how) as server:
            judged(told_to(server, "--peers", clients, *words), *parts)


def live_stress(broker, *words):
    return Live("famez-stress", "-S", broker.path, *words)


# ---------------------------------------------------------------- where all is well


def test_64_peers_with_4_vectors_lose_nothing():
    with Broker() as broker, folder() as place:
        file = os.path.join(place, "json")
        done = stress(broker, "--peers", 64, "--time", "0.3", "--seed", 77, "--json", file)
        assert done.code == 0, done
        for words in ("64 emulated VMs at", "seed 77", "full mesh", "16,384 vectors known",
                      "16,128 rung, arrived", "through FAME-Z", "raw eventfd", "p50", "p99",
                      "p99.9", "ratio", "us from"):
            assert words in done.out, f"no {words!r} in {done.out}"
        assert max(map(len, done.lines)) <= 80, max(done.lines, key=len)
        with open(file, encoding="utf-8") as f:
            text = f.read()
        assert text.endswith("}\n") and text.count("\n") == 1
        figures = json.loads(text)
        assert figures["exit"] == 0 and figures["verdict"] == "nothing lost"
        assert figures["program"] == "famez-stress" and figures["socket"] == broker.path
        assert (figures["peers"], figures["vectors"], figures["seed"]) == (64, 4, "77")
        assert figures["other_peers"] == 1  # the server itself
        assert figures["mesh_ns"] > 0 and figures["notices"] >= 63 * 64 * 4
        for times in (figures["joined_ns"], figures["ready_ns"]):
            assert times["count"] == 64 == sum(b[2] for b in times["buckets"])
            assert times["min"] <= times["p50"] <= times["p99.9"] <= times["max"]
        bells = figures["doorbells"]
        assert bells["all_pairs"] and bells["rung"] == bells["arrived"] == 64 * 63 * 4
        assert bells["copies_checked"] == bells["copies"] * 63 * 4 == 2 * 63 * 4
        assert bells["strays"] == 0
        trips = figures["round_trip_ns"]
        assert trips["rounds_p50"] and trips["ratio_p50"] > 0 and len(trips["cpus"]) == 2
        for way in ("fabric", "raw"):
            assert trips[way]["count"] == sum(b[2] for b in trips[way]["buckets"]) > 0
            assert all(low <= high for low, high, _ in trips[way]["buckets"])
        broker.until_peers(0)


def test_two_peers_are_enough_and_one_may_join():
    with Broker(vectors=1) as broker:
        done = stress(broker, "--peers", 2, "--time", "0")
        assert done.code == 0 and "2 rung, arrived" in done.out, done
        done = stress(broker, "--peers", 1, "--join-only")
        assert done.code == 0 and "1 emulated VM at" in done.out, done


def test_more_pairs_than_can_be_rung_are_rung_in_matchings():
    with Broker(vectors=2) as broker:
        done = stress(broker, "--peers", 20, "--time", "0", "--rounds", 5)
        assert done.code == 0 and "5 random matchings" in done.out, done
        assert "200 rung, arrived" in done.out


def test_join_only_rings_nobody():
    with Broker() as broker, folder() as place:
        file = os.path.join(place, "json")
        done = stress(broker, "--peers", 30, "--join-only", "--json", file)
        assert done.code == 0 and "doorbells" not in done.out, done
        with open(file, encoding="utf-8") as f:
            figures = json.load(f)
        assert figures["exit"] == 0 and "doorbells" not in figures
        assert "round_trip_ns" not in figures and figures["mesh_ns"] > 0
        assert not any(broker.report().vectors.values())
        broker.until_peers(0)


def test_hold_stays_until_it_is_told_to_end():
    for sign in (signal.SIGTERM, signal.SIGINT):
        with Broker(vectors=3) as broker, live_stress(broker, "--hold", "--peers", 25) as live:
            live.expect("holding 25 peers")
            peer = broker.member()
            assert len(peer.complete()) == 27  # they, the server, itself
            for ident in peer.complete() - {peer.id}:
                peer.ring(ident, 2)
            done = live.end(sign)
            assert done.code == 0 and not done.out and not done.err, done
            peer.until_exactly([peer.id, 1001])


def test_other_peers_are_seen_and_not_disturbed():
    with Broker("--silent") as broker, folder() as place:
        file = os.path.join(place, "json")
        peers = [broker.member() for _ in range(3)]
        done = stress(broker, "--peers", 10, "--time", "0", "--json", file)
        assert done.code == 0, done
        with open(file, encoding="utf-8") as f:
            assert json.load(f)["other_peers"] == 3
        assert not any(peer.rung(v) for peer in peers for v in range(4))


def test_it_leaves_nothing_behind():
    with Broker("--peers", "40") as broker, folder() as place:
        descriptors = broker.fd_count()
        for words in (["--time", "0"], ["--join-only"]):
            done = stress(broker, "--peers", 40, *words, cwd=place)
            assert done.code == 0, done
            broker.until_peers(0)
            broker.until_fds(descriptors + 40 * 4)  # IDs keep their eventfds
        assert os.listdir(place) == []


# ---------------------------------------------------------------- scenarios

SHORT = ["--time", "0.1", "--warm-up", "0.05", "--patience", "20"]
SCENARIOS = ["mesh", "pairs", "ring", "incast", "fanout", "storm", "churn", "stall", "bulk"]


def own(*words, **popen):
    """A run against a server that it starts itself."""
    return run("famez-stress", "--server", settings.server, *words, **popen)


def figures_of(*words, code=0):
    """(what it printed, its JSON)"""
    with folder() as place:
        file = os.path.join(place, "json")
        done = own(*words, "--json", file)
        assert done.code == code, done
        with open(file, encoding="utf-8") as f:
            return done, json.load(f)


def adds_up(figures):
    assert figures["unaccounted"] == 0 and figures["sent"] == figures["heard"] > 0
    for series in figures["series"]:
        times = series["latency_ns"]
        assert series["sent"] == series["heard"] > 0, series["name"]
        assert times["count"] == sum(b[2] for b in times.get("buckets", [])), series["name"]
        assert series["counted"] <= series["heard"]


def test_every_scenario_accounts_for_everything():
    for scenario in SCENARIOS:
        for processes in (1, 3):
            done, figures = figures_of(scenario, "--peers", 12, "--processes", processes, *SHORT)
            assert "all accounted for" in done.out and " 0 unaccounted" in done.out, done
            assert max(map(len, done.lines)) <= 80, max(done.lines, key=len)
            assert figures["scenario"] == scenario and figures["processes"] == processes
            adds_up(figures)
            names = [series["name"] for series in figures["series"]]
            assert names and all(name.startswith(scenario + ",") for name in names), names


def test_an_open_loop_keeps_its_rate_and_says_so():
    for scenario in ("mesh", "pairs", "ring", "incast", "fanout"):
        done, figures = figures_of(scenario, "--peers", 10, "--rate", 2000, "--time", "0.5",
                                   "--warm-up", "0.1", "--processes", 2)
        adds_up(figures)
        assert "open loop, 2000 a second" in done.out, done
        for series in figures["series"]:
            # 1,200 were meant, of a Poisson process; late ones count.
            assert 800 < series["sent"] < 1700, (series["name"], series["sent"])
            assert "from the time meant" in series["latency_is"] or "group" in series["name"]


def test_a_soak_does_all_of_it():
    _, figures = figures_of("soak", "--peers", 12, "--time", "2", "--patience", "20")
    adds_up(figures)
    seen = {series["name"].split(",")[0] for series in figures["series"]}
    assert seen == set(SCENARIOS), seen


def test_bells_or_messages_alone():
    _, figures = figures_of("mesh", "--peers", 8, "--with", "bells", *SHORT)
    assert [series["unit"] for series in figures["series"]] == ["doorbells"]
    _, figures = figures_of("mesh", "--peers", 8, "--with", "messages", "--size", 1000, *SHORT)
    (series,) = figures["series"]
    assert series["unit"] == "messages" and series["payload_bytes"] % 1000 == 0
    complains(own("bulk", "--with", "bells"), 2, "famez-stress", "bulk is of messages")
    complains(own("mesh", "--peers", 8, "--size", 100000000, *SHORT), 2, "famez-stress",
              "lanes take")


def test_a_server_without_lanes_is_rung_only():
    with Broker("--layout", "plain") as broker:
        done = stress(broker, "mesh", "--peers", 8, *SHORT)
        assert done.code == 0 and "mesh, doorbells" in done.out, done
        assert "messages" not in done.out.split("full mesh")[1], done
        complains(stress(broker, "mesh", "--peers", 8, "--with", "messages", *SHORT), 3,
                  "famez-stress", "no lanes")


def test_one_copy_of_each_eventfd_in_each_process():
    with Broker() as broker:
        live = live_stress(broker, "--hold", "--peers", 30, "--processes", 3)
        with live:
            live.expect("holding 30 peers")
            with open(f"/proc/{live.pid}/task/{live.pid}/children", encoding="ascii") as f:
                children = f.read().split()
            assert len(children) == 3
            for child in children:
                held = [os.readlink(f"/proc/{child}/fd/{fd}") for fd in
                        os.listdir(f"/proc/{child}/fd")]
                assert held.count("anon_inode:[eventfd]") == 31 * 4, held  # the server's, too
            done = live.end(signal.SIGTERM)
            assert done.code == 0, done
        broker.until_peers(0)


def test_its_own_server_leaves_nothing_behind():
    with folder() as place:
        env = dict(os.environ, XDG_RUNTIME_DIR=place)
        for words, code in (([], 0), (["--peers", "8", "--size", "100000000"], 2)):
            done = own("--peers", 8, *SHORT, *words, env=env)
            assert done.code == code, done
            assert os.listdir(place) == []
        with Live("famez-stress", "--server", settings.server, "--peers", 8, "--time", 3600,
                  env=env) as live:
            while not live.line().startswith("  doorbells"):
                pass
            done = live.end(signal.SIGINT)
            complains(Done(done.code, "", done.err.splitlines()[-1]), 1, "famez-stress",
                      "ended by a signal")
        assert os.listdir(place) == []


def test_csv_and_svg_say_what_json_says():
    with folder() as place:
        files = {kind: os.path.join(place, kind) for kind in ("json", "csv", "svg")}
        done = own("pairs", "--peers", 8, *SHORT,
                   *(word for kind, path in files.items() for word in (f"--{kind}", path)))
        assert done.code == 0, done
        with open(files["json"], encoding="utf-8") as f:
            figures = json.load(f)
        with open(files["csv"], encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f))
        assert [row["series"] for row in rows[2:]] == [s["name"] for s in figures["series"]]
        for row, series in zip(rows[2:], figures["series"]):
            assert int(row["heard"]) == series["heard"]
            assert int(row["p99_ns"]) == series["latency_ns"]["p99"]
        root = xml.etree.ElementTree.parse(files["svg"]).getroot()
        curves = root.findall("{http://www.w3.org/2000/svg}polyline")
        assert len(curves) == len(rows)
        for curve in curves:
            points = [tuple(map(float, p.split(","))) for p in curve.get("points").split()]
            assert all(x >= 0 for x, _ in points) and points == sorted(points, key=lambda p: p[0])
        for wanted in ("cpu", "kernel", "clock", "date", "cpus", "memory_bytes"):
            assert figures["machine"][wanted], wanted
        assert figures["method"] and figures["version"] and "famez-server" in figures["server"]
        assert figures["broker"]["memory_max_bytes"] > 0
        share = figures["cpu_a_doorbell_ns"]
        assert share["ours"] > 0 < share["bare"] and share["rounds"] > 0


# ---------------------------------------------------------------- servers that lose


def faulty(plan, *words, codes=(1,)):
    """A run against a server that is made to lose or double something."""
    binary = os.path.join(os.path.dirname(settings.server), "famez-server-faults")
    done = run("famez-stress", "--server", binary, "--patience", "2", "--time", "0.3", *words,
               env=dict(os.environ, FAMEZ_FAULT=plan))
    lines = done.err.splitlines()
    assert done.code in codes, f"{plan}: {done}"
    return lines[-1] if done.code else ""


def test_a_fault_build_without_a_fault_is_fine():
    for scenario in ("fanout", "mesh"):
        assert faulty("sendmsg:1000000:LOST", scenario, "--peers", 8, codes=[0]) == ""


def test_a_notice_that_was_lost_is_found_out_in_every_scenario():
    # 8 peers x 4 vectors, and the server's: some 300 notices. Some are of openings: who misses one
    # of those is not let in.
    plans = list(zip(("mesh", "pairs", "ring", "incast", "fanout", "storm", "churn", "stall",
                      "bulk", "soak"), (20, 77, 100, 120, 140, 150, 160, 170, 180, 200)))
    for scenario, nth in plans:
        said = faulty(f"sendmsg:{nth}:LOST", scenario, "--peers", 9, "--patience", 1,
                      codes=[1, 3])
        assert said.startswith("famez-stress: "), (scenario, said)


def test_a_notice_that_was_doubled_is_found_out():
    for nth in (61, 200):
        assert faulty(f"sendmsg:{nth}:TWICE", "mesh", "--peers", 8,
                      codes=[1, 3]).startswith("famez-stress: ")


def test_a_message_that_was_lost_is_found_out():
    for nth in (60, 333):
        assert re.search(r"group message \d+ of peer \d+ reached peer \d+ where \d+ was due",
                         faulty(f"relay:{nth}:LOST", "fanout", "--peers", 8))


# ---------------------------------------------------------------- servers that lie


def test_an_honest_server_is_believed():
    # The control of all the tests below: the same server, without a lie.
    for words in ([], ["--join-only"], ["--vectors", "2"], ["--time", "0.1"]):
        with LyingServer(4) as server:
            done = stress(server, "--time", "0", "--peers", 4, *words)
            assert done.code == 0, done


def test_a_vector_that_was_not_told_is_missed():
    # Of somebody else, of itself, of who was there before, of who came after.
    for case in ((2, 1), (3, 3), (0, 3), (3, 0)):
        def lie(to, about, vector, fd, case=case):
            return None if (to, about) == case and vector == 1 else fd
        with LyingServer(4, lie=lie) as server:
            judged(told_to(server, "--peers", 4, "--join-only"), "the mesh is incomplete: 1 of 32",
                   f"first: peer {case[0] + 1} knows 1 of the 2 vectors of peer {case[1] + 1}")


def test_a_peer_that_was_not_told_at_all_is_missed():
    def lie(to, about, _vector, fd):
        return None if (to, about) == (2, 1) else fd
    finds_fault(["the mesh is incomplete: 2 of 32", "peer 3 knows 0 of the 2 vectors of peer 2"],
                lie=lie)


def test_another_eventfd_for_any_vector_is_noticed():
    # Everyone but the witnesses compares; these, the first and the last, ring to find out.
    for to, about, vector in ((1, 2, 0), (2, 0, 1), (2, 3, 2), (1, 1, 2), (2, 2, 0), (2, 2, 1)):
        server = None

        def lie(to_, about_, vector_, fd, case=(to, about, vector)):
            return server.spare[0] if (to_, about_, vector_) == case else fd
        for words in ([], ["--join-only"]):
            with LyingServer(4, vectors=3, lie=lie) as server:
                done = told_to(server, "--peers", 4, *words)
                judged(done, "was sent other eventfds of peer")
                assert f"peer {about + 1} " in done.err and f"peer {to + 1}" in done.err, done


def test_another_eventfd_for_a_witness_is_noticed_when_it_rings():
    for to, about, vector in ((0, 2, 1), (3, 0, 0), (3, 1, 2)):
        server = None

        def lie(to_, about_, vector_, fd, case=(to, about, vector)):
            return server.spare[0] if (to_, about_, vector_) == case else fd
        with LyingServer(4, vectors=3, lie=lie) as server:
            judged(told_to(server, "--peers", 4), "did not arrive within 1 s",
                   f"peer {to + 1} rang peer {about + 1}, vector {vector}, through its own copy")


def test_an_owner_that_listens_elsewhere_is_noticed():
    # All are sent the same eventfd, only that it is not the one that its owner was given.
    for about in range(4):
        server = None

        def lie(to, about_, vector, fd, about=about):
            return server.spare[0] if about_ == about != to and vector == 1 else fd
        with LyingServer(4, lie=lie) as server:
            done = told_to(server, "--peers", 4)
            assert done.code == 1 and f"peer {about + 1}" in done.err, done


def test_one_eventfd_behind_two_vectors_or_two_peers_is_noticed():
    server = None

    def two_vectors(_to, about, vector, fd):
        return server.bells[2][0] if about == 2 and vector == 1 else fd

    def two_peers(_to, about, vector, fd):
        return server.bells[1][0] if about == 2 and vector == 0 else fd
    for lie in (two_vectors, two_peers):
        with LyingServer(4, lie=lie) as server:
            complains(told_to(server, "--peers", 4), 1, "famez-stress")


def test_an_id_given_twice_is_noticed():
    with LyingServer(3, ids=[5, 9, 5]) as server:
        judged(told_to(server, "--peers", 3), "gave ID 5 to two VMs")


def test_a_leave_of_somebody_who_is_here_is_noticed():
    with LyingServer(3) as server, live_stress(server, "--hold", "--peers", 3) as live:
        live.expect("holding 3 peers")
        server.send(1, server.ids[2])
        judged(live.end(), "peer 2 was told that peer 3 has left, which is still here")


def test_a_vector_told_too_late_is_noticed():
    with LyingServer(3) as server, live_stress(server, "--hold", "--peers", 3) as live:
        live.expect("holding 3 peers")
        server.send(1, server.ids[2], server.spare[0])
        judged(live.end(), "peer 2 was told vector 2 of peer 3 after the mesh")


def test_nonsense_is_noticed():
    with LyingServer(3) as server, live_stress(server, "--hold", "--peers", 3) as live:
        live.expect("holding 3 peers")
        server.send(1, 70000)
        judged(live.end(), "(peer 2) got nonsense from the server")


def test_another_number_of_vectors_than_asked_for_is_noticed():
    with Broker(vectors=4) as broker:
        judged(told_to(broker, "--peers", 3, "--vectors", 3), "4 vectors", "asks for 3")
        judged(told_to(broker, "--peers", 3, "--vectors", 5), "incomplete")


def test_a_ring_of_a_stranger_is_counted():
    def ring(server):
        os.eventfd_write(server.bells[0][1], 3)
    with LyingServer(3, and_then=ring) as server:
        judged(told_to(server, "--peers", 3), "rings arrived that nobody here sent")


# ---------------------------------------------------------------- not let in


def test_who_is_refused_says_so():
    with Broker("--peers", "8") as broker:
        complains(stress(broker, "--peers", 9), 3, "famez-stress", "refused VM 9 of 9")
        broker.until_peers(0)
        assert stress(broker, "--peers", 8, "--time", 0).code == 0


def test_where_nobody_serves_it_says_so():
    with folder() as place:
        path = os.path.join(place, "sock")
        complains(stress(path), 3, "famez-stress", f"no server at {path}")
    with OneAnswer(hangs=True) as stale:
        complains(stress(stale), 3, "famez-stress", f"no server at {stale.path}")
    with OneAnswer(b"\0" * 8) as server:
        complains(stress(server), 3, "famez-stress", "VM 1 of 64 cannot join")
    with OneAnswer(b"HTTP/1.1 400 Bad Request\r\n", stay=True) as server:
        complains(stress(server), 3, "famez-stress")


def test_a_server_that_says_nothing_is_given_up_after_the_patience():
    with OneAnswer(stay=True) as server:
        complains(told_to(server), 3, "famez-stress", "0 of 64 VMs are in", "nothing came for 1 s")


def test_a_server_that_takes_no_more_connections_is_given_up():
    with LyingServer(2) as server:
        complains(told_to(server, "--peers", 60), 3, "famez-stress", "2 of 60 VMs are in")


# ---------------------------------------------------------------- descriptors


def limited(broker, soft, hard, *words):
    """A run as somebody who may not raise the limit of open files."""
    with folder() as place:
        binary = os.path.join(place, "famez-stress")
        shutil.copy(program("famez-stress"), binary)
        for path in (place, binary, broker.dir):
            os.chmod(path, 0o755)
        os.chmod(broker.path, 0o777)
        user = 65534 if os.geteuid() == 0 else None
        done = subprocess.run(
            [binary, "-S", broker.path, *map(str, words)], capture_output=True, text=True,
            timeout=2 * HANG_SECONDS, check=False, stdin=subprocess.DEVNULL, user=user,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))
        return Done(done.returncode, done.stdout, done.stderr)


def test_too_few_descriptors_are_said_with_what_would_do():
    def with_300(peers, *words):
        return limited(broker, 300, 300, "--peers", peers, "--time", 0, *words)
    with Broker() as broker:
        for words in (["--vectors", 4], []):
            done = with_300(64, "--processes", 1, *words)
            complains(done, 4, "famez-stress", "64 peers x 4 vectors need", "may open 300",
                      "ulimit -n", "--peers")
        most = int(re.search(r"--peers (\d+) at most", done.err)[1])
        assert 2 <= most < 64
        # What it says is so: that many fit, and one more does not.
        broker.until_peers(0)
        done = with_300(most, "--processes", 1)
        assert done.code == 0, done
        done = with_300(most + 1, "--processes", 1)
        assert done.code == 4 and "--processes 2" in done.err, done
        # Not told how many processes, it takes as many as it needs.
        broker.until_peers(0)
        done = with_300(most + 1)
        assert done.code == 0 and "2 processes" in done.out, done


def test_the_soft_limit_is_raised_as_far_as_is_needed():
    with Broker() as broker:
        done = limited(broker, 64, 4096, "--peers", 64, "--time", 0)
        assert done.code == 0, done


# ---------------------------------------------------------------- the server ends meanwhile


def ended(done):
    complains(done, 1, "famez-stress", "the server is gone: it closed the connection of peer")


def test_a_server_killed_while_it_is_held_is_noticed():
    with Broker() as broker, live_stress(broker, "--hold", "--peers", 20) as live:
        live.expect("holding 20 peers")
        broker.kill()
        ended(live.end())


def test_a_broker_killed_in_the_middle_is_not_noticed():
    # The keeper has what the VMs hold; the next broker goes on.
    for scenario in ("mesh", "fanout", "churn"):
        with Broker("--peers", "20") as broker, \
                live_stress(broker, scenario, "--peers", 20, "--time", 1) as live:
            while not live.line().startswith("  doorbells"):
                pass
            before = broker.child
            os.kill(before, signal.SIGKILL)
            done = live.end()
            assert done.code == 0 and "all accounted for" in done.out, (scenario, done)
            assert f"{scenario}, messages" in done.out, (scenario, done)
            assert broker.child != before


def test_a_server_killed_during_the_round_trips_is_noticed_before_their_end():
    with Broker() as broker, live_stress(broker, "--peers", 8, "--time", 3600) as live:
        while not live.line().startswith("  doorbells"):
            pass
        broker.kill()
        ended(live.end())


def test_a_server_killed_amid_the_joins_is_noticed():
    def die(server):
        for conn in server.conns:
            conn.close()
    with LyingServer(3, and_then=die) as server:
        done = told_to(server, "--peers", 10)
        assert done.code in (1, 3), done  # those that wait in the queue are not in
        complains(done, done.code, "famez-stress")
    with LyingServer(3, and_then=die) as server:
        # With all of them in, and the mesh complete or nearly so.
        complains(told_to(server, "--peers", 3), 1, "famez-stress")


def test_a_server_that_stops_amid_the_joins_is_given_up_after_the_patience():
    with Broker(verbose=1) as broker:
        live = live_stress(broker, "--peers", 1000, "--join-only", "--patience", 2)
        with live:
            broker.wait_event("join")  # any: the log leaves lines out of a flood
            os.kill(broker.child, signal.SIGSTOP)
            done = live.end()
            os.kill(broker.child, signal.SIGCONT)
        assert done.code in (1, 3), done
        complains(Done(done.code, "", done.err.splitlines()[-1]), done.code, "famez-stress",
                  "2 s")
        broker.until_peers(0)


# ---------------------------------------------------------------- the command line


def test_wrong_options_are_wrong_usage_in_one_line():
    for words, part in (
            (["--nope"], "--nope"), (["word"], "'word'"), (["--peers"], "--peers takes a value"),
            (["--peers", "0"], "1 to 65536"), (["--peers", "65537"], "1 to 65536"),
            (["--peers", "-1"], "'-1'"), (["--peers", "4x"], "'4x'"),
            (["--vectors", "0"], "1 to 2048"), (["--vectors", "2049"], "1 to 2048"),
            (["--rounds", "0"], "--rounds"), (["--time", "-1"], "--time"),
            (["--time", "long"], "'long'"), (["--time", "nan"], "'nan'"),
            (["--patience", "0.5"], "--patience"), (["--seed", "x"], "--seed"),
            (["--peers", "1"], "nobody to ring"), (["--hold", "--join-only"], "choose one"),
            (["-S", ""], "--socketpath"), (["-S", "x" * 108], "107 bytes"),
            (["--json", "/nonexistent/file"], "/nonexistent/file")):
        done = run("famez-stress", *words)
        complains(done, 2, "famez-stress", part)
        assert not done.out, done


def test_without_a_server_to_start_it_says_so():
    with folder() as place:
        binary = os.path.join(place, "famez-stress")
        shutil.copy(program("famez-stress"), binary)
        done = run("famez-stress", "--peers", 2, binary=binary, env={"PATH": place})
        complains(done, 3, "famez-stress", "cannot run famez-server: No such file")
        done = run("famez-stress", "--server", "/bin/false", "--peers", 2)
        complains(done, 3, "famez-stress", "the server did not start")


def test_help_fits_a_terminal():
    done = run("famez-stress", "--help")
    assert done.code == 0 and not done.err and run("famez-stress", "-h").out == done.out
    assert len(done.lines) <= 23, f"{len(done.lines)} lines leave no room for the next prompt"
    assert max(map(len, done.lines)) <= 80
    for name in ("socketpath", "connect", "vm", "agent", "server", "peers", "vectors", "processes", "with", "size", "rate",
                 "time", "warm-up", "rounds", "seed", "join-only", "hold", "patience", "json",
                 "csv", "svg", "help", "version"):
        assert f"--{name}" in done.out, name


def test_manual_completion_and_help_have_the_same_options():
    # A source tree is where the tests are.
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    with open(os.path.join(root, "docs", "man", "famez-stress.1"), encoding="utf-8") as f:
        manual = set(re.findall(r"^\.It .*Fl Fl ([a-z-]+)", f.read(), re.MULTILINE))
    with open(os.path.join(root, "tools", "stress", "famez-stress.bash"), encoding="utf-8") as f:
        completion = f.read().partition("*)")[2]
    assert manual == set(re.findall(r"--([a-z-]+)", completion.partition('-- "')[0]))
    said = set(re.findall(r"--([a-z-]+)", run("famez-stress", "--help").out))
    assert said <= manual and manual - said == {"scenario"}, said ^ manual
    for name in manual:
        done = run("famez-stress", f"--{name}", "--help")
        assert "no option" not in done.err, name
    words = subprocess.run(
        ["bash", "-c", f". {root}/tools/stress/famez-stress.bash; COMP_WORDS=(famez-stress --with b); "
         "COMP_CWORD=2; _famez_stress; echo ${COMPREPLY[*]}"], capture_output=True, text=True,
        check=True, timeout=HANG_SECONDS).stdout
    assert words == "bells both\n", words


def test_the_version_is_one_line():
    done = run("famez-stress", "--version")
    assert done.code == 0 and re.fullmatch(r"famez-stress \d+\.\d+\.\d+\n", done.out), done


def test_output_that_cannot_be_written_is_a_failure():
    with Broker() as broker, open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run(
            [program("famez-stress"), "-S", broker.path, "--peers", "2", "--join-only"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=HANG_SECONDS)
        complains(Done(done.returncode, "", done.stderr), 1, "famez-stress", "output")
        done = stress(broker, "--peers", 2, "--join-only", "--json", "/dev/full")
        complains(done, 1, "famez-stress", "cannot write /dev/full: No space left")


if __name__ == "__main__":
    run_tests(globals())
