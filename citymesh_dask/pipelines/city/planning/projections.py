"""How much memory a task of each kind takes at most, beyond an idle worker: plain arithmetic on headers and options.

The constants were measured on the sample city and on real ones (``python -m tests.benchmarks``, and what
`citymesh_dask.engine.memory.measure_peak` says of every task); each has some slack for what headers do not tell.
"""

from __future__ import annotations

from ....store.schema import TABLE_CHUNK_ROWS
from ....tiles import OUTLINE_UNITS
from ..ground.samples import SURFACE_BLOCK
from ..job import ROWS_PER_RANGE, CityJob
from ..outlines import cleaning
from .estimates import estimated_triangles

_MIB = 1 << 20

BYTES_PER_TRIANGLE = 130
"""Of a tile task, per triangle of the finished tile."""
UNEVENNESS = 5
"""So many times the mean may the triangles of a tile be."""


def projected_bytes(job: CityJob) -> dict[str, int]:
    """Return the memory of one task beyond an idle worker, bytes, by stage; the levels of merging are ``merge``."""
    rows = sum(task.stop - task.start for task in job.footprint_ranges)
    row_range = min(rows, ROWS_PER_RANGE)
    return {
        "compile_kernels": 256 * _MIB,
        **_reading(job),
        **_terrain(job),
        "roof_evidence": 32 * _MIB + row_range * 4096,
        "link_parts": 32 * _MIB + 2048 * min(rows, 8 * rows // max(cleaning.n_link_cells(job), 1)),
        "group_parts": 32 * _MIB + 256 * rows,
        "clean_outlines": 64 * _MIB,
        "check_outlines": 48 * _MIB,
        "settle_outlines": 64 * _MIB,
        "subdivide_outlines": 64 * _MIB,
        "subdivide_frame": 32 * _MIB,
        "building_levels": 32 * _MIB + row_range * 256,
        "mesh_tile": tile_bytes(job),
        "merge": _merge_bytes(job),
        "close_mesh": _merge_bytes(job),
        "number_vertices": 32 * _MIB + 4096 * job.n_tiles,
        "assemble": 64 * _MIB,
        "write_table_head": 32 * _MIB + 32 * rows,
        "write_table": 48 * _MIB + min(rows, TABLE_CHUNK_ROWS) * (256 + 128 * _most_fields(job)),
    }


def tile_bytes(job: CityJob) -> int:
    """Return the projected memory of a tile task beyond an idle worker."""
    triangles = estimated_triangles(job.domain, job.survey.outlines, job.options)
    count = len(job.tiling)
    return int(BYTES_PER_TRIANGLE * triangles * min(UNEVENNESS, count) / count) + 32 * _MIB


def _reading(job: CityJob) -> dict[str, int]:
    """Return the stages that read footprints, points and surface rasters."""
    features = max((task.stop - task.start for task in job.footprint_ranges), default=0)
    corners = job.survey.outlines.corners
    points = max((task.stop - task.start for task in job.point_ranges), default=0)
    cell = job.lattice.dx * job.lattice.dy
    cells = features * (job.survey.outlines.area_m2 / cell + corners)
    return {
        "read_footprints": 32 * _MIB + int(features * (1024 + 256 * corners)),
        "sample_points": 48 * _MIB + 80 * points,
        "sample_surface": 32 * _MIB + 48 * SURFACE_BLOCK**2,
        "sample_footprints": 32 * _MIB + int(128 * cells),
    }


def _terrain(job: CityJob) -> dict[str, int]:
    """Return the stages of the terrain raster, which work block by block."""
    lattice = job.lattice
    cells = min(lattice.block, lattice.rows) * min(lattice.block, lattice.cols)
    return {
        "terrain_cells": 32 * _MIB + 64 * cells,
        "fill_top": 32 * _MIB + 256 * lattice.n_blocks,
        "fill_terrain": 32 * _MIB + (64 if job.options.smoothing else 32) * cells,
    }


def _merge_bytes(job: CityJob) -> int:
    """Return the projected memory of a node of the tree: the boundaries of its children, each at most the frame."""
    x0, y0, x1, y1 = (value / OUTLINE_UNITS for value in job.domain.frame)
    edges = 2 * ((x1 - x0) + (y1 - y0)) / (0.5 * job.options.max_mesh_size)
    return 32 * _MIB + int(200 * edges * min(job.fan_in, len(job.tiling)))


def _most_fields(job: CityJob) -> int:
    return max((len(source.fields) for source in job.survey.footprints), default=0)
