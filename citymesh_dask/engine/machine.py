"""What this machine lets us use: memory, CPUs, room on disk. Asked honestly, never assumed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from ..errors import OptionError
from . import cgroups
from .memory import CLIENT_BYTES, CLIENT_TASK_BYTES, RESERVED_BYTES, SHARED_BYTES, parse_bytes
from .plan import Plan

AUTO_SHARE = 0.6
"""Share of the free memory that ``memory_limit="auto"`` takes."""
SWAP_SHARE = 0.5
"""With more than this of the swap in use the machine is short of memory already: one worker."""
_MOST_WORKERS = 64
_MOST_WORKERS_PER_CPU = 8
_IDLE_BYTES = {"-d": 340 << 20, "-v": 1600 << 20}
"""What an idle process takes of each ``ulimit``, touched or not: data segment (VmData, measured: 288 MiB in a worker
with all kernels, 335 MiB where threads work in one process, with their stacks) and address space (VmSize)."""


@dataclass(frozen=True)
class Machine:
    """Resources that a run may use.

    Parameters
    ----------
    available_bytes : int
        The smaller of the free memory and what the control groups of this process leave.
    cpus : int
        CPUs that this process may run on, by its affinity and the quota of its control groups.
    process_bytes : int or None
        Resident memory that one process may have by ``ulimit -v`` and ``-d``; None where they set none.
    swap_share : float
        Share of the swap that is in use, 0 to 1.
    ulimit : {"", "-v", "-d"}
        The flag of the one that leaves less.
    """

    available_bytes: int
    cpus: int
    process_bytes: int | None = None
    swap_share: float = 0.0
    ulimit: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the machine."""
        if self.swap_share <= SWAP_SHARE:
            return ()
        found = f"{100 * self.swap_share:.0f} % of the swap is in use"
        return (f"{found}: this machine is short of memory, and every step may be slow",)


@dataclass(frozen=True)
class Resources:
    """What a run may use.

    Parameters
    ----------
    allowed_bytes : int
        Memory of the whole process tree.
    n_workers : int
        Processes (or threads) that work side by side.
    scheduler : {"processes", "threads", "synchronous"}
        Whether workers are processes of their own, beside a scheduler.
    process_bytes : int or None
        Resident memory that one process may have at most; None for no limit but ``allowed_bytes``.
    notes : tuple of str
        What the user should know about them.
    n_tasks : int
        Tasks of the run, of which client and scheduler keep something; 0 while they are not known.
    ulimit : str
        The flag of ``ulimit`` that ``process_bytes`` comes from; "" where it is none.
    foreign : bool
        Whether the workers are those of the caller's cluster: client and scheduler take nothing of their memory.
    """

    allowed_bytes: int
    n_workers: int
    scheduler: str = "processes"
    process_bytes: int | None = None
    notes: tuple[str, ...] = ()
    n_tasks: int = 0
    ulimit: str = ""
    foreign: bool = False

    @property
    def client_bytes(self) -> int:
        """Memory of client and scheduler, what they keep of the tasks included."""
        kept = 0 if self.foreign else CLIENT_TASK_BYTES * self.n_tasks
        return (CLIENT_BYTES if self.scheduler == "processes" else 0) + kept

    @property
    def worker_bytes(self) -> int:
        """Resident memory of one worker: what is left beside the scheduler, in equal shares.

        Libraries are the same pages in every worker, so each may count them, while the sum counts them once. In one
        process each thread has the share of a worker that it would have beside the process itself.
        """
        most = self.allowed_bytes if self.process_bytes is None else self.process_bytes
        if self.scheduler == "processes":
            share = SHARED_BYTES + (self.allowed_bytes - SHARED_BYTES - self.client_bytes) // self.n_workers
            share = min(share, most)
        else:
            whole = min(self.allowed_bytes, most) - self.client_bytes
            share = RESERVED_BYTES + (whole - RESERVED_BYTES) // self.n_workers
        return max(share, RESERVED_BYTES)

    @property
    def reserved_bytes(self) -> int:
        """Memory that is taken before the first task: of libraries, scheduler and idle workers."""
        if self.scheduler != "processes":
            return RESERVED_BYTES + self.client_bytes
        return SHARED_BYTES + self.client_bytes + self.n_workers * (RESERVED_BYTES - SHARED_BYTES)

    @property
    def task_bytes(self) -> int:
        """Memory that a task may take beyond an idle worker; below zero where there is not even room for workers."""
        if self.reserved_bytes > self.allowed_bytes:
            return -1
        return self.worker_bytes - RESERVED_BYTES


def allowed_memory(memory_limit: str | int = "auto", machine: Machine | None = None) -> int:
    """Return the memory of the whole process tree, bytes.

    Parameters
    ----------
    memory_limit : str or int
        Such as ``"4GB"``; "auto" takes `AUTO_SHARE` of what is free.
    machine : Machine, optional
        The machine as asked before.

    Raises
    ------
    OptionError
        If it cannot be understood.
    """
    if memory_limit != "auto":
        return parse_bytes(memory_limit)
    return int((machine or survey_machine()).available_bytes * AUTO_SHARE)


def choose_resources(
    memory_limit: str | int = "auto", n_workers: int | str = "auto", *, scheduler: str = "processes"
) -> Resources:
    """Return what a run may use.

    Parameters
    ----------
    memory_limit : str or int
        Memory of the whole process tree, such as ``"4GB"``; "auto" takes `AUTO_SHARE` of what is free.
    n_workers : int or "auto"
        "auto" takes the CPUs that this process may use, fewer where their memory would be short.
    scheduler : {"processes", "threads", "synchronous"}
        Where tasks run.

    Raises
    ------
    OptionError
        If one of them cannot be understood.
    """
    machine, found = _one_worker(memory_limit, n_workers, scheduler)
    if n_workers != "auto":
        return replace(found, n_workers=check_workers(n_workers, machine))
    most = min(most_workers(machine, scheduler), _comfortable(found.allowed_bytes))
    return replace(found, n_workers=max(1, most))


