"""Finished tiles of a run, looked at while it goes on, after it failed, and after it ended."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest

import citymesh_dask as cm
from citymesh_dask import cli
from citymesh_dask.city_mesh import PartialMesh
from citymesh_dask.demo import generate_demo
from citymesh_dask.errors import OutputError, StoreError
from citymesh_dask.pipelines.city.job import job_file, load_job
from citymesh_dask.pipelines.city.tiles import meshes
from citymesh_dask.sample_city.landscape import SampleCity
from citymesh_dask.tiles import MESH_UNITS
from tests.dask_processes import wait_for
from tests.hostile import refused

SHAPE = {"tile_size": 20, "max_mesh_size": 4, "building_mesh_triangle_size": 4, "progress": False}
STOP_AT = 3


@pytest.fixture(scope="module")
def stopped(town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scratch folder of a run of six tiles that failed at one of them, and the output path beside it."""
    out = tmp_path_factory.mktemp("stopped") / "out.zarr"
    real = meshes.mesh_constraints
    calls = 0

    def fails_late(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > STOP_AT:
            raise ValueError("no mesh today")
        return real(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meshes, "mesh_constraints", fails_late)
        run = cm.build_city_mesh(
            town / "town.gpkg", out, points=town / "town.laz", scheduler="synchronous", retries=0, **SHAPE
        )
        assert run.exception(100) is not None
    return out.with_name("out.zarr.scratch")


def test_finished_tiles_are_one_mesh(stopped: Path) -> None:
    mesh = cm.open_mesh(stopped, partial=True)
    assert isinstance(mesh, PartialMesh)
    partial = mesh.attributes["partial"]
    assert partial.pop("tasks") > 10
    assert partial == {"tiles": STOP_AT, "of": 6, "out": str(stopped.with_name("out.zarr"))}
    assert f"{STOP_AT} of 6 tiles" in repr(mesh)
    vertices, faces, markers, building = dask.compute(mesh.vertices, mesh.faces, mesh.markers, mesh.building)
    assert vertices.shape == (mesh.n_vertices, 3)
    assert faces.shape == (mesh.n_faces, 3)
    assert (faces.dtype, markers.dtype, building.dtype) == (np.int32, np.int32, np.int32)
    assert np.array_equal(np.unique(faces), np.arange(mesh.n_vertices)), "every vertex is used"
    assert np.array_equal(building, np.where(markers < 0, -1, markers % mesh.n_buildings))
    # what is there covers exactly the ground that its tiles own: their triangles, seen from above, do not overlap
    a, b, c = (vertices[faces[:, k], :2] for k in range(3))
    (ux, uy), (vx, vy) = (b - a).T, (c - a).T
    doubled = ux * vy - uy * vx
    assert doubled.min() > -1e-9
    assert doubled.sum() / 2 == pytest.approx(_tile_areas(stopped), rel=0.3)


def _tile_areas(scratch: Path) -> float:
    boxes = load_job(str(job_file(scratch))).tiling.boxes / MESH_UNITS
    return float(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))[:STOP_AT].sum())


