"""What one tile meshes: its share of ground and buildings, and the seams to its neighbours.

Seams are edges of a canonical coarse triangulation (`citymesh_dask.geometry.seams.coarse`), never tile
lines. Ground triangles belong to the tile that holds their centroid, a cluster of touching
buildings belongs whole to the tile that holds the centre of its box, clusters too large for that
are shared out like ground, building by building. Only the sharing belongs here; how the share is
meshed does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from ...outlines import BEYOND, GROUND, Bool, Constraints, Float64, Int8, Int32, Int64, Pieces
from ...tiles import MESH_UNITS, Box
from ..pieces.bisection import bisect_edges, coarse_spacing, lengths_at_points
from ..pieces.piece_sets import compact
from ..pieces.subdivision import final_limits, wall_steps
from .coarse import triangulate_window
from .fillers import filler_clearance, filler_points
from .location import label_at

HALO = 2.0
"""Width of the strip around a tile that is triangulated along with it, in filler spacings."""
_CLOSED = -3
"""Label of all buildings that belong to one tile as a whole."""
_SEAM_LENGTH = 1.2
"""Longest seam piece, in mesh sizes."""
_THIN_SINE = 0.5
"""Triangles with a smaller sine of the smallest angle follow the neighbour over their longest edge."""


@dataclass(frozen=True)
class _Share:
    """What a tile owns.

    Parameters
    ----------
    own : (m, 2) bool
        For each piece of the window: whether its left and its right side are meshed here.
    points : (n, 2) int64
        Points of the coarse triangulation, mesh units.
    outline : (k,) int64
        The first ``k`` of them, as indices into the points of the pieces.
    spacing : (n,) float64
        Spacing at each point, metres.
    seams : (s, 2) int32
        Directed seam edges, own side on the left, indices into ``points``.
    labels : (s,) int64
        Label on both sides of each seam edge.
    """

    own: Bool
    points: Int64
    outline: Int64
    spacing: Float64
    seams: Int32
    labels: Int64


def window_of(tile: Box, ground_size: float) -> Box:
    """Return the box whose pieces a tile must know, all in mesh units."""
    grow = math.ceil(HALO * coarse_spacing(ground_size) * MESH_UNITS) + filler_clearance(ground_size)
    return (tile[0] - grow, tile[1] - grow, tile[2] + grow, tile[3] + grow)


def tile_constraints(
    pieces: Pieces, tile: Box, *, frame: Box, ground_size: float, building_size: float
) -> Constraints | None:
    """Return what a tile meshes, or None if that is nothing.

    Parameters
    ----------
    pieces : Pieces
        Every cluster whose box meets `window_of` the tile, whole, and the pieces of the frame in
        that window; each position once. More does no harm and changes nothing.
    tile, frame : Box
        Mesh units. The tile owns what lies in ``[x0, x1) x [y0, y1)``; tiles together cover the
        frame.
    ground_size, building_size : float
        Mesh sizes on terrain and on buildings, metres.

    Returns
    -------
    Constraints or None
        Over all tiles every side of every piece is owned exactly once, sides beyond the frame
        excepted, and every seam segment appears in two tiles, in opposite directions.

    Raises
    ------
    RunError
        If pieces cross, or the labels of two of them contradict one another.
    """
    if tile[0] <= frame[0] and tile[1] <= frame[1] and tile[2] >= frame[2] and tile[3] >= frame[3]:
        share = _whole(pieces)
    else:
        share = _share_of(pieces, tile, frame=frame, ground_size=ground_size)
    if not share.own.any() and not len(share.seams):
        return None
    return _assemble(pieces, share, ground_size=ground_size, building_size=building_size)


def _whole(pieces: Pieces) -> _Share:
    own = np.stack([pieces.left, pieces.right], axis=1) != BEYOND
    nothing = np.empty(0, np.int64)
    return _Share(own, np.empty((0, 2), np.int64), nothing, np.empty(0), np.empty((0, 2), np.int32), nothing)


def _share_of(pieces: Pieces, tile: Box, *, frame: Box, ground_size: float) -> _Share:
    """Share out by the coarse triangulation of the tile's window."""
    window = window_of(tile, ground_size)
    labels = np.stack([pieces.left, pieces.right], axis=1)
    divided = np.append(pieces.divided, False)[pieces.cluster]
    shared = np.where((labels >= 0) & ~divided[:, None], _CLOSED, labels)
    has_open_side = (shared[:, 0] != _CLOSED) | (shared[:, 1] != _CLOSED)
    active = np.flatnonzero(has_open_side & _meets(pieces.points, pieces.ends, window))
    outline, ends = compact(len(pieces.points), pieces.ends[active])
    fillers = _fillers_of(window, frame, ground_size, points=pieces.points[outline], ends=ends)

    def region_at(x: int, y: int) -> int:
        return label_at((x, y), points=pieces.points, ends=pieces.ends, labels=shared)

    points = np.concatenate([pieces.points[outline], fillers])
    mesh = triangulate_window(points, ends, shared[active], window=window, label_at=region_at)
    owned = _owned_triangles(points, mesh.triangles, mesh.neighbours, mesh.sides, mesh.labels, tile)
    rim, touched = _rim(mesh.triangles, mesh.neighbours, mesh.sides, owned, len(active))
    own = np.append(_own_clusters(pieces, tile), False)[pieces.cluster][:, None] & (labels >= 0)
    own[active] |= touched
    spacing = np.concatenate([pieces.spacing[outline], np.full(len(fillers), np.inf)])
    return _Share(own, points, outline, spacing, rim[:, :2], mesh.labels[rim[:, 2]])


