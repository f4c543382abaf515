"""Configuration files: YAML to jobs, with file, line and key in every error.

Only reading and checking belong here; nothing is run, and no heavy library is loaded. A file holds
one job with flat keys, or a list of them under ``jobs:``.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from .errors import CityMeshError, ConfigError
from .options import CityOptions
from .settings import RunSettings

PIPELINES = ("city",)
PATH_LISTS = ("footprints", "points")
PATHS = ("terrain", "surface", "building_heights", "out", "temp_dir")


@dataclass(frozen=True)
class JobSpec:
    """One run of a pipeline, as asked for.

    Parameters
    ----------
    name : str
        What to call it in messages.
    footprints, points : tuple of str
        Paths of the inputs.
    layer : str or None
        Layer of the footprint files.
    terrain, surface, building_heights : str or None
        Paths of rasters.
    out : str
        Path of the store.
    options : CityOptions
        What the mesh shall look like.
    settings : RunSettings
        How it is run.
    pipeline : str
        Which pipeline.
    """

    name: str
    out: str
    footprints: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    layer: str | None = None
    terrain: str | None = None
    surface: str | None = None
    building_heights: str | None = None
    options: CityOptions = field(default_factory=CityOptions)
    settings: RunSettings = field(default_factory=RunSettings)
    pipeline: str = "city"


OPTION_KEYS = tuple(item.name for item in dataclasses.fields(CityOptions))
SETTING_KEYS = tuple(item.name for item in dataclasses.fields(RunSettings))
KEYS = ("pipeline", "footprints", "layer", *PATHS[:4], "points", *OPTION_KEYS, *SETTING_KEYS)
"""Every key that a job may have."""


# A loader of our own, because 1e-3 is a number to people and text to YAML 1.1.
_Loader: Any = type("_Loader", (yaml.SafeLoader,), {})
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class _Entry:
    """A key of a job, its value and where it stands."""

    where: str
    value: Any


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> list[JobSpec]:
    """Read the jobs of a configuration file.

    Parameters
    ----------
    path : path
        YAML file; paths in it are relative to its folder, and may be patterns such as ``*.laz``
        where a key takes several files.
    overrides : sequence of str
        ``key=value`` pairs that win over the file in every job, values as in YAML; their paths are
        relative to the current folder.

    Returns
    -------
    list of JobSpec
        In the order of the file.

    Raises
    ------
    ConfigError
        If the file cannot be read or understood; the message names the line and the key.
    """
    file = Path(path)
    extra = parse_overrides(overrides)
    return [_read_job(file, node, number, extra) for number, node in _job_nodes(file)]


def parse_overrides(pairs: Sequence[str]) -> dict[str, _Entry]:
    """Return the entries of ``key=value`` texts.

    >>> {key: entry.value for key, entry in parse_overrides(["tile_size=250", "solid=true"]).items()}
    {'tile_size': 250, 'solid': True}
    """
    entries = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        where = f"--set {pair}"
        if not equals:
            raise ConfigError(where, "no equals sign", "key=value, such as tile_size=250")
        key = key.strip().replace("-", "_")
        _check_key(key, where)
        try:
            entries[key] = _Entry(f"{where}: key {key!r}", yaml.load(text, Loader=_Loader))
        except yaml.YAMLError as error:
            raise ConfigError(where, "the value cannot be read", "a value as in YAML", _one_line(error)) from error
    return entries


def _job_nodes(file: Path) -> list[tuple[int | None, yaml.MappingNode]]:
    """Return the mapping of every job and its number where the file has several."""
    top = _compose(file)
    keys = [key.value for key, _ in top.value]
    if "jobs" not in keys:
        return [(None, top)]
    if len(keys) > 1:
        _fail(file, top.value[1][0], "keys beside 'jobs'", "either flat keys of one job, or only 'jobs:' with a list")
    jobs = top.value[0][1]
    if not isinstance(jobs, yaml.SequenceNode) or not jobs.value:
        _fail(file, jobs, "key 'jobs': not a list of jobs", "'- ' before the first key of every job")
    for job in jobs.value:
        if not isinstance(job, yaml.MappingNode):
            _fail(file, job, "a job that is not a mapping", "keys and values, such as 'out: city.zarr'")
    return list(enumerate(jobs.value, start=1))


def _compose(file: Path) -> yaml.MappingNode:
    try:
        text = file.read_text(encoding="utf8")
    except (OSError, ValueError) as error:  # the latter for other encodings, and for a NUL in the name
        found = getattr(error, "strerror", None) or "not a text file in UTF-8"
        raise ConfigError(str(file), found, "a YAML file that can be read") from error
    try:
        top = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{file}, line {line}", f"no valid YAML ({error.problem})", "key: value lines") from error
    except yaml.YAMLError as error:
        raise ConfigError(str(file), "no valid YAML", "key: value lines", _one_line(error)) from error
    if top is None:
        raise ConfigError(str(file), "the file is empty", "a job, such as those in configs/")
    if not isinstance(top, yaml.MappingNode):
        _fail(file, top, "not a mapping", "keys and values, such as 'pipeline: city'")
    return top


def _read_job(file: Path, node: yaml.MappingNode, number: int | None, extra: Mapping[str, _Entry]) -> JobSpec:
    start = f"{file}, line {node.start_mark.line + 1}"
    entries = _relocate(_entries(file, node), file.parent) | _relocate(extra, Path())
    if "pipeline" not in entries:
        raise ConfigError(start, "no key 'pipeline'", f"one of {', '.join(PIPELINES)}", "add 'pipeline: city'")
    pipeline = entries.pop("pipeline")
    if pipeline.value not in PIPELINES:
        found = f"unknown pipeline {pipeline.value!r}"
        raise ConfigError(pipeline.where, found, f"one of {', '.join(PIPELINES)}")
    if "out" not in entries:
        raise ConfigError(start, "no key 'out'", "the path of the store to write", "add 'out: city.zarr'")
    name = str(file) if number is None else f"{file}, job {number}"
    return _job_from_entries(name, entries)


def _entries(file: Path, node: yaml.MappingNode) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value).replace("-", "_") if isinstance(key_node, yaml.ScalarNode) else "[...]"
        where = f"{file}, line {key_node.start_mark.line + 1}"
        _check_key(key, where)
        if key in entries:
            raise ConfigError(where, f"key {key!r} for the second time", "every key once", entries[key].where)
        loader = _Loader("")
        try:
            value = loader.construct_object(value_node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(
                f"{where}: key {key!r}", "the value cannot be read", "plain YAML", _one_line(error)
            ) from error
        entries[key] = _Entry(f"{where}: key {key!r}", value)
    return entries


def _check_key(key: str, where: str) -> None:
    if key in KEYS:
        return
    near = difflib.get_close_matches(key, KEYS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"valid keys are {', '.join(sorted(KEYS))}"
    raise ConfigError(where, f"unknown key {key!r}", "the name of an option", hint)


def _relocate(entries: Mapping[str, _Entry], folder: Path) -> dict[str, _Entry]:
    """Return the entries with paths checked and taken relative to a folder."""
    placed = dict(entries)
    for key in (*PATHS, "log", *PATH_LISTS):
        entry = placed.get(key)
        if entry is None or (entry.value is None and key != "out") or (key == "log" and isinstance(entry.value, bool)):
            continue
        value: Any = _find_files(entry, folder) if key in PATH_LISTS else str(_path(entry, folder))
        placed[key] = _Entry(entry.where, value)
    return placed


def _text(entry: _Entry, expected: str = "text") -> str:
    if not isinstance(entry.value, str) or not entry.value:
        advice = "put it in quotes" if isinstance(entry.value, (int, float)) else ""
        raise ConfigError(entry.where, repr(entry.value), expected, advice)
    return entry.value


def _path(entry: _Entry, folder: Path) -> Path:
    """Return a path relative to a folder, unless it is absolute or begins in somebody's home."""
    text = _text(entry, "a path")
    try:
        return folder / Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(entry.where, f"{text!r}: {error}", "a path", "name the folder in full") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _find_files(entry: _Entry, folder: Path) -> tuple[str, ...]:
    values = entry.value if isinstance(entry.value, list) else [entry.value]
    found: list[str] = []
    for value in values:
        path = _path(_Entry(entry.where, value), folder)
        if any(sign in value for sign in "*?["):
            matches = sorted(map(str, Path(path.anchor).glob(str(path.relative_to(path.anchor)))))
            if not matches:
                raise ConfigError(entry.where, f"no file matches {value!r}", "at least one file", f"in {path.parent}")
            found += matches
        else:
            found.append(str(path))
    return tuple(found)


