"""Several arrays in one file: what tasks leave for one another.

Only the file format belongs here. A Zarr group takes two files and two folders per array, which costs
more than the arrays of a small task themselves and fills the disk's table of files in a large city. A
bundle is a header in JSON (names, types, shapes, places), then the chunks of all arrays one after the
other, encoded as in `citymesh_dask.store.chunks`; header and chunks end in a crc32c each. The header holds
a hash of the checksums of each array's chunks, so that the header's own hash tells bundles apart.
"""

# ruff: noqa: PTH120
# pathlib objects take longer than their system calls, as in `chunks`.

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import google_crc32c
import numpy as np

from ..errors import StoreError
from .chunks import (
    DEFAULT_CHUNK_ROWS,
    Array,
    checksum_holds,
    checksum_of_chunks,
    decode_rows,
    encode_rows,
    make_folder,
    write_whole,
)

SUFFIX = ".arrays"
"""Ending of the names of bundles."""

_MAGIC = b"CITYMESH"
_EXPECTED = "a bundle of arrays"


def write_bundle(
    path: str | Path,
    arrays: Mapping[str, Array],
    attributes: Mapping[str, Any] | None = None,
    *,
    chunk_rows: int = DEFAULT_CHUNK_ROWS,
) -> int:
    """Write arrays as one file and return its bytes; a reader sees all of it or nothing.

    Parameters
    ----------
    path : path
        The file; folders around it are made.
    arrays : mapping of str to array
        Numeric arrays of one or more axes.
    attributes : mapping, optional
        JSON-able.
    chunk_rows : int
        Rows that are read at once.
    """
    entries: dict[str, Any] = {}
    blocks: list[bytes] = []
    place = 0
    for name, array in arrays.items():
        rows = min(chunk_rows, max(len(array), 1))
        chunks = [encode_rows(array[start : start + rows]) for start in range(0, len(array), rows)]
        sizes = [len(chunk) for chunk in chunks]
        entry = {"dtype": array.dtype.name, "shape": list(array.shape), "rows": rows, "place": place, "sizes": sizes}
        entries[name] = entry | {"check": checksum_of_chunks(chunk[-4:] for chunk in chunks)}
        blocks += chunks
        place += sum(sizes)
    header = json.dumps({"attributes": dict(attributes or {}), "arrays": entries}, allow_nan=False).encode()
    header += int(google_crc32c.value(header)).to_bytes(4, "little")
    make_folder(os.path.dirname(path))
    write_whole(path, b"".join([_MAGIC, len(header).to_bytes(8, "little"), header, *blocks]))
    return len(_MAGIC) + 8 + len(header) + place


def read_bundle(path: str | Path) -> dict[str, Array]:
    """Return all arrays of a bundle, whole.

    Raises
    ------
    StoreError
        If there is no such file, or a part of it is damaged.
    """
    with _opened(path) as (file, header):
        entries = _placed(file, header)["arrays"]
        return {name: _read_rows(file, f"{path}: {name}", entry, (0, None)) for name, entry in entries.items()}


def read_bundle_rows(path: str | Path, array: str, rows: tuple[int, int | None] = (0, None)) -> Array:
    """Return rows ``rows[0]:rows[1]`` of one array of a bundle; nothing else of it is read.

    Raises
    ------
    StoreError
        If there is no such file or array, or a part of it is damaged.
    """
    with _opened(path) as (file, header):
        entry = _entry(_placed(file, header), path, array)
        return _read_rows(file, f"{path}: {array}", entry, rows)


def bundle_shape(path: str | Path, array: str) -> tuple[int, ...]:
    """Return the shape of one array of a bundle.

    Raises
    ------
    StoreError
        If there is no such file or array, or the header is damaged.
    """
    return tuple(_entry(json.loads(_header(path)), path, array)["shape"])


def bundle_attributes(path: str | Path) -> dict[str, Any]:
    """Return the attributes of a bundle.

    Raises
    ------
    StoreError
        If there is no such file, or the header is damaged.
    """
    attributes: dict[str, Any] = json.loads(_header(path))["attributes"]
    return attributes


def bundle_digests(path: str | Path) -> tuple[str, dict[str, str]]:
    """Return the hash of a bundle and those of its arrays (with their types and shapes), from its header alone.

    Raises
    ------
    StoreError
        If there is no such file, or the header is damaged.
    """
    header = _header(path)
    entries = json.loads(header)["arrays"]
    arrays = {name: f"{entry['check']} {entry['dtype']} {entry['shape']}" for name, entry in entries.items()}
    return hashlib.blake2b(header, digest_size=12).hexdigest(), arrays


def verify_bundle(path: str | Path) -> str:
    """Read all of a bundle and return its hash; chunks are held against their checksums, but not decoded.

    Raises
    ------
    StoreError
        If there is no such file, or a part of it is damaged.
    """
    with _opened(path) as (file, header):
        for name, entry in json.loads(header)["arrays"].items():
            chunks = (file.read(size) for size in entry["sizes"])
            if checksum_of_chunks(chunk[-4:] for chunk in chunks if checksum_holds(chunk)) != entry["check"]:
                raise _damaged(f"{path}: {name}", "a checksum does not hold")
    return hashlib.blake2b(header, digest_size=12).hexdigest()


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[IO[bytes], bytes]]:
    """Open a bundle; return it, at its first chunk, and its header without checksum."""
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError as error:
        raise _damaged(path, "the file is missing") from error
    with file:
        begin = file.read(len(_MAGIC) + 8)
        size = int.from_bytes(begin[len(_MAGIC) :], "little")
        data = file.read(size) if begin.startswith(_MAGIC) and size < 1 << 32 else b""
        if not checksum_holds(data):
            raise _damaged(path, "the checksum of its header does not hold")
        yield file, data[:-4]


def _header(path: str | Path) -> bytes:
    with _opened(path) as (_, header):
        return header


def _placed(file: IO[bytes], header: bytes) -> dict[str, Any]:
    """Return the header of an opened bundle, with places from the beginning of the file."""
    placed: dict[str, Any] = json.loads(header)
    first = file.tell()
    for entry in placed["arrays"].values():
        entry["place"] += first
    return placed


def _entry(header: dict[str, Any], path: str | Path, array: str) -> dict[str, Any]:
    try:
        entry: dict[str, Any] = header["arrays"][array]
    except KeyError as error:
        raise _damaged(path, f"no array {array!r} in it") from error
    return entry


def _read_rows(file: IO[bytes], where: str, entry: dict[str, Any], span: tuple[int, int | None]) -> Array:
    shape, rows, sizes = entry["shape"], entry["rows"], entry["sizes"]
    start, stop = span[0], shape[0] if span[1] is None else min(span[1], shape[0])
    out = np.empty((max(stop - start, 0), *shape[1:]), entry["dtype"])
    if not len(out):
        return out
    first, last = start // rows, -(-stop // rows)
    file.seek(entry["place"] + sum(sizes[:first]))
    for index in range(first, last):
        data = file.read(sizes[index])
        count = min(rows, shape[0] - index * rows)
        low, high = max(start - index * rows, 0), min(stop - index * rows, count)
        into = out[index * rows + low - start : index * rows + high - start]
        if high - low == count:  # no need of a copy
            decode_rows(data, into, where=where)
        else:
            chunk = np.empty((count, *shape[1:]), out.dtype)
            decode_rows(data, chunk, where=where)
            into[...] = chunk[low:high]
    return out


def _damaged(path: str | Path, found: str) -> StoreError:
    return StoreError(str(path), found, _EXPECTED, "run the command again to make it anew")
