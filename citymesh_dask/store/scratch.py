"""The scratch folder of a run: named groups of arrays that tasks leave for one another.

A group is written whole by one task and never changed: as one file (`bundles`), or as a Zarr group whose
attributes are written last (`chunks`). What cannot be read again is reported as a failure of the run, and
remembered, so that the next run makes it anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError, StoreError
from .bundles import SUFFIX, bundle_attributes, bundle_shape, read_bundle, read_bundle_rows, write_bundle
from .chunks import (
    DEFAULT_CHUNK_ROWS,
    Array,
    array_shape,
    read_attributes,
    read_metadata,
    read_rows,
    verify_array,
    write_group,
)

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
        """Write group ``name`` (slashes make folders) as one file and return its bytes."""
        return write_bundle(self._bundle(name), arrays, attributes, chunk_rows=chunk_rows)

    def write_zarr(self, name: str, arrays: Mapping[str, Array], attributes: Mapping[str, Any] | None = None) -> int:
        """Write group ``name`` as a Zarr group, for arrays that are worth a look; return the bytes of its chunks."""
        return write_group(f"{self.root}/{name}", arrays, attributes)

    def read(self, name: str, array: str, rows: tuple[int, int | None] = (0, None)) -> Array:
        """Read one array of a group, or its rows ``rows[0]:rows[1]``.

        Raises
        ------
        RunError
            If a part of it is missing or damaged.
        """
        with self._reporting(name):
            try:
                return read_bundle_rows(self._bundle(name), array, rows)
            except FileNotFoundError:
                return read_rows(f"{self.root}/{name}/{array}", *rows)

    def read_all(self, name: str) -> dict[str, Array]:
        """Read all arrays of a group that `write` wrote.

        Raises
        ------
        RunError
            If a part of it is missing or damaged.
        """
        with self._reporting(name):
            try:
                return read_bundle(self._bundle(name))
            except FileNotFoundError as error:
                raise StoreError(self._bundle(name), "the file is missing", "a bundle of arrays") from error

    def length(self, name: str, array: str) -> int:
        """Return the number of rows of one array of a group."""
        with self._reporting(name):
            try:
                return bundle_shape(self._bundle(name), array)[0]
            except FileNotFoundError:
                return array_shape(f"{self.root}/{name}/{array}")[0]

    def attributes(self, name: str) -> dict[str, Any]:
        """Return the attributes of a group."""
        with self._reporting(name):
            try:
                return bundle_attributes(self._bundle(name))
            except FileNotFoundError:
                return read_attributes(f"{self.root}/{name}")

    def modified(self, name: str) -> int:
        """Return when a group was written, nanoseconds since the epoch; 0 where there is none."""
        for path in (Path(self._bundle(name)), self.root / name / "zarr.json"):
            with contextlib.suppress(OSError):
                return path.stat().st_mtime_ns
        return 0  # reading it will say what is wrong

    def damaged_groups(self) -> Iterator[str]:
        """Read everything, and yield the names of all groups of which something cannot be read."""
        for path in self.root.rglob(f"*{SUFFIX}"):
            name = path.relative_to(self.root).as_posix().removesuffix(SUFFIX)
            try:
                read_bundle(path)
            except (OSError, StoreError):
                yield name
        for path in self.root.rglob("zarr.json"):
            name = path.parent.relative_to(self.root).as_posix()
            try:
                if read_metadata(path.parent).get("node_type") == "array":
                    name = path.parent.parent.relative_to(self.root).as_posix()
                    verify_array(path.parent)
            except StoreError:
                yield name

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
        """Remember that a group is damaged, and return the error that says so."""
        # the folder of a run that was cancelled may be gone
        with contextlib.suppress(OSError), open(self.root / DAMAGE_MARK, "a", encoding="utf8") as file:
            file.write(f"{name}\n")
        advice = "run the same command again: it makes this part anew and goes on from there"
        return RunError(error.where, f"intermediate data are damaged ({error.found})", error.expected, advice)
