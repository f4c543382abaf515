"""Rounds of a run on every scheduler, with integers: what fails does not stop the others, and the plan may change."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from citymesh_dask.engine.cluster import ClusterExecutor
from citymesh_dask.engine.events import Event, PlanChanged, TaskDone, TaskTrouble
from citymesh_dask.engine.executor import Executor
from citymesh_dask.engine.failures import Change, Failure, NoRecovery, own_failures
from citymesh_dask.engine.in_process import LocalExecutor
from citymesh_dask.engine.plan import Plan, Reduction, numbered_stage
from citymesh_dask.engine.progress import LineProgress
from citymesh_dask.engine.run import Run
from citymesh_dask.errors import InputError, RunError
from citymesh_dask.store.manifest import ReceiptFolder


def ledger(folder: Path) -> ReceiptFolder:
    return ReceiptFolder(str(folder / "receipts"))


def note(folder: str, text: str) -> None:
    with open(Path(folder) / "calls", "a") as file:
        file.write(f"{text}\n")


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().split()


def leaf(folder: str, index: int) -> dict[str, Any]:
    """Write a number; file ``short`` names what is too large, ``bad`` fails, ``half`` once, ``long`` says much."""
    note(folder, f"leaf-{index}")
    if str(index) in (Path(folder) / "short").read_text().split():
        raise MemoryError(f"leaf {index}")
    if str(index) in (Path(folder) / "bad").read_text().split():
        time.sleep(0.1)
        raise ZeroDivisionError(f"leaf {index}")
    if str(index) in (Path(folder) / "half").read_text().split() and calls(Path(folder)).count(f"leaf-{index}") == 1:
        raise OSError(f"leaf {index} at first")
    if str(index) in (Path(folder) / "long").read_text().split():
        raise ZeroDivisionError(f"leaf {index}" + " and more" * 1500)
    (Path(folder) / f"leaf-{index}").write_text("1")
    return {}


def left_out(folder: str, index: int) -> dict[str, Any]:
    (Path(folder) / f"leaf-{index}").write_text("0")
    return {}


def add(folder: str, level: int, index: int, children: tuple[int, int], beside: tuple[int, ...] = ()) -> dict[str, Any]:
    note(folder, f"add-{level}-{index}")
    names = [f"leaf-{c}" if level == 1 else f"sum-{level - 1}-{c}" for c in (*range(*children), *beside)]
    total = sum(int((Path(folder) / name).read_text()) for name in names)
    (Path(folder) / f"sum-{level}-{index}").write_text(str(total))
    return {"total": total}


def slow(folder: str, index: int) -> dict[str, Any]:
    time.sleep(0.5)
    return {}


def fail_soon(folder: str, index: int) -> dict[str, Any]:
    time.sleep(0.1)
    raise ZeroDivisionError("soon")


def bad_input(folder: str, index: int) -> dict[str, Any]:
    note(folder, "read")
    raise InputError("cloud.laz", "truncated")


def tree(folder: Path, count: int, *, beside: dict[int, tuple[int, ...]] | None = None, without: int = -1) -> Plan:
    leaves = numbered_stage("leaf", leaf, count, arguments=(str(folder),))
    tasks = list(leaves.tasks)
    if without >= 0:
        skipped = numbered_stage("leaf", left_out, count, arguments=(str(folder),)).tasks
        tasks[without] = skipped[without]
    leaves = type(leaves)("leaf", tuple(tasks))
    return Plan((leaves, *Reduction(leaves, add, (str(folder),), 3, beside=beside or {}).stages("add")), 1 << 30, 2)


def prepare(folder: Path, *, short: str = "", bad: str = "", half: str = "", long: str = "") -> None:
    for name, text in {"short": short, "bad": bad, "half": half, "long": long, "calls": ""}.items():
        (folder / name).write_text(text)


@dataclass
class Recovery(NoRecovery):
    """Splits leaf 4 of 9 into two more leaves, or leaves it out."""

    folder: Path
    asked: list[tuple[str, bool]] = field(default_factory=list)

    def goes_on(self, failure: Failure) -> bool:
        return True

    def replan(self, failures: Sequence[Failure]) -> Change | Failure:
        self.asked += [(failure.key, failure.for_memory) for failure in failures]
        (failure,) = failures
        if not failure.for_memory:
            trouble = TaskTrouble(failure.key, failure.stage, "skipped", failure.cause)
            return Change(tree(self.folder, 9, without=4), (trouble,))
        (self.folder / "short").write_text("")
        trouble = TaskTrouble(failure.key, failure.stage, "split", failure.cause, ("leaf-0009", "leaf-0010"))
        return Change(tree(self.folder, 11, beside={4: (9, 10)}), (trouble,))


def test_what_is_too_large_is_tried_alone_then_split_and_all_else_is_done_once(
    tmp_path: Path, executor: Executor
) -> None:
    prepare(tmp_path, short="4")
    events: list[Event] = []
    recovery = Recovery(tmp_path)
    run = Run(
        tree(tmp_path, 9),
        ledger(tmp_path),
        executor,
        finish=lambda run: run.futures["add_l2-0000"].result().facts["total"],
        listeners=[events.append, LineProgress(tree(tmp_path, 9).stages)],
        retries=3,
        recovery=recovery,
    )
    first = dict(run.futures)
    assert run.result(60) == 11
    assert recovery.asked == [("leaf-0004", True)]
    done = calls(tmp_path)
    assert done.count("leaf-4") == 3, "beside others, alone, and what is left of it"
    assert all(done.count(name) == 1 for name in set(done) - {"leaf-4"})
    assert [trouble.kind for trouble in run.troubles] == ["alone", "split"]
    assert run.troubles[1].parts == ("leaf-0009", "leaf-0010")
    (change,) = [event for event in events if isinstance(event, PlanChanged)]
    assert "leaf-0004" not in change.done and {"leaf-0000", "add_l1-0000", "add_l1-0002"} <= change.done
    assert len(run.plan.stages[0].tasks) == 11 and set(run.futures) == {task.key for task in run.plan.tasks()}
    assert run.futures["leaf-0004"] is not first["leaf-0004"] and run.futures["leaf-0003"] is first["leaf-0003"]
    last = [event for event in events if isinstance(event, TaskDone)][-1]
    assert last.done == last.total == 15 and last.receipt is not None and last.receipt.facts == {"total": 11}


def test_what_fails_is_left_out_where_the_pipeline_can(tmp_path: Path, executor: Executor) -> None:
    prepare(tmp_path, bad="4")
    run = Run(
        tree(tmp_path, 9),
        ledger(tmp_path),
        executor,
        finish=lambda run: run.futures["add_l2-0000"].result().facts["total"],
        retries=1,
        recovery=Recovery(tmp_path),
    )
    assert run.result(60) == 8
    assert calls(tmp_path).count("leaf-4") == 2
    (trouble,) = run.troubles
    assert (trouble.key, trouble.kind, trouble.cause) == ("leaf-0004", "skipped", "ZeroDivisionError: leaf 4")
    assert isinstance(run.exception(), type(None)) and run.status == "finished"


class OnlyTheFirst(Recovery):
    """Can do something about the first failure, and nothing about the second."""

    def replan(self, failures: Sequence[Failure]) -> Change | Failure:
        return failures[1]


def test_a_run_fails_with_what_nothing_can_be_done_about(tmp_path: Path, executor: Executor) -> None:
    prepare(tmp_path, short="2 4")
    run = Run(tree(tmp_path, 9), ledger(tmp_path), executor, finish=lambda run: "end", recovery=OnlyTheFirst(tmp_path))
    with pytest.raises(RunError, match="task leaf-0004"):
        run.result(60)


def test_an_error_that_says_much_stays_the_error_of_its_task(tmp_path: Path, executor: Executor) -> None:
    """Dask makes another one of it, without notes, from 10,000 characters on."""
    prepare(tmp_path, long="4")
    run = Run(tree(tmp_path, 9), ledger(tmp_path), executor, finish=lambda run: "end", recovery=Recovery(tmp_path))
    assert run.result(60) == "end"
    (trouble,) = run.troubles
    assert (trouble.key, trouble.kind) == ("leaf-0004", "skipped")
    assert trouble.cause.startswith("ZeroDivisionError: leaf 4 and") and 4000 < len(trouble.cause) < 5000


def test_retries_are_the_same_everywhere(tmp_path: Path, executor: Executor) -> None:
    prepare(tmp_path, half="2")
    run = Run(tree(tmp_path, 9), ledger(tmp_path), executor, finish=lambda run: "end", retries=1)
    assert run.result(60) == "end"
    assert [(t.key, t.kind, t.cause) for t in run.troubles] == [("leaf-0002", "retried", "OSError: leaf 2 at first")]
    prepare(tmp_path, bad="3")
    for receipt in (tmp_path / "receipts").glob("*"):
        receipt.unlink()
    run = Run(tree(tmp_path, 9), ledger(tmp_path), executor, finish=lambda run: "end", retries=2)
    with pytest.raises(RunError, match=r"task leaf-0003: ZeroDivisionError: leaf 3; run the same command again"):
        run.result(60)
    assert calls(tmp_path).count("leaf-3") == 3


def test_bad_input_is_not_tried_again(tmp_path: Path, executor: Executor) -> None:
    plan = Plan((numbered_stage("read", bad_input, 1, arguments=(str(tmp_path),)),), 1 << 30, 2)
    with pytest.raises(InputError):
        Run(plan, ledger(tmp_path), executor, finish=lambda run: None, retries=5).result(60)
    assert calls(tmp_path) == ["read"]


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_what_runs_is_finished_before_a_failure_is_told(
    scheduler: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    here = scheduler == "threads"
    executor = LocalExecutor("threads", 2) if here else ClusterExecutor(request.getfixturevalue("cluster"))
    bad = numbered_stage("soon", fail_soon, 1, arguments=(str(tmp_path),))
    plan = Plan((bad, numbered_stage("slow", slow, 20, arguments=(str(tmp_path),))), 1 << 30, 2)
    run = Run(plan, ledger(tmp_path), executor, finish=lambda run: None)
    with pytest.raises(RunError, match="task soon-0000"):
        run.result(60)
    kept = len(ledger(tmp_path).all())
    assert 1 <= kept < 10
    time.sleep(0.8)
    assert len(ledger(tmp_path).all()) == kept, "nothing goes on"


def test_nothing_of_size_comes_back(tmp_path: Path, executor: Executor) -> None:
    prepare(tmp_path)
    run = Run(tree(tmp_path, 60), ledger(tmp_path), executor, finish=lambda run: dict(run.futures))
    sizes = [len(pickle.dumps(future.result())) for future in run.result(60).values()]
    assert max(sizes) < 1000 and sum(sizes) < 60_000


def test_a_task_that_waits_for_a_failed_one_has_not_failed_itself() -> None:
    plan = tree(Path("nowhere"), 9)
    errors = {key: MemoryError() for key in ("leaf-0004", "add_l1-0001", "add_l2-0000")}
    assert [failure.key for failure in own_failures(plan, errors)] == ["leaf-0004"]
    after = Plan((*plan.stages, numbered_stage("last", leaf, 2, arguments=("",), after=("add_l2",))), 1, 1)
    errors |= {f"last-000{k}": MemoryError() for k in range(2)}
    assert [failure.key for failure in own_failures(after, errors)] == ["leaf-0004"]
