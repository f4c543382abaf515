"""Workers, tiles and pieces of the input, chosen from the memory that is allowed: from generous to small, first fit.

What was asked for is never changed: a number of workers or a tile size that does not fit is refused, with what would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ....engine.machine import Resources, least_ulimit
from ....engine.memory import RESERVED_BYTES, SHARED_BYTES
from ....errors import PlanError
from ....tiles import regular_tiling
from ..job import POINTS_PER_RANGE, CityJob
from .limits import MOST_TILES
from .projections import ENDING_BYTES, projected_bytes, projected_tasks

T = TypeVar("T")

_MIB = 1 << 20
_LEAST_TILE_M = 10.0


@dataclass(frozen=True)
class Sizes:
    """Pieces in which a city is worked on.

    Parameters
    ----------
    most_triangles : float
        No tile projects over it.
    points, features : int
        Most points and footprints that one task reads.
    fan_in : int
        Most children of a node of the merging tree.
    """

    most_triangles: float = math.inf
    points: int = POINTS_PER_RANGE
    features: int = 1 << 20
    fan_in: int = 1 << 20


LADDER = (
    Sizes(),
    Sizes(600_000, POINTS_PER_RANGE // 2, 20_000),
    Sizes(300_000, POINTS_PER_RANGE // 2, 10_000),
    Sizes(150_000, POINTS_PER_RANGE // 4, 5_000, 8),
    Sizes(75_000, POINTS_PER_RANGE // 8, 2_500, 4),
    Sizes(40_000, POINTS_PER_RANGE // 16, 2_500, 2),
)
"""Sizes to be tried, from generous to small; smaller ones cost more in halos and tasks than they give."""

Maker = Callable[[Sizes], tuple[CityJob, T]]
"""Makes the job of a city with some sizes, and what goes with it."""


@dataclass(frozen=True)
class Choice(Generic[T]):
    """What fits.

    Parameters
    ----------
    job : CityJob
        The job.
    beside : Any
        What its maker told beside it.
    resources : Resources
        Workers and memory.
    """

    job: CityJob
    beside: T
    resources: Resources


def choose(make: Maker[T], candidates: Sequence[Resources]) -> Choice[T]:
    """Return the first job and resources that fit.

    Parameters
    ----------
    make : callable
        Makes jobs; a run that goes on gives the same job for all sizes.
    candidates : sequence of Resources
        What may be taken, the best first.

    Raises
    ------
    PlanError
        If nothing fits, with the smallest memory that would do.
    """
    jobs = _Jobs(make)
    for resources in candidates:
        for job, beside, demand in jobs:
            if demand.misfit(resources) is None:
                return Choice(job, beside, with_tasks(resources, job))
    raise _refusal([job for job, _, _ in jobs], candidates)


def all_jobs(make: Maker[T]) -> list[CityJob]:
    """Return the jobs of all sizes that can be made.

    Raises
    ------
    PlanError
        If not even the most generous can.
    """
    return [job for job, _, _ in _Jobs(make)]


def smallest_memory(jobs: Sequence[CityJob], candidates: Sequence[Resources]) -> int:
    """Return the least memory that any of the jobs would do with, bytes."""
    demand, resources = _least(jobs, candidates)
    return demand.needed_bytes(resources)


@dataclass(frozen=True)
class Demand:
    """What a job asks of memory, whoever gives it.

    Parameters
    ----------
    stage : str
        The stage whose tasks take most.
    task_bytes : int
        Of one of its tasks, beyond an idle worker.
    n_tasks : int
        Tasks of the job; see `projected_tasks`.
    """

    stage: str
    task_bytes: int
    n_tasks: int

    def needed_bytes(self, resources: Resources, *, ending_bytes: int = ENDING_BYTES) -> int:
        """Return the memory that is needed with so many workers, bytes; the end of the run included."""
        resources = replace(resources, n_tasks=self.n_tasks)
        ending = 0 if resources.foreign else ending_bytes
        return resources.reserved_bytes + max(resources.n_workers * self.task_bytes, ending)

    def process_bytes(self, resources: Resources, *, ending_bytes: int = ENDING_BYTES) -> int:
        """Return the memory that the largest process needs, bytes: a worker, or the one that ends the run."""
        if resources.scheduler != "processes":
            return self.needed_bytes(resources, ending_bytes=ending_bytes)
        client = SHARED_BYTES + replace(resources, n_tasks=self.n_tasks).client_bytes
        return max(RESERVED_BYTES + self.task_bytes, client + ending_bytes)

    def misfit(self, resources: Resources) -> tuple[str, int] | None:
        """Return the stage that does not fit and its bytes per task beyond an idle worker; None where all fit."""
        for stage, size, ending in ((self.stage, self.task_bytes, 0), ("finish", ENDING_BYTES, ENDING_BYTES)):
            needed = self.needed_bytes(resources, ending_bytes=ending)
            if needed > resources.allowed_bytes or self._over_ulimit(resources, ending_bytes=ending):
                return stage, size
        return None

    def _over_ulimit(self, resources: Resources, *, ending_bytes: int = ENDING_BYTES) -> int:
        """Return the bytes that the largest process needs beyond what one may have; 0 where it has room."""
        if resources.process_bytes is None:
            return 0
        return max(self.process_bytes(resources, ending_bytes=ending_bytes) - resources.process_bytes, 0)

    def order(self, resources: Resources) -> tuple[int, int]:
        """Return what is least where least is asked for: first of what a process may not have, then of memory."""
        return self._over_ulimit(resources), self.needed_bytes(resources)


def demand_of(job: CityJob) -> Demand:
    """Return what a job asks of memory; it takes some tens of milliseconds."""
    stage, size = max(stage_bytes(job).items(), key=lambda item: item[1])
    return Demand(stage, size, projected_tasks(job))


def with_tasks(resources: Resources, job: CityJob) -> Resources:
    """Return resources that know about how many tasks a job has."""
    return replace(resources, n_tasks=projected_tasks(job))


def stage_bytes(job: CityJob) -> dict[str, int]:
    """Return the stages that this job has, with the memory of their tasks."""
    found = projected_bytes(job)
    counts = {"sample_points": len(job.point_ranges), "sample_surface": int(job.survey.surface is not None)}
    counts["sample_surface"] += int(job.survey.building_heights is not None)
    counts["sample_footprints"] = int(not job.survey.points and job.survey.terrain is None)
    return {stage: size for stage, size in found.items() if counts.get(stage, 1)}


class _Jobs(Generic[T]):
    """The jobs of all sizes and what they ask of memory, each made when it is looked at for the first time."""

    def __init__(self, make: Maker[T]) -> None:
        self._make = make
        self._made: list[tuple[CityJob, T, Demand] | None] = []

    def __iter__(self) -> Iterator[tuple[CityJob, T, Demand]]:
        for place, sizes in enumerate(LADDER):
            if place == len(self._made):
                self._made.append(self._made_with(sizes, first=place == 0))
            found = self._made[place]
            if found is not None:
                yield found

    def _made_with(self, sizes: Sizes, *, first: bool) -> tuple[CityJob, T, Demand] | None:
        try:
            job, beside = self._make(sizes)
        except PlanError:
            if first:  # nothing that smaller pieces would mend
                raise
            return None  # a place too dense for tiles of this size
        return job, beside, demand_of(job)


def _least(jobs: Sequence[CityJob], candidates: Sequence[Resources]) -> tuple[Demand, Resources]:
    """Return what asks for the least memory, of that which keeps to the limits of a process where anything does."""
    pairs = ((demand, resources) for demand in map(demand_of, jobs) for resources in candidates)
    return min(pairs, key=lambda pair: pair[0].order(pair[1]))


def _refusal(jobs: Sequence[CityJob], candidates: Sequence[Resources]) -> PlanError:
    """Return the error that names the stage that fails last, and everything that would do instead."""
    demand, resources = _least(jobs, candidates)
    asked, job = candidates[0], jobs[-1]
    over, needed = demand.order(resources)
    stage, size = demand.misfit(resources) or ("?", 0)
    if over and demand.process_bytes(resources) > demand.process_bytes(resources, ending_bytes=0):
        stage = "finish"
    what = "the end of the run" if stage == "finish" else "a task"
    if asked.foreign:
        found, expected, first = _cluster_refusal(demand, asked)
    elif over:
        found, expected, first = ulimit_refusal(what, demand.process_bytes(resources), resources)
        first += f", and give {memory_flag(needed)}" if needed > resources.allowed_bytes else ""
    else:
        reserved = replace(resources, n_tasks=demand.n_tasks).reserved_bytes
        how = f"{resources.n_workers} worker(s)" if resources.scheduler == "processes" else "one process"
        found = (
            f"{what} is projected to need {_mb(size)} beside the {_mb(reserved)} reserved for {how}, "
            f"which do not fit in the {_mb(resources.allowed_bytes)} allowed"
        )
        expected, first = f"at least {_mb(needed)}, the smallest that would do", f"give {memory_flag(needed)}"
    advice = [first]
    shares = asked.scheduler != "processes" or not (asked.foreign or over)  # fewer workers would leave more for each
    if shares and len(candidates) == 1 and asked.n_workers > 1:
        advice += _fewer_workers(jobs, asked)
    if job.options.tile_size or not job.options.use_tiling:
        advice += _smaller_tiles(job, candidates)
    return PlanError(f"stage {stage}", found, expected, ", or ".join(advice))


def ulimit_refusal(what: str, needed_bytes: int, resources: Resources) -> tuple[str, str, str]:
    """Return what is found, expected and advised where a process needs more than its ``ulimit`` leaves.

    Parameters
    ----------
    what : str
        What the process does.
    needed_bytes : int
        Its resident memory.
    resources : Resources
        With the limit.
    """
    name = f"ulimit {resources.ulimit}"
    least = f"{name} {least_ulimit(resources.ulimit, needed_bytes)}"
    found = f"a process is projected to need {_mb(needed_bytes)} at {what}, while {name} leaves it "
    found += f"{_mb(resources.process_bytes or 0)} of memory"
    return found, f"at least {least} (kB)", f"raise it with '{least}'"


def _cluster_refusal(demand: Demand, resources: Resources) -> tuple[str, str, str]:
    """Return the same where a thread of the workers of a cluster has too little."""
    needed = RESERVED_BYTES + demand.task_bytes
    found = f"a task is projected to need {_mb(demand.task_bytes)} beside the {_mb(RESERVED_BYTES)} of an idle worker, "
    found += f"while the workers of the cluster have {_mb(resources.worker_bytes)} for each of their threads"
    return found, f"at least {_mb(needed)} for each thread", f"start workers with --nthreads 1 {memory_flag(needed)}"


def memory_flag(needed_bytes: int) -> str:
    """Return the words that allow so much memory, in whole megabytes.

    >>> memory_flag(479_000_001)
    '--memory-limit 480MB'
    """
    return f"--memory-limit {-(-needed_bytes // 10**6)}MB"


def _mb(size: float) -> str:
    return f"{size / 1e6:.0f} MB"


def _fewer_workers(jobs: Sequence[CityJob], asked: Resources) -> list[str]:
    """Return the largest number of workers that would fit, as advice."""
    demands = [demand_of(job) for job in jobs]
    for count in range(asked.n_workers - 1, 0, -1):
        fewer = replace(asked, n_workers=count)
        if any(demand.misfit(fewer) is None for demand in demands):
            return [f"at most --workers {count}"]
    return ["leave --workers out"] if asked.scheduler == "processes" else []


def _smaller_tiles(job: CityJob, candidates: Sequence[Resources]) -> list[str]:
    """Return the largest tile size that would fit, as advice."""

    def fits(edge: float) -> bool:
        demand = demand_of(replace(job, tiling=regular_tiling(job.domain, edge)))
        return any(demand.misfit(resources) is None for resources in candidates)

    # below this size there would be too many tiles to be planned, and to be tried here
    low = max(_LEAST_TILE_M, math.sqrt(job.domain.area / MOST_TILES))
    high = max(low, job.options.tile_size or 4000.0)
    if not fits(low):
        return []
    while high - low > max(1.0, 0.02 * low):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return [f"at most --tile-size {math.floor(low)}"]
