"""Outlines cut into the pieces that every tile sees alike, and what is known about them.

Outlines are halved canonically (see `citymesh_dask.geometry.pieces.bisection`) down to the mesh size and
to the distance of the nearest foreign feature; the pieces of an edge depend on nothing farther
away, so that it does not matter in which pack a building stands. Where the mesh size is small,
pieces stay at `LEAST_LIMIT`: they are enough for the seams, and each tile halves its own on, down to
the mesh size (`final_limits`). What is told about points is true of the final pieces. Measures of
buildings along their pieces are in `citymesh_dask.geometry.pieces.outline_measures`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...outlines import GROUND, Bool, Float64, Int8, Int32, Int64, Outlines, Pieces
from ...tiles import MESH_PER_OUTLINE, MESH_UNITS, OUTLINE_UNITS, Box
from ..grouping import group_labels
from .bisection import bisect_edges, coarse_spacing, feature_reach, lengths_at_points
from .domain_frame import frame_sides
from .segment_grid import segment_grid

DIVIDED_VERTICES = 20_000
"""Clusters with more outline vertices are shared out like ground; a constant of the rules."""
DIVIDED_EXTENT = 500.0
"""Clusters wider or higher than this (metres) are shared out like ground; a constant of the rules."""
LEAST_LIMIT = 5.0
"""Metres; pieces shorter than this come from near features only."""
WALL_STEPS = 4
"""Wall levels over vertices of several tiles stand apart by the mesh size divided by at most two to this power."""
WALL_RATIO = 1.5
"""Height of wall triangles over the mean length of the pieces that they stand on."""


def subdivide(outlines: Outlines, foreign: Int64, *, frame: Box, ground_size: float, building_size: float) -> Pieces:
    """Cut the outlines of a pack into pieces.

    Parameters
    ----------
    outlines : Outlines
        Outline units; groups that touch neither one another nor those of other packs.
    foreign : (k, 4) int64
        x, y of both ends of other packs' edges, outline units; all those within
        `reach_of_features` of the outlines must be there, others do no harm.
    frame : Box
        Frame of the domain, outline units.
    ground_size, building_size : float
        Mesh sizes on terrain and on buildings, metres.

    Returns
    -------
    Pieces
        Mesh units. Pieces follow the edges; clusters are numbered as they appear.
    """
    ends = outlines.edges[:, :2]
    labels = outlines.edges[:, 2:]
    points = outlines.points * MESH_PER_OUTLINE
    group = np.repeat(np.arange(len(outlines.edge_start) - 1), np.diff(outlines.edge_start))
    cluster = _clusters(group, labels)
    boxes, divided = _cluster_boxes(points, ends, cluster)
    final = final_limits(labels, ground_size, building_size)
    limits = np.maximum(final, LEAST_LIMIT * MESH_UNITS)
    # The coarse triangulation is local only if no constraint is longer than its lattice is wide.
    longest = np.where(_flag_of(cluster, divided), coarse_spacing(ground_size) * MESH_UNITS, np.inf)
    limits = np.minimum(limits, longest)
    features = np.concatenate([outlines.points[ends].reshape(-1, 4), foreign.reshape(-1, 4), frame_sides(frame)])
    grid = segment_grid(features * MESH_PER_OUTLINE, _grown_box(points, limits.max(initial=0.0)))
    points, pieces, parents = bisect_edges(points, ends, limits=limits, grid=grid)
    graded = (labels == GROUND).any(axis=1) | _flag_of(cluster, divided)
    total, count, least = lengths_at_points(points, pieces, final[parents], graded[parents])
    return Pieces(
        points=points,
        ends=pieces,
        left=labels[parents, 0],
        right=labels[parents, 1],
        cluster=cluster[parents],
        boxes=boxes,
        divided=divided,
        spacing=least / MESH_UNITS,
        wall_step=wall_steps(total, count, building_size),
    )


def final_limits(labels: Int64, ground_size: float, building_size: float) -> Float64:
    """Return the longest piece that is meshed, by the labels of its sides.

    Parameters
    ----------
    labels : (m, 2) int64
        Labels on the left and right of each piece.
    ground_size, building_size : float
        Mesh sizes on terrain and on buildings, metres.

    Returns
    -------
    (m,) float64
        Mesh units: the building size; where there is ground on a side the smaller of both sizes;
        where there is no building the ground size.
    """
    is_open, is_wall = np.any(labels == GROUND, axis=1), np.any(labels >= 0, axis=1)
    wall = np.where(is_open, min(ground_size, building_size), building_size)
    return np.where(is_wall, wall, ground_size) * MESH_UNITS


def wall_steps(total: Int64, count: Int64, building_size: float) -> Int8:
    """Return how finely walls are meshed over points, from the lengths of the pieces that meet there.

    Parameters
    ----------
    total, count : (n,) int64
        Sum of the lengths, whole mesh units, and number of pieces at each point.
    building_size : float
        Mesh size h, metres.

    Returns
    -------
    (n,) int8
        round(log2(h / (1.5 mean length))) within 0..4, found by comparing squares: a logarithm may
        differ in its last bit between machines, a product does not.
    """
    ratio = building_size * MESH_UNITS * count / (WALL_RATIO * np.maximum(total, 1))
    thresholds = 2.0 ** (2 * np.arange(WALL_STEPS) + 1)
    steps: Int8 = (ratio[:, None] ** 2 >= thresholds).sum(axis=1).astype(np.int8)
    return steps


def reach_of_features(outlines: Outlines, building_size: float) -> int:
    """Return how far from its edges the pieces of a pack depend on features, outline units."""
    longest = max(building_size, LEAST_LIMIT) * OUTLINE_UNITS
    if len(outlines.edges):
        span = outlines.points[outlines.edges[:, 0]] - outlines.points[outlines.edges[:, 1]]
        longest = min(longest, float(np.hypot(span[:, 0], span[:, 1]).max()))
    return int(feature_reach(longest)) + 2


def _grown_box(points: Int64, longest: float) -> Box:
    """Return the box of all positions that a piece of at most some length can depend on."""
    if len(points) == 0:
        return (0, 0, 0, 0)
    reach = int(feature_reach(longest)) + 2
    (x0, y0), (x1, y1) = (points.min(axis=0) - reach).tolist(), (points.max(axis=0) + reach).tolist()
    return (x0, y0, x1, y1)


def _clusters(group: npt.NDArray[np.intp], labels: Int64) -> Int32:
    """Return the cluster of each edge; -1 where it bounds no building.

    Nodes are (group, building): a feature whose parts stand in different groups is one building,
    but not one cluster.
    """
    is_building = labels >= 0
    if not is_building.any():
        return np.full(len(labels), -1, np.int32)
    _, compact = np.unique(labels, return_inverse=True)
    keys = group[:, None] * (int(compact.max()) + 1) + compact.reshape(labels.shape)
    _, nodes = np.unique(keys, return_inverse=True)
    nodes = nodes.reshape(labels.shape)
    root = group_labels(int(nodes.max()) + 1, nodes[is_building.all(axis=1)])
    own = np.where(is_building[:, 0], nodes[:, 0], nodes[:, 1])
    result = np.full(len(labels), -1, np.int32)
    some = is_building.any(axis=1)
    roots, first, numbers = np.unique(root[own[some]], return_index=True, return_inverse=True)
    rank = np.empty(len(roots), np.int32)
    rank[np.argsort(first)] = np.arange(len(roots), dtype=np.int32)
    result[some] = rank[numbers]
    return result


def _cluster_boxes(points: Int64, ends: Int64, cluster: Int32) -> tuple[Int64, Bool]:
    """Return the bounding box of each cluster and whether it is so large that it is divided."""
    count = int(cluster.max(initial=-1)) + 1
    some = cluster >= 0
    at = np.repeat(cluster[some], 2)
    corners = points[ends[some].ravel()]
    boxes = np.empty((count, 4), np.int64)
    boxes[:, :2] = np.iinfo(np.int64).max
    boxes[:, 2:] = np.iinfo(np.int64).min
    for axis in range(2):
        np.minimum.at(boxes[:, axis], at, corners[:, axis])
        np.maximum.at(boxes[:, axis + 2], at, corners[:, axis])
    of_point = np.full(len(points), -1)
    of_point[ends[some].ravel()] = at
    vertices = np.bincount(of_point[of_point >= 0], minlength=count)
    extent = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    return boxes, (vertices > DIVIDED_VERTICES) | (extent > DIVIDED_EXTENT * MESH_UNITS)


def _flag_of(cluster: Int32, flags: Bool) -> Bool:
    return np.append(flags, False)[cluster]  # cluster -1 takes the appended one
