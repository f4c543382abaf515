"""Bundles, the groups of the scratch folder, give back what was written, in whole or in part, and notice damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from citymesh_dask.errors import RunError, StoreError
from citymesh_dask.store.bundles import (
    bundle_attributes,
    bundle_shape,
    read_bundle,
    read_bundle_rows,
    write_bundle,
)
from citymesh_dask.store.scratch import Scratch
from tests.store.test_chunks import ARRAYS


@pytest.mark.parametrize("chunk_rows", [1, 7, 100, 5000])
def test_a_bundle_gives_back_what_was_written(tmp_path: Path, chunk_rows: int) -> None:
    path = tmp_path / "some/where/g.arrays"
    size = write_bundle(path, ARRAYS, {"answer": 42}, chunk_rows=chunk_rows)
    assert size == path.stat().st_size
    assert [file.name for file in path.parent.iterdir()] == ["g.arrays"]
    assert bundle_attributes(path) == {"answer": 42}
    found = read_bundle(path)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and bundle_shape(path, name) == array.shape
        np.testing.assert_array_equal(found[name], array)
        np.testing.assert_array_equal(read_bundle_rows(path, name), array)
    before = path.read_bytes()
    write_bundle(path, ARRAYS, {"answer": 42}, chunk_rows=chunk_rows)
    assert path.read_bytes() == before


@given(st.integers(0, 110), st.integers(0, 110), st.integers(1, 40))
def test_rows_are_those_of_the_array(start: int, stop: int, chunk_rows: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "g.arrays"
        array = np.arange(200, dtype=np.int64).reshape(100, 2)
        write_bundle(path, {"before": np.arange(9), "a": array, "z": array[:3]}, chunk_rows=chunk_rows)
        np.testing.assert_array_equal(read_bundle_rows(path, "a", (start, stop)), array[start:stop])


def test_any_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "g.arrays"
    write_bundle(path, {"a": np.arange(30), "b": np.arange(3.0)}, {"name": "x"}, chunk_rows=10)
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match="checksum"):
            read_bundle(path)
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(StoreError, match="checksum"):
            read_bundle(path)


def test_damage_of_one_chunk_leaves_the_others_readable(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    scratch.write("g", {"a": np.arange(1000)}, chunk_rows=100)
    scratch.write("good", {"a": np.arange(10)})
    path = tmp_path / "g.arrays"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert scratch.verified_digest("g") == "" != scratch.digest("g"), "the header alone tells nothing"
    assert scratch.verified_digest("good") == scratch.digest("good")
    assert scratch.read("g", "a", (0, 900)).tolist() == list(range(900))
    with pytest.raises(RunError, match=r"g\.arrays.*checksum.*same command"):
        scratch.read_all("g")
    assert not path.exists(), "what is damaged goes, so that its writer makes it anew"


def test_what_is_not_there_has_no_digest_and_cannot_be_read(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)
    assert scratch.digest("in/bundle") == scratch.verified_digest("in/bundle") == ""
    scratch.write("in/bundle", {"a": np.arange(12)})
    assert scratch.digest("in/bundle") == scratch.verified_digest("in/bundle") != ""
    for name, found in (("in/none", "the file is missing"), ("in/bundle", "no array 'b' in it")):
        with pytest.raises(RunError, match=rf"{name}\.arrays: intermediate data are damaged \({found}\)"):
            scratch.read(name, "b")
    assert scratch.read("in/bundle", "a", (1, 3)).tolist() == [1, 2], "it was the reader who was wrong"
