"""A dry run: what a job would take, and what would be chosen with less or more memory. Writes nothing at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .config import JobSpec
from .engine.machine import Resources, candidate_resources
from .engine.plan import Plan
from .engine.remote import client_of
from .errors import PlanError
from .pipelines.city.begin import Origin, is_finished
from .pipelines.city.choosing import Chooser
from .pipelines.city.inputs.survey import CityInputs
from .pipelines.city.job import job_file
from .pipelines.city.plan import plan_city
from .pipelines.city.planning.choice import Choice, memory_flag
from .pipelines.city.request import survey_request
from .settings import RunSettings
from .starting import find_chooser, run_candidates

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
        memory that would do, or workers, scheduler, tiles and time. None for a cluster that is there already.
    smallest_bytes : int or None
        The smallest memory that would do, with whatever is left to choose; None for such a cluster.
    """

    plan: Plan
    choices: tuple[dict[str, Any], ...]
    smallest_bytes: int | None

    def describe(self) -> str:
        """Return plan and choices as tables."""
        if self.smallest_bytes is None:
            return self.plan.describe()
        head = f"{'allowed':>8} {'workers':>8} {'scheduler':>12} {'tiles':>7} {'largest tile':>14} {'fan-in':>7} "
        head += f"{'points/task':>12} {'threads':>8} {'time':>9}"
        lines = [self.plan.describe(), "", "with other amounts of memory:", head]
        lines += [_choice_line(choice) for choice in self.choices]
        lines.append(f"the smallest memory that would do: {memory_flag(self.smallest_bytes)}")
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
    client = client_of(settings.scheduler_address)
    candidates = run_candidates(settings, client)
    inputs = CityInputs(job.footprints, job.layer, job.points, job.terrain, job.surface, job.building_heights)
    request = survey_request(inputs, job.options, job.out, verify_inputs=settings.verify_inputs)
    is_finished(request, settings)
    chooser = find_chooser(request, settings, client)
    choice = chooser.choose(candidates)
    plan = plan_city(choice.job, str(job_file(choice.job.scratch.root)), choice.resources)
    if client is not None:
        return DryRun(plan, (), None)
    return DryRun(plan, _choices(chooser, settings), chooser.smallest(_any_memory(settings, "auto")))


def _any_memory(settings: RunSettings, memory: str | int) -> list[Resources]:
    return candidate_resources(memory, settings.n_workers, scheduler=settings.scheduler)


def _choices(chooser: Chooser, settings: RunSettings) -> tuple[dict[str, Any], ...]:
    rows = []
    for memory in MEMORIES_GB:
        allowed = int(memory * 1e9)
        candidates = _any_memory(settings, allowed)
        try:
            rows.append({"allowed_bytes": allowed, **_choice_facts(chooser.fitting(candidates))})
        except PlanError:
            rows.append({"allowed_bytes": allowed, "refused": chooser.smallest(candidates)})
    return tuple(rows)


def _choice_facts(choice: Choice[Origin]) -> dict[str, Any]:
    facts = plan_city(choice.job, "", choice.resources).facts
    names = ("n_workers", "scheduler", "tiles", "smallest_tile_m", "largest_tile_m", "triangles_of_a_tile")
    return {name: facts[name] for name in (*names, "fan_in", "points_per_task", "reader_threads", "seconds")}


def _choice_line(choice: dict[str, Any]) -> str:
    allowed = f"{choice['allowed_bytes'] / 1e9:5g} GB"
    if "refused" in choice:
        return f"{allowed} refused: at least {-(-choice['refused'] // 10**6):,} MB are needed"
    return (
        f"{allowed} {choice['n_workers']:8,} {choice['scheduler']:>12} {choice['tiles']:7,} "
        f"{choice['largest_tile_m']:12,.0f} m {choice['fan_in']:7} {choice['points_per_task']:12,} "
        f"{choice['reader_threads']:8} {choice['seconds']:7,.0f} s"
    )
