"""A check by worker processes says the same as one in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from citymesh_dask.errors import OptionError, StoreError
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.pipelines.checking.parallel import check_in_parallel
from tests.builders import block_store


def test_workers_find_what_one_process_finds(tmp_path: Path) -> None:
    store = block_store(tmp_path / "block.zarr")
    assert check_in_parallel(store, memory_limit="3GB", n_workers=2, few_faces=0) == check_store(store)


def test_damage_is_told_as_what_it_is(tmp_path: Path) -> None:
    store = Path(block_store(tmp_path / "block.zarr"))
    chunk = next((store / "faces" / "c").rglob("0"))
    while chunk.is_dir():
        chunk = chunk / "0"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="checksum"):
        check_in_parallel(store, memory_limit="3GB", n_workers=2, few_faces=0)


def test_little_memory_is_enough_for_this_process(tmp_path: Path) -> None:
    store = block_store(tmp_path / "block.zarr")
    assert check_in_parallel(store, memory_limit="500MB", n_workers=2, few_faces=0).ok


def test_memory_that_is_none_is_refused(tmp_path: Path) -> None:
    store = block_store(tmp_path / "block.zarr")
    with pytest.raises(OptionError, match="memory_limit"):
        check_in_parallel(store, memory_limit="much")
