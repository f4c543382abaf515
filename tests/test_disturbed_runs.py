"""Runs that are disturbed, with the real thing: each ends in one message, leaves no result, and can be gone on with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array
import psutil
import pytest

import citymesh_dask as cm
from citymesh_dask import cli
from citymesh_dask.engine.remote import connect_address
from citymesh_dask.errors import OptionError
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.pipelines.city.tiles import meshes
from tests.hostile import assert_one_message, refused, results
from tests.pipelines.test_city_places import HOLD

Captured = pytest.CaptureFixture[str]


pytestmark = pytest.mark.usefixtures("here")


def build(town: Path, *more: str, scheduler: str = "synchronous", out: str = "out.zarr") -> list[str]:
    inputs = ["--footprints", f"{town}/town.gpkg", "--points", f"{town}/town.laz", "--out", out]
    return ["build", *inputs, "--scheduler", scheduler, "--quiet", "--tile-size", "15", "--max-mesh-size", "4", *more]


def run_again(arguments: list[str], capsys: Captured, done: tuple[str, ...] | None = None) -> int:
    """Run to the end, check the store, and return how many tasks were not done again.

    With ``done``, of all stages before the first tile these only may have done something.
    """
    assert cli.main([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert check_store(answer["store"]).ok
    assert not list(Path(answer["store"]).rglob("*.partial"))
    stages = answer["report"]["stages"]
    if done is not None:
        first = [stage["name"] for stage in stages].index("mesh_tile") + 1
        assert {stage["name"] for stage in stages[:first] if stage["reused"] < stage["tasks"]} == set(done)
    return sum(stage["reused"] for stage in stages)


# ---- a disk that is full -------------------------------------------------------------------------


@pytest.fixture
def small_disk(here: Path) -> Iterator[Callable[[str], Path]]:
    """Return what mounts a small disk, or gives the mounted one another size."""
    place = here / "disk"
    place.mkdir()

    def mount(size: str) -> Path:
        options = f"remount,size={size}" if place.is_mount() else f"size={size}"
        ended = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True)
        if ended.returncode:
            pytest.skip(f"no small disk can be mounted here: {ended.stderr.strip()}")
        return place

    if shutil.which("mount") is None:
        pytest.skip("no small disk can be mounted here: there is no command mount")
    yield mount
    if place.is_mount():
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("where", ["scratch", "store"])
def test_a_full_disk(where: str, town: Path, here: Path, small_disk: Callable[[str], Path], capsys: Captured) -> None:
    disk = small_disk("100k")
    (here / "elsewhere").mkdir()
    arguments = build(town, "--temp-dir", str(disk if where == "scratch" else here / "elsewhere"), "--allow-tmpfs")
    if where == "store":
        arguments = [word.replace("out.zarr", f"{disk}/out.zarr") for word in arguments]
    refused(
        capsys, arguments, "the disk is full (", str(disk), "free about ", " MB, then", "same command again", code=1
    )
    assert not results(disk)
    small_disk("50m")
    assert run_again(arguments, capsys) > 3


def test_a_disk_that_is_too_small_is_refused(town: Path, small_disk: Callable[[str], Path], capsys: Captured) -> None:
    disk = small_disk("8k")
    refused(capsys, build(town, "--allow-tmpfs", out=f"{disk}/out.zarr"), "will be written", "are free", "--out")
    assert not list(disk.iterdir())


def test_a_read_only_disk(town: Path, small_disk: Callable[[str], Path], capsys: Captured) -> None:
    disk = small_disk("1m")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    arguments = build(town, "--allow-tmpfs", out=f"{disk}/out.zarr")
    refused(capsys, arguments, "Read-only file system", "choose another place with --out")


_GROUP = """
import numba
import numpy as np
from citymesh_dask.geometry.grouping import group_labels
print(group_labels(3, np.array([[0, 2]])).tolist(), numba.config.CACHE_DIR)
"""


def test_kernels_are_kept_somewhere_where_neither_package_nor_home_can_be_written(
    tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    disk = small_disk("50m")
    package = Path(cm.__file__).parent
    shutil.copytree(package, disk / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    settings = kept | {"PYTHONPATH": str(disk), "HOME": str(disk), "TMPDIR": str(tmp_path)}
    for _ in range(2):
        line = [sys.executable, "-c", _GROUP]
        ended = subprocess.run(line, capture_output=True, text=True, env=settings, cwd=tmp_path, timeout=120)
        labels, _, folder = ended.stdout.strip().partition("] ")
        assert labels == "[0, 1, 0", ended.stderr
        assert Path(folder).parent == tmp_path and list(Path(folder).rglob("*.nbi"))


# ---- data between the tasks that are damaged -----------------------------------------------------


def begun(arguments: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Begin a run that fails in a tile; return its scratch folder."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a failure for the test")

    with monkeypatch.context() as patched:
        patched.setattr(meshes, "extrude_tile", fail)
        refused(capsys, arguments, "task mesh_tile-", "a failure for the test", "run the same command again", code=1)
    return Path("out.zarr.scratch")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("part", "harm", "stage"),
    [
        ("pieces/00000.arrays", flip, "subdivide_outlines"),
        ("levels/0000.arrays", lambda path: path.write_bytes(b""), "building_levels"),
        ("terrain/00000.arrays", Path.unlink, "fill_terrain"),
        ("receipts/fill_top-0000.json", lambda path: path.write_bytes(path.read_bytes()[:-7]), "fill_top"),
        ("receipts/group_parts-0000.json", flip, "group_parts"),
    ],
)
def test_damaged_scratch(
    part: str,
    harm: Callable[[Path], Any],
    stage: str,
    town: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is damaged is made anew by the same command, and nothing that depends on it but did not change."""
    scratch = begun(build(town), capsys, monkeypatch)
    harm(scratch / part)
    assert run_again(build(town), capsys, done=(stage, "mesh_tile")) > 10


