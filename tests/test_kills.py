"""Runs hit by ``kill -9`` and by full disks end, by the same command, with the result of an undisturbed run.

The small version of ``tests/benchmarks/figures_of_survival.py``.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from citymesh_dask.demo import generate_demo
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.sample_city.landscape import SampleCity
from citymesh_dask.store.city_store import open_store
from citymesh_dask.tiles import Domain
from tests.benchmarks.figures_of_survival import city_arguments
from tests.disturbances import (
    Moment,
    Scene,
    differences,
    filled_run,
    killed_run,
    run_command,
    small_disk,
    undisturbed,
)
from tests.hostile import write_town
from tests.strategies import tilings
from tests.work_log import KILL, TILING, done_twice, events, work_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    generate_demo(folder, SampleCity(200), tell=lambda line: None)
    return folder


@pytest.fixture(scope="module")
def scene(city: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return undisturbed(city_arguments(city), tmp_path_factory.mktemp("undisturbed") / "run")


@pytest.mark.parametrize(
    ("target", "share"),
    [("worker", 0.6), ("group", 0.3), ("group", 0.8), ("scheduler", 0.5)],
)
def test_a_killed_run_is_gone_on_with(target: str, share: float, scene: Scene, tmp_path: Path) -> None:
    outcome = killed_run(scene, target, Moment(int(share * scene.lines), 0.01), tmp_path / "run")
    assert outcome.wrong == []
    assert outcome.lines_before >= int(share * scene.lines)
    assert outcome.codes[-1] == 0


@pytest.mark.parametrize("where", ["scratch", "store"])
def test_a_disk_that_others_fill(where: str, scene: Scene, tmp_path: Path) -> None:
    here = Scene((*scene.arguments, "--scheduler", "synchronous"), scene.expected, scene.lines, scene.seconds)
    with small_disk(tmp_path / "disk", "256m") as disk:
        if disk is None:
            pytest.skip("no small disk can be mounted here")
        outcome = filled_run(here, where, Moment(int(0.3 * scene.lines), 0.0), disk)
    assert outcome.wrong == []
    assert outcome.codes == [1, 0]


def test_the_log_tells_work_that_is_done_twice(tmp_path: Path) -> None:
    log = tmp_path / "work.log"
    assert events(log) == [] and done_twice(log) == []
    log.write_text("work a-0000\nkept a-0000\nwork b-0000\nwork b-0000\nkept b-0000\nwork a-0000\n")
    assert done_twice(log) == ["a-0000"], "b-0000 had no receipt when it began again"
    assert work_of(log) == {"a-0000": 2, "b-0000": 2}


def test_differences_are_told() -> None:
    one, other = {"a": np.zeros(3), "b": np.arange(2)}, {"a": np.zeros(3) * -1, "c": np.arange(2)}
    assert differences(one, one) == []
    assert sorted(differences(one, other)) == [
        "array a differs",
        "array b is only in one of them",
        "array c is only in one of them",
    ]


# ---- any tiling, any number of workers, any fan-in, any moment -----------------------------------

FEW = settings(
    max_examples=2,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
MANY = settings(FEW, max_examples=100)


def check_any_disturbance(data: st.DataObject, folder: Path) -> None:
    """Kill a run in a random tiling at a random moment, end it in another way, and hold it against one tile."""
    town = write_town(folder / "town")
    words = ["--footprints", f"{town}/town.gpkg", "--points", f"{town}/town.laz", "--max-mesh-size", "4", "--quiet"]
    ended = run_command([*words, "--out", "one.zarr", "--scheduler", "synchronous"], folder / "one.log")
    assert ended.returncode == 0, ended.stderr
    one = open_store(folder / "one.zarr")
    corners = np.array([[1010, 2010], [1022, 2025], [1035, 2010], [1047, 2025]], np.int64)
    domain = Domain.from_bounds(tuple(one.attributes["bounds"]))
    tiling = data.draw(tilings(domain, (corners - domain.origin) * 2**18))
    np.save(folder / "tiling.npy", tiling.boxes)
    log, kill = folder / "work.log", data.draw(st.integers(1, 2 * (25 + len(tiling))))
    for more in ({KILL: str(kill)}, {}):
        scheduler, workers = data.draw(st.sampled_from(["threads", "synchronous"])), data.draw(st.integers(1, 3))
        how = ["--scheduler", scheduler, "--workers", str(workers), "--batch-size", str(data.draw(st.integers(2, 9)))]
        again = [*words, *how, "--out", "out.zarr"]
        ended = run_command(again, log, **{TILING: str(folder / "tiling.npy")}, **more)
    assert ended.returncode == 0, ended.stderr
    assert not done_twice(log)
    store = open_store(folder / "out.zarr")
    assert len(store.read("tiles/face_range")) == len(tiling)
    assert check_store(store.path).ok
    for name in ("area", "volume"):
        np.testing.assert_allclose(store.column(name), one.column(name), rtol=1e-7)


@FEW
@given(data=st.data())
def test_any_disturbance(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    check_any_disturbance(data, folder)
    shutil.rmtree(folder)


@pytest.mark.full
@pytest.mark.timeout(3600)
@MANY
@given(data=st.data())
def test_many_disturbances(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    check_any_disturbance(data, folder)
    shutil.rmtree(folder)
