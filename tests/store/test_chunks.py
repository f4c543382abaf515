"""Chunk files of ours are plain Zarr v3, and damage is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from citymesh_dask.errors import StoreError
from citymesh_dask.store.chunks import Array, create_array, create_group, read_attributes, read_rows, write_chunk

ARRAYS = {
    "vertices": np.random.default_rng(1).random((1001, 3)),
    "faces": np.arange(300, dtype=np.int32).reshape(100, 3),
    "flags": np.arange(7) > 3,
    "none": np.empty((0, 3), np.int64),
    "cube": np.arange(24, dtype=np.int8).reshape(2, 3, 4),
}


def write_array(path: Path, array: Array, *, chunk_rows: int) -> None:
    create_array(path, array.shape, array.dtype, chunk_rows=chunk_rows)
    for index, start in enumerate(range(0, len(array), chunk_rows)):
        write_chunk(path, index, array[start : start + chunk_rows], chunk_rows=chunk_rows)


@pytest.mark.parametrize("chunk_rows", [1, 7, 100, 5000])
def test_plain_zarr_reads_what_we_write(tmp_path: Path, chunk_rows: int) -> None:
    create_group(tmp_path / "g", {"answer": 42})
    for name, array in ARRAYS.items():
        write_array(tmp_path / "g" / name, array, chunk_rows=chunk_rows)
    group = zarr.open_group(tmp_path / "g", mode="r")
    assert read_attributes(tmp_path / "g") == {"answer": 42}
    assert dict(group.attrs) == {"answer": 42}
    assert not list(tmp_path.rglob("*.partial"))
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
        write_array(Path(folder) / "a", array, chunk_rows=chunk_rows)
        np.testing.assert_array_equal(read_rows(Path(folder) / "a", start, stop), array[start:stop])


def test_flipped_byte_and_missing_chunk_are_noticed(tmp_path: Path) -> None:
    write_array(tmp_path / "a", np.arange(1000), chunk_rows=100)
    chunk = tmp_path / "a/c/3"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    assert read_rows(tmp_path / "a", 0, 300).tolist() == list(range(300))
    with pytest.raises(StoreError, match=r"c/3.*checksum"):
        read_rows(tmp_path / "a")
    chunk.unlink()
    with pytest.raises(StoreError, match=r"c/3.*missing"):
        read_rows(tmp_path / "a")
