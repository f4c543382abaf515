"""Equal keys and edges that cancel, found by hashing instead of sorting.

Only the two kernels on which adding boundaries rests belong here: one numbers equal rows of keys
alike, the other finds for each edge the one that runs the other way.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ...outlines import Int32, Int64
from ..keys import hash_point

ONCE = -1
"""No other edge joins the same two vertices."""
OVERUSED = -2
"""More than two edges join the same two vertices."""
INCONSISTENT = -3
"""Two edges join the same two vertices in the same direction, or the edge joins a vertex to itself."""


@njit(cache=True, nogil=True)
def number_rows(keys: Int64) -> tuple[Int32, Int32]:
    """Number equal rows alike, in the order of first appearance.

    Parameters
    ----------
    keys : (n, c) int64
        Keys of one or more columns.

    Returns
    -------
    ids : (n,) int32
        Number of each row among the distinct ones.
    first : (k,) int32
        Where each distinct row appears first: ``keys[first][ids]`` is ``keys``.
    """
    count, columns = keys.shape
    slots = 16
    while slots < 2 * count:
        slots *= 2
    mask = np.uint64(slots - 1)
    table = np.full(slots, -1, np.int32)
    ids = np.empty(count, np.int32)
    first = np.empty(count, np.int32)
    found = 0
    for row in range(count):
        value = np.uint64(columns)
        for column in range(columns):
            value = hash_point(np.int64(value), keys[row, column])
        slot = np.int64(value & mask)
        while True:
            other = table[slot]
            if other < 0:
                table[slot] = found
                first[found] = row
                ids[row] = found
                found += 1
                break
            same = True
            for column in range(columns):
                same = same and keys[first[other], column] == keys[row, column]
            if same:
                ids[row] = other
                break
            slot = (slot + 1) & np.int64(mask)
    return ids, first[:found]


@njit(cache=True, nogil=True)
def match_edges(edges: Int32, n_vertices: int) -> Int32:
    """Find for each edge the one that runs the other way.

    Parameters
    ----------
    edges : (e, 2) int32
        Start and end, vertices in ``0 .. n_vertices - 1``.
    n_vertices : int
        Number of vertices.

    Returns
    -------
    (e,) int32
        Index of the opposite edge where exactly two edges, one in each direction, join the two
        vertices; `ONCE`, `OVERUSED` or `INCONSISTENT` elsewhere.
    """
    count = len(edges)
    head = np.full(n_vertices, -1, np.int32)  # per smaller vertex: its last leader
    below = np.empty(count, np.int32)  # next leader of the same smaller vertex
    leader = np.empty(count, np.int32)  # first edge that joins the same two vertices
    uses = np.zeros(count, np.int32)
    partner = np.full(count, ONCE, np.int32)
    for edge in range(count):
        low = min(edges[edge, 0], edges[edge, 1])
        high = max(edges[edge, 0], edges[edge, 1])
        other = head[low]
        while other >= 0 and max(edges[other, 0], edges[other, 1]) != high:
            other = below[other]
        if other < 0:
            below[edge] = head[low]
            head[low] = edge
            other = edge
        leader[edge] = other
        uses[other] += 1
        if uses[other] == 2:
            opposite = edges[edge, 0] == edges[other, 1] and low != high
            partner[other] = edge if opposite else INCONSISTENT
        elif low == high:
            partner[other] = INCONSISTENT
    for edge in range(count):
        first = leader[edge]
        if uses[first] > 2:
            partner[edge] = OVERUSED
        elif first != edge:
            partner[edge] = first if partner[first] >= 0 else partner[first]
    return partner
