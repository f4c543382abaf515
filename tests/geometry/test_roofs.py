"""Points and cells inside footprints against shapely, histograms against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from citymesh_dask.geometry.part_sets import part_boxes, take_parts
from citymesh_dask.geometry.terrain.histograms import height_bins, histogram_of, merge_histograms, percentiles
from citymesh_dask.geometry.terrain.roofs import (
    cells_in_parts,
    inner_points,
    part_vertices,
    parts_touching,
    points_in_parts,
)
from citymesh_dask.outlines import Parts


def make_parts(polygons: list[shapely.Polygon], rows: list[int] | None = None) -> Parts:
    """Return polygons with whole coordinates as parts; rows count from 0 if not given."""
    ring_start, point_start, points = [0], [0], []
    for polygon in polygons:
        for ring in (polygon.exterior, *polygon.interiors):
            points.append(np.array(ring.coords, dtype=np.int64))
            point_start.append(point_start[-1] + len(points[-1]))
        ring_start.append(len(point_start) - 1)
    numbers = np.arange(len(polygons)) if rows is None else np.array(rows, np.int64)
    flat = np.concatenate(points) if points else np.empty((0, 2), np.int64)
    return Parts(numbers, np.array(ring_start), np.array(point_start), flat)


def random_polygons(seed: int, count: int, extent: int = 40_000) -> list[shapely.Polygon]:
    """Return overlapping star-shaped polygons, some with a hole, of whole coordinates."""
    rng = np.random.default_rng(seed)
    polygons = []
    for _ in range(count):
        centre = rng.integers(0, extent, 2)
        angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 14)))
        radius = rng.uniform(1500, 6000, len(angle))
        ring = np.rint(centre + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))
        polygon = shapely.Polygon(ring)
        hole = shapely.box(*(centre - 300), *(centre + 300))
        if polygon.is_valid and polygon.area > 0:
            polygons.append(polygon.difference(hole) if polygon.contains_properly(hole) else polygon)
    return polygons


@pytest.mark.parametrize("seed", range(4))
def test_points_inside_are_those_of_shapely(seed: int):
    polygons = random_polygons(seed, 60)
    rng = np.random.default_rng(seed)
    x, y = rng.integers(-2000, 42_000, 5000), rng.integers(-2000, 42_000, 5000)
    bins = rng.integers(-50, 50, 5000).astype(np.int32)
    rows = rng.integers(0, 40, len(polygons)).tolist()
    got = points_in_parts(make_parts(polygons, rows), x, y, bins=bins)
    point, part = shapely.STRtree(polygons).query(shapely.points(x, y), predicate="within")
    assert len(np.unique(point)) < len(point)  # footprints overlap: a point counts for each
    expected = histogram_of(np.array(rows)[part], bins[point])
    assert np.array_equal(got.rows, expected.rows) and np.array_equal(got.bins, expected.bins)
    assert np.array_equal(got.counts, expected.counts)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), pieces=st.integers(1, 5))
def test_histograms_do_not_depend_on_order_or_division(seed: int, pieces: int):
    rng = np.random.default_rng(seed)
    parts = make_parts(random_polygons(seed, 12))
    x, y = rng.integers(0, 40_000, 600), rng.integers(0, 40_000, 600)
    bins = rng.integers(0, 20, 600).astype(np.int32)
    whole = points_in_parts(parts, x, y, bins=bins)
    order = rng.permutation(600)
    several = [points_in_parts(parts, x[k], y[k], bins=bins[k]) for k in np.array_split(order, pieces)]
    merged = merge_histograms(several)
    assert np.array_equal(merged.rows, whole.rows) and np.array_equal(merged.bins, whole.bins)
    assert np.array_equal(merged.counts, whole.counts)
    mirrored = take_parts(parts, np.arange(len(parts))[::-1])
    assert np.array_equal(points_in_parts(mirrored, x, y, bins=bins).counts, whole.counts)


def test_a_shared_wall_counts_its_points_once():
    left, right = shapely.box(0, 0, 4096, 4096), shapely.box(4096, 0, 8192, 4096)
    y = np.arange(1, 4096, 64)
    found = points_in_parts(make_parts([left, right]), np.full(len(y), 4096), y, bins=np.zeros(len(y), np.int32))
    assert found.counts.sum() == len(y) and found.rows.tolist() == [1]


def test_no_points_or_no_parts_give_nothing():
    none = np.empty(0, np.int64)
    box = make_parts([shapely.box(0, 0, 10, 10)])
    assert len(points_in_parts(box, none, none, bins=none.astype(np.int32))) == 0
    assert len(points_in_parts(make_parts([]), np.array([1]), np.array([1]), bins=np.zeros(1, np.int32))) == 0
    assert len(points_in_parts(box, np.array([10**9]), np.array([5]), bins=np.zeros(1, np.int32))) == 0


def test_thousands_of_corners_and_overflowing_products_are_exact():
    angle = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    circle = shapely.Polygon(np.rint(np.stack([2e8 * np.cos(angle), 2e8 * np.sin(angle)], axis=1)))  # 200 km
    x = np.array([0, 199_999_000, 200_001_000, -141_000_000])
    y = np.array([0, 0, 0, 141_000_000])
    found = points_in_parts(make_parts([circle]), x, y, bins=np.arange(4, dtype=np.int32))
    assert found.bins.tolist() == [0, 1, 3]


@pytest.mark.parametrize("cell", [(1.0, 1.0), (2.5, 0.7)])
def test_cells_inside_are_those_of_shapely(cell: tuple[float, float]):
    polygons = random_polygons(7, 30)
    parts = make_parts(polygons)
    part, row, col = cells_in_parts(parts, (-1.5, 3.25), cell, shape=(45, 40))
    r, c = (a.ravel() for a in np.mgrid[:45, :40])
    centres = shapely.points((-1.5 + (c + 0.5) * cell[0]) * 1024, (3.25 + (r + 0.5) * cell[1]) * 1024)
    point, owner = shapely.STRtree(polygons).query(centres, predicate="within")
    got = set(zip(part.tolist(), row.tolist(), col.tolist(), strict=True))
    assert got == set(zip(owner.tolist(), r[point].tolist(), c[point].tolist(), strict=True))
    assert len(got) == len(part) > 200


def test_selected_parts_keep_their_rings():
    polygons = random_polygons(1, 20)
    parts = make_parts(polygons)
    chosen = np.array([7, 2, 11])
    again = make_parts([polygons[k] for k in chosen], chosen.tolist())
    some = take_parts(parts, chosen)
    for name in ("rows", "ring_start", "point_start", "points"):
        assert np.array_equal(getattr(some, name), getattr(again, name))
    boxes = part_boxes(parts)
    assert np.array_equal(boxes, np.array([p.bounds for p in polygons], np.int64))
    assert parts_touching(boxes, tuple(boxes[3])).tolist() == [
        k for k, p in enumerate(polygons) if shapely.box(*p.bounds).intersects(shapely.box(*boxes[3]))
    ]
    owner, points = part_vertices(parts)
    assert len(points) == len(owner) and np.bincount(owner).tolist() == [
        shapely.get_num_coordinates(p) for p in polygons
    ]


def test_inner_points_lie_inside():
    polygons = random_polygons(2, 30)
    x, y = inner_points(make_parts(polygons), np.arange(len(polygons)))
    assert all(p.contains(shapely.Point(a, b)) for p, a, b in zip(polygons, x, y, strict=True))


@settings(max_examples=50, deadline=None)
@given(
    samples=st.lists(st.tuples(st.integers(0, 3), st.integers(-300, 300)), min_size=1, max_size=60),
    fraction=st.sampled_from([0.0, 0.1, 0.5, 0.7, 0.9, 1.0]),
)
def test_percentiles_are_numpys_by_nearest_rank(samples: list[tuple[int, int]], fraction: float):
    rows, bins = np.array(samples, np.int64).T
    got_rows, totals, got = percentiles(histogram_of(rows, bins.astype(np.int32)), fraction)
    assert got_rows.tolist() == sorted(set(rows.tolist()))
    for row, total, value in zip(got_rows, totals, got, strict=True):
        own = bins[rows == row]
        assert total == len(own)
        assert value == np.percentile(own, round(fraction * 100), method="inverted_cdf")


def test_bins_are_centred_on_centimetres():
    assert height_bins(np.array([-15, -14, 0, 4, 5, 994, 995])).tolist() == [-1, -1, 0, 0, 1, 99, 100]
