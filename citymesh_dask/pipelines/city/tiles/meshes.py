"""Tasks that mesh tiles and merge their boundaries; the meshes themselves stay where they are."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from ....geometry.joining.boundary import MergedBoundary, SeamDefects, SeamFault, merge_boundaries
from ....geometry.meshing.extrusion import TileSurface, extrude_tile
from ....geometry.meshing.meshing import mesh_constraints
from ....geometry.seams.seams import tile_constraints
from ....mesh import BASE_MARKER, SIDE_MARKER, TERRAIN_MARKER, Boundary, Quality, TileMesh
from ....outlines import Constraints, Int32
from ....store.chunks import Array
from ....tiles import MESH_UNITS, Box
from ..ground.ground import read_height_field
from ..job import CityJob, load_job
from ..outlines.pieces import read_pieces
from .levels import read_levels
from .overview import write_tile_overview

MAX_PLACES = 20
"""So many places of each defect are kept for the report."""


def mesh_tile(job_path: str, index: int) -> dict[str, Any]:
    """Mesh one tile.

    Writes group ``tiles/{index}`` (``vertices``, ``faces``, ``markers``) and its boundary,
    ``boundaries/tile-{index}``; returns counts, quality and what is wrong with its edges.
    """
    job = load_job(job_path)
    box = job.tile_box(index)
    constraints = _constraints(job, box) if box[0] < box[2] and box[1] < box[3] else None  # empty where it was split
    if constraints is None:
        return write_empty_tile(job, index)
    surface = _surface(job, constraints)
    return write_tile(job, index, surface) | {"quality": quality_facts(surface.quality)}


def _constraints(job: CityJob, box: Box) -> Constraints | None:
    options = job.options
    return tile_constraints(
        read_pieces(job, box),
        box,
        frame=job.domain.mesh_frame,
        ground_size=options.max_mesh_size,
        building_size=options.building_mesh_triangle_size,
    )


def _surface(job: CityJob, constraints: Constraints) -> TileSurface:
    options = job.options
    planar = mesh_constraints(
        constraints,
        ground_size=options.max_mesh_size,
        building_size=options.building_mesh_triangle_size,
        min_angle=options.min_mesh_angle,
    )
    low, high = constraints.points.min(axis=0) / MESH_UNITS, constraints.points.max(axis=0) / MESH_UNITS
    return extrude_tile(
        planar,
        constraints,
        levels=read_levels(job, constraints.rows),
        terrain=read_height_field(job, (low[0], low[1], high[0], high[1])),
        origin=job.domain.origin,
        n_rows=job.n_rows,
        mesh_walls=options.mesh_walls,
        sort_triangles=options.sort_triangles,
    )


def write_tile(job: CityJob, index: int, surface: TileSurface) -> dict[str, Any]:
    """Write the arrays of a tile and its boundary; return the facts of both."""
    mesh = surface.mesh
    written = write_tile_arrays(job, index, mesh.vertices, faces=mesh.faces, markers=mesh.markers)
    written += write_tile_overview(job, index, mesh.vertices, faces=mesh.faces, markers=mesh.markers)
    boundary = tile_boundary(mesh, surface.edges, tile=index, origin=job.domain.origin)
    written += write_boundary(job, boundary_name(0, index), boundary)
    wrong = {"overused": surface.overused, "inconsistent": surface.inconsistent}
    return {
        "faces": len(mesh.faces),
        "face_counts": count_faces(mesh.markers, job.n_rows),
        "interior": mesh.n_interior,
        "bytes": written,
        "defects": [
            {"fault": name, "at": mesh.vertices[pair].mean(axis=0).tolist(), "tiles": [index]}
            for name, pairs in wrong.items()
            for pair in pairs[:MAX_PLACES]
        ],
        "n_defects": len(surface.overused) + len(surface.inconsistent),
    }


def write_tile_arrays(job: CityJob, index: int, vertices: Array, *, faces: Int32, markers: Int32) -> int:
    """Write the mesh of a tile and return its bytes."""
    arrays: dict[str, Array] = {"vertices": vertices, "faces": faces, "markers": markers}
    lowest = float(vertices[:, 2].min()) if len(vertices) else None
    return job.scratch.write(f"tiles/{index:05d}", arrays, {"lowest": lowest})


def count_faces(markers: Int32, n_rows: int) -> dict[str, int]:
    """Return the number of faces by part of the city, for ``n_rows`` rows of the building table.

    >>> count_faces(np.array([-2, 0, 1, 1, 2], np.int32), 1)
    {'terrain': 1, 'walls': 1, 'roofs': 3, 'sides': 0, 'base': 0}
    """
    named = {"terrain": markers == TERRAIN_MARKER, "walls": (markers >= 0) & (markers < n_rows)}
    named |= {"roofs": markers >= n_rows, "sides": markers == SIDE_MARKER, "base": markers == BASE_MARKER}
    return {name: int(np.count_nonzero(flags)) for name, flags in named.items()}


def write_empty_tile(job: CityJob, index: int) -> dict[str, Any]:
    """Write a tile that owns nothing: its ground and buildings went to its neighbours."""
    none = np.empty((0, 3), np.int32)
    write_tile_arrays(job, index, np.empty((0, 3)), faces=none, markers=np.empty(0, np.int32))
    write_tile_overview(job, index, np.empty((0, 3)), faces=none, markers=np.empty(0, np.int32))
    empty = Boundary(none.astype(np.int64), np.empty(0), none[:, :2], none)
    write_boundary(job, boundary_name(0, index), empty)
    return {"faces": 0, "interior": 0, "bytes": 0}


def tile_boundary(mesh: TileMesh, edges: Int32, *, tile: int, origin: tuple[int, int]) -> Boundary:
    """Return the boundary of a tile with exact keys; its tail is numbered from 0."""
    tail = slice(mesh.n_interior, None)
    plane = (mesh.vertices[tail, :2] - np.array(origin, np.float64)) * MESH_UNITS
    keys = np.concatenate([np.rint(plane).astype(np.int64), mesh.levels[tail, None].astype(np.int64)], axis=1)
    number = np.arange(len(keys), dtype=np.int32)
    refs = np.stack([number, np.full_like(number, tile), number], axis=1)
    return Boundary(keys, mesh.vertices[tail, 2].copy(), edges - np.int32(mesh.n_interior), refs)


def merge_tiles(
    job_path: str, level: int, index: int, children: tuple[int, int], beside: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Merge the boundaries of nodes ``children`` of the level below, and of tiles that were split from these.

    Writes ``boundaries/l{level}-{index}`` and the seams that close here, ``seams/l{level}-{index}``.
    """
    job = load_job(job_path)
    names = [boundary_name(level - 1, child) for child in (*range(*children), *beside)]
    merged = merge_boundaries([read_boundary(job, name) for name in names])
    return write_merged(job, level, index, merged)


