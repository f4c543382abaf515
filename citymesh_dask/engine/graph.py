"""A plan as a graph of `dask.delayed` objects: the only place where tasks are made."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from .ledger import Ledger, Receipt
from .memory import measure_peak
from .plan import Plan, TaskCall


def plan_to_graph(plan: Plan, ledger: Ledger, run_id: str = "") -> dict[str, Delayed]:
    """Return one delayed object per task, by the task's key.

    A barrier task stands between a stage and those that come before it, so that the number of edges
    grows with the number of tasks, not with its square, and that Dask deals the tasks of a stage out
    to free workers: it does so only for tasks with hardly any dependencies.

    Parameters
    ----------
    plan : Plan
        The tasks.
    ledger : Ledger
        Where receipts are found and kept; travels with every task, so it must be small.
    run_id : str
        Ends the keys that Dask sees: a scheduler takes equal keys for the same task, so two runs on one
        cluster must not share any.
    """

    end = f"-{run_id}" if run_id else ""

    def named(keys: Iterable[str]) -> list[str]:
        return [f"{key}{end}" for key in keys]

    graph: dict[str, Any] = {}
    for stage in plan.stages:
        keys = [task.key for task in stage.tasks]
        before, after = (f"{side}_{stage.name}" for side in ("before", "after"))
        if stage.after:
            graph[f"{before}{end}"] = (_wait_for, named(f"after_{name}" for name in stage.after))
        for task in stage.tasks:
            needs = (before, *task.needs) if stage.after else task.needs
            graph[f"{task.key}{end}"] = (perform, ledger, task.call, named(needs))
        graph[f"{after}{end}"] = (_wait_for, named(keys or [before] * bool(stage.after)))
    # One layer for all: delayed(...) calls would give each task a layer of its own and copy all
    # layers before it, which takes 9 s for 10,000 tiles.
    layers = HighLevelGraph.from_collections("citymesh", graph)
    return {task.key: Delayed(f"{task.key}{end}", layers, layer="citymesh") for task in plan.tasks()}


def perform(ledger: Ledger, call: TaskCall, needs: Sequence[Any]) -> Receipt:
    """Do one task, or take its receipt where it is done already.

    ``needs`` is not looked at: it only orders the tasks, whose data are on disk.
    """
    del needs
    receipt = ledger.find(call.key)
    if receipt is not None:
        return receipt
    started, start = time.time(), time.perf_counter()
    try:
        with measure_peak() as memory:
            facts = call.function(*call.arguments)
    except Exception as error:
        error.add_note(task_note(call.key))  # in this process nothing else tells which task it was
        raise
    receipt = Receipt(call.key, time.perf_counter() - start, memory.peak_bytes, started, facts)
    ledger.record(receipt)
    return receipt


def task_note(key: str) -> str:
    """Return the note that an exception of a task carries."""
    return f"in task {key}"


def _wait_for(needs: Sequence[Any]) -> None:
    del needs
