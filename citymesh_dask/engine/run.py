"""The future of a whole run: it is returned at once and followed from one background thread.

A run goes in rounds. A round submits all tasks that are left and follows them. Tasks that memory was short for do not
stop the others; when the round is through they are done once more, one after the other and alone. What fails for good
is the business of the pipeline (`Recovery`): it may plan anew without it, and the next round goes on.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import itertools
import logging
import threading
import uuid
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from ..errors import CityMeshError, RunError
from .events import Event, Listener, PlanChanged, TaskDone, TaskTrouble, Waiting
from .executor import Executor, Futures
from .failures import Failure, NoRecovery, Recovery, failed_run, foremost, own_failures
from .graph import plan_to_graph
from .ledger import Ledger, Receipt
from .plan import Plan, Stage, TaskCall

T = TypeVar("T")
_log = logging.getLogger(__name__)
_MOST_IDLE_ROUNDS = 3
"""So many rounds without any progress may follow one another: workers that die while nothing of ours runs there."""


class Run(Generic[T]):
    """A running pipeline: a future of its result.

    Parameters
    ----------
    plan : Plan
        What is done.
    ledger : Ledger
        Where the receipts of its tasks are kept.
    executor : Executor
        Where it is done; closed when all tasks are done, or the run has failed.
    finish : callable
        Makes the result when all tasks are done.
    listeners : sequence of callable
        Get a `TaskDone` for every task, and what else happens.
    retries : int
        How often a task is tried again before it fails for good.
    recovery : Recovery, optional
        What is done about tasks that fail for good; without one they fail the run.
    name : str
        Begins the last part of the keys that Dask sees; made up if not given.
    again : str
        What to do to go on with the run when it has been stopped, for messages.

    Attributes
    ----------
    plan : Plan
        The plan of the present round.
    futures : dict of str to future
        One future per task: `distributed.Future` on a cluster, else `concurrent.futures.Future`. A task that is
        submitted again gets another one.
    troubles : list of TaskTrouble
        Tasks that failed without failing the run, in the order in which it happened.
    dashboard_link : str or None
        Address of the Dask dashboard.
    page_link : str or None
        Address of the run's own page on it, where there is one.
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
        recovery: Recovery | None = None,
        name: str = "",
        again: str = "",
    ) -> None:
        self.plan = plan
        self.report: Any = None
        self.troubles: list[TaskTrouble] = []
        self.futures: dict[str, Any] = {}
        self.dashboard_link = executor.dashboard_link
        self.page_link: str | None = None
        self._again = again or _AGAIN
        self._ledger = ledger
        self._executor = executor
        self._finish = finish
        self._listeners = tuple(listeners)
        self._retries = retries
        self._name, self._rounds = name or uuid.uuid4().hex[:8], itertools.count(1)
        self._recovery = recovery or NoRecovery()
        self._result: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._cancelled = threading.Event()
        self._done: dict[str, TaskCall] = {}
        try:
            submitted = self._submit(plan)
        except BaseException:
            executor.close()
            raise
        self._result.set_running_or_notify_cancel()
        # After Dask's own, hence called before it: a script that ends early leaves no worker behind.
        atexit.register(self.cancel)
        self._thread = threading.Thread(target=self._follow, args=(submitted,), name="citymesh-run", daemon=True)
        self._thread.start()

    @property
    def in_process(self) -> bool:
        """Whether the tasks work in this process."""
        return self._executor.in_process

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``error`` or ``cancelled``."""
        if not self._result.done():
            return "running"
        error = self._result.exception()
        if isinstance(error, concurrent.futures.CancelledError):
            return "cancelled"
        return "error" if error else "finished"

    def done(self) -> bool:
        """Whether the run has ended, well or not."""
        return self._result.done()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result and return it; raise what the run failed with."""
        try:
            return self._result.result(timeout)
        finally:
            self._see_off()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return what the run failed with, or None."""
        try:
            return self._result.exception(timeout)
        finally:
            self._see_off()

    def _see_off(self) -> None:
        """Wait for the functions that are called at the end; they may ask for the result themselves."""
        if self._result.done() and threading.current_thread() is not self._thread:
            self._thread.join()

    def cancel(self) -> bool:
        """Stop the run; receipts of finished tasks are kept. Returns False if it had ended, or came to its end."""
        if self._result.done():
            self._see_off()
            return False
        self._cancelled.set()
        self._executor.cancel(self.futures)
        self._thread.join()
        return self.status == "cancelled"

    def raise_if_cancelled(self) -> None:
        """Raise `concurrent.futures.CancelledError` after `cancel`; for a ``finish`` that takes long."""
        if self._cancelled.is_set():
            raise concurrent.futures.CancelledError

    def add_done_callback(self, function: Callable[[Run[T]], None]) -> None:
        """Call ``function(run)`` when the run ends, or now if it has."""
        self._result.add_done_callback(lambda _: function(self))

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.wrap_future(self._result).__await__()

    def _follow(self, submitted: Futures) -> None:
        """Follow the run to its end, which comes whatever goes wrong on the way."""
        try:
            self._work(submitted)
            self.raise_if_cancelled()
            # Before the end is made: the picture of the report takes the memory that idle workers would hold.
            self._give_back(self._executor.close)
            value = self._finish(self)
        except BaseException as error:
            failure = self._explained(error)
            self._give_back(lambda: self._executor.cancel(self.futures))
            self._give_back(self._executor.close)
            self._result.set_exception(failure)
        else:
            self._result.set_result(value)
        finally:
            atexit.unregister(self.cancel)

    def _give_back(self, step: Callable[[], None]) -> None:
        """Take a step to the end of the executor; where it cannot be taken the result is what it is."""
        try:
            step()
        except Exception as error:
            _log.warning("what the run worked on could not be closed: %s: %s", type(error).__name__, error)

    def _work(self, submitted: Futures) -> None:
        """Do all tasks, in as many rounds as that takes."""
        idle = 0
        while True:
            before = len(self._done)
            failures = self._round(self.plan, submitted)
            failures = [f for f in failures if not f.for_memory] + self._alone([f for f in failures if f.for_memory])
            if failures:
                self._replan(failures)
            elif len(self._done) == before:
                idle += 1
                if idle == _MOST_IDLE_ROUNDS:
                    raise RunError(
                        "the run", f"nothing was finished in {idle} rounds", "workers that live", self._again
                    )
            rest = self._rest()
            if not any(stage.tasks for stage in rest.stages):
                return
            submitted = self._submit(rest)

    def _submit(self, plan: Plan) -> Futures:
        """Submit tasks under keys that no earlier round used."""
        graph = plan_to_graph(plan, self._ledger, run_id=f"{self._name}{next(self._rounds):02d}", retries=self._retries)
        futures = self._executor.submit(graph)
        self.futures = {**self.futures, **futures}
        return futures

    def _round(self, plan: Plan, futures: Futures) -> list[Failure]:
        """Follow some tasks to their end; return those that failed by themselves and not through another.

        Raises what the run fails with after a failure that stops it.
        """
        calls = {task.key: (stage.name, task.call) for stage in plan.stages for task in stage.tasks}
        total = sum(len(stage.tasks) for stage in self.plan.stages)
        errors: dict[str, BaseException] = {}
        go_on = True

        def on_end(key: str, receipt: Receipt | None, error: BaseException | None) -> bool:
            nonlocal go_on
            stage, call = calls[key]
            if error is None:
                self._done[key] = call
                self._tell_done(key, stage, total, receipt)
            else:
                errors[key] = error
                failure = Failure(key, stage, error)
                stops = not failure.for_memory and not isinstance(error, concurrent.futures.CancelledError)
                go_on = go_on and not (stops and failure.is_own and not self._recovery.goes_on(failure))
            return go_on

        self._executor.wait(futures, on_end, lambda what: self._tell(Waiting(what)))
        self.raise_if_cancelled()
        failures = own_failures(plan, errors)
        if not go_on:
            raise _Stopped(foremost(failures))
        return failures

    def _tell_done(self, key: str, stage: str, total: int, receipt: Receipt | None) -> None:
        for cause in receipt.facts.get("failed_before", ()) if receipt else ():
            self._tell_trouble(TaskTrouble(key, stage, "retried", cause))
        self._tell(TaskDone(key, stage, len(self._done), total, receipt))

    def _tell_trouble(self, trouble: TaskTrouble) -> None:
        self.troubles.append(trouble)
        self._tell(trouble)

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)

    def _alone(self, failures: Sequence[Failure]) -> list[Failure]:
        """Do tasks that memory was short for once more, one after the other; return those that fail again."""
        left: list[Failure] = []
        if not failures:
            return left
        stages = {stage.name: stage for stage in self.plan.stages}
        with self._executor.alone():
            for failure in failures:
                self.raise_if_cancelled()
                self._tell_trouble(TaskTrouble(failure.key, failure.stage, "alone", failure.cause))
                stage = stages[failure.stage]
                task = next(task for task in stage.tasks if task.key == failure.key)
                plan = replace(self.plan, stages=(replace(stage, tasks=(replace(task, needs=()),), after=()),))
                left += self._round(plan, self._submit(plan))
        return left

    def _replan(self, failures: Sequence[Failure]) -> None:
        """Go on without what failed for good, or raise."""
        change = self._recovery.replan(failures)
        if isinstance(change, Failure):
            raise _Stopped(change)
        for trouble in change.troubles:
            self._tell_trouble(trouble)
        self.plan = change.plan
        calls = {task.key: task.call for task in self.plan.tasks()}
        again = {key for key, call in self._done.items() if calls.get(key) != call}
        for key in again:
            del self._done[key]
        self._tell(PlanChanged(self.plan.stages, frozenset(self._done)))

    def _rest(self) -> Plan:
        """Return what is left of the plan."""

        def left(stage: Stage) -> Stage:
            tasks = (task for task in stage.tasks if task.key not in self._done)
            needed = (replace(t, needs=tuple(key for key in t.needs if key not in self._done)) for t in tasks)
            return replace(stage, tasks=tuple(needed))

        return replace(self.plan, stages=tuple(left(stage) for stage in self.plan.stages))

    def _explained(self, error: BaseException) -> BaseException:
        """Do the same as `_explain`, without what cannot be found out any more: the scratch folder may be gone."""
        try:
            return self._explain(error)
        except Exception:
            if isinstance(error, _Stopped):
                return NoRecovery().explain(error.failure)
            return error

    def _explain(self, error: BaseException) -> BaseException:
        """Return what the user shall see: the bad input itself, or the task that failed and why."""
        if self._cancelled.is_set():
            return concurrent.futures.CancelledError(f"the run was cancelled; {self._again}")
        if isinstance(error, _Stopped):
            return self._recovery.explain(error.failure)
        if isinstance(error, CityMeshError) or not isinstance(error, (OSError, MemoryError)):
            return error
        return failed_run("the end of the run", error, self._again)


_AGAIN = "run the same command again to go on from the finished tasks"


class _Stopped(Exception):
    """A task failed, and with it the run."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure)
