"""One group of polygons after another becomes a labelled planar graph.

The loop over groups and the rounds of each belong here: tidy the edges, find and label the faces, give
small and thin regions away, drop the edges between equal labels, and again until nothing changes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ...outlines import Int64
from .faces import DEAD, edges_by_face, find_faces, labels_from_edges, labels_from_parts, points_inside
from .ordering import grown
from .regions import absorb_regions
from .tidying import tidy

MAX_ROUNDS = 8


@njit(cache=True, nogil=True)
def planar_groups(
    group_start: Int64,
    shapes: tuple[Int64, Int64, Int64, Int64],
    simple: tuple[Int64, Int64],
    own: Int64,
    frame: Int64,
    tolerance: int,
    min_area: int,
) -> tuple[Int64, Int64, Int64, Int64, Int64]:
    """Clean every group of polygons by itself.

    Parameters
    ----------
    group_start : (g + 1,) int64
        Polygons ``group_start[i]:group_start[i + 1]`` are group ``i``, those that win an overlap first.
    shapes : (boxes, ring_start, point_start, points)
        The polygons as they were, which tell the labels.
    simple : (point_start, points)
        Their simplified rings, which become edges.
    own : (n,) int64
        Label of each polygon: the first polygon of the group with the same row.
    frame : (4,) int64
        Frame of the domain, outline units.
    tolerance : int
        Outline units.
    min_area : int
        Doubled area under which a building's region is given away, outline units squared.

    Returns
    -------
    points : (k, 2) int64
        Vertices, ascending inside a group.
    edges : (m, 4) int64
        Tail, head (indices into the points), label on the left and on the right.
    point_start, edge_start : (g + 1,) int64
        Where the points and edges of each group begin.
    events : (n, 3) int64
        Per label: fate, label into which it went, doubled area of the largest region that went.
    """
    boxes, ring_start, point_start, points = shapes
    simple_start, simple_points = simple
    n_groups = len(group_start) - 1
    out_points, n_points = np.empty(2 * len(simple_points) + 2, np.int64), 0
    out_edges, n_edges = np.empty(4 * len(simple_points) + 4, np.int64), 0
    out_point_start, out_edge_start = np.zeros(n_groups + 1, np.int64), np.zeros(n_groups + 1, np.int64)
    events = np.full((len(own), 3), -1)
    for g in range(n_groups):
        low, high = group_start[g], group_start[g + 1]
        if low < high:
            x, y, tail, head = _ring_edges(ring_start[low], ring_start[high], simple_start, simple_points)
            x, y, tail, head, left, right = _clean_group(
                x, y, tail, head, group_start[g : g + 2], boxes, ring_start, point_start, points, own, frame,
                tolerance, min_area, events,
            )  # fmt: skip
            rank = np.full(len(x), -1)
            for e in range(len(tail)):
                rank[tail[e]] = rank[head[e]] = 0
            out_points = grown(out_points, 2 * (n_points + len(x)))
            out_edges = grown(out_edges, 4 * (n_edges + len(tail)))
            for v in range(len(x)):
                if rank[v] == 0:
                    rank[v] = n_points
                    out_points[2 * n_points], out_points[2 * n_points + 1] = x[v], y[v]
                    n_points += 1
            for e in range(len(tail)):
                k = 4 * n_edges
                out_edges[k], out_edges[k + 1] = rank[tail[e]], rank[head[e]]
                out_edges[k + 2], out_edges[k + 3] = left[e], right[e]
                n_edges += 1
        out_point_start[g + 1], out_edge_start[g + 1] = n_points, n_edges
    return (
        out_points[: 2 * n_points].copy().reshape(n_points, 2),
        out_edges[: 4 * n_edges].copy().reshape(n_edges, 4),
        out_point_start,
        out_edge_start,
        events,
    )


@njit(cache=True, nogil=True)
def _ring_edges(first_ring: int, last_ring: int, start: Int64, points: Int64) -> tuple[Int64, Int64, Int64, Int64]:
    """Return the edges of closed rings as a graph in which every ring has vertices of its own."""
    low, high = start[first_ring], start[last_ring]
    x, y = points[low:high, 0].copy(), points[low:high, 1].copy()
    tail, head = np.empty(high - low, np.int64), np.empty(high - low, np.int64)
    count = 0
    for ring in range(first_ring, last_ring):
        for k in range(start[ring] - low, start[ring + 1] - low - 1):
            tail[count], head[count] = k, k + 1
            count += 1
    return x, y, tail[:count], head[:count]


# Inlined: compiling it by itself as well would compile everything under it twice.
@njit(cache=True, nogil=True, inline="always")
def _clean_group(
    x: Int64, y: Int64, tail: Int64, head: Int64, parts: Int64, boxes: Int64, ring_start: Int64, point_start: Int64,
    points: Int64, own: Int64, frame: Int64, tolerance: int, min_area: int, events: Int64,
) -> tuple[Int64, Int64, Int64, Int64, Int64, Int64]:  # fmt: skip
    x, y, tail, head, changed, _ = tidy(x, y, tail, head, tolerance, frame)
    face, area = find_faces(x, y, tail, head)
    start, members = edges_by_face(face, len(area))
    px, py = points_inside(x, y, tail, head, start, members)
    label = labels_from_parts(px, py, parts, boxes, ring_start, point_start, points)
    for f in range(len(label)):
        if label[f] >= 0:
            label[f] = own[label[f]]
    left, right = tail, head
    for turn in range(MAX_ROUNDS):
        absorb_regions((x, y, tail, head), (face, area, start, members), label, tolerance, min_area, events)
        tail, head, left, right, dropped = _edges_between_labels(tail, head, face, label)
        if dropped == 0 and not changed:
            break
        new_x, new_y, new_tail, new_head, changed, _ = tidy(x, y, tail, head, tolerance, frame)
        if not changed or turn == MAX_ROUNDS - 1:
            break
        face, area = find_faces(new_x, new_y, new_tail, new_head)
        start, members = edges_by_face(face, len(area))
        px, py = points_inside(new_x, new_y, new_tail, new_head, start, members)
        label = labels_from_edges(px, py, x, y, tail, head, left, right)
        x, y, tail, head = new_x, new_y, new_tail, new_head
    return x, y, tail, head, left, right


@njit(cache=True, nogil=True)
def _edges_between_labels(
    tail: Int64, head: Int64, face: Int64, label: Int64
) -> tuple[Int64, Int64, Int64, Int64, int]:
    """Keep the edges with different labels on their sides; return them and how many were dropped."""
    m, count = len(tail), 0
    new_tail, new_head = np.empty(m, np.int64), np.empty(m, np.int64)
    left, right = np.empty(m, np.int64), np.empty(m, np.int64)
    for e in range(m):
        a, b = face[2 * e], face[2 * e + 1]
        if a == DEAD or label[a] == label[b]:
            continue
        new_tail[count], new_head[count] = tail[e], head[e]
        left[count], right[count] = label[a], label[b]
        count += 1
    return new_tail[:count], new_head[:count], left[:count], right[:count], m - count