def test_arrays_are_lazy_with_a_chunk_for_every_tile(stopped: Path) -> None:
    mesh = cm.open_mesh(stopped, partial=True)
    assert mesh.faces.numblocks == (STOP_AT, 1)
    assert mesh.markers.numblocks == (STOP_AT,)
    assert mesh.vertices.numblocks == (STOP_AT, 1)
    whole = mesh.faces.compute()
    rows = slice(len(whole) // 3, 2 * len(whole) // 3 + 1)
    assert np.array_equal(mesh.faces[rows, 1:].compute(), whole[rows, 1:])
    assert np.array_equal(mesh.faces[::7].compute(), whole[::7])
    assert mesh.faces.blocks[1].compute().min() == mesh.vertices.chunks[0][0], "a tile's faces use its own vertices"
    assert len(pickle.dumps(mesh.faces)) < 20_000


def test_nothing_is_written_into_the_scratch_folder(stopped: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in stopped.rglob("*")}
    mesh = cm.open_mesh(stopped, partial=True)
    mesh.faces.compute()
    assert list(mesh.buildings["id"]) == ["0", "1"]
    assert {path: path.stat().st_mtime_ns for path in stopped.rglob("*")} == before


def test_the_output_path_will_do(stopped: Path) -> None:
    out = stopped.with_name("out.zarr")
    assert cm.open_mesh(out, partial=True).n_faces == cm.open_mesh(stopped, partial=True).n_faces
    with pytest.raises(StoreError, match="no such file"):
        cm.open_mesh(out)
    with pytest.raises(StoreError):
        cm.open_mesh(stopped)
    with pytest.raises(StoreError):
        cm.open_mesh(stopped.parent / "other.zarr", partial=True)


def test_a_partial_mesh_is_not_saved(stopped: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="has not ended"):
        cm.open_mesh(stopped, partial=True).save(tmp_path / "copy.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["city.png", "city.vtu", "city.ply", "city.obj", "city.stl"])
def test_export(stopped: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(stopped), str(tmp_path / name), "--json", "--quiet"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["n_faces"] == cm.open_mesh(stopped, partial=True).n_faces
    assert (tmp_path / name).stat().st_size > 1000


def test_info(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(stopped)]) == 0
    said = capsys.readouterr().err
    assert f"not finished: {STOP_AT} of 6 tiles" in said
    assert "EPSG:28992" in said
    assert cli.main(["info", str(stopped), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["attributes"]["partial"]["tiles"] == STOP_AT


def test_a_tile_that_goes_away_meanwhile(stopped: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "out.zarr.scratch"
    shutil.copytree(stopped, copy)
    mesh = cm.open_mesh(copy, partial=True)
    shutil.rmtree(copy / "tiles")
    with pytest.raises(StoreError, match="open it again"):
        mesh.vertices.compute()
    (copy / "tiles.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be understood"):
        cm.open_mesh(copy, partial=True)


def test_no_tile_yet(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import shutil

    copy = tmp_path / "out.zarr.scratch"
    shutil.copytree(stopped, copy)
    shutil.rmtree(copy / "tiles")
    mesh = cm.open_mesh(copy, partial=True)
    assert (mesh.n_faces, mesh.faces.compute().shape, mesh.vertices.compute().shape) == (0, (0, 3), (0, 3))
    monkeypatch.chdir(tmp_path)
    refused(capsys, ["export", str(copy), "city.png"], "no part of the mesh")


def test_tiles_of_other_options_do_not_count(
    town: Path, here: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    shutil.copytree(stopped, here / "out.zarr.scratch")
    shape = {**SHAPE, "points": town / "town.laz", "scheduler": "synchronous", "max_mesh_size": 5}
    seen = []
    real = meshes.mesh_constraints

    def look(*given: Any, **named: Any) -> Any:
        seen.append(cm.open_mesh(here / "out.zarr", partial=True).attributes["partial"]["tiles"])
        if len(seen) == 2:
            raise ValueError("no mesh today")
        return real(*given, **named)

    monkeypatch.setattr(meshes, "mesh_constraints", look)
    for _ in range(2):  # the second one goes on
        run = cm.build_city_mesh(town / "town.gpkg", "out.zarr", overwrite=True, **shape)
        run.exception(100)
    assert seen == [0, 1, 1, 2, 3, 4, 5], "of the tiles that were there, none is as it shall be"


def test_while_the_run_goes_on(tmp_path: Path) -> None:
    """Another process builds; this one looks until the mesh is finished."""
    out, city = tmp_path / "out.zarr", tmp_path / "city"
    generate_demo(city, SampleCity(400), tell=lambda line: None)
    line = [sys.executable, "-m", "citymesh_dask", "build", "--footprints", f"{city}/footprints.gpkg", "--quiet"]
    line += ["--points", *map(str, sorted((city / "points").glob("*.laz")))]
    line += ["--out", str(out), "--tile-size", "20", "--max-mesh-size", "2"]
    process = subprocess.Popen([*line, "--workers", "1"], stderr=subprocess.PIPE, text=True)
    scratch = out.with_name("out.zarr.scratch")
    seen: list[int] = []
    try:
        wait_for(lambda: (scratch / "tiles").is_dir() or process.poll() is not None, 100)
        while process.poll() is None:
            time.sleep(0.3)
            mesh = cm.open_mesh(out, partial=True)
            if isinstance(mesh, PartialMesh):
                faces, vertices = dask.compute(mesh.faces, mesh.vertices)
                assert not len(faces) or faces.max() == len(vertices) - 1
                seen.append(mesh.attributes["partial"]["tiles"])
                if seen[-1] > 10 and not (tmp_path / "so_far.png").exists():
                    assert cli.main(["export", str(scratch), str(tmp_path / "so_far.png"), "--quiet"]) == 0
    except StoreError:
        assert process.wait(100) == 0, "only at the end, when the scratch folder goes, there may be nothing to open"
    assert process.communicate(timeout=100) == (None, "")
    assert seen == sorted(seen)
    assert len(set(seen)) > 3, "one sees the city grow"
    assert (tmp_path / "so_far.png").exists()
    assert not isinstance(cm.open_mesh(out, partial=True), PartialMesh)
