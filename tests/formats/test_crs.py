"""Coordinate reference systems: comparison by horizontal part, clear errors, units of height."""

from __future__ import annotations

import re

import numpy as np
import pyproj
import pytest

from citymesh_dask.errors import CRSError
from citymesh_dask.formats.crs import (
    authority_code,
    feet_warning,
    height_unit,
    horizontal_part,
    is_geographic,
    looks_like_feet,
    parse_crs,
    reproject_bounds,
    reprojection,
    require_metres,
    same_horizontal,
    utm_code,
)

PROJECTED = (28992, 2154, 3946, 3007, 32643, 25830, 2180, 31468, 2056, 27700, 26916)


@pytest.mark.parametrize("code", PROJECTED)
@pytest.mark.parametrize("dialect", ["WKT1_ESRI", "WKT1_GDAL", "WKT2_2019"])
def test_one_crs_in_every_dialect(code: int, dialect: str) -> None:
    text = pyproj.CRS.from_epsg(code).to_wkt(dialect)
    anonymous = re.sub(r',(AUTHORITY|ID)\["[^"]*",[^\]]*\]', "", text)
    assert same_horizontal(text, f"EPSG:{code}")
    assert same_horizontal(anonymous, f"EPSG:{code}")


@pytest.mark.parametrize(
    ("first", "second"), [(25832, 32632), (3007, 3008), (28992, 28991), (26916, 32616), (31467, 31468), (2154, 4171)]
)
def test_neighbouring_crs_are_not_the_same(first: int, second: int) -> None:
    assert not same_horizontal(f"EPSG:{first}", f"EPSG:{second}")


@pytest.mark.parametrize("compound", ["EPSG:7415", "EPSG:28992+5709"])
def test_the_horizontal_part_of_a_compound_crs_counts(compound: str) -> None:
    assert same_horizontal(compound, "EPSG:28992")
    assert horizontal_part(parse_crs(compound)).to_authority() == ("EPSG", "28992")
    assert authority_code(parse_crs(compound).to_wkt()) in ("EPSG:7415", "EPSG:28992")


def test_a_bound_crs_is_unwrapped() -> None:
    bound = pyproj.CRS("+proj=utm +zone=32 +ellps=bessel +towgs84=598.1,73.7,418.2,0.202,0.045,-2.455,6.7 +type=crs")
    assert bound.is_bound
    assert not horizontal_part(bound).is_bound


def test_an_unknown_crs_names_its_place_and_what_to_pass() -> None:
    with pytest.raises(CRSError, match=r"here\.laz: 'EPSG:99999'.*--crs") as caught:
        parse_crs("EPSG:99999", "here.laz")
    assert caught.value.where == "here.laz"


def test_geographic_is_refused_with_the_utm_zone_of_the_place() -> None:
    with pytest.raises(CRSError, match=r"geographic.*--crs EPSG:32616"):
        require_metres("EPSG:4326", "footprints.gpkg", (-89.5, 30.2, -89.3, 30.4))
    with pytest.raises(CRSError, match="geographic"):
        require_metres("EPSG:4979", "three-dimensional")
    with pytest.raises(CRSError, match="geocentric"):
        require_metres("EPSG:4978", "earth-centred")


def test_a_projected_crs_in_feet_is_refused() -> None:
    with pytest.raises(CRSError, match=r"US survey foot.*EPSG:32617"):
        require_metres("EPSG:2264", "points.laz", (2_000_000, 700_000, 2_100_000, 800_000))


def test_the_vertical_part_is_kept_only_in_metres() -> None:
    assert parse_crs(require_metres("EPSG:7415", "x")).is_compound
    assert not parse_crs(require_metres("EPSG:32119+6360", "x")).is_compound  # NAVD88 in US survey feet


def test_reprojection_keeps_east_first() -> None:
    transform = reprojection("EPSG:4326", "EPSG:28992")
    assert transform is not None
    east, north = transform(np.array([[5.3872, 52.1552]]))[0]  # Amersfoort, origin of the Dutch grid
    assert (east, north) == pytest.approx((155_000, 463_000), abs=20)
    assert reprojection("EPSG:7415", "EPSG:28992") is None


def test_what_cannot_be_reprojected_becomes_infinite() -> None:
    transform = reprojection("EPSG:4326", "EPSG:32632")
    assert transform is not None
    assert np.isinf(transform(np.array([[9.0, 500.0]]))).all()


def test_box_outside_the_area_of_a_crs() -> None:
    with pytest.raises(CRSError, match="cannot be taken"):
        reproject_bounds((0, 500, 1, 501), "EPSG:4326", "EPSG:32632")


def test_a_reprojected_box_contains_the_reprojected_corners() -> None:
    box = (4.3, 51.9, 4.5, 52.1)
    x0, y0, x1, y1 = reproject_bounds(box, "EPSG:4326", "EPSG:28992")
    transform = reprojection("EPSG:4326", "EPSG:28992")
    assert transform is not None
    corners = transform(np.array([[box[i], box[j]] for i in (0, 2) for j in (1, 3)]))
    assert (corners >= (x0 - 1e-6, y0 - 1e-6)).all()
    assert (corners <= (x1 + 1e-6, y1 + 1e-6)).all()


@pytest.mark.parametrize(
    ("crs", "z_range", "text"),
    [
        ("EPSG:32119+6360", (20.0, 170.0), "0.3048006096"),
        ("EPSG:28992", (20.0, 12_000.0), "--z-scale 0.3048"),
        ("EPSG:3358", (88.0, 559.0), "--z-scale 0.3048"),
    ],
)
def test_feet_are_named(crs: str, z_range: tuple[float, float], text: str) -> None:
    warning = feet_warning("points.laz", crs, z_range=z_range)
    assert warning is not None
    assert warning.startswith("points.laz: ")
    assert text in warning
    assert "--z-scale" in warning
    assert feet_warning("points.laz", crs, z_range=z_range, z_scale=0.3048) is None


@pytest.mark.parametrize("crs", ["EPSG:28992", "EPSG:7415", "EPSG:26916+5703", None])
def test_metres_raise_no_warning(crs: str | None) -> None:
    assert feet_warning("points.laz", crs, z_range=(-3.0, 104.0)) is None


def test_a_unit_beside_the_crs_counts() -> None:
    warning = feet_warning("points.laz", None, metres_per_height=1200 / 3937)
    assert warning is not None and "--z-scale 0.3048006096" in warning
    assert feet_warning("points.laz", "EPSG:26916", z_range=(0, 9), metres_per_height=1.0) is None
    assert feet_warning("terrain.tif", "EPSG:26916") is None  # rasters hardly ever state a unit


def test_tall_cities_look_like_feet() -> None:
    metres = np.array([np.nan, 3.0, 6.0, 9.0, 22.0, 60.0])
    assert not looks_like_feet(metres)
    assert looks_like_feet(metres[metres > 5] / 0.3048)
    assert not looks_like_feet(np.array([np.nan]))


def test_small_questions() -> None:
    assert is_geographic("EPSG:4326") and not is_geographic("EPSG:7415")
    assert height_unit("EPSG:28992") is None
    assert utm_code(179.9999, -1) == "EPSG:32760"
    assert utm_code(180, 1) == "EPSG:32660"
