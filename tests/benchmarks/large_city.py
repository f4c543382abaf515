"""A generated city of any size: real footprints on real relief, both repeated until they cover the domain.

Only the inputs of a benchmark; nothing is measured here. Footprints are the densest squares of a real county, turned
and mirrored, so that no two neighbours are alike; the relief is that of a real city of 157 km2, mirrored at its edges,
so that it has no steps. Where the real data are missing, made ones take their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import laspy
import numpy as np
import numpy.typing as npt
import pyogrio.raw
import pyproj
import rasterio
import shapely
from rasterio.transform import Affine

from tests.conftest import DATA
from tests.vector_samples import write_vectors

CRS = "EPSG:32616"
SQUARE_M = 500
CELL_M = 5
_RELIEF_CELL_M = 20
_KEPT_SQUARES = 50
"""So many of the densest squares are used; together they have 570 buildings to the square kilometre."""
_FEET = 0.3048
_FOOTPRINTS = DATA / "city" / "footprints_hancock_4tiles"
_RELIEF = DATA / "city" / "raleigh_lidar_157km2" / "raleigh_merged.laz"
_ORIGIN = (300_000, 3_360_000)

Geometries = npt.NDArray[np.object_]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LargeCity:
    """The files of a generated city.

    Parameters
    ----------
    footprints, terrain : Path
        FlatGeobuf with the attribute ``height`` (metres above ground), and GeoTIFF.
    km2 : float
        Size of the domain.
    n_buildings : int
        Footprints.
    """

    footprints: Path
    terrain: Path
    km2: float
    n_buildings: int


def large_city(columns: int, rows: int, folder: Path) -> LargeCity:
    """Return a city of so many squares of `SQUARE_M`, made where it is not there yet.

    Parameters
    ----------
    columns, rows : int
        Squares from west to east and from south to north.
    folder : Path
        Where its files are kept.
    """
    folder = folder / f"large-{columns}x{rows}"
    folder.mkdir(parents=True, exist_ok=True)
    footprints, terrain = folder / "footprints.fgb", folder / "terrain.tif"
    if not terrain.exists():
        _write_terrain(terrain, columns, rows)
    if not footprints.exists():
        _write_footprints(footprints, columns, rows)
    count = int(pyogrio.read_info(footprints, force_feature_count=True)["features"])
    return LargeCity(footprints, terrain, columns * rows * SQUARE_M**2 / 1e6, count)


def _write_footprints(path: Path, columns: int, rows: int) -> None:
    """Write one square after the other, each turned and mirrored by chance."""
    squares = _squares()
    chance = np.random.default_rng(20)
    placed = []
    for column, row in np.ndindex(columns, rows):
        shapes = squares[int(chance.integers(len(squares)))]
        place = np.array(_ORIGIN) + np.array([column, row]) * SQUARE_M
        placed.append(_turned(shapes, int(chance.integers(8)), place))
    shapes = np.concatenate(placed)
    heights = np.round(3.0 + 9.0 * chance.random(len(shapes)) ** 2 + np.sqrt(shapely.area(shapes)) / 10, 1)
    partial = path.with_name(f"partial-{path.name}")
    write_vectors(partial, shapes, {"height": heights}, crs=CRS)
    partial.rename(path)


def _turned(shapes: Geometries, symmetry: int, place: npt.NDArray[np.int64]) -> Geometries:
    """Return shapes of a square around (0, 0) under one of its eight symmetries, moved to a place."""

    def moved(xy: Float64) -> Float64:
        x, y = xy[:, symmetry & 1], xy[:, 1 - (symmetry & 1)]
        turned = np.stack([-x if symmetry & 2 else x, -y if symmetry & 4 else y], axis=1)
        return turned + SQUARE_M / 2 + place

    found: Geometries = shapely.transform(shapes, moved)
    return found


def _squares() -> list[Geometries]:
    """Return the buildings of the densest squares, relative to the middle of their square."""
    shapes = _county()
    boxes = np.floor(shapely.bounds(shapes) / SQUARE_M).astype(np.int64)
    whole = (boxes[:, :2] == boxes[:, 2:]).all(axis=1)
    places, inverse, counts = np.unique(boxes[whole][:, :2], axis=0, return_inverse=True, return_counts=True)
    own, found = shapes[whole], []
    for number in np.argsort(-counts, kind="stable")[:_KEPT_SQUARES].tolist():
        middle = (places[number] + 0.5) * SQUARE_M
        here = own[inverse.ravel() == number]
        found.append(shapely.transform(here, lambda xy, middle=middle: xy - middle))
    return found


def _county() -> Geometries:
    """Return footprints in metres: those of the real county, else a made grid of houses."""
    files = sorted(_FOOTPRINTS.glob("*.shp"))
    if not files:
        x, y = (a.ravel() * 40.0 + 5 for a in np.meshgrid(np.arange(100), np.arange(100)))
        houses: Geometries = shapely.box(x, y, x + 12, y + 9 + (x + y) % 7)
        return houses
    to_metres = pyproj.Transformer.from_crs(4326, CRS, always_xy=True)
    shapes = np.concatenate([shapely.from_wkb(pyogrio.raw.read(file)[2]) for file in files])
    found: Geometries = shapely.transform(shapes, lambda xy: np.stack(to_metres.transform(xy[:, 0], xy[:, 1]), axis=1))
    return found


def _write_terrain(path: Path, columns: int, rows: int) -> None:
    """Write the relief over the domain, bilinear between its cells, in bands of rows."""
    relief = _relief()
    size = (columns * SQUARE_M // CELL_M, rows * SQUARE_M // CELL_M)
    profile = {"driver": "GTiff", "width": size[0], "height": size[1], "count": 1, "dtype": "float32"}
    profile |= {"compress": "deflate", "predictor": 3, "tiled": True, "blockxsize": 512, "blockysize": 512}
    top = _ORIGIN[1] + rows * SQUARE_M
    partial = path.with_name(f"partial-{path.name}")
    x = (np.arange(size[0], dtype=np.float64) + 0.5) * CELL_M
    with rasterio.open(
        partial, "w", crs=CRS, transform=Affine(CELL_M, 0, _ORIGIN[0], 0, -CELL_M, top), **profile
    ) as file:
        for start in range(0, size[1], 512):
            stop = min(start + 512, size[1])
            y = rows * SQUARE_M - (np.arange(start, stop, dtype=np.float64) + 0.5) * CELL_M
            heights = np.round(_sample(relief, x, y), 2).astype(np.float32)
            file.write(heights, 1, window=((start, stop), (0, size[0])))
    partial.rename(path)


def _sample(relief: Float64, x: Float64, y: Float64) -> Float64:
    """Return the relief at the crossings of some columns and rows, metres from its corner; mirrored at its edges."""
    (row, row_share), (column, column_share) = (
        _mirrored(values / _RELIEF_CELL_M, count) for values, count in zip((y, x), relief.shape, strict=True)
    )
    west = relief[row][:, column] * (1 - column_share) + relief[row][:, column + 1] * column_share
    east = relief[row + 1][:, column] * (1 - column_share) + relief[row + 1][:, column + 1] * column_share
    found: Float64 = west * (1 - row_share[:, None]) + east * row_share[:, None]
    return found


def _mirrored(place: Float64, count: int) -> tuple[npt.NDArray[np.int64], Float64]:
    """Return the cell before each place and the share of the cell behind it, running to and fro."""
    last = count - 1
    to_and_fro = last - np.abs(place % (2 * last) - last)
    cell = np.minimum(to_and_fro.astype(np.int64), last - 1)
    return cell, to_and_fro - cell


def _relief() -> Float64:
    """Return the heights of the real city in cells of `_RELIEF_CELL_M`, metres: the lowest return of each cell.

    Cells without a return get the mean of their neighbours.
    """
    if not _RELIEF.exists():
        y, x = np.ogrid[:400, :400]
        return np.asarray(60 + 25 * np.sin(x / 23) * np.cos(y / 17) + 6 * np.sin(x / 5 + y / 7), np.float64)
    points = laspy.read(_RELIEF)
    x, y = np.asarray(points.x), np.asarray(points.y)
    column, row = ((v - v.min()) // _RELIEF_CELL_M for v in (x, y))
    heights = np.full((int(row.max()) + 1, int(column.max()) + 1), np.inf)
    np.minimum.at(heights, (row.astype(np.int64), column.astype(np.int64)), np.asarray(points.z) * _FEET)
    heights[~np.isfinite(heights)] = np.nan
    while np.isnan(heights).any():
        heights = np.where(np.isnan(heights), _means_around(heights), heights)
    for _ in range(4):  # lowest returns stand on bushes and roofs here and there
        heights = _means_around(heights)
    return heights


def _means_around(heights: Float64) -> Float64:
    """Return the mean of the known cells in the square of nine around each."""
    padded = np.pad(heights, 1, constant_values=np.nan)
    rows, columns = heights.shape
    near = [padded[r : r + rows, c : c + columns] for r in range(3) for c in range(3)]
    total = sum(np.nan_to_num(part) for part in near)
    count = sum(np.isfinite(part).astype(np.float64) for part in near)
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
