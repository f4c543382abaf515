"""Points where more than three regions meet get a chamfer, so that the solid stays 2-manifold.

Where two buildings touch in a corner, or four at a crossing of walls, the walls over that point could meet
in one vertical line more than twice. A *chamfer* cuts the tip off one sector and gives it to a neighbour;
each takes an edge away from the point. Which cut is chosen belongs here, a single cut in ``tips``.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ...outlines import Int64
from .ordering import KEY_SHIFT, grown, lower_bound, sort_order
from .predicates import precedes
from .tips import MAX_SECTORS, cut_is_clear, label_beside, make_cut, place_end

_CUTS = np.array([8, 6, 5, 10, 13, 16, 24, 32, 48, 64, 96, 128, 192, 256, *range(5, 257, 2)])
"""Lengths of the cuts along both edges, in the order of trial, quarters of the tolerance."""
_COARSE = 14
"""So many of them are tried everywhere before the many others, which few points need."""
_REACH = 68
"""Edges farther than this many tolerances cannot be in the way of a cut."""
_CLEARANCES = (1.0, 0.5, 0.25, 0.02)
"""Shares of the clearance that are asked for, one after the other."""
_NOBODY = -9


@njit(cache=True, nogil=True)
def chamfer_groups(
    points: Int64, edges: Int64, point_start: Int64, edge_start: Int64, tolerance: int, frame: Int64
) -> tuple[Int64, Int64, Int64, Int64, int]:
    """Cut tips until at most `MAX_SECTORS` regions meet in a point.

    Parameters
    ----------
    points, edges, point_start, edge_start : int64
        Labelled planar graphs, group after group, as in `Outlines`.
    tolerance : int
        Outline units.
    frame : (4,) int64
        Frame of the domain, outline units.

    Returns
    -------
    points, edges, point_start, edge_start : int64
        The same graphs with chamfers.
    failed : int
        Points for which no cut was possible.
    """
    n_groups, failed = len(point_start) - 1, 0
    out_points, n_points = np.empty(2 * len(points) + 2, np.int64), 0
    out_edges, n_edges = np.empty(4 * len(edges) + 4, np.int64), 0
    new_point_start, new_edge_start = np.zeros(n_groups + 1, np.int64), np.zeros(n_groups + 1, np.int64)
    degree = np.zeros(len(points), np.int64)
    for e in range(len(edges)):
        degree[edges[e, 0]] += 1
        degree[edges[e, 1]] += 1
    for g in range(n_groups):
        p0, p1, e0, e1 = point_start[g], point_start[g + 1], edge_start[g], edge_start[g + 1]
        pinched = 0
        for v in range(p0, p1):
            pinched += degree[v] > MAX_SECTORS
        group_points, group_edges = points[p0:p1], edges[e0:e1]
        shift = n_points - p0
        if pinched > 0:
            group_points, group_edges, missed = _chamfer_group(
                points[p0:p1], edges[e0:e1], p0, degree[p0:p1], pinched, tolerance, frame
            )
            failed += missed
            shift = n_points
        out_points = grown(out_points, 2 * (n_points + len(group_points)))
        out_edges = grown(out_edges, 4 * (n_edges + len(group_edges)))
        for v in range(len(group_points)):
            out_points[2 * n_points], out_points[2 * n_points + 1] = group_points[v, 0], group_points[v, 1]
            n_points += 1
        for e in range(len(group_edges)):
            k = 4 * n_edges
            out_edges[k], out_edges[k + 1] = group_edges[e, 0] + shift, group_edges[e, 1] + shift
            out_edges[k + 2], out_edges[k + 3] = group_edges[e, 2], group_edges[e, 3]
            n_edges += 1
        new_point_start[g + 1], new_edge_start[g + 1] = n_points, n_edges
    return (
        out_points[: 2 * n_points].copy().reshape(n_points, 2),
        out_edges[: 4 * n_edges].copy().reshape(n_edges, 4),
        new_point_start,
        new_edge_start,
        failed,
    )


# Inlined: compiling it by itself as well would compile everything under it twice.
@njit(cache=True, nogil=True, inline="always")
def _chamfer_group(
    points: Int64, edges: Int64, first_point: int, degrees: Int64, pinched: int, tolerance: int, frame: Int64
) -> tuple[Int64, Int64, int]:
    n, m = len(points), len(edges)
    # A cut takes one edge off a pinched point and adds at most two points and three edges.
    cuts = 0
    for v in range(n):
        cuts += max(0, degrees[v] - MAX_SECTORS)
    x, y, degree = np.empty(n + 2 * cuts, np.int64), np.empty(n + 2 * cuts, np.int64), np.zeros(n + 2 * cuts, np.int64)
    for v in range(n):
        x[v], y[v], degree[v] = points[v, 0], points[v, 1], degrees[v]
    # Rows of `graph`: tail, head, left, right; a tail of -1 is an edge that is gone.
    graph = np.empty((m + 3 * cuts, 4), np.int64)
    for e in range(m):
        graph[e, 0], graph[e, 1] = edges[e, 0] - first_point, edges[e, 1] - first_point
        graph[e, 2], graph[e, 3] = edges[e, 2], edges[e, 3]
    size = np.empty(2, np.int64)
    size[0], size[1] = n, m
    places = np.empty(pinched, np.int64)
    count = 0
    for v in range(n):
        if degree[v] > MAX_SECTORS:
            places[count] = v
            count += 1
    place_x = np.empty(pinched, np.int64)
    for i in range(pinched):
        place_x[i] = x[places[i]]
    # Edges near each pinched point, as linked lists: chamfers add to those of their neighbours.
    newest, entry, older, entries = np.full(pinched, -1), np.empty(64, np.int64), np.empty(64, np.int64), np.int64(0)
    # Typed, not literal, zeros: numba would compile the functions called for the literal as well.
    listed, failed = np.int64(0), 0
    for i in range(pinched):
        taker = np.int64(_NOBODY)
        while True:
            while listed < size[1]:
                entry, older, entries = _list_edge(
                    graph, listed, x, y, places, place_x, tolerance, newest, entry, older, entries
                )
                listed += 1
            if degree[places[i]] <= MAX_SECTORS:
                break
            near, count = np.empty(16, np.int64), 0
            k = newest[i]
            while k >= 0:
                if graph[entry[k], 0] >= 0:
                    near = grown(near, count + 1)
                    near[count] = entry[k]
                    count += 1
                k = older[k]
            taker = _cut_tip(places[i], near[:count], graph, x, y, degree, size, tolerance, frame, taker)
            if taker == _NOBODY:
                failed += 1
                break
    new_points, new_edges = _in_order(graph[: size[1]], x, y)
    return new_points, new_edges, failed


@njit(cache=True, nogil=True)
def _list_edge(
    graph: Int64, e: int, x: Int64, y: Int64, places: Int64, place_x: Int64, tolerance: int,
    newest: Int64, entry: Int64, older: Int64, entries: int,
) -> tuple[Int64, Int64, int]:  # fmt: skip
    """Enter an edge into the lists of the pinched points (ascending x) whose cuts it could touch."""
    a, b = graph[e, 0], graph[e, 1]
    reach = _REACH * tolerance
    y0, y1 = min(y[a], y[b]) - reach, max(y[a], y[b]) + reach
    i = lower_bound(place_x, min(x[a], x[b]) - reach)
    while i < len(places) and place_x[i] <= max(x[a], x[b]) + reach:
        if y0 <= y[places[i]] <= y1:
            entry, older = grown(entry, entries + 1), grown(older, entries + 1)
            entry[entries], older[entries] = e, newest[i]
            newest[i] = entries
            entries += 1
        i += 1
    return entry, older, entries


@njit(cache=True, nogil=True)
def _cut_tip(
    v: int, near: Int64, graph: Int64, x: Int64, y: Int64, degree: Int64, size: Int64, tolerance: int, frame: Int64,
    favourite: int,
) -> int:  # fmt: skip
    """Make the best cut that is possible at a point and return who took the tip, or `_NOBODY`.

    Tips of ground go to buildings rather than tips of buildings to others or to the ground. Who took a tip at
    this point already takes the next one too: where many sectors meet, one grows over all tips in turn.
    """
    rays = _fan(v, near, graph, x, y)
    k = len(rays)
    score = np.empty(k, np.int64)
    for i in range(k):
        score[i] = -_sector_score(v, rays[i], rays[(i + 1) % k], graph, x, y, tolerance)
    order = sort_order(score, k)
    # Ends of the cut: existing points, or -1 for new ones, and their places.
    trial, spot = np.empty(2, np.int64), np.empty(4, np.int64)
    for share in _CLEARANCES:
        for kind in range(12):
            cuts = _CUTS[:_COARSE] if kind < 6 else _CUTS[_COARSE:]
            for i in order:
                if score[i] > 0:
                    continue
                first, second = rays[i], rays[(i + 1) % k]
                tip = label_beside(graph, first, v, True)
                for side in range(2):
                    taker = label_beside(graph, first, v, False) if side == 0 else label_beside(graph, second, v, True)
                    rank = 2 if taker < 0 else (0 if tip < 0 else 1)
                    if kind % 6 != (rank if favourite in (_NOBODY, taker) else rank + 3):
                        continue
                    for cut in cuts:
                        length = cut * tolerance / 4
                        for which in range(2):
                            ray = first if which == 0 else second
                            place_end(v, ray, length, tolerance, graph, x, y, trial, spot, which)
                        if cut_is_clear(
                            v, first, second, taker, near, graph, x, y, degree, trial, spot, tolerance, frame, share
                        ):
                            make_cut(v, first, second, taker, graph, x, y, degree, size, trial, spot)
                            return int(taker)
    return _NOBODY


@njit(cache=True, nogil=True)
def _fan(v: int, near: Int64, graph: Int64, x: Int64, y: Int64) -> Int64:
    """Return the edges at a point, counter-clockwise from the x axis."""
    rays, k = np.empty(len(near), np.int64), 0
    for e in near:
        if graph[e, 0] == v or graph[e, 1] == v:
            w = graph[e, 0] + graph[e, 1] - v
            i = k
            while i > 0:
                u = graph[rays[i - 1], 0] + graph[rays[i - 1], 1] - v
                if not precedes(x[w] - x[v], y[w] - y[v], x[u] - x[v], y[u] - y[v]):
                    break
                rays[i] = rays[i - 1]
                i -= 1
            rays[i] = e
            k += 1
    return rays[:k]


@njit(cache=True, nogil=True)
def _sector_score(v: int, first: int, second: int, graph: Int64, x: Int64, y: Int64, tolerance: int) -> int:
    """Return how well a sector can be cut: near to 90 degrees, long edges; -1 where it is too wide."""
    p, q = graph[first, 0] + graph[first, 1] - v, graph[second, 0] + graph[second, 1] - v
    ux, uy, vx, vy = x[p] - x[v], y[p] - y[v], x[q] - x[v], y[q] - y[v]
    cross, dot = float(ux * vy - uy * vx), float(ux * vx + uy * vy)
    if cross <= 0 or (dot < 0 and cross * 5.6713 < -dot):  # 170 degrees
        return -1
    shorter = min(float(ux * ux + uy * uy), float(vx * vx + vy * vy))
    straightness = abs(dot) / math.sqrt(cross * cross + dot * dot)
    reach = min(1.0, math.sqrt(shorter) / (4 * tolerance))
    return int(1000 + 1000 * (reach - straightness))


@njit(cache=True, nogil=True)
def _in_order(graph: Int64, x: Int64, y: Int64) -> tuple[Int64, Int64]:
    """Return used points ascending and edges ascending, from smaller to larger point."""
    used, count = np.full(len(x), -1), np.int64(0)
    for e in range(len(graph)):
        if graph[e, 0] >= 0:
            used[graph[e, 0]] = used[graph[e, 1]] = 0
    keys, which = np.empty(len(x), np.int64), np.empty(len(x), np.int64)
    for v in range(len(x)):
        if used[v] == 0:
            keys[count], which[count] = x[v] * KEY_SHIFT + y[v], v
            count += 1
    order = sort_order(keys, count)
    points = np.empty((count, 2), np.int64)
    for i in range(count):
        v = which[order[i]]
        points[i, 0], points[i, 1], used[v] = x[v], y[v], i
    pairs, alive, kept = np.empty(len(graph), np.int64), np.empty(len(graph), np.int64), np.int64(0)
    for e in range(len(graph)):
        if graph[e, 0] >= 0:
            a, b = used[graph[e, 0]], used[graph[e, 1]]
            pairs[kept], alive[kept] = min(a, b) * KEY_SHIFT + max(a, b), e
            kept += 1
    order = sort_order(pairs, kept)
    edges = np.empty((kept, 4), np.int64)
    for i in range(kept):
        e = alive[order[i]]
        a, b = used[graph[e, 0]], used[graph[e, 1]]
        ahead = a < b
        edges[i, 0], edges[i, 1] = min(a, b), max(a, b)
        edges[i, 2], edges[i, 3] = (graph[e, 2], graph[e, 3]) if ahead else (graph[e, 3], graph[e, 2])
    return points, edges
