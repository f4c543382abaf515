"""Does a city fit into memory whole, with all that its tasks leave for one another? Plain arithmetic.

The constants were measured on the sample city (``MemoryScratch.held_bytes`` at the end of a run).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ....engine.machine import Resources
from ....errors import PlanError
from ..job import CityJob
from .choice import demand_of, memory_flag, ulimit_refusal
from .costs import estimated_triangles

BYTES_PER_TRIANGLE = 40
"""Tile meshes, 28 bytes (half a vertex, three corners, a marker), the boundaries of small tiles, and some slack."""
_BYTES_PER_CELL = 16
"""Of the terrain raster: sums, counts, filled heights and the coarser levels."""
_BYTES_PER_CORNER = 400
"""Of the footprints: parts, outlines, subdivided pieces."""
_BYTES_PER_ROW = 256
"""Of the building table, its evidence and levels."""


def held_bytes(job: CityJob) -> int:
    """Return the memory that everything between the tasks of a run takes at its end, bytes."""
    triangles = estimated_triangles(job.domain, job.survey.outlines, job.options)
    cells = job.lattice.rows * job.lattice.cols
    corners = job.n_rows * job.survey.outlines.corners
    parts = BYTES_PER_TRIANGLE * triangles + _BYTES_PER_CELL * cells
    return int(parts + _BYTES_PER_CORNER * corners + _BYTES_PER_ROW * job.n_rows)


def choose_in_memory(job: CityJob, candidates: Sequence[Resources]) -> Resources:
    """Return for how many threads a run without a scratch folder has memory; refuse it where for none.

    Parameters
    ----------
    job : CityJob
        The job.
    candidates : sequence of Resources
        What may be taken, the best first; worker processes stand for threads.

    Raises
    ------
    PlanError
        With the memory that would do.
    """
    needs = needed_in_memory(job, candidates)
    for resources, needed in zip(candidates, needs, strict=True):
        if needed <= resources.allowed_bytes and (resources.process_bytes is None or needed <= resources.process_bytes):
            return _in_threads(resources)
    resources, needed = candidates[-1], needs[-1]
    advice = "leave it out to work through a scratch folder, or "
    if resources.process_bytes is not None and needed > resources.process_bytes:
        what = f"{resources.n_workers} task(s) at a time and a city in memory"
        found, expected, raised = ulimit_refusal(what, needed, resources)
        raise PlanError("option use_disk_store", f"False, where {found}", expected, advice + raised)
    found = (
        f"False, for a city projected to take {held_bytes(job) / 1e6:.0f} MB, beside {resources.n_workers} task(s) of "
    )
    found += f"{demand_of(job).task_bytes / 1e6:.0f} MB and what the process itself takes: too much for the "
    found += f"{resources.allowed_bytes / 1e6:.0f} MB allowed"
    expected = f"at least {needed / 1e6:.0f} MB for {resources.n_workers} thread(s)"
    raise PlanError("option use_disk_store", found, expected, f"{advice}give {memory_flag(needed)}")


def needed_in_memory(job: CityJob, candidates: Sequence[Resources]) -> list[int]:
    """Return the memory that a job needs with the threads of each of the candidates, bytes."""
    held, demand = held_bytes(job), demand_of(job)
    return [held + demand.needed_bytes(_in_threads(resources)) for resources in candidates]


def _in_threads(resources: Resources) -> Resources:
    return replace(resources, scheduler="threads") if resources.scheduler == "processes" else resources
