"""A poisonous tile never hangs or kills a run: it fails it with a message, is split, or leaves a hole that is named."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import citymesh_dask as cm
from citymesh_dask import cli
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.pipelines.city.job import job_file, load_job
from citymesh_dask.report import report_path
from citymesh_dask.store.city_store import open_store
from tests import poison
from tests.hostile import assert_one_message, results

Captured = pytest.CaptureFixture[str]
Poisoned = Callable[..., None]

SCHEDULERS = ("synchronous", "threads", "processes")
N_TILES = 12
TILE, LOST_TILE = 5, 6
"""A tile of ground at the edge, and one with a house."""


pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Poisoned:
    """Return what poisons a tile, in this process and in worker processes."""
    poison.poisoned_workers(monkeypatch)
    monkeypatch.setenv("POISON_MARK", str(tmp_path / "mark"))

    def set_poison(kind: str, tile: int = TILE, amount: int = 0) -> None:
        monkeypatch.setenv("POISON", f"{kind}:{tile}:{amount}")

    return set_poison


def build(town: Path, *more: str, scheduler: str = "synchronous", tile_size: int = 15) -> list[str]:
    inputs = ["--footprints", f"{town}/town.gpkg", "--points", f"{town}/town.laz", "--out", "out.zarr"]
    options = ["--tile-size", str(tile_size), "--max-mesh-size", "4", "--workers", "2"]
    return ["build", *inputs, "--scheduler", scheduler, "--quiet", *options, *more]


def answer(arguments: list[str], capsys: Captured, *, code: int = 0) -> dict[str, Any]:
    """Run the command and return what it says with ``--json``."""
    ended = cli.main([*arguments, "--json"])
    captured = capsys.readouterr()
    assert ended == code, captured.err
    found: dict[str, Any] = json.loads(captured.out)
    return found


def arrays(path: str = "out.zarr") -> list[Any]:
    store = open_store(path)
    return [store.read(name) for name in ("vertices", "faces", "markers", "tiles/bounds")]


def same(first: list[Any], second: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def reference(town: Path, capsys: Captured) -> list[Any]:
    """Return the arrays of an undisturbed build elsewhere."""
    answer([word.replace("out.zarr", "whole.zarr") for word in build(town)], capsys)
    return arrays("whole.zarr")


# ---- a tile that fails -------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_tile_that_fails_ends_the_run_with_its_name_and_the_next_one_goes_on(
    scheduler: str, town: Path, here: Path, poisoned: Poisoned, capsys: Captured
) -> None:
    poisoned("fail")
    assert cli.main(build(town, scheduler=scheduler)) == 1
    message = capsys.readouterr().err.rstrip("\n")
    where = "task mesh_tile-0005, tile 5 (x 1045.0 to 1060.0 m, y 2000.0 to 2013.3 m): ZeroDivisionError: poisoned; "
    advice = "do without this tile with --on-error skip, or run the same command again to go on from the finished tasks"
    assert_one_message(message, where, advice, f": citymesh {shlex.join(build(town, scheduler=scheduler))}")
    assert results(here) == []
    poisoned("none")
    again = answer(build(town), capsys)
    assert sum(stage["reused"] for stage in again["report"]["stages"]) > 15
    assert same(arrays(), reference(town, capsys))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_tile_that_fails_once_is_tried_again(
    scheduler: str, town: Path, poisoned: Poisoned, here: Path, capsys: Captured
) -> None:
    poisoned("fail_once")
    assert cli.main(build(town, "--retries", "0")) == 1
    assert "poisoned once" in capsys.readouterr().err
    (here / "mark").unlink()
    kinds = []
    options = {"tile_size": 15, "max_mesh_size": 4.0, "progress": False, "n_workers": 2}
    run = cm.build_city_mesh(town / "town.gpkg", "o.zarr", points=town / "town.laz", scheduler=scheduler, **options)
    run.result(120)
    kinds = [(trouble.key, trouble.kind, trouble.cause) for trouble in run.troubles]
    assert kinds == [("mesh_tile-0005", "retried", "OSError: [Errno 5] poisoned once")]


# ---- holes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_hole_is_named_everywhere(scheduler: str, town: Path, poisoned: Poisoned, capsys: Captured) -> None:
    poisoned("fail", LOST_TILE)
    found = answer(build(town, "--on-error", "skip", scheduler=scheduler), capsys, code=1)
    (line,) = found["report"]["holes"]
    assert line.startswith("tile 6, x 1030.0 to 1045.0 m, y 2013.3 to 2026.7 m: ZeroDivisionError: poisoned")
    assert line.endswith("1 building missing with it")
    assert not found["certificate"]["area_exact"] and found["certificate"]["open_edges"] == 0
    mesh = cm.open_mesh("out.zarr")
    assert mesh.buildings["status"].tolist() == ["meshed", "skipped"]
    assert mesh.buildings["reason"].tolist() == ["", "tile failed: ZeroDivisionError: poisoned"]
    assert mesh.buildings["volume"][1] == mesh.buildings["area"][1] == 0
    assert "MISSING" in report_path(mesh.path).read_text().upper()
    report = check_store("out.zarr")
    assert [problem.kind for problem in report.problems] == ["hole where a tile failed"]
    assert "The mesh does not hold" in report.describe() and "ZeroDivisionError: poisoned" in report.describe()
    assert cli.main(["check", "out.zarr"]) == 1
    poisoned("none")
    capsys.readouterr()
    assert answer(build(town), capsys, code=1)["report"]["holes"] == [line], "complete already, and still not whole"
    assert answer(build(town, "--overwrite"), capsys)["certificate"]["area_exact"], "tried again"
    assert check_store("out.zarr").ok


@pytest.mark.parametrize("tile", range(N_TILES))
def test_the_rim_of_every_hole_is_proved(tile: int, town: Path, poisoned: Poisoned, capsys: Captured) -> None:
    poisoned("fail", tile)
    answer(build(town, "--on-error", "skip"), capsys, code=1)
    (hole,) = cm.open_mesh("out.zarr").attributes["holes"]
    assert hole["tile"] == tile and hole["exact"]
    report = check_store("out.zarr")
    assert [problem.kind for problem in report.problems] == ["hole where a tile failed"], report.describe()


def test_an_open_edge_that_no_hole_explains_is_a_defect(
    town: Path, poisoned: Poisoned, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = poison.skipping.traced_share

    def without_an_edge(constraints: Any) -> Any:
        share = whole(constraints)
        return {**share, "rim": share["rim"][1:]}

    monkeypatch.setattr(poison.skipping, "traced_share", without_an_edge)
    poisoned("fail", LOST_TILE)
    assert cli.main(build(town, "--on-error", "skip")) == 1
    assert "1 faulty edges" in capsys.readouterr().err


def test_a_tile_whose_share_cannot_be_told_is_skipped_by_its_box(
    town: Path, poisoned: Poisoned, capsys: Captured
) -> None:
    poisoned("fail_trace", LOST_TILE)
    answer(build(town, "--on-error", "skip"), capsys, code=1)
    mesh = cm.open_mesh("out.zarr")
    (hole,) = mesh.attributes["holes"]
    assert (hole["exact"], hole["buildings"], hole["cause"]) == (False, 1, "ZeroDivisionError: poisoned")
    assert mesh.buildings["status"].tolist() == ["meshed", "skipped"]
    assert [problem.kind for problem in check_store("out.zarr").problems] == ["hole where a tile failed"]


def test_a_solid_with_a_hole_is_left_open(town: Path, poisoned: Poisoned, capsys: Captured) -> None:
    poisoned("fail", LOST_TILE)
    answer(build(town, "--on-error", "skip", "--solid"), capsys, code=1)
    assert [problem.kind for problem in check_store("out.zarr").problems] == ["hole where a tile failed"]


# ---- tiles that memory is short for ------------------------------------------------------------------

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA holds on Linux only")
TOO_MUCH = 8_000_000_000


@linux
@pytest.mark.parametrize(
    ("kind", "scheduler"), [*(("exhaust", one) for one in SCHEDULERS), ("abort_large", "processes")]
)
def test_a_tile_too_large_is_split_and_the_mesh_is_whole(
    kind: str, scheduler: str, town: Path, poisoned: Poisoned, capsys: Captured
) -> None:
    poisoned(kind, 1, TOO_MUCH)
    arguments = build(town, "--memory-limit", "4GB", scheduler=scheduler, tile_size=30)
    found = answer(arguments, capsys)
    assert found["report"]["splits"] == [{"tile": 1, "parts": [4, 5, 6, 7]}]
    assert found["certificate"]["area_exact"] and not found["report"]["holes"]
    assert check_store("out.zarr").ok


def test_what_was_split_stays_split_in_the_next_run(
    town: Path, poisoned: Poisoned, capsys: Captured, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a failure for the test")

    poisoned("exhaust", 1, 1 << 60)
    with monkeypatch.context() as patched:
        patched.setattr("citymesh_dask.starting.seal_store", fail)
        assert cli.main(build(town, tile_size=30)) == 1
    assert len(load_job(str(job_file(here / "out.zarr.scratch"))).tiling) == 8
    capsys.readouterr()
    found = answer(build(town, tile_size=30), capsys)
    assert found["report"]["splits"] == [{"tile": 1, "parts": [4, 5, 6, 7]}]
    (tiles,) = [stage for stage in found["report"]["stages"] if stage["name"] == "mesh_tile"]
    assert tiles["tasks"] == tiles["reused"] == 8
    assert check_store("out.zarr").ok


def test_a_tile_too_large_however_small_says_so(town: Path, poisoned: Poisoned, capsys: Captured) -> None:
    poisoned("exhaust", 1, 1 << 60)
    arguments = build(town, "--max-mesh-size", "20", tile_size=30)
    assert cli.main(arguments) == 1
    facts = ("task mesh_tile-0001, tile 1 (x ", "Unable to allocate", "tried alone", "projected ", "allowed ")
    advice = ("choose a larger --max-mesh-size than 20", "--memory-limit", "--on-error skip", "same command again")
    assert_one_message(capsys.readouterr().err.rstrip("\n"), *facts, *advice)
    found = answer([*arguments, "--on-error", "skip"], capsys, code=1)
    assert "tile 1," in found["report"]["holes"][0]


def test_a_tile_that_kills_its_workers_is_skipped(town: Path, poisoned: Poisoned, capsys: Captured) -> None:
    poisoned("abort", LOST_TILE)
    found = answer(build(town, "--on-error", "skip", scheduler="processes"), capsys, code=1)
    assert "its worker process died" in found["report"]["holes"][0]
    assert [problem.kind for problem in check_store("out.zarr").problems] == ["hole where a tile failed"]


# ---- tiles that never end ----------------------------------------------------------------------------

LIMIT = ("--task-time-limit", "5")


@pytest.fixture(scope="module")
def compiled(town: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Kernels are on the disk: to compile them takes longer than the limit."""
    out = str(tmp_path_factory.mktemp("compiled") / "out.zarr")
    assert cli.main([out if word == "out.zarr" else word for word in build(town)]) == 0


