"""Fingerprints: is this still the same input, are these still the same options?"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ..formats.input_names import files_beside
from .trace import active_trace, note_file


class Source(Protocol):
    """An input file, as its header describes it."""

    @property
    def path(self) -> str:
        """The file."""

    @property
    def content(self) -> str:
        """Hash of all its bytes; "" where that was not asked for."""


SAMPLES = 16
BLOCK_BYTES = 1 << 16


def file_fingerprint(path: str | Path, beside: Sequence[Path] = ()) -> dict[str, Any]:
    """Return path, size, modification time and a hash of header and sampled blocks of a file.

    What cannot be read as a file, such as a folder or an address on a server, has the fingerprint of its name.

    Parameters
    ----------
    path : str or Path
        The file.
    beside : sequence of Path
        Files that are read along with it; the hash knows their sizes, times and blocks too.
    """
    digest = hashlib.blake2b(digest_size=16)
    size, modified_ns = _add_file(digest, Path(path))
    for file in beside:
        digest.update(repr((file.name, *_add_file(digest, file))).encode())
    known = digest.hexdigest() if size or beside else ""
    return {"path": str(path), "bytes": size, "modified_ns": modified_ns, "hash": known}


def _add_file(digest: hashlib.blake2b, path: Path) -> tuple[int, int]:
    """Add the blocks of a file to a hash; return its size and time, 0 where it cannot be read."""
    try:
        stat = path.stat()
        with open(path, "rb") as file:
            for k in range(SAMPLES + 1):
                file.seek(stat.st_size * k // (SAMPLES + 1))
                digest.update(file.read(BLOCK_BYTES))
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def content_hash(path: str | Path, beside: Sequence[Path] = ()) -> str:
    """Return a hash of all bytes of a file, and of those that are read along with it; a folder is the files in it.

    Raises
    ------
    OSError
        If one of them cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in beside if Path(path).is_dir() else (Path(path), *beside):
        with open(file, "rb") as opened:
            digest.update(hashlib.file_digest(opened, hashlib.blake2b).digest())
    return digest.hexdigest()


def known_file(path: str | Path) -> str:
    """Return the fingerprint of an input and the files beside it as text; blocks are read once per process and time."""
    beside = files_beside(str(path))
    return _known_file(str(path), beside, tuple(_stamp(file) for file in (Path(path), *beside)))


def note_input(source: Source) -> None:
    """Note in the trace of the task at work that it reads an input file."""
    if active_trace() is not None:
        note_file(source.path, known_file(source.path))
        _ = source.content  # the job tells the trace what is looked at


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=4096)
def _known_file(path: str, beside: tuple[Path, ...], stamps: tuple[tuple[int, int], ...]) -> str:
    del stamps  # part of the key
    return combined_fingerprint(file_fingerprint(path, beside))


def combined_fingerprint(value: Any) -> str:
    """Return a short hash of any JSON-able value, independent of the order of keys.

    >>> combined_fingerprint({"a": 1, "b": 2}) == combined_fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
