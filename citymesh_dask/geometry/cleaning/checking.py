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
from .chamfer import MAX_SECTORS
from .faces import trace_rings
from .ordering import grown, sort_order
from .predicates import segments_near, squared_distance
from .tidying import EDGE_SHARE

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
    if len(outlines.edges) == 0:
        none = np.empty((0, 2), np.int64)
        return Conflicts(none, none, none)
    group_of = np.repeat(np.arange(len(outlines.point_start) - 1), np.diff(outlines.point_start))
    limit = EDGE_SHARE * round(tolerance * OUTLINE_UNITS) - _SLACK
    crossings, near = _near_pairs(outlines.points, outlines.edges, group_of, limit)
    inside = _groups_inside(outlines.points, outlines.edges, outlines.point_start, outlines.edge_start)
    crossings, near = _unique_pairs(crossings), _unique_pairs(near)
    edge_group = group_of[outlines.edges[:, 0]]
    pairs = np.concatenate((edge_group[crossings], np.stack((group_of[near[:, 0]], edge_group[near[:, 1]]), 1), inside))
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    same = group_of[near[:, 0]] == edge_group[near[:, 1]]
    return Conflicts(crossings, near[same], _unique_pairs(pairs))


def _unique_pairs(pairs: Int64) -> Int64:
    unique: Int64 = np.unique(pairs, axis=0).reshape(-1, 2)
    return unique


@njit(cache=True, nogil=True)
def _near_pairs(points: Int64, edges: Int64, group_of: Int64, limit: float) -> tuple[Int64, Int64]:
    """Return edges that touch (across groups: come near), and vertices near foreign edges, on a grid."""
    n, m, cell = len(points), len(edges), _CELL
    x0, y0, x1, y1 = points[0, 0], points[0, 1], points[0, 0], points[0, 1]
    for v in range(n):
        x0, y0 = min(x0, points[v, 0]), min(y0, points[v, 1])
        x1, y1 = max(x1, points[v, 0]), max(y1, points[v, 1])
    reach = math.ceil(limit)
    x0, y0, x1, y1 = x0 - reach, y0 - reach, x1 + reach, y1 + reach
    while ((x1 - x0) // cell + 1) * ((y1 - y0) // cell + 1) > 8 * m + 1024:
        cell *= 2
    columns, rows = (x1 - x0) // cell + 1, (y1 - y0) // cell + 1
    start, members = np.zeros(columns * rows + 1, np.int64), np.empty(0, np.int64)
    fill = start
    for turn in range(2):
        if turn == 1:
            for c in range(columns * rows):
                start[c + 1] += start[c]
            members, fill = np.empty(start[columns * rows], np.int64), start[:-1].copy()
        for e in range(m):
            a, b = edges[e, 0], edges[e, 1]
            i0 = (min(points[a, 0], points[b, 0]) - reach - x0) // cell
            i1 = (max(points[a, 0], points[b, 0]) + reach - x0) // cell
            j0 = (min(points[a, 1], points[b, 1]) - reach - y0) // cell
            j1 = (max(points[a, 1], points[b, 1]) + reach - y0) // cell
            for c in range(j0 * columns, (j1 + 1) * columns, columns):
                for k in range(c + i0, c + i1 + 1):
                    if turn == 0:
                        start[k + 1] += 1
                    else:
                        members[fill[k]] = e
                        fill[k] += 1
    near, n_near = np.empty(64, np.int64), 0
    for v in range(n):
        px, py = points[v, 0], points[v, 1]
        c = (py - y0) // cell * columns + (px - x0) // cell
        for k in range(start[c], start[c + 1]):
            e = members[k]
            a, b = edges[e, 0], edges[e, 1]
            ax, bx = points[a, 0], points[b, 0]
            if a == v or b == v or (ax > px + reach and bx > px + reach) or (ax < px - reach and bx < px - reach):
                continue
            ay, by = points[a, 1], points[b, 1]
            if (ay > py + reach and by > py + reach) or (ay < py - reach and by < py - reach):
                continue
            if squared_distance(px, py, ax, ay, bx, by) < limit * limit:
                near = grown(near, 2 * n_near + 2)
                near[2 * n_near], near[2 * n_near + 1] = v, e
                n_near += 1
    crossings, n_crossings = np.empty(64, np.int64), 0
    for c in range(columns * rows):
        for i in range(start[c], start[c + 1]):
            e = members[i]
            a, b = edges[e, 0], edges[e, 1]
            ax, ay, bx, by = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
            ex0, ex1, ey0, ey1 = min(ax, bx), max(ax, bx), min(ay, by), max(ay, by)
            for j in range(i + 1, start[c + 1]):
                f = members[j]
                p, q = edges[f, 0], edges[f, 1]
                px, qx = points[p, 0], points[q, 0]
                if (px > ex1 and qx > ex1) or (px < ex0 and qx < ex0) or p in (a, b) or q in (a, b):
                    continue
                py, qy = points[p, 1], points[q, 1]
                if (py > ey1 and qy > ey1) or (py < ey0 and qy < ey0):
                    continue
                if segments_near(ax, ay, bx, by, px, py, qx, qy, 0.0):
                    crossings = grown(crossings, 2 * n_crossings + 2)
                    crossings[2 * n_crossings], crossings[2 * n_crossings + 1] = e, f
                    n_crossings += 1
    return crossings[: 2 * n_crossings].copy().reshape(n_crossings, 2), near[: 2 * n_near].copy().reshape(n_near, 2)


@njit(cache=True, nogil=True)
def _groups_inside(points: Int64, edges: Int64, point_start: Int64, edge_start: Int64) -> Int64:
    """Return pairs of groups of which the first begins inside a building of the second."""
    n_groups = len(point_start) - 1
    box = np.empty((n_groups, 4), np.int64)
    box[:, :2], box[:, 2:] = 1 << 60, -(1 << 60)
    for g in range(n_groups):
        for v in range(point_start[g], point_start[g + 1]):
            box[g, 0], box[g, 1] = min(box[g, 0], points[v, 0]), min(box[g, 1], points[v, 1])
            box[g, 2], box[g, 3] = max(box[g, 2], points[v, 0]), max(box[g, 3], points[v, 1])
    order = sort_order(box[:, 0].copy(), n_groups)
    found, count = np.empty(64, np.int64), 0
    for i in range(n_groups):
        outer = order[i]
        for j in range(i + 1, n_groups):
            inner = order[j]
            if box[inner, 0] > box[outer, 2]:
                break
            if box[inner, 2] > box[outer, 2] or box[inner, 1] < box[outer, 1] or box[inner, 3] > box[outer, 3]:
                continue
            px, py = points[point_start[inner], 0], points[point_start[inner], 1] + 0.5
            label, nearest = -1, -math.inf
            for e in range(edge_start[outer], edge_start[outer + 1]):
                a, b = edges[e, 0], edges[e, 1]
                ay, by = points[a, 1], points[b, 1]
                if (ay > py) == (by > py):
                    continue
                cut = points[a, 0] + (py - ay) * float(points[b, 0] - points[a, 0]) / float(by - ay)
                if nearest < cut <= px:
                    nearest = cut
                    label = edges[e, 3] if by > ay else edges[e, 2]
            if label >= 0:
                found = grown(found, 2 * count + 2)
                found[2 * count], found[2 * count + 1] = inner, outer
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
        return (
            squared_distance(x[far], y[far], x[a], y[a], x[b], y[b]) == 0
            or squared_distance(x[near], y[near], x[c], y[c], x[d], y[d]) == 0
        )
    return segments_near(x[a], y[a], x[b], y[b], x[c], y[c], x[d], y[d], 0.0)
