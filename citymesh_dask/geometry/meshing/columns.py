"""Levels at the vertices of outlines: where, one above the other, mesh vertices stand.

Whoever meshes a wall over a vertex must agree on its column. Its real levels are those of the
regions around the vertex, its wall levels divide the walls between them evenly. How finely follows
from the walls that stand there; where another tile emits some of these walls, from the canonical
pieces, which every tile sees alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from ...errors import RunError
from ...mesh import LEVELS_PER_METRE, TERRAIN_LEVEL
from ...outlines import Bool, Constraints, Float64, Int32
from ...tiles import MESH_UNITS
from ..pieces.subdivision import WALL_RATIO
from .meshing import PlanarMesh

_FINEST = 2.0**-5
"""Smallest distance of wall levels, in mesh sizes."""


@dataclass(frozen=True)
class Columns:
    """Levels at every vertex that lies on a constraint.

    Parameters
    ----------
    number : (n,) int32
        Column of each planar vertex, -1 where it has none and takes the level of its region.
    start : (c + 1,) int32
        ``levels[start[i]:start[i + 1]]`` are column ``i``, from the bottom to the top.
    levels : (s,) int32
        Level codes; `TERRAIN_LEVEL` can only be the lowest of a column.
    heights : (s,) int32
        The same with the terrain's own height in its place, units of 0.1 mm.
    """

    number: Int32
    start: Int32
    levels: Int32
    heights: Int32

    @property
    def lookup(self) -> tuple[Int32, Int32, Int32]:
        """Numbers, starts and levels: what kernels need to find a level at a vertex."""
        return self.number, self.start, self.levels


def build_columns(
    planar: PlanarMesh, constraints: Constraints, level_of: Int32, *, ground: Int32, spans: Float64 | None
) -> Columns:
    """Return the columns of all vertices on constraints.

    Parameters
    ----------
    planar : PlanarMesh
        Mesh of the tile.
    constraints : Constraints
        What it was made from; their labels count whoever owns that side.
    level_of : (k + 2,) int32
        Level code of `BEYOND`, `GROUND` and the buildings by local label.
    ground : (n,) int32
        Terrain height at each planar vertex, units of 0.1 mm; read at vertices on constraints only.
    spans : (n, 2) float64 or None
        Shortest and longest wall of this tile over each planar vertex, as `strips.spread_levels` gives
        them. None leaves out the wall levels.

    Returns
    -------
    Columns

    Raises
    ------
    RunError
        If the terrain is not below a roof beside it.
    """
    source = planar.split_sources
    ends = constraints.ends.astype(np.int32)
    vertices = np.concatenate([ends[:, 0], ends[:, 1], planar.split_vertices])
    left, right = (
        level_of[np.concatenate([labels, labels, labels[source]]) + 2]
        for labels in (constraints.left, constraints.right)
    )
    levels = np.stack([left, right], axis=1)
    spacing = np.full(len(planar.points), np.inf) if spans is None else _wall_spacing(planar, constraints, spans)
    number, start, stacked, heights, buried = _stack_levels(vertices, levels, ground, spacing * LEVELS_PER_METRE)
    if buried >= 0:
        raise _buried_roof(planar, buried, ground=int(ground[buried]))
    return Columns(number, start, stacked, heights)


def _wall_spacing(planar: PlanarMesh, constraints: Constraints, spans: Float64) -> Float64:
    """Return how far apart wall levels should stand at each vertex, metres.

    A triangle over a wall of length w is best if levels are between w/2 and 2w apart, so that the
    geometric mean of the shortest and the longest wall suits both.
    """
    size = planar.asked.building_size
    spacing: Float64 = np.clip(WALL_RATIO * np.sqrt(spans[:, 0] * spans[:, 1]), _FINEST * size, size)
    foreign = _foreign_walls(constraints)
    spacing[: planar.n_given][foreign] = size / 2.0 ** constraints.wall_step[foreign]
    return spacing


def _foreign_walls(constraints: Constraints) -> Bool:
    """Tell at which points another tile may emit walls too: where it has a building beside a piece."""
    foreign = np.zeros(len(constraints.points), dtype=bool)
    for labels, own in ((constraints.left, constraints.own_left), (constraints.right, constraints.own_right)):
        foreign[constraints.ends[(labels >= 0) & ~own]] = True
    return foreign


def _buried_roof(planar: PlanarMesh, vertex: int, *, ground: int) -> RunError:
    x, y = planar.points[vertex] + np.array(planar.origin) / MESH_UNITS
    return RunError(
        f"outline at ({x:.3f}, {y:.3f}) m from the project origin",
        f"terrain at {ground / LEVELS_PER_METRE:.3f} m is not below a roof beside it",
        "roofs above the terrain all along their outline",
        "raise min_building_height, or report this with the inputs",
    )


@njit(cache=True, nogil=True)
def _intervals(gap: float, spacing: float) -> int:
    """Return into how many parts to divide a gap: the factor between them and the spacing is nearest to 1."""
    ratio = gap / spacing
    count = int(ratio)
    if ratio * ratio > count * (count + 1):
        count += 1
    return max(count, 1)


@njit(cache=True, nogil=True)
def _stack_levels(
    vertices: Int32, levels: Int32, ground: Int32, spacing: Float64
) -> tuple[Int32, Int32, Int32, Int32, int]:
    """Return column numbers, starts, levels, heights, and a vertex with terrain above a roof or -1.

    ``levels`` are two real levels at each of ``vertices``, which may repeat.
    """
    n_vertices = len(ground)
    begin = np.zeros(n_vertices + 1, np.int32)
    for i in range(len(vertices)):
        begin[vertices[i] + 1] += 2
    for v in range(n_vertices):
        begin[v + 1] += begin[v]
    real = np.empty(begin[n_vertices], np.int32)
    count = np.zeros(n_vertices, np.int32)
    for i in range(len(vertices)):
        v = vertices[i]
        for side in range(2):
            # Insertion into the sorted levels of the vertex, once each.
            level = levels[i, side]
            low = begin[v]
            q = low + count[v]
            while q > low and real[q - 1] > level:
                q -= 1
            if q > low and real[q - 1] == level:
                continue
            for w in range(low + count[v], q, -1):
                real[w] = real[w - 1]
            real[q] = level
            count[v] += 1
    n_columns = 0
    n_slots = 0
    for v in range(n_vertices):
        if count[v] == 0:
            continue
        n_columns += 1
        n_slots += 1
        height = ground[v] if real[begin[v]] == TERRAIN_LEVEL else real[begin[v]]
        for q in range(begin[v] + 1, begin[v] + count[v]):
            if height >= real[q]:
                empty = np.empty(0, np.int32)
                return empty, empty, empty, empty, v
            n_slots += _intervals(real[q] - height, spacing[v])
            height = real[q]
    number = np.full(n_vertices, -1, np.int32)
    start = np.zeros(n_columns + 1, np.int32)
    stacked = np.empty(n_slots, np.int32)
    heights = np.empty(n_slots, np.int32)
    slot = 0
    column = 0
    for v in range(n_vertices):
        if count[v] == 0:
            continue
        number[v] = column
        for q in range(begin[v], begin[v] + count[v]):
            height = ground[v] if real[q] == TERRAIN_LEVEL else real[q]
            stacked[slot], heights[slot] = real[q], height
            slot += 1
            if q + 1 == begin[v] + count[v]:
                continue
            gap = real[q + 1] - height
            parts = _intervals(gap, spacing[v])
            for part in range(1, parts):
                stacked[slot] = height + np.int32(np.rint(gap * (part / parts)))
                heights[slot] = stacked[slot]
                slot += 1
        column += 1
        start[column] = slot
    return number, start, stacked, heights, -1
