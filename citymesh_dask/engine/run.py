"""The future of a whole run: it is returned at once and followed from one background thread."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import errno
import threading
import uuid
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, TypeVar

from ..errors import CityMeshError, InputError, RunError
from .cluster import Executor, Futures, TaskFailed
from .graph import plan_to_graph
from .ledger import Ledger
from .plan import Plan
from .progress import Listener, TaskDone

T = TypeVar("T")


class Run(Generic[T]):
    """A running pipeline: a future of its result.

    Parameters
    ----------
    plan : Plan
        What is done.
    ledger : Ledger
        Where the receipts of its tasks are kept.
    executor : Executor
        Where it is done; closed when the run ends.
    finish : callable
        Makes the result when all tasks are done.
    listeners : sequence of callable
        Get a `TaskDone` for every task.
    retries : int
        How often a task is tried again before it fails the run.

    Attributes
    ----------
    futures : dict of str to future
        One future per task: `distributed.Future` on a cluster, else `concurrent.futures.Future`.
    dashboard_link : str or None
        Address of the Dask dashboard.
    report : Any
        What ``finish`` put there; None until the run has ended well.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        executor: Executor,
        *,
        finish: Callable[[Run[T]], T],
        listeners: Sequence[Listener] = (),
        retries: int = 0,
    ) -> None:
        self.plan = plan
        self.report: Any = None
        self.dashboard_link = executor.dashboard_link
        self._executor = executor
        self._finish = finish
        self._listeners = tuple(listeners)
        self._result: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._cancelled = threading.Event()
        self._stage_of = {task.key: stage.name for stage in plan.stages for task in stage.tasks}
        try:
            self.futures: Futures = executor.submit(plan_to_graph(plan, ledger, uuid.uuid4().hex[:8]), retries)
        except BaseException:
            executor.close()
            raise
        self._result.set_running_or_notify_cancel()
        # After Dask's own, hence called before it: a script that ends early leaves no worker behind.
        atexit.register(self.cancel)
        self._thread = threading.Thread(target=self._follow, name="citymesh-run", daemon=True)
        self._thread.start()

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``error`` or ``cancelled``."""
        if not self._result.done():
            return "running"
        if self._cancelled.is_set():
            return "cancelled"
        return "error" if self._result.exception() else "finished"

    def done(self) -> bool:
        """Whether the run has ended, well or not."""
        return self._result.done()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result and return it; raise what the run failed with."""
        value = self._result.result(timeout)
        self._thread.join()
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return what the run failed with, or None."""
        return self._result.exception(timeout)

    def cancel(self) -> bool:
        """Stop the run; receipts of finished tasks are kept. Returns False if it has ended."""
        if self._result.done():
            return False
        self._cancelled.set()
        self._executor.cancel(self.futures)
        self._thread.join()
        return True

    def add_done_callback(self, function: Callable[[Run[T]], None]) -> None:
        """Call ``function(run)`` when the run ends, or now if it has."""
        self._result.add_done_callback(lambda _: function(self))

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.wrap_future(self._result).__await__()

    def _follow(self) -> None:
        done = 0
        total = len(self._stage_of)

        def on_done(key: str) -> None:
            nonlocal done
            done += 1
            for listener in self._listeners:
                listener(TaskDone(key, self._stage_of[key], done, total))

        try:
            self._executor.wait(self.futures, on_done)
            value = self._finish(self)
        except BaseException as error:
            failure = self._explain(error)
            try:
                self._executor.cancel(self.futures)
                self._executor.close()
            finally:
                self._result.set_exception(failure)
        else:
            self._executor.close()
            self._result.set_result(value)
        finally:
            atexit.unregister(self.cancel)

    def _explain(self, error: BaseException) -> BaseException:
        """Return what the user shall see: the bad input itself, or the task that failed and why."""
        if self._cancelled.is_set():
            return concurrent.futures.CancelledError(
                "the run was cancelled; the same command goes on from its receipts"
            )
        if isinstance(error, TaskFailed):
            if isinstance(error.error, (InputError, RunError)):
                return error.error
            return _failure(f"task {error.key}", error.error)
        if isinstance(error, CityMeshError) or not isinstance(error, (OSError, MemoryError)):
            return error
        return _failure("the end of the run", error)


def _failure(where: str, error: BaseException) -> RunError:
    """Return the error of a run for what went wrong in it, with advice for what people can change."""
    again = "run the same command again to go on from the finished tasks"
    found = str(error) if isinstance(error, CityMeshError) else f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        found, again = f"the disk is full ({error.filename or error})", f"free some room, then {again}"
    elif isinstance(error, MemoryError) or type(error).__name__ == "KilledWorker":
        again = f"allow more memory or fewer workers, then {again}; or choose smaller tiles"
    failure = RunError(where, found, advice=again)
    failure.__cause__ = error
    return failure
