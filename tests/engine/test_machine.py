"""What the machine allows: asked of real control groups, limits and affinities where this process may set them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from citymesh_dask.engine import cgroups
from citymesh_dask.engine.machine import (
    Machine,
    Resources,
    allowed_memory,
    candidate_resources,
    choose_resources,
    free_space,
    most_workers,
    reader_threads,
    resources_of,
    survey_machine,
)
from citymesh_dask.engine.memory import CLIENT_BYTES, RESERVED_BYTES, SHARED_BYTES
from citymesh_dask.engine.plan import Plan
from citymesh_dask.errors import OptionError
from tests.hard_limits import can_limit, run_limited

ASK = (
    "import json; from dataclasses import asdict; from citymesh_dask.engine.machine import survey_machine; "
    "print(json.dumps(asdict(survey_machine())))"
)
linux = pytest.mark.skipif(sys.platform != "linux", reason="control groups and limits of Linux")
needs_groups = pytest.mark.skipif(sys.platform != "linux" or not can_limit(), reason="no right to make control groups")


def asked(preexec: Callable[[], object] | None = None) -> Machine:
    """Return what a fresh process finds, after some preparation."""
    found = subprocess.run(
        [sys.executable, "-c", ASK], preexec_fn=preexec, capture_output=True, text=True, check=True, timeout=120
    )
    return Machine(**json.loads(found.stdout))


# ---- the real thing ------------------------------------------------------------------------------


@needs_groups
def test_a_real_control_group_is_seen() -> None:
    found = run_limited([sys.executable, "-c", ASK], 600_000_000)
    assert found.returncode == 0, found.output
    available = json.loads(found.output.splitlines()[-1])["available_bytes"]
    assert 400_000_000 < available < 600_000_000


@needs_groups
def test_page_cache_that_can_be_dropped_counts_as_free(tmp_path: Path) -> None:
    large = tmp_path / "large"
    code = (
        "import os, pathlib; p = pathlib.Path(os.environ['LARGE']); "
        "f = p.open('wb'); [f.write(bytes(1 << 20)) for _ in range(300)]; f.flush(); os.fsync(f.fileno()); "
        "p.read_bytes()[:0]; " + ASK
    )
    found = run_limited([sys.executable, "-c", code], 800_000_000, environment={"LARGE": str(large)})
    assert found.returncode == 0, found.output
    assert json.loads(found.output.splitlines()[-1])["available_bytes"] > 550_000_000
    assert found.total_peak > 300_000_000, "the file was in the page cache"


@contextlib.contextmanager
def cpu_group(quota_us: int) -> Iterator[Path]:
    """Make a real group with a quota of CPU time, or skip."""
    name = f"citymesh-test-{uuid.uuid4().hex[:6]}"
    folder = Path("/sys/fs/cgroup/cpu") / name
    try:
        folder.mkdir()
        (folder / "cpu.cfs_period_us").write_text("100000")
        (folder / "cpu.cfs_quota_us").write_text(str(quota_us))
    except OSError:
        pytest.skip("no right to make control groups of CPU time, version 1")
    try:
        yield folder
    finally:
        folder.rmdir()


@linux
@pytest.mark.parametrize(("quota_us", "cpus"), [(50_000, 1), (100_000, 1), (250_000, 2)])
def test_a_real_quota_of_cpu_time_is_seen(quota_us: int, cpus: int) -> None:
    with cpu_group(quota_us) as folder:
        found = asked(lambda: (folder / "cgroup.procs").write_text("0"))
    assert found.cpus == min(cpus, len(os.sched_getaffinity(0)))


@linux
def test_affinity_is_seen() -> None:
    one = min(os.sched_getaffinity(0))
    assert asked(lambda: os.sched_setaffinity(0, {one})).cpus == 1


@linux
def test_limits_of_the_process_are_seen() -> None:
    import resource

    assert asked().process_bytes is None
    data = asked(lambda: resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, resource.RLIM_INFINITY)))
    assert data.process_bytes is not None and RESERVED_BYTES < data.process_bytes < (1 << 30) + SHARED_BYTES
    address = asked(lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)))
    assert address.process_bytes is not None and RESERVED_BYTES < address.process_bytes < 4 << 30


def test_this_machine_is_asked(tmp_path: Path) -> None:
    machine = survey_machine()
    assert machine.available_bytes > 1 << 20
    assert machine.cpus >= 1
    device, free = free_space(tmp_path / "not" / "yet" / "there")
    assert device == tmp_path.stat().st_dev
    assert 0 < free < psutil.disk_usage(str(tmp_path)).total


# ---- trees of files that stand for other machines ------------------------------------------------


def tree(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """Write what the kernel would tell."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text(mounts)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / "cgroup.procs").touch()
    return root


