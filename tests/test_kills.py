"""Runs hit by ``kill -9`` and by full disks end, by the same command, with the result of an undisturbed run.

The small version of ``tests/benchmarks/figures_of_survival.py``.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from citymesh_dask.demo import generate_demo
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.sample_city.landscape import SampleCity
from citymesh_dask.store.city_store import open_store
from citymesh_dask.tiles import Domain
from tests.benchmarks.figures_of_survival import city_arguments
from tests.disturbances import Moment, Scene, differences, killed_run, run_command, undisturbed
from tests.full_disks import filled_run, small_disk
from tests.hostile import write_town
from tests.strategies import tilings
from tests.work_log import KILL, KILL_CHANGE, TILING, changes, done_twice, events, was_struck, work_of

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
    [("worker", 0.6), ("group", 0.5), ("scheduler", 0.5)],
)
def test_a_killed_run_is_gone_on_with(target: str, share: float, scene: Scene, tmp_path: Path) -> None:
    outcome = killed_run(scene, target, Moment(int(share * scene.lines), 0.01), tmp_path / "run")
    assert outcome.hit and outcome.wrong == []
    assert outcome.lines_before >= int(share * scene.lines)
    assert outcome.codes[-1] == 0


ONE_PROCESS = ("--scheduler", "synchronous")


@pytest.fixture(scope="module")
def small_scene(town: Path, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return undisturbed(town_arguments(town), tmp_path_factory.mktemp("small") / "run", own=ONE_PROCESS)


def town_arguments(town: Path) -> list[str]:
    return ["--footprints", f"{town}/town.gpkg", "--points", f"{town}/town.laz", "--max-mesh-size", "4", "--quiet"]


def check_killed_before(change: int, scene: Scene, place: Path) -> None:
    """Kill a run before a change of its files."""
    outcome = killed_run(scene, "group", Moment(change=change), place, own=ONE_PROCESS)
    assert outcome.hit and outcome.wrong == []
    assert outcome.codes == [-signal.SIGKILL, 0]


@pytest.mark.parametrize("share", [0.3, 0.65])
def test_a_run_is_killed_while_it_begins(share: float, small_scene: Scene, tmp_path: Path) -> None:
    assert small_scene.first_changes > 5, "folders, claim, job, mark"
    check_killed_before(1 + round(share * (small_scene.first_changes - 1)), small_scene, tmp_path / "run")


def test_a_run_is_killed_while_it_ends(small_scene: Scene, tmp_path: Path) -> None:
    check_killed_before(small_scene.changes - 5, small_scene, tmp_path / "run")


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_run_is_killed_before_many_changes_of_its_files(small_scene: Scene, tmp_path: Path) -> None:
    first = small_scene.first_changes
    for change in (*range(1, first + 1), *range(first + 1, small_scene.changes + 1, 5)):
        check_killed_before(change, small_scene, tmp_path / f"{change}")


@pytest.mark.parametrize("where", ["scratch", "store"])
def test_a_disk_that_others_fill(where: str, scene: Scene, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "256m") as disk:
        if disk is None:
            pytest.skip("no small disk can be mounted here")
        outcome = filled_run(scene, where, Moment(int(0.3 * scene.lines)), disk, own=ONE_PROCESS)
    assert outcome.hit and outcome.wrong == []
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
    phases=[Phase.explicit, Phase.generate],  # every example takes long: a failing one is told as it is
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
MANY = settings(FEW, max_examples=100)


IN_PROCESS = ("threads", "synchronous")


def check_any_disturbance(data: st.DataObject, folder: Path, schedulers: Sequence[str]) -> None:
    """Kill a run in a random tiling at a random moment, end it in another way, and hold it against one tile."""
    words, one_log, log = town_arguments(write_town(folder / "town")), folder / "one" / "work.log", folder / "work.log"
    one_log.parent.mkdir()
    ended = run_command([*words, "--out", "one.zarr", *ONE_PROCESS], one_log)
    assert ended.returncode == 0, ended.stderr
    one = open_store(one_log.parent / "one.zarr")
    corners = np.array([[1010, 2010], [1022, 2025], [1035, 2010], [1047, 2025]], np.int64)
    domain = Domain.from_bounds(tuple(one.attributes["bounds"]))
    tiling = data.draw(tilings(domain, (corners - domain.origin) * 2**18))
    np.save(folder / "tiling.npy", tiling.boxes)
    first = sum(change.startswith("begin") for change in changes(one_log))
    # a task of its own for every tile more, with a line where it begins and one where it is done
    lines = len(events(one_log)) + 2 * (len(tiling) - 1)
    kill = data.draw(st.one_of(kills(KILL, lines), kills(KILL_CHANGE, first)))
    for more in (kill, {}):
        scheduler, workers = data.draw(st.sampled_from(schedulers)), data.draw(st.integers(1, 3))
        how = ["--scheduler", scheduler, "--workers", str(workers), "--batch-size", str(data.draw(st.integers(2, 9)))]
        ended = run_command([*words, *how, "--out", "out.zarr"], log, **{TILING: str(folder / "tiling.npy")}, **more)
        assert was_struck(log), "it was not killed"
        died = more and (KILL_CHANGE in more or scheduler in IN_PROCESS)
        # a worker that is killed may be survived
        assert ended.returncode in ((-signal.SIGKILL,) if died else (0, 1) if more else (0,)), ended.stderr
    assert not done_twice(log)
    store = open_store(folder / "out.zarr")
    assert len(store.read("tiles/face_range")) == len(tiling)
    assert check_store(store.path).ok
    for name in ("area", "volume"):
        np.testing.assert_allclose(store.column(name), one.column(name), rtol=1e-7)


def kills(variable: str, count: int) -> st.SearchStrategy[dict[str, str]]:
    """Environments that kill at one of so many lines of the log, or changes of files."""
    return st.integers(1, count).map(lambda number: {variable: str(number)})


@pytest.mark.parametrize(
    "schedulers",
    [
        pytest.param(IN_PROCESS, id="in_process"),
        pytest.param(("processes",), id="processes", marks=pytest.mark.full),
    ],
)
@FEW
@given(data=st.data())
def test_any_disturbance(
    schedulers: Sequence[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    check_any_disturbance(data, folder, schedulers)
    shutil.rmtree(folder)


@pytest.mark.full
@pytest.mark.timeout(3600)
@MANY
@given(data=st.data())
def test_many_disturbances(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    check_any_disturbance(data, folder, (*IN_PROCESS, "processes"))
    shutil.rmtree(folder)
