"""What the engine must know about finished work, and nothing about where it is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol


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
    """

    key: str
    seconds: float
    peak_bytes: int
    started: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


class Ledger(Protocol):
    """Remembers receipts across processes; a task with a valid receipt is not done again."""

    def find(self, key: str) -> Receipt | None:
        """Return the valid receipt of a task, or None."""
        ...

    def record(self, receipt: Receipt) -> None:
        """Keep a receipt; a reader sees all of it or nothing."""
        ...
