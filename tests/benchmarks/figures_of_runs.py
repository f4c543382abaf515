"""Whole runs on two warm workers: where the time goes, what merging takes, bytes written, memory of every kind of task.

Isolates what a user waits for once the workers are there: from `build_city_mesh` to its result, report included.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distributed import Client

import citymesh_dask
from citymesh_dask.engine.ledger import Receipt
from citymesh_dask.engine.memory import RESERVED_BYTES
from citymesh_dask.facts import RunFacts
from citymesh_dask.store.manifest import ReceiptFolder
from tests.benchmarks.figures import TINY, Figure, Scale, skipped
from tests.benchmarks.merging_memory import largest_merge
from tests.benchmarks.sample import KEPT, SOURCES, city_inputs, sample_city

WORKERS = 2
RAW_BYTES_PER_FACE = 32
"""Half a vertex of three float64, three int32 corners, marker and building: the mesh as plain arrays."""

PARTS = {
    "reading": ("read_footprints", "sample_points", "sample_surface", "sample_footprints", "roof_evidence"),
    "terrain": ("terrain_cells", "fill_top", "fill_terrain"),
    "cleaning": ("link_parts", "group_parts", "clean_outlines", "check_outlines", "settle_outlines"),
    "preparation": ("subdivide_outlines", "subdivide_frame", "building_levels"),
    "meshing": ("mesh_tile",),
    "reduction": ("merge_l", "close_mesh"),
    "assembly": ("number_vertices", "assemble", "write_table"),
}
"""Beginnings of the names of the stages that belong to each part of the work."""

MERGING = ("merge_l", "close_mesh", "number_vertices")


@dataclass(frozen=True)
class Sample:
    """What one run took.

    Parameters
    ----------
    facts : RunFacts
        Its report.
    receipts : list of Receipt
        Those of all tasks.
    wall : float
        Seconds from the call to the finished store.
    report : float
        Seconds from there to the result: the report and its picture.
    written : int
        Bytes that this process and the workers wrote; 0 where the system does not tell.
    largest_merge : int
        Memory of the largest task of merging, bytes; 0 where not measured.
    """

    facts: RunFacts
    receipts: list[Receipt]
    wall: float
    report: float
    written: int
    largest_merge: int

    def seconds(self, stages: tuple[str, ...]) -> float:
        """Return the working time of all tasks of some stages."""
        return sum(receipt.seconds for receipt in self.receipts if receipt.key.startswith(stages))


def measure(scale: Scale, folder: Path = KEPT) -> Iterator[Figure]:
    """Yield the figures of whole runs, for terrain from a raster and from points."""
    city, small = sample_city(scale.city_m, folder), sample_city(TINY.city_m, folder)
    client = citymesh_dask.connect(n_workers=WORKERS)
    try:
        _warm_up(client, small, folder)
        for source in SOURCES:
            samples = [run_city(client, city, source, folder=folder) for _ in range(scale.repeats)]
            best = min(samples, key=lambda sample: sample.wall)
            yield from figures_of_run(best, f"{scale.city_m / 1000:g} km city, {source}", km2=scale.city_m**2 / 1e6)
    finally:
        client.shutdown()


def run_city(client: Client, city: Path, source: str, *, folder: Path) -> Sample:
    """Build a sample city once and return what it took."""
    out = folder / f"run-{city.name}-{source}.zarr"
    scratch = out.with_name(f"{out.name}.scratch")
    for path in (out, scratch):
        shutil.rmtree(path, ignore_errors=True)
    before = written_bytes(client)
    start = time.perf_counter()
    run = citymesh_dask.build_city_mesh(
        **city_inputs(city, source), out=out, client=client, progress=False, keep_intermediate=True
    )
    run.result()
    whole = time.perf_counter() - start
    written = written_bytes(client) - before
    receipts = ReceiptFolder(str(scratch / "receipts")).all()
    wall = run.report.seconds
    sample = Sample(run.report, receipts, wall, whole - wall, written, largest_merge(scratch / "job.json", run.plan))
    for path in (out, scratch):
        shutil.rmtree(path, ignore_errors=True)
    return sample


def _warm_up(client: Client, city: Path, folder: Path) -> None:
    """Load all libraries and kernels in every worker: nothing of that is what the figures are about."""
    workers = list(client.scheduler_info()["workers"])
    # one after the other: the first compiles what is not compiled, the others load it
    for number, worker in enumerate(workers):
        for source in SOURCES:
            client.submit(_build_here, city, source, folder / f"warm-{number}.zarr", workers=[worker]).result()


def _build_here(city: Path, source: str, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    citymesh_dask.build_city_mesh(
        **city_inputs(city, source), out=out, scheduler="synchronous", progress=False
    ).result()
    shutil.rmtree(out, ignore_errors=True)


def written_bytes(client: Client) -> int:
    """Return the bytes that this process and the workers have written to files so far, by the kernel's count."""
    return _own_written_bytes() + sum(client.run(_own_written_bytes).values())


