"""Footprints one by one: repair, explode, clip, round; what is skipped and why."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from citymesh_dask.formats.footprints import read_features, survey_footprints
from citymesh_dask.geometry.polygons import PreparedFootprints, prepare_footprints
from citymesh_dask.outcomes import Outcome
from citymesh_dask.tiles import OUTLINE_UNITS, Domain
from tests.conftest import city_data

OFFSET = np.array([1000.0, 2000.0])
DOMAIN = Domain.from_bounds((1000.5, 2000, 1100, 2050))


def not_finite(value: float) -> shapely.Polygon:
    """Return a triangle with a coordinate that is no number."""
    with np.errstate(invalid="ignore"):
        return shapely.Polygon([(20, 20), (value, 20), (30, 30)])


def prepare(*shapes: shapely.Geometry | None, domain: Domain = DOMAIN) -> PreparedFootprints:
    """Prepare shapes given relative to (1000, 2000)."""
    moved = np.empty(len(shapes), dtype=object)
    for index, shape in enumerate(shapes):
        moved[index] = shape if shape is None else shapely.transform(shape, lambda points: points + OFFSET)
    return prepare_footprints(moved, domain)


def polygons(result: PreparedFootprints, domain: Domain = DOMAIN) -> np.ndarray:
    """Return the parts as shapely polygons, metres relative to the origin."""
    parts = result.parts
    if not len(parts):
        return np.empty(0, dtype=object)
    offsets = (parts.point_start, parts.ring_start)
    found: np.ndarray = shapely.from_ragged_array(shapely.GeometryType.POLYGON, parts.points / OUTLINE_UNITS, offsets)
    return found


def test_a_plain_box_comes_out_as_it_is() -> None:
    result = prepare(shapely.box(10, 10, 20, 25, ccw=False))
    assert result.status.tolist() == [Outcome.MESHED]
    assert result.repair.tolist() == [0]
    assert result.parts.rows.tolist() == [0]
    assert result.parts.ring_start.tolist() == [0, 1]
    assert result.parts.point_start.tolist() == [0, 5]
    assert result.boxes.tolist() == [[10 * 1024, 10 * 1024, 20 * 1024, 25 * 1024]]
    ring = polygons(result)[0].exterior
    assert ring.is_ccw
    assert polygons(result)[0].equals(shapely.box(10, 10, 20, 25))


def test_holes_run_clockwise() -> None:
    shape = shapely.Polygon(shapely.box(10, 10, 40, 40).exterior, [shapely.box(20, 20, 30, 30).exterior])
    (found,) = polygons(prepare(shape))
    assert found.exterior.is_ccw
    assert not found.interiors[0].is_ccw
    assert found.area == 800


@pytest.mark.parametrize(
    ("shape", "outcome"),
    [
        (None, Outcome.SKIPPED_NO_GEOMETRY),
        (shapely.Polygon(), Outcome.SKIPPED_NO_GEOMETRY),
        (shapely.MultiPolygon(), Outcome.SKIPPED_NO_GEOMETRY),
        (shapely.Point(20, 20), Outcome.SKIPPED_NOT_A_POLYGON),
        (shapely.LineString([(1, 1), (20, 20)]), Outcome.SKIPPED_NOT_A_POLYGON),
        (not_finite(np.nan), Outcome.SKIPPED_BAD_COORDINATES),
        (not_finite(np.inf), Outcome.SKIPPED_BAD_COORDINATES),
        (shapely.Polygon([(20, 20), (30, 20), (20, 20), (30, 20)]), Outcome.SKIPPED_NOT_REPAIRABLE),
        (shapely.box(200, 20, 210, 30), Outcome.SKIPPED_OUTSIDE),
        (shapely.box(100, 20, 110, 30), Outcome.SKIPPED_OUTSIDE),
        (shapely.Polygon([(90, 49), (120, 49), (120, 20), (119, 48)]), Outcome.CLIPPED),
        (shapely.box(20, 20, 20.05, 20.05), Outcome.SKIPPED_TOO_SMALL),
    ],
)
def test_why_features_are_skipped(shape: shapely.Geometry | None, outcome: Outcome) -> None:
    result = prepare(shapely.box(10, 10, 20, 20), shape)
    code = result.status[1] or result.repair[1]
    assert Outcome(code) == outcome
    assert result.status[0] == 0
    assert (result.parts.rows == 1).any() == (outcome == Outcome.CLIPPED)


def test_a_box_that_meets_the_frame_only_by_its_bounding_box_is_outside() -> None:
    corner = shapely.Polygon([(90, 60), (110, 40), (110, 60)])
    assert prepare(corner).status.tolist() == [Outcome.SKIPPED_OUTSIDE]


def test_bow_tie_keeps_both_wings() -> None:
    result = prepare(shapely.Polygon([(10, 10), (20, 20), (20, 10), (10, 20)]))
    assert result.repair.tolist() == [Outcome.REPAIRED]
    assert shapely.area(polygons(result)).sum() == 50


def test_overlapping_parts_of_a_feature_stay_built() -> None:
    ring = [(10, 10), (30, 10), (30, 20), (10, 20)]
    shape = shapely.Polygon([*ring, (10, 10), (20, 10), (20, 15), (10, 15), (10, 10)])
    assert not shape.is_valid
    assert shapely.union_all(polygons(prepare(shape))).area == 200


def test_multi_geometries_and_collections_are_exploded() -> None:
    first, second = shapely.box(10, 10, 20, 20), shapely.box(30, 10, 40, 20)
    nested = shapely.GeometryCollection([shapely.MultiPolygon([first, second]), shapely.Point(1, 1)])
    result = prepare(shapely.MultiPolygon([first, second]), None, shapely.GeometryCollection([nested]))
    assert result.parts.rows.tolist() == [0, 0, 2, 2]
    assert result.status.tolist() == [0, Outcome.SKIPPED_NO_GEOMETRY, 0]
    assert result.repair.tolist() == [0, 0, 0]


def test_clipping_ends_exactly_on_the_frame() -> None:
    result = prepare(shapely.Polygon([(-5, 10), (20, 17.3), (-5, 30)]))
    assert result.repair.tolist() == [Outcome.CLIPPED]
    assert result.boxes[0, 0] == DOMAIN.frame[0] == 512
    assert (result.parts.points[:, 0] == 512).sum() >= 2


def test_a_feature_with_a_part_outside_is_clipped() -> None:
    shape = shapely.MultiPolygon([shapely.box(10, 10, 20, 20), shapely.box(210, 10, 220, 20)])
    result = prepare(shape)
    assert result.repair.tolist() == [Outcome.CLIPPED]
    assert len(result.parts) == 1


def test_a_building_around_the_whole_frame_covers_it() -> None:
    result = prepare(shapely.box(-50, -50, 500, 500))
    assert result.repair.tolist() == [Outcome.CLIPPED]
    assert tuple(result.boxes[0]) == DOMAIN.frame


def test_repaired_and_clipped_are_both_noted() -> None:
    result = prepare(shapely.Polygon([(-10, 10), (20, 20), (20, 10), (-10, 20)]))
    assert result.repair.tolist() == [Outcome.REPAIRED_AND_CLIPPED]


def test_nothing_at_all() -> None:
    result = prepare_footprints(np.empty(0, dtype=object), DOMAIN)
    assert len(result.parts) == 0
    assert result.parts.points.shape == (0, 2)
    assert result.parts.ring_start.tolist() == [0]
    assert result.boxes.shape == (0, 4)


coordinate = st.integers(-100, 1200).map(lambda value: value / 10)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=8), min_size=1, max_size=6))
def test_any_rings_come_out_valid_inside_and_alike_alone(rings: list[list[tuple[float, float]]]) -> None:
    shapes = [shapely.Polygon(ring) for ring in rings]
    together = prepare(*shapes)
    found = polygons(together)
    assert shapely.is_valid(found).all()
    x0, y0, x1, y1 = DOMAIN.frame
    points = together.parts.points
    assert ((points >= (x0, y0)) & (points <= (x1, y1))).all()
    assert ((together.status == 0) == np.isin(np.arange(len(shapes)), together.parts.rows)).all()
    for index, shape in enumerate(shapes):
        alone = prepare(shape)
        assert alone.status[0] == together.status[index]
        assert alone.repair[0] == together.repair[index]
        own = found[together.parts.rows == index]
        assert shapely.equals_exact(own, polygons(alone)).all()


@pytest.mark.parametrize(
    ("parts", "repaired"),
    [
        (("kronenhuset_goteborg", "buildings.shp"), 2),
        (("lyon_dtm_bdtopo", "buildings_lyon1.geojson"), 0),
        (("wageningen_heights", "buildings.shp"), 0),
    ],
)
def test_real_footprints_keep_their_area(parts: tuple[str, str], repaired: int) -> None:
    (source,) = survey_footprints([city_data(*parts)])
    geometries = read_features(source, 0, source.n_features).geometries
    assert source.bounds is not None
    domain = Domain.from_bounds(source.bounds)
    result = prepare_footprints(geometries, domain)
    found = polygons(result)
    assert shapely.is_valid(found).all()
    assert (result.status == 0).all()
    assert ((result.repair & Outcome.REPAIRED) > 0).sum() == repaired
    assert shapely.area(found).sum() == pytest.approx(shapely.area(geometries).sum(), rel=2e-6)
