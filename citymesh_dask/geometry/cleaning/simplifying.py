"""Areas, order and simplification of polygons before they are cleaned.

Only what looks at one polygon at a time belongs here.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ...outlines import Float64, Int64, Parts
from .predicates import squared_distance


def doubled_areas(parts: Parts) -> Int64:
    """Return twice the exact area of each polygon, (n,) int64, outline units squared."""
    areas: Int64 = _doubled_areas(parts.ring_start, parts.point_start, parts.points)
    return areas


@njit(cache=True, nogil=True)
def _doubled_areas(ring_start: Int64, point_start: Int64, points: Int64) -> Int64:
    n = len(ring_start) - 1
    areas = np.zeros(n, np.int64)
    for part in range(n):
        for ring in range(ring_start[part], ring_start[part + 1]):
            first, total = point_start[ring], 0
            for k in range(first, point_start[ring + 1] - 1):
                ax, ay = points[k, 0] - points[first, 0], points[k, 1] - points[first, 1]
                bx, by = points[k + 1, 0] - points[first, 0], points[k + 1, 1] - points[first, 1]
                total += ax * by - bx * ay
            areas[part] += abs(total) if ring == ring_start[part] else -abs(total)
    return areas


@njit(cache=True, nogil=True)
def simplify_parts(
    ring_start: Int64, point_start: Int64, points: Int64, deviation: Float64, frame: Int64
) -> tuple[Int64, Int64]:
    """Leave out ring points that lie within a distance of the simplified ring (Douglas & Peucker 1973).

    The result depends on the ring alone, neither on its first point nor on its direction: it is anchored
    in the lexicographically smallest point and the one farthest from it, and of equally distant points
    the smallest is kept. Points on the frame always stay.

    Parameters
    ----------
    ring_start, point_start, points : int64
        As in `Parts`.
    deviation : (n,) float64
        Distance for each polygon, outline units.
    frame : (4,) int64
        Frame of the domain, outline units.

    Returns
    -------
    point_start : (r + 1,) int64
    points : (q, 2) int64
        The rings that are left, closed. A ring may come down to two points and its return.
    """
    start = np.zeros(len(point_start), np.int64)
    kept = np.empty((len(points), 2), np.int64)
    keep = np.zeros(len(points), np.bool_)
    stack = np.empty(len(points) + 2, np.int64)
    count = 0
    for part in range(len(ring_start) - 1):
        limit2 = deviation[part] * deviation[part]
        for ring in range(ring_start[part], ring_start[part + 1]):
            first, last = point_start[ring], point_start[ring + 1] - 1
            anchor = _mark_ring(points, first, last, limit2, frame, keep, stack)
            if last > first:
                for k in range(first, last):
                    if keep[first + (k - first + anchor - first) % (last - first)]:
                        source = first + (k - first + anchor - first) % (last - first)
                        kept[count, 0], kept[count, 1] = points[source, 0], points[source, 1]
                        count += 1
                kept[count, 0], kept[count, 1] = points[anchor, 0], points[anchor, 1]
                count += 1
            start[ring + 1] = count
    return start, kept[:count].copy()


@njit(cache=True, nogil=True)
def _mark_ring(points: Int64, first: int, last: int, limit2: float, frame: Int64, keep: Int64, stack: Int64) -> int:
    """Mark the points of one ring that stay and return the anchor; ring points are first .. last - 1."""
    n = last - first
    anchor = first
    for k in range(first, last):
        keep[k] = (
            points[k, 0] == frame[0] or points[k, 1] == frame[1] or points[k, 0] == frame[2] or points[k, 1] == frame[3]
        )
        if _is_smaller(points, k, anchor):
            anchor = k
    if n <= 3:
        for k in range(first, last):
            keep[k] = True
        return anchor
    far, best = anchor, -1
    for k in range(first, last):
        dx, dy = points[k, 0] - points[anchor, 0], points[k, 1] - points[anchor, 1]
        apart = dx * dx + dy * dy
        if apart > best or (apart == best and _is_smaller(points, k, far)):
            far, best = k, apart
    keep[anchor] = keep[far] = True
    # Offsets from the anchor, modulo n; chains between points that are kept already.
    offset = anchor - first
    low: np.int64 | int = np.int64(0)  # typed: numba would compile `_mark_chain` for a literal as well
    for high in range(1, n + 1):
        if keep[first + (high + offset) % n]:
            if high > low + 1:
                _mark_chain(points, first, offset, n, low, high, limit2, keep, stack)
            low = high
    return anchor


@njit(cache=True, nogil=True)
def _mark_chain(
    points: Int64, first: int, offset: int, n: int, low: int, high: int, limit2: float, keep: Int64, stack: Int64
) -> None:
    depth = 1
    stack[0] = high
    while depth > 0:
        high = stack[depth - 1]
        a, b = first + (low + offset) % n, first + (high + offset) % n
        ax, ay, bx, by = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
        worst, where = limit2, -1
        for k in range(low + 1, high):
            p = first + (k + offset) % n
            apart = squared_distance(points[p, 0], points[p, 1], ax, ay, bx, by)
            if apart > worst or (
                where >= 0 and apart == worst and _is_smaller(points, p, first + (where + offset) % n)
            ):
                worst, where = apart, k
        if where >= 0:
            keep[first + (where + offset) % n] = True
            stack[depth] = where
            depth += 1
        else:
            low = high
            depth -= 1


@njit(cache=True, nogil=True)
def _is_smaller(points: Int64, a: int, b: int) -> bool:
    if points[a, 0] != points[b, 0]:
        return bool(points[a, 0] < points[b, 0])
    return bool(points[a, 1] < points[b, 1])
