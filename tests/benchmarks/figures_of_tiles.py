"""A tile task, from outlines and terrain to its Zarr arrays, against the prototype on the same outlines.

Isolates the throughput of one core in final triangles per second of processor time: window of pieces, seams,
planar mesh, extrusion with heights, boundary and writing. Reading, cleaning and subdividing are not in it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numcodecs.blosc
import numpy as np

from citymesh_dask.engine.machine import Resources
from citymesh_dask.engine.memory import measure_peak
from citymesh_dask.geometry.meshing.extrusion import extrude_tile
from citymesh_dask.geometry.meshing.meshing import mesh_constraints
from citymesh_dask.geometry.seams.seams import tile_constraints
from citymesh_dask.pipelines.city.ground.ground import read_height_field
from citymesh_dask.pipelines.city.job import CityJob, load_job, save_job
from citymesh_dask.pipelines.city.outlines.cleaning import read_outlines
from citymesh_dask.pipelines.city.outlines.pieces import read_pieces
from citymesh_dask.pipelines.city.plan import plan_city
from citymesh_dask.pipelines.city.tiles.levels import read_levels
from citymesh_dask.pipelines.city.tiles.meshes import mesh_tile, write_tile
from citymesh_dask.tiles import MESH_UNITS
from tests.benchmarks import prototype, prototype_tiles
from tests.benchmarks.figures import TINY, Figure, Scale, skipped
from tests.benchmarks.prototype_tiles import Outlined
from tests.benchmarks.sample import KEPT
from tests.benchmarks.towns import Town, town_job, towns
from tests.pipelines.city_runs import grid

TARGET = 0.8
SIZES = ((10.0, 5.0), (1.0, 1.0))
"""Sizes of triangles on the ground and on buildings, metres."""


@dataclass(frozen=True)
class Speed:
    """What some tile tasks took: triangles, seconds of processor time, peak memory in bytes."""

    triangles: int
    seconds: float
    peak_bytes: int

    @property
    def rate(self) -> float:
        """Million triangles per second."""
        return self.triangles / self.seconds / 1e6


def measure(scale: Scale, folder: Path = KEPT) -> Iterator[Figure]:
    """Yield our rate against the prototype's, and that of the defaults."""
    numcodecs.blosc.use_threads = False  # one core is what this is about
    town = towns(scale, folder)[0]
    tiles = 1 if scale == TINY else 3
    for sizes in SIZES[: 1 if scale == TINY else None]:
        what = f"{town.name}, {sizes[0]:g} m / {sizes[1]:g} m"
        work = folder / f"tile-task-{sizes[0]:g}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        job_path = prepare_job(town, sizes, work, tiles=tiles)
        yield from _compare(what, job_path, sizes, scale=scale)
        yield _defaults(what, job_path, scale)
        shutil.rmtree(work)


def prepare_job(town: Town, sizes: tuple[float, float], work: Path, *, tiles: int) -> str:
    """Do everything before the tile tasks, ``tiles`` x ``tiles`` of them, and return the path of the job."""
    options = replace(town.options, max_mesh_size=sizes[0], building_mesh_triangle_size=sizes[1])
    job = town_job(town, work, options=options, tiler=grid(tiles, tiles))
    job_path = save_job(job)
    for stage in plan_city(job, job_path, Resources(8 << 30, 1)).stages:
        if stage.name == "mesh_tile":
            break
        for task in stage.tasks:
            task.call.function(*task.call.arguments)
    return job_path


def _compare(what: str, job_path: str, sizes: tuple[float, float], *, scale: Scale) -> Iterator[Figure]:
    name = f"{what}: tile task / prototype"
    if scale == TINY or not prototype.is_there():
        speed = _best([_our_tiles(job_path) for _ in range(scale.repeats)])
        note = f"{speed.rate:.2f} M triangles/s and core, bare walls, angle only"
        yield Figure(f"{what}: tile task", speed.rate, "M/s", peak_bytes=speed.peak_bytes, note=note)
        yield skipped(name, "tiny" if scale == TINY else prototype.ABSENT)
        return
    job = load_job(job_path)
    ours, theirs = [], []
    with prototype.prototype_process("") as process:
        process.submit(prototype_tiles.prepare, outlined(job)).result()
        count = round(len(job.tiling) ** 0.5)
        process.submit(prototype_tiles.mesh_tiles, count, sizes).result()  # compiles
        _our_tiles(job_path)
        for _ in range(2 * scale.repeats):  # in turn, so that both meet the same load of the machine
            theirs.append(Speed(*process.submit(prototype_tiles.mesh_tiles, count, sizes).result()))
            ours.append(_our_tiles(job_path))
    own, other = _best(ours), _best(theirs)
    note = (
        f"{own.rate:.2f} of {own.triangles:,} against {other.rate:.2f} M triangles/s and core of {other.triangles:,} "
        f"(its peak {other.peak_bytes / 2**20:.0f} MiB); bare walls, angle only, {len(job.tiling)} tiles"
    )
    yield Figure(name, own.rate / other.rate, "", TARGET, at_least=True, peak_bytes=own.peak_bytes, note=note)


