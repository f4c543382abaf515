"""One cut at a point of a labelled graph: where it begins and ends, what is in its way, and making it.

Which points are cut, where and for whom is decided in ``chamfer``. The graph is a table of edges (tail,
head, left label, right label) with room for more; a tail of -1 is an edge that is gone. A *tip* is the
corner of the sector to the left of its first edge, seen from the point, and to the right of its second.
"""

from __future__ import annotations

import math

from numba import njit

from ...outlines import Int64
from .predicates import cross_properly, segments_near, squared_distance, turn
from .tidying import EDGE_SHARE

MAX_SECTORS = 3
_CHORD = 6
"""A chord is at most this many tolerances long: over ground it then stays clear of other groups."""


@njit(cache=True, nogil=True)
def label_beside(graph: Int64, e: int, v: int, on_left: bool) -> int:
    """Return the label on one side of an edge as it leaves point v."""
    label: int = graph[e, 2] if (graph[e, 0] == v) == on_left else graph[e, 3]
    return label


@njit(cache=True, nogil=True)
def place_end(
    v: int,
    e: int,
    length: float,
    tolerance: int,
    graph: Int64,
    x: Int64,
    y: Int64,
    trial: Int64,
    spot: Int64,
    which: int,
) -> None:
    """Find the end of a cut on an edge: a new point, or its far end where little would be left."""
    w = graph[e, 0] + graph[e, 1] - v
    dx, dy = x[w] - x[v], y[w] - y[v]
    full = math.sqrt(float(dx * dx + dy * dy))
    if full < length + tolerance:
        trial[which], spot[2 * which], spot[2 * which + 1] = w, x[w], y[w]
    else:
        trial[which] = -1
        spot[2 * which] = x[v] + math.floor(dx * length / full + 0.5)
        spot[2 * which + 1] = y[v] + math.floor(dy * length / full + 0.5)


@njit(cache=True, nogil=True)
def cut_is_clear(
    v: int, first: int, second: int, taker: int, near: Int64, graph: Int64, x: Int64, y: Int64, degree: Int64,
    trial: Int64, spot: Int64, tolerance: int, frame: Int64, share: float,
) -> bool:  # fmt: skip
    """Return whether a cut crosses nothing and keeps its distance from everything it does not belong to."""
    limit, shortest = EDGE_SHARE * tolerance * share, tolerance * share - 1
    limit2 = limit * limit
    p, q = graph[first, 0] + graph[first, 1] - v, graph[second, 0] + graph[second, 1] - v
    ax, ay, bx, by = spot[0], spot[1], spot[2], spot[3]
    keeps_first = label_beside(graph, first, v, False) != taker
    keeps_second = label_beside(graph, second, v, True) != taker
    if trial[0] >= 0 and keeps_first and degree[p] >= MAX_SECTORS:
        return False
    if trial[1] >= 0 and keeps_second and degree[q] >= MAX_SECTORS:
        return False
    chord2 = float((bx - ax) ** 2 + (by - ay) ** 2)
    if chord2 < shortest * shortest or chord2 > float(_CHORD * tolerance) ** 2:
        return False
    if turn(x[v], y[v], ax, ay, bx, by) <= 0 or squared_distance(x[v], y[v], ax, ay, bx, by) < limit2:
        return False
    for which in range(2):
        w, near_x, near_y, far_x, far_y = (p, ax, ay, bx, by) if which == 0 else (q, bx, by, ax, ay)
        if trial[which] < 0 and (
            _off_frame(near_x, near_y, frame, limit)
            or squared_distance(x[w], y[w], ax, ay, bx, by) < limit2
            or squared_distance(far_x, far_y, near_x, near_y, x[w], y[w]) < limit2
        ):
            return False
        keeps = keeps_first if which == 0 else keeps_second
        if keeps and squared_distance(far_x, far_y, x[v], y[v], near_x, near_y) < limit2:
            return False
    for e in near:
        if e in (first, second):
            continue
        c, d = graph[e, 0], graph[e, 1]
        at_first, at_second = trial[0] >= 0 and (c == p or d == p), trial[1] >= 0 and (c == q or d == q)
        if at_first and at_second:
            return False
        if at_first or at_second:
            far = c + d - (p if at_first else q)
            if squared_distance(x[far], y[far], ax, ay, bx, by) < limit2:
                return False
            ox, oy = (bx, by) if at_first else (ax, ay)
            if squared_distance(ox, oy, x[c], y[c], x[d], y[d]) < limit2:
                return False
        elif segments_near(ax, ay, bx, by, x[c], y[c], x[d], y[d], limit2):
            return False
        for w in (c, d):
            if w != v and w != p and w != q and _in_triangle(x[w], y[w], x[v], y[v], ax, ay, bx, by):
                return False
        # Rounding bends the edges at the new points a little.
        cx, cy, dx, dy = x[c], y[c], x[d], y[d]
        for u in (v, p):
            if cross_properly(x[u], y[u], ax, ay, cx, cy, dx, dy):
                return False
        for u in (v, q):
            if cross_properly(x[u], y[u], bx, by, cx, cy, dx, dy):
                return False
    return True


@njit(cache=True, nogil=True)
def _off_frame(px: int, py: int, frame: Int64, limit: float) -> bool:
    """Return whether a point is near the frame but not on it."""
    gap_x, gap_y = min(px - frame[0], frame[2] - px), min(py - frame[1], frame[3] - py)
    return bool(0 < gap_x < limit or 0 < gap_y < limit)


@njit(cache=True, nogil=True)
def _in_triangle(px: int, py: int, ax: int, ay: int, bx: int, by: int, cx: int, cy: int) -> bool:
    if turn(ax, ay, bx, by, px, py) < 0 or turn(bx, by, cx, cy, px, py) < 0:
        return False
    return bool(turn(cx, cy, ax, ay, px, py) >= 0)


@njit(cache=True, nogil=True)
def make_cut(
    v: int, first: int, second: int, taker: int, graph: Int64, x: Int64, y: Int64, degree: Int64, size: Int64,
    trial: Int64, spot: Int64,
) -> None:  # fmt: skip
    tip = label_beside(graph, first, v, True)
    beside, beyond = label_beside(graph, first, v, False), label_beside(graph, second, v, True)
    for which in range(2):
        e, other = (first, beside) if which == 0 else (second, beyond)
        w = trial[which]
        if w < 0:  # the edge now starts at a new point; what it leaves behind is an edge of its own
            w = size[0]
            x[w], y[w] = spot[2 * which], spot[2 * which + 1]
            size[0] += 1
            trial[which] = w
            graph[e, 0 if graph[e, 0] == v else 1] = w
            degree[w] += 1
            degree[v] -= 1
            if other != taker:
                _add_edge(v, w, taker if which == 0 else other, other if which == 0 else taker, graph, degree, size)
        elif other == taker:
            graph[e, 0] = -1
            degree[w] -= 1
            degree[v] -= 1
        else:
            graph[e, 2 if (graph[e, 0] == v) == (which == 0) else 3] = taker
    _add_edge(trial[0], trial[1], taker, tip, graph, degree, size)


@njit(cache=True, nogil=True)
def _add_edge(a: int, b: int, left: int, right: int, graph: Int64, degree: Int64, size: Int64) -> None:
    e = size[1]
    graph[e, 0], graph[e, 1], graph[e, 2], graph[e, 3] = a, b, left, right
    degree[a] += 1
    degree[b] += 1
    size[1] += 1
