"""Memory in four words: allowed, reserved, projected, measured. Arithmetic and one measurement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import OptionError

RESERVED_BYTES = 200 << 20
"""Memory of an idle worker with all libraries loaded (measured: 187 MB of data, 92-125 MB resident)."""

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
    if not match or match[2] not in _UNITS or not 0 < float(match[1]) < 1e30:
        raise OptionError(
            "option memory_limit", repr(text), "an amount such as 4GB, 512MiB or auto", "write the number and its unit"
        )
    return int(float(match[1]) * _UNITS[match[2]])


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
    """Measure the peak of resident memory of this process (Linux: VmHWM after a reset)."""
    result = PeakMemory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        yield result
        return
    try:
        yield result
    finally:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        result.peak_bytes = int(found[1]) * 1024 if found else 0
