# SPDX-License-Identifier: MIT
"""Draws with gnuplot: figures are { file: (settings, { name: (style, [points as text]) }) }."""

import os
import subprocess


def script(path, settings, curves):
    lines = ["set terminal svg size 640,400 font 'sans,12' background '#ffffff'",
             f"set output '{path}'", "set grid", *settings]
    lines.append("plot " + ", ".join(f"'-' {style} title '{name}'"
                                     for name, (style, _) in curves.items()))
    for _, points in curves.values():
        lines += [*points, "e"]
    return "\n".join(lines)


def draw(plots, folder):
    """Those that have any curve. Returns the names of the files."""
    drawn = []
    for name, (settings, curves) in plots.items():
        if curves:
            subprocess.run(["gnuplot"], input=script(os.path.join(folder, name), settings,
                                                     curves), text=True, check=True)
            drawn.append(name)
    return drawn
