"""What cleaning decides: who wins, who is absorbed, what is left out and why, and what the frame does."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely.geometry import Point, Polygon, box

from citymesh_dask.geometry.cleaning.cleaning import clean_groups
from citymesh_dask.outcomes import Outcome
from citymesh_dask.outlines import BEYOND, GROUND, Parts
from citymesh_dask.tiles import Domain
from tests.geometry.cleaning_oracle import clean, graph_problems, make_parts, near_misses
from tests.geometry.cleaning_scenes import grid

SMALL_DOMAIN = Domain.from_bounds((0, 0, 60, 40))


def test_a_plain_building_keeps_its_corners() -> None:
    cleaned = clean(make_parts([box(10, 10, 20, 25)]))
    assert cleaned.outlines.points.tolist() == [[10240, 10240], [10240, 25600], [20480, 10240], [20480, 25600]]
    assert cleaned.outlines.edges[:, :2].tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]
    assert cleaned.outlines.edges[:, 2:].tolist() == [[GROUND, 0], [0, GROUND], [GROUND, 0], [0, GROUND]]
    assert cleaned.fate(0) == (Outcome.MESHED, -1)


def test_the_smaller_of_two_overlapping_buildings_wins() -> None:
    cleaned = clean(make_parts([box(10, 10, 30, 30), box(20, 12, 40, 28)]))
    assert cleaned.area(1) == pytest.approx(320)
    assert cleaned.area(0) == pytest.approx(400 - 160)


def test_a_building_in_another_takes_its_place() -> None:
    cleaned = clean(make_parts([box(10, 10, 30, 30), box(15, 15, 20, 20)]))
    assert cleaned.area(1) == pytest.approx(25)
    assert cleaned.area(0) == pytest.approx(375)


def test_of_duplicates_the_smaller_row_stays() -> None:
    turned = Polygon([(20, 20), (10, 20), (10, 10), (20, 10)])
    cleaned = clean(make_parts([box(50, 50, 60, 60), turned, box(10, 10, 20, 20)]))
    assert cleaned.rows() == {0, 1}
    assert cleaned.fate(2) == (Outcome.DUPLICATE, 1)


def test_a_small_building_goes_to_the_neighbour_with_the_longest_common_wall() -> None:
    shed = box(20, 10, 22, 13)
    cleaned = clean(make_parts([box(10, 10, 20, 20), shed, box(20, 13, 30, 25)]), min_area=15.0)
    assert cleaned.fate(1) == (Outcome.ABSORBED, 0)
    assert cleaned.area(0) == pytest.approx(106, abs=0.3)
    assert graph_problems(cleaned) == []


def test_the_absorber_keeps_its_row_even_where_the_small_one_reaches_its_middle() -> None:
    cleaned = clean(make_parts([box(10, 10, 20, 20), box(18, 14, 23, 16)]), min_area=15.0)
    assert cleaned.rows() == {0}
    assert cleaned.fate(1) == (Outcome.ABSORBED, 0)


def test_small_buildings_that_touch_hold_together() -> None:
    garages = [box(20 + 3 * k, 20, 23 + 3 * k, 23.5) for k in range(6)]
    cleaned = clean(make_parts(garages), min_area=15.0)
    assert graph_problems(cleaned) == []
    assert cleaned.rows()
    assert sum(cleaned.area(row) for row in cleaned.rows()) == pytest.approx(sum(g.area for g in garages), abs=0.2)
    for row in set(range(6)) - cleaned.rows():
        assert cleaned.fate(row)[0] == Outcome.ABSORBED


def test_a_small_building_alone_is_left_out_with_the_reason() -> None:
    cleaned = clean(make_parts([box(10, 10, 13, 13), box(30, 30, 40, 40)]), min_area=15.0)
    assert cleaned.fate(0) == (Outcome.SKIPPED_TOO_SMALL, -1)
    assert cleaned.rows() == {1}


def test_a_thin_building_is_left_out_with_the_reason() -> None:
    cleaned = clean(make_parts([box(10, 10, 90, 10.2), box(10, 30, 90, 30.35)]), min_area=0.0)
    assert cleaned.fate(0) == (Outcome.SKIPPED_TOO_THIN, -1)
    assert cleaned.fate(1) == (Outcome.MESHED, -1)


def test_a_building_under_smaller_ones_is_left_out_with_the_reason() -> None:
    cleaned = clean(make_parts([box(10, 10, 30, 20), box(10, 10, 20, 20), box(20, 10, 30, 20)]))
    assert cleaned.fate(0) == (Outcome.SKIPPED_COVERED, -1)
    assert cleaned.rows() == {1, 2}


def test_parts_of_one_building_become_one_region() -> None:
    whole = shapely.MultiPolygon([box(10, 10, 20, 20), box(20.1, 10, 30, 20), box(60, 60, 61, 61)])
    cleaned = clean(make_parts([whole]))
    assert cleaned.rows() == {0}
    assert cleaned.area(0) == pytest.approx(200, abs=0.1)
    assert cleaned.fate(0) == (Outcome.MESHED, -1)
    assert sorted(cleaned.fates.fate.tolist()) == [0, 0, Outcome.SKIPPED_TOO_SMALL]


def test_small_courtyards_are_filled_and_large_ones_stay() -> None:
    shape = box(10, 10, 40, 30).difference(box(12, 12, 13.5, 13.5)).difference(box(25, 15, 35, 25))
    cleaned = clean(make_parts([shape]))
    assert cleaned.area(0) == pytest.approx(600 - 100)


def test_alleys_under_the_tolerance_close_and_wider_ones_stay() -> None:
    for gap, closed in ((0.24, True), (0.26, False)):
        cleaned = clean(make_parts(grid(5, 6, gap)))
        assert len(cleaned.rows()) == 25
        shared = (cleaned.outlines.edges[:, 2:] >= 0).all(axis=1).any()
        assert shared == closed


def test_a_corner_touch_gets_a_chamfer() -> None:
    cleaned = clean(make_parts([box(10, 10, 20, 20), box(20, 20, 30, 30)]))
    assert graph_problems(cleaned) == []
    total = cleaned.area(0) + cleaned.area(1)
    assert total == pytest.approx(200.125, abs=0.001)  # two legs of 0.5 m


def test_merged_buildings_have_the_smallest_row_and_no_gap() -> None:
    shapes = [box(60, 60, 70, 70), box(20.4, 10, 30, 20), box(10, 10, 20, 20), box(31.2, 10, 40, 20)]
    cleaned = clean(make_parts(shapes), merge_tolerance=0.5)
    assert cleaned.rows() == {0, 1, 3}
    assert cleaned.fate(2) == (Outcome.MERGED, 1)
    assert cleaned.area(1) == pytest.approx(200, abs=0.1)
    chained = clean(make_parts(shapes), merge_tolerance=1.3)
    assert chained.rows() == {0, 1}
    assert chained.fate(3) == (Outcome.MERGED, 1)
    assert chained.area(1) == pytest.approx(300, abs=0.2)
    assert graph_problems(chained) == []
    assert clean(make_parts(shapes), merge_tolerance=0.3).rows() == {0, 1, 2, 3}


def test_every_part_is_accounted_for() -> None:
    rng = np.random.default_rng(5)
    shapes = [Point(rng.uniform(20, 80, 2)).buffer(rng.uniform(0.2, 6), quad_segs=3) for _ in range(80)]
    parts = make_parts(shapes)
    cleaned = clean(parts, min_area=15.0)
    assert sorted(cleaned.fates.rows.tolist()) == sorted(parts.rows.tolist())
    gone = ~np.isin(cleaned.fates.rows, list(cleaned.rows()))
    assert (cleaned.fates.fate[gone] >= Outcome.MERGED).all()
    merged = (cleaned.fates.fate >= Outcome.MERGED) & (cleaned.fates.fate < Outcome.SKIPPED_NO_GEOMETRY)
    assert ((cleaned.fates.into >= 0) == merged).all()


def test_no_groups_and_empty_groups() -> None:
    outlines, fates = clean_groups(make_parts([]), np.array([0]), SMALL_DOMAIN.frame, tolerance=0.25, min_area=15.0)
    assert len(outlines.edges) == len(fates.rows) == 0
    assert outlines.point_start.tolist() == outlines.edge_start.tolist() == [0]
    parts = make_parts([box(10, 10, 20, 20)])
    outlines, _ = clean_groups(
        parts, np.array([0, 0, 1, 1]), SMALL_DOMAIN.frame, tolerance=0.25, min_area=15.0, merge_tolerance=0.5
    )
    assert outlines.edge_start.tolist() == [0, 0, 4, 4]


def test_inputs_are_not_changed() -> None:
    parts = make_parts(grid(4, 6, 0.24))
    before = parts.points.copy()
    first = clean(parts)
    assert (parts.points == before).all()
    assert clean(parts).edges() == first.edges()


def test_a_building_over_the_whole_domain() -> None:
    cleaned = clean(make_parts([box(-5, -5, 70, 50)], SMALL_DOMAIN), SMALL_DOMAIN)
    assert cleaned.area(0) == 60 * 40
    assert (cleaned.outlines.edges[:, 2:] == BEYOND).any(axis=1).all()


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.2, 0.249])
def test_walls_within_the_tolerance_move_onto_the_frame(gap: float) -> None:
    cleaned = clean(make_parts([box(gap, 10, 12, 40 - gap)], SMALL_DOMAIN), SMALL_DOMAIN)
    assert cleaned.outlines.points.tolist() == [[0, 10240], [0, 40960], [12288, 10240], [12288, 40960]]
    assert cleaned.outlines.edges[:, 2:].tolist() == [[BEYOND, 0], [0, GROUND], [BEYOND, 0], [0, GROUND]]


def test_walls_beyond_the_tolerance_stay_off_the_frame() -> None:
    cleaned = clean(make_parts([box(0.3, 10, 12, 20)], SMALL_DOMAIN), SMALL_DOMAIN)
    assert not (cleaned.outlines.edges[:, 2:] == BEYOND).any()


def test_a_wall_that_passes_a_corner_of_the_frame_goes_through_it() -> None:
    cleaned = clean(make_parts([Polygon([(0, 0.29), (0.29, 0), (20, 0), (0, 20)])], SMALL_DOMAIN), SMALL_DOMAIN)
    assert [0, 0] in cleaned.outlines.points.tolist()
    assert graph_problems(cleaned, SMALL_DOMAIN) == []
    assert near_misses(cleaned.outlines, SMALL_DOMAIN) == 0


def test_chamfers_on_the_frame_stay_inside_it() -> None:
    shapes = [Polygon([(30, 0), (20, 15), (20, 0)]), Polygon([(30, 0), (40, 0), (40, 15)])]
    cleaned = clean(make_parts(shapes, SMALL_DOMAIN), SMALL_DOMAIN)
    assert graph_problems(cleaned, SMALL_DOMAIN) == []
    assert cleaned.rows() == {0, 1}
    assert cleaned.outlines.points.min() == 0


def test_rings_that_cross_themselves_are_cleaned_too() -> None:
    bowtie = np.array([(10, 10), (30, 30), (30, 10), (10, 30), (10, 10)]) * 1024
    spike = np.array([(50, 10), (60, 10), (60, 20), (70, 20), (60, 20), (50, 20), (50, 10)]) * 1024
    parts = Parts(np.arange(2), np.arange(3), np.array([0, 5, 12]), np.concatenate((bowtie, spike)))
    cleaned = clean(parts)
    assert graph_problems(cleaned) == []
    assert cleaned.area(0) == pytest.approx(200, abs=0.2)
    assert cleaned.area(1) == pytest.approx(100)
