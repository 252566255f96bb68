# SPDX-License-Identifier: MIT
"""Cost curves by peers: tables, exponents and plots.

What each costs by design, as a power of the peers present: 1 where everyone must be told, 0
where nobody but the two concerned has to do with it. Exponents and straight lines are those of the
last decade of peers, where constants no longer hide what grows.
"""

from . import figures, fits
from .servers import of_size

LAST_DECADE = 10

# Name: (title, unit, scale, what is taken of a run, exponent by design, axis)
CURVES = {
    "join-cpu": ("CPU of the broker for one more join", "ms", 1e-6,
                 lambda run: run.get("join_cpu_ns"), 1),
    "join-told": ("One more join, until everyone has been told", "ms", 1e-6,
                  lambda run: run.get("told_p50_ns"), 1),
    "join-ready": ("One more join, until the newcomer knows everyone", "ms", 1e-6,
                   lambda run: run.get("ready_p50_ns"), 1),
    "leave-cpu": ("CPU of the broker for a leave", "ms", 1e-6,
                  lambda run: run.get("leave_cpu_ns"), 1),
    "leave-told": ("A leave, until everyone has been told", "ms", 1e-6,
                   lambda run: run.get("left_p50_ns"), 1),
    "memory": ("The own memory of a broker that is made for so many", "MiB", 2 ** -20,
               lambda run: run.get("made_for"), 1),
    "kernel": ("The kernel's memory for all of it, both ends", "MiB", 2 ** -20,
               lambda run: run.get("kernel_bytes"), 1),
    "descriptors": ("The broker's descriptors", "", 1, lambda run: run.get("descriptors"), 1),
    "doorbell": ("Round trip of two members' doorbells", "us", 1e-3,
                 lambda run: run.get("fabric_p50_ns"), 0),
    "message-sleep": ("Round trip of a message, both asleep", "us", 1e-3,
                      lambda run: run.get("message_sleep_p50_ns"), 0),
    "message-poll": ("Round trip of a message, both polling", "us", 1e-3,
                     lambda run: run.get("message_poll_p50_ns"), 0),
}


MEASURED = ("scale", "scale-memory")


def mine(runs):
    return [run for run in runs if run["measurement"] in MEASURED and figures.has_figures(run)]


def systems(runs):
    return sorted({run["system"] for run in runs})


def points(runs, name, system):
    """[(peers, Figure)], ascending, in the curve's unit."""
    _, _, scale, take, _ = CURVES[name]
    some = [run for run in mine(runs) if run["system"] == system and take(run) is not None]
    sizes = sorted({of_size(run["size"]) for run in some})
    return [(size[0], figures.of([run for run in some if of_size(run["size"]) == size],
                                 lambda run: take(run) * scale)) for size in sizes]


def medians(runs, name, system):
    return [(peers, figure.median()) for peers, figure in points(runs, name, system)]


def last_decade(some):
    most = max((peers for peers, _ in some), default=0)
    return [point for point in some if point[0] * LAST_DECADE >= most]


def exponent(runs, name, system):
    return fits.exponent(last_decade(medians(runs, name, system)))


def line(runs, name, system):
    return fits.line(last_decade(medians(runs, name, system)))


def project(runs, name, system, peers):
    """What the straight line says for so many peers; the broker's one bit a pair is no straight
    line, and is added as what it is."""
    some = last_decade(medians(runs, name, system))
    if name == "memory":
        some = [(x, y - pairs_mib(x)) for x, y in some]
    return fits.at(fits.line(some), peers) + (pairs_mib(peers) if name == "memory" else 0)


def pairs_mib(peers):
    """Who holds whom: one bit a pair."""
    return peers * peers / 8 / 2 ** 20


def curve_table(runs, name):
    who = [system for system in systems(mine(runs)) if points(runs, name, system)]
    sizes = sorted({peers for system in who for peers, _ in points(runs, name, system)})
    by = {system: dict(points(runs, name, system)) for system in who}
    digits = 0 if name == "descriptors" else 2
    return figures.table(
        ["peers", *who],
        [[peers, *(by[system][peers].text(1, digits) if peers in by[system] else "-"
                   for system in who)] for peers in sizes])


def exponent_rows(runs):
    for name, (title, unit, _, _, design) in CURVES.items():
        for system in systems(mine(runs)):
            found, straight = exponent(runs, name, system), line(runs, name, system)
            if found is None or straight is None:
                continue
            yield [title, system, design, f"{found:.2f}",
                   f"{straight[0]:.3g} + {straight[1] * 1000:.3g} a thousand peers"
                   + (f" ({unit})" if unit else "")]


def tables(runs):
    """All lines of all tables for which there are runs."""
    some = mine(runs)
    if not some:
        return
    yield "### Exponents"
    yield ""
    yield from figures.table(["curve", "system", "by design", "exponent", "straight line"],
                             list(exponent_rows(some)))
    yield ""
    for name, (title, unit, *_) in CURVES.items():
        if not any(points(some, name, system) for system in systems(some)):
            continue
        yield f"### {title}{', ' + unit if unit else ''}"
        yield ""
        yield from curve_table(some, name)
        yield ""


def plots(runs):
    """{file: (settings, curves)} for plots.draw()."""
    drawn = {}
    for name, (title, unit, _, _, design) in CURVES.items():
        settings = ["set title '" + title.replace("'", "''") + "'", "set logscale x", "set xlabel 'peers'",
                    f"set ylabel '{unit}'", "set key left top",
                    "set logscale y" if design else "set yrange [0:*]"]
        curves = {}
        for system in systems(mine(runs)):
            data = [figures.point(peers, figure) for peers, figure in points(runs, name, system)]
            if data:
                curves[system] = ("using 1:2:3:4 with yerrorlines pt 7 ps 0.6", data)
        drawn[f"scale-{name}.svg"] = (settings, curves)
    return drawn
