"""Runs on clusters of others: scheduler and workers are processes of their own, begun by the commands of Dask."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

import citymesh_dask as cm
from citymesh_dask import cli
from citymesh_dask.demo import generate_demo
from citymesh_dask.engine import remote
from citymesh_dask.engine.cluster import ClusterExecutor
from citymesh_dask.engine.plan import Plan, numbered_stage
from citymesh_dask.engine.progress import LineProgress, Waiting
from citymesh_dask.engine.run import Run
from citymesh_dask.errors import InputMissingError, OptionError, OutputError, PlanError
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.sample_city.landscape import SampleCity
from citymesh_dask.store.manifest import ReceiptFolder
from citymesh_dask.store.scratch import Scratch
from tests.dask_processes import DaskProcesses, dask_processes, kill_group, wait_for
from tests.hostile import assert_one_message, refused, results

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    """Two workers that live as long as the tests of this file."""
    with dask_processes(tmp_path_factory.mktemp("dask"), "one", "two") as processes:
        yield processes


@pytest.fixture
def own_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DaskProcesses]:
    """A cluster of one worker that the test may disturb; workers find the functions of this file."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    with dask_processes(tmp_path / "dask", "first") as processes:
        yield processes


@pytest.fixture
def client(cluster: DaskProcesses) -> Iterator[Client]:
    with cm.connect(cluster.address) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


def build(town: Path, out: str = "out.zarr", **settings: Any) -> Run[cm.CityMesh]:
    shape = {"tile_size": 4, "max_mesh_size": 1, "building_mesh_triangle_size": 1, "progress": False}
    return cm.build_city_mesh(town / "town.gpkg", out, points=town / "town.laz", **{**shape, **settings})


def tiles_done(count: int, out: str = "out.zarr") -> None:
    """Wait until so many tiles of a run have their receipts."""
    wait_for(lambda: len(list(Path(f"{out}.scratch/receipts").glob("mesh_tile*"))) >= count, 120)


# ---- what is asked before the first task ---------------------------------------------------------


def test_the_plan_uses_what_the_workers_may(client: Client) -> None:
    resources = remote.await_resources(client)
    assert (resources.n_workers, resources.worker_bytes) == (2, 1_500_000_000)
    names = sorted(remote.worker_names(client).values())
    assert [name.partition(" (tcp://127.0.0.1:")[0] for name in names] == ["one", "two"]
    remote.check_versions(client)


