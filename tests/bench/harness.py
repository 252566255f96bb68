#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""harness.py - bench/compare and bench/report: statistics, projections, pages, and tiny real runs.

    harness.py                      what needs no program
    harness.py --build build/NAME   and small comparisons with that build's programs
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "bench"))

# pylint: disable=wrong-import-position
from harness import (blocks, figures, fits, keep, message_tables, messages, pages, projection,
                     scale_tables, server_tables, servers, systems)


def run_of(system, nth, **values):
    return {"measurement": "mesh", "size": "2x1", "system": system, "round": (1, nth), **values}


def mesh_runs():
    """Three rounds of two systems; the second round was bad for both."""
    for nth, (ours, theirs) in enumerate(((10, 20), (30, 90), (12, 16))):
        for system, cpu in (("famez-1", ours), ("stock", theirs)):
            yield run_of(system, nth, server_cpu_ns=cpu * 1000, notices=10, wall_ns=cpu * 5000,
                         complete=True)


def test_a_figure_is_the_median_with_the_lowest_and_the_highest():
    assert figures.of([{"x": 3}, {"x": 1}, {"x": 9}], "x").text() == "3.00 (1.00-9.00)"
    assert figures.of([{"x": None}], "x").text() == "-"


def test_a_ratio_is_made_within_each_round():
    runs = list(mesh_runs())
    ours = [run for run in runs if run["system"] == "famez-1"]
    theirs = [run for run in runs if run["system"] == "stock"]
    ratio = figures.ratio(ours, theirs, server_tables.cpu_us)
    assert ratio.text() == "0.50 (0.33-0.75)"


def test_a_ratio_leaves_out_rounds_that_one_lacks():
    runs = list(mesh_runs())
    ours = [run for run in runs if run["system"] == "famez-1"]
    assert len(figures.ratio(ours, runs[1:2], "wall_ns").values) == 1
    assert figures.ratio(ours, [], "wall_ns").values == []


def test_an_exponent_is_that_of_the_power():
    for power in (0, 0.5, 1, 2):
        found = fits.exponent([(x, 7 * x ** power) for x in (10, 100, 1000, 4000)])
        assert math.isclose(found, power, abs_tol=1e-9), (power, found)
    assert fits.exponent([(10, 1)]) is None
    assert fits.exponent([(10, -1), (20, 0)]) is None


def test_a_line_goes_through_points_of_a_line():
    a, b = fits.line([(x, 3 + 0.25 * x) for x in (10, 100, 1000, 4000)])
    assert math.isclose(a, 3, rel_tol=1e-9) and math.isclose(b, 0.25, rel_tol=1e-9)
    assert fits.line([(5, 1), (5, 2)]) is None


def test_the_small_points_count_in_a_line_as_much_as_the_large():
    a, b = fits.line([(1, 2), (10, 11), (1000, 1200)])
    assert abs(a + b - 2) / 2 < 0.1 and abs(a + 1000 * b - 1200) / 1200 < 0.25


