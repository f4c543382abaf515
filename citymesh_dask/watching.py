"""Who watches a run: its progress on the terminal, its page on the dashboard, its log beside the store."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .engine.cluster import ClusterExecutor
from .engine.dashboard import Board, BoardFeed, BoardStage, Place
from .engine.data_limit import has_data_limit
from .engine.executor import Executor
from .engine.log import RunLog
from .engine.machine import resources_of
from .engine.plan import Plan, Stage
from .engine.progress import Event, Listener, PlanChanged, TaskDone, TaskTrouble, choose_listener
from .engine.run import Run
from .pipelines.city.ending.finish import software_versions
from .pipelines.city.job import CityJob, job_file, load_job, plain_job
from .tiles import MESH_UNITS

LOG_SUFFIX = ".log.jsonl"
"""What the name of a log beside its store ends in."""


def log_path(out: Path, log: bool | str | os.PathLike[str]) -> Path | None:
    """Return where the log of a run goes: a file of its own, beside the store, or nowhere.

    >>> log_path(Path("city.zarr"), True).name
    'city.zarr.log.jsonl'
    """
    if log is True:
        return out.with_name(f"{out.name}{LOG_SUFFIX}")
    return Path(log).expanduser() if log else None


@dataclass
class Watchers:
    """All that watch one run.

    Parameters
    ----------
    name : str
        Name of the run, for the keys that Dask sees, the page and the log.
    listeners : list of callable
        What the run tells its events.
    log : RunLog, optional
        Its log.
    page : BoardFeed, optional
        Its page.
    """

    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    listeners: list[Listener] = field(default_factory=list)
    log: RunLog | None = None
    page: BoardFeed | None = None

    def show_progress(self, plan: Plan) -> None:
        """Show the notes of the plan, and then bars or lines, on standard error."""
        with contextlib.suppress(OSError):  # nobody reads it
            for note in plan.facts.get("notes", ()):
                sys.stderr.write(f"note: {note}\n")
        listener = choose_listener(plan.stages, quiet=False)
        if listener is not None:
            self.listeners.append(listener)

    def write_log(self, path: Path, plan: Plan, facts: Mapping[str, Any]) -> None:
        """Begin the log.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        self.log = RunLog(path, self.name)
        self.log.begin(plan, facts)
        self.listeners.append(self.log)

    @contextlib.contextmanager
    def until_begun(self) -> Iterator[None]:
        """Say in the log why a run could not begin."""
        try:
            yield
        except BaseException as error:
            if self.log is not None:
                self.log.end("error", {"error": str(error)})
            raise

    def show_page(self, executor: Executor, plan: Plan, job: CityJob) -> None:
        """Put the page on the dashboard where there is one."""
        if not isinstance(executor, ClusterExecutor):
            return
        board = Board(
            run_id=self.name,
            title=job.out,
            stages=board_stages(plan.stages),
            placed="mesh_tile",
            places=tile_places(job),
            allowed_bytes=plan.allowed_bytes,
            worker_bytes=resources_of(plan).worker_bytes,
        )
        self.page = BoardFeed(executor.client, board)
        self.listeners.append(functools.partial(_tell_page, self.page, str(job_file(job.scratch.root))))

    def end(self, run: Run[Any]) -> None:
        """Say how the run ended."""
        error = run.exception()
        if self.page is not None:
            self.page.close(run.status)
        if self.log is None:
            return
        for text in getattr(run.report, "warnings", ()):
            self.log.warn(text)
        self.log.end(run.status, {"error": str(error)} if error is not None else {})


def begun_facts(job: CityJob, inputs: Sequence[Mapping[str, Any]], command: str) -> dict[str, Any]:
    """Return what the log tells at the beginning of a run, beside its plan."""
    names = [{name: entry[name] for name in ("role", "path", "bytes")} for entry in inputs]
    facts = {"command": command, "out": job.out, "scratch": str(job.scratch.root), "inputs": names}
    return {**facts, "tiles": len(job.tiling), "data_limit": has_data_limit(), "versions": software_versions()}


def board_stages(stages: tuple[Stage, ...]) -> tuple[BoardStage, ...]:
    """Return what the page must know of stages; those without tasks are left out."""
    return tuple(BoardStage(stage.name, len(stage.tasks), stage.process_bytes) for stage in stages if stage.tasks)


def tile_places(job: CityJob) -> tuple[Place, ...]:
    """Return where the tiles of a job are, whole metres from its origin."""
    boxes = (job.tiling.boxes / MESH_UNITS).round().astype(int).tolist()
    return tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in boxes)


def _tell_page(page: BoardFeed, job_path: str, event: Event) -> None:
    if isinstance(event, TaskDone):
        if event.receipt is not None:
            page.measured(event.stage, event.receipt.worker, event.receipt.peak_bytes)
    elif isinstance(event, TaskTrouble):
        if event.kind in ("split", "skipped"):
            page.changed(event.key, event.kind)
    elif isinstance(event, PlanChanged):
        page.planned(board_stages(event.stages), tile_places(plain_job(load_job(job_path))))