def test_workers_with_too_little_memory(town: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with dask_processes(here / "dask") as processes:
        processes.add_worker("small", "--memory-limit", "350MB", "--no-nanny")
        with cm.connect(processes.address) as few:
            with pytest.raises(PlanError, match=r"350 MB for each of their threads.*--memory-limit \d+MB$") as caught:
                build(town, client=few, tile_size=None)
            assert "--workers" not in str(caught.value)
        words = ["--footprints", f"{town}/town.gpkg", "--points", f"{town}/town.laz", "--out", "out.zarr"]
        words += ["--scheduler-address", processes.address]
        refused(capsys, ["plan", *words], "350 MB for each of their threads")
        processes.add_worker("large", "--memory-limit", "1GB", "--no-nanny")
        kill_group(processes.workers["small"])
        with cm.connect(processes.address) as enough:
            wait_for(lambda: [w["name"] for w in enough.scheduler_info()["workers"].values()] == ["large"])
        assert cli.main(["plan", *words, "--workers", "2"]) == 0
    said = capsys.readouterr().err
    assert "note: memory_limit and n_workers are ignored" in said and "1,000 MB per worker" in said
    assert "other amounts" not in said and "smallest memory" not in said
    assert [path.name for path in here.iterdir()] == ["dask"]


def test_shared_storage_is_seen_and_nothing_stays_there(client: Client, here: Path) -> None:
    (here / "a").mkdir()
    (here / "b.txt").write_text("input")
    remote.check_storage(client, (here / "a",), {str(here / "b.txt"): 5})
    assert list((here / "a").iterdir()) == []


def test_storage_that_is_not_shared(client: Client, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real folders, but what the client writes is another file than the one the workers look for."""
    (here / "a").mkdir()
    real = Path.write_text
    monkeypatch.setattr(Path, "write_text", lambda path, text: real(path.with_suffix(".elsewhere"), text))
    with pytest.raises(OutputError, match=r"(one|two) \(tcp://.*does not see what this machine writes") as caught:
        remote.check_storage(client, (here / "a",), {}, timeout_seconds=0.3)
    assert caught.value.where == str(here / "a")
    monkeypatch.undo()
    monkeypatch.setattr(remote, "_unlike", lambda path, content: "No such file or directory")
    with pytest.raises(OutputError, match=r"what worker (one|two) \(tcp.* writes there is not seen here"):
        remote.check_storage(client, (here / "a",), {}, timeout_seconds=0.3)


def test_a_machine_that_mounts_something_else(own_cluster: DaskProcesses, town: Path, here: Path) -> None:
    """A worker in a mount namespace of its own, with another file system where the others write."""
    (here / "shared").mkdir()
    apart = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{here}/shared" && exec "$@"', "sh")
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace can be made here")
    own_cluster.add_worker("apart", "--memory-limit", "1500MB", before=apart)
    with cm.connect(own_cluster.address) as client:
        client.wait_for_workers(2, timeout=60)
    line = [sys.executable, "-m", "citymesh_dask", "build", "--footprints", f"{town}/town.gpkg"]
    line += ["--out", "shared/out.zarr", "--scheduler-address", own_cluster.address, "--default-height", "5"]
    ended = subprocess.run([*line, "--terrain", f"{town}/town.tif"], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2, ended.stderr
    assert_one_message(
        ended.stderr, "worker apart (tcp://", f"{here}/shared/", "does not see", "--out (and --temp-dir)"
    )
    assert list((here / "shared").iterdir()) == [], "nothing is left of a run that was refused"


def test_inputs_that_a_worker_does_not_see(client: Client, here: Path) -> None:
    (here / "b.txt").write_text("input")
    with pytest.raises(InputMissingError, match=r"worker (one|two) .*cannot read it \(No such file"):
        remote.check_storage(client, (), {str(here / "gone.txt"): 5})
    with pytest.raises(InputMissingError, match="another file there, of 5 bytes instead of 7"):
        remote.check_storage(client, (), {str(here / "b.txt"): 7})


def test_versions_of_the_workers(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "9.9")
    with pytest.raises(OptionError, match=r"worker (one|two) .*citymesh_dask 0\.1\.0; expected .* and citymesh_dask 9"):
        remote.check_versions(client)
    monkeypatch.setattr(remote, "_PACKAGE", "no_such_package")
    with pytest.raises(OptionError, match="it has no no_such_package"):
        remote.check_versions(client)


def test_a_cluster_without_workers(here: Path) -> None:
    with dask_processes(here / "dask") as empty, cm.connect(empty.address) as client:
        begin = time.monotonic()
        with pytest.raises(OptionError, match=r"no worker came within 0\.5 s.*dask worker tcp://127\.0\.0\.1"):
            remote.await_resources(client, timeout_seconds=0.5)
        assert time.monotonic() - begin < 10


def test_no_scheduler_at_the_address(town: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["build", "--footprints", f"{town}/town.gpkg", "--points", f"{town}/town.laz", "--out", "out.zarr"]
    begin = time.monotonic()
    assert cli.main([*line, "--scheduler-address", "tcp://127.0.0.1:9"]) == 2
    assert time.monotonic() - begin < 3 * remote.ANSWER_SECONDS
    assert_one_message(capsys.readouterr().err, "tcp://127.0.0.1:9", "no answer within 10 s", "dask scheduler")
    assert list(here.iterdir()) == []


def test_an_address_or_a_client(client: Client, town: Path) -> None:
    with pytest.raises(OptionError, match="either an address or a client"):
        build(town, client=client, scheduler_address="tcp://127.0.0.1:9")


# ---- runs ----------------------------------------------------------------------------------------


def test_a_run_by_address(cluster: DaskProcesses, town: Path, here: Path) -> None:
    config = {"pipeline": "city", "footprints": f"{town}/town.gpkg", "points": f"{town}/town.laz", "out": "out.zarr"}
    config |= {"tile_size": 15, "max_mesh_size": 4, "scheduler_address": cluster.address}
    (here / "city.yaml").write_text(json.dumps(config))
    ended = subprocess.run(
        [sys.executable, "-m", "citymesh_dask", "run", "city.yaml", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert "page of the run: http://127.0.0.1:" in ended.stderr
    (answer,) = json.loads(ended.stdout)
    assert answer["report"]["workers"] == 2
    assert [name.split(" ")[0] for name in answer["report"]["worker_names"]] == ["one", "two"]
    assert "one (tcp://" in (here / "out.report.html").read_text()
    assert check_store(here / "out.zarr").ok
    assert not list(here.glob("**/.citymesh-*"))
    with cm.connect(cluster.address) as client:  # no limit of ours is left on workers of others
        limits = client.run(resource.getrlimit, resource.RLIMIT_DATA)
        assert set(limits.values()) == {resource.getrlimit(resource.RLIMIT_DATA)}


def test_a_worker_joins_late_and_others_leave(own_cluster: DaskProcesses, here: Path) -> None:
    generate_demo(here / "city", SampleCity(400), tell=lambda line: None)
    inputs = {"points": here / "city" / "points" / "*.laz", "tile_size": 20, "max_mesh_size": 2, "progress": False}
    with cm.connect(own_cluster.address) as client:
        run = cm.build_city_mesh(here / "city" / "footprints.gpkg", "out.zarr", client=client, **inputs)
        tiles_done(5)
        own_cluster.add_worker("late", "--memory-limit", "1500MB")
        own_cluster.add_worker("last", "--memory-limit", "1500MB")
        client.wait_for_workers(3, timeout=60)
        tiles_done(len(list(Path("out.zarr.scratch/receipts").glob("mesh_tile*"))) + 10)
        kill_group(own_cluster.workers["first"])
        os.killpg(own_cluster.workers["last"].pid, signal.SIGTERM)  # it gives back what it has, and goes
        mesh = run.result(300)
    assert check_store(mesh.path).ok
    assert any(name.startswith("late (") for name in run.report.worker_names)


def test_the_scheduler_is_killed(own_cluster: DaskProcesses, town: Path, here: Path) -> None:
    line = [sys.executable, "-m", "citymesh_dask", "build", "--footprints", f"{town}/town.gpkg"]
    line += ["--points", f"{town}/town.laz", "--out", "out.zarr", "--tile-size", "4", "--max-mesh-size", "1", "--quiet"]
    process = subprocess.Popen([*line, "--scheduler-address", own_cluster.address], stderr=subprocess.PIPE, text=True)
    tiles_done(10)
    kill_group(own_cluster.scheduler)
    begin = time.monotonic()
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert_one_message(said, "the scheduler", "run the same command again")
    assert time.monotonic() - begin < 60
    assert results(here) == ["dask"]
    with dask_processes(here / "dask2", "new") as again, cm.connect(again.address) as client:
        run = build(town, client=client, building_mesh_triangle_size=5)
        assert check_store(run.result(300).path).ok
        tiles = next(stage for stage in run.report.stages if stage.name == "mesh_tile")
        assert tiles.reused >= 10


def test_all_workers_leave_and_others_come(own_cluster: DaskProcesses, here: Path) -> None:
    """Nothing fails, but it is said what is waited for."""
    plan = Plan((numbered_stage("rest", rest, 12, arguments=(str(here),)),), 1 << 30, 1)
    told: list[Any] = []
    with cm.connect(own_cluster.address) as client:
        client.wait_for_workers(1, timeout=60)
        run = Run(plan, ReceiptFolder(str(here / "receipts")), ClusterExecutor(client), finish=lambda _: "end")
        run._listeners = (told.append, LineProgress(plan.stages, out := io.StringIO()))
        wait_for((here / "began-0").exists)
        kill_group(own_cluster.workers["first"])
        wait_for(lambda: any(isinstance(event, Waiting) for event in told))
        own_cluster.add_worker("second", "--memory-limit", "1500MB")
        assert run.result(120) == "end"
    waited = [event.what for event in told if isinstance(event, Waiting)]
    assert waited == [f"workers of {own_cluster.address}: all have left"]
    assert f"waiting for workers of {own_cluster.address}" in out.getvalue()


def rest(folder: str, index: int) -> dict[str, Any]:
    """Do nothing for a while."""
    (Path(folder) / f"began-{index}").touch()
    time.sleep(0.3)
    return {}


def linger(folder: str, name: str, index: int) -> dict[str, Any]:
    """Write, the old one when it is told to; say that it was tried."""
    (Path(folder) / f"began-{name}").touch()
    while name == "old" and not (Path(folder) / "go").exists():
        time.sleep(0.05)
    try:
        Scratch(Path(folder)).write("one", {"a": np.array([3.0 if name == "old" else 0.0])})
    finally:
        (Path(folder) / f"ended-{name}").touch()
    return {"name": name}


def test_a_task_of_a_cancelled_run_harms_no_other_run(cluster: DaskProcesses, here: Path) -> None:
    """Nobody can stop it on workers that are not ours; the next run, with other options, is done before it ends."""
    folder = str(here)
    with cm.connect(cluster.address) as client:
        client.wait_for_workers(2, timeout=60)
        for name in ("old", "new"):
            ledger = ReceiptFolder(str(here / "receipts"), name)
            ledger.begin()
            plan = Plan((numbered_stage("linger", linger, 1, arguments=(folder, name)),), 1 << 30, 2)
            run = Run(plan, ledger, ClusterExecutor(client), finish=lambda _: "end")
            wait_for((here / f"began-{name}").exists)
            if name == "old":
                assert run.cancel()
        assert run.result(60) == "end"
        (here / "go").touch()
        wait_for((here / "ended-old").exists)
    assert Scratch(here).read("one", "a").tolist() == [0.0]
    assert [receipt.facts for receipt in ledger.all()] == [{"name": "new"}]
