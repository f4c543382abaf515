"""Neighbouring buildings become one where ``merge_buildings`` asks for it.

Closing the gaps between polygons belongs here (shapely); nothing is cleaned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from ...outlines import Int64, Parts
from ...tiles import Box
from ..grouping import group_labels
from ..part_sets import starts_of, take_parts
from .linking import link_parts


def merge_neighbours(parts: Parts, group_start: Int64, *, frame: Box, distance: int) -> tuple[Parts, Int64, Int64]:
    """Join polygons at most a distance apart, transitively, and close the gaps between them.

    Gaps are closed by a morphological closing with half the distance and mitred corners; the polygons
    themselves stay covered.

    Parameters
    ----------
    parts : Parts
        Polygons, group after group.
    group_start : (g + 1,) int64
        Where the polygons of each group begin.
    frame : Box
        Frame of the domain, outline units; nothing grows over it.
    distance : int
        Outline units.

    Returns
    -------
    parts : Parts
        What there is now, group after group; a joined polygon has the smallest row of its members.
    group_start : (g + 1,) int64
        Where the polygons of each group begin now.
    rows : (n,) int64
        For each polygon given, the row that it has now.
    """
    n = len(parts)
    group_of = np.repeat(np.arange(len(group_start) - 1), np.diff(group_start))
    pairs = link_parts(parts, distance)
    pairs = pairs[group_of[pairs[:, 0]] == group_of[pairs[:, 1]]]
    labels = group_labels(n, pairs)
    rows = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(rows, labels, parts.rows)
    rows = rows[labels]
    order = np.lexsort((parts.rows, labels))
    sizes = np.bincount(labels, minlength=n)
    alone = sizes[labels] == 1
    polygons = to_polygons(parts)
    shapes: list[Any] = list(polygons[alone])
    shape_rows: list[int] = rows[alone].tolist()
    shape_groups: list[int] = group_of[alone].tolist()
    order = order[~alone[order]]
    for members in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(order) else ():
        closed = shapely.get_parts(_close(polygons[members], distance))
        shapes += list(closed)
        shape_rows += [int(rows[members[0]])] * len(closed)
        shape_groups += [int(group_of[members[0]])] * len(closed)
    joined = from_polygons(np.array(shapes, dtype=object), np.array(shape_rows, np.int64), frame)
    by_group = np.argsort(np.array(shape_groups, np.int64), kind="stable")
    counts = np.bincount(np.array(shape_groups, np.int64), minlength=len(group_start) - 1)
    return take_parts(joined, by_group), starts_of(counts), rows


def _close(polygons: Any, distance: int) -> Any:
    valid = shapely.make_valid(polygons)
    grown = shapely.buffer(valid, distance / 2, join_style="mitre", mitre_limit=5.0)
    # On a grid, GEOS rounds as it nodes; in floating point it gives up on nearly coincident walls.
    shrunk = shapely.buffer(shapely.union_all(grown, grid_size=1.0), -distance / 2, join_style="mitre", mitre_limit=5.0)
    whole = shapely.union_all(np.append(valid, shrunk), grid_size=1.0)
    pieces = shapely.get_parts(whole)
    return shapely.multipolygons(pieces[shapely.get_dimensions(pieces) == 2])


def to_polygons(parts: Parts) -> Any:
    """Return the parts as an array of shapely polygons, outline units."""
    shapes = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, parts.points.astype(np.float64), (parts.point_start, parts.ring_start)
    )
    return np.asarray(shapes, dtype=object)


def from_polygons(polygons: Any, rows: Int64, frame: Box) -> Parts:
    """Return shapely polygons as parts, rounded to outline units and kept inside the frame.

    Parameters
    ----------
    polygons : (n,) array of shapely polygons
        Outline units.
    rows : (n,) int64
        Row of each.
    frame : Box
        Outline units.
    """
    if len(polygons) == 0:
        return Parts(rows, np.zeros(1, np.int64), np.zeros(1, np.int64), np.empty((0, 2), np.int64))
    _, coordinates, (point_start, ring_start) = shapely.to_ragged_array(polygons)
    points = np.clip(np.floor(coordinates + 0.5).astype(np.int64), frame[:2], frame[2:])
    return Parts(rows, ring_start.astype(np.int64), point_start.astype(np.int64), points)
