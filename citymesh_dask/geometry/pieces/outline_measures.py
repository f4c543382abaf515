"""What the outlines say about buildings: area, perimeter, terrain along the walls.

Measures only; they are exact, or sums of integers, so that neither the order of the pieces nor the
pack of a building matters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit

from ...outlines import Float64, Int32, Int64, Outlines, Pieces
from ...tiles import MESH_UNITS
from ..terrain.terrain import HeightField, height_at
from .bisection import piece_length

Bounds = tuple[float, float, float, float]

TERRAIN_SQUARE = 1024.0
"""Metres; edge of the squares for which terrain is read at a time."""


@dataclass(frozen=True)
class OutlineMeasures:
    """Measures of the buildings of a pack; a building of several parts may stand in several packs.

    Parameters
    ----------
    rows : (n,) int64
        Rows of the building table, ascending.
    terrain_low, terrain_high : (n,) int32
        Millimetres; lowest and highest terrain along the outline, walls to neighbours included.
    doubled_area : (n,) int64
        Twice the area, square outline units.
    perimeter : (n,) float64
        Metres, walls to neighbours and to the world beyond the frame included.
    """

    rows: Int64
    terrain_low: Int32
    terrain_high: Int32
    doubled_area: Int64
    perimeter: Float64


def measure_outlines(
    outlines: Outlines, pieces: Pieces, terrain_in: Callable[[Bounds], HeightField]
) -> OutlineMeasures:
    """Measure the buildings of a pack along their outlines.

    Parameters
    ----------
    outlines : Outlines
        Outlines of the pack, outline units.
    pieces : Pieces
        The same after subdivision.
    terrain_in : callable
        Returns the terrain inside bounds (x0, y0, x1, y1 in metres relative to the project origin);
        asked once for each square of `TERRAIN_SQUARE` with pieces in it, so that a pack whose
        groups lie far apart needs no more memory than others.

    Returns
    -------
    OutlineMeasures
        Terrain heights are the extremes along every piece: the terrain is bilinear, hence a parabola
        between the places where a piece crosses the lines through cell centres.
    """
    edge_labels, edges = outlines.edges[:, 2:], outlines.edges[:, :2]
    rows, numbers = np.unique(edge_labels, return_inverse=True)
    n_outside = int(np.searchsorted(rows, 0))
    doubled = _doubled_areas(outlines.points, edges, numbers.reshape(-1, 2), count=len(rows))
    sides = np.searchsorted(rows, np.stack([pieces.left, pieces.right], axis=1))
    length = _summed_lengths(pieces.points, pieces.ends, sides, len(rows))
    low, high = _terrain_along(pieces, sides, len(rows), terrain_in=terrain_in)
    mine = slice(n_outside, None)
    return OutlineMeasures(rows[mine], low[mine], high[mine], doubled[mine], length[mine] / MESH_UNITS)


def _doubled_areas(points: Int64, edges: Int64, sides: Int64, *, count: int) -> Int64:
    """Sum the cross products of edges (the shoelace formula), relative to the first point."""
    doubled = np.zeros(count, np.int64)
    if len(edges):
        # Coordinates of a whole city would overflow, those of a pack do not.
        local = points - points[edges[0, 0]]
        a, b = local[edges[:, 0]], local[edges[:, 1]]
        cross = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
        np.add.at(doubled, sides[:, 0], cross)
        np.subtract.at(doubled, sides[:, 1], cross)
    return doubled


def _terrain_along(
    pieces: Pieces, sides: Int64, count: int, *, terrain_in: Callable[[Bounds], HeightField]
) -> tuple[Int32, Int32]:
    """Return the lowest and the highest terrain along the pieces of each of ``count`` labels."""
    low, high = np.full(count, 2**31 - 1, np.int32), np.full(count, -(2**31), np.int32)
    for here in _squares(pieces):
        ends = pieces.ends[here]
        corners = pieces.points[ends.ravel()] / MESH_UNITS
        (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        terrain = terrain_in((x0, y0, x1, y1))
        grid = terrain.lattice
        place = (grid.x0, grid.y0, grid.dx, grid.dy)
        first = (terrain.first_row, terrain.first_col)
        _measure_pieces(pieces.points, ends, sides[here], terrain.heights, first, place, low, high)
    return low, high


def _squares(pieces: Pieces) -> Iterator[Int64]:
    """Yield the pieces square by square."""
    squares = pieces.points[pieces.ends[:, 0]] // int(TERRAIN_SQUARE * MESH_UNITS)
    _, numbers = np.unique(squares, axis=0, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1) if len(order) else []


@njit(cache=True, nogil=True)
def _measure_pieces(
    points: Int64,
    ends: Int32,
    sides: Int64,
    heights: Int32,
    first: tuple[int, int],
    place: tuple[float, float, float, float],
    low: Int32,
    high: Int32,
) -> None:
    """Lower ``low`` and raise ``high`` to the terrain along every piece, for the labels on both sides."""
    for k in range(len(ends)):
        a = ends[k, 0]
        b = ends[k, 1]
        # From the smaller end, so that the result does not depend on the direction of the piece.
        if points[a, 0] > points[b, 0] or (points[a, 0] == points[b, 0] and points[a, 1] > points[b, 1]):
            a, b = b, a
        start = (points[a, 0] / MESH_UNITS, points[a, 1] / MESH_UNITS)
        stop = (points[b, 0] / MESH_UNITS, points[b, 1] / MESH_UNITS)
        least, most = _extremes_along(start, stop, heights, first, place)
        for side in range(2):
            label = sides[k, side]
            low[label] = min(low[label], np.int32(np.rint(least * 1000.0)))
            high[label] = max(high[label], np.int32(np.rint(most * 1000.0)))


@njit(cache=True, nogil=True)
def _extremes_along(
    start: tuple[float, float],
    stop: tuple[float, float],
    heights: Int32,
    first: tuple[int, int],
    place: tuple[float, float, float, float],
) -> tuple[float, float]:
    """Return the lowest and the highest terrain along a segment, metres.

    Samples at fixed distances would miss peaks: on steep terrain a roof could then be lower than the foot of
    its own walls.
    """
    x0, y0, dx, dy = place
    across, up = stop[0] - start[0], stop[1] - start[1]
    u, v = (start[0] - x0) / dx - 0.5, (start[1] - y0) / dy - 0.5
    du, dv = across / dx, up / dy
    next_u, next_v = math.floor(u) + (1.0 if du > 0 else 0.0), math.floor(v) + (1.0 if dv > 0 else 0.0)
    before = height_at(heights, first[0], first[1], x0, y0, dx, dy, start[0], start[1])
    least = before
    most = before
    t = 0.0
    while t < 1.0:
        at_u = (next_u - u) / du if du != 0.0 else math.inf
        at_v = (next_v - v) / dv if dv != 0.0 else math.inf
        end = min(at_u, at_v, 1.0)
        next_u += (1.0 if du > 0 else -1.0) if at_u <= end else 0.0
        next_v += (1.0 if dv > 0 else -1.0) if at_v <= end else 0.0
        if end <= t:
            continue
        s = 0.5 * (t + end)
        middle = height_at(heights, first[0], first[1], x0, y0, dx, dy, start[0] + s * across, start[1] + s * up)
        after = height_at(heights, first[0], first[1], x0, y0, dx, dy, start[0] + end * across, start[1] + end * up)
        least = min(least, middle, after)
        most = max(most, middle, after)
        bend = before - 2.0 * middle + after
        if abs(before - after) < 2.0 * abs(bend):  # the vertex of the parabola lies between
            s = t + (end - t) * (0.5 + 0.25 * (before - after) / bend)
            vertex = height_at(heights, first[0], first[1], x0, y0, dx, dy, start[0] + s * across, start[1] + s * up)
            least = min(least, vertex)
            most = max(most, vertex)
        t = end
        before = after
    return least, most


@njit(cache=True, nogil=True)
def _summed_lengths(points: Int64, ends: Int32, sides: Int64, count: int) -> Int64:
    """Sum the lengths of pieces, as whole mesh units, for the labels on both sides."""
    total = np.zeros(count, np.int64)
    for k in range(len(ends)):
        a = ends[k, 0]
        b = ends[k, 1]
        length = np.int64(np.rint(piece_length(points[a, 0], points[a, 1], points[b, 0], points[b, 1])))
        total[sides[k, 0]] += length
        total[sides[k, 1]] += length
    return total
