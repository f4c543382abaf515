"""A rehearsal on one house: the kernels are compiled side by side before they are needed.

numba compiles a kernel where it is first called and keeps it on disk. Without this, every worker
would compile all of them; with it, one worker compiles those that clean, another those that mesh,
and both find the others' on disk. Where they are on disk already, this loads them, which the tasks
would do otherwise. No file of the run is read or written.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ...geometry.cleaning.checking import check_outlines
from ...geometry.cleaning.cleaning import clean_groups
from ...geometry.cleaning.linking import link_parts
from ...geometry.joining.boundary import close_rim, merge_boundaries
from ...geometry.meshing.extrusion import extrude_tile
from ...geometry.meshing.meshing import mesh_constraints
from ...geometry.pieces.domain_frame import subdivide_frame
from ...geometry.pieces.piece_sets import join_pieces
from ...geometry.pieces.subdivision import subdivide
from ...geometry.seams.seams import tile_constraints
from ...geometry.terrain.terrain import HeightField, TerrainLattice
from ...outlines import GROUND, Outlines, Parts
from ...tiles import OUTLINE_UNITS, Domain
from .assembly import renumber
from .meshes import tile_boundary

_DOMAIN = Domain.from_bounds((0.0, 0.0, 60.0, 40.0))
_CORNERS = np.array([[10, 10], [20, 10], [20, 20], [10, 20]], np.int64) * OUTLINE_UNITS


def compile_kernels(job_path: str, index: int) -> dict[str, Any]:
    """Rehearse cleaning (index 0) or meshing (index 1); writes nothing."""
    del job_path  # the same for every job
    start = time.perf_counter()
    (_rehearse_cleaning, _rehearse_meshing)[index]()
    return {"seconds": time.perf_counter() - start}


def _rehearse_cleaning() -> None:
    """Clean two houses that touch in a corner."""
    rings = [np.concatenate([corners, corners[:1]]) for corners in (_CORNERS, _CORNERS + 10 * OUTLINE_UNITS)]
    parts = Parts(np.arange(2), np.arange(3), np.array([0, 5, 10]), np.concatenate(rings))
    link_parts(parts, OUTLINE_UNITS)
    outlines, _ = clean_groups(parts, np.array([0, 2]), _DOMAIN.frame, tolerance=0.25, min_area=15.0)
    check_outlines(outlines, 0.25)


def _rehearse_meshing() -> None:
    """Mesh one half of a domain with one house, and add its boundary to nothing."""
    edges = np.array([[0, 1, 0, GROUND], [1, 2, 0, GROUND], [3, 2, GROUND, 0], [0, 3, GROUND, 0]], np.int64)
    order = np.lexsort((_CORNERS[:, 1], _CORNERS[:, 0]))
    edges[:, :2] = np.argsort(order)[edges[:, :2]]
    outlines = Outlines(_CORNERS[order], edges, np.array([0, 4]), np.array([0, 4]))
    nothing = np.empty((0, 4), np.int64)
    house = subdivide(outlines, nothing, frame=_DOMAIN.frame, ground_size=10.0, building_size=5.0)
    frame = subdivide_frame(_DOMAIN.frame, _CORNERS[[[0, 1], [1, 2], [2, 3], [3, 0]]].reshape(-1, 4), ground_size=10.0)
    x0, y0, x1, y1 = _DOMAIN.mesh_frame
    west = (x0, y0, (x0 + x1) // 2, y1)
    constraints = tile_constraints(
        join_pieces([house, frame]), west, frame=_DOMAIN.mesh_frame, ground_size=10.0, building_size=5.0
    )
    if constraints is None:
        return
    planar = mesh_constraints(constraints, ground_size=10.0, building_size=5.0, min_angle=25.0)
    lattice = TerrainLattice.over_domain(_DOMAIN, 1.0)
    terrain = HeightField(np.zeros((lattice.rows, lattice.cols), np.int32), 0, 0, lattice)
    levels = np.full(len(constraints.rows), 100_000, np.int32)
    surface = extrude_tile(planar, constraints, levels=levels, n_rows=1, terrain=terrain, origin=(0, 0))
    merged = merge_boundaries([tile_boundary(surface.mesh, surface.edges, tile=0, origin=(0, 0))])
    close_rim(merged.boundary, _DOMAIN.mesh_frame)
    faces = surface.mesh.faces
    renumber(faces, np.empty_like(faces), 0, len(surface.mesh.vertices), np.empty(0, np.int32))
