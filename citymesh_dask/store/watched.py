"""Objects that tell which of their fields are looked at: stand-ins for dataclasses and tuples of them.

A stand-in is an instance of a subclass of the class it stands in for, so that whoever gets it cannot tell.
A value is told by its path; of a dataclass, and of a tuple of such, only the kind: looking at
``job.survey.points[3].path`` tells ``survey.points.3.path``, and the kinds of all that it went through, such as
``survey.points.3.@``. What is looked at for nothing but whether it is there, as in ``job.survey.terrain is None``,
leaves its trace so. Of a tuple of dataclasses its length is told where it matters (``survey.points.#``), and all of
it where it is compared or searched.
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
_KIND, _LENGTH = "@", "#"
"""How the kind of a value and the length of a tuple are named in paths."""


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
            if name == _KIND:
                value = _kind(value)
            elif isinstance(value, tuple):
                value = len(value) if name == _LENGTH else value[int(name)]
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
    """Tell a value; of what has parts tell the kind alone, and return a stand-in."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        tell(f"{path}.{_KIND}", _kind(value))
        return watched(value, tell, path=path)
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        tell(f"{path}.{_KIND}", _kind(value))
        return _WatchedTuple(value, tell, path)
    tell(path, value)
    return value


def _kind(value: Any) -> str:
    return "tuple" if isinstance(value, tuple) else type(value).__name__


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
        count = tuple.__len__(self)
        if not 0 <= index < count:
            count = len(self)  # what stands there, if anything does, depends on how many there are
        found = super().__getitem__(index)
        return _told(found, self._tell, f"{self._path}.{index % count}")

    def __len__(self) -> int:
        count = super().__len__()
        self._tell(f"{self._path}.{_LENGTH}", count)
        return count

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))

    def __reduce__(self) -> Any:
        return _itself, (self._whole(),)

    def __radd__(self, other: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*other, *self)

    def _whole(self) -> tuple[Any, ...]:
        return tuple(tuple.__getitem__(self, slice(None)))


def _telling_all(name: str) -> Callable[..., Any]:
    """Return a method of tuples that tells the whole tuple first."""

    def method(self: _WatchedTuple, *arguments: Any) -> Any:
        whole = self._whole()
        self._tell(self._path, whole)
        return getattr(whole, name)(*arguments)

    return method


for _name in ("contains", "eq", "ne", "lt", "le", "gt", "ge", "hash", "add", "mul", "rmul", "repr"):
    setattr(_WatchedTuple, f"__{_name}__", _telling_all(f"__{_name}__"))
for _name in ("count", "index"):
    setattr(_WatchedTuple, _name, _telling_all(_name))
