"""Output files that are whole or not there, and clear errors where they cannot be.

What stands in the files belongs to their formats.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import CityMeshError, OutputError, RunError

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some room or choose another disk",
    errno.EDQUOT: "the quota is used up: free some room or choose another disk",
    errno.EFBIG: "the file is larger than this disk or the limits of the process allow",
    errno.EACCES: "the folder is not writable: choose another, or change its permissions",
    errno.EROFS: "the disk is mounted read-only: choose another",
}


def check_target(target: Path, *, overwrite: bool) -> None:
    """Check that a file can get a name, before any work is done.

    Parameters
    ----------
    target : Path
        Name of the file.
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    OutputError
        If its folder does not exist, a folder has its name, or a file that may not be replaced.
    """
    if not target.parent.is_dir():
        raise OutputError(str(target), f"there is no folder {target.parent}", "an existing folder", "make it first")
    if target.is_dir():
        raise OutputError(str(target), "a folder of that name exists", "the name of a file", "choose another name")
    if target.exists() and not overwrite:
        raise OutputError(str(target), "the file exists", "a new name", "choose another, or pass --overwrite")


def check_disk(target: Path, projected_bytes: int) -> None:
    """Check that the disk has room for a file, before any of it is written.

    Raises
    ------
    OutputError
        If it is too small; the message holds both numbers.
    """
    free = shutil.disk_usage(target.parent).free
    if projected_bytes > free:
        raise OutputError(
            str(target),
            f"{projected_bytes / 1e9:.2f} GB will be written, {free / 1e9:.2f} GB are free",
            "room for the whole file",
            "free some, or choose another disk",
        )


@contextmanager
def finished_file(target: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``target`` that takes its name when all is written, or disappears.

    Parameters
    ----------
    target : Path
        Name of the finished file; a file of that name is replaced.

    Yields
    ------
    binary file

    Raises
    ------
    RunError
        If the disk is full.
    OutputError
        If the system does not let it be written for another reason.
    """
    temporary = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except CityMeshError:
        raise  # some are OSErrors too, but they say already what is wrong
    except OSError as error:
        # an input of the block that is missing is no fault of the output
        if isinstance(error, FileNotFoundError) and target.parent.is_dir():
            raise
        advice = _ADVICE.get(error.errno or 0, "choose another name or disk")
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(str(target), "could not be written", "room for the whole file", advice) from error
        found = f"could not be written ({error.strerror or error})"
        raise OutputError(str(target), found, "a writable place", advice) from error
    finally:
        with suppress(OSError):  # a read-only disk does not even let go of what is not there
            temporary.unlink(missing_ok=True)
