"""What the engine must know about finished work, and nothing about where it is kept."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any, Protocol

from .plan import TaskCall


@dataclass(frozen=True)
class Receipt:
    """What a finished task leaves behind.

    Parameters
    ----------
    key : str
        Name of the task.
    seconds : float
        Time that the work took.
    peak_bytes : int
        Highest resident memory of the process during the task; 0 where it cannot be measured.
    started : float
        When the work began, seconds since the epoch.
    facts : dict
        Small JSON-able facts that the task returned.
    reused : bool
        Whether the work was done by a run before this one.
    worker : str
        Name and address of the Dask worker, or the process, that did it.
    """

    key: str
    seconds: float
    peak_bytes: int
    started: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    reused: bool = False
    worker: str = ""


class Ledger(Protocol):
    """Remembers receipts across processes; a task with a valid receipt is not done again."""

    def find(self, call: TaskCall) -> Receipt | None:
        """Return the valid receipt of a call, or None; the same key with other arguments is another call."""
        ...

    def watching(self, call: TaskCall) -> contextlib.AbstractContextManager[object]:
        """Return the context in which the call is done and recorded: what it reads and writes is seen there."""
        ...

    def record(self, receipt: Receipt) -> None:
        """Keep a receipt with what was seen since `watching` began; a reader sees all of it or nothing."""
        ...
