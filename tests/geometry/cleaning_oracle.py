"""Footprints into `clean_groups`, and a judge of what comes out that uses shapely alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import shapely

from citymesh_dask.geometry.cleaning.cleaning import clean_groups, link_distance
from citymesh_dask.geometry.cleaning.fates import Fates
from citymesh_dask.geometry.cleaning.linking import link_parts
from citymesh_dask.geometry.grouping import group_labels
from citymesh_dask.geometry.part_sets import take_parts
from citymesh_dask.geometry.polygons import prepare_footprints
from citymesh_dask.outlines import BEYOND, GROUND, Outlines, Parts
from citymesh_dask.tiles import OUTLINE_UNITS, Domain

TOLERANCE = 0.25
DOMAIN = Domain.from_bounds((0, 0, 200, 200))


def make_parts(shapes: Iterable[shapely.Geometry], domain: Domain = DOMAIN) -> Parts:
    """Return the parts of footprints in project coordinates, repaired and clipped to the domain."""
    return prepare_footprints(np.array(list(shapes), dtype=object), domain).parts


@dataclass(frozen=True)
class Cleaned:
    """Outlines, and fate and target of each row."""

    outlines: Outlines
    fates: Fates
    parts: Parts

    def fate(self, row: int) -> tuple[int, int]:
        """Return the mildest fate of a row and where it went."""
        which = np.flatnonzero(self.fates.rows == row)
        best = which[np.argmin(self.fates.fate[which])]
        return int(self.fates.fate[best]), int(self.fates.into[best])

    def rows(self) -> set[int]:
        """Return the rows that have a region."""
        return set(np.unique(self.outlines.edges[:, 2:]).tolist()) - {GROUND, BEYOND}

    def area(self, row: int) -> float:
        """Return the area of a row's regions, square metres."""
        a, b = (self.outlines.points[self.outlines.edges[:, k]] for k in (0, 1))
        cross = a[:, 0] * b[:, 1] - b[:, 0] * a[:, 1]
        side = (self.outlines.edges[:, 2] == row).astype(np.int64) - (self.outlines.edges[:, 3] == row)
        return float((cross * side).sum() / 2 / OUTLINE_UNITS**2)

    def edges(self) -> set[tuple[int, ...]]:
        """Return every edge as (x, y, x, y, left, right): one set whatever the groups are."""
        points, edges = self.outlines.points, self.outlines.edges
        return set(map(tuple, np.column_stack((points[edges[:, 0]], points[edges[:, 1]], edges[:, 2:])).tolist()))


def clean(
    parts: Parts,
    domain: Domain = DOMAIN,
    *,
    tolerance: float = TOLERANCE,
    min_area: float = 4.0,
    merge_tolerance: float = 0.0,
    one_group: bool = False,
) -> Cleaned:
    """Link, group and clean; or clean everything as one group."""
    labels = np.zeros(len(parts), np.int64)
    if not one_group:
        distance = round(link_distance(tolerance, merge_tolerance) * OUTLINE_UNITS)
        labels = group_labels(len(parts), link_parts(parts, distance))
    order = np.argsort(labels, kind="stable")
    start = np.append(np.flatnonzero(np.diff(labels[order], prepend=-1)), len(parts))
    grouped = take_parts(parts, order)
    outlines, fates = clean_groups(
        grouped, start, domain.frame, tolerance=tolerance, min_area=min_area, merge_tolerance=merge_tolerance
    )
    return Cleaned(outlines, fates, grouped)


def graph_problems(cleaned: Cleaned, domain: Domain = DOMAIN) -> list[str]:
    """Return everything that is wrong with cleaned outlines; an empty list is what is wanted."""
    outlines, problems = cleaned.outlines, []
    if set(cleaned.fates.rows[np.isin(cleaned.fates.fate, (0, 4))].tolist()) != cleaned.rows():
        problems.append("fates and labels do not agree")
    if not set(cleaned.fates.into[cleaned.fates.into >= 0].tolist()) <= cleaned.rows():
        problems.append("merged into a building that is not there")
    for group in range(len(outlines.point_start) - 1):
        first, last = outlines.point_start[group : group + 2]
        edges = outlines.edges[outlines.edge_start[group] : outlines.edge_start[group + 1]] - (first, first, 0, 0)
        if len(edges):
            points = outlines.points[first:last]
            found = [*_graph(points, edges), *_faces(points, edges), *_frame(points, edges, domain)]
            problems += [f"group {group}: {problem}" for problem in found]
    return problems


