"""The places that a run writes to: folders are made, and its output is claimed, or it is said why not.

There is one lock for everything that concerns an output, beside it, whatever the kind of run and wherever its scratch
folder is. It is taken before anything is decided that depends on what lies there, and released when all is done.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

from ...errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: there the note in the file must do
    fcntl = None  # type: ignore[assignment]

_ELSEWHERE = "choose another place"


class Claim:
    """An output that this process works on, until it is released.

    Parameters
    ----------
    path : Path
        The lock.
    file : binary file
        The same, open and locked.
    made : sequence of Path
        Folders that were made for it, the innermost first.
    """

    def __init__(self, path: Path, file: IO[bytes], made: Sequence[Path]) -> None:
        self._path = path
        self._file = file
        self._made = made

    def release(self) -> None:
        """Let others work on the output, and remove folders that were made in vain; a second call does nothing."""
        if self._file.closed:
            return
        mine = os.fstat(self._file.fileno())
        if fcntl is None:  # Windows removes no file that is open
            self._file.close()
        with contextlib.suppress(OSError):
            if os.path.samestat(mine, self._path.stat()):
                self._path.unlink()
        self._file.close()
        _remove_empty(self._made)


def claim(out: Path) -> Claim:
    """Claim an output in one step that no two runs can take at once; folders around it are made.

    A lock ends with its process: what a process leaves that was killed keeps nobody out.

    Raises
    ------
    OutputError
        If another run works on it, or nothing can be written there.
    """
    path = out.with_name(f".{out.name}.lock")
    made = _missing(out.parent)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        file = None
        while file is None:
            file = _locked(path, out)
        try:
            _write_note(file)
        except BaseException:
            Claim(path, file, made).release()
            raise
    except OutputError:
        raise
    except OSError as error:
        _remove_empty(made)
        raise not_writable(out, error, "--out") from error
    return Claim(path, file, made)


def _locked(path: Path, out: Path) -> IO[bytes] | None:
    """Return the lock, open and locked; None where another run has just ended and taken it away."""
    # no links: the folder may be one that everybody can write to
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    file = os.fdopen(handle, "r+b", buffering=0)
    try:
        _lock(file, out)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def _lock(file: IO[bytes], out: Path) -> None:
    """Lock a file; on a file system that knows no locks the note in it must do."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise _at_work(out, _read_note(file).get("pid", "unknown")) from error
    note = _read_note(file)
    with contextlib.suppress(KeyError, TypeError, psutil.Error):  # nobody, or nobody any more
        if note["host"] != socket.gethostname() or note["pid"] == os.getpid():
            return
        if abs(psutil.Process(note["pid"]).create_time() - note["began"]) < 1:
            raise _at_work(out, note["pid"])


def _write_note(file: IO[bytes]) -> None:
    """Note in a lock who has it."""
    me = psutil.Process()
    file.seek(0)
    file.truncate()
    file.write(json.dumps({"pid": me.pid, "began": me.create_time(), "host": socket.gethostname()}).encode())


def _read_note(file: IO[bytes]) -> dict[str, Any]:
    try:
        file.seek(0)
        found = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _at_work(out: Path, pid: object) -> OutputError:
    what = f"another run works on it (process {pid})"
    return OutputError(str(out), what, "one run at a time", "wait for it, or stop it and run this command again")


def make_folder(path: Path, where: Path, flag: str, *, room: Callable[[Path], str], mode: int = 0o777) -> None:
    """Make a folder that can be written to, or leave nothing.

    Parameters
    ----------
    path : Path
        The folder; it may be there.
    where : Path
        Of what is said that it cannot be written.
    flag : str
        Option that chooses the place.
    room : callable
        Returns how much room there should be at a place, for where its disk is full.
    mode : int
        Permissions of the folder.

    Raises
    ------
    OutputError
        If it cannot be made or written.
    """
    made = _missing(path)
    try:
        path.mkdir(parents=True, mode=mode, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):  # permissions tell nothing of a disk that is read-only or full
            pass
    except OSError as error:
        _remove_empty(made)
        raise not_writable(where, error, flag, room=room) from error


def _missing(folder: Path) -> list[Path]:
    """Return the folders that have to be made, the innermost first."""
    return [place for place in (folder, *folder.parents) if not os.path.lexists(place)]


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def not_writable(
    path: Path, error: OSError, flag: str, *, room: Callable[[Path], str] = lambda _: "some room"
) -> OutputError:
    """Return the error that says why nothing can be written at a place that an option chooses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = f"free {room(path)} and run this command again, or {_ELSEWHERE} with {flag}"
        return OutputError(str(path), "the disk is full", "room for the run", advice)
    found = f"it cannot be made ({error.strerror or error})"
    return OutputError(str(path), found, "a place that can be written", f"{_ELSEWHERE} with {flag}")
