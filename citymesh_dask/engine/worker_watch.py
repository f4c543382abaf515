"""What is looked at while a run waits for a cluster: whether workers are there, and whether one is stuck in a task."""

from __future__ import annotations

import concurrent.futures
import contextlib
import heapq
import time
from collections.abc import Mapping
from typing import Any

import psutil
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError

from ..errors import RunError
from .executor import Tell
from .failures import died, endless_note
from .remote import answer_of, scheduler_address, worker_names
from .time_limits import Place, Sightings, TimeLimits

GONE_SECONDS = 60.0
"""So long our own workers may be gone before a run fails."""
ASK_SECONDS = 5.0
"""So often the scheduler of others is asked for its workers as long as nothing ends."""
_SILENT_SECONDS = 2.0
"""Of ten workers each tells twice a second what it is at, of thousands every few seconds."""


class WorkerWatch:
    """Watches the workers of a cluster.

    Our own workers are ended where a task does not end, which is then told of its failure (`explain`). Workers of
    others are left alone: it is said once what is waited for.

    Parameters
    ----------
    client : distributed.Client
        Connected client.
    cluster : distributed.LocalCluster, optional
        The cluster behind it if it is ours.
    limits : TimeLimits
        How long tasks may run.
    """

    def __init__(self, client: Client, cluster: LocalCluster | None, limits: TimeLimits) -> None:
        self._client, self._cluster = client, cluster
        self._address = scheduler_address(client)
        self._limits = limits
        self._has_workers = True
        self._can_see = True
        if cluster is not None:
            client.run_on_scheduler(bear_silence)
        self.begin({}, lambda _: None)

    def begin(self, names: Mapping[str, str], tell: Tell) -> None:
        """Watch over tasks from now on, whose names are given by the key that Dask sees."""
        self._names, self._tell = names, tell
        self._last_seen = self._last_news = time.monotonic()
        self._sightings = Sightings(self._limits.look_seconds())
        self._late: dict[str, str] = {}

    def something_ended(self) -> None:
        """Take note that tasks ended."""
        self._last_news = time.monotonic()

    def longest_seconds(self) -> float:
        """Return how long any of the tasks may run."""
        return max(map(self._limits.seconds, self._names.values()), default=0.0)

    def look(self) -> None:
        """Look at the workers, no more often than necessary.

        Raises
        ------
        RunError
            If all workers of our own cluster are gone and none comes back; to those of others new ones may come.
        """
        if self._cluster is None:
            self._ask_for_workers()
        elif self._cluster.scheduler.workers:
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > GONE_SECONDS:
            raise RunError(
                "local cluster",
                f"its workers died, and none could be started again within {GONE_SECONDS:g} s",
                "memory and processes that are left for a worker",
                "look for what ended them in the log of the system; the same command goes on from the finished tasks",
            )
        if self._can_see and self._sightings.is_due(time.monotonic()):
            self._look_for_late()

    def explain(self, name: str, error: BaseException) -> None:
        """Say in the error of a task whose worker was ended for it why that was done."""
        if self._cluster is not None and name in self._late and died(error):
            error.add_note(endless_note(f"it ran for {self._late[name]}"))

    def _ask_for_workers(self) -> None:
        now = time.monotonic()
        if now - self._last_news > ASK_SECONDS:
            self._last_news = now
            known = answer_of(self._client, lambda: self._client.scheduler_info(n_workers=1))
            there = bool(known["workers"])
            if self._has_workers and not there:
                self._tell(f"workers of {self._address}: all have left")
            self._has_workers = there

    def _look_for_late(self) -> None:
        """Do what can be done about tasks that run for too long."""
        try:
            silent = max(self._limits.look_seconds(), _SILENT_SECONDS)
            running = answer_of(self._client, lambda: self._client.run_on_scheduler(running_tasks, silent))
        except (CommClosedError, concurrent.futures.CancelledError):
            raise
        except Exception:  # a scheduler of others that does not have this package
            self._can_see = self._cluster is not None
            return
        for place, seconds in self._sightings.add(running, time.monotonic()).items():
            name = self._names.get(place[1], "")
            if seconds <= self._limits.seconds(name):
                continue
            found = self._limits.describe(name, seconds)
            if self._cluster is not None:
                self._late[name] = found
                self._end(self._cluster, place)
            elif name and name not in self._late:
                self._late[name] = found
                worker = answer_of(self._client, lambda: worker_names(self._client)).get(place[0], place[0])
                self._tell(f"task {name}, which has run for {found} on worker {worker}; it is not stopped")

    def _end(self, cluster: LocalCluster, place: Place) -> None:
        """End the worker of a task as if it had died by itself; its nanny starts another one."""
        address, key = place
        if key in self._names:
            self._client.run_on_scheduler(blame, key)
        for nanny in list(cluster.workers.values()):
            pid = nanny.pid if nanny.worker_address == address else None
            if pid is not None:  # else it has died meanwhile
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).kill()
        self._client.run_on_scheduler(give_up, address)


def bear_silence(dask_scheduler: Any) -> None:
    """Have workers not ended that are silent: here it is told by their tasks what is stuck.

    Dask ends them after five minutes by the clock on the wall: those whose task keeps the interpreter for so long, and
    all of a laptop that was asleep.
    """
    silence = dask_scheduler.periodic_callbacks.pop("worker-ttl", None)
    if silence is not None:
        silence.stop()


def running_tasks(silent_seconds: float, dask_scheduler: Any) -> list[Place]:
    """Return what runs where, as far as a scheduler knows.

    Workers tell it with every heartbeat. One that has been silent for so long, as some library keeps its interpreter,
    is at the task that came first; or at the next one, if it could not tell any more that this is done. It is then
    done in no time when it is tried alone, and the other one is found after it.
    """
    found: list[Place] = []
    now = time.time()
    for address, worker in dask_scheduler.workers.items():
        told = [task for task in worker.executing if task in worker.processing]
        if told or now - worker.last_seen <= silent_seconds:
            found += [(address, task.key) for task in told]
            continue
        first = heapq.nsmallest(worker.nthreads, worker.processing, key=lambda task: task.priority)
        found += [(address, task.key) for task in first]
    return found


def blame(key: str, dask_scheduler: Any) -> None:
    """Let a task fail with its worker: Dask does not try it anew, which would take as long."""
    task = dask_scheduler.tasks.get(key)
    if task is not None:
        task.suspicious = dask_scheduler.allowed_failures


async def give_up(address: str, dask_scheduler: Any) -> None:
    """Take a worker for dead, which may not have been noticed yet."""
    await dask_scheduler.remove_worker(address, stimulus_id="time-limit", close=False)
