# SPDX-License-Identifier: MIT
"""Blocks of a page that are neither a measurement's table nor a number in a sentence."""

from . import figures, projection


def comparisons(page):
    """One row a comparison: when, where, of what, and how busy the machine was."""
    rows = []
    for number, machine in enumerate(page.machines, 1):
        runs = [run for run in page.runs if run["round"][0] == number and "absent" not in run]
        loads = [run["load"] for run in runs if "load" in run]
        names = dict.fromkeys(run["measurement"] for run in runs)
        if runs:
            rows.append([machine["date"][:16].replace("T", " "), machine["kernel"],
                         machine.get("cpu", "-"), machine.get("tree", "-"), ", ".join(names),
                         len(runs),
                         f"{min(loads):.1f} to {max(loads):.1f}" if loads else "-"])
    return figures.table(["begun, UTC", "Linux", "CPU", "tree", "measurements", "runs",
                          "load average"], rows)


BLOCKS = {
    "comparisons": comparisons,
    "walls": projection.walls,
    "curves-beyond": projection.curves_beyond,
    "clusters": projection.clusters,
}
