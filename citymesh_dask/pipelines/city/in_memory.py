"""The beginning and the end of a city run without a scratch folder: everything between its tasks stays in memory."""

from __future__ import annotations

import shutil
from dataclasses import replace

from ...errors import OptionError
from ...store.memory_scratch import MemoryScratch
from .begin import begin_store
from .job import CityJob, hold_job, job_file, partial_store, release_job
from .plan import city_job
from .request import Request


def refuse_disk_settings(**given: object) -> None:
    """Raise where something is asked for that only a run with a scratch folder has.

    Raises
    ------
    OptionError
        Naming the first such setting.
    """
    for name, value in given.items():
        if value:
            found = f"{value!r}, together with use_disk_store=False"
            expected = "no such thing: a run in memory has no scratch folder and stays in this process"
            raise OptionError(f"option {name}", found, expected, "leave one of the two out")


def memory_job(request: Request, *, fan_in: int) -> CityJob:
    """Return the job of a run in memory; nothing is written yet."""
    out = request.out
    job = city_job(request.survey, request.options, out=out, scratch=out.parent, fan_in=fan_in)
    return replace(job, scratch=MemoryScratch(), fingerprint=request.fingerprint)


def begin_memory_job(job: CityJob) -> None:
    """Prepare the place of the store, and keep the job for its tasks.

    Raises
    ------
    OutputError
        If the place cannot be written.
    """
    begin_store(job)
    hold_job(job)


def end_memory_job(job: CityJob) -> None:
    """Let everything of a run go that has ended, well or not; an unfinished store is of no use."""
    if isinstance(job.scratch, MemoryScratch):
        release_job(str(job_file(job.scratch.root)))
        job.scratch.clear()
        shutil.rmtree(partial_store(job), ignore_errors=True)
