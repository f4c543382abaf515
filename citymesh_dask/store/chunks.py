"""Zarr v3 arrays written and read as chunk files, without an event loop.

Only the mechanics of chunks belong here. `write_chunk` and `read_rows` do what ``zarr.open_array``
would do with local arrays chunked along their first axis, at a tenth of the cost per array
(11-13 ms become 1 ms for four small ones); what they write, plain Zarr opens. Chunks are shuffled
and compressed with lz4 (Blosc) and end in a crc32c, so that damage is noticed when they are read.
"""

# A run reads and writes thousands of small arrays: pathlib objects take longer than their system calls.
# ruff: noqa: PTH103, PTH105, PTH108, PTH120

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import google_crc32c
import numcodecs.blosc as blosc
import numpy as np
import numpy.typing as npt

from ..errors import StoreError
from .trace import note_file_written, refuse_if_superseded

Array = npt.NDArray[Any]

DEFAULT_CHUNK_ROWS = 1 << 17

_LARGE_FILE = 1 << 16
"""Files of so many bytes are written to the disk at once."""

_CRC32C_RESIDUE = 0x48674BC7


def array_metadata(
    shape: tuple[int, ...], dtype: Any, *, chunk_rows: int, attributes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the ``zarr.json`` of an array chunked along its first axis."""
    kind = np.dtype(dtype)
    fill: Any = False if kind.kind == "b" else (0.0 if kind.kind == "f" else 0)
    shuffle = {
        "name": "blosc",
        "configuration": {"typesize": kind.itemsize, "cname": "lz4", "clevel": 1, "shuffle": "shuffle", "blocksize": 0},
    }
    codecs: list[dict[str, Any]] = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        shuffle,
        {"name": "crc32c"},
    ]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": kind.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk_rows, *shape[1:]]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": codecs,
        "attributes": dict(attributes or {}),
        "storage_transformers": [],
    }


def write_json(path: str | Path, value: Any, *, durable: bool = True) -> None:
    """Write JSON beside its name and rename it, so that a reader never sees half of it.

    Parameters
    ----------
    path : path
        The file.
    value : Any
        JSON-able.
    durable : bool
        Whether to wait until it is on the disk, so that it outlives a loss of power.
    """
    # dumps and not dump: only the former uses the encoder written in C
    write_whole(path, json.dumps(value, allow_nan=False).encode(), durable=durable)


def write_whole(path: str | Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file beside its name and rename it, so that a reader sees all of it or nothing.

    Raises
    ------
    OSError
        With the name of the file, of which nothing is left.
    RunError
        If the task at work may write no more: another run has begun there.
    """
    # two tasks, in one process or on two machines, may write the same where one of them should have been stopped
    temporary = f"{path}.{os.urandom(6).hex()}.partial"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            _begin_writing(file, len(data))
            if durable:
                file.flush()
                os.fsync(file.fileno())
        refuse_if_superseded()
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename = str(path)  # the system says which file only where it is opened
        raise


def _begin_writing(file: IO[bytes], size: int) -> None:
    """Let the system begin to write a file of some size to the disk now, without waiting for it.

    Left alone it begins when a good part of all memory is full of unwritten files; a process in a control group that
    may use less than that waits for the disk whenever it asks for memory: in 1 GB a tenth of the time of tile tasks.
    """
    if size >= _LARGE_FILE and hasattr(os, "posix_fadvise"):
        file.flush()
        with contextlib.suppress(OSError):  # advice, no more
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def make_folder(path: str | Path) -> None:
    """Make a folder and those around it, where the task at work may write.

    Raises
    ------
    RunError
        If it may not any more: another run has begun there.
    """
    refuse_if_superseded()
    os.makedirs(path, exist_ok=True)


def create_group(path: str | Path, attributes: Mapping[str, Any] | None = None) -> None:
    """Make an empty Zarr v3 group (or replace its attributes)."""
    make_folder(path)
    node = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}
    write_json(f"{path}/zarr.json", node, durable=False)


