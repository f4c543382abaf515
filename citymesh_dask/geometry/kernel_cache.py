"""Where compiled kernels are kept: only a place for those who have none."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import numba.core.config


def find_cache() -> None:
    """Give numba a folder for compiled kernels where it would find none and fail.

    It keeps them beside the modules or in the user's cache folder. In a container without a home, on a read-only
    file system, neither can be written; a private folder for temporary files then serves.
    """
    if os.environ.get("NUMBA_CACHE_DIR") or _is_writable(Path(__file__).parent) or _is_writable(_users_cache()):
        return
    owner = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"citymesh-kernels-{owner}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat()
    # what others could write there would be run
    if hasattr(os, "getuid") and (found.st_uid != owner or stat.S_IMODE(found.st_mode) & 0o022):
        folder = Path(tempfile.mkdtemp(prefix="citymesh-kernels-"))
    numba.core.config.CACHE_DIR = str(folder)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)  # for workers and compiling children


def _users_cache() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        return Path(os.devnull)


def _is_writable(folder: Path) -> bool:
    """Whether a folder is there and can be written, or could be made."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
