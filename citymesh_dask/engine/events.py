"""What a run tells those who listen. Workers load this module, those that show it (`progress`) they do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .ledger import Receipt
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
    receipt : Receipt, optional
        What it left.
    """

    key: str
    stage: str
    done: int
    total: int
    receipt: Receipt | None = None


@dataclass(frozen=True)
class TaskTrouble:
    """A task has failed, and the run goes on.

    Parameters
    ----------
    key, stage : str
        The task and its stage.
    kind : str
        What comes of it: ``retried`` (it failed and went well at once), ``alone`` (memory was short: it is done
        once more, alone), ``split`` (its work was divided), ``skipped`` (the result does without it).
    cause : str
        What went wrong.
    parts : tuple of str
        The tasks that do its work, where it was split.
    """

    key: str
    stage: str
    kind: str
    cause: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlanChanged:
    """The run goes on with another plan: a tile was split or left out.

    Parameters
    ----------
    stages : tuple of Stage
        All stages.
    done : frozenset of str
        The tasks that need not be done again.
    """

    stages: tuple[Stage, ...]
    done: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Waiting:
    """Nothing can be done for the time being.

    Parameters
    ----------
    what : str
        What is waited for.
    """

    what: str


Event = TaskDone | TaskTrouble | PlanChanged | Waiting
Listener = Callable[[Event], None]
