"""Cleaning of footprints, final checks included, against the prototype, and by two workers against one.

Isolates linking, cleaning and checking: by processor time of one core on polygons in memory, then as the stages of a
run on warm workers, groups from the scratch folder and back included.
"""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import shapely

import citymesh_dask
from citymesh_dask.engine.cluster import ClusterExecutor
from citymesh_dask.engine.machine import Resources
from citymesh_dask.engine.memory import measure_peak
from citymesh_dask.engine.plan import Plan, Stage, TaskCall
from citymesh_dask.engine.run import Run
from citymesh_dask.formats.footprints import read_features, survey_footprints
from citymesh_dask.geometry.cleaning.checking import check_outlines
from citymesh_dask.geometry.cleaning.cleaning import clean_groups, link_distance
from citymesh_dask.geometry.cleaning.linking import link_parts
from citymesh_dask.geometry.grouping import group_labels
from citymesh_dask.geometry.part_sets import take_parts
from citymesh_dask.geometry.polygons import prepare_footprints
from citymesh_dask.outlines import Parts
from citymesh_dask.pipelines.city.job import CityJob, save_job
from citymesh_dask.pipelines.city.plan import plan_city
from citymesh_dask.store.manifest import ReceiptFolder
from citymesh_dask.tiles import OUTLINE_UNITS, Domain
from tests.benchmarks import prototype, prototype_cleaning
from tests.benchmarks.figures import TINY, Figure, Scale, skipped
from tests.benchmarks.sample import KEPT
from tests.benchmarks.towns import Town, repeated, town_job, towns

T = TypeVar("T")

TARGET = 0.7
TWO_WORKERS = 1.8
STAGES = ("link_parts", "group_parts", "clean_outlines", "check_outlines", "settle_outlines")
_TOLERANCE_M, _MIN_AREA_M2 = 0.25, 4.0
"""As the prototype has them."""


@dataclass(frozen=True)
class Sample:
    """What cleaning on one core took.

    Parameters
    ----------
    parts, groups : int
        Polygons, and groups that they fall into.
    seconds : float
        Processor time of linking, cleaning and checking; the best of the repeats.
    peak_bytes : int
        Highest resident memory.
    """

    parts: int
    groups: int
    seconds: float
    peak_bytes: int


def measure(scale: Scale, folder: Path = KEPT) -> Iterator[Figure]:
    """Yield the figures of cleaning."""
    for town in towns(scale, folder):
        yield _against_prototype(town, scale)
    n = 10 if scale == TINY else 100
    sample = time_cleaning(*houses(n), repeats=scale.repeats)
    yield Figure(f"{n * n:,} touching houses", sample.seconds, "s", 3.0, peak_bytes=sample.peak_bytes, note="one group")
    times = 1 if scale == TINY else 4
    large = repeated(towns(scale, folder)[-1], times, folder)
    yield from _two_workers(large, folder / "cleaning", repeats=scale.repeats)


def time_cleaning(parts: Parts, domain: Domain, *, repeats: int) -> Sample:
    """Clean polygons some times and return the best; the first run compiles and is not counted."""
    best = float("inf")
    groups = 0
    with measure_peak() as memory:
        for number in range(repeats + 1):
            seconds, (grouped, start) = _timed(lambda: _grouped(parts))
            groups = len(start) - 1
            cleaning, (outlines, _) = _timed(
                lambda given=grouped, first=start: clean_groups(
                    given, first, domain.frame, tolerance=_TOLERANCE_M, min_area=_MIN_AREA_M2
                )
            )
            checking, _ = _timed(lambda found=outlines: check_outlines(found, _TOLERANCE_M))
            if number:
                best = min(best, seconds + cleaning + checking)
    return Sample(len(parts), groups, best, memory.peak_bytes)


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def _grouped(parts: Parts) -> tuple[Parts, np.ndarray]:
    labels = group_labels(len(parts), link_parts(parts, round(link_distance(_TOLERANCE_M) * OUTLINE_UNITS)))
    order = np.argsort(labels, kind="stable")
    return take_parts(parts, order), np.append(np.flatnonzero(np.diff(labels[order], prepend=-1)), len(parts))


def houses(n: int) -> tuple[Parts, Domain]:
    """Return n x n touching houses of 10 m with uneven corners: one group."""
    rng = np.random.default_rng(1)
    lines = np.arange(n + 1) * 10 + 20
    corners = np.stack(np.meshgrid(lines, lines, indexing="ij"), -1) + rng.uniform(-2, 2, (n + 1, n + 1, 2))
    quads = np.stack((corners[:-1, :-1], corners[1:, :-1], corners[1:, 1:], corners[:-1, 1:]), axis=2)
    domain = Domain.from_bounds((0, 0, 10 * n + 40, 10 * n + 40))
    return prepare_footprints(shapely.polygons(quads.reshape(-1, 4, 2)), domain).parts, domain


