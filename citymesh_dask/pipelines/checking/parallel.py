"""A check shared out to worker processes: the tasks of `plan_check` on a cluster of our own.

What is proved does not depend on it. Small stores are checked in this process, before workers would have started.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from ...engine.cluster import ClusterExecutor
from ...engine.events import Event, TaskDone
from ...engine.local_cluster import local_cluster
from ...engine.machine import Resources, choose_resources
from ...engine.plan import Plan
from ...engine.progress import choose_listener
from ...engine.run import Run
from ...errors import RunError, StoreError
from ...store.city_store import open_store
from ...store.memory_scratch import MemoryLedger
from ...store.scratch import Scratch
from .check import PIECE_BYTES, PIECE_BYTES_PER_FACE, PIECE_FACES, check_store, plan_check
from .report import CheckReport

FEW_FACES = 16 * PIECE_FACES
"""A store of no more faces is checked in this process: workers take as long to start."""
_NEEDED_BYTES = PIECE_BYTES + PIECE_BYTES_PER_FACE * PIECE_FACES


def check_in_parallel(
    path: str | Path,
    *,
    memory_limit: str | int = "auto",
    n_workers: int | str = "auto",
    progress: bool = False,
    few_faces: int = FEW_FACES,
) -> CheckReport:
    """Check a store with as many workers as there is memory for.

    Parameters
    ----------
    path : str or Path
        The store.
    memory_limit : str or int
        Memory of the whole process tree, such as ``"4GB"``; "auto" takes a share of what is free.
    n_workers : int or "auto"
        Worker processes; with one the check runs in this process.
    progress : bool
        Show progress on standard error.
    few_faces : int
        A store of no more faces is checked in this process.

    Returns
    -------
    CheckReport
        That of `check_store`.

    Raises
    ------
    OptionError
        If memory or workers cannot be understood.
    StoreError
        If the path is no city store or a chunk of it is missing or damaged.
    """
    store = open_store(path)
    resources = choose_resources(memory_limit, n_workers)
    if store.n_faces <= few_faces or resources.n_workers < 2 or resources.task_bytes < _NEEDED_BYTES:
        return check_store(path)
    folder = Path(tempfile.mkdtemp(prefix="citymesh-check-"))
    try:
        return _check(path, Scratch(folder), resources, progress=progress)
    except RunError as error:
        if isinstance(error.__cause__, StoreError):  # what is wrong with the store, not with a task
            raise error.__cause__ from None
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check(path: str | Path, scratch: Scratch, resources: Resources, *, progress: bool) -> CheckReport:
    plan = Plan(tuple(plan_check(path, scratch)), resources.allowed_bytes, resources.n_workers)
    listener = choose_listener(plan.stages, quiet=not progress)
    executor = ClusterExecutor(
        *local_cluster(
            n_workers=resources.n_workers,
            worker_bytes=resources.worker_bytes,
            local_directory=str(scratch.root / "dask"),
            preload=("citymesh_dask.pipelines.checking.check",),
            set_as_default=False,
        )
    )
    last = plan.stages[-1].tasks[-1].key

    found: dict[str, Any] = {}

    def keep_last(event: Event) -> None:
        if isinstance(event, TaskDone) and event.key == last and event.receipt:
            found.update(event.receipt.facts)

    def finish(run: Run[CheckReport]) -> CheckReport:
        del run
        return CheckReport.from_json(found)

    listeners = [keep_last, listener] if listener else [keep_last]
    run = Run(plan, MemoryLedger(), executor, finish=finish, listeners=listeners, retries=1)
    try:
        return run.result()
    finally:
        run.cancel()  # where we were interrupted
