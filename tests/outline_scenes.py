"""Small labelled outlines that are exactly known: blocks on a grid of lines, and rings of points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from citymesh_dask.outlines import BEYOND, GROUND, Outlines
from citymesh_dask.tiles import OUTLINE_UNITS, Box

Points = Sequence[tuple[float, float]]
Ring = tuple[int, Points]
"""A row of the building table and the corners around it in metres, the building on the left."""


def square(row: int, x: float, y: float, width: float, height: float | None = None) -> Ring:
    """Return an axis-parallel rectangle."""
    height = width if height is None else height
    return row, [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def circle(row: int, x: float, y: float, radius: float, count: int, *, clockwise: bool = False) -> Ring:
    """Return a ring of ``count`` corners; clockwise for a courtyard."""
    turn = np.arange(count) * (2 * np.pi / count) * (-1 if clockwise else 1)
    return row, [(x + radius * float(np.cos(t)), y + radius * float(np.sin(t))) for t in turn]


def outlines_of_rings(rings: Sequence[Ring], frame: Box, group: Sequence[int] | None = None) -> Outlines:
    """Return the outlines of rings whose common walls are noded alike.

    ``group`` gives the group of each ring, ascending; without it all rings are one group.
    """
    group = [0] * len(rings) if group is None else list(group)
    points, edges, point_start, edge_start = [], [], [0], [0]
    for number in range(max(group, default=-1) + 1):
        directed: dict[tuple[tuple[int, int], tuple[int, int]], int] = {}
        for (row, corners), member in zip(rings, group, strict=True):
            if member == number:
                ring = [(round(x * OUTLINE_UNITS), round(y * OUTLINE_UNITS)) for x, y in corners]
                directed |= dict.fromkeys(zip(ring, ring[1:] + ring[:1], strict=True), row)
        places = sorted({end for edge in directed for end in edge})
        index = {place: k + len(points) for k, place in enumerate(places)}
        for (a, b), row in directed.items():
            if (b, a) not in directed:
                edges.append((index[a], index[b], row, _outside(a, b, frame)))
            elif a < b:
                edges.append((index[a], index[b], row, directed[b, a]))
        points += places
        point_start.append(len(points))
        edge_start.append(len(edges))
    return Outlines(
        np.array(points, np.int64).reshape(-1, 2),
        np.array(edges, np.int64).reshape(-1, 4),
        np.array(point_start),
        np.array(edge_start),
    )


def _outside(a: tuple[int, int], b: tuple[int, int], frame: Box) -> int:
    for axis in range(2):
        if a[axis] == b[axis] and a[axis] in (frame[axis], frame[axis + 2]):
            return BEYOND
    return GROUND


def blocks(cells: npt.ArrayLike, xs: Sequence[float], ys: Sequence[float]) -> list[Ring]:
    """Return one rectangle per cell between lines (metres) that is labelled with a row, not -1."""
    labels = np.asarray(cells)
    return [
        square(int(labels[j, i]), xs[i], ys[j], xs[i + 1] - xs[i], ys[j + 1] - ys[j])
        for j, i in np.argwhere(labels >= 0)
    ]


def block_outlines(cells: npt.ArrayLike, xs: Sequence[float], ys: Sequence[float], frame: Box) -> Outlines:
    """Return the outlines of labelled cells; walls between cells of one building are left out."""
    outlines = outlines_of_rings(blocks(cells, xs, ys), frame)
    edges = outlines.edges[outlines.edges[:, 2] != outlines.edges[:, 3]]
    used = np.unique(edges[:, :2])
    edges[:, :2] = np.searchsorted(used, edges[:, :2])
    return Outlines(outlines.points[used], edges, np.array([0, len(used)]), np.array([0, len(edges)]))


def metre_frame(width: float, height: float) -> Box:
    """Return a frame from the origin, outline units."""
    return (0, 0, round(width * OUTLINE_UNITS), round(height * OUTLINE_UNITS))