def scale_runs():
    for peers in (10, 100, 1000, 4000):
        yield {"measurement": "scale", "size": f"{peers}x1", "system": "famez-1", "clients": peers,
               "round": (1, 0), "load": 0.5, "join_cpu_ns": 1e6 + 7e3 * peers,
               "told_p50_ns": 2e6 + 8e3 * peers, "ready_p50_ns": 1e6 + 3e3 * peers,
               "leave_cpu_ns": 1e6 + 4e3 * peers, "left_p50_ns": 1e6 + 4e3 * peers,
               "kernel_bytes": (1 << 20) + 8192 * peers, "descriptors": 90 + 2 * peers,
               "fabric_p50_ns": 50000, "message_sleep_p50_ns": 52000,
               "message_poll_p50_ns": 300, "grow_notices": peers * peers,
               "grow_cpu_ns": 3000 * peers * peers}
        yield {"measurement": "scale-memory", "size": f"{peers}x1", "system": "famez-1",
               "round": (1, 0), "made_for": (5 << 20) + 2048 * peers + peers * peers // 8}


def page_of(runs):
    return pages.Page(list(runs), [{"date": "2026-01-01T00:00:00Z", "kernel": "6.1"}],
                      blocks.BLOCKS)


def test_a_projection_carries_the_line_on():
    runs = list(scale_runs())
    assert math.isclose(scale_tables.project(runs, "join-told", "famez-1", 60000), 482, rel_tol=1e-6)
    expected = 5 + (2048 * 60000 + 60000 ** 2 / 8) / 2 ** 20
    assert math.isclose(scale_tables.project(runs, "memory", "famez-1", 60000), expected,
                        rel_tol=1e-3)
    assert scale_tables.exponent(runs, "doorbell", "famez-1") == 0


def test_walls_are_computed_and_in_order():
    lines = list(projection.walls(page_of(scale_runs())))
    first = [line for line in lines[2:] if line.startswith("|")]
    text = "\n".join(lines)
    assert "| 124,750 " in text, text  # (1000 - 2) / 0.008 ms
    assert "60,000² x 3.00 us" in text and "| 3 h " in text, text
    assert "960" in first[0] and "16 TiB" in text


def test_without_all_curves_nothing_is_projected():
    some = [run for run in scale_runs() if run["measurement"] == "scale"]
    for block in ("walls", "clusters", "curves-beyond"):
        assert page_of(some).lines(f"{{{{block {block}}}}}") == [f"Not measured: {block}."]


def test_a_page_says_what_was_measured_and_what_was_not():
    page = page_of(mesh_runs())
    assert page.inline("ratio mesh 2x1 famez-1 stock cpu") == "0.50 (0.33-0.75)"
    assert page.inline("med mesh 2x1 stock wall_ms") == "0.1"
    assert page.inline("fig mesh 9x9 stock cpu") == "not measured"
    assert page.inline("rounds mesh 2x1 stock") == "3"
    assert page.inline("verdict <= 0.5 ratio mesh 2x1 famez-1 stock cpu") == "reached"
    assert page.inline("verdict <= 0.4 ratio mesh 2x1 famez-1 stock cpu") == "in some rounds only"
    assert page.inline("verdict <= 0.3 ratio mesh 2x1 famez-1 stock cpu") == "not reached"
    assert page.inline("curve join-cpu famez-1 exponent") == "not measured"


def test_a_template_that_asks_for_nothing_that_is_there_is_refused():
    for bad in ("fig mesh 2x1 stock colour", "ratio mesh 2x1 stock", "sing", "", "fig"):
        try:
            page_of(mesh_runs()).render(f"first\n{{{{{bad}}}}}\n")
        except pages.Unknown as why:
            assert "line 2" in str(why), why
        else:
            raise AssertionError(f"{{{{{bad}}}}} was taken")


def test_incomplete_and_failed_runs_give_no_figures():
    runs = [run_of("stock", 0, complete=False, server_cpu_ns=1, notices=1, wall_ns=1),
            run_of("stock", 1, failed="why")]
    assert page_of(runs).inline("fig mesh 2x1 stock cpu") == "not measured"
    assert any("0/2" in line for line in server_tables.tables(runs))


def test_who_is_missing_is_named_with_the_reason():
    runs = [{"measurement": "100", "system": "aeron", "absent": "no package"},
            {"measurement": "100", "system": "unix", "round": (1, 0), "messages": 10, "bytes": 100,
             "wall_ns": 1000, "cpu_ns": 2000}]
    lines = list(message_tables.tables(runs))
    assert "Missing: `aeron`: no package." in lines and not any("`unix`:" in x for x in lines)
    stock = [{"measurement": "mesh", "system": "stock", "absent": "no path"}]
    assert "Missing: `stock`: no path." in list(server_tables.tables(stock))


def test_every_system_of_a_measurement_is_built_in_or_has_a_reason():
    bench = messages.Bench.__new__(messages.Bench)
    bench.built_in, bench.nats = set(), None
    for name in messages.MEASURES:
        for system in messages.chosen(name, None):
            assert bench.missing(system), system
    bench.built_in = {"nats"}
    assert "nats-server" in bench.missing("nats")


def test_kept_runs_of_two_comparisons_are_rounds_of_their_own():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "runs.jsonl")
        for _ in range(2):
            list(keep.Keeper(path).keep(iter([{"measurement": "mesh", "round": 0}])))
        runs, machines = keep.kept([path])
        assert [run["round"] for run in runs] == [(1, 0), (2, 0)] and len(machines) == 2
        assert machines[0]["load"] >= 0 and machines[0]["cpus"] >= 1


def test_a_broken_file_of_runs_is_refused_with_its_line():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "runs.jsonl")
        for bad in ("{", "[]", '{"round": 1}'):
            with open(path, "w", encoding="utf-8") as file:
                file.write('{"machine": {}}\n' + bad + "\n")
            try:
                keep.kept([path])
            except keep.Broken as why:
                assert ":2:" in str(why)
            else:
                raise AssertionError(f"{bad} was taken")


def test_only_what_stands_between_the_marks_is_written():
    marks = ("<a>", "<b>")
    assert pages.between("x <a> old <b> y", marks, ["new"]) == "x <a>\n\nnew\n\n<b> y"
    assert pages.between("x <a> y", marks, ["new"]) is None