@pytest.mark.usefixtures("compiled")
def test_a_tile_that_never_ends_is_stopped(town: Path, here: Path, poisoned: Poisoned, capsys: Captured) -> None:
    """It keeps the interpreter of its worker, which cannot be asked any more."""
    poisoned("hold")
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    assert cli.main(build(town, *LIMIT, scheduler="processes")) == 1
    message = capsys.readouterr().err.rstrip("\n")
    where = "task mesh_tile-0005, tile 5 (x 1045.0 to 1060.0 m, y 2000.0 to 2013.3 m): it ran for "
    advice = ("tried alone", "--task-time-limit", "--on-error skip", "the same command again")
    assert_one_message(message, where, " s without an end (projected 0.0 s)", *advice)
    assert "memory" not in message and results(here) == []
    assert len(list((here / "out.zarr.scratch" / "receipts").glob("mesh_tile-*"))) == N_TILES - 1
    alive = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert [child for child in alive if "multiprocessing.resource_tracker" not in " ".join(child.cmdline())] == []


@pytest.mark.usefixtures("compiled")
def test_a_tile_that_never_ends_is_skipped(town: Path, poisoned: Poisoned, capsys: Captured) -> None:
    poisoned("loop", LOST_TILE)
    found = answer(build(town, *LIMIT, "--on-error", "skip", scheduler="processes"), capsys, code=1)
    (line,) = found["report"]["holes"]
    assert line.startswith("tile 6,") and "it ran for " in line and " without an end" in line
    assert [problem.kind for problem in check_store("out.zarr").problems] == ["hole where a tile failed"]


@pytest.mark.usefixtures("compiled")
@pytest.mark.full
def test_a_tile_that_never_ends_for_its_size_is_split(town: Path, poisoned: Poisoned, capsys: Captured) -> None:
    poisoned("loop_large", 1)
    found = answer(build(town, *LIMIT, scheduler="processes", tile_size=30), capsys)
    assert found["report"]["splits"] == [{"tile": 1, "parts": [4, 5, 6, 7]}]
    assert check_store("out.zarr").ok


@pytest.mark.parametrize(("kind", "on_error"), [("exhaust", "raise"), ("fail", "skip")])
def test_runs_in_memory_survive_alike(kind: str, on_error: str, town: Path, poisoned: Poisoned) -> None:
    poisoned(kind, 1, 1 << 60)
    options = {"tile_size": 30, "max_mesh_size": 4.0, "progress": False, "n_workers": 2, "on_error": on_error}
    run = cm.build_city_mesh(town / "town.gpkg", "o.zarr", points=town / "town.laz", use_disk_store=False, **options)
    run.result(120)
    assert len(run.report.splits) == (kind == "exhaust") and len(run.report.holes) == (kind == "fail")
    assert check_store("o.zarr").ok == (kind == "exhaust")
