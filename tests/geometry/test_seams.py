"""Whatever the tiles, together they mesh every side of every piece once, and their seams fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from citymesh_dask.errors import RunError
from citymesh_dask.geometry.cleaning.cleaning import clean_groups
from citymesh_dask.geometry.cleaning.linking import link_parts
from citymesh_dask.geometry.grouping import group_labels
from citymesh_dask.geometry.pieces import subdivision
from citymesh_dask.geometry.pieces.bisection import coarse_spacing
from citymesh_dask.geometry.pieces.domain_frame import subdivide_frame
from citymesh_dask.geometry.pieces.piece_sets import join_pieces, pieces_in_window
from citymesh_dask.geometry.pieces.subdivision import subdivide
from citymesh_dask.geometry.seams.cocircular import break_ties
from citymesh_dask.geometry.seams.fillers import filler_points
from citymesh_dask.geometry.seams.location import label_at
from citymesh_dask.geometry.seams.seams import tile_constraints, window_of
from citymesh_dask.outlines import BEYOND, GROUND, Constraints, Outlines, Parts, Pieces
from citymesh_dask.tiles import MESH_PER_OUTLINE, MESH_UNITS, OUTLINE_UNITS, Box, Domain, Tiling
from tests.conftest import city_data
from tests.outline_scenes import block_outlines, circle, metre_frame, outlines_of_rings, square

Point = tuple[int, int]
Sizes = tuple[float, float]
NO_EDGES = np.empty((0, 4), np.int64)


def pieces_of(outlines: Outlines, frame: Box, sizes: Sizes = (10.0, 5.0)) -> Pieces:
    ground, building = sizes
    inside = subdivide(outlines, NO_EDGES, frame=frame, ground_size=ground, building_size=building)
    edges = outlines.points[outlines.edges[:, :2]].reshape(-1, 4)
    return join_pieces([inside, subdivide_frame(frame, edges, ground_size=ground)])


def mesh_box(frame: Box) -> Box:
    x0, y0, x1, y1 = (value * MESH_PER_OUTLINE for value in frame)
    return (x0, y0, x1, y1)


def tiles_of(frame: Box, columns: int, rows: int) -> list[Box]:
    x0, y0, x1, y1 = mesh_box(frame)
    xs = [x0 + (x1 - x0) * k // columns for k in range(columns + 1)]
    ys = [y0 + (y1 - y0) * k // rows for k in range(rows + 1)]
    return tiles_between(xs, ys)


def tiles_between(xs: Sequence[int], ys: Sequence[int]) -> list[Box]:
    return [(a, b, c, d) for a, b, c, d in Tiling.from_lines(xs, ys).boxes.tolist()]


def constraints_of(pieces: Pieces, frame: Box, tile: Box, sizes: Sizes = (10.0, 5.0)) -> Constraints | None:
    """Return the constraints of a tile from no more than the window that it asks for."""
    window = pieces_in_window(pieces, window_of(tile, sizes[0]))
    return tile_constraints(window, tile, frame=mesh_box(frame), ground_size=sizes[0], building_size=sizes[1])


def doubled_area(part: Constraints) -> int:
    x, y = part.points.astype(object).T
    a, b = part.ends.T
    cross = x[a] * y[b] - y[a] * x[b]
    return int(cross[part.own_left].sum() - cross[part.own_right].sum())


def true_labels(part: Constraints, labels: np.ndarray) -> np.ndarray:
    return np.where(labels >= 0, np.append(part.rows, -9)[np.maximum(labels, -1)], labels)


def owned_sides(part: Constraints) -> tuple[Counter, Counter]:
    """Return the owned sides of pieces and of seams as (start, end, label), the side on the left."""
    sides: Counter = Counter()
    seams: Counter = Counter()
    start, end = (list(map(tuple, part.points[part.ends[:, k]].tolist())) for k in range(2))
    left, right = true_labels(part, part.left).tolist(), true_labels(part, part.right).tolist()
    for k in range(len(part.ends)):
        target = seams if left[k] == right[k] else sides
        if part.own_left[k]:
            target[start[k], end[k], left[k]] += 1
        if part.own_right[k]:
            target[end[k], start[k], right[k]] += 1
    return sides, seams


def halved(a: Point, b: Point, limit: float) -> list[tuple[Point, Point]]:
    """Halve a piece from its smaller end until no part is longer than a limit; parts run from a to b."""
    if math.dist(a, b) <= limit:
        return [(a, b)]
    middle = ((a[0] + b[0]) // 2, (a[1] + b[1]) // 2)
    return halved(a, middle, limit) + halved(middle, b, limit)


def expected_sides(pieces: Pieces, sizes: Sizes) -> Counter:
    ground, building = sizes
    start, end = (list(map(tuple, pieces.points[pieces.ends[:, k]].tolist())) for k in range(2))
    sides: Counter = Counter()
    for a, b, left, right in zip(start, end, pieces.left.tolist(), pieces.right.tolist(), strict=True):
        size = ground if max(left, right) < 0 else min(sizes) if GROUND in (left, right) else building
        for c, d in halved(a, b, size * MESH_UNITS):
            sides.update(side for side in ((c, d, left), (d, c, right)) if side[2] != BEYOND)
    return sides


def assert_shared_out(pieces: Pieces, frame: Box, tiles: Sequence[Box], sizes: Sizes = (10.0, 5.0)) -> int:
    """Check that the tiles share everything exactly once; return the number of seam pieces."""
    sides: Counter = Counter()
    seams: Counter = Counter()
    steps: dict[Point, int] = {}
    total = 0
    for tile in tiles:
        part = constraints_of(pieces, frame, tile, sizes)
        if part is None:
            continue
        for point, step in zip(map(tuple, part.points.tolist()), part.wall_step.tolist(), strict=True):
            assert steps.setdefault(point, step) == step
        own_sides, own_seams = owned_sides(part)
        sides += own_sides
        seams += own_seams
        total += doubled_area(part)
        assert len(np.unique(part.points, axis=0)) == len(part.points)
        assert set(part.ends.ravel().tolist()) == set(range(len(part.points)))
    assert sides == expected_sides(pieces, sizes)
    assert all(count == 1 for count in seams.values())
    assert {(b, a, label) for a, b, label in seams} == set(seams)
    x0, y0, x1, y1 = mesh_box(frame)
    assert total == 2 * (x1 - x0) * (y1 - y0)
    return len(seams) // 2


TILINGS = [(1, 1), (2, 2), (3, 3), (7, 3)]


@st.composite
def random_blocks(draw: st.DrawFn) -> tuple[Outlines, Box]:
    """Return buildings on random lines; they touch one another and the frame, also in corners."""
    widths = [draw(st.lists(st.sampled_from([0.3, 2.0, 4.5, 8.0, 15.0, 26.0]), min_size=4, max_size=7)) for _ in "xy"]
    xs, ys = (np.concatenate([[0.0], np.cumsum(width)]).tolist() for width in widths)
    rows = st.sampled_from([-1, -1, 0, 1, 2, 3])
    cells = [[draw(rows) for _ in xs[1:]] for _ in ys[1:]]
    frame = metre_frame(xs[-1], ys[-1])
    return block_outlines(cells, xs, ys, frame), frame


@settings(max_examples=25, deadline=None)
@given(random_blocks(), st.sampled_from([(10.0, 5.0), (2.0, 3.0), (25.0, 4.0)]), st.data())
def test_any_blocks_any_tiles(scene: tuple[Outlines, Box], sizes: Sizes, data: st.DataObject) -> None:
    outlines, frame = scene
    pieces = pieces_of(outlines, frame, sizes)
    x0, y0, x1, y1 = mesh_box(frame)
    # Tile lines anywhere, exactly through outline vertices and along walls too.
    corners = [(int(x), int(y)) for x, y in pieces.points.tolist()]
    picked = data.draw(st.lists(st.sampled_from(corners), max_size=3))
    xs = sorted({x0, x1, *(x for x, _ in picked), data.draw(st.integers(x0, x1))})
    ys = sorted({y0, y1, *(y for _, y in picked), data.draw(st.integers(y0, y1))})
    assert_shared_out(pieces, frame, tiles_between(xs, ys), sizes)


def alleys() -> tuple[Outlines, Box]:
    """Equal blocks with equal narrow alleys: every crossing is a cocircular tie."""
    lines = np.cumsum([0.0, 6.0, 8.0, 0.5, 8.0, 0.5, 8.0, 0.5, 8.0, 6.0]).tolist()
    cells = -np.ones((9, 9), int)
    cells[1::2, 1::2] = np.arange(16).reshape(4, 4)
    frame = metre_frame(lines[-1], lines[-1])
    return block_outlines(cells, lines, lines, frame), frame


def checkerboard() -> tuple[Outlines, Box]:
    lines = [5.0 * k for k in range(9)]
    cells = np.where(np.add.outer(np.arange(8), np.arange(8)) % 2, np.arange(64).reshape(8, 8), -1)
    frame = metre_frame(40, 40)
    return block_outlines(cells, lines, lines, frame), frame


def rings() -> tuple[Outlines, Box]:
    """A ring with a courtyard, in which a round tower stands, beside a dense circle."""
    frame = metre_frame(90, 60)
    courtyard = (0, [(10, 10), (10, 50), (50, 50), (50, 10)])
    parts = [square(0, 5, 5, 50), courtyard, circle(1, 30, 30, 4, 64), circle(2, 75, 30, 10, 90)]
    return outlines_of_rings(parts, frame), frame


def round_courtyard() -> tuple[Outlines, Box]:
    """A cocircular courtyard too small for fillers."""
    frame = metre_frame(60, 60)
    return outlines_of_rings([square(0, 20, 20, 20), circle(0, 30, 30, 5, 48, clockwise=True)], frame), frame


def comb() -> tuple[Outlines, Box]:
    teeth = [
        (x, y)
        for k in range(12)
        for x, y in ((5.0 + 4 * k, 40), (5.0 + 4 * k, 10), (8.6 + 4 * k, 10), (8.6 + 4 * k, 40))
    ]
    frame = metre_frame(60, 50)
    return outlines_of_rings([(0, [(5, 45), *teeth, (52.6, 45)])], frame), frame


@pytest.mark.parametrize("scene", [alleys, checkerboard, rings, round_courtyard, comb])
@pytest.mark.parametrize("tiling", TILINGS)
def test_adversarial_scenes(scene, tiling: tuple[int, int]) -> None:
    outlines, frame = scene()
    pieces = pieces_of(outlines, frame)
    seams = assert_shared_out(pieces, frame, tiles_of(frame, *tiling))
    assert seams == 0 or tiling != (1, 1)


@pytest.mark.parametrize("scene", [alleys, checkerboard, rings])
def test_tile_lines_through_vertices_and_along_walls(scene) -> None:
    outlines, frame = scene()
    pieces = pieces_of(outlines, frame)
    x0, y0, x1, y1 = mesh_box(frame)
    middle = pieces.points[np.argsort(np.abs(pieces.points - (x1 // 2, y1 // 2)).sum(axis=1))[:3]]
    xs, ys = sorted({x0, x1, *middle[:, 0].tolist()}), sorted({y0, y1, *middle[:, 1].tolist()})
    assert_shared_out(pieces, frame, tiles_between(xs, ys))


def test_without_tie_breaking_neighbours_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scene is a real test of the ties: without the rule its tiles do not fit."""
    monkeypatch.setattr("citymesh_dask.geometry.seams.coarse.break_ties", lambda *arrays, **rest: 0)
    outlines, frame = alleys()
    pieces = pieces_of(outlines, frame)
    broken = 0
    for tiling in [(2, 2), (3, 3), (7, 3), (5, 5), (4, 9)]:
        try:
            assert_shared_out(pieces, frame, tiles_of(frame, *tiling))
        except AssertionError:
            broken += 1
    assert broken > 0


