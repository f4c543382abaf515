"""The scratch folder of a run: named groups of arrays that tasks leave for one another.

A group is written whole by one task, as one file (see `bundles`), and never changed. What cannot be read again is
reported as a failure of the run, and removed, so that the next run makes it anew. What is read and written is noted
in the trace of the task.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError, StoreError
from .bundles import (
    SUFFIX,
    bundle_attributes,
    bundle_digests,
    bundle_shape,
    read_bundle,
    read_bundle_rows,
    verify_bundle,
    write_bundle,
)
from .chunks import DEFAULT_CHUNK_ROWS, Array
from .trace import active_trace, digest_of

_ALL, _ATTRIBUTES, _LENGTH = "*", "@", "#"
"""How all of a group, its attributes and the length of an array are named in traces."""


@dataclass(frozen=True)
class Scratch:
    """A folder of groups.

    Parameters
    ----------
    root : Path
        The folder.
    """

    root: Path

    def write(
        self,
        name: str,
        arrays: Mapping[str, Array],
        attributes: Mapping[str, Any] | None = None,
        *,
        chunk_rows: int = DEFAULT_CHUNK_ROWS,
    ) -> int:
        """Write group ``name`` (slashes make folders) as one file and return its bytes."""
        written = write_bundle(self._bundle(name), arrays, attributes, chunk_rows=chunk_rows)
        self._note_written(name)
        return written

    def read(self, name: str, array: str, rows: tuple[int, int | None] = (0, None)) -> Array:
        """Read one array of a group, or its rows ``rows[0]:rows[1]``.

        Raises
        ------
        RunError
            If a part of it is missing or damaged.
        """
        found = self._read(name, array, rows)
        start, stop = rows
        self._note(name, (array if rows == (0, None) else f"{array}:{start}:{'' if stop is None else stop}", found))
        return found

    def _read(self, name: str, array: str, rows: tuple[int, int | None]) -> Array:
        with self._reporting(name):
            return read_bundle_rows(self._bundle(name), array, rows)

    def read_all(self, name: str) -> dict[str, Array]:
        """Read all arrays of a group that `write` wrote.

        Raises
        ------
        RunError
            If a part of it is missing or damaged.
        """
        with self._reporting(name):
            arrays = read_bundle(self._bundle(name))
        self._note(name, *arrays.items())
        return arrays

    def length(self, name: str, array: str) -> int:
        """Return the number of rows of one array of a group."""
        with self._reporting(name):
            length = bundle_shape(self._bundle(name), array)[0]
        self._note(name, (f"{array}{_LENGTH}", length))
        return length

    def attributes(self, name: str) -> dict[str, Any]:
        """Return the attributes of a group."""
        with self._reporting(name):
            attributes = bundle_attributes(self._bundle(name))
        self._note(name, (_ATTRIBUTES, attributes))
        return attributes

    def digest(self, name: str) -> str:
        """Return a hash of everything in a group; "" where there is none, or its description is damaged."""
        try:
            digest, _ = bundle_digests(self._bundle(name))
        except (OSError, StoreError, ValueError, KeyError):
            return ""
        self._note(name, (_ALL, digest))
        return digest

    def verified_digest(self, name: str) -> str:
        """Return the same after reading all of a group; "" where a part of it is missing or damaged."""
        try:
            return verify_bundle(self._bundle(name))
        except (OSError, StoreError, ValueError, KeyError):
            return ""

    def taken_digest(self, name: str, what: str) -> str:
        """Return the digest of what was taken from a group, as it was noted in a trace; "" where it is not there."""
        array, _, rows = what.partition(":")
        try:
            if what == _ALL:
                return bundle_digests(self._bundle(name))[0]
            if what == _ATTRIBUTES:
                return digest_of(self.attributes(name))
            if array.endswith(_LENGTH):
                return str(self.length(name, array.removesuffix(_LENGTH)))
            if not rows:
                return bundle_digests(self._bundle(name))[1][array]
            start, _, stop = rows.partition(":")
            return digest_of(self._read(name, array, (int(start), int(stop) if stop else None)))
        except (OSError, StoreError, RunError, ValueError, KeyError):
            return ""

    def _note(self, name: str, *taken: tuple[str, Any]) -> None:
        """Tell the trace of the task at work what it took from a group."""
        trace = active_trace()
        if trace is None or name in trace.written:
            return
        if name not in trace.groups:
            with self._reporting(name):
                trace.groups[name], trace.checks[name] = bundle_digests(self._bundle(name))
        if not trace.asking:
            rows = trace.rows.setdefault(name, {})
            for what, value in taken:
                rows[what] = trace.checks[name].get(what) or _digest_of_taken(what, value)

    def _note_written(self, name: str) -> None:
        trace = active_trace()
        if trace is not None:
            trace.written[name] = bundle_digests(self._bundle(name))[0]

    def _bundle(self, name: str) -> str:
        return f"{self.root}/{name}{SUFFIX}"

    @contextlib.contextmanager
    def _reporting(self, name: str) -> Iterator[None]:
        """Turn damage of a group into the error that a run fails with."""
        try:
            yield
        except StoreError as error:
            raise self.damaged(name, error) from error

    def damaged(self, name: str, error: StoreError) -> RunError:
        """Remove a damaged group, so that the receipt of its writer holds no more; return the error that says so."""
        if not self.verified_digest(name):  # else it is the reader who is wrong
            with contextlib.suppress(OSError):
                Path(self._bundle(name)).unlink()
        advice = "run the same command again: it makes this part anew and goes on from there"
        return RunError(error.where, f"intermediate data are damaged ({error.found})", error.expected, advice)


def _digest_of_taken(what: str, value: Any) -> str:
    if what == _ALL or what.endswith(_LENGTH):
        return str(value)
    return digest_of(value)