V2 = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_version_2_takes_the_minimum_over_all_groups_above(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/user.slice"
    files = {
        f"{base}/memory.max": "2000000000",
        f"{base}/memory.current": "1500000000",
        f"{base}/memory.stat": "anon 1\ninactive_file 700000000\nactive_file 5\n",
        f"{base}/cpu.max": "150000 100000",
        f"{base}/job/memory.max": "max",
        f"{base}/job/memory.high": "900000000",
        f"{base}/job/memory.current": "100000000",
        f"{base}/job/memory.stat": "inactive_file 0\n",
        f"{base}/job/cpu.max": "max 100000",
    }
    root = tree(tmp_path, "0::/user.slice/job\n", V2, files)
    assert {group.folder.name: group.left for group in cgroups.memory_groups(root)} == {
        "job": 800_000_000,
        "user.slice": 1_200_000_000,
    }
    assert cgroups.cpu_quota(root) == 1.5


def test_version_1_knows_no_limit_by_a_large_number(tmp_path: Path) -> None:
    mounts = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    mounts += "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    base, cpu = "sys/fs/cgroup/memory", "sys/fs/cgroup/cpu,cpuacct"
    files = {
        f"{base}/memory.limit_in_bytes": "9223372036854771712",
        f"{base}/memory.usage_in_bytes": "5",
        f"{base}/a/memory.limit_in_bytes": "1000000000",
        f"{base}/a/memory.usage_in_bytes": "600000000",
        f"{base}/a/memory.stat": "inactive_file 7\ntotal_inactive_file 200000000\n",
        f"{base}/a/b/memory.limit_in_bytes": "9223372036854771712",
        f"{base}/a/b/memory.usage_in_bytes": "5",
        f"{cpu}/a/cpu.cfs_quota_us": "-1",
        f"{cpu}/a/cpu.cfs_period_us": "100000",
    }
    root = tree(tmp_path, "4:memory:/a/b/gone\n1:cpu,cpuacct:/a\n", mounts, files)
    assert [(group.folder.name, group.left) for group in cgroups.memory_groups(root)] == [("a", 600_000_000)]
    assert cgroups.cpu_quota(root) is None


@pytest.mark.parametrize("group", ["/docker/abc/inner", "/kubepods/other"])
def test_a_container_sees_its_own_group_mounted(tmp_path: Path, group: str) -> None:
    mounts = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup ro\n"
    files = {"sys/fs/cgroup/memory.max": "500", "sys/fs/cgroup/memory.current": "100"}
    root = tree(tmp_path, f"0::{group}\n", mounts, files)
    assert [found.left for found in cgroups.memory_groups(root)] == [400]


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert cgroups.memory_groups(tmp_path) == []
    assert cgroups.cpu_quota(tmp_path) is None


# ---- what follows --------------------------------------------------------------------------------


def test_shares_add_up_to_what_is_allowed() -> None:
    for n_workers in (1, 2, 7):
        found = Resources(8 << 30, n_workers)
        whole = SHARED_BYTES + CLIENT_BYTES + n_workers * (found.worker_bytes - SHARED_BYTES)
        assert (8 << 30) - n_workers < whole <= 8 << 30
        tasks = found.reserved_bytes + n_workers * found.task_bytes
        assert (8 << 30) - n_workers < tasks <= 8 << 30
    assert Resources(8 << 30, 1, process_bytes=0).task_bytes == 0, "a limit that leaves nothing is a limit"
    alone = Resources(1 << 30, 1, "synchronous")
    assert alone.reserved_bytes + alone.task_bytes == 1 << 30
    assert Resources(100 << 20, 1).task_bytes < 0, "not even the worker itself fits"
    assert Resources(8 << 30, 1, process_bytes=1 << 30).worker_bytes == 1 << 30
    plan = Plan((), 8 << 30, 3, {"scheduler": "threads", "process_bytes": 5 << 30})
    assert resources_of(plan) == Resources(8 << 30, 3, "threads", 5 << 30)


def test_with_half_of_the_swap_in_use_one_worker_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    swap = SimpleNamespace(total=100, used=60)
    monkeypatch.setattr("psutil.swap_memory", lambda: swap)
    found = candidate_resources("4GB")
    assert [(one.n_workers, one.scheduler) for one in found] == [(1, "processes"), (1, "synchronous")]
    assert "60 % of the swap" in found[0].notes[0]
    assert choose_resources("4GB").n_workers == 1
    assert found[0].notes[0].endswith("one worker is taken")
    asked = candidate_resources("4GB", 2)[0]
    assert asked.n_workers == 2, "what is asked for is not changed"
    assert "60 % of the swap" in asked.notes[0] and "worker" not in asked.notes[0]
    swap.used = 40
    assert candidate_resources("4GB")[0].notes == ()


def test_candidates_go_from_many_workers_to_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("citymesh_dask.engine.machine.usable_cpus", lambda: 3)
    assert [reader_threads(count) for count in (1, 2, 3, 8)] == [3, 1, 1, 1]
    found = [(one.n_workers, one.scheduler) for one in candidate_resources("4GB")]
    assert found == [(3, "processes"), (2, "processes"), (1, "processes"), (1, "synchronous")]
    assert [(one.n_workers, one.scheduler) for one in candidate_resources("4GB", 2)] == [(2, "processes")]
    assert [one.scheduler for one in candidate_resources("4GB", scheduler="synchronous")] == ["synchronous"]
    assert most_workers(Machine(1 << 30, 3)) == 3
    assert allowed_memory("auto", Machine(1000, 3)) == 600
    for wrong in (0, True, "many", 10**6):
        with pytest.raises(OptionError, match="n_workers"):
            candidate_resources("4GB", wrong)
