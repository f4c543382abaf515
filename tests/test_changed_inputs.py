"""Inputs that change while a run reads them: nothing is made from two states of them, and little is done again."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio

import citymesh_dask as cm
from citymesh_dask import cli
from citymesh_dask.errors import InputError
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.pipelines.city.ending import table
from citymesh_dask.pipelines.city.outlines import footprints
from citymesh_dask.store.fingerprint import file_fingerprint
from tests.hostile import HOUSES, refused, write_cloud, write_town
from tests.vector_samples import write_vectors

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("citymesh_dask.starting.write_report", lambda *_: None)
    return write_town(tmp_path / "town")


def build(out: str = "out.zarr") -> list[str]:
    inputs = ["--footprints", "town/town.gpkg", "--points", "town/town.laz", "--terrain", "town/town.tif", "--out", out]
    return ["build", *inputs, "--scheduler", "synchronous", "--tile-size", "15", "--max-mesh-size", "4", "--quiet"]


def turn_around() -> None:
    """Write the features in the other order: as many, of the same names, with the same attributes."""
    Path("town/town.gpkg").unlink()
    write_vectors(Path("town/town.gpkg"), HOUSES[::-1], {"id": [1, 0], "height": [9.0, 9.0], "name": ["b", "a"]})


def write_points() -> None:
    write_cloud(Path("town/town.laz"), step=0.5)


def touch() -> None:
    os.utime("town/town.tif", (1, 1))


CHANGES: dict[str, Callable[[], None]] = {"town.gpkg": turn_around, "town.laz": write_points, "town.tif": touch}


def changing(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Let something happen once between the reading of geometries and that of the ids."""
    real, left = table.read_kept_columns, [change]

    def read(*arguments: object, **more: object) -> object:
        if left:
            left.pop()()
        return real(*arguments, **more)  # type: ignore[arg-type]

    assert footprints.read_kept_columns is real
    monkeypatch.setattr(table, "read_kept_columns", read)


@pytest.mark.parametrize("name", CHANGES)
def test_an_input_that_changes_meanwhile_fails_the_run(
    name: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        changing(patched, CHANGES[name])
        refused(capsys, build(), f"/town/{name}: it changed while the run read it", "run the same command again")
    assert not Path("out.zarr").exists()
    assert cli.main([*build(), "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["report"]["stages"]
    redone = {stage["name"] for stage in stages if stage["tasks"] > stage["reused"]}
    assert ("read_footprints" in redone) == (name == "town.gpkg")
    assert ("sample_points" in redone) == (name != "town.tif")
    assert check_store("out.zarr").ok
    found = cm.open_mesh("out.zarr").buildings
    assert cli.main(build("fresh.zarr")) == 0
    fresh = cm.open_mesh("fresh.zarr").buildings
    assert list(found["id"]) == list(fresh["id"]) and list(found["name"]) == list(fresh["name"])
    assert found["area"].tolist() == fresh["area"].tolist()


def test_a_store_that_was_there_stays(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(build()) == 0
    before = cm.open_mesh("out.zarr").attributes
    write_points()
    changing(monkeypatch, turn_around)
    refused(capsys, [*build(), "--overwrite"], "town.gpkg: it changed while the run read it")
    assert cm.open_mesh("out.zarr").attributes == before


def test_in_memory_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    changing(monkeypatch, write_points)
    files = {"points": "town/town.laz", "use_disk_store": False, "progress": False, "tile_size": 15, "max_mesh_size": 4}
    run = cm.build_city_mesh("town/town.gpkg", "out.zarr", scheduler="synchronous", **files)
    with pytest.raises(InputError, match=r"town\.laz: it changed while"):
        run.result(60)
    assert not Path("out.zarr").exists()


def change_unseen(path: Path) -> None:
    """Raise one cell by a metre where no sample is taken; size and time stay."""
    stat, known = path.stat(), file_fingerprint(path)
    with rasterio.open(path, "r+") as raster:
        heights = raster.read(1)
        heights[heights.shape[0] // 2, heights.shape[1] // 2] += 1
        raster.write(heights, 1)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file_fingerprint(path) == known


def test_what_samples_cannot_see_is_seen_where_all_bytes_are_verified(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("citymesh_dask.store.fingerprint.BLOCK_BYTES", 8)
    verified = [*build(), "--verify-inputs"]
    assert cli.main(verified) == 0
    made = cm.open_mesh("out.zarr").attributes
    assert [len(entry["content"]) for entry in made["inputs"]] == [32, 32, 32]
    assert cli.main(verified) == 0  # it is complete
    change_unseen(Path("town/town.tif"))
    refused(capsys, verified, "it holds the result of another run, of other inputs or options", "--overwrite")
    assert cli.main([*verified, "--overwrite", "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["report"]["stages"]
    redone = {stage["name"] for stage in stages if stage["tasks"] > stage["reused"]}
    assert "terrain_cells" in redone
    assert not {"read_footprints", "sample_points"} & redone


def test_inputs_that_were_not_verified_are_told_apart(capsys: Captured) -> None:
    assert cli.main(build()) == 0
    assert all("content" not in entry for entry in cm.open_mesh("out.zarr").attributes["inputs"])
    refused(capsys, [*build(), "--verify-inputs"], "of a run without verify_inputs", "--overwrite")


def test_an_address_cannot_be_verified(capsys: Captured) -> None:
    command = [word if word != "town/town.tif" else "/vsizip/town.zip/town.tif" for word in build()]
    with zipfile.ZipFile("town.zip", "w") as archive:
        archive.write("town/town.tif", "town.tif")
    refused(capsys, [*command, "--verify-inputs"], "/vsizip/town.zip/town.tif: an address", "make one file")


def test_a_list_of_other_files_cannot_be_verified(capsys: Captured) -> None:
    data = '<VRTDataset rasterXSize="70" rasterYSize="50"><SRS>EPSG:28992</SRS>'
    data += "<GeoTransform>995, 1, 0, 2045, 0, -1</GeoTransform>"
    data += '<VRTRasterBand dataType="Float32" band="1"><SimpleSource><SourceFilename relativeToVRT="1">town.tif'
    data += "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    Path("town/town.vrt").write_text(data)
    command = [word if word != "town/town.tif" else "town/town.vrt" for word in build()]
    refused(capsys, [*command, "--verify-inputs"], "town.vrt: a list of other files", "make one file")
