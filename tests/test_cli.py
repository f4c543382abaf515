"""The command line: flags to options, exit codes, what goes to which stream."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from citymesh_dask import cli
from citymesh_dask.arguments import build_parser
from citymesh_dask.errors import (
    CheckError,
    ConfigError,
    CRSError,
    InputError,
    InputMissingError,
    OptionError,
    OutputError,
    PlanError,
    RunError,
    StoreError,
)
from citymesh_dask.geometry.drawing.colours import COLOURINGS
from citymesh_dask.options import CityOptions
from citymesh_dask.settings import RunSettings
from tests.builders import block_store

Captured = pytest.CaptureFixture[str]


def _parse(*arguments: str) -> dict[str, Any]:
    return vars(build_parser()[0].parse_args(["build", "--out", "x", *arguments]))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Survey files of a small sample city."""
    folder = tmp_path_factory.mktemp("cli") / "sample"
    assert cli.main(["demo", str(folder), "--size", "240", "--density", "1", "--generate-only", "--quiet"]) == 0
    return folder


def _build_arguments(sample: Path, out: Path, *more: str) -> list[str]:
    points = [str(path) for path in sorted((sample / "points").glob("*.laz"))]
    inputs = ["--footprints", str(sample / "footprints.gpkg"), "--points", *points]
    return ["build", *inputs, "--out", str(out), "--scheduler", "synchronous", *more]


# ---- flags ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", dataclasses.fields(CityOptions), ids=lambda item: item.name)
def test_every_option_has_its_flag(item: dataclasses.Field[Any]) -> None:
    flag = f"--{item.name.replace('_', '-')}"
    kind = str(item.type)
    if kind == "bool":
        assert _parse(flag)[item.name] is True
        assert _parse(f"--no-{flag[2:]}")[item.name] is False
    else:
        texts = ["0", "0", "1", "1"] if item.name == "bounds" else ["1"]
        value = _parse(flag, *texts)[item.name]
        CityOptions.from_mapping({item.name: value})
    assert item.name not in _parse(), "a flag that is not given leaves the default to the dataclass"
    assert item.metadata["help"][:20] in " ".join(build_parser()[1]["build"].format_help().split())


@pytest.mark.parametrize("item", dataclasses.fields(RunSettings), ids=lambda item: item.name)
def test_every_setting_has_its_flag(item: dataclasses.Field[Any]) -> None:
    flag = "--workers" if item.name == "n_workers" else f"--{item.name.replace('_', '-')}"
    kind = item.metadata["kind"]
    if kind == "switch":  # true by default
        flag = f"--no-{flag[2:]}"
    texts = [] if kind in ("flag", "switch") else [item.metadata["choices"][-1]] if kind == "choice" else ["3"]
    RunSettings(**{item.name: _parse(flag, *texts)[item.name]})
    assert item.name not in _parse()


def test_flags_become_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Any] = []
    monkeypatch.setattr(cli, "_run_jobs", lambda found, given: jobs.extend(found) or 0)
    line = "build --footprints a b --points c --layer n --terrain t --surface s --building-heights h --out o"
    line += " --tile-size 500 --memory-limit 2GB --crs EPSG:28992 --workers 3 --bounds -5 -4.5 10 20 --no-mesh-walls"
    assert cli.main(line.split()) == 0
    (job,) = jobs
    assert (job.footprints, job.points, job.layer) == (("a", "b"), ("c",), "n")
    assert (job.terrain, job.surface, job.building_heights, job.out) == ("t", "s", "h", "o")
    assert job.options == CityOptions(tile_size=500, crs="EPSG:28992", bounds=(-5, -4.5, 10, 20), mesh_walls=False)
    assert job.settings == RunSettings(memory_limit="2GB", n_workers=3)


def test_colours_are_those_of_the_pictures() -> None:
    (action,) = (a for a in build_parser()[1]["export"]._actions if a.dest == "colour")
    assert tuple(action.choices or ()) == COLOURINGS


