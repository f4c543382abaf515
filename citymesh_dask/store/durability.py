"""Waiting for the disk: what must outlive a loss of power before something else may be given up for it.

Chunks are written without waiting, which would take as long as they do. A store is waited for once, whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path


def sync_file_system(folder: Path) -> None:
    """Wait until everything that was written on the file system of a folder is on the disk.

    Raises
    ------
    OSError
        If something of it could not be written.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if os.name == "posix" else None
    if syncfs is None:
        if hasattr(os, "sync"):
            os.sync()
        return
    with _opened(folder) as handle:
        if syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system can do that."""
    if os.name != "posix":
        return
    with _opened(folder) as handle:
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)
