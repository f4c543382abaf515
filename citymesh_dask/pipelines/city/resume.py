"""Going on with a run: the mark of a scratch folder, with which software, and what a finished store keeps for later.

The mark says that a folder is ours. It is the first thing there and the last to go, so that nothing that a killed
process leaves is in the way of the next one. A scratch folder without its job holds nothing to go on with.

A finished store keeps everything of the scratch folder but the tile meshes, which are in the store itself; a run that
replaces it takes that over by hard links, and its receipts say what must be done again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ...errors import OutputError
from ...store.chunks import create_array, write_json
from .job import job_file

MARK = "citymesh-scratch.json"
"""File of a scratch folder that says that it is one."""
BEGUN = "begun-by"
"""File of an unfinished store that says which scratch folder and which job it belongs to."""
REUSE = "reuse"
"""Folder in a finished store with what a later run may take over."""
_WITHOUT_MODES = ("9p", "cifs", "drvfs", "exfat", "fuseblk", "ntfs", "ntfs3", "smb3", "vfat")
"""File systems that do not keep who may do what: they say the same of every file."""
_NOT_KEPT = ("tiles", "dask", "log")
"""Folders of a scratch folder that are not kept with the store: its meshes are in the arrays."""


def refuse_other_users(folder: Path, *, believed: bool) -> None:
    """Raise where a folder is another user's, or holds what others may have put there.

    Parameters
    ----------
    folder : Path
        A scratch folder, whether it is there or not. In a shared place such as that for temporary files everybody
        can make one of that name.
    believed : bool
        Whether the run goes on with what is in it, if anything is.

    Raises
    ------
    OutputError
        Saying whose it is.
    """
    if not hasattr(os, "geteuid") or not folder.exists():
        return
    facts, advice = folder.stat(), "remove it, or choose another place with --temp-dir"
    if facts.st_uid != os.geteuid():
        found = f"it belongs to another user (number {facts.st_uid})"
        raise OutputError(str(folder), found, "a scratch folder of your own", advice)
    others = stat.S_IWGRP | stat.S_IWOTH
    open_to_others = facts.st_mode & others and file_system(folder) not in _WITHOUT_MODES
    if believed and open_to_others and any(folder.iterdir()):
        advice = "pass --restart to begin anew, or take their permission away (chmod 700) if nobody has used it"
        raise OutputError(str(folder), "other users may write there", "a scratch folder of your own", advice)


def refuse_memory(scratch: Path) -> None:
    """Raise where a scratch folder would be in memory, which the plan counts on for other things.

    Raises
    ------
    OutputError
        Naming the kind of file system.
    """
    kind = file_system(scratch)
    if kind in ("tmpfs", "ramfs"):
        found = f"the scratch folder would be in memory (a {kind})"
        advice = "choose a folder on a disk with --temp-dir, or pass --allow-tmpfs"
        raise OutputError(str(scratch), found, "a file system on a disk", advice)


def file_system(path: Path) -> str:
    """Return the kind of file system that a path is on, or will be; "" where the system does not tell."""
    there = next((folder for folder in (path, *path.parents) if folder.exists()), path).resolve()
    try:
        mounts = [mount for mount in psutil.disk_partitions(all=True) if there.is_relative_to(mount.mountpoint)]
    except OSError:
        return ""
    mounts.sort(key=lambda mount: len(Path(mount.mountpoint).parts))  # of several at one place the last is on top
    return str(mounts[-1].fstype) if mounts else ""


def read_mark(scratch: Path) -> dict[str, Any]:
    """Return what a scratch folder says of itself; nothing where that cannot be understood, or it is none.

    Returns
    -------
    dict
        ``out``, its output; ``software``, what it was begun with; ``name``, which no other one has.

    Raises
    ------
    OSError
        If it cannot be read although it is there.
    """
    try:
        found = json.loads((scratch / MARK).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    whole = isinstance(found, dict) and isinstance(found.get("software"), dict) and isinstance(found.get("out"), str)
    return {"name": "", **found} if whole else {}


def write_mark(scratch: Path, mark: Mapping[str, Any]) -> None:
    """Mark a folder as a scratch folder; without a name it gets a new one."""
    write_json(scratch / MARK, {**mark, "name": mark.get("name") or uuid.uuid4().hex})


def clear_folder(scratch: Path) -> None:
    """Remove everything in a scratch folder but its mark, the job first: what is left without it is not believed."""
    job_file(scratch).unlink(missing_ok=True)
    for path in scratch.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != MARK:
            path.unlink(missing_ok=True)


def discard(scratch: Path) -> None:
    """Remove a scratch folder, its mark last."""
    with contextlib.suppress(OSError):
        clear_folder(scratch)
    shutil.rmtree(scratch, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove the files that processes left half written when they were killed; nobody else may work there."""
    for path in folder.rglob("*.partial"):
        with contextlib.suppress(OSError):
            path.unlink()


def refuse_other_software(scratch: Path, found: Mapping[str, str], present: Mapping[str, str]) -> None:
    """Raise where the data of a scratch folder were made by other versions of what they depend on.

    Raises
    ------
    OutputError
        Naming what has changed.
    """
    names = sorted(name for name in {*found, *present} if found.get(name) != present.get(name))
    if names:
        changed = ", ".join(f"{name} {found.get(name, 'absent')}, now {present.get(name, 'absent')}" for name in names)
        raise OutputError(
            str(scratch),
            f"it was begun with other versions ({changed})",
            "the software that the run was begun with",
            "pass --restart to begin anew, or run it with the versions that it was begun with",
        )


def keep_for_later(scratch: Path, store: Path) -> int:
    """Keep in a store what a later run may take over of a scratch folder; return the number of files.

    The files are hard links wherever the file system knows them. For Zarr, the folder is an empty array.
    """
    if not scratch.is_dir():
        return 0
    place = store / REUSE
    shutil.rmtree(place, ignore_errors=True)
    meaning = "no data: files that 'citymesh build --overwrite' takes over; may be removed"
    create_array(place, (0,), np.uint8, chunk_rows=1, attributes={"description": meaning})
    return _link_files(scratch, kept_folder(store))


def take_over(store: Path, scratch: Path) -> int:
    """Bring what a finished store keeps into a scratch folder; return the number of files."""
    return _link_files(kept_folder(store), scratch)


def kept_folder(store: Path) -> Path:
    """Return the folder in a store that is like a scratch folder, whether it is there or not."""
    return store / REUSE / "files"


def _link_files(source: Path, target: Path) -> int:
    count = 0
    for path in _kept_files(source):
        new = target / path.relative_to(source)
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, new)
        except FileExistsError:
            continue  # the mark of the scratch folder
        except OSError:  # another file system, or one without links
            shutil.copy2(path, new)
        count += 1
    return count


def _kept_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir():
            yield from () if path.name in _NOT_KEPT else (file for file in path.rglob("*") if file.is_file())
        elif path.suffix != ".partial":
            yield path


def former_store(out: Path) -> Path:
    """Return the store that a run is to replace: it has another name for a moment when it is replaced."""
    old = old_name(out)
    return old if old.exists() and not out.exists() else out


def old_name(out: Path) -> Path:
    """Return the name of a store that another one is about to replace."""
    return out.with_name(f".{out.name}.old")
