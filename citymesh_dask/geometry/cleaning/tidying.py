"""From a heap of segments to a planar graph without near misses, by iterated snapping.

Only positions and edges belong here, no labels. One pass (i) puts vertices near the frame onto it,
(ii) merges vertices nearer than the tolerance, (iii) splits edges at vertices that come nearer than
`EDGE_SHARE` of it, (iv) splits edges where they cross, at grid points. Passes are repeated until one
changes nothing; what is left then has no two vertices within the tolerance, no vertex within the share
of it to an edge, and no crossing. This is iterated snap rounding (Halperin & Packer 2002) with hot pixels
as large as the tolerance.

Every step is a function of what lies near, in an order given by positions, so a group of buildings comes
out the same whatever else is in the graph.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ...outlines import Bool, Int64
from .ordering import KEY_SHIFT, grown, lower_bound, sort_order
from .predicates import cross_properly, squared_distance

EDGE_SHARE = 0.85
"""Share of the tolerance that vertices keep from edges; with 1 real groups flip an edge for ever."""
MAX_PASSES = 24


@njit(cache=True, nogil=True)
def unique_graph(x: Int64, y: Int64, tail: Int64, head: Int64) -> tuple[Int64, Int64, Int64, Int64]:
    """Make positions unique and ascending, edges unique, ascending and from smaller to larger vertex.

    Parameters
    ----------
    x, y : (n,) int64
        Vertices, outline units.
    tail, head : (m,) int64
        Edges, indices into the vertices. Edges without length vanish, vertices without edge too.
    """
    n, m = len(x), len(tail)
    keys = np.empty(n, np.int64)
    for v in range(n):
        keys[v] = x[v] * KEY_SHIFT + y[v]
    order = sort_order(keys, n)
    place = np.empty(n, np.int64)
    count, last = -1, 0
    for i in range(n):
        v = order[i]
        if i == 0 or keys[v] != last:
            count += 1
            last = keys[v]
        place[v] = count
    pairs = np.empty(m, np.int64)
    kept = np.int64(0)  # typed: numba would compile `sort_order` for a literal as well
    for e in range(m):
        a, b = place[tail[e]], place[head[e]]
        if a != b:
            pairs[kept] = min(a, b) * KEY_SHIFT + max(a, b)
            kept += 1
    edge_order = sort_order(pairs, kept)
    rank = np.full(count + 1, -1)
    new_tail, new_head = np.empty(kept, np.int64), np.empty(kept, np.int64)
    edges, last = 0, -1
    for i in range(kept):
        pair = pairs[edge_order[i]]
        if pair != last:
            last = pair
            a, b = pair // KEY_SHIFT, pair % KEY_SHIFT
            new_tail[edges], new_head[edges] = a, b
            rank[a] = rank[b] = 0
            edges += 1
    used = 0
    for i in range(count + 1):
        if rank[i] == 0:
            rank[i] = used
            used += 1
    new_x, new_y = np.empty(used, np.int64), np.empty(used, np.int64)
    for v in range(n):
        r = rank[place[v]]
        if r >= 0:
            new_x[r], new_y[r] = x[v], y[v]
    for e in range(edges):
        new_tail[e], new_head[e] = rank[new_tail[e]], rank[new_head[e]]
    return new_x, new_y, new_tail[:edges], new_head[:edges]


@njit(cache=True, nogil=True)
def tidy(
    x: Int64, y: Int64, tail: Int64, head: Int64, tolerance: int, frame: Int64
) -> tuple[Int64, Int64, Int64, Int64, bool, bool]:
    """Snap, merge and split a graph until nothing changes.

    Parameters
    ----------
    x, y, tail, head : int64
        Graph as in `unique_graph`; crossings and near misses allowed. Not changed.
    tolerance : int
        Outline units.
    frame : (4,) int64
        Frame of the domain, outline units.

    Returns
    -------
    x, y, tail, head : int64
        The tidy graph.
    changed : bool
        False if the first pass found nothing to do.
    settled : bool
        False if the last pass allowed still changed something.
    """
    limit2 = (EDGE_SHARE * tolerance) ** 2
    x, y, tail, head = unique_graph(x, y, tail, head)
    at_frame = _meets_frame(x, y, frame, tolerance)
    for step in range(MAX_PASSES):
        work = 0
        if at_frame:
            work = _snap_to_frame(x, y, frame, tolerance)
            if work > 0:
                x, y, tail, head = unique_graph(x, y, tail, head)
        if _merge_near(x, y, tail, head, tolerance, frame, at_frame) > 0:
            work += 1
            x, y, tail, head = unique_graph(x, y, tail, head)
        splits, x, y, tail, head = _split_at_vertices(x, y, tail, head, tolerance, limit2, frame, at_frame)
        if splits > 0:
            work += 1
            x, y, tail, head = unique_graph(x, y, tail, head)
        splits, x, y, tail, head = _split_at_crossings(x, y, tail, head)
        if splits > 0:
            work += 1
            x, y, tail, head = unique_graph(x, y, tail, head)
        if work == 0:
            return x, y, tail, head, step > 0, True
    return x, y, tail, head, True, False


@njit(cache=True, nogil=True)
def _meets_frame(x: Int64, y: Int64, frame: Int64, tolerance: int) -> bool:
    for v in range(len(x)):
        if x[v] - frame[0] <= 8 * tolerance or y[v] - frame[1] <= 8 * tolerance:
            return True
        if frame[2] - x[v] <= 8 * tolerance or frame[3] - y[v] <= 8 * tolerance:
            return True
    return False


@njit(cache=True, nogil=True)
def _snap_to_frame(x: Int64, y: Int64, frame: Int64, tolerance: int) -> int:
    """Move vertices within the tolerance of a side of the frame onto it; return how many moved."""
    moved = 0
    for v in range(len(x)):
        old_x, old_y = x[v], y[v]
        if abs(old_x - frame[0]) <= tolerance:
            x[v] = frame[0]
        elif abs(old_x - frame[2]) <= tolerance:
            x[v] = frame[2]
        if abs(old_y - frame[1]) <= tolerance:
            y[v] = frame[1]
        elif abs(old_y - frame[3]) <= tolerance:
            y[v] = frame[3]
        if x[v] != old_x or y[v] != old_y:
            moved += 1
    return moved


@njit(cache=True, nogil=True)
def _merge_near(x: Int64, y: Int64, tail: Int64, head: Int64, tolerance: int, frame: Int64, at_frame: bool) -> int:
    """Let ends of edges point to the vertex that takes their place; return the number of near pairs.

    Greedy: vertices in the order of rank (frame corners, frame, junctions, others), then position; each
    that is not taken yet takes all neighbours that are not taken yet. Vertices ascend by (x, y).
    """
    n, found = len(x), 0
    first, second = np.empty(8, np.int64), np.empty(8, np.int64)
    for i in range(n):
        for j in range(i + 1, n):
            dx = x[j] - x[i]
            if dx > tolerance:
                break
            dy = y[j] - y[i]
            if dx * dx + dy * dy <= tolerance * tolerance:
                first, second = grown(first, found + 1), grown(second, found + 1)
                first[found], second[found] = i, j
                found += 1
    if found == 0:
        return 0
    degree = np.zeros(n, np.int64)
    for e in range(len(tail)):
        degree[tail[e]] += 1
        degree[head[e]] += 1
    start = np.zeros(n + 1, np.int64)
    for k in range(found):
        start[first[k] + 1] += 1
        start[second[k] + 1] += 1
    for v in range(n):
        start[v + 1] += start[v]
    fill, near = start[:n].copy(), np.empty(2 * found, np.int64)
    for k in range(found):
        a, b = first[k], second[k]
        near[fill[a]], near[fill[b]] = b, a
        fill[a] += 1
        fill[b] += 1
    taken = np.full(n, -1)
    for rank in range(0 if at_frame else 2, 4):
        for v in range(n):
            if taken[v] < 0 and start[v] < start[v + 1] and _rank(x[v], y[v], degree[v], frame) == rank:
                taken[v] = v
                for k in range(start[v], start[v + 1]):
                    if taken[near[k]] < 0:
                        taken[near[k]] = v
    for e in range(len(tail)):
        if taken[tail[e]] >= 0:
            tail[e] = taken[tail[e]]
        if taken[head[e]] >= 0:
            head[e] = taken[head[e]]
    return found


@njit(cache=True, nogil=True)
def _rank(x: int, y: int, degree: int, frame: Int64) -> int:
    on_x, on_y = x == frame[0] or x == frame[2], y == frame[1] or y == frame[3]
    if on_x and on_y:
        return 0
    if on_x or on_y:
        return 1
    return 2 if degree > 2 else 3


@njit(cache=True, nogil=True)
def _split_at_vertices(
    x: Int64, y: Int64, tail: Int64, head: Int64, tolerance: int, limit2: float, frame: Int64, at_frame: bool
) -> tuple[int, Int64, Int64, Int64, Int64]:
    """Lead edges through the vertices, and the frame corners, that are nearer than the limit."""
    n, found = len(x), 0
    edges, nodes, along = np.empty(8, np.int64), np.empty(8, np.int64), np.empty(8, np.int64)
    all_x, all_y = x, y
    if at_frame:
        all_x, all_y = np.empty(n + 4, np.int64), np.empty(n + 4, np.int64)
        for v in range(n):
            all_x[v], all_y[v] = x[v], y[v]
        for corner in range(4):
            all_x[n + corner], all_y[n + corner] = frame[2 * (corner >> 1)], frame[1 + 2 * (corner & 1)]
    for e in range(len(tail)):
        a, b = tail[e], head[e]
        ax, ay, bx, by = x[a], y[a], x[b], y[b]
        dx, dy = bx - ax, by - ay
        length2 = dx * dx + dy * dy
        y0, y1 = min(ay, by) - tolerance, max(ay, by) + tolerance
        v = lower_bound(x, ax - tolerance)
        while v < len(all_x):
            if v < n and x[v] > bx + tolerance:
                v = n  # the corners of the frame, if any, come next
                continue
            if y0 <= all_y[v] <= y1 and v != a and v != b:
                ahead = (all_x[v] - ax) * dx + (all_y[v] - ay) * dy
                if 0 < ahead < length2 and squared_distance(all_x[v], all_y[v], ax, ay, bx, by) <= limit2:
                    edges, nodes, along = grown(edges, found + 1), grown(nodes, found + 1), grown(along, found + 1)
                    edges[found], nodes[found], along[found] = e, v, ahead
                    found += 1
            v += 1
    if found == 0:
        return 0, x, y, tail, head
    tail, head = _insert_nodes(tail, head, edges[:found], nodes, along)
    return found, all_x, all_y, tail, head


@njit(cache=True, nogil=True)
def find_crossings(x: Int64, y: Int64, tail: Int64, head: Int64) -> tuple[int, Int64, Int64]:
    """Return the pairs of edges that cross properly, by a sweep over ascending x.

    Parameters
    ----------
    x, y, tail, head : int64
        Graph as `unique_graph` makes it.

    Returns
    -------
    count : int
    first, second : (>= count,) int64
        The pairs, indices of edges, first below second.
    """
    found = 0
    first, second = np.empty(8, np.int64), np.empty(8, np.int64)
    m = len(tail)
    for e in range(m):
        a, b = tail[e], head[e]
        ax, ay, bx, by = x[a], y[a], x[b], y[b]
        y0, y1 = min(ay, by), max(ay, by)
        for f in range(e + 1, m):
            c, d = tail[f], head[f]
            if x[c] > bx:
                break
            cy, dy = y[c], y[d]
            if (cy >= y1 and dy >= y1) or (cy <= y0 and dy <= y0) or c in (a, b) or d in (a, b):
                continue
            if cross_properly(ax, ay, bx, by, x[c], cy, x[d], dy):
                first, second = grown(first, found + 1), grown(second, found + 1)
                first[found], second[found] = e, f
                found += 1
    return found, first, second


@njit(cache=True, nogil=True)
def _split_at_crossings(x: Int64, y: Int64, tail: Int64, head: Int64) -> tuple[int, Int64, Int64, Int64, Int64]:
    """Split edges where they cross, at the nearest grid point."""
    found, first, second = find_crossings(x, y, tail, head)
    if found == 0:
        return 0, x, y, tail, head
    n = len(x)
    new_x, new_y = np.empty(n + found, np.int64), np.empty(n + found, np.int64)
    for v in range(n):
        new_x[v], new_y[v] = x[v], y[v]
    edges, nodes, along = np.empty(2 * found, np.int64), np.empty(2 * found, np.int64), np.empty(2 * found, np.int64)
    for k in range(found):
        a, b, c, d = tail[first[k]], head[first[k]], tail[second[k]], head[second[k]]
        ux, uy, vx, vy = x[b] - x[a], y[b] - y[a], x[d] - x[c], y[d] - y[c]
        share = float((x[c] - x[a]) * vy - (y[c] - y[a]) * vx) / float(ux * vy - uy * vx)
        node_x = x[a] + math.floor(share * ux + 0.5)
        node_y = y[a] + math.floor(share * uy + 0.5)
        new_x[n + k], new_y[n + k] = node_x, node_y
        edges[2 * k], edges[2 * k + 1] = first[k], second[k]
        nodes[2 * k] = nodes[2 * k + 1] = n + k
        along[2 * k] = (node_x - x[a]) * ux + (node_y - y[a]) * uy
        along[2 * k + 1] = (node_x - x[c]) * vx + (node_y - y[c]) * vy
    tail, head = _insert_nodes(tail, head, edges, nodes, along)
    return found, new_x, new_y, tail, head


@njit(cache=True, nogil=True)
def _insert_nodes(tail: Int64, head: Int64, edges: Int64, nodes: Int64, along: Int64) -> tuple[Int64, Int64]:
    """Replace edges by chains through nodes, in the order of ``along``, then of the nodes' entry."""
    m, found = len(tail), len(edges)
    start = np.zeros(m + 1, np.int64)
    for k in range(found):
        start[edges[k] + 1] += 1
    for e in range(m):
        start[e + 1] += start[e]
    fill, chain = start[:m].copy(), np.empty(found, np.int64)
    for k in range(found):
        e = edges[k]
        i = fill[e]
        while i > start[e] and along[chain[i - 1]] > along[k]:
            chain[i] = chain[i - 1]
            i -= 1
        chain[i] = k
        fill[e] += 1
    new_tail, new_head = np.empty(m + found, np.int64), np.empty(m + found, np.int64)
    count = 0
    for e in range(m):
        a = tail[e]
        for i in range(start[e], start[e + 1]):
            new_tail[count], new_head[count] = a, nodes[chain[i]]
            a = nodes[chain[i]]
            count += 1
        new_tail[count], new_head[count] = a, head[e]
        count += 1
    return new_tail, new_head


def edges_on_frame(points: Int64, edges: Int64, frame: Int64) -> Bool:
    """Return which edges lie on a side of the frame.

    Parameters
    ----------
    points : (n, 2) int64
        Outline units.
    edges : (m, 4) int64
        As in `Outlines`.
    frame : (4,) int64
        Outline units.
    """
    a, b = points[edges[:, 0]], points[edges[:, 1]]
    same = a == b
    on_low, on_high = same & (a == frame[:2]), same & (a == frame[2:])
    found: Bool = (on_low | on_high).any(axis=1)
    return found
