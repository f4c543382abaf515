"""Survey files of the sample city: footprints, LAZ tiles, a terrain raster.

Everything is written piece by piece, so that a city larger than memory can be made, and each piece
depends on the city and its own place only. This is the one module outside ``formats`` that writes
with laspy, pyogrio and rasterio: it makes inputs, it does not read any.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import laspy
import numpy as np
import numpy.typing as npt
import pyogrio.raw
import pyproj
import rasterio
import rasterio.features
import rasterio.windows
import shapely

from .buildings import Buildings, buildings_in
from .landscape import (
    RIVER_HALF_WIDTH,
    RIVER_LEVEL,
    Box,
    Float64,
    SampleCity,
    ground_height,
    river_distance,
    wood_share,
)

ORIGIN = (565_000.0, 5_932_000.0)
"""South-west corner of the city in its CRS, metres."""
CRS = "EPSG:25832"
LAYER = "buildings"
PIECE = 500.0
"""Edge of a LAZ tile and of the pieces in which footprints are made, metres."""
_REACH = 90.0
_LABEL_CELL = 0.25
_GROUND, _LOW, _MEDIUM, _HIGH, _ROOF = 2, 3, 4, 5, 6
_UNCLASSIFIED, _LOW_NOISE, _HIGH_NOISE = 1, 7, 18


@dataclass(frozen=True)
class Returns:
    """Laser returns of a piece of the city.

    Parameters
    ----------
    x, y, z : (n,) float64
        Metres from the south-west corner of the city; height in metres.
    classes : (n,) uint8
        LAS classes.
    """

    x: Float64
    y: Float64
    z: Float64
    classes: npt.NDArray[np.uint8]


def city_pieces(city: SampleCity) -> list[Box]:
    """Return the pieces that cover the city, row after row."""
    edges = [min(PIECE * i, city.size) for i in range(math.ceil(city.size / PIECE) + 1)]
    spans = list(itertools.pairwise(edges))
    return [(x0, y0, x1, y1) for y0, y1 in spans for x0, x1 in spans]


def write_footprints(city: SampleCity, path: Path) -> int:
    """Write the footprints of the whole city as GeoPackage and return how many there are."""
    path.unlink(missing_ok=True)
    count = 0
    for piece in city_pieces(city):
        buildings = buildings_in(city, piece)
        if len(buildings):
            _append_footprints(path, buildings)
            count += len(buildings)
    return count


def _append_footprints(path: Path, buildings: Buildings) -> None:
    moved = shapely.transform(buildings.polygons, lambda points: points + ORIGIN)
    pyogrio.raw.write(
        path,
        shapely.to_wkb(moved),
        [buildings.ids, buildings.functions, buildings.heights, buildings.years],
        ["id", "function", "height", "year"],
        layer=LAYER,
        driver="GPKG",
        geometry_type="Polygon",
        crs=CRS,
        append=path.exists(),
    )


def write_points(city: SampleCity, piece: Box, folder: Path) -> Path:
    """Write the laser returns of one piece as a LAZ tile named by its south-west corner in kilometres."""
    returns = laser_returns(city, piece)
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales = np.array([0.01, 0.01, 0.01])
    header.offsets = np.array([*ORIGIN, 0.0])
    header.add_crs(pyproj.CRS(CRS))
    cloud = laspy.LasData(header)
    cloud.x, cloud.y, cloud.z = returns.x + ORIGIN[0], returns.y + ORIGIN[1], returns.z
    cloud.classification = returns.classes
    cloud.return_number = np.ones(len(returns.x), np.uint8)
    cloud.number_of_returns = np.ones(len(returns.x), np.uint8)
    east, north = (f"{(low + corner) / 1000:.1f}" for low, corner in zip(piece, ORIGIN, strict=False))
    path = folder / f"returns_{east}_{north}.laz"
    cloud.write(path)
    return path


def laser_returns(city: SampleCity, piece: Box) -> Returns:
    """Return what a laser sees of one piece: ground, roofs, trees, cars and noise, nothing from water."""
    x0, y0, x1, y1 = piece
    rng = np.random.default_rng((city.seed, 4, int(x0), int(y0)))
    count = round(city.density * (x1 - x0) * (y1 - y0))
    x, y = rng.uniform(x0, x1, count), rng.uniform(y0, y1, count)
    reach = (max(x0 - _REACH, 0.0), max(y0 - _REACH, 0.0), min(x1 + _REACH, city.size), min(y1 + _REACH, city.size))
    buildings = buildings_in(city, reach)
    building = _building_at(buildings, piece, x, y)
    wet = (river_distance(city, x, y) < RIVER_HALF_WIDTH) & (building < 0)
    x, y, building = x[~wet], y[~wet], building[~wet]
    z = ground_height(city, x, y)
    classes = np.full(len(x), _GROUND, np.uint8)
    roof = building >= 0
    z[roof] = _roof_height(buildings, building[roof], x[roof], y[roof])
    classes[roof] = _ROOF
    _grow_trees(city, rng, Returns(x, y, z, classes))
    z += rng.normal(0, 0.03, len(z))
    _add_noise(rng, z, classes)
    return Returns(x, y, z, classes)


def _building_at(buildings: Buildings, piece: Box, x: Float64, y: Float64) -> npt.NDArray[np.int32]:
    """Return which building each position is on, -1 for none, from a fine raster."""
    shape = tuple(math.ceil((piece[axis + 2] - piece[axis]) / _LABEL_CELL) for axis in (1, 0))
    transform = rasterio.Affine(_LABEL_CELL, 0, piece[0], 0, _LABEL_CELL, piece[1])
    labels = np.full(shape, -1, np.int32)
    # A houseboat reflects nothing here: a building without returns is what it is for.
    drawn = [(polygon, i) for i, polygon in enumerate(buildings.polygons) if buildings.functions[i] != "houseboat"]
    if drawn:
        rasterio.features.rasterize(drawn, out=labels, transform=transform)
    rows = ((y - piece[1]) / _LABEL_CELL).astype(np.int64)
    columns = ((x - piece[0]) / _LABEL_CELL).astype(np.int64)
    found: npt.NDArray[np.int32] = labels[np.minimum(rows, shape[0] - 1), np.minimum(columns, shape[1] - 1)]
    return found


def _roof_height(buildings: Buildings, building: npt.NDArray[np.int32], x: Float64, y: Float64) -> Float64:
    """Return the height of the roof: flat, or falling from a ridge along the first edge of the outline."""
    rings = [shapely.get_coordinates(polygon.exterior)[:-1] for polygon in buildings.polygons]
    middle = np.array([ring.mean(axis=0) for ring in rings])
    edge = np.array([ring[1] - ring[0] for ring in rings])
    across = np.stack([-edge[:, 1], edge[:, 0]], axis=1) / np.hypot(edge[:, 0], edge[:, 1])[:, None]
    half = np.array([np.abs((ring - middle[i]) @ across[i]).max() for i, ring in enumerate(rings)])
    offset = (x - middle[building, 0]) * across[building, 0] + (y - middle[building, 1]) * across[building, 1]
    fall = np.clip(np.abs(offset) / half[building], 0, 1)
    ridge = buildings.base[building] + buildings.eaves[building] + buildings.rise[building]
    height: Float64 = ridge - fall * buildings.rise[building]
    return height


def _grow_trees(city: SampleCity, rng: np.random.Generator, returns: Returns) -> None:
    """Lift some of the ground returns into the crowns of trees and onto cars, in place."""
    luck = rng.random(len(returns.x))
    open_ground = returns.classes == _GROUND
    tree = open_ground & (luck < 0.75 * wood_share(city, returns.x, returns.y))
    crown = rng.uniform(0.3, 13.0, len(luck))
    returns.z[tree] += crown[tree]
    returns.classes[tree] = np.digitize(crown[tree], [1.0, 3.0]).astype(np.uint8) + _LOW
    car = open_ground & ~tree & (luck > 0.99)
    returns.z[car] += 1.5
    returns.classes[car] = _UNCLASSIFIED


def _add_noise(rng: np.random.Generator, z: Float64, classes: npt.NDArray[np.uint8]) -> None:
    """Turn one return in two thousand into low or high noise, in place."""
    luck = rng.random(len(z))
    low, high = luck < 0.00025, luck > 0.99975
    z[low] -= rng.uniform(5, 40, int(low.sum()))
    z[high] += rng.uniform(60, 300, int(high.sum()))
    classes[low], classes[high] = _LOW_NOISE, _HIGH_NOISE


def write_terrain(city: SampleCity, path: Path, cell: float = 1.0) -> None:
    """Write the terrain as a tiled GeoTIFF, river level where the river is.

    Parameters
    ----------
    city : SampleCity
        The city.
    path : Path
        The file.
    cell : float
        Edge of a cell, metres.
    """
    count = math.ceil(city.size / cell)
    profile = {"driver": "GTiff", "width": count, "height": count, "count": 1, "dtype": "float32", "crs": CRS}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "bigtiff": "if_safer"}
    profile["transform"] = rasterio.Affine(cell, 0, ORIGIN[0], 0, -cell, ORIGIN[1] + count * cell)
    with rasterio.open(path, "w", **profile) as raster:
        for _, window in raster.block_windows(1):
            columns = (window.col_off + np.arange(window.width) + 0.5) * cell
            rows = (count - window.row_off - np.arange(window.height) - 0.5) * cell
            x, y = (axis.ravel() for axis in np.meshgrid(columns, rows))
            heights = np.maximum(ground_height(city, x, y), RIVER_LEVEL)
            raster.write(heights.reshape(window.height, window.width).astype(np.float32), 1, window=window)
