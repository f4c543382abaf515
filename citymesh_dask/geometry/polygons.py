"""Footprints of any origin become single valid polygons on the fixed-point plane, feature by feature.

Only what concerns one footprint by itself belongs here: repair, explode, clip, round. What concerns
neighbours is cleaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from ..outcomes import Outcome
from ..outlines import Parts
from ..tiles import OUTLINE_UNITS, Domain

Array = npt.NDArray[Any]
Int64 = npt.NDArray[np.int64]
Int8 = npt.NDArray[np.int8]
Bool = npt.NDArray[np.bool_]

SMALLEST_PART_M2 = 0.01
"""Parts below this are crumbs of repair, clipping and rounding."""
_POLYGON = 3
_COLLECTIONS = (4, 5, 6, 7)


@dataclass(frozen=True)
class PreparedFootprints:
    """What became of the features of one range.

    Parameters
    ----------
    parts : Parts
        Their polygons: valid, shells counter-clockwise, holes clockwise, inside the frame. ``rows`` are
        the places of the features in the range.
    boxes : (n, 4) int64
        x0, y0, x1, y1 of each part, outline units relative to the project origin.
    status : (m,) int8
        `Outcome` per feature: ``MESHED`` where it has parts, else why it is skipped.
    repair : (m,) int8
        Bits of `Outcome`: ``REPAIRED``, ``CLIPPED``.
    """

    parts: Parts
    boxes: Int64
    status: Int8
    repair: Int8


def prepare_footprints(geometries: Array, domain: Domain) -> PreparedFootprints:
    """Repair, explode, clip and round footprints.

    Parameters
    ----------
    geometries : (m,) object
        shapely geometries in the project CRS, metres, two-dimensional; None where there is none.
    domain : Domain
        Frame to which they are clipped, and the origin.

    Returns
    -------
    PreparedFootprints
        A feature depends on nothing but itself and the domain, so ranges may be cut anywhere.
    """
    status, repair = np.zeros(len(geometries), np.int8), np.zeros(len(geometries), np.int8)
    _skip(status, shapely.is_missing(geometries) | shapely.is_empty(geometries), Outcome.SKIPPED_NO_GEOMETRY)
    _skip(status, ~_all_finite(geometries), Outcome.SKIPPED_BAD_COORDINATES)
    rows, polygons = _explode(geometries, np.flatnonzero(status == 0))
    _skip(status, ~_present(rows, len(status)), Outcome.SKIPPED_NOT_A_POLYGON)

    rows, polygons, outside = _drop_outside(rows, polygons, domain)
    _skip(status, ~_present(rows, len(status)), Outcome.SKIPPED_OUTSIDE)
    rows, polygons = _repair_features(rows, _shifted(polygons, domain), repair)
    _skip(status, ~_present(rows, len(status)), Outcome.SKIPPED_NOT_REPAIRABLE)
    rows, polygons = _clip(rows, polygons, domain, repair=repair)
    _skip(status, ~_present(rows, len(status)), Outcome.SKIPPED_OUTSIDE)
    rows, polygons = _round(rows, polygons)
    _skip(status, ~_present(rows, len(status)), Outcome.SKIPPED_TOO_SMALL)

    repair[outside] |= Outcome.CLIPPED
    repair[status != 0] = 0
    parts, boxes = _to_parts(rows, shapely.orient_polygons(polygons))
    return PreparedFootprints(parts, boxes, status, repair)


def _skip(status: Int8, where: Bool, outcome: Outcome) -> None:
    """Give an outcome to the features that have none yet."""
    status[where & (status == 0)] = outcome


def _present(rows: Int64, count: int) -> Bool:
    present = np.zeros(count, bool)
    present[rows] = True
    return present


def _all_finite(geometries: Array) -> Bool:
    points, owner = shapely.get_coordinates(geometries, return_index=True)
    finite = np.ones(len(geometries), bool)
    finite[owner[~np.isfinite(points).all(axis=1)]] = False
    return finite


def _explode(geometries: Array, rows: Int64) -> tuple[Int64, Array]:
    """Return the non-empty polygons inside geometries of any kind, and the row that each belongs to."""
    parts, owner = shapely.get_parts(geometries[rows], return_index=True)
    rows = rows[owner]
    while np.isin(shapely.get_type_id(parts), _COLLECTIONS).any():  # collections inside collections
        parts, owner = shapely.get_parts(parts, return_index=True)
        rows = rows[owner]
    keep = (shapely.get_type_id(parts) == _POLYGON) & ~shapely.is_empty(parts)
    return rows[keep], parts[keep]


def _frame_metres(domain: Domain) -> tuple[float, float, float, float]:
    """Return the frame relative to the origin; exact, as outline units are binary fractions."""
    x0, y0, x1, y1 = (value / OUTLINE_UNITS for value in domain.frame)
    return x0, y0, x1, y1


def _drop_outside(rows: Int64, polygons: Array, domain: Domain) -> tuple[Int64, Array, Int64]:
    """Drop polygons whose box does not reach into the frame; return also the rows that lost one but not all."""
    x0, y0, x1, y1 = domain.bounds
    boxes = shapely.bounds(polygons)
    inside = (boxes[:, 0] < x1) & (boxes[:, 2] > x0) & (boxes[:, 1] < y1) & (boxes[:, 3] > y0)
    return rows[inside], polygons[inside], np.intersect1d(rows[~inside], rows[inside])


def _shifted(polygons: Array, domain: Domain) -> Array:
    shifted: Array = shapely.transform(polygons, lambda points: points - domain.origin)
    return shifted


def _repair_features(rows: Int64, polygons: Array, repair: Int8) -> tuple[Int64, Array]:
    """Make invalid polygons valid and note it.

    The structure method keeps what is inside any shell (an overlap stays built, a bow tie keeps both
    wings); the linework method would turn overlaps into holes.
    """
    invalid = ~shapely.is_valid(polygons)
    if not invalid.any():
        return rows, polygons
    repair[rows[invalid]] |= Outcome.REPAIRED
    polygons = polygons.copy()
    polygons[invalid] = shapely.make_valid(polygons[invalid], method="structure", keep_collapsed=False)
    places, polygons = _explode(polygons, np.arange(len(polygons)))
    return rows[places], polygons


def _clip(rows: Int64, polygons: Array, domain: Domain, *, repair: Int8) -> tuple[Int64, Array]:
    """Clip polygons that cross the frame and note it."""
    frame = _frame_metres(domain)
    boxes = shapely.bounds(polygons)
    crosses = (boxes[:, :2] < frame[:2]).any(axis=1) | (boxes[:, 2:] > frame[2:]).any(axis=1)
    if not crosses.any():
        return rows, polygons
    repair[rows[crosses]] |= Outcome.CLIPPED
    polygons = polygons.copy()
    polygons[crosses] = shapely.intersection(polygons[crosses], shapely.box(*frame))
    places, polygons = _explode(polygons, np.arange(len(polygons)))
    return rows[places], polygons


def _round(rows: Int64, polygons: Array) -> tuple[Int64, Array]:
    """Round to outline units so that polygons stay valid, and drop crumbs."""
    rounded = shapely.set_precision(polygons, 1 / OUTLINE_UNITS, mode="valid_output")
    places, rounded = _explode(rounded, np.arange(len(rounded)))
    keep = shapely.area(rounded) >= SMALLEST_PART_M2
    return rows[places[keep]], rounded[keep]


def _to_parts(rows: Int64, polygons: Array) -> tuple[Parts, Int64]:
    """Return the arrays of polygons whose coordinates are whole outline units."""
    if not len(polygons):
        empty = np.zeros(1, np.int64)
        return Parts(rows, empty, empty, np.zeros((0, 2), np.int64)), np.zeros((0, 4), np.int64)
    _, points, (ring_points, part_rings) = shapely.to_ragged_array(polygons, include_z=False)
    parts = Parts(rows, part_rings.astype(np.int64), ring_points.astype(np.int64), _units(points))
    return parts, _units(shapely.bounds(polygons))


def _units(metres: npt.NDArray[np.float64]) -> Int64:
    return np.rint(metres * OUTLINE_UNITS).astype(np.int64)