@pytest.mark.parametrize("part", ["job.json", "citymesh-scratch.json"])
def test_a_scratch_folder_that_cannot_be_understood_is_begun_anew(
    part: str, town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    (begun(build(town), capsys, monkeypatch) / part).write_bytes(b"junk")
    assert run_again(build(town), capsys) == 0


def test_a_store_begun_by_another_run_leaves_nothing(town: Path, here: Path, capsys: Captured) -> None:
    (here / ".out.zarr.partial" / "buildings" / "of_another_run").mkdir(parents=True)
    run_again(build(town), capsys)
    assert not (here / "out.zarr" / "buildings" / "of_another_run").exists()


def test_a_store_whose_beginning_is_gone_is_written_again(
    town: Path, here: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a failure for the test")

    with monkeypatch.context() as patched:
        patched.setattr("citymesh_dask.starting.seal_store", fail)
        assert cli.main(build(town)) == 1
    capsys.readouterr()
    shutil.rmtree(here / ".out.zarr.partial")
    assert run_again(build(town), capsys) > 10


def test_another_process_at_work_is_respected(town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(build(town), capsys, monkeypatch)
    line = [sys.executable, "-c", HOLD, "out.zarr"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "claimed\n"
        refused(capsys, build(town), f"another run works on it (process {other.pid})", "wait for it")
        other.kill()
    assert run_again(build(town), capsys) > 10


# ---- signals -------------------------------------------------------------------------------------

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_to_a_run_with_worker_processes(
    number: int, code: int, town: Path, here: Path, capsys: Captured
) -> None:
    """Ctrl-C in a terminal goes to all processes of the group, SIGTERM to the one that was asked for."""
    arguments = build(town, "--workers", "2", "--max-mesh-size", "0.4", scheduler="processes")
    line = [sys.executable, "-m", "citymesh_dask", *arguments]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    receipts = here / "out.zarr.scratch" / "receipts"
    end = time.monotonic() + 100
    while not list(receipts.glob("mesh_tile-*")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert_one_message(errors.rstrip("\n"), "the same command goes on with the tasks that are finished")
    assert results(here) == []
    alive = psutil.wait_procs(children, timeout=5)[1]
    assert not alive
    arguments[arguments.index("processes")] = "synchronous"
    assert run_again(arguments, capsys) > 10


# ---- scripts and schedulers ----------------------------------------------------------------------


def lines_of_unguarded_script(town: Path, *first: str) -> list[str]:
    """Run a script without a guard that builds a city, in the current folder; return what it said on stderr."""
    call = f"cm.build_city_mesh('{town}/town.gpkg', 'out.zarr', points='{town}/town.laz', n_workers=1)"
    lines = ["import citymesh_dask as cm", *first, f"run = {call}", "print(run.result())"]
    Path("script.py").write_text("\n".join(lines))
    ended = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=100)
    assert ended.returncode == 1
    assert "bootstrapping" not in ended.stderr
    return ended.stderr.splitlines()


def test_a_script_without_main_guard(town: Path, here: Path) -> None:
    said = lines_of_unguarded_script(town)
    assert said[-1].startswith("citymesh_dask.errors.OptionError: the main script ")
    assert "script.py: it has no main guard" in said[-1]
    assert "put its code under if __name__ == '__main__':" in said[-1]
    assert len(said) < 20
    assert [path.name for path in here.iterdir()] == ["script.py"], "nothing was begun"


def test_a_script_whose_main_guard_is_in_the_wrong_place(town: Path, here: Path) -> None:
    """It speaks of its name, so the workers must try; they say it, and the run fails as clearly."""
    said = lines_of_unguarded_script(town, "print(__name__)")
    assert said[-1].startswith("citymesh_dask.errors.RunError: local cluster: its workers did not")
    assert "put the code of the script under if __name__ == '__main__':" in said[-1]
    assert len(said) < 45
    assert results(here) == ["script.py"]


def test_schedulers_that_are_not_there() -> None:
    with pytest.raises(OptionError, match=r"tcp://127\.0\.0\.1:9: no answer within 0\.3 s.*dask scheduler"):
        connect_address("tcp://127.0.0.1:9", timeout_seconds=0.3)
    for address in ("nonsense", "http://10.0.0.1"):
        with pytest.raises(OptionError, match="an address such as tcp://"):
            cm.connect(address)
    assert dask.array.ones(3).sum().compute() == 3, "Dask still works without a cluster"


def test_a_run_that_nobody_waits_for_leaves_no_process(town: Path, here: Path) -> None:
    (here / "script.py").write_text(
        f"import psutil, citymesh_dask as cm\n"
        f"if __name__ == '__main__':\n"
        f"    inputs = dict(points='{town}/town.laz', n_workers=1, progress=False)\n"
        f"    run = cm.build_city_mesh('{town}/town.gpkg', 'out.zarr', **inputs)\n"
        f"    print(*[child.pid for child in psutil.Process().children(recursive=True)])\n"
    )
    ended = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=100)
    assert (ended.returncode, ended.stderr) == (0, "")
    pids = [int(text) for text in ended.stdout.split()]
    assert pids
    end = time.monotonic() + 10
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
