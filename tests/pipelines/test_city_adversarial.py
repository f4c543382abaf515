"""Footprints that break meshers, tile lines through their vertices, and every option, judged by the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from shapely import box

import citymesh_dask as cm
from citymesh_dask.geometry.pieces import subdivision
from citymesh_dask.geometry.seams import seams
from citymesh_dask.store.city_store import open_store
from tests.adversarial_scenes import SCENES, SIDE, checkerboard, hollow, lattice, mixed
from tests.oracle import load
from tests.pipelines.city_runs import build
from tests.pipelines.scene_runs import (
    ORIGIN,
    ROOFS,
    Array,
    build_scene,
    face_normals,
    hills,
    mesh_again,
    mesh_in_tilings,
    through_vertices,
    write_scene,
)

FEW = [(2, 2, 0), (7, 3, -1)]
MANY = [(2, 2, 0), (3, 3, 1), (4, 4, 0), (5, 2, 0), (7, 3, -1), (8, 8, 0), (1, 6, 0), (10, 1, 0), (20, 20, 0)]

SKIPPED = {"at the frame": 1, "touching the corner": 3}
"""Buildings without a place in the domain or the size of one."""
MERGED = {"duplicates": 3, "hundreds": 4}


def check_scene(name: str, folder: Path, tilings: list[tuple[int, int, int]]) -> None:
    """Build a scene in several tilings; nearly all that was given must be there, with the heights that were asked."""
    footprints = SCENES[name]()
    scene = build_scene(write_scene(folder, footprints), folder)
    _, table, _ = load(scene.out)
    meshed = np.isin(table["status"], ["meshed", "repaired", "clipped"])
    assert (table["status"] == "skipped").sum() == SKIPPED.get(name, 0), table["reason"]
    assert (table["status"] == "merged").sum() == MERGED.get(name, 0), table["reason"]
    wanted = np.resize(ROOFS, len(meshed)) if len(meshed) else np.empty(0)
    np.testing.assert_array_equal(table["roof_z"][meshed], wanted[meshed])
    whole = shapely.union_all([shapely.make_valid(item, method="structure") for item in footprints])
    inside = whole.intersection(box(0, 0, SIDE, SIDE))
    assert abs(scene.area.sum() - inside.area) <= 0.25 * inside.length + 15 * SKIPPED.get(name, 0)
    mesh_in_tilings(scene, folder, tilings)


@pytest.mark.parametrize("name", SCENES)
def test_every_scene_is_perfect_in_any_tiling(name: str, tmp_path: Path) -> None:
    check_scene(name, tmp_path, FEW)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SCENES)
def test_every_scene_with_every_tiling(name: str, tmp_path: Path) -> None:
    check_scene(name, tmp_path, MANY)


OPTIONS: dict[str, dict[str, Any]] = {
    "solid": {"solid": True, "base_depth": 0.01},
    "merged buildings": {"merge_buildings": True, "merge_tolerance": 3.0},
    "all areas": {"min_building_area": 0.0},
    "large areas": {"min_building_area": 100.0},
    "1 m": {"max_mesh_size": 1.0, "building_mesh_triangle_size": 1.0},
    "25 m": {"max_mesh_size": 25.0, "building_mesh_triangle_size": 25.0},
    "fine ground": {"max_mesh_size": 2.0, "building_mesh_triangle_size": 25.0},
    "fine buildings": {"max_mesh_size": 25.0, "building_mesh_triangle_size": 2.0},
    "any angle": {"min_mesh_angle": 0.0},
    "30 degrees": {"min_mesh_angle": 30.0},
    "fine detail": {"min_building_detail": 0.1},
    "coarse detail": {"min_building_detail": 10.0},
    "nothing left": {"min_building_detail": 20.0},
    "odd bounds": {"bounds": (ORIGIN[0] + 0.37, ORIGIN[1] + 0.123456, ORIGIN[0] + 187.77771, ORIGIN[1] + 199.9)},
    "wide bounds": {"bounds": (ORIGIN[0] - 49.5, ORIGIN[1] - 29.75, ORIGIN[0] + 250.125, ORIGIN[1] + 260.0625)},
    "raised": {"min_building_height": 50.0},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name: str, tmp_path: Path) -> None:
    scene = build_scene(write_scene(tmp_path, mixed()) | OPTIONS[name], tmp_path)
    mesh_in_tilings(scene, tmp_path, [(4, 5, 1)])


def test_a_solid_has_the_volume_under_its_surface(tmp_path: Path) -> None:
    scene = build_scene(write_scene(tmp_path, mixed()) | {"solid": True, "base_depth": 7.0}, tmp_path)
    path = mesh_again(scene, through_vertices(scene.points(), 3, 3), tmp_path / "nine.zarr")
    mesh, table, _ = load(path)
    vertices = mesh["vertices"] - [*ORIGIN, 0]
    normals = face_normals(vertices, mesh["faces"])
    centres = vertices[mesh["faces"]].mean(axis=1)
    enclosed = (normals * centres).sum() / 6
    flat = (mesh["markers"] == -2) | (mesh["markers"] >= len(table["id"]))
    base = vertices[mesh["faces"][mesh["markers"] == -4]][:, :, 2]
    under = (normals[flat, 2] / 2 * (centres[flat, 2] - base.max())).sum()
    assert base.min() == base.max() == pytest.approx(centres[mesh["markers"] == -2, 2].min() - 7, abs=1)
    assert enclosed == pytest.approx(under, rel=1e-9)


def test_lod0_has_footprints_and_no_walls(tmp_path: Path) -> None:
    scene = build_scene(write_scene(tmp_path, mixed()) | {"lod": 0}, tmp_path)
    mesh_in_tilings(scene, tmp_path, [(3, 3, 0)])
    mesh, table, _ = load(tmp_path / "3x3.zarr")
    assert not ((mesh["markers"] >= 0) & (mesh["markers"] < len(table["id"]))).any()
    assert np.isnan(table["roof_z"]).all()
    assert face_normals(mesh["vertices"], mesh["faces"])[:, 2].min() > 0


def test_bare_walls_have_no_levels_in_between(tmp_path: Path) -> None:
    scene = build_scene(write_scene(tmp_path, mixed()) | {"mesh_walls": False}, tmp_path)
    mesh_in_tilings(scene, tmp_path, [(3, 3, 0)])
    mesh, table, _ = load(tmp_path / "3x3.zarr")
    walls = (mesh["markers"] >= 0) & (mesh["markers"] < len(table["id"]))
    between = np.setdiff1d(mesh["faces"][walls], mesh["faces"][~walls])
    plane = mesh["vertices"][between, :2] - ORIGIN
    assert ((plane == 0) | (plane == SIDE)).any(axis=1).all()  # the feet of walls on the frame


def test_sorted_triangles_are_the_same_triangles(tmp_path: Path) -> None:
    faces = []
    for sort in (False, True):
        folder = tmp_path / str(sort)
        scene = build_scene(write_scene(folder, mixed()) | {"sort_triangles": sort}, folder)
        path = mesh_again(scene, through_vertices(scene.points(), 3, 3), folder / "nine.zarr")
        mesh, _, _ = load(path)
        faces.append(np.unique(np.column_stack([mesh["faces"], mesh["markers"]]), axis=0))
    for start, stop in open_store(path).read("tiles/face_range"):
        assert (np.diff(mesh["markers"][start:stop]) >= 0).all()
    np.testing.assert_array_equal(*faces)


def test_smoothing_lowers_peaks(tmp_path: Path) -> None:
    def rough(x: Array, y: Array) -> Array:
        return np.random.default_rng(3).uniform(10, 20, x.shape)

    spread = []
    for passes in (0, 2):
        folder = tmp_path / str(passes)
        scene = build_scene(write_scene(folder, mixed(), terrain=rough) | {"smoothing": passes}, folder)
        mesh_in_tilings(scene, folder, [(3, 3, 0)])
        mesh, _, _ = load(folder / "3x3.zarr")
        spread.append(np.std(mesh["vertices"][np.unique(mesh["faces"][mesh["markers"] == -2]), 2]))
    assert spread[1] < 0.6 * spread[0]


TERRAINS: dict[str, Any] = {
    "slope of 100 %": lambda x, y: x,
    "cliffs": lambda x, y: np.where(x > 100, 80.0, 0.0) + np.where(y > 60, 33.0, 0.0),
    "noise": lambda x, y: np.random.default_rng(3).uniform(-50, 50, x.shape),
    "below sea level": lambda x, y: hills(x, y) - 4000,
    "flat at zero": lambda x, y: 0 * x,
}


@pytest.mark.parametrize("name", TERRAINS)
def test_terrains(name: str, tmp_path: Path) -> None:
    terrain = TERRAINS[name]
    roofs = [roof - 4000 for roof in ROOFS] if name == "below sea level" else ROOFS
    scene = build_scene(write_scene(tmp_path, mixed(), terrain=terrain, roofs=roofs), tmp_path)
    mesh_in_tilings(scene, tmp_path, [(4, 5, 1)])


@pytest.mark.parametrize("roofs", [(30.0,), (30.0, 30.01), (30.0, 33.0, 30.0), (0.0,), (30.0, 300.0)], ids=str)
def test_roof_levels_side_by_side(roofs: tuple[float, ...], tmp_path: Path) -> None:
    row = [box(20 + 8 * k, 40, 28 + 8 * k, 50) for k in range(20)]
    scene = build_scene(write_scene(tmp_path, row, roofs=roofs), tmp_path)
    mesh_in_tilings(scene, tmp_path, [(4, 5, 0)])
    mesh, table, _ = load(tmp_path / "4x5.zarr")
    walls = (mesh["markers"] >= 0) & (mesh["markers"] < len(table["id"]))
    corners = mesh["vertices"][mesh["faces"][walls]] - [*ORIGIN, 0]
    party = (np.ptp(corners[:, :, 0], axis=1) == 0) & (corners[:, 0, 0] > 20) & (corners[:, 0, 0] < 180)
    assert party.any() == (roofs != (30.0,))  # between roofs of one level there is nothing
    area = np.linalg.norm(face_normals(mesh["vertices"], mesh["faces"][walls]), axis=1)[party].sum() / 2
    np.testing.assert_allclose(area, 10 * np.abs(np.diff(table["roof_z"])).sum(), rtol=1e-9)


@pytest.mark.parametrize(
    "origin", [(-20_000_000.0, 15_000_000.0), (15_000_000.5, -19_000_000.25), (-100.5, -70.25)], ids=str
)
def test_coordinates_far_from_the_origin_and_around_it(origin: tuple[float, float], tmp_path: Path) -> None:
    scene = build_scene(write_scene(tmp_path, mixed(), origin=origin, crs="EPSG:3857"), tmp_path)
    mesh_in_tilings(scene, tmp_path, [(4, 5, 1)])


@pytest.mark.parametrize("limits", [(6, 500.0), (20_000, 15.0)], ids=["vertices", "extent"])
@pytest.mark.parametrize("name", ["mixed", "row houses", "rings", "comb", "hundreds", "whole domain"])
def test_divided_clusters(
    name: str, limits: tuple[int, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clusters that are too large for one tile are shared out triangle by triangle."""
    monkeypatch.setattr(subdivision, "DIVIDED_VERTICES", limits[0])
    monkeypatch.setattr(subdivision, "DIVIDED_EXTENT", limits[1])
    footprints = mixed() if name == "mixed" else SCENES[name]()
    scene = build_scene(write_scene(tmp_path, footprints), tmp_path)
    divided = [scene.job.scratch.read(f"pieces/{pack:05d}", "divided") for pack in range(scene.job.n_packs + 1)]
    if limits[0] == 20_000 or name != "whole domain":
        assert np.concatenate(divided).any()
    mesh_in_tilings(scene, tmp_path, [(3, 3, 0), (8, 7, 1)])


