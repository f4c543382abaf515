"""Where tasks run: the caller's Dask cluster, a local one of our own, or this process.

An executor takes a graph and gives one future per task; it knows nothing of what the tasks do.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing import resource_tracker
from typing import Any, Protocol

import dask
import dask.local
import dask.threaded
from dask.callbacks import Callback
from dask.delayed import Delayed
from distributed import Client, LocalCluster, as_completed

from ..errors import OptionError, RunError
from .graph import task_note
from .machine import Resources, share_resources
from .signals import signals_held_back

Futures = Mapping[str, Any]
OnDone = Callable[[str], None]

WORKER_MEMORY = {"target": 0.3, "spill": 0.4, "pause": False, "terminate": 0.95}
"""Shares of a worker's limit; with Dask's defaults results of 150 MB on 400 MB workers killed them. Workers are not
paused: what tasks leave behind is on disk, so a paused worker has nothing to give back and would wait for ever."""
_POLL_SECONDS = 0.02
_MAIN_GUARD = "put the code of the script under if __name__ == '__main__':"

STEALING_INTERVAL = "20ms"
"""Dask gives the few tasks of a short stage to one worker; by default others help it only after a second."""


class Executor(Protocol):
    """Runs a graph."""

    @property
    def dashboard_link(self) -> str | None:
        """Address of the dashboard, if there is one."""
        ...

    def submit(self, graph: Mapping[str, Delayed], retries: int) -> Futures:
        """Begin to run all tasks and return one future per key."""
        ...

    def wait(self, futures: Futures, on_done: OnDone) -> None:
        """Return when all futures are done; raise `TaskFailed` for the first that failed."""
        ...

    def cancel(self, futures: Futures) -> None:
        """Stop what has not begun."""
        ...

    def close(self) -> None:
        """Give back what the executor owns."""
        ...


class TaskFailed(Exception):
    """A task raised; carries its key, the exception is the cause."""

    def __init__(self, key: str, error: BaseException) -> None:
        self.key = key
        self.error = error
        super().__init__(key, error)


class ClusterExecutor:
    """Runs tasks on a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
        Connected client.
    cluster : distributed.LocalCluster, optional
        The cluster behind it if it is ours, to be closed with the run.
    """

    def __init__(self, client: Client, cluster: LocalCluster | None = None) -> None:
        self._client = client
        self._cluster = cluster
        self._stop = threading.Event()

    @property
    def dashboard_link(self) -> str | None:
        """Address of the cluster's dashboard."""
        link: str | None = self._client.dashboard_link
        return link

    def submit(self, graph: Mapping[str, Delayed], retries: int) -> Futures:
        """Send the graph to the scheduler; futures are held until the run ends."""
        futures = self._client.compute(list(graph.values()), optimize_graph=False, retries=retries)
        return dict(zip(graph, futures, strict=True))

    def wait(self, futures: Futures, on_done: OnDone) -> None:
        """Follow the futures as they complete."""
        names = {future.key: name for name, future in futures.items()}
        # the loop is named because the caller's client need not be Dask's default one
        completed = as_completed(futures.values(), loop=self._client.loop)
        while not completed.is_empty():
            batch = completed.next_batch(block=False)
            if self._stop.is_set():
                raise concurrent.futures.CancelledError
            for future in batch:
                name = names[future.key]
                if future.status == "error":
                    raise TaskFailed(name, future.exception())
                if future.status != "finished":
                    raise TaskFailed(name, _lost(name, future.status))
                on_done(name)
            if not batch:
                self._stop.wait(_POLL_SECONDS)

    def cancel(self, futures: Futures) -> None:
        """Cancel everything that is not done."""
        self._stop.set()
        if self._cluster is not None:
            return  # it is closed soon, with all that it does
        stages: dict[str, list[Any]] = {}
        for name, future in futures.items():
            stages.setdefault(name.rpartition("-")[0], []).append(future)
        # From the last stage to the first: the scheduler (2026.8) stumbles over barriers that nobody holds.
        with contextlib.suppress(OSError, RuntimeError):  # a scheduler that is gone has nothing to cancel
            for some in reversed(stages.values()):
                self._client.cancel(some, reason="the run was cancelled")

    def close(self) -> None:
        """Close the cluster if it is ours."""
        if self._cluster is not None:
            self._client.close()
            self._cluster.close()


def _lost(name: str, status: str) -> RunError:
    """Return the error for a task that neither ended nor failed."""
    found = f"the task was {status}: its worker or the scheduler is gone"
    return RunError(f"task {name}", found, "a cluster that lives as long as the run", "run the same command again")


