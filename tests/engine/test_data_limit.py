"""Hard edges, with the real thing: what is too large fails by itself, and its worker lives."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import pythoncdt
from distributed import KilledWorker, Nanny, Worker, wait
from numba import njit

from citymesh_dask.engine.cluster import ClusterExecutor
from citymesh_dask.engine.data_limit import LEAST_DATA, data_limited
from citymesh_dask.engine.events import TaskTrouble
from citymesh_dask.engine.in_process import LocalExecutor
from citymesh_dask.engine.local_cluster import close_cluster, local_cluster
from citymesh_dask.engine.machine import reader_threads
from citymesh_dask.engine.memory import FILE_SLACK_BYTES, process_memory
from citymesh_dask.engine.plan import Plan, numbered_stage
from citymesh_dask.engine.run import Run
from citymesh_dask.errors import RunError
from citymesh_dask.store.manifest import ReceiptFolder

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA holds on Linux only")

WORKER_BYTES = 600_000_000
TOO_MUCH = 700_000_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("spill")
    client, cluster = local_cluster(n_workers=2, worker_bytes=WORKER_BYTES, local_directory=str(folder))
    yield client, cluster, folder
    close_cluster(client, cluster)


def take_numpy(size: int) -> int:
    return int(np.ones(size, np.uint8)[-1])


@njit
def _fill(size: int) -> int:
    array = np.ones(size, np.uint8)
    return array[-1]


def take_numba(size: int) -> int:
    return int(_fill(size))


def take_pythoncdt(size: int) -> int:
    """Triangulate; where the size is too much, with 20 MB left for it (to fill a worker with triangles takes long)."""
    memory = process_memory()
    assert memory is not None
    left = resource.getrlimit(resource.RLIMIT_DATA)[0] - memory.data_bytes
    ballast = np.empty(max(left - 20_000_000, 0) if size == TOO_MUCH else 0, np.uint8)
    points = np.random.default_rng(1).random((200_000 if len(ballast) else 100, 2))
    triangulation = pythoncdt.Triangulation(
        pythoncdt.VertexInsertionOrder.AUTO, pythoncdt.IntersectingConstraintEdges.NOT_ALLOWED, 0.0
    )
    triangulation.insert_vertices(points)
    return len(points)


def pid() -> int:
    return os.getpid()


def abort() -> None:
    os.abort()


@pytest.mark.parametrize("take", [take_numpy, take_numba, take_pythoncdt])
def test_what_is_too_large_is_refused_and_the_worker_lives(cluster: Any, take: Any) -> None:
    client = cluster[0]
    workers = list(client.scheduler_info()["workers"])
    before = client.run(pid)
    assert client.submit(take, 1 << 16, workers=workers[0], pure=False).result()
    failed = client.submit(take, TOO_MUCH, workers=workers[0], pure=False)
    other = client.submit(take, 1 << 16, workers=workers[1], pure=False)
    with pytest.raises(MemoryError):
        failed.result()
    assert other.result()
    assert client.submit(take, 1 << 16, workers=workers[0], pure=False).result(), "it takes the next task"
    assert client.run(pid) == before


def test_what_is_refused_leaves_nothing_behind(cluster: Any) -> None:
    client = cluster[0]
    before = client.run(process_memory)
    futures = [client.submit(take_numpy, TOO_MUCH, pure=False) for _ in range(10)]
    wait(futures)
    assert {future.status for future in futures} == {"error"}
    after = client.run(process_memory)
    grown = [memory.resident_bytes - before[worker].resident_bytes for worker, memory in after.items()]
    assert max(grown) < 50_000_000


def test_spilling_goes_to_the_folder_that_was_given(tmp_path: Path) -> None:
    """In workers of its own: what tests before leave in the heap counts against the room for results."""
    client, own = local_cluster(n_workers=2, worker_bytes=WORKER_BYTES, local_directory=str(tmp_path))
    before = client.run(pid)
    array = dask.array.random.default_rng(1).random((1200, 1 << 17), chunks=(20, 1 << 17))  # in parts of 21 MB
    assert array.nbytes > 2 * WORKER_BYTES
    held = client.persist(array)
    wait(held)
    spilled = sum(path.stat().st_size for path in tmp_path.rglob("storage/*"))
    assert spilled > 600_000_000
    assert float(held.mean().compute()) == pytest.approx(0.5, abs=1e-3)
    assert client.run(pid) == before
    close_cluster(client, own)


_held: list[Any] = []


def receipt_beside_much(index: int) -> dict[str, int]:
    """Return little, while more than half of the memory of the worker is taken."""
    if not _held:
        _held.append(np.ones(WORKER_BYTES // 2, np.uint8))
    return {"index": index}


def test_small_results_stay_in_memory(tmp_path: Path) -> None:
    """To spill them takes a file each and gives nothing back; 100,000 of them kept the cluster from closing in time."""
    client, own = local_cluster(n_workers=1, worker_bytes=WORKER_BYTES, local_directory=str(tmp_path))
    futures = client.map(receipt_beside_much, range(100), pure=False)
    wait(futures)
    time.sleep(1.5)  # three looks at the memory
    assert next(iter(client.run(process_memory).values())).resident_bytes > 0.6 * WORKER_BYTES
    futures += client.map(receipt_beside_much, range(100, 200), pure=False)
    wait(futures)
    assert not list(tmp_path.rglob("storage/*"))
    close_cluster(client, own)


def shares(dask_worker: Worker) -> tuple[float | bool, ...]:
    manager = dask_worker.memory_manager
    return manager.memory_target_fraction, manager.memory_spill_fraction, manager.memory_pause_fraction


def share_that_ends(dask_worker: Nanny) -> float:
    return float(dask_worker.memory_manager.memory_terminate_fraction)


def test_workers_spill_by_the_size_of_results_never_pause_and_are_ended_late(cluster: Any) -> None:
    client, _, _ = cluster
    assert set(client.run(shares).values()) == {(0.3, False, False)}
    late = 0.95 + FILE_SLACK_BYTES / WORKER_BYTES  # Dask counts all pages of files
    assert set(client.run(share_that_ends, nanny=True).values()) == {late}


def test_a_process_of_our_own_is_limited_and_let_go_again() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    memory = process_memory()
    assert memory is not None
    with data_limited(memory.resident_bytes + 2 * LEAST_DATA) as limit:
        assert limit is not None and limit - memory.data_bytes == pytest.approx(2 * LEAST_DATA, abs=20e6)
        with pytest.raises(MemoryError):
            np.ones(3 * LEAST_DATA, np.uint8)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert np.ones(3 * LEAST_DATA, np.uint8)[-1] == 1


# ---- through the rounds of a run ---------------------------------------------------------------------


def sized(folder: str, index: int) -> dict[str, Any]:
    """Need 10 MB, and task 3 too much beside others, but not alone; task 5 kills its worker once."""
    with open(Path(folder) / "calls", "a") as file:
        file.write(f"{index} ")
    if index == 3:
        np.ones(TOO_MUCH, np.uint8)
    return {"pid": os.getpid(), "bytes": len(np.ones(10_000_000, np.uint8))}


def killing(folder: str, index: int) -> dict[str, Any]:
    with open(Path(folder) / "calls", "a") as file:
        file.write(f"{index} ")
    if index == 3:
        os.abort()
    return {}


def napping(folder: str, index: int) -> dict[str, Any]:
    time.sleep(1)
    return {}


def count_calls(folder: Path) -> dict[int, int]:
    calls = (folder / "calls").read_text().split()
    return {index: calls.count(str(index)) for index in set(map(int, calls))}


def receipts(folder: Path) -> ReceiptFolder:
    return ReceiptFolder(str(folder / "receipts"))


def test_a_task_too_large_beside_others_is_done_alone(tmp_path: Path) -> None:
    client, own = local_cluster(n_workers=2, worker_bytes=WORKER_BYTES)
    plan = Plan((numbered_stage("sized", sized, 8, arguments=(str(tmp_path),)),), 1 << 30, 2)
    events: list[Any] = []
    run = Run(plan, receipts(tmp_path), ClusterExecutor(client, own), finish=lambda r: "end", listeners=[events.append])
    assert run.result(300) == "end"
    assert count_calls(tmp_path) == {**dict.fromkeys(range(8), 1), 3: 2}
    (trouble,) = [event for event in events if isinstance(event, TaskTrouble)]
    assert (trouble.key, trouble.kind) == ("sized-0003", "alone")
    assert "Unable to allocate" in trouble.cause
    assert run.troubles == [trouble]


def test_workers_that_come_back_are_like_those_before() -> None:
    client, own = local_cluster(n_workers=2, worker_bytes=WORKER_BYTES)
    executor = ClusterExecutor(client, own)

    def found() -> list[Any]:
        threads = client.run(os.getenv, "RAYON_NUM_THREADS").values()
        return [*client.run(shares).values(), *client.run(share_that_ends, nanny=True).values(), *threads]

    before = found()
    with executor.alone():
        assert len(client.run(os.getpid)) == 1
    executor._restore()
    assert len(before) == 6 and before[-1] == str(reader_threads(2)) and found() == before
    executor.close()


def test_a_task_that_kills_its_workers_fails_alone_and_harms_nobody(tmp_path: Path) -> None:
    client, own = local_cluster(n_workers=2, worker_bytes=WORKER_BYTES)
    plan = Plan((numbered_stage("killing", killing, 30, arguments=(str(tmp_path),)),), 1 << 30, 2)
    run = Run(plan, receipts(tmp_path), ClusterExecutor(client, own), finish=lambda r: "end")
    with pytest.raises(RunError, match=r"task killing-0003: its worker process died.*allow more memory") as caught:
        run.result(300)
    assert isinstance(caught.value.__cause__, KilledWorker)
    calls = count_calls(tmp_path)
    assert calls.pop(3) <= 6, "two workers beside others, two alone; one may die unnoticed while a task is stolen"
    assert sorted(calls) == [*range(3), *range(4, 30)], "all others are done"
    assert len(receipts(tmp_path).all()) == 29


def test_workers_that_do_not_come_back_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("citymesh_dask.engine.worker_watch.GONE_SECONDS", 1.0)
    client, own = local_cluster(n_workers=1, worker_bytes=WORKER_BYTES)
    plan = Plan((numbered_stage("napping", napping, 50, arguments=(str(tmp_path),)),), 1 << 30, 2)
    run = Run(plan, receipts(tmp_path), ClusterExecutor(client, own), finish=lambda r: "end")
    own.scale(0)
    with pytest.raises(RunError, match=r"its workers died, and none could be started again within 1 s"):
        run.result(60)


def test_results_that_are_lost_with_all_workers_do_not_keep_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was lost is to be made again, by nobody."""
    monkeypatch.setattr("citymesh_dask.engine.worker_watch.GONE_SECONDS", 1.0)
    client, own = local_cluster(n_workers=1, worker_bytes=WORKER_BYTES)
    executor = ClusterExecutor(client, own)
    monkeypatch.setattr(executor, "_tell", lambda *_: own.scale(0) or time.sleep(1) or real(*_))
    real = ClusterExecutor._tell.__get__(executor)
    plan = Plan((numbered_stage("napping", napping, 3, arguments=(str(tmp_path),)),), 1 << 30, 2)
    run = Run(plan, receipts(tmp_path), executor, finish=lambda r: "end")
    with pytest.raises(RunError, match=r"its workers died, and none could be started again within 1 s"):
        run.result(60)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_a_task_too_large_for_our_own_process_does_not_stop_the_others(scheduler: str, tmp_path: Path) -> None:
    plan = Plan((numbered_stage("sized", sized, 8, arguments=(str(tmp_path),)),), 1 << 30, 2)
    memory = process_memory()
    assert memory is not None
    with data_limited(memory.resident_bytes + 300_000_000):
        run = Run(plan, receipts(tmp_path), LocalExecutor(scheduler, 2), finish=lambda r: "end")
        with pytest.raises(RunError, match=r"task sized-0003: .*Unable to allocate.*allow more memory"):
            run.result(60)
    assert count_calls(tmp_path) == {**dict.fromkeys(range(8), 1), 3: 2}
