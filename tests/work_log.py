"""The command ``citymesh`` with a log of the work that is really done, for tests that count it.

python -m tests.work_log build ...

Every process of the run appends to the file named by the variable ``WORK_LOG``: ``work KEY`` when a task begins to
work, ``kept KEY`` when its receipt is on disk. A task that takes its receipt writes nothing. With ``WORK_LOG_KILL`` the
process that writes this line of the log, counted from 1, kills itself; with ``WORK_LOG_TILING`` the tiles are the boxes
in that file.
"""

from __future__ import annotations

import contextlib
import os
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
TILING = "WORK_LOG_TILING"


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
    # one write of one line to a file opened for appending: lines of several processes do not mix
    with open(os.environ[VARIABLE], "ab", buffering=0) as file:
        file.write(f"{what} {key}\n".encode())
    if KILL in os.environ and len(events(Path(os.environ[VARIABLE]))) >= int(os.environ[KILL]):
        os.kill(os.getpid(), signal.SIGKILL)


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
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    # What is pickled must have a name that workers know: this module is __main__ here.
    from tests.work_log import main as main_by_name

    sys.exit(main_by_name())