def _fillers_of(window: Box, frame: Box, ground_size: float, *, points: Int64, ends: Int32) -> Int64:
    """Return the fillers of a window whose distance from all pieces is known there."""
    clearance = filler_clearance(ground_size)
    box = (window[0] + clearance, window[1] + clearance, window[2] - clearance, window[3] - clearance)
    return filler_points(box, frame=frame, ground_size=ground_size, points=points, ends=ends)


@njit(cache=True, nogil=True)
def _meets(points: Int64, ends: Int32, box: Box) -> Bool:
    """Tell which pieces have a bounding box that meets a box."""
    meets = np.empty(len(ends), np.bool_)
    for k in range(len(ends)):
        ax = points[ends[k, 0], 0]
        ay = points[ends[k, 0], 1]
        bx = points[ends[k, 1], 0]
        by = points[ends[k, 1], 1]
        across = max(ax, bx) >= box[0] and min(ax, bx) <= box[2]
        meets[k] = across and max(ay, by) >= box[1] and min(ay, by) <= box[3]
    return meets


def _own_clusters(pieces: Pieces, tile: Box) -> Bool:
    """Tell which undivided clusters have the centre of their box in the tile."""
    centre = (pieces.boxes[:, :2] + pieces.boxes[:, 2:]) >> 1
    mine: Bool = (centre >= tile[:2]).all(axis=1) & (centre < tile[2:]).all(axis=1) & ~pieces.divided
    return mine


@njit(cache=True, nogil=True)
def _thinness(points: Int64, corners: Int32) -> tuple[float, int]:
    """Return the sine of a triangle's smallest angle and its longest edge.

    Bit-identical in every window: it starts from the lexicographically smallest corner and sorts
    the lengths, because exact ties happen where outlines are symmetric.
    """
    first = 0
    for e in range(1, 3):
        a = corners[e]
        b = corners[first]
        if points[a, 0] < points[b, 0] or (points[a, 0] == points[b, 0] and points[a, 1] < points[b, 1]):
            first = e
    longest = 0.0
    middle = 0.0
    edge = 0
    for turn in range(3):
        e = (first + turn) % 3
        a = corners[e]
        b = corners[(e + 1) % 3]
        dx = float(points[b, 0] - points[a, 0])
        dy = float(points[b, 1] - points[a, 1])
        length = math.sqrt(dx * dx + dy * dy)
        if length > longest:
            middle = longest
            longest = length
            edge = e
        else:
            middle = max(middle, length)
    a = corners[first]
    b = corners[(first + 1) % 3]
    c = corners[(first + 2) % 3]
    ux = float(points[b, 0] - points[a, 0])
    uy = float(points[b, 1] - points[a, 1])
    vx = float(points[c, 0] - points[a, 0])
    vy = float(points[c, 1] - points[a, 1])
    return abs(ux * vy - uy * vx) / (middle * longest), edge


@njit(cache=True, nogil=True)
def _owned_triangles(
    points: Int64, triangles: Int32, neighbours: Int32, sides: Int32, labels: Int64, tile: Box
) -> Bool:
    """Tell which triangles of ground and of divided clusters belong to a tile.

    The centroid decides; a thin triangle goes with the neighbour over its longest edge if that is
    less thin.
    """
    owned = np.zeros(len(triangles), np.bool_)
    sines = np.empty(len(triangles))
    edges = np.empty(len(triangles), np.int8)
    for t in range(len(triangles)):
        if labels[t] >= GROUND:
            sines[t], edges[t] = _thinness(points, triangles[t])
    for t in range(len(triangles)):
        if labels[t] < GROUND:
            continue
        guide = t
        other = neighbours[t, edges[t]]
        follows = other >= 0 and sides[t, edges[t]] == 0 and sines[t] < _THIN_SINE
        if follows and labels[other] == labels[t] and sines[other] > sines[t]:
            guide = other
        x = np.int64(0)
        y = np.int64(0)
        for e in range(3):
            x += points[triangles[guide, e], 0]
            y += points[triangles[guide, e], 1]
        owned[t] = 3 * tile[0] <= x < 3 * tile[2] and 3 * tile[1] <= y < 3 * tile[3]
    return owned