def _best(speeds: list[Speed]) -> Speed:
    return max(speeds, key=lambda speed: speed.rate)


def _our_tiles(job_path: str) -> Speed:
    """Mesh all tiles as the prototype does: walls as bare strips, refined by angle only."""
    job = _unmeshed(job_path)
    with measure_peak() as memory:
        start = time.process_time()
        triangles = sum(_plain_tile(job, index) for index in range(len(job.tiling)))
        seconds = time.process_time() - start
    return Speed(triangles, seconds, memory.peak_bytes)


def _unmeshed(job_path: str) -> CityJob:
    """Return a job without meshed tiles: the file system takes its time to write over files."""
    job = load_job(job_path)
    for name in ("tiles", "boundaries"):
        shutil.rmtree(job.scratch.root / name, ignore_errors=True)
    return job


def _plain_tile(job: CityJob, index: int) -> int:
    options = job.options
    x0, y0, x1, y1 = (int(value) for value in job.tiling.boxes[index])
    constraints = tile_constraints(
        read_pieces(job, (x0, y0, x1, y1)),
        (x0, y0, x1, y1),
        frame=job.domain.mesh_frame,
        ground_size=options.max_mesh_size,
        building_size=options.building_mesh_triangle_size,
    )
    if constraints is None:
        return 0
    planar = mesh_constraints(
        constraints,
        ground_size=options.max_mesh_size,
        building_size=options.building_mesh_triangle_size,
        min_angle=options.min_mesh_angle,
        refine_area=False,
    )
    low, high = constraints.points.min(axis=0) / MESH_UNITS, constraints.points.max(axis=0) / MESH_UNITS
    surface = extrude_tile(
        planar,
        constraints,
        levels=read_levels(job, constraints.rows),
        terrain=read_height_field(job, (low[0], low[1], high[0], high[1])),
        origin=job.domain.origin,
        n_rows=job.n_rows,
        mesh_walls=False,
    )
    return int(write_tile(job, index, surface)["faces"])


def _defaults(what: str, job_path: str, scale: Scale) -> Figure:
    """Return the rate of the tile task as it is, with meshed walls and refinement by area."""
    speeds = []
    for _ in range(scale.repeats):
        job = _unmeshed(job_path)
        with measure_peak() as memory:
            start = time.process_time()
            triangles = sum(int(mesh_tile(job_path, index)["faces"]) for index in range(len(job.tiling)))
            seconds = time.process_time() - start
        speeds.append(Speed(triangles, seconds, memory.peak_bytes))
    best = _best(speeds)
    note = f"{best.triangles:,} triangles, meshed walls, refined by angle and area"
    return Figure(f"{what}: tile task, defaults", best.rate, "M/s", peak_bytes=best.peak_bytes, note=note)


def outlined(job: CityJob) -> Outlined:
    """Return what the job knows before its tile tasks, in the prototype's form."""
    points, edges, shift = [], [], 0
    for pack in range(job.n_packs + 1):
        part = read_outlines(job, pack)
        points.append(part.points)
        edges.append(part.edges + np.array([shift, shift, 0, 0]))
        shift += len(part.points)
    graph = np.concatenate(edges)
    rows = np.unique(graph[:, 2:][graph[:, 2:] >= 0])
    graph[:, 2:] = np.where(graph[:, 2:] >= 0, np.searchsorted(rows, graph[:, 2:]), -1)
    x0, y0, x1, y1 = job.domain.bounds
    extent = np.array([x1 - x0, y1 - y0])
    field = read_height_field(job, (0.5, 0.5, extent[0] - 0.5, extent[1] - 0.5))
    row = round(-job.lattice.y0 / job.lattice.dy) - field.first_row
    col = round(-job.lattice.x0 / job.lattice.dx) - field.first_col
    terrain = field.heights[row:, col:] / 1000
    levels = (read_levels(job, rows) // 100).astype(np.int32)
    return Outlined(np.concatenate(points), graph, extent, levels, terrain.astype(np.float32))
