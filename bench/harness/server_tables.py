# SPDX-License-Identifier: MIT
"""What the runs of a comparison say: one table a measurement, and the plots.

Each figure is a median with the lowest and highest of the rounds. Ratios are made round by
round and are then treated like any figure.
"""

from . import figures
from .servers import of_size
from .systems import STOCK

FLOOR = "floor-1"
SMALL = "66x4"  # the size that larger ones are compared with: the line shall be flat


def reference(runs):
    """Whom the last columns compare with: the stock server, else any other that is not ours."""
    names = in_order([run for run in runs if "absent" not in run], "system")
    others = [name for name in names if not name.startswith(("floor", "famez"))]
    return STOCK if STOCK in names else others[0] if others else STOCK


def good(run):
    return figures.has_figures(run) and run.get("complete", True)


def cpu_us(run):
    """Server CPU a notice; a notice is a message with an eventfd."""
    return run["server_cpu_ns"] / run["notices"] / 1e3 if run["notices"] else None


def in_order(runs, key):
    return list(dict.fromkeys(run[key] for run in runs))


def each(runs):
    """(size, system, runs of both), systems within sizes."""
    for size in sorted(in_order(runs, "size"), key=of_size):
        of_size_runs = [run for run in runs if run["size"] == size]
        for system in sorted(in_order(of_size_runs, "system")):
            yield size, system, [run for run in of_size_runs if run["system"] == system]


def select(runs, size, system):
    return [run for run in runs if run["size"] == size and run["system"] == system and good(run)]


def count_good(runs):
    return f"{sum(map(good, runs))}/{len(runs)}"


def rate(run):
    """Millions of messages a second."""
    return run["notices"] / run["wall_ns"] * 1e3


def burst_table(runs):
    rows = []
    for size, system, some in each(runs):
        some = list(filter(good, some))
        rows.append([size, system, figures.of(some, cpu_us).text(),
                     figures.of(some, rate).text(),
                     figures.ratio(some, select(runs, size, FLOOR), rate).text()])
    return figures.table(["size", "system", "CPU a message, us", "messages a second, millions",
                          "to one thread"], rows)


def mesh_table(runs):
    rows, other = [], reference(runs)
    for size, system, some in each(runs):
        fine = list(filter(good, some))
        floor, theirs = select(runs, size, FLOOR), select(runs, size, other)
        rows.append([size, system, count_good(some), figures.of(fine, cpu_us).text(),
                     figures.ratio(fine, floor, cpu_us).text(),
                     figures.ratio(fine, theirs, cpu_us).text(),
                     figures.ratio(fine, select(runs, SMALL, system), cpu_us).text(),
                     figures.of(fine, "wall_ns").text(1e-6, 1),
                     figures.ratio(fine, theirs, "wall_ns").text()])
    return figures.table(["size", "system", "complete", "CPU a notice, us", "to the floor",
                          f"to {other}", f"to its {SMALL}", "full mesh, ms", f"to {other}"], rows)


def join_table(runs):
    rows, other = [], reference(runs)
    for size, system, some in each(runs):
        fine, theirs = list(filter(good, some)), select(runs, size, other)
        row = [size, system]
        for key in ("ready_p50_ns", "ready_p99_ns", "told_p50_ns", "told_p99_ns"):
            row.append(figures.of(fine, key).text(1e-6))
        row.append(figures.of(fine, lambda run: run["server_cpu_ns"] / run["joins"] / 1e6).text())
        for key in ("ready_p50_ns", "told_p50_ns"):
            row.append(figures.ratio(fine, theirs, key).text())
        rows.append(row)
    return figures.table(["size", "system", "ready p50, ms", "p99", "all told p50, ms", "p99",
                          "CPU a join and leave, ms", f"ready to {other}", f"told to {other}"], rows)


def stall_table(runs):
    rows = []
    for size, system, some in each(runs):
        for extras in sorted({run["extras"] for run in some if "extras" in run}):
            mine = [run for run in some if run.get("extras") == extras and good(run)]
            reading = [run for run in mine if not run["deaf"]]
            deaf = [run for run in mine if run["deaf"]]
            rows.append([size, extras, system, figures.of(reading, "wall_ns").text(1e-6, 1),
                         figures.of(deaf, "wall_ns").text(1e-6, 1),
                         figures.ratio(deaf, reading, "wall_ns").text()])
    return figures.table(["size", "others", "system", "they read, ms", "they don't, ms",
                          "ratio"], rows)


