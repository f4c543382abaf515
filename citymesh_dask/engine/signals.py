"""Signals while worker processes begin and end: Ctrl-C and termination are the business of the main process alone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_HELD = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back to the end of the block, then let the first of them through.

    A cluster caught half begun or half closed leaves processes and tracebacks behind. A Ctrl-C in a
    terminal moreover goes to all processes of the group: those begun in the block never get it, nor
    do their own children, so that only the main process says something.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers, and only there they run
        return
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)

    before = {number: signal.signal(number, remember) for number in _HELD}
    can_block = hasattr(signal, "pthread_sigmask")  # not on Windows
    # Threads and processes inherit the mask, through exec as well; handlers they do not.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else set()
    try:
        yield
    finally:
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if came:
        signal.raise_signal(came[0])
