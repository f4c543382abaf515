"""Scratch groups and receipts kept in memory: what a run without a scratch folder leaves between its tasks.

Everything is lost with the process, and nothing can be gone on with. The groups behave as those on disk do:
arrays read back are the reader's own, attributes are what JSON makes of them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.ledger import Receipt
from ..engine.plan import TaskCall
from ..errors import RunError, StoreError
from .chunks import DEFAULT_CHUNK_ROWS, Array
from .scratch import Scratch

_numbers = itertools.count(1)


@dataclass(frozen=True)
class _Group:
    """One group: its arrays, its attributes as JSON, and a number that no other group has."""

    arrays: dict[str, Array]
    attributes: str
    number: int


@dataclass
class MemoryLedger:
    """Receipts of one run in this process; nothing is found, as nothing outlives the run.

    Parameters
    ----------
    receipts : dict of str to Receipt
        By the key of the task.
    """

    receipts: dict[str, Receipt] = field(default_factory=dict)

    def begin(self) -> None:
        """Do nothing: nobody else knows of these receipts."""

    def find(self, call: TaskCall) -> Receipt | None:
        """Return None: no task was done before the run began."""
        del call
        return None

    def watching(self, call: TaskCall) -> contextlib.AbstractContextManager[object]:
        """Return a context in which nothing is noted: what a task reads matters only to later runs."""
        del call
        return contextlib.nullcontext()

    def record(self, receipt: Receipt) -> None:
        """Keep a receipt until the run ends."""
        self.receipts[receipt.key] = receipt

    def seal(self) -> None:
        """Do nothing: no task is done again in this process."""

    def all(self) -> list[Receipt]:
        """Return every receipt, by key."""
        return [self.receipts[key] for key in sorted(self.receipts)]


@dataclass(frozen=True)
class MemoryScratch(Scratch):
    """A `Scratch` without a folder.

    Parameters
    ----------
    root : Path
        A name of its own; no folder is made there.
    groups : dict
        The groups by name.
    ledger : MemoryLedger
        Receipts of the run.
    """

    root: Path = field(default_factory=lambda: Path(f"memory-{uuid.uuid4().hex}"))
    groups: dict[str, _Group] = field(default_factory=dict, repr=False, compare=False)
    ledger: MemoryLedger = field(default_factory=MemoryLedger, repr=False, compare=False)

    def write(
        self,
        name: str,
        arrays: Mapping[str, Array],
        attributes: Mapping[str, Any] | None = None,
        *,
        chunk_rows: int = DEFAULT_CHUNK_ROWS,
    ) -> int:
        """Keep copies of the arrays as group ``name``; return 0, the bytes that went to a disk."""
        del chunk_rows  # rows are not read in chunks here
        copies = {key: np.array(array, order="C") for key, array in arrays.items()}
        text = json.dumps(dict(attributes or {}), allow_nan=False)
        self.groups[name] = _Group(copies, text, next(_numbers))
        return 0

    def read(self, name: str, array: str, rows: tuple[int, int | None] = (0, None)) -> Array:
        """Return a copy of one array of a group, or of its rows ``rows[0]:rows[1]``.

        Raises
        ------
        RunError
            If there is no such array.
        """
        # A copy: a reader may change it, and numba compiles every kernel once more for arrays that are read-only.
        return self._array(name, array)[rows[0] : rows[1]].copy()

    def read_all(self, name: str) -> dict[str, Array]:
        """Return copies of all arrays of a group.

        Raises
        ------
        RunError
            If there is no such group.
        """
        return {key: array.copy() for key, array in self._group(name).arrays.items()}

    def length(self, name: str, array: str) -> int:
        """Return the number of rows of one array of a group."""
        return len(self._array(name, array))

    def attributes(self, name: str) -> dict[str, Any]:
        """Return the attributes of a group."""
        attributes: dict[str, Any] = json.loads(self._group(name).attributes)
        return attributes

    def digest(self, name: str) -> str:
        """Return text that changes when a group is written again; "" where there is none."""
        group = self.groups.get(name)
        return str(group.number) if group else ""

    def verified_digest(self, name: str) -> str:
        """Do the same as `digest`: memory is not checked."""
        return self.digest(name)

    def taken_digest(self, name: str, what: str) -> str:
        """Do the same as `digest`: no receipt outlives the run, so nobody asks for less than a group."""
        del what
        return self.digest(name)

    def damaged(self, name: str, error: StoreError) -> RunError:
        """Return the error that says that a group, or the unfinished store, is damaged."""
        return RunError(error.where, f"{name} is damaged ({error.found})", error.expected, "run the same command again")

    def held_bytes(self) -> dict[str, int]:
        """Return the bytes of all arrays by the first part of their groups' names."""
        held: dict[str, int] = {}
        for name, group in list(self.groups.items()):
            kind = name.partition("/")[0]
            held[kind] = held.get(kind, 0) + sum(array.nbytes for array in group.arrays.values())
        return held

    def clear(self) -> None:
        """Let everything go."""
        self.groups.clear()
        self.ledger.receipts.clear()

    def _group(self, name: str) -> _Group:
        try:
            return self.groups[name]
        except KeyError as error:
            found = "no such group in memory"
            raise RunError(f"group {name}", found, "a group that a task before wrote", "run it again") from error

    def _array(self, name: str, array: str) -> Array:
        try:
            return self._group(name).arrays[array]
        except KeyError as error:
            found = f"no array {array!r} in it"
            raise RunError(f"group {name}", found, "an array that a task before wrote", "run it again") from error
