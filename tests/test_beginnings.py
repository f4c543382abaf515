"""Runs that are stopped while they begin, folders that were moved, and several runs that want one output."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import citymesh_dask as cm
from citymesh_dask import cli, starting
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.pipelines.city import begin, job, resume
from citymesh_dask.pipelines.city.ending import finish
from tests.hostile import assert_one_message, refused, results, stopped

Captured = pytest.CaptureFixture[str]
posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
pytestmark = pytest.mark.usefixtures("here")

TALLER = ("--min-building-height", "30")
"""Other options than those of `build`, which one sees in the result."""


def build(town: Path, *more: str, out: str = "out.zarr") -> list[str]:
    inputs = ["--footprints", f"{town}/town.gpkg", "--points", f"{town}/town.laz", "--out", out]
    small = ["--scheduler", "synchronous", "--tile-size", "15", "--max-mesh-size", "4", "--quiet"]
    return ["build", *inputs, *small, *more]


def run(arguments: list[str], capsys: Captured) -> int:
    """Run to the end, and return how many tasks were not done again; nothing but the result is left."""
    assert cli.main([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    out = Path(answer["store"])
    assert check_store(out).ok
    left = [path.name for path in out.parent.iterdir() if path.name.startswith((".out", "out.zarr."))]
    assert not left, left
    return sum(stage["reused"] for stage in answer["report"]["stages"])


def killed(arguments: list[str], module: Any, name: str, *, after: bool = False) -> None:
    """Run a command in a process of its own that is killed where a function is called, or when it has ended."""
    lines = [
        "import os, sys, importlib, citymesh_dask.starting",
        f"module = importlib.import_module({module.__name__!r})",
        f"real = getattr(module, {name!r})",
        "def end(*given, **named):",
        f"    if {after}: real(*given, **named)",
        "    os.kill(os.getpid(), 9)",
        f"setattr(module, {name!r}, end)",
        "from citymesh_dask import cli",
        "sys.exit(cli.main(sys.argv[1:]))",
    ]
    line = [sys.executable, "-c", "\n".join(lines), *arguments]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=100)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


# ---- stopped while it begins ---------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    ("module", "name", "after"),
    [(job, "_describe", False), (begin, "save_job", True), (begin, "sweep", False), (begin, "make_folder", True)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_job_is_never_taken_for_that_of_another_command(
    module: Any, name: str, after: bool, town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command is interrupted, another one is killed while it begins on the same output; the first again."""
    stopped(build(town), capsys, monkeypatch)
    killed(build(town, *TALLER), module, name, after=after)
    assert run(build(town), capsys) > 10
    found = cm.open_mesh("out.zarr")
    assert found.attributes["options"]["min_building_height"] == 2
    run(build(town, out="other.zarr"), capsys)
    whole = cm.open_mesh("other.zarr")
    assert found.attributes["fingerprint"] == whole.attributes["fingerprint"]
    assert np.array_equal(found.buildings["roof_z"], whole.buildings["roof_z"])


