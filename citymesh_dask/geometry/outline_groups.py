"""Groups of outlines: their boxes, and some of them taken out of many.

Only the bookkeeping of `Outlines` belongs here; how groups are found and cleaned is in
`citymesh_dask.geometry.cleaning`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..outlines import Bool, Int64, Outlines


def group_boxes(outlines: Outlines) -> Int64:
    """Return the bounding box of each group.

    Parameters
    ----------
    outlines : Outlines
        Any; a group may be empty.

    Returns
    -------
    (g, 4) int64
        Outline units; an empty group has the box of nothing, whose lower corner is above its upper.
    """
    start = outlines.point_start
    boxes = np.empty((len(start) - 1, 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    some = np.flatnonzero(np.diff(start) > 0)
    if len(some):
        boxes[some, :2] = np.minimum.reduceat(outlines.points, start[some], axis=0)
        boxes[some, 2:] = np.maximum.reduceat(outlines.points, start[some], axis=0)
    return boxes


def select_groups(outlines: Outlines, chosen: Bool) -> Outlines:
    """Return some of the groups, in their order.

    Parameters
    ----------
    outlines : Outlines
        Any.
    chosen : (g,) bool
        Groups to keep.
    """
    if chosen.all():
        return outlines
    point_counts, edge_counts = np.diff(outlines.point_start), np.diff(outlines.edge_start)
    points, edges = np.repeat(chosen, point_counts), np.repeat(chosen, edge_counts)
    numbers = np.cumsum(points) - 1
    kept = outlines.edges[edges].copy()
    kept[:, :2] = numbers[kept[:, :2]]
    return Outlines(
        points=outlines.points[points],
        edges=kept,
        point_start=np.concatenate([[0], np.cumsum(point_counts[chosen])]),
        edge_start=np.concatenate([[0], np.cumsum(edge_counts[chosen])]),
    )


def edges_near(outlines: Outlines, boxes: Int64) -> Int64:
    """Return the edges of all groups whose box meets one of some boxes.

    Parameters
    ----------
    outlines : Outlines
        Outline units.
    boxes : (k, 4) int64
        Outline units, borders included.

    Returns
    -------
    (m, 4) int64
        x, y of both ends of each edge.
    """
    chosen = boxes_meet(group_boxes(outlines), boxes)
    near = select_groups(outlines, chosen)
    return near.points[near.edges[:, :2]].reshape(-1, 4)


@njit(cache=True, nogil=True)
def boxes_meet(boxes: Int64, others: Int64) -> Bool:
    """Tell which boxes meet any of some others.

    Parameters
    ----------
    boxes : (n, 4) int64
        x0, y0, x1, y1, borders included.
    others : (k, 4) int64
        Likewise.

    Returns
    -------
    (n,) bool
        One flag per box.
    """
    flags = np.zeros(len(boxes), np.bool_)
    for i in range(len(boxes)):
        for k in range(len(others)):
            across = boxes[i, 0] <= others[k, 2] and boxes[i, 2] >= others[k, 0]
            if across and boxes[i, 1] <= others[k, 3] and boxes[i, 3] >= others[k, 1]:
                flags[i] = True
                break
    return flags
