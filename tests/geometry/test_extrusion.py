"""The surface of a tile: closed, oriented, conforming, with the right walls."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from citymesh_dask.errors import RunError
from citymesh_dask.geometry.meshing.extrusion import TileSurface, extrude_tile
from citymesh_dask.geometry.meshing.meshing import PlanarMesh, mesh_constraints
from citymesh_dask.mesh import LEVELS_PER_METRE, TERRAIN_LEVEL, TileMesh
from citymesh_dask.outlines import GROUND
from citymesh_dask.tiles import MESH_UNITS
from tests.geometry.scenes import Hills, Scene, join, make_scene, open_edges, rectangle, turned

ORIGIN = (155_000, 463_000)
N_ROWS = 1000
FRAME = (0.0, 0.0, 140.0, 130.0)
HOUSES = [
    turned(40, 45, 24, 14, 0.3),
    rectangle(80, 20, 96, 34),
    rectangle(96, 20, 110, 34),
    rectangle(82, 34, 104, 50),
    turned(45, 100, 50, 40, 0.7),
    rectangle(120, 100, 140, 120),
]
COURT = turned(45, 100, 20, 16, 0.7)
HEIGHTS = [26.5, 29.0, 33.2, 29.0, 31.01, 27.0]


def levels_of(heights: list[float]) -> npt.NDArray[np.int32]:
    return np.rint(np.array(heights) * LEVELS_PER_METRE).astype(np.int32)


def surface_of(
    scene: Scene, tile: int = 0, *, heights: list[float] = HEIGHTS, terrain: Hills | None = None, walls: bool = True
) -> tuple[PlanarMesh, TileSurface]:
    constraints = scene.constraints(tile)
    planar = mesh_constraints(constraints, ground_size=10.0, building_size=5.0, min_angle=25.0)
    surface = extrude_tile(
        planar,
        constraints,
        levels=levels_of(heights),
        n_rows=N_ROWS,
        terrain=terrain or Hills(1.5),
        origin=ORIGIN,
        mesh_walls=walls,
    )
    return planar, surface


@pytest.fixture(scope="module")
def town() -> Scene:
    return make_scene(FRAME, HOUSES, courtyards=[COURT])


@pytest.fixture(scope="module", params=[True, False], ids=["meshed walls", "bare strips"])
def town_surface(town: Scene, request: pytest.FixtureRequest) -> TileSurface:
    return surface_of(town, walls=request.param)[1]


def normals(mesh: TileMesh) -> npt.NDArray[np.float64]:
    corners = mesh.vertices[mesh.faces]
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def is_wall(mesh: TileMesh) -> npt.NDArray[np.bool_]:
    return (mesh.markers >= 0) & (mesh.markers < N_ROWS)


def on_frame(places: npt.NDArray[np.float64], frame: tuple[float, float, float, float] = FRAME) -> bool:
    """Return whether all edges (e, 2, 3) run along the frame."""
    local = places[..., :2] - ORIGIN
    along = [(local[:, :, axis] == value).all(axis=1) for axis, value in zip((0, 1, 0, 1), frame, strict=True)]
    return bool(np.any(along, axis=0).all())


def check_tile(surface: TileSurface) -> None:
    """Check what holds for the surface of any tile by itself."""
    mesh = surface.mesh
    assert np.array_equal(np.unique(mesh.faces), np.arange(len(mesh.vertices)))
    edges, overused, inconsistent = open_edges(mesh.faces, len(mesh.vertices))
    assert (overused, inconsistent) == (0, 0)
    assert len(surface.overused) == len(surface.inconsistent) == 0
    assert set(map(tuple, edges.tolist())) == set(map(tuple, surface.edges.tolist()))
    assert np.array_equal(np.unique(edges), np.arange(mesh.n_interior, len(mesh.vertices)))
    tail = np.column_stack([mesh.vertices[mesh.n_interior :, :2], mesh.levels[mesh.n_interior :]])
    assert np.array_equal(np.lexsort(tail.T[::-1]), np.arange(len(tail)))
    keys = np.column_stack([mesh.vertices[:, :2], mesh.levels])
    assert len(np.unique(keys, axis=0)) == len(keys)
    normal = normals(mesh)
    flat = ~is_wall(mesh)
    assert (normal[flat, 2] > 0).all()
    assert (normal[~flat, 2] == 0).all()
    assert (np.linalg.norm(normal[~flat], axis=1) > 0).all()
    roof = mesh.levels != TERRAIN_LEVEL
    assert np.array_equal(mesh.vertices[roof, 2], mesh.levels[roof] / LEVELS_PER_METRE)


def test_town_is_closed_up_to_the_frame(town_surface: TileSurface) -> None:
    check_tile(town_surface)
    mesh = town_surface.mesh
    places = mesh.vertices[town_surface.edges]
    assert on_frame(places)
    assert (mesh.levels[town_surface.edges] == TERRAIN_LEVEL).all()
    assert np.linalg.norm(places[:, 1, :2] - places[:, 0, :2], axis=1).sum() == pytest.approx(540, abs=1e-9)


def test_terrain_is_where_the_raster_says(town_surface: TileSurface) -> None:
    mesh = town_surface.mesh
    ground = mesh.levels == TERRAIN_LEVEL
    x, y = (mesh.vertices[ground, :2] - ORIGIN).T
    assert np.array_equal(mesh.vertices[ground, 2], Hills(1.5).at(x, y))


def test_markers_and_areas(town: Scene, town_surface: TileSurface) -> None:
    mesh = town_surface.mesh
    area = 0.5 * normals(mesh)[:, 2]
    for label in (GROUND, *range(len(HOUSES))):
        marker = -2 if label == GROUND else N_ROWS + 100 + label
        expected = town.doubled_area(label=label) / 2 / MESH_UNITS**2
        assert area[mesh.markers == marker].sum() == pytest.approx(expected, rel=1e-7)
        if label >= 0:
            assert (mesh.levels[mesh.faces[mesh.markers == marker]] == levels_of(HEIGHTS)[label]).all()
    assert set(mesh.markers[is_wall(mesh)].tolist()) == {100 + k for k in range(len(HOUSES))}


@pytest.mark.parametrize("walls", [True, False])
def test_walls_cover_exactly_the_wall_area(town: Scene, walls: bool) -> None:
    """On flat ground the wall between two regions is its length times the difference of heights."""
    mesh = surface_of(town, terrain=Hills(), walls=walls)[1].mesh
    area = 0.5 * np.linalg.norm(normals(mesh), axis=1)
    heights = np.array([*HEIGHTS, 20.0, 20.0])
    left, right = heights[town.labels[:, 0]], heights[town.labels[:, 1]]
    # Labels -1 and -2 take the two last heights, those of the ground.
    owner = np.where(left > right, town.labels[:, 0], town.labels[:, 1])
    for label in range(len(HOUSES)):
        expected = (town.lengths() * np.abs(left - right))[owner == label].sum()
        assert area[mesh.markers == 100 + label].sum() == pytest.approx(expected, rel=1e-6)


def test_volume_under_the_roofs(town: Scene) -> None:
    """Closing the mesh by its flat rim at 20 m, the divergence theorem gives the volume of the buildings."""
    mesh = surface_of(town, terrain=Hills(), walls=True)[1].mesh
    corners = mesh.vertices[mesh.faces] - (*ORIGIN, 20.0)
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    expected = sum(town.doubled_area(label=k) / 2 / MESH_UNITS**2 * (height - 20.0) for k, height in enumerate(HEIGHTS))
    assert volume == pytest.approx(expected, rel=1e-6)


def test_wall_levels_divide_walls_evenly(town: Scene) -> None:
    """At a corner of the largest house, walls stand on the terrain and reach its roof alone."""
    mesh = surface_of(town, heights=[height + 20.0 for height in HEIGHTS])[1].mesh
    corner = (mesh.vertices[:, :2] == (ORIGIN[0] + 80.0, ORIGIN[1] + 20.0)).all(axis=1)
    heights = np.sort(mesh.vertices[corner, 2])
    steps = np.diff(heights)
    assert heights[-1] == HEIGHTS[1] + 20.0
    assert len(steps) > 3
    assert steps.max() - steps.min() <= 2 / LEVELS_PER_METRE
    # The geometric mean of the two walls there, times 1.5, but at most the asked size.
    assert 5.0 / 1.5 < steps.mean() < 5.0 * 1.5


def test_meshed_walls_have_better_angles() -> None:
    tall = make_scene(FRAME, HOUSES, courtyards=[COURT], piece=2.5)
    heights = [height + 20.0 for height in HEIGHTS]
    meshed, bare = (surface_of(tall, heights=heights, walls=walls)[1].quality.wall_angles for walls in (True, False))
    assert meshed[:20].sum() < 0.02 * meshed.sum()
    assert bare[:20].sum() > 0.5 * bare.sum()


def test_quality_agrees_with_an_independent_measure(town_surface: TileSurface) -> None:
    mesh, quality = town_surface.mesh, town_surface.quality
    corners = mesh.vertices[mesh.faces].copy()
    flat = ~is_wall(mesh)
    corners[flat, :, 2] = 0
    edges = np.roll(corners, -1, axis=1) - corners
    length = np.linalg.norm(edges, axis=2)
    cosines = [
        -np.einsum("ij,ij->i", edges[:, i - 1], edges[:, i]) / (length[:, i - 1] * length[:, i]) for i in range(3)
    ]
    angles = np.degrees(np.arccos(np.max(cosines, axis=0)))
    for part, found in ((flat, quality.angles), (~flat, quality.wall_angles)):
        # Angles on whole degrees, such as 45, may fall on either side.
        clear = np.abs(angles[part] - np.rint(angles[part])) > 1e-4
        expected = np.bincount(angles[part][clear].astype(int), minlength=90)
        assert found.sum() == part.sum()
        assert (np.abs(found - expected) <= (~clear).sum()).all()
    assert quality.inverted == 0
    assert quality.doubled_area == 2 * 140 * 130 * MESH_UNITS**2
    assert quality.below_angle == (angles[flat] < 25 - 1e-7).sum()
    assert len(quality.worst) == 10
    assert quality.worst[0, 2] == pytest.approx(angles[flat].min(), abs=1e-6)
    assert (np.diff(quality.worst[:, 2]) >= 0).all()


def test_a_lower_neighbour_emits_no_wall() -> None:
    scene = make_scene((0.0, 0.0, 60.0, 40.0), [rectangle(10, 10, 30, 30), rectangle(30, 10, 50, 30)])
    mesh = surface_of(scene, heights=[25.0, 31.0], terrain=Hills())[1].mesh
    centre = mesh.vertices[mesh.faces].mean(axis=1) - (*ORIGIN, 0)
    party = is_wall(mesh) & (np.abs(centre[:, 0] - 30) < 1e-9)
    assert (mesh.markers[party] == 101).all()
    assert centre[party, 2].min() > 25.0
    assert (normals(mesh)[party, 0] < 0).all()


def test_equal_roofs_have_no_wall_and_share_vertices() -> None:
    scene = make_scene((0.0, 0.0, 60.0, 40.0), [rectangle(10, 10, 30, 30), rectangle(30, 10, 50, 30)])
    surface = surface_of(scene, heights=[25.0, 25.0], terrain=Hills())[1]
    check_tile(surface)
    centre = surface.mesh.vertices[surface.mesh.faces].mean(axis=1) - (*ORIGIN, 0)
    inside = (np.abs(centre[:, 0] - 30) < 1e-9) & (centre[:, 1] > 10) & (centre[:, 1] < 30)
    assert not (is_wall(surface.mesh) & inside).any()


def test_lod0_lays_roofs_on_the_terrain(town: Scene) -> None:
    constraints = town.constraints()
    planar = mesh_constraints(constraints, ground_size=10.0, building_size=5.0, min_angle=25.0)
    levels = np.full(len(HOUSES), TERRAIN_LEVEL, dtype=np.int32)
    surface = extrude_tile(planar, constraints, levels=levels, n_rows=N_ROWS, terrain=Hills(3.0), origin=ORIGIN)
    mesh, quality = surface.mesh, surface.quality
    assert not is_wall(mesh).any()
    assert quality.wall_angles.sum() == 0
    assert set(mesh.markers.tolist()) == {-2, *(N_ROWS + 100 + k for k in range(len(HOUSES)))}
    assert open_edges(mesh.faces, len(mesh.vertices))[1:] == (0, 0)


def test_sorting_keeps_the_faces(town: Scene) -> None:
    constraints = town.constraints()
    planar = mesh_constraints(constraints, ground_size=10.0, building_size=5.0, min_angle=25.0)
    common = {"levels": levels_of(HEIGHTS), "n_rows": N_ROWS, "terrain": Hills(), "origin": ORIGIN}
    plain = extrude_tile(planar, constraints, **common).mesh
    ordered = extrude_tile(planar, constraints, sort_triangles=True, **common).mesh
    order = np.argsort(plain.markers, kind="stable")
    assert (np.diff(ordered.markers) >= 0).all()
    assert np.array_equal(ordered.faces, plain.faces[order])
    assert np.array_equal(ordered.vertices, plain.vertices)


def test_terrain_above_a_roof_is_refused(town: Scene) -> None:
    with pytest.raises(RunError, match="not below a roof"):
        surface_of(town, heights=[*HEIGHTS[:3], 19.0, *HEIGHTS[4:]], terrain=Hills())


def quarters(x: float, y: float) -> int:
    return int(x > 50) + 2 * int(y > 48 + x * 3 / 102)


def random_scene(seed: int) -> tuple[Scene, list[float]]:
    rng = np.random.default_rng(seed)
    houses = [
        turned(*rng.uniform(5, 95, 2), *rng.uniform(4, 40, 2), rng.uniform(0, 3)) for _ in range(rng.integers(3, 13))
    ]
    seams = [[(50.0, -1.0), (50.0, 101.0)], [(-1.0, 47.97), (101.0, 50.97)]]
    scene = make_scene((0.0, 0.0, 100.0, 100.0), houses, seams=seams, tile_of=quarters, piece=4.0)
    return scene, rng.choice([26.0, 26.01, 29.5, 33.0, 52.0], len(houses)).tolist()


@pytest.mark.parametrize("walls", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_four_tiles_through_buildings_fit(seed: int, walls: bool) -> None:
    """Seams cross roofs, party walls and outlines: the tiles still close, with equal levels at their vertices."""
    scene, heights = random_scene(seed)
    surfaces = [surface_of(scene, tile, heights=heights, walls=walls)[1] for tile in range(4)]
    for surface in surfaces:
        check_tile(surface)
    vertices, faces, _ = join([surface.mesh for surface in surfaces])
    edges, overused, inconsistent = open_edges(faces, len(vertices))
    assert (overused, inconsistent) == (0, 0)
    assert on_frame(vertices[edges], (0.0, 0.0, 100.0, 100.0))
    total = sum(surface.quality.doubled_area for surface in surfaces)
    assert total == 2 * 100 * 100 * MESH_UNITS**2


def test_columns_know_regions_that_the_tile_does_not_touch() -> None:
    """Three roofs meet where a seam over the highest begins: one tile never touches the middle one.

    Its wall must still have a vertex at that level. The constraints hold the pieces around such a
    vertex of which the tile owns neither side; the mesh leaves them out.
    """
    houses = [rectangle(20, 50, 80, 80), rectangle(20, 20, 50, 50), rectangle(50, 20, 80, 50)]
    scene = make_scene(
        (0.0, 0.0, 100.0, 100.0),
        houses,
        seams=[[(50.0, 50.0), (50.0, 80.0)]],
        tile_of=lambda x, y: 0 if 20 < x < 50 and 50 < y < 80 else 1,
    )
    constraints = scene.constraints(0)
    assert (~(constraints.own_left | constraints.own_right)).any()
    surfaces = [surface_of(scene, tile, heights=[40.0, 30.0, 33.3], terrain=Hills())[1] for tile in (0, 1)]
    for surface in surfaces:
        check_tile(surface)
    assert 333_000 in surfaces[0].mesh.levels
    vertices, faces, _ = join([surface.mesh for surface in surfaces])
    edges, overused, inconsistent = open_edges(faces, len(vertices))
    assert (overused, inconsistent) == (0, 0)
    assert on_frame(vertices[edges], (0.0, 0.0, 100.0, 100.0))


def test_a_building_of_another_tile_gets_no_wall() -> None:
    """The ground tile has terrain up to the foot; the owner has roof and walls; together they close."""

    def house_apart(x: float, y: float) -> int:
        return int(20 < x < 40 and 20 < y < 40)

    scene = make_scene((0.0, 0.0, 60.0, 60.0), [rectangle(20, 20, 40, 40)], tile_of=house_apart)
    ground, house = (surface_of(scene, tile, heights=[30.0])[1] for tile in (0, 1))
    check_tile(ground)
    check_tile(house)
    assert not is_wall(ground.mesh).any()
    assert (ground.mesh.levels == TERRAIN_LEVEL).all()
    vertices, faces, markers = join([ground.mesh, house.mesh])
    edges, overused, inconsistent = open_edges(faces, len(vertices))
    assert (overused, inconsistent) == (0, 0)
    assert on_frame(vertices[edges], (0.0, 0.0, 60.0, 60.0))
    assert set(markers.tolist()) == {-2, 100, N_ROWS + 100}


def test_houses_that_touch_in_a_corner_are_found_out() -> None:
    """Cleaning chamfers such corners; without that, four walls stand on one vertical line."""
    scene = make_scene((0.0, 0.0, 60.0, 60.0), [rectangle(15, 15, 30, 30), rectangle(30, 30, 45, 45)])
    surface = surface_of(scene, heights=[30.0, 30.0], terrain=Hills())[1]
    places = surface.mesh.vertices[surface.overused]
    assert len(places) > 0
    assert (places[..., :2] - ORIGIN == 30.0).all()
    assert len(surface.inconsistent) == 0


def test_area_of_triangles_with_long_edges_is_exact() -> None:
    """Beyond 256 m, differences do not multiply exactly in floats."""
    scene = make_scene((0.0, 0.0, 3000.0009765625, 2000.0), [turned(1400, 900, 1501.3, 700.7, 0.4)], piece=900.0)
    constraints = scene.constraints()
    planar = mesh_constraints(constraints, ground_size=1000.0, building_size=900.0, min_angle=25.0)
    surface = extrude_tile(planar, constraints, levels=levels_of([60.0]), n_rows=N_ROWS, terrain=Hills(), origin=ORIGIN)
    check_tile(surface)
    assert surface.quality.doubled_area == scene.doubled_area()
