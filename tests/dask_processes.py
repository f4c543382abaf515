"""Schedulers and workers as processes of their own, begun by the commands of Dask, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from distributed import Client


class DaskProcesses:
    """A scheduler and its workers.

    Parameters
    ----------
    folder : Path
        For their files.
    flags : sequence of str
        For both commands, such as those of TLS.
    """

    def __init__(self, folder: Path, flags: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._flags = flags
        self._file = folder / "scheduler.json"
        folder.mkdir(parents=True, exist_ok=True)
        listening = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
        self.scheduler = self._begin(
            "scheduler", ["scheduler", *listening, "--scheduler-file", str(self._file), *flags]
        )
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        wait_for(self._is_there)

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        found: str = json.loads(self._file.read_text())["address"]
        return found

    def _is_there(self) -> bool:
        with contextlib.suppress(OSError, ValueError):  # it may be half written
            return bool(self.address)
        return False

    def add_worker(self, name: str, *flags: str, before: tuple[str, ...] = ()) -> None:
        """Begin a worker of one thread; ``before`` are words in front of its command."""
        words = ["worker", "--scheduler-file", str(self._file), "--name", name, "--host", "127.0.0.1", "--no-dashboard"]
        words += ["--nthreads", "1", "--local-directory", str(self._folder), *self._flags, *flags]
        self.workers[name] = self._begin(name, words, before)

    def _begin(self, name: str, words: list[str], before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        line = [*before, sys.executable, "-m", "dask", *words]
        with open(self._folder / f"{name}.log", "wb") as log:
            return subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True)

    def log(self, name: str) -> str:
        """Return what a process said."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        """End all of them with their children."""
        for process in (*self.workers.values(), self.scheduler):
            kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a group, with the group (a worker and its nanny)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


@contextlib.contextmanager
def dask_processes(folder: Path, *workers: str, flags: tuple[str, ...] = ()) -> Iterator[DaskProcesses]:
    """Begin a scheduler and workers, each of 1.5 GB, and end them."""
    cluster = DaskProcesses(folder, flags)
    try:
        for name in workers:
            cluster.add_worker(name, "--memory-limit", "1500MB")
        yield cluster
    finally:
        cluster.close()


def connected(client: Client, count: int) -> None:
    """Wait until so many workers are there."""
    client.wait_for_workers(count, timeout=60)
