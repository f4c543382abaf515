"""Buildings of any piece of the sample city, placed on its ground.

The blocks come from `blocks`, the ground from `landscape`; here they meet. Nothing is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from .blocks import PITCH, Building, block_buildings, faulty_buildings
from .landscape import (
    RIVER_HALF_WIDTH,
    Box,
    SampleCity,
    from_streets,
    ground_height,
    river_distance,
    river_middle,
    street_box,
)

Float64 = npt.NDArray[np.float64]
Polygons = npt.NDArray[np.object_]

_EDGE_MARGIN = 6.0
_TOWN_SPACING = 2600.0
_FAULTY_BLOCK = (0, 0)


@dataclass(frozen=True)
class Buildings:
    """Buildings of a piece of the city, one entry each.

    Parameters
    ----------
    ids : (n,) object of str
        Identifier.
    functions : (n,) object of str
        Use.
    years : (n,) int32
        Year of construction.
    polygons : (n,) object of shapely.Polygon
        Footprints, metres from the south-west corner of the city, rounded to millimetres.
    base : (n,) float64
        Lowest ground on the outline, metres.
    eaves : (n,) float64
        Height of the eaves or of the flat roof above the base, metres.
    rise : (n,) float64
        Rise of the ridge above the eaves, metres.
    """

    ids: npt.NDArray[np.object_]
    functions: npt.NDArray[np.object_]
    years: npt.NDArray[np.int32]
    polygons: Polygons
    base: Float64
    eaves: Float64
    rise: Float64

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def heights(self) -> Float64:
        """Height above the base under which nine tenths of the roof lie, metres."""
        return np.round(self.eaves + 0.9 * self.rise, 2)


def buildings_in(city: SampleCity, box: Box) -> Buildings:
    """Return the buildings of all blocks whose middle lies in a box.

    Parameters
    ----------
    city : SampleCity
        The city.
    box : (xmin, ymin, xmax, ymax)
        Metres from the south-west corner; boxes that share no area share no block.
    """
    names, placed = [], []
    for block in _blocks_in(city, box):
        rng = np.random.default_rng((city.seed, 3, block[0] % 2**32, block[1] % 2**32))
        for number, building in enumerate(_block(city, block, rng)):
            names.append((f"b{block[0]}.{block[1]}.{number}", int(rng.integers(1880, 2024))))
            placed.append(_place(city, building, block))
    if box[0] <= 0 < box[2] and box[1] <= city.size * 0.7 < box[3]:
        names.append(("across-the-border", 1990))
        placed.append(_at_border(city))
    if box[0] <= city.size / 2 < box[2] and box[1] <= river_middle(city, city.size / 2) < box[3]:
        names.append(("in-the-river", 2020))
        placed.append(_in_river(city))
    return _collect(city, names, placed)


def _blocks_in(city: SampleCity, box: Box) -> Iterator[tuple[int, int]]:
    s0, t0, s1, t1 = street_box(city, box)
    columns = np.arange(math.floor(s0 / PITCH[0]) - 1, math.ceil(s1 / PITCH[0]) + 1)
    rows = np.arange(math.floor(t0 / PITCH[1]) - 1, math.ceil(t1 / PITCH[1]) + 1)
    grid = np.stack(np.meshgrid(columns, rows, indexing="ij"), axis=-1).reshape(-1, 2)
    x, y = from_streets(city, (grid + 0.5) * np.array(PITCH)).T
    inside = (box[0] <= x) & (x < box[2]) & (box[1] <= y) & (y < box[3])
    yield from map(tuple, grid[inside].tolist())


def _block(city: SampleCity, block: tuple[int, int], rng: np.random.Generator) -> list[Building]:
    if block == _FAULTY_BLOCK:
        return faulty_buildings()
    s, t = (block[0] + 0.5) * PITCH[0], (block[1] + 0.5) * PITCH[1]
    urban = 0.5 + 0.5 * math.cos(2 * math.pi * s / _TOWN_SPACING) * math.cos(2 * math.pi * t / _TOWN_SPACING)
    placed = block_buildings(rng, urban)
    return [building for building in placed if _has_room(city, _shell(city, building, block))]


def _shell(city: SampleCity, building: Building, block: tuple[int, int]) -> Float64:
    return from_streets(city, building.shell + np.multiply(block, PITCH))


def _has_room(city: SampleCity, shell: Float64) -> bool:
    """Whether an outline stays clear of the edge of the city and of the river."""
    inside = shell.min() > _EDGE_MARGIN and shell.max() < city.size - _EDGE_MARGIN
    return bool(inside and river_distance(city, shell[:, 0], shell[:, 1]).min() > RIVER_HALF_WIDTH + 8)


def _place(city: SampleCity, building: Building, block: tuple[int, int]) -> Building:
    hole = building.hole
    if hole is not None:
        hole = from_streets(city, hole + np.multiply(block, PITCH))
    return Building(_shell(city, building, block), building.height, building.function, building.rise, hole)


def _at_border(city: SampleCity) -> Building:
    x, y = -7.0, city.size * 0.7
    return Building(np.array([(x, y), (x + 19, y), (x + 19, y + 12), (x, y + 12)]), 9.5, "residential")


def _in_river(city: SampleCity) -> Building:
    x, y = city.size / 2, river_middle(city, city.size / 2)
    return Building(np.array([(x, y), (x + 14, y), (x + 14, y + 6), (x, y + 6)]), 4.0, "houseboat")


def _collect(city: SampleCity, names: list[tuple[str, int]], placed: list[Building]) -> Buildings:
    polygons = np.empty(len(placed), dtype=object)
    base = np.empty(len(placed))
    for index, building in enumerate(placed):
        holes = None if building.hole is None else [np.round(building.hole, 3)]
        polygons[index] = shapely.Polygon(np.round(building.shell, 3), holes)
        base[index] = ground_height(city, building.shell[:, 0], building.shell[:, 1]).min()
    return Buildings(
        ids=np.array([name for name, _ in names], dtype=object),
        functions=np.array([building.function for building in placed], dtype=object),
        years=np.array([year for _, year in names], dtype=np.int32),
        polygons=polygons,
        base=base,
        eaves=np.array([building.height for building in placed], dtype=np.float64),
        rise=np.array([building.rise for building in placed], dtype=np.float64),
    )
