"""Runs in hard memory limits: the kernel kills nothing, and no task takes more than was projected for it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.figures_of_limits import limited_run, limits_city
from tests.hard_limits import can_limit, run_limited

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not can_limit(), reason="no right to make memory control groups"
)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return limits_city(1000.0, tmp_path_factory.mktemp("limits"))


def smallest(city: Path) -> int:
    """Return the least memory that ``citymesh plan`` names, bytes."""
    words = ["--footprints", str(city / "footprints.gpkg"), "--terrain", str(city / "terrain.tif"), "--json"]
    command = [sys.executable, "-m", "citymesh_dask", "plan", *words, "--out", str(city.parent / "none.zarr")]
    found = subprocess.run([*command, "--height-field", "height"], capture_output=True, text=True, check=True)
    return int(json.loads(found.stdout)["smallest_bytes"])


@pytest.mark.parametrize("one_process", [True, False])
def test_a_square_kilometre_in_a_hard_limit(one_process: bool, city: Path) -> None:
    allowed = smallest(city) if one_process else 1_000_000_000
    assert 300e6 < allowed <= 1e9
    row = limited_run(city, allowed, folder=city.parent)
    assert row.limited.oom_kills == 0
    assert row.limited.returncode == 0, row.limited.output[-2000:]
    assert row.over == []
    assert row.limited.anonymous_peak < allowed
    assert 0.7 <= row.written_share <= 1
    assert row.report["outcomes"]["meshed"] > 1500
    if one_process:
        assert row.report["workers"] == 1


def test_auto_takes_what_the_limit_leaves(city: Path) -> None:
    out = city.parent / "auto.zarr"
    words = ["plan", "--footprints", str(city / "footprints.gpkg"), "--terrain", str(city / "terrain.tif")]
    found = run_limited(
        [sys.executable, "-m", "citymesh_dask", *words, "--height-field", "height", "--out", str(out)], 1_200_000_000
    )
    assert found.returncode == 0, found.output
    assert "allowed 0.6" in found.output or "allowed 0.5" in found.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_limited_command_and_nothing_is_left(number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo told; exit 3' {name}; sleep 60 & echo begun; wait"
    command = [sys.executable, "-m", "tests.hard_limits", "1GB", "--", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        groups = f"citymesh-test-{process.pid}-*"
        assert len(list(Path("/sys/fs/cgroup").rglob(groups))) == 1
        process.send_signal(number)
        assert process.communicate(timeout=20)[0] == "told\n"  # until nobody has the pipe open: sleep is gone, too
    assert process.returncode == 3, "the command ended as it wished"
    assert not list(Path("/sys/fs/cgroup").rglob(groups))
