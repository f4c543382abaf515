"""The band around the constraints: constrained Delaunay triangulation, labels and refinement.

The only module that calls ``pythoncdt``. It triangulates constraints and the lattice points near
them, refines to the asked areas and angles, and tells for every triangle which region it lies in.
What refinement did to edges that must stay as they are is put right in `frozen`.

``pythoncdt`` numbers the three vertices of its super-triangle first; everything in this module
counts them, `Band` does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pythoncdt
from numba import njit

from ..errors import RunError
from ..outlines import Bool, Float64, Int32, Int64
from .lattice_fill import FILLED, UNOWNED

UInt32 = npt.NDArray[np.uint32]

SUPER = 3
"""Vertices of the super-triangle."""
LATTICE_RIM = -1
"""Neighbour of a band triangle where lattice triangles go on; see `outside_code`."""

_UNSET = -100
_NO_PIECE = 2**31 - 1
_UNLIMITED = 10**9


@dataclass(frozen=True)
class Segments:
    """Directed, labelled edges that the triangulation must contain.

    Parameters
    ----------
    ends : (m, 2) int32
        Vertices.
    sides : (m, 2) int32
        Labels on the left and right as this tile meshes them; `UNOWNED` or `FILLED` where it does not.
    beyond : (m, 2) int32
        True labels on the left and right.
    source : (m,) int32
        Constraint that each segment comes from, -1 on the rim of the lattice.
    frozen : (m,) bool
        True where refinement must leave no trace.
    """

    ends: Int32
    sides: Int32
    beyond: Int32
    source: Int32
    frozen: Bool


@dataclass(frozen=True)
class Band:
    """The refined band.

    Parameters
    ----------
    added : (k, 2) float64
        Positions of the vertices that refinement added, after those given.
    triangles, neighbours : (t, 3) int32
        Vertices, and the neighbour over edge ``i, i + 1``: a triangle, `LATTICE_RIM`, or the
        `outside_code` of the region that lies beyond a border of what the tile owns.
    labels : (t,) int32
        Region of each triangle.
    pieces : Segments
        The segments after refinement.
    """

    added: Float64
    triangles: Int32
    neighbours: Int32
    labels: Int32
    pieces: Segments


@dataclass(frozen=True)
class _Labelled:
    """Regions of the current triangulation."""

    labels: Int32
    start: Int32
    to: Int32
    piece: Int32


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


def triangulate_band(
    points: Float64,
    segments: Segments,
    *,
    sizes: tuple[float, float],
    min_angle: float,
    refine_area: bool,
) -> Band:
    """Triangulate and refine what lies between lattice triangles and constraints.

    Parameters
    ----------
    points : (n, 2) float64
        Metres, each position once.
    segments : Segments
        Constraints and lattice rim, vertices counted without the super-triangle.
    sizes : (float, float)
        Asked edge length of ground and building triangles, metres; their largest area is that of
        the equilateral triangle.
    min_angle : float
        Smallest angle asked for, degrees.
    refine_area : bool
        False asks for angles alone.

    Returns
    -------
    Band

    Raises
    ------
    RunError
        If constraints cross, touch without a common vertex, or contradict one another.
    """
    mesher = pythoncdt.Triangulation(
        pythoncdt.VertexInsertionOrder.AUTO, pythoncdt.IntersectingConstraintEdges.NOT_ALLOWED, 0.0
    )
    ends = np.ascontiguousarray(segments.ends, dtype=np.uint32)
    try:
        mesher.insert_vertices(np.ascontiguousarray(points))
        mesher.insert_edges(ends)
    except RuntimeError as error:
        raise _unclean(f"cannot be triangulated ({error})") from error
    segments = Segments(segments.ends + SUPER, segments.sides, segments.beyond, segments.source, segments.frozen)
    first = _label_regions(mesher, segments)
    shortest = min(0.1, 0.1 * min(sizes))
    current = first
    if refine_area:
        current = _refine_areas(mesher, segments, first, sizes=sizes, shortest=shortest)
    erased = _triangle_set(current.labels <= FILLED)
    mesher.refine_triangles(
        _UNLIMITED, pythoncdt.RefinementCriterion.SMALLEST_ANGLE, math.radians(min_angle), erased, shortest
    )
    pieces = _current_pieces(mesher, segments, first)
    return _collect(mesher, pieces, _label_regions(mesher, pieces), len(points))


def _refine_areas(
    mesher: Any, segments: Segments, first: _Labelled, *, sizes: tuple[float, float], shortest: float
) -> _Labelled:
    """Split triangles over the area of their region, ground and buildings in turn, where there are any."""
    current = first
    for ground, size in ((False, sizes[1]), (True, sizes[0])):
        limit = math.sqrt(3.0) / 4 * size**2
        labels = current.labels
        wanted = (labels > FILLED) & ((labels < 0) == ground)
        if _largest_area(_corners(mesher), _positions(mesher), wanted) <= 1.01 * limit:
            continue
        mesher.refine_triangles(
            _UNLIMITED, pythoncdt.RefinementCriterion.LARGEST_AREA, limit, _triangle_set(~wanted), shortest
        )
        current = _label_regions(mesher, _current_pieces(mesher, segments, first))
    return current


def _triangle_set(mask: Bool) -> set[int]:
    return set(np.flatnonzero(mask).tolist())


def _corners(mesher: Any) -> UInt32:
    """Return vertices 0..2 and neighbours 3..5 (over edge i, i + 1) of all triangles: a view, not a copy."""
    view: UInt32 = mesher.triangles_array(copy=False).view(np.uint32).reshape(-1, 6)
    return view


def _positions(mesher: Any) -> Float64:
    view: Float64 = mesher.vertices_array(copy=False).view(np.float64).reshape(-1, 2)
    return view


def _label_regions(mesher: Any, pieces: Segments) -> _Labelled:
    """Return the label of every triangle, by flood fill from both sides of the pieces."""
    n_vertices = mesher.vertices_count()
    start, to, piece = half_edges(pieces.ends, n_vertices)
    labels, sides, conflict = _flood(_corners(mesher), start, to, piece, pieces.sides)
    if conflict >= 0 or sides != 2 * len(pieces.ends):
        raise _unclean(_describe(mesher, pieces, conflict))
    return _Labelled(labels, start, to, piece)


def _describe(mesher: Any, pieces: Segments, conflict: int) -> str:
    if conflict < 0:
        return "a vertex lies on a constraint between its ends"
    x, y = _positions(mesher)[_corners(mesher)[conflict, :3]].mean(axis=0)
    return f"contradict one another about the region at ({x:.3f}, {y:.3f}) m from the tile's origin"


def _unclean(found: str) -> RunError:
    return RunError(
        "constraints of a tile",
        found,
        "segments that meet at common ends only, with one label on each side",
        "this is a defect of cleaning or of the seams: please report it with the footprints",
    )


def _current_pieces(mesher: Any, segments: Segments, first: _Labelled) -> Segments:
    """Return the segments as refinement has cut them."""
    cut = [
        (piece.v1, piece.v2, originals[0].v1, originals[0].v2) for piece, originals in mesher.piece_to_originals_iter()
    ]
    if not cut:
        return segments
    table = np.array(cut, dtype=np.int32)
    parents = _orient_pieces(table, _positions(mesher), segments.ends, first.start, first.to, first.piece)
    whole = np.ones(len(segments.ends), dtype=bool)
    whole[parents] = False

    def both(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.concatenate([values[whole], values[parents]])

    return Segments(
        np.concatenate([segments.ends[whole], table[:, :2]]),
        both(segments.sides),
        both(segments.beyond),
        both(segments.source),
        both(segments.frozen),
    )


def _collect(mesher: Any, pieces: Segments, current: _Labelled, n_given: int) -> Band:
    """Copy the owned triangles out of the library."""
    triangles, neighbours, labels = _owned_triangles(
        _corners(mesher), current.labels, current.start, current.to, current.piece, pieces.beyond
    )
    added = _positions(mesher)[SUPER + n_given :].copy()
    pieces = Segments(pieces.ends - SUPER, pieces.sides, pieces.beyond, pieces.source, pieces.frozen)
    return Band(added, triangles, neighbours, labels, pieces)


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
    for q in range(start[a], start[a + 1]):
        if to[q] == b:
            return piece[q]
    return _NO_PIECE


@njit(cache=True, nogil=True)
def _flood(corners: UInt32, start: Int32, to: Int32, piece: Int32, sides: Int32) -> tuple[Int32, int, int]:
    """Return the labels of all triangles, how many sides of pieces were met, and a contradicting triangle or -1."""
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
                conflict = q
    for t in range(count):
        if labels[t] == _UNSET:
            labels[t] = UNOWNED
    return labels, met, conflict


@njit(cache=True, nogil=True)
def _orient_pieces(cut: Int32, positions: Float64, ends: Int32, start: Int32, to: Int32, piece: Int32) -> Int64:
    """Let each row (piece, original) of ``cut`` run like its segment, in place; return the segments."""
    parents = np.empty(len(cut), np.int64)
    for i in range(len(cut)):
        k = _find_piece(start, to, piece, cut[i, 2], cut[i, 3])
        k = k if k >= 0 else ~k
        parents[i] = k
        a, b = ends[k, 0], ends[k, 1]
        u, v = cut[i, 0], cut[i, 1]
        along = (positions[v, 0] - positions[u, 0]) * (positions[b, 0] - positions[a, 0])
        along += (positions[v, 1] - positions[u, 1]) * (positions[b, 1] - positions[a, 1])
        if along < 0:
            cut[i, 0], cut[i, 1] = v, u
    return parents


@njit(cache=True, nogil=True)
def _largest_area(corners: UInt32, positions: Float64, wanted: Bool) -> float:
    largest = 0.0
    for t in range(len(corners)):
        if wanted[t]:
            a, b, c = np.int64(corners[t, 0]), np.int64(corners[t, 1]), np.int64(corners[t, 2])
            ux, uy = positions[b, 0] - positions[a, 0], positions[b, 1] - positions[a, 1]
            vx, vy = positions[c, 0] - positions[a, 0], positions[c, 1] - positions[a, 1]
            largest = max(largest, 0.5 * (ux * vy - uy * vx))
    return largest


@njit(cache=True, nogil=True)
def _owned_triangles(
    corners: UInt32, labels: Int32, start: Int32, to: Int32, piece: Int32, beyond: Int32
) -> tuple[Int32, Int32, Int32]:
    """Return the triangles above `FILLED` with their neighbours, vertices counted without the super-triangle."""
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
                k = _find_piece(start, to, piece, a, b)
                neighbours[n, e] = outside_code(beyond[k, 1] if k >= 0 else beyond[~k, 0])
    return triangles, neighbours, kept
