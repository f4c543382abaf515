"""Stage read_footprints: ranges of features into scratch groups, heights and kept attributes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
import zarr

from citymesh_dask.errors import InputError
from citymesh_dask.geometry.terrain.terrain import TerrainLattice
from citymesh_dask.options import CityOptions
from citymesh_dask.outcomes import Outcome
from citymesh_dask.outlines import Parts
from citymesh_dask.pipelines.city.inputs.attributes import numbers, require_numbers, table_columns
from citymesh_dask.pipelines.city.inputs.survey import CityInputs, survey_city
from citymesh_dask.pipelines.city.job import CityJob, FootprintRange, load_job, save_job
from citymesh_dask.pipelines.city.outlines.footprints import kept_columns, read_footprints, read_kept_columns
from citymesh_dask.store.city_store import write_table
from citymesh_dask.store.scratch import Scratch
from citymesh_dask.tiles import regular_tiling
from tests.conftest import city_data
from tests.vector_samples import squares, write_vectors

PART_ARRAYS = ("rows", "ring_start", "point_start", "points")
FEATURE_ARRAYS = ("status", "repair", "roof", "height", "ground")


def make_job(folder: Path, files: Any, *, step: int = 20_000, layer: str | None = None, **options: Any) -> str:
    """Save the job of footprints with ground from an attribute or flat, read in ranges of ``step`` features."""
    chosen = CityOptions(**{"lod": 0, **options})
    survey = survey_city(CityInputs(files, layer), chosen)
    ranges, first_row = [], 0
    for place, source in enumerate(survey.footprints):
        for start in range(0, source.n_features, step):
            stop = min(start + step, source.n_features)
            ranges.append(FootprintRange(place, start, stop, first_row + start))
        first_row += source.n_features
    lattice = TerrainLattice.over_domain(survey.domain, 1.0)
    folder.mkdir(parents=True, exist_ok=True)
    job = CityJob(
        scratch=Scratch(folder),
        out=str(folder / "out"),
        options=chosen,
        survey=survey,
        footprint_ranges=tuple(ranges),
        point_ranges=(),
        lattice=lattice,
        tiling=regular_tiling(survey.domain, None),
        n_packs=1,
        fan_in=8,
    )
    return save_job(job)


def run(job_path: str) -> tuple[CityJob, list[dict[str, Any]]]:
    job = load_job(job_path)
    return job, [read_footprints(job_path, index) for index in range(len(job.footprint_ranges))]


def read_parts(job: CityJob, index: int) -> Parts:
    return Parts(*(job.scratch.read(f"footprints/{index:05d}", name) for name in PART_ARRAYS))


def column(job: CityJob, name: str) -> np.ndarray:
    """Return a per-feature array over all ranges."""
    groups = range(len(job.footprint_ranges))
    return np.concatenate([job.scratch.read(f"footprints/{index:05d}", name) for index in groups])


def all_polygons(job: CityJob) -> dict[int, list[bytes]]:
    """Return the parts of every row over all ranges, as WKB."""
    found: dict[int, list[bytes]] = {}
    for index in range(len(job.footprint_ranges)):
        parts = read_parts(job, index)
        if not len(parts):
            continue
        offsets = (parts.point_start, parts.ring_start)
        shapes = shapely.from_ragged_array(shapely.GeometryType.POLYGON, parts.points.astype(float), offsets)
        for row, shape in zip(parts.rows.tolist(), shapes, strict=True):
            found.setdefault(row, []).append(shape.wkb)
    return found


@pytest.fixture
def mixed(tmp_path: Path) -> list[Path]:
    """Two files: a multi polygon, a bow tie, nothing, a point; and text heights with a decimal comma."""
    bow = shapely.Polygon([(1100, 2000), (1110, 2010), (1110, 2000), (1100, 2010)])
    geometries = [shapely.MultiPolygon(squares(2)), bow, None, *squares(2, y=2100)]
    fields = {"roof": np.array([12.0, 9.5, np.nan, 1e20, -9999]), "floor": np.full(5, 1.0), "count": np.arange(5)}
    first = write_vectors(tmp_path / "first.gpkg", geometries, fields, kind="Unknown")
    texts = {"roof": np.array(["7,25", "", "unknown"]), "floor": np.full(3, 2.0)}
    second = write_vectors(tmp_path / "second.geojson", squares(3, y=2300), texts)
    return [first, second]


def test_group_of_a_range(tmp_path: Path, mixed: list[Path]) -> None:
    job_path = make_job(tmp_path / "job", mixed, ground_field="floor", roof_field="roof")
    job, summaries = run(job_path)
    attributes = job.scratch.attributes("footprints/00000")
    assert (attributes["first_row"], attributes["n_features"]) == (0, 5)
    assert summaries[0] == {
        "features": 5,
        "parts": 6,
        "outcomes": {"MESHED": 3, "REPAIRED": 1, "SKIPPED_NO_GEOMETRY": 1},
        "bad_heights": 0,
    }
    assert summaries[1]["bad_heights"] == 1
    parts = read_parts(job, 0)
    assert parts.rows.tolist() == [0, 0, 1, 1, 3, 4]
    boxes = job.scratch.read("footprints/00000", "boxes")
    origin = np.array([*job.domain.origin] * 2) * 1024
    assert (boxes[0] + origin).tolist() == [1000 * 1024, 2000 * 1024, 1010 * 1024, 2010 * 1024]
    assert attributes["box"] == [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]
    assert read_parts(job, 1).rows.tolist() == [5, 6, 7]
    assert job.scratch.read("footprints/00000", "status").dtype == np.int8


def test_heights_from_numbers_text_and_marks_of_absence(tmp_path: Path, mixed: list[Path]) -> None:
    job, _ = run(make_job(tmp_path / "job", mixed, ground_field="floor", roof_field="roof", z_scale=0.3048))
    nan = np.nan
    expected = np.array([12.0, 9.5, nan, nan, nan, 7.25, nan, nan]) * 0.3048
    np.testing.assert_allclose(column(job, "roof"), expected)
    np.testing.assert_allclose(column(job, "ground"), np.array([1.0] * 5 + [2.0] * 3) * 0.3048)
    assert np.isnan(column(job, "height")).all()


def test_text_that_is_no_number() -> None:
    values = np.array(["3", " 4.5 ", "x", None, ""], dtype=object)
    np.testing.assert_array_equal(numbers(values), [3, 4.5, np.nan, np.nan, np.nan])
    require_numbers(values, "here")
    with pytest.raises(InputError, match=r"here: 'low'.*numbers"):
        require_numbers(np.array(["low", None, "high", "3"], dtype=object), "here")
    require_numbers(np.array([None, ""], dtype=object), "here")


@pytest.mark.parametrize("step", [1, 2, 3])
def test_ranges_may_be_cut_anywhere(tmp_path: Path, mixed: list[Path], step: int) -> None:
    options = {"ground_field": "floor", "roof_field": "roof"}
    whole, _ = run(make_job(tmp_path / "whole", mixed, **options))
    cut, _ = run(make_job(tmp_path / "cut", mixed, step=step, **options))
    assert all_polygons(whole) == all_polygons(cut)
    for name in FEATURE_ARRAYS:
        np.testing.assert_array_equal(column(whole, name), column(cut, name))
    assert _table(whole) == _table(cut)


def test_running_twice_writes_the_same_bytes(tmp_path: Path, mixed: list[Path]) -> None:
    job_path = make_job(tmp_path / "job", mixed, ground_field="floor")
    contents = []
    for _ in range(2):
        run(job_path)
        files = sorted(path for path in (tmp_path / "job" / "footprints").rglob("*") if path.is_file())
        contents.append([(str(path), path.read_bytes()) for path in files])
    assert contents[0] == contents[1]


def test_outside_clipped_and_not_finite(tmp_path: Path) -> None:
    with np.errstate(invalid="ignore"):
        strange = shapely.Polygon([(1000, 2000), (np.nan, 2005), (1005, 2005)])
    shapes = [*squares(3), strange, shapely.Point(1005, 2005)]
    path = write_vectors(tmp_path / "a.gpkg", shapes, {"floor": np.ones(5)}, kind="Unknown")
    job_path = make_job(tmp_path / "job", path, ground_field="floor", bounds=(1005, 1990, 1035, 2020))
    job, (summary,) = run(job_path)
    expected = [0, 0, Outcome.SKIPPED_OUTSIDE, Outcome.SKIPPED_BAD_COORDINATES, Outcome.SKIPPED_NOT_A_POLYGON]
    assert column(job, "status").tolist() == expected
    assert column(job, "repair").tolist() == [Outcome.CLIPPED, 0, 0, 0, 0]
    assert summary["outcomes"]["CLIPPED"] == 1


def test_a_range_of_bad_features_does_not_stop_a_good_file(tmp_path: Path) -> None:
    with np.errstate(invalid="ignore"):
        strange = shapely.Polygon([(1000, 2000), (np.nan, 2005), (1005, 2005)])
    path = write_vectors(tmp_path / "a.gpkg", [*squares(2), strange], {"floor": np.ones(3)})
    _, summaries = run(make_job(tmp_path / "job", path, step=2, ground_field="floor", bounds=(990, 1990, 1040, 2020)))
    assert summaries[1]["outcomes"] == {"SKIPPED_BAD_COORDINATES": 1}


def test_footprints_are_reprojected_into_the_project(tmp_path: Path) -> None:
    shape = shapely.box(5.3872, 52.1552, 5.3874, 52.1554)
    path = write_vectors(tmp_path / "a.gpkg", [shape], {"floor": np.ones(1)}, crs="EPSG:4326")
    job, _ = run(make_job(tmp_path / "job", path, ground_field="floor", crs="EPSG:28992"))
    points = read_parts(job, 0).points / 1024 + job.domain.origin
    assert points.mean(axis=0) == pytest.approx((155_007, 463_011), abs=10)


def test_a_range_without_parts(tmp_path: Path) -> None:
    path = write_vectors(tmp_path / "a.gpkg", [*squares(1), None], {"floor": np.ones(2)})
    job, summaries = run(make_job(tmp_path / "job", path, step=1, ground_field="floor"))
    assert job.scratch.attributes("footprints/00001")["box"] is None
    assert len(read_parts(job, 1)) == 0
    assert summaries[1]["outcomes"] == {"SKIPPED_NO_GEOMETRY": 1}


# --- attributes that the building table keeps


def _table(job: CityJob) -> dict[str, list[Any]]:
    columns = kept_columns(job)
    ranges = [read_kept_columns(job, index, columns) for index in range(len(job.footprint_ranges))]
    assert all({k: v.dtype for k, v in part.items()} == {k: v.dtype for k, v in ranges[0].items()} for part in ranges)
    joined = {name: np.concatenate([part[name] for part in ranges]).tolist() for name in ranges[0]}
    return {name: [None if value != value else value for value in values] for name, values in joined.items()}


def _features(path: Path, rows: list[dict[str, Any]], *, x: float = 0.0) -> Path:
    shapes = squares(len(rows), x=1000 + x)
    features = [
        {"type": "Feature", "properties": row, "geometry": json.loads(shapely.to_geojson(shape))}
        for row, shape in zip(rows, shapes, strict=True)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_columns_of_two_files_are_joined(tmp_path: Path) -> None:
    first = _features(
        tmp_path / "first.geojson",
        [
            {"id": 7, "floors": 3, "built": "2001-05-06", "protected": True, "use": "house", "z": 1},
            {"id": 8, "floors": None, "built": None, "protected": False, "use": None, "z": 1},
        ],
    )
    second = _features(tmp_path / "second.geojson", [{"osm_id": "w9", "floors": 2, "use": 5, "z": 1.5}], x=500)
    job, _ = run(make_job(tmp_path / "job", [first, second], step=1, ground_field="z", crs="EPSG:28992"))
    table = _table(job)
    assert table["id"] == ["7", "8", "w9"]
    assert table["floors"] == [3.0, None, 2.0]
    assert table["built"] == ["2001-05-06", "", ""]
    assert table["protected"] == [1.0, 0.0, None]
    assert table["use"] == ["house", "", "5"]
    assert table["osm_id"] == ["", "", "w9"]
    assert table["z"] == [1.0, 1.0, 1.5]
    assert table["source_id"] == [7.0, 8.0, None]


def test_whole_numbers_without_gaps_stay_whole(tmp_path: Path) -> None:
    fields = {"small": np.arange(3, dtype=np.int32), "large": np.arange(3, dtype=np.int64) + 2**60, "z": np.zeros(3)}
    path = write_vectors(tmp_path / "a.gpkg", squares(3), fields)
    job, _ = run(make_job(tmp_path / "job", path, step=2, ground_field="z"))
    found = read_kept_columns(job, 1, kept_columns(job))
    assert found["small"].dtype == np.int32
    assert found["large"].tolist() == [2**60 + 2]


def test_names_that_clash_are_changed(tmp_path: Path) -> None:
    row = {"Status": "ok", "area": 5.0, "a/b": 1, "__c": 2, "use": "x", "Use": "y", "z": 0}
    path = _features(tmp_path / "a.geojson", [row])
    job, _ = run(make_job(tmp_path / "job", path, ground_field="z", crs="EPSG:28992"))
    assert set(_table(job)) == {"id", "source_Status", "source_area", "a_b", "c", "use", "Use_2", "z"}


def test_the_same_names_in_the_next_file_mean_the_same_column(tmp_path: Path) -> None:
    paths = [_features(tmp_path / f"{k}.geojson", [{"status": k, "z": 0}], x=100 * k) for k in range(3)]
    job, _ = run(make_job(tmp_path / "job", paths, ground_field="z", crs="EPSG:28992"))
    assert _table(job)["source_status"] == [0, 1, 2]


def test_table_goes_into_a_store_and_back(tmp_path: Path) -> None:
    path = city_data("wageningen_heights", "buildings.shp")
    options = {"roof_field": "dd_h_dak_7", "ground_field": "h_maaiveld", "lod": 1}
    job, summaries = run(make_job(tmp_path / "job", path, step=1000, **options))
    assert [part["features"] for part in summaries] == [1000, 1000, 462]
    assert np.isfinite(column(job, "roof")).sum() == 2462 - 127
    columns = kept_columns(job)
    ranges = [read_kept_columns(job, index, columns) for index in range(3)]
    table = {name: np.concatenate([part[name] for part in ranges]) for name in ranges[0]}
    write_table(tmp_path / "buildings", table)
    group = zarr.open_group(tmp_path / "buildings", mode="r")
    assert group["id"].shape == (2462,)
    assert group["identifica"][:].tolist() == table["identifica"].tolist()
    np.testing.assert_array_equal(group["dd_h_dak_7"][:], table["dd_h_dak_7"])


def test_real_attributes_of_every_kind(tmp_path: Path) -> None:
    """Dates, true-false fields, gaps and lists of Delft, Lyon and Gothenburg."""
    cases = [
        (city_data("delft_3dfier", "bgt.gpkg"), "pand", "relatievehoogteligging", 160),
        (city_data("lyon_dtm_bdtopo", "buildings_lyon1.geojson"), None, "Z_MIN_SOL", 2576),
        (city_data("kronenhuset_goteborg", "buildings.shp"), None, "sum", 137),
    ]
    for number, (path, layer, field, count) in enumerate(cases):
        job, _ = run(make_job(tmp_path / str(number), path, layer=layer, step=700, ground_field=field))
        table = _table(job)
        assert len(table["id"]) == count
        assert all(isinstance(value, str) for value in table["id"])
        assert set(table) >= {"id"}


def test_no_sources_no_columns() -> None:
    assert table_columns(()) == {}


def test_degrees_of_hancock_become_metres(tmp_path: Path) -> None:
    """One of the tiles, once it says that it is in degrees."""
    source = city_data("footprints_hancock_4tiles", "footprints_nw.shp")
    for suffix in (".shp", ".shx", ".dbf"):
        shutil.copyfile(source.with_suffix(suffix), tmp_path / f"nw{suffix}")
    (tmp_path / "nw.prj").write_text(pyproj.CRS("EPSG:4269").to_wkt("WKT1_ESRI"))
    options = {"ground_field": "OBJECTID", "crs": "EPSG:32616", "z_scale": 0.001}
    job, (summary,) = run(make_job(tmp_path / "job", tmp_path / "nw.shp", **options))
    assert summary["outcomes"] == {"MESHED": 3302}
    boxes = job.scratch.read("footprints/00000", "boxes") / 1024
    sides = boxes[:, 2:] - boxes[:, :2]
    assert 8 < np.median(sides) < 25
