"""Runs hit by ``kill -9`` at moments of choice, then the same command once more.

What is held against them: the decoded arrays of an undisturbed run, and the log of the work that was really done. Full
disks are in `full_disks`.
"""

from __future__ import annotations

import contextlib
import os
import random
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

from tests.work_log import KILL_CHANGE, VARIABLE, changes, done_twice, events, was_struck

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 300.0
TARGETS = ("worker", "group", "scheduler")
"""What is killed: one worker, the client with its whole group, or the scheduler that runs by itself."""
OWN_WORKERS = ("--workers", "2", "--memory-limit", "3GB")
"""Arguments of runs that start their own."""


@dataclass(frozen=True)
class Moment:
    """When a run is hit: after so many lines of the work log, and some seconds; or before a change of its files.

    Parameters
    ----------
    lines : int
        Lines of the log that have come; 0 counts from the start of the command.
    seconds : float
        Waited after that.
    change : int
        Change of the file system (see `tests.work_log.changes`) that the command does not come to make, counted from
        1; 0 where the other two tell the moment.
    """

    lines: int = 0
    seconds: float = 0.0
    change: int = 0


@dataclass
class Outcome:
    """What became of a disturbed run.

    Parameters
    ----------
    hit : bool
        Whether it was disturbed; else it had ended before, and nothing is known.
    codes : list of int
        Exit codes: of the disturbed run, and of the same command after it where that was needed.
    wrong : list of str
        What does not hold; empty where all is well.
    seconds : float
        Wall time of all.
    lines_before : int
        Lines of the log when it was hit.
    """

    hit: bool = False
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
    changes : int
        Changes of files that its command made itself, without its workers.
    first_changes : int
        Those before the first task.
    """

    arguments: tuple[str, ...]
    expected: dict[str, Any]
    lines: int
    seconds: float
    changes: int
    first_changes: int


def undisturbed(arguments: Sequence[str], place: Path, *, own: Sequence[str] = OWN_WORKERS) -> Scene:
    """Do the run once and keep what comes out."""
    place.mkdir(parents=True)
    start, log = time.monotonic(), place / "work.log"
    ended = run_command([*arguments, *own, "--out", str(place / "out.zarr")], log)
    assert ended.returncode == 0, ended.stderr
    seconds = time.monotonic() - start
    expected, made = decoded_arrays(place / "out.zarr"), changes(log)
    first = sum(change.startswith("begin") for change in made)
    lines = len(events(log))
    shutil.rmtree(place)
    return Scene(tuple(arguments), expected, lines, seconds, len(made), first)


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
        return wait_for_end(process)


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


def wait_for_end(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Return a command that has ended; one that hangs is killed and says so."""
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


def random_moment(scene: Scene, target: str, chance: random.Random) -> Moment:
    """Return a moment: spread over the time from the first on, over the work, or over the files of the command.

    The last only where the command is killed itself: they are what a run begins and ends with, in little time.
    """
    kind = chance.choice(["time", "work", "files"] if target == "group" else ["time", "work"])
    if kind == "files":
        first = chance.random() < 0.5
        return Moment(change=chance.randint(*((1, scene.first_changes) if first else (1, scene.changes))))
    if kind == "time":
        return Moment(0, chance.uniform(0.0, 1.0) * scene.seconds)
    return Moment(chance.randrange(scene.lines), chance.uniform(0.0, 0.1))


def killed_run(scene: Scene, target: str, moment: Moment, place: Path, *, own: Sequence[str] = OWN_WORKERS) -> Outcome:
    """Run, kill at a moment, run the same command once more; return what came of it.

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
    own : sequence of str
        Arguments where it does not use a scheduler that runs by itself.
    """
    place.mkdir(parents=True)
    outcome, start = Outcome(), time.monotonic()
    log, arguments = place / "work.log", [*scene.arguments, "--out", str(place / "out.zarr")]
    with contextlib.ExitStack() as stack:
        scheduler = stack.enter_context(Cluster(log)) if target == "scheduler" else None
        words = [*arguments, *(scheduler.arguments() if scheduler else own)]
        more = {KILL_CHANGE: str(moment.change)} if moment.change else {}
        with begin(words, log, **more) as process:
            outcome.hit = not moment.change and _kill(target, moment, log, process=process, scheduler=scheduler)
            outcome.lines_before = len(events(log))
            ended = wait_for_end(process)
        if was_struck(log):
            outcome.hit, outcome.lines_before = True, len(events(log))
        note_end(ended, outcome, expected=_expected(target, outcome))
        if outcome.hit and ended.returncode:
            if scheduler:
                scheduler.start_again()
            note_end(run_command(words, log), outcome, expected=(0,))
    outcome.seconds = time.monotonic() - start
    if outcome.hit:
        outcome.wrong += what_is_wrong(scene, place)
    if not (outcome.hit and outcome.wrong):
        shutil.rmtree(place)
    return outcome


def _expected(target: str, outcome: Outcome) -> tuple[int, ...]:
    """Return the exit codes that a run may end with when something was killed."""
    if target == "group":
        return (-signal.SIGKILL,)
    # a scheduler that is not there when the run looks for it is a wrong address
    return (0, 1, 2) if target == "scheduler" and not outcome.lines_before else (0, 1)


def note_end(ended: subprocess.CompletedProcess[str], outcome: Outcome, *, expected: Sequence[int]) -> None:
    """Keep the exit code of a command, and what it said where it said too much, hung, or ended in another way."""
    text = ended.stderr.strip()
    if "it hangs" in text or "Traceback" in text:
        outcome.wrong.append(text[-4000:])
    if ended.returncode not in expected:
        outcome.wrong.append(f"exit code {ended.returncode}: {text[-500:]}")
    outcome.codes.append(ended.returncode)


def _kill(target: str, moment: Moment, log: Path, *, process: subprocess.Popen[str], scheduler: Cluster | None) -> bool:
    """Kill the target at a moment, a worker as soon as there is one; return False where the command ended before."""
    if not wait_for(moment, log, process):
        return False
    if scheduler is not None:
        scheduler.kill_scheduler()
        return True
    if target == "group":
        kill_group(process)
        return process.wait() == -signal.SIGKILL
    while process.poll() is None:
        workers = worker_processes(process.pid)
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(workers[process.pid % len(workers)], signal.SIGKILL)
                return True
        time.sleep(0.003)
    return False


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