def _own_written_bytes() -> int:
    try:
        found = re.search(r"wchar: (\d+)", Path("/proc/self/io").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def figures_of_run(sample: Sample, what: str, *, km2: float) -> Iterator[Figure]:
    """Yield time, merging, bytes and memory of one run."""
    yield from _time_figures(sample, what, km2=km2)
    yield from _merging_figures(sample, what)
    if sample.written:
        raw = RAW_BYTES_PER_FACE * sample.facts.n_faces
        note = f"{sample.written / 1e6:.1f} MB in all, mesh of {raw / 1e6:.1f} MB"
        yield Figure(f"{what}: bytes written / raw mesh", sample.written / raw, "", 2.3, note=note)
    else:
        yield skipped(f"{what}: bytes written / raw mesh", "this system does not count them")
    yield from memory_figures(sample.facts, what)


def _time_figures(sample: Sample, what: str, *, km2: float) -> Iterator[Figure]:
    faces, wall = sample.facts.n_faces, sample.wall
    peak = sample.facts.peak_memory
    yield Figure(f"{what}: time per km2", wall / km2, "s", peak_bytes=peak, note=f"{wall:.2f} s for {km2:g} km2")
    yield Figure(f"{what}: triangles per second", faces / wall, "", note=f"{faces:,} triangles, {WORKERS} workers")
    known = 0.0
    for name, stages in PARTS.items():
        seconds = sample.seconds(stages)
        known += seconds
        yield Figure(f"{what}: {name}", 100 * seconds / (WORKERS * wall), "%", note=f"{seconds:.2f} worker seconds")
    rest = 100 * (1 - known / (WORKERS * wall))
    yield Figure(f"{what}: the rest", rest, "%", 15.0, note="Dask, Python, waiting")
    yield Figure(f"{what}: report with its picture", sample.report, "s", note="after the store is finished")


def _merging_figures(sample: Sample, what: str) -> Iterator[Figure]:
    seconds = sample.seconds(MERGING)
    note = f"{seconds:.2f} s of work, as if on one worker"
    yield Figure(f"{what}: merging / wall time", 100 * seconds / sample.wall, "%", 10.0, note=note)
    mesh = RAW_BYTES_PER_FACE * sample.facts.n_faces
    note = f"{sample.largest_merge / 1e6:.2f} MB, mesh of {mesh / 1e6:.1f} MB"
    yield Figure(f"{what}: largest merging task / mesh", 100 * sample.largest_merge / mesh, "%", 5.0, note=note)


def memory_figures(facts: RunFacts, what: str) -> Iterator[Figure]:
    """Yield measured against projected memory for every kind of task."""
    for stage in facts.stages:
        if stage.tasks and stage.peak_memory:
            grown = (stage.peak_memory - RESERVED_BYTES) / 2**20
            projected = (stage.projected - RESERVED_BYTES) / 2**20
            name = f"{what}: memory of {stage.name} beyond an idle worker"
            yield Figure(name, max(grown, 0.0), "MiB", projected, peak_bytes=stage.peak_memory)
