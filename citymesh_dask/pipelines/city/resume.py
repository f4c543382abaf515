"""Going on with a run: who works in a scratch folder, with which software, and what a finished store keeps for later.

A finished store keeps everything of the scratch folder but the tile meshes, which are in the store itself; a run that
replaces it takes that over by hard links, and its receipts say what must be done again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ...errors import OutputError
from ...store.chunks import create_array

try:
    import fcntl
except ImportError:  # Windows: there the note in the file must do
    fcntl = None  # type: ignore[assignment]

CLAIM = "running.json"
"""File in a folder with the process that works there."""
REUSE = "reuse"
"""Folder in a finished store with what a later run may take over."""
_NOT_KEPT = ("tiles", "dask", "log")
"""Folders of a scratch folder that are not kept with the store: its meshes are in the arrays."""
_claims: dict[str, int] = {}
"""Open files of this process by the folder that is claimed with them."""


def claim(folder: Path) -> None:
    """Note in a folder that this process works there, in one step that no two processes can take at once.

    Raises
    ------
    OutputError
        If another process works there.
    OSError
        If nothing can be written there.
    """
    unclaim(folder, keep=True)
    path = folder / CLAIM
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(handle, folder)
            refuse_second_run(folder)
            if os.path.samestat(os.fstat(handle), path.stat()):
                break  # else another run ended in between, and its file is gone
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    me = psutil.Process()
    note = {"pid": me.pid, "began": me.create_time(), "host": socket.gethostname()}
    os.truncate(handle, 0)
    os.pwrite(handle, json.dumps(note).encode(), 0)
    _claims[str(folder)] = handle


def _lock(handle: int, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return  # a file system that knows no locks: the note in the file must do
        raise _at_work(folder, _read_note(folder).get("pid", "of another user")) from error


def unclaim(folder: Path, *, keep: bool = False) -> None:
    """Take the note of `claim` away; with ``keep`` the file stays."""
    handle = _claims.pop(str(folder), None)
    if not keep:
        (folder / CLAIM).unlink(missing_ok=True)
    if handle is not None:
        os.close(handle)


def refuse_second_run(folder: Path) -> None:
    """Raise where another living process works in a folder.

    Raises
    ------
    OutputError
        Naming the process.
    """
    found = _read_note(folder)
    try:
        if found["host"] != socket.gethostname() or found["pid"] == os.getpid():
            return
        alive = abs(psutil.Process(found["pid"]).create_time() - found["began"]) < 1
    except (KeyError, TypeError, psutil.Error):
        return  # nobody, or nobody any more
    if alive:
        raise _at_work(folder, found["pid"])


def _read_note(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / CLAIM).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _at_work(folder: Path, pid: object) -> OutputError:
    what = f"another run works on it (process {pid})"
    return OutputError(str(folder), what, "one run at a time", "wait for it, or stop it and run this command again")


def is_claimed(folder: Path) -> bool:
    """Whether this process has claimed a folder."""
    return str(folder) in _claims


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


def clear_folder(folder: Path) -> None:
    """Remove everything in a folder but the note of who works there."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != CLAIM:
            path.unlink(missing_ok=True)


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
        except OSError:  # another file system, or one without links
            shutil.copy2(path, new)
        count += 1
    return count


def _kept_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir():
            yield from () if path.name in _NOT_KEPT else (file for file in path.rglob("*") if file.is_file())
        elif path.name != CLAIM and path.suffix != ".partial":
            yield path


def former_store(out: Path) -> Path:
    """Return the store that a run is to replace: it has another name for a moment when it is replaced."""
    old = old_name(out)
    return old if old.exists() and not out.exists() else out


def old_name(out: Path) -> Path:
    """Return the name of a store that another one is about to replace."""
    return out.with_name(f".{out.name}.old")
