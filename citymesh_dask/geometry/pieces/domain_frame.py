"""The frame of the domain as pieces: its sides, without the stretches on which buildings stand.

Only the frame belongs here; outlines that lie on it are cut with the others in
`citymesh_dask.geometry.pieces.subdivision`.
"""

from __future__ import annotations

import numpy as np

from ...outlines import BEYOND, GROUND, Int64, Pieces
from ...tiles import MESH_PER_OUTLINE, MESH_UNITS, OUTLINE_UNITS, Box
from .bisection import bisect_edges, feature_reach, lengths_at_points
from .segment_grid import segment_grid

LEAST_LIMIT = 10.0
"""Metres; pieces shorter than this come from near features only, tiles halve theirs on."""


def subdivide_frame(frame: Box, outline_edges: Int64, *, ground_size: float) -> Pieces:
    """Cut the frame of the domain into pieces, ground on their left.

    Parameters
    ----------
    frame : Box
        Outline units.
    outline_edges : (k, 4) int64
        x, y of both ends of outline edges, outline units; all those within
        `frame_reach` of the frame must be there. Edges that lie on the frame are left out of its pieces.
    ground_size : float
        Mesh size on terrain, metres; see `LEAST_LIMIT`.

    Returns
    -------
    Pieces
        Counter-clockwise, cluster -1, without clusters.
    """
    edges = outline_edges.reshape(-1, 4)
    corners, ends = _open_stretches(frame, edges)
    corners *= MESH_PER_OUTLINE
    x0, y0, x1, y1 = (value * MESH_PER_OUTLINE for value in frame)
    grid = segment_grid(np.concatenate([edges, frame_sides(frame)]) * MESH_PER_OUTLINE, (x0, y0, x1, y1))
    limits = np.full(len(ends), max(ground_size, LEAST_LIMIT) * MESH_UNITS)
    points, pieces, _ = bisect_edges(corners, ends, limits=limits, grid=grid)
    _, _, least = lengths_at_points(
        points, pieces, np.full(len(pieces), ground_size * MESH_UNITS), np.ones(len(pieces), np.bool_)
    )
    return Pieces(
        points=points,
        ends=pieces,
        left=np.full(len(pieces), GROUND),
        right=np.full(len(pieces), BEYOND),
        cluster=np.full(len(pieces), -1, np.int32),
        boxes=np.empty((0, 4), np.int64),
        divided=np.empty(0, np.bool_),
        spacing=least / MESH_UNITS,
        wall_step=np.zeros(len(points), np.int8),
    )


def frame_reach(ground_size: float) -> int:
    """Return how far from the frame its pieces depend on outlines, outline units."""
    return int(feature_reach(max(ground_size, LEAST_LIMIT) * OUTLINE_UNITS)) + 2


def frame_sides(frame: Box) -> Int64:
    """Return the four sides of a box as (4, 4) segments, counter-clockwise from the south."""
    x0, y0, x1, y1 = frame
    return np.array([[x0, y0, x1, y0], [x1, y0, x1, y1], [x1, y1, x0, y1], [x0, y1, x0, y0]], np.int64)


def _open_stretches(frame: Box, edges: Int64) -> tuple[Int64, Int64]:
    """Return the corners and the directed stretches of the frame that no outline covers."""
    points, ends = [np.empty((0, 2), np.int64)], [np.empty((0, 2), np.int64)]
    count = 0
    for side in frame_sides(frame):
        line, stretch = _stretches_of_side(side, edges)
        points.append(line)
        ends.append(stretch + count)
        count += len(line)
    return _weld_corners(np.concatenate(points), np.concatenate(ends))


def _stretches_of_side(side: Int64, edges: Int64) -> tuple[Int64, Int64]:
    """Return the points on one side of the frame, in its direction, and its uncovered stretches."""
    along = 0 if side[1] == side[3] else 1
    across = 1 - along
    level, forward = side[across], side[2 + along] > side[along]
    ends = edges.reshape(-1, 2, 2)
    on_side = ends[:, :, across] == level
    cuts = np.unique(np.concatenate([ends[on_side][:, along], side[[along, 2 + along]]]))
    low, high = sorted((int(side[along]), int(side[2 + along])))
    cuts = cuts[(cuts >= low) & (cuts <= high)]
    covering = np.sort(ends[on_side.all(axis=1)][:, :, along], axis=1)
    depth = np.zeros(len(cuts) + 1, np.int64)
    np.add.at(depth, np.searchsorted(cuts, covering[:, 0]), 1)
    np.add.at(depth, np.searchsorted(cuts, covering[:, 1]), -1)
    free = np.flatnonzero(np.cumsum(depth)[: len(cuts) - 1] == 0)
    stretch = np.stack([free, free + 1], axis=1)
    line = np.empty((len(cuts), 2), np.int64)
    line[:, along], line[:, across] = cuts, level
    return line, stretch if forward else stretch[::-1, ::-1]


def _weld_corners(points: Int64, ends: Int64) -> tuple[Int64, Int64]:
    """Number the corners, which end two sides, once, and drop points without a stretch."""
    used, ids = np.unique(points[ends.ravel()], axis=0, return_inverse=True)
    return used.reshape(-1, 2), ids.reshape(-1, 2).astype(np.int64)
