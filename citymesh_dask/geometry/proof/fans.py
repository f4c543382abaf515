"""Fans of faces around vertices: is a mesh manifold at its vertices, not only at its edges?

The faces at a vertex form chains, each face next to the one with which it shares an edge. A chain
that closes is an *umbrella*, one that ends at boundary edges a *fan*. A surface is manifold where
each inner vertex has one umbrella and nothing else, each boundary vertex one fan. Followed here are
the chains of a piece of mesh, and how fans join when pieces do: along the boundary travels only
which outgoing edge belongs to the fan of which incoming one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ...outlines import Int8, Int32

UNUSED = 0
"""No face uses the vertex."""
CLOSED = 1
"""One umbrella and nothing else."""
OPEN = 2
"""Fans only."""
DOUBTFUL = 3
"""Umbrellas and fans, several umbrellas, or an edge that is not used once in each direction."""


@njit(cache=True, nogil=True)
def trace_fans(faces: Int32, n_vertices: int) -> tuple[Int8, Int32, Int32, Int32]:
    """Follow the faces around every vertex of a piece of mesh.

    A corner at vertex ``v`` of a face (v, b, a) is an arc from ``b`` to ``a``; the next corner around
    the vertex is the one whose arc begins at ``a``. Arcs that begin where none ends, begin a fan.

    Parameters
    ----------
    faces : (m, 3) int32
        Vertex indices in ``0 .. n_vertices - 1``, three different ones per face.
    n_vertices : int
        Number of vertices.

    Returns
    -------
    state : (n_vertices,) int8
        `UNUSED`, `CLOSED`, `OPEN` or `DOUBTFUL`.
    edges : (e, 2) int32
        Oriented edges that no face uses the other way, ascending by start.
    follow : (e,) int32
        For each edge the one that leaves its end in the same fan; -1 where edges are used wrongly.
    chords : (c, 2) int32
        Edges used once in each direction whose two ends are `OPEN`, smaller vertex first: only
        these could be used again by another piece without a vertex that shows it.
    """
    start, arcs = _corner_arcs(faces, n_vertices)
    longest = 1
    for vertex in range(n_vertices):
        longest = max(longest, start[vertex + 1] - start[vertex])
    state = np.zeros(n_vertices, np.int8)
    successor = np.empty(longest, np.int32)
    preceded = np.empty(longest, np.bool_)
    slot_of = np.zeros(n_vertices, np.int32)  # never cleared: counts only if it points back
    edges = np.empty((4096, 2), np.int32)
    before = np.empty((4096, 2), np.int32)  # the edge that comes in through the same fan
    found = 0
    for vertex in range(n_vertices):
        first, last = start[vertex], start[vertex + 1]
        if first == last:
            continue
        doubtful = _link_arcs(arcs[first:last], successor, preceded, slot_of)
        while found + last - first > len(edges):
            edges = _longer(edges)
            before = _longer(before)
        passed = 0
        fans = 0
        for arc in range(last - first):
            if preceded[arc]:
                continue
            end = arc
            passed += 1
            while not doubtful and successor[end] >= 0:
                end = successor[end]
                passed += 1
            fans += 1
            edges[found, 0] = vertex
            edges[found, 1] = arcs[first + arc, 0]
            before[found, 0] = -1 if doubtful else arcs[first + end, 1]
            before[found, 1] = vertex
            found += 1
        if doubtful or (fans > 0 and passed < last - first):
            state[vertex] = DOUBTFUL
        elif fans > 0:
            state[vertex] = OPEN
        else:
            end = 0
            while successor[end] != 0:
                end = successor[end]
                passed += 1
            state[vertex] = CLOSED if passed + 1 == last - first else DOUBTFUL
    follow = _resolve_follow(edges[:found], before, n_vertices)
    return state, edges[:found], follow, _find_chords(state, start, arcs)


@njit(cache=True, nogil=True)
def _corner_arcs(faces: Int32, n_vertices: int) -> tuple[Int32, Int32]:
    """Return CSR lists by vertex of the arcs (next vertex, previous vertex) of its corners."""
    start = np.zeros(n_vertices + 2, np.int32)
    for face in range(len(faces)):
        start[faces[face, 0] + 2] += 1
        start[faces[face, 1] + 2] += 1
        start[faces[face, 2] + 2] += 1
    for vertex in range(n_vertices):
        start[vertex + 2] += start[vertex + 1]
    arcs = np.empty((3 * len(faces), 2), np.int32)
    # start[v + 1] is the next free place of v while lists fill, and the end of v's list afterwards
    for face in range(len(faces)):
        a, b = faces[face, 1], faces[face, 2]
        for corner in range(3):
            vertex = faces[face, corner]
            place = start[vertex + 1]
            arcs[place, 0] = a
            arcs[place, 1] = b
            start[vertex + 1] = place + 1
            a, b = b, vertex
    return start, arcs


@njit(cache=True, nogil=True)
def _link_arcs(arcs: Int32, successor: Int32, preceded: Int8, slot_of: Int32) -> bool:
    """Find the arc that begins where each arc ends; return whether that is ambiguous."""
    ambiguous = False
    for arc in range(len(arcs)):
        preceded[arc] = False
        slot = slot_of[arcs[arc, 0]]
        if slot < arc and arcs[slot, 0] == arcs[arc, 0]:
            ambiguous = True
        slot_of[arcs[arc, 0]] = arc
    for arc in range(len(arcs)):
        slot = slot_of[arcs[arc, 1]]
        successor[arc] = -1
        if slot < len(arcs) and arcs[slot, 0] == arcs[arc, 1]:
            ambiguous = ambiguous or preceded[slot]
            preceded[slot] = True
            successor[arc] = slot
    return ambiguous


@njit(cache=True, nogil=True)
def _find_chords(state: Int8, start: Int32, arcs: Int32) -> Int32:
    """Return the inner edges that join two open vertices."""
    chords = np.empty((1024, 2), np.int32)
    found = 0
    for vertex in range(len(state)):
        if state[vertex] != OPEN:
            continue
        for arc in range(start[vertex], start[vertex + 1]):
            other = arcs[arc, 0]
            if other < vertex or state[other] != OPEN:
                continue
            for opposite in range(start[vertex], start[vertex + 1]):
                if arcs[opposite, 1] == other:
                    if found == len(chords):
                        chords = _longer(chords)
                    chords[found, 0] = vertex
                    chords[found, 1] = other
                    found += 1
                    break
    return chords[:found]


@njit(cache=True, nogil=True)
def _longer(pairs: Int32) -> Int32:
    """Return a list of pairs with twice the room."""
    longer = np.empty((2 * len(pairs), 2), np.int32)
    for row in range(len(pairs)):  # a slice assignment takes numba two seconds longer to compile
        longer[row, 0] = pairs[row, 0]
        longer[row, 1] = pairs[row, 1]
    return longer


@njit(cache=True, nogil=True)
def _resolve_follow(edges: Int32, before: Int32, n_vertices: int) -> Int32:
    """Turn "edge ``before[e]`` is followed by edge ``e``" into "``e`` is followed by ``follow[e]``"."""
    first = np.empty(n_vertices, np.int32)
    for edge in range(len(edges) - 1, -1, -1):
        first[edges[edge, 0]] = edge
    follow = np.full(len(edges), -1, np.int32)
    for edge in range(len(edges)):
        if before[edge, 0] < 0:
            continue
        incoming = first[before[edge, 0]]
        while incoming < len(edges) and edges[incoming, 0] == before[edge, 0]:
            if edges[incoming, 1] == before[edge, 1]:
                follow[incoming] = edge
                break
            incoming += 1
    return follow


@njit(cache=True, nogil=True)
def join_fans(edges: Int32, partner: Int32, follow: Int32) -> Int32:
    """Join the fans on both sides of every edge that cancels.

    Where edge e = (a, b) meets its opposite f = (b, a), the fan that comes in along e and the one
    that leaves along f become one at b: what came in before f is followed by what followed e.
    Likewise at a. A fan that meets itself closes to an umbrella.

    Parameters
    ----------
    edges : (e, 2) int32
        Boundary edges of some pieces.
    partner : (e,) int32
        Opposite edge or a negative number, as from `match_edges`.
    follow : (e,) int32
        As from `trace_fans`; updated in place and right for the edges without partner.

    Returns
    -------
    (u,) int32
        Vertices at which an umbrella closed, once for each.
    """
    count = len(edges)
    lead = np.full(count, -1, np.int32)
    for edge in range(count):
        if follow[edge] >= 0:
            lead[follow[edge]] = edge
    closed = np.empty(count, np.int32)
    found = 0
    for edge in range(count):
        other = partner[edge]
        if other < 0:
            continue
        # each of both edges joins at its own end
        after, ahead = follow[edge], lead[other]
        if after == other:
            closed[found] = edges[edge, 1]
            found += 1
            continue
        if ahead >= 0:
            follow[ahead] = after
        if after >= 0:
            lead[after] = ahead
    return closed[:found]
