"""Ctrl-C and termination: once is a wish to stop cleanly, twice is an order to stop at once.

Signals are the business of the main process alone, and of its main thread, where Python handles them: processes begun
here never see Ctrl-C, which a terminal sends to all of them.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType, TracebackType
from typing import Any, Generic, TypeVar

import psutil

T = TypeVar("T")

_HELD = (signal.SIGINT, signal.SIGTERM)
_JOIN_SECONDS = 0.1


class CommandSignals:
    """What a command line does about signals: the first raises an exception, the second ends the process at once.

    Only for processes that are ours alone: the second one ends all child processes, and runs nothing more.

    Parameters
    ----------
    errors : mapping of int to exception class
        What the first signal of each number raises.
    last_words : callable
        Called before the process ends at once.
    to_the_end : bool
        The process ends after this: once a signal has come, a second one still ends it at once, however late.
    """

    def __init__(
        self, errors: Mapping[int, type[BaseException]], last_words: Callable[[], None], *, to_the_end: bool = False
    ) -> None:
        self.came = 0
        self._to_the_end = to_the_end
        self._errors = errors
        self._last_words = last_words
        self._before: dict[int, Any] = {}

    def __enter__(self) -> CommandSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self.handle) for number in self._errors}
            if self._to_the_end:
                atexit.register(self._ignore)  # first, so that it is called last
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._to_the_end and self.came:
            return
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _ignore(self) -> None:
        """Let nothing change the exit code while Python takes itself apart, which takes a while."""
        if self.came:
            for number in self._before:
                signal.signal(number, signal.SIG_IGN)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Raise, or end the process."""
        del frame
        self.came += 1
        if self.came > 1:
            self.end_at_once(number)
        raise self._errors[number]

    def end_at_once(self, number: int) -> None:
        """End all processes that this one began, and then this one."""
        with contextlib.suppress(Exception):
            self._last_words()
        with contextlib.suppress(OSError):  # other threads would say that their processes are gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    child.kill()
        os._exit(128 + number)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back to the end of the block, then let the first of them through.

    The second one is not held back: what a command line does then, `CommandSignals` says; elsewhere it raises
    KeyboardInterrupt where it comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and only there they run
        return
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)
        _pass_second(before[signal.Signals(number)], number, frame, earlier=len(came) - 1)

    before = {number: signal.signal(number, remember) for number in _HELD}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if came:
        signal.raise_signal(came[0])


def _pass_second(handler: Any, number: int, frame: FrameType | None, *, earlier: int) -> None:
    """Give a signal that is not the first one to those whom it concerns."""
    command = getattr(handler, "__self__", None)
    if isinstance(command, CommandSignals):
        if command.came + earlier > 0:
            command.end_at_once(number)
    elif earlier and callable(handler):
        handler(number, frame)


def undisturbed(function: Callable[[], T], undo: Callable[[T], None] | None = None) -> T:
    """Call a function that begins or ends processes, and hold signals back until it is done.

    A cluster caught half begun or half closed leaves processes and tracebacks behind. The function is called in
    a thread that Ctrl-C never reaches, nor any process that it begins; the main thread waits and can be told twice.

    Parameters
    ----------
    function : callable
        What to do.
    undo : callable, optional
        Is given the result where a signal came, or where nobody waited for it any more.
    """
    if threading.current_thread() is not threading.main_thread():
        with _interrupts_blocked():
            return function()
    task = _Background(function, undo or (lambda _: None))
    try:
        with signals_held_back():
            with _interrupts_blocked():  # the thread inherits it, and keeps it
                task.start()
            while task.is_alive():
                task.join(_JOIN_SECONDS)
    except BaseException:  # a signal came
        with signals_held_back():
            task.undo()
        raise
    return task.take()


class _Background(threading.Thread, Generic[T]):
    """Calls a function; what it gave is taken, or undone as soon as it is there."""

    def __init__(self, function: Callable[[], T], undo: Callable[[T], None]) -> None:
        super().__init__(name="citymesh-undisturbed", daemon=True)
        self._function, self._undo = function, undo
        self._result: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run(self) -> None:
        try:
            self._result.set_result(self._function())
        except BaseException as error:
            self._result.set_exception(error)

    def take(self) -> T:
        """Return the result, or raise."""
        return self._result.result()

    def undo(self) -> None:
        """Undo what was done, now or when it is done."""

        def do(result: concurrent.futures.Future[T]) -> None:
            if result.exception() is None:
                self._undo(result.result())

        self._result.add_done_callback(do)


def begin_tracker() -> None:
    """Begin the process in which multiprocessing keeps account of semaphores.

    It lets SIGINT through in the thread that begins it, so not where signals are held back. When it ends it warns of
    those that a killed worker has left, after all that was to be said: it takes the filter from its environment.
    """
    if not hasattr(resource_tracker, "ensure_running"):
        return
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (before, "ignore:resource_tracker:UserWarning")))
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Keep SIGINT from this thread, and from all threads and processes that are begun in it (not on Windows)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
