"""Points and triangles of the global hexagonal lattices, far from every constraint.

Here the inside of regions is filled without asking a triangulation: lattice points are labelled by
scanlines over the constraints, those near a constraint are stamped out, and where all points of a
neighbourhood are left their equilateral triangles are emitted as they are. What lies between them
and the constraints is left to the band (`band`). Nothing here knows heights or files.

Point ``(row j, column i)`` of the lattice of spacing ``h`` stands at ``x = (i + 1/4 + p/2) h``,
``y = (j + 1/2) h sqrt(3)/2`` metres from the project origin, ``p = j mod 2``, rounded to mesh
units, so every tile sees the same points. Its neighbours are ``i - 1`` and ``i + 1`` in its own
row and ``i + p - 1`` and ``i + p`` in the rows above and below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ...outlines import Float64, Int32
from ...tiles import MESH_UNITS

UInt8 = npt.NDArray[np.uint8]

UNOWNED = -9
"""Label of what this tile does not mesh."""
FILLED = -8
"""Label, inside the band, of what lattice triangles cover already; labels up to it are not band."""

ANY_LABEL = 0
GROUND_ONLY = 1
BUILDINGS_ONLY = 2

_CLEARANCE = 0.6
"""Lattice points nearer than this many spacings to a constraint are dropped. It must be above
1 / sqrt(3), so that no constraint can hide inside a lattice triangle, and above 1 / 2, so that none
can pass between two neighbours."""


@dataclass(frozen=True)
class LatticeFill:
    """What a lattice contributes to a tile's mesh.

    Parameters
    ----------
    points : (n, 2) float64
        Metres relative to the tile's origin, multiples of 2**-18.
    labels : (n,) int32
        Region of each point.
    in_band : (n,) bool
        True where the point takes part in the band.
    triangles : (z, 3) int32
        Lattice triangles, counter-clockwise, indices into ``points``.
    triangle_labels : (z,) int32
        Their regions.
    rim : (e, 2) int32
        Directed outer edges of the lattice triangles, which lie on the left.
    rim_labels : (e,) int32
        Region at each of them.
    """

    points: Float64
    labels: Int32
    in_band: npt.NDArray[np.bool_]
    triangles: Int32
    triangle_labels: Int32
    rim: Int32
    rim_labels: Int32


@dataclass(frozen=True)
class _Grid:
    """The window of a lattice that covers a tile, with two rows and columns to spare."""

    spacing: float
    parity: int
    x: Float64
    y: Float64


def fill_lattice(
    starts: Float64,
    stops: Float64,
    sides: Int32,
    *,
    spacing: float,
    origin: tuple[int, int],
    only: int = ANY_LABEL,
) -> LatticeFill:
    """Fill regions with lattice points and triangles.

    Parameters
    ----------
    starts, stops : (m, 2) float64
        Ends of the directed constraints, metres relative to ``origin``.
    sides : (m, 2) int32
        Labels on the left and on the right; `UNOWNED` where nothing is to be filled.
    spacing : float
        Lattice spacing, metres.
    origin : (int, int)
        The tile's origin, mesh units relative to the project origin.
    only : int
        `ANY_LABEL`, `GROUND_ONLY` (negative labels) or `BUILDINGS_ONLY`.

    Returns
    -------
    LatticeFill
        Lattice points at least 0.6 spacings from every constraint, and the triangles between those
        of them whose six neighbours are left too.
    """
    grid = _window(starts, stops, spacing=spacing, origin=origin)
    labels = _scan_labels(starts, stops, sides, grid.x, grid.y, grid.parity, only)
    _stamp_out(starts, stops, labels, grid.x, grid.y, grid.parity, _CLEARANCE * spacing)
    depth = (labels != UNOWNED).view(np.uint8)
    _deepen(depth, grid.parity, 1)
    _deepen(depth, grid.parity, 2)
    points, point_labels, in_band, ids = _number_points(labels, depth, grid.x, grid.y, grid.parity)
    return LatticeFill(points, point_labels, in_band, *_emit_triangles(labels, depth, ids, grid.parity))


def _window(starts: Float64, stops: Float64, *, spacing: float, origin: tuple[int, int]) -> _Grid:
    """Return the lattice's rows and columns around the constraints, in whole mesh units."""
    # Column by column: numpy is slow along the long axis of a narrow array.
    low = [min(starts[:, k].min(), stops[:, k].min()) + origin[k] / MESH_UNITS for k in (0, 1)]
    high = [max(starts[:, k].max(), stops[:, k].max()) + origin[k] / MESH_UNITS for k in (0, 1)]
    step = spacing * math.sqrt(3.0) / 2
    rows = np.arange(math.floor(low[1] / step) - 2, math.ceil(high[1] / step) + 3)
    columns = np.arange(math.floor(low[0] / spacing) - 2, math.ceil(high[0] / spacing) + 3)
    x = np.rint((columns + np.array([[0.25], [0.75]])) * (spacing * MESH_UNITS)) - origin[0]
    y = np.rint((rows + 0.5) * (step * MESH_UNITS)) - origin[1]
    return _Grid(spacing, int(rows[0]) & 1, x / MESH_UNITS, y / MESH_UNITS)


