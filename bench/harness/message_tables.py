# SPDX-License-Identifier: MIT
"""Tables, verdicts and curves of messages."""

from . import figures

BARE = "eventfd"


def rate(run):
    """Millions of messages a second."""
    return run["messages"] / run["wall_ns"] * 1e3


def cpu(run):
    """Seconds of CPU a million messages, all processes."""
    return run["cpu_ns"] / run["messages"] / 1e3


def gigabytes(run):
    return run["messages"] * run["bytes"] / run["wall_ns"]


def p50(run):
    return run.get("p50_ns")


def fan_cost(run):
    return run["server_cpu_ns"] / run["messages"] / run["members"]


def fan_ratio(run):
    return run["server_cpu_ns"] / (run["lanes_ns"] + run["bells_ns"])


class Runs:
    """All runs, asked for by measurement and system."""

    def __init__(self, runs):
        self.runs = [run for run in runs if figures.has_figures(run)]

    def of(self, measurement, system=None):
        return [run for run in self.runs if run["measurement"] == measurement
                and (system is None or run["system"] == system)]

    def systems(self, measurement):
        return list(dict.fromkeys(run["system"] for run in self.of(measurement)))

    def best_raw(self, measurement, key, better=max):
        """The raw ring whose median is the best one; None if there was none."""
        raws = [s for s in self.systems(measurement) if s.startswith("raw:")]
        return better(raws, default=None,
                      key=lambda s: figures.of(self.of(measurement, s), key).median())

    def ratio(self, measurement, system, base, key):
        return figures.ratio(self.of(measurement, system), self.of(measurement, base), key)


def stream_table(runs, name):
    best = runs.best_raw(name, rate)
    for system in runs.systems(name):
        some = runs.of(name, system)
        yield [system, figures.of(some, rate).text(), figures.of(some, gigabytes).text(),
               figures.of(some, cpu).text(1, 3),
               runs.ratio(name, system, best, rate).text() if best else "-",
               runs.ratio(name, system, best, cpu).text() if best else "-"]


def trip_table(runs, name):
    if name == "polling":
        base = runs.best_raw(name, p50, min) or runs.systems(name)[0]
    else:
        base = BARE if name == "sleeping" else runs.systems(name)[0]
    for system in runs.systems(name):
        some = runs.of(name, system)
        row = [system]
        for key in ("p50_ns", "p90_ns", "p99_ns", "p999_ns"):
            row.append(figures.of(some, key).text(1e-3))
        yield row + [runs.ratio(name, system, base, p50).text()]


STREAM_HEAD = ["system", "million messages/s", "GB/s", "CPU s/million", "rate to the best raw",
               "CPU to it"]
TRIP_HEAD = ["system", "p50, us", "p90", "p99", "p99.9", "p50 to the base"]

TABLES = {
    "100": ("100 B one way (`/each`: flushed after each message)", STREAM_HEAD, stream_table),
    "1024": ("1 KiB one way", STREAM_HEAD, stream_table),
    "16384": ("16 KiB one way", STREAM_HEAD, stream_table),
    "65536": ("64 KiB one way", STREAM_HEAD, stream_table),
    "8-to-1": ("Eight senders to one receiver, 100 B, not pinned", STREAM_HEAD, stream_table),
    "polling": ("Round trip of 100 B, both poll (base: the best raw ring)", TRIP_HEAD, trip_table),
    "sleeping": ("Round trip of 100 B, both sleep (base: the bare eventfd)", TRIP_HEAD,
                 trip_table),
    "server": ("Round trip to the server (base: to another peer)", TRIP_HEAD, trip_table),
    "worth": ("What each technique is worth: 100 B one way", STREAM_HEAD, stream_table),
    "worth-trip": ("What each technique is worth: round trip (base: with all)", TRIP_HEAD,
                   trip_table),
}


MEASURED = (*TABLES, "alone", "fan")


def verdict(figure, goal, least):
    median = figure.median()
    if median is None:
        return "not measured"
    if median >= goal if least else median <= goal:
        return "reached"
    low, high = min(figure.values), max(figure.values)
    if high >= goal if least else low <= goal:
        return "in some rounds only"
    return "not reached"


