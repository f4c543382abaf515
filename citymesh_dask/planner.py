"""A dry run: what a job would take, and what would be chosen with less or more memory. Writes nothing at all."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import JobSpec
from .engine.machine import Resources, candidate_resources
from .engine.plan import Plan
from .engine.remote import client_of
from .errors import PlanError
from .pipelines.city.begin import scratch_folder
from .pipelines.city.inputs.survey import CityInputs, Survey, survey_city
from .pipelines.city.job import CityJob, job_file
from .pipelines.city.plan import city_job, plan_city
from .pipelines.city.planning.choice import LADDER, Choice, Maker, Sizes, choose, smallest_memory
from .pipelines.city.planning.limits import check_room
from .pipelines.city.request import output_path
from .pipelines.city.resume import refuse_memory
from .starting import run_candidates

MEMORIES_GB = (0.5, 1, 2, 4, 8, 32)
"""Amounts of memory that people have, for the table of choices."""


@dataclass(frozen=True)
class DryRun:
    """What a job would take.

    Parameters
    ----------
    plan : Plan
        The plan that would be carried out.
    choices : tuple of dict
        What would be chosen with other amounts of memory: ``allowed_bytes`` and either ``refused``, the smallest
        memory that would do, or workers, scheduler, tiles and time.
    smallest_bytes : int
        The smallest memory that would do, with whatever is left to choose.
    """

    plan: Plan
    choices: tuple[dict[str, Any], ...]
    smallest_bytes: int

    def describe(self) -> str:
        """Return plan and choices as tables."""
        head = f"{'allowed':>8} {'workers':>8} {'scheduler':>12} {'tiles':>7} {'largest tile':>14} "
        lines = [self.plan.describe(), "", "with other amounts of memory:", f"{head}{'threads':>8} {'time':>9}"]
        lines += [_choice_line(choice) for choice in self.choices]
        lines.append(f"the smallest memory that would do: --memory-limit {-(-self.smallest_bytes // 10**6)}MB")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain lists, dicts, numbers and text."""
        facts = {name: value for name, value in self.plan.facts.items() if name != "lines"}
        found = {"stages": self.plan.rows(), **facts, "smallest_bytes": self.smallest_bytes}
        return found | {"choices": list(self.choices)}


def plan_job(job: JobSpec) -> DryRun:
    """Plan a job without running it.

    Parameters
    ----------
    job : JobSpec
        What would be run.

    Raises
    ------
    InputError, OptionError, OutputError, PlanError
        Whatever the run itself would be refused with before its first task.
    """
    settings = job.settings
    candidates = run_candidates(settings, client_of(settings.scheduler_address))
    out = output_path(job.out)
    scratch = scratch_folder(out, settings.temp_dir)
    if not settings.allow_tmpfs:
        refuse_memory(scratch)
    inputs = CityInputs(job.footprints, job.layer, job.points, job.terrain, job.surface, job.building_heights)
    make = _maker(job, survey_city(inputs, job.options), out=out, scratch=scratch)
    choice = choose(make, candidates)
    check_room(choice.job)
    plan = plan_city(choice.job, str(job_file(scratch)), choice.resources)
    jobs = list(_all_jobs(make))
    return DryRun(plan, _choices(make, jobs, job), smallest_memory(jobs, _any_memory(job, "auto")))


def _maker(job: JobSpec, survey: Survey, *, out: Path, scratch: Path) -> Maker[None]:
    """Return what makes the job with some sizes, each once."""

    @functools.cache
    def make(sizes: Sizes) -> tuple[CityJob, None]:
        fan_in = job.settings.batch_size
        return city_job(survey, job.options, out=out, scratch=scratch, fan_in=fan_in, sizes=sizes), None

    return make


def _all_jobs(make: Maker[None]) -> Sequence[CityJob]:
    jobs = []
    for sizes in LADDER:
        try:
            jobs.append(make(sizes)[0])
        except PlanError:  # a place too dense for tiles of this size
            continue
    return jobs


def _any_memory(job: JobSpec, memory: str | int) -> list[Resources]:
    return candidate_resources(memory, job.settings.n_workers, scheduler=job.settings.scheduler)


def _choices(make: Maker[None], jobs: Sequence[CityJob], job: JobSpec) -> tuple[dict[str, Any], ...]:
    rows = []
    for memory in MEMORIES_GB:
        allowed = int(memory * 1e9)
        candidates = _any_memory(job, allowed)
        try:
            rows.append({"allowed_bytes": allowed, **_choice_facts(choose(make, candidates))})
        except PlanError:
            rows.append({"allowed_bytes": allowed, "refused": smallest_memory(jobs, candidates)})
    return tuple(rows)


def _choice_facts(choice: Choice[None]) -> dict[str, Any]:
    facts = plan_city(choice.job, "", choice.resources).facts
    names = ("n_workers", "scheduler", "tiles", "smallest_tile_m", "largest_tile_m", "triangles_of_a_tile")
    return {name: facts[name] for name in (*names, "fan_in", "points_per_task", "reader_threads", "seconds")}


def _choice_line(choice: dict[str, Any]) -> str:
    allowed = f"{choice['allowed_bytes'] / 1e9:5g} GB"
    if "refused" in choice:
        return f"{allowed} refused: at least {-(-choice['refused'] // 10**6):,} MB are needed"
    return (
        f"{allowed} {choice['n_workers']:8,} {choice['scheduler']:>12} {choice['tiles']:7,} "
        f"{choice['largest_tile_m']:12,.0f} m {choice['reader_threads']:8} {choice['seconds']:7,.0f} s"
    )
