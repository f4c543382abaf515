"""Tasks that read heights once, where they stand: points, surface rasters, attributes of footprints.

Each leaves a group ``samples/...`` with sums per terrain cell and histograms per building; nothing
is filled or chosen here, that is done in ``ground`` and ``evidence``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....formats.lidar import PointChunk, PointSource, read_points
from ....formats.rasters import read_window
from ....geometry.part_sets import take_parts
from ....geometry.terrain.cell_sums import CellSums, cell_keys, gather_points, merge_sums
from ....geometry.terrain.histograms import Histogram, height_bins, histogram_of, merge_histograms
from ....geometry.terrain.roofs import (
    cells_in_parts,
    cells_of_span,
    inner_points,
    part_vertices,
    parts_touching,
    points_in_parts,
)
from ....geometry.terrain.terrain import Span, TerrainLattice
from ....outlines import Parts
from ....store.fingerprint import note_input
from ....tiles import OUTLINE_UNITS
from ..job import CityJob, PointRange, asked, load_job
from ..outlines.footprints import footprint_group
from ..outlines.part_index import groups_near, reach_of_points
from .samples import (
    footprint_samples_group,
    points_group,
    surface_block,
    surface_group,
    write_cells,
    write_histogram,
)

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

OPEN_CLASSES = (0, 1)
"""Classes "never classified" and "unclassified": roofs of files that have no class for roofs."""
_MILLIMETRES = 1000


@dataclass(frozen=True)
class RoofPoints:
    """Points that may lie on roofs.

    Parameters
    ----------
    x, y : (n,) int32
        Outline units relative to the project origin.
    bins : (n,) int32
        Height, centimetres.
    """

    x: Int32
    y: Int32
    bins: Int32


def sample_points(job_path: str, index: int) -> dict[str, Any]:
    """Read a range of points into terrain cells and roof histograms.

    Writes group ``samples/points-{index}``: the arrays of `write_cells` (unless the terrain comes
    from a raster), and histograms of `write_histogram`: ``roof``, from points of roof classes,
    and ``open``, from unclassified points, for files in which there is no roof class at all; and ``whole_roof`` and
    ``whole_open`` on the whole of the buildings that the frame clips.
    """
    job = load_job(job_path)
    part = job.point_ranges[index]
    cells, roof, other, classes = _read_range(job, part)
    boxed = [points for points in (roof, other) if len(points.x)]
    histograms = {name: [_no_histogram()] for name in ("roof", "open", "whole_roof", "whole_open")}
    for prefix in ("", "whole_") if boxed else ():
        for parts in footprints_in(job, _box_of(boxed), prefix):
            for name, points in (("roof", roof), ("open", other)):
                histograms[prefix + name].append(points_in_parts(parts, points.x, points.y, bins=points.bins))
    arrays, attributes = write_cells(job.lattice, cells)
    for name, several in histograms.items():
        more, ranges = write_histogram(name, merge_histograms(several))
        arrays |= more
        attributes |= ranges
    n_roof = sum(count for number, count in classes.items() if number in job.options.roof_classes)
    attributes |= {"source": part.source, "n_roof": n_roof, "classes": {str(k): v for k, v in sorted(classes.items())}}
    job.scratch.write(points_group(index), arrays, attributes)
    return {"points": part.stop - part.start, "kept": sum(classes.values()), "ground_cells": len(cells.keys)}


def sample_surface(job_path: str, index: int) -> dict[str, Any]:
    """Read a block of the surface raster, or of the raster of building heights, into histograms.

    Writes group ``samples/surface-{index}`` with two histograms: ``roof``, from cells whose centres
    lie inside a footprint, and ``open``, the one cell under a footprint that holds no centre.
    """
    job = load_job(job_path)
    name, raster, span = surface_block(job, index)
    note_input(raster)
    heights, valid = read_window(raster, (span[0], span[2]), (span[1], span[3]), z_scale=job.options.z_scale)
    millimetres = np.rint(heights * _MILLIMETRES).astype(np.int64)
    if name == "building_heights":
        valid &= millimetres > 0
    inside, alone = [_no_histogram()], [_no_histogram()]
    x, y = job.domain.origin
    corner, cell = (raster.x0 - x, raster.y0 - y), (raster.dx, raster.dy)
    for parts in footprints_in(job, _outline_box(corner, cell, span)):
        part, row, col = cells_in_parts(parts, corner, cell, shape=raster.shape)
        bare = np.setdiff1d(np.arange(len(parts)), part)
        for into, cells in ((inside, (part, row, col)), (alone, _cells_under(parts, bare, corner, cell))):
            part, row, col = cells_of_span(cells, span)
            known = valid[row - span[0], col - span[1]]
            bins = height_bins(millimetres[row - span[0], col - span[1]][known])
            into.append(histogram_of(parts.rows[part[known]], bins))
    arrays, attributes = write_histogram("roof", merge_histograms(inside))
    more, ranges = write_histogram("open", merge_histograms(alone))
    job.scratch.write(surface_group(index), arrays | more, attributes | ranges | {"kind": name})
    return {"kind": name, "cells": int(valid.sum())}


def sample_footprints(job_path: str, index: int) -> dict[str, Any]:
    """Turn the ground heights of a range of footprints into terrain cells.

    Where there are neither points nor a terrain raster, the cells with their centre inside a
    footprint and those under its vertices take the ground height that its attribute gives. Writes
    group ``samples/footprints-{index}`` with the arrays of `write_cells`.
    """
    job = load_job(job_path)
    group = f"footprints/{index:05d}"
    attributes = job.scratch.attributes(group)
    ground = job.scratch.read(group, "ground")
    cells = CellSums.empty()
    if attributes["box"] is not None:
        parts = _read_parts(job, group)
        heights = ground[parts.rows - attributes["first_row"]]
        chosen = np.flatnonzero(np.isfinite(heights))
        cells = _ground_of_parts(job.lattice, take_parts(parts, chosen), heights[chosen])
    arrays, facts = write_cells(job.lattice, cells)
    job.scratch.write(footprint_samples_group(index), arrays, facts)
    return {"buildings_with_ground": int(np.isfinite(ground).sum())}


@asked()
def footprints_in(job: CityJob, box: tuple[float, float, float, float], prefix: str = "") -> Iterator[Parts]:
    """Yield the footprints whose boxes meet a box (outline units), range by range; ``whole_``: clipped ones, whole."""
    for index in groups_near(job, box, clipped=bool(prefix)):
        group = footprint_group(index)
        chosen = parts_touching(job.scratch.read(group, f"{prefix}boxes"), box)
        if len(chosen):
            yield take_parts(_read_parts(job, group, prefix), chosen)


def _read_parts(job: CityJob, group: str, prefix: str = "") -> Parts:
    names = ("rows", "ring_start", "point_start", "points")
    return Parts(*(job.scratch.read(group, prefix + name) for name in names))


def _read_range(job: CityJob, part: PointRange) -> tuple[CellSums, RoofPoints, RoofPoints, Counter[int]]:
    """Return terrain cells, points of roof classes, open points, and the number of points by class."""
    source: PointSource = job.survey.points[part.source]
    note_input(source)
    classes: Counter[int] = Counter()
    cells = [CellSums.empty()]
    roof, other = [_no_points()], [_no_points()]
    for chunk in read_points(source, part.start, part.stop, z_scale=job.options.z_scale):
        counts = np.bincount(chunk.classification[chunk.keep], minlength=1)
        classes.update({number: int(counts[number]) for number in np.flatnonzero(counts).tolist()})
        if job.survey.terrain is None:
            cells.append(_ground_of_chunk(job, chunk))
        roof.append(_roof_points(job, chunk, job.options.roof_classes))
        if not any(number in classes for number in job.options.roof_classes):
            other.append(_roof_points(job, chunk, OPEN_CLASSES))
    if any(number in classes for number in job.options.roof_classes):
        other = [_no_points()]  # the file has roofs by class: its open points are not wanted
    return merge_sums(cells), _joined(roof), _joined(other), classes


def _ground_of_chunk(job: CityJob, chunk: PointChunk) -> CellSums:
    ground = chunk.keep & _is_one_of(chunk.classification, job.options.ground_classes)
    x, y = job.domain.origin
    return gather_points(job.lattice, chunk.x[ground] - x, chunk.y[ground] - y, heights=chunk.z[ground])


def _roof_points(job: CityJob, chunk: PointChunk, classes: tuple[int, ...]) -> RoofPoints:
    chosen = chunk.keep & _is_one_of(chunk.classification, classes)
    x0, y0, x1, y1 = reach_of_points(job)
    x = np.rint((chunk.x[chosen] - job.domain.origin[0]) * OUTLINE_UNITS)
    y = np.rint((chunk.y[chosen] - job.domain.origin[1]) * OUTLINE_UNITS)
    inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    bins = height_bins(chunk.z[chosen][inside])
    return RoofPoints(x[inside].astype(np.int32), y[inside].astype(np.int32), bins)


def _is_one_of(classification: npt.NDArray[np.uint8], classes: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    wanted = np.zeros(256, np.bool_)  # looked up ten times as fast as by np.isin
    wanted[list(classes)] = True
    return wanted[classification]


def _joined(several: list[RoofPoints]) -> RoofPoints:
    x, y, bins = (np.concatenate([getattr(points, name) for points in several]) for name in ("x", "y", "bins"))
    return RoofPoints(x, y, bins)


def _no_points() -> RoofPoints:
    none = np.empty(0, np.int32)
    return RoofPoints(none, none, none)


def _no_histogram() -> Histogram:
    return histogram_of(np.empty(0, np.int64), np.empty(0, np.int32))


def _box_of(several: list[RoofPoints]) -> tuple[int, int, int, int]:
    low = [min(int(getattr(p, name).min()) for p in several) for name in ("x", "y")]
    high = [max(int(getattr(p, name).max()) for p in several) for name in ("x", "y")]
    return (low[0], low[1], high[0], high[1])


def _outline_box(
    corner: tuple[float, float], cell: tuple[float, float], span: Span
) -> tuple[float, float, float, float]:
    """Return the box of a span of cells, outline units."""
    x0, x1 = (OUTLINE_UNITS * (corner[0] + col * cell[0]) for col in (span[1], span[3]))
    y0, y1 = (OUTLINE_UNITS * (corner[1] + row * cell[1]) for row in (span[0], span[2]))
    return (x0, y0, x1, y1)


def _cells_under(
    parts: Parts, chosen: Int64, corner: tuple[float, float], cell: tuple[float, float]
) -> tuple[Int64, Int32, Int32]:
    """Return the cell under a point inside each chosen part."""
    x, y = inner_points(parts, chosen)
    return chosen, *_cells_at(x, y, corner, cell)


def _cells_at(x: Int64, y: Int64, corner: tuple[float, float], cell: tuple[float, float]) -> tuple[Int32, Int32]:
    row = np.floor((y / OUTLINE_UNITS - corner[1]) / cell[1]).astype(np.int32)
    return row, np.floor((x / OUTLINE_UNITS - corner[0]) / cell[0]).astype(np.int32)


def _ground_of_parts(lattice: TerrainLattice, parts: Parts, heights: npt.NDArray[np.float64]) -> CellSums:
    """Return the cells of each part with its height, each cell once per part."""
    corner, cell = (lattice.x0, lattice.y0), (lattice.dx, lattice.dy)
    part, row, col = cells_in_parts(parts, corner, cell, shape=(lattice.rows, lattice.cols))
    owner, points = part_vertices(parts)
    vertex_row, vertex_col = _cells_at(points[:, 0], points[:, 1], corner, cell)
    rows = np.concatenate([row, vertex_row]).astype(np.int64)
    cols = np.concatenate([col, vertex_col]).astype(np.int64)
    owned = np.stack([np.concatenate([part, owner]), cell_keys(lattice, rows, cols)], axis=1)
    once = np.unique(owned, axis=0)
    millimetres = np.rint(heights * _MILLIMETRES).astype(np.int64)
    return merge_sums([CellSums(once[:, 1], millimetres[once[:, 0]], np.ones(len(once), np.int64))])
