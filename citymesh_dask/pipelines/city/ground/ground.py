"""Stages of terrain and heights, and the tasks that make the terrain raster from what was sampled.

``samples`` (sums per cell) -> ``cells`` (means of a block, and its pyramid) -> ``terrain/top`` (the
coarse rest of the pyramid, filled) -> ``terrain/{block}`` (heights without voids).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from ....engine.plan import Stage, TaskFunction, numbered_stage
from ....errors import InputError
from ....formats.rasters import RasterSource, read_window
from ....geometry.terrain import filling
from ....geometry.terrain.cell_sums import block_means
from ....geometry.terrain.filling import VOID
from ....geometry.terrain.terrain import HeightField, Span, TerrainLattice
from ....store.fingerprint import note_input
from ....tiles import OUTLINE_UNITS
from ..job import CityJob, asked, load_job
from .evidence import roof_evidence
from .samples import footprint_samples_group, points_group, read_cells, surface_blocks
from .sampling import sample_footprints, sample_points, sample_surface

Int32 = npt.NDArray[np.int32]

_ROWS_PER_CHUNK = 128
_MILLIMETRES = 1000
_HEADER_BOX_MARGIN_M = 1.0


def ground_stages(job: CityJob, call: tuple[str]) -> list[Stage]:
    """Return the stages that turn points, rasters and attributes into terrain and heights."""
    blocks = job.lattice.n_blocks
    attributes_only = not job.survey.points and job.survey.terrain is None
    sampled = () if job.survey.terrain is not None else ("sample_points", "sample_footprints")

    def stage(name: str, function: TaskFunction, count: int, *after: str) -> Stage:
        return numbered_stage(name, function, count, arguments=call, after=after)

    footprint_ranges = len(job.footprint_ranges) if attributes_only else 0
    return [
        stage("sample_points", sample_points, len(job.point_ranges), "index_parts"),
        stage("sample_surface", sample_surface, len(surface_blocks(job)), "index_parts"),
        stage("sample_footprints", sample_footprints, footprint_ranges, "read_footprints"),
        stage("terrain_cells", terrain_cells, blocks, *sampled),
        stage("fill_top", fill_top, 1, "terrain_cells"),
        stage("fill_terrain", fill_terrain, blocks, "fill_top"),
        stage("roof_evidence", roof_evidence, job.n_row_ranges, "sample_points", "sample_surface"),
    ]


def terrain_cells(job_path: str, index: int) -> dict[str, Any]:
    """Gather one block of the terrain raster and push it to a single cell.

    Writes group ``cells/{index}``: ``level_0`` (rows, cols) int32 millimetres and ``coarse``, the
    levels above it one after the other, the coarsest first; `VOID` where there is no data.
    """
    job = load_job(job_path)
    lattice = job.lattice
    pyramid = filling.push_all(_block_heights(job, index), _n_levels(lattice))
    span, inside = lattice.block_span(index), _inside(job)
    clipped = [max(span[0], inside[0]), max(span[1], inside[1]), min(span[2], inside[2]), min(span[3], inside[3])]
    here = pyramid[0][clipped[0] - span[0] : clipped[2] - span[0], clipped[1] - span[1] : clipped[3] - span[1]]
    facts = {
        "cells": int(here.size),
        "void": int((here == VOID).sum()),
        "hole": filling.largest_hole(pyramid, span[:2], inside, cell=(lattice.dx, lattice.dy)),
    }
    coarse = np.concatenate([level.ravel() for level in pyramid[:0:-1]])
    attributes = {**facts, "top": int(pyramid[-1][0, 0])}
    job.scratch.write(
        _cells_group(index), {"level_0": pyramid[0], "coarse": coarse}, attributes, chunk_rows=_ROWS_PER_CHUNK**2
    )
    return facts


def fill_top(job_path: str, index: int) -> dict[str, Any]:
    """Fill the level of the pyramid at which every block is one cell.

    Writes group ``terrain/top``: ``heights`` (block rows, block columns) int32 millimetres. Returns
    how many cells inside the domain hold no data and the largest hole; see `filling.largest_hole`.

    Raises
    ------
    InputError
        If there is no ground at all.
    """
    del index
    job = load_job(job_path)
    lattice = job.lattice
    facts = [job.scratch.attributes(_cells_group(block)) for block in range(lattice.n_blocks)]
    tops = np.array([fact["top"] for fact in facts], np.int32).reshape(lattice.block_rows, lattice.block_cols)
    if (tops == VOID).all():
        raise _no_ground(job)
    job.scratch.write("terrain/top", {"heights": filling.fill_top(tops)})
    cells, void = (sum(fact[name] for fact in facts) for name in ("cells", "void"))
    return {
        "source": _ground_source(job),
        "cell": [lattice.dx, lattice.dy],
        "cells": cells,
        "filled_cells": void,
        "filled_share": void / max(cells, 1),
        "largest_hole_m": max([_largest_block_hole(job, tops), *(fact["hole"] for fact in facts)]),
    }


def fill_terrain(job_path: str, index: int) -> dict[str, Any]:
    """Fill and smooth one block of the terrain raster.

    Writes group ``terrain/{index}``: ``heights`` (rows, cols) int32 millimetres, no voids.
    """
    job = load_job(job_path)
    lattice, passes = job.lattice, job.options.smoothing
    shapes = filling.level_shapes(lattice.rows, lattice.cols)
    span = lattice.block_span(index)
    held = filling.grow_span(span, passes, shapes[0])
    top = (_n_levels(lattice), job.scratch.read("terrain/top", "heights"))
    coarse: dict[int, Int32] = {}  # levels above the first, by block: read once, looked at often

    def read_level(level: int, wanted: Span) -> Int32:
        return _read_level(job, level, wanted, coarse=coarse)

    filled = filling.fill_span(read_level, shapes, held, level=0, top=top)
    heights = filling.crop(filling.smooth(filled, passes), held, span)
    job.scratch.write(_terrain_group(index), {"heights": heights}, chunk_rows=_ROWS_PER_CHUNK)
    return {"lowest": int(heights.min()) / _MILLIMETRES, "highest": int(heights.max()) / _MILLIMETRES}


@asked()
def read_height_field(job: CityJob, box: tuple[float, float, float, float]) -> HeightField:
    """Return the window of the terrain raster that heights inside a box need.

    Parameters
    ----------
    job : CityJob
        The run; its stage ``fill_terrain`` must be done.
    box : (x0, y0, x1, y1)
        Metres relative to the project origin.
    """
    lattice = job.lattice
    span = lattice.span_of(box)
    heights = np.empty((span[2] - span[0], span[3] - span[1]), np.int32)
    for block in lattice.blocks_of(span):
        own = lattice.block_span(block)
        row, end = max(span[0], own[0]), min(span[2], own[2])
        col, last = max(span[1], own[1]), min(span[3], own[3])
        rows = job.scratch.read(_terrain_group(block), "heights", (row - own[0], end - own[0]))
        heights[row - span[0] : end - span[0], col - span[1] : last - span[1]] = rows[:, col - own[1] : last - own[1]]
    return HeightField(heights, span[0], span[1], lattice)


def _cells_group(block: int) -> str:
    return f"cells/{block:05d}"


def _terrain_group(block: int) -> str:
    return f"terrain/{block:05d}"


def _n_levels(lattice: TerrainLattice) -> int:
    """Return the level at which a block is one cell, or the whole raster where that comes first."""
    whole = len(filling.level_shapes(lattice.rows, lattice.cols)) - 1
    return min(lattice.block.bit_length() - 1, whole)


def _inside(job: CityJob) -> Span:
    x0, y0, x1, y1 = (value / OUTLINE_UNITS for value in job.domain.frame)
    return filling.cells_inside(job.lattice, (x0, y0, x1, y1))


@asked()
def _block_heights(job: CityJob, index: int) -> Int32:
    """Return the mean heights in the cells of a block, from whatever the ground comes from."""
    raster = job.survey.terrain
    if raster is not None:
        return _raster_block(job, raster, index)
    groups = [points_group(k) for k in _ranges_near(job, index)] if job.survey.points else _footprint_groups(job)
    gathered = [cells for group in groups if (cells := read_cells(job, group, index)) is not None]
    return block_means(job.lattice, index, gathered, void=VOID)


def _raster_block(job: CityJob, raster: RasterSource, index: int) -> Int32:
    lattice = job.lattice
    note_input(raster)
    row = round((lattice.y0 + job.domain.origin[1] - raster.y0) / lattice.dy)
    col = round((lattice.x0 + job.domain.origin[0] - raster.x0) / lattice.dx)
    span = lattice.block_span(index)
    rows, cols = (span[0] + row, span[2] + row), (span[1] + col, span[3] + col)
    heights, valid = read_window(raster, rows, cols, z_scale=job.options.z_scale)
    return np.where(valid, np.rint(heights * _MILLIMETRES), VOID).astype(np.int32)


def _ranges_near(job: CityJob, index: int) -> list[int]:
    """Return the ranges of points whose files reach a block, by the boxes in their headers."""
    lattice = job.lattice
    span = lattice.block_span(index)
    x, y = job.domain.origin
    x0, x1 = (x + lattice.x0 + col * lattice.dx for col in (span[1], span[3]))
    y0, y1 = (y + lattice.y0 + row * lattice.dy for row in (span[0], span[2]))
    margin = _HEADER_BOX_MARGIN_M
    near = set()
    for number, source in enumerate(job.survey.points):
        low_x, low_y, _, high_x, high_y, _ = source.bounds
        if low_x - margin <= x1 and high_x + margin >= x0 and low_y - margin <= y1 and high_y + margin >= y0:
            near.add(number)
    return [number for number, part in enumerate(job.point_ranges) if part.source in near]


def _footprint_groups(job: CityJob) -> list[str]:
    return [footprint_samples_group(k) for k in range(len(job.footprint_ranges))]


def _read_level(job: CityJob, level: int, span: Span, *, coarse: dict[int, Int32]) -> Int32:
    """Return a span of a pushed level, from the blocks that hold it; ``coarse`` keeps what was read."""
    lattice = job.lattice
    size = lattice.block >> level
    out = np.full((span[2] - span[0], span[3] - span[1]), VOID, np.int32)
    for row in range(span[0] // size, -(-span[2] // size)):
        for col in range(span[1] // size, -(-span[3] // size)):
            own_row, own_col = row * size, col * size
            block = row * lattice.block_cols + col
            rows = (span[0] - own_row, span[2] - own_row)
            values = _read_block_level(job, block, level, rows=rows, coarse=coarse)
            first = max(span[0] - own_row, 0)
            low, high = max(span[1], own_col), min(span[3], own_col + values.shape[1])
            into = np.s_[
                own_row + first - span[0] : own_row + first - span[0] + len(values), low - span[1] : high - span[1]
            ]
            out[into] = values[:, low - own_col : high - own_col]
    return out


def _read_block_level(
    job: CityJob, block: int, level: int, *, rows: tuple[int, int], coarse: dict[int, Int32]
) -> Int32:
    """Return some rows of a level of a block; ``rows`` may reach beyond it."""
    span = job.lattice.block_span(block)
    shapes = filling.level_shapes(span[2] - span[0], span[3] - span[1])
    shapes += [(1, 1)] * (_n_levels(job.lattice) + 1 - len(shapes))
    n_rows, n_cols = shapes[level]
    first, end = max(rows[0], 0), min(rows[1], n_rows)
    group = _cells_group(block)
    if level == 0:
        return job.scratch.read(group, "level_0", (first, end))
    before = sum(r * c for r, c in shapes[level + 1 : _n_levels(job.lattice) + 1])
    if block not in coarse:
        coarse[block] = job.scratch.read(group, "coarse")
    return coarse[block][before + first * n_cols : before + end * n_cols].reshape(-1, n_cols)


def _largest_block_hole(job: CityJob, tops: Int32) -> float:
    """Return the largest hole among squares of whole blocks."""
    lattice = job.lattice
    pyramid = filling.push_all(tops, len(filling.level_shapes(*tops.shape)) - 1)
    cell = (lattice.dx, lattice.dy)
    return filling.largest_hole(pyramid, (0, 0), _inside(job), cell=cell, first_level=_n_levels(lattice))


def _ground_source(job: CityJob) -> str:
    if job.survey.terrain is not None:
        return "terrain raster"
    return "points" if job.survey.points else "attributes"


def _no_ground(job: CityJob) -> InputError:
    """Return the error for a domain without any ground, with what was found instead."""
    source = _ground_source(job)
    if source == "terrain raster":
        found = "no cell of it inside the domain holds data"
        return InputError(str(job.survey.terrain and job.survey.terrain.path), found, "heights", "check --bounds")
    if source == "attributes":
        found = f"attribute {job.options.ground_field!r} gives no ground height"
        return InputError("footprints", found, "a number for at least one building", "check --ground-field")
    classes: Counter[str] = Counter()
    for k in range(len(job.point_ranges)):
        classes.update(job.scratch.attributes(points_group(k))["classes"])
    listed = ", ".join(f"{name}: {count}" for name, count in sorted(classes.items(), key=lambda item: int(item[0])))
    found = f"no ground points of classes {job.options.ground_classes} inside the domain (points by class: {listed})"
    advice = "pass --ground-classes with the classes that are ground, or --terrain RASTER"
    return InputError(job.survey.points[0].path, found, "classified ground", advice)