@posix
def test_a_full_disk_while_another_command_begins(
    town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    stopped(build(town), capsys, monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(job, "describe_tiles", full)
        refused(capsys, build(town, *TALLER), "the disk is full", "free about ", " MB and run this command again")
    assert run(build(town), capsys) > 10
    assert cm.open_mesh("out.zarr").attributes["options"]["min_building_height"] == 2


STEPS = [
    (begin, "clear_folder", False),
    (begin, "clear_folder", True),
    (begin, "take_over", False),
    (os, "link", True),
    (begin, "take_over", True),
    (begin, "sweep", True),
    (job, "describe_tiles", False),
    (begin, "save_job", True),
]


@posix
@pytest.mark.parametrize(
    ("module", "name", "after"),
    [*STEPS[:3], *(pytest.param(*step, marks=pytest.mark.full) for step in STEPS[3:])],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_nothing_that_a_killed_beginning_leaves_is_in_the_way(
    module: Any, name: str, after: bool, town: Path, capsys: Captured
) -> None:
    run(build(town), capsys)
    changed = build(town, *TALLER, "--overwrite")
    killed(changed, module, name, after=after)
    run(changed, capsys)
    assert cm.open_mesh("out.zarr").attributes["options"]["min_building_height"] == 30


@posix
@pytest.mark.parametrize(("module", "name"), [(begin, "sweep"), (job, "describe_tiles"), (begin, "save_job")])
def test_nothing_that_the_first_beginning_leaves_is_in_the_way(
    module: Any, name: str, town: Path, capsys: Captured
) -> None:
    killed(build(town), module, name)
    assert run(build(town), capsys) == 0


@posix
@pytest.mark.parametrize("more", [(), ("--restart",)])
def test_nothing_that_a_killed_restart_leaves_is_in_the_way(
    more: tuple[str, ...], town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(build(town), capsys, monkeypatch)
    killed(build(town, "--restart"), begin, "clear_folder", after=True)
    assert run(build(town, *more), capsys) == 0


@pytest.mark.parametrize(("module", "name", "after"), STEPS, ids=lambda value: getattr(value, "__name__", value))
def test_nothing_that_an_interrupted_beginning_leaves_is_in_the_way(
    module: Any, name: str, after: bool, town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(build(town), capsys)
    changed, real = build(town, *TALLER, "--overwrite"), getattr(module, name)

    def interrupt(*given: Any, **named: Any) -> None:
        if after:
            real(*given, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, name, interrupt)
        assert cli.main(changed) == 130
    assert_one_message(capsys.readouterr().err.rstrip("\n"), "interrupted")
    run(changed, capsys)


@posix
def test_a_scratch_folder_half_removed_is_not_in_the_way(town: Path, capsys: Captured) -> None:
    """The result has its name, and the process is killed while it cleans up."""
    arguments = build(town)
    killed(arguments, resume, "clear_folder", after=True)
    assert Path("out.zarr.scratch").exists() and check_store("out.zarr").ok
    assert cli.main(arguments) == 0
    capsys.readouterr()
    assert not Path("out.zarr.scratch").exists()
    run(build(town, *TALLER, "--overwrite"), capsys)


# ---- folders that were moved ---------------------------------------------------------------------


def test_a_project_that_was_moved_is_gone_on_with(
    town: Path, here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "before").mkdir()
    stopped(build(town, out="before/out.zarr"), capsys, monkeypatch)
    (here / "before").rename(here / "after")
    assert run(build(town, out="after/out.zarr"), capsys) > 10
    assert not (here / "before").exists()


def test_a_copy_of_a_project_has_all_of_its_own(
    town: Path, here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was assembled stays in the first one, which a copy without hidden files does not have."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a failure for the test")

    (here / "first").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr("citymesh_dask.starting.seal_store", fail)
        assert cli.main(build(town, out="first/out.zarr")) == 1
    capsys.readouterr()
    (here / "copy").mkdir()
    shutil.copytree(here / "first" / "out.zarr.scratch", here / "copy" / "out.zarr.scratch")
    before = sorted((here / "first").rglob("*"))
    assert run(build(town, out="copy/out.zarr"), capsys) > 10
    assert sorted((here / "first").rglob("*")) == before


@posix
@pytest.mark.parametrize("temp", [(), ("--temp-dir", "temp")])
def test_a_project_reached_by_another_path_is_gone_on_with(
    temp: tuple[str, ...], town: Path, here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("real", "temp"):
        (here / name).mkdir()
    (here / "link").symlink_to(here / "real")
    stopped(build(town, *temp, out="real/out.zarr"), capsys, monkeypatch)
    assert run(build(town, *temp, out="link/out.zarr"), capsys) > 10
    assert list((here / "temp").iterdir()) == []


def test_a_scratch_folder_of_another_output_is_refused(
    town: Path, here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "temp").mkdir()
    temp = ("--temp-dir", "temp")
    stopped(build(town, *temp), capsys, monkeypatch)
    (scratch,) = (here / "temp").iterdir()
    mark = scratch / "citymesh-scratch.json"
    mark.write_text(mark.read_text().replace(f"{here}/out.zarr", "/elsewhere/out.zarr"))
    before = sorted(scratch.rglob("*"))
    for more in ((), ("--restart",)):
        refused(capsys, build(town, *temp, *more), "of another output, /elsewhere/out.zarr", "--temp-dir")
    assert sorted(scratch.rglob("*")) == before


@pytest.mark.parametrize("name", ["job.json", "citymesh-scratch.json"])
def test_what_cannot_be_read_is_not_thrown_away(
    name: str, town: Path, here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(build(town), capsys, monkeypatch)
    scratch = here / "out.zarr.scratch"
    assert (scratch / name).exists()
    before, real = sorted(scratch.rglob("*")), Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", read)
        patched.setattr(Path, "read_text", lambda path, **_: read(path).decode())
        job._load_job.cache_clear()
        refused(capsys, build(town), "cannot be read (Input/output error)", "--restart")
    assert sorted(scratch.rglob("*")) == before
    assert run(build(town), capsys) > 10


# ---- several runs that want one output -----------------------------------------------------------


@posix
@pytest.mark.parametrize("first", [("--temp-dir", "one"), ("--no-use-disk-store",)])
def test_all_kinds_of_runs_keep_out_of_one_anothers_way(
    first: tuple[str, ...], town: Path, here: Path, capsys: Captured
) -> None:
    for name in ("one", "two"):
        (here / name).mkdir()
    slow = ["--max-mesh-size", "0.3", "--scheduler", "threads", "--workers", "1"]
    line = [sys.executable, "-m", "citymesh_dask", *build(town, *first, *slow)]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: bool(list(here.glob(".out.zarr*partial"))), process)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)  # its threads stop one after the other
        before = sorted(here.rglob("*"))
        for more in (("--temp-dir", "two"), ("--temp-dir", "one"), (), ("--no-use-disk-store",), ("--restart",)):
            said = f"another run works on it (process {process.pid})"
            refused(capsys, build(town, *more), said, "wait for it, or stop it and run this command again")
        assert sorted(here.rglob("*")) == before
        process.send_signal(signal.SIGCONT)
        errors = process.communicate(timeout=100)[1]
        assert process.returncode == 0, errors
    assert check_store("out.zarr").ok


def test_a_run_whose_progress_nobody_reads_goes_on(town: Path, here: Path) -> None:
    line = [sys.executable, "-m", "citymesh_dask", *(word for word in build(town) if word != "--quiet")]
    with subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.close()
        process.communicate(timeout=100)
    assert process.returncode == 0
    assert check_store("out.zarr").ok


def wait_until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not there():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("other", [(), TALLER])
def test_a_run_that_ended_while_another_one_looked_around(
    other: tuple[str, ...], town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = starting.find_chooser

    def late(*given: Any) -> Any:
        chooser = real(*given)
        with monkeypatch.context() as patched:
            patched.setattr(starting, "find_chooser", real)
            assert cli.main(build(town, *other)) == 0
        return chooser

    monkeypatch.setattr(starting, "find_chooser", late)
    ended = cli.main(build(town))
    said = capsys.readouterr().err
    assert cm.open_mesh("out.zarr").attributes["options"]["min_building_height"] == (30 if other else 2)
    if other:
        assert ended == 2
        assert_one_message(said.rstrip("\n"), "it holds the result of another run", "pass --overwrite")
    else:
        assert ended == 0


def test_a_run_in_memory_that_fails_leaves_nothing(
    town: Path, here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(build(town, "--no-use-disk-store"), capsys, monkeypatch)
    assert list(here.iterdir()) == []
    line = [sys.executable, "-m", "citymesh_dask", *build(town, "--no-use-disk-store")]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stderr


def test_a_store_begun_by_a_run_with_another_scratch_folder_leaves_nothing(
    town: Path, here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (here / name).mkdir()

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a failure for the test")

    with monkeypatch.context() as patched:
        patched.setattr("citymesh_dask.starting.seal_store", fail)
        for place in ("one", "two"):
            assert cli.main(build(town, "--temp-dir", place)) == 1
    (here / ".out.zarr.partial" / "buildings" / "of_the_second_run").mkdir()
    capsys.readouterr()
    run(build(town, "--temp-dir", "one"), capsys)
    assert not (here / "out.zarr" / "buildings" / "of_the_second_run").exists()


# ---- a loss of power -----------------------------------------------------------------------------


def test_a_store_gets_its_name_when_it_is_on_the_disk(
    town: Path, here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool, bool]] = []

    def note(name: str) -> Callable[[Path], None]:
        return lambda path: seen.append((f"{name} {path.name}", (here / "out.zarr").exists(), scratch.exists()))

    scratch = here / "out.zarr.scratch"
    monkeypatch.setattr(finish, "sync_file_system", note("all of"))
    monkeypatch.setattr(finish, "sync_folder", note("names in"))
    run(build(town), capsys)
    assert seen == [("all of .out.zarr.partial", False, True), (f"names in {here.name}", True, True)]


def test_what_does_not_come_to_the_disk_is_no_result(
    town: Path, here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))

    with monkeypatch.context() as patched:
        patched.setattr(finish, "sync_file_system", fail)
        refused(capsys, build(town), "Input/output error", code=1)
    assert run(build(town), capsys) > 10


# ---- a disk for the scratch folder that cannot be used -------------------------------------------


def mounted(place: Path, options: str) -> Path:
    """Mount a small disk in memory at a new folder."""
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    return place


@pytest.fixture
def disk(tmp_path: Path) -> Any:
    """Return what mounts a small disk with some options."""
    place = tmp_path / "disk"
    yield lambda options: mounted(place, options)
    if place.is_mount():
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    with open(place / "ballast", "ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


@pytest.mark.parametrize("there", [False, True], ids=["new", "begun before"])
@pytest.mark.parametrize("how", ["read-only", "full", "no more files"])
def test_a_disk_for_scratch_data_that_cannot_be_used_is_refused(
    how: str, there: bool, town: Path, here: Path, disk: Any, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = disk("size=8m,nr_inodes=200")
    arguments = build(town, "--temp-dir", str(place), "--allow-tmpfs")
    if there:
        stopped(arguments, capsys, monkeypatch)
    shutil.rmtree(here / ".out.zarr.partial", ignore_errors=True)
    facts = [str(place)]
    if how == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        facts += ["Read-only file system", "choose another place with --temp-dir"]
    elif how == "full":
        fill(place)
        facts += ["are free", "--temp-dir"] if not there else []
    else:
        for number in range(200):
            try:
                (place / f"file{number}").touch()
            except OSError:
                break
        facts += ["the disk is full", "free about ", "--temp-dir"]
    monkeypatch.setattr(starting, "_start", lambda *_, **__: pytest.fail("it has begun"))
    refused(capsys, arguments, *facts)
    assert results(here) == ["disk"]
    assert not [path for path in here.iterdir() if path.name.startswith(".out")]
