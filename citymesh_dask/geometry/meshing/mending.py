"""Mending: moving free vertices around the few triangles that refinement left too sharp or too large.

A pattern search (Hooke and Jeeves, "Direct search solution of numerical and statistical problems",
JACM 1961) over rounded positions that keeps every star valid. Connectivity never changes.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from ...outlines import Float64, Int32
from ...tiles import MESH_UNITS
from .frozen import corner_of, orientation

FREE = 0
FIXED = 1
ON_PIECE = 2
"""Vertices that refinement put on an outline: they may move by a few mesh units, to undo what rounding did."""

_ROUNDS = 3
_HALVINGS = 7
_LARGEST_STAR = 64


def mend_triangles(
    points: Float64,
    triangles: Int32,
    neighbours: Int32,
    *,
    mobility: npt.NDArray[np.uint8],
    area_limits: Float64,
    min_angle: float,
) -> int:
    """Move vertices of triangles below the angle or over the area to where their stars are best, in place.

    Parameters
    ----------
    points : (n, 2) float64
        Metres, multiples of 2**-18; changed in place.
    triangles, neighbours : (t, 3) int32
        As in `band.Band`.
    mobility : (n,) uint8
        `FREE`, `FIXED` or `ON_PIECE`.
    area_limits : (t,) float64
        Largest area of each triangle, square metres; no move makes a triangle larger than that.
    min_angle : float
        Degrees.

    Returns
    -------
    int
        Number of triangles that were not as asked before.
    """
    target = math.sin(math.radians(min_angle)) ** 2
    bad = _poor_triangles(points, triangles, area_limits, target)
    if len(bad):
        _move_vertices(points, triangles, neighbours, mobility, area_limits, bad, target)
    return len(bad)


@njit(cache=True, nogil=True)
def squared_sine(points: Float64, a: int, b: int, c: int) -> float:
    """Return the squared sine of the smallest angle of a triangle, -1 where it is not counter-clockwise.

    Parameters
    ----------
    points : (n, 2) float64
        Metres, multiples of 2**-18.
    a, b, c : int
        Vertices.

    Returns
    -------
    float
        At most 3/4: doubled area over the product of the two longer edges, squared.
    """
    doubled = orientation(points, a, b, c)
    if doubled <= 0.0:
        return -1.0
    first = (points[a, 0] - points[b, 0]) ** 2 + (points[a, 1] - points[b, 1]) ** 2
    second = (points[b, 0] - points[c, 0]) ** 2 + (points[b, 1] - points[c, 1]) ** 2
    third = (points[c, 0] - points[a, 0]) ** 2 + (points[c, 1] - points[a, 1]) ** 2
    square: float = doubled * doubled * min(first, second, third) / (first * second * third)
    return square


@njit(cache=True, nogil=True)
def _is_poor(points: Float64, triangles: Int32, area_limits: Float64, t: int, target: float) -> bool:
    """Tell whether a triangle is too sharp or too large."""
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    return bool(squared_sine(points, a, b, c) < target or 0.5 * orientation(points, a, b, c) > area_limits[t])


@njit(cache=True, nogil=True)
def _poor_triangles(points: Float64, triangles: Int32, area_limits: Float64, target: float) -> Int32:
    found = np.empty(len(triangles), np.int32)
    count = 0
    for t in range(len(triangles)):
        if _is_poor(points, triangles, area_limits, t, target):
            found[count] = t
            count += 1
    return found[:count].copy()


@njit(cache=True, nogil=True)
def _closed_star(triangles: Int32, neighbours: Int32, t: int, v: int, star: Int32) -> int:
    """Collect the triangles around a vertex; return 0 where they do not close."""
    first = t
    size = 0
    while size < _LARGEST_STAR:
        star[size] = t
        size += 1
        t = neighbours[t, (corner_of(triangles, t, v) + 2) % 3]
        if t == first:
            return size
        if t < 0:
            return 0
    return 0


@njit(cache=True, nogil=True)
def _rate_star(points: Float64, triangles: Int32, area_limits: Float64, star: Int32, size: int, target: float) -> float:
    """Return the smallest squared sine of a star, less one for each triangle not as asked, 100 for each inverted."""
    worst = 1.0
    penalty = 0.0
    for s in range(size):
        t = star[s]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        value = squared_sine(points, a, b, c)
        worst = min(worst, value)
        if value < 0.0:
            penalty += 100.0
        elif value < target or 0.5 * orientation(points, a, b, c) > area_limits[t]:
            penalty += 1.0
    return worst - penalty


@njit(cache=True, nogil=True)
def _search_position(
    points: Float64,
    triangles: Int32,
    area_limits: Float64,
    star: Int32,
    size: int,
    v: int,
    reach: float,
    target: float,
) -> bool:
    """Move a vertex to the best position that a pattern search finds; return whether it moved."""
    best = _rate_star(points, triangles, area_limits, star, size, target)
    moved = False
    step = reach
    for _ in range(_HALVINGS):
        while True:
            x, y = points[v, 0], points[v, 1]
            best_x, best_y = x, y
            for dx in range(-1, 2):
                for dy in range(-1, 2):
                    points[v, 0] = np.rint((x + dx * step) * MESH_UNITS) / MESH_UNITS
                    points[v, 1] = np.rint((y + dy * step) * MESH_UNITS) / MESH_UNITS
                    value = _rate_star(points, triangles, area_limits, star, size, target)
                    if value > best + 1e-12:
                        best, best_x, best_y = value, points[v, 0], points[v, 1]
            points[v, 0], points[v, 1] = best_x, best_y
            if best_x == x and best_y == y:
                break
            moved = True
        step *= 0.5
        if step * MESH_UNITS < 1.0:
            break
    return moved


@njit(cache=True, nogil=True)
def _move_vertices(
    points: Float64,
    triangles: Int32,
    neighbours: Int32,
    mobility: npt.NDArray[np.uint8],
    area_limits: Float64,
    bad: Int32,
    target: float,
) -> None:
    star = np.empty(_LARGEST_STAR, np.int32)
    for _ in range(_ROUNDS):
        moved = False
        for t in bad:
            for e in range(3):
                v = triangles[t, e]
                if not _is_poor(points, triangles, area_limits, t, target):
                    break
                inverted = squared_sine(points, triangles[t, 0], triangles[t, 1], triangles[t, 2]) <= 0.0
                if mobility[v] == FIXED or (mobility[v] == ON_PIECE and not inverted):
                    continue
                size = _closed_star(triangles, neighbours, t, v, star)
                if size == 0:
                    continue
                reach = 4.0 / MESH_UNITS
                if mobility[v] == FREE:
                    a, b = triangles[t, (e + 1) % 3], triangles[t, (e + 2) % 3]
                    reach = 0.25 * math.hypot(points[a, 0] - points[b, 0], points[a, 1] - points[b, 1])
                moved |= _search_position(points, triangles, area_limits, star, size, v, reach, target)
        if not moved:
            break
