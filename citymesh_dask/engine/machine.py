"""What this machine lets us use: memory, CPUs. Asked honestly, never assumed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..errors import OptionError
from .memory import RESERVED_BYTES, parse_bytes

AUTO_SHARE = 0.6
"""Share of the free memory that ``memory_limit="auto"`` takes."""
_MOST_WORKERS = 64
_MOST_WORKERS_PER_CPU = 8


@dataclass(frozen=True)
class Machine:
    """Resources that a run may use.

    Parameters
    ----------
    available_bytes : int
        The smaller of the free memory and what the control group of this process leaves.
    cpus : int
        CPUs that this process may run on.
    """

    available_bytes: int
    cpus: int


@dataclass(frozen=True)
class Resources:
    """What a run may use.

    Parameters
    ----------
    allowed_bytes : int
        Memory of the whole process tree.
    n_workers : int
        Processes (or threads) that work side by side.
    """

    allowed_bytes: int
    n_workers: int

    @property
    def worker_bytes(self) -> int:
        """Memory of one worker: what is left beside the scheduler, in equal shares."""
        return max((self.allowed_bytes - RESERVED_BYTES) // self.n_workers, RESERVED_BYTES)


def choose_resources(memory_limit: str | int = "auto", n_workers: int | str = "auto") -> Resources:
    """Return what a run may use.

    Parameters
    ----------
    memory_limit : str or int
        Memory of the whole process tree, such as ``"4GB"``; "auto" takes `AUTO_SHARE` of what is free.
    n_workers : int or "auto"
        "auto" takes the CPUs that this process may use, fewer where their memory would be short.

    Raises
    ------
    OptionError
        If one of them cannot be understood.
    """
    machine = survey_machine()
    allowed = int(machine.available_bytes * AUTO_SHARE) if memory_limit == "auto" else parse_bytes(memory_limit)
    if n_workers == "auto":
        return Resources(allowed, max(1, min(machine.cpus, allowed // (3 * RESERVED_BYTES))))
    if not isinstance(n_workers, int) or isinstance(n_workers, bool) or n_workers < 1:
        raise OptionError("option n_workers", repr(n_workers), "a whole number of at least 1, or 'auto'")
    most = max(_MOST_WORKERS, _MOST_WORKERS_PER_CPU * machine.cpus)
    if n_workers > most:
        found = f"{n_workers}, while this process may use {machine.cpus} CPU(s)"
        raise OptionError("option n_workers", found, f"at most {most}", "take as many as there are CPUs, or auto")
    return Resources(allowed, n_workers)


def share_resources(worker_limits: Sequence[tuple[int, int]]) -> Resources:
    """Return what a run may use on a running cluster: every thread, with the memory of the smallest share.

    Parameters
    ----------
    worker_limits : sequence of (int, int)
        Threads and memory limit of each worker, bytes; 0 where it has no limit.

    >>> share_resources([(1, 4 << 30), (2, 4 << 30)]).worker_bytes >> 20
    2048
    """
    n_threads = sum(threads for threads, _ in worker_limits)
    shares = [limit // threads for threads, limit in worker_limits if limit]
    least = min(shares, default=survey_machine().available_bytes // max(n_threads, 1))
    return Resources(RESERVED_BYTES + n_threads * least, n_threads)


def survey_machine() -> Machine:
    """Return what the machine and the control groups of this process allow."""
    free = psutil.virtual_memory().available
    left = [limit - used for limit, used in _cgroup_memory()]
    return Machine(max(min([free, *left]), 0), _cpus())


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroup_memory() -> list[tuple[int, int]]:
    """Return (limit, used) of every control group above this process that limits memory."""
    found = []
    for root, relative, limit_name, used_name in _cgroup_folders():
        folder = root / relative.lstrip("/")
        for level in (folder, *folder.parents):
            if not level.is_relative_to(root):
                break
            limit, used = _read_number(level / limit_name), _read_number(level / used_name)
            if limit is not None and used is not None and limit < 1 << 60:
                found.append((limit, used))
    return found


def _cgroup_folders() -> list[tuple[Path, str, str, str]]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, relative = line.split(":", 2)
        if controllers == "":
            folders.append((Path("/sys/fs/cgroup"), relative, "memory.max", "memory.current"))
        elif "memory" in controllers.split(","):
            root = Path("/sys/fs/cgroup/memory")
            folders.append((root, relative, "memory.limit_in_bytes", "memory.usage_in_bytes"))
    return folders


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
