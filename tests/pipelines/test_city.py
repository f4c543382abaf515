"""The whole city pipeline on real data, judged by an oracle that shares no code with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import citymesh_dask as cm
from citymesh_dask.outcomes import MEANINGS
from citymesh_dask.pipelines.checking.check import check_store
from tests.cities import CITIES, MADE, inputs_of
from tests.oracle import building_measures, judge, load
from tests.pipelines.city_runs import build, grid

TILINGS = {"1": grid(1, 1), "4": grid(2, 2, shift=7.3), "15": grid(5, 3, shift=-3.1), "16": grid(4, 4, shift=1.7)}


def check_city(name: str, folder: Path, tilings: list[str]) -> None:
    """Build one city with several tilings; each must be perfect, and all must measure the same."""
    inputs = inputs_of(name, folder / "inputs")
    measures = []
    for tiling in tilings:
        out = folder / f"{tiling}.zarr"
        build(inputs, out, TILINGS[tiling])
        verdict = judge(out)
        assert verdict.good(), (name, tiling, verdict)
        check_table(out)
        measures.append(building_measures(out))
    for area, volume in measures[1:]:
        np.testing.assert_allclose(area, measures[0][0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(volume, measures[0][1], rtol=1e-6, atol=1e-5)


def check_table(out: Path) -> None:
    """Every input building is accounted for, and the table says what the faces say."""
    _, table, attributes = load(out)
    area, _ = building_measures(out)
    assert attributes["n_buildings"] == len(table["id"])
    words = {meaning.status for meaning in MEANINGS.values()}
    assert set(table["status"]) <= words
    meshed = np.isin(table["status"], ["meshed", "repaired", "clipped"])
    assert (meshed == (area > 0)).all()
    # Vertices on outlines are rounded to 4e-6 m: buildings below the least area by default lose more than a millionth.
    np.testing.assert_allclose(table["area"], area, rtol=1e-6, atol=1e-5)
    merged = table["status"] == "merged"
    assert (table["merged_into"][merged] >= 0).all()
    assert (table["merged_into"][~merged] == -1).all()
    skipped = table["status"] == "skipped"
    assert all(reason for reason in table["reason"][skipped | merged])
    assert np.isnan(table["roof_z"][~meshed]).all()
    assert (table["roof_z"][meshed] >= table["ground_z"][meshed] + 2 - 1e-9).all()


@pytest.mark.parametrize("name", ["delft", "kronenhuset"])
def test_city_is_perfect_and_independent_of_its_tiling(name: str, tmp_path: Path) -> None:
    check_city(name, tmp_path, ["1", "4", "15"])


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [*CITIES, *MADE])
def test_every_city_with_every_tiling(name: str, tmp_path: Path) -> None:
    check_city(name, tmp_path, list(TILINGS))


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [*CITIES, *MADE])
def test_every_city_with_one_and_two_workers(name: str, tmp_path: Path) -> None:
    inputs = inputs_of(name, tmp_path / "inputs")
    stores = []
    for workers in (1, 2):
        out = tmp_path / f"{workers}.zarr"
        cm.build_city_mesh(out=out, n_workers=workers, progress=False, **inputs).result(3000)
        assert check_store(out).ok
        stores.append(decoded(out))
    assert_equal(*stores)


def decoded(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    mesh, table, _ = load(path)
    return mesh | {f"buildings/{name}": values for name, values in table.items()}


def assert_equal(one: dict[str, np.ndarray[Any, Any]], other: dict[str, np.ndarray[Any, Any]]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert values.dtype == other[name].dtype
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_workers_schedulers_and_fan_in_change_nothing(tmp_path: Path) -> None:
    inputs = CITIES["delft"]()
    stores = []
    for workers, scheduler, fan_in in (
        (1, "synchronous", 2),
        (2, "threads", 8),
        (2, "processes", 3),
        (1, "processes", 8),
    ):
        out = tmp_path / f"{scheduler}-{workers}.zarr"
        run = cm.build_city_mesh(
            out=out, scheduler=scheduler, n_workers=workers, batch_size=fan_in, tile_size=80.0, progress=False, **inputs
        )
        run.result(300)
        stores.append(decoded(out))
    for other in stores[1:]:
        assert_equal(stores[0], other)


def test_solid_is_watertight(tmp_path: Path) -> None:
    inputs = CITIES["delft"]() | {"solid": True, "base_depth": 5.0}
    out = tmp_path / "solid.zarr"
    build(inputs, out, grid(2, 2))
    assert judge(out).good()
    mesh, _, _ = load(out)
    import trimesh

    solid = trimesh.Trimesh(mesh["vertices"], mesh["faces"], process=False)
    assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0
    assert {-2, -3, -4} <= set(np.unique(mesh["markers"]))
    base = mesh["vertices"][mesh["faces"][mesh["markers"] == -4]][:, :, 2]
    assert np.ptp(base) == 0 and base.max() < mesh["vertices"][:, 2][mesh["vertices"][:, 2] > base.max()].min() - 4.99


def test_resume_does_only_what_is_missing(tmp_path: Path) -> None:
    inputs = CITIES["delft"]()
    arguments = {"tile_size": 80.0, "progress": False, "scheduler": "synchronous", **inputs}
    first = cm.build_city_mesh(out=tmp_path / "a.zarr", keep_intermediate=True, **arguments)
    first.result()
    want = decoded(tmp_path / "a.zarr")
    receipts = tmp_path / "a.zarr.scratch" / "receipts"
    times = {path.name: path.stat().st_mtime_ns for path in receipts.glob("*.json")}
    # as if it had been killed: no store, and some of the work not done
    import shutil

    shutil.rmtree(tmp_path / "a.zarr")
    gone = {path for path in receipts.iterdir() if path.name.startswith(("assemble", "number", "write", "merge_l2"))}
    gone.add(receipts / "mesh_tile-0003.json")
    for path in gone:
        path.unlink()
    cm.build_city_mesh(out=tmp_path / "a.zarr", keep_intermediate=True, **arguments).result()
    changed = {path.name for path in receipts.glob("*.json") if times.get(path.name) != path.stat().st_mtime_ns}
    assert changed == {path.name for path in gone}
    for name, values in decoded(tmp_path / "a.zarr").items():
        np.testing.assert_array_equal(values, want[name], err_msg=name)


def test_finished_store_is_recognised_and_another_is_refused(tmp_path: Path) -> None:
    inputs = CITIES["delft"]() | {"scheduler": "synchronous", "progress": False}
    out = tmp_path / "a.zarr"
    first = cm.build_city_mesh(out=out, **inputs)
    first.result()
    stamp = (out / "zarr.json").stat().st_mtime_ns
    again = cm.build_city_mesh(out=out, **inputs)
    assert again.result().n_faces == cm.open_mesh(out).n_faces
    assert not again.futures and again.report == first.report
    assert sum(first.report.face_counts.values()) == first.report.n_faces
    assert (out / "zarr.json").stat().st_mtime_ns == stamp
    with pytest.raises(cm.OutputError, match=r"another run.*--overwrite"):
        cm.build_city_mesh(out=out, max_mesh_size=8.0, **inputs)
    cm.build_city_mesh(out=out, max_mesh_size=8.0, overwrite=True, **inputs).result()
    assert cm.open_mesh(out).attributes["options"]["max_mesh_size"] == 8.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.report.html", "a.zarr"]
