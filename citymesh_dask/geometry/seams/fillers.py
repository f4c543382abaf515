"""Filler points of the coarse triangulation: a hexagonal lattice over the whole plane.

A filler is a function of its lattice indices alone, so that every tile sees the same. Only the
lattice and its distance from outlines belong here; the fine lattices that tiles are meshed with are
another matter.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ...outlines import Bool, Int32, Int64
from ...tiles import MESH_UNITS, Box
from ..keys import hash_point
from ..pieces.bisection import coarse_spacing
from ..pieces.segment_grid import squared_distance

_CLEARANCE = 0.55
"""No filler is nearer to an outline than this part of the spacing."""
_JITTER = 0.02
"""Fillers leave their lattice places by up to half this part of the spacing: no ties among them."""
_ROW_HEIGHT = math.sqrt(3.0) / 2.0


def filler_clearance(ground_size: float) -> int:
    """Return the distance that fillers keep from outlines, mesh units, rounded up."""
    return math.ceil(_CLEARANCE * coarse_spacing(ground_size) * MESH_UNITS)


def filler_points(box: Box, *, frame: Box, ground_size: float, points: Int64, ends: Int32) -> Int64:
    """Return the fillers in a box that keep their distance from outlines and from the frame.

    Parameters
    ----------
    box, frame : Box
        Mesh units.
    ground_size : float
        Mesh size on terrain, metres; see `bisection.coarse_spacing`.
    points : (n, 2) int64
        Mesh units.
    ends : (m, 2) int32
        Pieces of outlines; those within `filler_clearance` of the box must be there.

    Returns
    -------
    (k, 2) int64
        Mesh units, row by row from the south.
    """
    clearance = filler_clearance(ground_size)
    x0, y0 = (max(box[axis], frame[axis] + clearance) for axis in range(2))
    x1, y1 = (min(box[axis + 2], frame[axis + 2] - clearance) for axis in range(2))
    if x0 > x1 or y0 > y1:
        return np.empty((0, 2), np.int64)
    place, free = _lay_lattice(x0, y0, x1, y1, coarse_spacing(ground_size) * MESH_UNITS, points, ends)
    fillers: Int64 = place[free]
    return fillers


@njit(cache=True, nogil=True)
def _filler(i: int, j: int, spacing: float) -> tuple[int, int]:
    """Return the position of a filler, mesh units."""
    bits = hash_point(i, j)
    dx = float((bits >> np.uint64(7)) & np.uint64(1023)) / 1023.0 - 0.5
    dy = float((bits >> np.uint64(27)) & np.uint64(1023)) / 1023.0 - 0.5
    x = (i + 0.25 + 0.5 * (j & 1) + _JITTER * dx) * spacing
    y = (j + 0.5 + _JITTER * dy) * (spacing * _ROW_HEIGHT)
    return int(np.rint(x)), int(np.rint(y))


@njit(cache=True, nogil=True)
def _lay_lattice(x0: int, y0: int, x1: int, y1: int, spacing: float, points: Int64, ends: Int32) -> tuple[Int64, Bool]:
    """Return lattice points, row by row, and which of them lie inside the box and away from all pieces."""
    height = spacing * _ROW_HEIGHT
    first_i = int(np.floor(x0 / spacing)) - 2
    first_j = int(np.floor(y0 / height)) - 2
    columns = int(np.ceil(x1 / spacing)) + 2 - first_i
    rows = int(np.ceil(y1 / height)) + 2 - first_j
    place = np.empty((rows, columns, 2), np.int64)
    free = np.empty((rows, columns), np.bool_)
    for row in range(rows):
        for column in range(columns):
            x, y = _filler(first_i + column, first_j + row, spacing)
            place[row, column, 0] = x
            place[row, column, 1] = y
            free[row, column] = x0 <= x <= x1 and y0 <= y <= y1
    clearance = _CLEARANCE * spacing
    limit = clearance * clearance
    for k in range(len(ends)):
        ax = points[ends[k, 0], 0]
        ay = points[ends[k, 0], 1]
        bx = points[ends[k, 1], 0]
        by = points[ends[k, 1], 1]
        # Columns stand 0.25 or 0.75 past their index, rows 0.5, give or take the jitter.
        left = max(int(np.ceil((min(ax, bx) - clearance) / spacing - 0.77)) - first_i, 0)
        right = min(int(np.floor((max(ax, bx) + clearance) / spacing - 0.23)) - first_i, columns - 1)
        bottom = max(int(np.ceil((min(ay, by) - clearance) / height - 0.52)) - first_j, 0)
        top = min(int(np.floor((max(ay, by) + clearance) / height - 0.48)) - first_j, rows - 1)
        for row in range(bottom, top + 1):
            for column in range(left, right + 1):
                if free[row, column]:
                    x = place[row, column, 0]
                    y = place[row, column, 1]
                    free[row, column] = squared_distance(x, y, ax, ay, bx, by) >= limit
    return place, free
