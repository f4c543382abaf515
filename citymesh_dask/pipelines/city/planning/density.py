"""Where the footprints are, told from the boxes of their features before any of them is read.

Counting only; what a place costs follows in `costs`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....errors import CityMeshError
from ....formats.footprints import FootprintSource, read_boxes
from ....tiles import OUTLINE_UNITS, Domain

Float64 = npt.NDArray[np.float64]

MOST_BOXES = 300_000
"""So many boxes are looked at; of larger layers one in so many features, evenly spread."""
MOST_CELLS = 250_000
LEAST_CELL_M = 20.0


@dataclass(frozen=True)
class Density:
    """Footprints by cell of a regular grid over the domain; a footprint counts where its box has its centre.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the grid, whose cells are equal and fill the domain; row 0 is in the south.
    cells : (n,) int32
        Cells that hold footprints, ascending: ``row * columns + column``.
    count, perimeter_m, area_m2 : (n,) float32
        In each of them: footprints, and sums over their boxes, as far as these lie inside the domain.
    """

    shape: tuple[int, int]
    cells: npt.NDArray[np.int32]
    count: npt.NDArray[np.float32]
    perimeter_m: npt.NDArray[np.float32]
    area_m2: npt.NDArray[np.float32]

    def dense(self, values: npt.NDArray[np.float32]) -> Float64:
        """Return values of the cells that hold footprints as (rows, columns), 0 in the others."""
        grid = np.zeros(self.shape[0] * self.shape[1])
        grid[self.cells] = values
        return grid.reshape(self.shape)

    def most_in(self, rows: int, columns: int) -> float:
        """Return the most footprints in a cell of another grid of equal cells over the domain."""
        row, column = np.divmod(self.cells.astype(np.int64), self.shape[1])
        cell = (2 * row + 1) * rows // (2 * self.shape[0]) * columns + (2 * column + 1) * columns // (2 * self.shape[1])
        return float(np.bincount(cell, self.count, 1).max())

    @property
    def total(self) -> float:
        """Footprints in all cells."""
        return float(self.count.sum(dtype=np.float64))


def footprint_density(footprints: Sequence[FootprintSource], domain: Domain, crs: str) -> Density:
    """Count footprints by place.

    Parameters
    ----------
    footprints : sequence of FootprintSource
        All layers; one that cannot be read counts for nothing: the task that reads it says why.
    domain : Domain
        What will be meshed.
    crs : str
        Project CRS, WKT.
    """
    n_features = sum(source.n_features for source in footprints)
    every = max(-(-n_features // MOST_BOXES), 1)
    shape = grid_shape(domain)
    sums = np.zeros((shape[0] * shape[1], 3))
    for source in footprints:
        if source.n_features:
            _add_boxes(sums, _boxes(source, every, crs), domain, shape=shape, n_features=source.n_features)
    cells = np.flatnonzero(sums[:, 0]).astype(np.int32)
    count, perimeter, area = (sums[cells, column].astype(np.float32) for column in range(3))
    return Density(shape, cells, count, perimeter, area)


def grid_shape(domain: Domain) -> tuple[int, int]:
    """Return rows and columns of the grid over a domain."""
    x0, y0, x1, y1 = (value / OUTLINE_UNITS for value in domain.frame)
    cell = max(LEAST_CELL_M, math.sqrt((x1 - x0) * (y1 - y0) / MOST_CELLS))
    return max(int((y1 - y0) / cell), 1), max(int((x1 - x0) / cell), 1)


def _boxes(source: FootprintSource, every: int, crs: str) -> Float64:
    with contextlib.suppress(CityMeshError):
        return read_boxes(source, every=every, crs=crs)
    return np.empty((0, 4))


def _add_boxes(sums: Float64, boxes: Float64, domain: Domain, *, shape: tuple[int, int], n_features: int) -> None:
    """Add the boxes of some features of a layer, scaled to all of them, to the sums of their cells."""
    if not len(boxes):
        return
    weight = n_features / len(boxes)
    frame = np.array(domain.bounds)
    low, high = np.maximum(boxes[:, :2], frame[:2]), np.minimum(boxes[:, 2:], frame[2:])
    inside = (low <= high).all(axis=1)
    low, high = low[inside], high[inside]
    sides = high - low
    place = ((low + high) / 2 - frame[:2]) / (frame[2:] - frame[:2]) * np.array(shape[::-1])
    column, row = np.clip(place.astype(np.int64), 0, np.array(shape[::-1]) - 1).T
    cell = row * shape[1] + column
    for index, values in enumerate((np.ones(len(sides)), 2 * sides.sum(axis=1), sides.prod(axis=1))):
        sums[:, index] += weight * np.bincount(cell, values, len(sums))