class LocalExecutor:
    """Runs tasks in this process, fed from one background thread.

    Parameters
    ----------
    scheduler : {"threads", "synchronous"}
        Dask's own schedulers.
    n_workers : int
        Threads for "threads".
    """

    dashboard_link: str | None = None

    def __init__(self, scheduler: str, n_workers: int) -> None:
        self._scheduler = scheduler
        self._n_workers = n_workers
        self._graph: Mapping[str, Delayed] = {}
        self._stop = threading.Event()

    def submit(self, graph: Mapping[str, Delayed], retries: int) -> Futures:
        """Make one future per task; they are fed when `wait` runs the graph."""
        del retries  # nothing but the task itself can fail in our own process
        self._graph = graph
        return {key: concurrent.futures.Future() for key in graph}

    def wait(self, futures: Futures, on_done: OnDone) -> None:
        """Run the graph to its end, feeding the futures."""
        names = {delayed.key: name for name, delayed in self._graph.items()}

        def begin(key: Any, *_: Any) -> None:
            if self._stop.is_set():
                raise concurrent.futures.CancelledError
            if key in names:
                futures[names[key]].set_running_or_notify_cancel()

        def end(key: Any, value: Any, *_: Any) -> None:
            if key in names:
                futures[names[key]].set_result(value)
                on_done(names[key])

        try:
            with Callback(pretask=begin, posttask=end):
                self._run_graph()
        except concurrent.futures.CancelledError:
            raise
        except BaseException as error:
            raise self._failed(futures, error) from error

    def _run_graph(self) -> None:
        """Run all tasks by Dask's own schedulers; not by compute(), which looks for clusters of the user's."""
        if not self._graph:
            return
        graph = dict(next(iter(self._graph.values())).__dask_graph__())
        keys = [task.key for task in self._graph.values()]
        if self._scheduler == "threads":
            dask.threaded.get(graph, keys, num_workers=self._n_workers)
        else:
            dask.local.get_sync(graph, keys)

    def _failed(self, futures: Futures, error: BaseException) -> TaskFailed:
        """Find the task that raised by the note that its exception carries."""
        notes = getattr(error, "__notes__", [])
        key = next((k for k in futures if task_note(k) in notes), "?")
        for future in futures.values():
            if future.running():
                future.set_exception(error)
            else:
                future.cancel()
        return TaskFailed(key, error)

    def cancel(self, futures: Futures) -> None:
        """Stop before the next task begins."""
        self._stop.set()
        for future in futures.values():
            future.cancel()

    def close(self) -> None:
        """Nothing to give back."""


def local_cluster(
    *, n_workers: int, worker_bytes: int, local_directory: str | None = None
) -> tuple[Client, LocalCluster]:
    """Start a memory-limited local cluster: spawned processes, one thread each, on loopback.

    Raises
    ------
    RunError
        If the workers do not start, which most often means a script without a main guard.
    """
    check_main_guard()
    if hasattr(resource_tracker, "ensure_running"):
        resource_tracker.ensure_running()  # it lets SIGINT through in the thread that begins it, so not below
    cluster = client = None
    try:
        with signals_held_back():
            cluster = _started(n_workers=n_workers, worker_bytes=worker_bytes, local_directory=local_directory)
            client = Client(cluster)
    except BaseException:  # an interruption among them
        for opened in (client, cluster):
            if opened is not None:
                opened.close()
        raise
    return client, cluster


def _started(*, n_workers: int, worker_bytes: int, local_directory: str | None) -> LocalCluster:
    memory = {f"distributed.worker.memory.{name}": share for name, share in WORKER_MEMORY.items()}
    with dask.config.set({**memory, "distributed.scheduler.work-stealing-interval": STEALING_INTERVAL}):
        try:
            return LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=worker_bytes,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                local_directory=local_directory,
                silence_logs=50,
            )
        except (RuntimeError, OSError) as error:
            raise RunError(
                "local cluster",
                f"its workers did not start ({error.__cause__ or error})",
                "worker processes that can import the main script",
                f"{_MAIN_GUARD} or pass scheduler='threads'",
            ) from None


def check_main_guard() -> None:
    """Refuse to work in a process that is still importing the main script of its parent.

    A script without a main guard begins the same run in each of its worker processes.

    Raises
    ------
    RunError
        In such a process; its traceback is cut, as the parent says the same again.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.tracebacklimit = 0
        found = "its worker processes, which import it, begin the run again"
        raise RunError("the main script", found, "a main guard", _MAIN_GUARD)


def connect_address(address: str, timeout_seconds: float = 10.0) -> Client:
    """Return a client of a running scheduler.

    Raises
    ------
    OptionError
        If the text is no address.
    RunError
        If nothing answers at the address in time.
    """
    where, advice = f"scheduler {address}", "check the address and that 'dask scheduler' runs there"
    try:
        # A client makes itself the scheduler of everything in this process before it connects, and leaves that
        # behind where it cannot: the first one only asks.
        Client(address, timeout=timeout_seconds, set_as_default=False).close()
        return Client(address, timeout=timeout_seconds)
    except (OSError, AssertionError) as error:  # the latter for a name that no server knows
        found = f"no answer within {timeout_seconds:g} s"
        raise RunError(where, found, "a running Dask scheduler", advice) from error
    except ValueError as error:
        raise OptionError(where, str(error), "an address such as tcp://10.0.0.1:8786", advice) from error


def cluster_resources(client: Client) -> Resources | None:
    """Return what the workers of a running cluster may use; None where it has none yet."""
    workers = client.scheduler_info()["workers"].values()
    limits = [(int(worker["nthreads"]), int(worker["memory_limit"] or 0)) for worker in workers]
    return share_resources(limits) if limits else None


def check_scheduler_name(scheduler: str) -> None:
    """Refuse a scheduler that does not exist."""
    names = ("processes", "threads", "synchronous")
    if scheduler not in names:
        raise OptionError("option scheduler", repr(scheduler), f"one of {', '.join(names)}")
