"""A plan as a graph of `dask.delayed` objects: the only place where tasks are made."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from .failures import let_go, may_succeed_again, peak_note, shorten, task_note
from .ledger import Ledger, Receipt
from .memory import FreedMemory, measure_peak
from .plan import Plan, TaskCall
from .remote import this_worker

MOST_AWAITED = 128
"""A barrier waits for so many tasks at most, so that it stays small and no worker gathers all receipts."""


def plan_to_graph(plan: Plan, ledger: Ledger, *, run_id: str = "", retries: int = 0) -> dict[str, Delayed]:
    """Return one delayed object per task, by the task's key.

    A barrier stands between a stage and those that come before it, so that the number of edges grows
    with the number of tasks, not with its square, and that Dask deals the tasks of a stage out to free
    workers: it does so only for tasks with hardly any dependencies.

    Parameters
    ----------
    plan : Plan
        The tasks.
    ledger : Ledger
        Where receipts are found and kept; travels with every task, so it must be small.
    run_id : str
        Ends the keys that Dask sees: a scheduler takes equal keys for the same task, so two runs on one
        cluster must not share any.
    retries : int
        How often a task that fails is tried again before it fails for good.
    """
    end = f"-{run_id}" if run_id else ""
    awaited = {name for stage in plan.stages for name in stage.after}
    graph: dict[str, Any] = {}
    persistent = Persistent(ledger, retries)
    for stage in plan.stages:
        before = f"before_{stage.name}{end}"
        if stage.after:
            graph |= _barrier(before, [f"after_{name}{end}" for name in stage.after])
        for task in stage.tasks:
            needs = [before] * bool(stage.after) + [f"{key}{end}" for key in task.needs]
            graph[f"{task.key}{end}"] = (persistent, task.call, *needs)  # a list would be a node of the graph
        if stage.name in awaited:
            keys = [f"{task.key}{end}" for task in stage.tasks]
            graph |= _barrier(f"after_{stage.name}{end}", keys or [before] * bool(stage.after))
    # One layer for all: delayed(...) calls would give each task a layer of its own and copy all
    # layers before it, which takes 9 s for 10,000 tiles.
    layers = HighLevelGraph.from_collections("citymesh", graph)
    return {task.key: Delayed(f"{task.key}{end}", layers, layer="citymesh") for task in plan.tasks()}


def _barrier(name: str, keys: list[str]) -> dict[str, Any]:
    """Return the task ``name`` that is done when all keys are, and those in between where there are many."""
    graph: dict[str, Any] = {}
    while len(keys) > MOST_AWAITED:
        starts = range(0, len(keys), MOST_AWAITED)
        graph |= {f"{name}-{len(graph) + k}": (_wait_for, *keys[s : s + MOST_AWAITED]) for k, s in enumerate(starts)}
        keys = list(graph)[-len(starts) :]
    graph[name] = (_wait_for, *keys)
    return graph


@dataclass(frozen=True)
class Persistent:
    """Does one task, a few times over where it fails and trying again may help; see `perform`.

    Every scheduler tries again in the same way: in the task itself. What failed before it went well is told in
    the fact ``failed_before`` of the receipt that is returned, not in the one that is kept.

    Parameters
    ----------
    ledger : Ledger
        Where receipts are found and kept.
    retries : int
        How often a task is tried again.
    """

    ledger: Ledger
    retries: int

    def __call__(self, call: TaskCall, *needs: Any) -> Receipt:
        failed: list[str] = []
        while True:
            try:
                receipt = perform(self.ledger, call, needs)
            except Exception as error:
                if len(failed) >= self.retries or not may_succeed_again(error):
                    error.add_note(peak_note())
                    shorten(error)
                    let_go(error)
                    raise
                failed.append(f"{type(error).__name__}: {error}")
            else:
                return replace(receipt, facts={**receipt.facts, "failed_before": failed}) if failed else receipt


_freed = FreedMemory()
"""Of this process."""


def perform(ledger: Ledger, call: TaskCall, needs: Sequence[Any]) -> Receipt:
    """Do one task, or take its receipt where it is done already.

    ``needs`` is not looked at: it only orders the tasks, whose data are on disk.
    """
    del needs
    try:
        receipt = ledger.find(call)
        if receipt is not None:
            return receipt
        _freed.give_back_before(call.function)
        started, start = time.time(), time.perf_counter()
        with ledger.watching(call):
            with measure_peak() as memory:
                facts = call.function(*call.arguments)
            spent = time.perf_counter() - start
            receipt = Receipt(call.key, spent, memory.peak_bytes, started, facts, worker=this_worker())
            ledger.record(receipt)
    except Exception as error:
        error.add_note(task_note(call.key))  # in this process nothing else tells which task it was
        raise
    return receipt


def _wait_for(*needs: Any) -> None:
    del needs
