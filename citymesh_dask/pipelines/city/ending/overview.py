"""The overviews of all tiles put together in the store."""

from __future__ import annotations

from typing import Any

from ....geometry.drawing.overview import Overview, lay_over
from ....store.city_store import OVERVIEW, write_arrays
from ..job import CityJob, load_job, partial_store
from ..tiles.overview import overview_grid, overview_name


def n_overviews(job: CityJob) -> int:
    """Return 1 for a city with an overview, else 0: the number of tasks that put it together."""
    return int(overview_grid(job) is not None)


def write_overview(job_path: str, index: int = 0) -> dict[str, Any]:
    """Lay the overviews of all tiles over one another; writes group ``overview`` of the store."""
    del index  # one task
    job = load_job(job_path)
    grid = overview_grid(job)
    if grid is None:  # planned for large cities only
        return {"cells": 0}
    whole = Overview.empty(0, 0, grid.shape)
    for tile in range(len(job.tiling)):
        attributes = job.scratch.attributes(overview_name(tile))
        arrays = job.scratch.read_all(overview_name(tile))
        lay_over(whole, Overview(attributes["row"], attributes["column"], arrays["heights"], arrays["markers"]))
    write_arrays(partial_store(job) / OVERVIEW, {"heights": whole.heights, "markers": whole.markers})
    return {"cells": whole.heights.size}
