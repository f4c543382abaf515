"""The oriented edges of one tile's faces. Only the kernel that finds them belongs here."""

from __future__ import annotations

import numpy as np
from numba import njit

from ...outlines import Int32

_SEARCHED = 24
"""Up to so many neighbours of a vertex are searched one after another: faster than an index."""


@njit(cache=True, nogil=True)
def tile_edges(faces: Int32, n_vertices: int) -> tuple[Int32, Int32, Int32]:
    """Return the oriented edges that only one face uses, and the edges that are used wrongly.

    Edges are counting-sorted by their smaller vertex, and each short list is compared with itself.

    Parameters
    ----------
    faces : (m, 3) int32
        Vertex indices in ``0 .. n_vertices - 1``, fewer than 2**30.
    n_vertices : int
        Number of vertices.

    Returns
    -------
    edges : (e, 2) int32
        Start and end of each edge used once, as its face runs; ascending by the smaller vertex.
    overused : (k, 2) int32
        Edges that more than two faces use, smaller vertex first.
    inconsistent : (k, 2) int32
        Edges that two faces use in the same direction, as they run, and ``(v, v)`` for each face
        that names vertex ``v`` twice in a row.
    """
    start, half_edges = _half_edges(faces, n_vertices)
    longest = 0
    for vertex in range(n_vertices):
        longest = max(longest, start[vertex + 1] - start[vertex])
    up = np.zeros(longest, np.int32)
    down = np.zeros(longest, np.int32)
    place = np.empty(n_vertices if longest > _SEARCHED else 0, np.int32)
    counts = np.zeros(3, np.int64)
    edges = np.empty((1024, 2), np.int32)
    overused = np.empty((16, 2), np.int32)
    inconsistent = np.empty((16, 2), np.int32)
    for vertex in range(n_vertices):
        first = start[vertex]
        if _all_paired(half_edges, first, start[vertex + 1], vertex):
            continue
        distinct = _count_directions(half_edges[first : start[vertex + 1]], up, down, place)
        for slot in range(distinct):
            other = half_edges[first + slot]
            ups, downs = up[slot], down[slot]
            if ups == 1 and downs == 1 and other != vertex:
                continue
            kind, runs_up = 2, ups > 0  # variables: numba would compile `_append` for each constant anew
            if other != vertex and ups + downs == 1:
                kind = 0
            elif other != vertex and ups + downs > 2:
                kind, runs_up = 1, True
            if kind == 0:
                edges = _append(edges, counts, kind, vertex, other, runs_up)
            elif kind == 1:
                overused = _append(overused, counts, kind, vertex, other, runs_up)
            else:
                inconsistent = _append(inconsistent, counts, kind, vertex, other, runs_up)
    return edges[: counts[0]], overused[: counts[1]], inconsistent[: counts[2]]


@njit(cache=True, nogil=True)
def _half_edges(faces: Int32, n_vertices: int) -> tuple[Int32, Int32]:
    """Return CSR lists by smaller vertex of ``2 * other + (0 if it runs up else 1)``."""
    start = np.zeros(n_vertices + 2, np.int32)
    for face in range(len(faces)):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        start[min(a, b) + 2] += 1
        start[min(b, c) + 2] += 1
        start[min(c, a) + 2] += 1
    for vertex in range(n_vertices):
        start[vertex + 2] += start[vertex + 1]
    lists = np.empty(3 * len(faces), np.int32)
    # start[v + 1] is the next free place of v while lists fill, and the end of v's list afterwards
    for face in range(len(faces)):
        a = faces[face, 2]
        for corner in range(3):
            b = faces[face, corner]
            low, value = (a, b << 1) if a < b else (b, (a << 1) | 1)
            lists[start[low + 1]] = value
            start[low + 1] += 1
            a = b
    return start, lists


@njit(cache=True, nogil=True)
def _all_paired(half_edges: Int32, first: int, stop: int, vertex: int) -> bool:
    """Tell whether each half-edge of a short list has one opposite, as nearly all have inside a mesh.

    Partners are swapped to the front side by side, so that the list stays what it is.
    """
    count = stop - first
    if count & 1 or count > _SEARCHED:
        return False
    for i in range(first, stop, 2):
        value = half_edges[i]
        wanted = value ^ 1
        partner = -1
        for j in range(i + 1, stop):
            other = half_edges[j]
            if other == wanted and partner < 0:
                partner = j
            elif other | 1 == value | 1:
                return False
        if partner < 0 or value >> 1 == vertex:
            return False
        half_edges[partner] = half_edges[i + 1]
        half_edges[i + 1] = wanted
    return True


@njit(cache=True, nogil=True)
def _count_directions(half_edges: Int32, up: Int32, down: Int32, place: Int32) -> int:
    """Count each neighbour's uses by direction; the distinct neighbours replace the half-edges."""
    distinct = 0
    for k in range(len(half_edges)):
        other = half_edges[k] >> 1
        slot = distinct
        if len(half_edges) > _SEARCHED:
            # ``place`` is never cleared: what stands there counts only if it points back at us
            candidate = place[other]
            if 0 <= candidate < distinct and half_edges[candidate] == other:
                slot = candidate
            place[other] = slot
        else:
            for candidate in range(distinct):
                if half_edges[candidate] == other:
                    slot = candidate
                    break
        runs_down = half_edges[k] & 1
        if slot == distinct:
            half_edges[slot] = other
            up[slot] = 0
            down[slot] = 0
            distinct += 1
        up[slot] += 1 - runs_down
        down[slot] += runs_down
    return distinct


@njit(cache=True, nogil=True)
def _append(pairs: Int32, counts: Int32, kind: int, low: int, high: int, runs_up: bool) -> Int32:
    """Add one oriented edge to a list that doubles when it is full."""
    count = counts[kind]
    if count == len(pairs):
        longer = np.empty((2 * count, 2), np.int32)
        for row in range(count):  # a slice assignment takes numba two seconds longer to compile
            longer[row, 0] = pairs[row, 0]
            longer[row, 1] = pairs[row, 1]
        pairs = longer
    pairs[count, 0] = low if runs_up else high
    pairs[count, 1] = high if runs_up else low
    counts[kind] = count + 1
    return pairs
