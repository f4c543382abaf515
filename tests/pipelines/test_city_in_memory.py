"""City runs that keep everything between their tasks in memory."""

from __future__ import annotations

import gc
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import citymesh_dask as cm
from citymesh_dask import cli
from citymesh_dask.errors import OptionError, OutputError, PlanError, RunError
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.pipelines.city import job as jobs
from citymesh_dask.pipelines.city import places
from citymesh_dask.pipelines.city.planning import in_memory
from citymesh_dask.pipelines.city.tiles import meshes
from citymesh_dask.store.memory_scratch import MemoryScratch
from tests.hostile import results

pytestmark = pytest.mark.usefixtures("here")


def build(town: Path, out: str, **more: Any) -> cm.Run[cm.CityMesh]:
    settings = {"points": town / "town.laz", "tile_size": 15, "max_mesh_size": 4, "n_workers": 2, "progress": False}
    return cm.build_city_mesh(town / "town.gpkg", out, **{**settings, **more})


def same(one: cm.CityMesh, two: cm.CityMesh) -> bool:
    names = ("vertices", "faces", "markers", "building")
    arrays = [(getattr(one, name).compute(), getattr(two, name).compute()) for name in names]
    arrays += [(one.buildings[name], two.buildings[name]) for name in one.buildings]
    return one.buildings.keys() == two.buildings.keys() and all(
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in arrays
    )


@pytest.mark.parametrize("solid", [False, True])
def test_the_result_is_that_of_a_run_through_the_disk(solid: bool, town: Path, here: Path) -> None:
    through = build(town, "disk.zarr", scheduler="synchronous", solid=solid).result()
    run = build(town, "memory.zarr", use_disk_store=False, solid=solid)
    assert run.plan.n_workers == 2 and run.dashboard_link is None
    result = run.result()
    assert same(result, through)
    assert result.attributes["certificate"] == through.attributes["certificate"]
    assert result.attributes["fingerprint"] == through.attributes["fingerprint"]
    assert check_store("memory.zarr").ok
    assert not list(here.rglob(".*"))
    assert run.report.stages and not run.report.warnings


def test_nothing_but_the_store_is_written(town: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    write = meshes.write_tile

    def look(*arguments: Any) -> dict[str, Any]:
        seen.update(path.name for path in here.iterdir())
        return write(*arguments)

    monkeypatch.setattr(meshes, "write_tile", look)
    build(town, "out.zarr", use_disk_store=False, scheduler="synchronous").result()
    assert seen == {".out.zarr.lock", ".out.zarr.memory.partial"}
    assert sorted(path.name for path in here.iterdir()) == ["out.report.html", "out.zarr"]


def test_what_a_killed_run_in_memory_left_is_swept_by_the_next_one(town: Path, here: Path) -> None:
    left = here / ".out.zarr.memory.partial"
    (left / "faces").mkdir(parents=True)
    build(town, "out.zarr", scheduler="synchronous").result()
    assert not left.exists()


def test_everything_is_let_go_after_the_run(town: Path) -> None:
    build(town, "out.zarr", use_disk_store=False).result()
    assert not jobs._held
    gc.collect()
    assert not [o for o in gc.get_objects() if isinstance(o, MemoryScratch) and o.groups]


def test_a_run_that_fails_leaves_no_result_and_lets_everything_go(
    town: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a failure for the test")

    sent: list[signal.Signals] = []

    def interrupt(*_: object, **__: object) -> None:
        if not sent:  # the second one would end this process at once
            sent.append(signal.SIGINT)
            os.kill(os.getpid(), sent[0])
            time.sleep(0.5)
        raise ZeroDivisionError("nothing comes after it")

    with monkeypatch.context() as patched:
        patched.setattr(meshes, "extrude_tile", fail)
        with pytest.raises(RunError, match=r"mesh_tile-.*a failure for the test.* to begin anew.* nothing is kept"):
            build(town, "out.zarr", use_disk_store=False).result()
        words = ["build", "--footprints", f"{town}/town.gpkg", "--points", f"{town}/town.laz", "--out", "out.zarr"]
        assert cli.main([*words, "--no-use-disk-store", "--quiet"]) == 1
        assert "to begin anew" in capsys.readouterr().err
        patched.setattr(meshes, "extrude_tile", interrupt)
        assert cli.main([*words, "--no-use-disk-store", "--quiet", "--workers", "1"]) == 130
        said = capsys.readouterr().err
        assert "interrupted; the same command begins anew" in said and "goes on" not in said
    assert results(here) == [] and not jobs._held
    assert build(town, "out.zarr", use_disk_store=False).result().n_faces


def test_a_city_that_does_not_fit_is_refused(town: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_memory, "BYTES_PER_TRIANGLE", 1e9)
    with pytest.raises(PlanError, match=r"use_disk_store.*projected to take .* MB allowed.*--memory-limit \d+MB"):
        build(town, "out.zarr", use_disk_store=False, memory_limit="2GB")
    assert list(here.iterdir()) == []


def test_memory_held_is_projected(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    clear = MemoryScratch.clear

    def weigh(scratch: MemoryScratch) -> None:
        held.append(sum(scratch.held_bytes().values()))
        clear(scratch)

    projected: list[int] = []
    project = in_memory.held_bytes

    def note(job: jobs.CityJob) -> int:
        projected.append(project(job))
        return projected[-1]

    monkeypatch.setattr(MemoryScratch, "clear", weigh)
    monkeypatch.setattr(in_memory, "held_bytes", note)
    build(town, "out.zarr", use_disk_store=False, max_mesh_size=0.3, building_mesh_triangle_size=0.3).result()
    assert 500_000 < max(held) <= projected[0] + 100_000, "a small city has small arrays besides"


def test_settings_of_the_disk_are_refused(town: Path, here: Path) -> None:
    for wrong in ({"keep_intermediate": True}, {"temp_dir": "here"}):
        with pytest.raises(OptionError, match="together with use_disk_store=False"):
            build(town, "out.zarr", use_disk_store=False, **wrong)
    assert list(here.iterdir()) == []


def test_a_second_run_on_one_output_is_refused(town: Path, here: Path) -> None:
    claimed = places.claim(here / "out.zarr")
    with pytest.raises(OutputError, match=r"another run works on it \(process "):
        build(town, "out.zarr", use_disk_store=False)
    claimed.release()
    assert build(town, "out.zarr", use_disk_store=False).result().n_faces


def test_the_command_takes_the_flag(town: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["build", "--footprints", f"{town}/town.gpkg", "--points", f"{town}/town.laz", "--out", "out.zarr"]
    assert cli.main([*words, "--no-use-disk-store", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["store"].endswith("out.zarr")
