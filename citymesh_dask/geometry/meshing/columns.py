"""Levels at the vertices of outlines: where, one above the other, mesh vertices stand.

A column is a function of its vertex alone (the true labels of all regions around it, the terrain
there and the canonical pieces that meet there), so that whoever meshes a wall next to it agrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from ...errors import RunError
from ...mesh import LEVELS_PER_METRE, TERRAIN_LEVEL
from ...outlines import Constraints, Float64, Int8, Int32
from ...tiles import MESH_UNITS
from .meshing import PlanarMesh

_NEAREST = 0.4
"""A wall level nearer than this many steps to a real level is left out."""
_FINEST_STEP = 5
"""Largest ``k`` at vertices that refinement put on outlines, whose pieces are shorter than canonical ones."""


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
    planar: PlanarMesh, constraints: Constraints, level_of: Int32, *, ground: Int32, mesh_walls: bool
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
    mesh_walls : bool
        True adds wall levels: multiples of ``h / 2**k`` between the lowest and highest real level,
        except those nearer than 0.4 steps to a real one.

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
    step = planar.asked.building_size * LEVELS_PER_METRE if mesh_walls else math.inf
    steps = np.zeros(len(planar.points), dtype=np.int8)
    steps[: planar.n_given] = constraints.wall_step
    steps[planar.split_vertices] = _steps_on_pieces(planar.split_lengths, planar.asked.building_size)
    levels = np.stack([left, right], axis=1)
    number, start, stacked, heights, buried = _stack_levels(vertices, levels, ground, steps, step)
    if buried >= 0:
        raise _buried_roof(planar, buried, ground=int(ground[buried]))
    return Columns(number, start, stacked, heights)


def _steps_on_pieces(lengths: Float64, size: float) -> Int8:
    """Return ``k`` of vertices that refinement put on outlines, from the mean length of the pieces around them."""
    return np.clip(np.rint(np.log2(size / (1.5 * lengths))), 0, _FINEST_STEP).astype(np.int8)


def _buried_roof(planar: PlanarMesh, vertex: int, *, ground: int) -> RunError:
    x, y = planar.points[vertex] + np.array(planar.origin) / MESH_UNITS
    return RunError(
        f"outline at ({x:.3f}, {y:.3f}) m from the project origin",
        f"terrain at {ground / LEVELS_PER_METRE:.3f} m is not below a roof beside it",
        "roofs above the terrain all along their outline",
        "raise min_building_height, or report this with the inputs",
    )


@njit(cache=True, nogil=True)
def _stack_levels(
    vertices: Int32, levels: Int32, ground: Int32, steps: Int8, size: float
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
        first, last = begin[v], begin[v] + count[v] - 1
        lowest = ground[v] if real[first] == TERRAIN_LEVEL else real[first]
        n_slots += count[v]
        if last > first:
            n_slots += max(int((real[last] - lowest) / (size / 2.0 ** steps[v])), 0) + 1
        if count[v] > 1 and lowest >= real[first + 1]:
            empty = np.empty(0, np.int32)
            return empty, empty, empty, empty, v
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
        step = size / 2.0 ** steps[v]
        for q in range(begin[v], begin[v] + count[v]):
            height = ground[v] if real[q] == TERRAIN_LEVEL else real[q]
            stacked[slot], heights[slot] = real[q], height
            slot += 1
            if q + 1 == begin[v] + count[v] or step == math.inf:
                continue
            top = real[q + 1]
            m = math.floor(height / step) + 1.0
            while m * step < top:
                level = np.int32(np.rint(m * step))
                if level - height >= _NEAREST * step and top - level >= _NEAREST * step:
                    stacked[slot], heights[slot] = level, level
                    slot += 1
                m += 1.0
        column += 1
        start[column] = slot
    return number, start, stacked[:slot], heights[:slot], -1
