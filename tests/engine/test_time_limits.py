"""Tasks that never end: how long they may run, how that is measured, and what is done on workers that are not ours."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from citymesh_dask.engine.cluster import ClusterExecutor
from citymesh_dask.engine.events import Waiting
from citymesh_dask.engine.local_cluster import local_cluster
from citymesh_dask.engine.plan import Plan, Stage, Task, TaskCall, numbered_stage
from citymesh_dask.engine.run import Run
from citymesh_dask.engine.time_limits import LEAST_SECONDS, LOOK_SECONDS, Sightings, TimeLimits
from citymesh_dask.errors import OptionError, RunError
from citymesh_dask.settings import RunSettings
from citymesh_dask.store.manifest import ReceiptFolder
from tests.dask_processes import wait_for


def loiter(folder: str, index: int) -> dict[str, Any]:
    """Do nothing until the test has seen enough; the first task only."""
    while index == 0 and not (Path(folder) / "enough").exists():
        (Path(folder) / "begun").touch()
        time.sleep(0.05)
    return {}


def loiter_or_fail(folder: str, index: int) -> dict[str, Any]:
    if index == 1:
        wait_for((Path(folder) / "begun").exists, 20)
        raise ZeroDivisionError("the second one")
    return loiter(folder, index)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder, and the end of those that loiter there."""
    yield tmp_path
    (tmp_path / "enough").touch()


def plan(folder: Path, function: Any = loiter, count: int = 6) -> Plan:
    return Plan((numbered_stage("loiter", function, count, arguments=(str(folder),)),), 1 << 30, 2)


# ---- limits --------------------------------------------------------------------------------------


def test_limits_are_generous() -> None:
    call = TaskCall("long-0000", loiter, ())
    stages = (Stage("long", (Task(call), Task(call)), seconds=200.0), Stage("none", ()))
    limits = TimeLimits.of_plan(Plan(stages, 1, 1))
    assert (limits.seconds("long-0000"), limits.seconds("other-0000")) == (2000.0, LEAST_SECONDS)
    assert limits.look_seconds() == LOOK_SECONDS
    assert limits.describe("long-0000", 2040) == "34 min without an end (projected 100 s)"
    assert limits.describe("other-0000", 100) == "100 s without an end"
    assert TimeLimits(7).seconds("long-0000") == 7 and TimeLimits(7).look_seconds() < 2
    assert TimeLimits(0).seconds("long-0000") == math.inf


@pytest.mark.parametrize("value", [-1, True, "off", 1.5])
def test_what_is_no_limit(value: Any) -> None:
    with pytest.raises(OptionError, match=r"task_time_limit.*auto or a whole number from 0"):
        RunSettings(task_time_limit=value)


def test_a_machine_that_was_asleep_counts_for_nothing() -> None:
    sightings, one, other = Sightings(30.0), ("worker", "a"), ("worker", "b")
    assert sightings.is_due(0.0)
    assert sightings.add([one], 1000.0) == {one: 0.0}
    assert not sightings.is_due(1020.0)
    assert sightings.add([one, other], 1031.0) == {one: 31.0, other: 0.0}
    assert sightings.add([one, other], 9999.0) == {one: 91.0, other: 60.0}
    assert sightings.add([other], 10029.0) == {other: 90.0}, "it ended"
    assert sightings.add([("another worker", "b")], 10059.0) == {("another worker", "b"): 0.0}


# ---- runs ----------------------------------------------------------------------------------------


def test_on_workers_of_others_it_is_said_once(cluster: Client, folder: Path) -> None:
    events: list[Any] = []
    executor, receipts = ClusterExecutor(cluster, time_limits=TimeLimits(1)), ReceiptFolder(str(folder / "receipts"))
    before = set(cluster.scheduler_info()["workers"])
    run = Run(plan(folder), receipts, executor, finish=lambda _: "end", listeners=[events.append])
    wait_for(lambda: any(isinstance(event, Waiting) and "loiter-0000" in event.what for event in events), 20)
    time.sleep(2)
    (folder / "enough").touch()
    assert run.result(20) == "end"
    told = [event.what for event in events if isinstance(event, Waiting) and "loiter-0000" in event.what]
    assert len(told) == 1
    assert told[0].startswith("task loiter-0000, which has run for ") and "without an end on worker " in told[0]
    assert set(cluster.scheduler_info()["workers"]) == before and run.troubles == []


def test_a_run_that_fails_does_not_wait_for_what_never_ends(cluster: Client, folder: Path) -> None:
    executor, receipts = ClusterExecutor(cluster, time_limits=TimeLimits(2)), ReceiptFolder(str(folder / "receipts"))
    begin = time.monotonic()
    run = Run(plan(folder, loiter_or_fail, count=2), receipts, executor, finish=lambda _: "end")
    with pytest.raises(RunError, match="the second one"):
        run.result(60)
    assert 2 <= time.monotonic() - begin < 25


def test_a_task_that_is_no_tile(folder: Path) -> None:
    client, own = local_cluster(n_workers=2, worker_bytes=1 << 30)
    receipts = ReceiptFolder(str(folder / "receipts"))
    executor = ClusterExecutor(client, own, TimeLimits(5))
    assert "worker-ttl" not in own.scheduler.periodic_callbacks, "Dask does not end silent workers by its own rule"
    run = Run(plan(folder), receipts, executor, finish=lambda _: "end")
    with pytest.raises(
        RunError, match=r"task loiter-0000: it ran for \d\.\d s without an end; allow more .*--task-time-limit"
    ):
        run.result(60)
    assert len(receipts.all()) == 5
    assert [(trouble.key, trouble.kind) for trouble in run.troubles] == [("loiter-0000", "alone")]
