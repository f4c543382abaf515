"""A hard edge for memory: a process that asks for too much gets a `MemoryError`, and lives.

`RLIMIT_DATA` counts what a process may write to (heap, private mappings, stacks of threads), so NumPy, numba and
pythoncdt are refused by the kernel at once, where a limit that is polled notices too late. Set in processes that
are ours alone: workers that we started, and a command line that works in its own process. Where the system has no
such limit nothing is set.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from distributed import Nanny, Worker
from distributed.diagnostics.plugin import WorkerPlugin

from .memory import process_memory

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

LEAST_DATA = 64 << 20
"""A process gets at least so much beyond what it holds already: with less it could not even say what is wrong."""

_log = logging.getLogger(__name__)


def has_data_limit() -> bool:
    """Whether this system has a data limit that holds: only Linux counts private mappings, too."""
    return resource is not None and sys.platform.startswith("linux")


def limit_data(process_bytes: int) -> int | None:
    """Refuse this process all data that would take its resident memory beyond some bytes.

    Parameters
    ----------
    process_bytes : int
        Most resident memory. What the process holds now counts with what is resident of it, what comes with what it
        asks for. Another call sets another limit, a higher one too.

    Returns
    -------
    int or None
        The limit; None where this system has none that holds (anything but Linux).
    """
    memory = process_memory()
    if memory is None or not has_data_limit():
        return None
    limit = memory.data_bytes + max(process_bytes - memory.resident_bytes, LEAST_DATA)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    return limit


@contextlib.contextmanager
def data_limited(process_bytes: int) -> Iterator[int | None]:
    """Limit the data of this process to the end of the block; see `limit_data`."""
    before = None if resource is None else resource.getrlimit(resource.RLIMIT_DATA)
    limit = limit_data(process_bytes)
    if limit is None:
        _log.info("no data limit: this system has none that holds")
    try:
        yield limit
    finally:
        if before is not None and limit is not None:
            resource.setrlimit(resource.RLIMIT_DATA, before)


def load_libraries(modules: Sequence[str] = ()) -> None:
    """Load modules, and what their libraries keep for themselves, so that it does not count as data of a task.

    OpenBLAS takes its buffer at the first product of matrices, and ends the process where that is refused.
    """
    for module in modules:
        importlib.import_module(module)
    matrix = np.ones((64, 64))
    np.matmul(matrix, matrix)


class DataLimit(WorkerPlugin):  # type: ignore[misc]
    """Limits the data of every worker to the memory limit that Dask gave it; also of those that are started again.

    Parameters
    ----------
    preload : sequence of str
        Modules that a worker loads first, so that what libraries take does not count as that of a task.
    """

    name = "citymesh-data-limit"

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._preload = tuple(preload)

    def setup(self, worker: Worker) -> None:
        """Set the limit in the process of a worker."""
        load_libraries(self._preload)
        memory_limit = worker.memory_manager.memory_limit
        limit = limit_data(memory_limit) if memory_limit else None
        _log.info("worker %s (process %d): data limit %s", worker.name, os.getpid(), limit or "none on this system")


def set_worker_limit(process_bytes: int, dask_worker: Worker | Nanny) -> Any:
    """Give a worker, or the nanny that watches it, another memory limit; to be called by `Client.run`."""
    dask_worker.memory_manager.memory_limit = process_bytes
    return limit_data(process_bytes) if isinstance(dask_worker, Worker) else None
