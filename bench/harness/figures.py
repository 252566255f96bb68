# SPDX-License-Identifier: MIT
"""Medians, spreads and ratios of repeated runs, and the tables made of them."""

from statistics import median


class Figure:
    """What several rounds gave for one thing: the median, and the lowest and highest."""

    def __init__(self, values):
        self.values = [value for value in values if value is not None]

    def text(self, scale=1.0, digits=2):
        if not self.values:
            return "-"
        low, high = min(self.values) * scale, max(self.values) * scale
        return f"{median(self.values) * scale:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"

    def median(self):
        return median(self.values) if self.values else None


def has_figures(run):
    return "failed" not in run and "absent" not in run


def missing(runs):
    """Lines that name who did not take part, and why."""
    why = {run["system"]: run["absent"] for run in runs if "absent" in run}
    there = {run["system"] for run in runs if "absent" not in run}
    lines = [f"Missing: `{system}`: {reason}." for system, reason in why.items()
             if system not in there]
    return [*lines, ""] if lines else []


def point(x, figure):
    """A line of data for gnuplot: x, the median, the lowest, the highest."""
    return f"{x} {figure.median():g} {min(figure.values):g} {max(figure.values):g}"


def of(runs, key):
    """The figure that @key (a name, or a function of a run) gives over @runs."""
    take = key if callable(key) else lambda run: run.get(key)
    return Figure([take(run) for run in runs])


def ratio(runs, base, key):
    """Round by round, so that what both rounds suffered cancels; then as any figure."""
    take = key if callable(key) else lambda run: run.get(key)
    by_round = {run["round"]: take(run) for run in base}
    return Figure([take(run) / by_round[run["round"]] for run in runs
                   if take(run) and by_round.get(run["round"])])


def table(head, rows):
    """Lines of a Markdown table, lined up for those who read it in a terminal."""
    cells = [head] + [[str(cell) for cell in row] for row in rows]
    # A column in which nobody has anything to say is left out.
    wanted = [i for i in range(len(head)) if any(row[i] != "-" for row in cells[1:])]
    cells = [[row[i] for i in wanted] for row in cells]
    widths = [max(len(row[i]) for row in cells) for i in range(len(wanted))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
             for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines
