"""Runs hit by ``kill -9`` or a full disk at moments of choice, then the same command until it ends.

What is held against them: the decoded arrays of an undisturbed run, and the log of the work that was really done.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import zarr

from citymesh_dask.config import SETTING_KEYS
from tests.work_log import VARIABLE, done_twice, events

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 300.0
MOST_ATTEMPTS = 4
TARGETS = ("worker", "group", "scheduler")
"""What is killed: one worker, the client with its whole group, or the scheduler that runs by itself."""
OWN_WORKERS = ("--workers", "2", "--memory-limit", "3GB")
"""Arguments of runs that start their own."""


@dataclass(frozen=True)
class Moment:
    """When a run is hit: after so many lines of the work log, and some seconds.

    Parameters
    ----------
    lines : int
        Lines of the log that have come; 0 counts from the start of the command.
    seconds : float
        Waited after that.
    """

    lines: int
    seconds: float


@dataclass
class Outcome:
    """What became of a disturbed run.

    Parameters
    ----------
    codes : list of int
        Exit codes of the attempts; the last is 0 where it came to an end.
    wrong : list of str
        What does not hold; empty where all is well.
    seconds : float
        Wall time of all attempts.
    lines_before : int
        Lines of the log when it was hit.
    """

    codes: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    lines_before: int = 0


@dataclass(frozen=True)
class Scene:
    """A run that can be begun any number of times.

    Parameters
    ----------
    arguments : tuple of str
        Of the command ``citymesh``, without ``--out`` and `OWN_WORKERS`.
    expected : dict of str to array
        All decoded arrays of the undisturbed run.
    lines : int
        Lines of its work log.
    seconds : float
        Its wall time.
    """

    arguments: tuple[str, ...]
    expected: dict[str, Any]
    lines: int
    seconds: float


def undisturbed(arguments: Sequence[str], place: Path) -> Scene:
    """Do the run once and keep what comes out."""
    place.mkdir(parents=True)
    start = time.monotonic()
    ended = run_command([*arguments, *OWN_WORKERS, "--out", str(place / "out.zarr")], place / "work.log")
    assert ended.returncode == 0, ended.stderr
    seconds = time.monotonic() - start
    expected = decoded_arrays(place / "out.zarr")
    lines = len(events(place / "work.log"))
    shutil.rmtree(place)
    return Scene(tuple(arguments), expected, lines, seconds)


def decoded_arrays(store: Path) -> dict[str, Any]:
    """Return every array of a store by its path, as Zarr itself reads it."""
    found = {}
    for file in sorted(store.rglob("zarr.json")):
        node = zarr.open(file.parent, mode="r")
        if isinstance(node, zarr.Array):
            found[str(file.parent.relative_to(store))] = np.asarray(node[...])
    return found


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return what is not the same to the last bit."""
    wrong = [f"array {name} is only in one of them" for name in found.keys() ^ expected.keys()]
    for name in found.keys() & expected.keys():
        a, b = found[name], expected[name]
        alike = a.dtype == b.dtype and a.shape == b.shape
        same = alike and (a.tobytes() == b.tobytes() if a.dtype.kind in "iufb" else bool((a == b).all()))
        if not same:
            wrong.append(f"array {name} differs")
    return wrong


# ---- commands ------------------------------------------------------------------------------------


def command_line(arguments: Sequence[str]) -> list[str]:
    """Return the command with its work logged."""
    return [sys.executable, "-m", "tests.work_log", "build", *arguments]


def environment(log: Path) -> dict[str, str]:
    """Return the environment of a command with a work log; its workers find the tests."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, VARIABLE: str(log), "PYTHONPATH": os.pathsep.join(paths)}


def run_command(arguments: Sequence[str], log: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with more variables of the environment; one that hangs is killed and says so."""
    with begin(arguments, log, **more) as process:
        return _ended(process)


@contextlib.contextmanager
def begin(arguments: Sequence[str], log: Path, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Begin the command in a process group of its own, of which nothing is left afterwards."""
    process = subprocess.Popen(
        command_line(arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=log.parent,
        env=environment(log) | more,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill_group(process)
        process.communicate()


def _ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    try:
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        kill_group(process)
        errors = f"it hangs: nothing after {PATIENCE_SECONDS:g} s; {process.communicate()[1]}"
    return subprocess.CompletedProcess(process.args, process.returncode, "", errors)


def kill_group(process: subprocess.Popen[str]) -> None:
    """Kill a command and all processes of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def wait_for(moment: Moment, log: Path, process: subprocess.Popen[str]) -> bool:
    """Wait for a moment; return False where the command ended before."""
    end = time.monotonic() + PATIENCE_SECONDS
    while len(events(log)) < moment.lines:
        if process.poll() is not None or time.monotonic() > end:
            return False
        time.sleep(0.003)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment.seconds)
    return process.poll() is None


# ---- kills ---------------------------------------------------------------------------------------


def random_moment(scene: Scene, chance: random.Random) -> Moment:
    """Return a moment: half of them spread over the time, half over the work."""
    if chance.random() < 0.5:
        return Moment(0, chance.uniform(0.2, 1.0) * scene.seconds)
    return Moment(chance.randrange(1, scene.lines), chance.uniform(0.0, 0.1))


def killed_run(scene: Scene, target: str, moment: Moment, place: Path) -> Outcome:
    """Run, kill at a moment, run the same command until it ends; return what came of it.

    Parameters
    ----------
    scene : Scene
        The run.
    target : {"worker", "group", "scheduler"}
        What is killed.
    moment : Moment
        When.
    place : Path
        Folder for it; made, and removed if all is well.
    """
    place.mkdir(parents=True)
    outcome, start, killed = Outcome(), time.monotonic(), False
    log, arguments = place / "work.log", [*scene.arguments, "--out", str(place / "out.zarr")]
    with contextlib.ExitStack() as stack:
        scheduler = stack.enter_context(Cluster(log)) if target == "scheduler" else None
        words = [*arguments, *(scheduler.arguments() if scheduler else OWN_WORKERS)]
        with begin(words, log) as process:
            if wait_for(moment, log, process):
                outcome.lines_before = len(events(log))
                killed = _kill(target, process, scheduler)
            outcome.codes.append(_note(_ended(process), outcome, killed=killed))
        for _ in range(MOST_ATTEMPTS):
            if outcome.codes[-1] == 0:
                break
            if scheduler:
                scheduler.start_again()
            outcome.codes.append(_note(run_command(words, log), outcome))
    outcome.seconds = time.monotonic() - start
    outcome.wrong += what_is_wrong(scene, place)
    if not outcome.wrong:
        shutil.rmtree(place)
    return outcome


def _note(ended: subprocess.CompletedProcess[str], outcome: Outcome, *, killed: bool = False) -> int:
    """Keep what a command said where it said too much, or hung; return its exit code."""
    text = ended.stderr.strip()
    if "it hangs" in text or "Traceback" in text:
        outcome.wrong.append(text[-4000:])
    if ended.returncode not in (0, 1) and not (killed and ended.returncode == -signal.SIGKILL):
        outcome.wrong.append(f"exit code {ended.returncode}: {text[-500:]}")
    return ended.returncode


def _kill(target: str, process: subprocess.Popen[str], scheduler: Cluster | None) -> bool:
    """Kill the target, the whole group where there is no worker yet; return whether the client was killed."""
    workers = worker_processes(process.pid) if target == "worker" else []
    if scheduler is not None:
        scheduler.kill_scheduler()
        return False
    if workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[process.pid % len(workers)], signal.SIGKILL)
        return False
    kill_group(process)
    return True


def worker_processes(pid: int) -> list[int]:
    """Return the worker processes of a client."""
    found = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "spawn_main" in " ".join(child.cmdline()):
                    found.append(child.pid)
    return found


def what_is_wrong(scene: Scene, place: Path) -> list[str]:
    """Hold the end of a disturbed run against what must hold."""
    out = place / "out.zarr"
    if not out.is_dir():
        return ["no result came out"]
    wrong = differences(decoded_arrays(out), scene.expected)
    twice = done_twice(place / "work.log")
    if twice:
        wrong.append(f"done again although their receipts were on disk: {' '.join(sorted(set(twice)))[:500]}")
    left = sorted(path.name for path in place.iterdir() if path.name not in ("out.zarr", "work.log"))
    left = [name for name in left if not name.endswith((".report.html", ".log", ".jsonl"))]
    left += [str(path.relative_to(place)) for path in out.rglob("*.partial")]
    return wrong + [f"left over: {name}" for name in left]


