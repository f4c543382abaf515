"""Fingerprints: is this still the same input, are these still the same options?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def combined_fingerprint(value: Any) -> str:
    """Return a short hash of any JSON-able value, independent of the order of keys.

    >>> combined_fingerprint({"a": 1, "b": 2}) == combined_fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
