"""The scratch folder of a run: named groups of arrays that tasks leave for one another.

A group is written whole by one task and never changed; its attributes are written last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .chunks import DEFAULT_CHUNK_ROWS, Array, read_attributes, read_rows, write_group


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
        """Read one array of a group, or its rows ``rows[0]:rows[1]``."""
        return read_rows(f"{self.root}/{name}/{array}", rows[0], rows[1])

    def attributes(self, name: str) -> dict[str, Any]:
        """Return the attributes of a group."""
        return read_attributes(f"{self.root}/{name}")
