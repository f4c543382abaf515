"""Dataclasses as JSON and back: bit by bit what they were, and nothing that is not expected."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.city import job as jobs
from citymesh_dask.pipelines.city.inputs.survey import CityInputs, survey_city
from citymesh_dask.pipelines.city.job import load_job, plain_job, save_job
from citymesh_dask.pipelines.city.plan import city_job
from citymesh_dask.store.plain import from_json, to_json
from citymesh_dask.store.trace import digest_of
from citymesh_dask.tiles import SkippedTile
from tests.hostile import write_town


@dataclass(frozen=True)
class Box:
    value: Any


VALUES = (None, True, 0, -(2**70), 0.1, -0.0, math.inf, 5e-324, "", "a" * 500, "\udcff", (), ((1,), ("b", None)))
VALUES += (Path("/a/b"), Box(Box(("x" * 99, "x" * 99))))


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_there_and_back(value: Any) -> None:
    found = from_json(to_json(Box(value)), [Box]).value
    assert type(found) is type(value) and repr(found) == repr(value)


@pytest.mark.parametrize("dtype", ["int8", "int64", "float32", "float64", "bool"])
def test_arrays(dtype: str) -> None:
    for array in (np.arange(12).reshape(3, 4).astype(dtype), np.zeros((0, 2), dtype), np.arange(12)[::3].astype(dtype)):
        found = from_json(to_json(Box(array)), [Box]).value
        assert found.dtype == array.dtype and found.shape == array.shape and found.tobytes() == array.tobytes()
        found[...] = 0  # it may be changed


def test_numbers_of_numpy_become_those_of_python() -> None:
    assert type(from_json(to_json(Box(np.float64(0.1))), [Box]).value) is float


def test_what_is_not_expected() -> None:
    for value in (object(), {1: 2}, [1], np.array(["a"], object), len):
        with pytest.raises(TypeError):
            to_json(Box(value))
    for text in ('{"value": {"kind": "Path", "fields": []}, "texts": []}', "{}", '{"value": {}, "texts": []}'):
        with pytest.raises(LookupError):
            from_json(text, [Box])
    with pytest.raises((ValueError, TypeError)):
        from_json('{"value": {"array": "|O", "shape": [1], "data": ""}, "texts": []}', [Box])


def test_a_job_is_the_same_job_for_its_tasks(tmp_path: Path) -> None:
    town = write_town(tmp_path / "town")
    inputs = CityInputs(
        town / "town.gpkg", points=town / "town.laz", terrain=town / "town.tif", surface=town / "town.tif"
    )
    options = CityOptions(roof_classes=(6, 7), bounds=(1000, 2000, 1060, 2040), tile_size=15)
    (tmp_path / "scratch").mkdir()
    job = city_job(survey_city(inputs, options), options, out=tmp_path / "o", scratch=tmp_path / "scratch", fan_in=2)
    tiling = job.tiling.split(0).skip(SkippedTile(1, "why" * 50))
    job = dataclasses.replace(job, tiling=tiling)
    path = save_job(job)
    assert digest_of(plain_job(load_job(path))) == digest_of(job)
    assert json.loads(Path(path).read_text())["value"]["kind"] == "CityJob"
    assert {kind.__name__ for kind in jobs._KINDS} >= {"CityJob", "Survey", "Tiling", "Density"}
