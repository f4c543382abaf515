"""Kernels of the extrusion: which levels are used, vertices for them, faces between them.

A *slot* is one level of a column (`columns.Columns`). ``number``, ``start`` and ``levels`` are those
of the columns; ``level_of`` gives the level of label ``l`` at ``l + 2``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ...mesh import LEVELS_PER_METRE, TERRAIN_LEVEL
from ...outlines import Bool, Float64, Int32
from .regions import LATTICE_RIM

UNUSED = 2**31 - 1
"""Level of planar vertices that no triangle uses."""


@njit(cache=True, nogil=True)
def _slot_of(start: Int32, levels: Int32, column: int, level: int) -> int:
    slot: int = start[column]
    while levels[slot] != level:
        slot += 1
    return slot


@njit(cache=True, nogil=True)
def _foot_level(neighbour: int, labels: Int32, level_of: Int32, level: int) -> int:
    """Return the level beyond an edge: a neighbour's, that of another tile's region, or the triangle's own."""
    if neighbour == LATTICE_RIM:
        return level
    # Beyond the tile: the inverse of `regions.outside_code`, plus 2.
    entry: int = labels[neighbour] + 2 if neighbour >= 0 else -2 - neighbour
    foot: int = level_of[entry]
    return foot


@njit(cache=True, nogil=True)
def spread_levels(
    points: Float64, triangles: Int32, neighbours: Int32, labels: Int32, level_of: Int32, region_level: Int32
) -> Float64:
    """Write the level of each triangle to its vertices, and measure the walls that stand over them.

    Parameters
    ----------
    points : (n, 2) float64
        Metres.
    triangles, neighbours, labels
        The band, as in `meshing.PlanarMesh`.
    level_of : (k + 2,) int32
    region_level : (n,) int32
        Changed in place.

    Returns
    -------
    (n, 2) float64
        Metres; shortest and longest wall of this tile over each vertex, 0 where there is none.
    """
    spans = np.zeros((len(points), 2))
    for t in range(len(triangles)):
        level = level_of[labels[t] + 2]
        for e in range(3):
            a, b = triangles[t, e], triangles[t, (e + 1) % 3]
            region_level[a] = level
            if _foot_level(neighbours[t, e], labels, level_of, level) >= level:
                continue
            length = np.hypot(points[b, 0] - points[a, 0], points[b, 1] - points[a, 1])
            for v in (a, b):
                spans[v, 0] = length if spans[v, 0] == 0.0 else min(spans[v, 0], length)
                spans[v, 1] = max(spans[v, 1], length)
    return spans


@njit(cache=True, nogil=True)
def mark_slots(
    triangles: Int32,
    neighbours: Int32,
    labels: Int32,
    level_of: Int32,
    n_points: int,
    number: Int32,
    start: Int32,
    levels: Int32,
) -> tuple[Bool, Bool, int]:
    """Mark the slots that faces of this tile use and the vertices on its border, and count its wall faces.

    Parameters
    ----------
    triangles, neighbours, labels
        The band, as in `meshing.PlanarMesh`.
    level_of, number, start, levels : int32 arrays
        See the module.

    Returns
    -------
    used : (s,) bool
    border : (n_points,) bool
    n_walls : int
    """
    used = np.zeros(len(levels), np.bool_)
    border = np.zeros(n_points, np.bool_)
    n_walls = 0
    for t in range(len(triangles)):
        level = level_of[labels[t] + 2]
        for e in range(3):
            column = number[triangles[t, e]]
            if column >= 0:
                used[_slot_of(start, levels, column, level)] = True
            if neighbours[t, e] < LATTICE_RIM:
                border[triangles[t, e]] = True
                border[triangles[t, (e + 1) % 3]] = True
            foot = _foot_level(neighbours[t, e], labels, level_of, level)
            if foot >= level:
                continue
            for end in range(2):
                column = number[triangles[t, (e + end) % 3]]
                slot = _slot_of(start, levels, column, foot)
                while levels[slot] != level:
                    used[slot] = True
                    n_walls += 1
                    slot += 1
                used[slot] = True
    return used, border, n_walls


