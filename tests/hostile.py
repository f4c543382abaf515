"""A small town, and a command line that is expected to refuse: for tests of bad input and disturbed runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pyproj
import pytest
import shapely

from citymesh_dask import cli
from citymesh_dask.pipelines.city.tiles import meshes
from tests.ground_samples import write_raster
from tests.vector_samples import write_vectors

RD = "EPSG:28992"
BOX = (1000, 2000, 1060, 2040)
HOUSES = [shapely.box(1010 + 25 * i, 2010, 1022 + 25 * i, 2025) for i in range(2)]


def write_cloud(path: Path, *, crs: str | None = RD, ground: int = 2, step: float = 1.0, **header: Any) -> Path:
    """Write returns on a grid over `BOX`: ground, and roofs of class 6 on the houses."""
    x, y = (
        a.ravel() for a in np.meshgrid(np.arange(BOX[0], BOX[2] + 0.1, step), np.arange(BOX[1], BOX[3] + 0.1, step))
    )
    roof = shapely.contains_xy(shapely.union_all(HOUSES), x, y)
    las_header = laspy.LasHeader(point_format=6, version="1.4")
    las_header.scales, las_header.offsets = [0.001] * 3, [1000, 2000, 0]
    if crs is not None:
        las_header.add_crs(pyproj.CRS(crs))
    las = laspy.LasData(las_header)
    las.x, las.y, las.z = x, y, np.where(roof, 15.0, 5 + 0.02 * (x - BOX[0]))
    las.classification = np.where(roof, 6, ground).astype(np.uint8)
    for name, value in header.items():
        setattr(las, name, value)
    las.write(path)
    return path


def write_town(folder: Path) -> Path:
    """Write footprints, points and a terrain raster that make a city."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = {"id": np.arange(2), "height": np.full(2, 9.0), "name": np.array(["a", "b"])}
    write_vectors(folder / "town.gpkg", HOUSES, fields)
    write_cloud(folder / "town.laz")
    from rasterio.transform import Affine

    write_raster(folder / "town.tif", np.full((50, 70), 7.0, np.float32), Affine(1, 0, 995, 0, -1, 2045))
    return folder


def cut(source: Path, target: Path, share: float) -> Path:
    """Write the first part of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def zeroed(source: Path, target: Path) -> Path:
    """Write a file whose middle is zeros, as downloads leave it that were given their size first."""
    data = bytearray(source.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = bytes(third)
    target.write_bytes(data)
    return target


def results(folder: Path) -> list[str]:
    """Return what passes for a result: everything but the folders that let a run go on."""
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if not name.endswith((".scratch", ".partial", ".lock"))]


def assert_one_message(text: str, *facts: str) -> None:
    """Hold what was said against the rules: one line, no traceback, all facts in it."""
    assert text.startswith("citymesh: error: "), text
    assert len(text.splitlines()) == 1, text
    assert "Traceback" not in text
    for fact in facts:
        assert fact in text, f"{fact!r} is not in {text!r}"


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], *facts: str, code: int = 2) -> str:
    """Run the command in this process and the current folder; return its message after checking it."""
    before = results(Path())
    try:
        ended: object = cli.main(arguments)
    except SystemExit as error:  # bad usage
        ended = error.code
    captured = capsys.readouterr()
    assert ended == code, captured.err
    assert_one_message(captured.err, *facts)
    assert captured.out == ""
    assert results(Path()) == before
    return captured.err


def stopped(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run a command that fails in its tiles; return the scratch folder that it leaves."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a failure for the test")

    with monkeypatch.context() as patched:
        patched.setattr(meshes, "extrude_tile", fail)
        refused(capsys, arguments, "a failure for the test", code=1)
    return Path("out.zarr.scratch")


def command(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    line = [sys.executable, "-m", "citymesh_dask", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, **settings)


def is_root() -> bool:
    """Whether permissions do not hold for this process."""
    return hasattr(os, "geteuid") and os.geteuid() == 0
