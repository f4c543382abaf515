"""What a task reads and writes, noted while it works, so that its receipt can be held against the present.

A task declares nothing. While it works, a `Trace` is active in its context, and whatever hands it data says
so here: scratch groups with their digests and, where it took some rows only, the digests of these rows;
fields of the job; input files; and `Question` objects, whose answer is noted instead of all that was read for it.
A receipt holds as long as everything that was noted does. No files are read here.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import importlib
import inspect
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import update_wrapper
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

import google_crc32c
import numpy as np
import numpy.typing as npt

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")

_PACKAGE = __name__.partition(".")[0]
_active: ContextVar[Trace | None] = ContextVar("citymesh_trace", default=None)


@dataclass
class Trace:
    """What was read and written since the trace was begun.

    Parameters
    ----------
    groups : dict of str to str
        Digest of every scratch group that was read.
    rows : dict of str to dict
        By group, the digests of what was taken from it; where the group has changed, they decide.
    values : dict of str to str
        Digests of values by their path, such as ``options.max_mesh_size``.
    values_of : str
        Name of the function that returns them again.
    files : dict of str to str
        Fingerprints of input files.
    answers : dict
        For each question and its arguments, the digest of the answer and what was read for it.
    written : dict of str to str
        Digest of every scratch group that was written.
    files_written : dict of str to str
        Digest of every other file that was written.
    asking : bool
        Whether it is the trace of a question: the rows do not matter then.
    checks : dict
        Digests of the arrays of the groups; not kept.
    call : str
        Digest of the call that is traced; kept beside.
    guard : callable, optional
        Raises where the task may write no more; not kept.
    """

    groups: dict[str, str] = field(default_factory=dict)
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    values_of: str = ""
    files: dict[str, str] = field(default_factory=dict)
    answers: dict[str, list[Any]] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    files_written: dict[str, str] = field(default_factory=dict)
    asking: bool = False
    checks: dict[str, dict[str, str]] = field(default_factory=dict)
    call: str = ""
    guard: Callable[[], None] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what is not empty, JSON-able."""
        return {name: value for name, value in vars(self).items() if value and name not in _NOT_KEPT}


_NOT_KEPT = ("asking", "checks", "call", "guard")


@contextmanager
def tracing(*, asking: bool = False) -> Iterator[Trace]:
    """Begin a trace that is active in this context."""
    trace = Trace(asking=asking)
    token = _active.set(trace)
    try:
        yield trace
    finally:
        _active.reset(token)


@contextmanager
def unnoticed() -> Iterator[None]:
    """Read something that the result does not depend on."""
    token = _active.set(None)
    try:
        yield
    finally:
        _active.reset(token)


def active_trace() -> Trace | None:
    """Return the trace of the task at work; None where nothing is traced."""
    return _active.get()


def refuse_if_superseded() -> None:
    """Raise where the task at work may write no more: see `Trace.guard`."""
    trace = _active.get()
    if trace is not None and trace.guard is not None:
        trace.guard()


def note_value(path: str, digest: str, *, again: str) -> None:
    """Note a value that was looked at, and the name of the function that returns its digest again."""
    trace = _active.get()
    if trace is not None:
        trace.values[path] = digest
        trace.values_of = again


def note_file(path: str, fingerprint: str) -> None:
    """Note an input file that was read."""
    trace = _active.get()
    if trace is not None:
        trace.files[path] = fingerprint


def note_file_written(path: str | Path, digest: str) -> None:
    """Note a file outside of the scratch folder that was written."""
    trace = _active.get()
    if trace is not None:
        trace.files_written[str(path)] = digest


