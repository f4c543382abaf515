"""Footprint files: headers, ranges in file order, real data, and files that cannot be used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely

from citymesh_dask.errors import CRSError, InputError, InputMissingError
from citymesh_dask.formats.crs import authority_code, reproject_bounds
from citymesh_dask.formats.footprints import (
    read_columns,
    read_features,
    read_ids,
    require_field,
    survey_footprints,
    typical_size,
)
from tests.conftest import city_data
from tests.vector_samples import squares, write_vectors

SUFFIXES = [".gpkg", ".geojson", ".shp", ".fgb"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_header(tmp_path: Path, suffix: str) -> None:
    path = write_vectors(tmp_path / f"town{suffix}", squares(7), {"height": np.arange(7.0), "use": np.array(["a"] * 7)})
    (source,) = survey_footprints([path])
    assert source.path == str(path)
    assert source.layer == "town"
    assert source.n_features == 7
    assert source.bounds == (1000, 2000, 1130, 2010)
    assert authority_code(source.crs or "") == "EPSG:28992"
    assert source.fields == ("height", "use")
    assert source.dtypes == ("float64", "object")
    assert source.id_field is None
    assert typical_size(source) == 10


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("step", [1, 7, 40])
def test_ranges_give_every_feature_once_in_file_order(tmp_path: Path, suffix: str, step: int) -> None:
    geometries = squares(23)
    if suffix != ".fgb":  # FlatGeobuf with an index holds no empty geometry
        geometries[3] = geometries[11] = geometries[22] = None
    (source,) = survey_footprints([write_vectors(tmp_path / f"town{suffix}", geometries)])
    numbers, found, ids = [], [], []
    for start in range(0, 23, step):
        stop = min(start + step, 23)
        part = read_features(source, start, stop, columns=["number"])
        numbers += part.columns["number"].tolist()
        found += list(part.geometries)
        ids += read_ids(source, start, stop)
        assert (
            read_columns(source, start, stop, columns=["number"])["number"].tolist() == part.columns["number"].tolist()
        )
    assert sorted(numbers) == list(range(23))
    if suffix != ".fgb":  # its writer sorts by place
        assert numbers == list(range(23))
    assert len(set(ids)) == 23
    for number, geometry in zip(numbers, found, strict=True):
        expected = geometries[number]
        assert (geometry is None) == (expected is None)
        assert expected is None or shapely.equals(geometry, expected)


def test_flatgeobuf_without_index(tmp_path: Path) -> None:
    geometries = [*squares(3), None, *squares(2, x=5000)]
    path = write_vectors(tmp_path / "town.fgb", geometries, options={"SPATIAL_INDEX": "NO"})
    (source,) = survey_footprints([path])
    part = read_features(source, 2, 5, columns=["number"])
    assert part.columns["number"].tolist() == [2, 3, 4]
    assert shapely.is_missing(part.geometries).tolist() == [False, True, False]


def test_three_dimensions_become_two_and_open_rings_are_closed(tmp_path: Path) -> None:
    rings = [[[0, 0, 5], [9, 0, 5], [9, 9, 5], [0, 0, 5]], [[20, 0], [29, 0], [29, 9]]]
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [r]}} for r in rings
    ]
    path = tmp_path / "rings.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    (source,) = survey_footprints([path])
    part = read_features(source, 0, 2)
    assert not shapely.has_z(part.geometries).any()
    assert shapely.area(part.geometries).tolist() == [40.5, 40.5]


def test_reprojection_on_reading(tmp_path: Path) -> None:
    shape = shapely.box(5.3872, 52.1552, 5.3874, 52.1554)
    (source,) = survey_footprints([write_vectors(tmp_path / "a.gpkg", [shape, None], crs="EPSG:4326")])
    first, second = read_features(source, 0, 2, crs="EPSG:28992").geometries
    assert first.bounds[:2] == pytest.approx((155_000, 463_000), abs=20)
    assert second is None
    assert read_features(source, 0, 1).geometries[0].bounds == shape.bounds


def test_several_files_keep_their_order(tmp_path: Path) -> None:
    names = ["b.gpkg", "a.geojson", "c.shp"]
    for count, name in enumerate(names, start=1):
        write_vectors(tmp_path / name, squares(count))
    sources = survey_footprints([tmp_path / name for name in names])
    assert [Path(source.path).name for source in sources] == names
    assert [source.n_features for source in sources] == [1, 2, 3]


def test_patterns_stand_for_files_in_order_of_name(tmp_path: Path) -> None:
    for name in ("t2.gpkg", "t1.gpkg", "other.shp"):
        write_vectors(tmp_path / name, squares(1))
    found = survey_footprints([tmp_path / "other.shp", tmp_path / "t*.gpkg"])
    assert [Path(source.path).name for source in found] == ["other.shp", "t1.gpkg", "t2.gpkg"]
    with pytest.raises(InputMissingError, match=r"\*\.fgb"):
        survey_footprints([tmp_path / "*.fgb"])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["osm_id", "name"], "osm_id"),
        (["ID", "osm_id"], "ID"),
        (["identificatie", "gml_id"], "gml_id"),
        (["name"], None),
    ],
)
def test_which_attribute_identifies(tmp_path: Path, fields: list[str], expected: str | None) -> None:
    values = {name: np.array([f"{name} {i}" for i in range(3)]) for name in fields}
    (source,) = survey_footprints([write_vectors(tmp_path / "a.geojson", squares(3), values)])
    assert source.id_field == expected
    assert read_ids(source, 1, 3) == ([f"{expected} 1", f"{expected} 2"] if expected else ["1", "2"])


def test_whole_number_ids_have_no_decimals(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    shape = json.loads(shapely.to_geojson(squares(1)[0]))
    features = [{"type": "Feature", "properties": {"id": value}, "geometry": shape} for value in (7, None)]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    (source,) = survey_footprints([path])
    assert read_ids(source, 0, 2) == ["7", ""]


# --- CRS of the header


def test_geojson_in_metres_without_crs_states_none(tmp_path: Path) -> None:
    path = write_vectors(tmp_path / "a.geojson", squares(2), crs=None)
    assert "crs" not in path.read_text()
    assert survey_footprints([path])[0].crs is None


def test_coordinates_that_contradict_the_header_name_the_file(tmp_path: Path) -> None:
    (source,) = survey_footprints([write_vectors(tmp_path / "wrong.gpkg", squares(2), crs="EPSG:4326")])
    assert source.crs is not None and source.bounds is not None
    with pytest.raises(CRSError, match=r"wrong\.gpkg: box .*cannot be taken"):
        reproject_bounds(source.bounds, source.crs, "EPSG:28992", where=source.path)


def test_files_without_an_index_are_read_in_larger_ranges(tmp_path: Path) -> None:
    seeking, from_start = (write_vectors(tmp_path / name, squares(1)) for name in ("a.gpkg", "a.geojson"))
    for path, ranges in ((seeking, (8_000, 8_000)), (from_start, (20_000, 200_000))):
        (source,) = survey_footprints([path])
        sizes = tuple(replace(source, n_features=n).features_per_range for n in (1000, 5_000_000))
        assert sizes == ranges


def test_shapefile_without_prj_states_no_crs(tmp_path: Path) -> None:
    path = write_vectors(tmp_path / "a.shp", squares(2))
    path.with_suffix(".prj").unlink()
    assert survey_footprints([path])[0].crs is None


# --- layers


@pytest.fixture
def layered(tmp_path: Path) -> Path:
    path = write_vectors(tmp_path / "plan.gpkg", squares(2), layer="houses")
    write_vectors(path, [shapely.Point(0, 0)], kind="Point", layer="trees", append=True)
    return path


def test_the_only_polygon_layer_is_chosen(layered: Path) -> None:
    assert survey_footprints([layered])[0].layer == "houses"


def test_several_polygon_layers_are_listed(layered: Path) -> None:
    write_vectors(layered, squares(1), layer="lakes", append=True)
    with pytest.raises(InputError, match=r"plan\.gpkg: 2 layers.*houses.*lakes.*--layer"):
        survey_footprints([layered])
    assert survey_footprints([layered], "lakes")[0].n_features == 1


def test_wrong_layer_lists_those_there_are(layered: Path) -> None:
    with pytest.raises(InputError, match=r"no layer 'house'.*houses.*trees.*did you mean --layer houses"):
        survey_footprints([layered], "house")
    with pytest.raises(InputError, match="holds Point, no polygon"):
        survey_footprints([layered], "trees")


# --- files that cannot be used


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_points_only(tmp_path: Path, suffix: str) -> None:
    path = write_vectors(tmp_path / f"trees{suffix}", [shapely.Point(i, 0) for i in range(3)], kind="Point")
    with pytest.raises(InputError, match=r"trees.*no polygon"):
        survey_footprints([path])


def test_no_polygon_in_a_layer_of_any_kind(tmp_path: Path) -> None:
    path = write_vectors(tmp_path / "a.gpkg", [shapely.Point(0, 0), None], kind="Unknown")
    with pytest.raises(InputError, match="no polygon"):
        survey_footprints([path])


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".shp", ".fgb"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_cut_files_are_named(tmp_path: Path, suffix: str, share: float) -> None:
    paths = [write_vectors(tmp_path / f"town{i}{suffix}", squares(300)) for i in range(3)]
    data = paths[1].read_bytes()
    paths[1].write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=rf"town1\{suffix}") as caught:
        survey_footprints(paths)
    assert "town0" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_text_with_the_name_of_a_vector_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"notes{suffix}"
    path.write_text("these are no footprints\n" * 20)
    with pytest.raises(InputError, match=rf"notes\{suffix}.*expected polygons in GPKG"):
        survey_footprints([path])


def test_one_missing_among_many(tmp_path: Path) -> None:
    paths = [write_vectors(tmp_path / f"t{i}.gpkg", squares(1)) for i in range(4)]
    paths[2].unlink()
    with pytest.raises(InputMissingError, match=r"t2\.gpkg"):
        survey_footprints(paths)


def test_no_features_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "nothing.geojson"
    path.write_text('{"type": "FeatureCollection", "features": []}')
    (source,) = survey_footprints([path])
    assert (source.n_features, source.bounds) == (0, None)


def test_bounds_leave_out_what_is_not_finite(tmp_path: Path) -> None:
    with np.errstate(invalid="ignore"):
        strange = [shapely.Polygon([(0, 0), (value, 1), (1, 1)]) for value in (np.nan, np.inf)]
    (source,) = survey_footprints([write_vectors(tmp_path / "a.gpkg", [*strange, *squares(2)])])
    assert source.bounds is not None
    assert np.isfinite(source.bounds).all()
    assert source.bounds[2:] == (1030, 2010)


def test_missing_attribute_offers_the_nearest(tmp_path: Path) -> None:
    (source,) = survey_footprints([write_vectors(tmp_path / "a.gpkg", squares(1), {"Height_M": np.ones(1)})])
    require_field(source, "Height_M", "height_field")
    with pytest.raises(InputError, match=r"no attribute 'height'.*height_field.*did you mean 'Height_M'"):
        require_field(source, "height", "height_field")


# --- real data


@pytest.mark.parametrize(
    ("parts", "layer", "count", "crs", "id_field"),
    [
        (("delft_3dfier", "bgt.gpkg"), "pand", 160, "EPSG:28992", "gml_id"),
        (("delft_3dfier", "bgt_pand.sqlite"), None, 160, "EPSG:28992", "gml_id"),
        (("footprints_bengaluru_osm", "BuildingFootprintsOSM.gpkg"), None, 10_724, "EPSG:32643", "osm_id"),
        (("footprints_hancock_4tiles", "footprints_nw.shp"), None, 3302, None, None),
        (("kronenhuset_goteborg", "buildings.shp"), None, 137, "EPSG:3007", None),
        (("lyon_dtm_bdtopo", "buildings_lyon1.geojson"), None, 2576, "EPSG:3946", "ID"),
        (("wageningen_heights", "buildings.shp"), None, 2462, "EPSG:28992", "fid"),
    ],
)
def test_real_headers(
    parts: tuple[str, str], layer: str | None, count: int, crs: str | None, id_field: str | None
) -> None:
    (source,) = survey_footprints([city_data(*parts)], layer)
    assert source.n_features == count
    assert (authority_code(source.crs) if source.crs else None) == crs
    assert source.id_field == id_field
    middle = read_features(source, count // 2, count // 2 + 10, columns=source.fields)
    whole = read_features(source, 0, count)
    assert shapely.equals_exact(middle.geometries, whole.geometries[count // 2 : count // 2 + 10]).all()
    ids = read_ids(source, 0, count)
    assert len(ids) == count
    assert ids.count("") <= 1  # one of OpenStreetMap has none


def test_delft_names_its_layers() -> None:
    with pytest.raises(InputError, match=r"pand \(Polygon\).*waterdeel.*--layer"):
        survey_footprints([city_data("delft_3dfier", "bgt.gpkg")])
