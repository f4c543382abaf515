"""The beginning of a city run: is it done already, was it begun before, where does it work?

Whoever asks holds the claim of the output (see `places`), or writes nothing.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import os
import shutil
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

from ...errors import CityMeshError, OutputError, StoreError
from ...settings import RunSettings
from ...store.chunks import write_whole
from ...store.city_store import open_store
from ...store.scratch import Scratch
from .ending.finish import result_versions
from .inputs.survey import PathLike
from .job import CityJob, job_file, load_job, partial_path, partial_store, plain_job, save_job
from .places import claim, make_folder, not_writable
from .plan import city_job
from .planning.choice import LADDER, Sizes
from .planning.limits import missing_room
from .request import Request
from .resume import (
    BEGUN,
    MARK,
    clear_folder,
    discard,
    former_store,
    kept_folder,
    old_name,
    read_mark,
    refuse_memory,
    refuse_other_software,
    refuse_other_users,
    sweep,
    take_over,
    write_mark,
)


class Origin(Enum):
    """What a run begins with."""

    NOTHING = 0
    SAME = 1
    """The scratch folder of a run with the same inputs and options."""
    CHANGED = 2
    """That of a run with others: what does not depend on them holds."""
    STORE = 3
    """What the store that it replaces has kept."""


def is_finished(request: Request, settings: RunSettings) -> bool:
    """Whether the store that is asked for is there already; refuse to touch anything else that has its name.

    Raises
    ------
    OutputError
        If something else is there, a damaged store, or, without ``overwrite``, the store of another run or
        one that is to be made anew.
    """
    out, overwrite = request.out, settings.overwrite
    if not out.exists() or _is_empty_folder(out):
        return False
    try:
        attributes = open_store(out).attributes
    except StoreError as error:
        found = f"it exists and is no whole city store ({error.found})"
        raise OutputError(str(out), found, "a new path", "choose another path, or remove it first") from error
    same = attributes.get("fingerprint") == request.fingerprint
    tried_again = overwrite and attributes.get("holes")  # the tiles that failed
    if same and not settings.restart and not tried_again:
        return True
    if same and not overwrite:
        found = "it is complete, from the same inputs and options"
        raise OutputError(str(out), found, "a new path", "pass --overwrite as well to make it anew")
    if not overwrite:
        verified = any("content" in entry for entry in attributes.get("inputs", ()))
        found = "it holds the result of another run, of other inputs or options"
        if verified != settings.verify_inputs:
            found = f"it holds the result of a run {'with' if verified else 'without'} verify_inputs"
        raise OutputError(str(out), found, "a new path", "pass --overwrite to replace it, or choose another path")
    return False


def _is_empty_folder(path: Path) -> bool:
    # The current folder would vanish under the feet of the shell when the store takes its place.
    return path.is_dir() and path != Path.cwd() and not any(path.iterdir())


def remove_leftovers(request: Request, scratch: Path | None, *, report: Path) -> None:
    """Remove what a run has left that gave the store its name and was killed before it cleaned up.

    Parameters
    ----------
    request : Request
        What the store was made for.
    scratch : Path or None
        Its scratch folder; None where that is to stay.
    report : Path
        The file of which halves may be left.
    """
    with contextlib.suppress(OSError):  # somebody works there, or nothing can be written
        claimed = claim(request.out)
        try:
            if scratch is not None and _has_served(scratch, request):
                discard(scratch)
            shutil.rmtree(old_name(request.out), ignore_errors=True)
            shutil.rmtree(partial_path(request.out, in_memory=True), ignore_errors=True)
            for half in report.parent.glob(f"{glob.escape(report.name)}.*.partial"):
                half.unlink(missing_ok=True)
        finally:
            claimed.release()


def _has_served(scratch: Path, request: Request) -> bool:
    """Whether a scratch folder is that of the store that was asked for, or what is left of it."""
    mark = read_mark(scratch)
    if not mark or _is_of_another_output(scratch, mark, request.out):
        return False
    job = _kept_job(scratch)
    return job.fingerprint == request.fingerprint if job else not job_file(scratch).exists()


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

    def job(sizes: Sizes) -> CityJob:
        fan_in = settings.batch_size
        made = city_job(request.survey, request.options, out=request.out, scratch=scratch, fan_in=fan_in, sizes=sizes)
        return replace(made, fingerprint=request.fingerprint)

    origin, former = _readable(scratch, request, restart=settings.restart)
    if former is None:
        return job(sizes), Origin.NOTHING
    if origin == Origin.SAME:  # the folder may have been moved
        here = replace(former, scratch=Scratch(scratch), out=str(request.out))
        return replace(here, fan_in=min(settings.batch_size, sizes.fan_in)), origin
    if sizes != LADDER[0]:  # pieces of the former run do not fit any more
        return job(sizes), origin
    chosen = job(_sizes_of(former))
    return (replace(chosen, tiling=former.tiling) if _same_tiles(former, chosen) else chosen), origin


def _readable(scratch: Path, request: Request, *, restart: bool) -> tuple[Origin, CityJob | None]:
    """Return what a run can go on from; refuse what cannot be read, for that may be hours of work."""
    try:
        refuse_other_users(scratch, believed=not restart)
        mark = read_mark(scratch)
        _refuse_strangers(scratch, mark, request.out)
        return (Origin.NOTHING, None) if restart else _former(scratch, mark, request)
    except CityMeshError:
        raise
    except OSError as error:
        found = f"what an earlier run left there cannot be read ({error.strerror or error})"
        advice = "look after the disk, or pass --restart to begin anew"
        raise OutputError(str(scratch), found, "a folder that can be read", advice) from error


def _refuse_strangers(scratch: Path, mark: dict[str, Any], out: Path) -> None:
    """Raise where something else stands where a scratch folder should be."""
    found = ""
    if not mark and _in_the_way(scratch):
        found = "it is in the way of the scratch folder"
    elif mark and _is_of_another_output(scratch, mark, out):
        found = f"it is the scratch folder of another output, {mark['out']}"
    if found:
        raise OutputError(str(scratch), found, "a free name", "move it, or choose another place with --temp-dir")


def _is_of_another_output(scratch: Path, mark: dict[str, Any], out: Path) -> bool:
    """Whether a scratch folder is of another output: beside one it is of that, even where both have been moved."""
    return scratch.parent != out.parent and mark["out"] != _true_path(out)


def _former(scratch: Path, mark: dict[str, Any], request: Request) -> tuple[Origin, CityJob | None]:
    """Return what a run can go on from: its scratch folder, or what the store that it replaces has kept."""
    if mark and job_file(scratch).exists():
        refuse_other_software(scratch, mark["software"], result_versions())
        former = _kept_job(scratch)
        same = former is not None and former.fingerprint == request.fingerprint
        return Origin.SAME if same else Origin.CHANGED, former
    kept = kept_folder(former_store(request.out))
    if read_mark(kept).get("software") != result_versions():
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


def begin_job(job: CityJob, *, resumed: Origin) -> None:
    """Prepare scratch folder and unfinished store of a run whose output is claimed.

    Raises
    ------
    OutputError
        If scratch folder or output cannot be written.
    """
    scratch, out = job.scratch.root, Path(job.out)
    anew = resumed in (Origin.NOTHING, Origin.STORE)
    flag = "--out" if scratch.parent == out.parent else "--temp-dir"
    room = functools.partial(missing_room, job)
    try:
        make_folder(scratch, scratch, flag, room=room, mode=0o700)
        _fill_scratch(job, anew=anew, store=former_store(out) if resumed == Origin.STORE else None)
        _begin_partial(job)
    except BaseException as error:
        if anew:
            discard(scratch)
            shutil.rmtree(partial_store(job), ignore_errors=True)
        if isinstance(error, CityMeshError) or not isinstance(error, OSError):
            raise
        raise not_writable(scratch, error, flag, room=room) from error


def _fill_scratch(job: CityJob, *, anew: bool, store: Path | None) -> None:
    """Bring a scratch folder to where tasks can begin: marked first, its job last.

    Parameters
    ----------
    job : CityJob
        The run.
    anew : bool
        Whether nothing of what is there counts.
    store : Path or None
        What the store that is to be replaced has kept is taken over.
    """
    scratch = job.scratch.root
    scratch.chmod(0o700)
    name = read_mark(scratch).get("name")
    if anew:
        clear_folder(scratch)
        name = None
    write_mark(scratch, {"out": _true_path(Path(job.out)), "software": result_versions(), "name": name})
    if store is not None:
        take_over(store, scratch)
    sweep(scratch)
    save_job(job)


def _begin_partial(job: CityJob) -> None:
    """Make the unfinished store, anew unless it was begun for this very job in this very scratch folder."""
    partial = partial_store(job)
    owner = f"{read_mark(job.scratch.root)['name']} {job.fingerprint}".encode()
    begun = partial / BEGUN
    if not begun.is_file() or begun.read_bytes() != owner:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(partial_path(Path(job.out), in_memory=True), ignore_errors=True)  # of a run that was killed
    _make_partial(job)
    write_whole(begun, owner)


def _make_partial(job: CityJob) -> None:
    make_folder(partial_store(job), Path(job.out), "--out", room=functools.partial(missing_room, job))


def begin_store(job: CityJob) -> None:
    """Make the unfinished store of a run that has no scratch folder, anew.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    shutil.rmtree(partial_store(job), ignore_errors=True)
    _make_partial(job)


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
    digest = hashlib.blake2b(_true_path(out).encode(errors="surrogateescape"), digest_size=4).hexdigest()
    return folder / f"{out.name}-{digest}.scratch"


def _true_path(out: Path) -> str:
    """Return the path of an output by which it is known, however it was reached."""
    return str(out.parent.resolve() / out.name)


def _in_the_way(scratch: Path) -> bool:
    if not os.path.lexists(scratch) or (scratch / MARK).exists():
        return False
    return not scratch.is_dir() or any(path.suffix != ".partial" for path in scratch.iterdir())


def _kept_job(scratch: Path) -> CityJob | None:
    """Return the job of a scratch folder; None where there is none, or one that cannot be understood.

    Raises
    ------
    OSError
        If it cannot be read although it is there.
    """
    try:
        return plain_job(load_job(str(job_file(scratch))))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, MemoryError):
        raise
    except Exception:  # a job that is damaged or of another version may raise anything
        return None
