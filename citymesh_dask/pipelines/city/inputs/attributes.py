"""Attributes of footprints: heights as numbers, and the columns that the building table keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import InputError
from ....formats.footprints import FootprintSource, read_columns, read_ids
from ....store.city_store import TEXT
from ....store.schema import ARRAYS

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]

_LOWEST, _HIGHEST = -9000.0, 99_999.0
"""Beyond these stand marks of absence such as -9999, 99999 and 1e20, lower than any land, higher than any in feet."""
_WORDS_OF_ABSENCE = frozenset(("", "nan", "none", "null", "n/a", "-"))
RESERVED = frozenset(spec.name.split("/")[1] for spec in ARRAYS if spec.name.startswith("buildings/"))
"""Columns of the building table that are computed."""
_LONGEST_NAME = 200
"""Bytes of a name; file systems take 255, and numbers may be added."""


def numbers(values: Array) -> Float64:
    """Return attribute values as heights; NaN where there is none.

    Parameters
    ----------
    values : (n,) array
        Numbers, or text that holds numbers (a decimal comma is understood).

    Returns
    -------
    (n,) float64
        Units of the source. Text that is no number, and marks of absence such as -9999, become NaN: one
        bad value does not stop a city. `require_numbers` is for whole attributes.
    """
    if values.dtype.kind in "iuf":
        heights = values.astype(np.float64)
    else:
        heights = np.array([_number(text) for text in _texts(values)], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        heights[~((heights > _LOWEST) & (heights < _HIGHEST))] = np.nan
    return heights


def bad_numbers(values: Array) -> list[str]:
    """Return the texts that are given but are no numbers.

    >>> bad_numbers(np.array(["3,5", "", None, "low"], dtype=object))
    ['low']
    """
    if values.dtype.kind in "iuf":
        return []
    return [text for text in _texts(values) if text and math.isnan(_number(text))]


def require_numbers(values: Array, where: str) -> None:
    """Raise where most of the values of an attribute are no numbers.

    Parameters
    ----------
    values : (n,) array
        A sample of the attribute.
    where : str
        File and attribute, for the message.

    Raises
    ------
    InputError
        With the first of the values.
    """
    bad = bad_numbers(values)
    if bad and 2 * len(bad) > sum(1 for text in _texts(values) if text):
        advice = "name an attribute that holds heights"
        raise InputError(where, f"{bad[0]!r} where a height should stand", "numbers", advice)


def _texts(values: Array) -> list[str]:
    """Return values as text, "" where the text says that there is none."""
    texts = ("" if value is None else str(value).strip() for value in values.tolist())
    return ["" if text.lower() in _WORDS_OF_ABSENCE else text for text in texts]


def _number(text: str) -> float:
    if not text:
        return math.nan
    try:
        return float(text.replace(",", ".", 1))
    except ValueError:
        return math.nan


def table_columns(
    sources: Sequence[FootprintSource], with_gaps: Iterable[tuple[int, str]] = ()
) -> dict[str, dict[str, Any]]:
    """Return the columns that the building table takes from the sources.

    Parameters
    ----------
    sources : sequence of FootprintSource
        All footprint layers.
    with_gaps : iterable of (int, str)
        Source and attribute of whole-number or true-false attributes in which a value is missing.

    Returns
    -------
    dict of str to dict
        By column: ``dtype`` (NumPy name, or "string") and ``fields``, a list with the attribute of each source or
        None. The identifier is not among them; see `read_table`. Columns that would clash with computed ones, or
        with one another on file systems that ignore case, get another name.
    """
    gaps = set(with_gaps)
    columns: dict[str, dict[str, Any]] = {}
    taken: dict[str, str] = {name.lower(): "" for name in RESERVED}
    for place, source in enumerate(sources):
        for field, dtype in zip(source.fields, source.dtypes, strict=True):
            name = _free_name(field, taken)
            column = columns.setdefault(name, {"dtype": None, "fields": [None] * len(sources)})
            column["fields"][place] = field
            kind = "float64" if (place, field) in gaps else _table_dtype(dtype)
            column["dtype"] = _joined(column["dtype"], kind)
    for column in columns.values():
        if None in column["fields"]:
            column["dtype"] = _joined(column["dtype"], "float64")
    return columns


def read_table(
    source: FootprintSource, start: int, stop: int, *, place: int, columns: Mapping[str, Mapping[str, Any]]
) -> dict[str, Array]:
    """Read the columns of the building table for features ``start:stop`` of a source.

    Parameters
    ----------
    source, start, stop
        The range.
    place : int
        Number of the source among all.
    columns : mapping
        From `table_columns`, the same for all ranges of a city.

    Returns
    -------
    dict of str to (n,) array
        ``id`` (text, as in the source) and every column, of the dtype that ``columns`` says; text as
        objects of type str, "" and NaN where there is none, dates as ISO text.
    """
    wanted = {name: column["fields"][place] for name, column in columns.items()}
    fields = [field for field in wanted.values() if field is not None]
    values = read_columns(source, start, stop, columns=fields) if fields else {}
    table: dict[str, Array] = {"id": np.array(read_ids(source, start, stop), dtype=object)}
    for name, field in wanted.items():
        dtype = columns[name]["dtype"]
        table[name] = _absent(stop - start, dtype) if field is None else _cast(values[field], dtype)
    return table


def gaps(source: FootprintSource, values: Mapping[str, Array]) -> list[str]:
    """Return the whole-number and true-false attributes in which a value of this range is missing."""
    stated = dict(zip(source.fields, source.dtypes, strict=True))
    return [name for name, array in values.items() if np.dtype(stated[name]).kind in "biu" and array.dtype.kind == "f"]


def may_have_gaps(source: FootprintSource) -> list[str]:
    """Return the attributes whose type depends on whether a value is missing."""
    rows = zip(source.fields, source.dtypes, strict=True)
    return [name for name, dtype in rows if _table_dtype(dtype) not in (TEXT, "float32", "float64")]


def _free_name(field: str, taken: dict[str, str]) -> str:
    """Return a name for a column that is a legal Zarr node and clashes with no other."""
    plain = field.replace("/", "_").replace("\\", "_").lstrip("._ ")
    plain = plain.encode()[:_LONGEST_NAME].decode(errors="ignore") or "unnamed"
    plain = "zarr_json" if plain.lower() == "zarr.json" else plain  # the name of Zarr's own files
    name, count = plain, 1
    while taken.get(name.lower(), field) != field:
        count += 1
        name = f"source_{plain}" if plain.lower() in RESERVED and count == 2 else f"{plain}_{count}"
    taken[name.lower()] = field
    return name


def _table_dtype(dtype: str) -> str:
    """Return the type of a column for a type that pyogrio names."""
    if dtype.startswith(("object", "datetime", "list", "string")):
        return TEXT
    return np.dtype(dtype).name


def _joined(first: str | None, second: str) -> str:
    if first is None or first == second:
        return second
    return TEXT if TEXT in (first, second) else np.promote_types(first, second).name


def _absent(count: int, dtype: str) -> Array:
    if dtype == TEXT:
        return np.full(count, "", dtype=object)
    return np.full(count, np.nan, dtype=dtype)


def _cast(values: Array, dtype: str) -> Array:
    if dtype != TEXT:
        return values.astype(dtype)
    return np.array([_text(value) for value in values.tolist()], dtype=object)


def _text(value: Any) -> str:
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, np.ndarray):
        return json.dumps(value.tolist())
    return value if isinstance(value, str) else str(value)
