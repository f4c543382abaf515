"""Giving frozen edges back: taking out the vertices that refinement put on them.

An edge that another tile, or a lattice triangle, has as well must come out of meshing as it went
in. Each vertex that refinement put there is removed by re-triangulating its half star, which lies
on one side of the edge only. Arrays in, arrays changed in place; nothing here knows labels' meaning.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ...errors import RunError
from ...outlines import Bool, Float64, Int32, Int64

_LARGEST_STAR = 4096


@njit(cache=True, nogil=True)
def orientation(points: Float64, a: int, b: int, c: int) -> float:
    """Return twice the signed area of a triangle.

    Exact for edges up to 256 m: products of differences of multiples of 2**-18 m then fit the 53
    bits of a float.

    Parameters
    ----------
    points : (n, 2) float64
        Metres, multiples of 2**-18.
    a, b, c : int
        Vertices.

    Returns
    -------
    float
        Positive where a, b, c run counter-clockwise.
    """
    ux, uy = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
    vx, vy = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1]
    doubled: float = ux * vy - uy * vx
    return doubled


def give_back_edges(
    points: Float64, triangles: Int32, neighbours: Int32, *, labels: Int32, dropped: Bool
) -> tuple[Int32, Int32, Int32]:
    """Remove vertices from border edges.

    Parameters
    ----------
    points : (n, 2) float64
        Metres, multiples of 2**-18.
    triangles, neighbours : (t, 3) int32
        Neighbour ``i`` lies over edge ``i, i + 1``; negative codes are borders. Changed in place.
    labels : (t,) int32
        Region of each triangle; changed in place.
    dropped : (n,) bool
        Vertices to remove; each lies inside a straight border edge.

    Returns
    -------
    triangles, neighbours, labels
        What is left, without the freed places.

    Raises
    ------
    RunError
        If a vertex cannot be removed.
    """
    stuck = np.flatnonzero(dropped)
    while len(stuck):
        todo = stuck
        stuck = _remove_border_vertices(points, triangles, neighbours, labels, dropped, todo)
        if len(stuck) == len(todo):
            break
    if len(stuck):
        x, y = points[stuck[0]]
        raise RunError(
            "a frozen edge of a tile",
            f"{len(stuck)} vertices cannot be taken off, the first at ({x:.3f}, {y:.3f}) m from the tile's origin",
            "a star that can be triangulated without them",
            "this is a defect of meshing: please report it with the footprints",
        )
    kept = _close_gaps(triangles, neighbours, labels)
    return triangles[:kept], neighbours[:kept], labels[:kept]


@njit(cache=True, nogil=True)
def _in_circle(points: Float64, a: int, b: int, c: int, d: int) -> float:
    """Return a positive number where d lies inside the circle through a, b, c (counter-clockwise)."""
    ax, ay = points[a, 0] - points[d, 0], points[a, 1] - points[d, 1]
    bx, by = points[b, 0] - points[d, 0], points[b, 1] - points[d, 1]
    cx, cy = points[c, 0] - points[d, 0], points[c, 1] - points[d, 1]
    first = (ax * ax + ay * ay) * (bx * cy - by * cx)
    second = (bx * bx + by * by) * (ax * cy - ay * cx)
    third = (cx * cx + cy * cy) * (ax * by - ay * bx)
    determinant: float = first - second + third
    return determinant


@njit(cache=True, nogil=True)
def corner_of(triangles: Int32, t: int, v: int) -> int:
    """Return which corner of triangle ``t`` is vertex ``v``.

    Parameters
    ----------
    triangles : (t, 3) int32
        Vertices.
    t, v : int
        A triangle and one of its vertices.

    Returns
    -------
    int
        0, 1 or 2.
    """
    if triangles[t, 0] == v:
        return 0
    return 1 if triangles[t, 1] == v else 2


@njit(cache=True, nogil=True)
def _half_star(triangles: Int32, neighbours: Int32, v: int, t: int, ring: Int32, outer: Int32, fan: Int32) -> int:
    """Collect the fan of a border vertex counter-clockwise; return its size, 0 where there is none."""
    code = 0
    for _ in range(_LARGEST_STAR):
        q = neighbours[t, corner_of(triangles, t, v)]
        if q < 0:
            code = q
            break
        t = q
    if code == 0:
        return 0
    size = 0
    while size < _LARGEST_STAR:
        e = corner_of(triangles, t, v)
        ring[size] = triangles[t, (e + 1) % 3]
        outer[size] = neighbours[t, (e + 1) % 3]
        fan[size] = t
        size += 1
        q = neighbours[t, (e + 2) % 3]
        if q < 0:
            ring[size] = triangles[t, (e + 2) % 3]
            outer[size] = code
            return size
        t = q
    return 0


@njit(cache=True, nogil=True)
def _find_ear(points: Float64, ring: Int32, size: int) -> int:
    """Return the corner of a polygon to cut off: a Delaunay ear, or else any ear; -1 where there is none."""
    for strict in range(2):
        for i in range(size):
            a, b, c = ring[i - 1 if i else size - 1], ring[i], ring[i + 1 if i + 1 < size else 0]
            if orientation(points, a, b, c) <= 0:
                continue
            good = True
            for w in range(size):
                x = ring[w]
                if x in (a, b, c):
                    continue
                if strict == 0:
                    good = _in_circle(points, a, b, c, x) <= 0
                else:
                    good = (
                        orientation(points, a, b, x) < 0
                        or orientation(points, b, c, x) < 0
                        or orientation(points, c, a, x) < 0
                    )
                if not good:
                    break
            if good:
                return i
    return -1


@njit(cache=True, nogil=True)
def _plan_ears(points: Float64, ring: Int32, size: int, left: Int32, ears: Int32) -> bool:
    """Write which corner of what is left of a polygon to cut off next; return whether that worked out."""
    for w in range(size):
        left[w] = ring[w]
    corners = size
    while corners > 3:
        i = _find_ear(points, left, corners)
        if i < 0:
            return False
        ears[size - corners] = i
        corners -= 1
        for w in range(i, corners):
            left[w] = left[w + 1]
    ears[size - 3] = 1
    return bool(orientation(points, left[0], left[1], left[2]) > 0)


@njit(cache=True, nogil=True)
def _remove_border_vertices(
    points: Float64, triangles: Int32, neighbours: Int32, labels: Int32, dropped: Bool, todo: Int64
) -> Int64:
    """Take the vertices out one by one; return those that would not go.

    A freed triangle gets -1 as its first vertex.
    """
    at = np.full(len(points), -1, np.int32)
    for t in range(len(triangles)):
        if triangles[t, 0] >= 0:
            for e in range(3):
                if dropped[triangles[t, e]]:
                    at[triangles[t, e]] = t
    ring = np.empty(_LARGEST_STAR + 1, np.int32)
    outer = np.empty(_LARGEST_STAR + 1, np.int32)
    fan = np.empty(_LARGEST_STAR, np.int32)
    left = np.empty(_LARGEST_STAR + 1, np.int32)
    ears = np.empty(_LARGEST_STAR + 1, np.int32)
    stuck = np.empty(len(todo), np.int64)
    n_stuck = 0
    for v in todo:
        if at[v] < 0:
            continue
        size = _half_star(triangles, neighbours, v, at[v], ring, outer, fan)
        # All ears are planned first: a star that cannot be triangulated stays as it is.
        if size < 2 or not _plan_ears(points, ring, size + 1, left, ears):
            stuck[n_stuck] = v
            n_stuck += 1
            continue
        label = labels[fan[0]]
        corners = size + 1
        for f in range(size - 1):
            i = ears[f]
            before, after = i - 1 if i else corners - 1, i + 1 if i + 1 < corners else 0
            s = fan[f]
            triangles[s, 0], triangles[s, 1], triangles[s, 2] = ring[before], ring[i], ring[after]
            neighbours[s, 0], neighbours[s, 1] = outer[before], outer[i]
            # The ear cut off next to this one fills in the third neighbour; the last triangle has it.
            neighbours[s, 2] = outer[after] if corners == 3 else s
            labels[s] = label
            for e in range(3):
                if dropped[triangles[s, e]]:
                    at[triangles[s, e]] = s
                w = neighbours[s, e]
                if w >= 0 and w != s:
                    neighbours[w, (corner_of(triangles, w, triangles[s, e]) + 2) % 3] = s
            outer[before] = s
            corners -= 1
            for w in range(i, corners):
                ring[w], outer[w] = ring[w + 1], outer[w + 1]
        triangles[fan[size - 1], 0] = -1
    return stuck[:n_stuck]


@njit(cache=True, nogil=True)
def _close_gaps(triangles: Int32, neighbours: Int32, labels: Int32) -> int:
    """Move the triangles together over the freed places; return how many there are."""
    place = np.empty(len(triangles), np.int32)
    kept = 0
    for t in range(len(triangles)):
        place[t] = kept
        kept += triangles[t, 0] >= 0
    for t in range(len(triangles)):
        if triangles[t, 0] >= 0:
            n = place[t]
            labels[n] = labels[t]
            for e in range(3):
                triangles[n, e] = triangles[t, e]
                q = neighbours[t, e]
                neighbours[n, e] = place[q] if q >= 0 else q
    return kept