@njit(cache=True, nogil=True)
def _rim(triangles: Int32, neighbours: Int32, sides: Int32, owned: Bool, n_pieces: int) -> tuple[Int32, Bool]:
    """Return (start, end, triangle) of the free edges around owned triangles, and the piece sides they touch."""
    seams = np.empty((3 * len(triangles), 3), np.int32)
    touched = np.zeros((n_pieces, 2), np.bool_)
    count = 0
    for t in range(len(triangles)):
        if not owned[t]:
            continue
        for e in range(3):
            piece = sides[t, e]
            if piece > 0:
                touched[piece - 1, 0] = True
            elif piece < 0:
                touched[-piece - 1, 1] = True
            elif neighbours[t, e] < 0 or not owned[neighbours[t, e]]:
                seams[count, 0] = triangles[t, e]
                seams[count, 1] = triangles[t, (e + 1) % 3]
                seams[count, 2] = t
                count += 1
    return seams[:count], touched


def _assemble(pieces: Pieces, share: _Share, *, ground_size: float, building_size: float) -> Constraints:
    """Cut the owned pieces and the seams down to the mesh size, join them, number what they use."""
    kept = np.flatnonzero(_needed_pieces(pieces, share.own))
    points, ends, parents, steps = _cut_pieces(pieces, kept, ground_size=ground_size, building_size=building_size)
    seam_points, seam_ends, labels = _cut_seams(share, ground_size, building_size)
    n_outline = len(share.outline)
    numbers = np.concatenate([share.outline, np.arange(len(seam_points) - n_outline) + len(points)])
    points = np.concatenate([points, seam_points[n_outline:]])
    steps = np.concatenate([steps, np.zeros(len(points) - len(steps), np.int8)])
    used, ends = compact(len(points), np.concatenate([ends, numbers[seam_ends]]))
    kept = kept[parents]
    left, right = (np.concatenate([side[kept], labels]) for side in (pieces.left, pieces.right))
    rows = np.unique(np.concatenate([left, right]))
    rows = rows[rows >= 0]
    return Constraints(
        points=points[used],
        ends=ends,
        left=_local_labels(left, rows),
        right=_local_labels(right, rows),
        own_left=np.concatenate([share.own[kept, 0], np.ones(len(labels), np.bool_)]),
        own_right=np.concatenate([share.own[kept, 1], np.zeros(len(labels), np.bool_)]),
        rows=rows,
        wall_step=steps[used],
    )


def _needed_pieces(pieces: Pieces, own: Bool) -> Bool:
    """Tell which pieces are owned, or show the wall over an end of an owned one where another roof begins.

    Walls belong to one tile with all that touches them, except in divided clusters: there a tile may own
    one of three regions around a point, and must know the levels of the others.
    """
    owned: Bool = own[:, 0] | own[:, 1]
    divided = np.append(pieces.divided, False)[pieces.cluster]
    if not (owned & divided).any():
        return owned
    at_owned = np.zeros(len(pieces.points), np.bool_)
    at_owned[pieces.ends[owned & divided]] = True
    return owned | (divided & at_owned[pieces.ends].any(axis=1))


def _cut_pieces(
    pieces: Pieces, kept: Int64, *, ground_size: float, building_size: float
) -> tuple[Int64, Int32, Int32, Int8]:
    """Halve some pieces down to the mesh size; return points, pieces, their parents, wall steps."""
    labels = np.stack([pieces.left[kept], pieces.right[kept]], axis=1)
    limits = final_limits(labels, ground_size, building_size)
    points, ends, parents = bisect_edges(pieces.points, pieces.ends[kept], limits=limits)
    n_given = len(pieces.points)
    if len(points) == n_given:
        return points, ends, parents, pieces.wall_step
    total, count, _ = lengths_at_points(points, ends, limits[parents], np.zeros(len(ends), np.bool_))
    steps = wall_steps(total, count, building_size)
    is_wall = np.zeros(len(points), np.bool_)
    is_wall[ends[np.any(labels >= 0, axis=1)[parents]]] = True
    # At given points pieces meet that this tile may not own: what is known of them stays.
    return points, ends, parents, np.concatenate([pieces.wall_step, np.where(is_wall, steps, 0)[n_given:]])


def _cut_seams(share: _Share, ground_size: float, building_size: float) -> tuple[Int64, Int32, Int64]:
    """Return points, directed pieces and labels of the seams."""
    sizes = np.where(share.labels == GROUND, ground_size, building_size)
    limits = sizes * (_SEAM_LENGTH * MESH_UNITS)
    points, ends, parents = bisect_edges(share.points, share.seams, limits=limits, spacing=share.spacing * MESH_UNITS)
    return points, ends, share.labels[parents]


def _local_labels(labels: Int64, rows: Int64) -> Int32:
    return np.where(labels >= 0, np.searchsorted(rows, labels), labels).astype(np.int32)
