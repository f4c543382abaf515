"""City runs with tilings of the test's own choice, which the public interface does not offer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from citymesh_dask.engine.in_process import LocalExecutor
from citymesh_dask.engine.machine import Resources
from citymesh_dask.engine.run import Run
from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.city.ending.finish import seal_store
from citymesh_dask.pipelines.city.inputs.survey import CityInputs, survey_city
from citymesh_dask.pipelines.city.job import CityJob, save_job
from citymesh_dask.pipelines.city.plan import city_job, plan_city
from citymesh_dask.store.manifest import ReceiptFolder
from citymesh_dask.tiles import Domain, Tiling

FILES = ("footprints", "layer", "points", "terrain", "surface", "building_heights")
Tiler = Callable[[Domain], Tiling]


def grid(nx: int, ny: int, *, shift: float = 0.0) -> Tiler:
    """Return a tiler of nx x ny tiles whose inner lines are moved by ``shift`` metres."""

    def tile(domain: Domain) -> Tiling:
        x0, y0, x1, y1 = domain.mesh_frame
        moved = round(shift * 2**18)
        lines = []
        for low, high, count in ((x0, x1, nx), (y0, y1, ny)):
            line = low + (high - low) * np.arange(count + 1) // count
            line[1:-1] += moved
            lines.append(line)
        return Tiling.from_lines(*lines)

    return tile


def build(
    inputs: dict[str, Any], out: Path, tiler: Tiler | None = None, *, scheduler: str = "synchronous", fan_in: int = 3
) -> CityJob:
    """Build a city in this process and return its job; the scratch folder stays."""
    files = {name: value for name, value in inputs.items() if name in FILES}
    options = CityOptions.from_mapping({name: value for name, value in inputs.items() if name not in FILES})
    survey = survey_city(CityInputs(**files), options)
    scratch = out.with_suffix(".scratch")
    scratch.mkdir(parents=True)
    job = city_job(survey, options, out=out, scratch=scratch, fan_in=fan_in)
    if tiler is not None:
        job = dataclasses.replace(job, tiling=tiler(job.domain))
    plan = plan_city(job, save_job(job), Resources(1 << 32, 2))
    ledger = ReceiptFolder(str(scratch / "receipts"))

    def finish(run: Run[None]) -> None:
        seal_store(job, {r.key: r for r in ledger.all()}, inputs=[])

    Run(plan, ledger, LocalExecutor(scheduler, 2), finish=finish).result(600)
    return job
