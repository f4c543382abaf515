"""One Delaunay triangulation out of the many that exact ties allow.

Four or more points on a circle have several Delaunay triangulations; which one a library finds
depends on the order of insertion, hence on the window. Here each group of triangles with one
circumcircle is replaced by the fan from its lexicographically smallest point, which any window
finds alike.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ...outlines import Int32, Int64
from ..grouping import group_labels

_FILTER = 4e-15
"""Relative size of the float determinant above which it is surely not zero. The error bound of this
formula is 1.2e-15 (Shewchuk, "Adaptive precision floating-point arithmetic and fast robust geometric
predicates", Discrete & Computational Geometry 18, 1997, p. 349)."""
_EXACT = 1e33
"""Scale up to which a determinant that passes the filter is below 2**63."""


def break_ties(points: Int64, triangles: Int32, *, neighbours: Int32, sides: Int32) -> int:
    """Replace groups of cocircular triangles, in place, by canonical fans.

    Parameters
    ----------
    points : (n, 2) int64
        Any unit; differences inside a triangle below 2**31.
    triangles : (t, 3) int32
        Counter-clockwise constrained Delaunay triangles.
    neighbours, sides : (t, 3) int32
        As in `citymesh_dask.geometry.seams.coarse.Coarse`; groups never reach across a piece.

    Returns
    -------
    int
        Number of pairs of neighbouring cocircular triangles.
    """
    found = _ties(points, triangles, neighbours, sides)
    sure = found[:, 3] == 1
    for k in np.flatnonzero(~sure):
        sure[k] = _on_circle(points, triangles[found[k, 0]], int(found[k, 2]))
    pairs = found[sure, :2].astype(np.int64)
    if len(pairs):
        members = np.unique(pairs)
        group = group_labels(len(members), np.searchsorted(members, pairs))
        order = np.argsort(group, kind="stable")
        start = np.flatnonzero(np.diff(group[order], prepend=-1, append=-1))
        _fan_out(points, triangles, neighbours, sides, members[order], start)
    return len(pairs)


@njit(cache=True, nogil=True)
def _ties(points: Int64, triangles: Int32, neighbours: Int32, sides: Int32) -> Int32:
    """Return (triangle, neighbour, its far corner, 1) of cocircular pairs; 0 at the end: not decided."""
    found = np.empty((3 * len(triangles), 4), np.int32)
    count = 0
    for t in range(len(triangles)):
        for e in range(3):
            other = neighbours[t, e]
            if other < t or sides[t, e] != 0:
                continue
            f = 0
            while neighbours[other, f] != t:
                f += 1
            far = triangles[other, (f + 2) % 3]
            ax = points[triangles[t, 0], 0] - points[far, 0]
            ay = points[triangles[t, 0], 1] - points[far, 1]
            bx = points[triangles[t, 1], 0] - points[far, 0]
            by = points[triangles[t, 1], 1] - points[far, 1]
            cx = points[triangles[t, 2], 0] - points[far, 0]
            cy = points[triangles[t, 2], 1] - points[far, 1]
            a = float(ax) * ax + float(ay) * ay
            b = float(bx) * bx + float(by) * by
            c = float(cx) * cx + float(cy) * cy
            bc1, bc2 = float(bx) * cy, float(by) * cx
            ac1, ac2 = float(ax) * cy, float(ay) * cx
            ab1, ab2 = float(ax) * by, float(ay) * bx
            scale = a * (abs(bc1) + abs(bc2)) + b * (abs(ac1) + abs(ac2)) + c * (abs(ab1) + abs(ab2))
            if abs(a * (bc1 - bc2) - b * (ac1 - ac2) + c * (ab1 - ab2)) > _FILTER * scale:
                continue
            decided = scale < _EXACT
            if decided:
                # Below 2**63 the determinant is zero if its last 64 bits are: wrapping products will do.
                exact = (ax * ax + ay * ay) * (bx * cy - by * cx)
                exact -= (bx * bx + by * by) * (ax * cy - ay * cx)
                exact += (cx * cx + cy * cy) * (ax * by - ay * bx)
                if exact != 0:
                    continue
            found[count, 0] = t
            found[count, 1] = other
            found[count, 2] = far
            found[count, 3] = 1 if decided else 0
            count += 1
    return found[:count]


def _on_circle(points: Int64, triangle: Int32, far: int) -> bool:
    """Tell exactly, in Python integers, whether a point lies on the circle of a triangle."""
    ox, oy = points[far].tolist()
    (ax, ay), (bx, by), (cx, cy) = ((x - ox, y - oy) for x, y in points[triangle].tolist())
    a, b, c = ax * ax + ay * ay, bx * bx + by * by, cx * cx + cy * cy
    return bool(a * (bx * cy - by * cx) - b * (ax * cy - ay * cx) + c * (ax * by - ay * bx) == 0)


@njit(cache=True, nogil=True)
def _fan_out(points: Int64, triangles: Int32, neighbours: Int32, sides: Int32, members: Int64, start: Int64) -> None:
    """Write the fan over the rim of each group into the places of its triangles.

    ``members[start[g]:start[g + 1]]`` are the triangles of group ``g``.
    """
    group = np.full(len(triangles), -1, np.int32)
    largest = 0
    for g in range(len(start) - 1):
        largest = max(largest, start[g + 1] - start[g])
        for k in range(start[g], start[g + 1]):
            group[members[k]] = g
    # Per edge of the rim: its corners, the triangle outside, the piece on it.
    rim = np.empty((3 * largest, 4), np.int32)
    for g in range(len(start) - 1):
        size = 0
        first = 0
        for k in range(start[g], start[g + 1]):
            t = members[k]
            for e in range(3):
                other = neighbours[t, e]
                if sides[t, e] != 0 or other < 0 or group[other] != g:
                    rim[size, 0] = triangles[t, e]
                    rim[size, 1] = triangles[t, (e + 1) % 3]
                    rim[size, 2] = other
                    rim[size, 3] = sides[t, e]
                    u = rim[size, 0]
                    v = rim[first, 0]
                    if points[u, 0] < points[v, 0] or (points[u, 0] == points[v, 0] and points[u, 1] < points[v, 1]):
                        first = size
                    size += 1
        # Bring the edges into their order around the rim, from the smallest corner.
        for at in range(size):
            following = first
            if at > 0:
                following = at
                while rim[following, 0] != rim[at - 1, 1]:
                    following += 1
            for column in range(4):
                rim[at, column], rim[following, column] = rim[following, column], rim[at, column]
        for k in range(start[g], start[g + 1]):
            t = members[k]
            at = k - start[g] + 1
            edges = (0 if k == start[g] else -1, at, size - 1 if k == start[g + 1] - 1 else -1)
            triangles[t, 0] = rim[0, 0]
            triangles[t, 1] = rim[at, 0]
            triangles[t, 2] = rim[at, 1]
            for e in range(3):
                edge = edges[e]
                if edge < 0:
                    neighbours[t, e] = members[k - 1] if e == 0 else members[k + 1]
                    sides[t, e] = 0
                    continue
                other = rim[edge, 2]
                neighbours[t, e] = other
                sides[t, e] = rim[edge, 3]
                if other >= 0:
                    for f in range(3):
                        if triangles[other, f] == rim[edge, 1] and triangles[other, (f + 1) % 3] == rim[edge, 0]:
                            neighbours[other, f] = t