def create_array(
    path: str | Path,
    shape: tuple[int, ...],
    dtype: Any,
    *,
    chunk_rows: int,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Make an array without chunks; `write_chunk` fills it."""
    make_folder(f"{path}/c")
    metadata = array_metadata(shape, dtype, chunk_rows=max(chunk_rows, 1), attributes=attributes)
    write_json(f"{path}/zarr.json", metadata, durable=False)


def write_chunk(path: str | Path, index: int, rows: Array, *, chunk_rows: int) -> int:
    """Write chunk ``index`` of an array that was created and return its size in bytes.

    The last chunk may have fewer rows than ``chunk_rows``; it is padded with zeros, as Zarr does.
    """
    if len(rows) < chunk_rows:
        rows = _padded(rows, chunk_rows)
    data = encode_rows(rows)
    target = _chunk_path(path, index, rows.ndim)
    if rows.ndim > 1:
        make_folder(os.path.dirname(target))
    write_whole(target, data)
    note_file_written(target, file_check(data))
    return len(data)


def _padded(rows: Array, count: int) -> Array:
    padded = np.zeros((count, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    return padded


def file_check(data: bytes) -> str:
    """Return size and checksum of the bytes of a file, whether it ends in its own crc32c or not."""
    # the checksum of whatever ends in its own is a constant
    check = data[-4:] if checksum_holds(data) else int(google_crc32c.value(data)).to_bytes(4, "little")
    return f"{len(data)} {check.hex()}"


def encode_rows(rows: Array) -> bytes:
    """Return rows shuffled and compressed with lz4, their crc32c behind them."""
    encoded: bytes = blosc.compress(np.ascontiguousarray(rows), b"lz4", 1, blosc.SHUFFLE)
    return encoded + int(google_crc32c.value(encoded)).to_bytes(4, "little")


def decode_rows(data: bytes, out: Array, *, where: str) -> None:
    """Fill an array with what `encode_rows` made of one of its shape and type.

    Raises
    ------
    StoreError
        If the checksum does not hold; ``where`` says of what.
    """
    if not checksum_holds(data):
        raise _damaged(where, "the checksum does not hold", "an undamaged chunk")
    blosc.decompress(memoryview(data)[:-4], out)


def checksum_holds(data: bytes) -> bool:
    """Return whether data end in their own crc32c."""
    # The checksum of data with their checksum behind them is always the same: no need to copy the data alone.
    return int(google_crc32c.value(data)) == _CRC32C_RESIDUE


def checksum_of_chunks(checksums: Iterable[bytes]) -> str:
    """Return a short hash of the checksums of the chunks of an array."""
    return hashlib.blake2b(b"".join(checksums), digest_size=12).hexdigest()


def _chunk_path(path: str | Path, index: int, n_axes: int) -> str:
    """Return the file of chunk ``index``; the other axes have one chunk each."""
    return f"{path}/c/{index}" + "/0" * (n_axes - 1)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the ``zarr.json`` of a group or an array.

    Raises
    ------
    StoreError
        If there is none, or it is none of Zarr v3.
    """
    try:
        with open(f"{path}/zarr.json", "rb") as file:
            value: Any = json.loads(file.read())
    except OSError as error:
        raise _damaged(str(path), f"no zarr.json ({error.strerror})", "a Zarr v3 node") from error
    except ValueError as error:
        raise _damaged(f"{path}/zarr.json", f"no JSON ({error})", "a Zarr v3 node") from error
    if not isinstance(value, dict) or value.get("zarr_format") != 3:
        raise _damaged(f"{path}/zarr.json", "no metadata of Zarr v3", "a Zarr v3 node")
    value.setdefault("attributes", {})
    return value


def array_shape(path: str | Path) -> tuple[int, ...]:
    """Return the shape of an array.

    Raises
    ------
    StoreError
        If there is no array.
    """
    return _layout(path)[0]


def _layout(path: str | Path) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, dtype and rows per chunk."""
    metadata = read_metadata(path)
    try:
        rows = int(metadata["chunk_grid"]["configuration"]["chunk_shape"][0])
        return tuple(metadata["shape"]), np.dtype(metadata["data_type"]), rows
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _damaged(f"{path}/zarr.json", "it describes no array of this format", "an array") from error


def _damaged(where: str, found: str, expected: str) -> StoreError:
    return StoreError(where, found, expected, "the store is damaged: remove it and build it again")


def read_attributes(path: str | Path) -> dict[str, Any]:
    """Return the attributes of a group or an array."""
    attributes: dict[str, Any] = read_metadata(path)["attributes"]
    return attributes


def read_rows(path: str | Path, start: int = 0, stop: int | None = None) -> Array:
    """Read rows ``start:stop`` of an array written by this module.

    Raises
    ------
    StoreError
        If a chunk is missing or its checksum does not hold; chunks are never taken for fill values.
    """
    shape, dtype, rows = _layout(path)
    stop = shape[0] if stop is None else min(stop, shape[0])
    out = np.empty((max(stop - start, 0), *shape[1:]), dtype)
    for index in range(start // rows, -(-stop // rows) if stop > start else 0):
        low, high = max(start, index * rows), min(stop, (index + 1) * rows)
        if high - low == rows:  # no need of a copy
            _read_chunk(path, index, out[low - start : high - start])
        else:
            chunk = np.empty((rows, *shape[1:]), dtype)
            _read_chunk(path, index, chunk)
            out[low - start : high - start] = chunk[low - index * rows : high - index * rows]
    return out


def _read_chunk(path: str | Path, index: int, out: Array) -> None:
    """Fill a whole chunk's rows with chunk ``index``."""
    decode_rows(_chunk_bytes(path, index, out.ndim), out, where=_chunk_path(path, index, out.ndim))


def _chunk_bytes(path: str | Path, index: int, n_axes: int) -> bytes:
    source = _chunk_path(path, index, n_axes)
    try:
        with open(source, "rb") as file:
            return file.read()
    except OSError as error:
        found = (
            "the chunk is missing" if isinstance(error, FileNotFoundError) else f"it cannot be read: {error.strerror}"
        )
        raise _damaged(source, found, "a chunk file") from error
