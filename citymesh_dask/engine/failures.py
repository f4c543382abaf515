"""Tasks that failed: of which kind, what is known of it, and what a pipeline may do about it."""

from __future__ import annotations

import concurrent.futures
import errno
import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import CityMeshError, InputError, RunError
from .events import TaskTrouble
from .memory import process_memory
from .plan import Plan

_TASK = "in task "
_SHORT = (errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
"""What the system says where room, processes or files are short."""
_MOST_CHARACTERS = 4000
_ENDLESS = "its worker was ended: "
_PEAK = re.compile(r"^with (\d+) bytes resident at most$")


@dataclass(frozen=True)
class Failure:
    """A task that failed by itself, not because of another one.

    Parameters
    ----------
    key, stage : str
        The task and its stage.
    error : BaseException
        What it raised; `distributed.KilledWorker` where its workers died.
    """

    key: str
    stage: str
    error: BaseException

    @property
    def for_memory(self) -> bool:
        """Whether less work or more memory may help."""
        return is_for_memory(self.error)

    @property
    def is_own(self) -> bool:
        """Whether the task itself failed, as far as its error tells."""
        task = getattr(self.error, "task", None) if died(self.error) else None
        if task is not None:  # the key that Dask sees is ours with an ending
            return bool(str(task).startswith(f"{self.key}-"))
        notes = [note for note in getattr(self.error, "__notes__", []) if note.startswith(_TASK)]
        return not notes or task_note(self.key) in notes

    @property
    def peak_bytes(self) -> int:
        """Highest resident memory of its process until it failed; 0 where not known."""
        notes = getattr(self.error, "__notes__", [])
        return next((int(found[1]) for note in notes if (found := _PEAK.match(note))), 0)

    @property
    def cause(self) -> str:
        """What went wrong, as one line for people."""
        if died(self.error):
            why = "its worker process died: killed from outside, for want of memory, or by a library that aborts"
            return endless(self.error) or why
        text = str(self.error) if isinstance(self.error, CityMeshError) else _typed(self.error)
        return " ".join(text.split())


@dataclass(frozen=True)
class Change:
    """How a run goes on without what failed for good.

    Parameters
    ----------
    plan : Plan
        The new plan; a task whose call is that of a finished one is not done again.
    troubles : tuple of TaskTrouble
        What became of the failed tasks.
    """

    plan: Plan
    troubles: tuple[TaskTrouble, ...]


class Recovery(Protocol):
    """What a pipeline can do about failed tasks."""

    def goes_on(self, failure: Failure) -> bool:
        """Whether the other tasks shall be done to the end after a failure that is not for memory."""
        ...

    def replan(self, failures: Sequence[Failure]) -> Change | Failure:
        """Return how to go on without what failed for good; the failure for which that cannot be, if there is one."""
        ...

    def explain(self, failure: Failure) -> BaseException:
        """Return what a run fails with."""
        ...


class NoRecovery:
    """Fails a run with the first task that fails for good."""

    def goes_on(self, failure: Failure) -> bool:
        """Return False."""
        del failure
        return False

    def replan(self, failures: Sequence[Failure]) -> Change | Failure:
        """Return the foremost failure."""
        return foremost(failures)

    def explain(self, failure: Failure) -> BaseException:
        """Return the error that names the task."""
        if isinstance(failure.error, (InputError, RunError)):
            return failure.error
        return failed_run(f"task {failure.key}", failure.error)


def own_failures(plan: Plan, errors: Mapping[str, BaseException]) -> list[Failure]:
    """Return the tasks that failed by themselves: everything that they waited for was done.

    Parameters
    ----------
    plan : Plan
        The tasks of the round.
    errors : mapping of str to BaseException
        What the tasks that failed raised; those that wait for a failed one raise the same.
    """
    stopped = {s.name for s in plan.stages if any(task.key in errors for task in s.tasks)}
    for stage in plan.stages:  # a stage without tasks passes on what it waits for
        if not stage.tasks and any(name in stopped for name in stage.after):
            stopped.add(stage.name)
    found = []
    for stage in plan.stages:
        if any(name in stopped for name in stage.after):
            continue
        for task in stage.tasks:
            error = errors.get(task.key)
            if error is None or any(key in errors for key in task.needs):
                continue
            failure = Failure(task.key, stage.name, error)
            if failure.is_own and not isinstance(error, concurrent.futures.CancelledError):
                found.append(failure)
    return found


def foremost(failures: Sequence[Failure]) -> Failure:
    """Return the failure that a run is said to have failed with: one that is not for memory, if there is one."""
    return min(failures, key=lambda failure: failure.for_memory)


def task_note(key: str) -> str:
    """Return the note that an exception of a task carries."""
    return f"{_TASK}{key}"


def is_for_memory(error: BaseException) -> bool:
    """Whether an error says that memory was short, or that a worker died, which may be the same.

    >>> is_for_memory(MemoryError()), is_for_memory(ZeroDivisionError())
    (True, False)
    """
    if isinstance(error, CityMeshError):
        return False
    no_thread = isinstance(error, RuntimeError) and "start new thread" in str(error)
    no_room = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or no_room or no_thread or died(error)


def shortage(error: BaseException) -> BaseException | None:
    """Return which of the causes of an error says that disk, memory, processes or files are short; None for none."""
    cause: BaseException | None = error
    while cause is not None:
        if is_for_memory(cause) or (isinstance(cause, OSError) and cause.errno in _SHORT):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def died(error: BaseException) -> bool:
    """Whether an error says that the workers of a task died."""
    return type(error).__name__ == "KilledWorker"


def endless_note(found: str) -> str:
    """Return the note that the error of a task carries whose worker was ended because the task did not end."""
    return f"{_ENDLESS}{found}"


def endless(error: BaseException) -> str:
    """Return how long a task ran that did not end; nothing for any other error."""
    notes = getattr(error, "__notes__", [])
    return next((note.removeprefix(_ENDLESS) for note in notes if note.startswith(_ENDLESS)), "")


def may_succeed_again(error: BaseException) -> bool:
    """Whether trying again at once may help: not where memory was short, and not where an input is bad."""
    return not is_for_memory(error) and not isinstance(error, InputError)


def peak_note() -> str:
    """Return the note on memory that the exception of a task carries."""
    memory = process_memory()
    return f"with {memory.peak_bytes if memory else 0} bytes resident at most"


def shorten(error: BaseException) -> None:
    """Shorten the message of an error: Dask makes another one of what is longer than 10,000 characters, without notes.

    >>> error = OSError(5, "long" * 2000)
    >>> shorten(error)
    >>> len(error.args[1]), error.args[1][-8:]
    (4004, 'long ...')
    """
    error.args = tuple(
        f"{part[:_MOST_CHARACTERS]} ..." if isinstance(part, str) and len(part) > _MOST_CHARACTERS else part
        for part in error.args
    )


def let_go(error: BaseException) -> None:
    """Drop what the frames behind an error hold: a worker keeps its errors, and with them arrays of any size."""
    chain: list[BaseException | None] = [error]
    while (last := chain[-1]) is not None and last not in chain[:-1]:
        traceback.clear_frames(last.__traceback__)
        chain.append(last.__cause__ or last.__context__)


def failed_run(where: str, error: BaseException, again: str = "", *, room: str = "some room") -> RunError:
    """Return the error of a run for what went wrong in it, with advice for what people can change.

    Parameters
    ----------
    where : str
        Task, tile or step.
    error : BaseException
        What went wrong; becomes the cause.
    again : str
        How to go on.
    room : str
        How much to free, where a disk is full.
    """
    again = again or "run the same command again to go on from the finished tasks"
    found = Failure("", "", error).cause
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        found, again = f"the disk is full ({error.filename or error})", f"free {room}, then {again}"
    elif endless(error):
        again = f"allow more time with --task-time-limit if it is only slow, then {again}"
    elif is_for_memory(error):
        again = f"allow more memory or fewer workers, then {again}; or choose smaller tiles"
    failure = RunError(where, found, advice=again)
    failure.__cause__ = error
    return failure


def _typed(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