class Cluster:
    """A scheduler and two workers as processes of their own, on a port that stays the same.

    Parameters
    ----------
    log : Path
        The work log; their own files go beside it.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._port = _free_port()
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return f"tcp://127.0.0.1:{self._port}"

    def arguments(self) -> list[str]:
        """Return the arguments that let a command use it."""
        return ["--scheduler-address", self.address]

    def __enter__(self) -> Cluster:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def kill_scheduler(self) -> None:
        """Kill the scheduler with SIGKILL."""
        self._processes[0].kill()
        self._processes[0].wait()

    def start_again(self) -> None:
        """Start everything anew at the same address."""
        self._stop()
        self._start()

    def _start(self) -> None:
        scheduler = ["scheduler", "--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard"]
        worker = ["worker", self.address, "--nthreads", "1", "--memory-limit", "1GB", "--no-dashboard"]
        worker += ["--local-directory", str(self._log.parent / "workers.log")]
        for words in (scheduler, worker, worker):
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *words],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=environment(self._log),
                    cwd=self._log.parent,
                    start_new_session=True,
                )
            )
            _wait_until_open(self._port)

    def _stop(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()
        shutil.rmtree(self._log.parent / "workers.log", ignore_errors=True)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_open(port: int) -> None:
    import socket

    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise TimeoutError(f"no scheduler on port {port}")


# ---- a full disk ---------------------------------------------------------------------------------


def filled_run(scene: Scene, where: str, moment: Moment, disk: Path) -> Outcome:
    """Run on a small disk that others fill at a moment; free it, and run the same command again.

    Parameters
    ----------
    scene : Scene
        The run.
    where : {"scratch", "store"}
        What lies on the small disk.
    moment : Moment
        When it is filled.
    disk : Path
        The small disk, empty; so it is left.
    """
    outcome, start = Outcome(), time.monotonic()
    place = disk.parent / f"{disk.name}-beside"
    place.mkdir()
    stores, scratch = (disk, place) if where == "store" else (place, disk)
    log, out = place / "work.log", stores / "out.zarr"
    (scratch / "temp").mkdir()
    words = [*scene.arguments, *OWN_WORKERS, "--out", str(out), "--temp-dir", str(scratch / "temp")]
    words += ["--allow-tmpfs"] * ("allow_tmpfs" in SETTING_KEYS)
    ballast = disk / "ballast"
    with begin(words, log) as process:
        if wait_for(moment, log, process):
            outcome.lines_before = len(events(log))
            fill(ballast)
        ended = _ended(process)
    outcome.codes.append(_note(ended, outcome))
    if ended.returncode:
        facts = ("the disk is full", re.escape(str(disk)), r"free (about [0-9.]+ [MG]B|some room)")
        outcome.wrong += [f"{fact!r} is not in {ended.stderr!r}" for fact in facts if not re.search(fact, ended.stderr)]
        outcome.wrong += ["something passes for a result"] * out.exists()
    ballast.unlink(missing_ok=True)
    if ended.returncode:
        outcome.codes.append(_note(run_command(words, log), outcome))
    outcome.seconds = time.monotonic() - start
    outcome.wrong += _wrong_on_disks(scene, out, log)
    for folder in (disk, place):
        _empty(folder)
    place.rmdir()
    return outcome


def fill(ballast: Path) -> None:
    """Take all room that is left on a disk."""
    with open(ballast, "ab", buffering=0) as file:
        for size in (1 << 22, 1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def _wrong_on_disks(scene: Scene, out: Path, log: Path) -> list[str]:
    if not out.is_dir():
        return ["no result came out"]
    wrong = differences(decoded_arrays(out), scene.expected)
    twice = done_twice(log)
    if twice:
        wrong.append(f"done again although their receipts were on disk: {' '.join(sorted(set(twice)))[:500]}")
    return wrong


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path | None]:
    """Mount a small disk in memory; give None where this process may not."""
    place.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        mounted = shutil.which("mount") is not None and not subprocess.run(words, capture_output=True).returncode
        yield place if mounted else None
    finally:
        if place.is_mount():
            subprocess.run(["umount", "-l", str(place)], check=True)