@pytest.mark.parametrize("tiling", [(1, 1), (2, 2), (5, 3)])
@pytest.mark.parametrize(
    ("width", "height", "sizes"),
    [(200.0, 120.0, (10.0, 5.0)), (3.0, 2.0, (10.0, 5.0)), (50.0, 40.0, (100.0, 5.0)), (100.0, 80.0, (1.0, 1.0))],
)
def test_no_buildings(width: float, height: float, sizes: Sizes, tiling: tuple[int, int]) -> None:
    frame = metre_frame(width, height)
    pieces = pieces_of(outlines_of_rings([], frame), frame, sizes)
    assert_shared_out(pieces, frame, tiles_of(frame, *tiling), sizes)


@pytest.mark.parametrize("tiling", [(1, 1), (2, 2), (5, 4)])
def test_a_building_covers_the_domain(tiling: tuple[int, int]) -> None:
    frame = metre_frame(80, 60)
    pieces = pieces_of(outlines_of_rings([square(0, 0, 0, 80, 60)], frame), frame)
    assert (pieces.cluster == 0).all()
    tiles = tiles_of(frame, *tiling)
    assert_shared_out(pieces, frame, tiles)
    owners = [tile for tile in tiles if constraints_of(pieces, frame, tile) is not None]
    assert len(owners) == 1


