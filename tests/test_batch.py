"""Jobs to runs: several files, several jobs, and what happens when waiting is interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import citymesh_dask as cm
from citymesh_dask.batch import finish_run, load_jobs, run_config, start_job
from citymesh_dask.errors import ConfigError, InputMissingError
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.sample_city.landscape import SampleCity
from citymesh_dask.sample_city.survey_files import write_footprints, write_terrain

HEAD = (
    "pipeline: city\nfootprints: footprints.gpkg\nterrain: terrain.tif\nheight_field: height\nscheduler: synchronous\n"
)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Footprints with heights and a terrain raster of a small city."""
    folder = tmp_path_factory.mktemp("batch")
    city = SampleCity(size=220.0)
    write_footprints(city, folder / "footprints.gpkg")
    write_terrain(city, folder / "terrain.tif", cell=4.0)
    return folder


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf8")
    return path


def test_all_jobs_of_a_file_are_run(survey: Path) -> None:
    job = HEAD.replace("\n", "\n    ")
    text = f"jobs:\n  - {job}out: walls.zarr\n  - {job}out: flat.zarr\n    lod: 0\n"
    walls, flat = run_config(_write(survey / "two.yaml", text), overrides=["max_mesh_size=30"], progress=False)
    assert walls.path.name == "walls.zarr"
    assert walls.attributes["options"]["max_mesh_size"] == flat.attributes["options"]["max_mesh_size"] == 30
    assert (walls.attributes["options"]["lod"], flat.attributes["options"]["lod"]) == (1, 0)
    assert walls.n_faces > flat.n_faces > 100
    assert check_store(walls.path).ok
    assert check_store(flat.path).ok


def test_the_same_as_in_python(survey: Path) -> None:
    (from_file,) = run_config(_write(survey / "one.yaml", HEAD + "out: file.zarr\n"), progress=False)
    inputs = {"terrain": survey / "terrain.tif", "height_field": "height"}
    run = cm.build_city_mesh(
        survey / "footprints.gpkg", survey / "python.zarr", **inputs, scheduler="synchronous", progress=False
    )
    mesh = run.result()
    assert (mesh.vertices.compute() == from_file.vertices.compute()).all()
    assert (mesh.faces.compute() == from_file.faces.compute()).all()


def test_every_file_is_read_before_any_is_run(survey: Path) -> None:
    good, bad = _write(survey / "good.yaml", HEAD + "out: good.zarr\n"), _write(survey / "bad.yaml", HEAD + "otu: x\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml, line 6"):
        load_jobs([good, bad])
    assert not (survey / "good.zarr").exists()


def test_two_jobs_cannot_write_one_store(survey: Path) -> None:
    first, second = (_write(survey / f"{n}.yaml", HEAD + "out: same.zarr\n") for n in ("first", "second"))
    with pytest.raises(ConfigError, match="store of its own") as caught:
        load_jobs([first, second])
    assert "first.yaml" in str(caught.value)
    assert "second.yaml" in str(caught.value)


def test_missing_input_is_refused_before_the_run(survey: Path) -> None:
    (job,) = load_jobs([_write(survey / "gone.yaml", HEAD + "out: gone.zarr\n")], ["terrain=nowhere.tif"])
    with pytest.raises(InputMissingError, match=r"nowhere\.tif"):
        start_job(job)


def test_an_interrupted_wait_cancels_the_run() -> None:
    cancelled = []

    class Interrupted:
        def result(self) -> Any:
            raise KeyboardInterrupt

        def cancel(self) -> None:
            cancelled.append(True)

    with pytest.raises(KeyboardInterrupt):
        finish_run(Interrupted())  # type: ignore[arg-type]
    assert cancelled
