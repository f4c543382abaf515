"""City jobs in a temporary folder, up to the stages of terrain and heights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from citymesh_dask.geometry.terrain.terrain import BLOCK, TerrainLattice
from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.city.ground.ground import ground_stages
from citymesh_dask.pipelines.city.inputs.survey import CityInputs, survey_city
from citymesh_dask.pipelines.city.job import CityJob, FootprintRange, PointRange, save_job
from citymesh_dask.pipelines.city.outlines.footprints import read_footprints
from citymesh_dask.pipelines.city.outlines.part_index import index_parts
from citymesh_dask.store.scratch import Scratch
from citymesh_dask.tiles import regular_tiling


def ground_job(
    folder: Path,
    inputs: CityInputs,
    options: CityOptions | None = None,
    *,
    block: int = BLOCK,
    points_per_range: int = 2_000_000,
    features_per_range: int = 20_000,
) -> CityJob:
    """Return a job as the plan would make it, with pieces of the given sizes."""
    options = options or CityOptions()
    survey = survey_city(inputs, options)
    raster, (x, y) = survey.terrain, survey.domain.origin
    lattice = TerrainLattice.over_domain(survey.domain, options.terrain_cell, block)
    if raster is not None:
        corner, cell = (raster.x0 - x, raster.y0 - y), (raster.dx, raster.dy)
        lattice = TerrainLattice.through_corner(survey.domain, corner, cell, block=block)
    ranges, row = [], 0
    for number, source in enumerate(survey.footprints):
        for start in range(0, source.n_features, features_per_range):
            stop = min(start + features_per_range, source.n_features)
            ranges.append(FootprintRange(number, start, stop, row))
            row += stop - start
    points = [
        PointRange(number, start, min(start + points_per_range, source.n_points))
        for number, source in enumerate(survey.points)
        for start in range(0, source.n_points, points_per_range)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    tiling = regular_tiling(survey.domain, None)
    return CityJob(
        Scratch(folder), str(folder / "out"), options, survey, tuple(ranges), tuple(points), lattice, tiling, 1, 8
    )


def run_ground(job: CityJob, *, backwards: bool = False) -> dict[str, dict[str, Any]]:
    """Run all stages up to terrain and heights and return what each task said, by key."""
    path = save_job(job)
    facts = {f"read_footprints-{i:04d}": read_footprints(path, i) for i in range(len(job.footprint_ranges))}
    index_parts(path)
    for stage in ground_stages(job, (path,)):
        for task in reversed(stage.tasks) if backwards else stage.tasks:
            facts[task.key] = task.call.function(*task.call.arguments)
    return facts


def whole_terrain(job: CityJob) -> np.ndarray:
    """Return the terrain raster of a job that has run, (rows, cols) int32 millimetres."""
    lattice = job.lattice
    out = np.empty((lattice.rows, lattice.cols), np.int32)
    for block in range(lattice.n_blocks):
        row, col, end_row, end_col = lattice.block_span(block)
        out[row:end_row, col:end_col] = job.scratch.read(f"terrain/{block:05d}", "heights")
    return out


def roofs(job: CityJob, name: str) -> np.ndarray:
    """Return one column of the evidence of all buildings."""
    return np.concatenate([job.scratch.read(f"roofs/{i:04d}", name) for i in range(job.n_row_ranges)])
