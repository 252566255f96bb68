# SPDX-License-Identifier: MIT
"""Curves through measured points: exponents, and straight lines to project along."""

import math


def slope(points):
    """Of the least-squares line through (x, y); None for fewer than two different x."""
    count = len(points)
    if len({x for x, _ in points}) < 2:
        return None
    middle_x = sum(x for x, _ in points) / count
    middle_y = sum(y for _, y in points) / count
    return (sum((x - middle_x) * (y - middle_y) for x, y in points)
            / sum((x - middle_x) ** 2 for x, _ in points))


def exponent(points):
    """c of y ~ x^c: the slope over logarithms. Points that are not above 0 tell nothing."""
    return slope([(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0])


def line(points):
    """(a, b) of y = a + b x, with the squares of relative errors least: a curve over decades
    would otherwise be its last point's alone. Takes points with y > 0; None as slope()."""
    points = [(x, y) for x, y in points if y > 0]
    if len({x for x, _ in points}) < 2:
        return None
    # Minimise the sum of ((a + b x) / y - 1)^2: two linear equations.
    s_11 = sum(1 / y ** 2 for _, y in points)
    s_1x = sum(x / y ** 2 for x, y in points)
    s_xx = sum(x ** 2 / y ** 2 for x, y in points)
    t_1 = sum(1 / y for _, y in points)
    t_x = sum(x / y for x, y in points)
    det = s_11 * s_xx - s_1x ** 2
    return (t_1 * s_xx - t_x * s_1x) / det, (s_11 * t_x - s_1x * t_1) / det


def at(a_line, x):
    return a_line[0] + a_line[1] * x
