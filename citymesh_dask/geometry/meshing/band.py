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

from ...errors import RunError
from ...outlines import Bool, Float64, Int32
from .lattice_fill import FILLED
from .regions import SUPER, UInt32, flood_regions, half_edges, largest_area, orient_pieces, owned_triangles

AREA_TOLERANCE = 1.01
"""Triangles may exceed the asked area by this factor."""

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
        Vertices, and the neighbour over edge ``i, i + 1``: a triangle, `regions.LATTICE_RIM`, or the
        `regions.outside_code` of the region that lies beyond a border of what the tile owns.
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
    inner = Segments(segments.ends + SUPER, segments.sides, segments.beyond, segments.source, segments.frozen)
    mesher = _triangulate(points, segments.ends)
    first = _label_regions(mesher, inner)
    shortest = min(0.1, 0.1 * min(sizes))
    if not refine_area:
        erased = _triangle_set(first.labels <= FILLED)
    elif sizes[0] == sizes[1]:
        erased = _refine_one_area(mesher, first, size=sizes[0], shortest=shortest)
    else:
        erased = _refine_two_areas(mesher, inner, first, sizes=sizes, shortest=shortest)
    mesher.refine_triangles(
        _UNLIMITED, pythoncdt.RefinementCriterion.SMALLEST_ANGLE, math.radians(min_angle), erased, shortest
    )
    pieces = _current_pieces(mesher, inner, first)
    return _collect(mesher, pieces, n_given=len(points))


def _triangulate(points: Float64, ends: Int32) -> Any:
    """Return the constrained Delaunay triangulation."""
    mesher = pythoncdt.Triangulation(
        pythoncdt.VertexInsertionOrder.AUTO, pythoncdt.IntersectingConstraintEdges.NOT_ALLOWED, 0.0
    )
    try:
        mesher.insert_vertices(np.ascontiguousarray(points))
        mesher.insert_edges(np.ascontiguousarray(ends, dtype=np.uint32))
    except RuntimeError as error:
        raise _unclean(f"cannot be triangulated ({error})") from error
    return mesher


def _refine_one_area(mesher: Any, first: _Labelled, *, size: float, shortest: float) -> set[int]:
    """Split triangles over the area, the same everywhere; return those outside of the band."""
    erased = _triangle_set(first.labels <= FILLED)
    _split_large(mesher, first.labels > FILLED, erased, size=size, shortest=shortest)
    return erased


def _refine_two_areas(
    mesher: Any, segments: Segments, first: _Labelled, *, sizes: tuple[float, float], shortest: float
) -> set[int]:
    """Split triangles over the area of their region, buildings, then ground; return those outside of the band."""
    labels = first.labels
    for ground, size in ((False, sizes[1]), (True, sizes[0])):
        wanted = (labels > FILLED) & ((labels < 0) == ground)
        if _split_large(mesher, wanted, _triangle_set(~wanted), size=size, shortest=shortest):
            labels = _label_regions(mesher, _current_pieces(mesher, segments, first)).labels
    return _triangle_set(labels <= FILLED)


def _split_large(mesher: Any, wanted: Bool, others: set[int], *, size: float, shortest: float) -> bool:
    """Split wanted triangles over the area; return whether there were any. The library keeps ``others`` up to date."""
    limit = AREA_TOLERANCE * math.sqrt(3.0) / 4 * size**2
    if largest_area(_corners(mesher), _positions(mesher), wanted) <= limit:
        return False
    # Exactly the asked area would split every rounded lattice triangle in the band.
    mesher.refine_triangles(_UNLIMITED, pythoncdt.RefinementCriterion.LARGEST_AREA, 0.999 * limit, others, shortest)
    return True


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
    labels, sides, conflict = flood_regions(_corners(mesher), start, to, piece, pieces.sides)
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
    parents = orient_pieces(table, _positions(mesher), segments.ends, first.start, first.to, first.piece)
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


def _collect(mesher: Any, pieces: Segments, *, n_given: int) -> Band:
    """Copy the owned triangles out of the library."""
    current = _label_regions(mesher, pieces)
    triangles, neighbours, labels = owned_triangles(
        _corners(mesher), current.labels, current.start, current.to, current.piece, pieces.beyond
    )
    added = _positions(mesher)[SUPER + n_given :].copy()
    pieces = Segments(pieces.ends - SUPER, pieces.sides, pieces.beyond, pieces.source, pieces.frozen)
    return Band(added, triangles, neighbours, labels, pieces)
