"""Outlines are cut alike whoever asks, down to the size and to the distance of their neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citymesh_dask.geometry.keys import number_rows
from citymesh_dask.geometry.outline_groups import edges_near, group_boxes, select_groups
from citymesh_dask.geometry.pieces import subdivision
from citymesh_dask.geometry.pieces.domain_frame import frame_reach, subdivide_frame
from citymesh_dask.geometry.pieces.outline_measures import measure_outlines
from citymesh_dask.geometry.pieces.piece_sets import join_pieces, pieces_in_window
from citymesh_dask.geometry.pieces.segment_grid import any_near, segment_grid
from citymesh_dask.geometry.pieces.subdivision import final_limits, reach_of_features, subdivide
from citymesh_dask.geometry.terrain.terrain import HeightField, TerrainLattice
from citymesh_dask.outlines import BEYOND, GROUND, Outlines, Pieces
from citymesh_dask.tiles import MESH_UNITS, OUTLINE_UNITS, Box
from tests.outline_scenes import Ring, metre_frame, outlines_of_rings, square

NO_EDGES = np.empty((0, 4), np.int64)


def cut(
    outlines: Outlines, frame: Box, foreign: np.ndarray = NO_EDGES, *, ground: float = 10.0, building: float = 5.0
) -> Pieces:
    return subdivide(outlines, foreign, frame=frame, ground_size=ground, building_size=building)


def lengths(pieces: Pieces) -> np.ndarray:
    step = pieces.points[pieces.ends[:, 1]] - pieces.points[pieces.ends[:, 0]]
    return np.hypot(step[:, 0], step[:, 1]) / MESH_UNITS


def described(pieces: Pieces) -> set[tuple]:
    """Return the pieces as a set that knows nothing of their order, with what is known at their ends."""
    found = set()
    for (a, b), left, right in zip(pieces.ends.tolist(), pieces.left.tolist(), pieces.right.tolist(), strict=True):
        ends = [(*pieces.points[k].tolist(), float(pieces.spacing[k]), int(pieces.wall_step[k])) for k in (a, b)]
        swap = ends[1] < ends[0]
        found.add((*ends[::-1], right, left) if swap else (*ends, left, right))
    return found


def test_a_lone_square_is_halved_to_the_building_size() -> None:
    frame = metre_frame(200, 200)
    pieces = cut(outlines_of_rings([square(3, 50, 50, 16)], frame), frame)
    assert lengths(pieces).tolist() == [4.0] * 16
    assert (pieces.left == 3).all() and (pieces.right == GROUND).all()
    assert (pieces.boxes == np.array([[50, 50, 66, 66]]) * MESH_UNITS).all() and not pieces.divided.any()
    assert (pieces.spacing == 4.0).all() and (pieces.wall_step == 0).all()


@pytest.mark.parametrize(("size", "step"), [(5.0, 0), (8.0, 1), (16.0, 2), (40.0, 3), (100.0, 4), (900.0, 4)])
def test_wall_steps_follow_the_mean_length_of_pieces(size: float, step: int) -> None:
    """Sides of 3 m that no size cuts: round(log2(size / 4.5)) within 0..4."""
    frame = metre_frame(2000, 2000)
    pieces = cut(outlines_of_rings([square(0, 1000, 1000, 3)], frame), frame, ground=size, building=size)
    assert pieces.wall_step.tolist() == [step] * 4


def test_pieces_shrink_with_the_distance_of_foreign_features() -> None:
    frame = metre_frame(200, 200)
    rings = [square(0, 50, 50, 40), square(1, 91, 60, 20)]  # an alley of 1 m
    together = cut(outlines_of_rings(rings, frame), frame)
    middles = together.points[together.ends].mean(axis=1) / MESH_UNITS
    alley = (middles[:, 0] == 90) & (middles[:, 1] > 62) & (middles[:, 1] < 78)
    assert alley.any() and lengths(together)[alley].max() <= 1 / 0.75
    assert lengths(together)[middles[:, 0] == 50].min() > 4


def test_near_features_are_not_followed_below_the_shortest_piece() -> None:
    frame = metre_frame(200, 200)
    rings = [square(0, 50, 50, 40), square(1, 90.25, 60, 20)]
    assert lengths(cut(outlines_of_rings(rings, frame), frame)).min() > 0.5
    assert lengths(cut(outlines_of_rings(rings, frame), frame, building=0.8)).min() > 0.2


def test_ground_sides_are_cut_to_the_smaller_size() -> None:
    frame = metre_frame(200, 200)
    rings = [square(0, 50, 50, 16), square(1, 66, 50, 16)]
    pieces = cut(outlines_of_rings(rings, frame), frame, ground=6.0, building=9.0)
    shared = (pieces.left >= 0) & (pieces.right >= 0)
    assert lengths(pieces)[~shared].max() == 4.0 and lengths(pieces)[shared].max() == 8.0
    labels = np.array([[0, GROUND], [GROUND, 0], [0, 1], [0, BEYOND], [GROUND, BEYOND]])
    assert (final_limits(labels, 2.0, 5.0) / MESH_UNITS).tolist() == [2, 2, 5, 5, 2]
    assert (final_limits(labels, 9.0, 5.0) / MESH_UNITS).tolist() == [5, 5, 5, 5, 9]


def test_small_sizes_leave_the_pieces_but_count_for_spacing_and_walls() -> None:
    """Tiles halve their pieces on: at 1 m the sides of 4 m become pieces of 1 m."""
    frame = metre_frame(200, 200)
    whole = outlines_of_rings([square(0, 50, 50, 16), square(1, 66, 50, 16)], frame)
    fine, usual = (cut(whole, frame, ground=size, building=size) for size in (1.0, 5.0))
    assert (fine.points == usual.points).all() and (fine.ends == usual.ends).all()
    assert (usual.spacing[np.isfinite(usual.spacing)] == 4.0).all()
    assert (fine.spacing[np.isfinite(usual.spacing)] == 1.0).all()
    assert (fine.wall_step == 0).all()
    assert (cut(whole, frame, ground=0.5, building=4.0).wall_step[usual.wall_step == 0].max()) == 2


places = st.tuples(st.integers(0, 5), st.integers(0, 5))
widths = st.sampled_from([4.0, 7.0, 9.5, 9.75])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(places, widths), min_size=2, max_size=9, unique_by=lambda item: item[0]), st.data())
def test_pieces_do_not_depend_on_the_pack(found: list, data: st.DataObject) -> None:
    frame = metre_frame(61, 61)
    rings: list[Ring] = [square(k, 0.5 + 10 * i, 0.5 + 10 * j, width) for k, ((i, j), width) in enumerate(found)]
    whole = outlines_of_rings(rings, frame, group=range(len(rings)))
    split = data.draw(st.lists(st.booleans(), min_size=len(rings), max_size=len(rings)))
    parts = []
    for side in (True, False):
        mine = select_groups(whole, np.array(split) == side)
        others = select_groups(whole, np.array(split) != side)
        reach = reach_of_features(mine, 5.0)
        foreign = edges_near(others, group_boxes(mine) + np.array([-reach, -reach, reach, reach]))
        parts.append(cut(mine, frame, foreign))
    reverse = Outlines(whole.points, whole.edges[:, [1, 0, 3, 2]], whole.point_start, whole.edge_start)
    expected = described(cut(whole, frame))
    assert described(join_pieces(parts)) == expected
    assert described(cut(reverse, frame)) == expected


def test_clusters_are_buildings_that_share_a_wall() -> None:
    frame = metre_frame(200, 200)
    rings = [square(0, 10, 10, 10), square(1, 20, 10, 10), square(2, 30.5, 10, 10), square(0, 100, 100, 10)]
    pieces = cut(outlines_of_rings(rings, frame, group=[0, 0, 0, 1]), frame)
    assert (pieces.boxes / MESH_UNITS).tolist() == [[10, 10, 30, 20], [30.5, 10, 40.5, 20], [100, 100, 110, 110]]
    for row, cluster in ((1, {0}), (2, {1}), (0, {0, 2})):
        assert set(pieces.cluster[(pieces.left == row) | (pieces.right == row)].tolist()) == cluster


def test_large_clusters_are_divided_and_their_walls_kept_short(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = metre_frame(800, 100)
    rings = [square(0, 10, 10, 300, 50), (1, [(310, 10), (520, 10), (520, 60), (310, 60)])]
    whole = outlines_of_rings(rings, frame)
    assert cut(whole, frame, ground=40.0, building=40.0).divided.tolist() == [True]
    assert not cut(outlines_of_rings(rings[:1], frame), frame).divided.any()
    coarse = cut(whole, frame, ground=10.0, building=40.0)
    assert lengths(coarse)[(coarse.left >= 0) & (coarse.right >= 0)].max() <= 10
    monkeypatch.setattr(subdivision, "DIVIDED_VERTICES", 3)
    assert cut(outlines_of_rings(rings[:1], frame), frame).divided.all()


def frame_pieces(rings: list[Ring], frame: Box, ground: float = 10.0) -> tuple[Pieces, Pieces]:
    outlines = outlines_of_rings(rings, frame)
    edges = outlines.points[outlines.edges[:, :2]].reshape(-1, 4)
    return cut(outlines, frame, ground=ground), subdivide_frame(frame, edges, ground_size=ground)


def test_the_frame_is_cut_at_buildings_and_leaves_them_out() -> None:
    frame = metre_frame(100, 60)
    rings = [square(0, 0, 20, 10), square(1, 90, 50, 10), (2, [(50, 0), (55, 5), (45, 5)])]
    buildings, sides = frame_pieces(rings, frame)
    assert (sides.left == GROUND).all() and (sides.right == BEYOND).all() and (sides.cluster == -1).all()
    ends = sides.points[sides.ends] / MESH_UNITS
    assert [50.0, 0.0] in ends.reshape(-1, 2).tolist()
    west = (ends[:, :, 0] == 0).all(axis=1)
    assert ((ends[west, :, 1].max(axis=1) <= 20) | (ends[west, :, 1].min(axis=1) >= 30)).all()
    assert lengths(sides).sum() == pytest.approx(2 * 160 - 10 - 20)
    around = join_pieces([buildings, sides])
    outer = (around.right == BEYOND) | (around.left == BEYOND)
    a, b = around.points[around.ends[outer, 0]], around.points[around.ends[outer, 1]]
    forward = np.where(around.right[outer] == BEYOND, 1, -1)
    doubled = int(((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) * forward).sum())
    assert doubled == 2 * 100 * 60 * MESH_UNITS**2


def test_the_frame_grades_towards_buildings_and_buildings_towards_the_frame() -> None:
    frame = metre_frame(100, 60)
    buildings, sides = frame_pieces([square(0, 40, 1, 20)], frame)
    near_frame = buildings.points[buildings.ends[:, 0], 1] == MESH_UNITS
    near_frame &= buildings.points[buildings.ends[:, 1], 1] == MESH_UNITS
    assert lengths(buildings)[near_frame].max() <= 1 / 0.75
    under = (sides.points[sides.ends] / MESH_UNITS).mean(axis=1)
    assert lengths(sides)[(under[:, 1] == 0) & (abs(under[:, 0] - 50) < 8)].max() <= 1 / 0.75
    assert lengths(sides).max() > 5
    assert frame_reach(10.0) / OUTLINE_UNITS == pytest.approx(7.5, abs=0.01)


def test_a_wholly_covered_frame_has_no_pieces_and_a_coarse_one_four() -> None:
    frame = metre_frame(80, 60)
    _, covered = frame_pieces([square(0, 0, 0, 80, 60)], frame)
    assert len(covered.ends) == 0
    _, coarse = frame_pieces([], frame, ground=500.0)
    assert (coarse.points / MESH_UNITS).tolist() == [[0, 0], [0, 60], [80, 0], [80, 60]]
    assert len(coarse.ends) == 4


def test_joined_pieces_meet_in_one_point() -> None:
    frame = metre_frame(100, 60)
    buildings, sides = frame_pieces([square(0, 0, 20, 10)], frame)
    both = join_pieces([sides, buildings])
    assert len(both.points) == len(buildings.points) + len(sides.points) - 2
    corner = int(np.flatnonzero((both.points == (0, 20 * MESH_UNITS)).all(axis=1))[0])
    meeting = (both.ends == corner).any(axis=1) & ((both.left == GROUND) | (both.right == GROUND))
    assert both.spacing[corner] == lengths(both)[meeting].min()
    window = pieces_in_window(both, (50 * MESH_UNITS, 0, 60 * MESH_UNITS, MESH_UNITS))
    assert len(window.boxes) == 0 and (window.cluster == -1).all() and 0 < len(window.ends) < len(sides.ends)
    assert len(pieces_in_window(both, (0, 0, 100 * MESH_UNITS, 60 * MESH_UNITS)).ends) == len(both.ends)


def plane(bounds: tuple[float, float, float, float], lattice: TerrainLattice) -> HeightField:
    """Return the window of a plane that rises 1 m per 10 m to the east and per 20 m to the north."""
    first_row, first_col, end_row, end_col = lattice.span_of(bounds)
    x = lattice.x0 + (np.arange(first_col, end_col) + 0.5) * lattice.dx
    y = lattice.y0 + (np.arange(first_row, end_row) + 0.5) * lattice.dy
    heights = np.rint(1000 * (x[None] / 10 + y[:, None] / 20)).astype(np.int32)
    return HeightField(heights, first_row, first_col, lattice)


def test_buildings_are_measured_along_their_outlines() -> None:
    frame = metre_frame(3000, 3000)
    lattice = TerrainLattice(-2.0, -2.0, 2.0, 2.0, 1505, 1505)
    hole = (5, [(14, 14), (14, 16), (16, 16), (16, 14)])
    rings = [square(5, 10, 10, 10), hole, square(9, 20, 10, 10), square(5, 2500, 2000, 20, 10)]
    outlines = outlines_of_rings(rings, frame, group=[0, 0, 0, 1])
    asked = []

    def terrain_in(bounds: tuple[float, float, float, float]) -> HeightField:
        asked.append(bounds)
        return plane(bounds, lattice)

    measures = measure_outlines(outlines, cut(outlines, frame), terrain_in)
    assert measures.rows.tolist() == [5, 9]
    assert (measures.doubled_area / OUTLINE_UNITS**2 / 2).tolist() == [100 - 4 + 200, 100]
    assert measures.perimeter.tolist() == [40 + 8 + 60, 40]
    assert measures.terrain_low.tolist() == [1500, 2500]
    assert measures.terrain_high.tolist() == [252_000 + 100_500, 4000]
    assert len(asked) == 2


def test_nothing_is_cut_and_measured_to_nothing() -> None:
    frame = metre_frame(100, 100)
    outlines = outlines_of_rings([], frame)
    pieces = cut(outlines, frame)
    assert len(pieces.points) == len(pieces.ends) == len(pieces.boxes) == 0
    measures = measure_outlines(outlines, pieces, lambda bounds: pytest.fail("there is nothing to sample"))
    assert len(measures.rows) == 0
    assert len(join_pieces([pieces, pieces]).points) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(-60, 60)] * 4), min_size=0, max_size=30),
    st.tuples(st.integers(-40, 40), st.integers(-40, 40)),
    st.integers(1, 80),
)
def test_the_grid_finds_what_is_near(segments: list, point: tuple[int, int], radius: int) -> None:
    array = np.array(segments, np.int64).reshape(-1, 4)
    grid = segment_grid(array, (-125, -125, 125, 125))
    nobody = np.array([1000, 1000, 1000, 1000])
    expected = False
    for ax, ay, bx, by in segments:
        a, b, p = np.array([ax, ay], float), np.array([bx, by], float), np.array(point, float)
        along = np.clip((p - a) @ (b - a) / max((b - a) @ (b - a), 1e-9), 0, 1)
        expected |= bool(np.hypot(*(p - a - along * (b - a))) < radius - 1e-9)
    assert any_near(grid, *point, float(radius), nobody) >= expected
    assert any_near(grid, *point, radius - 1e-6, nobody) <= (expected or any_near(grid, *point, float(radius), nobody))


def test_the_grid_passes_over_what_meets_the_edge() -> None:
    segments = np.array([[0, 0, 10, 0], [10, 0, 10, 10], [0, 10, 10, 10]], np.int64)
    grid = segment_grid(segments, (-20, -20, 30, 30))
    assert not any_near(grid, 5, 0, 6.0, np.array([0, 0, 10, 0]))
    assert any_near(grid, 5, 0, 11.0, np.array([0, 0, 10, 0]))
    # An edge that stands on an axis-parallel side of the frame is not foreign to it.
    assert not any_near(grid, 4, 0, 3.0, np.array([3, 0, 5, 0]))


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), max_size=60))
def test_equal_points_are_numbered_alike(points: list) -> None:
    array = np.array(points, np.int64).reshape(-1, 2)
    ids, first = number_rows(array)
    assert (array[first][ids] == array).all()
    assert len(first) == len(set(points)) and (np.diff(first) > 0).all()
