"""Chunk files of ours are plain Zarr v3, and damage is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from citymesh_dask.errors import RunError, StoreError
from citymesh_dask.store.chunks import CHECKS, group_digests, read_attributes, read_rows, verify_group, write_group
from citymesh_dask.store.scratch import Scratch

ARRAYS = {
    "vertices": np.random.default_rng(1).random((1001, 3)),
    "faces": np.arange(300, dtype=np.int32).reshape(100, 3),
    "flags": np.arange(7) > 3,
    "none": np.empty((0, 3), np.int64),
    "cube": np.arange(24, dtype=np.int8).reshape(2, 3, 4),
}


@pytest.mark.parametrize("chunk_rows", [1, 7, 100, 5000])
def test_plain_zarr_reads_what_we_write(tmp_path: Path, chunk_rows: int) -> None:
    write_group(tmp_path / "g", ARRAYS, {"answer": 42}, chunk_rows=chunk_rows)
    group = zarr.open_group(tmp_path / "g", mode="r")
    assert read_attributes(tmp_path / "g") == {"answer": 42}
    assert group.attrs["answer"] == 42 and group.attrs.keys() == {"answer", CHECKS}
    assert verify_group(tmp_path / "g") == group_digests(tmp_path / "g")[0]
    for name, array in ARRAYS.items():
        opened = group[name]
        assert isinstance(opened, zarr.Array)
        assert opened.dtype == array.dtype
        np.testing.assert_array_equal(np.asarray(opened[...]), array)
        np.testing.assert_array_equal(read_rows(tmp_path / "g" / name), array)


@given(st.integers(0, 110), st.integers(0, 110), st.integers(1, 40))
def test_rows_are_those_of_the_array(start: int, stop: int, chunk_rows: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        array = np.arange(100, dtype=np.int64)
        write_group(Path(folder) / "g", {"a": array}, chunk_rows=chunk_rows)
        np.testing.assert_array_equal(read_rows(Path(folder) / "g" / "a", start, stop), array[start:stop])


def test_flipped_byte_and_missing_chunk_are_noticed(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    write_group(tmp_path / "g", {"a": np.arange(1000)}, chunk_rows=100)
    chunk = tmp_path / "g/a/c/3"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    assert scratch.read("g", "a", (0, 300)).tolist() == list(range(300))
    with pytest.raises(StoreError, match=r"c/3.*checksum"):
        read_rows(tmp_path / "g/a")
    with pytest.raises(RunError, match=r"c/3.*checksum.*same command"):
        scratch.read("g", "a")
    assert not (tmp_path / "g/zarr.json").exists(), "what is damaged goes, so that its writer makes it anew"
    chunk.unlink()
    with pytest.raises(RunError, match="missing"):
        scratch.read("g", "a")


def test_no_partial_files_are_left(tmp_path: Path) -> None:
    write_group(tmp_path / "g", ARRAYS)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_chunk_of_another_time_is_noticed(tmp_path: Path) -> None:
    """A crash between two chunks that are written again: each is whole, but they do not belong together."""
    for name, step in (("old", 1), ("new", 2)):
        write_group(tmp_path / name, {"a": np.arange(0, 1000 * step, step)}, chunk_rows=100)
    (tmp_path / "new/a/c/3").write_bytes((tmp_path / "old/a/c/3").read_bytes())
    with pytest.raises(StoreError, match="checksum"):
        verify_group(tmp_path / "new")
