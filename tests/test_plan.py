"""The command ``citymesh plan``: tells what a build would take, and writes nothing at all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import citymesh_dask as cm
from citymesh_dask import cli
from citymesh_dask.engine.machine import candidate_resources
from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.city.begin import begin_job
from citymesh_dask.pipelines.city.choosing import city_chooser
from citymesh_dask.pipelines.city.inputs.survey import CityInputs
from citymesh_dask.pipelines.city.request import survey_request
from citymesh_dask.settings import RunSettings
from citymesh_dask.tiles import regular_tiling
from tests.hostile import write_town

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_town(tmp_path / "town")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def arguments(town: Path, *more: str) -> list[str]:
    return ["plan", "--footprints", str(town / "town.gpkg"), "--points", str(town / "town.laz"), *more]


def everything(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_nothing_is_written(town: Path, capsys: Captured) -> None:
    before = everything(town.parent)
    assert cli.main(arguments(town, "--out", "city.zarr", "--memory-limit", "2GB")) == 0
    assert everything(town.parent) == before
    shown = capsys.readouterr()
    assert shown.out == ""
    for word in (
        "mesh_tile",
        "reserved",
        "tiles: ",
        "MB free",
        "time: about",
        "0.5 GB",
        "32 GB",
        "smallest memory",
        "fan-in",
        "points/task",
    ):
        assert word in shown.err


def test_json_holds_what_is_shown(town: Path, capsys: Captured) -> None:
    line = arguments(town, "--out", "city.zarr", "--memory-limit", "2GB", "--workers", "2", "--json", "--quiet")
    assert cli.main(line) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    found = json.loads(shown.out)
    assert found["n_workers"] == 2 and found["allowed_bytes"] == 2_000_000_000
    assert {"stage", "tasks", "projected_bytes", "written_bytes", "seconds"} == set(found["stages"][0])
    assert [choice["allowed_bytes"] for choice in found["choices"]] == [5e8, 1e9, 2e9, 4e9, 8e9, 32e9]
    assert "refused" in found["choices"][0], "two workers were asked for"
    assert found["choices"][-1]["n_workers"] == 2
    assert {disk["flag"] for disk in found["disks"]} == {"--temp-dir", "--out"}
    assert found["smallest_bytes"] > found["reserved_bytes"]


@pytest.mark.parametrize("on_disk", [True, False])
def test_the_plan_is_that_of_the_run(on_disk: bool, town: Path, capsys: Captured) -> None:
    settings = {"scheduler": "synchronous"} if on_disk else {"n_workers": 2, "use_disk_store": False}
    flags = ["--scheduler", "synchronous"] if on_disk else ["--workers", "2", "--no-use-disk-store"]
    line = arguments(town, "--out", "city.zarr", *flags, "--json", "--quiet")
    assert cli.main(line) == 0
    planned = json.loads(capsys.readouterr().out)
    inputs = {"footprints": town / "town.gpkg", "points": town / "town.laz"}
    run = cm.build_city_mesh(**inputs, out="city.zarr", **settings, progress=False)  # type: ignore[arg-type]
    run.result()
    assert [(row["stage"], row["tasks"]) for row in run.plan.rows()] == [
        (row["stage"], row["tasks"]) for row in planned["stages"]
    ]
    assert run.plan.facts["scheduler"] == planned["scheduler"] == ("synchronous" if on_disk else "threads")
    assert run.plan.facts["disks"][0]["needed_bytes"] == planned["disks"][0]["needed_bytes"]
    assert cli.main(line) == 0, "what is there already is in nobody's way"
    assert json.loads(capsys.readouterr().out)["stages"] == planned["stages"]


def test_a_run_in_memory_is_planned_as_one(town: Path, capsys: Captured) -> None:
    line = arguments(town, "--out", "city.zarr", "--no-use-disk-store", "--json", "--quiet")
    line += ["--bounds", "1000", "2000", "1400", "2400", "--max-mesh-size", "0.2"]
    assert cli.main([*line, "--memory-limit", "8GB"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [disk["flag"] for disk in found["disks"]] == ["--out"]
    assert {choice.get("scheduler", "threads") for choice in found["choices"]} == {"threads"}
    assert "refused" in found["choices"][0] and found["choices"][0]["refused"] == found["smallest_bytes"]
    named = f"--memory-limit={-(-found['smallest_bytes'] // 10**6)}MB"
    assert cli.main([*line, named]) == 0
    assert json.loads(capsys.readouterr().out)["n_workers"] == 1
    refusals = []
    for command in ("plan", "build"):
        assert cli.main([command, *line[1:], "--memory-limit", "200MB"]) == 2
        refusals.append(capsys.readouterr().err)
        assert cli.main([command, *line[1:], "--temp-dir", "."]) == 2
        refusals.append(capsys.readouterr().err)
    assert refusals[:2] == refusals[2:]
    assert "use_disk_store" in refusals[0] and "together with use_disk_store=False" in refusals[1]
    assert list(Path().iterdir()) == []


def test_a_config_is_planned_too(town: Path, capsys: Captured) -> None:
    config = Path("city.yaml")
    config.write_text(f"pipeline: city\nfootprints: {town}/town.gpkg\npoints: {town}/town.laz\nout: city.zarr\n")
    assert cli.main(["plan", "city.yaml", "--set", "tile_size=20", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["largest_tile_m"] == 20
    assert [path.name for path in Path().iterdir()] == ["city.yaml"]
    with pytest.raises(SystemExit) as caught:
        cli.main(["plan"])
    assert caught.value.code == 2
    with pytest.raises(SystemExit) as caught:
        cli.main(["plan", "city.yaml", "--out", "other.zarr"])
    assert caught.value.code == 2


def test_memory_that_cannot_do_is_refused_with_the_smallest_that_would(town: Path, capsys: Captured) -> None:
    for command in ("plan", "build"):
        line = [command, *arguments(town)[1:], "--out", "city.zarr"]
        assert cli.main([*line, "--memory-limit", "100MB"]) == 2
        message = capsys.readouterr().err.strip()
        assert "\n" not in message and message.startswith("citymesh: error: stage ")
        named = re.search(r"--memory-limit (\d+MB)", message)
        assert named
        assert cli.main([*arguments(town), "--out", "city.zarr", "--memory-limit", named[1], "--quiet"]) == 0
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("text", ["4 gigs", "4 GBB", "four", "", "-1GB", "1,5GB", "nan"])
def test_unreadable_amounts_are_refused(text: str, town: Path, capsys: Captured) -> None:
    assert cli.main([*arguments(town), "--out", "city.zarr", f"--memory-limit={text}"]) == 2
    message = capsys.readouterr().err.strip()
    assert "\n" not in message
    assert repr(text) in message and "an amount such as 4GB" in message
    assert list(Path().iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are those of Linux")
@pytest.mark.parametrize(("ulimit", "flags"), [("-v", ["--workers", "1"]), ("-d", ["--no-use-disk-store"])])
def test_under_a_ulimit(ulimit: str, flags: list[str], town: Path) -> None:
    """What the refusal names is enough for the whole run, its report and picture included."""

    def limited(command: str, kilobytes: int) -> subprocess.CompletedProcess[str]:
        words = [command, *arguments(town)[1:], "--out", "city.zarr", "--memory-limit", "4GB", "--json", *flags]
        line = ["sh", "-c", f'ulimit {ulimit} {kilobytes}; exec "$@"', "sh", sys.executable, "-m", "citymesh_dask"]
        return subprocess.run([*line, *words], capture_output=True, text=True, check=False)

    refusals = [limited(command, 450_000 if ulimit == "-d" else 1_300_000) for command in ("plan", "build")]
    assert [one.returncode for one in refusals] == [2, 2]
    assert refusals[0].stderr == refusals[1].stderr
    named = re.search(rf"raise it with 'ulimit {ulimit} (\d+)'$", refusals[0].stderr.strip())
    assert named and list(Path().iterdir()) == []
    assert limited("plan", int(named[1]) - 1000).returncode == 2
    planned = limited("plan", int(named[1]))
    assert planned.returncode == 0 and f"ulimit {ulimit} leaves each process" in planned.stderr
    built = limited("build", int(named[1]))
    assert built.returncode == 0, built.stderr
    assert json.loads(built.stdout)["report"]["warnings"] == []


def test_swap_in_use_is_told_once(town: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.swap_memory", lambda: SimpleNamespace(total=100, used=60))
    note, taken = "60 % of the swap is in use", "one worker is taken"
    line = [*arguments(town), "--out", "city.zarr"]
    assert cli.main(line) == 0
    said = capsys.readouterr().err
    assert said.count(note) == said.count(taken) == said.count(f"note: {note}") == 1 and "Warning" not in said
    assert cli.main([*line, "--workers", "2"]) == 0
    said = capsys.readouterr().err
    assert said.count(note) == 1 and taken not in said
    assert cli.main([*line, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    build = ["build", *line[1:], "--scheduler", "synchronous"]
    assert cli.main([*build, "--json", "--quiet"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    (warning,) = json.loads(told.out)["report"]["warnings"]
    assert warning.startswith(note)
    assert note in Path("city.report.html").read_text()
    assert cli.main([*build, "--overwrite", "--restart"]) == 0
    said = capsys.readouterr().err
    assert said.count(f"note: {note}") == 1 and said.count(f"WARNING    {note}") == 1 and "UserWarning" not in said


def test_less_memory_than_a_run_was_begun_with(town: Path, capsys: Captured) -> None:
    flags = ["--bounds", "1000", "2000", "1400", "2400", "--max-mesh-size", "0.4"]
    flags += ["--building-mesh-triangle-size", "0.4"]
    line = [*arguments(town), "--out", "city.zarr", *flags, "--quiet", "--json", "--memory-limit"]
    options = CityOptions(bounds=(1000, 2000, 1400, 2400), max_mesh_size=0.4, building_mesh_triangle_size=0.4)
    inputs = CityInputs((str(town / "town.gpkg"),), None, (str(town / "town.laz"),))
    request = survey_request(inputs, options, "city.zarr")
    choice = city_chooser(request, RunSettings()).choose(candidate_resources("8GB"))
    begun = replace(choice.job, tiling=regular_tiling(choice.job.domain, 200.0))
    begin_job(begun, resumed=choice.beside)
    assert cli.main([*line, "500MB"]) == 2
    message = capsys.readouterr().err.strip()
    assert "with the tiles that the run was begun with" in message and message.endswith("smaller tiles: --restart")
    named = re.search(r"--memory-limit (\d+MB)", message)
    assert named and named[1] != "500MB"
    assert cli.main([*line, named[1]]) == 0
    assert cli.main([*line, "500MB", "--restart"]) == 0
    capsys.readouterr()
    assert cli.main([*line, "200MB"]) == 2
    message = capsys.readouterr().err.strip()
    least = re.search(r"begin anew with --restart: it needs at least (\d+ MB)", message)
    assert least
    assert cli.main([*line, f"{int(least[1].split()[0]) + 1}MB", "--restart"]) == 0


def test_what_the_run_would_refuse_is_refused(town: Path, capsys: Captured) -> None:
    words = [*arguments(town)[1:], "--out", "city.zarr", "--scheduler", "synchronous", "--quiet"]
    assert cli.main(["build", *words]) == 0
    capsys.readouterr()
    for more in (["--max-mesh-size", "7"], ["--restart"]):
        refusals = []
        for command in ("plan", "build"):
            assert cli.main([command, *words, *more]) == 2
            refusals.append(capsys.readouterr().err)
        assert refusals[0] == refusals[1] and "pass --overwrite" in refusals[0]
        assert cli.main(["plan", *words, *more, "--overwrite"]) == 0
