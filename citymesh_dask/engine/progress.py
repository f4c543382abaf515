"""Events of a run, and listeners that show them. Nothing here is global, nothing prints unasked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from tqdm.auto import tqdm


@dataclass(frozen=True)
class TaskDone:
    """A task has ended well.

    Parameters
    ----------
    key : str
        Its key.
    stage : str
        Its stage.
    done, total : int
        Tasks of the whole run that are done, and all.
    """

    key: str
    stage: str
    done: int
    total: int


Listener = Callable[[TaskDone], None]


class BarProgress:
    """One bar per run with the running stage, its share and the time left (terminal and notebook).

    Parameters
    ----------
    totals : mapping of str to int
        Tasks per stage.
    """

    def __init__(self, totals: Mapping[str, int]) -> None:
        self._totals = dict(totals)
        self._bars: dict[str, Any] = {}

    def __call__(self, event: TaskDone) -> None:
        bar = self._bars.get(event.stage)
        if bar is None:
            bar = tqdm(
                total=self._totals[event.stage], desc=f"{event.stage:20}", unit="task", file=sys.stderr, leave=True
            )
            self._bars[event.stage] = bar
        bar.update(1)
        if bar.n >= bar.total:
            bar.close()


class LineProgress:
    """A plain line when a stage begins to deliver and when it is done, for logs and pipes.

    Parameters
    ----------
    totals : mapping of str to int
        Tasks per stage.
    out : text stream, optional
        Where the lines go; standard error by default.
    """

    def __init__(self, totals: Mapping[str, int], out: TextIO | None = None) -> None:
        self._totals = dict(totals)
        self._done: dict[str, int] = {}
        self._out = out or sys.stderr
        self._start = time.monotonic()

    def __call__(self, event: TaskDone) -> None:
        done = self._done[event.stage] = self._done.get(event.stage, 0) + 1
        total = self._totals[event.stage]
        step = max(1, total // 4)
        if done == total or done % step == 0:
            seconds = time.monotonic() - self._start
            self._out.write(f"[{seconds:7.1f} s] {event.stage}: {done} of {total}\n")
            self._out.flush()


def choose_listener(totals: Mapping[str, int], *, quiet: bool) -> Listener | None:
    """Return bars on a terminal or in a notebook, lines elsewhere, nothing if quiet."""
    if quiet:
        return None
    notebook = "ipykernel" in sys.modules
    return BarProgress(totals) if notebook or sys.stderr.isatty() else LineProgress(totals)
