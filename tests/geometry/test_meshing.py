"""The planar mesh of a tile: areas, angles, labels, frozen edges, lattices."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest

from citymesh_dask.errors import RunError
from citymesh_dask.geometry.meshing.lattice_fill import UNOWNED, fill_lattice
from citymesh_dask.geometry.meshing.mending import FIXED, FREE, ON_PIECE, mend_triangles
from citymesh_dask.geometry.meshing.meshing import PlanarMesh, mesh_constraints
from citymesh_dask.outlines import BEYOND, GROUND, Constraints
from citymesh_dask.tiles import MESH_UNITS
from tests.geometry.scenes import Scene, make_scene, open_edges, rectangle, turned

Array = npt.NDArray[np.float64]

HOUSES = [
    turned(40, 45, 24, 14, 0.3),
    rectangle(80, 20, 96, 34),
    rectangle(96, 20, 110, 34),
    rectangle(82, 34, 104, 50),
    turned(45, 100, 50, 40, 0.7),
]
COURT = turned(45, 100, 20, 16, 0.7)
FRAME = (0.0, 0.0, 140.0, 130.0)


def two_tiles(x: float, y: float) -> int:
    return int(x > 70)


@pytest.fixture(scope="module")
def town() -> Scene:
    return make_scene(FRAME, HOUSES, courtyards=[COURT])


@pytest.fixture(scope="module")
def town_mesh(town: Scene) -> PlanarMesh:
    return mesh(town.constraints())


def mesh(constraints: Constraints, *, ground: float = 10.0, building: float = 5.0, **options: bool) -> PlanarMesh:
    return mesh_constraints(constraints, ground_size=ground, building_size=building, min_angle=25.0, **options)


def all_triangles(planar: PlanarMesh) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    triangles = np.concatenate([planar.triangles, planar.lattice_triangles])
    return triangles, np.concatenate([planar.labels, planar.lattice_triangle_labels])


def areas_and_angles(planar: PlanarMesh) -> tuple[Array, Array]:
    corners = planar.points[all_triangles(planar)[0]]
    sides = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = 0.5 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    angles = [
        np.arccos((sides[:, i] ** 2 + sides[:, j] ** 2 - sides[:, k] ** 2) / (2 * sides[:, i] * sides[:, j]))
        for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    ]
    return areas, np.degrees(np.min(angles, axis=0))


def units_of(planar: PlanarMesh) -> npt.NDArray[np.int64]:
    units = planar.points * MESH_UNITS
    assert np.array_equal(units, np.rint(units))
    return units.astype(np.int64) + np.array(planar.origin)


def doubled_area(planar: PlanarMesh, label: int | None = None) -> int:
    triangles, labels = all_triangles(planar)
    corners = units_of(planar)[triangles if label is None else triangles[labels == label]]
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return int((u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum())


def border(planar: PlanarMesh) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the directed edges of one triangle, as pairs of places."""
    edges, overused, inconsistent = open_edges(all_triangles(planar)[0], len(planar.points))
    assert (overused, inconsistent) == (0, 0)
    places = units_of(planar)[edges].tolist()
    return {((a[0], a[1]), (b[0], b[1])) for a, b in places}


