"""The scratch folder of a run: named groups of arrays that tasks leave for one another.

A group is written whole by one task and never changed; its attributes are written last. What cannot be
read again is reported as a failure of the run, and remembered, so that the next run makes it anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError, StoreError
from .chunks import DEFAULT_CHUNK_ROWS, Array, array_shape, read_attributes, read_rows, write_group

DAMAGE_MARK = "damaged"
"""File in a scratch folder with the names of the groups that could not be read, one a line."""


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
        """Write group ``name`` (slashes make folders) and return the bytes of its chunks."""
        return write_group(f"{self.root}/{name}", arrays, attributes, chunk_rows=chunk_rows)

    def read(self, name: str, array: str, rows: tuple[int, int | None] = (0, None)) -> Array:
        """Read one array of a group, or its rows ``rows[0]:rows[1]``.

        Raises
        ------
        RunError
            If a part of it is missing or damaged.
        """
        try:
            return read_rows(f"{self.root}/{name}/{array}", rows[0], rows[1])
        except StoreError as error:
            raise self.damaged(name, error) from error

    def length(self, name: str, array: str) -> int:
        """Return the number of rows of one array of a group."""
        try:
            return array_shape(f"{self.root}/{name}/{array}")[0]
        except StoreError as error:
            raise self.damaged(name, error) from error

    def attributes(self, name: str) -> dict[str, Any]:
        """Return the attributes of a group."""
        try:
            return read_attributes(f"{self.root}/{name}")
        except StoreError as error:
            raise self.damaged(name, error) from error

    def modified(self, name: str) -> int:
        """Return when a group was written, nanoseconds since the epoch; 0 where there is none."""
        try:
            return (self.root / name / "zarr.json").stat().st_mtime_ns
        except OSError:
            return 0  # reading it will say what is wrong

    def damaged(self, name: str, error: StoreError) -> RunError:
        """Remember that a group is damaged, and return the error that says so."""
        # the folder of a run that was cancelled may be gone
        with contextlib.suppress(OSError), open(self.root / DAMAGE_MARK, "a", encoding="utf8") as file:
            file.write(f"{name}\n")
        advice = "run the same command again: it makes this part anew and goes on from there"
        return RunError(error.where, f"intermediate data are damaged ({error.found})", error.expected, advice)