class Question(Generic[S, P, T]):
    """A function of something that is the same for all tasks of a run, whose answer matters to a task.

    Where a task asks, the digest of the answer is noted, and what was read for it. Where the latter
    has changed later on, the question is asked again: the receipt holds if the answer is still the same.

    Parameters
    ----------
    function : callable
        ``function(subject, *arguments)``; the arguments are numbers, text and tuples of them.
    subject : callable
        Returns the subject for the folder of a run.
    digest : callable
        Of an answer; of each item of it where the function is a generator, all of whose items must be taken.
    """

    def __init__(
        self, function: Callable[Concatenate[S, P], T], subject: Callable[[Path], S], digest: Callable[[T], str]
    ) -> None:
        self._function = function
        self._subject = subject
        self._digest = digest
        self._name = qualified_name(function)
        _known[self._name] = self
        update_wrapper(self, function)

    def __call__(self, subject: S, *args: P.args, **kwargs: P.kwargs) -> T:
        trace = _active.get()
        if trace is None or trace.asking:
            return self._function(subject, *args, **kwargs)
        key = json.dumps([self._name, args], default=_plain)
        if inspect.isgeneratorfunction(self._function):
            return cast(T, self._stream(trace, key, self._function(subject, *args, **kwargs)))
        with tracing(asking=True) as inner:
            answer = self._function(subject, *args, **kwargs)
        trace.answers[key] = [self._digest(answer), inner.to_json()]
        return answer

    def _stream(self, trace: Trace, key: str, items: Iterator[Any]) -> Iterator[Any]:
        """Yield the items of an answer that is not held in memory whole, and note it when all were taken."""
        inner, digests = Trace(asking=True), []
        while True:
            # between the items it is the task that reads
            token = _active.set(inner)
            try:
                item = next(items)
            except StopIteration:
                break
            finally:
                _active.reset(token)
            digests.append(self._digest(item))
            yield item
        trace.answers[key] = [digest_of(digests), inner.to_json()]

    def ask_again(self, root: Path, arguments: Any) -> str:
        """Return the digest of the present answer in the folder of a run."""
        answer = cast(Any, self._function)(self._subject(root), *_tuples(arguments))
        if inspect.isgeneratorfunction(self._function):
            return digest_of([self._digest(item) for item in answer])
        return self._digest(answer)


def _plain(value: Any) -> Any:
    """Return the Python number of a NumPy one."""
    return value.item()


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def qualified_name(function: Callable[..., Any]) -> str:
    """Return the name of a function, with its module."""
    return f"{function.__module__}:{function.__qualname__}"


_known: dict[str, Any] = {}
"""All that receipts may name."""


def named(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that receipts may name from now on."""
    _known[qualified_name(function)] = function
    return function


def by_name(name: str) -> Any:
    """Return what receipts may name: a function that is `named`, or a `Question`.

    A receipt may come with a store from anywhere. Whatever it says, nothing else is called, and no module that is not
    ours is loaded.

    Raises
    ------
    LookupError
        If there is no such thing.
    """
    module = name.partition(":")[0]
    if name not in _known and module.partition(".")[0] == _PACKAGE:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    return _known[name]


# ---- digests --------------------------------------------------------------------------------------


def digest_of(value: Any) -> str:
    """Return a short digest of numbers, text, arrays, and of tuples, mappings and dataclasses of such.

    >>> digest_of((1, np.arange(3))) == digest_of((1, np.array([0, 1, 2])))
    True
    """
    digest = hashlib.blake2b(digest_size=12)
    _add(digest, value)
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, value: Any) -> None:
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.name}{value.shape}".encode())
        plain = value.dtype != object
        digest.update(data_check(np.ascontiguousarray(value)) if plain else repr(value.tolist()).encode())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for item in dataclasses.fields(value):
            digest.update(item.name.encode())
            _add(digest, getattr(value, item.name))
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            digest.update(repr(key).encode())
            _add(digest, value[key])
    elif isinstance(value, (tuple, list)):
        digest.update(f"({len(value)}".encode())
        for one in value:
            _add(digest, one)
    else:
        digest.update(repr(value.item() if isinstance(value, np.generic) else value).encode() + b";")


def data_check(data: npt.NDArray[Any]) -> bytes:
    """Return two independent checksums of the bytes of an array: three times as fast as a hash."""
    plain: Any = data.reshape(-1).view(np.uint8) if data.size else b""
    return int(google_crc32c.value(plain)).to_bytes(4, "little") + zlib.crc32(plain).to_bytes(4, "little")


def pack_integers(values: npt.NDArray[np.int64]) -> str:
    """Return integers as text that is short where they ascend: arguments of questions.

    >>> unpack_integers(pack_integers(np.array([5, 7, 100]))).tolist()
    [5, 7, 100]
    """
    steps = np.diff(np.asarray(values, np.int64), prepend=0)
    return base64.b85encode(zlib.compress(steps.astype("<i8").tobytes(), 1)).decode()


def unpack_integers(text: str) -> npt.NDArray[np.int64]:
    """Return the integers of `pack_integers`."""
    steps = np.frombuffer(zlib.decompress(base64.b85decode(text)), "<i8")
    values: npt.NDArray[np.int64] = np.cumsum(steps, dtype=np.int64)
    return values