def frozen(constraints: Constraints) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the segments with one owned side, that side on the left."""
    edges = set()
    places = constraints.points[constraints.ends].tolist()
    for (a, b), left, right in zip(places, constraints.own_left, constraints.own_right, strict=True):
        if left != right:
            edges.add((tuple(a), tuple(b)) if left else (tuple(b), tuple(a)))
    return edges


def check_border(planar: PlanarMesh, constraints: Constraints) -> None:
    """Check that the border is what was frozen, where pieces of the frame may have been cut."""
    found, given = border(planar), frozen(constraints)
    beside = (constraints.left == BEYOND) | (constraints.right == BEYOND)
    rim = {frozenset(map(tuple, pair)) for pair in constraints.points[constraints.ends[beside]].tolist()}
    assert {frozenset(edge) for edge in given - found} <= rim
    following = dict(found - given)
    for start, stop in given - found:
        place = start
        while place != stop:
            place = following.pop(place)
            # Pieces of the frame are parallel to an axis: their boxes have no inside.
            assert all(min(p) <= q <= max(p) for p, q in zip(zip(start, stop, strict=True), place, strict=True))
    assert not following


def test_area_and_labels_are_exact(town: Scene, town_mesh: PlanarMesh) -> None:
    assert doubled_area(town_mesh) == town.doubled_area() == 2 * 140 * 130 * MESH_UNITS**2
    for label in (GROUND, *range(len(HOUSES))):
        exact = town.doubled_area(label=label)
        # Only vertices that refinement puts on sloped outlines are rounded.
        assert abs(doubled_area(town_mesh, label) - exact) <= 1e-7 * exact


def test_no_triangle_is_inverted_and_quality_is_as_asked(town_mesh: PlanarMesh) -> None:
    areas, angles = areas_and_angles(town_mesh)
    labels = all_triangles(town_mesh)[1]
    limits = math.sqrt(3) / 4 * 1.01 * np.where(labels >= 0, 5.0, 10.0) ** 2
    assert areas.min() > 0
    assert (angles >= 25.0 - 1e-6).mean() >= 0.999
    assert (areas <= limits).mean() >= 0.999


def test_angles_alone_make_fewer_triangles(town: Scene, town_mesh: PlanarMesh) -> None:
    coarse = mesh(town.constraints(), refine_area=False)
    areas, angles = areas_and_angles(coarse)
    assert len(areas) < len(areas_and_angles(town_mesh)[0])
    assert (angles >= 25.0 - 1e-6).mean() >= 0.999


def test_border_is_what_was_frozen(town: Scene, town_mesh: PlanarMesh) -> None:
    check_border(town_mesh, town.constraints())


def test_neighbours_match_the_triangles(town_mesh: PlanarMesh) -> None:
    triangles, neighbours = town_mesh.triangles, town_mesh.neighbours
    for e in range(3):
        inner = np.flatnonzero(neighbours[:, e] >= 0)
        other = neighbours[inner, e]
        back = neighbours[other] == inner[:, None]
        assert (back.sum(axis=1) == 1).all()
        shared = triangles[other, back.argmax(axis=1)]
        assert np.array_equal(shared, triangles[inner, (e + 1) % 3])
    rim = neighbours == -1
    lattice_edges, _, _ = open_edges(town_mesh.lattice_triangles, len(town_mesh.points))
    assert rim.sum() == len(lattice_edges)


def test_two_tiles_share_the_lattice_and_the_seam() -> None:
    scene = make_scene(FRAME, HOUSES, seams=[[(70.0, -1.0), (70.0, 131.0)]], tile_of=two_tiles)
    tiles = [mesh(scene.constraints(k)) for k in (0, 1)]
    seams = [{edge for edge in border(tile) if edge[0][0] == edge[1][0] == 70 * MESH_UNITS} for tile in tiles]
    assert seams[0] == {(b, a) for a, b in seams[1]} != set()
    assert sum(doubled_area(tile) for tile in tiles) == scene.doubled_area(0) + scene.doubled_area(1)
    for k, tile in enumerate(tiles):
        check_border(tile, scene.constraints(k))
        lattice = units_of(tile)[tile.n_given :][: len(tile.lattice_labels)]
        size = np.where(tile.lattice_labels >= 0, 5.0, 10.0)
        row = np.rint(lattice[:, 1] / (size * math.sqrt(3) / 2 * MESH_UNITS) - 0.5)
        column = np.rint(lattice[:, 0] / (size * MESH_UNITS) - 0.25 - 0.5 * (row % 2))
        x = np.rint((column + 0.25 + 0.5 * (row % 2)) * (size * MESH_UNITS))
        y = np.rint((row + 0.5) * (size * math.sqrt(3) / 2 * MESH_UNITS))
        assert np.array_equal(np.stack([x, y], axis=1), lattice)


def test_a_seam_over_roofs_is_kept() -> None:
    scene = make_scene(FRAME, [rectangle(40, 40, 100, 90)], seams=[[(70.0, -1.0), (70.0, 131.0)]], tile_of=two_tiles)
    for k in (0, 1):
        planar = mesh(scene.constraints(k))
        check_border(planar, scene.constraints(k))
        assert doubled_area(planar, 0) == scene.doubled_area(k, 0)


def test_only_the_owned_building_is_meshed() -> None:
    def inside(x: float, y: float) -> int:
        return 1 if 80 < x < 96 and 20 < y < 34 else 0

    scene = make_scene(FRAME, HOUSES, tile_of=inside)
    planar = mesh(scene.constraints(1))
    assert set(all_triangles(planar)[1].tolist()) == {1}
    assert doubled_area(planar) == 2 * 16 * 14 * MESH_UNITS**2
    check_border(planar, scene.constraints(1))


def test_fine_mesh_is_mostly_lattice() -> None:
    scene = make_scene((0.0, 0.0, 40.0, 30.0), [rectangle(10, 8, 30, 22)], piece=0.5)
    planar = mesh(scene.constraints(), ground=0.5, building=0.5)
    areas, angles = areas_and_angles(planar)
    assert len(planar.lattice_triangles) > 2 * len(planar.triangles)
    assert areas.min() > 0
    assert (angles >= 25.0 - 1e-6).mean() >= 0.999
    assert doubled_area(planar) == scene.doubled_area()


def test_far_from_the_origin_everything_stays_exact(town: Scene) -> None:
    given = town.constraints()
    shift = np.array([123_457, -98_765]) * MESH_UNITS
    moved = dataclasses.replace(given, points=given.points + shift)
    planar = mesh(moved)
    assert doubled_area(planar) == town.doubled_area()
    check_border(planar, moved)


def test_same_input_gives_same_bits(town: Scene, town_mesh: PlanarMesh) -> None:
    again = mesh(town.constraints())
    assert np.array_equal(again.points, town_mesh.points)
    assert np.array_equal(again.triangles, town_mesh.triangles)


@pytest.mark.parametrize("seed", range(6))
def test_random_scenes_are_covered_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    houses = [
        turned(*rng.uniform(5, 95, 2), *rng.uniform(4, 40, 2), rng.uniform(0, 3)) for _ in range(rng.integers(2, 12))
    ]
    seams = [[(50.0, -1.0), (50.0, 101.0)], [(-1.0, 48.0), (101.0, 51.0)]]
    scene = make_scene(
        (0.0, 0.0, 100.0, 100.0), houses, seams=seams, tile_of=lambda x, y: int(x > 50) + 2 * int(y > 48 + x * 3 / 102)
    )
    for tile in range(4):
        planar = mesh(scene.constraints(tile))
        assert areas_and_angles(planar)[0].min() > 0
        assert doubled_area(planar) == scene.doubled_area(tile)
        check_border(planar, scene.constraints(tile))


def test_refinement_that_splits_frozen_edges_is_undone() -> None:
    """A vertex just off a long frozen edge makes refinement split that edge."""
    houses = [[(40, 40), (45, 47), (50, 40), (58, 33), (35, 33)]]
    scene = make_scene(
        (0.0, 0.0, 100.0, 60.0),
        houses,
        piece=20.0,
        seams=[[(-1.0, 48.0), (101.0, 48.0)]],
        tile_of=lambda x, y: int(y > 48),
    )
    planar = mesh(scene.constraints())
    check_border(planar, scene.constraints())
    assert doubled_area(planar) == scene.doubled_area()


def test_the_frame_is_cut_where_an_outline_comes_near() -> None:
    """Nobody meshes the other side, so that a corner beside the frame costs no sharp triangles."""
    scene = make_scene((0.0, 0.0, 100.0, 48.0), [[(40, 40), (45, 47), (50, 40), (58, 33), (35, 33)]], piece=20.0)
    planar = mesh(scene.constraints())
    assert len(border(planar)) > len(frozen(scene.constraints()))
    check_border(planar, scene.constraints())
    assert doubled_area(planar) == scene.doubled_area()
    assert areas_and_angles(planar)[1].min() >= 25.0 - 1e-6


def test_crossing_constraints_are_refused(town: Scene) -> None:
    given = town.constraints()
    ends = given.ends.copy()
    far = int(np.argmax(given.points.sum(axis=1)))
    row = int(np.flatnonzero(given.left == 1)[0])
    ends[row, 1] = far
    with pytest.raises(RunError, match="constraints of a tile"):
        mesh(dataclasses.replace(given, ends=ends))


def test_contradicting_labels_are_refused(town: Scene) -> None:
    given = town.constraints()
    left = given.left.copy()
    left[np.flatnonzero(left == 0)[0]] = 3
    with pytest.raises(RunError, match="contradict"):
        mesh(dataclasses.replace(given, left=left))


def test_lattice_labels_follow_the_regions(town: Scene) -> None:
    given = town.constraints()
    sides = np.stack(
        [np.where(given.own_left, given.left, UNOWNED), np.where(given.own_right, given.right, UNOWNED)], 1
    )
    points = given.points / MESH_UNITS
    starts, stops = points[given.ends[:, 0]], points[given.ends[:, 1]]
    fill = fill_lattice(starts, stops, sides.astype(np.int32), spacing=2.0, origin=(0, 0))
    court = np.hypot(*(fill.points - (45, 100)).T) < 7
    assert (fill.labels[court] == GROUND).all()
    ring = np.hypot(*(fill.points - (45, 100)).T)
    assert (fill.labels[(ring > 14) & (ring < 18)] == 4).all()
    along = stops - starts
    offset = fill.points[:, None] - starts
    t = np.clip((offset * along).sum(axis=2) / (along**2).sum(axis=1), 0, 1)
    distance = np.linalg.norm(offset - t[..., None] * along, axis=2).min(axis=1)
    assert distance.min() >= 0.6 * 2.0 - 1e-9
    # Nothing that could have been filled was left out.
    assert len(fill.points) > 0.75 * 140 * 130 / (math.sqrt(3) / 2 * 4)


def star(x: float, y: float) -> tuple[Array, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return a hexagon around a vertex at (x, y): points, triangles, neighbours."""
    ring = [(math.cos(k * math.pi / 3), math.sin(k * math.pi / 3)) for k in range(6)]
    points = np.rint(np.array([(x, y), *ring]) * MESH_UNITS) / MESH_UNITS
    triangles = np.array([(0, 1 + k, 1 + (k + 1) % 6) for k in range(6)], dtype=np.int32)
    neighbours = np.array([((k - 1) % 6, -2, (k + 1) % 6) for k in range(6)], dtype=np.int32)
    return points, triangles, neighbours