def test_sizes_are_clients_and_vectors():
    assert servers.of_size("66x4") == (66, 4)
    assert systems.Stock("stock", None).missing and not systems.Stock("stock", "/x").missing


# ---- with programs ---------------------------------------------------------------------------


def compare(build, *argv):
    """(runs, what was printed) of a comparison as a user would run it."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "runs.jsonl")
        done = subprocess.run(
            [os.path.join(ROOT, "bench", "compare"), *argv, "--json", path,
             "--server", os.path.join(build, "broker", "famez-server"),
             "--bench", os.path.join(build, "bench")],
            capture_output=True, text=True, check=False, timeout=500)
        with open(path, encoding="utf-8") as file:
            runs = [json.loads(line) for line in file]
    assert done.returncode == 0, (done.stdout[-500:], done.stderr[-1000:])
    assert "machine" in runs[0] and all("measurement" in run for run in runs[1:])
    return runs[1:], done.stdout


def built_messages_of_all_systems(build):
    runs, text = compare(build, "messages", "--only", "8-to-1,polling,sleeping", "--rounds", "1",
                         "--time", "20", "--systems", "line,eventfd,raw:batch,famez,famez:sleep,"
                         "unix,zeromq,nng,nats,aeron")
    named = {run["system"] for run in runs}
    assert named == {"line", "eventfd", "raw:batch", "famez", "famez:sleep", "unix", "zeromq",
                     "nng", "nats", "aeron"}, named
    for run in runs:
        assert "absent" in run or (run["messages"] > 0 and run["cpu_ns"] > 0 and "load" in run), run
    assert "Missing: `aeron`:" in text and "| famez " in text


def built_large_messages_are_as_large_as_they_are_said_to_be(build):
    runs, _ = compare(build, "messages", "--only", "65536", "--rounds", "1", "--time", "20",
                      "--systems", "memcpy,famez,unix,nats")
    assert len(runs) == 4 and all("absent" in run or run["bytes"] == 65536 for run in runs), runs


def built_servers_and_doorbells(build):
    runs, text = compare(build, "servers", "doorbells", "--only", "mesh,join,doorbell", "--sizes",
                         "4x2", "--rounds", "1", "--joins", "5", "--slices", "3", "--systems",
                         "floor-1,famez-1,stock")
    assert any(run["system"] == "stock" and "absent" in run for run in runs)
    assert "Missing: `stock`: no path was given" in text
    doorbell = [run for run in runs if run["measurement"] == "doorbell" and "absent" not in run]
    assert len(doorbell) == 1 and doorbell[0]["fabric_p999_ns"] >= doorbell[0]["fabric_p50_ns"] > 0
    assert all(run["complete"] for run in runs if run.get("scenario") == "mesh")


def built_scale_climbs_from_stop_to_stop(build):
    runs, text = compare(build, "scale", "--sizes", "4x1,8x1,16x1", "--rounds", "1", "--joins", "3",
                         "--slices", "2", "--time", "40", "--systems", "famez-1")
    made_for, runs = runs[:3], runs[3:]
    assert 0 < made_for[0]["made_for"] <= made_for[2]["made_for"], made_for
    assert [run["clients"] for run in runs] == [4, 8, 16]
    assert [run["grow_notices"] for run in runs] == [20, 52, 200]  # the server is a peer as well
    assert all(run["join_cpu_ns"] > 0 and run["descriptors"] > 2 * run["clients"] for run in runs)
    assert "### Exponents" in text


def built_compare_says_what_is_wrong(build):
    for argv, words in ((["cars"], "no kind 'cars'"), (["scale", "--only", "mesh"], "only scale, scale-memory"),
                        (["--server", "/nowhere/x"], "no program /nowhere/x"),
                        (["--from", "/nowhere/x"], "/nowhere/x")):
        done = subprocess.run([os.path.join(ROOT, "bench", "compare"), "--bench",
                               os.path.join(build, "bench"), *argv], capture_output=True, text=True,
                              check=False, timeout=60)
        assert done.returncode == 1 and words in done.stderr, (argv, done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", metavar="FOLDER")
    o = parser.parse_args()
    tests = {name[5:]: test for name, test in globals().items() if name.startswith("test_")}
    if o.build:
        tests |= {name[6:]: lambda test=test: test(o.build) for name, test in globals().items()
                  if name.startswith("built_")}
    failed = 0
    for name, test in tests.items():
        try:
            test()
        except Exception as why:  # pylint: disable=broad-exception-caught
            failed += 1
            print(f"FAIL {name.replace('_', ' ')}: {type(why).__name__} {why}", flush=True)
        else:
            print(f"ok {name.replace('_', ' ')}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
