"""What lies inside footprints: which points, and which cells of a raster.

Points and cells meet the footprints as read (not the cleaned outlines), so that this step does not
wait for cleaning. All positions are integers or global cell indices: the order and grouping of
points, footprints and files change nothing. Where the points come from and which evidence wins is
decided in ``pipelines``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from numba import njit

from ...outlines import Parts
from ...tiles import OUTLINE_UNITS
from ..part_sets import part_boxes
from .histograms import Histogram, histogram_of
from .terrain import Span

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Integers = npt.NDArray[np.integer[Any]]

_POINTS_PER_CELL = 8
_MIN_CELL = 2 * OUTLINE_UNITS


def points_in_parts(parts: Parts, x: Integers, y: Integers, *, bins: Int32) -> Histogram:
    """Return the histograms of the points inside each building.

    A point on an outline belongs to the part on its right or above it, so that walls shared by two
    parts count it once; a point in several overlapping parts counts for each.

    Parameters
    ----------
    parts : Parts
        Footprints; holes are left out (even-odd rule).
    x, y : (n,) int32 or int64
        Outline units relative to the project origin.
    bins : (n,) int32
        Bin of the height of each point.

    Returns
    -------
    Histogram
    """
    boxes = part_boxes(parts)
    if not len(parts) or not len(x):
        return histogram_of(np.empty(0, np.int64), np.empty(0, np.int32))
    x0, y0, x1, y1 = (int(v) for v in (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)))
    near = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    x, y, bins = x[near].astype(np.int64), y[near].astype(np.int64), bins[near]
    # Square cells of a few points each: small enough to skip most points, few enough to be cheap.
    cell = max(_MIN_CELL, math.isqrt(max(x1 - x0, 1) * max(y1 - y0, 1) * _POINTS_PER_CELL // max(len(x), 1)))
    start, order = _bucket(x, y, x0, y0, cell, (x1 - x0) // cell + 1, (y1 - y0) // cell + 1)
    grid = (start, x[order], y[order], bins[order])
    row, hit = _collect(parts.rows, parts.ring_start, parts.point_start, parts.points, boxes, x0, y0, cell, grid)
    return histogram_of(row, hit)


def cells_in_parts(
    parts: Parts, corner: tuple[float, float], cell: tuple[float, float], *, shape: tuple[int, int]
) -> tuple[Int64, Int32, Int32]:
    """Return the cells of a lattice whose centres lie inside each part.

    Parameters
    ----------
    parts : Parts
        Footprints; holes are left out (even-odd rule).
    corner : (float, float)
        South-west corner of the lattice, metres relative to the project origin.
    cell : (float, float)
        Width and height of a cell, metres.
    shape : (int, int)
        Rows and columns of the lattice; cells outside are left out.

    Returns
    -------
    part, row, col : (n,) int64, (n,) int32, (n,) int32
        Ascending part; rows go north.
    """
    if not len(parts):
        return np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int32)
    scaled = (corner[0] * OUTLINE_UNITS, corner[1] * OUTLINE_UNITS, cell[0] * OUTLINE_UNITS, cell[1] * OUTLINE_UNITS)
    found: tuple[Int64, Int32, Int32] = _scan(
        parts.ring_start, parts.point_start, parts.points, part_boxes(parts), *scaled, shape[0], shape[1]
    )
    return found


def inner_points(parts: Parts, chosen: Int64) -> tuple[Int64, Int64]:
    """Return a point well inside each chosen part, in outline units.

    The middle of the widest span at half height (GEOS, "point on surface").
    """
    xy = np.empty((len(chosen), 2))
    for k, part in enumerate(chosen):
        rings = range(parts.ring_start[part], parts.ring_start[part + 1])
        shell, *holes = (parts.points[parts.point_start[r] : parts.point_start[r + 1]] for r in rings)
        xy[k] = shapely.get_coordinates(shapely.point_on_surface(shapely.Polygon(shell, holes)))[0]
    rounded = np.rint(xy).astype(np.int64)
    return rounded[:, 0], rounded[:, 1]


def part_vertices(parts: Parts) -> tuple[Int64, Int64]:
    """Return the part of every vertex, and the vertices themselves as (p, 2) outline units."""
    sizes = np.diff(parts.point_start[parts.ring_start])
    return np.repeat(np.arange(len(parts)), sizes), parts.points


def parts_touching(boxes: Int64, box: tuple[float, float, float, float]) -> Int64:
    """Return the parts whose bounding boxes meet a box, both in outline units."""
    apart = (boxes[:, 2] < box[0]) | (boxes[:, 0] > box[2]) | (boxes[:, 3] < box[1]) | (boxes[:, 1] > box[3])
    return np.flatnonzero(~apart)


def cells_of_span(cells: tuple[Int64, Int32, Int32], span: Span) -> tuple[Int64, Int32, Int32]:
    """Return those of some cells that lie in a window."""
    part, row, col = cells
    inside = (row >= span[0]) & (row < span[2]) & (col >= span[1]) & (col < span[3])
    return part[inside], row[inside], col[inside]


@njit(cache=True, nogil=True)
def _bucket(x: Int64, y: Int64, x0: int, y0: int, cell: int, nx: int, ny: int) -> tuple[Int64, Int64]:
    """Return where each grid cell's points begin, and the points in cell order (counting sort)."""
    start = np.zeros(nx * ny + 1, np.int64)
    key = np.empty(len(x), np.int64)
    for i in range(len(x)):
        key[i] = (y[i] - y0) // cell * nx + (x[i] - x0) // cell
        start[key[i] + 1] += 1
    for k in range(nx * ny):
        start[k + 1] += start[k]
    place = start[:-1].copy()
    order = np.empty(len(x), np.int64)
    for i in range(len(x)):
        order[place[key[i]]] = i
        place[key[i]] += 1
    return start, order


