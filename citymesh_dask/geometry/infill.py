"""Points for triangles that are too large, found before refinement.

Refinement by area puts in one point after another, which costs ten times what a point costs that
triangulation is given from the start. So the circumcentres of too large triangles are collected
here from a first triangulation, as long as they keep their distance from one another and from
constraints; the second triangulation has them all. What is left over is refined as usual.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..outlines import Float64, Int32
from ..tiles import MESH_UNITS
from .lattice_fill import FILLED
from .regions import UInt8, UInt32

_APART = 0.5
"""New points keep this many sizes from one another ..."""
_CLEAR = 0.2
"""... and this many from constraints, so that no angle there gets sharp."""
_LARGEST_CAVITY = 64


@njit(cache=True, nogil=True)
def collect_centres(
    corners: UInt32, positions: Float64, labels: Int32, closed: UInt8, ground_size: float, building_size: float
) -> Float64:
    """Return circumcentres of triangles over the area of their region.

    Parameters
    ----------
    corners : (t, 6) uint32
        Triangles, see `regions`.
    positions : (n, 2) float64
        Metres.
    labels : (t,) int32
        Region of each triangle.
    closed : (t,) uint8
        Bit ``i`` is set where edge ``i, i + 1`` is a constraint.
    ground_size, building_size : float
        Asked edge lengths, metres.

    Returns
    -------
    (k, 2) float64
        Distinct positions inside their region, multiples of 2**-18, in the order of the triangles.
    """
    centres = np.empty((256, 2))
    n_centres = 0
    head = np.full(len(corners), -1, np.int32)
    following = np.empty(len(corners), np.int32)
    cavity = np.empty(_LARGEST_CAVITY, np.int32)
    seen = np.full(len(corners), -1, np.int32)
    for t in range(len(corners)):
        if labels[t] <= FILLED:
            continue
        size = building_size if labels[t] >= 0 else ground_size
        a = np.int64(corners[t, 0])
        ax, ay = positions[a, 0], positions[a, 1]
        bx, by = positions[np.int64(corners[t, 1]), 0] - ax, positions[np.int64(corners[t, 1]), 1] - ay
        cx, cy = positions[np.int64(corners[t, 2]), 0] - ax, positions[np.int64(corners[t, 2]), 1] - ay
        doubled = bx * cy - by * cx
        if doubled <= 1.01 * math.sqrt(3.0) / 2 * size * size:
            continue
        b2, c2 = bx * bx + by * by, cx * cx + cy * cy
        x = np.rint((ax + (cy * b2 - by * c2) / (2.0 * doubled)) * MESH_UNITS) / MESH_UNITS
        y = np.rint((ay + (bx * c2 - cx * b2) / (2.0 * doubled)) * MESH_UNITS) / MESH_UNITS
        home = _walk(corners, positions, closed, t, x, y)
        if home < 0:
            continue
        n_cavity = _find_cavity(corners, positions, closed, home, x, y, cavity, seen, t)
        good = n_cavity > 0
        for k in range(n_cavity):
            good = good and _is_clear(corners, positions, closed, cavity[k], x, y, _CLEAR * size)
            other = head[cavity[k]]
            while good and other >= 0:
                dx, dy = centres[other, 0] - x, centres[other, 1] - y
                good = dx * dx + dy * dy >= (_APART * size) ** 2
                other = following[other]
        if not good:
            continue
        if n_centres == len(centres):
            longer = np.empty((2 * n_centres, 2))
            for k in range(n_centres):
                longer[k, 0], longer[k, 1] = centres[k, 0], centres[k, 1]
            centres = longer
        centres[n_centres, 0], centres[n_centres, 1] = x, y
        following[n_centres] = head[home]
        head[home] = n_centres
        n_centres += 1
    return centres[:n_centres]


@njit(cache=True, nogil=True)
def _side(corners: UInt32, positions: Float64, t: int, e: int, x: float, y: float) -> float:
    """Return twice the signed area between edge ``e`` and a position: positive inside."""
    a, b = np.int64(corners[t, e]), np.int64(corners[t, (e + 1) % 3])
    ux, uy = positions[b, 0] - positions[a, 0], positions[b, 1] - positions[a, 1]
    area: float = ux * (y - positions[a, 1]) - uy * (x - positions[a, 0])
    return area


@njit(cache=True, nogil=True)
def _walk(corners: UInt32, positions: Float64, closed: UInt8, t: int, x: float, y: float) -> int:
    """Return the triangle that holds a position, -1 where a constraint is in the way (visibility walk)."""
    for _ in range(_LARGEST_CAVITY):
        out = -1
        for e in range(3):
            if _side(corners, positions, t, e, x, y) < 0.0:
                out = e
                break
        if out < 0:
            return t
        if closed[t] >> out & 1:
            return -1
        t = np.int64(corners[t, 3 + out])
    return -1


@njit(cache=True, nogil=True)
def _find_cavity(
    corners: UInt32,
    positions: Float64,
    closed: UInt8,
    home: int,
    x: float,
    y: float,
    cavity: Int32,
    seen: Int32,
    stamp: int,
) -> int:
    """Collect the triangles that a new vertex would replace; return how many, 0 where there are too many."""
    cavity[0] = home
    seen[home] = stamp
    count = 1
    k = 0
    while k < count:
        t = cavity[k]
        k += 1
        for e in range(3):
            if closed[t] >> e & 1:
                continue
            q = np.int64(corners[t, 3 + e])
            if seen[q] == stamp:
                continue
            seen[q] = stamp
            if _in_circumcircle(corners, positions, q, x, y):
                if count == _LARGEST_CAVITY:
                    return 0
                cavity[count] = q
                count += 1
    return count


@njit(cache=True, nogil=True)
def _in_circumcircle(corners: UInt32, positions: Float64, t: int, x: float, y: float) -> bool:
    a, b, c = np.int64(corners[t, 0]), np.int64(corners[t, 1]), np.int64(corners[t, 2])
    ax, ay = positions[a, 0] - x, positions[a, 1] - y
    bx, by = positions[b, 0] - x, positions[b, 1] - y
    cx, cy = positions[c, 0] - x, positions[c, 1] - y
    first = (ax * ax + ay * ay) * (bx * cy - by * cx)
    second = (bx * bx + by * by) * (ax * cy - ay * cx)
    third = (cx * cx + cy * cy) * (ax * by - ay * bx)
    return bool(first - second + third > 0.0)


@njit(cache=True, nogil=True)
def _is_clear(
    corners: UInt32, positions: Float64, closed: UInt8, t: int, x: float, y: float, distance: float
) -> bool:
    """Return whether a position keeps its distance from the constraints of a triangle."""
    for e in range(3):
        if closed[t] >> e & 1:
            a, b = np.int64(corners[t, e]), np.int64(corners[t, (e + 1) % 3])
            ux, uy = positions[b, 0] - positions[a, 0], positions[b, 1] - positions[a, 1]
            px, py = x - positions[a, 0], y - positions[a, 1]
            along = min(max((px * ux + py * uy) / (ux * ux + uy * uy), 0.0), 1.0)
            ex, ey = px - along * ux, py - along * uy
            if ex * ex + ey * ey < distance * distance:
                return False
    return True
