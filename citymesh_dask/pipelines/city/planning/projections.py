"""How much memory a task of each kind takes at most, beyond an idle worker: plain arithmetic on headers and options.

The constants were measured on the sample city and on real ones (``python -m tests.benchmarks``, and what
`citymesh_dask.engine.memory.measure_peak` says of every task); each has some slack for what headers do not tell.
"""

from __future__ import annotations

from ....store.schema import TABLE_CHUNK_ROWS
from ....tiles import OUTLINE_UNITS
from ..compiling import NEEDS, needs_compiling
from ..ground.samples import SURFACE_BLOCK
from ..job import PARTS_PER_PACK, ROWS_PER_RANGE, CityJob
from ..outlines import grouping
from .costs import largest_tile

_MIB = 1 << 20

BYTES_PER_TRIANGLE = 130
"""Of a tile task, per triangle of the finished tile."""
HEAP_BYTES = 64 * _MIB
"""Of any task: what it takes for itself, little, and what the heap has kept of larger tasks before it."""
_KEPT_BYTES = 8 << 10
"""Of any task, for each task of the run: Dask keeps what it returned (measured: 15 kB for each that a worker has done,
of which one of two has done up to three quarters; half as many are done as `projected_tasks` counts)."""
TILE_BYTES = HEAP_BYTES
"""Of a tile task, however small the tile."""
COMPILER_BYTES = 128 * _MIB
"""Of a child process that compiles kernels, beyond what an idle worker that has not loaded them leaves of its reserve
(measured: 202 MiB of its own at most, beside a worker that has 160 MiB of 320 yet)."""
ENDING_BYTES = 128 * _MIB
"""Of sealing the store, writing the report and drawing its picture, once all tasks are done (measured: 111 MiB)."""


def projected_bytes(job: CityJob) -> dict[str, int]:
    """Return the memory of one task beyond an idle worker, bytes, by stage; the levels of merging are ``merge``."""
    rows = sum(task.stop - task.start for task in job.footprint_ranges)
    row_range = min(rows, ROWS_PER_RANGE)
    found = {
        "compile_kernels": COMPILER_BYTES if any(map(needs_compiling, range(len(NEEDS)))) else HEAP_BYTES,
        **_reading(job),
        "index_parts": HEAP_BYTES + 8192 * len(job.footprint_ranges),
        **_terrain(job),
        "roof_evidence": HEAP_BYTES + row_range * 2048,
        "link_parts": HEAP_BYTES + 2048 * _most_linked(job, rows),
        "group_parts": HEAP_BYTES + 96 * rows,
        "clean_outlines": HEAP_BYTES + 16 * _MIB,
        "check_outlines": HEAP_BYTES + 16 * _MIB,
        "settle_outlines": HEAP_BYTES + 16 * _MIB,
        "subdivide_outlines": HEAP_BYTES + 16 * _MIB,
        "subdivide_frame": HEAP_BYTES,
        "building_levels": HEAP_BYTES + row_range * 256,
        "mesh_tile": tile_bytes(job),
        "merge": _merge_bytes(job),
        "close_mesh": _merge_bytes(job),
        "number_vertices": HEAP_BYTES + 4096 * job.n_tiles,
        "assemble": HEAP_BYTES + 32 * _MIB,
        "write_overview": HEAP_BYTES + 32 * _MIB,
        "write_table_head": HEAP_BYTES + 32 * rows,
        "write_table": HEAP_BYTES + min(rows, TABLE_CHUNK_ROWS) * (256 + 128 * _most_fields(job)),
    }
    kept = _KEPT_BYTES * projected_tasks(job)
    return {stage: size + kept for stage, size in found.items()}


def projected_tasks(job: CityJob) -> int:
    """Return about how many tasks a job has: three for a tile, and those of its inputs."""
    tiles, packs = len(job.tiling), job.n_rows // PARTS_PER_PACK
    return 3 * tiles + 4 * packs + 3 * job.lattice.n_blocks + len(job.point_ranges) + len(job.footprint_ranges)


def _most_linked(job: CityJob, rows: int) -> int:
    """Return the most footprints of a cell of the link grid; some reach into it from its neighbours."""
    columns, lines = grouping.link_cells(job.domain)
    density = job.survey.outlines.density
    most = 2 * density.most_in(lines, columns) if density else 8 * rows / max(columns * lines, 1)
    return min(rows, int(most) + 1000)


def tile_bytes(job: CityJob) -> int:
    """Return the projected memory of a tile task beyond an idle worker."""
    return int(BYTES_PER_TRIANGLE * largest_tile(job)) + TILE_BYTES


def _reading(job: CityJob) -> dict[str, int]:
    """Return the stages that read footprints, points and surface rasters."""
    features = max((task.stop - task.start for task in job.footprint_ranges), default=0)
    corners = job.survey.outlines.corners
    points = max((task.stop - task.start for task in job.point_ranges), default=0)
    cell = job.lattice.dx * job.lattice.dy
    cells = features * (job.survey.outlines.area_m2 / cell + corners)
    return {
        "read_footprints": HEAP_BYTES + int(features * (1024 + 256 * corners)),
        "sample_points": HEAP_BYTES + 16 * _MIB + 80 * points,
        "sample_surface": HEAP_BYTES + 48 * SURFACE_BLOCK**2,
        "sample_footprints": HEAP_BYTES + int(128 * cells),
    }


def _terrain(job: CityJob) -> dict[str, int]:
    """Return the stages of the terrain raster, which work block by block."""
    lattice = job.lattice
    cells = min(lattice.block, lattice.rows) * min(lattice.block, lattice.cols)
    return {
        "terrain_cells": HEAP_BYTES + 48 * cells,
        "fill_top": HEAP_BYTES + 256 * lattice.n_blocks,
        "fill_terrain": HEAP_BYTES + (64 if job.options.smoothing else 32) * cells,
    }


def _merge_bytes(job: CityJob) -> int:
    """Return the projected memory of a node of the tree: the boundaries of its children, each at most the frame."""
    x0, y0, x1, y1 = (value / OUTLINE_UNITS for value in job.domain.frame)
    edges = 2 * ((x1 - x0) + (y1 - y0)) / (0.5 * job.options.max_mesh_size)
    return HEAP_BYTES + int(200 * edges * min(job.fan_in, len(job.tiling)))


def _most_fields(job: CityJob) -> int:
    return max((len(source.fields) for source in job.survey.footprints), default=0)