@njit(cache=True, nogil=True)
def _collect(
    rows: Int64,
    ring_start: Int64,
    point_start: Int64,
    points: Int64,
    boxes: Int64,
    x0: int,
    y0: int,
    cell: int,
    grid: tuple[Int64, Int64, Int64, Int32],
) -> tuple[Int64, Int32]:
    """Return building row and bin of every point found in a part, by exact integer crossings."""
    start, x, y, bins = grid
    nx = (boxes[:, 2].max() - x0) // cell + 1
    found_row = np.empty(len(x) + 1, np.int64)
    found_bin = np.empty(len(x) + 1, np.int32)
    n_found = 0
    largest = 0
    for part in range(len(rows)):
        largest = max(largest, point_start[ring_start[part + 1]] - point_start[ring_start[part]])
    edges = np.empty((largest, 4), np.int64)
    for part in range(len(rows)):
        first_x, first_y, last_x, last_y = boxes[part]
        left, right = (first_x - x0) // cell, (last_x - x0) // cell
        for band in range((first_y - y0) // cell, (last_y - y0) // cell + 1):
            run, end = start[band * nx + left], start[band * nx + right + 1]
            if run == end:
                continue
            # Only the edges that cross this band of cells can be crossed by a ray inside it.
            low, high = y0 + band * cell, y0 + (band + 1) * cell
            n_edges = 0
            for ring in range(ring_start[part], ring_start[part + 1]):
                for k in range(point_start[ring], point_start[ring + 1] - 1):
                    ax, ay, bx, by = points[k, 0], points[k, 1], points[k + 1, 0], points[k + 1, 1]
                    if ay > by:
                        ax, ay, bx, by = bx, by, ax, ay
                    if ay < high and by > low and ay != by:
                        edges[n_edges, 0], edges[n_edges, 1] = ax, ay
                        edges[n_edges, 2], edges[n_edges, 3] = bx - ax, by - ay
                        n_edges += 1
            for i in range(run, end):
                if x[i] < first_x or x[i] > last_x or y[i] < first_y or y[i] > last_y:
                    continue
                inside = False
                for k in range(n_edges):
                    up = y[i] - edges[k, 1]
                    if up >= 0 and up < edges[k, 3]:
                        inside ^= (x[i] - edges[k, 0]) * edges[k, 3] < up * edges[k, 2]
                if inside:
                    if n_found == len(found_row):
                        found_row = np.concatenate((found_row, np.empty_like(found_row)))
                        found_bin = np.concatenate((found_bin, np.empty_like(found_bin)))
                    found_row[n_found], found_bin[n_found] = rows[part], bins[i]
                    n_found += 1
    return found_row[:n_found], found_bin[:n_found]


@njit(cache=True, nogil=True)
def _scan(
    ring_start: Int64,
    point_start: Int64,
    points: Int64,
    boxes: Int64,
    x0: float,
    y0: float,
    dx: float,
    dy: float,
    n_rows: int,
    n_cols: int,
) -> tuple[Int64, Int32, Int32]:
    """Return the cells inside each part, by crossings of the line through each row of centres."""
    found_part = np.empty(1024, np.int64)
    found_row = np.empty(1024, np.int32)
    found_col = np.empty(1024, np.int32)
    n_found = 0
    crossings = np.empty(len(points))
    for part in range(len(boxes)):
        first = max(math.ceil((boxes[part, 1] - y0) / dy - 0.5), 0)
        last = min(math.floor((boxes[part, 3] - y0) / dy - 0.5), n_rows - 1)
        for row in range(first, last + 1):
            y = y0 + (row + 0.5) * dy
            n_crossings = 0
            for ring in range(ring_start[part], ring_start[part + 1]):
                for k in range(point_start[ring], point_start[ring + 1] - 1):
                    a, b = (k, k + 1) if points[k, 1] <= points[k + 1, 1] else (k + 1, k)
                    if points[a, 1] <= y and y < points[b, 1]:
                        share = (y - points[a, 1]) / (points[b, 1] - points[a, 1])
                        crossings[n_crossings] = points[a, 0] + share * (points[b, 0] - points[a, 0])
                        n_crossings += 1
            for i in range(1, n_crossings):  # few: insertion sort
                value, j = crossings[i], i
                while j > 0 and crossings[j - 1] > value:
                    crossings[j] = crossings[j - 1]
                    j -= 1
                crossings[j] = value
            for i in range(0, n_crossings - 1, 2):
                left = max(math.ceil((crossings[i] - x0) / dx - 0.5), 0)
                right = min(math.ceil((crossings[i + 1] - x0) / dx - 0.5), n_cols)
                while n_found + max(right - left, 0) > len(found_part):
                    found_part = np.concatenate((found_part, np.empty_like(found_part)))
                    found_row = np.concatenate((found_row, np.empty_like(found_row)))
                    found_col = np.concatenate((found_col, np.empty_like(found_col)))
                for col in range(left, right):
                    found_part[n_found], found_row[n_found], found_col[n_found] = part, row, col
                    n_found += 1
    return found_part[:n_found], found_row[:n_found], found_col[:n_found]
