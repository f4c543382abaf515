"""The sides and the base that make a closed solid of the open city mesh.

They hang on the rim, the boundary that the reduction tree leaves at its root, and are one more tile:
its boundary is the rim run backwards, so that adding both leaves nothing. What the rim must be is
known by ``boundary``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pythoncdt as cdt

from ...errors import CheckError
from ...mesh import BASE_MARKER, LEVELS_PER_METRE, SIDE_MARKER, TERRAIN_LEVEL, Boundary, TileMesh
from ...outlines import Float64, Int32, Int64
from ...tiles import MESH_UNITS, Box, Domain
from .boundary import along_frame

_RING_STEP = 0.9
"""Distance from one ring of base points to the next, in spacings of the outer one."""


@dataclass(frozen=True)
class SolidClosing:
    """Sides and base of a closed solid.

    Parameters
    ----------
    mesh : TileMesh
        Markers -3 (side) and -4 (base); faces look outwards. The base vertices come first, the
        tail are the rim's vertices in the rim's order.
    boundary : Boundary
        The rim run backwards, with refs to ``mesh`` as a tile.
    """

    mesh: TileMesh
    boundary: Boundary


def close_solid(rim: Boundary, domain: Domain, *, lowest_z: float, base_depth: float, tile: int) -> SolidClosing:
    """Make vertical sides from the rim down to a flat base, and the base.

    Two triangles stand under each edge of the rim. The base is the constrained Delaunay triangulation
    of the rim's vertices and of rings of points inside, each ring with twice the spacing of the one
    around it: no new vertex on its border, few triangles and no needles.

    Parameters
    ----------
    rim : Boundary
        What is left at the root of the tree: the frame, once around at terrain level (`close_rim`
        without defects).
    domain : Domain
        The domain of the mesh.
    lowest_z : float
        Lowest terrain of the whole mesh, metres.
    base_depth : float
        Depth of the base under ``lowest_z``, metres.
    tile : int
        Tile index of what is made: the number of tiles of the open mesh.

    Raises
    ------
    CheckError
        If the rim is not the whole frame.
    """
    loop = rim_loop(rim, domain.mesh_frame)
    count = len(loop)
    border = rim.keys[loop, :2]
    points = np.concatenate([border, _ring_points(domain.mesh_frame, count)])
    base = triangulate_base(points, count)
    level = math.floor((lowest_z - base_depth) * LEVELS_PER_METRE)
    # vertices: base border, base inside, then the tail, which keeps the order of the rim's vertices
    tail = (len(points) + loop).astype(np.int32)
    sides = _side_faces(tail, np.arange(count, dtype=np.int32))
    mesh = TileMesh(
        vertices=np.concatenate(
            [_place(points, np.full(len(points), level / LEVELS_PER_METRE), domain), _place(rim.keys, rim.z, domain)]
        ),
        levels=np.repeat(np.array([level, TERRAIN_LEVEL], np.int32), [len(points), count]),
        faces=np.concatenate([sides, base[:, ::-1]]).astype(np.int32),
        markers=np.repeat(np.array([SIDE_MARKER, BASE_MARKER], np.int32), [len(sides), len(base)]),
        n_interior=len(points),
    )
    index = np.arange(count, dtype=np.int32)
    refs = np.stack([index, np.full(count, tile, np.int32), index], axis=1)
    return SolidClosing(mesh, Boundary(rim.keys, rim.z, rim.edges[:, ::-1].copy(), refs))


def rim_loop(rim: Boundary, frame: Box) -> Int32:
    """Return the vertices of the rim in the order in which its edges run.

    Parameters
    ----------
    rim : Boundary
        One closed loop, every vertex at terrain level.
    frame : (int, int, int, int)
        The domain, mesh units relative to the project origin.

    Returns
    -------
    (k,) int32
        Every vertex once, counter-clockwise.

    Raises
    ------
    CheckError
        If the rim is anything else than the frame run through once.
    """
    count = len(rim.keys)
    follow = np.full(count, -1, np.int32)
    follow[rim.edges[:, 0]] = rim.edges[:, 1]
    loop = np.empty(count, np.int32)
    at, visited = 0, 0
    while visited < count and at >= 0 and (at != 0 or visited == 0):
        loop[visited] = at
        at, visited = int(follow[at]), visited + 1
    whole = visited == count == len(rim.edges) and at == 0 and count >= 4
    if not (whole and _runs_along(rim.keys[loop], frame)):
        raise CheckError(
            "rim of the mesh", f"{len(rim.edges)} edges that are not the frame run through once", "one closed loop"
        )
    return loop


def _runs_along(loop: Int64, frame: Box) -> bool:
    """Return whether a closed loop runs along the frame at terrain level and covers its perimeter."""
    x0, y0, x1, y1 = frame
    end = np.roll(loop, -1, axis=0)
    length = int(np.abs(end[:, :2] - loop[:, :2]).sum())
    level = bool((loop[:, 2] == TERRAIN_LEVEL).all())
    return bool(along_frame(loop[:, :2], end[:, :2], frame).all()) and level and length == 2 * (x1 - x0 + y1 - y0)


def triangulate_base(points: Int64, n_border: int) -> Int32:
    """Triangulate the inside of a closed border with points inside it.

    Parameters
    ----------
    points : (n, 2) int64
        Mesh units; the first ``n_border`` are the border, counter-clockwise, the others lie inside.
    n_border : int
        Number of border points; no point is added to them.

    Returns
    -------
    (m, 3) int32
        Counter-clockwise triangles.
    """
    triangulation = cdt.Triangulation(cdt.VertexInsertionOrder.AUTO, cdt.IntersectingConstraintEdges.NOT_ALLOWED, 0.0)
    metres = (points - points.min(axis=0)) / MESH_UNITS
    triangulation.insert_vertices(np.ascontiguousarray(metres))
    border = np.arange(n_border, dtype=np.uint32)
    triangulation.insert_edges(np.ascontiguousarray(np.stack([border, np.roll(border, -1)], axis=1)))
    triangulation.erase_outer_triangles()
    triangles = triangulation.triangles_array().view(np.uint32).reshape(-1, 6)[:, :3].astype(np.int32)
    # the library's order depends on the order of insertion only; ours does not even on that
    turn = (np.argmin(triangles, axis=1)[:, None] + np.arange(3)) % 3
    triangles = np.take_along_axis(triangles, turn, axis=1)
    ordered: Int32 = triangles[np.lexsort(triangles.T[::-1])]
    return ordered


def _ring_points(frame: Box, n_border: int) -> Int64:
    """Return points on rectangles inside the frame, each with twice the spacing of the one around it."""
    x0, y0, x1, y1 = frame
    spacing = 2 * (x1 - x0 + y1 - y0) / n_border
    inset = _RING_STEP * spacing
    rings = [np.empty((0, 2), np.int64)]
    while True:
        spacing *= 2
        width, height = x1 - x0 - 2 * inset, y1 - y0 - 2 * inset
        if min(width, height) < 0.25 * spacing:
            return np.concatenate(rings)
        rings.append(_rectangle((x0 + inset, y0 + inset), (width, height), spacing))
        inset += _RING_STEP * spacing


def _rectangle(corner: tuple[float, float], size: tuple[float, float], spacing: float) -> Int64:
    """Return points around a rectangle, about ``spacing`` apart, rounded to mesh units."""
    (x, y), (width, height) = corner, size
    across, up = (max(1, round(side / spacing)) for side in size)
    s, t = np.arange(across) / across * width, np.arange(up) / up * height
    bottom, right = np.stack([x + s, np.full(across, y)], axis=1), np.stack([np.full(up, x + width), y + t], axis=1)
    top = np.stack([x + width - s, np.full(across, y + height)], axis=1)
    left = np.stack([np.full(up, x), y + height - t], axis=1)
    points: Int64 = np.rint(np.concatenate([bottom, right, top, left])).astype(np.int64)
    return points


def _side_faces(top: Int32, base: Int32) -> Int32:
    """Return two triangles under each edge of the rim, looking outwards."""
    next_top, next_base = np.roll(top, -1), np.roll(base, -1)
    upper = np.stack([next_top, top, base], axis=1)
    lower = np.stack([next_top, base, next_base], axis=1)
    return np.stack([upper, lower], axis=1).reshape(-1, 3)


def _place(keys: Int64, z: Float64, domain: Domain) -> Float64:
    """Return positions in the project CRS, metres."""
    xy = keys[:, :2] / MESH_UNITS + np.array(domain.origin, np.float64)
    return np.concatenate([xy, z[:, None]], axis=1)
