"""One Delaunay triangulation out of the many that exact ties allow.

Four or more points on a circle have several Delaunay triangulations; which one a library finds
depends on the order of insertion, hence on the window. Here each group of triangles with one
circumcircle is replaced by the fan from its lexicographically smallest point, which any window
finds alike.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..outlines import Int32, Int64

_FILTER = 1e-14
"""Relative size under which the float determinant is not trusted. The error bound of this formula
is 1.2e-15 (Shewchuk, "Adaptive precision floating-point arithmetic and fast robust geometric
predicates", Discrete & Computational Geometry 18, 1997, p. 349)."""

Link = tuple[int, int, int]
"""Next corner on a group's rim, the triangle outside, the piece on the edge."""


def break_ties(points: Int64, triangles: Int32, neighbours: Int32, sides: Int32) -> int:
    """Replace groups of cocircular triangles, in place, by canonical fans.

    Parameters
    ----------
    points : (n, 2) int64
        Any unit; differences inside a triangle below 2**52.
    triangles : (t, 3) int32
        Counter-clockwise constrained Delaunay triangles.
    neighbours, sides : (t, 3) int32
        As in `citymesh_dask.geometry.coarse.Coarse`; groups never reach across a piece.

    Returns
    -------
    int
        Number of pairs of neighbouring cocircular triangles.
    """
    suspects = _suspects(points, triangles, neighbours, sides)
    pairs = [(a, b) for a, b, far in suspects.tolist() if _on_circle(points, triangles[a], far)]
    for group in _groups(pairs):
        _replace_by_fan(points, (triangles, neighbours, sides), group)
    return len(pairs)


@njit(cache=True, nogil=True)
def _suspects(points: Int64, triangles: Int32, neighbours: Int32, sides: Int32) -> Int32:
    """Return (triangle, neighbour, its far corner) over free edges that may be cocircular."""
    found = np.empty((256, 3), np.int32)
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
            ax = float(points[triangles[t, 0], 0] - points[far, 0])
            ay = float(points[triangles[t, 0], 1] - points[far, 1])
            bx = float(points[triangles[t, 1], 0] - points[far, 0])
            by = float(points[triangles[t, 1], 1] - points[far, 1])
            cx = float(points[triangles[t, 2], 0] - points[far, 0])
            cy = float(points[triangles[t, 2], 1] - points[far, 1])
            a = ax * ax + ay * ay
            b = bx * bx + by * by
            c = cx * cx + cy * cy
            determinant = a * (bx * cy - by * cx) - b * (ax * cy - ay * cx) + c * (ax * by - ay * bx)
            scale = (
                a * (abs(bx * cy) + abs(by * cx))
                + b * (abs(ax * cy) + abs(ay * cx))
                + c * (abs(ax * by) + abs(ay * bx))
            )
            if abs(determinant) <= _FILTER * scale:
                if count == len(found):
                    larger = np.empty((2 * count, 3), np.int32)
                    larger[:count] = found
                    found = larger
                found[count, 0] = t
                found[count, 1] = other
                found[count, 2] = far
                count += 1
    return found[:count].copy()


def _on_circle(points: Int64, triangle: Int32, far: int) -> bool:
    """Tell exactly, in Python integers, whether a point lies on the circle of a triangle."""
    ox, oy = points[far].tolist()
    (ax, ay), (bx, by), (cx, cy) = ((x - ox, y - oy) for x, y in points[triangle].tolist())
    a, b, c = ax * ax + ay * ay, bx * bx + by * by, cx * cx + cy * cy
    return bool(a * (bx * cy - by * cx) - b * (ax * cy - ay * cx) + c * (ax * by - ay * bx) == 0)


def _groups(pairs: list[tuple[int, int]]) -> list[list[int]]:
    """Return the connected groups of a list of pairs."""
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in pairs:
        parent[root(a)] = root(b)
    groups: dict[int, list[int]] = {}
    for node in list(parent):
        groups.setdefault(root(node), []).append(node)
    return list(groups.values())


def _replace_by_fan(points: Int64, mesh: tuple[Int32, Int32, Int32], group: list[int]) -> None:
    """Write the fan over a group's rim into the places of its triangles."""
    triangles, neighbours, sides = mesh
    rim = _rim(mesh, group)
    loop = [min(rim, key=lambda corner: (int(points[corner, 0]), int(points[corner, 1])))]
    while (following := rim[loop[-1]][0]) != loop[0]:
        loop.append(following)
    last = len(group) - 1
    for k, t in enumerate(group):
        a, b, c = loop[0], loop[k + 1], loop[k + 2]
        _, right, right_piece = rim[a] if k == 0 else (b, group[k - 1], 0)
        _, outer, outer_piece = rim[b]
        _, left, left_piece = rim[c] if k == last else (a, group[k + 1], 0)
        triangles[t] = (a, b, c)
        neighbours[t] = (right, outer, left)
        sides[t] = (right_piece, outer_piece, left_piece)
    _point_back((triangles, neighbours), group)


def _rim(mesh: tuple[Int32, Int32, Int32], group: list[int]) -> dict[int, Link]:
    """Return the edges around a group of triangles, by their first corner."""
    triangles, neighbours, sides = mesh
    members = set(group)
    rim: dict[int, Link] = {}
    for t in group:
        corners, across, pieces = triangles[t].tolist(), neighbours[t].tolist(), sides[t].tolist()
        for e in range(3):
            if across[e] not in members or pieces[e] != 0:
                rim[corners[e]] = (corners[(e + 1) % 3], across[e], pieces[e])
    return rim


def _point_back(mesh: tuple[Int32, Int32], group: list[int]) -> None:
    """Let the triangles around a group know their new neighbours."""
    triangles, neighbours = mesh
    members = set(group)
    for t in group:
        corners = triangles[t].tolist()
        for e, other in enumerate(neighbours[t].tolist()):
            if other >= 0 and other not in members:
                back = triangles[other].tolist().index(corners[(e + 1) % 3])
                neighbours[other, back] = t
