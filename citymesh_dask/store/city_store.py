"""The finished city store: reading it in pieces, and making it. No geometry here."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from ..errors import StoreError
from .chunks import (
    Array,
    array_shape,
    create_array,
    create_group,
    file_check,
    read_attributes,
    read_metadata,
    read_rows,
    write_chunk,
)
from .schema import FACE_CHUNK_ROWS, FORMAT_NAME, FORMAT_VERSION, TABLE_CHUNK_ROWS, VERTEX_CHUNK_ROWS
from .trace import active_trace, note_file_written, refuse_if_superseded

CHUNK_ROWS = {
    "vertices": VERTEX_CHUNK_ROWS,
    "faces": FACE_CHUNK_ROWS,
    "markers": FACE_CHUNK_ROWS,
    "building": FACE_CHUNK_ROWS,
}
OVERVIEW = "overview"
"""Group of a large store from which its picture is drawn."""
TEXT = "string"
"""Type of the columns that hold text."""
_settings = threading.Lock()
_DAMAGED = "the store is damaged: remove it and build it again"


@dataclass(frozen=True)
class CityStore:
    """A finished store, read in pieces; nothing is held in memory but its metadata.

    Parameters
    ----------
    path : Path
        Folder of the Zarr group.
    attributes : dict
        Group attributes, see ``docs/store.md``.
    n_vertices, n_faces, n_buildings : int
        Sizes.
    """

    path: Path
    attributes: dict[str, Any]
    n_vertices: int
    n_faces: int
    n_buildings: int

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Read rows ``start:stop`` of ``vertices``, ``faces``, ``markers``, ``building`` or a tile array."""
        return read_rows(self.path / name, start, stop)

    def column_names(self) -> list[str]:
        """Return the names of the columns of the building table."""
        return sorted(p.name for p in (self.path / "buildings").iterdir() if p.is_dir())

    def column(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Return rows ``start:stop`` of one column of the building table.

        Raises
        ------
        StoreError
            If the column is not there, incomplete or damaged.
        """
        path = self.path / "buildings" / name
        try:
            array = zarr.open_array(path, mode="r")
            whole = array.nchunks_initialized == array.nchunks
            values: Array = np.asarray(array[start:stop])
        except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
            found = "there is no such column" if not path.exists() else f"it cannot be read ({error})"
            raise StoreError(str(path), found, "a column of the building table", _DAMAGED) from error
        if not whole:  # Zarr would take missing chunks for fill values
            raise StoreError(str(path), "a chunk is missing", "a column of the building table", _DAMAGED)
        return values


def open_store(path: str | Path) -> CityStore:
    """Open a finished city store.

    Raises
    ------
    StoreError
        If the path is no city store, or one of a newer format version.
    """
    root = Path(path)
    advice = "give the folder that 'citymesh build --out' wrote"
    if not root.is_dir():
        found = "a file, no folder" if root.exists() else "no such file or folder"
        raise StoreError(str(root), found, "a city store", advice)
    if not (root / "zarr.json").is_file():
        raise StoreError(str(root), "no zarr.json in it", "a city store (a Zarr v3 group)", advice)
    attributes = read_attributes(root)
    if attributes.get("format") != FORMAT_NAME:
        raise StoreError(
            str(root), "a Zarr group of another kind", "a city store (attribute format = 'citymesh')", advice
        )
    version = attributes.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise StoreError(
            str(root), f"format version {version}", f"at most {FORMAT_VERSION}", "install a newer citymesh_dask"
        )
    require_whole(root)
    n_vertices, n_faces = (array_shape(root / name)[0] for name in ("vertices", "faces"))
    n_buildings = attributes.get("n_buildings")
    if not isinstance(n_buildings, int):
        raise StoreError(str(root), f"n_buildings = {n_buildings!r} in its attributes", "a whole number", _DAMAGED)
    return CityStore(root, attributes, n_vertices, n_faces, n_buildings)


def require_whole(root: Path) -> None:
    """Raise where a part of a store is missing: a copy that was interrupted must not pass for a result.

    Raises
    ------
    StoreError
        Naming the first part that is missing. Only names are looked at, not the content of chunks.
    """
    for name, rows in CHUNK_ROWS.items():
        n_chunks = -(-array_shape(root / name)[0] // rows)
        chunks = root / name / "c"
        there = {chunk.name for chunk in chunks.iterdir()} if chunks.is_dir() else set()
        missing = [index for index in range(n_chunks) if str(index) not in there]
        if missing:
            found = f"{len(missing)} of its {n_chunks} chunks are missing, the first is {missing[0]}"
            raise StoreError(str(root / name), found, "all chunks", _DAMAGED)
    read_metadata(root / "buildings")


def create_mesh_arrays(path: Path, n_vertices: int, n_faces: int) -> None:
    """Make the empty mesh arrays of a store under construction.

    ``faces`` is int32 as long as the vertices can be counted with it, else int64.
    """
    path.mkdir(parents=True, exist_ok=True)
    create_array(path / "vertices", (n_vertices, 3), np.float64, chunk_rows=VERTEX_CHUNK_ROWS)
    create_array(path / "faces", (n_faces, 3), face_dtype(n_vertices), chunk_rows=FACE_CHUNK_ROWS)
    create_array(path / "markers", (n_faces,), np.int32, chunk_rows=FACE_CHUNK_ROWS)
    create_array(path / "building", (n_faces,), np.int32, chunk_rows=FACE_CHUNK_ROWS)
    for name in CHUNK_ROWS:
        _note_written(path / name / "zarr.json")


def _note_written(file: Path) -> None:
    """Tell the trace of the task at work what it wrote: its receipt holds as long as that is there."""
    if active_trace() is not None:
        note_file_written(file, file_check(file.read_bytes()))


def face_dtype(n_vertices: int) -> type[np.int32] | type[np.int64]:
    """Return the integer type that can hold every vertex index."""
    return np.int32 if n_vertices <= np.iinfo(np.int32).max else np.int64


def write_mesh_chunk(path: Path, name: str, index: int, rows: Array) -> int:
    """Write one whole chunk of a mesh array and return its bytes."""
    return write_chunk(path / name, index, rows, chunk_rows=CHUNK_ROWS[name])


def write_table(path: Path, columns: Mapping[str, Array]) -> None:
    """Write named columns of equal length as the arrays of a Zarr group, text included."""
    n_rows = max(map(len, columns.values()), default=0)
    create_table(path, {name: TEXT if v.dtype.kind in "OUT" else v.dtype.name for name, v in columns.items()}, n_rows)
    for index, start in enumerate(range(0, n_rows, TABLE_CHUNK_ROWS)):
        rows = slice(start, start + TABLE_CHUNK_ROWS)
        write_table_chunk(path, index, {name: values[rows] for name, values in columns.items()})


def create_table(path: Path, dtypes: Mapping[str, str], n_rows: int) -> None:
    """Make the empty columns of a table: a Zarr group with one array each, of NumPy types or of `TEXT`."""
    create_group(path)
    for name, dtype in dtypes.items():
        with _named(path / name):
            zarr.create_array(
                store=path / name,
                shape=(n_rows,),
                dtype=dtype,
                chunks=(min(TABLE_CHUNK_ROWS, max(n_rows, 1)),),
                compressors=(ZstdCodec(), Crc32cCodec()),
                overwrite=True,
            )
        _note_written(path / name / "zarr.json")


def write_table_chunk(path: Path, index: int, columns: Mapping[str, Array]) -> int:
    """Write one whole chunk of `TABLE_CHUNK_ROWS` rows of every column, the last may be shorter; return its bytes."""
    start = index * TABLE_CHUNK_ROWS
    for name, values in columns.items():
        with _named(path / name):
            array = _open_for_writing(path / name)
            array[start : start + len(values)] = values.astype(object) if values.dtype.kind in "OUT" else values
        _note_written(path / name / "c" / str(index))
    return sum((path / name / "c" / str(index)).stat().st_size for name in columns)


def _open_for_writing(path: Path) -> Any:
    """Open an array so that chunks of nothing but fill values are written, too: a missing one is a damage.

    An array takes that from Zarr's settings when it is opened. They are global, hence one thread at a time.
    """
    with _settings, zarr.config.set({"array.write_empty_chunks": True}):
        return zarr.open_array(path, mode="r+")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give errors of the system the name of what is written where they have none; refuse to write where none may."""
    refuse_if_superseded()
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write small numeric arrays (those of the tiles) as one group that `CityStore.read` reads."""
    create_group(path)
    for name, values in arrays.items():
        rows = max(len(values), 1)
        create_array(path / name, values.shape, values.dtype, chunk_rows=rows)
        if len(values):
            write_chunk(path / name, 0, values, chunk_rows=rows)


def write_attributes(path: Path, attributes: Mapping[str, Any]) -> None:
    """Write the group attributes: the last thing that a store gets before it is renamed."""
    create_group(path, {"format": FORMAT_NAME, "format_version": FORMAT_VERSION, **attributes})