@njit(cache=True, nogil=True)
def _scan_labels(
    starts: Float64, stops: Float64, sides: Int32, x: Float64, y: Float64, parity: int, only: int
) -> Int32:
    """Return the label of every lattice point, `UNOWNED` where none is wanted (scanline filling).

    Two crossings of a row delimit a run only where they agree on the label between them; where they
    do not the run is left to the band, which needs no guess.
    """
    rows, columns = len(y), x.shape[1]
    labels = np.full((rows, columns), UNOWNED, np.int32)
    base, step, spacing = y[0], (y[rows - 1] - y[0]) / (rows - 1), (x[0, columns - 1] - x[0, 0]) / (columns - 1)
    # No vertex lies exactly on a scanline shifted by half a unit: crossings never tie at a vertex.
    shift = 0.5 / MESH_UNITS
    begin = np.zeros(rows + 1, np.int64)
    for k in range(len(starts)):
        low, high = min(starts[k, 1], stops[k, 1]), max(starts[k, 1], stops[k, 1])
        for j in range(max(int((low - base) / step) - 1, 0), min(int((high - base) / step) + 2, rows)):
            if (starts[k, 1] <= y[j] + shift) != (stops[k, 1] <= y[j] + shift):
                begin[j + 1] += 1
    for j in range(rows):
        begin[j + 1] += begin[j]
    place = np.empty(begin[rows])
    before = np.empty(begin[rows], np.int32)
    after = np.empty(begin[rows], np.int32)
    fill = begin[:-1].copy()
    for k in range(len(starts)):
        low, high = min(starts[k, 1], stops[k, 1]), max(starts[k, 1], stops[k, 1])
        for j in range(max(int((low - base) / step) - 1, 0), min(int((high - base) / step) + 2, rows)):
            line = y[j] + shift
            if (starts[k, 1] <= line) != (stops[k, 1] <= line):
                slope = (stops[k, 0] - starts[k, 0]) / (stops[k, 1] - starts[k, 1])
                upward = 1 if stops[k, 1] > starts[k, 1] else 0
                at = starts[k, 0] + (line - starts[k, 1]) * slope
                # Insertion into the row's crossings so far.
                q = fill[j]
                while q > begin[j] and place[q - 1] > at:
                    place[q], before[q], after[q] = place[q - 1], before[q - 1], after[q - 1]
                    q -= 1
                place[q], before[q], after[q] = at, sides[k, 1 - upward], sides[k, upward]
                fill[j] += 1
    for j in range(rows):
        left = x[(parity + j) & 1, 0]
        for q in range(begin[j], begin[j + 1] - 1):
            label = after[q]
            if label != before[q + 1] or label == UNOWNED:
                continue
            if (only == GROUND_ONLY and label >= 0) or (only == BUILDINGS_ONLY and label < 0):
                continue
            first = max(math.ceil((place[q] - left) / spacing), 0)
            last = min(math.floor((place[q + 1] - left) / spacing), columns - 1)
            for i in range(first, last + 1):
                labels[j, i] = label
    return labels


@njit(cache=True, nogil=True)
def _stamp_out(
    starts: Float64, stops: Float64, labels: Int32, x: Float64, y: Float64, parity: int, radius: float
) -> None:
    """Drop the lattice points nearer than the radius to a constraint."""
    rows, columns = labels.shape
    base, step, spacing = y[0], (y[rows - 1] - y[0]) / (rows - 1), (x[0, columns - 1] - x[0, 0]) / (columns - 1)
    for k in range(len(starts)):
        ax, ay = starts[k, 0], starts[k, 1]
        dx, dy = stops[k, 0] - ax, stops[k, 1] - ay
        length2 = dx * dx + dy * dy
        low_x, high_x = min(ax, ax + dx) - radius, max(ax, ax + dx) + radius
        low_y, high_y = min(ay, ay + dy) - radius, max(ay, ay + dy) + radius
        for j in range(max(int((low_y - base) / step), 0), min(int((high_y - base) / step) + 2, rows)):
            side = (parity + j) & 1
            left = x[side, 0]
            py = y[j] - ay
            for i in range(max(int((low_x - left) / spacing), 0), min(int((high_x - left) / spacing) + 2, columns)):
                if labels[j, i] == UNOWNED:
                    continue
                px = x[side, i] - ax
                along = min(max((px * dx + py * dy) / length2, 0.0), 1.0)
                ex, ey = px - along * dx, py - along * dy
                if ex * ex + ey * ey < radius * radius:
                    labels[j, i] = UNOWNED


