"""Hypothesis strategies: footprints as they come in nightmares, tilings, and options."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from hypothesis import strategies as st
from shapely import Polygon, affinity, box
from shapely.ops import split

from citymesh_dask.tiles import Domain, Tiling

EXTENT = 64.0
"""Edge of the square, from the origin, in and around which random footprints lie; metres."""


@st.composite
def rectangles(draw: st.DrawFn, unit: float) -> list[Polygon]:
    """One rectangle, sometimes turned, sometimes hollow."""
    x, y, width, height = (draw(_lengths(unit, low)) for low in (-4.0, -4.0, 1.0, 1.0))
    house = box(x, y, x + width, y + height)
    if draw(st.booleans()) and min(width, height) > 4:
        house = house.difference(house.buffer(-draw(st.sampled_from([0.2, 0.3, 1.0, 1.9])), join_style="mitre"))
    return [affinity.rotate(house, draw(st.sampled_from([0, 0, 0, 90, 45, 0.1, 1, 17, 60])))]


@st.composite
def scribbles(draw: st.DrawFn, unit: float) -> list[Polygon]:
    """A ring of any points: it may cross itself, touch itself and run back on itself."""
    corner = st.tuples(_lengths(unit, -4.0), _lengths(unit, -4.0))
    return [Polygon(draw(st.lists(corner, min_size=3, max_size=8)))]


@st.composite
def slices(draw: st.DrawFn, unit: float) -> list[Polygon]:
    """A rectangle cut along lines: party walls of any direction."""
    x, y, width, height = (draw(_lengths(unit, low)) for low in (0.0, 0.0, 4.0, 4.0))
    parts = [box(x, y, x + width, y + height)]
    for _ in range(draw(st.integers(1, 3))):
        ends = [(x + width * draw(st.floats(0, 1)), y + s * height) for s in (-1, 2)]
        line = shapely.LineString(ends if draw(st.booleans()) else [(x - 9, y + 1), (x + width + 9, y + height - 1)])
        parts = [piece for part in parts for piece in split(part, line).geoms]
    return parts


@st.composite
def fans(draw: st.DrawFn, unit: float) -> list[Polygon]:
    """Wedges around one point."""
    x, y = draw(_lengths(unit, 4.0)), draw(_lengths(unit, 4.0))
    count, radius = draw(st.integers(3, 16)), draw(st.sampled_from([5.0, 20.0]))
    turn = np.linspace(0, 2 * np.pi, count + 1) + draw(st.sampled_from([0.0, 0.1]))
    rim = np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1)
    return [Polygon([(x, y), rim[k], rim[k + 1]]) for k in range(count)][:: draw(st.integers(1, 2))]


@st.composite
def patterns(draw: st.DrawFn, unit: float) -> list[Polygon]:
    """Equal squares at the points of a lattice: row houses, alleys, a checkerboard."""
    x, y, size = draw(_lengths(unit, -4.0)), draw(_lengths(unit, -4.0)), draw(st.sampled_from([3.0, 5.0, 8.0]))
    step = size + draw(st.sampled_from([0.0, 0.0, 0.1, 0.24, 0.26, 1.0, -0.1]))
    count, checkered = draw(st.integers(2, 4)), draw(st.booleans())
    cells = [(i, j) for i in range(count) for j in range(count) if not checkered or (i + j) % 2]
    return [box(x + step * i, y + step * j, x + step * i + size, y + step * j + size) for i, j in cells]


@st.composite
def discs(draw: st.DrawFn, unit: float) -> list[Polygon]:
    """A regular polygon, its twin touching it."""
    x, y, radius = draw(_lengths(unit, 0.0)), draw(_lengths(unit, 0.0)), draw(st.sampled_from([2.0, 6.0, 15.0]))
    turn = np.arange(draw(st.integers(3, 40)))
    turn = turn * (2 * np.pi / len(turn))
    disc = Polygon(np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1))
    return [disc, affinity.translate(disc, 2 * radius)][: draw(st.integers(1, 2))]


@st.composite
def footprints(draw: st.DrawFn) -> list[Any]:
    """A few of all these, some of them again where they stood or a little beside."""
    unit = draw(st.sampled_from([1.0, 0.5, 0.1, 0.037, 2.0**-10]))
    kinds = [kind(unit) for kind in (rectangles, rectangles, scribbles, slices, fans, patterns, discs)]
    houses = [house for some in draw(st.lists(st.one_of(*kinds), max_size=5)) for house in some]
    for _ in range(draw(st.integers(0, 2)) if houses else 0):
        house = houses[draw(st.integers(0, len(houses) - 1))]
        shift = [draw(st.sampled_from([0.0, 0.001, 0.1, 0.24, 0.26, 0.6, 3.0])) for _ in range(2)]
        houses.append(affinity.translate(house, *shift))
    if len(houses) > 2 and draw(st.booleans()):
        houses[:2] = [shapely.MultiPolygon(houses[:2])]
    return houses


SIZES = [(10.0, 5.0), (10.0, 5.0), (3.0, 3.0), (25.0, 25.0), (5.0, 10.0), (25.0, 2.0), (2.0, 25.0)]


@st.composite
def city_options(draw: st.DrawFn) -> dict[str, Any]:
    """Options that change the mesh, the documented defaults most often."""
    ground, building = draw(st.sampled_from(SIZES))
    return {
        "max_mesh_size": ground,
        "building_mesh_triangle_size": building,
        "min_mesh_angle": draw(st.sampled_from([25.0, 25.0, 0.0, 30.0])),
        "min_building_detail": draw(st.sampled_from([0.5, 0.5, 0.5, 0.1, 1.0, 3.0])),
        "min_building_area": draw(st.sampled_from([15.0, 15.0, 0.0, 1.0, 100.0])),
        "merge_buildings": draw(st.sampled_from([False, False, False, True])),
        "merge_tolerance": draw(st.sampled_from([0.5, 2.0])),
        "mesh_walls": draw(st.sampled_from([True, True, False])),
        "solid": draw(st.booleans()),
    }


@st.composite
def tilings(draw: st.DrawFn, domain: Domain, places: np.ndarray[Any, Any]) -> Tiling:
    """Tiles of any size, cut as in a quadtree, preferably through given places; mesh units."""
    tiles = [domain.mesh_frame]
    for _ in range(draw(st.integers(1, 6))):
        tile = tiles.pop(draw(st.integers(0, len(tiles) - 1)))
        x, y = (_line(draw, tile[axis], tile[axis + 2], places[:, axis]) for axis in range(2))
        xs, ys = sorted({tile[0], x, tile[2]}), sorted({tile[1], y, tile[3]})
        tiles += [(a, b, c, d) for a, c in pairwise(xs) for b, d in pairwise(ys)]
    return Tiling(np.array(tiles, np.int64))


def _line(draw: st.DrawFn, low: int, high: int, values: np.ndarray[Any, Any]) -> int:
    """Return where a line is drawn between two others: at a place, a unit beside it, or anywhere."""
    inside = np.unique(values[(values > low + 1) & (values < high - 1)])
    if len(inside) and draw(st.booleans()):
        return int(inside[draw(st.integers(0, len(inside) - 1))]) + draw(st.sampled_from([0, 0, 1, -1]))
    return low + int((high - low) * draw(st.sampled_from([0.1, 0.25, 0.5, 0.618])))


def _lengths(unit: float, low: float) -> st.SearchStrategy[float]:
    """Multiples of a unit from a least value to `EXTENT`."""
    return st.integers(int(low / unit), int(EXTENT / unit)).map(lambda k: k * unit)
