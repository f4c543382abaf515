"""What a city run does about tasks that fail: tiles are split or skipped, anything else is said in full.

The job on disk is the record: what is split or skipped stands in its tiling, and is saved before the run goes on.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace

from ...engine.events import TaskTrouble
from ...engine.failures import Change, Failure, died, endless, failed_run
from ...engine.machine import resources_of
from ...engine.plan import Plan
from ...errors import InputError, RunError
from ...geometry.pieces.bisection import coarse_spacing
from ...tiles import MESH_UNITS, SkippedTile, Tiling
from .job import CityJob, change_job, load_job, plain_job
from .planning.limits import missing_room

TILES = "mesh_tile"
_LONGEST_COMMAND = 1000
_BEGIN_ANEW = "to begin anew, for without a scratch folder nothing is kept"


class TileRecovery:
    """Splits tiles for which memory is short, and skips those that fail where that is wanted.

    Parameters
    ----------
    job_path : str
        The job of the run.
    replan : callable
        Returns the plan of a job.
    on_error : {"raise", "skip"}
        What a tile that fails for good does to the run.
    again : str
        What to do to go on with the run; see `how_to_go_on`.
    """

    def __init__(self, job_path: str, replan: Callable[[CityJob], Plan], *, on_error: str, again: str) -> None:
        self._path = job_path
        self._again = again
        self._replan = replan
        self._skips = on_error == "skip"

    def goes_on(self, failure: Failure) -> bool:
        """Whether the tile can be skipped."""
        return self._skips and failure.stage == TILES and not _concerns_all(failure.error)

    def replan(self, failures: Sequence[Failure]) -> Change | Failure:
        """Split or skip tiles, and return the plan without them; or the failure for which neither can be done."""
        job = plain_job(load_job(self._path))
        tiling, troubles = job.tiling, []
        for failure in failures:
            if failure.stage != TILES:
                return failure
            tile = tile_of(failure.key)
            if failure.for_memory and tile not in _skipped(tiling) and can_split(job, tile):
                parts = tuple(_key(failure.key, len(tiling) + k) for k in range(4))
                troubles.append(TaskTrouble(failure.key, failure.stage, "split", failure.cause, parts))
                tiling = tiling.split(tile)
            elif self._skips and (failure.for_memory or self.goes_on(failure)) and _can_skip(tiling, tile):
                again = _skipped(tiling).get(tile)  # it failed again when it was traced what is missing
                cause = again.cause if again else failure.cause
                troubles.append(TaskTrouble(failure.key, failure.stage, "skipped", cause))
                tiling = tiling.skip(SkippedTile(tile, cause, traced=again is None))
            else:
                return failure
        job = replace(job, tiling=tiling)
        change_job(job)
        return Change(self._replan(job), tuple(troubles))

    def explain(self, failure: Failure) -> BaseException:
        """Return the error that says where, what, and how to go on."""
        if isinstance(failure.error, InputError):
            return failure.error
        job = load_job(self._path)
        again = self._again
        if failure.stage != TILES:
            if isinstance(failure.error, RunError):
                return failure.error
            if failure.for_memory and not endless(failure.error):
                again += _figures(self._replan(job), failure)
            return failed_run(f"task {failure.key}", failure.error, again, room=_room(job, failure.error))
        where = describe_tile(job, tile_of(failure.key))
        if endless(failure.error):
            return _too_slow(failure, where=where, again=again)
        if failure.for_memory:
            return _too_large(self._replan(job), failure, size=job.options.max_mesh_size, where=where, again=again)
        if isinstance(failure.error, RunError):
            error = failure.error
            advice = f"{error.advice}; {again}" if error.advice else again
            return _with_cause(RunError(f"{where}: {error.where}", error.found, error.expected, advice), error)
        if not _concerns_all(failure.error):
            again = f"do without this tile with --on-error skip, or {again}"
        return failed_run(f"task {failure.key}, {where}", failure.error, again, room=_room(job, failure.error))


def tile_of(key: str) -> int:
    """Return the tile of a task.

    >>> tile_of("mesh_tile-0012")
    12
    """
    return int(key.rpartition("-")[2])


def _key(like: str, tile: int) -> str:
    name, _, digits = like.rpartition("-")
    return f"{name}-{tile:0{len(digits)}d}"


def _skipped(tiling: Tiling) -> dict[int, SkippedTile]:
    return {one.tile: one for one in tiling.skipped}


def _can_skip(tiling: Tiling, tile: int) -> bool:
    """Whether there is still a way to do without a tile."""
    known = _skipped(tiling).get(tile)
    return known is None or known.traced


def can_split(job: CityJob, tile: int) -> bool:
    """Whether the quarters of a tile would still be worth a tile: no shorter than the spacing of the seams."""
    x0, y0, x1, y1 = job.tiling.boxes[tile].tolist()
    least: float = coarse_spacing(job.options.max_mesh_size) * MESH_UNITS
    return bool(min(x1 - x0, y1 - y0) / 2 >= least)


def describe_tile(job: CityJob, tile: int) -> str:
    """Return number and box of a tile, metres in the project CRS."""
    x, y = job.domain.origin
    x0, y0, x1, y1 = (value / MESH_UNITS for value in job.tiling.boxes[tile].tolist())
    return f"tile {tile} (x {x + x0:.1f} to {x + x1:.1f} m, y {y + y0:.1f} to {y + y1:.1f} m)"


def how_to_go_on(typed: str, *, kept: bool) -> str:
    """Return what to do after a run that failed.

    Parameters
    ----------
    typed : str
        The command that was typed, shown where it is not too long to be read; "" where the run was begun from Python.
    kept : bool
        Whether what was finished is kept.
    """
    then = "to go on from the finished tasks" if kept else _BEGIN_ANEW
    if not typed:
        return f"make the same call again {then}"
    to_do = f"run the same command again {then}"
    return f"{to_do}: {typed}" if len(typed) <= _LONGEST_COMMAND else to_do


def forget_skipped(job: CityJob) -> CityJob:
    """Return a job in which every tile is tried again."""
    return replace(job, tiling=replace(job.tiling, skipped=())) if job.tiling.skipped else job


def _concerns_all(error: BaseException) -> bool:
    """Whether an error says that other tasks would fail alike: the disk is full, an input is bad."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return full or isinstance(error, InputError)


