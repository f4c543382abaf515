"""The sample city: the same from any pieces, and what it says of itself is true."""

from __future__ import annotations

from pathlib import Path

import laspy
import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely

from citymesh_dask.errors import OptionError
from citymesh_dask.sample_city.buildings import buildings_in
from citymesh_dask.sample_city.landscape import RIVER_HALF_WIDTH, SampleCity, ground_height, river_distance
from citymesh_dask.sample_city.survey_files import (
    ORIGIN,
    city_pieces,
    laser_returns,
    write_footprints,
    write_points,
    write_terrain,
)

CITY = SampleCity(size=700.0, seed=3, density=0.5)


def test_pieces_cover_the_city_once() -> None:
    pieces = city_pieces(CITY)
    assert len(pieces) == 4
    assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in pieces) == CITY.size**2


def test_buildings_do_not_depend_on_the_pieces() -> None:
    whole = buildings_in(CITY, (0, 0, 700, 700))
    parts = [buildings_in(CITY, piece) for piece in city_pieces(CITY)]
    expected = dict(zip(whole.ids, shapely.to_wkb(whole.polygons), strict=True))
    found = {name: wkb for part in parts for name, wkb in zip(part.ids, shapely.to_wkb(part.polygons), strict=True)}
    assert found == expected
    assert sum(map(len, parts)) == len(whole)


def test_seed_decides() -> None:
    box = (0.0, 0.0, 700.0, 700.0)
    same, other = buildings_in(SampleCity(700.0, 3), box), buildings_in(SampleCity(700.0, 4), box)
    whole = buildings_in(CITY, box)
    assert shapely.to_wkb(same.polygons).tolist() == shapely.to_wkb(whole.polygons).tolist()
    assert shapely.to_wkb(other.polygons).tolist() != shapely.to_wkb(whole.polygons).tolist()


def test_the_city_is_as_dense_as_a_real_one() -> None:
    count = len(buildings_in(SampleCity(1500.0), (0, 0, 1500, 1500)))
    assert 1000 < count / 2.25 < 2000


def test_faulty_footprints_are_there() -> None:
    buildings = buildings_in(CITY, (0, 0, 700, 700))
    by_function = dict(zip(buildings.functions, buildings.polygons, strict=True))
    assert not by_function["bowtie"].is_valid
    assert sum(polygon.equals(by_function["duplicate"]) for polygon in buildings.polygons) == 2
    assert by_function["sliver"].area < 3
    assert by_function["tiny"].area < 6
    across = buildings.polygons[list(buildings.ids).index("across-the-border")]
    assert across.bounds[0] < 0 < across.bounds[2]
    boat = buildings.polygons[list(buildings.ids).index("in-the-river")]
    x, y = np.array(boat.exterior.coords).T
    assert river_distance(CITY, x, y).max() < RIVER_HALF_WIDTH


def test_party_walls_and_courtyards() -> None:
    buildings = buildings_in(CITY, (0, 0, 700, 700))
    good = shapely.is_valid(buildings.polygons)
    polygons = buildings.polygons[good]
    first, second = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    shared = shapely.length(shapely.intersection(polygons[first[first < second]], polygons[second[first < second]]))
    assert np.count_nonzero(shared > 3) > 100
    assert any(len(polygon.interiors) for polygon in polygons)


def test_returns_tell_the_truth() -> None:
    piece = city_pieces(CITY)[0]
    returns = laser_returns(CITY, piece)
    again = laser_returns(CITY, piece)
    assert np.array_equal(returns.z, again.z)
    ground = returns.classes == 2
    error = returns.z[ground] - ground_height(CITY, returns.x[ground], returns.y[ground])
    assert np.abs(error).max() < 0.3
    assert river_distance(CITY, returns.x[ground], returns.y[ground]).min() >= RIVER_HALF_WIDTH
    assert {1, 2, 3, 4, 5, 6} <= set(returns.classes.tolist())
    buildings = buildings_in(CITY, (0, 0, 700, 700))
    on_roof = shapely.points(np.stack([returns.x, returns.y], axis=1)[returns.classes == 6])
    house = int(np.flatnonzero((buildings.functions == "office") & (shapely.area(buildings.polygons) > 300))[0])
    for index in (house, *np.flatnonzero(buildings.rise > 0)[:5]):
        inside = shapely.contains_properly(buildings.polygons[index].buffer(-0.3), on_roof)
        if np.count_nonzero(inside) > 40:
            roof = np.quantile(returns.z[returns.classes == 6][inside], 0.9) - buildings.base[index]
            assert roof == pytest.approx(buildings.heights[index], abs=0.35)


def test_files(tmp_path: Path) -> None:
    footprints = tmp_path / "footprints.gpkg"
    count = write_footprints(CITY, footprints)
    assert write_footprints(CITY, footprints) == count  # written anew, not appended to
    meta, _, geometry, fields = pyogrio.raw.read(footprints)
    assert len(geometry) == count
    assert list(meta["fields"]) == ["id", "function", "height", "year"]
    assert meta["crs"] == "EPSG:25832"
    assert len(set(fields[0])) == count
    tile = write_points(CITY, city_pieces(CITY)[3], tmp_path)
    with laspy.open(tile) as reader:
        header = reader.header
        assert (header.version.minor, header.point_format.id) == (4, 6)
        assert header.parse_crs().to_epsg() == 25832
        assert header.point_count > 0.4 * 200 * 200
        assert header.mins[0] >= ORIGIN[0] + 500
    terrain = tmp_path / "terrain.tif"
    write_terrain(CITY, terrain, cell=5.0)
    with rasterio.open(terrain) as raster:
        assert raster.shape == (140, 140)
        assert tuple(raster.bounds) == (*ORIGIN, ORIGIN[0] + 700, ORIGIN[1] + 700)
        here = raster.read(1)[139, 0]
    assert here == pytest.approx(ground_height(CITY, np.array([2.5]), np.array([2.5]))[0], abs=1e-4)


@pytest.mark.parametrize("values", [{"size": 10.0}, {"seed": -1}, {"density": 0.0}, {"size": float("nan")}])
def test_limits(values: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        SampleCity(**values)  # type: ignore[arg-type]
