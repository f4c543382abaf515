"""Exact tests between points and segments on the integer grid.

Only geometry of two segments, or of a point and a segment, belongs here. Coordinates are int64
outline units; differences below 2**30 units (1,000 km) keep every product exact. Distances are compared
as floats made from exact integers, so they have the same bits wherever and in whatever group they are
computed.
"""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def turn(ax: int, ay: int, bx: int, by: int, cx: int, cy: int) -> int:
    """Return twice the signed area of the triangle a, b, c: positive where it turns to the left.

    Parameters
    ----------
    ax, ay, bx, by, cx, cy : int64
        Corners, outline units.
    """
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)


@njit(cache=True, nogil=True)
def squared_distance(px: int, py: int, ax: int, ay: int, bx: int, by: int) -> float:
    """Return the squared distance from point p to segment ab, outline units squared.

    Parameters
    ----------
    px, py, ax, ay, bx, by : int64
        Point and ends of the segment, outline units.
    """
    dx, dy = bx - ax, by - ay
    along = (px - ax) * dx + (py - ay) * dy
    if along <= 0:
        return float((px - ax) * (px - ax) + (py - ay) * (py - ay))
    length2 = dx * dx + dy * dy
    if along >= length2:
        return float((px - bx) * (px - bx) + (py - by) * (py - by))
    across = float(dx * (py - ay) - dy * (px - ax))
    return across * across / float(length2)


@njit(cache=True, nogil=True)
def cross_properly(ax: int, ay: int, bx: int, by: int, cx: int, cy: int, dx: int, dy: int) -> bool:
    """Return whether segments ab and cd cross in a point that is an end of neither.

    Parameters
    ----------
    ax, ay, bx, by, cx, cy, dx, dy : int64
        Ends of the segments, outline units.
    """
    c, d = turn(ax, ay, bx, by, cx, cy), turn(ax, ay, bx, by, dx, dy)
    if not ((c > 0 and d < 0) or (c < 0 and d > 0)):
        return False
    a, b = turn(cx, cy, dx, dy, ax, ay), turn(cx, cy, dx, dy, bx, by)
    return bool((a > 0 and b < 0) or (a < 0 and b > 0))


@njit(cache=True, nogil=True)
def segments_near(ax: int, ay: int, bx: int, by: int, cx: int, cy: int, dx: int, dy: int, limit2: float) -> bool:
    """Return whether segments ab and cd cross or come within a distance of one another.

    Parameters
    ----------
    ax, ay, bx, by, cx, cy, dx, dy : int64
        Ends of the segments, outline units.
    limit2 : float
        Square of the distance, itself included, outline units squared.
    """
    if squared_distance(ax, ay, cx, cy, dx, dy) <= limit2 or squared_distance(bx, by, cx, cy, dx, dy) <= limit2:
        return True
    if squared_distance(cx, cy, ax, ay, bx, by) <= limit2 or squared_distance(dx, dy, ax, ay, bx, by) <= limit2:
        return True
    return bool(cross_properly(ax, ay, bx, by, cx, cy, dx, dy))


@njit(cache=True, nogil=True)
def precedes(ax: int, ay: int, bx: int, by: int) -> bool:
    """Return whether direction a comes before direction b, counter-clockwise from the x axis.

    Parameters
    ----------
    ax, ay, bx, by : int64
        Directions, not zero.
    """
    lower_a = ay < 0 or (ay == 0 and ax < 0)
    lower_b = by < 0 or (by == 0 and bx < 0)
    if lower_a != lower_b:
        return lower_b
    return ax * by - ay * bx > 0