def _against_prototype(town: Town, scale: Scale) -> Figure:
    name = f"{town.name}: cleaning / prototype"
    (source,) = survey_footprints([str(town.footprints)], None)
    outlines = read_features(source, 0, source.n_features).geometries
    outlines = outlines[~(shapely.is_missing(outlines) | shapely.is_empty(outlines))]
    domain = Domain.from_bounds(tuple(shapely.total_bounds(outlines)))
    parts = prepare_footprints(outlines, domain).parts
    if scale == TINY or not prototype.is_there():
        time_cleaning(parts, domain, repeats=scale.repeats)
        return skipped(name, "tiny" if scale == TINY else prototype.ABSENT)
    with prototype.prototype_process("fastclean") as process:
        task = process.submit(prototype_cleaning.time_cleaning, shapely.to_wkb(outlines).tolist(), scale.repeats)
        count, seconds = task.result()
    sample = time_cleaning(parts, domain, repeats=scale.repeats)
    own, other = sample.seconds / sample.parts, seconds / count
    note = f"{1e6 * own:.1f} us per part of {sample.parts:,} against {1e6 * other:.1f} of {count:,}; one core"
    return Figure(name, other / own, "", TARGET, at_least=True, peak_bytes=sample.peak_bytes, note=note)


def _two_workers(town: Town, work: Path, *, repeats: int) -> Iterator[Figure]:
    """Yield how much faster the tasks of cleaning are on two workers than on one: bare processes, and under Dask.

    On two cores the scheduler takes its share of one of them; the processes alone tell what the tasks are like.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    job = town_job(town, work)
    plan = plan_city(job, save_job(job), Resources(8 << 30, 2))
    names = [stage.name for stage in plan.stages]
    plan = replace(plan, stages=plan.stages[: names.index(STAGES[-1]) + 1])
    clients = {workers: citymesh_dask.connect(n_workers=workers) for workers in (1, 2)}
    try:
        # in turn, so that both meet the same moods of the machine; the first does all that comes before, too
        dask = [
            {n: _time_stages(plan, job, ClusterExecutor(client)) for n, client in clients.items()}
            for _ in range(repeats + 1)
        ]
    finally:
        for client in reversed(clients.values()):  # each puts back the default that it found
            client.shutdown()
    processes = _time_processes([stage for stage in plan.stages if stage.name in STAGES], repeats=repeats)
    shutil.rmtree(work)
    for what, samples, target in (("processes", processes, TWO_WORKERS), ("Dask workers", dask[1:], None)):
        one, two = (min(sample[n] for sample in samples) for n in (1, 2))
        note = f"{job.n_rows:,} footprints, {one:.2f} s of wall time on one, {two:.2f} s on two"
        yield Figure(f"{town.name}: cleaning, two {what} / one", one / two, "", target, at_least=True, note=note)


def _time_processes(stages: Sequence[Stage], *, repeats: int) -> list[dict[int, float]]:
    """Do some stages one after the other in one and in two processes; return their wall times."""
    spawn = multiprocessing.get_context("spawn")
    pools = {n: ProcessPoolExecutor(n, spawn) for n in (1, 2)}
    samples = []
    for _ in range(repeats + 1):
        sample = {}
        for n, pool in pools.items():
            start = time.perf_counter()
            for stage in stages:
                list(pool.map(_perform, [task.call for task in stage.tasks]))
            sample[n] = time.perf_counter() - start
        samples.append(sample)
    for pool in pools.values():
        pool.shutdown()
    return samples[1:]


def _perform(call: TaskCall) -> None:
    call.function(*call.arguments)


def _time_stages(plan: Plan, job: CityJob, executor: ClusterExecutor) -> float:
    """Do the stages of cleaning anew, what comes before only once; return their wall time."""
    ledger = ReceiptFolder(str(job.scratch.root / "receipts"))
    for path in Path(ledger.path).glob("*.json"):
        if path.name.startswith(STAGES):
            path.unlink()
    Run(plan, ledger, executor, finish=lambda run: None).result()
    receipts = [receipt for receipt in ledger.all() if receipt.key.startswith(STAGES)]
    return max(r.started + r.seconds for r in receipts) - min(r.started for r in receipts)
