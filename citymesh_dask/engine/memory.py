"""Memory in four words: allowed, reserved, projected, measured. Arithmetic and one measurement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import OptionError, PlanError
from .plan import Plan

RESERVED_BYTES = 360 << 20
"""Memory of an idle worker that has worked before (measured: 195 MiB with all libraries, 320 to 355 MiB resident,
about half of it shared with the other processes, with all kernels loaded)."""

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


def check_projection(plan: Plan, worker_bytes: int) -> None:
    """Refuse a plan with a stage whose tasks do not fit into a worker.

    Parameters
    ----------
    plan : Plan
        Stages with their projected memory per task.
    worker_bytes : int
        Memory of one worker, `RESERVED_BYTES` of it for the worker itself.

    Raises
    ------
    PlanError
        Naming the stage that needs most, and the smallest memory that would do.
    """
    stage = max((s for s in plan.stages if s.tasks), key=lambda s: s.projected_bytes, default=None)
    if stage is None or RESERVED_BYTES + stage.projected_bytes <= worker_bytes:
        return
    needed = RESERVED_BYTES + (RESERVED_BYTES + stage.projected_bytes) * plan.n_workers
    raise PlanError(
        f"stage {stage.name}",
        f"a task is projected to need {stage.projected_bytes / 1e6:.0f} MB beside the {RESERVED_BYTES / 1e6:.0f} MB "
        f"of its worker, too much for {plan.n_workers} worker(s) in the {plan.allowed_bytes / 1e6:.0f} MB allowed",
        f"at least {needed / 1e6:.0f} MB for {plan.n_workers} worker(s)",
        f"give --memory-limit {-(-needed // 10**6)}MB, fewer --workers, or a smaller --tile-size",
    )


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