def near_misses(outlines: Outlines, domain: Domain = DOMAIN, tolerance: float = TOLERANCE) -> int:
    """Return how many vertices are nearer than .85 of the tolerance to a foreign edge, the frame or its corners."""
    if not len(outlines.edges):
        return 0
    points, ends = outlines.points.astype(float), outlines.edges[:, :2]
    lines = shapely.linestrings(points[ends])
    limit = 0.85 * tolerance * OUTLINE_UNITS - 2.5
    tree = shapely.STRtree(lines)
    vertex, edge = tree.query(shapely.points(points), predicate="dwithin", distance=limit)
    count = int((ends[edge] != vertex[:, None]).all(axis=1).sum())
    low, high = np.array(domain.frame[:2]), np.array(domain.frame[2:])
    gaps = np.minimum(points - low, high - points)
    count += int(((gaps > 0) & (gaps < limit)).sum())
    corners = np.array([(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])])
    corner, edge = tree.query(shapely.points(corners), predicate="dwithin", distance=limit)
    return count + int((points[ends[edge]] != corners[corner][:, None]).any(axis=2).all(axis=1).sum())


def _graph(points: npt.NDArray[np.int64], edges: npt.NDArray[np.int64]) -> Iterable[str]:
    degree = np.bincount(edges[:, :2].ravel(), minlength=len(points))
    if degree.min() < 2 or degree.max() > 3:
        yield f"degrees {np.bincount(degree).tolist()}"
    if (edges[:, 2] == edges[:, 3]).any():
        yield "an edge with equal labels"
    order = np.lexsort((points[:, 1], points[:, 0]))
    if len(np.unique(points, axis=0)) < len(points) or (np.diff(order) < 0).any():
        yield "points repeat or do not ascend"
    if len(np.unique(np.sort(edges[:, :2], axis=1), axis=0)) < len(edges):
        yield "an edge repeats"
    lines = shapely.linestrings(points[edges[:, :2]].astype(float))
    i, j = shapely.STRtree(lines).query(lines, predicate="intersects")
    i, j = i[i < j], j[i < j]
    for a, b, common in zip(i, j, shapely.intersection(lines[i], lines[j]), strict=True):
        shared = set(edges[a, :2]) & set(edges[b, :2])
        if len(shared) != 1 or not common.equals(shapely.Point(points[shared.pop()])):
            yield f"edges meet in {common.wkt}"


def _faces(points: npt.NDArray[np.int64], edges: npt.NDArray[np.int64]) -> Iterable[str]:
    """Polygonise and compare the labels around every face, holes included."""
    sides: dict[tuple[tuple[int, ...], ...], int] = {}
    for a, b, left, right in edges.tolist():
        start, end = tuple(points[a].tolist()), tuple(points[b].tolist())
        sides[start, end], sides[end, start] = left, right
    faces = shapely.get_parts(shapely.polygonize(shapely.linestrings(points[edges[:, :2]].astype(float))))
    for face in shapely.orient_polygons(faces):
        labels = set()
        for ring in (face.exterior, *face.interiors):
            corners = [(int(x), int(y)) for x, y in ring.coords]
            for pair in pairwise(corners):
                labels.add(sides.pop(pair, None))
        if len(labels) != 1 or labels & {None, BEYOND}:
            yield f"labels {labels} around one face"
    if set(sides.values()) - {GROUND, BEYOND}:
        yield "a building reaches to infinity"


def _frame(points: npt.NDArray[np.int64], edges: npt.NDArray[np.int64], domain: Domain) -> Iterable[str]:
    low, high = np.array(domain.frame[:2]), np.array(domain.frame[2:])
    if (points < low).any() or (points > high).any():
        yield "a point beyond the frame"
    a, b = points[edges[:, 0]], points[edges[:, 1]]
    on_frame = ((a == b) & ((a == low) | (a == high))).any(axis=1)
    if (on_frame != (edges[:, 2:] == BEYOND).any(axis=1)).any():
        yield "BEYOND elsewhere than along the frame"