def doorbell_table(runs):
    rows = []
    for size, system, some in each(runs):
        some = list(filter(good, some))
        row = [size, system]
        for key in ("raw_p50_ns", "fabric_p50_ns"):
            row.append(figures.of(some, key).text(1e-3, 1))
        row.append(figures.of(some, "ratio").text(1, 3))
        for key in ("raw_p99_ns", "fabric_p99_ns", "raw_p999_ns", "fabric_p999_ns"):
            row.append(figures.of(some, key).text(1e-3, 0))
        rows.append(row)
    return figures.table(["present", "system", "bare p50, us", "fabric p50, us", "ratio of p50",
                          "bare p99", "fabric p99", "bare p99.9", "fabric p99.9"], rows)


def memory_goal(size):
    peers, vectors = of_size(size)
    return peers * 2048 + peers * vectors * 64 + peers * peers / 8


def kib(some, key):
    middle = figures.of(some, key).median()
    return "-" if middle is None else f"{middle / 1024:.0f}"


def memory_rows(runs, messages):
    for size, system, some in each(runs):
        some = list(filter(good, some))
        peers, vectors = of_size(size)
        idle = figures.of(some, "idle_allocated").median()
        if idle is None:
            continue
        row = [peers, vectors, system, "yes" if messages else "no",
               *(kib(some, key) for key in ("foretold", "idle_allocated", "full_allocated",
                                            "full_resident")),
               f"{memory_goal(size) / 1024:.0f}", f"{idle / memory_goal(size):.2f}"]
        # What the fabric costs beyond the smallest one of the same kind.
        smallest = f"10x{vectors}"
        base = figures.of(select(runs, smallest, system), "idle_allocated").median()
        if base is None or size == smallest:
            yield [*row, "-", "-", "-"]
            continue
        allowed = memory_goal(size) - memory_goal(smallest)
        yield [*row, f"{(idle - base) / 1024:.0f}", f"{allowed / 1024:.0f}",
               f"{(idle - base) / allowed:.2f}"]


def memory_table(runs):
    rows = []
    for messages in (False, True):
        rows += memory_rows([run for run in runs if run.get("messages") == messages], messages)
    return figures.table(["peers", "vectors", "system", "messages", "foretold, KiB", "idle, KiB",
                          "all there, KiB", "resident, KiB", "goal, KiB", "of it",
                          "above 10 peers, KiB", "goal, KiB", "of it"], rows)


TABLES = {
    "burst": ("The floor without readers", burst_table),
    "mesh": ("All join at once", mesh_table),
    "join": ("One more join", join_table),
    "stall": ("Clients that don't read", stall_table),
    "doorbell": ("Doorbell round trips", doorbell_table),
    "memory": ("The broker's own memory", memory_table),
}


def tables(runs):
    """All lines of all tables for which there are runs."""
    for name, (title, make) in TABLES.items():
        mine = [run for run in runs if run["measurement"] == name and "absent" not in run]
        if mine:
            yield f"### {title}"
            yield ""
            yield from make(mine)
            yield ""
    yield from figures.missing([run for run in runs if run["measurement"] in TABLES])


BARS = "using 1:2:3:4 with yerrorlines pt 7 ps 0.6"


def curves(runs, measurement, key, scale, notices):
    found = {}
    for size, system, some in each([run for run in runs if run["measurement"] == measurement
                                    and "absent" not in run]):
        figure = figures.of(list(filter(good, some)),
                            lambda run: key(run) * scale if key(run) else None)
        if figure.values:
            found.setdefault(system, []).append((notices(*of_size(size)), figure))
    return {system: (BARS, [figures.point(x, figure) for x, figure in
                            sorted(points, key=lambda point: point[0])])
            for system, points in found.items()}


def plots(runs):
    """{file: (settings, curves)} for plots.draw()."""
    return {
        "mesh-cpu.svg": (
            ["set title 'Server CPU for a notice, all joining at once'", "set logscale x",
             "set yrange [0:*]", "set key left top", "set xlabel 'notices'",
             "set ylabel 'us a notice'"],
            curves(runs, "mesh", cpu_us, 1, lambda n, v: n * n * v)),
        "join-told.svg": (
            ["set title 'One more join: until everyone has been told (p50)'", "set logscale xy",
             "set key left top", "set xlabel 'notices'", "set ylabel 'ms'"],
            curves(runs, "join", lambda run: run.get("told_p50_ns"), 1e-6,
                   lambda n, v: (2 * n + 1) * v)),
    }