def _room(job: CityJob, error: BaseException) -> str:
    """Return how much room to make where a disk is full."""
    file = error.filename if isinstance(error, OSError) else None
    return missing_room(job, file) if isinstance(file, str) else "some room"


def _too_large(plan: Plan, failure: Failure, *, size: float, where: str, again: str) -> RunError:
    """Return the error for a tile for which memory is short, alone and however small it is."""
    found = f"{failure.cause}; it was tried alone, and cannot be divided any further{_figures(plan, failure)}"
    more = "start workers with more memory" if resources_of(plan).foreign else "allow more with --memory-limit"
    advice = f"{more}, or do without this tile with --on-error skip; {again}"
    if not died(failure.error):
        advice = f"choose a larger --max-mesh-size than {size:g} (which begins anew), {advice}"
    return _with_cause(RunError(f"task {failure.key}, {where}", found, "a tile that fits", advice), failure.error)


def _too_slow(failure: Failure, *, where: str, again: str) -> RunError:
    """Return the error for a tile that does not end, alone and however small it is."""
    found = f"{failure.cause}; it was tried alone, and cannot be divided any further"
    more = "allow more with --task-time-limit if it is only slow"
    advice = f"{more}, or do without this tile with --on-error skip; {again}"
    return _with_cause(RunError(f"task {failure.key}, {where}", found, "a tile that ends", advice), failure.error)


def _figures(plan: Plan, failure: Failure) -> str:
    """Return what was projected, measured and allowed."""
    projected = next((s.projected_bytes for s in plan.stages if s.name == failure.stage), 0)
    measured = f", measured {_mb(failure.peak_bytes)} in all" if failure.peak_bytes else ""
    return f" (projected {_mb(projected)} beyond an idle worker{measured}, allowed {_mb(plan.allowed_bytes)})"


def _with_cause(error: RunError, cause: BaseException) -> RunError:
    error.__cause__ = cause
    return error


def _mb(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
