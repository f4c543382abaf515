"""The command ``citymesh`` with a log of the work that is really done, for tests that count it.

python -m tests.work_log build ...

Every process of the run appends to the file named by the variable ``WORK_LOG``: ``work KEY`` when a task begins to
work, ``kept KEY`` when its receipt is on disk. A task that takes its receipt writes nothing. Beside it, in a file of
its own, the process of the command tells every change of the store and of its other folders that it is about to make
(made, renamed, removed, opened for writing): that is what a run begins and ends with.

With ``WORK_LOG_KILL`` the process that writes this line of the log, counted from 1, kills itself; with
``WORK_LOG_KILL_CHANGE`` the command kills itself and its process group before this change; with
``WORK_LOG_FILL_CHANGE`` it fills the disk of the file ``WORK_LOG_FILL`` then, with ``WORK_LOG_FILL_LINE`` who writes
this line does. Each of them is done once for a log, and leaves a mark beside it. With ``WORK_LOG_TILING`` the tiles are
the boxes in that file.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from citymesh_dask.engine.ledger import Receipt
from citymesh_dask.engine.plan import TaskCall
from citymesh_dask.store.manifest import ReceiptFolder

VARIABLE = "WORK_LOG"
_NAME = ReceiptFolder.__name__
KILL = "WORK_LOG_KILL"
KILL_CHANGE = "WORK_LOG_KILL_CHANGE"
FILL_CHANGE = "WORK_LOG_FILL_CHANGE"
FILL_LINE = "WORK_LOG_FILL_LINE"
FILL = "WORK_LOG_FILL"
TILING = "WORK_LOG_TILING"
_CHANGES = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod", "os.truncate"}
"""What Python tells its auditors of changes of the file system, beside files that are opened for writing."""


@dataclass(frozen=True)
class LoggedReceipts(ReceiptFolder):
    """Receipts in a folder; every work and every receipt is told to the log."""

    @contextlib.contextmanager
    def watching(self, call: TaskCall) -> Iterator[Any]:
        """Note that a task begins to work."""
        _append("work", call.key)
        with super().watching(call) as context:
            yield context

    def record(self, receipt: Receipt) -> None:
        """Note that a receipt is on disk."""
        super().record(receipt)
        _append("kept", receipt.key)


def _append(what: str, key: str) -> None:
    log = Path(os.environ[VARIABLE])
    _write_line(log, f"{what} {key}")
    if KILL in os.environ and len(events(log)) >= int(os.environ[KILL]) and _mark(log):
        os.kill(os.getpid(), signal.SIGKILL)
    if FILL_LINE in os.environ and len(events(log)) >= int(os.environ[FILL_LINE]) and _mark(log):
        fill(Path(os.environ[FILL]))


def _write_line(file: Path, line: str) -> None:
    # one write of one line to a file opened for appending: lines of several processes do not mix
    with open(file, "ab", buffering=0) as opened:
        opened.write(f"{line}\n".encode())


def events(log: Path) -> list[tuple[str, str]]:
    """Return what happened so far, in order: (``work`` or ``kept``, key)."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(what, key) for what, _, key in (line.partition(" ") for line in lines)]


def done_twice(log: Path) -> list[str]:
    """Return the tasks that began to work although a receipt of theirs was on disk."""
    kept: set[str] = set()
    twice = []
    for what, key in events(log):
        if what == "kept":
            kept.add(key)
        elif key in kept:
            twice.append(key)
    return twice


def work_of(log: Path) -> Counter[str]:
    """Return how often each task began to work."""
    return Counter(key for what, key in events(log) if what == "work")


# ---- changes of the file system, and what befalls a run ------------------------------------------


def changes(log: Path) -> list[str]:
    """Return the changes that the command was about to make; those before the first task begin with ``begin``."""
    file = _changes_file(log)
    return file.read_text().splitlines() if file.exists() else []


def was_struck(log: Path) -> bool:
    """Whether what the environment asks for has befallen the run: the kill, or the filling of the disk."""
    return _mark_file(log).exists()


def _changes_file(log: Path) -> Path:
    return log.with_name("changes.log")


def _mark_file(log: Path) -> Path:
    return log.with_name("struck.log")


def _mark(log: Path) -> bool:
    """Leave the mark; return False where it is there already."""
    try:
        os.close(os.open(_mark_file(log), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def fill(ballast: Path) -> None:
    """Take all room that is left on a disk."""
    with open(ballast, "ab", buffering=0) as file:
        for size in (1 << 22, 1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def watch_changes(log: Path, out: Path) -> None:
    """Tell every change that this process is about to make to a store or beside it, and strike before one of them."""
    ours = re.compile(rf"(^|/)\.?{re.escape(out.stem)}\.")
    number = itertools.count(1)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        what = _change(event, arguments, ours)
        if what:
            when = "work" if log.exists() else "begin"
            _write_line(_changes_file(log), f"{when} {what}")
            _strike(log, next(number))

    sys.addaudithook(watch)


def _change(event: str, arguments: tuple[Any, ...], ours: re.Pattern[str]) -> str:
    """Return in words what is about to change; nothing where it is not ours, or no change."""
    if event == "open":
        flags = arguments[2]
        if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR):
            return ""
    elif event not in _CHANGES:
        return ""
    paths = [os.fsdecode(one) for one in arguments if isinstance(one, (str, bytes, os.PathLike))]
    beside = event in ("os.remove", "os.rmdir") and arguments[-1] != -1  # a name in a folder that is being removed
    return f"{event} {paths[0]}" if paths and (beside or any(map(ours.search, paths))) else ""


def _strike(log: Path, change: int) -> None:
    if os.environ.get(KILL_CHANGE) == str(change) and _mark(log):
        os.killpg(0, signal.SIGKILL)
    if os.environ.get(FILL_CHANGE) == str(change) and _mark(log):
        fill(Path(os.environ[FILL]))


def main() -> int:
    """Run the command with logged receipts."""
    import citymesh_dask.batch
    import citymesh_dask.store.manifest
    from citymesh_dask import cli
    from citymesh_dask.pipelines.city import plan
    from citymesh_dask.tiles import Tiling

    users = [
        module for name, module in sys.modules.items() if name.startswith("citymesh_dask.") and hasattr(module, _NAME)
    ]
    assert {citymesh_dask.store.manifest} < set(users), "nobody makes receipts"
    for module in users:
        setattr(module, _NAME, LoggedReceipts)
    if TILING in os.environ:
        tiling = Tiling(np.load(os.environ[TILING]))
        plan.choose_tiling = lambda *_, **__: tiling
    if "--out" in sys.argv:
        watch_changes(Path(os.environ[VARIABLE]), Path(sys.argv[sys.argv.index("--out") + 1]))
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    # What is pickled must have a name that workers know: this module is __main__ here.
    from tests.work_log import main as main_by_name

    sys.exit(main_by_name())
