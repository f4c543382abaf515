"""Which polygons stand so near to one another that they must be cleaned together.

Only distances between whole polygons belong here; grouping by them is `grouping.group_labels`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ...outlines import Int64, Parts
from ..grouping import find_root, join
from ..part_sets import part_boxes
from .ordering import grown
from .predicates import segments_near


def link_parts(parts: Parts, distance: int) -> Int64:
    """Return pairs of polygons at most a distance apart, enough to span every group of such polygons.

    Polygons that overlap, touch or contain one another are at distance 0. Distances are exact, not
    those of boxes: boxes of party-walled blocks chain whole quarters together.

    Parameters
    ----------
    parts : Parts
        The polygons.
    distance : int
        Outline units.

    Returns
    -------
    (k, 2) int64
        Indices into the parts, first below second; polygons are in one group exactly if a chain of
        pairs connects them.
    """
    if len(parts) < 2:
        return np.empty((0, 2), np.int64)
    boxes = part_boxes(parts)
    order = np.lexsort((boxes[:, 1], boxes[:, 0]))
    pairs: Int64 = _link(boxes, order, parts.ring_start, parts.point_start, parts.points, distance)
    return pairs


@njit(cache=True, nogil=True)
def _link(boxes: Int64, order: Int64, ring_start: Int64, point_start: Int64, points: Int64, distance: int) -> Int64:
    n = len(order)
    parent = np.arange(n)
    flat = np.empty(64, np.int64)
    found = 0
    near_i, near_j = np.empty(64, np.int64), np.empty(64, np.int64)
    # Boxes in sweep order stand side by side in memory; gathering them by index is half the run time.
    sorted_boxes = boxes[order]
    for place in range(n):
        x1 = sorted_boxes[place, 2] + distance
        y0, y1 = sorted_boxes[place, 1] - distance, sorted_boxes[place, 3] + distance
        for other in range(place + 1, n):
            if sorted_boxes[other, 0] > x1:
                break
            if sorted_boxes[other, 1] > y1 or sorted_boxes[other, 3] < y0:
                continue
            i, j = min(order[place], order[other]), max(order[place], order[other])
            if find_root(parent, i) == find_root(parent, j):
                continue
            wx0, wy0 = max(boxes[i, 0], boxes[j, 0]) - distance, max(boxes[i, 1], boxes[j, 1]) - distance
            wx1, wy1 = min(boxes[i, 2], boxes[j, 2]) + distance, min(boxes[i, 3], boxes[j, 3]) + distance
            n_i, near_i = _segments_in(i, ring_start, point_start, points, wx0, wy0, wx1, wy1, near_i)
            hit = False
            if n_i > 0:
                n_j, near_j = _segments_in(j, ring_start, point_start, points, wx0, wy0, wx1, wy1, near_j)
                hit = _any_near(points, near_i[:n_i], near_j[:n_j], distance)
            if not hit:
                hit = _first_inside(i, j, boxes, ring_start, point_start, points)
            if not hit:
                hit = _first_inside(j, i, boxes, ring_start, point_start, points)
            if hit:
                join(parent, i, j)
                flat = grown(flat, 2 * found + 2)
                flat[2 * found], flat[2 * found + 1] = i, j
                found += 1
    return flat[: 2 * found].copy().reshape(found, 2)


@njit(cache=True, nogil=True)
def _segments_in(
    part: int, ring_start: Int64, point_start: Int64, points: Int64, x0: int, y0: int, x1: int, y1: int, into: Int64
) -> tuple[int, Int64]:
    """Collect the segments of a polygon whose boxes meet a window."""
    count = 0
    for ring in range(ring_start[part], ring_start[part + 1]):
        for k in range(point_start[ring], point_start[ring + 1] - 1):
            ax, bx = points[k, 0], points[k + 1, 0]
            if (ax > x1 and bx > x1) or (ax < x0 and bx < x0):
                continue
            ay, by = points[k, 1], points[k + 1, 1]
            if (ay > y1 and by > y1) or (ay < y0 and by < y0):
                continue
            into = grown(into, count + 1)
            into[count] = k
            count += 1
    return count, into


@njit(cache=True, nogil=True)
def _any_near(points: Int64, first: Int64, second: Int64, distance: int) -> bool:
    limit2 = float(distance) * float(distance)
    for e in first:
        ax, ay, bx, by = points[e, 0], points[e, 1], points[e + 1, 0], points[e + 1, 1]
        x0, x1 = min(ax, bx) - distance, max(ax, bx) + distance
        y0, y1 = min(ay, by) - distance, max(ay, by) + distance
        for f in second:
            cx, dx = points[f, 0], points[f + 1, 0]
            if (cx > x1 and dx > x1) or (cx < x0 and dx < x0):
                continue
            cy, dy = points[f, 1], points[f + 1, 1]
            if (cy > y1 and dy > y1) or (cy < y0 and dy < y0):
                continue
            if segments_near(ax, ay, bx, by, cx, cy, dx, dy, limit2):
                return True
    return False


@njit(cache=True, nogil=True)
def _first_inside(i: int, j: int, boxes: Int64, ring_start: Int64, point_start: Int64, points: Int64) -> bool:
    """Return whether the first corner of polygon i lies in polygon j, holes respected."""
    if boxes[i, 0] < boxes[j, 0] or boxes[i, 1] < boxes[j, 1] or boxes[i, 2] > boxes[j, 2] or boxes[i, 3] > boxes[j, 3]:
        return False
    corner = point_start[ring_start[i]]
    x, y = points[corner, 0], points[corner, 1]
    inside = False
    for ring in range(ring_start[j], ring_start[j + 1]):
        for k in range(point_start[ring], point_start[ring + 1] - 1):
            ay, by = points[k, 1], points[k + 1, 1]
            if (ay > y) != (by > y):
                side = (points[k + 1, 0] - points[k, 0]) * (y - ay) - (x - points[k, 0]) * (by - ay)
                if (side > 0) == (by > ay) and side != 0:
                    inside = not inside
    return inside
