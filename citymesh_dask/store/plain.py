"""Frozen dataclasses as JSON and back, bit by bit, without the powers of a pickle: reading one runs nobody's code.

Dataclasses may hold numbers, text, None, paths, arrays, tuples and dataclasses of such. Long texts that come again,
such as the CRS of every file, are written once.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_LONG_TEXT = 64
_KINDS = "biuf"
"""Of arrays: truth, whole numbers and floating point."""


def to_json(value: Any) -> str:
    """Return a value as JSON.

    Raises
    ------
    TypeError
        If something in it is of another kind than the module says.
    """
    texts: dict[str, int] = {}
    return json.dumps({"value": _plain(value, texts), "texts": list(texts)}, separators=(",", ":"))


def from_json(text: str | bytes, kinds: Iterable[type]) -> Any:
    """Return the value of `to_json`.

    Parameters
    ----------
    text : str or bytes
        The JSON.
    kinds : iterable of type
        The dataclasses that there may be.

    Raises
    ------
    ValueError, TypeError, LookupError
        If it cannot be understood.
    """
    found = json.loads(text)
    return _value(found["value"], found["texts"], {kind.__name__: kind for kind in kinds})


def _plain(value: Any, texts: dict[str, int]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and len(value) > _LONG_TEXT:
        return {"text": texts.setdefault(value, len(texts))}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, tuple):
        return [_plain(item, texts) for item in value]
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS:
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": value.dtype.str, "shape": value.shape, "data": data}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [_plain(getattr(value, item.name), texts) for item in dataclasses.fields(value)]
        return {"kind": type(value).__name__, "fields": fields}
    raise TypeError(f"a {type(value).__name__} is nothing that is kept as JSON")


def _value(plain: Any, texts: list[str], kinds: Mapping[str, type]) -> Any:
    if isinstance(plain, list):
        return tuple(_value(item, texts, kinds) for item in plain)
    if not isinstance(plain, dict):
        return plain
    if "text" in plain:
        return texts[plain["text"]]
    if "path" in plain:
        return Path(plain["path"])
    if "array" in plain:
        dtype = np.dtype(plain["array"])
        if dtype.kind not in _KINDS:
            raise ValueError(f"an array of {dtype}")
        return np.frombuffer(base64.b64decode(plain["data"]), dtype).reshape(plain["shape"]).copy()
    kind: Any = kinds[plain["kind"]]
    names = [item.name for item in dataclasses.fields(kind)]
    values = (_value(item, texts, kinds) for item in plain["fields"])
    return kind(**dict(zip(names, values, strict=True)))
