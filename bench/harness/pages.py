# SPDX-License-Identifier: MIT
"""Pages written from kept runs: a template in which {{...}} stands for what the runs say.

A line that is {{tables NAME}} or {{block NAME}} becomes several. Within a line:

    {{fig MEASUREMENT SIZE SYSTEM KEY}}           median (lowest-highest) of the rounds
    {{med MEASUREMENT SIZE SYSTEM KEY}}           the median alone
    {{ratio MEASUREMENT SIZE SYSTEM BASE KEY}}    round by round, then as fig
    {{verdict SIGN GOAL fig|ratio ...}}           reached, or not
    {{curve NAME SYSTEM exponent|PEERS}}          of a cost curve; PEERS beyond the last: projected
    {{rounds MEASUREMENT SIZE SYSTEM}}            of how many rounds

SIZE is `-` for messages; BASE `best` is the best raw ring. What was not measured is written as
"not measured". Nothing here measures or draws.
"""

import re

from . import figures, message_tables, scale_tables, server_tables

# Name: (digits, what is taken of a run)
KEYS = {
    "cpu": (2, server_tables.cpu_us),
    "wall_ms": (1, lambda run: run["wall_ns"] / 1e6),
    "ready_ms": (2, lambda run: run["ready_p50_ns"] / 1e6),
    "told_ms": (2, lambda run: run["told_p50_ns"] / 1e6),
    "both_ms": (2, lambda run: max(run["ready_p50_ns"], run["told_p50_ns"]) / 1e6),
    "join_cpu_ms": (2, lambda run: run["server_cpu_ns"] / run["joins"] / 1e6),
    "doorbell_ratio": (3, lambda run: run["ratio"]),
    "placed_ratio": (3, lambda run: run.get("placed_ratio")),
    "fabric_us": (1, lambda run: run["fabric_p50_ns"] / 1e3),
    "fabric_p999_us": (0, lambda run: run["fabric_p999_ns"] / 1e3),
    "raw_p999_us": (0, lambda run: run["raw_p999_ns"] / 1e3),
    "rate": (2, message_tables.rate),
    "gigabytes": (2, message_tables.gigabytes),
    "cpu_s": (3, message_tables.cpu),
    "p50_us": (2, lambda run: run["p50_ns"] / 1e3),
    "member": (2, message_tables.fan_ratio),
}
BETTER = {"rate": max, "gigabytes": max, "cpu_s": min, "p50_us": min}
NOT_MEASURED = "not measured"


class Unknown(Exception):
    """A template that asks for what there is not."""


class Page:
    """What the runs say, by directive."""

    def __init__(self, runs, machines, blocks):
        """@blocks: {name: function of runs that gives lines}, beyond the tables."""
        self.runs, self.machines, self.blocks = runs, machines, blocks
        self.fine = [run for run in runs if server_tables.good(run)]

    def select(self, measurement, size, system):
        return [run for run in self.fine if run["measurement"] == measurement
                and (size == "-" or run.get("size") == size) and run["system"] == system]

    def figure(self, kind, *words):
        """(Figure, digits) of fig or ratio."""
        try:
            digits, take = KEYS[words[-1]]
            if kind == "ratio":
                measurement, size, system, base, key = words
                if base == "best":
                    base = message_tables.Runs(self.runs).best_raw(measurement, take,
                                                                   BETTER.get(key, max))
                return figures.ratio(self.select(measurement, size, system),
                                     self.select(measurement, size, base), take), 2
            measurement, size, system, _ = words
            return figures.of(self.select(measurement, size, system), take), digits
        except (IndexError, KeyError, ValueError):
            raise Unknown(f"{kind} {' '.join(words)}") from None

    def fig(self, *words):
        figure, digits = self.figure("fig", *words)
        return figure.text(1, digits) if figure.values else NOT_MEASURED

    def med(self, *words):
        figure, digits = self.figure("fig", *words)
        return f"{figure.median():.{digits}f}" if figure.values else NOT_MEASURED

    def ratio(self, *words):
        figure, digits = self.figure("ratio", *words)
        return figure.text(1, digits) if figure.values else NOT_MEASURED

    def verdict(self, sign, goal, kind, *words):
        figure, _ = self.figure(kind, *words)
        return message_tables.verdict(figure, float(goal), sign == ">=")

    def rounds(self, *words):
        return str(len(self.select(*words)))

    def curve(self, name, system, what):
        if name not in scale_tables.CURVES:
            raise Unknown(f"curve {name}")
        found = scale_tables.medians(self.runs, name, system)
        if not found:
            return NOT_MEASURED
        if what == "exponent":
            return f"{scale_tables.exponent(self.runs, name, system) or 0:.2f}"
        measured = dict(found).get(int(what))
        value = scale_tables.project(self.runs, name, system, int(what)) \
            if measured is None else measured
        return f"{value:.3g}"

    def inline(self, text):
        words = text.split()
        make = {"fig": self.fig, "med": self.med, "ratio": self.ratio, "verdict": self.verdict,
                "curve": self.curve, "rounds": self.rounds}.get(words[0] if words else "")
        if not make:
            raise Unknown(text)
        try:
            return make(*words[1:])
        except TypeError:
            raise Unknown(f"{text}: wrong number of words") from None

    def lines(self, line):
        """What one line of a template becomes."""
        whole = re.fullmatch(r"\{\{(tables|block) ([\w-]+)\}\}", line)
        if not whole:
            return [re.sub(r"\{\{([^{}]*)\}\}", lambda m: self.inline(m[1]), line)]
        name = whole[2]
        if whole[1] == "block":
            if name not in self.blocks:
                raise Unknown(line)
            made = list(self.blocks[name](self))
        elif name in server_tables.TABLES:
            made = list(server_tables.tables([run for run in self.runs
                                              if run["measurement"] == name]))
        elif name in ("messages", "scale"):
            module = message_tables if name == "messages" else scale_tables
            made = list(module.tables(self.runs))
        else:
            raise Unknown(line)
        while made and not made[-1]:
            made.pop()
        return made or [f"Not measured: {name}."]

    def render(self, template):
        out = []
        for number, line in enumerate(template.splitlines(), 1):
            try:
                out += self.lines(line)
            except Unknown as what:
                raise Unknown(f"line {number}: {{{{{what}}}}} means nothing") from None
        return "\n".join(out) + "\n"


def between(text, marks, lines):
    """@text with @lines between its two marks; None if it lacks them."""
    before, mark, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not mark or not end:
        return None
    return "\n".join([before + mark, "", *lines, "", end + after])
