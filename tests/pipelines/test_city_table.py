"""The building table in pieces, footprints without heights, and what the report gathers from the tasks."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citymesh_dask.arguments import build_parser
from citymesh_dask.config import SETTING_KEYS
from citymesh_dask.engine.ledger import Receipt
from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.city.ending import table
from citymesh_dask.pipelines.city.ending.summary import command_line, late_notes
from citymesh_dask.pipelines.city.inputs.survey import CityInputs, survey_city
from citymesh_dask.pipelines.city.job import CityJob
from citymesh_dask.pipelines.city.plan import city_job
from citymesh_dask.settings import RunSettings
from citymesh_dask.store import city_store
from citymesh_dask.store.city_store import create_table, open_store, write_table_chunk
from citymesh_dask.store.manifest import ReceiptFolder
from tests.adversarial_scenes import mixed
from tests.hostile import HOUSES, write_town
from tests.pipelines.city_runs import build
from tests.pipelines.scene_runs import check_city, write_scene
from tests.vector_samples import write_vectors


def rows_of(out: Path) -> list[tuple[Any, ...]]:
    """Return the rows of a building table, sorted columns, NaN as None."""
    store = open_store(out)
    columns = [store.column(name).tolist() for name in store.column_names()]
    return [tuple(None if value != value else value for value in row) for row in zip(*columns, strict=True)]


def pieces_told(job: CityJob) -> list[int]:
    """Return of how many buildings each task of the table tells what became of them."""
    receipts = ReceiptFolder(str(job.scratch.root / "receipts")).all()
    found = [receipt.facts["reasons"] for receipt in receipts if receipt.key.startswith("write_table-")]
    return [sum(entry["count"] for entry in entries) for entries in found]


def test_a_table_in_many_pieces_is_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = write_scene(tmp_path / "scene", mixed())
    whole = build(inputs, tmp_path / "whole.zarr")
    n_rows = len(mixed())
    assert pieces_told(whole) == [n_rows]
    for module in (table, city_store):
        monkeypatch.setattr(module, "TABLE_CHUNK_ROWS", 3)
    pieces = build(inputs, tmp_path / "pieces.zarr")
    assert pieces_told(pieces) == [3] * (n_rows // 3) + [n_rows % 3] * bool(n_rows % 3)
    assert rows_of(tmp_path / "pieces.zarr") == rows_of(tmp_path / "whole.zarr")


def test_pieces_of_nothing_but_fill_values_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(city_store, "TABLE_CHUNK_ROWS", 2)
    create_table(tmp_path / "table", {"name": city_store.TEXT, "height": "float64"}, 3)
    for index, count in enumerate((2, 1)):
        columns = {"name": np.full(count, "", object), "height": np.zeros(count)}
        assert write_table_chunk(tmp_path / "table", index, columns) > 0
        assert (tmp_path / "table" / "name" / "c" / str(index)).is_file()
        assert (tmp_path / "table" / "height" / "c" / str(index)).is_file()


def test_flat_footprints_need_no_height(tmp_path: Path) -> None:
    inputs = write_scene(tmp_path / "scene", mixed()) | {"lod": 0}
    build(inputs, tmp_path / "known.zarr")
    del inputs["roof_field"]
    build(inputs, tmp_path / "flat.zarr")
    check_city(tmp_path / "flat.zarr")
    known, flat = (open_store(tmp_path / name) for name in ("known.zarr", "flat.zarr"))
    assert flat.column("status").tolist() == known.column("status").tolist()
    assert flat.column("area").sum() > 0 and set(flat.column("height_source").tolist()) == {"none"}


@pytest.mark.parametrize(
    ("options", "facts", "words"),
    [
        ({}, {"bad_heights": 0, "sampled": 4, "tall": 2}, []),
        ({}, {"bad_heights": 3, "sampled": 4, "tall": 3}, ["3 values of height attributes", "--z-scale 0.3048"]),
        ({"z_scale": 0.3048}, {"bad_heights": 0, "sampled": 4, "tall": 4}, []),
        ({}, {"bad_heights": 0, "sampled": 0, "tall": 0}, []),
    ],
)
def test_warnings_for_which_the_inputs_had_to_be_read(
    options: dict[str, Any], facts: dict[str, int], words: list[str]
) -> None:
    keys = ("read_footprints-0000", "building_levels-0000")
    notes = late_notes(CityOptions(**options), {key: Receipt(key, 0.0, 0, 0.0, facts) for key in keys})
    assert len(notes) == len(words) and all(word in note for word, note in zip(words, notes, strict=True))


def test_the_command_names_a_layer_only_where_all_files_have_it(tmp_path: Path) -> None:
    write_town(tmp_path)
    for name in "ab":
        write_vectors(tmp_path / f"{name}.shp", [HOUSES["ab".index(name)]])
    commands = []
    for footprints in (tmp_path / "town.gpkg", [tmp_path / "a.shp", tmp_path / "b.shp"]):
        options = CityOptions(default_height=9)
        survey = survey_city(CityInputs(footprints, terrain=tmp_path / "town.tif"), options)
        job = city_job(survey, options, out=tmp_path / "out.zarr", scratch=tmp_path / "scratch", fan_in=2)
        settings = RunSettings(n_workers=3, temp_dir="/else where", log=True, use_disk_store=False, retries=0)
        commands.append(command_line(job, settings, "tcp://10.0.0.1:8786"))
    assert "--layer town" in commands[0] and "--layer" not in commands[1]
    assert f"--footprints {tmp_path}/a.shp {tmp_path}/b.shp" in commands[1]
    parser, _ = build_parser()
    given = vars(parser.parse_args(shlex.split(commands[0])[1:]))
    assert RunSettings(**{key: given[key] for key in SETTING_KEYS if key in given}) == dataclasses.replace(
        settings, scheduler_address="tcp://10.0.0.1:8786"
    )
    assert given["default_height"] == 9 and given["out"] == str(tmp_path / "out.zarr")
