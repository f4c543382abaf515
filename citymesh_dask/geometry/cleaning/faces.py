"""Faces of a planar graph, a point inside each, and the labels found there.

Half-edge ``2 e`` runs along edge ``e`` from tail to head, ``2 e + 1`` back; its face lies on its left.
Face 0 is the outside. What becomes of the faces belongs in ``regions``.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ...outlines import GROUND, Bool, Float64, Int64
from ..grouping import find_root, join
from .ordering import bucket_intervals
from .predicates import precedes

DEAD = -1
"""Face of the half-edges that bound nothing: dangling ends and bridges."""


@njit(cache=True, nogil=True)
def trace_rings(x: Int64, y: Int64, tail: Int64, head: Int64, alive: Bool) -> tuple[Int64, Int64, Int64]:
    """Follow the faces' boundaries, faces on the left.

    Parameters
    ----------
    x, y, tail, head : int64
        Planar graph.
    alive : (m,) bool
        Edges to use.

    Returns
    -------
    ring : (2 m,) int64
        Ring of each half-edge, -1 where not alive.
    first : (r,) int64
        First half-edge of each ring; rings are numbered by it.
    area : (r,) int64
        Doubled area, negative for rings that surround what is outside of them.
    """
    n, m = len(x), len(tail)
    start = np.zeros(n + 1, np.int64)
    for e in range(m):
        if alive[e]:
            start[tail[e] + 1] += 1
            start[head[e] + 1] += 1
    for v in range(n):
        start[v + 1] += start[v]
    fan, fill = np.empty(start[n], np.int64), start[:n].copy()
    for half in range(2 * m):
        e = half >> 1
        if not alive[e]:
            continue
        v, w = (tail[e], head[e]) if half & 1 == 0 else (head[e], tail[e])
        i = fill[v]
        while i > start[v]:
            other = fan[i - 1]
            z = head[other >> 1] if other & 1 == 0 else tail[other >> 1]
            if not precedes(x[w] - x[v], y[w] - y[v], x[z] - x[v], y[z] - y[v]):
                break
            fan[i] = other
            i -= 1
        fan[i] = half
        fill[v] += 1
    following = np.empty(2 * m, np.int64)
    for v in range(n):
        for i in range(start[v], start[v + 1]):
            following[fan[i] ^ 1] = fan[i - 1] if i > start[v] else fan[start[v + 1] - 1]
    ring = np.full(2 * m, -1)
    first, area, count = np.empty(2 * m, np.int64), np.empty(2 * m, np.int64), 0
    for half in range(2 * m):
        if ring[half] >= 0 or not alive[half >> 1]:
            continue
        first[count], total, step = half, 0, half
        while ring[step] < 0:
            ring[step] = count
            a, b = tail[step >> 1], head[step >> 1]
            cross = (x[a] - x[0]) * (y[b] - y[0]) - (x[b] - x[0]) * (y[a] - y[0])
            total += cross if step & 1 == 0 else -cross
            step = following[step]
        area[count] = total
        count += 1
    return ring, first[:count], area[:count]


@njit(cache=True, nogil=True)
def find_faces(x: Int64, y: Int64, tail: Int64, head: Int64) -> tuple[Int64, Int64]:
    """Return the face of every half-edge and the doubled area of every face.

    Parameters
    ----------
    x, y, tail, head : int64
        Planar graph.

    Returns
    -------
    face : (2 m,) int64
        0 outside, 1 and up inside, `DEAD` for edges with the same face on both sides.
    area : (f,) int64
        Doubled area, outline units squared; that of the outside is 0.
    """
    m = len(tail)
    alive = np.ones(m, np.bool_)
    ring, first, ring_area = trace_rings(x, y, tail, head, alive)
    bridges = 0
    for e in range(m):
        if ring[2 * e] == ring[2 * e + 1]:
            alive[e] = False
            bridges += 1
    if bridges > 0:
        ring, first, ring_area = trace_rings(x, y, tail, head, alive)
    n_rings = len(first)
    face_of = np.zeros(n_rings, np.int64)
    area, count, components = np.zeros(n_rings + 1, np.int64), 1, 0
    for r in range(n_rings):
        if ring_area[r] > 0:
            face_of[r] = count
            area[count] = ring_area[r]
            count += 1
        else:
            components += 1
    if components > 1:
        parent = _surrounding_rings(x, y, tail, head, alive, ring, first, ring_area)
        for r in range(n_rings):
            if ring_area[r] <= 0 and parent[r] >= 0:
                face_of[r] = face_of[parent[r]]
                area[face_of[r]] += ring_area[r]
    face = np.full(2 * m, DEAD)
    for half in range(2 * m):
        if ring[half] >= 0:
            face[half] = face_of[ring[half]]
    return face, area[:count]


@njit(cache=True, nogil=True)
def _surrounding_rings(
    x: Int64, y: Int64, tail: Int64, head: Int64, alive: Bool, ring: Int64, first: Int64, area: Int64
) -> Int64:
    """Return for each ring around a component the smallest ring of another component around it, or -1."""
    n_rings = len(first)
    component = np.arange(len(x))
    box = np.empty((n_rings, 4), np.int64)
    for r in range(n_rings):
        box[r, 0] = box[r, 1] = 1 << 60
        box[r, 2] = box[r, 3] = -(1 << 60)
    start = np.zeros(n_rings + 1, np.int64)
    for half in range(len(ring)):
        r, a, b = ring[half], tail[half >> 1], head[half >> 1]
        if r < 0:
            continue
        join(component, a, b)
        start[r + 1] += 1
        box[r, 0], box[r, 1] = min(box[r, 0], x[a]), min(box[r, 1], y[a], y[b])
        box[r, 2], box[r, 3] = max(box[r, 2], x[b]), max(box[r, 3], y[a], y[b])
    for r in range(n_rings):
        start[r + 1] += start[r]
    members, fill = np.empty(start[n_rings], np.int64), start[:n_rings].copy()
    for half in range(len(ring)):
        r = ring[half]
        if r >= 0:
            members[fill[r]] = half
            fill[r] += 1
    around = np.full(n_rings, -1)
    for r in range(n_rings):
        if area[r] > 0:
            continue
        v = tail[first[r] >> 1]
        own = find_root(component, v)
        for s in range(n_rings):
            if area[s] <= 0 or x[v] < box[s, 0] or x[v] > box[s, 2] or y[v] < box[s, 1] or y[v] > box[s, 3]:
                continue
            if around[r] >= 0 and area[around[r]] <= area[s]:
                continue
            if find_root(component, tail[first[s] >> 1]) == own:
                continue
            inside = False
            for k in range(start[s], start[s + 1]):
                a, b = tail[members[k] >> 1], head[members[k] >> 1]
                if (y[a] > y[v]) != (y[b] > y[v]):
                    side = (x[b] - x[a]) * (y[v] - y[a]) - (x[v] - x[a]) * (y[b] - y[a])
                    if side != 0 and (side > 0) == (y[b] > y[a]):
                        inside = not inside
            if inside:
                around[r] = s
    return around


@njit(cache=True, nogil=True)
def edges_by_face(face: Int64, n_faces: int) -> tuple[Int64, Int64]:
    """Return the half-edges of each face: ``members[start[f]:start[f + 1]]``, ascending."""
    start = np.zeros(n_faces + 1, np.int64)
    for half in range(len(face)):
        if face[half] >= 0:
            start[face[half] + 1] += 1
    for f in range(n_faces):
        start[f + 1] += start[f]
    members, fill = np.empty(start[n_faces], np.int64), start[:n_faces].copy()
    for half in range(len(face)):
        if face[half] >= 0:
            members[fill[face[half]]] = half
            fill[face[half]] += 1
    return start, members


@njit(cache=True, nogil=True)
def points_inside(
    x: Int64, y: Int64, tail: Int64, head: Int64, start: Int64, members: Int64
) -> tuple[Float64, Float64]:
    """Return a point inside each face: the middle of its widest stretch at half its height.

    The height is always half-way between grid lines, so that no vertex of any graph lies level with it.

    Parameters
    ----------
    x, y, tail, head : int64
        Planar graph.
    start, members : int64
        Half-edges of each face, from `edges_by_face`.

    Returns
    -------
    px, py : (f,) float64
        Outline units; meaningless for the outside.
    """
    n_faces = len(start) - 1
    px, py = np.zeros(n_faces), np.zeros(n_faces)
    cuts = np.empty(16)
    for f in range(1, n_faces):
        low, high = 1 << 60, -(1 << 60)
        for k in range(start[f], start[f + 1]):
            e = members[k] >> 1
            low, high = min(low, y[tail[e]], y[head[e]]), max(high, y[tail[e]], y[head[e]])
        middle, below, above = (low + high) // 2, low, high
        for k in range(start[f], start[f + 1]):
            e = members[k] >> 1
            for level in (y[tail[e]], y[head[e]]):
                if level <= middle:
                    below = max(below, level)
                else:
                    above = min(above, level)
        py[f] = (below + above) // 2 + 0.5
        count = 0
        for k in range(start[f], start[f + 1]):
            a, b = tail[members[k] >> 1], head[members[k] >> 1]
            if (y[a] > py[f]) == (y[b] > py[f]):
                continue
            cut = x[a] + (py[f] - y[a]) * float(x[b] - x[a]) / float(y[b] - y[a])
            if count == len(cuts):
                longer = np.empty(2 * count)
                for i in range(count):
                    longer[i] = cuts[i]
                cuts = longer
            i = count
            while i > 0 and cuts[i - 1] > cut:
                cuts[i] = cuts[i - 1]
                i -= 1
            cuts[i] = cut
            count += 1
        widest = -1.0
        for i in range(0, count - 1, 2):
            if cuts[i + 1] - cuts[i] > widest:
                widest = cuts[i + 1] - cuts[i]
                px[f] = (cuts[i] + cuts[i + 1]) / 2
    return px, py


@njit(cache=True, nogil=True)
def labels_from_parts(
    px: Float64, py: Float64, parts: Int64, boxes: Int64, ring_start: Int64, point_start: Int64, points: Int64
) -> Int64:
    """Return for each point the first polygon that contains it, or `GROUND`; entry 0 is the outside.

    Parameters
    ----------
    px, py : (f,) float64
        Points, heights half-way between grid lines.
    parts : (2,) int64
        Range of the polygons to look at, in their order.
    boxes : (n, 4) int64
        Box of each polygon.
    ring_start, point_start, points : int64
        As in `Parts`.
    """
    low, high = parts[0], parts[1]
    rows = int(math.sqrt(high - low)) + 1
    base, height, start, members = bucket_intervals(boxes[low:high, 1].copy(), boxes[low:high, 3].copy(), rows)
    label = np.full(len(px), GROUND)
    for f in range(1, len(px)):
        row = (math.floor(py[f]) - base) // height
        if row < 0 or row >= len(start) - 1:
            continue
        for k in range(start[row], start[row + 1]):
            p = low + members[k]
            if px[f] < boxes[p, 0] or px[f] > boxes[p, 2] or py[f] < boxes[p, 1] or py[f] > boxes[p, 3]:
                continue
            if _contains(p, px[f], py[f], ring_start, point_start, points):
                label[f] = p
                break
    return label


@njit(cache=True, nogil=True)
def _contains(part: int, px: float, py: float, ring_start: Int64, point_start: Int64, points: Int64) -> bool:
    inside = False
    for ring in range(ring_start[part], ring_start[part + 1]):
        for i in range(point_start[ring], point_start[ring + 1] - 1):
            ay, by = points[i, 1], points[i + 1, 1]
            if (ay > py) != (by > py):
                ax, bx = points[i, 0], points[i + 1, 0]
                if px < ax + (py - ay) * float(bx - ax) / float(by - ay):
                    inside = not inside
    return inside


@njit(cache=True, nogil=True)
def labels_from_edges(
    px: Float64, py: Float64, x: Int64, y: Int64, tail: Int64, head: Int64, left: Int64, right: Int64
) -> Int64:
    """Return for each point the label of the face of a labelled planar graph in which it lies.

    The first edge met from the point to the left tells: heights half-way between grid lines never pass
    through a vertex, so the answer is never a matter of rounding.

    Parameters
    ----------
    px, py : (f,) float64
        Points, heights half-way between grid lines; entry 0, the outside, is passed over.
    x, y, tail, head : int64
        Planar graph, edges from smaller to larger vertex.
    left, right : (m,) int64
        Labels on either side of its edges.

    Returns
    -------
    (f,) int64
        Labels; `GROUND` outside.
    """
    label = np.full(len(px), GROUND)
    m = len(tail)
    if m == 0:
        return label
    low, high = np.empty(m, np.int64), np.empty(m, np.int64)
    for e in range(m):
        low[e], high[e] = min(y[tail[e]], y[head[e]]), max(y[tail[e]], y[head[e]])
    base, height, start, members = bucket_intervals(low, high, int(math.sqrt(m)) + 1)
    for f in range(1, len(px)):
        row = (math.floor(py[f]) - base) // height
        if row < 0 or row >= len(start) - 1:
            continue
        nearest = -math.inf
        for k in range(start[row], start[row + 1]):
            e = members[k]
            a, b = tail[e], head[e]
            if (y[a] > py[f]) == (y[b] > py[f]) or x[a] > px[f]:
                continue
            cut = x[a] + (py[f] - y[a]) * float(x[b] - x[a]) / float(y[b] - y[a])
            if nearest < cut <= px[f]:
                nearest = cut
                label[f] = right[e] if y[b] > y[a] else left[e]
    return label
