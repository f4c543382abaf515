"""Heights gathered into the cells of the terrain raster: integer sums and counts.

Millimetres are added as integers, so that any order and any division into files and tasks gives the
same means. Cells without data are filled in `citymesh_dask.geometry.terrain.filling`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .terrain import TerrainLattice

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

_MOST_CELLS_PER_POINT = 8


@dataclass(frozen=True)
class CellSums:
    """Heights gathered into terrain cells; integers, so that any order of adding gives the same.

    Parameters
    ----------
    keys : (n,) int64
        ``block * lattice.block**2 + row in block * lattice.block + column in block``, ascending.
    sums : (n,) int64
        Sum of the heights in each cell, millimetres.
    counts : (n,) int64
        Number of heights in each cell.
    """

    keys: Int64
    sums: Int64
    counts: Int64

    @classmethod
    def empty(cls) -> CellSums:
        """Return sums of nothing."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))


def cell_keys(lattice: TerrainLattice, rows: Int64, cols: Int64) -> Int64:
    """Return the keys of cells given by lattice indices; see `CellSums`."""
    size = lattice.block
    block = (rows // size) * lattice.block_cols + cols // size
    keys: Int64 = (block * size + rows % size) * size + cols % size
    return keys


def gather_points(lattice: TerrainLattice, x: Float64, y: Float64, *, heights: Int64) -> CellSums:
    """Return the sums of point heights in the cells that they fall in.

    Parameters
    ----------
    lattice : TerrainLattice
        Points outside it are left out.
    x, y : (n,) float64
        Metres relative to the project origin.
    heights : (n,) int64
        Millimetres.
    """
    cols = np.floor((x - lattice.x0) / lattice.dx).astype(np.int64)
    rows = np.floor((y - lattice.y0) / lattice.dy).astype(np.int64)
    inside = (rows >= 0) & (rows < lattice.rows) & (cols >= 0) & (cols < lattice.cols)
    rows, cols, heights = rows[inside], cols[inside], heights[inside].astype(np.int64)
    if not len(rows):
        return CellSums.empty()
    (row, last), (col, last_col) = ((int(values.min()), int(values.max())) for values in (rows, cols))
    width = last_col - col + 1
    if (last - row + 1) * width > _MOST_CELLS_PER_POINT * len(rows):
        return _sum_by_key(CellSums(cell_keys(lattice, rows, cols), heights, np.ones(len(rows), np.int64)))
    # Points of a chunk lie close together: counting is several times as fast as sorting. Sums of
    # millimetres stay far below 2**53, so that float64 holds them exactly.
    place = (rows - row) * width + cols - col
    counts = np.bincount(place)
    filled = np.flatnonzero(counts)
    sums = np.bincount(place, weights=heights)[filled].astype(np.int64)
    keys = cell_keys(lattice, row + filled // width, col + filled % width)
    return _sum_by_key(CellSums(keys, sums, counts[filled]))


def merge_sums(several: list[CellSums]) -> CellSums:
    """Return the sums of several gatherings as one."""
    if not several:
        return CellSums.empty()
    keys, sums, counts = (
        np.concatenate([getattr(item, name) for item in several]) for name in ("keys", "sums", "counts")
    )
    return _sum_by_key(CellSums(keys, sums, counts))


def _sum_by_key(unsorted: CellSums) -> CellSums:
    if not len(unsorted.keys):
        return unsorted
    order = np.argsort(unsorted.keys, kind="stable")
    keys = unsorted.keys[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return CellSums(
        keys[first], np.add.reduceat(unsorted.sums[order], first), np.add.reduceat(unsorted.counts[order], first)
    )


def block_means(lattice: TerrainLattice, index: int, gathered: list[CellSums], *, void: int) -> Int32:
    """Return the mean heights in the cells of one block.

    Parameters
    ----------
    lattice : TerrainLattice
        The raster.
    index : int
        The block; cells of other blocks must not be among those gathered.
    gathered : list of CellSums
        What was gathered, in any order.
    void : int
        Value of cells without data.

    Returns
    -------
    (rows, cols) int32
        Millimetres, halves rounded up.
    """
    size = lattice.block
    span = lattice.block_span(index)
    sums, counts = np.zeros(size * size, np.int64), np.zeros(size * size, np.int64)
    for item in gathered:
        local = item.keys - index * size * size
        sums[local] += item.sums
        counts[local] += item.counts
    means = np.where(counts > 0, (2 * sums + counts) // np.maximum(2 * counts, 1), void)
    return means.reshape(size, size)[: span[2] - span[0], : span[3] - span[1]].astype(np.int32)
