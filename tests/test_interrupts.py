"""Ctrl-C and SIGTERM at every moment, once stops cleanly, twice at once, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from citymesh_dask import cli
from citymesh_dask.engine.signals import signals_held_back, undisturbed
from citymesh_dask.pipelines.checking.check import check_store
from tests.hostile import assert_one_message, results

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

Captured = pytest.CaptureFixture[str]
Moment = Callable[[Path, subprocess.Popen[str]], bool]
GO_ON = "the same command goes on with the tasks that are finished"


def build(town: Path, *, scheduler: str, size: str = "0.4") -> list[str]:
    inputs = ["--footprints", f"{town}/town.gpkg", "--points", f"{town}/town.laz", "--out", "out.zarr", "--quiet"]
    return ["build", *inputs, "--scheduler", scheduler, "--workers", "2", "--tile-size", "15", "--max-mesh-size", size]


def cluster_starts(folder: Path, process: subprocess.Popen[str]) -> bool:
    """The first worker process is there, and nothing is done yet."""
    return any("spawn_main" in " ".join(words) for words in _command_lines(process))


def tiles_are_meshed(folder: Path, process: subprocess.Popen[str]) -> bool:
    return bool(list((folder / "out.zarr.scratch" / "receipts").glob("mesh_tile-*")))


def it_ends(folder: Path, process: subprocess.Popen[str]) -> bool:
    return (folder / "out.zarr").exists() or (folder / ".out.zarr.partial" / "tiles" / "zarr.json").exists()


def _command_lines(process: subprocess.Popen[str]) -> list[list[str]]:
    try:
        return [child.cmdline() for child in psutil.Process(process.pid).children(recursive=True)]
    except psutil.Error:
        return []


def begin(arguments: list[str], folder: Path, moment: Moment) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Begin a run in a group of its own, and return it at the moment, with all its processes."""
    line = [sys.executable, "-m", "citymesh_dask", *arguments]
    process = subprocess.Popen(
        line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=folder
    )
    end = time.monotonic() + 100
    while not moment(folder, process) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    return process, psutil.Process(process.pid).children(recursive=True)


def assert_ended(process: subprocess.Popen[str], children: list[psutil.Process], *, code: int) -> str:
    """Wait for the end of a run; return what it said, one message."""
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert not psutil.wait_procs(children, timeout=10)[1], "no process is left"
    assert_one_message(errors.rstrip("\n"), GO_ON)
    return errors


def assert_goes_on(arguments: list[str], folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command again in this process; return how many tasks were not done again."""
    monkeypatch.chdir(folder)
    words = ["synchronous" if word == "processes" else word for word in arguments]
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert check_store("out.zarr").ok
    return sum(stage["reused"] for stage in (found["report"] or {"stages": []})["stages"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_once_while_the_cluster_starts(number: int, code: int, town: Path, tmp_path: Path) -> None:
    process, children = begin(build(town, scheduler="processes"), tmp_path, cluster_starts)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal sends it to the whole group
    else:
        process.send_signal(number)
    said = assert_ended(process, children, code=code)
    assert ": citymesh build --footprints" in said
    assert results(tmp_path) == []


@pytest.mark.parametrize("moment", [cluster_starts, tiles_are_meshed], ids=lambda moment: moment.__name__)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_twice_ends_at_once(
    number: int,
    code: int,
    moment: Moment,
    town: Path,
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = build(town, scheduler="processes")
    process, children = begin(arguments, tmp_path, moment)
    began = time.monotonic()
    process.send_signal(number)
    time.sleep(0.15)
    process.send_signal(number)
    said = assert_ended(process, children, code=code)
    assert time.monotonic() - began < 5
    assert "stopped at once" in said or "goes on" in said
    assert results(tmp_path) == []
    assert assert_goes_on(arguments, tmp_path, capsys, monkeypatch) > (10 if moment is tiles_are_meshed else -1)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_once_in_one_process(
    scheduler: str, town: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = build(town, scheduler=scheduler)
    process, children = begin(arguments, tmp_path, tiles_are_meshed)
    process.send_signal(signal.SIGINT)
    assert_ended(process, children, code=130)
    assert assert_goes_on(arguments, tmp_path, capsys, monkeypatch) > 10


@pytest.mark.parametrize("times", [1, 2])
def test_while_it_ends(
    times: int, town: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = build(town, scheduler="processes", size="2")
    process, children = begin(arguments, tmp_path, it_ends)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in ((130, 0) if times == 1 else (130,)), errors
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert "Traceback" not in errors
    assert_goes_on(arguments, tmp_path, capsys, monkeypatch)


# ---- the tools ---------------------------------------------------------------------------------------


def test_a_signal_is_held_back_and_let_through() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt):
        with signals_held_back():
            signal.raise_signal(signal.SIGINT)
            steps.append("alive")
        steps.append("never here")
    assert steps == ["alive"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_signal_is_not_held_back() -> None:
    with pytest.raises(KeyboardInterrupt), signals_held_back():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("never here")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_begun_undisturbed_never_sees_an_interrupt_and_is_undone_after_one() -> None:
    undone: list[bytes] = []

    def begin_child() -> bytes:
        os.kill(os.getpid(), signal.SIGINT)
        line = [sys.executable, "-c", "import os; os.kill(os.getpid(), 2); print('alive')"]
        return subprocess.run(line, stdout=subprocess.PIPE, check=True).stdout.strip()

    with pytest.raises(KeyboardInterrupt):
        undisturbed(begin_child, undo=undone.append)
    assert undone == [b"alive"]
    assert undisturbed(lambda: threading.current_thread() is threading.main_thread()) is False


def test_what_nobody_waits_for_any_more_is_undone_when_it_is_there() -> None:
    undone: list[str] = []

    def slow() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        return "begun"

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        undisturbed(slow, undo=undone.append)
    assert time.monotonic() - start < 0.9 and not undone
    while not undone and time.monotonic() - start < 10:
        time.sleep(0.02)
    assert undone == ["begun"]