def goals(runs):
    """Rows of the table of goals: what, goal, measured for lanes alone and for libfamez."""
    def row(what, goal, least, measurement, key, base, *systems):
        measured = [runs.ratio(measurement, s, base, key) if base else figures.Figure([])
                    for s in systems]
        sign = ">=" if least else "<="
        texts = [m.text() for m in measured] + ["-"] * (2 - len(measured))
        return [what, f"{sign} {goal}", *texts, verdict(measured[-1], goal, least)]

    best = runs.best_raw("100", rate)
    # Lanes alone: in streams those that sleep at once, as libfamez does in a flood.
    yield row("100 B one way, batches", 0.8, True, "100", rate, best, "lane:event", "famez")
    yield row("100 B, flushed each", 0.55, True, "100", rate, best, "lane/each", "famez/each")
    for size, text in (("1024", "1 KiB"), ("16384", "16 KiB"), ("65536", "64 KiB")):
        yield row(f"{text} one way", 0.9, True, size, rate, runs.best_raw(size, rate),
                  "lane:event", "famez")
    yield row("8 senders to 1, 100 B", 0.8, True, "8-to-1", rate, runs.best_raw("8-to-1", rate),
              "lane:event", "famez")
    yield row("round trip, polling", 1.1, False, "polling", p50,
              runs.best_raw("polling", p50, min), "lane", "famez")
    yield row("round trip, sleeping", 1.1, False, "sleeping", p50, BARE, "lane:event",
              "famez:sleep")
    yield row("CPU a message of 100 B", 1.3, False, "100", cpu, best, "lane:event", "famez")
    server = runs.ratio("server", "famez:server", "famez:sleep", p50)
    yield ["server's answer, to a peer's", "<= 1.5", "-", server.text(), verdict(server, 1.5, False)]
    fan = figures.of(runs.of("fan"), fan_ratio)
    yield ["group of 1,000: a member", "<= 2", "-", fan.text(), verdict(fan, 2, False)]


def alone_table(runs):
    some = runs.of("alone")
    if not some:
        return
    base = "raw:batch"
    both = lambda run: run["put_ns"] + run["take_ns"]
    yield "### A message of 100 B without the other side"
    yield ""
    yield from figures.table(
        ["system", "put, ns", "take, ns", "both, ns", "both to the raw ring"],
        [[s, figures.of(runs.of("alone", s), lambda run: run["put_ns"]).text(1, 1),
          figures.of(runs.of("alone", s), lambda run: run["take_ns"]).text(1, 1),
          figures.of(runs.of("alone", s), both).text(1, 1),
          runs.ratio("alone", s, base, both).text()] for s in runs.systems("alone")])
    yield ""


def fan_table(runs):
    some = runs.of("fan")
    if not some:
        return
    each = lambda key: figures.of(some, lambda run: run[key] / run["messages"] / run["members"])
    yield "### A message to a group of 1,000, CPU a member"
    yield ""
    yield from figures.table(
        ["server, us", "lane write, us", "eventfd write, us", "ratio"],
        [[figures.of(some, fan_cost).text(1e-3), each("lanes_ns").text(1e-3, 3),
          each("bells_ns").text(1e-3), figures.of(some, fan_ratio).text()]])
    yield ""


def tables(every_run):
    """All lines of all tables for which there are runs."""
    mine = [run for run in every_run if run["measurement"] in MEASURED]
    runs = Runs(mine)
    if not mine:
        return
    yield "### The goals"
    yield ""
    yield from figures.table(["measure", "goal", "lanes alone", "libfamez", "libfamez's verdict"],
                             list(goals(runs)))
    yield ""
    for name, (title, head, make) in TABLES.items():
        if runs.of(name):
            yield f"### {title}"
            yield ""
            yield from figures.table(head, list(make(runs, name)))
            yield ""
    yield from alone_table(runs)
    yield from fan_table(runs)
    yield from figures.missing(mine)


def throughput_curves(runs):
    names, curves = ["100", "1024", "16384", "65536"], {}
    best = []
    for name in names:
        raw = runs.best_raw(name, rate)
        if raw:
            best.append((name, figures.of(runs.of(name, raw), gigabytes)))
    wanted = {"the best raw ring": best}
    for system in ("memcpy", "lane", "famez", "unix", "zeromq", "nng", "nats"):
        wanted[system] = [(name, figures.of(runs.of(name, system), gigabytes)) for name in names]
    for system, points in wanted.items():
        lines = [f"{name} {f.median()} {min(f.values)} {max(f.values)}"
                 for name, f in points if f.values]
        if lines:
            curves[system] = ("using 1:2:3:4 with yerrorlines pt 7 ps 0.6", lines)
    return curves


def latency_curves(runs):
    """How many of all round trips took at least as long, by time."""
    curves = {}
    for name, systems in (("polling", ("raw:inband", "lane", "famez")),
                          ("sleeping", (BARE, "famez:sleep", "zeromq"))):
        for system in systems:
            buckets = {}
            for run in runs.of(name, system):
                for ns, count in run["latencies"]:
                    buckets[ns] = buckets.get(ns, 0) + count
            total, lines = sum(buckets.values()), []
            left = total
            for ns, count in sorted(buckets.items()):
                lines.append(f"{ns / 1e3} {left / total}")
                left -= count
            if lines:
                curves[f"{system}, {name}"] = ("using 1:2 with steps lw 2", lines)
    return curves


def plots(every_run):
    """{file: (settings, curves)} for plots.draw()."""
    runs = Runs(every_run)
    return {
        "messages-throughput.svg": (
            ["set title 'One way, two processes'", "set logscale xy", "set key bottom right",
             "set xlabel 'bytes a message'", "set ylabel 'GB/s'"], throughput_curves(runs)),
        "messages-latency.svg": (
            ["set title 'Round trip of 100 B: how many took so long'", "set logscale xy",
             "set yrange [1e-5:1]", "set format y '%g'", "set key top right",
             "set xlabel 'us'", "set ylabel 'part of all'"], latency_curves(runs)),
    }
