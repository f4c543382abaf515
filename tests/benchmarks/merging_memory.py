"""Memory of the tasks of merging: done again, in a fresh process whose memory grows by nothing else."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from citymesh_dask.engine.memory import measure_peak, process_memory
from citymesh_dask.engine.plan import Plan, TaskCall

MERGING = ("merge_l", "close_mesh", "number_vertices")


def largest_merge(job_path: Path, plan: Plan) -> int:
    """Return the most memory that a task of merging takes, bytes, beyond a process that has done one before.

    Parameters
    ----------
    job_path : Path
        Job of a finished run whose scratch folder is still there.
    plan : Plan
        Its plan.
    """
    if not job_path.exists() or not Path("/proc/self/clear_refs").exists():
        return 0
    calls = [task.call for stage in plan.stages if stage.name.startswith(MERGING) for task in stage.tasks]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(_growth, calls[0]).result()  # libraries and kernels
        return max(pool.submit(_growth, call).result() for call in calls)


def _growth(call: TaskCall) -> int:
    before = _resident_bytes()
    with measure_peak() as memory:
        call.function(*call.arguments)
    return memory.peak_bytes - before


def _resident_bytes() -> int:
    memory = process_memory()
    return memory.resident_bytes if memory else 0
