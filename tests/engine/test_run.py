"""Runs on every scheduler: the engine is tested with integers, it knows nothing else."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import json
import os
import pickle
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client, as_completed

from citymesh_dask.engine.cluster import ClusterExecutor
from citymesh_dask.engine.executor import Executor
from citymesh_dask.engine.failures import Failure, NoRecovery
from citymesh_dask.engine.graph import plan_to_graph
from citymesh_dask.engine.in_process import LocalExecutor
from citymesh_dask.engine.local_cluster import local_cluster
from citymesh_dask.engine.plan import Plan, Reduction, Stage, Task, TaskCall, numbered_stage
from citymesh_dask.engine.progress import TaskDone
from citymesh_dask.engine.remote import cluster_resources
from citymesh_dask.engine.run import Run
from citymesh_dask.errors import InputError, RunError
from citymesh_dask.store.manifest import ReceiptFolder


def nap(folder: str, index: int) -> dict[str, Any]:
    time.sleep(0.02)
    return {}


def test_a_running_cluster_tells_what_a_run_may_use(cluster: Any) -> None:
    resources = cluster_resources(cluster)
    assert resources is not None and (resources.n_workers, resources.worker_bytes) == (2, 1 << 30)


def test_a_client_that_is_not_the_default_one_will_do(cluster: Any, tmp_path: Path) -> None:
    with Client(cluster.scheduler.address, set_as_default=False) as other:
        plan = Plan((numbered_stage("square", square, 3, arguments=(str(tmp_path),)),), 1 << 30, 2)
        run = Run(plan, ReceiptFolder(str(tmp_path / "receipts")), ClusterExecutor(other), finish=lambda run: 7)
        assert run.result(60) == 7


def square(folder: str, index: int) -> dict[str, Any]:
    (Path(folder) / f"square-{index}").write_text(str(index**2))
    with open(Path(folder) / "calls", "a") as file:
        file.write("s")
    return {"index": index}


def add(folder: str, level: int, index: int, children: tuple[int, int]) -> dict[str, Any]:
    names = [f"square-{c}" if level == 1 else f"sum-{level - 1}-{c}" for c in range(*children)]
    total = sum(int((Path(folder) / name).read_text()) for name in names)
    (Path(folder) / f"sum-{level}-{index}").write_text(str(total))
    with open(Path(folder) / "calls", "a") as file:
        file.write("a")
    return {}


def fail(folder: str, index: int) -> dict[str, Any]:
    if index == 2:
        raise ZeroDivisionError("two is not allowed")
    return {}


def count_squares(folder: str, index: int) -> dict[str, Any]:
    return {"squares": len(list(Path(folder).glob("square-*")))}


def bad_input(folder: str, index: int) -> dict[str, Any]:
    raise InputError("cloud.laz", "truncated", "a whole file", "copy it again")


def slow(folder: str, index: int) -> dict[str, Any]:
    time.sleep(0.2)
    return {}


def sum_plan(folder: Path, count: int) -> Plan:
    leaves = numbered_stage("square", square, count, arguments=(str(folder),))
    levels = Reduction(leaves, add, (str(folder),), fan_in=3).stages("add")
    return Plan((leaves, *levels), 1 << 30, 2)


def ledger(folder: Path) -> ReceiptFolder:
    return ReceiptFolder(str(folder / "receipts"))


def test_tree_reduction_gives_the_sum(tmp_path: Path, executor: Executor) -> None:
    plan = sum_plan(tmp_path, 20)
    events: list[TaskDone] = []
    run = Run(plan, ledger(tmp_path), executor, finish=lambda r: "end", listeners=[events.append])
    assert run.result(60) == "end"
    assert (tmp_path / "sum-3-0").read_text() == str(sum(i * i for i in range(20)))
    assert run.status == "finished"
    assert len(events) == 20 + 7 + 3 + 1
    assert events[-1].done == events[-1].total == len(events)
    assert run.futures["square-0003"].result().facts == {"index": 3}


def test_second_run_takes_receipts_and_does_no_work(tmp_path: Path, executor: Executor) -> None:
    plan = sum_plan(tmp_path, 9)
    Run(plan, ledger(tmp_path), executor, finish=lambda r: None).result(60)
    calls = (tmp_path / "calls").read_text()
    assert sorted(calls) == sorted("s" * 9 + "a" * 4)
    # a receipt that is gone, and one that was cut in the middle, are done again: no other
    (tmp_path / "receipts" / "square-0004.json").unlink()
    cut = tmp_path / "receipts" / "square-0007.json"
    cut.write_text(cut.read_text()[:20])
    again = LocalExecutor("synchronous", 1)
    Run(plan, ledger(tmp_path), again, finish=lambda r: None).result(60)
    assert len((tmp_path / "calls").read_text()) == len(calls) + 2


def test_a_stage_waits_for_all_tasks_of_those_before_it(tmp_path: Path, executor: Executor) -> None:
    first = numbered_stage("square", square, 300, arguments=(str(tmp_path),))
    none = numbered_stage("none", fail, 0, arguments=(str(tmp_path),), after=("square",))
    last = numbered_stage("count", count_squares, 3, arguments=(str(tmp_path),), after=("none",))
    run = Run(Plan((first, none, last), 1 << 30, 2), ledger(tmp_path), executor, finish=lambda r: None)
    run.result(60)
    assert [run.futures[f"count-000{k}"].result().facts["squares"] for k in range(3)] == [300] * 3


def test_two_runs_on_one_cluster_share_no_task(tmp_path: Path, cluster: Any) -> None:
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        plan, receipts = sum_plan(tmp_path / name, 9), ledger(tmp_path / name)
        runs.append(Run(plan, receipts, ClusterExecutor(cluster), finish=lambda r: None))
    for run in runs:
        run.result(60)
    sums = [(tmp_path / name / "sum-2-0").read_text() for name in ("a", "b")]
    assert sums == [str(sum(i * i for i in range(9)))] * 2


def test_many_tasks_are_nothing_to_warn_of(tmp_path: Path, cluster: Any) -> None:
    threshold = {"distributed.admin.large-graph-warning-threshold": "1B"}
    with dask.config.set(threshold), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run = Run(sum_plan(tmp_path, 20), ledger(tmp_path), ClusterExecutor(cluster), finish=lambda _: "end")
        assert run.result(60) == "end"
    assert not [warning for warning in told if "large graph" in str(warning.message)]


def test_failed_task_is_named(tmp_path: Path, executor: Executor) -> None:
    stage = numbered_stage("fail", fail, 4, arguments=(str(tmp_path),))
    run = Run(Plan((stage,), 1 << 30, 2), ledger(tmp_path), executor, finish=lambda r: None)
    with pytest.raises(RunError, match=r"fail-0002.*ZeroDivisionError.*two is not allowed.*same command"):
        run.result(60)
    assert run.status == "error"
    assert isinstance(run.exception(), RunError)


def test_bad_input_comes_out_as_it_is(tmp_path: Path, executor: Executor) -> None:
    stage = numbered_stage("read", bad_input, 1, arguments=(str(tmp_path),))
    run = Run(Plan((stage,), 1 << 30, 2), ledger(tmp_path), executor, finish=lambda r: None)
    with pytest.raises(InputError, match=r"cloud.laz: truncated; expected a whole file; copy it again"):
        run.result(60)


def test_stages_wait_for_one_another(tmp_path: Path, executor: Executor) -> None:
    first = numbered_stage("square", square, 5, arguments=(str(tmp_path),))
    root = Task(TaskCall("total", add, (str(tmp_path), 1, 0, (0, 5))))
    plan = Plan((first, Stage("total", (root,), ("square",))), 1 << 30, 2)
    Run(plan, ledger(tmp_path), executor, finish=lambda r: None).result(60)
    assert (tmp_path / "sum-1-0").read_text() == "30"


def test_empty_stage_passes_its_predecessor_on(tmp_path: Path, executor: Executor) -> None:
    first = numbered_stage("square", square, 2, arguments=(str(tmp_path),))
    none = numbered_stage("none", square, 0, arguments=(str(tmp_path),), after=("square",))
    root = Task(TaskCall("total", add, (str(tmp_path), 1, 0, (0, 2))))
    plan = Plan((first, none, Stage("total", (root,), ("none",))), 1 << 30, 2)
    Run(plan, ledger(tmp_path), executor, finish=lambda r: None).result(60)
    assert (tmp_path / "sum-1-0").read_text() == "1"


def test_cancel_stops_and_keeps_receipts(tmp_path: Path, executor: Executor) -> None:
    stage = numbered_stage("slow", slow, 50, arguments=(str(tmp_path),))
    run = Run(Plan((stage,), 1 << 30, 2), ledger(tmp_path), executor, finish=lambda r: None)
    while not ledger(tmp_path).all():
        time.sleep(0.02)
    assert run.cancel()
    assert run.status == "cancelled"
    assert 0 < len(ledger(tmp_path).all()) < 50
    with pytest.raises(concurrent.futures.CancelledError):
        run.result(10)
    assert not run.cancel()


def test_workers_are_gone_before_the_end_is_made(tmp_path: Path) -> None:
    client, own = local_cluster(n_workers=1, worker_bytes=1 << 30)
    pids = client.run(os.getpid).values()
    plan = sum_plan(tmp_path, 4)
    run = Run(plan, ledger(tmp_path), ClusterExecutor(client, own), finish=lambda r: [*map(psutil.pid_exists, pids)])
    assert run.result(60) == [False]


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3, 0.6, 1.0, 1.5])
def test_a_client_that_is_closed_ends_its_run(seconds: float, tmp_path: Path, cluster: Any) -> None:
    client = Client(cluster.scheduler.address, set_as_default=False)
    plan = Plan((numbered_stage("nap", nap, 300, arguments=(str(tmp_path),)),), 1 << 30, 2)
    run = Run(plan, ledger(tmp_path), ClusterExecutor(client), finish=lambda r: None)
    time.sleep(seconds)
    client.close()
    with pytest.raises(RunError, match="its tasks are lost: the scheduler is gone, or its client was closed"):
        run.result(30)
    assert not run.cancel()


def test_a_run_that_came_to_its_end_was_not_cancelled(tmp_path: Path) -> None:
    ending = threading.Event()

    def finish(run: Run[int]) -> int:
        ending.set()
        time.sleep(0.5)
        return 7

    run = Run(sum_plan(tmp_path, 4), ledger(tmp_path), LocalExecutor("threads", 2), finish=finish)
    assert ending.wait(30)
    assert not run.cancel()
    assert run.status == "finished" and run.result() == 7 and run.exception() is None


def test_futures_of_a_cluster_are_daskfutures(tmp_path: Path, cluster: Any) -> None:
    run = Run(sum_plan(tmp_path, 6), ledger(tmp_path), ClusterExecutor(cluster), finish=lambda r: None)
    squares = [future for key, future in run.futures.items() if key.startswith("square")]
    assert sorted(f.result().facts["index"] for f in as_completed(squares)) == list(range(6))
    assert run.dashboard_link and run.dashboard_link.startswith("http://127.0.0.1:")
    run.result(60)


def test_run_can_be_awaited_and_calls_back(tmp_path: Path) -> None:
    async def wait() -> Any:
        run = Run(sum_plan(tmp_path, 4), ledger(tmp_path), LocalExecutor("threads", 2), finish=lambda r: 7)
        run.add_done_callback(lambda r: seen.append(r.status))
        return await run

    seen: list[str] = []
    assert asyncio.run(wait()) == 7
    assert seen == ["finished"]


def test_no_task_carries_much(tmp_path: Path) -> None:
    leaves, *levels = sum_plan(tmp_path, 1000).stages
    last = numbered_stage("fail", fail, 1, arguments=(str(tmp_path),), after=("square", "add_l1"))
    graph = plan_to_graph(Plan((leaves, *levels, last), 1 << 30, 2), ledger(tmp_path))
    tasks = dict(next(iter(graph.values())).__dask_graph__())
    assert max(len(pickle.dumps(task)) for task in tasks.values()) < 10_000


def test_receipts_survive_a_round_trip(tmp_path: Path) -> None:
    Run(sum_plan(tmp_path, 1), ledger(tmp_path), LocalExecutor("synchronous", 1), finish=lambda r: None).result(60)
    call = numbered_stage("square", square, 2, arguments=(str(tmp_path),)).tasks[0].call
    receipt = ledger(tmp_path).find(call)
    assert receipt is not None
    assert receipt.seconds >= 0
    assert receipt.peak_bytes > 1 << 20
    assert json.loads((tmp_path / "receipts/square-0000.json").read_text())["facts"] == {"index": 0}
    assert ledger(tmp_path).find(TaskCall("square-0001", square, (str(tmp_path), 1))) is None
    assert ledger(tmp_path).find(TaskCall("square-0000", square, (str(tmp_path), 1))) is None, "another call"


# ---- the end comes, whatever goes wrong ----------------------------------------------------------


class Speechless(NoRecovery):
    """Cannot say any more what went wrong: what it would have to read is gone."""

    def explain(self, failure: Failure) -> BaseException:
        raise FileNotFoundError(2, "No such file or directory", "/gone/job.json")


class Stuck(LocalExecutor):
    """Cannot be closed."""

    def close(self) -> None:
        raise TimeoutError("no answer")


def test_a_failure_that_cannot_be_explained_is_told_as_it_is(tmp_path: Path, executor: Executor) -> None:
    stage = numbered_stage("fail", fail, 4, arguments=(str(tmp_path),))
    plan = Plan((stage,), 1 << 30, 2)
    run = Run(plan, ledger(tmp_path), executor, finish=lambda r: None, recovery=Speechless())
    with pytest.raises(RunError, match=r"task fail-0002: ZeroDivisionError: two is not allowed"):
        run.result(60)
    assert run.status == "error"


@pytest.mark.parametrize("fails", [False, True])
def test_an_executor_that_cannot_be_closed_changes_no_result(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("citymesh_dask.engine.run._log.warning", lambda text, *facts: said.append(text % facts))
    stage = numbered_stage("task", fail if fails else slow, 3, arguments=(str(tmp_path),))
    run = Run(Plan((stage,), 1 << 30, 2), ledger(tmp_path), Stuck("threads", 2), finish=lambda r: "made")
    if fails:
        with pytest.raises(RunError, match="two is not allowed"):
            run.result(60)
    else:
        assert run.result(60) == "made"
    assert said == ["what the run worked on could not be closed: TimeoutError: no answer"]


class Unreadable(ReceiptFolder):
    """Fails where one receipt is looked for."""

    def find(self, call: TaskCall) -> Any:
        if call.key == "square-0001":
            raise OSError(5, "Input/output error")
        return super().find(call)


def test_a_task_is_blamed_for_what_fails_while_its_receipt_is_looked_for(tmp_path: Path, executor: Executor) -> None:
    plan, unreadable = sum_plan(tmp_path, 3), Unreadable(str(tmp_path / "receipts"))
    run = Run(plan, unreadable, executor, finish=lambda r: None)
    with pytest.raises(RunError, match=r"task square-0001: OSError: .*Input/output error") as caught:
        run.result(60)
    assert caught.value.__cause__ is not None and "in task square-0001" in caught.value.__cause__.__notes__


def slow_writer(folder: str, index: int) -> dict[str, Any]:
    (Path(folder) / f"begun-{index}").touch()
    time.sleep(0.5)
    (Path(folder) / f"done-{index}").touch()
    return {}


def test_no_thread_works_on_when_a_run_was_cancelled(tmp_path: Path) -> None:
    stage = numbered_stage("slow", slow_writer, 9, arguments=(str(tmp_path),))
    run = Run(Plan((stage,), 1 << 30, 2), ledger(tmp_path), LocalExecutor("threads", 2), finish=lambda r: None)
    while not list(tmp_path.glob("begun-*")):
        time.sleep(0.01)
    run.cancel()
    there = sorted(path.name for path in tmp_path.glob("*-*"))
    assert len([name for name in there if name.startswith("begun")]) == len(there) / 2, there
    time.sleep(0.7)
    assert sorted(path.name for path in tmp_path.glob("*-*")) == there


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/full/dask"), r"the disk is full \(/full/dask\); free some"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), r"BlockingIOError.*unavailable; run the"),
        (MemoryError(), "allow more memory or fewer workers"),
        (OSError("nobody there"), "main guard|__main__"),
    ],
)
def test_workers_that_do_not_start(cause: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is short is named; a script without a main guard is thought of where nothing is."""

    def fail_to_start(**_: Any) -> None:
        raise RuntimeError("Nanny failed to start.") from cause

    monkeypatch.setattr("citymesh_dask.engine.local_cluster.LocalCluster", fail_to_start)
    with pytest.raises(RunError, match=said) as caught:
        local_cluster(n_workers=1, worker_bytes=1 << 30)
    assert ("__main__" in str(caught.value)) == (str(cause) == "nobody there")
