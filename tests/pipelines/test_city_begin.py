"""Whether a run is the same as an earlier one: what counts as a change of the inputs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.city.inputs.survey import CityInputs, survey_city
from citymesh_dask.pipelines.city.request import describe_inputs
from tests.hostile import HOUSES, write_cloud, write_town
from tests.vector_samples import write_vectors


def _more_points(folder: Path) -> None:
    write_cloud(folder / "clouds" / "a.laz", step=0.5)


def _one_file_more(folder: Path) -> None:
    shutil.copy(folder / "clouds" / "a.laz", folder / "clouds" / "b.laz")


def _other_heights(folder: Path) -> None:
    """Write attributes anew as an editor of tables does: the file with the geometries is not touched."""
    write_vectors(folder / "other.shp", HOUSES, {"height": np.full(2, 12.0)})
    (folder / "other.dbf").replace(folder / "houses.dbf")


@pytest.mark.parametrize("points", ["clouds/*.laz", "clouds"])
@pytest.mark.parametrize("change", [_more_points, _one_file_more, _other_heights])
def test_a_change_behind_a_pattern_a_folder_or_a_shapefile_is_noticed(
    change: Callable[[Path], None], points: str, tmp_path: Path
) -> None:
    write_town(tmp_path)
    (tmp_path / "clouds").mkdir()
    (tmp_path / "town.laz").rename(tmp_path / "clouds" / "a.laz")
    write_vectors(tmp_path / "houses.shp", HOUSES, {"height": np.full(2, 9.0)})
    inputs = CityInputs(tmp_path / "houses.shp", points=str(tmp_path / points), terrain=tmp_path / "town.tif")
    before, same = (describe_inputs(survey_city(inputs, CityOptions())) for _ in range(2))
    assert before == same and [entry["role"] for entry in before] == ["footprints", "points", "terrain"]
    change(tmp_path)
    assert describe_inputs(survey_city(inputs, CityOptions())) != before
