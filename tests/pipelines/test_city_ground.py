"""Terrain and heights from real files, in any order and division."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pytest
import shapely
from rasterio.transform import Affine

from citymesh_dask.errors import InputError
from citymesh_dask.geometry.terrain.filling import VOID, fill_top, smooth
from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.city.ground.evidence import Evidence
from citymesh_dask.pipelines.city.ground.ground import read_height_field
from citymesh_dask.pipelines.city.ground.sampling import sample_points
from citymesh_dask.pipelines.city.inputs.survey import CityInputs
from citymesh_dask.pipelines.city.job import CityJob, save_job
from citymesh_dask.pipelines.city.outlines.footprints import read_footprints
from citymesh_dask.pipelines.city.outlines.part_index import index_parts
from tests.ground_samples import write_points, write_raster
from tests.pipelines.ground_builders import ground_job, roofs, run_ground, whole_terrain
from tests.vector_samples import write_vectors

X, Y = 1000.0, 2000.0
RD = CityOptions(crs="EPSG:28992")


def scene(folder: Path, name: str = "a.laz", *, low: float = 0.0, high: float = 100.0, seed: int = 0) -> Path:
    """Write points of a slope (10 cm per metre) on x low..high, y 0..60, with three flat roofs.

    Squares of 10 m at (20, 20), (40, 20) and (60, 20) with roofs at 15, 20 and 25 m; the last of them has
    only unclassified points, and two of class 6.
    """
    rng = np.random.default_rng(seed)
    n = int(60 * (high - low)) * 4
    xy = rng.random((n, 2)) * (high - low, 60) + (low, 0)
    z = 5 + xy[:, 0] / 10
    classes = np.full(n, 2)
    for k, corner in enumerate((20, 40, 60)):
        inside = (np.abs(xy - (corner + 5, 25)) < 5).all(axis=1)
        z[inside], classes[inside] = 15 + 5 * k, 6
    third = np.flatnonzero((classes == 6) & (xy[:, 0] >= 60))
    classes[third[2:]] = 1
    xyz = np.column_stack([xy[:, 0] + X, xy[:, 1] + Y, z])
    xyz[:2] = (X + low, Y, 5 + low / 10), (X + high, Y + 60, 5 + high / 10)
    write_points(folder / name, xyz, classes)
    return folder / name


def footprints(folder: Path, **fields: Any) -> Path:
    """Write the three squares of `scene`, and a fourth one where no points are on a roof."""
    boxes = [shapely.box(X + a, Y + 20, X + a + 10, Y + 30) for a in (20, 40, 60, 80)]
    return write_vectors(folder / "houses.gpkg", boxes, fields or {"number": np.arange(4)})


@pytest.fixture
def slope(tmp_path: Path) -> CityInputs:
    return CityInputs(footprints=footprints(tmp_path), points=[scene(tmp_path)])


def plane(job: CityJob) -> np.ndarray:
    """Return the slope of `scene` at the centres of the terrain cells, millimetres."""
    lattice = job.lattice
    x = lattice.x0 + (np.arange(lattice.cols) + 0.5) * lattice.dx
    return np.broadcast_to(5000 + 100 * x, (lattice.rows, lattice.cols))


def test_terrain_and_roofs_of_a_slope(tmp_path: Path, slope: CityInputs):
    job = ground_job(tmp_path / "job", slope, RD)
    facts = run_ground(job)
    error = np.abs(whole_terrain(job) - plane(job))
    assert np.median(error) < 30 and error[2:-2, 2:-2].max() < 400
    assert roofs(job, "roof")[:2].tolist() == [15.0, 20.0]
    assert np.isnan(roofs(job, "roof")[2:]).all()  # two points of class 6 are too few, and none
    assert roofs(job, "samples")[2:].tolist() == [2, 0]
    assert roofs(job, "evidence").tolist() == [Evidence.POINTS, Evidence.POINTS, Evidence.NONE, Evidence.NONE]
    top = facts["fill_top-0000"]
    assert top["source"] == "points" and top["cells"] == 6000
    assert 300 <= top["filled_cells"] <= 500 and top["largest_hole_m"] == 4.0


def test_heights_are_those_of_the_raster_in_any_window(tmp_path: Path, slope: CityInputs):
    job = ground_job(tmp_path / "job", slope, RD, block=16)
    run_ground(job)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 100, 300), rng.uniform(0, 60, 300)
    whole = read_height_field(job, (0, 0, 100, 60)).at(x, y)
    for a, b in zip(x, y, strict=True):
        k = np.flatnonzero((np.abs(x - a) < 3) & (np.abs(y - b) < 3))
        window = read_height_field(job, (x[k].min(), y[k].min(), x[k].max(), y[k].max()))
        assert window.heights.size < 200
        assert np.array_equal(window.at(x[k], y[k]), whole[k])


@pytest.mark.parametrize("smoothing", [0, 3])
def test_blocks_ranges_and_order_change_nothing(tmp_path: Path, slope: CityInputs, smoothing: int):
    options = CityOptions(crs="EPSG:28992", smoothing=smoothing)
    one = ground_job(tmp_path / "one", slope, options)
    many = ground_job(tmp_path / "many", slope, options, block=16, points_per_range=3001, features_per_range=3)
    first, second = run_ground(one), run_ground(many, backwards=True)
    assert np.array_equal(whole_terrain(one), whole_terrain(many))
    for name in ("roof", "height", "ground", "evidence", "samples"):
        assert np.array_equal(roofs(one, name), roofs(many, name), equal_nan=name not in ("evidence", "samples"))
    for name in ("cells", "filled_cells", "largest_hole_m"):
        assert first["fill_top-0000"][name] == second["fill_top-0000"][name]
    assert many.lattice.n_blocks == 28 and len(many.point_ranges) == 8


def test_filling_by_blocks_is_filling_at_once(tmp_path: Path, slope: CityInputs):
    job = ground_job(tmp_path / "job", slope, CityOptions(crs="EPSG:28992", smoothing=2), block=16)
    run_ground(job)
    lattice = job.lattice
    means = np.full((lattice.rows, lattice.cols), VOID, np.int32)
    for block in range(lattice.n_blocks):
        row, col, end_row, end_col = lattice.block_span(block)
        means[row:end_row, col:end_col] = job.scratch.read(f"cells/{block:05d}", "level_0")
    assert (means == VOID).sum() > 300
    assert np.array_equal(whole_terrain(job), smooth(fill_top(means), 2))


def test_tasks_run_twice_write_the_same_bytes(tmp_path: Path, slope: CityInputs):
    job = ground_job(tmp_path / "job", slope, RD)
    run_ground(job)

    def content() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in sorted((tmp_path / "job").rglob("*")) if p.is_file()}

    before = content()
    run_ground(job)
    after = content()
    assert [p for p in before if before[p] != after.get(p)] == []
    assert before.keys() == after.keys()


def test_adjacent_files_are_one_terrain(tmp_path: Path, slope: CityInputs):
    whole = ground_job(tmp_path / "whole", slope, RD)
    run_ground(whole)
    points = laspy.read(scene(tmp_path, "b.las"))
    for name, chosen in (("west.laz", points.x < X + 47.3), ("east.laz", points.x >= X + 47.3)):
        part = points[chosen]
        part.write(tmp_path / name)
    inputs = CityInputs(footprints=slope.footprints, points=[tmp_path / "west.laz", tmp_path / "east.laz"])
    two = ground_job(tmp_path / "two", inputs, RD)
    run_ground(two)
    assert np.array_equal(whole_terrain(two), whole_terrain(whole))
    assert np.array_equal(roofs(two, "roof"), roofs(whole, "roof"), equal_nan=True)


def test_files_without_roof_classes_use_unclassified_points(tmp_path: Path):
    scene(tmp_path)
    points = laspy.read(tmp_path / "a.laz")
    points.classification[points.classification == 6] = 1
    points.write(tmp_path / "open.laz")
    inputs = CityInputs(footprints=footprints(tmp_path), points=[tmp_path / "open.laz"])
    job = ground_job(tmp_path / "job", inputs, RD, points_per_range=5000)
    run_ground(job)
    assert roofs(job, "roof")[:3].tolist() == [15.0, 20.0, 25.0] and np.isnan(roofs(job, "roof")[3])


def test_unclassified_points_are_chosen_file_by_file(tmp_path: Path):
    scene(tmp_path)
    points = laspy.read(tmp_path / "a.laz")
    west = points[points.x < X + 35]
    west.classification[west.classification == 6] = 1
    west.write(tmp_path / "west.laz")
    points[points.x >= X + 35].write(tmp_path / "east.laz")
    inputs = CityInputs(footprints=footprints(tmp_path), points=[tmp_path / "west.laz", tmp_path / "east.laz"])
    job = ground_job(tmp_path / "job", inputs, RD)
    run_ground(job)
    assert roofs(job, "roof")[:2].tolist() == [15.0, 20.0]
    assert roofs(job, "samples")[2] == 2  # the file in the east has a class for roofs


def test_what_wins(tmp_path: Path):
    points = scene(tmp_path)
    nan = np.nan
    fields = {"top": np.array([30.0, nan, nan, nan]), "tall": np.array([99.0, 12.0, nan, nan])}
    surface = np.full((60, 100), 44.0, np.float32)
    surface[:, 80:] = -9999
    write_raster(tmp_path / "dsm.tif", surface, Affine(1, 0, X, 0, -1, Y + 60))
    inputs = CityInputs(footprints=footprints(tmp_path, **fields), points=points, surface=tmp_path / "dsm.tif")
    options = CityOptions(crs="EPSG:28992", roof_field="top", height_field="tall", default_height=7.5)
    job = ground_job(tmp_path / "job", inputs, options)
    run_ground(job)
    assert np.array_equal(roofs(job, "roof"), [30.0, nan, 44.0, nan], equal_nan=True)
    assert np.array_equal(roofs(job, "height"), [nan, 12.0, nan, 7.5], equal_nan=True)
    assert roofs(job, "evidence").tolist() == [
        Evidence.ATTRIBUTE,
        Evidence.ATTRIBUTE,
        Evidence.SURFACE,
        Evidence.DEFAULT,
    ]


def test_building_heights_and_footprints_under_a_cell(tmp_path: Path):
    points = scene(tmp_path)
    values = np.zeros((6, 10), np.int16)  # cells of 10 m, rows from the north
    values[3, 2], values[3, 4] = 9, 11
    write_raster(tmp_path / "bhm.tif", values, Affine(10, 0, X, 0, -10, Y + 60))
    boxes = [shapely.box(X + a, Y + 21, X + b, Y + 23) for a, b in ((21, 23), (41, 44), (71, 73))]
    houses = write_vectors(tmp_path / "sheds.gpkg", [*boxes, shapely.box(X + 20, Y + 20, X + 50, Y + 30)])
    job = ground_job(
        tmp_path / "job",
        CityInputs(footprints=houses, points=points, building_heights=tmp_path / "bhm.tif"),
        CityOptions(crs="EPSG:28992", roof_classes=(99,), z_scale=1.0),
    )
    run_ground(job)
    codes = roofs(job, "evidence").tolist()
    assert codes == [Evidence.BUILDING_HEIGHTS, Evidence.BUILDING_HEIGHTS, Evidence.NONE, Evidence.BUILDING_HEIGHTS]
    assert np.array_equal(roofs(job, "height"), [9.0, 11.0, np.nan, 11.0], equal_nan=True)
    assert np.isnan(roofs(job, "roof")).all()


def test_heights_in_feet_are_scaled_for_points_and_rasters(tmp_path: Path, slope: CityInputs):
    metres = ground_job(tmp_path / "metres", slope, RD)
    feet = ground_job(tmp_path / "feet", slope, CityOptions(crs="EPSG:28992", z_scale=0.3048))
    run_ground(metres), run_ground(feet)
    assert np.abs(whole_terrain(feet) - whole_terrain(metres) * 0.3048).max() <= 2
    assert roofs(feet, "roof")[:2].tolist() == [4.57, 6.1]
    raster = write_raster(tmp_path / "dtm.tif", np.full((60, 100), 100, np.int16), Affine(1, 0, X, 0, -1, Y + 60))
    job = ground_job(
        tmp_path / "raster",
        CityInputs(footprints=slope.footprints, terrain=raster),
        CityOptions(crs="EPSG:28992", z_scale=0.3048, default_height=5.0),
    )
    run_ground(job)
    assert (whole_terrain(job) == 30_480).all()


def test_a_terrain_raster_keeps_its_cells_and_wins_over_points(tmp_path: Path, slope: CityInputs):
    values = np.random.default_rng(0).integers(0, 50, (21, 34)).astype(np.int16)
    values[5:9, 7:12] = -32768
    raster = write_raster(tmp_path / "dtm.tif", values, Affine(3.1, 0, X - 2, 0, -3.3, Y + 65), nodata=-32768)
    inputs = CityInputs(footprints=slope.footprints, points=slope.points, terrain=raster)
    job = ground_job(tmp_path / "job", inputs, CityOptions(crs="EPSG:28992", bounds=(X, Y, X + 95, Y + 60)), block=16)
    facts = run_ground(job)
    assert facts["fill_top-0000"]["source"] == "terrain raster" and facts["fill_top-0000"]["filled_cells"] == 20
    centres = (np.arange(34) + 0.5) * 3.1 - 2, 65 - 21 * 3.3 + (np.arange(21) + 0.5) * 3.3
    x, y = np.meshgrid(*(c[(c > 0) & (c < high)] for c, high in zip(centres, (95, 60), strict=True)))
    got = read_height_field(job, (0, 0, 95, 60)).at(x.ravel(), y.ravel()).reshape(x.shape)
    north_up = values[::-1].astype(float)
    inside = north_up[np.ix_(*((c > 0) & (c < high) for c, high in zip(centres[::-1], (60, 95), strict=True)))]
    known = inside != -32768
    assert np.abs(got - inside)[known].max() <= 0.001 and (got[~known] >= 0).all()
    assert roofs(job, "roof")[:2].tolist() == [15.0, 20.0]


def test_ground_from_attributes(tmp_path: Path):
    fields = {"floor": np.array([5.0, 7.0, np.nan, 9.0]), "tall": np.full(4, 10.0)}
    options = CityOptions(crs="EPSG:28992", ground_field="floor", height_field="tall")
    job = ground_job(tmp_path / "job", CityInputs(footprints=footprints(tmp_path, **fields)), options)
    facts = run_ground(job)
    assert facts["fill_top-0000"]["source"] == "attributes"
    origin = np.array([X, Y]) - job.domain.origin
    field = read_height_field(job, (0, 0, 110, 50))
    x = np.array([25.0, 45, 85, 21, 49, 80.5])
    at = field.at(x + origin[0], np.full(6, 25.0) + origin[1])
    assert at.tolist() == [5.0, 7.0, 9.0, 5.0, 7.0, 9.0]
    between = field.at(np.array([65.0]) + origin[0], np.array([25.0]) + origin[1])[0]
    assert 7.0 < between < 9.0
    assert np.array_equal(roofs(job, "ground"), fields["floor"], equal_nan=True)


def test_no_ground_says_what_there_is(tmp_path: Path, slope: CityInputs):
    job = ground_job(tmp_path / "job", slope, CityOptions(crs="EPSG:28992", ground_classes=(3, 8)))
    with pytest.raises(
        InputError, match=r"a\.laz: no ground points of classes \(3, 8\).*1: \d+, 2: \d+.*--ground-classes"
    ):
        run_ground(job)
    void = write_raster(tmp_path / "void.tif", np.full((60, 100), np.nan, np.float32), Affine(1, 0, X, 0, -1, Y + 60))
    job = ground_job(
        tmp_path / "raster",
        CityInputs(footprints=slope.footprints, terrain=void),
        CityOptions(crs="EPSG:28992", default_height=5.0),
    )
    with pytest.raises(InputError, match=r"void\.tif: no cell"):
        run_ground(job)
    fields = {"floor": np.full(4, np.nan), "tall": np.full(4, 3.0)}
    options = CityOptions(crs="EPSG:28992", ground_field="floor", height_field="tall")
    job = ground_job(tmp_path / "attribute", CityInputs(footprints=footprints(tmp_path, **fields)), options)
    with pytest.raises(InputError, match="attribute 'floor' gives no ground height"):
        run_ground(job)


@pytest.mark.parametrize("west", [49.99, 45.0, 39.0])
def test_a_clipped_building_has_the_height_of_its_whole(tmp_path: Path, slope: CityInputs, west: float) -> None:
    """Points inside of what is left of it count; where they are too few, those on the rest of it do."""
    options = CityOptions(crs="EPSG:28992", bounds=(X + west, Y, X + 100, Y + 60))
    job = ground_job(tmp_path / "job", slope, options, features_per_range=1, points_per_range=5000)
    run_ground(job)
    assert roofs(job, "roof")[1] == 20.0
    assert roofs(job, "evidence").tolist() == [Evidence.NONE, Evidence.POINTS, Evidence.NONE, Evidence.NONE]
    assert (roofs(job, "samples")[1] < 3) == (west == 49.99)


def test_footprints_far_from_the_points_of_a_range_are_not_read(tmp_path: Path, slope: CityInputs, monkeypatch):
    job = ground_job(tmp_path / "job", slope, RD, features_per_range=1)
    run_ground(job)
    scene(tmp_path, "east.laz", low=70, high=100)
    (tmp_path / "a.laz").unlink()
    job = ground_job(
        tmp_path / "far",
        CityInputs(footprints=slope.footprints, points=tmp_path / "east.laz"),
        CityOptions(crs="EPSG:28992", bounds=(X, Y, X + 100, Y + 60)),
        features_per_range=1,
    )
    path = save_job(job)
    for index in range(4):
        read_footprints(path, index)
    index_parts(path)
    read: list[str] = []
    original = type(job.scratch).read
    monkeypatch.setattr(
        type(job.scratch), "read", lambda self, name, *rest: read.append(name) or original(self, name, *rest)
    )
    sample_points(path, 0)
    assert set(read) <= {"footprints/00003", "parts"}