def candidate_resources(
    memory_limit: str | int = "auto", n_workers: int | str = "auto", *, scheduler: str = "processes"
) -> list[Resources]:
    """Return everything that a run may choose from, the best first.

    A number of workers that is asked for is the only candidate. Else there are as many as there are CPUs, then
    fewer, and one process without any scheduler at the end.

    Parameters
    ----------
    memory_limit, n_workers, scheduler
        As for `choose_resources`.

    Raises
    ------
    OptionError
        If one of them cannot be understood.
    """
    machine, first = _one_worker(memory_limit, n_workers, scheduler)
    if n_workers != "auto":
        return [replace(first, n_workers=check_workers(n_workers, machine))]
    most = min(most_workers(machine, scheduler), _MOST_WORKERS)
    found = [replace(first, n_workers=count) for count in range(most, 0, -1)]
    one_process = [replace(first, scheduler="synchronous")] if scheduler != "synchronous" else []
    return found + one_process


def _one_worker(memory_limit: str | int, n_workers: int | str, scheduler: str) -> tuple[Machine, Resources]:
    machine = survey_machine()
    allowed = allowed_memory(memory_limit, machine)
    taken = "; one worker is taken" if n_workers == "auto" else ""
    notes = tuple(f"{note}{taken}" for note in machine.notes)
    return machine, Resources(allowed, 1, scheduler, machine.process_bytes, notes, ulimit=machine.ulimit)


def resources_of(plan: Plan) -> Resources:
    """Return what a plan was made for."""
    facts = plan.facts
    return Resources(
        plan.allowed_bytes,
        plan.n_workers,
        facts.get("scheduler", "processes"),
        facts.get("process_bytes"),
        tuple(facts.get("notes", ())),
        n_tasks=facts.get("n_tasks", 0),
        ulimit=facts.get("ulimit", ""),
        foreign=facts.get("foreign", False),
    )


def _comfortable(allowed_bytes: int) -> int:
    """Return for how many workers there is memory enough that nothing needs to be small."""
    return (allowed_bytes - SHARED_BYTES - CLIENT_BYTES) // (3 * (RESERVED_BYTES - SHARED_BYTES))


def most_workers(machine: Machine, scheduler: str = "processes") -> int:
    """Return how many workers a machine has a use for."""
    return 1 if scheduler == "synchronous" or machine.swap_share > SWAP_SHARE else machine.cpus


def check_workers(n_workers: int | str, machine: Machine) -> int:
    """Return a number of workers that was asked for.

    Raises
    ------
    OptionError
        If it is none, or far beyond what the machine has CPUs for.
    """
    if not isinstance(n_workers, int) or isinstance(n_workers, bool) or n_workers < 1:
        raise OptionError("option n_workers", repr(n_workers), "a whole number of at least 1, or 'auto'")
    most = max(_MOST_WORKERS, _MOST_WORKERS_PER_CPU * machine.cpus)
    if n_workers > most:
        found = f"{n_workers}, while this process may use {machine.cpus} CPU(s)"
        raise OptionError("option n_workers", found, f"at most {most}", "take as many as there are CPUs, or auto")
    return n_workers


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
    return Resources(SHARED_BYTES + CLIENT_BYTES + n_threads * (least - SHARED_BYTES), n_threads, foreign=True)


def survey_machine() -> Machine:
    """Return what the machine, the control groups and the limits of this process allow."""
    free = psutil.virtual_memory().available
    left = [group.left for group in cgroups.memory_groups()]
    swap = psutil.swap_memory()
    share = swap.used / swap.total if swap.total else 0.0
    most, ulimit = _process_limit()
    return Machine(max(min([free, *left]), 0), usable_cpus(), most, share, ulimit)


def usable_cpus() -> int:
    """Return CPUs by affinity and quota; what is left of a quota beyond whole CPUs goes to the scheduler."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroups.cpu_quota()
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def reader_threads(n_workers: int) -> int:
    """Return with how many threads each of some workers unpacks what it reads: their share of the CPUs."""
    return max(usable_cpus() // n_workers, 1)


def _process_limit() -> tuple[int | None, str]:
    """Return the resident memory that one process may have by its limits of data and address space, and which it is.

    Both count what is mapped and never touched, so an idle process takes more of them than of memory.
    """
    try:
        import resource
    except ImportError:  # no such limits on this system
        return None, ""
    soft = {"-d": resource.getrlimit(resource.RLIMIT_DATA)[0], "-v": resource.getrlimit(resource.RLIMIT_AS)[0]}
    rooms = [
        (max(RESERVED_BYTES + limit - _IDLE_BYTES[flag], 0), flag)
        for flag, limit in soft.items()
        if limit != resource.RLIM_INFINITY
    ]
    return min(rooms, default=(None, ""))


def least_ulimit(flag: str, process_bytes: int) -> int:
    """Return what an ``ulimit`` must be set to, kB, for one process to have some resident memory.

    >>> least_ulimit("-v", RESERVED_BYTES + 1)
    1638401
    """
    return -(-(process_bytes - RESERVED_BYTES + _IDLE_BYTES[flag]) // 1024)


def free_space(folder: Path) -> tuple[int, int]:
    """Return the device and the free bytes of the file system that a folder is on, or will be when it is made.

    A file system without any room at all, such as ``/proc``, is no disk: it says so itself when it is written to.
    """
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    usage = shutil.disk_usage(there)
    return there.stat().st_dev, usage.free if usage.total else 1 << 62
