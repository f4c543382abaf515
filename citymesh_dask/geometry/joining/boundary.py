"""Boundaries of meshes: how they add, and when the last one is the rim of the domain.

Merging two pieces of mesh is adding their boundaries: vertices with equal keys become one, an edge
that appears once in each direction cancels, what remains is the boundary of the union. No mesh is
read for it. The edges of one tile come from ``edges``; vertex numbers are made in ``numbering``, fans
of faces around a vertex are followed in ``fans``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ...mesh import TERRAIN_LEVEL, Boundary
from ...outlines import Bool, Float64, Int8, Int32, Int64
from ...tiles import Box
from ..keys import number_rows
from .matching import INCONSISTENT, ONCE, OVERUSED, match_edges


class SeamFault(IntEnum):
    """What can be wrong where boundaries meet.

    `OPEN`: an edge inside the domain that one face uses. `OVERUSED`: an edge that more than two
    faces use. `INCONSISTENT`: two faces use an edge in the same direction. `HEIGHT`: tiles give one
    vertex different heights. `MISSING`: an edge that the mesh must have at the rim of a hole, and has not.
    """

    OPEN = 0
    OVERUSED = 1
    INCONSISTENT = 2
    HEIGHT = 3
    MISSING = 4


@dataclass(frozen=True)
class SeamDefects:
    """Where boundaries do not fit, one row per place.

    Parameters
    ----------
    faults : (d,) int8
        `SeamFault` codes.
    keys : (d, 2, c) int64
        Keys of the edge's start and end; twice the vertex for `SeamFault.HEIGHT`.
    z : (d, 2) float64
        Heights of start and end, metres; the two that differ for `SeamFault.HEIGHT`.
    tiles : (d, 2) int32
        The first two tiles that have both ends; -1 where there are fewer.
    """

    faults: Int8
    keys: Int64
    z: Float64
    tiles: Int32

    def __len__(self) -> int:
        return len(self.faults)


@dataclass(frozen=True)
class MergedBoundary:
    """The sum of some boundaries.

    Parameters
    ----------
    boundary : Boundary
        Boundary of the union, in an order that does not depend on how it was merged: vertices by
        their smallest (tile, index), edges by (start, end), refs by (vertex, tile, index).
    seams : (s, 4) int32
        Tile, index, owner tile, owner index of each tail entry whose vertex no edge of ``boundary``
        uses any more, ascending. The owner is the smallest (tile, index) of the vertex, so it does
        not depend on the order of merging.
    defects : SeamDefects
        Where the boundaries do not fit.
    """

    boundary: Boundary
    seams: Int32
    defects: SeamDefects


@dataclass(frozen=True)
class Hole:
    """Where tiles are left out of a mesh.

    Parameters
    ----------
    rim : (k, 4) int64
        Edges in plan (x and y of start and end, mesh units) with which the mesh around must end, each once;
        its interior lies left of them.
    boxes : (b, 4) int64
        Where it is not known what is missing: every edge in these boxes may be open.
    """

    rim: Int64
    boxes: Int64


@dataclass(frozen=True)
class Rim:
    """The boundary of the whole mesh, held against the frame of the domain.

    Parameters
    ----------
    length : int
        Length in plan of the edges that run along the frame at terrain level, mesh units.
    frame_length : int
        Perimeter of the frame, mesh units; equal to ``length`` for a mesh without holes.
    seams : (s, 4) int32
        As in `MergedBoundary`, of all vertices that were left.
    defects : SeamDefects
        `SeamFault.OPEN` for every other edge, `SeamFault.MISSING` for what is missing at the rim of a hole.
    n_hole : int
        Edges on the rim of the hole.
    """

    length: int
    frame_length: int
    seams: Int32
    defects: SeamDefects
    n_hole: int = 0


def merge_boundaries(children: Sequence[Boundary]) -> MergedBoundary:
    """Add boundaries: equal vertices become one, opposite edges cancel.

    The sum of the oriented edges is the boundary operator of simplicial homology; it is
    associative, so that any tree over the tiles ends in the same boundary and the same owners.
    Memory and time grow with the perimeter of the children, not with their meshes.

    Parameters
    ----------
    children : sequence of Boundary
        One or more, with keys of equal width; no tile in two of them.
    """
    union, source = _join(children)
    partner = match_edges(union.edges, len(union.keys))
    defects = merge_defects([_edge_defects(union, partner), _height_defects(union, children, source)])
    left = partner == ONCE
    alive = np.zeros(len(union.keys), np.bool_)
    alive[union.edges[left]] = True
    return MergedBoundary(_restrict(union, left, alive), _seam_rows(union.refs, ~alive), defects)


def close_rim(boundary: Boundary, frame: Box, hole: Hole | None = None) -> Rim:
    """Hold what is left at the root of the tree against the frame of the domain.

    Parameters
    ----------
    boundary : Boundary
        Keys are (x, y, level); the interior of the mesh lies left of each edge.
    frame : (int, int, int, int)
        The domain, mesh units relative to the project origin.
    hole : Hole, optional
        What may be open inside, too. A boundary has no ends: what is left, along the frame and around holes, is
        closed loops, whose edges one face each uses.

    Returns
    -------
    Rim
        Every edge with both ends on the same side of the frame, at terrain level and running
        counter-clockwise counts for ``length``; every other edge is open.
    """
    start, stop = (boundary.keys[boundary.edges[:, end]] for end in (0, 1))
    on_rim = along_frame(start[:, :2], stop[:, :2], frame)
    on_rim &= (start[:, 2] == TERRAIN_LEVEL) & (stop[:, 2] == TERRAIN_LEVEL)
    length = int(np.abs(stop[on_rim, :2] - start[on_rim, :2]).sum())
    x0, y0, x1, y1 = frame
    at_hole, missing = np.zeros_like(on_rim), []
    if hole is not None:
        inside = np.flatnonzero(~on_rim)
        plan = np.concatenate([start[inside, :2], stop[inside, :2]], axis=1)
        at_hole[inside], absent = _around_hole(plan, hole)
        missing = [_missing_edges(absent, boundary.keys.shape[1])]
    faults = np.where(on_rim | at_hole, ONCE, _OPEN).astype(np.int32)
    everything = np.ones(len(boundary.keys), np.bool_)
    seams = _seam_rows(boundary.refs, everything)
    defects = merge_defects([_edge_defects(boundary, faults), *missing])
    return Rim(length, 2 * (x1 - x0 + y1 - y0), seams, defects, int(at_hole.sum()))


def _around_hole(edges: Int64, hole: Hole) -> tuple[Bool, Int64]:
    """Return which of some edges, (e, 4) in plan, a hole explains, and the edges that its rim lacks.

    An edge of the rim must be there once. Upright edges stand where walls end at it.
    """
    ids, _ = number_rows(np.concatenate([edges, hole.rim]))
    count = int(ids.max(initial=-1)) + 1
    there = np.bincount(ids[: len(edges)], minlength=count)
    wanted = np.bincount(ids[len(edges) :], minlength=count) > 0
    upright = (edges[:, :2] == edges[:, 2:]).all(axis=1)
    found = (wanted & (there == 1))[ids[: len(edges)]] & ~upright
    corners, _ = number_rows(np.concatenate([edges[:, :2], hole.rim[:, :2], hole.rim[:, 2:]]))
    found |= upright & np.isin(corners[: len(edges)], corners[len(edges) :])
    for x0, y0, x1, y1 in hole.boxes.tolist():
        found |= ((edges >= (x0, y0, x0, y0)) & (edges <= (x1, y1, x1, y1))).all(axis=1)
    return found, hole.rim[there[ids[len(edges) :]] == 0]


def _missing_edges(edges: Int64, columns: int) -> SeamDefects:
    """Return edges in plan, (k, 4), as defects of the terrain."""
    count = len(edges)
    keys = np.full((count, 2, columns), TERRAIN_LEVEL, np.int64)
    keys[:, :, :2] = edges.reshape(count, 2, 2)
    faults = np.full(count, SeamFault.MISSING, np.int8)
    return SeamDefects(faults, keys, np.zeros((count, 2)), np.full((count, 2), -1, np.int32))


def along_frame(start: Int64, stop: Int64, frame: Box) -> Bool:
    """Return which edges run along a side of a rectangle, counter-clockwise.

    Parameters
    ----------
    start, stop : (e, 2) int64
        Ends of the edges in plan.
    frame : (int, int, int, int)
        The rectangle, in the same units.

    Returns
    -------
    (e,) bool
        False for edges without length in plan too.

    Examples
    --------
    >>> along_frame(np.array([[0, 0], [3, 0]]), np.array([[3, 0], [0, 0]]), (0, 0, 5, 5)).tolist()
    [True, False]
    """
    x0, y0, x1, y1 = frame
    found = np.zeros(len(start), np.bool_)
    for axis, at, direction in ((1, y0, 1), (0, x1, 1), (1, y1, -1), (0, x0, -1)):
        step = (stop[:, 1 - axis] - start[:, 1 - axis]) * direction
        found |= (start[:, axis] == at) & (stop[:, axis] == at) & (step > 0)
    return found


def merge_defects(defects: Sequence[SeamDefects]) -> SeamDefects:
    """Return all defects, one list after the other."""
    return SeamDefects(*(np.concatenate(parts) for parts in zip(*map(_columns, defects), strict=True)))


def _columns(defects: SeamDefects) -> tuple[Int8, Int64, Float64, Int32]:
    return defects.faults, defects.keys, defects.z, defects.tiles


_OPEN = -4
_FAULTS = {_OPEN: SeamFault.OPEN, OVERUSED: SeamFault.OVERUSED, INCONSISTENT: SeamFault.INCONSISTENT}


def _join(children: Sequence[Boundary]) -> tuple[Boundary, Int32]:
    """Return the children as one boundary in canonical order, and the new number of each old vertex."""
    shift = np.cumsum([0, *(len(child.keys) for child in children[:-1])]).astype(np.int32)
    keys = np.concatenate([child.keys for child in children])
    ids, first = number_rows(keys)
    refs = np.concatenate([child.refs for child in children])
    refs[:, 0] = ids[refs[:, 0] + np.repeat(shift, [len(child.refs) for child in children])]
    refs = refs[np.lexsort((refs[:, 2], refs[:, 1]))]
    # vertices are renumbered by their smallest (tile, index)
    leading = np.unique(refs[:, 0], return_index=True)[1]
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(leading)] = np.arange(len(first), dtype=np.int32)
    refs[:, 0] = rank[refs[:, 0]]
    refs = refs[np.argsort(refs[:, 0], kind="stable")]
    source = rank[ids]
    edges = np.concatenate([child.edges + step for child, step in zip(children, shift, strict=True)])
    edges = source[edges]
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    order = np.argsort(rank)
    z = np.concatenate([child.z for child in children])
    return Boundary(keys[first[order]], z[first[order]], edges, refs), source


def _restrict(union: Boundary, left: Bool, alive: Bool) -> Boundary:
    """Return the edges that are left and the vertices that they use."""
    number = np.cumsum(alive, dtype=np.int32) - np.int32(1)
    refs = union.refs[alive[union.refs[:, 0]]]
    refs[:, 0] = number[refs[:, 0]]
    return Boundary(union.keys[alive], union.z[alive], number[union.edges[left]], refs)


def _seam_rows(refs: Int32, closed: Bool) -> Int32:
    """Return tile, index, owner tile, owner index of the refs of closed vertices, ascending."""
    first = np.searchsorted(refs[:, 0], np.arange(len(closed)))
    owners = refs[first[refs[:, 0]], 1:] if len(refs) else refs[:, 1:]
    rows = np.concatenate([refs[:, 1:], owners], axis=1)[closed[refs[:, 0]]]
    return rows[np.lexsort((rows[:, 1], rows[:, 0]))]


def _edge_defects(union: Boundary, partner: Int32) -> SeamDefects:
    """Return the edges whose partner is a fault, each pair of vertices once."""
    bad = np.flatnonzero(partner < ONCE)
    ends = np.sort(union.edges[bad], axis=1)
    order = bad[np.unique(ends, axis=0, return_index=True)[1]]
    faults = np.array([_FAULTS[code] for code in partner[order].tolist()], np.int8)
    edges = union.edges[order]
    tiles = np.array([_edge_tiles(union.refs, edge) for edge in edges.tolist()], np.int32).reshape(-1, 2)
    return SeamDefects(faults, union.keys[edges], union.z[edges], tiles)


def _edge_tiles(refs: Int32, edge: Sequence[int]) -> tuple[int, int]:
    """Return the first two tiles that have both ends of an edge; -1 where there are fewer."""
    low, high = (np.searchsorted(refs[:, 0], vertex) for vertex in (edge, [v + 1 for v in edge]))
    start, stop = (refs[a:b, 1] for a, b in zip(low, high, strict=True))
    tiles = [*np.intersect1d(start, stop).tolist(), -1, -1]
    return tiles[0], tiles[1]


def _height_defects(union: Boundary, children: Sequence[Boundary], source: Int32) -> SeamDefects:
    """Return the vertices to which some child gives other bits of z than the first one."""
    z = np.concatenate([child.z for child in children])
    differ = np.flatnonzero(z.view(np.int64) != union.z[source].view(np.int64))
    vertices, where = np.unique(source[differ], return_index=True)
    tiles = np.array([_edge_tiles(union.refs, (v, v)) for v in vertices.tolist()], np.int32).reshape(-1, 2)
    pair = np.stack([vertices, vertices], axis=1)
    heights = np.stack([union.z[vertices], z[differ[where]]], axis=1)
    faults = np.full(len(vertices), SeamFault.HEIGHT, np.int8)
    return SeamDefects(faults, union.keys[pair], heights, tiles)
