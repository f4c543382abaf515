"""Scheduling alone: many tasks that do nothing, plans that are only made, and runs with and without a scratch folder.

The first isolates plan, graph, scheduler, receipts and following: 100,000 tile tasks that return at once, merged in a
tree, through the real engine. The last isolates what the way over the disk costs: same city, same store at the end,
threads against threads; worker processes, which are the default, stand beside with all that they take to start.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from distributed import Client

import citymesh_dask
from citymesh_dask.engine.cluster import ClusterExecutor
from citymesh_dask.engine.graph import plan_to_graph
from citymesh_dask.engine.local_cluster import close_cluster, local_cluster
from citymesh_dask.engine.machine import candidate_resources
from citymesh_dask.engine.plan import Plan, Reduction, numbered_stage
from citymesh_dask.engine.run import Run
from citymesh_dask.errors import PlanError
from citymesh_dask.formats.rasters import RasterSource
from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.city import plan as city_plan
from citymesh_dask.pipelines.city.inputs.survey import Survey
from citymesh_dask.pipelines.city.job import CityJob
from citymesh_dask.pipelines.city.planning.choice import Sizes, choose
from citymesh_dask.store.manifest import ReceiptFolder
from citymesh_dask.tiles import Domain
from tests.benchmarks.figures import QUICK, TINY, Figure, Scale
from tests.benchmarks.sample import KEPT, city_inputs, sample_city

WORKERS = 2
WORKER_BYTES = 1 << 30
TASKS = {"tiny": 200, "quick": 10_000, "full": 100_000}
MOST_SCHEDULER_BYTES = 1 << 30
_FAN_IN = 8


def measure(scale: Scale, folder: Path = KEPT) -> Iterator[Figure]:
    """Yield the figures of fake tasks, and of runs through the disk and in memory."""
    yield from figures_of_fake_tasks(TASKS[scale.name], folder)
    yield from figures_of_large_plans(scale, folder)
    yield from figures_of_memory_mode(scale, folder)


# ---- tasks that do nothing -----------------------------------------------------------------------


def fake_tile(folder: str, index: int) -> dict[str, Any]:
    """Return at once what a tile task returns."""
    del folder
    return {"faces": index, "interior": 0, "bytes": 0}


def fake_merge(folder: str, level: int, index: int, children: tuple[int, int]) -> dict[str, Any]:
    """Return at once what a merging task returns."""
    del folder, level, index
    return {"edges": children[1] - children[0], "bytes": 0}


def fake_plan(count: int, folder: Path) -> Plan:
    """Return tiles, the tree above them, and as many tasks of a stage before them as a city has packs."""
    call = (str(folder / "job.json"),)
    first = numbered_stage("read_footprints", fake_tile, max(count // 100, 1), arguments=call)
    tiles = numbered_stage("mesh_tile", fake_tile, count, arguments=call, after=(first.name,))
    merging = Reduction(tiles, fake_merge, call, _FAN_IN).stages("merge")
    last = numbered_stage("close_mesh", fake_tile, 1, arguments=call, after=(merging[-1].name,))
    return Plan((first, tiles, *merging, last), WORKERS * WORKER_BYTES, WORKERS)


def figures_of_fake_tasks(count: int, folder: Path) -> Iterator[Figure]:
    """Yield time and memory of a run whose tasks do nothing."""
    place = Path(tempfile.mkdtemp(prefix="fake-", dir=folder))
    client, cluster = local_cluster(n_workers=WORKERS, worker_bytes=WORKER_BYTES, local_directory=str(place / "dask"))
    try:
        yield from _fake_figures(client, count, place)
    finally:
        close_cluster(client, cluster)
        shutil.rmtree(place, ignore_errors=True)


def _fake_figures(client: Client, count: int, place: Path) -> Iterator[Figure]:
    what = f"{count:,} fake tiles"
    for _ in range(2 * WORKERS):
        client.submit(fake_tile, "", 0, pure=False).result()
    before, spent = psutil.Process().memory_info().rss, _cpu_seconds(client)
    start = time.perf_counter()
    plan = fake_plan(count, place)
    planned = time.perf_counter()
    ledger = ReceiptFolder(str(place / "receipts"))
    total = sum(len(stage.tasks) for stage in plan.stages)
    graph = plan_to_graph(plan, ledger, run_id="0")
    made = time.perf_counter()
    del graph
    peak = _PeakOfThisProcess()
    run: Run[float] = Run(plan, ledger, ClusterExecutor(client), finish=lambda _: time.perf_counter())
    submitted = time.perf_counter()
    while not run.done():
        peak.look()
        time.sleep(0.1)
    done = run.result()
    here, workers = (after - first for after, first in zip(_cpu_seconds(client), spent, strict=True))
    yield Figure(f"{what}: plan", planned - start, "s", note=f"{total:,} tasks in all")
    yield Figure(f"{what}: graph", made - planned, "s")
    yield Figure(f"{what}: graph and submission", submitted - made, "s", note="the call returns then")
    note = f"{done - made:.1f} s from call to end, receipts written"
    yield Figure(f"{what}: time per task", 1000 * (done - made) / total, "ms", note=note)
    note = "scheduler and client are one process"
    yield Figure(f"{what}: CPU time per task, scheduler and client", 1000 * here / total, "ms", note=note)
    yield Figure(f"{what}: CPU time per task, workers", 1000 * workers / total, "ms", note="receipts written")
    yield Figure(f"{what}: memory before", before / 2**20, "MiB", note=note)
    limit = MOST_SCHEDULER_BYTES / 2**20
    yield Figure(f"{what}: memory at most", peak.bytes / 2**20, "MiB", limit, peak_bytes=peak.bytes, note=note)
    yield from _resumed(client, plan, place, what)
    bare = _bare_cpu_seconds(client, plan)
    note = f"the same graph without this package: {1000 * bare / total:.2f} ms per task"
    yield Figure(f"{what}: CPU time of scheduler and client / Dask alone", here / bare, "", note=note)


def _resumed(client: Client, plan: Plan, place: Path, what: str) -> Iterator[Figure]:
    """Yield the time of the same run again: every task finds its receipt."""
    start = time.perf_counter()
    Run(plan, ReceiptFolder(str(place / "receipts")), ClusterExecutor(client), finish=lambda _: 0).result()
    total = sum(len(stage.tasks) for stage in plan.stages)
    seconds = time.perf_counter() - start
    yield Figure(f"{what}: time per task, again", 1000 * seconds / total, "ms", note="all receipts are there")


def _bare_cpu_seconds(client: Client, plan: Plan) -> float:
    """Return the CPU time of this process for tasks of the same names and needs that return nothing."""
    before = _own_cpu_seconds()
    graph: dict[str, Any] = {task.key: (_nothing, *task.needs) for task in plan.tasks()}
    layers = HighLevelGraph.from_collections("bare", graph)
    futures = client.compute([Delayed(key, layers, layer="bare") for key in graph], optimize_graph=False)
    while not all(future.done() for future in futures):
        time.sleep(1.0)
    return _own_cpu_seconds() - before


def _nothing(*needs: Any) -> None:
    del needs


def _cpu_seconds(client: Client) -> tuple[float, float]:
    """Return the CPU time that this process and the workers have spent so far."""
    return _own_cpu_seconds(), sum(client.run(_own_cpu_seconds).values())


def _own_cpu_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


class _PeakOfThisProcess:
    """The most resident memory that was seen."""

    def __init__(self) -> None:
        self.bytes = 0

    def look(self) -> None:
        """Take the present memory into account."""
        self.bytes = max(self.bytes, psutil.Process().memory_info().rss)


# ---- a plan only ---------------------------------------------------------------------------------

TILE_M = 2570.0
"""Edge of a tile of terrain in triangles of 1 m that takes 500 MB: 2.3 triangles of 32 bytes per square metre."""


def figures_of_large_plans(scale: Scale, folder: Path) -> Iterator[Figure]:
    """Yield the time of plans for terrain of 500 GB on a disk of any size, and what becomes of them."""
    edge = TILE_M * (4 if scale == TINY else 32)
    survey = flat_survey(edge)
    for tile_size, memory in ((TILE_M, "4GB"), (None, "4GB"), (TILE_M, "32GB")):
        options = CityOptions(tile_size=tile_size, max_mesh_size=1.0)
        tiles = "tiles of 500 MB" if tile_size else "tiles as chosen"
        start = time.perf_counter()
        what = _what_becomes(survey, options, memory, folder)
        yield Figure(f"plan of {edge / 1000:.0f} km, {tiles}, {memory}", time.perf_counter() - start, "s", note=what)


def flat_survey(edge: float) -> Survey:
    """Return what headers would tell of a terrain raster with cells of 10 m, and of nothing else."""
    cells = round(edge / 10)
    crs = "EPSG:25832"
    raster = RasterSource("none.tif", (cells, cells), 0.0, 0.0, 10.0, 10.0, None, "float32", crs, True, 1)
    domain = Domain.from_bounds((0.0, 0.0, edge, edge))
    return Survey((), (), raster, None, None, crs, domain, ())


def _what_becomes(survey: Survey, options: CityOptions, memory: str, folder: Path) -> str:
    """Plan a city and say what was decided, or why not."""

    def make(sizes: Sizes) -> tuple[CityJob, None]:
        scratch = folder / "none.scratch"
        return city_plan.city_job(
            survey, options, out=folder / "none.zarr", scratch=scratch, fan_in=8, sizes=sizes
        ), None

    try:
        choice = choose(make, candidate_resources(memory, "auto", scheduler="processes"))
    except PlanError as error:
        return f"refused: {error}"
    made = city_plan.plan_city(choice.job, "none", choice.resources)
    largest = max(made.stages, key=lambda stage: stage.projected_bytes)
    tiles, workers = len(choice.job.tiling), choice.resources.n_workers
    return f"{tiles:,} tiles, {workers} worker(s), largest {largest.name} of {largest.projected_bytes / 1e6:.0f} MB"


# ---- with and without a scratch folder -----------------------------------------------------------

MODES: dict[str, dict[str, Any]] = {
    "in memory": {"scheduler": "threads", "use_disk_store": False},
    "through the disk": {"scheduler": "threads"},
    "as by default, through the disk with worker processes": {"scheduler": "processes"},
}


def figures_of_memory_mode(scale: Scale, folder: Path) -> Iterator[Figure]:
    """Yield the times of the same city through the disk and in memory."""
    size = {TINY.name: TINY.city_m, QUICK.name: 1000.0}.get(scale.name, 2000.0)
    city = sample_city(size, folder)
    walls: dict[str, list[float]] = {mode: [] for mode in MODES}
    spent: dict[str, list[float]] = {mode: [] for mode in MODES}
    for repeat in range(scale.repeats + 1):
        for mode, settings in MODES.items():
            wall, processor = _build_seconds(city, folder / "mode.zarr", settings)
            if repeat:  # the first loads libraries and kernels
                walls[mode].append(wall)
                spent[mode].append(processor)
    what = f"{size / 1000:g} km city, {WORKERS} workers"
    for mode, seconds in walls.items():
        note = "to the finished store" + ", start of the workers included" * ("processes" in mode)
        yield Figure(f"{what}: {mode}", min(seconds), "s", note=note)
    memory, disk, default = (min(seconds) for seconds in walls.values())
    yield Figure(f"{what}: through the disk / in memory", disk / memory, "", 1.1, note="threads on both sides")
    note = f"{default - memory:.2f} s more; their start takes the same for a city of any size"
    yield Figure(f"{what}: worker processes / in memory", default / memory, "", note=note)
    memory, disk = (min(spent[mode]) for mode in list(MODES)[:2])
    note = f"{disk:.2f} s and {memory:.2f} s"
    yield Figure(f"{what}: processor time, through the disk / in memory", disk / memory, "", note=note)


def _build_seconds(city: Path, out: Path, how: Mapping[str, Any]) -> tuple[float, float]:
    """Return wall time to the finished store, and the processor time of all threads with the report."""
    shutil.rmtree(out, ignore_errors=True)
    settings = {"n_workers": WORKERS, "memory_limit": "6GB", "progress": False, **how}
    before = time.process_time()
    run = citymesh_dask.build_city_mesh(**city_inputs(city, "raster"), out=out, **settings)
    run.result()
    spent = time.process_time() - before
    shutil.rmtree(out)
    return float(run.report.seconds), spent
