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

    A barrier task stands between a stage and those that come after it, so that the number of edges
    grows with the number of tasks, not with its square.

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

    def named(keys: Iterable[str]) -> list[str]:
        return [f"{key}-{run_id}" if run_id else key for key in keys]

    graph: dict[str, Any] = {}
    for stage in plan.stages:
        before = [f"after_{name}" for name in stage.after]
        keys = [task.key for task in stage.tasks]
        for key, task in zip(named(keys), stage.tasks, strict=True):
            graph[key] = (perform, ledger, task.call, named([*before, *task.needs]))
        (barrier,) = named([f"after_{stage.name}"])
        graph[barrier] = (_wait_for, named(keys or before))
    # One layer for all: delayed(...) calls would give each task a layer of its own and copy all
    # layers before it, which takes 9 s for 10,000 tiles.
    layers = HighLevelGraph.from_collections("citymesh", graph)
    keys = [task.key for task in plan.tasks()]
    return {key: Delayed(name, layers, layer="citymesh") for key, name in zip(keys, named(keys), strict=True)}


def perform(ledger: Ledger, call: TaskCall, needs: Sequence[Any]) -> Receipt:
    """Do one task, or take its receipt where it is done already.

    ``needs`` is not looked at: it only orders the tasks, whose data are on disk.
    """
    del needs
    receipt = ledger.find(call.key)
    if receipt is not None:
        return receipt
    started, start = time.time(), time.perf_counter()
    with measure_peak() as memory:
        facts = call.function(*call.arguments)
    receipt = Receipt(call.key, time.perf_counter() - start, memory.peak_bytes, started, facts)
    ledger.record(receipt)
    return receipt


def _wait_for(needs: Sequence[Any]) -> None:
    del needs
