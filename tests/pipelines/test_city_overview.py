"""A large city leaves an overview in its store, and is drawn from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import citymesh_dask as cm
from citymesh_dask.geometry.drawing.overview import Overview, OverviewGrid, lay_over, sum_up
from citymesh_dask.pipelines.city.tiles import overview
from citymesh_dask.pipelines.export import Picture, draw_store
from citymesh_dask.store.city_store import OVERVIEW, CityStore, open_store
from tests.hostile import write_town


@pytest.fixture
def town(tmp_path: Path) -> Path:
    return write_town(tmp_path)


def build(town: Path, out: Path) -> CityStore:
    run = cm.build_city_mesh(
        town / "town.gpkg",
        out,
        points=town / "town.laz",
        tile_size=15,
        max_mesh_size=2,
        scheduler="synchronous",
        progress=False,
    )
    run.result()
    return open_store(out)


def test_a_small_city_has_none(town: Path, tmp_path: Path) -> None:
    store = build(town, tmp_path / "small.zarr")
    assert not (store.path / OVERVIEW).exists()


def test_the_overview_is_that_of_the_faces(town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = build(town, tmp_path / "small.zarr")
    monkeypatch.setattr(overview, "_LARGE_FACES", 0)
    store = build(town, tmp_path / "large.zarr")
    for name in ("vertices", "faces", "markers"):
        np.testing.assert_array_equal(store.read(name), small.read(name))
    grid = OverviewGrid.over(tuple(store.attributes["bounds"]))
    heights, markers = (store.read(f"{OVERVIEW}/{name}") for name in ("heights", "markers"))
    assert heights.shape == markers.shape == grid.shape
    whole = Overview.empty(0, 0, grid.shape)
    arrays = {name: store.read(name) for name in ("faces", "markers")}
    lay_over(whole, sum_up(grid, store.read("vertices"), n_rows=store.n_buildings, **arrays))
    np.testing.assert_array_equal(heights, whole.heights)
    np.testing.assert_array_equal(markers, whole.markers)


def test_the_picture_comes_from_the_overview(town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "_LARGE_FACES", 0)
    store = build(town, tmp_path / "large.zarr")
    faces = store.path / "faces" / "c"
    faces.rename(faces.with_name("gone"))
    picture = draw_store(store, Picture(size=(200, 120)))
    assert picture.startswith(b"\x89PNG")
    assert draw_store(store, Picture(size=(200, 120), colour="height")) != picture
