"""The beginning of a city run: is it done already, was it begun before, where does it work?"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ...errors import OutputError, StoreError
from ...options import CityOptions
from ...store.chunks import write_json
from ...store.city_store import open_store
from ...store.fingerprint import file_fingerprint
from .finish import software_versions
from .job import CityJob, load_job, save_job
from .plan import city_job
from .survey import CityInputs, PathLike, Survey

_SCRATCH_MARK = "citymesh-scratch.json"


def describe_inputs(inputs: CityInputs) -> list[dict[str, Any]]:
    """Return role and fingerprint of every input file."""
    files = [("footprints", path) for path in inputs.footprint_paths]
    files += [("points", path) for path in inputs.point_paths]
    files += list(inputs.rasters.items())
    return [{"role": role, **file_fingerprint(path)} for role, path in files]


def is_finished(out: Path, fingerprint: str, *, overwrite: bool) -> bool:
    """Whether the store is there already; refuse to touch anything else that has its name."""
    if not out.exists():
        if not os.access(_nearest_folder(out), os.W_OK):
            raise OutputError(str(out), "its folder is not writable", advice="choose another place with --out")
        return False
    try:
        attributes = open_store(out).attributes
    except StoreError as error:
        raise OutputError(str(out), "it exists and is no city store", "a new path", "choose another path") from error
    if attributes.get("fingerprint") == fingerprint:
        return True
    if not overwrite:
        raise OutputError(
            str(out), "it holds the result of another run", "a new path", "pass --overwrite to replace it"
        )
    return False


def _nearest_folder(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.exists())


def begin_job(
    survey: Survey, options: CityOptions, *, out: Path, fingerprint: str, temp_dir: PathLike | None, fan_in: int
) -> tuple[CityJob, str]:
    """Return the job, taken from the scratch folder where the same run was begun before."""
    scratch = (Path(temp_dir).absolute() if temp_dir else out.parent) / f"{out.name}.scratch"
    mark = scratch / _SCRATCH_MARK
    if scratch.exists() and not mark.exists() and any(scratch.iterdir()):
        raise OutputError(
            str(scratch), "it is in the way of the scratch folder", advice="move it, or choose --temp-dir"
        )
    if mark.exists():
        kept = scratch / "job.pickle"
        if fingerprint in mark.read_text(encoding="utf8") and kept.exists():
            return load_job(str(kept)), str(kept)
        shutil.rmtree(scratch)
    scratch.mkdir(parents=True, mode=0o700, exist_ok=True)
    job = city_job(survey, options, out=out, scratch=scratch, fan_in=fan_in)
    job_path = save_job(job)
    write_json(mark, {"fingerprint": fingerprint, "software": software_versions()})
    return job, job_path
