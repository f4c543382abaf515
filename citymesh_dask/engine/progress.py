"""Listeners that show the events of a run. Nothing here is global, nothing prints unasked."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TextIO

from tqdm.auto import tqdm

from .events import Event, Listener, PlanChanged, TaskDone, TaskTrouble, Waiting
from .plan import Stage

__all__ = [
    "BarProgress",
    "Event",
    "LineProgress",
    "Listener",
    "PlanChanged",
    "TaskDone",
    "TaskTrouble",
    "Waiting",
    "choose_listener",
    "in_notebook",
]


class BarProgress:
    """A bar for every stage at work, with its share and the time left (terminal and notebook).

    A bar appears when its stage can begin, so that one sees what is waited for, and goes when the stage is done.

    Parameters
    ----------
    stages : sequence of Stage
        All stages of the run.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._waiting = {stage.name: stage for stage in stages if stage.tasks}
        self._left = {stage.name: len(stage.tasks) for stage in stages}
        self._bars: dict[str, Any] = {}
        # tqdm shows nothing on a terminal that does not know its size
        self._size = (None, None) if in_notebook() else shutil.get_terminal_size()
        self._show_ready()

    def __call__(self, event: Event) -> None:
        if isinstance(event, PlanChanged):
            self._replan(event)
        if isinstance(event, Waiting):
            tqdm.write(f"waiting for {event.what}", file=sys.stderr)
        if not isinstance(event, TaskDone):
            return
        if event.stage in self._waiting:
            self._show(event.stage)
        bar = self._bars[event.stage]
        bar.update(1)
        self._left[event.stage] -= 1
        if not self._left[event.stage]:
            bar.close()
            self._show_ready()

    def _replan(self, event: PlanChanged) -> None:
        """Take over how much is left of every stage; bars appear again when something is done."""
        for name, bar in self._bars.items():
            bar.close()
            self._left[name] = 0
        self._bars.clear()
        for stage in event.stages:
            left = tuple(task for task in stage.tasks if task.key not in event.done)
            self._left[stage.name] = len(left)
            if left:
                self._waiting[stage.name] = replace(stage, tasks=left)

    def _show_ready(self) -> None:
        """Show the stages for which nothing is waited any more."""
        for name, stage in list(self._waiting.items()):
            if not stage.tasks[0].needs and not any(self._left[before] for before in stage.after):
                self._show(name)

    def _show(self, name: str) -> None:
        stage = self._waiting.pop(name)
        columns, lines = self._size
        self._bars[name] = tqdm(
            total=len(stage.tasks),
            desc=f"{name:20}",
            unit="task",
            file=sys.stderr,
            leave=False,
            ncols=columns,
            nrows=lines,
        )


class LineProgress:
    """A plain line when a stage begins to deliver and when it is done, for logs and pipes.

    Parameters
    ----------
    stages : sequence of Stage
        All stages of the run.
    out : text stream, optional
        Where the lines go; standard error by default.
    """

    def __init__(self, stages: Sequence[Stage], out: TextIO | None = None) -> None:
        self._totals = {stage.name: len(stage.tasks) for stage in stages}
        self._done: dict[str, int] = {}
        self._out = out or sys.stderr
        self._start = time.monotonic()

    def __call__(self, event: Event) -> None:
        if isinstance(event, PlanChanged):
            self._totals = {stage.name: len(stage.tasks) for stage in event.stages}
            self._done = {s.name: sum(task.key in event.done for task in s.tasks) for s in event.stages}
        if isinstance(event, Waiting):
            self._say(f"waiting for {event.what}")
        if isinstance(event, TaskTrouble):
            self._say(f"{event.key}: {event.cause}; {_KINDS[event.kind]}")
        if not isinstance(event, TaskDone):
            return
        done = self._done[event.stage] = self._done.get(event.stage, 0) + 1
        total = self._totals[event.stage]
        step = max(1, total // 4)
        if done == total or done % step == 0:
            self._say(f"{event.stage}: {done} of {total}")

    def _say(self, text: str) -> None:
        self._out.write(f"[{time.monotonic() - self._start:7.1f} s] {text}\n")
        self._out.flush()


_KINDS = {
    "retried": "tried again, it went well",
    "alone": "it is tried once more, alone",
    "split": "its work is divided",
    "skipped": "the result does without it",
}
"""What people read of the kinds of `TaskTrouble`."""


class WhileRead:
    """Shows events as long as that can be written: a run does not end because nobody reads of it any more.

    Parameters
    ----------
    begin : callable
        Begins to show the stages of a run, and returns what shows its events.
    stages : sequence of Stage
        All stages of the run.
    """

    def __init__(self, begin: Callable[[Sequence[Stage]], Listener], stages: Sequence[Stage]) -> None:
        self._shown: Listener | None = None
        with contextlib.suppress(OSError):
            self._shown = begin(stages)

    def __call__(self, event: Event) -> None:
        try:
            if self._shown is not None:
                self._shown(event)
        except OSError:
            self._shown = None


def choose_listener(stages: Sequence[Stage], *, quiet: bool) -> Listener | None:
    """Return bars on a terminal or in a notebook, lines elsewhere, nothing if quiet."""
    if quiet:
        return None
    return WhileRead(BarProgress if in_notebook() or sys.stderr.isatty() else LineProgress, stages)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    return "ipykernel" in sys.modules
