"""Do the inputs of a city fit one another? Combinations, boxes, fields and units, asked before the first task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import InputError
from ....formats.crs import TALL_MEDIAN, Bounds, looks_like_feet
from ....formats.footprints import FootprintSource, read_columns, require_field
from ....options import CityOptions
from .attributes import numbers, require_numbers

Array = npt.NDArray[Any]

_LARGEST_EXTENT_M = 1_000_000.0
_SAMPLE_ROWS = 20_000
_FEET = frozenset(("ft", "feet", "foot"))
HEIGHT_FIELDS = ("roof_field", "height_field", "ground_field")
"""Options that name an attribute with heights."""


@dataclass(frozen=True)
class CombinationRule:
    """One rule on which inputs and options must come together.

    Parameters
    ----------
    when : tuple of str
        The rule holds where all of these are given.
    unless : tuple of str
        It does not hold where one of these is given.
    any_of : tuple of str
        One of these must be given then.
    found, advice : str
        The message where none is.
    """

    when: tuple[str, ...]
    unless: tuple[str, ...]
    any_of: tuple[str, ...]
    found: str
    advice: str


_EVIDENCE = ("points", "surface", "building_heights", "roof_field", "height_field", "default_height")

COMBINATIONS: tuple[CombinationRule, ...] = (
    CombinationRule(
        when=(),
        unless=(),
        any_of=("points", "terrain", "ground_field"),
        found="nothing to build terrain from",
        advice="pass --points FILE... (LAS or LAZ), --terrain RASTER, or --ground-field NAME with the ground height "
        "of each footprint",
    ),
    CombinationRule(
        when=("ground_field",),
        unless=("points", "terrain"),
        any_of=("footprints",),
        found="option ground_field without footprints that could have it",
        advice="pass --footprints FILE...",
    ),
    CombinationRule(
        when=("footprints",),
        unless=("flat",),
        any_of=_EVIDENCE,
        found="no evidence of the height of any building",
        advice="pass --points, --surface or --building-heights, name an attribute with --roof-field or "
        "--height-field, set --default-height, or use --lod 0 for footprints without walls",
    ),
)
"""What must be given with what; ``flat`` stands for ``lod=0``."""


def check_combination(given: Set[str]) -> None:
    """Raise where inputs and options do not make a city together.

    Parameters
    ----------
    given : set of str
        Names of the inputs and options that are given.

    Raises
    ------
    InputError
        Naming what to pass.
    """
    for rule in COMBINATIONS:
        holds = given >= set(rule.when) and given.isdisjoint(rule.unless)
        if holds and given.isdisjoint(rule.any_of):
            names = ", ".join(name.replace("_", "-") for name in rule.any_of)
            raise InputError("inputs", rule.found, f"at least one of: {names}", rule.advice)


def check_fields(footprints: Sequence[FootprintSource], options: CityOptions) -> dict[str, dict[str, Array]]:
    """Raise where a named attribute is missing in a file or holds text that is no number.

    Returns
    -------
    dict of str to dict of str to array
        Values of the first features, by file and option.

    Raises
    ------
    InputError
        Naming file, attribute and option, with the nearest name that the file has.
    """
    named = {option: getattr(options, option) for option in HEIGHT_FIELDS if getattr(options, option) is not None}
    samples: dict[str, dict[str, Array]] = {}
    for source in (source for source in footprints if source.n_features and named):
        for option, name in named.items():
            require_field(source, name, option)
        stop = min(source.n_features, _SAMPLE_ROWS)
        values = read_columns(source, 0, stop, columns=sorted(set(named.values())))
        for option, name in named.items():
            require_numbers(values[name], f"{source.path}, attribute {name!r} (option {option})")
        samples[source.path] = {option: values[name] for option, name in named.items()}
    return samples


def check_finite(path: str, bounds: Iterable[float]) -> None:
    """Raise where a header gives no finite box."""
    values = tuple(bounds)
    if not all(map(math.isfinite, values)):
        found = f"NaN or infinite coordinates in its header: {values}"
        raise InputError(path, found, "finite bounds", "repair the file, for example by writing it anew")


def check_extent(bounds: Bounds, where: str) -> None:
    """Raise where a domain is empty or too large for the fixed-point plane."""
    width, height = bounds[2] - bounds[0], bounds[3] - bounds[1]
    if width < 1 or height < 1:
        found = f"the domain {box_text(bounds)} is {width:g} x {height:g} m"
        raise InputError(where, found, "at least one whole metre each way", "check the units and --bounds")
    if max(width, height) > _LARGEST_EXTENT_M:
        found = f"the domain {box_text(bounds)} is {width / 1000:g} x {height / 1000:g} km"
        advice = "one of the files may lie elsewhere; check it, or pass --bounds"
        raise InputError(where, found, f"at most {_LARGEST_EXTENT_M / 1000:g} km each way", advice)


def check_overlap(first: tuple[str, Bounds], second: tuple[str, Bounds]) -> None:
    """Raise where two boxes have no area in common, and print both."""
    a, b = first[1], second[1]
    if boxes_meet(a, b):
        return
    found = f"{first[0]} and {second[0]} do not overlap: {first[0]} {box_text(a)}, {second[0]} {box_text(b)}"
    advice = "check that they are of the same place and in the CRS that they state, or pass --crs or --bounds"
    raise InputError("inputs", found, "boxes with an area in common (xmin ymin xmax ymax, metres)", advice)


def boxes_meet(a: Bounds, b: Bounds) -> bool:
    """Return whether boxes have an area in common; a box without one meets those that it lies in."""
    return _spans_meet((a[0], a[2]), (b[0], b[2])) and _spans_meet((a[1], a[3]), (b[1], b[3]))


def _spans_meet(a: tuple[float, float], b: tuple[float, float]) -> bool:
    low, high = max(a[0], b[0]), min(a[1], b[1])
    return low < high or (low == high and (a[0] == a[1] or b[0] == b[1]))


def box_text(bounds: Bounds) -> str:
    """Return a box as people read it.

    >>> box_text((84808, 447423.5, 85072, 447650))
    '(84808.00, 447423.50, 85072.00, 447650.00)'
    """
    return "(" + ", ".join(f"{value:.2f}" for value in bounds) + ")"


def attribute_notes(samples: Mapping[str, Mapping[str, Array]], options: CityOptions) -> list[str]:
    """Return warnings about height attributes that look like feet; they name ``--z-scale``.

    Parameters
    ----------
    samples : mapping
        From `check_fields`.
    options : CityOptions
        ``z_scale`` and the names of the attributes.
    """
    if options.z_scale != 1:
        return []
    notes = []
    for option in HEIGHT_FIELDS:
        name = getattr(options, option)
        if name is not None and _FEET.intersection(_words(name)):
            notes.append(f"attribute {name!r} seems to be in feet; if it is, pass --z-scale 0.3048")
    for path, values in samples.items():
        if looks_like_feet(_heights_above_ground(values)):
            found = f"{path}: half of its first buildings are taller than {TALL_MEDIAN:g}"
            return [*notes, f"{found}; if heights are in feet, pass --z-scale 0.3048"]
    return notes


def heights_above_ground(samples: Mapping[str, Mapping[str, Array]], options: CityOptions) -> npt.NDArray[np.float64]:
    """Return heights above ground of some buildings as far as attributes and options tell, metres.

    Parameters
    ----------
    samples : mapping
        From `check_fields`.
    options : CityOptions
        ``z_scale``, and ``default_height`` for inputs without any attribute.
    """
    found = [_heights_above_ground(values) * options.z_scale for values in samples.values()]
    return np.concatenate([np.empty(0), *found])


def _words(name: str) -> list[str]:
    return "".join(letter if letter.isalpha() else " " for letter in name.lower()).split()


def _heights_above_ground(values: Mapping[str, Array]) -> npt.NDArray[np.float64]:
    """Return heights above ground as far as attributes give them."""
    if "height_field" in values:
        return numbers(values["height_field"])
    if "roof_field" in values and "ground_field" in values:
        return numbers(values["roof_field"]) - numbers(values["ground_field"])
    return np.empty(0)
