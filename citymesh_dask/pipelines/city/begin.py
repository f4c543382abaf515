"""The beginning of a city run: is it done already, was it begun before, where does it work?"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

from ...errors import CityMeshError, OutputError, RunError, StoreError
from ...settings import RunSettings
from ...store.chunks import write_json
from ...store.city_store import open_store
from .ending.finish import result_versions
from .inputs.survey import PathLike
from .job import CityJob, job_file, load_job, partial_store, plain_job, save_job
from .plan import city_job
from .planning.choice import LADDER, Sizes
from .request import Request
from .resume import (
    CLAIM,
    claim,
    clear_folder,
    former_store,
    is_claimed,
    kept_folder,
    old_name,
    refuse_memory,
    refuse_other_software,
    refuse_second_run,
    sweep,
    take_over,
    unclaim,
)

_SCRATCH_MARK = "citymesh-scratch.json"
_ELSEWHERE = "choose another place"


class Origin(Enum):
    """What a run begins with."""

    NOTHING = 0
    SAME = 1
    """The scratch folder of a run with the same inputs and options."""
    CHANGED = 2
    """That of a run with others: what does not depend on them holds."""
    STORE = 3
    """What the store that it replaces has kept."""


def is_finished(out: Path, fingerprint: str, *, overwrite: bool, restart: bool = False) -> bool:
    """Whether the store is there already; refuse to touch anything else that has its name.

    Raises
    ------
    OutputError
        If something else is there, a damaged store, or, without ``overwrite``, the store of another run or
        one that is to be made anew.
    """
    if not out.exists() or _is_empty_folder(out):
        return False
    try:
        attributes = open_store(out).attributes
    except StoreError as error:
        found = f"it exists and is no whole city store ({error.found})"
        raise OutputError(str(out), found, "a new path", "choose another path, or remove it first") from error
    same = attributes.get("fingerprint") == fingerprint
    if same and not restart and not (overwrite and attributes.get("holes")):  # tiles that failed are tried again
        return True
    if same and not overwrite:
        found = "it is complete, from the same inputs and options"
        raise OutputError(str(out), found, "a new path", "pass --overwrite as well to make it anew")
    if not overwrite:
        found = "it holds the result of another run, of other inputs or options"
        raise OutputError(str(out), found, "a new path", "pass --overwrite to replace it, or choose another path")
    return False


def _is_empty_folder(path: Path) -> bool:
    # The current folder would vanish under the feet of the shell when the store takes its place.
    return path.is_dir() and path != Path.cwd() and not any(path.iterdir())


def remove_leftovers(out: Path, fingerprint: str, temp_dir: PathLike | None, *, report: Path) -> None:
    """Remove the scratch folder of a run that gave the store its name and was killed before it cleaned up.

    What it had written of the file ``report`` goes, too.
    """
    scratch = scratch_folder(out, temp_dir)
    mark = _read_mark(scratch)
    if mark.get("fingerprint") != fingerprint or mark.get("out") != str(out):
        return
    with contextlib.suppress(OutputError, OSError):  # somebody works there, or it is not ours
        claim(scratch)
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(old_name(out), ignore_errors=True)
        for half in report.parent.glob(f"{glob.escape(report.name)}.*.partial"):
            half.unlink(missing_ok=True)
        unclaim(scratch)


def choose_job(request: Request, settings: RunSettings, sizes: Sizes = LADDER[0]) -> tuple[CityJob, Origin]:
    """Return the job, and what it begins with; nothing is written yet.

    Parameters
    ----------
    request : Request
        What was asked for.
    settings : RunSettings
        ``temp_dir``, ``restart``, ``allow_tmpfs`` and ``batch_size`` count here.
    sizes : Sizes
        Pieces in which it is worked on.

    Raises
    ------
    OutputError
        If something else stands where the scratch folder should be, if that is in memory, or was begun with other
        versions of the software.
    """
    scratch = scratch_folder(request.out, settings.temp_dir)
    if not settings.allow_tmpfs:
        refuse_memory(scratch)
    mark = _read_mark(scratch)
    if not mark and _in_the_way(scratch):
        found = "it is in the way of the scratch folder"
        raise OutputError(str(scratch), found, "a free name", "move it, or choose another place with --temp-dir")

    def job(sizes: Sizes) -> CityJob:
        fan_in = settings.batch_size
        return city_job(request.survey, request.options, out=request.out, scratch=scratch, fan_in=fan_in, sizes=sizes)

    origin, former = (Origin.NOTHING, None) if settings.restart else _former(scratch, mark, request)
    if former is None:
        return job(sizes), Origin.NOTHING
    if origin == Origin.SAME:
        return replace(former, fan_in=min(settings.batch_size, sizes.fan_in)), origin
    if sizes != LADDER[0]:  # pieces of the former run do not fit any more
        return job(sizes), origin
    chosen = job(_sizes_of(former))
    return (replace(chosen, tiling=former.tiling) if _same_tiles(former, chosen) else chosen), origin


def _former(scratch: Path, mark: dict[str, Any], request: Request) -> tuple[Origin, CityJob | None]:
    """Return what a run can go on from: its scratch folder, or what the store that it replaces has kept."""
    if mark.get("out") == str(request.out):
        refuse_second_run(scratch)
        refuse_other_software(scratch, mark["software"], result_versions())
        return Origin.SAME if mark["fingerprint"] == request.fingerprint else Origin.CHANGED, _kept_job(scratch)
    kept = kept_folder(former_store(request.out))
    if mark or _read_mark(kept).get("software") != result_versions():
        return Origin.NOTHING, None
    return Origin.STORE, _kept_job(kept)


def _sizes_of(former: CityJob) -> Sizes:
    """Return sizes that divide the inputs as they were divided before: what has not changed is not read again."""
    features = [part.stop - part.start for part in former.footprint_ranges]
    points = [part.stop - part.start for part in former.point_ranges]
    chosen = replace(LADDER[0], features=max(features)) if features else LADDER[0]
    return replace(chosen, points=max(points)) if points else chosen


_SIZES = (
    "tile_size",
    "use_tiling",
    "lod",
    "max_mesh_size",
    "building_mesh_triangle_size",
    "min_mesh_angle",
    "mesh_walls",
)
"""Options that tiles are chosen by."""


def _same_tiles(former: CityJob, job: CityJob) -> bool:
    """Whether the tiles of a former run do for another one: then what lies in tiles without any change holds."""
    same = (getattr(former.options, name) == getattr(job.options, name) for name in _SIZES)
    return former.domain == job.domain and all(same)


def begin_job(job: CityJob, fingerprint: str, *, resumed: Origin) -> None:
    """Claim the scratch folder and prepare it.

    Raises
    ------
    OutputError
        If scratch folder or output cannot be written, or another run works there.
    """
    scratch, partial, out = job.scratch.root, partial_store(job), Path(job.out)
    anew = resumed in (Origin.NOTHING, Origin.STORE)
    flag = "--out" if scratch.parent == out.parent else "--temp-dir"
    refuse_second_run(scratch)
    _make_folder(partial, out, "--out")
    try:
        _make_folder(scratch, scratch, flag, mode=0o700)
        claim(scratch)
        _fill_scratch(job, fingerprint, resumed)
        if resumed != Origin.SAME:
            shutil.rmtree(partial, ignore_errors=True)
        _make_folder(partial, out, "--out")
    except (OSError, CityMeshError) as error:
        if is_claimed(scratch):
            _give_up(job, everything=anew)
        raise error if isinstance(error, CityMeshError) else _not_writable(scratch, error, flag) from error


def _fill_scratch(job: CityJob, fingerprint: str, origin: Origin) -> None:
    scratch, out = job.scratch.root, Path(job.out)
    scratch.chmod(0o700)
    if origin in (Origin.NOTHING, Origin.STORE):
        clear_folder(scratch)
    if origin == Origin.STORE:
        take_over(former_store(out), scratch)
    sweep(scratch)
    save_job(job)
    write_json(scratch / _SCRATCH_MARK, _mark(out, fingerprint))


def _give_up(job: CityJob, *, everything: bool) -> None:
    """Leave the scratch folder; with ``everything`` leave nothing there."""
    if everything:
        shutil.rmtree(job.scratch.root, ignore_errors=True)
        shutil.rmtree(partial_store(job), ignore_errors=True)
    unclaim(job.scratch.root)


def begin_store(job: CityJob) -> None:
    """Claim the unfinished store of a run that has no scratch folder, and make it anew.

    Raises
    ------
    OutputError
        If it cannot be written, or another run works there.
    """
    partial = partial_store(job)
    refuse_second_run(partial)
    shutil.rmtree(partial, ignore_errors=True)
    _make_folder(partial, Path(job.out), "--out")
    try:
        claim(partial)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise _not_writable(partial, error, "--out") from error


def scratch_folder(out: Path, temp_dir: PathLike | None) -> Path:
    """Return the scratch folder of a store.

    Raises
    ------
    OutputError
        If it is to be in a folder that does not exist.
    """
    if temp_dir is None:
        return out.with_name(f"{out.name}.scratch")
    folder = Path(temp_dir).expanduser().absolute()
    if not folder.is_dir():
        found = "it is no folder" if os.path.lexists(folder) else "no such folder"
        raise OutputError(f"option temp_dir: {folder}", found, "a folder for intermediate data", "make it first")
    # stores of the same name in different folders may share one place for scratch folders
    digest = hashlib.blake2b(str(out).encode(errors="surrogateescape"), digest_size=4).hexdigest()
    return folder / f"{out.name}-{digest}.scratch"


def _in_the_way(scratch: Path) -> bool:
    if not os.path.lexists(scratch) or (scratch / _SCRATCH_MARK).exists():
        return False
    return not scratch.is_dir() or any(path.name != CLAIM for path in scratch.iterdir())


def _mark(out: Path, fingerprint: str) -> dict[str, Any]:
    """Return what a scratch folder must say for its tasks to be of use."""
    return {"fingerprint": fingerprint, "out": str(out), "software": result_versions()}


def _read_mark(scratch: Path) -> dict[str, Any]:
    """Return what a scratch folder says of itself; nothing where it cannot be understood."""
    try:
        found = json.loads((scratch / _SCRATCH_MARK).read_text(encoding="utf8"))
        return dict(found) if {"fingerprint", "out", "software"} <= found.keys() else {}
    except (OSError, ValueError, AttributeError):
        return {}


def _kept_job(scratch: Path) -> CityJob | None:
    """Return the job of a scratch folder; None where it cannot be read."""
    try:
        return plain_job(load_job(str(job_file(scratch))))
    except Exception:  # a pickle that is damaged or of another version raises anything
        return None


def _make_folder(path: Path, where: Path, flag: str, *, mode: int = 0o777) -> None:
    made = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    try:
        path.mkdir(parents=True, mode=mode, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        for folder in made:
            if folder.is_dir():
                folder.rmdir()
        raise _not_writable(where, error, flag) from error


def _not_writable(path: Path, error: OSError, flag: str) -> CityMeshError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = f"free some room and run this command again, or {_ELSEWHERE} with {flag}"
        return RunError(str(path), "the disk is full", "room for the run", advice)
    found = f"it cannot be made ({error.strerror or error})"
    return OutputError(str(path), found, "a place that can be written", f"{_ELSEWHERE} with {flag}")
