"""The job of a run and what it may take, chosen together: with a scratch folder, or without one in memory."""

from __future__ import annotations

from collections.abc import Sequence

from ...engine.machine import Resources
from ...settings import RunSettings
from .begin import Origin, choose_job, scratch_folder
from .in_memory import memory_job
from .planning.choice import Choice, choose
from .planning.in_memory import choose_in_memory
from .planning.limits import check_least_room, check_room
from .request import Request


def choose_city(request: Request, settings: RunSettings, candidates: Sequence[Resources]) -> Choice[Origin]:
    """Return the job that fits, its resources, and what it begins with; nothing is written yet.

    Parameters
    ----------
    request : Request
        What was asked for.
    settings : RunSettings
        How it shall be run.
    candidates : sequence of Resources
        What may be taken, the best first.

    Raises
    ------
    OutputError, PlanError
        If something is in the way, or nothing fits the memory or the disks.
    """
    scratch = scratch_folder(request.out, settings.temp_dir) if settings.use_disk_store else None
    check_least_room(request.survey, request.options, out=request.out, scratch=scratch)
    if settings.use_disk_store:
        choice = choose(lambda sizes: choose_job(request, settings, sizes), candidates)
    else:
        job = memory_job(request.survey, request.options, out=request.out, fan_in=settings.batch_size)
        choice = Choice(job, Origin.NOTHING, choose_in_memory(job, candidates))
    check_room(choice.job)
    return choice
