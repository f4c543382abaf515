"""The steps of cleaning by themselves: linking, simplification, sorting, and the checks at the end."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity
from shapely.geometry import Polygon, box

from citymesh_dask.geometry.cleaning.checking import check_outlines, find_defects
from citymesh_dask.geometry.cleaning.linking import link_parts
from citymesh_dask.geometry.cleaning.merging import to_polygons
from citymesh_dask.geometry.cleaning.ordering import sort_order
from citymesh_dask.geometry.cleaning.simplifying import doubled_areas, simplify_parts
from citymesh_dask.geometry.grouping import group_labels
from citymesh_dask.geometry.part_sets import join_parts, part_boxes, take_parts
from citymesh_dask.outlines import Outlines
from tests.geometry.cleaning_oracle import DOMAIN, clean, make_parts
from tests.geometry.cleaning_scenes import SCENES, random_boxes

FRAME = np.array(DOMAIN.frame)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), metres=st.sampled_from([0.0, 0.25, 1.0, 3.0]))
def test_links_are_those_of_exact_distances(seed: int, metres: float) -> None:
    shapes = random_boxes(40, 120, seed=seed)
    shapes += [affinity.scale(shape, 0.3, 0.3) for shape in shapes[:5]]
    shapes += [shapely.difference(shape.buffer(9), shape.buffer(6)) for shape in shapes[5:8]]
    parts = make_parts(shapes)
    polygons = to_polygons(parts)
    distance = round(metres * 1024)
    expected = shapely.STRtree(polygons).query(polygons, predicate="dwithin", distance=distance).T
    found = link_parts(parts, distance)
    assert (found[:, 0] < found[:, 1]).all()
    assert group_labels(len(parts), found).tolist() == group_labels(len(parts), expected).tolist()


def test_a_building_in_a_far_courtyard_is_not_linked() -> None:
    ring = box(10, 10, 50, 50).difference(box(15, 15, 45, 45))
    assert len(link_parts(make_parts([ring, box(25, 25, 35, 35)]), 1024)) == 0
    assert len(link_parts(make_parts([box(10, 10, 50, 50), box(25, 25, 35, 35)]), 1024)) == 1


def test_parts_can_be_taken_and_joined() -> None:
    parts = make_parts(SCENES["hourglass"] + SCENES["rings"])
    which = np.array([3, 0, 2, 1])
    some = take_parts(parts, which)
    polygons = to_polygons(parts)[which]
    assert shapely.equals_exact(to_polygons(some), polygons).all()
    assert some.rows.tolist() == parts.rows[which].tolist()
    again = join_parts([take_parts(parts, which[:1]), take_parts(parts, which[:0]), take_parts(parts, which[1:])])
    assert shapely.equals_exact(to_polygons(again), polygons).all()
    assert (part_boxes(parts) == shapely.bounds(to_polygons(parts))).all()
    assert len(join_parts([])) == 0


def test_areas_are_exact() -> None:
    parts = make_parts(SCENES["hourglass"] + SCENES["needles"])
    assert doubled_areas(parts).tolist() == np.rint(2 * shapely.area(to_polygons(parts))).astype(int).tolist()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), deviation=st.sampled_from([50.0, 400.0]))
def test_simplified_rings_stay_near_and_keep_frame_points(seed: int, deviation: float) -> None:
    rng = np.random.default_rng(seed)
    turn = np.sort(rng.uniform(0, 2 * np.pi, 40))
    radius = 30 + rng.normal(0, 0.2, 40)
    shape = Polygon(np.c_[radius * np.cos(turn), radius * np.sin(turn)] + (190, 100))
    parts = make_parts([shape.intersection(box(0, 0, 200, 200))])
    start, points = simplify_parts(
        parts.ring_start, parts.point_start, parts.points, np.full(len(parts), deviation), FRAME
    )
    simple = Polygon(points[start[0] : start[1]])
    whole = to_polygons(parts)[0]
    assert shapely.hausdorff_distance(simple.exterior, whole.exterior, densify=0.01) <= deviation + 1e-6
    kept, given_points = set(map(tuple, points.tolist())), set(map(tuple, parts.points.tolist()))
    assert kept <= given_points
    assert {p for p in given_points if p[0] == FRAME[2]} <= kept
    assert deviation < 100 or len(kept) < len(given_points)


@given(st.lists(st.integers(-5, 5), max_size=300))
def test_sorting_is_stable(values: list[int]) -> None:
    keys = np.array(values, np.int64)
    assert sort_order(keys, len(keys)).tolist() == np.argsort(keys, kind="stable").tolist()


def outlines_of(*squares: tuple[float, float, float]) -> Outlines:
    """Return squares (x, y, size in metres) as groups of their own, unclean on purpose."""
    points, edges = [], []
    for row, (x, y, size) in enumerate(squares):
        corners = np.array([(x, y), (x, y + size), (x + size, y), (x + size, y + size)]) * 1024
        points.append(corners.astype(np.int64))
        n = 4 * row
        edges += [(n, n + 1, -1, row), (n, n + 2, row, -1), (n + 1, n + 3, -1, row), (n + 2, n + 3, row, -1)]
    starts = np.arange(len(squares) + 1) * 4
    return Outlines(np.concatenate(points), np.array(edges), starts, starts)


def test_the_check_finds_groups_that_are_near_cross_or_nest() -> None:
    assert len(check_outlines(outlines_of((10, 10, 10), (20.3, 10, 10), (50, 50, 5)), 0.25).groups) == 0
    assert check_outlines(outlines_of((10, 10, 10), (20.2, 10, 10)), 0.25).groups.tolist() == [[0, 1]]
    crossing = check_outlines(outlines_of((10, 10, 10), (15, 15, 10)), 0.25)
    assert crossing.groups.tolist() == [[0, 1]]
    assert len(crossing.crossings) == 2
    assert check_outlines(outlines_of((30, 30, 3), (10, 10, 50), (90, 90, 9)), 0.25).groups.tolist() == [[0, 1]]


def test_the_check_finds_near_misses_inside_a_group() -> None:
    two = outlines_of((10, 10, 10), (20.2, 12, 3))
    one = Outlines(two.points, two.edges, np.array([0, 8]), np.array([0, 8]))
    conflicts = check_outlines(one, 0.25)
    assert len(conflicts.near) == 2
    assert len(conflicts.groups) == 0


def test_buildings_in_courtyards_are_no_conflict() -> None:
    cleaned = clean(make_parts([SCENES["rings"][0], box(80, 80, 120, 120)]))
    assert len(cleaned.outlines.point_start) == 3
    assert len(check_outlines(cleaned.outlines, 0.25).groups) == 0


@pytest.mark.parametrize("defect", ["crossing", "equal labels", "dangling edge", "four sectors", "labels at odds"])
def test_defects_are_found(defect: str) -> None:
    outlines = clean(make_parts([box(10, 10, 20, 20), box(20, 20, 30, 30), box(40, 40, 50, 50)])).outlines
    points, edges = outlines.points.copy(), outlines.edges.copy()
    edge_start = outlines.edge_start.copy()
    assert len(find_defects(points, edges, outlines.point_start, edge_start)) == 0
    if defect == "crossing":
        points[1] = (60000, 15000)
    elif defect == "equal labels":
        edges[0, 2:] = 0
    elif defect == "dangling edge":
        edges, edge_start = edges[1:], np.maximum(edge_start - 1, 0)
    elif defect == "four sectors":
        edges = np.concatenate((edges, [[0, 3, -1, 0], [0, 2, 0, -1]]))
        order = np.lexsort((edges[:, 1], edges[:, 0]))
        edges, edge_start = edges[order], edge_start + np.array([0, 2, 2])
    else:
        edges[-1, 2:] = edges[-1, [3, 2]]
    assert len(find_defects(points, edges, outlines.point_start, edge_start)) > 0
