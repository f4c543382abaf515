"""What was asked for: inputs looked at, options, the place of the store, and the fingerprint of them all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError, OutputError
from ...formats.input_names import files_beside
from ...options import CityOptions
from ...store.fingerprint import combined_fingerprint, file_fingerprint
from .inputs.survey import CityInputs, PathLike, Survey, survey_city


@dataclass(frozen=True)
class Request:
    """A city that is to be built.

    Parameters
    ----------
    survey : Survey
        The inputs, looked at.
    options : CityOptions
        What the mesh shall look like.
    out : Path
        Where the store goes, absolute.
    inputs : tuple of dict
        Role and fingerprint of every input file.
    fingerprint : str
        Of inputs and options: a store or a scratch folder with another one is of another run.
    """

    survey: Survey
    options: CityOptions
    out: Path
    inputs: tuple[Mapping[str, Any], ...]
    fingerprint: str


def survey_request(inputs: CityInputs, options: CityOptions, out: PathLike | None) -> Request:
    """Look at what was asked for; only headers are read.

    Raises
    ------
    InputError, OptionError, OutputError
        If inputs or output are not usable.
    """
    target = output_path(out)
    survey = survey_city(inputs, options)
    described = describe_inputs(survey)
    known = {"inputs": described, "options": asdict(options), "layer": inputs.layer}
    return Request(survey, options, target, tuple(described), combined_fingerprint(known))


def describe_inputs(survey: Survey) -> list[dict[str, Any]]:
    """Return role and fingerprint of every input file, those that a pattern or a folder stood for one by one."""
    rasters = {"terrain": survey.terrain, "surface": survey.surface, "building_heights": survey.building_heights}
    files = [("footprints", source.path) for source in survey.footprints]
    files += [("points", source.path) for source in survey.points]
    files += [(role, source.path) for role, source in rasters.items() if source is not None]
    return [{"role": role, **file_fingerprint(path, files_beside(path))} for role, path in files]


def refuse_changed(inputs: Sequence[Mapping[str, Any]], survey: Survey) -> None:
    """Raise where an input is not what it was when the run began: some tasks saw the one, some the other.

    Parameters
    ----------
    inputs : sequence of mapping
        What `describe_inputs` said then.
    survey : Survey
        The inputs.

    Raises
    ------
    InputError
        Naming the first of them.
    """
    now = describe_inputs(survey)
    changed = [before["path"] for before, after in zip(inputs, now, strict=True) if dict(before) != after]
    if changed:
        more = f", as {len(changed) - 1} more" if changed[1:] else ""
        advice = "run the same command again when it is whole: it does again what depends on it, and nothing else"
        raise InputError(changed[0], f"it changed while the run read it{more}", "inputs that stay as they are", advice)


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
        raise OutputError(f"option out: {os.fspath(out)}", str(error), "a path", "choose another place") from error
    return path
