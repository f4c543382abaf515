"""Bad input: exit code 2, one message with what is needed to go on, nothing left that passes for a result."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely

import citymesh_dask as cm
from citymesh_dask import cli
from citymesh_dask.errors import InputError, OptionError, OutputError, PlanError, StoreError
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.store.city_store import open_store
from tests.builders import block_store
from tests.hostile import HOUSES, assert_one_message, command, cut, refused, results, write_cloud, zeroed
from tests.vector_samples import write_vectors

Captured = pytest.CaptureFixture[str]
FOOTPRINTS, POINTS = "--footprints {town}/town.gpkg", "--points {town}/town.laz"
BUILD = "build --scheduler synchronous --quiet --out out.zarr"


pytestmark = pytest.mark.usefixtures("here")


def words(line: str, town: Path) -> list[str]:
    return [word.replace("{town}", str(town)) for word in line.split()]


def polygon(*corners: tuple[float, float]) -> shapely.Polygon:
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore")
        return shapely.Polygon(corners)


# ---- files ---------------------------------------------------------------------------------------

NAN = polygon((1010, 2010), (np.nan, 2010), (1020, 2030))
INFINITE = polygon((1010, 2010), (np.inf, 2010), (1020, 2030))
FILES: list[tuple[str, Callable[[Path, Path], object] | None, str, tuple[str, ...]]] = [
    ("missing", None, f"--footprints gone.gpkg {POINTS}", ("gone.gpkg: no such file", "check the path")),
    ("missing points", None, f"{FOOTPRINTS} --points gone.laz", ("gone.laz: no such file",)),
    ("missing raster", None, f"{FOOTPRINTS} --terrain gone.tif --default-height 5", ("gone.tif: no such file",)),
    ("empty", lambda t, f: (f / "a.gpkg").touch(), f"--footprints a.gpkg {POINTS}", ("a.gpkg: the file is empty",)),
    ("empty points", lambda t, f: (f / "a.laz").touch(), f"{FOOTPRINTS} --points a.laz", ("a.laz: the file is empty",)),
    (
        "cut",
        lambda t, f: cut(t / "town.gpkg", f / "a.gpkg", 0.6),
        f"--footprints a.gpkg {POINTS}",
        ("a.gpkg", "cut off", "copy or download it again"),
    ),
    (
        "cut points",
        lambda t, f: cut(t / "town.laz", f / "a.laz", 0.6),
        f"{FOOTPRINTS} --points a.laz",
        ("a.laz: the file is cut off", "copy or download it again"),
    ),
    (
        "points damaged inside",
        lambda t, f: zeroed(write_cloud(f / "whole.laz", step=0.25), f / "a.laz"),
        f"{FOOTPRINTS} --points {{town}}/town.laz a.laz",
        ("a.laz: ", "cut off or damaged", "copy or download it again"),
    ),
    (
        "cut raster",
        lambda t, f: cut(t / "town.tif", f / "a.tif", 0.6),
        f"{FOOTPRINTS} --terrain a.tif --default-height 5",
        ("a.tif: ", "cut off or damaged"),
    ),
    (
        "text",
        lambda t, f: (f / "a.gpkg").write_text("hello"),
        f"--footprints a.gpkg {POINTS}",
        ("a.gpkg: the content is no gpkg file (it begins with b'hello')",),
    ),
    (
        "text as points",
        lambda t, f: (f / "a.laz").write_text("hello"),
        f"{FOOTPRINTS} --points a.laz",
        ("a.laz: the content is no LAS file",),
    ),
    ("footprints as points", None, f"{FOOTPRINTS} --points {{town}}/town.gpkg", ("town.gpkg", "no LAS file")),
    ("wrong layer", None, f"{FOOTPRINTS} --layer roofs {POINTS}", ("no layer 'roofs'", "its layers: town (Polygon)")),
    (
        "no polygon",
        lambda t, f: write_vectors(f / "a.gpkg", [shapely.Point(1010, 2010)], kind="Point"),
        f"--footprints a.gpkg {POINTS}",
        ("a.gpkg: no polygon in it", "its layers: a (Point)"),
    ),
    (
        "no overlap",
        lambda t, f: write_vectors(f / "a.gpkg", [shapely.box(5000, 6000, 5010, 6010)]),
        f"--footprints a.gpkg {POINTS}",
        ("do not overlap", "(5000.00, 6000.00, 5010.00, 6010.00)", "(1000.00, 2000.00, 1060.00, 2040.00)"),
    ),
    (
        "NaN",
        lambda t, f: write_vectors(f / "a.gpkg", [NAN]),
        f"--footprints a.gpkg {POINTS}",
        ("a.gpkg: all its features (1) have NaN or infinite coordinates", "repair the file"),
    ),
    (
        "infinite",
        lambda t, f: write_vectors(f / "a.gpkg", [INFINITE, INFINITE]),
        f"--footprints a.gpkg {POINTS}",
        ("a.gpkg: no coordinate", "NaN, infinite or missing"),
    ),
    (
        "no ground",
        lambda t, f: write_cloud(f / "a.laz", ground=1),
        f"{FOOTPRINTS} --points a.laz",
        ("a.laz: no ground points of classes (2,)", "1: ", "--ground-classes"),
    ),
    ("given twice", None, f"--footprints {{town}}/town.gpkg {{town}}/./town.gpkg {POINTS}", ("given twice",)),
    ("missing attribute", None, f"{FOOTPRINTS} {POINTS} --height-field hight", ("'hight'", "did you mean 'height'?")),
    ("no number", None, f"{FOOTPRINTS} {POINTS} --height-field name", ("'name'", "'a' where a height should stand")),
    # coordinate reference systems
    ("unknown CRS", None, f"{FOOTPRINTS} {POINTS} --crs EPSG:999999", ("'EPSG:999999' is not a known CRS",)),
    ("geographic", None, f"{FOOTPRINTS} {POINTS} --crs EPSG:4326", ("is geographic (degrees)", "projected CRS in met")),
    ("other CRS", None, f"{FOOTPRINTS} {POINTS} --crs EPSG:25832", ("EPSG:28992", "EPSG:25832", "reproject the file")),
    (
        "geographic points",
        lambda t, f: write_cloud(f / "a.laz", crs="EPSG:4326"),
        f"{FOOTPRINTS} --points a.laz",
        ("a.laz: CRS EPSG:4326 (WGS 84) is geographic", "reproject"),
    ),
    (
        "no CRS",
        lambda t, f: write_cloud(f / "a.laz", crs=None),
        f"{FOOTPRINTS} --points a.laz",
        ("a.laz: states no CRS", "pass --crs EPSG:28992"),
    ),
    (
        "no CRS at all",
        lambda t, f: (write_cloud(f / "a.laz", crs=None), write_vectors(f / "a.gpkg", HOUSES, crs=None)),
        "--footprints a.gpkg --points a.laz",
        ("a.laz, ", "a.gpkg: no CRS is stated in any input", "pass --crs"),
    ),
    # what does not go together
    ("nothing", None, "", ("nothing to build terrain from", "--points", "--terrain")),
    ("no height", None, f"{FOOTPRINTS} --terrain {{town}}/town.tif", ("no evidence of the height", "--default-height")),
]


@pytest.mark.parametrize(("make", "line", "facts"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_files(
    make: Callable[[Path, Path], object] | None,
    line: str,
    facts: tuple[str, ...],
    town: Path,
    here: Path,
    capsys: Captured,
) -> None:
    if make is not None:
        make(town, here)
    refused(capsys, words(f"{BUILD} {line}", town), *facts)


def test_one_bad_file_among_many_is_named(town: Path, here: Path, capsys: Captured) -> None:
    for number in range(20):
        shutil.copy(town / "town.laz", f"{number:02d}.laz")
    cut(town / "town.laz", here / "13.laz", 0.5)
    refused(capsys, words(f"{BUILD} {FOOTPRINTS} --points *.laz", town), "13.laz: the file is cut off")
    refused(capsys, words(f"{BUILD} {FOOTPRINTS} --points .", town), "13.laz: the file is cut off")


def test_a_bad_feature_among_good_ones_is_skipped_and_reported(town: Path, here: Path) -> None:
    path = write_vectors(here / "mixed.gpkg", [*HOUSES, NAN, INFINITE, None])
    run = cm.build_city_mesh(path, "out.zarr", points=town / "town.laz", scheduler="synchronous", progress=False)
    assert run.result().n_faces > 0
    assert run.report.outcomes == {"meshed": 2, "skipped": 3}
    assert {entry["reason"] for entry in run.report.reasons} == {"coordinates that are not finite", "no geometry"}


# ---- options -------------------------------------------------------------------------------------

OPTIONS: list[tuple[str, tuple[str, ...]]] = [
    ("--tile-size 0", ("tile_size: 0", "a value from 1 to 4000 m")),
    ("--tile-size -3", ("tile_size: -3", "a value from 1")),
    ("--tile-size nan", ("tile_size: nan", "a finite number")),
    ("--tile-size 1e300", ("tile_size: 1e+300", "to 4000 m")),
    ("--tile-size wide", ("--tile-size", "'wide'")),
    ("--max-mesh-size 1e-9", ("max_mesh_size", "a value from 0.1 to 1000 m")),
    ("--min-mesh-angle 60", ("min_mesh_angle: 60", "to 30 degrees")),
    ("--roof-percentile 90", ("roof_percentile: 90", "a value from 0 to 1")),
    ("--batch-size 1", ("batch_size: 1", "from 2")),
    ("--workers 0", ("n_workers: 0", "from 1")),
    ("--workers many", ("'many' is neither 'auto' nor a whole number",)),
    ("--workers 1000000", ("n_workers: 1000000", "CPU(s)", "at most")),
    ("--memory-limit plenty", ("'plenty'", "4GB")),
    ("--memory-limit 99999TB", ("'99999TB'",)),
    ("--memory-limit 100MB", ("stage ", "in the 100 MB allowed", "--memory-limit ")),
    ("--bounds 0 0 10 10", ("do not overlap", "(0.00, 0.00, 10.00, 10.00)", "(1000.00, 2000.00, 1060.00, 2040.00)")),
    ("--bounds 1000 2000 1000.5 2010", ("0.5 x 10 m", "at least one whole metre")),
    ("--bounds 5 5 1 1", ("bounds", "xmin < xmax")),
    ("--bounds -1e9 -1e9 1e9 1e9", ("2e+06 x 2e+06 km", "at most 1000 km")),
    ("--bounds -1e4 -1e4 1e4 1e4 --tile-size 1", ("400,000,000 tiles", "--tile-size 46 or more")),
    ("--bounds -1e4 -1e4 1e4 1e4 --no-use-tiling", ("use_tiling", "beyond 4000 m")),
    ("--bounds -4e5 0 4e5 4e5 --max-mesh-size 0.1", ("at least ", "will be written", "are free", "--out")),
    ("--bounds -4e5 0 4e5 4e5 --max-mesh-size 1000 --terrain-cell 0.1", ("terrain_cell", "--terrain-cell 1")),
    ("--layer town --laier town", ("unknown argument '--laier'", "did you mean --layer?")),
]


@pytest.mark.parametrize(("line", "facts"), OPTIONS, ids=[line for line, _ in OPTIONS])
def test_options(line: str, facts: tuple[str, ...], town: Path, capsys: Captured) -> None:
    refused(capsys, words(f"{BUILD} {FOOTPRINTS} {POINTS} {line}", town), *facts)


def test_options_in_python(town: Path) -> None:
    inputs = {"footprints": town / "town.gpkg", "points": town / "town.laz", "scheduler": "synchronous"}
    for wrong, error in (
        ({"tile_sise": 5}, OptionError),
        ({"tile_size": "5"}, OptionError),
        ({"out": ""}, OutputError),
        ({"out": "a" * 300}, OutputError),
        ({"out": "a\0b"}, OutputError),
        ({"memory_limit": "50MB"}, PlanError),
        ({"use_disk_store": "no"}, OptionError),
        ({"use_disk_store": False, "keep_intermediate": True}, OptionError),
        ({"use_disk_store": False, "memory_limit": "400MB"}, PlanError),
        ({"points": 5}, InputError),
    ):
        with pytest.raises(error):
            cm.build_city_mesh(**{"out": "out.zarr", **inputs, **wrong})  # type: ignore[arg-type]
    assert results(Path()) == []


# ---- configuration files -------------------------------------------------------------------------

CONFIGS: list[tuple[str, tuple[str, ...]]] = [
    ("tile_sise: 5", ("c.yaml, line 6: unknown key 'tile_sise'", "did you mean 'tile_size'?")),
    ("tile_size: wide", ("c.yaml, line 6: key 'tile_size': 'wide'", "a number")),
    ("solid: 1", ("key 'solid': 1", "true or false")),
    ("ground_classes: [2, x]", ("key 'ground_classes': 'x'", "a whole number")),
    ("crs: 28992", ("key 'crs': 28992", "EPSG:28992")),
    ("layer: 5", ("key 'layer': 5", "text", "put it in quotes")),
    ("terrain: [a, b]", ("key 'terrain': ['a', 'b']", "a path")),
    ("tile_size: !!python/object:os.system x", ("key 'tile_size'", "plain YAML")),
    ("overwrite: 1", ("key 'overwrite': 1", "true or false")),
    ("tile_size: [", ("c.yaml, line ", "no valid YAML")),
    ("temp_dir: ~nobody_of_this_name/x", ("key 'temp_dir'", "name the folder in full")),
]


@pytest.mark.parametrize(("extra", "facts"), CONFIGS, ids=[extra for extra, _ in CONFIGS])
def test_configs(extra: str, facts: tuple[str, ...], town: Path, capsys: Captured) -> None:
    lines = ["pipeline: city", f"footprints: {town}/town.gpkg", f"points: {town}/town.laz", "out: out.zarr"]
    Path("c.yaml").write_text("\n".join([*lines, "scheduler: synchronous", extra, ""]))
    refused(capsys, ["run", "c.yaml", "--quiet"], *facts)


# ---- outputs -------------------------------------------------------------------------------------

OUTPUTS: list[tuple[str, tuple[str, ...]]] = [
    ("--out file", ("file: it exists and is no whole city store", "choose another path")),
    ("--out folder", ("folder: it exists and is no whole city store",)),
    ("--out file/out.zarr", ("file/out.zarr: it cannot be made", "--out")),
    ("--out out.zarr --temp-dir file", ("option temp_dir", "it is no folder")),
    ("--out /proc/out.zarr", ("/proc/out.zarr: it cannot be made", "choose another place with --out")),
    ("--out newer.zarr", ("newer.zarr", "format version 99")),
    ("--out in_the_way", ("in_the_way.scratch: it is in the way of the scratch folder", "--temp-dir")),
]


@pytest.mark.parametrize(("line", "facts"), OUTPUTS, ids=[line for line, _ in OUTPUTS])
def test_outputs(line: str, facts: tuple[str, ...], town: Path, here: Path, capsys: Captured) -> None:
    if "/proc" in line and not Path("/proc/self").exists():
        pytest.skip("needs /proc")
    (here / "file").write_text("precious")
    (here / "folder").mkdir()
    (here / "folder" / "precious").touch()
    (here / "in_the_way.scratch").mkdir()
    (here / "in_the_way.scratch" / "precious").touch()
    newer_store(here / "newer.zarr")
    before = sorted(here.rglob("*"))
    refused(capsys, words(f"build --scheduler synchronous --quiet {FOOTPRINTS} {POINTS} {line}", town), *facts)
    assert sorted(here.rglob("*")) == before
    assert (here / "file").read_text() == "precious"


def newer_store(path: Path) -> Path:
    block_store(path)
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["attributes"]["format_version"] = 99
    (path / "zarr.json").write_text(json.dumps(metadata))
    return path


def test_the_result_of_another_run_needs_overwrite(town: Path, capsys: Captured) -> None:
    build = words(f"{BUILD} {FOOTPRINTS} {POINTS}", town)
    assert cli.main(build) == 0
    capsys.readouterr()
    refused(capsys, [*build, "--max-mesh-size", "5"], "out.zarr: it holds the result of another run", "--overwrite")
    coarse = open_store("out.zarr").n_faces
    assert cli.main([*build, "--max-mesh-size", "5", "--overwrite"]) == 0
    assert open_store("out.zarr").n_faces > coarse


def test_a_second_run_of_the_same_store_is_refused(town: Path) -> None:
    inputs = {"points": town / "town.laz", "scheduler": "threads", "progress": False}
    run = cm.build_city_mesh(town / "town.gpkg", "out.zarr", **inputs)
    if not run.done():
        with pytest.raises(OutputError, match="a run of this process is writing it"):
            cm.build_city_mesh(town / "town.gpkg", "out.zarr", **inputs)
    run.result(60)


# ---- stores --------------------------------------------------------------------------------------


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


DAMAGES: list[tuple[str, Callable[[Path], object], str]] = [
    ("nothing there", shutil.rmtree, "no such file or folder"),
    ("newer", newer_store, "format version 99; expected at most 1"),
    ("no zarr.json", lambda s: (s / "zarr.json").unlink(), "no zarr.json in it"),
    ("no JSON", lambda s: (s / "zarr.json").write_text("{"), "no JSON"),
    ("a list", lambda s: (s / "zarr.json").write_text("[]"), "no metadata of Zarr v3"),
    ("of another kind", lambda s: (s / "zarr.json").write_text('{"zarr_format": 3}'), "a Zarr group of another kind"),
    ("no faces", lambda s: shutil.rmtree(s / "faces"), "the store is damaged: remove it and build it again"),
    ("no chunk", lambda s: shutil.rmtree(s / "faces" / "c"), "1 of its 1 chunks are missing"),
    ("no table", lambda s: shutil.rmtree(s / "buildings"), "the store is damaged"),
    ("a group for an array", lambda s: shutil.copy(s / "zarr.json", s / "faces" / "zarr.json"), "no array"),
]


@pytest.mark.parametrize("line", ["check s.zarr", "info s.zarr", "export s.zarr a.ply"])
@pytest.mark.parametrize(("make", "fact"), [case[1:] for case in DAMAGES], ids=[case[0] for case in DAMAGES])
def test_no_stores(make: Callable[[Path], object], fact: str, line: str, here: Path, capsys: Captured) -> None:
    if make is not newer_store:
        block_store(here / "s.zarr")
    make(here / "s.zarr")
    refused(capsys, line.split(), fact)


@pytest.mark.parametrize("part", ["vertices/c/0/0", "markers/c/0", "buildings/roof_z/c/0", "buildings/id/c/0"])
def test_a_check_notices_one_flipped_byte(part: str, here: Path, capsys: Captured) -> None:
    damage(block_store(here / "s.zarr") / part)
    refused(capsys, ["check", "s.zarr"], part.split("/c/")[0], "build it again")


def test_check_of_a_file_and_export_to_nowhere(town: Path, here: Path, capsys: Captured) -> None:
    refused(capsys, ["check", f"{town}/town.gpkg"], "a file, no folder; expected a city store")
    block_store(here / "s.zarr")
    refused(capsys, ["export", "s.zarr", "gone/a.ply"], "there is no folder gone")
    refused(capsys, ["export", "s.zarr", "a.doc"], "'.doc'", ".ply")
    with pytest.raises(StoreError):
        cm.open_mesh(here)


# ---- strange and right ---------------------------------------------------------------------------


def test_strange_names_and_places(town: Path, here: Path) -> None:
    """Unicode, spaces and long names, attributes that are all null, a folder that does not exist, a last slash."""
    odd = here / "ü ö" / "名前 [1].gpkg"
    odd.parent.mkdir()
    none = np.full(2, None, dtype=object)
    fields = {
        "with space": none,
        "名前": none,
        "x" * 300: none,
        "..": none,
        "zarr.json": np.full(2, np.nan),
        "Status": none,
    }
    write_vectors(odd, HOUSES, fields)
    shutil.copy(town / "town.laz", odd.with_suffix(".laz"))
    line = [
        "build",
        "--footprints",
        str(odd.relative_to(here)),
        "--points",
        str(odd.with_suffix(".laz").relative_to(here)),
    ]
    assert cli.main([*line, "--out", "new folder/é/out.zarr/", "--scheduler", "synchronous", "--quiet"]) == 0
    store = open_store(here / "new folder" / "é" / "out.zarr")
    assert {"with space", "名前", "zarr_json"} < set(store.column_names())
    assert check_store(store.path).ok


@pytest.mark.parametrize(
    ("line", "n_buildings"),
    [
        (f"{POINTS} --footprints none.gpkg", 0),
        (f"{POINTS} --footprints collections.gpkg copy.gpkg --max-mesh-size 1000", 4),
        (f"{POINTS} {FOOTPRINTS} --bounds 1000 2000 1005 2005 --tile-size 4000", 2),
    ],
    ids=["no features", "collections, duplicates, large triangles", "small domain, large tile"],
)
def test_strange_cities(line: str, n_buildings: int, town: Path, here: Path) -> None:
    write_vectors(here / "none.gpkg", [])
    mixed = [shapely.GeometryCollection([house, shapely.Point(0, 0)]) for house in HOUSES]
    write_vectors(here / "collections.gpkg", mixed, kind="GeometryCollection")
    shutil.copy(town / "town.gpkg", "copy.gpkg")
    (here / "out.zarr").mkdir()  # an empty folder is in nobody's way
    assert cli.main(words(f"{BUILD} {line}", town)) == 0
    assert check_store("out.zarr").ok
    assert open_store("out.zarr").n_buildings == n_buildings


# ---- in a process of its own ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        (f"{BUILD} --footprints gone.gpkg {POINTS}", ("gone.gpkg: no such file",)),
        (f"{BUILD} --footprints a.gpkg {POINTS}", ("a.gpkg: the content is no gpkg file",)),
        (f"{BUILD} {FOOTPRINTS} --points cut.laz", ("cut.laz: the file is cut off",)),
        (f"{BUILD} {FOOTPRINTS} --points zeroed.laz", ("zeroed.laz: the points cannot be read",)),
        (f"{BUILD} {FOOTPRINTS} {POINTS} --tile-size 0", ("tile_size",)),
        (f"build {FOOTPRINTS} {POINTS} --out a.gpkg/out.zarr", ("a.gpkg/out.zarr: it cannot be made",)),
        ("run c.yaml", ("c.yaml, line 1: unknown key 'out_path'",)),
        ("check a.gpkg", ("a file, no folder",)),
    ],
)
def test_command_line(line: str, facts: tuple[str, ...], town: Path, here: Path) -> None:
    (here / "a.gpkg").write_text("hello")
    cut(town / "town.laz", here / "cut.laz", 0.6)
    zeroed(write_cloud(here / "whole.laz", step=0.25), here / "zeroed.laz")
    (here / "c.yaml").write_text("out_path: x\n")
    before = results(here)
    ended = command(*words(line, town), cwd=here)
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    assert_one_message(ended.stderr.rstrip("\n"), *facts)
    assert results(here) == before


def test_a_name_that_is_no_utf8(town: Path, here: Path, capsys: Captured) -> None:
    name = os.fsdecode(b"f\xff.gpkg")
    try:
        shutil.copy(town / "town.gpkg", name)
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    refused(capsys, [*words(f"{BUILD} {POINTS}", town), "--footprints", name], "its name is not in UTF-8")
