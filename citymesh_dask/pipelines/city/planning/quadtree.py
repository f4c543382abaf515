"""Tiles for uneven cities: small where much is meshed, large where little is.

Where tiles end is arithmetic on projected costs; seams between tiles of different sizes need nothing special.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ....errors import PlanError
from ....options import CityOptions
from ....tiles import MESH_UNITS, Domain, Tiling, regular_tiling
from .costs import Costs
from .limits import LARGEST_TILE_M, check_tiles

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

TRIANGLES_PER_TILE = 150_000
"""Aim of the automatic tiling: tiles of 0.1 to 1 M triangles are the fastest."""
_LARGER_TILES, _MANY_TILES = 400_000, 1000
"""Where even larger tiles are many, they are aimed at: less of their surroundings is looked at twice (measured: a
seventh of the time of tile tasks), and there are fewer tasks."""
_LEAST_TILES, _LEAST_TRIANGLES = 8, 40_000
"""A small city is divided, too, so that there is work for several workers, but not into crumbs."""
_SPLIT = 4.0
"""A tile of more than so many aims is divided, also where memory would bear it: work is shared out more evenly."""
_DEEPEST = 30


@dataclass(frozen=True)
class TileRules:
    """What tiles must keep to.

    Parameters
    ----------
    most_triangles : float
        No tile projects over it.
    least_edge : float
        Metres; no tile is divided into shorter ones, or half as short ones where ``most_triangles`` asks for it.
    aim : float
        Triangles that a tile should have.
    largest_edge : float
        Metres.
    """

    most_triangles: float
    least_edge: float
    aim: float = TRIANGLES_PER_TILE
    largest_edge: float = LARGEST_TILE_M

    @property
    def most_of_one(self) -> float:
        """Triangles beyond which a tile is divided."""
        return min(self.most_triangles, _SPLIT * self.aim)

    @classmethod
    def of(cls, options: CityOptions, most_triangles: float = math.inf) -> TileRules:
        """Return the rules for the mesh sizes of some options."""
        return cls(most_triangles, max(20 * options.max_mesh_size, 50.0))

    def for_city(self, triangles: float) -> TileRules:
        """Return the rules for a city of so many triangles."""
        return replace(self, aim=max(self.aim, min(triangles / _MANY_TILES, _LARGER_TILES)))

    def equal_edge(self, domain: Domain, triangles: float) -> float:
        """Return the edge of equal tiles that a city of even density would have, metres."""
        aim = min(self.aim, self.most_triangles)
        count = max(triangles / aim, min(triangles / _LEAST_TRIANGLES, _LEAST_TILES), 1.0)
        return min(max(math.sqrt(domain.area / count), self.least_edge), self.largest_edge)


def choose_tiling(domain: Domain, costs: Costs, options: CityOptions, *, most_triangles: float = math.inf) -> Tiling:
    """Return the tiles of a city: equal ones of the size that was asked for, else those of `plan_tiles`.

    Parameters
    ----------
    domain : Domain
        What is meshed.
    costs : Costs
        Projected triangles by place.
    options : CityOptions
        ``tile_size``, ``use_tiling`` and mesh sizes.
    most_triangles : float
        None of the tiles of `plan_tiles` projects over it.

    Raises
    ------
    OptionError, PlanError
        If tiles are too large to be exact, too many, or a place is too dense.
    """
    rules = TileRules.of(options, most_triangles).for_city(costs.total)
    if not options.use_tiling or options.tile_size:
        tile_size = options.tile_size if options.use_tiling else None
        check_tiles(domain, tile_size)
        return regular_tiling(domain, tile_size)
    check_tiles(domain, rules.equal_edge(domain, costs.total))
    return plan_tiles(domain, costs, rules)


def plan_tiles(domain: Domain, costs: Costs, rules: TileRules) -> Tiling:
    """Return tiles of like cost: a grid of equal ones, of which the costly are quartered and the cheap joined by four.

    Parameters
    ----------
    domain : Domain
        What is meshed.
    costs : Costs
        Projected triangles by place.
    rules : TileRules
        Limits.

    Returns
    -------
    Tiling
        In Z-order; for a city of even density the equal tiles themselves.

    Raises
    ------
    PlanError
        If a place is too dense even for the least tiles.
    """
    edge = rules.equal_edge(domain, costs.total)
    x_lines, y_lines = (_lines(domain, axis, edge) for axis in (0, 1))
    mean = costs.total / ((len(x_lines) - 1) * (len(y_lines) - 1))
    leaves, cells, keys, depth = _join_cheap((x_lines, y_lines), costs, mean=mean, rules=rules)
    leaves += _divide_costly(cells, keys, costs, depth=depth, rules=rules)
    boxes = np.concatenate([boxes for boxes, _ in leaves])
    tiling = Tiling(boxes[np.argsort(np.concatenate([keys for _, keys in leaves]), kind="stable")])
    _refuse_too_dense(tiling, domain, costs, rules)
    return tiling


_Leaves = list[tuple[Int64, Int64]]
"""Boxes of tiles, and their places on the Z-order curve."""


def _lines(domain: Domain, axis: int, edge: float) -> Int64:
    start, stop = domain.mesh_frame[axis], domain.mesh_frame[axis + 2]
    count = max(1, math.ceil((stop - start) / (edge * MESH_UNITS) - 1e-9))
    return np.array([start + (stop - start) * k // count for k in range(count + 1)], np.int64)


def _join_cheap(
    lines: tuple[Int64, Int64], costs: Costs, *, mean: float, rules: TileRules
) -> tuple[_Leaves, Int64, Int64, int]:
    """Join squares of 2, 4, 8 ... equal tiles that have no more than the mean of one together.

    Returns these, the boxes and keys of the tiles that stay as they are, and the depth of the tree down to them.
    """
    counts = [len(line) - 1 for line in lines]
    depth = max(count - 1 for count in counts).bit_length()
    places, keys, leaves = np.zeros((1, 2), np.int64), np.zeros(1, np.int64), []
    for level in range(depth, 0, -1):
        boxes = _boxes_of_blocks(lines, places, level)
        cheap = (costs.inside(boxes) <= mean) & (_edges(boxes) <= rules.largest_edge).all(axis=1)
        leaves.append((boxes[cheap], _place_of(keys[cheap], depth - level)))
        places, keys = _children(places[~cheap], keys[~cheap])
        there = (places << (level - 1) < np.array(counts)).all(axis=1)
        places, keys = places[there], keys[there]
    return leaves, _boxes_of_blocks(lines, places, 0), keys, depth


def _divide_costly(boxes: Int64, keys: Int64, costs: Costs, *, depth: int, rules: TileRules) -> _Leaves:
    """Divide tiles until none costs too much, or has edges that can be halved."""
    leaves = []
    while len(boxes):
        projected = costs.inside(boxes)[:, None]
        wanted = (projected > _SPLIT * rules.aim) & (_edges(boxes) >= 2 * rules.least_edge)
        needed = (projected > rules.most_triangles) & (_edges(boxes) >= rules.least_edge)
        halved = wanted | needed
        costly = halved.any(axis=1) & (depth < _DEEPEST)
        leaves.append((boxes[~costly], _place_of(keys[~costly], depth)))
        boxes, keys = _quarters(boxes[costly], keys[costly], halved[costly])
        depth += 1
    return leaves


def _boxes_of_blocks(lines: tuple[Int64, Int64], places: Int64, level: int) -> Int64:
    """Return the boxes of squares of ``2**level`` equal tiles, as far as there are any."""
    first, last = places << level, (places + 1) << level
    corners = [lines[a][np.minimum(ends[:, a], len(lines[a]) - 1)] for ends in (first, last) for a in (0, 1)]
    return np.stack(corners, axis=1)


def _children(places: Int64, keys: Int64) -> tuple[Int64, Int64]:
    quarter = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    return (2 * places[:, None] + quarter).reshape(-1, 2), (4 * keys[:, None] + np.arange(4)).ravel()


def _quarters(boxes: Int64, keys: Int64, halved: Bool) -> tuple[Int64, Int64]:
    """Return the four quarters of boxes, or two halves where only one edge is to be halved."""
    low, high = boxes[:, :2], boxes[:, 2:]
    middle = np.where(halved, (low + high) // 2, high)
    ends = np.stack([low, middle, high], axis=1)
    quarters = [[ends[:, i, 0], ends[:, j, 1], ends[:, i + 1, 0], ends[:, j + 1, 1]] for j in (0, 1) for i in (0, 1)]
    found = np.transpose(np.array(quarters, np.int64), (2, 0, 1)).reshape(-1, 4)
    some = (found[:, :2] < found[:, 2:]).all(axis=1)
    return found[some], (4 * keys[:, None] + np.arange(4)).ravel()[some]


def _place_of(keys: Int64, depth: int) -> Int64:
    return keys << (2 * (_DEEPEST - depth))


def _edges(boxes: Int64) -> npt.NDArray[np.float64]:
    edges: npt.NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]) / MESH_UNITS
    return edges


def _refuse_too_dense(tiling: Tiling, domain: Domain, costs: Costs, rules: TileRules) -> None:
    projected = costs.inside(tiling.boxes)
    worst = int(projected.argmax())
    if projected[worst] <= rules.most_triangles:
        return
    x, y = domain.origin
    x0, y0, x1, y1 = (tiling.boxes[worst] / MESH_UNITS + np.array([x, y, x, y])).tolist()
    found = f"a tile of {x1 - x0:.0f} x {y1 - y0:.0f} m is projected to have {projected[worst]:,.0f} triangles"
    raise PlanError(
        f"the place from ({x0:.0f}, {y0:.0f}) to ({x1:.0f}, {y1:.0f})",
        f"{found}, and is too small to be divided (least edge {rules.least_edge / 2:g} m)",
        f"at most {rules.most_triangles:,.0f} triangles in the memory of a worker",
        "give more --memory-limit, fewer --workers, or a larger --max-mesh-size and --building-mesh-triangle-size",
    )