@njit(cache=True, nogil=True)
def _deepen(depth: UInt8, parity: int, level: int) -> None:
    """Raise to ``level + 1`` the points that, with their six neighbours, have at least ``level``."""
    rows, columns = depth.shape
    for j in range(1, rows - 1):
        p = (parity + j) & 1
        for i in range(1, columns - 1):
            if (
                depth[j, i] >= level
                and depth[j, i - 1] >= level
                and depth[j, i + 1] >= level
                and depth[j - 1, i + p - 1] >= level
                and depth[j - 1, i + p] >= level
                and depth[j + 1, i + p - 1] >= level
                and depth[j + 1, i + p] >= level
            ):
                depth[j, i] = level + 1


@njit(cache=True, nogil=True)
def _number_points(
    labels: Int32, depth: UInt8, x: Float64, y: Float64, parity: int
) -> tuple[Float64, Int32, npt.NDArray[np.bool_], Int32]:
    """Return the kept points row by row, their labels, whether the band needs them, and their grid of ids."""
    rows, columns = labels.shape
    count = 0
    for j in range(rows):
        for i in range(columns):
            count += depth[j, i] > 0
    ids = np.empty((rows, columns), np.int32)
    points = np.empty((count, 2))
    point_labels = np.empty(count, np.int32)
    in_band = np.empty(count, np.bool_)
    k = 0
    for j in range(rows):
        side = (parity + j) & 1
        for i in range(columns):
            if depth[j, i] > 0:
                points[k, 0], points[k, 1] = x[side, i], y[j]
                point_labels[k] = labels[j, i]
                in_band[k] = depth[j, i] < 3
                ids[j, i] = k
                k += 1
    return points, point_labels, in_band, ids


@njit(cache=True, nogil=True)
def _emit_triangles(labels: Int32, depth: UInt8, ids: Int32, parity: int) -> tuple[Int32, Int32, Int32, Int32]:
    """Return the triangles between points of depth 2, their labels, outer edges and the labels of those.

    Point (j, i) carries the upward triangle to (j, i + 1), (j + 1, i + p) and the downward one that
    stands on it, to (j + 1, i + p), (j + 1, i + p - 1). Each neighbour over an edge exists when its
    one further point is deep enough.
    """
    rows, columns = labels.shape
    count = 0
    edges = 0
    for j in range(1, rows - 2):
        p = (parity + j) & 1
        for i in range(1, columns - 1):
            if depth[j, i] < 2 or depth[j + 1, i + p] < 2:
                continue
            if depth[j, i + 1] > 1:
                count += 1
                edges += (depth[j - 1, i + p] < 2) + (depth[j + 1, i + p + 1] < 2) + (depth[j + 1, i + p - 1] < 2)
            if depth[j + 1, i + p - 1] > 1:
                count += 1
                edges += (depth[j, i + 1] < 2) + (depth[j + 2, i] < 2) + (depth[j, i - 1] < 2)
    triangles = np.empty((count, 3), np.int32)
    triangle_labels = np.empty(count, np.int32)
    rim = np.empty((edges, 2), np.int32)
    rim_labels = np.empty(edges, np.int32)
    missing = np.empty(3, np.bool_)
    t = 0
    e = 0
    for j in range(1, rows - 2):
        p = (parity + j) & 1
        for i in range(1, columns - 1):
            if depth[j, i] < 2 or depth[j + 1, i + p] < 2:
                continue
            for upward in range(2):
                if upward == 1:
                    if depth[j, i + 1] < 2:
                        continue
                    corners = (ids[j, i], ids[j, i + 1], ids[j + 1, i + p])
                    missing[0] = depth[j - 1, i + p] < 2
                    missing[1] = depth[j + 1, i + p + 1] < 2
                    missing[2] = depth[j + 1, i + p - 1] < 2
                else:
                    if depth[j + 1, i + p - 1] < 2:
                        continue
                    corners = (ids[j, i], ids[j + 1, i + p], ids[j + 1, i + p - 1])
                    missing[0] = depth[j, i + 1] < 2
                    missing[1] = depth[j + 2, i] < 2
                    missing[2] = depth[j, i - 1] < 2
                triangle_labels[t] = labels[j, i]
                for c in range(3):
                    triangles[t, c] = corners[c]
                    if missing[c]:
                        rim[e, 0], rim[e, 1] = corners[c], corners[(c + 1) % 3]
                        rim_labels[e] = labels[j, i]
                        e += 1
                t += 1
    return triangles, triangle_labels, rim, rim_labels
