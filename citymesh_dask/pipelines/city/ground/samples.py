"""Layout of the groups ``samples/...``: what the tasks of `sampling` leave for those that come after.

Only names, arrays and attributes of the groups belong here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ....formats.rasters import RasterSource
from ....geometry.terrain.cell_sums import CellSums
from ....geometry.terrain.histograms import Histogram
from ....geometry.terrain.terrain import Span, TerrainLattice
from ..job import ROWS_PER_RANGE, CityJob

Array = npt.NDArray[Any]

SURFACE_BLOCK = 1024
"""Cells along a block in which surface rasters are read."""


def points_group(index: int) -> str:
    """Return the scratch group of a range of points."""
    return f"samples/points-{index:05d}"


def surface_group(index: int) -> str:
    """Return the scratch group of a block of a surface raster."""
    return f"samples/surface-{index:05d}"


def footprint_samples_group(index: int) -> str:
    """Return the scratch group of the ground heights of a range of footprints."""
    return f"samples/footprints-{index:05d}"


def surface_blocks(job: CityJob) -> list[tuple[str, RasterSource, int]]:
    """Return name, raster and number within the raster of every block that `sample_surface` reads."""
    named = (("surface", job.survey.surface), ("building_heights", job.survey.building_heights))
    return [(name, raster, k) for name, raster in named if raster is not None for k in range(_n_blocks(raster))]


def surface_block(job: CityJob, index: int) -> tuple[str, RasterSource, Span]:
    """Return kind, raster and span (rows and columns) of a block."""
    name, raster, number = surface_blocks(job)[index]
    row, col = (k * SURFACE_BLOCK for k in divmod(number, -(-raster.shape[1] // SURFACE_BLOCK)))
    span = (row, col, min(row + SURFACE_BLOCK, raster.shape[0]), min(col + SURFACE_BLOCK, raster.shape[1]))
    return name, raster, span


def _n_blocks(raster: RasterSource) -> int:
    return -(-raster.shape[0] // SURFACE_BLOCK) * -(-raster.shape[1] // SURFACE_BLOCK)


def write_cells(lattice: TerrainLattice, cells: CellSums) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return sums per terrain cell as arrays of a group, ordered by block, and where blocks begin.

    The attribute ``blocks`` maps the number of a block to the first and past-the-end cell.
    """
    size = lattice.block**2
    ids, first = np.unique(cells.keys // size, return_index=True)
    ends = [*first[1:].tolist(), len(cells.keys)]
    blocks = {str(b): [start, end] for b, start, end in zip(ids.tolist(), first.tolist(), ends, strict=False)}
    arrays: dict[str, Array] = {"keys": cells.keys, "sums": cells.sums, "counts": cells.counts.astype(np.int32)}
    return arrays, {"blocks": blocks}


def read_cells(job: CityJob, group: str, block: int) -> CellSums | None:
    """Return the sums of one terrain block that a group holds, if any."""
    place = job.scratch.attributes(group)["blocks"].get(str(block))
    if place is None:
        return None
    keys, sums, counts = (job.scratch.read(group, name, (place[0], place[1])) for name in ("keys", "sums", "counts"))
    return CellSums(keys, sums, counts.astype(np.int64))


def write_histogram(name: str, histogram: Histogram) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return a histogram as arrays of a group, and where each range of rows begins.

    The attribute ``{name}_ranges`` maps the number of a range of rows to its first and past-the-end
    entry, so that a task reads only its own.
    """
    ids, first = np.unique(histogram.rows // ROWS_PER_RANGE, return_index=True)
    ends = [*first[1:].tolist(), len(histogram)]
    ranges = {str(r): [start, end] for r, start, end in zip(ids.tolist(), first.tolist(), ends, strict=False)}
    columns: dict[str, Array] = {
        "rows": histogram.rows,
        "bins": histogram.bins,
        "counts": histogram.counts.astype(np.int32),
    }
    return {f"{name}_{key}": value for key, value in columns.items()}, {f"{name}_ranges": ranges}


def read_histogram(job: CityJob, group: str, name: str, *, place: list[int], rows: tuple[int, int]) -> Histogram:
    """Return what a histogram of a group says of rows ``rows[0]:rows[1]``; ``place`` comes from its attributes."""
    known = job.scratch.read(group, f"{name}_rows", (place[0], place[1]))
    low, high = np.searchsorted(known, rows).tolist()
    bins, counts = (
        job.scratch.read(group, f"{name}_{key}", (place[0] + low, place[0] + high)) for key in ("bins", "counts")
    )
    return Histogram(known[low:high], bins, counts.astype(np.int64))
