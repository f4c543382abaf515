"""What was asked for: inputs looked at, options, the place of the store, and the fingerprint of them all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ...errors import InputError, OutputError
from ...formats.footprints import FootprintSource
from ...formats.input_names import files_beside, is_virtual
from ...formats.lidar import PointSource
from ...formats.rasters import RasterSource
from ...options import CityOptions
from ...store.fingerprint import Source, combined_fingerprint, content_hash, file_fingerprint
from .inputs.survey import CityInputs, PathLike, Survey, survey_city

AnySource = TypeVar("AnySource", FootprintSource, PointSource, RasterSource)


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


def survey_request(
    inputs: CityInputs, options: CityOptions, out: PathLike | None, *, verify_inputs: bool = False
) -> Request:
    """Look at what was asked for; only headers are read, unless all bytes of the inputs are to be verified.

    Raises
    ------
    InputError, OptionError, OutputError
        If inputs or output are not usable.
    """
    target = output_path(out)
    survey = survey_city(inputs, options)
    if verify_inputs:
        survey = _with_contents(survey)
    described = describe_inputs(survey)
    known = {"inputs": described, "options": asdict(options), "layer": inputs.layer}
    return Request(survey, options, target, tuple(described), combined_fingerprint(known))


def describe_inputs(survey: Survey) -> list[dict[str, Any]]:
    """Return role and fingerprint of every input file, those that a pattern or a folder stood for one by one."""
    rasters = {"terrain": survey.terrain, "surface": survey.surface, "building_heights": survey.building_heights}
    sources: list[tuple[str, Source]] = [("footprints", source) for source in survey.footprints]
    sources += [("points", source) for source in survey.points]
    sources += [(role, source) for role, source in rasters.items() if source is not None]
    return [_describe(role, source) for role, source in sources]


def _describe(role: str, source: Source) -> dict[str, Any]:
    known = {"role": role, **file_fingerprint(source.path, files_beside(source.path))}
    return {**known, "content": source.content} if source.content else known


def _with_contents(survey: Survey) -> Survey:
    """Return a survey whose sources know the hash of all their bytes."""
    return replace(
        survey,
        footprints=tuple(_with_content(source) for source in survey.footprints),
        points=tuple(_with_content(source) for source in survey.points),
        terrain=survey.terrain and _with_content(survey.terrain),
        surface=survey.surface and _with_content(survey.surface),
        building_heights=survey.building_heights and _with_content(survey.building_heights),
    )


def _with_content(source: AnySource) -> AnySource:
    found = ""
    if is_virtual(source.path):
        found = "an address, whose bytes cannot be verified"
    elif Path(source.path).suffix.lower() == ".vrt":
        found = "a list of other files, whose bytes are not in it"
    if found:
        advice = "make one file of this machine of it first, or leave verify_inputs out"
        raise InputError(source.path, found, "a file that can be verified", advice)
    try:
        return replace(source, content=content_hash(source.path, files_beside(source.path)))
    except OSError as error:
        raise InputError(source.path, f"it cannot be read ({error.strerror or error})", "a file that can be") from error


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