@njit(cache=True, nogil=True)
def number_vertices(
    points: Float64,
    ground: Float64,
    region_level: Int32,
    shift: Float64,
    used: Bool,
    border: Bool,
    number: Int32,
    start: Int32,
    levels: Int32,
) -> tuple[Int32, Int32, Float64, Int32, int]:
    """Number one vertex for each level that is used, planar vertex after planar vertex, from the bottom up.

    Parameters
    ----------
    points : (n, 2) float64
        Metres.
    ground : (n,) float64
        Terrain height, metres.
    region_level : (n,) int32
        Level of vertices without a column, or `UNUSED`.
    shift : (2,) float64
        Added to ``points``.
    used : (s,) bool
    border : (n,) bool
        Vertices that are numbered after all others.
    number, start, levels : int32 arrays
        See the module.

    Returns
    -------
    ids : (n,) int32
        Vertex of each planar vertex without a column.
    slots : (s,) int32
        Vertex of each used slot.
    vertices : (m, 3) float64
    vertex_levels : (m,) int32
    n_inner : int
        Number of vertices that are not on the border.
    """
    total = 0
    for v in range(len(points)):
        if number[v] < 0:
            total += region_level[v] != UNUSED
        else:
            for slot in range(start[number[v]], start[number[v] + 1]):
                total += used[slot]
    ids = np.full(len(points), -1, np.int32)
    slots = np.full(len(levels), -1, np.int32)
    vertices = np.empty((total, 3))
    vertex_levels = np.empty(total, np.int32)
    k = 0
    n_inner = 0
    for last in range(2):
        for v in range(len(points)):
            if border[v] != (last == 1):
                continue
            column = number[v]
            first, stop = (start[column], start[column + 1]) if column >= 0 else (0, 1)
            for slot in range(first, stop):
                level = levels[slot] if column >= 0 else region_level[v]
                if column >= 0:
                    if not used[slot]:
                        continue
                    slots[slot] = k
                else:
                    if level == UNUSED:
                        continue
                    ids[v] = k
                vertices[k, 0] = points[v, 0] + shift[0]
                vertices[k, 1] = points[v, 1] + shift[1]
                vertices[k, 2] = ground[v] if level == TERRAIN_LEVEL else level / LEVELS_PER_METRE
                vertex_levels[k] = level
                k += 1
        if last == 0:
            n_inner = k
    return ids, slots, vertices, vertex_levels, n_inner


@njit(cache=True, nogil=True)
def renumber_tail(corners: Int32, first: int, table: Int32) -> None:
    """Give the vertices from ``first`` on new numbers, in place.

    Parameters
    ----------
    corners : (m, c) int32
        Faces or edges.
    first : int
    table : (k,) int32
        New number of vertex ``first + i`` at ``i``.
    """
    for t in range(len(corners)):
        for e in range(corners.shape[1]):
            if corners[t, e] >= first:
                corners[t, e] = table[corners[t, e] - first]


@njit(cache=True, nogil=True)
def emit_band(
    flat: Int32,
    walls: Int32,
    wall_labels: Int32,
    triangles: Int32,
    neighbours: Int32,
    labels: Int32,
    level_of: Int32,
    ids: Int32,
    slots: Int32,
    number: Int32,
    start: Int32,
    levels: Int32,
    heights: Int32,
) -> None:
    """Write the faces of the band and the walls over its edges.

    A wall is a strip between two stacks of vertices; where both can go up it takes the shorter
    diagonal.

    Parameters
    ----------
    flat : (>= t, 3) int32
        Its first rows become the band's faces.
    walls : (w, 3) int32
        Becomes the walls, counter-clockwise seen from the lower side.
    wall_labels : (w,) int32
        Becomes the building label of each.
    triangles, neighbours, labels
        The band, as in `meshing.PlanarMesh`.
    level_of, ids, slots, number, start, levels : int32 arrays
        See the module and `number_vertices`.
    heights : (s,) int32
        Height of each slot, units of 0.1 mm.
    """
    w = 0
    for t in range(len(triangles)):
        level = level_of[labels[t] + 2]
        for e in range(3):
            v = triangles[t, e]
            column = number[v]
            flat[t, e] = ids[v] if column < 0 else slots[_slot_of(start, levels, column, level)]
            foot = _foot_level(neighbours[t, e], labels, level_of, level)
            if foot >= level:
                continue
            other = number[triangles[t, (e + 1) % 3]]
            i, j = _slot_of(start, levels, column, foot), _slot_of(start, levels, other, foot)
            while levels[i] != level or levels[j] != level:
                if levels[j] == level:
                    first = True
                elif levels[i] == level:
                    first = False
                else:
                    first = abs(heights[i + 1] - heights[j]) <= abs(heights[j + 1] - heights[i])
                walls[w, 0], walls[w, 1] = slots[i], slots[j]
                if first:
                    i += 1
                    walls[w, 2] = slots[i]
                else:
                    j += 1
                    walls[w, 2] = slots[j]
                wall_labels[w] = labels[t]
                w += 1