@pytest.mark.parametrize(
    ("place", "kind"), [((0.8, 0.1), FREE), ((-0.4, -0.75), FREE), ((-0.5 - 2**-17, 0.8660), ON_PIECE)]
)
def test_mending_puts_a_vertex_right(place: tuple[float, float], kind: int) -> None:
    points, triangles, neighbours = star(*place)
    if kind == ON_PIECE:
        # Rounding has put the vertex a few units outside its star.
        points[0] = points[3] + (2**-17, 2**-17)
        points[0, 0] -= 3 * 2**-17
    mobility = np.full(7, FIXED, dtype=np.uint8)
    mobility[0] = kind
    before = points[triangles].copy()
    count = mend_triangles(
        points, triangles, neighbours, mobility=mobility, area_limits=np.full(6, 1.0), min_angle=25.0
    )
    u, v = points[triangles[:, 1]] - points[triangles[:, 0]], points[triangles[:, 2]] - points[triangles[:, 0]]
    assert count > 0
    assert not np.array_equal(before, points[triangles])
    assert (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).min() > 0


def test_mending_leaves_fixed_vertices_alone() -> None:
    points, triangles, neighbours = star(0.8, 0.1)
    before = points.copy()
    mobility = np.full(7, FIXED, dtype=np.uint8)
    assert mend_triangles(points, triangles, neighbours, mobility=mobility, area_limits=np.full(6, 1.0), min_angle=25.0)
    assert np.array_equal(points, before)


def test_mending_makes_room_for_a_triangle_that_is_too_large() -> None:
    """Angles are as asked, but two triangles have more than their share of the hexagon."""
    points, triangles, neighbours = star(0.12, 0.0)
    mobility = np.full(7, FIXED, dtype=np.uint8)
    mobility[0] = FREE
    limits = np.full(6, 1.01 * math.sqrt(3) / 4)
    assert mend_triangles(points, triangles, neighbours, mobility=mobility, area_limits=limits, min_angle=25.0) == 2
    u, v = points[triangles[:, 1]] - points[triangles[:, 0]], points[triangles[:, 2]] - points[triangles[:, 0]]
    assert (0.5 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) <= limits).all()