@pytest.mark.parametrize("sizes", [(25.0, 25.0), (2.0, 25.0), (25.0, 2.0)], ids=str)
def test_divided_clusters_of_other_sizes(
    sizes: tuple[float, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subdivision, "DIVIDED_EXTENT", 15.0)
    options = {"max_mesh_size": sizes[0], "building_mesh_triangle_size": sizes[1], "solid": True}
    scene = build_scene(write_scene(tmp_path, mixed()) | options, tmp_path)
    mesh_in_tilings(scene, tmp_path, [(4, 5, 1)])


def test_a_building_of_600_m_is_shared_out(tmp_path: Path) -> None:
    hall = [hollow(40, 40, 640, 300, thickness=30), box(100, 100, 200, 130), box(70, 180, 120, 200)]
    scene = build_scene(write_scene(tmp_path, hall, side=680.0), tmp_path)
    path = mesh_again(scene, through_vertices(scene.points(), 4, 3), tmp_path / "tiles.zarr")
    mesh, _, _ = load(path)
    with_hall = [(mesh["building"][start:stop] == 0).any() for start, stop in open_store(path).read("tiles/face_range")]
    assert sum(with_hall) > 4


def many_houses(count: int, size: float) -> list[shapely.Polygon]:
    """Return count x count houses, wall to wall."""
    return lattice(size, size, count)


def test_many_touching_houses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small sibling of the test below: one group of 400 houses in several packs' worth of tiles."""
    monkeypatch.setattr(subdivision, "DIVIDED_VERTICES", 300)
    scene = build_scene(write_scene(tmp_path, many_houses(20, 8.0)), tmp_path)
    mesh_in_tilings(scene, tmp_path, [(5, 4, 0)])


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("size", [4.5, 8.0], ids=["one tile", "shared out"])
def test_ten_thousand_touching_houses(size: float, tmp_path: Path) -> None:
    scene = build_scene(write_scene(tmp_path, many_houses(100, size), side=900.0), tmp_path)
    assert (load(scene.out)[1]["status"] == "meshed").all()
    mesh_in_tilings(scene, tmp_path, [(2, 2, 0), (5, 4, 1), (9, 9, 0), (20, 3, -1)])


@pytest.mark.parametrize("solid", [False, True])
def test_a_mesh_with_a_gap_is_refused(solid: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in a tile, the run says so: here a tile does not know a roof that others know."""
    monkeypatch.setattr(subdivision, "DIVIDED_EXTENT", 15.0)
    inputs = write_scene(tmp_path, [*checkerboard()[:20], hollow(20, 20, 60, 60, thickness=7)]) | {"solid": solid}
    scene = build_scene(inputs, tmp_path)
    monkeypatch.setattr(seams, "_needed_pieces", lambda pieces, own: own[:, 0] | own[:, 1])
    with pytest.raises(cm.CheckError, match="open edge at"):
        for count in range(3, 12):
            tiler = through_vertices(scene.points(), count, count)
            build(inputs, tmp_path / f"{count}.zarr", tiler)
