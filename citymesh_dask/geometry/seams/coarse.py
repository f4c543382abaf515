"""The coarse triangulation that seams are edges of, the same in every window.

It is the constrained Delaunay triangulation of outline pieces and filler points, with cocircular
ties broken canonically. A triangle away from the window's rim is the same in all windows that hold
it. Which tile owns it is decided in `citymesh_dask.geometry.seams.seams`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pythoncdt
from numba import njit

from ...errors import RunError
from ...outlines import Bool, Int32, Int64
from ...tiles import MESH_UNITS, Box
from .cocircular import break_ties

UNKNOWN = -9
"""Label of triangles at the rim of the window, whose region is not decided."""

_SUPER = 3
"""The library numbers the corners of its enclosing triangle first."""

UInt32 = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Coarse:
    """Triangles with the regions that they lie in.

    Parameters
    ----------
    points : (n, 2) int64
        Mesh units.
    triangles : (t, 3) int32
        Counter-clockwise, indices into ``points``.
    neighbours : (t, 3) int32
        Triangle across the edge from corner ``e`` to corner ``e + 1``; -1 where there is none.
    sides : (t, 3) int32
        Piece on that edge: ``k + 1`` where the triangle lies on the left of piece ``k``,
        ``-(k + 1)`` on its right, 0 where the edge is free.
    labels : (t,) int64
        Label of the region, or `UNKNOWN`.
    """

    points: Int64
    triangles: Int32
    neighbours: Int32
    sides: Int32
    labels: Int64


def triangulate_window(
    points: Int64, ends: Int32, labels: Int64, *, window: Box, label_at: Callable[[int, int], int]
) -> Coarse:
    """Triangulate pieces and filler points, and label what is surely inside the window.

    Parameters
    ----------
    points : (n, 2) int64
        Mesh units, each position once.
    ends : (m, 2) int32
        All pieces that meet the window; they may cross its border.
    labels : (m, 2) int64
        Labels on their left and right.
    window : Box
        Mesh units. Triangles with a corner outside it keep the label `UNKNOWN`.
    label_at : callable
        Returns the label at a position (three times its x, three times its y, mesh units); asked
        once for each region without a piece on its border inside the window.

    Returns
    -------
    Coarse
        The triangulation.

    Raises
    ------
    RunError
        If pieces cross, or the labels of two of them contradict one another.
    """
    table = _delaunay(points, ends, window)
    triangles, neighbours, sides = _attach(table, *_star(len(points), ends))
    break_ties(points, triangles, neighbours=neighbours, sides=sides)
    inside = _inside(points, triangles, window)
    regions, seeds, conflict = _seed(sides, inside, labels)
    if conflict < 0:
        conflict = _spread(regions, seeds, inside, neighbours, sides)
    if conflict >= 0:
        raise _contradiction(points[triangles[conflict]])
    while len(rest := np.flatnonzero(inside & (regions == UNKNOWN))):
        x, y = points[triangles[rest[0]]].sum(axis=0).tolist()
        regions[rest[0]] = label_at(x, y)
        _spread(regions, rest[:1].astype(np.int32), inside, neighbours, sides)
    return Coarse(points, triangles, neighbours, sides, regions)


def _contradiction(corners: Int64) -> RunError:
    x, y = corners.mean(axis=0) / MESH_UNITS
    return RunError(
        f"outlines near x {x:.2f} m, y {y:.2f} m from the project origin",
        "two pieces of outline give one region two labels",
        "a planar graph of outlines",
        "report this with the footprints around that place",
    )


def _delaunay(points: Int64, ends: Int32, window: Box) -> UInt32:
    """Return the library's triangles: three corners (counted from 3), three neighbours each."""
    if len(points) < 3:
        return np.empty((0, 6), np.uint32)
    centre = np.array([(window[0] + window[2]) >> 1, (window[1] + window[3]) >> 1])
    cdt = pythoncdt.Triangulation(
        pythoncdt.VertexInsertionOrder.AUTO, pythoncdt.IntersectingConstraintEdges.NOT_ALLOWED, 0.0
    )
    # Differences from the centre are exact in float64, and so are the library's predicates.
    cdt.insert_vertices((points - centre) / MESH_UNITS)
    try:
        cdt.insert_edges(np.ascontiguousarray(ends, np.uint32))
    except RuntimeError as error:
        x0, y0, x1, y1 = (value / MESH_UNITS for value in window)
        raise RunError(
            f"outlines between x {x0:.1f} and {x1:.1f} m, y {y0:.1f} and {y1:.1f} m from the project origin",
            str(error).splitlines()[0],
            "outlines that do not cross",
            "report this with the footprints of that place",
        ) from error
    table: UInt32 = cdt.triangles_array(copy=False).view(np.uint32).reshape(-1, 6).copy()
    return table


