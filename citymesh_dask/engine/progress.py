"""Events of a run, and listeners that show them. Nothing here is global, nothing prints unasked."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from tqdm.auto import tqdm

from .plan import Stage


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

    def __call__(self, event: TaskDone) -> None:
        if event.stage in self._waiting:
            self._show(event.stage)
        bar = self._bars[event.stage]
        bar.update(1)
        self._left[event.stage] -= 1
        if not self._left[event.stage]:
            bar.close()
            self._show_ready()

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

    def __call__(self, event: TaskDone) -> None:
        done = self._done[event.stage] = self._done.get(event.stage, 0) + 1
        total = self._totals[event.stage]
        step = max(1, total // 4)
        if done == total or done % step == 0:
            seconds = time.monotonic() - self._start
            self._out.write(f"[{seconds:7.1f} s] {event.stage}: {done} of {total}\n")
            self._out.flush()


def choose_listener(stages: Sequence[Stage], *, quiet: bool) -> Listener | None:
    """Return bars on a terminal or in a notebook, lines elsewhere, nothing if quiet."""
    if quiet:
        return None
    return BarProgress(stages) if in_notebook() or sys.stderr.isatty() else LineProgress(stages)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    return "ipykernel" in sys.modules
