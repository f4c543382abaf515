"""What became of every polygon that was cleaned.

Only the book-keeping belongs here: nothing changes an outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...outcomes import Outcome
from ...outlines import Bool, Int8, Int64, Outlines, Parts
from ..part_sets import part_boxes, take_parts
from .faces import labels_from_edges, points_inside
from .simplifying import doubled_areas


@dataclass(frozen=True)
class Fates:
    """What became of the polygons given to `clean_groups`, in their order.

    Parameters
    ----------
    rows : (n,) int64
        Row of the building table of each polygon.
    fate : (n,) int8
        `Outcome`: MESHED, SIMPLIFIED, MERGED, ABSORBED, DUPLICATE or one of the reasons to leave it out.
    into : (n,) int64
        Row of the building that it is part of now (MERGED, ABSORBED, DUPLICATE), else -1.
    """

    rows: Int64
    fate: Int8
    into: Int64


def trace_fates(
    parts: Parts, group_start: Int64, *, own: Int64, outlines: Outlines, events: Int64
) -> tuple[Int8, Int64]:
    """Return fate and taking polygon of each polygon.

    Parameters
    ----------
    parts : Parts
        Polygons, group after group.
    group_start : (g + 1,) int64
        Where the polygons of each group begin.
    own : (n,) int64
        Label of each polygon: a polygon with the same row in its group.
    outlines : Outlines
        The cleaned groups; labels are indices of polygons.
    events : (n, 3) int64
        From `planar_groups`.

    Returns
    -------
    fate : (n,) int8
    into : (n,) int64
        Label of the polygon that took its place, or -1.
    """
    labels = outlines.edges[:, 2:].ravel()
    alive = np.zeros(len(parts), np.bool_)
    alive[labels[labels >= 0]] = True
    fate, into = np.zeros(len(parts), np.int8), np.full(len(parts), -1)
    areas = doubled_areas(parts)
    for part in np.flatnonzero(~alive[own]).tolist():
        end, taker = _follow(int(own[part]), events, alive)
        lost_elsewhere = taker < 0 and 2 * events[own[part], 2] < areas[part]
        if end == Outcome.SKIPPED_COVERED or lost_elsewhere:
            group = int(np.searchsorted(group_start, part, side="right")) - 1
            there = _label_there(parts, part, outlines, group)
            if there < 0:
                end = Outcome.SKIPPED_TOO_THIN if end == Outcome.SKIPPED_COVERED else end
            elif _is_twin(parts, part, own, there, areas):
                end, taker = Outcome.DUPLICATE, there
            else:
                end = Outcome.SKIPPED_COVERED
        fate[part], into[part] = end, taker
    return fate, into


def _follow(label: int, events: Int64, alive: Bool) -> tuple[int, int]:
    """Follow a label from taker to taker; one that never had a region counts as covered for now."""
    for _ in range(len(events)):
        end, taker = int(events[label, 0]), int(events[label, 1])
        if end != Outcome.ABSORBED:
            return (int(Outcome.SKIPPED_COVERED) if end < 0 else end), -1
        if alive[taker]:
            return end, taker
        label = taker
    return int(Outcome.SKIPPED_TOO_THIN), -1


def _is_twin(parts: Parts, part: int, own: Int64, label: int, areas: Int64) -> bool:
    """Return whether a polygon of a label has the same area and the same box: the same building twice."""
    twins = np.flatnonzero((own == label) & (areas == areas[part]))
    boxes = part_boxes(take_parts(parts, np.append(twins, part)))
    return bool((boxes[:-1] == boxes[-1]).all(axis=1).any())


def _label_there(parts: Parts, part: int, outlines: Outlines, group: int) -> int:
    """Return the label of the cleaned group at a point inside a polygon."""
    rings = range(parts.ring_start[part], parts.ring_start[part + 1])
    starts = [(int(parts.point_start[ring]), int(parts.point_start[ring + 1])) for ring in rings]
    low, high = starts[0][0], starts[-1][1]
    tail = np.concatenate([np.arange(a - low, b - low - 1) for a, b in starts])
    x, y = (parts.points[low:high, axis].copy() for axis in (0, 1))
    whole = np.array([0, 0, len(tail)])
    px, py = points_inside(x, y, tail, tail + 1, whole, 2 * np.arange(len(tail)))
    edges = outlines.edges[outlines.edge_start[group] : outlines.edge_start[group + 1]]
    points = outlines.points
    columns = [np.ascontiguousarray(edges[:, column]) for column in range(4)]
    labels = labels_from_edges(px, py, points[:, 0].copy(), points[:, 1].copy(), *columns)
    return int(labels[1])
