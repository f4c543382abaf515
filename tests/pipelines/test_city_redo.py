"""What a changed input or option makes a run do again, task by task; the result is that of a fresh run."""

from __future__ import annotations

import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
import zarr
from rasterio.transform import Affine

import citymesh_dask as cm
from citymesh_dask.formats import footprints
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.pipelines.city import plan
from citymesh_dask.pipelines.city.outlines import grouping
from tests.ground_samples import write_raster
from tests.vector_samples import write_vectors

COLUMNS, ROWS, PITCH = 10, 6, 30
AROUND = ("compile_kernels",)
"""Stages that do nothing for the mesh."""
ENDING = Counter(number_vertices=1, write_table_head=1, write_table=1, assemble=4)
"""What is done whenever the store is written anew."""


def houses() -> list[shapely.Polygon]:
    """Return houses in rows, no two of the same size."""
    made = []
    for k in range(COLUMNS * ROWS):
        x, y = 1010 + PITCH * (k % COLUMNS), 2010 + PITCH * (k // COLUMNS)
        made.append(shapely.box(x, y, x + 10 + k % 7, y + 8 + k % 5))
    return made


def write_city(folder: Path, shapes: list[shapely.Polygon], heights: np.ndarray | None = None) -> None:
    known = np.linspace(6, 12, len(shapes)) if heights is None else heights
    (folder / "city.gpkg").unlink(missing_ok=True)
    write_vectors(folder / "city.gpkg", shapes, {"id": np.arange(len(shapes)), "height": known})


@pytest.fixture
def city(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a city whose tasks are many and small."""
    monkeypatch.setattr(footprints, "_SOUGHT_FEATURES", 12)
    monkeypatch.setattr(plan, "PARTS_PER_PACK", 12)
    monkeypatch.setattr(grouping, "LINK_CELL", 100.0)
    monkeypatch.setattr("citymesh_dask.starting.write_report", lambda *_: None)  # it takes longer than the run
    width, height = PITCH * COLUMNS + 20, PITCH * ROWS + 20
    slope = np.add.outer(np.arange(height, 0, -1) * 0.01, np.arange(width) * 0.02).astype(np.float32)
    write_raster(tmp_path / "ground.tif", slope, Affine(1, 0, 1000, 0, -1, 2000 + height))
    write_city(tmp_path, houses())
    return tmp_path


def build(city: Path, out: str = "out.zarr", **options: Any) -> cm.CityMesh:
    """Build the city in this process."""
    settings: dict[str, Any] = {"tile_size": 80.0, "height_field": "height", "batch_size": 3, **options}
    run = start(city, out, **settings)
    mesh = run.result()
    redone.clear()
    for stage in run.report.stages:
        if stage.tasks > stage.reused and stage.name not in AROUND:
            redone[stage.name] = stage.tasks - stage.reused
    total[0] = sum(stage.tasks for stage in run.report.stages)
    return mesh


def start(city: Path, out: str, **settings: Any) -> Any:
    files = {"footprints": city / "city.gpkg", "terrain": city / "ground.tif", **settings}
    return cm.build_city_mesh(out=city / out, scheduler="synchronous", progress=False, **files)


redone: Counter[str] = Counter()
"""Tasks by stage that the last build did itself."""
total = [0]


def assert_equal(a: cm.CityMesh, b: cm.CityMesh) -> None:
    """Hold two meshes against one another, bit by bit."""
    for name in ("vertices", "faces", "markers", "building"):
        one, other = (np.asarray(getattr(mesh, name)) for mesh in (a, b))
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes(), name
    one, other = a.buildings, b.buildings
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def move_corner(shapes: list[shapely.Polygon], k: int) -> None:
    x0, y0, x1, y1 = shapes[k].bounds
    shapes[k] = shapely.Polygon([(x0, y0), (x1, y0), (x1, y1), (x0 + 3, y1)])


def redo(city: Path, **options: Any) -> Counter[str]:
    """Build over the finished store, hold the result against a fresh run, and return what was done again."""
    mesh = build(city, overwrite=True, **options)
    again = Counter(redone)
    assert_equal(mesh, build(city, "fresh.zarr", **options))
    assert check_store(mesh.path).ok
    return again - ENDING


def test_one_changed_footprint(city: Path) -> None:
    build(city)
    shapes = houses()
    move_corner(shapes, 27)
    write_city(city, shapes)
    again = redo(city)
    below = {name: again[name] for name in again if not name.startswith(("merge", "close"))}
    assert below == {
        "read_footprints": 1,
        "link_parts": 1,
        "clean_outlines": 1,
        "check_outlines": 1,
        "subdivide_outlines": 1,
        "building_levels": 1,
        "mesh_tile": 4,
    }
    assert again["merge_l1"] <= 2 and again["merge_l3"] == 1


def test_a_footprint_that_comes_to_touch_another(city: Path) -> None:
    """Groups are joined, hence there is one less: packs elsewhere do not mind."""
    build(city)
    shapes = houses()
    x0, y0, _, y1 = shapes[41].bounds
    shapes[41] = shapely.box(x0, y0, shapes[42].bounds[0], y1)
    write_city(city, shapes)
    again = redo(city)
    assert again["group_parts"] == 1 and again["clean_outlines"] <= 2 and again["mesh_tile"] <= 6, again


def test_one_changed_attribute(city: Path) -> None:
    """Heights are read with the geometries; only the tiles that see the roof are meshed again."""
    build(city)
    heights = np.linspace(6, 12, COLUMNS * ROWS)
    heights[27] = 20.0
    write_city(city, houses(), heights)
    again = redo(city)
    names = {"read_footprints", "roof_evidence", "building_levels", "mesh_tile"}
    assert {name for name in again if not name.startswith(("merge", "close"))} == names
    assert again["read_footprints"] == 1 and again["mesh_tile"] <= 4


def test_a_file_that_was_only_written_again(city: Path) -> None:
    build(city)
    write_city(city, houses())
    assert redo(city) == Counter()


def test_terrain_changed_in_one_corner(city: Path) -> None:
    build(city)
    with rasterio.open(city / "ground.tif", "r+") as raster:
        values = raster.read(1)
        values[-20:, -20:] += 1.5
        raster.write(values, 1)
    again = redo(city)
    assert again["mesh_tile"] <= 4 and "clean_outlines" not in again and "read_footprints" not in again, again


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        (
            {"min_building_height": 9.0},
            {"building_levels", "mesh_tile", "merge_l1", "merge_l2", "merge_l3", "close_mesh"},
        ),
        ({"roof_percentile": 0.5}, {"roof_evidence"}),
        ({"solid": True}, {"close_mesh"}),
        ({"sort_triangles": True}, {"mesh_tile"}),
    ],
)
def test_a_changed_option(options: dict[str, Any], stages: set[str], city: Path) -> None:
    build(city)
    again = redo(city, **options)
    assert {name for name in again if again[name]} <= stages, again


def test_another_size_of_triangles_keeps_what_was_read_and_cleaned(city: Path) -> None:
    build(city)
    again = redo(city, max_mesh_size=8.0)
    assert not {"read_footprints", "fill_terrain", "link_parts", "group_parts", "clean_outlines"} & again.keys()
    assert again["mesh_tile"] == 12


def write_cloud(path: Path, high: float, *, ground: float = 0.0) -> None:
    """Write points of the ground on a slope of its own, and on the roofs of the houses."""
    x, y = (a.ravel() for a in np.meshgrid(np.arange(1000.5, 1320, 2.0), np.arange(2000.5, high, 2.0)))
    roof = shapely.contains_xy(shapely.union_all(houses()), x, y)
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = [0.001] * 3, [1000, 2000, 0]
    header.add_crs(pyproj.CRS("EPSG:28992"))
    las = laspy.LasData(header)
    las.x, las.y, las.z = x, y, np.where(roof, 15.0, ground + 0.01 * (x - 1000))
    las.classification = np.where(roof, 6, 2).astype(np.uint8)
    las.write(path)


INPUTS = ("terrain", "points", "more", "surface", "building_heights")
FRAME = {"bounds": (1000.0, 2000.0, 1320.0, 2150.0), "default_height": 5.0, "height_field": None}


def given(city: Path, *names: str) -> dict[str, Any]:
    """Return some of the inputs that there may be."""
    files: dict[str, Any] = {name: city / f"{name}.tif" for name in names if name not in ("points", "more")}
    points = [city / f"{name}.laz" for name in names if name in ("points", "more")]
    return {"terrain": None, **files, "points": points}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("terrain", "points"), ("points",)),
        (("points",), ("terrain", "points")),
        (("terrain", "points"), ("points", "more")),
        (("points", "more"), ("points",)),
        (("points",), ("points", "more", "surface")),
        (("terrain", "surface"), ("terrain", "building_heights")),
        (("terrain", "surface", "building_heights"), ("terrain", "surface")),
        (("terrain",), ("points",)),
        (("points",), ("terrain",)),
    ],
    ids=lambda names: "-".join(names),
)
def test_inputs_that_come_and_go(before: tuple[str, ...], after: tuple[str, ...], city: Path) -> None:
    """What is not given any more leaves no trace, and what is given now is not missed: the result is a fresh one."""
    write_cloud(city / "points.laz", 2160)
    write_cloud(city / "more.laz", 2100, ground=0.3)
    shutil.copy(city / "ground.tif", city / "terrain.tif")
    for name, height in (("surface", 30.0), ("building_heights", 11.0)):
        write_raster(city / f"{name}.tif", np.full((210, 330), height, np.float32), Affine(1, 0, 995, 0, -1, 2205))
    build(city, **FRAME, **given(city, *before))
    mesh = build(city, overwrite=True, **FRAME, **given(city, *after))
    sources = {"terrain": "terrain raster", "points": "points"}
    assert mesh.attributes["terrain"]["source"] == next(sources[name] for name in INPUTS if name in after)
    assert_equal(mesh, build(city, "fresh.zarr", **FRAME, **given(city, *after)))


def test_from_one_finished_store_to_the_next_and_back(city: Path) -> None:
    """What was taken over once is kept again."""
    first = build(city, "first.zarr")
    build(city)
    for height in (9.0, 10.0, 2.0):
        mesh = build(city, overwrite=True, min_building_height=height)
        assert "clean_outlines" not in redone
    assert_equal(mesh, first)


def test_a_solid_is_taken_apart_and_put_together_again(city: Path) -> None:
    build(city, solid=True)
    shapes = houses()
    move_corner(shapes, 5)
    write_city(city, shapes)
    assert redo(city, solid=True)["mesh_tile"] <= 4


def test_a_store_that_lost_a_chunk_is_no_source(city: Path) -> None:
    """A damaged part of the store that is replaced costs the tiles in it, and nothing else."""
    mesh = build(city)
    chunk = mesh.path / "markers" / "c" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    write_city(city, houses())
    again = redo(city)
    assert again["mesh_tile"] == 12 and "clean_outlines" not in again


def test_the_store_stays_clean_for_zarr(city: Path) -> None:
    mesh = build(city)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group = zarr.open_group(mesh.path, mode="r")
        names = {name for name, _ in group.members(max_depth=None)}
        assert group.nmembers() == 7
        assert str(group.tree())
    assert {"faces", "buildings/id", "tiles/bounds", "reuse"} <= names
    assert not [name for name in names if name.startswith("reuse/")]
    assert group["reuse"].shape == (0,)
    shutil.rmtree(mesh.path / "reuse")
    assert check_store(mesh.path).ok
    assert redo(city, min_building_height=9.0)["clean_outlines"] == 5, "nothing is left to be taken over"


def test_a_part_more_moves_hardly_any_pack() -> None:
    random = np.random.default_rng(5)
    sizes, places = random.integers(1, 6, 40_000), np.sort(random.integers(0, 1 << 40, 40_000))
    whole = np.append(0, np.cumsum(sizes))
    before = grouping.deal_groups(whole, places, n_packs=120)
    counts = np.diff(whole[before])
    assert before[0] == 0 and before[-1] == 40_000
    assert counts.min() > 0.7 * counts.mean() and counts.max() < 1.3 * counts.mean()
    at = 17_000
    more = np.append(0, np.cumsum(np.insert(sizes, at, 1)))
    after = grouping.deal_groups(more, np.insert(places, at, places[at]), n_packs=120)
    moved = np.where(before > at, before + 1, before) != after
    assert moved.sum() <= 6
    for groups, packs in ((0, 0), (0, 3), (1, 4), (3, 8)):
        dealt = grouping.deal_groups(np.arange(groups + 1), np.arange(groups), n_packs=packs)
        assert len(dealt) == packs + 1 and dealt[-1] == groups and (np.diff(dealt) >= 0).all()
