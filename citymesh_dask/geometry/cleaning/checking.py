"""What must hold for cleaned outlines: looked for afresh, with none of the structures that made them.

`find_defects` tells what may never be passed on, group by group; `check_outlines` measures distances
inside groups and finds groups that must be cleaned together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from ...outlines import Int64, Outlines
from ...tiles import OUTLINE_UNITS
from ..outline_groups import group_boxes
from .faces import trace_rings
from .ordering import grown
from .predicates import cross_properly, segments_near, squared_distance
from .tidying import EDGE_SHARE
from .tips import MAX_SECTORS

_CELL = 8192
_SLACK = 2
"""Outline units that rounding of a chamfer's ends may take off a distance."""


@dataclass(frozen=True)
class Conflicts:
    """What `check_outlines` found.

    Parameters
    ----------
    crossings : (k, 2) int64
        Pairs of edges that touch outside a common vertex.
    near : (k, 2) int64
        Vertex and edge of the same group nearer than `EDGE_SHARE` of the tolerance.
    groups : (k, 2) int64
        Pairs of groups that come that near to one another, cross, or lie in one another's buildings.
    """

    crossings: Int64
    near: Int64
    groups: Int64


def check_outlines(outlines: Outlines, tolerance: float) -> Conflicts:
    """Find crossings and near misses inside and between groups.

    Parameters
    ----------
    outlines : Outlines
        Cleaned outlines; groups from different packs may be put together.
    tolerance : float
        Cleaning tolerance, metres.

    Returns
    -------
    Conflicts
        Everything sorted, each pair once.
    """
    none = np.empty((0, 2), np.int64)
    if len(outlines.edges) == 0:
        return Conflicts(none, none, none)
    numbers = np.arange(len(outlines.point_start) - 1)
    point_group = np.repeat(numbers, np.diff(outlines.point_start))
    edge_group = np.repeat(numbers, np.diff(outlines.edge_start))
    limit = EDGE_SHARE * round(tolerance * OUTLINE_UNITS) - _SLACK
    ends = np.ascontiguousarray(outlines.edges[:, :2])
    crossings, near = _near_pairs(outlines.points, ends, limit)
    crossings, near = _unique_pairs(crossings), _unique_pairs(near)
    near_groups = np.stack((point_group[near[:, 0]], edge_group[near[:, 1]]), axis=1)
    pairs = np.concatenate((edge_group[crossings], near_groups, _groups_inside(outlines)))
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    return Conflicts(crossings, near[near_groups[:, 0] == near_groups[:, 1]], _unique_pairs(pairs))


def _unique_pairs(pairs: Int64) -> Int64:
    return np.unique(pairs, axis=0).reshape(-1, 2) if len(pairs) else pairs