# ---- bad usage -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "required: COMMAND"),
        ("mesh x", "invalid choice: 'mesh'"),
        ("build", "required: --out"),
        ("build --out x --tile-sise 3", "did you mean --tile-size?"),
        ("build --out x --tile 3", "unknown argument '--tile'"),
        ("build --out x --tile-size big", "argument --tile-size: invalid float value: 'big'"),
        ("build --out x --scheduler thread", "invalid choice: 'thread'"),
        ("build --out x --bounds 1 2 3", "expected 4 arguments"),
        ("check", "required: STORE"),
        ("export a", "required: OUT"),
        ("info a b", "unknown argument 'b'"),
    ],
)
def test_bad_usage(line: str, message: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(line.split())
    captured = capsys.readouterr()
    assert end.value.code == 2
    assert captured.err.startswith("citymesh: error: ")
    assert message in captured.err
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("build --out x --tile-size -5", "option tile_size: -5"),
        ("build --out x --batch-size 1", "option batch_size: 1"),
        ("build --out x --bounds 5 0 1 1", "option bounds"),
        ("build --out x --memory-limit plenty --terrain t.tif", "plenty"),
        ("build --out x --footprints missing.gpkg --terrain t.tif --lod 0", "missing.gpkg"),
        ("run missing.yaml", "missing.yaml: No such file"),
        ("check missing.zarr", "missing.zarr: no such file"),
        ("info missing.zarr", "missing.zarr: no such file"),
        ("export missing.zarr a.ply", "missing.zarr: no such file"),
        ("export missing.zarr a.doc", "'.doc'"),
        ("demo --size 3 x", "option size: 3"),
    ],
)
def test_bad_input(line: str, message: str, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("citymesh: error: ")
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("a", "b"), 2),
        (InputMissingError("a", "b"), 2),
        (CRSError("a", "b"), 2),
        (StoreError("a", "b"), 2),
        (OptionError("a", "b"), 2),
        (ConfigError("a", "b"), 2),
        (OutputError("a", "b"), 2),
        (PlanError("a", "b"), 2),
        (RunError("a", "b"), 1),
        (CheckError("a", "b"), 1),
        (OSError(28, "No space left on device", "x.zarr"), 1),
        (MemoryError(), 1),
        (ZeroDivisionError("oops"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(error: BaseException, code: int, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(given: object) -> int:
        raise error

    monkeypatch.setitem(cli._COMMANDS, "info", fail)
    assert cli.main(["info", "x", "--json"]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("citymesh: error: ")
    assert len(captured.err.splitlines()) == 1
    answer = json.loads(captured.out)
    assert (answer["status"], answer["exit_code"]) == ("error", code)
    assert answer["error"]["type"] == type(error).__name__


def test_traceback_on_demand(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYMESH_TRACEBACK", "1")
    assert cli.main(["info", "missing.zarr"]) == 2
    assert "Traceback" in capsys.readouterr().err


# ---- commands ------------------------------------------------------------------------------------


def test_version(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0


def test_check_and_info(tmp_path: Path, capsys: Captured) -> None:
    store = str(block_store(tmp_path / "block.zarr"))
    assert cli.main(["check", store]) == 0
    captured = capsys.readouterr()
    assert "one surface" in captured.err
    assert captured.out == ""
    assert cli.main(["check", store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert cli.main(["info", store]) == 0
    captured = capsys.readouterr()
    assert "1 meshed" in captured.err
    assert captured.out == ""
    assert cli.main(["info", store, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["n_vertices"], answer["n_buildings"]) == (20, 1)
    assert answer["certificate"]["open_edges"] == 0


def test_check_of_a_torn_mesh_fails(tmp_path: Path, capsys: Captured) -> None:
    from tests.builders import block_city, write_store

    mesh = block_city()
    mesh["faces"] = mesh["faces"].copy()
    mesh["faces"][0] = mesh["faces"][1]
    whole = block_store(tmp_path / "whole.zarr")
    from citymesh_dask.store.city_store import open_store

    store = open_store(whole)
    columns = {name: store.column(name) for name in store.column_names()}
    torn = write_store(tmp_path / "torn.zarr", mesh, bounds=(1000.0, 2000.0, 1040.0, 2030.0), columns=columns)
    assert cli.main(["check", str(torn), "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["ok"] is False
    assert "does not hold" in captured.err


@pytest.mark.parametrize("name", ["block.ply", "block.png"])
def test_export(tmp_path: Path, name: str, capsys: Captured) -> None:
    store, out = str(block_store(tmp_path / "block.zarr")), tmp_path / name
    assert cli.main(["export", store, str(out), "--size", "64", "48", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["bytes_written"] == out.stat().st_size > 0
    assert name in captured.err
    assert cli.main(["export", store, str(out)]) == 2
    assert cli.main(["export", store, str(out), "--overwrite", "--quiet"]) == 0


def test_build_check_and_again(sample: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "city.zarr"
    arguments = _build_arguments(sample, out, "--json", "--quiet")
    assert cli.main(arguments) == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["status"] == "finished"
    assert answer["certificate"]["open_edges"] == 0
    assert answer["report"]["outcomes"]["meshed"] > 10
    assert Path(answer["report_html"]).is_file()
    assert cli.main(["check", str(out)]) == 0
    capsys.readouterr()
    assert cli.main([word for word in arguments if word != "--quiet"]) == 0
    captured = capsys.readouterr()
    assert "complete already" in captured.err
    assert json.loads(captured.out)["n_faces"] == answer["n_faces"]
    assert cli.main([*arguments, "--max-mesh-size", "20"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_run_with_a_config(sample: Path, tmp_path: Path, capsys: Captured) -> None:
    line = ["run", str(sample / "city.yaml"), "--set", f"out={tmp_path / 'a.zarr'}", "--set", "scheduler=synchronous"]
    assert cli.main([*line, "--json"]) == 0
    captured = capsys.readouterr()
    (answer,) = json.loads(captured.out)
    assert Path(answer["store"]) == tmp_path / "a.zarr"
    assert "mesh_tile" in captured.err


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(sample: Path, tmp_path: Path, number: int, code: int) -> None:
    out = tmp_path / "city.zarr"
    arguments = _build_arguments(sample, out, "--tile-size", "20", "--max-mesh-size", "0.5", "--json")
    command = [sys.executable, "-m", "citymesh_dask", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    receipts = tmp_path / "city.zarr.scratch" / "receipts"
    end = time.monotonic() + 120
    while not (receipts.exists() and any(receipts.iterdir())) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(number)
    text, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert "goes on with the tasks that are finished" in errors
    assert "Traceback" not in errors
    assert json.loads(text)["exit_code"] == code
    assert not out.exists()
