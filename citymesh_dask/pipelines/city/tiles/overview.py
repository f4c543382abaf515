"""What each tile of a large city shows from far away: its picture is drawn from that."""

from __future__ import annotations

import math

from ....geometry.drawing.overview import OverviewGrid, sum_up
from ....outlines import Float64, Int32
from ..job import CityJob

_LARGE_FACES = 15e6
"""A mesh of more faces than this is drawn from its overview; smaller ones are drawn face by face within seconds."""
_PER_BUILDING, _WALLS_AND_ROOF_M2 = 200.0, 700.0


def overview_grid(job: CityJob) -> OverviewGrid | None:
    """Return the grid of the overview; None for a city that is small enough to be drawn face by face.

    What decides is arithmetic on area, buildings and mesh sizes: every task finds the same.
    """
    options, domain = job.options, job.domain
    triangles = domain.area * _per_m2(options.max_mesh_size)
    triangles += job.n_rows * (_PER_BUILDING + _WALLS_AND_ROOF_M2 * _per_m2(options.building_mesh_triangle_size))
    return OverviewGrid.over(domain.bounds) if triangles > _LARGE_FACES else None


def _per_m2(size: float) -> float:
    """Return how many triangles of a hexagonal lattice a square metre has."""
    return 4 / (math.sqrt(3) * size * size)


def write_tile_overview(job: CityJob, index: int, vertices: Float64, *, faces: Int32, markers: Int32) -> int:
    """Write what a tile shows, ``overview/{index}``, where the city has an overview; return the bytes."""
    grid = overview_grid(job)
    if grid is None:
        return 0
    found = sum_up(grid, vertices, faces=faces, markers=markers, n_rows=job.n_rows)
    place = {"row": found.row, "column": found.column}
    return job.scratch.write(overview_name(index), {"heights": found.heights, "markers": found.markers}, place)


def overview_name(tile: int) -> str:
    """Return the group of what a tile shows."""
    return f"overview/{tile:05d}"
