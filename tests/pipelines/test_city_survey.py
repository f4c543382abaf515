"""Survey of a city: CRS, domain, combinations, units, and inputs that do not fit one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from rasterio.transform import Affine

from citymesh_dask.errors import CRSError, InputError, InputMissingError
from citymesh_dask.formats.crs import authority_code, same_horizontal
from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.city.inputs.survey import CityInputs, Survey, survey_city
from tests.conftest import city_data
from tests.vector_samples import squares, write_vectors

RD = "EPSG:28992"


def write_points(path: Path, *, box: tuple[float, float, float, float] = (990, 1990, 1400, 2100), **how: Any) -> Path:
    """Write a LAS file with four points in the corners of a box; ``crs`` may be given."""
    header = laspy.LasHeader(version="1.4", point_format=6)
    header.scales, header.offsets = np.full(3, 0.001), np.zeros(3)
    if how.get("crs"):
        header.add_crs(pyproj.CRS(how["crs"]))
    points = laspy.LasData(header)
    points.x = np.array([box[0], box[2], box[0], box[2]])
    points.y = np.array([box[1], box[1], box[3], box[3]])
    points.z = np.array([0.0, 1.0, 19.0, 20.0])
    points.classification = np.array([2, 2, 6, 6], dtype=np.uint8)
    points.write(path)
    return path


def write_raster(path: Path, *, corner: tuple[float, float] = (990.4, 2100.6), crs: str | None = RD) -> Path:
    """Write a raster of 410 x 110 cells of 1 m under a north-west corner."""
    profile = {"driver": "GTiff", "width": 410, "height": 110, "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", **profile, crs=crs, transform=Affine(1, 0, corner[0], 0, -1, corner[1])) as dataset:
        dataset.write(np.full((1, 110, 410), 5.0, np.float32))
    return path


@pytest.fixture
def town(tmp_path: Path) -> Path:
    return write_vectors(
        tmp_path / "town.gpkg", squares(10), {"height": np.full(10, 9.0), "name": np.array(["x"] * 10)}
    )


def survey(options: dict[str, Any] | None = None, **inputs: Any) -> Survey:
    return survey_city(CityInputs(**inputs), CityOptions(**(options or {})))


# --- inputs as given


def test_inputs_may_be_one_path_or_many(tmp_path: Path) -> None:
    one = CityInputs(footprints=tmp_path / "a.gpkg", points=str(tmp_path / "b.laz"), terrain=[tmp_path / "c.tif"])  # type: ignore[arg-type]
    assert one.footprint_paths == (str(tmp_path / "a.gpkg"),)
    assert one.point_paths == (str(tmp_path / "b.laz"),)
    assert one.rasters == {"terrain": str(tmp_path / "c.tif")}
    many = CityInputs(footprints=[tmp_path / "a.gpkg", "b.shp"])
    assert many.footprint_paths == (str(tmp_path / "a.gpkg"), str(Path("b.shp").absolute()))
    assert CityInputs(footprints=None).footprint_paths == ()  # type: ignore[arg-type]


def test_two_terrain_rasters_are_refused() -> None:
    with pytest.raises(InputError, match=r"terrain.*2 files.*gdalbuildvrt"):
        CityInputs(terrain=["a.tif", "b.tif"])  # type: ignore[arg-type]


def test_inputs_that_are_no_paths_are_refused() -> None:
    with pytest.raises(InputError, match="footprints"):
        CityInputs(footprints=[3])  # type: ignore[list-item]


# --- project CRS


def test_crs_and_domain_of_points(tmp_path: Path, town: Path) -> None:
    points = write_points(tmp_path / "a.las", box=(990.5, 1990.5, 1400.5, 2100.5), crs=RD)
    found = survey(footprints=town, points=points)
    assert same_horizontal(found.crs, RD)
    assert found.domain.bounds == (991, 1991, 1400, 2100)
    assert found.domain.origin == (991, 1991)
    assert found.notes == ()
    assert [source.n_features for source in found.footprints] == [10]


def test_several_point_files_make_one_box(tmp_path: Path, town: Path) -> None:
    first = write_points(tmp_path / "a.las", box=(990, 1990, 1100, 2100), crs=RD)
    second = write_points(tmp_path / "b.las", box=(1100, 1980, 1250.5, 2090), crs="EPSG:7415")
    assert survey(footprints=town, points=[first, second]).domain.bounds == (990, 1980, 1250, 2100)


def test_terrain_decides_before_points(tmp_path: Path, town: Path) -> None:
    found = survey(
        footprints=town,
        points=write_points(tmp_path / "a.las", crs=RD),
        terrain=write_raster(tmp_path / "t.tif", crs="EPSG:7415"),
    )
    assert found.domain.bounds == (991, 1991, 1400, 2100)
    assert authority_code(found.crs) in ("EPSG:7415", RD)


def test_footprints_alone_get_a_margin(town: Path) -> None:
    options = {"height_field": "height", "ground_field": "height"}
    found = survey(options, footprints=town)
    assert found.domain.bounds == (980, 1980, 1210, 2030)
    assert authority_code(found.crs) == RD


def test_footprints_in_another_crs_are_reprojected(tmp_path: Path) -> None:
    degrees = write_vectors(tmp_path / "a.gpkg", [shapely.box(5.38, 52.15, 5.39, 52.16)], crs="EPSG:4326")
    metres = write_vectors(tmp_path / "b.gpkg", [shapely.box(154_000, 463_000, 154_010, 463_010)])
    options = {"height_field": "number", "ground_field": "number"}
    found = survey({**options, "crs": RD}, footprints=[degrees, metres])
    bounds = found.domain.bounds
    assert bounds[0] == 153_980
    assert 155_150 < bounds[2] < 155_250
    assert any("reprojected from EPSG:4326" in note for note in found.notes)
    with pytest.raises(CRSError, match=r"b\.gpkg.*EPSG:28992.*a\.gpkg is in EPSG:4326.*--crs"):
        survey(options, footprints=[degrees, metres])
    with pytest.raises(CRSError, match=r"a\.gpkg.*geographic.*--crs EPSG:32631"):
        survey(options, footprints=degrees)


def test_option_crs_is_for_inputs_without_one(tmp_path: Path, town: Path) -> None:
    points = write_points(tmp_path / "a.las")
    found = survey({"crs": RD}, footprints=town, points=points)
    assert authority_code(found.crs) == RD
    with pytest.raises(CRSError, match=r"a\.las: states no CRS.*--crs EPSG:28992"):
        survey(footprints=town, points=points)


def test_no_crs_anywhere(tmp_path: Path, town: Path) -> None:
    bare = write_vectors(tmp_path / "bare.geojson", squares(3), crs=None)
    with pytest.raises(CRSError, match=r"bare\.geojson.*no CRS.*--crs EPSG"):
        survey({"height_field": "number", "ground_field": "number"}, footprints=bare)
    with pytest.raises(CRSError, match=r"a\.las, .*bare\.geojson: no CRS is stated in any input"):
        survey(footprints=bare, points=write_points(tmp_path / "a.las"))


def test_footprints_without_crs_beside_points_with_one(tmp_path: Path) -> None:
    bare = write_vectors(tmp_path / "bare.geojson", squares(3), crs=None)
    points = write_points(tmp_path / "a.las", crs=RD)
    with pytest.raises(CRSError, match=r"bare\.geojson: states no CRS"):
        survey(footprints=bare, points=points)
    assert survey({"crs": RD}, footprints=bare, points=points).footprints[0].crs is None


def test_points_in_another_crs_are_refused_and_named(tmp_path: Path, town: Path) -> None:
    good, bad = write_points(tmp_path / "good.las", crs=RD), write_points(tmp_path / "bad.las", crs="EPSG:2154")
    with pytest.raises(CRSError, match=r"bad\.las: the CRS of points is EPSG:2154.*EPSG:28992"):
        survey(footprints=town, points=[good, bad])
    with pytest.raises(CRSError, match=r"good\.las.*EPSG:28992.*EPSG:2154"):
        survey({"crs": "EPSG:2154"}, footprints=town, points=good)


def test_rasters_in_another_crs_are_refused(tmp_path: Path, town: Path) -> None:
    points = write_points(tmp_path / "a.las", crs=RD)
    surface = write_raster(tmp_path / "s.tif", crs="EPSG:25832")
    with pytest.raises(CRSError, match=r"s\.tif: the CRS of surface.*EPSG:25832"):
        survey(footprints=town, points=points, surface=surface)


def test_geographic_points_and_option_are_refused(tmp_path: Path, town: Path) -> None:
    points = write_points(tmp_path / "a.las", box=(5.3, 52.1, 5.4, 52.2), crs="EPSG:4326")
    for options in ({}, {"crs": RD}):
        with pytest.raises(CRSError, match=r"a\.las.*geographic"):
            survey(options, footprints=town, points=points)
    with pytest.raises(CRSError, match=r"option crs.*geographic"):
        survey({"crs": "EPSG:4326"}, footprints=town, points=points)
    with pytest.raises(CRSError, match="option crs: 'EPSG:abc' is not a known CRS"):
        survey({"crs": "EPSG:abc"}, footprints=town, points=points)


def test_degrees_without_crs_are_noticed(tmp_path: Path, town: Path) -> None:
    tiny = write_vectors(tmp_path / "tiny.shp", squares(5, x=-89.4, y=30.2, size=0.0001))
    tiny.with_suffix(".prj").unlink()
    options = {"height_field": "number", "ground_field": "number", "crs": "EPSG:32616"}
    with pytest.raises(CRSError, match=r"tiny\.shp.*looks like degrees.*--crs EPSG:32616"):
        survey(options, footprints=tiny)
    points = write_points(tmp_path / "a.las", box=(5.3, 52.1, 5.4, 52.2))
    with pytest.raises(CRSError, match=r"a\.las.*looks like degrees"):
        survey({"crs": RD}, footprints=town, points=points)


def test_local_metres_near_zero_are_no_degrees(tmp_path: Path) -> None:
    local = write_vectors(tmp_path / "local.shp", squares(4, x=0, y=0))
    local.with_suffix(".prj").unlink()
    options = {"height_field": "number", "ground_field": "number", "crs": RD}
    assert survey(options, footprints=local).domain.bounds == (-20, -20, 90, 30)


# --- what must come together


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({}, (), "nothing to build terrain from.*--points.*--terrain.*--ground-field"),
        ({"default_height": 6.0}, ("footprints",), "nothing to build terrain from"),
        ({"ground_field": "height"}, (), "ground_field without footprints"),
        ({}, ("footprints", "terrain"), "no evidence of the height.*--roof-field.*--default-height"),
        ({"ground_field": "height"}, ("footprints",), "no evidence of the height"),
    ],
)
def test_combinations_that_make_no_city(
    tmp_path: Path, town: Path, options: dict[str, Any], given: tuple[str, ...], message: str
) -> None:
    files = {"footprints": town, "terrain": tmp_path / "t.tif"}
    with pytest.raises(InputError, match=message):
        survey(options, **{name: files[name] for name in given})


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"lod": 0}, ("footprints", "terrain")),
        ({"default_height": 6.0}, ("footprints", "terrain")),
        ({"roof_field": "height"}, ("footprints", "terrain")),
        ({}, ("footprints", "terrain", "surface")),
        ({}, ("footprints", "terrain", "building_heights")),
        ({}, ("footprints", "points")),
        ({}, ("terrain",)),
        ({}, ("points",)),
        ({"roof_field": "height", "ground_field": "height"}, ("footprints",)),
    ],
)
def test_combinations_that_make_a_city(
    tmp_path: Path, town: Path, options: dict[str, Any], given: tuple[str, ...]
) -> None:
    files = {
        "footprints": town,
        "terrain": write_raster(tmp_path / "t.tif"),
        "surface": write_raster(tmp_path / "s.tif"),
        "building_heights": write_raster(tmp_path / "b.tif"),
        "points": write_points(tmp_path / "a.las", crs=RD),
    }
    found = survey(options, **{name: files[name] for name in given})
    for name in ("terrain", "surface", "building_heights"):
        assert (getattr(found, name) is not None) == (name in given)


def test_footprints_without_features_are_noted(tmp_path: Path) -> None:
    empty = tmp_path / "empty.geojson"
    empty.write_text('{"type": "FeatureCollection", "features": []}')
    points = write_points(tmp_path / "a.las", crs=RD)
    found = survey({"crs": RD}, footprints=empty, points=points)
    assert any("empty.geojson: no features" in note for note in found.notes)
    terrain = write_raster(tmp_path / "t.tif")
    assert survey({"crs": RD, "height_field": "height"}, footprints=empty, terrain=terrain).footprints[0].bounds is None


def test_footprints_alone_without_a_finite_coordinate(tmp_path: Path) -> None:
    with np.errstate(invalid="ignore"):
        strange = shapely.Polygon([(np.inf, np.inf)] * 4)
    path = write_vectors(tmp_path / "strange.gpkg", [strange], {"x": np.zeros(1)})
    with pytest.raises(InputError, match="no coordinate in layer"):
        survey({"lod": 0, "ground_field": "x"}, footprints=path)


def test_named_fields_must_be_in_every_file(tmp_path: Path, town: Path) -> None:
    other = write_vectors(tmp_path / "other.gpkg", squares(2), {"Heights": np.ones(2)})
    terrain = write_raster(tmp_path / "t.tif")
    with pytest.raises(InputError, match=r"other\.gpkg.*'height'.*height_field.*did you mean 'Heights'"):
        survey({"height_field": "height"}, footprints=[town, other], terrain=terrain)


def test_a_field_of_text_that_is_no_number(tmp_path: Path, town: Path) -> None:
    with pytest.raises(InputError, match=r"town\.gpkg, attribute 'name' \(option roof_field\): 'x'.*numbers"):
        survey({"roof_field": "name"}, footprints=town, terrain=write_raster(tmp_path / "t.tif"))


# --- place


def test_no_overlap_prints_both_boxes(tmp_path: Path, town: Path) -> None:
    points = write_points(tmp_path / "a.las", box=(5000, 6000, 5100, 6100), crs=RD)
    with pytest.raises(InputError) as caught:
        survey(footprints=town, points=points)
    assert "(1000.00, 2000.00, 1190.00, 2010.00)" in str(caught.value)
    assert "(5000.00, 6000.00, 5100.00, 6100.00)" in str(caught.value)


def test_bounds_win_and_must_lie_over_the_ground(tmp_path: Path, town: Path) -> None:
    points = write_points(tmp_path / "a.las", crs=RD)
    found = survey({"bounds": (1000.5, 2000, 1050, 2050)}, footprints=town, points=points)
    assert found.domain.bounds == (1000.5, 2000, 1050, 2050)
    with pytest.raises(InputError, match=r"option bounds and points do not overlap.*\(0\.00, 0\.00"):
        survey({"bounds": (0, 0, 10, 10)}, footprints=town, points=points)
    wide = survey({"bounds": (900, 1900, 1050, 2050)}, footprints=town, points=points)
    assert any("reaches beyond points" in note for note in wide.notes)


def test_a_file_outside_the_domain_is_noted(tmp_path: Path, town: Path) -> None:
    far = write_vectors(tmp_path / "far.gpkg", squares(2, x=50_000))
    found = survey(footprints=[town, far], points=write_points(tmp_path / "a.las", crs=RD))
    assert [("far.gpkg" in note, "outside the domain" in note) for note in found.notes] == [(True, True)]


def test_domain_limits(tmp_path: Path, town: Path) -> None:
    options = {"height_field": "height", "ground_field": "height"}
    far = write_vectors(tmp_path / "far.gpkg", squares(1, y=1_500_000), {"height": np.ones(1)})
    with pytest.raises(InputError, match="at most 1000 km"):
        survey(options, footprints=[town, far])
    thin = write_points(tmp_path / "thin.las", box=(1000.2, 2000, 1000.9, 2100), crs=RD)
    with pytest.raises(InputError, match="at least one whole metre"):
        survey(points=thin)


# --- units of height


def test_feet_are_noted_and_z_scale_silences(tmp_path: Path, town: Path) -> None:
    points = [
        write_points(tmp_path / f"{name}.las", box=(990, 1990, 1400, 2100), crs="EPSG:32119+6360") for name in "abc"
    ]
    options = {"crs": "EPSG:32119"}
    (note,) = survey(options, points=points).notes
    assert "a.las" in note and "--z-scale 0.3048006096" in note and "2 other files" in note
    assert survey({**options, "z_scale": 0.3048006096}, points=points).notes == ()


def test_attributes_in_feet_are_noted(tmp_path: Path, town: Path) -> None:
    terrain = write_raster(tmp_path / "t.tif")
    fields = {"height_ft": np.full(10, 9.0), "tall": np.linspace(20, 60, 10)}
    feet = write_vectors(tmp_path / "feet.gpkg", squares(10), fields)
    for name in fields:
        (note,) = survey({"height_field": name}, footprints=feet, terrain=terrain).notes
        assert "--z-scale 0.3048" in note
        assert survey({"height_field": name, "z_scale": 0.3048}, footprints=feet, terrain=terrain).notes == ()
    assert survey({"height_field": "height"}, footprints=town, terrain=terrain).notes == ()


# --- one bad file among many


def test_one_bad_file_is_named(tmp_path: Path) -> None:
    terrain = write_raster(tmp_path / "t.tif")
    files = [write_vectors(tmp_path / f"part{i}.gpkg", squares(2, x=1000 + 50 * i)) for i in range(5)]
    files[3].write_bytes(b"")
    with pytest.raises(InputError, match=r"part3\.gpkg: the file is empty"):
        survey({"lod": 0}, footprints=files, terrain=terrain)
    files[3].unlink()
    with pytest.raises(InputMissingError, match=r"part3\.gpkg"):
        survey({"lod": 0}, footprints=files, terrain=terrain)


def test_a_file_given_twice(tmp_path: Path, town: Path) -> None:
    with pytest.raises(InputError, match=r"town\.gpkg: given twice"):
        survey({"lod": 0}, footprints=[town, town], terrain=write_raster(tmp_path / "t.tif"))


# --- real data


def test_delft_needs_a_crs() -> None:
    tiles = [city_data("delft_3dfier", f"ahn3_cropped_{i}.laz") for i in (1, 2)]
    inputs = {"footprints": city_data("delft_3dfier", "bgt.gpkg"), "layer": "pand", "points": tiles}
    with pytest.raises(CRSError, match=r"ahn3_cropped_1\.laz.*--crs EPSG:28992"):
        survey(**inputs)
    found = survey({"crs": RD}, **inputs)
    assert found.domain.bounds == (84809, 447413, 85072, 447641)
    assert found.notes == ()


def test_hancock_is_in_degrees_without_saying_so() -> None:
    tiles = [city_data("footprints_hancock_4tiles", f"footprints_{part}.shp") for part in ("ne", "nw", "se", "sw")]
    for options in ({}, {"crs": "EPSG:32616"}):
        with pytest.raises(CRSError, match=r"looks like degrees.*--crs EPSG:32616"):
            survey({"height_field": "OBJECTID", "ground_field": "OBJECTID", **options}, footprints=tiles)


def test_gothenburg_is_larger_than_its_rasters() -> None:
    found = survey(
        footprints=city_data("kronenhuset_goteborg", "buildings.shp"),
        terrain=city_data("kronenhuset_goteborg", "DEM_KRbig.tif"),
        surface=city_data("kronenhuset_goteborg", "DSM_KRbig.tif"),
    )
    assert found.domain.bounds == (147720, 6398557, 147954, 6398780)
    assert authority_code(found.crs) == "EPSG:3007"


def test_lyon_and_wageningen_take_heights_from_attributes() -> None:
    lyon = survey(
        {"height_field": "HAUTEUR"},
        footprints=city_data("lyon_dtm_bdtopo", "buildings_lyon1.geojson"),
        terrain=city_data("lyon_dtm_bdtopo", "dem_10m.tif"),
    )
    assert authority_code(lyon.crs) == "EPSG:3946"
    assert lyon.notes == ()
    options = {"roof_field": "dd_h_dak_7", "ground_field": "h_maaiveld"}
    wageningen = survey(options, footprints=city_data("wageningen_heights", "buildings.shp"))
    assert wageningen.domain.bounds == (173_570, 441_590, 175_046, 442_425)
    assert wageningen.notes == ()


def test_raleigh_may_be_in_feet() -> None:
    (note,) = survey({"crs": "EPSG:3358"}, points=city_data("raleigh_lidar_157km2", "raleigh_merged.laz")).notes
    assert "--z-scale 0.3048" in note
