"""Arrays of footprints and outlines, from the input to the constraints of a tile.

Only frozen containers belong here; what is done with them is in ``geometry``. The chain is
`Parts` (polygons as read) -> `Outlines` (cleaned planar graph) -> `Pieces` (subdivided, with what
walls need) -> `Constraints` (what one tile meshes).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

GROUND = -1
"""Label of the terrain inside the frame."""
BEYOND = -2
"""Label of the world outside the frame; counts as terrain for walls."""

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Int8 = npt.NDArray[np.int8]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Parts:
    """Single polygons, ragged.

    Parameters
    ----------
    rows : (n,) int64
        Row of the building table that each polygon belongs to.
    ring_start : (n + 1,) int64
        Rings ``ring_start[i]:ring_start[i + 1]`` belong to polygon ``i``, its shell first.
    point_start : (r + 1,) int64
        Points ``point_start[k]:point_start[k + 1]`` are ring ``k``, closed: the first is repeated.
    points : (p, 2) int64
        Outline units (2**-10 m) relative to the project origin.
    """

    rows: Int64
    ring_start: Int64
    point_start: Int64
    points: Int64

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Outlines:
    """A planar graph whose edges know the region on either side, group after group.

    Parameters
    ----------
    points : (n, 2) int64
        Outline units relative to the project origin; ascending (x, y) inside a group.
    edges : (m, 4) int64
        Start, end (indices into ``points``), label on the left, label on the right. A label is a
        row of the building table, `GROUND` or `BEYOND`.
    point_start, edge_start : (g + 1,) int64
        Where the points and edges of each group begin.
    """

    points: Int64
    edges: Int64
    point_start: Int64
    edge_start: Int64


@dataclass(frozen=True)
class Pieces:
    """Outlines cut into the pieces that every tile sees alike.

    They are at most as long as the mesh size, or 5 m (10 m on the frame) where the mesh is finer: each tile
    halves its own on, down to the mesh size. ``spacing`` and ``wall_step`` are true of what is meshed.

    Parameters
    ----------
    points : (n, 2) int64
        Mesh units (2**-18 m) relative to the project origin.
    ends : (m, 2) int32
        Start and end of each piece, indices into ``points``.
    left, right : (m,) int64
        Labels as in `Outlines`.
    cluster : (m,) int32
        Cluster of touching buildings that the piece belongs to; -1 on the frame away from buildings.
    boxes : (c, 4) int64
        Bounding box of each cluster, mesh units.
    divided : (c,) bool
        Clusters so large that they are shared out triangle by triangle, like ground.
    spacing : (n,) float64
        Metres; shortest piece at each point, once it is halved down to the mesh size, of those with ground on a
        side or of a divided cluster; ``inf`` where there is none.
    wall_step : (n,) int8
        ``k``: where several tiles emit walls over this point, their levels stand about ``h / 2**k`` apart.
    """

    points: Int64
    ends: Int32
    left: Int64
    right: Int64
    cluster: Int32
    boxes: Int64
    divided: Bool
    spacing: Float64
    wall_step: Int8


@dataclass(frozen=True)
class Constraints:
    """The segments that one tile meshes between.

    Parameters
    ----------
    points : (n, 2) int64
        Mesh units relative to the project origin, each position once.
    ends : (m, 2) int32
        Directed segments, indices into ``points``; each position pair once.
    left, right : (m,) int32
        True labels on either side, whoever meshes it: index into ``rows``, `GROUND` or `BEYOND`.
        On a seam over open ground or a flat roof both are the same.
    own_left, own_right : (m,) bool
        True where this tile meshes that side. A segment with one owned side is frozen: it must
        come out of meshing as it went in.
    rows : (k,) int64
        Row of the building table for each local label.
    wall_step : (n,) int8
        As in `Pieces`; 0 at points that are no outline vertices.
    """

    points: Int64
    ends: Int32
    left: Int32
    right: Int32
    own_left: Bool
    own_right: Bool
    rows: Int64
    wall_step: Int8
