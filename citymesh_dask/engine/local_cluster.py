"""Our own Dask cluster: worker processes on this machine, with the memory that they were given."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
import weakref
from collections.abc import Sequence
from typing import Any

import dask
from distributed import Client, LocalCluster

from ..errors import RunError
from .data_limit import DataLimit
from .failures import failed_run, shortage
from .machine import reader_threads
from .main_guard import MAIN_GUARD, check_main_guard
from .memory import FILE_SLACK_BYTES
from .signals import begin_tracker, undisturbed

_WORKER_MEMORY = {"target": 0.3, "spill": False, "pause": False, "terminate": 0.95}
"""Shares of a worker's limit; with Dask's defaults results of 150 MB on 400 MB workers killed them. Results go to disk
by their own size (target) only: by the memory of the process (spill) receipts would go, one small file each, whenever a
task takes much or there are tens of thousands of them, and nothing would be won. Workers are not paused: what tasks
leave behind is on disk, so a paused worker has nothing to give back and would wait for ever."""
_ALLOWED_FAILURES = 1
"""A task whose second worker dies has failed. Dask blames every task that waits at a worker which dies: with none
allowed all of those would fail at the first death, with Dask's three a task that kills takes four workers along."""
_WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1, "MALLOC_ARENA_MAX": 1}
"""Dask's own, but for MALLOC_TRIM_THRESHOLD_: with it glibc gives every array back to the system at once, and the
next one is zeroed page by page; tile tasks then take a quarter longer, for the same peak of memory. Of several heaps
only the first is given back when it is asked for (see `FreedMemory`), so there is one."""

_READER_THREADS = "RAYON_NUM_THREADS"
"""With how many threads lazrs unpacks LAZ files: where nobody says, with as many as there are CPUs, in each worker."""

_QUIET = {
    "distributed.worker.profile.interval": "200ms",
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.worker.memory.monitor-interval": "500ms",
}
"""How often the processes look at themselves. With Dask's own intervals two idle workers and their scheduler take
13 % of a core, and the threads that look stop the one that works; with these 5 %."""

_STEALING_INTERVAL = "20ms"
"""Dask gives the few tasks of a short stage to one worker; by default others help it only after a second."""

_FORGET_SECONDS = 60.0
"""So long the scheduler has to forget a client."""
_POLL_SECONDS = 0.02


def local_cluster(
    *,
    n_workers: int,
    worker_bytes: int,
    local_directory: str | None = None,
    preload: Sequence[str] = (),
    security: Any = None,
    set_as_default: bool = True,
) -> tuple[Client, LocalCluster]:
    """Start a memory-limited local cluster: spawned processes, one thread each, on loopback.

    Parameters
    ----------
    n_workers : int
        Processes.
    worker_bytes : int
        Memory of each. Dask spills and ends workers by it; `DataLimit` refuses single tasks more.
    local_directory : str, optional
        Where workers spill; by default a private folder for temporary files, removed with the cluster.
    preload : sequence of str
        Modules that workers load when they start.
    security : distributed.Security, optional
        Certificates for TLS; without them everybody who may use this machine may use the cluster.
    set_as_default : bool
        Whether it is Dask's default: what ``as_completed`` and ``wait`` ask; what else this process computes with Dask
        is then done there, too.

    Raises
    ------
    RunError
        If the workers do not start, which most often means a script without a main guard.
    """
    check_main_guard()
    begin_tracker()
    folder = local_directory or tempfile.mkdtemp(prefix="citymesh-dask-")

    def start() -> tuple[Client, LocalCluster]:
        cluster = _started(n_workers=n_workers, worker_bytes=worker_bytes, local_directory=folder, security=security)
        try:
            client = Client(cluster, set_as_default=set_as_default)
            _register(client, DataLimit(preload))
        except BaseException:
            cluster.close()
            raise
        return client, cluster

    try:
        client, cluster = undisturbed(start, undo=lambda opened: close_cluster(*opened))
    except BaseException:
        if local_directory is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if local_directory is None:
        weakref.finalize(cluster, shutil.rmtree, folder, ignore_errors=True)
    return client, cluster


def _register(client: Client, plugin: DataLimit) -> None:
    """Give a plugin to all workers. A worker that dies meanwhile is started again, and gets it then."""
    for _ in range(3):
        with contextlib.suppress(OSError):
            client.register_plugin(plugin)
            return
    client.register_plugin(plugin)


def close_cluster(client: Client, cluster: LocalCluster) -> None:
    """Close a client and its local cluster, which goes whatever becomes of the client.

    The scheduler forgets the tasks of a client that leaves in one go. For 100,000 of them that takes as long as Dask
    waits for the end of workers, which would stay half closed; so it is waited for.
    """
    name, end = client.id, time.monotonic() + _FORGET_SECONDS
    try:
        client.close()
        while name in cluster.scheduler.clients and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
    finally:
        cluster.close()


def worker_settings(*, n_workers: int, worker_bytes: int) -> Any:
    """Return the settings, for a ``with`` statement, that workers of our own take over when they are made."""
    environment = _WORKER_ENVIRONMENT | {_READER_THREADS: reader_threads(n_workers)}
    memory = {f"distributed.worker.memory.{name}": share for name, share in _WORKER_MEMORY.items()}
    memory["distributed.worker.memory.terminate"] += FILE_SLACK_BYTES / worker_bytes  # Dask counts all pages of files
    others = {
        "distributed.scheduler.work-stealing-interval": _STEALING_INTERVAL,
        "distributed.scheduler.allowed-failures": _ALLOWED_FAILURES,
        "distributed.nanny.pre-spawn-environ": environment,
    }
    return dask.config.set({**memory, **others, **_QUIET})


def _started(*, n_workers: int, worker_bytes: int, local_directory: str, security: Any) -> LocalCluster:
    with worker_settings(n_workers=n_workers, worker_bytes=worker_bytes):
        try:
            return LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=worker_bytes,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                local_directory=local_directory,
                security=security,
                silence_logs=50,
            )
        except (RuntimeError, OSError) as error:
            short = shortage(error)
            if short is not None:
                raise failed_run("the start of the workers", short) from None
            raise RunError(
                "local cluster",
                f"its workers did not start ({error.__cause__ or error})",
                "worker processes that can import the main script",
                f"{MAIN_GUARD} or pass scheduler='threads'",
            ) from None
