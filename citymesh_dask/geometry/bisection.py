"""Canonical bisection of edges: the same points whoever asks, from whichever end.

An edge is halved from its lexicographically smaller end, the midpoint rounded down to the grid, and
its halves likewise, until they are short enough. Only the halving and its criteria belong here.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..outlines import Bool, Float64, Int32, Int64
from ..tiles import MESH_UNITS
from .segment_grid import SegmentGrid, any_near

_FEATURE_FACTOR = 0.75
"""A piece is halved while a foreign feature is nearer to its middle than this part of its length."""
_SHORTEST_PIECE = 0.5
"""Metres; pieces that would become shorter are not halved for the sake of a near feature."""
_SPACING_FACTOR = 2.0
"""A seam piece is at most this many times as long as the spacing of the outline vertex it touches."""

_DEPTH = 64


def shortest_pieces(limits: Float64) -> Float64:
    """Return the length under which graded halving stops; where sizes are small, it shrinks along.

    Parameters
    ----------
    limits : (n,) float64
        Longest piece of each edge, mesh units.

    >>> shortest_pieces(np.array([5.0, 1.0]) * MESH_UNITS) / MESH_UNITS
    array([0.5 , 0.25])
    """
    return np.minimum(_SHORTEST_PIECE * MESH_UNITS, limits / 4)


def feature_reach(longest: float) -> float:
    """Return how far from an edge features matter, when its pieces are at most ``longest`` long."""
    return _FEATURE_FACTOR * longest


@njit(cache=True, nogil=True)
def piece_length(ax: int, ay: int, bx: int, by: int) -> float:
    """Return the length of a segment; the same from either end, in the unit of the coordinates."""
    dx = float(bx - ax)
    dy = float(by - ay)
    return math.sqrt(dx * dx + dy * dy)


@njit(cache=True, nogil=True)
def _grown(array: Int64, used: int, needed: int) -> Int64:
    if used + needed <= len(array):
        return array
    larger = np.empty((2 * (used + needed), array.shape[1]), array.dtype)
    larger[:used] = array[:used]
    return larger


@njit(cache=True, nogil=True)
def bisect_edges(
    points: Int64, ends: Int64, limits: Float64, shortest: Float64, spacing: Float64, grid: SegmentGrid
) -> tuple[Int64, Int32, Int32]:
    """Halve edges down to a size, to the spacing at their ends and to the distance of foreign features.

    Parameters
    ----------
    points : (n, 2) int64
        Mesh units.
    ends : (m, 2) int64
        Start and end of each edge.
    limits, shortest : (m,) float64
        Mesh units. A piece longer than its limit is halved; one longer than twice its shortest
        length is halved if the spacing at one of its ends or a near feature asks for it.
    spacing : (n,) float64
        Mesh units; a piece that ends at a given point is at most twice as long as its spacing.
        ``inf`` asks for nothing.
    grid : SegmentGrid
        All features within reach, the edges themselves included; empty if features do not matter.

    Returns
    -------
    points : (n + k, 2) int64
        The given ones, then the midpoints in the order of the edges.
    pieces : (p, 2) int32
        Start and end of each piece, directed like its edge.
    parents : (p,) int32
        Edge that each piece is a part of, ascending; its pieces follow one another from the edge's
        lexicographically smaller end.
    """
    given = len(points)
    count = given
    out = np.empty((2 * count + 16, 2), np.int64)
    out[:count] = points
    pieces = np.empty((2 * len(ends) + 16, 3), np.int64)
    made = 0
    stack = np.empty(_DEPTH, np.int64)
    corners = np.empty(4, np.int64)
    for k in range(len(ends)):
        first = ends[k, 0]
        last = ends[k, 1]
        swap = out[first, 0] > out[last, 0] or (out[first, 0] == out[last, 0] and out[first, 1] > out[last, 1])
        if swap:
            first, last = last, first
        corners[:2] = out[first]
        corners[2:] = out[last]
        stack[0] = last
        depth = 1
        while depth > 0:
            last = stack[depth - 1]
            length = piece_length(out[first, 0], out[first, 1], out[last, 0], out[last, 1])
            x = (out[first, 0] + out[last, 0]) >> 1
            y = (out[first, 1] + out[last, 1]) >> 1
            halve = length > limits[k]
            if not halve and length > 2.0 * shortest[k]:
                near = np.inf
                if first < given:
                    near = spacing[first]
                if last < given:
                    near = min(near, spacing[last])
                halve = length > _SPACING_FACTOR * near
                if not halve:
                    halve = any_near(grid, x, y, _FEATURE_FACTOR * length, corners)
            if halve and depth < _DEPTH:
                out = _grown(out, count, 1)
                out[count, 0] = x
                out[count, 1] = y
                stack[depth] = count
                depth += 1
                count += 1
                continue
            pieces = _grown(pieces, made, 1)
            pieces[made, 0] = last if swap else first
            pieces[made, 1] = first if swap else last
            pieces[made, 2] = k
            made += 1
            first = last
            depth -= 1
    return out[:count].copy(), pieces[:made, :2].astype(np.int32), pieces[:made, 2].astype(np.int32)


@njit(cache=True, nogil=True)
def lengths_at_points(points: Int64, ends: Int32, graded: Bool) -> tuple[Int64, Int64, Float64]:
    """Return, per point, the summed length and number of its pieces, and its shortest graded one.

    Parameters
    ----------
    points : (n, 2) int64
        Mesh units.
    ends : (m, 2) int32
        Pieces.
    graded : (m,) bool
        Pieces that count for the shortest length.

    Returns
    -------
    total : (n,) int64
        Sum of lengths as whole mesh units, so that the order of the pieces does not matter.
    count : (n,) int64
        Number of pieces.
    least : (n,) float64
        Mesh units; ``inf`` where no graded piece ends.
    """
    total = np.zeros(len(points), np.int64)
    count = np.zeros(len(points), np.int64)
    least = np.full(len(points), np.inf)
    for k in range(len(ends)):
        a = ends[k, 0]
        b = ends[k, 1]
        length = piece_length(points[a, 0], points[a, 1], points[b, 0], points[b, 1])
        for point in (a, b):
            total[point] += np.int64(np.rint(length))
            count[point] += 1
            if graded[k]:
                least[point] = min(least[point], length)
    return total, count, least
