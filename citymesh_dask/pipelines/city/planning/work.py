"""How much every stage writes, and how long its tasks work: what a plan tells before anything is run.

The constants were measured on the sample city of 2.5 km, 12,005 footprints, 15.6 M returns, 1.51 M triangles, one
core (``python -m tests.benchmarks --only limits``). Bytes have a reserve of a tenth to a third: how well arrays are
compressed depends on the relief (measured/projected 0.73 to 0.98 on 1 km2 with triangles of 2.5 to 30 m; 1.25 on
62 km2 with those of 30 m, of which there are more than projected). Seconds are those of the machine that measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ....tiles import MESH_UNITS
from ..compiling import NEEDS, needs_compiling
from ..job import CityJob
from .costs import job_costs

_TASK_SECONDS = 0.01
"""Of a task, however small: Dask, the receipt, looking for it."""
_COMPILE_SECONDS = 9.0
_START_SECONDS, _END_SECONDS = 5.0, 3.0
"""Surveying, starting workers, loading libraries and kernels; sealing the store, report and picture."""

SCRATCH_PER_TRIANGLE, RESULT_PER_TRIANGLE = 16.5, 18.0
"""Compressed bytes of a triangle: vertices, faces and markers of its tile; the same and its building in the store."""
_BOUNDARY_PER_SIDE = 40.0
"""Bytes of boundaries and seams, per metre of the sides of all tiles and side of a triangle."""


@dataclass(frozen=True)
class Work:
    """What the tasks of a stage take together.

    Parameters
    ----------
    written_bytes : float
        Bytes written to scratch folder or store.
    seconds : float
        Working time on one core.
    """

    written_bytes: float
    seconds: float


NO_WORK = Work(0.0, 0.0)


@dataclass(frozen=True)
class _Rate:
    """Bytes and microseconds for each unit of something."""

    unit: str
    written: float
    microseconds: float


_RATES: Mapping[str, tuple[_Rate, ...]] = {
    "read_footprints": (_Rate("rows", 45, 40),),
    "sample_points": (_Rate("points", 1.4, 0.5),),
    "sample_surface": (_Rate("surface_cells", 0.4, 0.2),),
    "sample_footprints": (_Rate("rows", 50, 100),),
    "terrain_cells": (_Rate("cells", 2.7, 0.09),),
    "fill_terrain": (_Rate("cells", 1.6, 0.06),),
    "roof_evidence": (_Rate("rows", 11, 9),),
    "link_parts": (_Rate("rows", 4, 4),),
    "group_parts": (_Rate("rows", 2, 1),),
    "clean_outlines": (_Rate("rows", 90, 20),),
    "check_outlines": (_Rate("rows", 1, 10),),
    "subdivide_outlines": (_Rate("rows", 335, 85),),
    "building_levels": (_Rate("rows", 36, 2),),
    "mesh_tile": (
        _Rate("triangles", SCRATCH_PER_TRIANGLE, 0.5),
        _Rate("sides", _BOUNDARY_PER_SIDE, 4),
        _Rate("rows", 0, 110),
    ),
    "merge": (_Rate("sides", _BOUNDARY_PER_SIDE / 3, 3),),
    "number_vertices": (_Rate("tiles", 60, 700),),
    "assemble": (_Rate("triangles", RESULT_PER_TRIANGLE, 0.15),),
    "write_table": (_Rate("rows", 45, 15),),
}
"""Rates by stage; those of a stage that is not named are small."""


def projected_work(job: CityJob) -> dict[str, Work]:
    """Return bytes and seconds by stage; all levels of merging together are ``merge``."""
    units = _units(job)
    found = {
        stage: Work(
            sum(rate.written * units[rate.unit] for rate in rates),
            sum(rate.microseconds * units[rate.unit] for rate in rates) * 1e-6,
        )
        for stage, rates in _RATES.items()
    }
    found["compile_kernels"] = Work(0.0, _COMPILE_SECONDS * sum(map(needs_compiling, range(len(NEEDS)))))
    return found


def wall_seconds(tasks_and_work: list[tuple[int, float]], n_workers: int) -> float:
    """Return the projected time of a run: stages one after the other, each shared by as many workers as it has tasks.

    Parameters
    ----------
    tasks_and_work : list of (int, float)
        Tasks of each stage and their working time together, seconds.
    n_workers : int
        Workers side by side.
    """
    shares = ((seconds + _TASK_SECONDS * tasks) / max(min(tasks, n_workers), 1) for tasks, seconds in tasks_and_work)
    return _START_SECONDS + sum(shares) + _END_SECONDS


def result_bytes(job: CityJob) -> float:
    """Return the projected size of the finished store, bytes."""
    work = projected_work(job)
    return work["assemble"].written_bytes + work["write_table"].written_bytes


def scratch_bytes(job: CityJob) -> float:
    """Return the projected size of the scratch folder at the end of a run, bytes."""
    return sum(work.written_bytes for work in projected_work(job).values()) - result_bytes(job)


def _units(job: CityJob) -> dict[str, float]:
    """Return how many there are of everything that rates go by."""
    survey, lattice = job.survey, job.lattice
    raster = survey.surface or survey.building_heights
    edges = (job.tiling.boxes[:, 2:] - job.tiling.boxes[:, :2]).sum() / MESH_UNITS
    return {
        "rows": job.n_rows,
        "points": sum(source.n_points for source in survey.points),
        "surface_cells": raster.shape[0] * raster.shape[1] if raster else 0,
        "cells": lattice.rows * lattice.cols,
        "triangles": job_costs(job).total,
        "sides": 2 * float(edges) / job.options.max_mesh_size,
        "tiles": len(job.tiling),
    }
