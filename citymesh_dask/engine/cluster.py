"""Running tasks on a Dask cluster: the caller's, or our own (`local_cluster`). This process is in `in_process`."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dask
from dask.delayed import Delayed
from distributed import Client, LocalCluster, Worker
from distributed.comm import CommClosedError

from ..errors import RunError
from .data_limit import set_worker_limit
from .executor import Futures, OnEnd, Tell
from .ledger import Receipt
from .local_cluster import close_cluster, worker_settings
from .memory import SHARED_BYTES, give_back
from .remote import answer_of, is_closed, scheduler_address
from .signals import undisturbed
from .time_limits import TimeLimits
from .worker_watch import WorkerWatch

_POLL_SECONDS = 0.02
_POLL_PAUSE = 30
"""So many times as long as a look at all futures takes is waited until the next."""
_MOST_PAUSE_SECONDS = 1.0
"""But no longer than this, however many there are."""
_SCALE_SECONDS = 60.0
_LARGE_GRAPH = {"distributed.admin.large-graph-warning-threshold": "1GB"}
"""Dask warns from 10 MB on that data are in the graph. Here each task has 170 bytes, and there may be 100,000."""


class ClusterExecutor:
    """Runs tasks on a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
        Connected client.
    cluster : distributed.LocalCluster, optional
        The cluster behind it if it is ours, to be closed with the run.
    time_limits : TimeLimits, optional
        How long tasks may run; for ever where nothing is said.
    """

    in_process = False

    def __init__(
        self, client: Client, cluster: LocalCluster | None = None, time_limits: TimeLimits | None = None
    ) -> None:
        self._client = client
        self._address = scheduler_address(client)
        self._cluster = cluster
        self._limits = [] if cluster is None else self._worker_limits()
        self._reduced = False
        self._watch = WorkerWatch(client, cluster, time_limits or TimeLimits(0))
        self._stop = threading.Event()

    @property
    def client(self) -> Client:
        """The client."""
        return self._client

    @property
    def dashboard_link(self) -> str | None:
        """Address of the cluster's dashboard."""
        link: str | None = self._client.dashboard_link
        return link

    def submit(self, graph: Mapping[str, Delayed]) -> Futures:
        """Send the graph to the scheduler; futures are held until the run ends."""
        if self._reduced:
            self._restore()
        try:
            with dask.config.set(_LARGE_GRAPH):
                futures = self._client.compute(list(graph.values()), optimize_graph=False)
        except Exception as error:
            if is_closed(self._client):
                raise _lost(self._address) from error
            raise
        return dict(zip(graph, futures, strict=True))

    def wait(self, futures: Futures, on_end: OnEnd, tell: Tell) -> None:
        """Follow the futures as they complete."""
        names = {future.key: name for name, future in futures.items()}
        pending = list(futures.values())
        self._watch.begin(names, tell)
        graph_is_held_twice = True
        while pending:
            # Not by as_completed, which keeps a coroutine for each future: 100,000 tiles have as many.
            began = time.perf_counter()
            by_status: dict[str, list[Any]] = {}
            for future in pending:
                by_status.setdefault(future.status, []).append(future)
            looked = time.perf_counter() - began
            if self._stop.is_set():
                raise concurrent.futures.CancelledError
            # what was lost with its worker is made again
            pending = [*by_status.pop("pending", []), *by_status.pop("lost", [])]
            if by_status.keys() - {"finished", "error"}:
                raise _lost(self._address)
            try:
                go_on = self._tell(by_status, names, on_end)
                if by_status:
                    self._watch.something_ended()
                    if graph_is_held_twice:  # until the scheduler has made its own of it, which is what it begins with
                        give_back()
                        graph_is_held_twice = False
                if pending and go_on:
                    self._watch.look()
            except (concurrent.futures.CancelledError, CommClosedError) as error:
                if self._stop.is_set():
                    raise
                raise _lost(self._address) from error  # a scheduler that dies closes its connection, or cancels
            if not go_on:
                self._drain(futures)
                return
            if pending:
                self._stop.wait(min(max(_POLL_SECONDS, _POLL_PAUSE * looked), _MOST_PAUSE_SECONDS))

    def _tell(self, by_status: Mapping[str, Sequence[Any]], names: Mapping[str, str], on_end: OnEnd) -> bool:
        """Tell of a batch of futures; return whether to go on."""
        futures = [*by_status.get("finished", ()), *by_status.get("error", ())]
        if not futures:
            return True
        finished = len(by_status.get("finished", ()))
        outcomes = answer_of(self._client, lambda: _outcomes(self._client, futures, finished), self._look_around)
        go_on = True
        for future, (receipt, error) in zip(futures, outcomes, strict=True):
            name = names[future.key]
            if error is not None:
                self._watch.explain(name, error)
            go_on = on_end(name, receipt, error) and go_on  # every one of them, whatever is said of the first
        return go_on

    def _look_around(self) -> None:
        """Look whether an answer can still come."""
        if self._stop.is_set():
            raise concurrent.futures.CancelledError
        self._watch.look()

    def _drain(self, futures: Futures) -> None:
        """Begin nothing more and wait for what runs, so that its receipts are kept; not for what never ends."""
        ending = next((future.key.removeprefix(name) for name, future in futures.items()), "")
        end = time.monotonic() + self._watch.longest_seconds()
        self._cancel(futures)

        def look_at_clock() -> None:
            if self._stop.is_set():
                raise concurrent.futures.CancelledError
            if time.monotonic() > end:
                raise TimeoutError

        def count() -> int:
            return sum(self._client.run(_count_running, ending, on_error="ignore").values())

        with contextlib.suppress(OSError, RuntimeError):
            while answer_of(self._client, count, look_at_clock):
                look_at_clock()
                self._stop.wait(_POLL_SECONDS)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep one worker of our own cluster, and give it what all had together; leave other clusters as they are."""
        count = len(self._limits)
        if count < 2:
            yield
            return
        self._await_workers(count)  # those that died are started again
        self._scale(1)
        self._limit_workers(sum(self._limits) - (count - 1) * SHARED_BYTES)
        self._reduced = False
        try:
            yield
        finally:
            self._reduced = True  # undone where there is more to do

    def _restore(self) -> None:
        """Have all workers again, with the memory that they had."""
        self._reduced = False
        self._await_workers(1)
        self._limit_workers(self._limits[0])
        self._scale(len(self._limits))

    def _worker_limits(self) -> list[int]:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return [int(worker["memory_limit"]) for worker in workers]

    def _scale(self, count: int) -> None:
        """Have so many workers; results move to those that stay."""
        if self._cluster is not None:
            # new workers take what is set when they are made
            with worker_settings(n_workers=count, worker_bytes=self._limits[0]):
                self._cluster.scale(count)
                self._await_workers(count)

    def _await_workers(self, count: int) -> None:
        end = time.monotonic() + _SCALE_SECONDS
        while len(self._worker_limits()) != count and time.monotonic() < end:
            if self._stop.wait(_POLL_SECONDS):
                raise concurrent.futures.CancelledError

    def _limit_workers(self, worker_bytes: int) -> None:
        for nanny in (True, False):  # the nanny keeps a limit, too, also for a worker that it starts again
            self._client.run(set_worker_limit, worker_bytes, nanny=nanny)

    def cancel(self, futures: Futures) -> None:
        """Cancel everything that is not done."""
        self._stop.set()
        if self._cluster is None:  # else it is closed soon, with all that it does
            self._cancel(futures)

    def _cancel(self, futures: Futures) -> None:
        stages: dict[str, list[Any]] = {}
        for name, future in futures.items():
            stages.setdefault(name.rpartition("-")[0], []).append(future)
        # From the last stage to the first: the scheduler (2026.8) stumbles over barriers that nobody holds.
        with contextlib.suppress(Exception):  # a scheduler that is gone, or a closed client, has nothing to cancel
            for some in reversed(stages.values()):
                answer_of(self._client, functools.partial(self._client.cancel, some, reason="the run was cancelled"))

    def close(self) -> None:
        """Close the cluster if it is ours."""
        cluster = self._cluster
        if cluster is not None:
            undisturbed(lambda: close_cluster(self._client, cluster))


def _outcomes(
    client: Client, futures: Sequence[Any], finished: int
) -> list[tuple[Receipt | None, BaseException | None]]:
    """Return receipts or errors; the first futures are finished. What was lost with its worker is waited for."""
    try:
        receipts = client.gather(futures[:finished]) if finished else []
    except Exception:  # one of them was lost, and failed when it was made again
        receipts, finished = [], 0
    return [(receipt, None) for receipt in receipts] + [_outcome(future) for future in futures[finished:]]


def _outcome(future: Any) -> tuple[Receipt | None, BaseException | None]:
    """Return receipt or error of a task; what is raised is no error of the task but of the cluster."""
    try:
        if future.exception() is None:
            return future.result(), None
    except Exception:
        if future.status != "error":  # with its receipt it was lost, and failed when it was made again
            raise
    error = future.exception()
    if error is None:  # the scheduler has gone in between
        raise concurrent.futures.CancelledError
    return None, error


def _count_running(ending: str, dask_worker: Worker) -> int:
    """Return at how many tasks a worker works whose keys have some ending, cancelled ones included."""
    return sum(str(state.key).endswith(ending) for state in dask_worker.state.all_running_tasks)


def _lost(address: str) -> RunError:
    """Return the error for tasks that neither ended nor failed: nobody but their cluster can have done that."""
    found = "its tasks are lost: the scheduler is gone, or its client was closed"
    again = "run the same command again, with a scheduler that is there, to go on from the finished tasks"
    return RunError(f"scheduler {address}", found, "a cluster that lives as long as the run", again)
