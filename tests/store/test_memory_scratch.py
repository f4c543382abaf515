"""Scratch groups in memory behave as those on disk."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citymesh_dask.engine.ledger import Receipt
from citymesh_dask.engine.plan import TaskCall
from citymesh_dask.errors import CityMeshError
from citymesh_dask.store.memory_scratch import MemoryLedger, MemoryScratch
from citymesh_dask.store.scratch import Scratch


@pytest.fixture(params=["disk", "memory"])
def scratch(request: pytest.FixtureRequest, tmp_path: Path) -> Scratch:
    return MemoryScratch() if request.param == "memory" else Scratch(tmp_path)


def write_sample(scratch: Scratch) -> dict[str, Any]:
    arrays = {
        "points": np.arange(24, dtype=np.float64).reshape(8, 3),
        "turned": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(3, 2)),
        "none": np.empty((0, 2), np.int64),
    }
    scratch.write("parts/00001", arrays, {"box": (1, 2), "name": "a", "lowest": None})
    return arrays


def test_what_is_written_is_read(scratch: Scratch) -> None:
    arrays = write_sample(scratch)
    found = scratch.read_all("parts/00001")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        for read in (found[name], scratch.read("parts/00001", name)):
            assert read.dtype == array.dtype and read.flags.c_contiguous and read.flags.writeable
            np.testing.assert_array_equal(read, array)
        assert scratch.length("parts/00001", name) == len(array)
    np.testing.assert_array_equal(scratch.read("parts/00001", "points", (2, 5)), arrays["points"][2:5])
    np.testing.assert_array_equal(scratch.read("parts/00001", "points", (6, None)), arrays["points"][6:])
    np.testing.assert_array_equal(scratch.read("parts/00001", "points", (6, 99)), arrays["points"][6:])
    assert scratch.attributes("parts/00001") == {"box": [1, 2], "name": "a", "lowest": None}


def test_nobody_changes_what_others_read(scratch: Scratch) -> None:
    arrays = write_sample(scratch)
    before = arrays["points"].copy()
    arrays["points"][:] = -1
    scratch.read("parts/00001", "points")[:] = -2
    scratch.read_all("parts/00001")["points"][:] = -3
    scratch.attributes("parts/00001")["box"].append(4)
    np.testing.assert_array_equal(scratch.read("parts/00001", "points"), before)
    assert scratch.attributes("parts/00001")["box"] == [1, 2]


def test_what_is_not_there_is_a_failure_of_the_run(scratch: Scratch) -> None:
    write_sample(scratch)
    for read in (
        lambda: scratch.read("parts/00001", "other"),
        lambda: scratch.read("parts/00002", "points"),
        lambda: scratch.read_all("parts/00002"),
        lambda: scratch.length("parts/00002", "points"),
        lambda: scratch.attributes("parts/00002"),
    ):
        with pytest.raises(CityMeshError, match="again"):
            read()


def test_a_group_that_is_written_again_is_told_from_the_first(scratch: Scratch) -> None:
    write_sample(scratch)
    first = scratch.digest("parts/00001")
    assert first == scratch.digest("parts/00001")
    scratch.write("parts/00001", {"points": np.zeros(3)})
    assert first and first != scratch.digest("parts/00001")


def test_the_interface_in_memory_is_that_on_disk() -> None:
    """A method that is not overridden would look for a folder that is not there."""
    for name, method in inspect.getmembers(Scratch, inspect.isfunction):
        if not name.startswith("_"):
            ours = getattr(MemoryScratch, name)
            assert ours is not method, f"{name} is not kept in memory"
            assert list(inspect.signature(ours).parameters) == list(inspect.signature(method).parameters), name


def test_no_folder_is_made_and_everything_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scratch, other = MemoryScratch(), MemoryScratch()
    write_sample(scratch)
    scratch.ledger.record(Receipt("a-0000", 1.0, 0))
    assert scratch != other and not other.groups
    assert scratch.held_bytes() == {"parts": 24 * 8 + 6 * 4}
    scratch.clear()
    assert scratch.held_bytes() == {} and scratch.ledger.all() == []
    assert list(tmp_path.iterdir()) == []


def test_receipts_in_memory() -> None:
    ledger = MemoryLedger()
    second, first = Receipt("b-0000", 1.0, 0), Receipt("a-0000", 1.0, 0, facts={"bytes": 3})
    ledger.record(second)
    ledger.record(first)
    assert ledger.all() == [first, second]
    call = TaskCall("a-0000", write_sample, ())
    assert ledger.find(call) is None, "nothing was done before the run"
    with ledger.watching(call):
        pass
