"""What runs graphs of tasks: a Dask cluster (`cluster`) or this process (`in_process`).

An executor takes a graph and gives one future per task; it knows nothing of what the tasks do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from dask.delayed import Delayed

from .ledger import Receipt

Futures = Mapping[str, Any]
OnEnd = Callable[[str, Receipt | None, BaseException | None], bool]
"""Is told of a task that ended: its key, its receipt or its error. Says whether the others shall go on."""

Tell = Callable[[str], None]
"""Is told what is waited for where nothing can be done."""


class Executor(Protocol):
    """Runs graphs, one after the other."""

    in_process: bool
    """Whether tasks work in this process."""

    @property
    def dashboard_link(self) -> str | None:
        """Address of the dashboard, if there is one."""
        ...

    def submit(self, graph: Mapping[str, Delayed]) -> Futures:
        """Begin to run all tasks and return one future per key."""
        ...

    def wait(self, futures: Futures, on_end: OnEnd, tell: Tell) -> None:
        """Return when all futures are done, or, after ``on_end`` has said no, when what runs is done.

        Tasks that need a failed one fail with its error. Raises `concurrent.futures.CancelledError` after `cancel`.
        """
        ...

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which one task at a time may have all memory that the workers may have together."""
        ...

    def cancel(self, futures: Futures) -> None:
        """Stop what has not begun."""
        ...

    def close(self) -> None:
        """Give back what the executor owns."""
        ...
