"""The log of a run: lines of JSON, one for everything that happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import citymesh_dask as cm
from citymesh_dask import cli
from citymesh_dask.engine.ledger import Receipt
from citymesh_dask.engine.log import RunLog
from citymesh_dask.engine.plan import Plan, numbered_stage
from citymesh_dask.engine.progress import PlanChanged, TaskDone, TaskTrouble
from citymesh_dask.errors import ConfigError, OutputError


def read(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf8").splitlines()
    return [json.loads(line) for line in lines]


def nothing(index: int) -> dict[str, Any]:
    return {"index": index}


def a_plan(count: int) -> Plan:
    return Plan((numbered_stage("work", nothing, count, arguments=(), projected_bytes=5),), 1 << 30, 2)


def test_every_event_is_a_line(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "a.jsonl", "1234")
    plan = a_plan(2)
    log.begin(plan, {"command": "citymesh build"})
    receipt = Receipt("work-0000", 1.5, 7, 0.0, {"bytes": 9}, worker="one (tcp://127.0.0.1:1)")
    log(TaskDone("work-0000", "work", 1, 2, receipt))
    log(TaskDone("work-0001", "work", 2, 2))
    log(TaskTrouble("work-0001", "work", "split", "MemoryError", ("work-0002", "work-0003")))
    log(TaskTrouble("work-0001", "work", "skipped", "ValueError: no"))
    log(PlanChanged(a_plan(4).stages, frozenset({"work-0000"})))
    log.warn("a warning with a line\nbreak, and \udcff")
    assert len(read(tmp_path / "a.jsonl")) == 7, "lines are there before the log is closed"
    log.end("finished", {})
    log.write("late", {})
    lines = read(tmp_path / "a.jsonl")
    events = ["begun", "done", "done", "split", "skipped", "planned_again", "warning", "end"]
    assert [line["event"] for line in lines] == events
    assert {line["run"] for line in lines} == {"1234"}
    assert lines[0]["resources"] == {"allowed_bytes": 1 << 30, "workers": 2}
    assert lines[0]["plan"][0]["tasks"] == 2
    facts = {"seconds": 1.5, "peak_bytes": 7, "bytes_written": 9, "worker": "one (tcp://127.0.0.1:1)", "reused": False}
    assert facts.items() <= lines[1].items()
    assert lines[1]["projected_bytes"] > 5, "the worker itself is part of what is projected"
    assert lines[3]["parts"] == ["work-0002", "work-0003"]
    assert lines[5]["tasks"] == {"work": 4}
    assert lines[-1]["status"] == "finished"


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="--log"):
        RunLog(tmp_path / "nowhere" / "a.jsonl", "1234")
    log = RunLog(Path("/dev/full"), "1234")
    log.begin(a_plan(1), {})
    log.write("more", {})
    log.end("finished", {})
    assert "No space left" in log.trouble


def test_the_log_of_a_run(town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["build", "--footprints", f"{town}/town.gpkg", "--points", f"{town}/town.laz", "--out", "out.zarr"]
    line += ["--scheduler", "synchronous", "--tile-size", "20", "--max-mesh-size", "5", "--quiet", "--log"]
    assert cli.main(line) == 0
    lines = read(tmp_path / "out.zarr.log.jsonl")
    assert lines[0]["event"] == "begun"
    assert "citymesh build" in lines[0]["command"]
    assert {"citymesh_dask", "numpy"} <= set(lines[0]["versions"])
    assert [entry["role"] for entry in lines[0]["inputs"]] == ["footprints", "points"]
    done = [entry for entry in lines if entry["event"] == "done"]
    assert len(done) == sum(row["tasks"] for row in lines[0]["plan"]) == done[-1]["total"]
    assert all(entry["worker"] and entry["seconds"] >= 0 for entry in done)
    assert (lines[-1]["event"], lines[-1]["status"]) == ("end", "finished")


def test_the_log_of_a_run_that_fails_and_goes_on(town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from citymesh_dask.pipelines.city.tiles import meshes

    shape = {"scheduler": "synchronous", "tile_size": 20, "max_mesh_size": 5, "progress": False, "retries": 0}
    inputs = {"points": town / "town.laz", "log": tmp_path / "my.log"}

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("no mesh today")

    with monkeypatch.context() as patch:
        patch.setattr(meshes, "mesh_constraints", fail)
        run = cm.build_city_mesh(town / "town.gpkg", tmp_path / "out.zarr", **inputs, **shape)
        assert run.exception(60) is not None
    first = read(tmp_path / "my.log")
    assert (first[-1]["status"], "no mesh today" in first[-1]["error"]) == ("error", True)
    cm.build_city_mesh(town / "town.gpkg", tmp_path / "out.zarr", **inputs, **shape).result(60)
    both = read(tmp_path / "my.log")
    assert both[: len(first)] == first, "the log of a resumed run is appended"
    assert both[-1]["status"] == "finished"
    assert any(entry["event"] == "done" and entry["reused"] for entry in both[len(first) :])


def test_the_key_of_a_configuration(tmp_path: Path) -> None:
    from citymesh_dask.config import load_config

    path = tmp_path / "city.yaml"
    for text, wanted in (("true", True), ("false", False), ("logs/a.jsonl", str(tmp_path / "logs" / "a.jsonl"))):
        path.write_text(f"pipeline: city\nout: a.zarr\nfootprints: []\nlog: {text}\n")
        assert load_config(path)[0].settings.log == wanted
    path.write_text("pipeline: city\nout: a.zarr\nfootprints: []\nlog: 5\n")
    with pytest.raises(ConfigError, match="'log'"):
        load_config(path)
