"""Arrays of a tile's mesh and of its boundary: frozen containers, no algorithms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TERRAIN_LEVEL = -(2**31)
"""Level of a vertex on the terrain; other levels are heights in units of 0.1 mm."""
LEVELS_PER_METRE = 10_000

TERRAIN_MARKER = -2
SIDE_MARKER = -3
BASE_MARKER = -4


@dataclass(frozen=True)
class Boundary:
    """The oriented edges that only one face of a piece of mesh uses.

    Parameters
    ----------
    keys : (k, c) int64
        Identity of each boundary vertex: (x, y, level) in mesh units and level codes while a city
        is built, the global vertex index alone while a store is checked.
    z : (k,) float64
        Height of each vertex, metres; both sides of a seam must have the same bits.
    edges : (e, 2) int32
        Start and end of each edge as its face runs, indices into ``keys``.
    refs : (r, 3) int32
        (vertex, tile, index): boundary vertex ``vertex`` is tail entry ``index`` of tile ``tile``;
        the tail of a tile are its vertices from ``n_interior`` on.
    """

    keys: npt.NDArray[np.int64]
    z: npt.NDArray[np.float64]
    edges: npt.NDArray[np.int32]
    refs: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Quality:
    """What the planar triangles and the walls of a tile look like.

    Parameters
    ----------
    angles : (90,) int64
        Terrain and roof triangles by smallest planar angle in whole degrees.
    wall_angles : (90,) int64
        Wall triangles by smallest angle in whole degrees.
    below_angle, above_area, inverted : int
        Planar triangles under the asked angle, over 1.01 times the asked area, and with an area of
        zero or less.
    doubled_area : int
        Exact sum of the doubled areas of terrain and roof triangles, square mesh units.
    worst : (k, 3) float64
        x, y (metres, project CRS) and angle of up to ten of the worst planar triangles.
    """

    angles: npt.NDArray[np.int64]
    wall_angles: npt.NDArray[np.int64]
    below_angle: int
    above_area: int
    inverted: int
    doubled_area: int
    worst: npt.NDArray[np.float64]


@dataclass(frozen=True)
class TileMesh:
    """The surface mesh of one tile.

    Parameters
    ----------
    vertices : (n, 3) float64
        Metres in the project CRS. Vertices on the tile's boundary come last, from ``n_interior``.
    levels : (n,) int32
        `TERRAIN_LEVEL` or the level code of each vertex.
    faces : (m, 3) int32
        Counter-clockwise seen from outside.
    markers : (m,) int32
        -2 terrain, i wall of building row i, n_rows + i roof of building row i.
    n_interior : int
        Number of vertices that no other tile can have.
    """

    vertices: npt.NDArray[np.float64]
    levels: npt.NDArray[np.int32]
    faces: npt.NDArray[np.int32]
    markers: npt.NDArray[np.int32]
    n_interior: int
