"""Export of a store: the right writer, whole files or none, and pictures."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from citymesh_dask.errors import OptionError, OutputError, StoreError
from citymesh_dask.geometry.drawing.camera import View
from citymesh_dask.pipelines.export import EXTENSIONS, Picture, draw_store, export_store
from citymesh_dask.store.city_store import open_store
from tests.builders import block_store
from tests.large_stores import hill_store

SMALL = (160, 120)


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return block_store(tmp_path_factory.mktemp("export") / "city.zarr")


@pytest.fixture(scope="module")
def hill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hill_store(tmp_path_factory.mktemp("export") / "hill.zarr")


@pytest.mark.parametrize("extension", [*EXTENSIONS, ".PNG"])
def test_every_extension_is_written_and_reported(block: Path, tmp_path: Path, extension: str) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / f"city{extension}"
    report = export_store(block, out, size=SMALL, progress=lambda done, total: seen.append((done, total)))
    assert report.path == str(out)
    assert report.bytes_written == out.stat().st_size > 0
    assert (report.n_vertices, report.n_faces) == (20, 26)
    assert seen[-1] == (46, 46)
    assert seen == sorted(seen)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == ({out.name, "city.stl.json"} if extension == ".stl" else {out.name})


def test_the_shift_of_single_precision_stands_beside_the_file(block: Path, tmp_path: Path) -> None:
    report = export_store(block, tmp_path / "city.stl")
    assert report.beside is not None
    note = json.loads(Path(report.beside).read_text())
    assert note["shift"] == list(report.shift) == [1000.0, 2000.0, 0.0]
    assert export_store(block, tmp_path / "city.ply").shift == (0.0, 0.0, 0.0)


def test_a_format_that_does_not_exist_names_those_that_do(block: Path, tmp_path: Path) -> None:
    for name in ("city.gltf", "city"):
        with pytest.raises(OptionError) as caught:
            export_store(block, tmp_path / name)
        assert all(extension in str(caught.value) for extension in EXTENSIONS)
        assert name in str(caught.value)


def test_what_is_there_is_kept_unless_asked(block: Path, tmp_path: Path) -> None:
    out = tmp_path / "city.ply"
    out.write_text("precious")
    with pytest.raises(OutputError, match="exists"):
        export_store(block, out)
    assert out.read_text() == "precious"
    export_store(block, out, overwrite=True)
    assert out.read_bytes().startswith(b"ply")
    note = tmp_path / "city.stl.json"
    note.write_text("precious")
    with pytest.raises(OutputError, match=r"city\.stl\.json"):
        export_store(block, tmp_path / "city.stl")
    assert note.read_text() == "precious"


def test_bad_places_are_refused(block: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no folder"):
        export_store(block, tmp_path / "nowhere" / "city.ply")
    (tmp_path / "folder.ply").mkdir()
    with pytest.raises(OutputError, match="folder of that name"):
        export_store(block, tmp_path / "folder.ply", overwrite=True)
    with pytest.raises(StoreError, match="city store"):
        export_store(tmp_path, tmp_path / "city.ply")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.ply"]


def test_a_disk_too_small_is_refused_before_writing(
    block: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = type("Usage", (), {"free": 10})
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    with pytest.raises(OutputError, match="will be written"):
        export_store(block, tmp_path / "city.vtu")
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_nothing(hill: Path, tmp_path: Path) -> None:
    """A process that may write files of 1 MB at most meets a real error of the system in the middle."""
    code = (
        "import resource, sys, signal\n"
        "from citymesh_dask.errors import OutputError\n"
        "from citymesh_dask.pipelines.export import export_store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "try:\n"
        "    export_store(sys.argv[1], sys.argv[2])\n"
        "except OutputError as error:\n"
        "    sys.exit(str(error))\n"
    )
    for name in ("hill.vtu", "hill.stl"):
        done = subprocess.run([sys.executable, "-c", code, hill, tmp_path / name], capture_output=True, text=True)
        assert done.returncode == 1
        assert name in done.stderr and "could not be written" in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_a_damaged_store_gives_no_file(tmp_path: Path) -> None:
    store = block_store(tmp_path / "city.zarr")
    chunk = next(path for path in (store / "faces" / "c").rglob("*") if path.is_file())
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    for extension in EXTENSIONS:
        with pytest.raises(StoreError, match="checksum"):
            export_store(store, tmp_path / f"city{extension}", size=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["city.zarr"]


def picture_of(store: Path, picture: Picture) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    image = Image.open(io.BytesIO(draw_store(open_store(store), picture)))
    assert image.mode == "RGB" and image.size == picture.size
    return np.asarray(image).astype(np.int64)


def test_the_map_of_the_block_shows_its_roof_where_it_stands(block: Path) -> None:
    """Seen from straight above, 10 pixels to the metre, the picture is a map of the domain."""
    view = View(azimuth=0.0, elevation=90.0, crop=(1000.0, 2000.0, 1040.0, 2030.0))
    pixels = picture_of(block, Picture(size=(400, 300), view=view))
    red = (pixels[:, :, 0] - pixels[:, :, 2]) > 40
    wanted = np.zeros((300, 400), bool)
    wanted[100:200, 100:200] = True
    assert (red != wanted).mean() < 0.01
    # light comes from the north-west, so the shadow lies on the ground in the south-east
    south_east, north_west = pixels[205:225, 205:225].mean(), pixels[75:95, 75:95].mean()
    assert south_east < 0.85 * north_west


@pytest.mark.parametrize("colour", ["marker", "building", "height"])
def test_pictures_are_the_same_bytes_each_time(block: Path, colour: str) -> None:
    picture = Picture(colour, SMALL)
    first = draw_store(open_store(block), picture)
    assert draw_store(open_store(block), picture) == first
    pixels = picture_of(block, picture)
    assert (pixels == 255).all(axis=2)[[0, -1]].all(), "white round about"
    assert 0.2 < (pixels < 250).any(axis=2).mean() < 0.9
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_a_crop_shows_a_part_and_an_empty_one_says_so(block: Path) -> None:
    roof = Picture(size=SMALL, view=View(elevation=90.0, crop=(1011.0, 2011.0, 1019.0, 2019.0)))
    with pytest.raises(OptionError, match="no part of the mesh"):
        picture_of(block, roof)  # no vertex lies there
    around = Picture(size=(100, 100), view=View(azimuth=0.0, elevation=90.0, crop=(1009.0, 2009.0, 1021.0, 2021.0)))
    red = picture_of(block, around)[30:70, 30:70]
    assert (red[:, :, 0] - red[:, :, 2] > 40).all()


def test_options_of_pictures_are_checked(block: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="marker, building, height"):
        export_store(block, tmp_path / "city.png", colour="rainbow")
    for size in ((0, 100), (100, 100_000)):
        with pytest.raises(OptionError, match="pixels"):
            export_store(block, tmp_path / "city.png", size=size)
    assert not list(tmp_path.iterdir())


def test_the_memory_of_a_picture_is_that_of_pieces_and_pixels(hill: Path) -> None:
    draw_store(open_store(hill), Picture(size=SMALL))
    tracemalloc.start()
    try:
        draw_store(open_store(hill), Picture(size=SMALL))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # corners of all 540,800 faces at once would be 39 MB, and as much again in colouring them
    assert peak < 56 << 20
