"""Edges that cancel, found without sorting.

Only the kernel on which adding boundaries rests belongs here: it finds for each edge the one that runs the other way.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ...outlines import Int32

ONCE = -1
"""No other edge joins the same two vertices."""
OVERUSED = -2
"""More than two edges join the same two vertices."""
INCONSISTENT = -3
"""Two edges join the same two vertices in the same direction, or the edge joins a vertex to itself."""


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
