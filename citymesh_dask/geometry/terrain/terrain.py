"""The terrain raster: its lattice, and heights looked up in it.

Everything here is exact or rounded to whole millimetres, and a function of global lattice indices
alone, so that two windows of the same raster give the same bits. How heights are gathered into cells
is in `citymesh_dask.geometry.terrain.cell_sums`, how cells without data are filled in
`citymesh_dask.geometry.terrain.filling`; files and tasks are in ``formats`` and ``pipelines``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ...tiles import OUTLINE_UNITS, Domain

Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]
Span = tuple[int, int, int, int]
"""First row, first column, end row, end column of a window of cells."""

BLOCK = 1024
"""Cells along a block of the raster; a power of two, because the filling pyramid halves it."""


@dataclass(frozen=True)
class TerrainLattice:
    """The cells of the terrain raster; rows go north, columns go east.

    Cell ``(r, c)`` has its centre at ``(x0 + (c + 0.5) dx, y0 + (r + 0.5) dy)``.

    Parameters
    ----------
    x0, y0 : float
        South-west corner, metres relative to the project origin.
    dx, dy : float
        Size of a cell, metres, both positive.
    rows, cols : int
        Number of cells; they cover the domain and at least one cell more on each side.
    block : int
        Cells along a block; a power of two.
    """

    x0: float
    y0: float
    dx: float
    dy: float
    rows: int
    cols: int
    block: int = BLOCK

    @classmethod
    def over_domain(cls, domain: Domain, cell: float, block: int = BLOCK) -> TerrainLattice:
        """Return square cells of ``cell`` metres, at multiples of the cell from the project origin."""
        return cls.through_corner(domain, (0.0, 0.0), (cell, cell), block=block)

    @classmethod
    def through_corner(
        cls, domain: Domain, corner: tuple[float, float], cell: tuple[float, float], *, block: int = BLOCK
    ) -> TerrainLattice:
        """Return the lattice that has a cell corner at ``corner`` and covers the domain.

        Parameters
        ----------
        domain : Domain
            What to cover.
        corner : (float, float)
            Any cell corner, metres relative to the project origin; a terrain raster keeps its
            cells by giving its own.
        cell : (float, float)
            Size of a cell, metres.
        block : int
            Cells along a block.
        """
        frame = [value / OUTLINE_UNITS for value in domain.frame]
        west, east = _cells_around(frame[0], frame[2], corner[0], cell[0])
        south, north = _cells_around(frame[1], frame[3], corner[1], cell[1])
        x0, y0 = corner[0] + west * cell[0], corner[1] + south * cell[1]
        return cls(x0, y0, cell[0], cell[1], north - south, east - west, block)

    @property
    def block_rows(self) -> int:
        """Number of blocks from south to north."""
        return -(-self.rows // self.block)

    @property
    def block_cols(self) -> int:
        """Number of blocks from west to east."""
        return -(-self.cols // self.block)

    @property
    def n_blocks(self) -> int:
        """Number of blocks; block ``b`` stands in block row ``b // block_cols``."""
        return self.block_rows * self.block_cols

    def block_span(self, index: int) -> Span:
        """Return the cells of a block, cut off at the edge of the lattice."""
        row, col = (k * self.block for k in divmod(index, self.block_cols))
        return (row, col, min(row + self.block, self.rows), min(col + self.block, self.cols))

    def span_of(self, box: tuple[float, float, float, float]) -> Span:
        """Return the cells whose heights matter inside a box (metres relative to the origin)."""
        first_col, end_col = (math.floor((x - self.x0) / self.dx - 0.5) for x in (box[0], box[2]))
        first_row, end_row = (math.floor((y - self.y0) / self.dy - 0.5) for y in (box[1], box[3]))
        # One cell more than bilinear interpolation needs, against rounding in a caller's box.
        rows = (_clip(first_row - 1, self.rows - 1), _clip(end_row + 2, self.rows - 1) + 1)
        cols = (_clip(first_col - 1, self.cols - 1), _clip(end_col + 2, self.cols - 1) + 1)
        return (rows[0], cols[0], rows[1], cols[1])

    def blocks_of(self, span: Span) -> list[int]:
        """Return the blocks that hold any cell of a span, ascending."""
        size = self.block
        rows = range(span[0] // size, -(-span[2] // size))
        cols = range(span[1] // size, -(-span[3] // size))
        return [row * self.block_cols + col for row in rows for col in cols]


def _cells_around(low: float, high: float, corner: float, cell: float) -> tuple[int, int]:
    """Return the cell indices, relative to a corner, that cover an interval plus one cell."""
    # A thousandth of a cell is forgiven: corners of rasters carry rounding errors.
    return math.floor((low - corner) / cell + 1e-3) - 1, math.ceil((high - corner) / cell - 1e-3) + 1


def _clip(value: int, high: int) -> int:
    return min(max(value, 0), high)


@dataclass(frozen=True)
class HeightField:
    """A window of the terrain raster.

    Parameters
    ----------
    heights : (r, c) int32
        Millimetres, no voids.
    first_row, first_col : int
        Lattice indices of ``heights[0, 0]``.
    lattice : TerrainLattice
        The whole raster's lattice.
    """

    heights: Int32
    first_row: int
    first_col: int
    lattice: TerrainLattice

    def at(self, x: Float64, y: Float64) -> Float64:
        """Return heights at positions.

        Parameters
        ----------
        x, y : (n,) float64
            Metres relative to the project origin, inside the window's box.

        Returns
        -------
        (n,) float64
            Metres, whole millimetres; see `height_at`.
        """
        grid = self.lattice
        x, y = np.ascontiguousarray(x, np.float64), np.ascontiguousarray(y, np.float64)
        heights: Float64 = _heights_at(
            self.heights, self.first_row, self.first_col, grid.x0, grid.y0, grid.dx, grid.dy, x, y
        )
        return heights


@njit(cache=True, nogil=True)
def height_at(
    heights: Int32,
    first_row: int,
    first_col: int,
    x0: float,
    y0: float,
    dx: float,
    dy: float,
    x: float,
    y: float,
) -> float:
    """Return the terrain height at one position, for callers that are kernels themselves.

    Bilinear between cell centres, constant beyond the outermost ones, rounded to millimetres. The
    weights come from global lattice indices, so that every window gives the same bits.

    Parameters
    ----------
    heights : (r, c) int32
        Millimetres; the window of a `HeightField`, which must hold the cells around the position.
    first_row, first_col : int
        Lattice indices of ``heights[0, 0]``.
    x0, y0, dx, dy : float
        Corner and cell of the lattice, metres relative to the project origin.
    x, y : float
        Position, metres relative to the project origin.

    Returns
    -------
    float
        Height in metres.
    """
    across = (x - x0) / dx - 0.5
    along = (y - y0) / dy - 0.5
    col_floor = math.floor(across)
    row_floor = math.floor(along)
    east = across - col_floor
    north = along - row_floor
    col = int(col_floor) - first_col
    row = int(row_floor) - first_row
    if col < 0:
        col, east = 0, 0.0
    elif col > heights.shape[1] - 2:
        col, east = heights.shape[1] - 1, 0.0
    if row < 0:
        row, north = 0, 0.0
    elif row > heights.shape[0] - 2:
        row, north = heights.shape[0] - 1, 0.0
    next_col = min(col + 1, heights.shape[1] - 1)
    next_row = min(row + 1, heights.shape[0] - 1)
    south_side = heights[row, col] * (1.0 - east) + heights[row, next_col] * east
    north_side = heights[next_row, col] * (1.0 - east) + heights[next_row, next_col] * east
    return float(np.rint(south_side * (1.0 - north) + north_side * north) / 1000.0)


@njit(cache=True, nogil=True)
def _heights_at(
    heights: Int32,
    first_row: int,
    first_col: int,
    x0: float,
    y0: float,
    dx: float,
    dy: float,
    x: Float64,
    y: Float64,
) -> Float64:
    out = np.empty(len(x))
    for i in range(len(x)):
        out[i] = height_at(heights, first_row, first_col, x0, y0, dx, dy, x[i], y[i])
    return out
