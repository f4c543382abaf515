"""Inputs that change while a run reads them: nothing is made from two states of them, and little is done again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import citymesh_dask as cm
from citymesh_dask import cli
from citymesh_dask.errors import InputError
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.pipelines.city.ending import table
from citymesh_dask.pipelines.city.outlines import footprints
from tests.hostile import HOUSES, refused, write_cloud, write_town
from tests.vector_samples import write_vectors

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("citymesh_dask.starting.write_report", lambda *_: None)
    return write_town(tmp_path / "town")


def build(out: str = "out.zarr") -> list[str]:
    inputs = ["--footprints", "town/town.gpkg", "--points", "town/town.laz", "--terrain", "town/town.tif", "--out", out]
    return ["build", *inputs, "--scheduler", "synchronous", "--tile-size", "15", "--max-mesh-size", "4", "--quiet"]


def turn_around() -> None:
    """Write the features in the other order: as many, of the same names, with the same attributes."""
    Path("town/town.gpkg").unlink()
    write_vectors(Path("town/town.gpkg"), HOUSES[::-1], {"id": [1, 0], "height": [9.0, 9.0], "name": ["b", "a"]})


def write_points() -> None:
    write_cloud(Path("town/town.laz"), step=0.5)


def touch() -> None:
    os.utime("town/town.tif", (1, 1))


CHANGES: dict[str, Callable[[], None]] = {"town.gpkg": turn_around, "town.laz": write_points, "town.tif": touch}


def changing(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Let something happen once between the reading of geometries and that of the ids."""
    real, left = table.read_kept_columns, [change]

    def read(*arguments: object, **more: object) -> object:
        if left:
            left.pop()()
        return real(*arguments, **more)  # type: ignore[arg-type]

    assert footprints.read_kept_columns is real
    monkeypatch.setattr(table, "read_kept_columns", read)


@pytest.mark.parametrize("name", CHANGES)
def test_an_input_that_changes_meanwhile_fails_the_run(
    name: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        changing(patched, CHANGES[name])
        refused(capsys, build(), f"/town/{name}: it changed while the run read it", "run the same command again")
    assert not Path("out.zarr").exists()
    assert cli.main([*build(), "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["report"]["stages"]
    redone = {stage["name"] for stage in stages if stage["tasks"] > stage["reused"]}
    assert ("read_footprints" in redone) == (name == "town.gpkg")
    assert ("sample_points" in redone) == (name != "town.tif")
    assert check_store("out.zarr").ok
    found = cm.open_mesh("out.zarr").buildings
    assert cli.main(build("fresh.zarr")) == 0
    fresh = cm.open_mesh("fresh.zarr").buildings
    assert list(found["id"]) == list(fresh["id"]) and list(found["name"]) == list(fresh["name"])
    assert found["area"].tolist() == fresh["area"].tolist()


def test_a_store_that_was_there_stays(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(build()) == 0
    before = cm.open_mesh("out.zarr").attributes
    write_points()
    changing(monkeypatch, turn_around)
    refused(capsys, [*build(), "--overwrite"], "town.gpkg: it changed while the run read it")
    assert cm.open_mesh("out.zarr").attributes == before


def test_in_memory_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    changing(monkeypatch, write_points)
    files = {"points": "town/town.laz", "use_disk_store": False, "progress": False, "tile_size": 15, "max_mesh_size": 4}
    run = cm.build_city_mesh("town/town.gpkg", "out.zarr", scheduler="synchronous", **files)
    with pytest.raises(InputError, match=r"town\.laz: it changed while"):
        run.result(60)
    assert not Path("out.zarr").exists()
