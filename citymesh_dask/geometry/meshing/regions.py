"""Kernels on triangulations: which region every triangle lies in, found from labelled pieces.

Only flood fill and what it needs belongs here; who cuts the pieces and why is in `band`. Triangles
come as the library keeps them: rows of six, vertices 0..2 and neighbours 3..5 over edge ``i, i + 1``,
the vertices of its super-triangle counted first.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from ...outlines import Bool, Float64, Int32, Int64
from .lattice_fill import FILLED, UNOWNED

UInt32 = npt.NDArray[np.uint32]

SUPER = 3
"""Vertices of the super-triangle."""
LATTICE_RIM = -1
"""Neighbour of a band triangle where lattice triangles go on; see `outside_code`."""

_NO_PIECE = 2**31 - 1
_UNSET = -100


@njit(cache=True, nogil=True)
def outside_code(label: int) -> int:
    """Return the neighbour code of a region that another tile meshes; its own inverse.

    Parameters
    ----------
    label : int
        Local label of a building, `GROUND` or `BEYOND`.

    Returns
    -------
    int
        Below `LATTICE_RIM`.
    """
    return -4 - label


@njit(cache=True, nogil=True)
def half_edges(ends: Int32, n_vertices: int) -> tuple[Int32, Int32, Int32]:
    """Return, per vertex, where the pieces at it lead: ``start``, ``to`` and the piece.

    Piece ``k`` is ``k`` where it leaves the vertex and ``~k`` where it arrives.

    Parameters
    ----------
    ends : (m, 2) int32
        Vertices of the directed pieces.
    n_vertices : int
        Number of vertices.

    Returns
    -------
    start : (n_vertices + 1,) int32
    to, piece : (2 m,) int32
    """
    start = np.zeros(n_vertices + 1, np.int32)
    for k in range(len(ends)):
        start[ends[k, 0] + 1] += 1
        start[ends[k, 1] + 1] += 1
    for v in range(n_vertices):
        start[v + 1] += start[v]
    to = np.empty(2 * len(ends), np.int32)
    piece = np.empty(2 * len(ends), np.int32)
    fill = start[:-1].copy()
    for k in range(len(ends)):
        a, b = ends[k, 0], ends[k, 1]
        to[fill[a]], piece[fill[a]] = b, k
        fill[a] += 1
        to[fill[b]], piece[fill[b]] = a, ~k
        fill[b] += 1
    return start, to, piece


@njit(cache=True, nogil=True)
def _find_piece(start: Int32, to: Int32, piece: Int32, a: int, b: int) -> int:
    """Return the piece from a to b (``~k`` where it runs from b to a), or `_NO_PIECE`."""
    found: int = _NO_PIECE
    for q in range(start[a], start[a + 1]):
        if to[q] == b:
            found = piece[q]
            break
    return found


@njit(cache=True, nogil=True)
def flood_regions(corners: UInt32, start: Int32, to: Int32, piece: Int32, sides: Int32) -> tuple[Int32, int, int]:
    """Label all triangles from both sides of the pieces.

    Parameters
    ----------
    corners : (t, 6) uint32
        Triangles.
    start, to, piece : int32 arrays
        The pieces at each vertex, from `half_edges`.
    sides : (m, 2) int32
        Labels on the left and right of each piece.

    Returns
    -------
    labels : (t,) int32
        `UNOWNED` where no piece borders the region.
    met : int
        Number of sides of pieces that are sides of triangles: twice the pieces if none is missing.
    conflict : int
        A triangle whose region has more than one label, or -1.
    """
    count = len(corners)
    labels = np.full(count, _UNSET, np.int32)
    closed = np.zeros(count, np.uint8)
    stack = np.empty(count, np.int32)
    depth = 0
    met = 0
    conflict = -1
    for t in range(count):
        for e in range(3):
            a = np.int64(corners[t, e])
            if start[a] == start[a + 1]:
                continue
            k = _find_piece(start, to, piece, a, np.int64(corners[t, (e + 1) % 3]))
            if k == _NO_PIECE:
                continue
            closed[t] |= 1 << e
            met += 1
            label = sides[k, 0] if k >= 0 else sides[~k, 1]
            if labels[t] == _UNSET:
                labels[t] = label
                stack[depth] = t
                depth += 1
            elif labels[t] != label:
                conflict = t
    while depth:
        depth -= 1
        t = stack[depth]
        for e in range(3):
            q = np.int64(corners[t, 3 + e])
            if closed[t] >> e & 1 or q >= count:
                continue
            if labels[q] == _UNSET:
                labels[q] = labels[t]
                stack[depth] = q
                depth += 1
            elif labels[q] != labels[t]:
                conflict = int(q)
    for t in range(count):
        if labels[t] == _UNSET:
            labels[t] = UNOWNED
    return labels, met, conflict


@njit(cache=True, nogil=True)
def orient_pieces(cut: Int32, positions: Float64, ends: Int32, start: Int32, to: Int32, piece: Int32) -> Int64:
    """Let pieces run like the segments they were cut from.

    Parameters
    ----------
    cut : (k, 4) int32
        Ends of each piece and of the segment it is from; the piece's ends are put in order in place.
    positions : (n, 2) float64
        Metres.
    ends : (m, 2) int32
        Directed segments.
    start, to, piece : int32 arrays
        The segments at each vertex, from `half_edges`.

    Returns
    -------
    (k,) int64
        The segment of each piece.
    """
    parents = np.empty(len(cut), np.int64)
    for i in range(len(cut)):
        k = _find_piece(start, to, piece, cut[i, 2], cut[i, 3])
        parent = k if k >= 0 else -1 - k
        parents[i] = parent
        a, b, u, v = ends[parent, 0], ends[parent, 1], cut[i, 0], cut[i, 1]
        along = (positions[v, 0] - positions[u, 0]) * (positions[b, 0] - positions[a, 0])
        along += (positions[v, 1] - positions[u, 1]) * (positions[b, 1] - positions[a, 1])
        if along < 0:
            cut[i, 0], cut[i, 1] = v, u
    return parents


@njit(cache=True, nogil=True)
def largest_area(corners: UInt32, positions: Float64, wanted: Bool) -> float:
    """Return the largest area among some triangles.

    Parameters
    ----------
    corners : (t, 6) uint32
    positions : (n, 2) float64
        Metres.
    wanted : (t,) bool

    Returns
    -------
    float
        Square metres; 0 where there are none.
    """
    largest = 0.0
    for t in range(len(corners)):
        if wanted[t]:
            a, b, c = np.int64(corners[t, 0]), np.int64(corners[t, 1]), np.int64(corners[t, 2])
            ux, uy = positions[b, 0] - positions[a, 0], positions[b, 1] - positions[a, 1]
            vx, vy = positions[c, 0] - positions[a, 0], positions[c, 1] - positions[a, 1]
            largest = max(largest, 0.5 * (ux * vy - uy * vx))
    return largest


@njit(cache=True, nogil=True)
def owned_triangles(
    corners: UInt32, labels: Int32, start: Int32, to: Int32, piece: Int32, beyond: Int32
) -> tuple[Int32, Int32, Int32]:
    """Copy out the triangles of regions that the tile meshes, vertices counted without the super-triangle.

    Parameters
    ----------
    corners : (t, 6) uint32
    labels : (t,) int32
        Above `FILLED` where a triangle is wanted.
    start, to, piece : int32 arrays
        The pieces at each vertex, from `half_edges`.
    beyond : (m, 2) int32
        True labels on the left and right of each piece.

    Returns
    -------
    triangles, neighbours : (k, 3) int32
        As in `band.Band`.
    kept : (k,) int32
        Their labels.
    """
    place = np.empty(len(corners), np.int32)
    count = 0
    for t in range(len(corners)):
        place[t] = count
        count += labels[t] > FILLED
    triangles = np.empty((count, 3), np.int32)
    neighbours = np.empty((count, 3), np.int32)
    kept = np.empty(count, np.int32)
    for t in range(len(corners)):
        if labels[t] <= FILLED:
            continue
        n = place[t]
        kept[n] = labels[t]
        for e in range(3):
            a, b, q = np.int64(corners[t, e]), np.int64(corners[t, (e + 1) % 3]), np.int64(corners[t, 3 + e])
            triangles[n, e] = a - SUPER
            if labels[q] > FILLED:
                neighbours[n, e] = place[q]
            elif labels[q] == FILLED:
                neighbours[n, e] = LATTICE_RIM
            else:
                # Labels change over pieces only, so that there is one.
                k = _find_piece(start, to, piece, a, b)
                neighbours[n, e] = outside_code(beyond[k, 1] if k >= 0 else beyond[~k, 0])
    return triangles, neighbours, kept
