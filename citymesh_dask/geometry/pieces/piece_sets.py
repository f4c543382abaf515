"""Sets of pieces put together and cut down to what a window needs.

Only the bookkeeping of `Pieces` belongs here; pieces are made in `citymesh_dask.geometry.pieces.subdivision`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...outlines import Bool, Int8, Int32, Int64, Pieces
from ...tiles import Box
from ..keys import number_rows


def join_pieces(parts: Sequence[Pieces]) -> Pieces:
    """Return several sets of pieces as one, each position once.

    Parameters
    ----------
    parts : sequence of Pieces
        At least one.

    Returns
    -------
    Pieces
        Clusters are numbered through. A vertex of a building on the frame is also a point of the
        frame's pieces: it keeps the smaller spacing and the larger wall step.
    """
    points = np.concatenate([part.points for part in parts])
    ids, first = number_rows(points)
    spacing, wall_step = np.full(len(first), np.inf), np.zeros(len(first), np.int8)
    np.minimum.at(spacing, ids, np.concatenate([part.spacing for part in parts]))
    np.maximum.at(wall_step, ids, np.concatenate([part.wall_step for part in parts]))
    ends: list[Int32] = []
    clusters: list[Int32] = []
    n_points = n_clusters = 0
    for part in parts:
        ends.append(ids[part.ends + n_points])
        clusters.append(np.where(part.cluster >= 0, part.cluster + n_clusters, -1).astype(np.int32))
        n_points += len(part.points)
        n_clusters += len(part.boxes)
    return Pieces(
        points=points[first],
        ends=np.concatenate(ends),
        left=np.concatenate([part.left for part in parts]),
        right=np.concatenate([part.right for part in parts]),
        cluster=np.concatenate(clusters),
        boxes=np.concatenate([part.boxes for part in parts]),
        divided=np.concatenate([part.divided for part in parts]),
        spacing=spacing,
        wall_step=wall_step,
    )


def pieces_in_window(pieces: Pieces, window: Box) -> Pieces:
    """Return the clusters whose box meets a window, whole, and the frame's pieces in the window.

    Parameters
    ----------
    pieces : Pieces
        Any set.
    window : Box
        Mesh units, all borders included.

    Returns
    -------
    Pieces
        In the given order; positions are not compared.
    """
    low, high = np.array(window[:2]), np.array(window[2:])
    kept: Bool = np.all(pieces.boxes[:, :2] <= high, axis=1) & np.all(pieces.boxes[:, 2:] >= low, axis=1)
    on_frame = np.flatnonzero(pieces.cluster < 0)
    ends = pieces.points[pieces.ends[on_frame]]
    chosen = np.append(kept, False)[pieces.cluster]
    chosen[on_frame] = (ends.min(axis=1) <= high).all(axis=1) & (ends.max(axis=1) >= low).all(axis=1)
    return _selected(pieces, chosen, kept)


def _selected(pieces: Pieces, chosen: Bool, kept: Bool) -> Pieces:
    used, ends = compact(len(pieces.points), pieces.ends[chosen])
    numbers = np.append(np.cumsum(kept, dtype=np.int32) - 1, -1).astype(np.int32)
    wall_step: Int8 = pieces.wall_step[used]
    return Pieces(
        points=pieces.points[used],
        ends=ends,
        left=pieces.left[chosen],
        right=pieces.right[chosen],
        cluster=numbers[pieces.cluster[chosen]],
        boxes=pieces.boxes[kept],
        divided=pieces.divided[kept],
        spacing=pieces.spacing[used],
        wall_step=wall_step,
    )


def in_order(pieces: Pieces) -> Pieces:
    """Return the same pieces in an order of their own: what is made of them depends on no order of reading.

    Parameters
    ----------
    pieces : Pieces
        Each position once, each piece once.

    Returns
    -------
    Pieces
        Points by x, then y; pieces by start, then end; clusters by their first piece.
    """
    order = np.lexsort((pieces.points[:, 1], pieces.points[:, 0]))
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    ends = place[pieces.ends]
    rows = np.lexsort((ends[:, 1], ends[:, 0]))
    cluster = pieces.cluster[rows]
    first = np.full(len(pieces.boxes), len(rows))
    np.minimum.at(first, cluster[cluster >= 0], np.flatnonzero(cluster >= 0))
    clusters = np.argsort(first, kind="stable")
    number = np.full(len(clusters) + 1, -1, np.int32)  # the last is for the frame's pieces, which have none
    number[clusters] = np.arange(len(clusters), dtype=np.int32)
    return Pieces(
        points=pieces.points[order],
        ends=ends[rows],
        left=pieces.left[rows],
        right=pieces.right[rows],
        cluster=number[cluster],
        boxes=pieces.boxes[clusters],
        divided=pieces.divided[clusters],
        spacing=pieces.spacing[order],
        wall_step=pieces.wall_step[order],
    )


def compact(count: int, ends: Int32) -> tuple[Int64, Int32]:
    """Drop points that no piece uses.

    Parameters
    ----------
    count : int
        Number of points.
    ends : (m, 2) int32
        Pieces.

    Returns
    -------
    used : (k,) int64
        Points in use, ascending.
    ends : (m, 2) int32
        The pieces, numbered among the points in use.
    """
    flags = np.zeros(count, np.bool_)
    flags[ends.ravel()] = True
    numbers = np.cumsum(flags, dtype=np.int32) - 1
    return np.flatnonzero(flags), numbers[ends].astype(np.int32)
