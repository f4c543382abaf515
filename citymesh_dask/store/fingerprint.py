"""Fingerprints: is this still the same input, are these still the same options?"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

SAMPLES = 16
BLOCK_BYTES = 1 << 16


def file_fingerprint(path: str | Path) -> dict[str, Any]:
    """Return path, size, modification time and a hash of header and sampled blocks of a file.

    A folder (or a file that cannot be read) has the fingerprint of its name alone.

    Parameters
    ----------
    path : str or Path
        The file.
    """
    source = Path(path)
    try:
        stat = source.stat()
        digest = hashlib.blake2b(digest_size=16)
        with open(source, "rb") as file:
            for k in range(SAMPLES + 1):
                file.seek(stat.st_size * k // (SAMPLES + 1))
                digest.update(file.read(BLOCK_BYTES))
    except OSError:
        return {"path": str(source), "bytes": 0, "modified_ns": 0, "hash": ""}
    return {"path": str(source), "bytes": stat.st_size, "modified_ns": stat.st_mtime_ns, "hash": digest.hexdigest()}


def combined_fingerprint(value: Any) -> str:
    """Return a short hash of any JSON-able value, independent of the order of keys.

    >>> combined_fingerprint({"a": 1, "b": 2}) == combined_fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