@njit(cache=True, nogil=True)
def _star(count: int, ends: Int32) -> tuple[Int32, Int32, Int32]:
    """Return, point after point, the other ends of its pieces and their signed numbers."""
    start = np.zeros(count + 1, np.int32)
    for k in range(len(ends)):
        start[ends[k, 0] + 1] += 1
        start[ends[k, 1] + 1] += 1
    for point in range(count):
        start[point + 1] += start[point]
    others = np.empty(2 * len(ends), np.int32)
    numbers = np.empty(2 * len(ends), np.int32)
    free = start.copy()
    for k in range(len(ends)):
        a = ends[k, 0]
        b = ends[k, 1]
        others[free[a]] = b
        numbers[free[a]] = k + 1
        free[a] += 1
        others[free[b]] = a
        numbers[free[b]] = -(k + 1)
        free[b] += 1
    return start, others, numbers


@njit(cache=True, nogil=True)
def _attach(table: UInt32, start: Int32, others: Int32, numbers: Int32) -> tuple[Int32, Int32, Int32]:
    """Drop triangles at the library's enclosing triangle; find the piece on every edge."""
    count = 0
    place = np.full(len(table), -1, np.int32)
    for t in range(len(table)):
        if table[t, 0] >= _SUPER and table[t, 1] >= _SUPER and table[t, 2] >= _SUPER:
            place[t] = count
            count += 1
    triangles = np.empty((count, 3), np.int32)
    neighbours = np.full((count, 3), -1, np.int32)
    sides = np.zeros((count, 3), np.int32)
    for t in range(len(table)):
        at = place[t]
        if at < 0:
            continue
        for e in range(3):
            a = np.int32(table[t, e]) - _SUPER
            b = np.int32(table[t, (e + 1) % 3]) - _SUPER
            triangles[at, e] = a
            across = np.int64(table[t, 3 + e])
            if across < len(table):
                neighbours[at, e] = place[across]
            for k in range(start[a], start[a + 1]):
                if others[k] == b:
                    sides[at, e] = numbers[k]
                    break
    return triangles, neighbours, sides


@njit(cache=True, nogil=True)
def _inside(points: Int64, triangles: Int32, window: Box) -> Bool:
    """Tell which triangles lie in the window entirely."""
    x0, y0, x1, y1 = window
    within = np.empty(len(points), np.bool_)
    for k in range(len(points)):
        within[k] = x0 <= points[k, 0] <= x1 and y0 <= points[k, 1] <= y1
    inside = np.empty(len(triangles), np.bool_)
    for t in range(len(triangles)):
        inside[t] = within[triangles[t, 0]] and within[triangles[t, 1]] and within[triangles[t, 2]]
    return inside


@njit(cache=True, nogil=True)
def _seed(sides: Int32, inside: Bool, labels: Int64) -> tuple[Int64, Int32, int]:
    """Label the triangles that have pieces on their edges; return labels, triangles, a conflict or -1."""
    regions = np.full(len(sides), UNKNOWN, np.int64)
    seeds = np.empty(len(sides), np.int32)
    count = 0
    for t in range(len(sides)):
        if not inside[t]:
            continue
        for e in range(3):
            piece = sides[t, e]
            if piece == 0:
                continue
            label = labels[piece - 1, 0] if piece > 0 else labels[-piece - 1, 1]
            if regions[t] == UNKNOWN:
                regions[t] = label
                seeds[count] = t
                count += 1
            elif regions[t] != label:
                return regions, seeds[:count], t
    return regions, seeds[:count], -1


@njit(cache=True, nogil=True)
def _spread(regions: Int64, seeds: Int32, inside: Bool, neighbours: Int32, sides: Int32) -> int:
    """Carry labels across free edges, in place; return a triangle where two labels meet, or -1.

    Only triangles with all corners inside the window take part: they lie inside it entirely, where
    no piece is missing, so that no label leaks through a gap.
    """
    stack = np.empty(len(regions) + len(seeds), np.int32)
    depth = 0
    for t in seeds:
        stack[depth] = t
        depth += 1
    while depth > 0:
        depth -= 1
        t = stack[depth]
        for e in range(3):
            other = neighbours[t, e]
            if other < 0 or sides[t, e] != 0 or not inside[other]:
                continue
            if regions[other] == UNKNOWN:
                regions[other] = regions[t]
                stack[depth] = other
                depth += 1
            elif regions[other] != regions[t]:
                return int(t)
    return -1