def _job_from_entries(name: str, entries: Mapping[str, _Entry]) -> JobSpec:
    values = {key: entry.value for key, entry in entries.items()}
    for key in entries:
        if key in OPTION_KEYS or key in SETTING_KEYS:
            _check_value(key, entries[key])
    if entries.get("layer") is not None and values["layer"] is not None:
        _text(entries["layer"])
    return JobSpec(
        name=name,
        out=values["out"],
        footprints=values.get("footprints") or (),
        points=values.get("points") or (),
        layer=values.get("layer"),
        terrain=values.get("terrain"),
        surface=values.get("surface"),
        building_heights=values.get("building_heights"),
        options=CityOptions.from_mapping({key: values[key] for key in OPTION_KEYS if key in values}),
        settings=RunSettings(**{key: values[key] for key in SETTING_KEYS if key in values}),
    )


def _check_value(key: str, entry: _Entry) -> None:
    """Try one value by itself, so that the error can name its line."""
    try:
        if key in OPTION_KEYS:
            CityOptions.from_mapping({key: entry.value})
        else:
            RunSettings(**{key: entry.value})
    except CityMeshError as error:
        raise ConfigError(entry.where, error.found, error.expected, error.advice) from error


def _fail(file: Path, node: yaml.Node, found: str, expected: str) -> NoReturn:
    raise ConfigError(f"{file}, line {node.start_mark.line + 1}", found, expected)
