"""Amounts of memory, and the peak of a task."""

from __future__ import annotations

import numpy as np
import pytest

from citymesh_dask.engine.machine import Resources, survey_machine
from citymesh_dask.engine.memory import RESERVED_BYTES, check_projection, measure_peak, parse_bytes
from citymesh_dask.engine.plan import Plan, Stage, Task, TaskCall
from citymesh_dask.errors import OptionError, PlanError


@pytest.mark.parametrize(
    ("text", "expected"), [("4GB", 4e9), ("4 gib", 4 * 2**30), ("500M", 5e8), (123, 123), ("0.5GB", 5e8)]
)
def test_amounts(text: str | int, expected: float) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["4 gigs", "", "-1GB", "0", "GB", "1e400"])
def test_unreadable_amounts_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="memory_limit"):
        parse_bytes(text)


def test_peak_sees_an_array_that_is_gone_again() -> None:
    with measure_peak() as before:
        pass
    with measure_peak() as during:
        np.ones(30_000_000)
    if before.peak_bytes:
        assert during.peak_bytes - before.peak_bytes > 200e6


def test_machine_is_asked() -> None:
    machine = survey_machine()
    assert machine.available_bytes > 1 << 20
    assert machine.cpus >= 1


def test_plan_that_cannot_fit_is_refused_with_the_figures() -> None:
    small = Stage("read", (Task(TaskCall("read-0", dict, ())),), projected_bytes=10 << 20)
    large = Stage("mesh_tile", (Task(TaskCall("mesh_tile-0", dict, ())),), projected_bytes=600 << 20)
    empty = Stage("none", (), projected_bytes=1 << 40)
    plan = Plan((small, large, empty), 2 << 30, 2)
    check_projection(plan, 1000 << 20)
    with pytest.raises(
        PlanError, match=r"stage mesh_tile.*629 MB.*2 worker.*2147 MB allowed.*--memory-limit 2391MB"
    ) as caught:
        check_projection(plan, 500 << 20)
    assert Resources(2391 * 10**6, 2).worker_bytes >= RESERVED_BYTES + large.projected_bytes, caught.value
