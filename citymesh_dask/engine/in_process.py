"""Running tasks in this process, by Dask's own schedulers."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dask.local
import dask.threaded
from dask.callbacks import Callback
from dask.delayed import Delayed

from .executor import Futures, OnEnd, Tell


@dataclass(frozen=True)
class _Failed:
    """What stands for the result of a task that failed, or that needs one."""

    error: BaseException


class LocalExecutor:
    """Runs tasks in this process, fed from one background thread.

    Parameters
    ----------
    scheduler : {"threads", "synchronous"}
        Dask's own schedulers.
    n_workers : int
        Threads for "threads".
    """

    in_process = True
    dashboard_link: str | None = None

    def __init__(self, scheduler: str, n_workers: int) -> None:
        self._scheduler = scheduler
        self._n_workers = n_workers
        self._graph: Mapping[str, Delayed] = {}
        self._stop = threading.Event()

    def submit(self, graph: Mapping[str, Delayed]) -> Futures:
        """Make one future per task; they are fed when `wait` runs the graph."""
        self._graph = graph
        return {key: concurrent.futures.Future() for key in graph}

    def wait(self, futures: Futures, on_end: OnEnd, tell: Tell) -> None:
        """Run the graph to its end, feeding the futures; after `cancel` to that of the tasks that run."""
        del tell  # threads do not leave
        names = {delayed.key: name for name, delayed in self._graph.items()}
        draining = threading.Event()

        def begin(key: Any, *_: Any) -> None:
            if self._stop.is_set():
                raise concurrent.futures.CancelledError
            if key in names and not draining.is_set():
                futures[names[key]].set_running_or_notify_cancel()

        def end(key: Any, value: Any, *_: Any) -> None:
            if key not in names:
                return
            future, error = futures[names[key]], value.error if isinstance(value, _Failed) else None
            if not future.running():  # it never began
                future.cancel()
                return
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
            if not on_end(names[key], None if error else value, error):
                draining.set()

        with Callback(pretask=begin, posttask=end):
            self._run_graph(draining)

    def _run_graph(self, draining: threading.Event) -> None:
        """Run all tasks by Dask's own schedulers; not by compute(), which looks for clusters of the user's."""
        if not self._graph:
            return
        whole = dict(next(iter(self._graph.values())).__dask_graph__())
        graph = {key: (_guarded, draining, *task) for key, task in whole.items()}
        keys = [task.key for task in self._graph.values()]
        if self._scheduler == "threads":
            pool = concurrent.futures.ThreadPoolExecutor(self._n_workers)
            try:
                dask.threaded.get(graph, keys, pool=pool)
            finally:  # Dask does not wait: what runs would go on, and write, when the run has ended
                pool.shutdown(cancel_futures=True)
        else:
            dask.local.get_sync(graph, keys)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Work with one thread."""
        before, self._n_workers = self._n_workers, 1
        yield
        self._n_workers = before

    def cancel(self, futures: Futures) -> None:
        """Stop before the next task begins."""
        self._stop.set()
        for future in futures.values():
            future.cancel()

    def close(self) -> None:
        """Nothing to give back."""


def _guarded(draining: threading.Event, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the graph, some of whose arguments are results; a failure is a result, too: others go on."""
    for argument in arguments:
        if isinstance(argument, _Failed):
            return argument
    if draining.is_set():
        return _Failed(concurrent.futures.CancelledError())
    try:
        return function(*arguments)
    except Exception as error:
        return _Failed(error)
