"""From the planar mesh of a tile to its surface: roofs lifted, walls put in between (LOD1).

Levels of vertices come from `columns`; this module numbers one vertex per level that a face uses,
and emits terrain, roofs and walls. Over each edge between two levels the higher side emits the wall
as a strip through all levels between them at either end: no T-junctions, no double walls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...mesh import LEVELS_PER_METRE, TERRAIN_LEVEL, TERRAIN_MARKER, Quality, TileMesh
from ...outlines import Constraints, Float64, Int32
from ...tiles import MESH_UNITS
from ..joining.edges import tile_edges
from .columns import Columns, build_columns
from .meshing import PlanarMesh
from .quality import measure_quality
from .strips import UNUSED, emit_band, mark_slots, number_vertices, renumber_tail, spread_levels


class Terrain(Protocol):
    """Anything that gives terrain heights, such as `terrain.HeightField`."""

    def at(self, x: Float64, y: Float64) -> Float64:
        """Return heights (n,) float64 in whole millimetres, as metres, at metres from the project origin."""
        ...


@dataclass(frozen=True)
class TileSurface:
    """The surface of a tile with what was found out while it was numbered.

    Parameters
    ----------
    mesh : TileMesh
    quality : Quality
    edges : (e, 2) int32
        Oriented edges that one face of the tile uses, as `edges.tile_edges` gives them.
    overused, inconsistent : (k, 2) int32
        Edges of more than two faces; edges that two faces run along in the same direction.
    """

    mesh: TileMesh
    quality: Quality
    edges: Int32
    overused: Int32
    inconsistent: Int32


def extrude_tile(
    planar: PlanarMesh,
    constraints: Constraints,
    *,
    levels: Int32,
    n_rows: int,
    terrain: Terrain,
    origin: tuple[int, int],
    mesh_walls: bool = True,
    sort_triangles: bool = False,
) -> TileSurface:
    """Lift roofs to their levels and put walls between the surfaces.

    Parameters
    ----------
    planar : PlanarMesh
        Mesh of the tile.
    constraints : Constraints
        What it was made from.
    levels : (k,) int32
        Roof level of each local label, units of 0.1 mm; `TERRAIN_LEVEL` lays the roof on the
        terrain (no walls; it keeps its marker).
    n_rows : int
        Rows of the building table: the marker of a roof is ``n_rows`` plus its row.
    terrain : Terrain
        Heights of the terrain.
    origin : (int, int)
        Project origin, metres.
    mesh_walls : bool
        False leaves out the levels between real ones: bare strips.
    sort_triangles : bool
        True orders the faces by marker, keeping their order within each.

    Returns
    -------
    TileSurface
        Vertices on the tile's boundary last, these ascending by (x, y, level).

    Raises
    ------
    RunError
        If the terrain is not below a roof beside it.
    """
    level_of = np.concatenate([np.full(2, TERRAIN_LEVEL, dtype=np.int32), levels.astype(np.int32)])
    region_level, spans = _region_levels(planar, level_of)
    shift = np.array(planar.origin) / MESH_UNITS
    ground = terrain.at(planar.points[:, 0] + shift[0], planar.points[:, 1] + shift[1])
    codes = np.rint(ground * LEVELS_PER_METRE).astype(np.int32)
    columns = build_columns(planar, constraints, level_of, ground=codes, spans=spans if mesh_walls else None)
    band = (planar.triangles, planar.neighbours, planar.labels)
    used, border, n_walls = mark_slots(*band, level_of, len(ground), *columns.lookup)
    ids, slots, vertices, vertex_levels, n_inner = number_vertices(
        planar.points, ground, region_level, shift + np.array(origin), used, border, *columns.lookup
    )
    faces, wall_labels = _emit(planar, columns, (ids, slots), level_of=level_of, n_walls=n_walls)
    quality = measure_quality(planar, vertices, faces[len(faces) - n_walls :], origin=origin)
    markers = _markers(planar, constraints, wall_labels, n_rows=n_rows)
    if sort_triangles:
        order = np.argsort(markers, kind="stable")
        faces, markers = faces[order], markers[order]
    mesh = TileMesh(vertices, vertex_levels, faces, markers, n_inner)
    return _boundary_last(mesh, quality)


def _region_levels(planar: PlanarMesh, level_of: Int32) -> tuple[Int32, Float64]:
    """Return the level of the region around each vertex, meaningless on constraints, and the walls over it."""
    region_level = np.full(len(planar.points), UNUSED, dtype=np.int32)
    band = (planar.triangles, planar.neighbours, planar.labels)
    spans = spread_levels(planar.points, *band, level_of, region_level)
    stop = planar.n_given + len(planar.lattice_labels)
    region_level[planar.n_given : stop] = level_of[planar.lattice_labels + 2]
    return region_level, spans


def _emit(
    planar: PlanarMesh, columns: Columns, vertices: tuple[Int32, Int32], *, level_of: Int32, n_walls: int
) -> tuple[Int32, Int32]:
    """Return the faces (band, lattice, walls) and the local label of each wall face."""
    n_band, n_flat = len(planar.triangles), len(planar.triangles) + len(planar.lattice_triangles)
    faces = np.empty((n_flat + n_walls, 3), dtype=np.int32)
    # Checking indices costs as much as looking them up; these come from the lattice itself.
    np.take(vertices[0], planar.lattice_triangles, out=faces[n_band:n_flat], mode="clip")
    wall_labels = np.empty(n_walls, dtype=np.int32)
    emit_band(
        faces,
        faces[n_flat:],
        wall_labels,
        planar.triangles,
        planar.neighbours,
        planar.labels,
        level_of,
        *vertices,
        *columns.lookup,
        columns.heights,
    )
    return faces, wall_labels


def _markers(planar: PlanarMesh, constraints: Constraints, wall_labels: Int32, *, n_rows: int) -> Int32:
    rows = constraints.rows.astype(np.int32)
    flat = np.concatenate([np.full(2, TERRAIN_MARKER, dtype=np.int32), rows + np.int32(n_rows)])
    labels = np.concatenate([planar.labels, planar.lattice_triangle_labels])
    labels += 2
    markers = np.empty(len(labels) + len(wall_labels), dtype=np.int32)
    np.take(flat, labels, out=markers[: len(labels)], mode="clip")
    np.take(rows, wall_labels, out=markers[len(labels) :], mode="clip")
    return markers


def _boundary_last(mesh: TileMesh, quality: Quality) -> TileSurface:
    """Order the tail: vertices on edges of one face only come last, ascending by (x, y, level)."""
    edges, overused, inconsistent = tile_edges(mesh.faces, len(mesh.vertices))
    first = mesh.n_interior
    tail_levels, tail = mesh.levels[first:], mesh.vertices[first:]
    on_boundary = np.zeros(len(tail), dtype=bool)
    on_boundary[edges - first] = True
    inner, outer = np.flatnonzero(~on_boundary), np.flatnonzero(on_boundary)
    outer = outer[np.lexsort((tail_levels[outer], tail[outer, 1], tail[outer, 0]))]
    order = np.concatenate([inner, outer])
    table = np.empty(len(order), dtype=np.int32)
    table[order] = np.arange(first, first + len(order), dtype=np.int32)
    for pairs in (mesh.faces, edges, overused, inconsistent):
        renumber_tail(pairs, first, table)
    tail[:], tail_levels[:] = tail[order], tail_levels[order]
    mesh = TileMesh(mesh.vertices, mesh.levels, mesh.faces, mesh.markers, first + len(inner))
    return TileSurface(mesh, quality, edges, overused, inconsistent)
