"""Kernels are compiled by child processes, only where they are not on disk; nobody keeps the memory of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import citymesh_dask.pipelines.city.rehearsal  # noqa: F401 (loads the kernels that the stamp is about)
from citymesh_dask.pipelines.city import compiling

SHORTEST = 6
"""The rehearsal that compiles least."""

ASK = """
import json, psutil, sys
from citymesh_dask.pipelines.city import compiling
before = psutil.Process().memory_info().rss
facts = [compiling.compile_kernels("", {index}) for _ in range(2)]
grown = psutil.Process().memory_info().rss - before
print(json.dumps({{"facts": facts, "grown": grown, "stamp": str(compiling.stamp_path({index}))}}))
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Compile the shortest rehearsal twice, from a process whose folder for kernels is empty."""
    folder = tmp_path_factory.mktemp("kernels")
    found = subprocess.run(
        [sys.executable, "-c", ASK.format(index=SHORTEST)],
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    result: dict[str, object] = json.loads(found.stdout)
    return result | {"folder": folder}


def test_a_child_compiles_and_the_second_time_nobody(compiled: dict[str, object]) -> None:
    first, second = compiled["facts"]  # type: ignore[misc]
    assert first["compiled"] is True and "note" not in first
    assert second == {"compiled": False}
    assert list(Path(str(compiled["folder"])).rglob("*.nbi")), "in the folder that the parent uses"


def test_the_memory_of_compiling_goes_with_the_child(compiled: dict[str, object]) -> None:
    assert int(str(compiled["grown"])) < 20_000_000


def test_a_stamp_holds_while_kernels_and_sources_do(compiled: dict[str, object], tmp_path: Path) -> None:
    stamp = Path(str(compiled["stamp"]))
    assert compiling.is_compiled(stamp)
    content = json.loads(stamp.read_text())
    source = next(iter(content["sources"]))
    for changed in (
        content | {"kernels": [*content["kernels"], str(tmp_path / "gone.nbi")]},
        content | {"sources": content["sources"] | {source: [0, 0]}},
        {"kernels": []},
        [],
    ):
        other = tmp_path / "stamp.json"
        other.write_text(json.dumps(changed))
        assert not compiling.is_compiled(other)
    other.write_text("{")
    assert not compiling.is_compiled(other)
    assert not compiling.is_compiled(tmp_path / "none.json")


def test_a_child_that_fails_stops_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiling, "stamp_path", lambda index: tmp_path / "stamp.json")
    monkeypatch.setattr(compiling, "_MODULE", "citymesh_dask.no_such_module")
    facts = compiling.compile_kernels("", 0)
    assert facts["compiled"] is False
    assert "no_such_module" in facts["note"]
    monkeypatch.setattr("multiprocessing.spawn.get_executable", lambda: str(tmp_path / "no_python"))
    assert "no_python" in compiling.compile_kernels("", 0)["note"]


def test_a_frozen_program_begins_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert compiling.stamp_path(0) is None
    assert compiling.compile_kernels("", 0) == {"compiled": False}


def test_a_child_ends_with_its_parent() -> None:
    code = "from citymesh_dask.pipelines.city.compiling import stop_with_parent; import time; stop_with_parent(); "
    child = subprocess.Popen([sys.executable, "-c", code + "time.sleep(60)"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(timeout=60) == 1