def test_a_tile_of_another_ones_building_has_nothing() -> None:
    frame = metre_frame(500, 500)
    pieces = pieces_of(outlines_of_rings([square(0, 20, 20, 460)], frame), frame)
    unit = MESH_UNITS
    assert constraints_of(pieces, frame, (300 * unit, 300 * unit, 320 * unit, 320 * unit)) is None


@pytest.mark.parametrize("tiling", [(2, 2), (3, 3), (7, 3)])
def test_large_clusters_are_divided(tiling: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Seams cross the flat roofs of a cluster that is too large for one tile."""
    monkeypatch.setattr(subdivision, "DIVIDED_EXTENT", 80.0)
    frame = metre_frame(150, 100)
    inner = (2, [(40, 40), (40, 60), (60, 60), (60, 40)])
    rooms = [
        (0, [(20, 20), (80, 20), (80, 80), (20, 80)]),
        (1, [(80, 20), (140, 20), (140, 100), (80, 100), (80, 80)]),
        inner,
        (0, inner[1]),
        square(5, 45, 45, 10),
    ]
    rings = [rooms[0], rooms[1], (0, inner[1]), square(5, 45, 45, 10)]
    pieces = pieces_of(outlines_of_rings(rings, frame), frame)
    assert pieces.divided.tolist() == [True, False]
    assert_shared_out(pieces, frame, tiles_of(frame, *tiling))
    labels = set()
    for tile in tiles_of(frame, *tiling):
        part = constraints_of(pieces, frame, tile)
        if part is not None:
            labels |= {label for _, _, label in owned_sides(part)[1]}
    assert labels == {GROUND, 0, 1}


def test_a_tile_inside_a_divided_building_meshes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No outline is in its window: the region is found all the same."""
    monkeypatch.setattr(subdivision, "DIVIDED_EXTENT", 80.0)
    frame = metre_frame(250, 250)
    pieces = pieces_of(outlines_of_rings([square(7, 10, 10, 230)], frame), frame)
    tile = (120 * MESH_UNITS, 120 * MESH_UNITS, 140 * MESH_UNITS, 140 * MESH_UNITS)
    part = constraints_of(pieces, frame, tile)
    assert part is not None
    assert part.rows.tolist() == [7]
    assert (part.left == 0).all() and (part.right == 0).all() and not part.own_right.any()
    assert abs(doubled_area(part) / MESH_UNITS**2 / 2 - 400) < 200
    assert_shared_out(pieces, frame, tiles_of(frame, 4, 5))


def test_more_pieces_than_the_window_change_nothing() -> None:
    outlines, frame = rings()
    pieces = pieces_of(outlines, frame)
    for tile in tiles_of(frame, 4, 3):
        part = constraints_of(pieces, frame, tile)
        whole = tile_constraints(pieces, tile, frame=mesh_box(frame), ground_size=10.0, building_size=5.0)
        assert part is not None and whole is not None
        assert owned_sides(part) == owned_sides(whole)


def test_seams_are_graded_to_the_outlines_and_short() -> None:
    outlines, frame = rings()
    pieces = pieces_of(outlines, frame)
    spacing = {tuple(point): value for point, value in zip(pieces.points.tolist(), pieces.spacing, strict=True)}
    checked = 0
    for tile in tiles_of(frame, 4, 3):
        part = constraints_of(pieces, frame, tile)
        assert part is not None
        for k in np.flatnonzero(part.left == part.right):
            a, b = part.points[part.ends[k]]
            length = float(np.hypot(*(a - b))) / MESH_UNITS
            near = min(spacing.get(tuple(point.tolist()), np.inf) for point in (a, b))
            assert length <= 12.0
            assert length <= max(2 * near, 1.0)
            checked += np.isfinite(near)
    assert checked > 10


@pytest.mark.parametrize("tiling", [(2, 2), (5, 4)])
@pytest.mark.parametrize("sizes", [(10.0, 5.0), (1.5, 2.0)])
def test_real_buildings_of_delft(tiling: tuple[int, int], sizes: Sizes) -> None:
    """Party-walled houses, some of them cut by the frame, as cleaning leaves them."""
    path = city_data("delft_3dfier", "bgt.gpkg")
    domain = Domain.from_bounds((84900, 447480, 85010, 447600))
    footprints = shapely.from_wkb(pyogrio.raw.read(path, layer="pand")[2])
    inside = shapely.intersection(shapely.make_valid(footprints), shapely.box(*domain.bounds))
    local = shapely.transform(inside, lambda xy: np.rint((xy - domain.origin) * OUTLINE_UNITS))
    polygons = [part for part in shapely.get_parts(shapely.set_precision(local, 1)) if part.area > 0]
    parts = parts_of_polygons(polygons)
    labels = group_labels(len(parts), link_parts(parts, OUTLINE_UNITS))
    order = np.argsort(labels, kind="stable")
    start = np.flatnonzero(np.diff(labels[order], prepend=-1, append=-1))
    grouped = parts_of_polygons([polygons[k] for k in order])
    outlines, _ = clean_groups(grouped, start, domain.frame, tolerance=0.25, min_area=15.0)
    assert (outlines.edges == BEYOND).any() and len(outlines.edges) > 300
    pieces = pieces_of(outlines, domain.frame, sizes)
    assert assert_shared_out(pieces, domain.frame, tiles_of(domain.frame, *tiling), sizes) > 30


def parts_of_polygons(polygons: Sequence[shapely.Polygon]) -> Parts:
    rings = [[np.array(ring.coords, np.int64) for ring in (part.exterior, *part.interiors)] for part in polygons]
    flat = [ring for part in rings for ring in part]
    return Parts(
        rows=np.arange(len(polygons)),
        ring_start=np.cumsum([0, *map(len, rings)]),
        point_start=np.cumsum([0, *map(len, flat)]),
        points=np.concatenate(flat),
    )


def test_wall_steps_and_true_labels_travel_with_frozen_pieces() -> None:
    frame = metre_frame(100, 60)
    pieces = pieces_of(outlines_of_rings([square(4, 40, 20, 20)], frame), frame)
    left, right = (constraints_of(pieces, frame, tile) for tile in tiles_of(frame, 2, 1))
    assert left is not None and right is not None
    # The centre of the box lies on the line, hence in the right tile.
    frozen = left.right != left.left
    foot = frozen & ((true_labels(left, left.left) == 4) | (true_labels(left, left.right) == 4))
    assert foot.any() and left.rows.tolist() == [4]
    assert (left.own_left[foot] != left.own_right[foot]).all()
    steps = {tuple(point): step for point, step in zip(pieces.points.tolist(), pieces.wall_step, strict=True)}
    for point, step in zip(left.points.tolist(), left.wall_step, strict=True):
        assert step == steps.get(tuple(point), 0)


def test_contradicting_labels_are_refused() -> None:
    frame = metre_frame(40, 40)
    pieces = pieces_of(outlines_of_rings([square(0, 10, 10, 12)], frame), frame)
    right = pieces.right.copy()
    right[np.flatnonzero(right == GROUND)[0]] = BEYOND
    broken = Pieces(**{**vars(pieces), "right": right})
    with pytest.raises(RunError, match="two labels"):
        constraints_of(broken, frame, tiles_of(frame, 2, 2)[0])


def test_crossing_outlines_are_refused() -> None:
    frame = metre_frame(40, 40)
    pieces = pieces_of(outlines_of_rings([square(0, 10, 10, 12), square(1, 15, 15, 12)], frame), frame)
    with pytest.raises(RunError, match="do not cross"):
        constraints_of(pieces, frame, tiles_of(frame, 2, 2)[0])


def test_fillers_are_the_same_in_every_box_and_keep_their_distance() -> None:
    frame = mesh_box(metre_frame(400, 300))
    points = np.array([[100, 100], [180, 130]]) * MESH_UNITS
    ends = np.array([[0, 1]], np.int32)
    whole = filler_points(frame, frame=frame, ground_size=10.0, points=points, ends=ends)
    box = (90 * MESH_UNITS, 80 * MESH_UNITS, 200 * MESH_UNITS, 170 * MESH_UNITS)
    part = filler_points(box, frame=frame, ground_size=10.0, points=points, ends=ends)
    inside = (whole >= box[:2]).all(axis=1) & (whole <= box[2:]).all(axis=1)
    assert {*map(tuple, part.tolist())} == {*map(tuple, whole[inside].tolist())}
    a, b = points.astype(float)
    along = np.clip((whole - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    distance = np.hypot(*(whole - a - along[:, None] * (b - a)).T) / MESH_UNITS
    assert 5.5 <= distance.min() < 8
    assert coarse_spacing(10.0) == coarse_spacing(2.0) == 10.0 and coarse_spacing(50.0) == 50.0
    assert abs(len(whole) - 400 * 300 / 86.6) < 120


@pytest.mark.parametrize("scale", [1, 2**20, 2**28])
def test_ties_become_fans_from_the_smallest_corner(scale: int) -> None:
    """The circle is 5 units, 20 m and 5 km wide: the last is beyond 64-bit arithmetic."""
    octagon = np.array([[-5, 0], [-4, -3], [0, -5], [3, -4], [5, 0], [4, 3], [0, 5], [-3, 4]]) * scale
    triangles = np.array([[1, 2, 3], [1, 3, 4], [1, 4, 7], [4, 5, 7], [5, 6, 7], [0, 1, 7]], np.int32)
    neighbours = np.array([[-1, -1, 1], [0, -1, 2], [1, 3, 5], [-1, 4, 2], [-1, -1, 3], [-1, 2, -1]], np.int32)
    sides = np.where(neighbours < 0, np.arange(1, 19).reshape(6, 3), 0).astype(np.int32)
    assert break_ties(octagon, triangles, neighbours=neighbours, sides=sides) == 5
    assert (triangles == 0).sum(axis=1).tolist() == [1] * 6
    for t in range(6):
        a, b, c = octagon[triangles[t]]
        assert (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) > 0
        for e in range(3):
            other = neighbours[t, e]
            if other >= 0:
                back = neighbours[other].tolist().index(t)
                assert triangles[other, back] == triangles[t, (e + 1) % 3]
            else:
                assert sides[t, e] > 0


@pytest.mark.parametrize("scale", [1, 2**20, 2**28])
def test_what_is_nearly_on_a_circle_is_no_tie(scale: int) -> None:
    square_corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * scale
    square_corners[2] += 2**4 if scale > 1 else 1
    triangles = np.array([[0, 1, 3], [1, 2, 3]], np.int32)
    before = triangles.copy()
    neighbours = np.array([[-1, 1, -1], [-1, -1, 0]], np.int32)
    assert break_ties(square_corners, triangles, neighbours=neighbours, sides=np.zeros((2, 3), np.int32)) == 0
    assert (triangles == before).all()


def test_regions_are_located_without_a_triangulation() -> None:
    frame = metre_frame(40, 40)
    courtyard = (3, [(15, 15), (15, 25), (25, 25), (25, 15)])
    outlines = outlines_of_rings([square(3, 10, 10, 20), courtyard], frame)
    points, ends, labels = outlines.points, outlines.edges[:, :2], outlines.edges[:, 2:]
    for x, y, label in [
        (5, 20, GROUND),
        (12, 20, 3),
        (20, 20, GROUND),
        (27, 15, 3),
        (35, 10, GROUND),
        (20, 35, GROUND),
    ]:
        assert label_at((3 * 1024 * x, 3 * 1024 * y), points=points, ends=ends, labels=labels) == label
