"""Every kind of damage to a store is found, named and placed, however the faces are cut into pieces."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from citymesh_dask.errors import StoreError
from citymesh_dask.geometry.joining.boundary import close_rim, merge_boundaries
from citymesh_dask.geometry.joining.edges import tile_edges
from citymesh_dask.geometry.joining.numbering import owned_tail, tail_rows, vertex_offsets
from citymesh_dask.geometry.joining.solid import close_solid
from citymesh_dask.mesh import TERRAIN_LEVEL, Boundary
from citymesh_dask.pipelines.checking.check import check_piece, check_store, combine_proofs, face_pieces, plan_check
from citymesh_dask.pipelines.checking.report import CheckReport, Place, Problem
from citymesh_dask.store.chunks import Array, create_array
from citymesh_dask.store.city_store import CHUNK_ROWS, open_store, write_arrays, write_attributes, write_table
from citymesh_dask.store.scratch import Scratch
from citymesh_dask.tiles import MESH_UNITS, Domain
from tests.builders import block_city, block_store, write_store

Mesh = dict[str, Array]
BOUNDS = (1000.0, 2000.0, 1040.0, 2030.0)
SIZES = (1, 3, 7, 1 << 19)


def table(**changes: Array) -> dict[str, Array]:
    columns: dict[str, Array] = {
        "id": np.array(["block"], dtype=object),
        "area": np.array([100.0]),
        "status": np.array(["meshed"], dtype=object),
    }
    return {**columns, **changes}


def with_faces(mesh: Mesh, faces: list[tuple[int, int, int]], marker: int, building: int) -> Mesh:
    count = len(faces)
    return {
        **mesh,
        "faces": np.concatenate([mesh["faces"], np.array(faces, np.int32)]),
        "markers": np.append(mesh["markers"], np.full(count, marker, np.int32)),
        "building": np.append(mesh["building"], np.full(count, building, np.int32)),
    }


def without_faces(mesh: Mesh, gone: list[int]) -> Mesh:
    kept = np.delete(np.arange(len(mesh["faces"])), gone)
    return {"vertices": mesh["vertices"], **{name: mesh[name][kept] for name in ("faces", "markers", "building")}}


def with_vertices(mesh: Mesh, extra: list[tuple[float, float, float]]) -> Mesh:
    return {**mesh, "vertices": np.concatenate([mesh["vertices"], np.array(extra)])}


def changed(mesh: Mesh, name: str, place: tuple[int, ...] | int, value: float) -> Mesh:
    array = mesh[name].copy()
    array[place] = value
    return {**mesh, name: array}


def flipped_face(mesh: Mesh) -> Mesh:
    faces = mesh["faces"].copy()
    faces[9] = faces[9][::-1]
    return {**mesh, "faces": faces}


def pinched(mesh: Mesh) -> Mesh:
    """A closed tetrahedron of wall faces hangs on the inner terrain vertex 5 by its tip."""
    more = with_vertices(mesh, [(1008.0, 2008.0, 9.0), (1012.0, 2008.0, 9.0), (1010.0, 2012.0, 9.0)])
    return with_faces(more, [(5, 21, 20), (5, 22, 21), (5, 20, 22), (20, 21, 22)], 0, 0)


def pinched_edge(mesh: Mesh) -> Mesh:
    """A closed tetrahedron of wall faces shares the inner terrain edge 5-6 with the ground."""
    more = with_vertices(mesh, [(1013.0, 2008.0, 9.0), (1016.0, 2008.0, 9.0)])
    return with_faces(more, [(5, 20, 6), (5, 21, 20), (5, 6, 21), (6, 20, 21)], 0, 0)


def cones(mesh: Mesh) -> Mesh:
    """Two tetrahedra of wall faces that touch one another in vertex 20 and nothing else."""
    low = [(1012.0, 2012.0, 15.0), (1010.0, 2010.0, 17.0), (1014.0, 2010.0, 17.0), (1012.0, 2014.0, 17.0)]
    high = [(1010.0, 2010.0, 13.0), (1014.0, 2010.0, 13.0), (1012.0, 2014.0, 13.0)]
    more = with_vertices(mesh, [*low, *high])
    up = [(20, 22, 21), (20, 23, 22), (20, 21, 23), (21, 22, 23)]
    down = [(20, 24, 25), (20, 25, 26), (20, 26, 24), (24, 26, 25)]
    return with_faces(with_faces(more, up, 0, 0), down, 0, 0)


def without_building(mesh: Mesh) -> Mesh:
    """The block is gone and the ground below it closed."""
    bare = without_faces(mesh, list(range(16, 26)))
    bare = {**bare, "vertices": bare["vertices"][:16]}
    return with_faces(bare, [(5, 6, 10), (5, 10, 9)], -2, -1)


AREA = "area that is not the domain's"
Damage = Callable[[Mesh], Mesh]
DAMAGES: dict[str, tuple[Damage, set[str]]] = {
    "flipped face": (flipped_face, {"inverted triangle", "edge used twice in one direction", AREA}),
    "missing face": (lambda m: without_faces(m, [9]), {"open edge", AREA}),
    "missing wall": (lambda m: without_faces(m, [16]), {"open edge"}),
    "face used twice": (
        lambda m: with_faces(m, [tuple(m["faces"][9].tolist())], -2, -1),
        {"edge used more than twice", "face that is there twice", AREA},
    ),
    "hole in the roof": (
        lambda m: without_faces(m, [24]),
        {"open edge", AREA, "roof area that is not the table's"},
    ),
    "bow-tie": (pinched, {"non-manifold vertex"}),
    "two cones": (cones, {"non-manifold vertex"}),
    "edge of four faces": (pinched_edge, {"edge used more than twice"}),
    "unused vertex": (lambda m: with_vertices(m, [(1001.0, 2001.0, 5.0)]), {"unused vertex"}),
    "moved roof vertex": (
        lambda m: changed(m, "vertices", (17, 0), 1019.5),
        {AREA, "roof area that is not the table's"},
    ),
    "moved rim vertex": (lambda m: changed(m, "vertices", (2, 1), 1999.5), {"open edge", AREA}),
    "moved ground vertex": (lambda m: changed(m, "vertices", (6, 0), 1041.0), {"inverted triangle", AREA}),
    "building removed": (without_building, {"building without a face"}),
    "index too large": (
        lambda m: changed(m, "faces", (9, 1), 20),
        {"vertex index out of range", "open edge", AREA},
    ),
    "negative index": (
        lambda m: changed(m, "faces", (9, 1), -1),
        {"vertex index out of range", "open edge", AREA},
    ),
    "index twice": (
        lambda m: changed(m, "faces", (9, 1), int(m["faces"][9, 0])),
        {"degenerate face", "open edge", AREA},
    ),
    "no number": (
        lambda m: changed(m, "vertices", (5, 2), np.nan),
        {"coordinate that is not finite", AREA},
    ),
    "marker of nobody": (lambda m: changed(m, "markers", 9, 2), {"marker and building at odds", AREA}),
    "side in an open mesh": (lambda m: changed(m, "markers", 16, -3), {"marker and building at odds"}),
    "ground of a building": (lambda m: changed(m, "building", 9, 0), {"marker and building at odds"}),
}
"""Damage, and all kinds of problems that it must be called."""


def damaged_store(path: Path, name: str) -> Path:
    return write_store(path, DAMAGES[name][0](block_city()), bounds=BOUNDS, columns=table())


@pytest.mark.parametrize("piece_faces", SIZES)
def test_a_good_store_holds(tmp_path: Path, piece_faces: int) -> None:
    report = check_store(block_store(tmp_path / "store"), piece_faces=piece_faces, fan_in=2)
    assert report.ok and report.problems == ()
    assert (report.n_faces, report.n_vertices, report.n_meshed) == (26, 20, 1)
    assert report.rim_length == 140.0
    assert report.mesh_area == report.domain_area == 1200.0 and report.area_exact
    assert "does not hold" not in report.describe()


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_alike_for_all_pieces(tmp_path: Path, name: str) -> None:
    path = damaged_store(tmp_path / "store", name)
    reports = [check_store(path, piece_faces=size, fan_in=fan_in) for size in SIZES for fan_in in (2, 8)]
    kinds = {problem.kind for problem in reports[0].problems}
    assert kinds == DAMAGES[name][1]
    for report in reports:
        assert not report.ok
        assert report.problems == reports[0].problems
    for problem in reports[0].problems:
        assert problem.count > 0 and len(problem.places) == min(problem.count, 20)
        assert problem.kind in reports[0].describe()


def places(path: Path, kind: str) -> list[tuple[object, ...]]:
    (problem,) = (problem for problem in check_store(path, piece_faces=3).problems if problem.kind == kind)
    return [(place.position, place.tile, place.building, place.note) for place in problem.places]


def test_places_say_where(tmp_path: Path) -> None:
    path = damaged_store(tmp_path / "hole", "missing wall")
    assert ((1015.0, 2010.0, 5.0), 0, None, "edge 6-5") in places(path, "open edge")
    assert ((1020.0, 2010.0, 10.0), 0, 0, "edge 17-6") in places(path, "open edge")
    path = damaged_store(tmp_path / "tie", "bow-tie")
    assert places(path, "non-manifold vertex")[0][0] == (1010.0, 2010.0, 5.0)
    assert places(path, "non-manifold vertex")[0][3] == "vertex 5"
    path = damaged_store(tmp_path / "unused", "unused vertex")
    assert places(path, "unused vertex") == [((1001.0, 2001.0, 5.0), 0, None, "vertex 20")]
    path = damaged_store(tmp_path / "flip", "flipped face")
    _, tile, building, note = places(path, "inverted triangle")[0]
    assert tile == 0 and building is None and str(note).startswith("face 9 (")
    path = damaged_store(tmp_path / "gone", "building removed")
    assert [place[2] for place in places(path, "building without a face")] == [0]


def test_a_building_that_the_table_skips_must_not_be_there(tmp_path: Path) -> None:
    columns = table(status=np.array(["skipped"], dtype=object), area=np.array([0.0]))
    path = write_store(tmp_path / "store", block_city(), bounds=BOUNDS, columns=columns)
    assert [problem.kind for problem in check_store(path).problems] == ["building that should not be there"]


def test_a_roof_must_have_the_area_of_the_table(tmp_path: Path) -> None:
    for area, ok in ((100.0001, True), (100.001, False), (np.nan, False)):
        columns = table(area=np.array([area]))
        path = write_store(tmp_path / f"store{area}", block_city(), bounds=BOUNDS, columns=columns)
        assert check_store(path).ok is ok


def test_a_mesh_of_less_than_the_domain_is_found(tmp_path: Path) -> None:
    path = write_store(tmp_path / "store", block_city(), bounds=(1000.0, 2000.0, 1041.0, 2030.0), columns=table())
    kinds = {problem.kind for problem in check_store(path).problems}
    assert kinds == {"open edge", AREA}


def test_tile_ranges_must_cover_everything(tmp_path: Path) -> None:
    path = block_store(tmp_path / "store")
    ranges = {"vertex_range": np.array([[0, 20]]), "face_range": np.array([[0, 25]])}
    write_arrays(path / "tiles", {"bounds": np.array([BOUNDS]), **ranges})
    report = check_store(path, piece_faces=9)
    assert [problem.kind for problem in report.problems] == ["tile ranges with gaps or overlaps"]


def test_pieces_are_whole_tiles_where_they_fit(tmp_path: Path) -> None:
    path = block_store(tmp_path / "store")
    face_range = np.array([[0, 5], [5, 10], [10, 10], [10, 23], [23, 26]])
    write_arrays(path / "tiles", {"vertex_range": np.zeros((5, 2), np.int64), "face_range": face_range})
    store = open_store(path)
    assert face_pieces(store, 10) == [(0, 10), (10, 20), (20, 26)]
    assert face_pieces(store, 100) == [(0, 26)]
    assert face_pieces(store, 4)[:4] == [(0, 4), (4, 5), (5, 9), (9, 10)]
    for size in range(1, 30):
        pieces = face_pieces(store, size)
        assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])]
        assert pieces[-1][1] == 26 and max(stop - start for start, stop in pieces) <= size


def test_the_stages_give_the_report_of_the_plain_function(tmp_path: Path) -> None:
    for name, path in (("good", block_store(tmp_path / "good")), ("bad", damaged_store(tmp_path / "bad", "bow-tie"))):
        facts: dict[str, object] = {}
        for stage in plan_check(path, Scratch(tmp_path / f"scratch-{name}"), fan_in=3, piece_faces=2):
            for task in stage.tasks:
                facts = task.call.function(*task.call.arguments)
                json.dumps(facts)
        report = CheckReport.from_json(json.loads(json.dumps(facts)))
        assert report == check_store(path)
        assert report.ok is (name == "good")


def test_a_proof_grows_with_the_boundary_only(tmp_path: Path) -> None:
    n = 60
    path = flat_store(tmp_path / "flat", n)
    halves = [check_piece(path, 0, n * n), check_piece(path, n * n, 2 * n * n)]
    assert all(len(half.edges) < 5 * n and len(half.closed) < 5 * n for half in halves)
    whole = combine_proofs(halves)
    assert len(whole.edges) == 4 * n and len(whole.closed) <= n and not len(whole.suspects)
    assert check_store(path).ok


def flat_store(path: Path, n: int) -> Path:
    """A flat square of n x n metres without buildings."""
    i, j = np.meshgrid(np.arange(n), np.arange(n))
    a = (j * (n + 1) + i).ravel()
    faces = np.stack([a, a + 1, a + n + 2, a, a + n + 2, a + n + 1], axis=1).reshape(-1, 3).astype(np.int32)
    x, y = np.meshgrid(np.arange(n + 1.0), np.arange(n + 1.0))
    vertices = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], axis=1)
    mesh = {"vertices": vertices, "faces": faces, "markers": np.full(len(faces), -2, np.int32)}
    mesh["building"] = np.full(len(faces), -1, np.int32)
    nobody = {name: values[:0] for name, values in table().items()}
    return write_store(path, mesh, bounds=(0.0, 0.0, float(n), float(n)), columns=nobody)


def solid_city() -> Mesh:
    """The block city closed by sides and base, put together as two tiles."""
    mesh = block_city()
    edges, _, _ = tile_edges(mesh["faces"], len(mesh["vertices"]))
    tail = np.unique(edges)
    order = np.concatenate([np.setdiff1d(np.arange(len(mesh["vertices"])), tail), tail])
    place = np.argsort(order).astype(np.int32)
    plan = ((mesh["vertices"][tail, :2] - (1000.0, 2000.0)) * MESH_UNITS).astype(np.int64)
    keys = np.concatenate([plan, np.full((len(tail), 1), TERRAIN_LEVEL)], axis=1)
    index = np.arange(len(tail), dtype=np.int32)
    n_interior = len(order) - len(tail)
    refs = np.stack([index, index * 0, index], axis=1)
    boundary = Boundary(keys, mesh["vertices"][tail, 2], place[edges] - np.int32(n_interior), refs)
    domain = Domain.from_bounds(BOUNDS)
    assert not len(close_rim(boundary, domain.mesh_frame).defects)
    closing = close_solid(boundary, domain, lowest_z=5.0, base_depth=3.0, tile=1)
    merged = merge_boundaries([boundary, closing.boundary])
    assert not len(merged.boundary.edges)
    rows = tail_rows(1, [merged.seams])
    assert not owned_tail(1, rows).any()
    offsets = vertex_offsets(np.array([n_interior, closing.mesh.n_interior]), np.array([len(tail), 0]))
    numbers = np.concatenate([offsets[1] + np.arange(closing.mesh.n_interior), n_interior + rows[:, 3]])
    return {
        "vertices": np.concatenate([mesh["vertices"][order], closing.mesh.vertices[: closing.mesh.n_interior]]),
        "faces": np.concatenate([place[mesh["faces"]], numbers[closing.mesh.faces]]).astype(np.int32),
        "markers": np.concatenate([mesh["markers"], closing.mesh.markers]),
        "building": np.concatenate([mesh["building"], np.full(len(closing.mesh.faces), -1, np.int32)]),
    }


def solid_store(path: Path, mesh: Mesh) -> Path:
    write_store(path, mesh, bounds=BOUNDS, columns=table())
    attributes = dict(open_store(path).attributes)
    write_attributes(path, {**attributes, "options": {"solid": True, "lod": 1}})
    return path


def test_a_closed_solid_holds_and_has_its_volume(tmp_path: Path) -> None:
    mesh = solid_city()
    for size in SIZES:
        report = check_store(solid_store(tmp_path / f"store{size}", mesh), piece_faces=size)
        assert report.ok, report.describe()
        assert report.solid and report.rim_length == 0.0
    trimesh = pytest.importorskip("trimesh")
    solid = trimesh.Trimesh(mesh["vertices"], mesh["faces"], process=False)
    assert solid.is_watertight and solid.is_winding_consistent
    assert solid.volume == pytest.approx(1200 * 3 + 1000)


def test_an_open_mesh_is_no_solid_and_a_solid_is_no_open_mesh(tmp_path: Path) -> None:
    (problem,) = check_store(solid_store(tmp_path / "open", block_city()), piece_faces=7).problems
    assert (problem.kind, problem.count) == ("open edge", 12)
    path = write_store(tmp_path / "closed", solid_city(), bounds=BOUNDS, columns=table())
    kinds = {problem.kind for problem in check_store(path, piece_faces=7).problems}
    assert kinds == {"marker and building at odds"}
    outside = solid_city()
    below = outside["markers"] < -2
    outside["markers"][below] = 0
    outside["building"][below] = 0
    path = write_store(tmp_path / "rimless", outside, bounds=BOUNDS, columns=table())
    kinds = {problem.kind for problem in check_store(path, piece_faces=7).problems}
    assert kinds == {"rim that is not the frame run through once"}


@pytest.mark.parametrize("seed", range(6))
def test_random_damage_to_a_solid_agrees_with_trimesh(tmp_path: Path, seed: int) -> None:
    trimesh = pytest.importorskip("trimesh")
    rng = np.random.default_rng(seed)
    mesh = solid_city()
    order = rng.permutation(len(mesh["faces"]))
    mesh = {**mesh, **{name: mesh[name][order] for name in ("faces", "markers", "building")}}
    victim = int(rng.integers(len(order)))
    if seed % 3 == 0:
        mesh = without_faces(mesh, [victim])
    elif seed % 3 == 1:
        faces = mesh["faces"].copy()
        faces[victim] = faces[victim][[1, 0, 2]]
        mesh = {**mesh, "faces": faces}
    solid = trimesh.Trimesh(mesh["vertices"], mesh["faces"], process=False)
    good = bool(solid.is_watertight and solid.is_winding_consistent)
    assert good is (seed % 3 == 2)
    assert check_store(solid_store(tmp_path / "store", mesh), piece_faces=5).ok is good


def test_a_damaged_chunk_is_an_error_not_a_report(tmp_path: Path) -> None:
    path = block_store(tmp_path / "store")
    chunk = path / "faces" / "c" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="checksum"):
        check_store(path)
    with pytest.raises(StoreError):
        check_store(tmp_path / "nothing")


@pytest.mark.parametrize("damage", ["short markers", "short table", "no status", "no bounds"])
def test_arrays_at_odds_are_an_error(tmp_path: Path, damage: str) -> None:
    path = block_store(tmp_path / "store")
    if damage == "short markers":
        create_array(path / "markers", (20,), np.int32, chunk_rows=CHUNK_ROWS["markers"])
    elif damage == "no bounds":
        attributes = {name: value for name, value in open_store(path).attributes.items() if name != "bounds"}
        write_attributes(path, attributes)
    else:
        shutil.rmtree(path / "buildings" / "status")
        if damage == "short table":
            write_table(path / "buildings", {"status": np.array([], dtype=object)})
    with pytest.raises(StoreError, match="damaged"):
        check_store(path)


def test_a_store_without_faces_is_no_city(tmp_path: Path) -> None:
    mesh = without_faces(block_city(), list(range(26)))
    report = check_store(write_store(tmp_path / "store", mesh, bounds=BOUNDS, columns=table()))
    kinds = {problem.kind for problem in report.problems}
    assert kinds == {"unused vertex", AREA, "building without a face"}


def test_reports_survive_json() -> None:
    place = Place((1.0, 2.0, 3.0), 4, None, "edge 1-2")
    report = CheckReport("x", 1, 2, 3, 3, False, 4.0, 5.0, 6.0, False, (Problem("open edge", 30, (place,), True),))
    assert CheckReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    assert replace(report, problems=()).ok
    text = report.describe()
    assert "at least 30" in text and "tile 4" in text and "and 29 more" in text