@njit(cache=True, nogil=True)
def _near_pairs(points: Int64, ends: Int64, limit: float) -> tuple[Int64, Int64]:
    """Return pairs of edges that touch, and vertices nearer than a limit to edges not their own.

    Edges that share a cell of a grid are compared; pairs in several cells are found several times.
    """
    m, cell = len(ends), _CELL
    reach = math.ceil(limit)
    x0, y0, x1, y1 = np.empty(m, np.int64), np.empty(m, np.int64), np.empty(m, np.int64), np.empty(m, np.int64)
    left, low, right, high = 1 << 60, 1 << 60, -(1 << 60), -(1 << 60)
    for e in range(m):
        a, b = ends[e, 0], ends[e, 1]
        # Grown on one side only: that is enough for the boxes of near edges to meet.
        x0[e] = min(points[a, 0], points[b, 0]) - reach
        y0[e] = min(points[a, 1], points[b, 1]) - reach
        x1[e], y1[e] = max(points[a, 0], points[b, 0]), max(points[a, 1], points[b, 1])
        left, low, right, high = min(left, x0[e]), min(low, y0[e]), max(right, x1[e]), max(high, y1[e])
    while ((right - left) // cell + 1) * ((high - low) // cell + 1) > 8 * m + 1024:
        cell *= 2
    columns, rows = (right - left) // cell + 1, (high - low) // cell + 1
    start = np.zeros(columns * rows + 2, np.int64)
    members = np.empty(0, np.int64)
    for turn in range(2):
        if turn == 1:
            for c in range(columns * rows):
                start[c + 2] += start[c + 1]
            members = np.empty(start[columns * rows + 1], np.int64)
        for e in range(m):
            for j in range((y0[e] - low) // cell, (y1[e] - low) // cell + 1):
                for c in range(j * columns + (x0[e] - left) // cell, j * columns + (x1[e] - left) // cell + 1):
                    if turn == 0:
                        start[c + 2] += 1
                    else:  # the entry before the cell's own end fills up to it
                        members[start[c + 1]] = e
                        start[c + 1] += 1
    near, n_near = np.empty(64, np.int64), 0
    crossings, n_crossings = np.empty(64, np.int64), 0
    for c in range(columns * rows):
        for i in range(start[c], start[c + 1]):
            e = members[i]
            for j in range(i + 1, start[c + 1]):
                f = members[j]
                if x0[f] > x1[e] or x0[e] > x1[f] or y0[f] > y1[e] or y0[e] > y1[f]:
                    continue
                touching = False
                for k in range(4):
                    v, s = (ends[e, k], f) if k < 2 else (ends[f, k - 2], e)
                    a, b, px, py = ends[s, 0], ends[s, 1], points[v, 0], points[v, 1]
                    if v == a or v == b:  # noqa: SIM109
                        continue
                    if px < x0[s] or px > x1[s] + reach or py < y0[s] or py > y1[s] + reach:
                        continue
                    gap2 = squared_distance(px, py, points[a, 0], points[a, 1], points[b, 0], points[b, 1])
                    touching |= gap2 == 0
                    if gap2 < limit * limit:
                        near = grown(near, 2 * n_near + 2)
                        near[2 * n_near], near[2 * n_near + 1] = v, s
                        n_near += 1
                a, b, p, q = ends[e, 0], ends[e, 1], ends[f, 0], ends[f, 1]
                if touching or cross_properly(
                    points[a, 0], points[a, 1], points[b, 0], points[b, 1],
                    points[p, 0], points[p, 1], points[q, 0], points[q, 1],
                ):  # fmt: skip
                    crossings = grown(crossings, 2 * n_crossings + 2)
                    crossings[2 * n_crossings], crossings[2 * n_crossings + 1] = e, f
                    n_crossings += 1
    return crossings[: 2 * n_crossings].copy().reshape(n_crossings, 2), near[: 2 * n_near].copy().reshape(n_near, 2)


def _groups_inside(outlines: Outlines) -> Int64:
    """Return pairs of groups of which the first begins inside a building of the second."""
    boxes = group_boxes(outlines)
    order = np.argsort(boxes[:, 0], kind="stable")
    found = []
    for inner, outer in _nested_boxes(boxes[order], order):
        edges = outlines.edges[outlines.edge_start[outer] : outlines.edge_start[outer + 1]]
        x, y = outlines.points[outlines.point_start[inner]]
        a, b = outlines.points[edges[:, 0]], outlines.points[edges[:, 1]]
        level = y + 0.5
        met = np.flatnonzero((a[:, 1] > level) != (b[:, 1] > level))
        a, b, edges = a[met], b[met], edges[met]
        cuts = a[:, 0] + (level - a[:, 1]) * (b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1])
        cuts[cuts > x] = -np.inf
        if np.isfinite(cuts).any():
            last = int(cuts.argmax())
            if edges[last, 3 if b[last, 1] > a[last, 1] else 2] >= 0:
                found.append((inner, outer))
    return np.array(found, np.int64).reshape(-1, 2)


@njit(cache=True, nogil=True)
def _nested_boxes(boxes: Int64, names: Int64) -> Int64:
    """Return the names (inner, outer) of boxes inside others; boxes ascend by their x0."""
    found, count = np.empty(64, np.int64), 0
    for i in range(len(boxes)):
        for j in range(i + 1, len(boxes)):
            if boxes[j, 0] > boxes[i, 2]:
                break
            if boxes[j, 2] <= boxes[i, 2] and boxes[j, 1] >= boxes[i, 1] and boxes[j, 3] <= boxes[i, 3]:
                found = grown(found, 2 * count + 2)
                found[2 * count], found[2 * count + 1] = names[j], names[i]
                count += 1
    return found[: 2 * count].copy().reshape(count, 2)


@njit(cache=True, nogil=True)
def find_defects(points: Int64, edges: Int64, point_start: Int64, edge_start: Int64) -> Int64:
    """Return where a group is not a valid labelled planar graph.

    Defects are edges that touch outside a common vertex, edges with the same label on both sides, vertices
    with one edge or more than `MAX_SECTORS`, and faces whose edges disagree on their label.

    Parameters
    ----------
    points, edges, point_start, edge_start : int64
        As in `Outlines`: points ascending, edges ascending from smaller to larger point.

    Returns
    -------
    (k, 3) int64
        Group, x and y of each defect.
    """
    found, count = np.empty(48, np.int64), 0
    for g in range(len(point_start) - 1):
        p0, e0 = point_start[g], edge_start[g]
        n, m = point_start[g + 1] - p0, edge_start[g + 1] - e0
        if m == 0:
            continue
        x, y = points[p0 : p0 + n, 0].copy(), points[p0 : p0 + n, 1].copy()
        tail, head = np.empty(m, np.int64), np.empty(m, np.int64)
        degree, bad = np.zeros(n, np.int64), np.zeros(n, np.bool_)
        for e in range(m):
            tail[e], head[e] = edges[e0 + e, 0] - p0, edges[e0 + e, 1] - p0
            degree[tail[e]] += 1
            degree[head[e]] += 1
            if edges[e0 + e, 2] == edges[e0 + e, 3]:
                bad[tail[e]] = True
        for v in range(n):
            if degree[v] < 2 or degree[v] > MAX_SECTORS:
                bad[v] = True
        for e in range(m):
            a, b = tail[e], head[e]
            y0, y1 = min(y[a], y[b]), max(y[a], y[b])
            for f in range(e + 1, m):
                c, d = tail[f], head[f]
                if x[c] > x[b]:
                    break
                if (y[c] > y1 and y[d] > y1) or (y[c] < y0 and y[d] < y0):
                    continue
                if _touch(x, y, a, b, c, d):
                    bad[a] = bad[b] = bad[c] = bad[d] = True
        ring, first, _ = trace_rings(x, y, tail, head, np.ones(m, np.bool_))
        label = np.empty(len(first), np.int64)
        for r in range(len(first)):
            label[r] = edges[e0 + (first[r] >> 1), 2 + (first[r] & 1)]
        for half in range(2 * m):
            if edges[e0 + (half >> 1), 2 + (half & 1)] != label[ring[half]]:
                bad[tail[half >> 1]] = True
        for v in range(n):
            if bad[v]:
                found = grown(found, 3 * count + 3)
                found[3 * count], found[3 * count + 1], found[3 * count + 2] = g, x[v], y[v]
                count += 1
    return found[: 3 * count].copy().reshape(count, 3)


@njit(cache=True, nogil=True)
def _touch(x: Int64, y: Int64, a: int, b: int, c: int, d: int) -> bool:
    """Return whether edges ab and cd have a point in common that is not a common end."""
    if a in (c, d) or b in (c, d):
        near, far = (b if a in (c, d) else a), (d if c in (a, b) else c)
        if near == far:
            return True
        gap2 = squared_distance(x[far], y[far], x[a], y[a], x[b], y[b])
        return bool(gap2 == 0 or squared_distance(x[near], y[near], x[c], y[c], x[d], y[d]) == 0)
    return bool(segments_near(x[a], y[a], x[b], y[b], x[c], y[c], x[d], y[d], 0.0))
