"""The demo, its notebook and the examples of the README, run as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
from PIL import Image

import citymesh_dask as cm
from citymesh_dask import cli
from citymesh_dask.batch import run_config
from citymesh_dask.config import load_config
from citymesh_dask.demo import generate_demo, run_demo
from citymesh_dask.errors import OutputError
from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.sample_city.landscape import SampleCity

ROOT = Path(__file__).parents[1]
SMALL = SampleCity(size=240.0, density=1.0)


def _silent(line: str) -> None:
    del line


def _times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_demo_builds_checks_and_tells(tmp_path: Path) -> None:
    said: list[str] = []
    report = run_demo(tmp_path / "demo", SMALL, progress=False, tell=said.append)
    paths = [Path(path) for _, path, _ in report.rows]
    assert {path.name for path in paths} >= {"footprints.gpkg", "points", "city.yaml", "city.zarr", "city.png"}
    assert all(path.exists() for path in paths)
    assert all(size > 0 for *_, size in report.rows)
    assert any("closed" in line for line in said)
    assert check_store(tmp_path / "demo" / "city.zarr").ok
    with Image.open(tmp_path / "demo" / "city.png") as picture:
        assert len(picture.convert("RGB").getcolors(10**6) or []) > 50
    mesh = cm.open_mesh(tmp_path / "demo" / "city.zarr")
    outcome = dict(zip(mesh.buildings["id"], mesh.buildings["status"], strict=True))
    assert outcome["in-the-river"] == "skipped"
    assert outcome["across-the-border"] == "clipped"
    assert report.summary in report.describe()


def test_next_commands_work(tmp_path: Path) -> None:
    report = run_demo(tmp_path / "demo", SMALL, progress=False, tell=_silent)
    for command in report.next_commands():
        words = command.split()
        assert words[0] == "citymesh"
        assert cli.main([*words[1:], "--quiet"]) == 0
    assert (tmp_path / "demo" / "city.vtu").exists()
    assert check_store(tmp_path / "demo" / "solid.zarr").ok


def test_generate_only_and_again(tmp_path: Path) -> None:
    report = run_demo(tmp_path / "a", SMALL, generate_only=True, progress=False, tell=_silent)
    assert not (tmp_path / "a" / "city.zarr").exists()
    assert report.next_commands()[0].startswith("citymesh run")
    before = _times(tmp_path / "a")
    generate_demo(tmp_path / "a", SMALL, tell=_silent)
    assert _times(tmp_path / "a") == before, "the same city is kept, so that a finished run stays finished"
    generate_demo(tmp_path / "a", SampleCity(size=240.0, density=1.0, seed=2), tell=_silent)
    assert _times(tmp_path / "a") != before
    assert len(list((tmp_path / "a" / "points").iterdir())) == 1


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "footprints.gpkg").write_text("mine", encoding="utf8")
    with pytest.raises(OutputError, match="no demo wrote it"):
        generate_demo(tmp_path, SMALL, tell=_silent)
    assert (tmp_path / "footprints.gpkg").read_text(encoding="utf8") == "mine"


def test_written_config_shows_every_option_and_still_loads_uncommented(tmp_path: Path) -> None:
    config = generate_demo(tmp_path / "demo", SMALL, tell=_silent)
    (job,) = load_config(config)
    text = config.read_text(encoding="utf8")
    assert job.options == CityOptions(crs="EPSG:25832")
    options = re.sub(r"^# (\w+: )", r"\1", text.partition("# What the mesh looks like")[2], flags=re.MULTILINE)
    config.write_text(text.partition("# What the mesh looks like")[0] + "#" + options, encoding="utf8")
    (uncommented,) = load_config(config)
    assert uncommented.options == job.options, "the values shown are the defaults"
    assert uncommented.settings == job.settings


@pytest.mark.parametrize("name", ["city_points", "city_rasters", "city_cfd", "several_jobs"])
def test_example_configs_run(tmp_path: Path, name: str) -> None:
    city = SampleCity(size=300.0, density=1.0)
    generate_demo(tmp_path / "citymesh-demo", city, tell=_silent)
    (tmp_path / "configs").mkdir()
    config = tmp_path / "configs" / f"{name}.yaml"
    config.write_text((ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf8"), encoding="utf8")
    overrides = ["scheduler=synchronous"]
    if name == "city_cfd":
        overrides.append("bounds=[565050, 5932050, 565250, 5932250]")
    for mesh in run_config(config, overrides=overrides, progress=False):
        assert check_store(mesh.path).ok


def _readme_example() -> tuple[str, str]:
    found = re.search(
        r"```python\n(.*?)```.*?```text\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf8"), re.DOTALL
    )
    assert found
    return found[1], found[2]


def test_readme_example_prints_what_it_says(tmp_path: Path) -> None:
    code, printed = _readme_example()
    generate_demo(tmp_path / "citymesh-demo", SampleCity(), tell=_silent)
    (tmp_path / "example.py").write_text(code, encoding="utf8")
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    # Counts may differ a little between processors, and from one version to the next until the README follows.
    number = re.compile(r"(?<!\w)\d[\d,.]*(?<![.,])")
    assert number.sub("#", done.stdout) == number.sub("#", printed)
    found, said = ([float(n.replace(",", "")) for n in number.findall(text)] for text in (done.stdout, printed))
    assert found == pytest.approx(said, rel=0.02, abs=1.1)


def test_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(ROOT / "notebooks" / "demo_city.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed without outputs"
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)
