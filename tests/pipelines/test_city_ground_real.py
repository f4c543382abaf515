"""Terrain and heights of real cities."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest

from citymesh_dask.options import CityOptions
from citymesh_dask.outlines import Parts
from citymesh_dask.pipelines.city.ground.evidence import Evidence
from citymesh_dask.pipelines.city.ground.ground import read_height_field
from citymesh_dask.pipelines.city.inputs.survey import CityInputs
from citymesh_dask.pipelines.city.job import CityJob
from tests.conftest import city_data
from tests.pipelines.ground_builders import ground_job, roofs, run_ground, whole_terrain

RD = CityOptions(crs="EPSG:28992")


def delft(folder: Path, **options: Any) -> CityJob:
    tiles = [city_data("delft_3dfier", f"ahn3_cropped_{k}.laz") for k in (1, 2)]
    inputs = CityInputs(footprints=city_data("delft_3dfier", "bgt.gpkg"), layer="pand", points=tiles)
    return ground_job(folder, inputs, RD, **options)


def reference_heights() -> Iterator[tuple[float, float]]:
    """Yield lowest and highest z of each footprint in the model that 3dfier made of Delft."""
    model = json.loads(city_data("delft_3dfier", "reference_lod1_3dfier_testarea.city.json").read_text())
    z = np.array(model["vertices"], float)[:, 2]
    ids = pyogrio.raw.read(city_data("delft_3dfier", "bgt.gpkg"), layer="pand", columns=["gml_id"])[3][0]
    for name in ids:
        corners: list[int] = []
        todo = [geometry["boundaries"] for geometry in model["CityObjects"][name]["geometry"]]
        while todo:
            item = todo.pop()
            todo.extend(item) if isinstance(item, list) else corners.append(item)
        yield z[corners].min(), z[corners].max()


def test_delft_agrees_with_3dfier(tmp_path: Path):
    job = delft(tmp_path / "job")
    facts = run_ground(job)
    low, high = np.array(list(reference_heights())).T
    roof = roofs(job, "roof")
    assert np.isfinite(roof).all() and len(roof) == 160
    assert np.median(np.abs(roof - high)) < 0.2
    field = read_height_field(job, (0, 0, 263, 228))
    parts = Parts(*(job.scratch.read("footprints/00000", n) for n in ("rows", "ring_start", "point_start", "points")))
    z = field.at(*(parts.points.T / 1024))
    ground = np.minimum.reduceat(z, parts.point_start[parts.ring_start[:-1]])
    assert np.median(np.abs(ground - low[parts.rows])) < 0.1
    heights = whole_terrain(job)
    assert heights.min() > -600 and heights.max() < 3000  # canal and houses are filled without spikes
    assert 0.4 < facts["fill_top-0000"]["filled_share"] < 0.5


def test_delft_does_not_depend_on_ranges_and_blocks(tmp_path: Path):
    one, many = delft(tmp_path / "one"), delft(tmp_path / "many", block=64, points_per_range=250_000)
    run_ground(one), run_ground(many, backwards=True)
    assert np.array_equal(whole_terrain(one), whole_terrain(many))
    assert np.array_equal(roofs(one, "roof"), roofs(many, "roof"))


def test_copc_gives_the_terrain_and_roofs_of_its_tile(tmp_path: Path):
    folder = "ign_77050_six_tiles"
    found = []
    for name in ("test_data_77050_627755_LA93_IGN69_buildings.copc.laz", "test_data_77050_627755_LA93_IGN69.laz"):
        inputs = CityInputs(footprints=city_data(folder, "footprints_DERIVED.gpkg"), points=city_data(folder, name))
        job = ground_job(tmp_path / str(len(found)), inputs)
        run_ground(job)
        found.append((whole_terrain(job), roofs(job, "roof")))
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1], equal_nan=True) and np.isfinite(found[0][1]).any()


def test_kronenhuset_rasters(tmp_path: Path):
    names = ("buildings.shp", "DEM_KRbig.tif", "DSM_KRbig.tif")
    houses, terrain, surface = (city_data("kronenhuset_goteborg", name) for name in names)
    job = ground_job(tmp_path / "job", CityInputs(footprints=houses, terrain=terrain, surface=surface))
    run_ground(job)
    roof, evidence = roofs(job, "roof"), roofs(job, "evidence")
    assert (evidence == Evidence.SURFACE).sum() == 41 and (evidence == Evidence.NONE).sum() == 96
    assert 15 < np.nanmedian(roof) < 25 and np.nanmax(roof) <= 58.5
    assert whole_terrain(job).max() == 23_206


def test_bilbao_building_heights(tmp_path: Path):
    names = ("footprints_DERIVED.gpkg", "DEM.tif", "BDSM.tif")
    houses, terrain, heights = (city_data("bilbao_dtm_bhm", name) for name in names)
    job = ground_job(tmp_path / "job", CityInputs(footprints=houses, terrain=terrain, building_heights=heights))
    run_ground(job)
    known = pyogrio.raw.read(houses, columns=["height"])[3][0].astype(float)
    height = roofs(job, "height")
    assert np.isfinite(height).all() and (roofs(job, "evidence") == Evidence.BUILDING_HEIGHTS).all()
    assert np.median(np.abs(height - known)) <= 2.0
    assert whole_terrain(job).min() == -2000 and whole_terrain(job).max() == 103_000


def test_lyon_keeps_its_cells_that_are_not_square(tmp_path: Path):
    houses, terrain = (
        city_data("lyon_dtm_bdtopo", "buildings_lyon1.geojson"),
        city_data("lyon_dtm_bdtopo", "dem_10m.tif"),
    )
    options = CityOptions(crs="EPSG:3946", height_field="HAUTEUR", ground_field="Z_MIN_SOL")
    job = ground_job(tmp_path / "job", CityInputs(footprints=houses, terrain=terrain), options, block=128)
    run_ground(job)
    height, ground = roofs(job, "height"), roofs(job, "ground")
    assert (roofs(job, "evidence") == Evidence.ATTRIBUTE).all() and np.isnan(ground).sum() == 5
    assert np.median(height) == pytest.approx(21.8)
    parts = Parts(*(job.scratch.read("footprints/00000", n) for n in ("rows", "ring_start", "point_start", "points")))
    first = parts.point_start[parts.ring_start[:-1]]
    field = read_height_field(job, (0, 0, 3520, 1690))
    z = field.at(*(parts.points[first].T / 1024))
    assert abs(np.nanmedian(z - ground[parts.rows])) < 0.5  # "aligned", as its README says
