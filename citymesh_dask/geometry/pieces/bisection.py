"""Canonical bisection of edges: the same points whoever asks, from whichever end.

An edge is halved from its lexicographically smaller end, the midpoint rounded down to the grid, and
its halves likewise, until they are short enough. Only the halving and its criteria belong here.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ...outlines import Bool, Float64, Int32, Int64
from ...tiles import MESH_UNITS
from .segment_grid import SegmentGrid, any_near, segment_grid

_FEATURE_FACTOR = 0.75
"""A piece is halved while a foreign feature is nearer to its middle than this part of its length."""
_SHORTEST_PIECE = 0.5
"""Metres; pieces that would become shorter are not halved for the sake of a near feature."""
_SPACING_FACTOR = 2.0
"""A seam piece is at most this many times as long as the spacing of the outline vertex it touches."""

_DEPTH = 64
_LEAST_SPACING = 10.0


def coarse_spacing(ground_size: float) -> float:
    """Return the spacing H of the coarse triangulation for a mesh size on terrain, both in metres."""
    return max(_LEAST_SPACING, ground_size)


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


def bisect_edges(
    points: Int64,
    ends: Int64 | Int32,
    *,
    limits: Float64,
    spacing: Float64 | None = None,
    grid: SegmentGrid | None = None,
) -> tuple[Int64, Int32, Int32]:
    """Halve edges down to a size, to the spacing at their ends and to the distance of foreign features.

    Parameters
    ----------
    points : (n, 2) int64
        Mesh units.
    ends : (m, 2) int
        Start and end of each edge.
    limits : (m,) float64
        Mesh units. A piece longer than its limit is halved; spacing and features matter to pieces
        longer than twice the `shortest_pieces` of their limits.
    spacing : (n,) float64, optional
        Mesh units; a piece that ends at a given point is at most twice as long as its spacing.
        ``inf`` asks for nothing.
    grid : SegmentGrid, optional
        All features within reach, the edges themselves included.

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
    if spacing is None:
        spacing = np.full(len(points), np.inf)
    if grid is None:
        grid = segment_grid(np.empty((0, 4), np.int64), (0, 0, 0, 0))
    # One layout of every array: the kernel is compiled once.
    given, edges = np.ascontiguousarray(points), np.ascontiguousarray(ends, np.int64)
    midpoints, n_midpoints, pieces, made = _bisect(given, edges, limits, shortest_pieces(limits), spacing, grid)
    found = pieces[:made].astype(np.int32)
    return np.concatenate([given, midpoints[:n_midpoints]]), np.ascontiguousarray(found[:, :2]), found[:, 2]


@njit(cache=True, nogil=True)
def _grown(array: Int64) -> Int64:
    larger = np.empty((2 * len(array), array.shape[1]), array.dtype)
    for k in range(len(array)):
        for column in range(array.shape[1]):
            larger[k, column] = array[k, column]
    return larger


@njit(cache=True, nogil=True)
def _bisect(
    points: Int64, ends: Int64, limits: Float64, shortest: Float64, spacing: Float64, grid: SegmentGrid
) -> tuple[Int64, int, Int64, int]:
    """Return midpoints, their number, pieces (start, end, edge) and their number."""
    given = len(points)
    fresh = np.empty((2 * len(ends) + 16, 2), np.int64)
    n_fresh = 0
    pieces = np.empty((2 * len(ends) + 16, 3), np.int64)
    made = 0
    corners = np.empty(4, np.int64)
    # Ends of the pieces that wait, with their coordinates; the first waiting one is on top.
    stack = np.empty((_DEPTH, 3), np.int64)
    for k in range(len(ends)):
        first = ends[k, 0]
        last = ends[k, 1]
        swap = points[first, 0] > points[last, 0]
        if points[first, 0] == points[last, 0]:
            swap = points[first, 1] > points[last, 1]
        if swap:
            first, last = last, first
        ax = points[first, 0]
        ay = points[first, 1]
        corners[0] = ax
        corners[1] = ay
        corners[2] = points[last, 0]
        corners[3] = points[last, 1]
        stack[0, 0] = last
        stack[0, 1] = corners[2]
        stack[0, 2] = corners[3]
        depth = 1
        while depth > 0:
            last = stack[depth - 1, 0]
            bx = stack[depth - 1, 1]
            by = stack[depth - 1, 2]
            length = piece_length(ax, ay, bx, by)
            x = (ax + bx) >> 1
            y = (ay + by) >> 1
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
                if n_fresh == len(fresh):
                    fresh = _grown(fresh)
                fresh[n_fresh, 0] = x
                fresh[n_fresh, 1] = y
                stack[depth, 0] = given + n_fresh
                stack[depth, 1] = x
                stack[depth, 2] = y
                n_fresh += 1
                depth += 1
                continue
            if made == len(pieces):
                pieces = _grown(pieces)
            pieces[made, 0] = last if swap else first
            pieces[made, 1] = first if swap else last
            pieces[made, 2] = k
            made += 1
            first = last
            ax = bx
            ay = by
            depth -= 1
    return fresh, n_fresh, pieces, made


@njit(cache=True, nogil=True)
def lengths_at_points(points: Int64, ends: Int32, limits: Float64, graded: Bool) -> tuple[Int64, Int64, Float64]:
    """Return, per point, the summed length and number of its pieces, and its shortest graded one.

    Parameters
    ----------
    points : (n, 2) int64
        Mesh units.
    ends : (m, 2) int32
        Pieces.
    limits : (m,) float64
        Mesh units; a piece counts with the length that it has once it is halved down to its limit.
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
        while length > limits[k]:
            length *= 0.5
        for point in (a, b):
            total[point] += np.int64(np.rint(length))
            count[point] += 1
            if graded[k]:
                least[point] = min(least[point], length)
    return total, count, least
