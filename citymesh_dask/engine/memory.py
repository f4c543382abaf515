"""Memory in four words: allowed, reserved, projected, measured. Arithmetic and one measurement."""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import OptionError

RESERVED_BYTES = 320 << 20
"""Resident memory of an idle worker that has worked before (measured with all libraries and kernels loaded: 281 MiB
in a worker, 294 MiB where the work is done in one process, and up to 25 MiB that the heap keeps; kernels are
compiled elsewhere)."""
SHARED_BYTES = 144 << 20
"""Of that, pages of library files: the same in all processes, so they count once (measured: 141 to 145 MiB)."""
FILE_SLACK_BYTES = 96 << 20
"""So much more of such pages may lie in memory. How many the kernel maps ahead depends on how a file came into the
page cache (measured: 66 MiB more where the libraries were just installed), and it drops them when it is short."""
CLIENT_BYTES = 160 << 20
"""Beyond these pages, the process with client, scheduler and dashboard (measured: 123 MiB idle)."""
CLIENT_TASK_BYTES = 10 << 10
"""And what it keeps of each task: its future, its state, its receipt."""

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_MOST_BYTES = 10**15
_UNITS |= {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def parse_bytes(text: str | int | float) -> int:
    """Return a number of bytes from text such as ``4GB`` or ``512 MiB``.

    Raises
    ------
    OptionError
        If the text is no positive amount of memory.

    >>> parse_bytes("2GB"), parse_bytes("1.5 MiB"), parse_bytes(1000)
    (2000000000, 1572864, 1000)
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([a-z]*)\s*", str(text).lower())
    if not match or match[2] not in _UNITS or not 0 < float(match[1]) * _UNITS[match[2]] < _MOST_BYTES:
        raise OptionError(
            "option memory_limit", repr(text), "an amount such as 4GB, 512MiB or auto", "write the number and its unit"
        )
    return int(float(match[1]) * _UNITS[match[2]])


class FreedMemory:
    """Memory that is free and that the heap has not given back to the system.

    glibc keeps what lies below the highest array in use: a task would be charged with what those before it left
    (measured: 80 MB after tile tasks). To give it back takes 10 us where nothing is held, 8 ms for 130 MB, and as much
    again for who needs it next, so it is kept for more work of the same kind.
    """

    def __init__(self) -> None:
        self._work: object = None

    def give_back_before(self, work: object) -> None:
        """Give it back unless work of the same kind came before."""
        if work != self._work:
            give_back()
        self._work = work


def give_back() -> None:
    """Give free memory back to the system (glibc's ``malloc_trim(3)``; others need no call)."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@dataclass(frozen=True)
class ProcessMemory:
    """Memory of this process. Of the pages of files no more than `SHARED_BYTES` count: the rest can be dropped.

    Parameters
    ----------
    data_bytes : int
        What counts for ``RLIMIT_DATA`` (Linux: VmData), touched or not.
    resident_bytes : int
        What lies in memory (VmRSS), shared libraries included.
    peak_bytes : int
        The most of it since the process or a measurement began (VmHWM).
    """

    data_bytes: int
    resident_bytes: int
    peak_bytes: int


def process_memory() -> ProcessMemory | None:
    """Return the memory of this process; None where the system does not tell."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = {name: int(size) << 10 for name, size in re.findall(r"(VmData|VmRSS|VmHWM|RssFile):\s+(\d+) kB", text)}
    if len(found) < 4:
        return None
    droppable = max(found["RssFile"] - SHARED_BYTES, 0)
    return ProcessMemory(found["VmData"], found["VmRSS"] - droppable, found["VmHWM"] - droppable)


@dataclass
class PeakMemory:
    """Highest resident memory of this process since the measurement began.

    Parameters
    ----------
    peak_bytes : int
        Filled when the measurement ends; 0 where the system does not tell.
    """

    peak_bytes: int = field(default=0)


@contextmanager
def measure_peak() -> Iterator[PeakMemory]:
    """Measure the peak of resident memory of this process (Linux: VmHWM after a reset; see `ProcessMemory`)."""
    result = PeakMemory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        yield result
        return
    try:
        yield result
    finally:
        memory = process_memory()
        result.peak_bytes = memory.peak_bytes if memory else 0
