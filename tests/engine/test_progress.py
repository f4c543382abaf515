"""What is shown while a run goes on."""

from __future__ import annotations

import io

import pytest

from citymesh_dask.engine.plan import Stage, Task, TaskCall
from citymesh_dask.engine.progress import BarProgress, LineProgress, TaskDone


def stage(name: str, count: int, *after: str) -> Stage:
    return Stage(name, tuple(Task(TaskCall(f"{name}-{k}", dict, ())) for k in range(count)), after)


STAGES = (stage("read", 2), stage("none", 0, "read"), stage("mesh", 4, "read", "none"))


def events(*names: str) -> list[TaskDone]:
    return [TaskDone(f"{name}-0", name, done, 6) for done, name in enumerate(names, start=1)]


def test_a_bar_stands_from_the_moment_its_stage_can_begin(capsys: pytest.CaptureFixture[str]) -> None:
    progress = BarProgress(STAGES)
    shown = capsys.readouterr().err
    assert "read" in shown and "0/2" in shown and "mesh" not in shown
    read = events("read", "read")
    progress(read[0])
    assert "mesh" not in capsys.readouterr().err
    progress(read[1])
    assert "0/4" in capsys.readouterr().err
    for event in events("mesh", "mesh", "mesh", "mesh"):
        progress(event)
    assert capsys.readouterr().err.endswith("\r")  # nothing of a finished bar stays


def test_lines_tell_of_quarters() -> None:
    out = io.StringIO()
    progress = LineProgress([stage("mesh", 100)], out)
    for event in events(*["mesh"] * 100):
        progress(event)
    assert [line.split("] ")[1] for line in out.getvalue().splitlines()] == [
        f"mesh: {count} of 100" for count in (25, 50, 75, 100)
    ]
