"""Objects that tell which of their fields are looked at: stand-ins for dataclasses and tuples of them.

A stand-in is an instance of a subclass of the class it stands in for, so that whoever gets it cannot tell.
Only values that are no dataclasses themselves are told, by their path: looking at
``job.survey.points[3].path`` tells ``survey.points.3.path`` and nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, SupportsIndex, TypeVar, cast

T = TypeVar("T")
Tell = Callable[[str, Any], None]
"""Called with the path and the value of a field that is looked at."""

_OWN = "_watched_"


def watched(value: T, tell: Tell, *, silent: frozenset[str] = frozenset(), path: str = "") -> T:
    """Return a stand-in for a dataclass.

    Parameters
    ----------
    value : dataclass instance
        What is looked at.
    tell : callable
        Learns path and value of each field, or property, that is looked at.
    silent : frozenset of str
        Fields of the outermost object that are not told.
    path : str
        Path of the object in what it belongs to.
    """
    stand_in: T = object.__new__(_watched_class(cast(Any, type(value))))
    object.__setattr__(stand_in, _OWN, (value, tell, silent, f"{path}." if path else ""))
    return stand_in


def look_up(value: Any, path: str) -> Any:
    """Return what stands at a path that was told.

    Raises
    ------
    LookupError
        If nothing stands there.
    """
    for name in path.split("."):
        try:
            if isinstance(value, tuple):
                value = len(value) if name == "#" else value[int(name)]
            else:
                value = getattr(value, name)
        except (AttributeError, ValueError, IndexError) as error:
            raise LookupError(path) from error
    return value


@functools.cache
def _watched_class(kind: type) -> type:
    names = frozenset(item.name for item in dataclasses.fields(kind))
    names |= {name for base in kind.__mro__ for name, item in vars(base).items() if isinstance(item, property)}

    def get(self: Any, name: str) -> Any:
        own = object.__getattribute__(self, "__dict__").get(_OWN)
        if own is None or name not in names:  # none where `dataclasses.replace` made it: that is no stand-in
            return object.__getattribute__(self, name)
        value, tell, silent, path = own
        found = getattr(value, name)
        return found if name in silent else _told(found, tell, f"{path}{name}")

    def reduce(self: Any, protocol: SupportsIndex) -> Any:
        del protocol
        held = object.__getattribute__(self, "__dict__")
        if _OWN in held:
            return _itself, (held[_OWN][0],)
        plain: Any = object.__new__(kind)
        plain.__dict__.update(held)
        return _itself, (plain,)

    parts = {"__getattribute__": get, "__reduce_ex__": reduce, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), parts)


def _itself(value: T) -> T:
    """Return what a stand-in is pickled as: that for which it stands."""
    return value


def _told(value: Any, tell: Tell, path: str) -> Any:
    """Return a stand-in for what has parts, and tell anything else."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return watched(value, tell, path=path)
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        return _WatchedTuple(value, tell, path)
    tell(path, value)
    return value


class _WatchedTuple(tuple[Any, ...]):
    """A tuple of dataclasses that tells which of them is looked at, and its length where that matters."""

    _tell: Tell
    _path: str

    def __new__(cls, values: tuple[Any, ...], tell: Tell, path: str) -> _WatchedTuple:
        stand_in = super().__new__(cls, values)
        stand_in._tell, stand_in._path = tell, path
        return stand_in

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self[k] for k in range(*index.indices(len(self))))
        found = super().__getitem__(index)
        place = int(index) if index >= 0 else len(self) + int(index)
        return _told(found, self._tell, f"{self._path}.{place}")

    def __len__(self) -> int:
        count = super().__len__()
        self._tell(f"{self._path}.#", count)
        return count

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    def __reduce__(self) -> Any:
        return tuple, (list(super().__iter__()),)
