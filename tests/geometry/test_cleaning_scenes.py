"""Scenes made to break cleaning: what comes out is a valid labelled planar graph, whatever goes in."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from citymesh_dask.geometry.cleaning.checking import check_outlines
from citymesh_dask.geometry.part_sets import take_parts
from citymesh_dask.outlines import Parts
from citymesh_dask.tiles import Domain
from tests.geometry.cleaning_oracle import TOLERANCE, clean, graph_problems, make_parts, near_misses
from tests.geometry.cleaning_scenes import (
    SCENES,
    jittered_quads,
    random_boxes,
    random_wedges,
    stars,
    strips,
)

MAY_BE_NEAR = {"wedges with gaps", "more wedges with gaps"}
"""Scenes so tight that some chamfer finds no place that keeps the distance."""


@pytest.mark.parametrize("name", SCENES)
def test_every_scene_is_valid_and_keeps_its_distances(name: str) -> None:
    cleaned = clean(make_parts(SCENES[name]))
    assert graph_problems(cleaned) == []
    conflicts = check_outlines(cleaned.outlines, TOLERANCE)
    assert len(conflicts.crossings) == 0
    assert len(conflicts.groups) == 0
    if name not in MAY_BE_NEAR:
        assert len(conflicts.near) == 0
        assert near_misses(cleaned.outlines) == 0


@pytest.mark.parametrize("name", SCENES)
def test_groups_come_out_as_if_cleaned_together(name: str) -> None:
    parts = make_parts(SCENES[name])
    assert clean(parts).edges() == clean(parts, one_group=True).edges()


@pytest.mark.parametrize("name", ["duplicates", "overlapping mess", "needles", "24 wedges", "checkerboard", "strips"])
def test_the_order_of_parts_does_not_matter(name: str) -> None:
    parts = make_parts(SCENES[name])
    shuffled = take_parts(parts, np.random.default_rng(1).permutation(len(parts)))
    assert clean(shuffled).edges() == clean(parts).edges()


def test_the_first_corner_and_the_direction_of_rings_do_not_matter() -> None:
    parts = make_parts(SCENES["overlapping mess"] + SCENES["needles"])
    points = parts.points.copy()
    for first, last in zip(parts.point_start[:-1], parts.point_start[1:], strict=True):
        ring = np.roll(points[first : last - 1], (last - first) // 2, axis=0)[::-1]
        points[first:last] = np.append(ring, ring[:1], axis=0)
    turned = Parts(parts.rows, parts.ring_start, parts.point_start, points)
    assert clean(turned).edges() == clean(parts).edges()


@pytest.mark.parametrize("name", ["overlapping mess", "24 wedges", "touching quads", "across every side and corner"])
def test_far_from_the_origin_everything_is_the_same(name: str) -> None:
    near, far = make_parts(SCENES[name]), 100_000
    shift = np.array([far, 2 * far]) * 1024
    domain = Domain((0, 0), (far * 1024, 2 * far * 1024, (far + 200) * 1024, (2 * far + 200) * 1024))
    moved = Parts(near.rows, near.ring_start, near.point_start, near.points + shift)
    here, there = clean(near), clean(moved, domain)
    assert graph_problems(there, domain) == []
    assert (there.outlines.points - shift).tolist() == here.outlines.points.tolist()
    assert there.outlines.edges.tolist() == here.outlines.edges.tolist()


def test_wedges_in_one_point_all_survive() -> None:
    for name, count in (("8 wedges", 8), ("24 wedges", 24), ("48 wedges", 48)):
        cleaned = clean(make_parts(SCENES[name]))
        assert cleaned.rows() == set(range(count))


def test_area_is_kept_up_to_the_tolerance() -> None:
    for name in ("overlapping mess", "touching quads", "row houses", "dense circles", "rings"):
        parts = make_parts(SCENES[name])
        cleaned = clean(parts)
        union = shapely.union_all(SCENES[name]).intersection(shapely.box(0, 0, 200, 200))
        total = sum(cleaned.area(row) for row in cleaned.rows())
        assert abs(total - union.area) < 0.05 * union.length, name


def test_coarse_and_fine_tolerances() -> None:
    for tolerance in (0.05, 1.0, 5.0):
        for name in ("overlapping mess", "touching quads", "checkerboard", "along the frame"):
            cleaned = clean(make_parts(SCENES[name]), tolerance=tolerance)
            assert graph_problems(cleaned) == [], (name, tolerance)
            assert near_misses(cleaned.outlines, tolerance=tolerance) == 0, (name, tolerance)


SHAPES = {
    "boxes": lambda seed: random_boxes(60, 70, seed=seed),
    "quads": lambda seed: jittered_quads(6, gap=0.3, seed=seed),
    "wedges": random_wedges,
    "stars": lambda seed: stars(12, seed=seed),
    "strips": lambda seed: strips(30, seed=seed),
}


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(sorted(SHAPES)), seed=st.integers(0, 10_000), cut=st.booleans())
def test_random_scenes_are_valid(kind: str, seed: int, cut: bool) -> None:
    domain = Domain.from_bounds((40, 40, 85, 100.5)) if cut else Domain.from_bounds((0, 0, 200, 200))
    parts = make_parts(SHAPES[kind](seed), domain)
    cleaned = clean(parts, domain)
    assert graph_problems(cleaned, domain) == []
    assert clean(parts, domain, one_group=True).edges() == cleaned.edges()
