"""The job of a run and what it may take, chosen together: with a scratch folder, or without one in memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...engine.machine import Resources
from ...errors import PlanError
from ...settings import RunSettings
from .begin import Origin, choose_job, scratch_folder
from .in_memory import memory_job
from .job import CityJob
from .planning.choice import LADDER, Choice, Sizes, all_jobs, choose, smallest_memory
from .planning.in_memory import choose_in_memory, needed_in_memory
from .planning.limits import check_least_room, check_room
from .recovery import forget_skipped
from .request import Request


@dataclass(frozen=True)
class Chooser:
    """Tells what fits, for this machine and for others; nothing is written.

    Parameters
    ----------
    fitting : callable
        Returns the job that fits, its resources, and what it begins with, from resources that may be taken, the best
        first. Raises `PlanError` where nothing fits the memory.
    smallest : callable
        Returns the least memory that any of them would do with, bytes.
    """

    fitting: Callable[[Sequence[Resources]], Choice[Origin]]
    smallest: Callable[[Sequence[Resources]], int]

    def choose(self, candidates: Sequence[Resources]) -> Choice[Origin]:
        """Return what fits the memory, and the disks, with every tile to be tried that a former run skipped.

        Parameters
        ----------
        candidates : sequence of Resources
            What may be taken, the best first.

        Raises
        ------
        OutputError, PlanError
            If something is in the way, or nothing fits.
        """
        choice = self.fitting(candidates)
        check_room(choice.job)
        return replace(choice, job=forget_skipped(choice.job))


def city_chooser(request: Request, settings: RunSettings) -> Chooser:
    """Return what chooses for a request, run as the settings say.

    Raises
    ------
    OutputError, PlanError
        If there can be no scratch folder, or the disks are far too small.
    """
    scratch = scratch_folder(request.out, settings.temp_dir) if settings.use_disk_store else None
    check_least_room(request.survey, request.options, out=request.out, scratch=scratch)
    return _through_the_disk(request, settings) if settings.use_disk_store else _in_memory(request, settings)


def _through_the_disk(request: Request, settings: RunSettings) -> Chooser:
    @functools.cache
    def make(sizes: Sizes) -> tuple[CityJob, Origin]:
        return choose_job(request, settings, sizes)

    def fitting(candidates: Sequence[Resources]) -> Choice[Origin]:
        try:
            return choose(make, candidates)
        except PlanError as error:
            if make(LADDER[0])[1] is not Origin.SAME:
                raise
            raise _with_former_tiles(error, request, settings, candidates) from None

    return Chooser(
        fitting,
        lambda candidates: smallest_memory(all_jobs(make), candidates),
    )


def _with_former_tiles(
    error: PlanError, request: Request, settings: RunSettings, candidates: Sequence[Resources]
) -> PlanError:
    """Return the refusal of a run that goes on, with the tiles that it was begun with, and what else there is."""
    advice = f"{error.advice}, or begin anew with smaller tiles: --restart"
    try:
        choose(lambda sizes: choose_job(request, replace(settings, restart=True), sizes), candidates)
    except PlanError as anew:
        advice = f"{error.advice} to go on, or begin anew with --restart: it needs {anew.expected}"
    found = f"{error.found}, with the tiles that the run was begun with"
    return PlanError(error.where, found, error.expected.replace("that would do", "that would do for them"), advice)


def _in_memory(request: Request, settings: RunSettings) -> Chooser:
    job = memory_job(request, fan_in=settings.batch_size)
    return Chooser(
        lambda candidates: Choice(job, Origin.NOTHING, choose_in_memory(job, candidates)),
        lambda candidates: min(needed_in_memory(job, candidates)),
    )
