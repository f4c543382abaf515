"""The beginning of a city run: is it done already, was it begun before, where does it work?"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ...errors import CityMeshError, OutputError, RunError, StoreError
from ...formats.input_names import files_beside
from ...options import CityOptions
from ...store.chunks import write_json
from ...store.city_store import open_store
from ...store.fingerprint import file_fingerprint
from .ending.assembly import partial_store
from .ending.finish import software_versions
from .inputs.survey import PathLike, Survey
from .job import CityJob, job_file, load_job, save_job
from .plan import city_job
from .resume import claim, forget_damage, refuse_second_run

_SCRATCH_MARK = "citymesh-scratch.json"
_ELSEWHERE = "choose another place"


def describe_inputs(survey: Survey) -> list[dict[str, Any]]:
    """Return role and fingerprint of every input file, those that a pattern or a folder stood for one by one."""
    rasters = {"terrain": survey.terrain, "surface": survey.surface, "building_heights": survey.building_heights}
    files = [("footprints", source.path) for source in survey.footprints]
    files += [("points", source.path) for source in survey.points]
    files += [(role, source.path) for role, source in rasters.items() if source is not None]
    return [{"role": role, **file_fingerprint(path, files_beside(path))} for role, path in files]


def output_path(out: PathLike | None) -> Path:
    """Return the absolute path of the store.

    Raises
    ------
    OutputError
        If no path is given, or one that no file can have.
    """
    if out is None or not os.fspath(out):
        raise OutputError("option out", "no output given", "the folder of the store to be written")
    try:
        path = Path(out).expanduser().absolute()
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (OSError, RuntimeError, ValueError) as error:  # too long, a home that is unknown, a NUL in it
        raise OutputError(f"option out: {os.fspath(out)}", str(error), "a path", _ELSEWHERE) from error
    return path


def is_finished(out: Path, fingerprint: str, *, overwrite: bool) -> bool:
    """Whether the store is there already; refuse to touch anything else that has its name.

    Raises
    ------
    OutputError
        If something else is there, a damaged store, or, without ``overwrite``, the store of another run.
    """
    if not out.exists() or _is_empty_folder(out):
        return False
    try:
        attributes = open_store(out).attributes
    except StoreError as error:
        found = f"it exists and is no whole city store ({error.found})"
        raise OutputError(str(out), found, "a new path", "choose another path, or remove it first") from error
    if attributes.get("fingerprint") == fingerprint:
        return True
    if not overwrite:
        found = "it holds the result of another run, of other inputs or options"
        raise OutputError(str(out), found, "a new path", "pass --overwrite to replace it, or choose another path")
    return False


def _is_empty_folder(path: Path) -> bool:
    # The current folder would vanish under the feet of the shell when the store takes its place.
    return path.is_dir() and path != Path.cwd() and not any(path.iterdir())


def choose_job(
    survey: Survey, options: CityOptions, *, out: Path, fingerprint: str, temp_dir: PathLike | None, fan_in: int
) -> tuple[CityJob, bool]:
    """Return the job, and whether it was begun before; nothing is written yet.

    Raises
    ------
    OutputError
        If something else stands where the scratch folder should be.
    """
    scratch = _scratch_folder(out, temp_dir)
    mark = scratch / _SCRATCH_MARK
    if os.path.lexists(scratch) and not mark.exists() and not (scratch.is_dir() and not any(scratch.iterdir())):
        found = "it is in the way of the scratch folder"
        raise OutputError(str(scratch), found, "a free name", "move it, or choose another place with --temp-dir")
    kept = _kept_job(scratch, _mark(out, fingerprint))
    if kept is not None:
        return kept, True
    return city_job(survey, options, out=out, scratch=scratch, fan_in=fan_in), False


def begin_job(job: CityJob, fingerprint: str, *, resumed: bool) -> None:
    """Claim the scratch folder and prepare it.

    Raises
    ------
    OutputError
        If scratch folder or output cannot be written, or another run works there.
    """
    scratch, partial = job.scratch.root, partial_store(job)
    refuse_second_run(scratch)
    if resumed:
        forget_damage(job)
    else:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
    out = Path(job.out)
    flag = "--out" if scratch.parent == out.parent else "--temp-dir"
    _make_folder(partial, out, "--out")
    try:
        _make_folder(scratch, scratch, flag, mode=0o700)
        claim(scratch)
        if not resumed:
            save_job(job)
            write_json(scratch / _SCRATCH_MARK, _mark(out, fingerprint))
    except (OSError, CityMeshError) as error:
        if not resumed:
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.rmtree(partial, ignore_errors=True)
        raise error if isinstance(error, CityMeshError) else _not_writable(scratch, error, flag) from error


def _scratch_folder(out: Path, temp_dir: PathLike | None) -> Path:
    if temp_dir is None:
        return out.with_name(f"{out.name}.scratch")
    # stores of the same name in different folders may share one place for scratch folders
    digest = hashlib.blake2b(str(out).encode(errors="surrogateescape"), digest_size=4).hexdigest()
    return Path(temp_dir).expanduser().absolute() / f"{out.name}-{digest}.scratch"


def _mark(out: Path, fingerprint: str) -> dict[str, Any]:
    """Return what a scratch folder must say for its tasks to be of use."""
    return {"fingerprint": fingerprint, "out": str(out), "software": software_versions()}


def _kept_job(scratch: Path, mark: dict[str, Any]) -> CityJob | None:
    """Return the job of a scratch folder; None where it is of another run, or cannot be read."""
    try:
        found = json.loads((scratch / _SCRATCH_MARK).read_text(encoding="utf8"))
        return load_job(str(job_file(scratch))) if found == mark else None
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
