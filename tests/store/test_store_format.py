"""The page on the store format says what the schema says, and plain Zarr reads what both say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import zarr

from citymesh_dask.store.schema import ARRAYS, ATTRIBUTES, CERTIFICATE, FORMAT_VERSION
from tests.builders import block_city, block_store

PAGE = (Path(__file__).parents[2] / "docs" / "store.md").read_text(encoding="utf8")


def table(heading: str) -> list[tuple[str, ...]]:
    """Return the rows of the table under a heading, without its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [tuple(cell.strip().strip("`") for cell in line.strip("|").split("|")) for line in lines[2:]]


def test_the_page_holds_every_array_as_the_schema_has_it() -> None:
    wanted = [(a.name, " or ".join(a.dtypes), a.axes, a.unit, a.meaning) for a in ARRAYS]
    assert table("Arrays") == wanted


def test_the_page_holds_every_attribute_and_the_version() -> None:
    assert table("Attributes of the group") == list(ATTRIBUTES)
    assert table("Certificate") == list(CERTIFICATE)
    assert f"describes format version {FORMAT_VERSION}." in PAGE


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return block_store(tmp_path / "city.zarr")


def test_plain_zarr_reads_every_array_with_the_type_and_shape_of_the_schema(store: Path) -> None:
    city = zarr.open_group(store, mode="r")
    sizes = {"n": 20, "m": 26, "N": 1, "t": 1}
    for spec in ARRAYS:
        array = city[spec.name]
        assert isinstance(array, zarr.Array)
        kind = "string" if array.dtype.kind in "OUT" else array.dtype.name
        assert kind in spec.dtypes, spec.name
        shape = tuple(sizes.get(word) or int(word) for word in re.findall(r"\w+", spec.axes))
        assert array.shape == shape, spec.name
    for name, values in block_city().items():
        assert np.array_equal(city[name][:], values)  # type: ignore[index]


def test_plain_zarr_reads_every_attribute_of_the_schema(store: Path) -> None:
    attributes = dict(zarr.open_group(store, mode="r").attrs)
    assert {name for name, _ in ATTRIBUTES} <= set(attributes)
    certificate = attributes["certificate"]
    assert isinstance(certificate, dict) and set(certificate) == {name for name, _ in CERTIFICATE}


def test_the_code_of_the_page_runs(store: Path) -> None:
    names: dict[str, object] = {"store": store}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    assert np.array_equal(np.flatnonzero(names["roofs"]), [24, 25])  # type: ignore[arg-type]
    assert np.shape(names["corners"]) == (26, 3, 3)  # type: ignore[arg-type]