def write_merged(job: CityJob, level: int, index: int, merged: MergedBoundary) -> dict[str, Any]:
    """Write the boundary and the seams of a node; return its facts."""
    written = write_boundary(job, boundary_name(level, index), merged.boundary)
    written += job.scratch.write(seam_name(level, index), {"seams": merged.seams})
    return {
        "edges": len(merged.boundary.edges),
        "bytes": written,
        "defects": defect_facts(job, merged.defects),
        "n_defects": len(merged.defects),
    }


def defect_facts(job: CityJob, defects: SeamDefects) -> list[dict[str, Any]]:
    """Return the first defects with their places in the project CRS."""
    facts = []
    for k in range(min(len(defects), MAX_PLACES)):
        plane = defects.keys[k, :, :2].mean(axis=0) / MESH_UNITS + job.domain.origin
        place = [*plane.tolist(), float(defects.z[k].mean())]
        fault = SeamFault(defects.faults[k]).name.lower()
        facts.append({"fault": fault, "at": place, "tiles": [int(t) for t in defects.tiles[k] if t >= 0]})
    return facts


def boundary_name(level: int, index: int) -> str:
    """Return the group of a node's boundary; level 0 are the tiles."""
    return f"boundaries/tile-{index:05d}" if level == 0 else f"boundaries/l{level}-{index:04d}"


def seam_name(level: int, index: int) -> str:
    """Return the group of the seams that a node closes."""
    return f"seams/l{level}-{index:04d}"


def write_boundary(job: CityJob, name: str, boundary: Boundary) -> int:
    """Write a boundary and return its bytes."""
    return job.scratch.write(name, {item.name: getattr(boundary, item.name) for item in fields(boundary)})


def read_boundary(job: CityJob, name: str) -> Boundary:
    """Read a boundary."""
    return Boundary(**job.scratch.read_all(name))


def quality_facts(quality: Quality) -> dict[str, Any]:
    """Return a tile's quality as JSON-able numbers; the exact area as text."""
    return {
        "angles": quality.angles.tolist(),
        "wall_angles": quality.wall_angles.tolist(),
        "below_angle": int(quality.below_angle),
        "above_area": int(quality.above_area),
        "inverted": int(quality.inverted),
        "doubled_area": str(quality.doubled_area),
        "worst": quality.worst.tolist(),
    }
