"""A uniform grid over segments that answers "is anything else near this point?".

Only the search structure belongs here; what counts as near, and why one asks, is the callers'
matter. The answer never depends on the grid: every candidate is tested by the same arithmetic on
exact coordinate differences, so that any two grids that hold the segments within reach agree.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from ...outlines import Int32, Int64
from ...tiles import Box

_CELLS_PER_SEGMENT = 2


class SegmentGrid(NamedTuple):
    """Segments sorted into the square cells that they pass through.

    Parameters
    ----------
    segments : (n, 4) int64
        x, y of the lexicographically smaller end, then of the other.
    x, y : int
        Lower left corner of the grid.
    cell : int
        Edge of a cell, in the unit of the coordinates.
    columns, rows : int
        Number of cells.
    start : (columns * rows + 1,) int32
        Where the members of each cell begin in ``members``; cells run row by row.
    members : (k,) int32
        Indices of segments.
    """

    segments: Int64
    x: int
    y: int
    cell: int
    columns: int
    rows: int
    start: Int32
    members: Int32


def segment_grid(segments: Int64, box: Box) -> SegmentGrid:
    """Return a grid with about two cells per segment.

    Parameters
    ----------
    segments : (n, 4) int64
        x, y of one end and of the other, in any order.
    box : Box
        What the grid covers, in the unit of the coordinates; segments are found inside it only.

    Returns
    -------
    SegmentGrid
        Holds a copy in which every segment begins at its lexicographically smaller end.
    """
    ordered = _smaller_end_first(segments)
    width, height = max(box[2] - box[0], 0) + 1, max(box[3] - box[1], 0) + 1
    wanted = _CELLS_PER_SEGMENT * len(ordered) + 1
    # A row of houses has hardly any area: the second bound keeps its cells from growing too small.
    cell = int(max(math.sqrt(width * height / wanted), max(width, height) / wanted)) + 1
    columns, rows = (width - 1) // cell + 1, (height - 1) // cell + 1
    start, members = _sort_into_cells(ordered, box[0], box[1], cell, columns, rows)
    return SegmentGrid(ordered, box[0], box[1], cell, columns, rows, start, members)


def _smaller_end_first(segments: Int64) -> Int64:
    ordered = np.ascontiguousarray(segments, dtype=np.int64).reshape(-1, 4).copy()
    swap = (ordered[:, 0] > ordered[:, 2]) | ((ordered[:, 0] == ordered[:, 2]) & (ordered[:, 1] > ordered[:, 3]))
    ordered[swap] = ordered[swap][:, [2, 3, 0, 1]]
    return ordered


@njit(cache=True, nogil=True)
def _sort_into_cells(segments: Int64, x0: int, y0: int, cell: int, columns: int, rows: int) -> tuple[Int32, Int32]:
    """Count, then fill (a counting sort): the cells that each segment passes through."""
    start = np.zeros(columns * rows + 1, np.int32)
    members = np.empty(0, np.int32)
    for filling in range(2):
        for k in range(len(segments)):
            ax = segments[k, 0] - x0
            ay = segments[k, 1] - y0
            bx = segments[k, 2] - x0
            by = segments[k, 3] - y0
            first = ax // cell
            last = bx // cell
            slope = float(by - ay) / float(max(bx - ax, 1))
            for column in range(max(first, 0), min(last, columns - 1) + 1):
                # Heights where the segment enters and leaves the column; one unit of slack covers rounding.
                low = float(ay)
                high = float(by)
                if column > first:
                    low = ay + slope * (column * cell - ax)
                if column < last:
                    high = ay + slope * ((column + 1) * cell - ax)
                if low > high:
                    low, high = high, low
                bottom = max(int((low - 1.0) // cell), 0)
                top = min(int((high + 1.0) // cell), rows - 1)
                for row in range(bottom, top + 1):
                    slot = row * columns + column
                    if filling == 0:
                        start[slot + 1] += 1
                    else:
                        start[slot] -= 1
                        members[start[slot]] = k
        if filling == 0:
            for slot in range(columns * rows):
                start[slot + 1] += start[slot]
            members = np.empty(start[columns * rows], np.int32)
            # Filling counts each cell down from its end to its beginning.
            for slot in range(columns * rows):
                start[slot] = start[slot + 1]
    return start, members


@njit(cache=True, nogil=True)
def squared_distance(x: int, y: int, ax: int, ay: int, bx: int, by: int) -> float:
    """Return the squared distance of a point from a segment, from exact differences.

    Parameters
    ----------
    x, y : int
        The point.
    ax, ay, bx, by : int
        Ends of the segment; the last bits of the result depend on their order.

    Returns
    -------
    float
        Square of the unit of the coordinates.
    """
    dx = float(bx - ax)
    dy = float(by - ay)
    px = float(x - ax)
    py = float(y - ay)
    square = dx * dx + dy * dy
    if square > 0.0:
        t = (px * dx + py * dy) / square
        t = min(max(t, 0.0), 1.0)
        px -= t * dx
        py -= t * dy
    return px * px + py * py


@njit(cache=True, nogil=True)
def _touches(segments: Int64, k: int, x: int, y: int) -> bool:
    """Tell whether a point is an end of a segment, or lies on it where it is parallel to an axis."""
    ax = segments[k, 0]
    ay = segments[k, 1]
    bx = segments[k, 2]
    by = segments[k, 3]
    if (x == ax and y == ay) or (x == bx and y == by):
        return True
    if ax == bx:
        return bool(x == ax and min(ay, by) <= y <= max(ay, by))
    if ay == by:
        return bool(y == ay and ax <= x <= bx)
    return False


@njit(cache=True, nogil=True)
def any_near(grid: SegmentGrid, x: int, y: int, radius: float, ends: Int64) -> bool:
    """Tell whether a segment foreign to an edge comes nearer to a point than a radius.

    Parameters
    ----------
    grid : SegmentGrid
        All segments that may be near.
    x, y : int
        The point.
    radius : float
        In the unit of the coordinates.
    ends : (4,) int64
        x, y of both ends of the edge that asks. Segments that pass through one of them are not
        foreign: the edge itself, those that meet it in a vertex, and the side of the frame that
        it stands on.

    Returns
    -------
    bool
        True as soon as one is found.
    """
    limit = radius * radius
    reach = int(radius) + 1
    left = max((x - reach - grid.x) // grid.cell, 0)
    right = min((x + reach - grid.x) // grid.cell, grid.columns - 1)
    bottom = max((y - reach - grid.y) // grid.cell, 0)
    top = min((y + reach - grid.y) // grid.cell, grid.rows - 1)
    segments = grid.segments
    for row in range(bottom, top + 1):
        for slot in range(row * grid.columns + left, row * grid.columns + right + 1):
            for place in range(grid.start[slot], grid.start[slot + 1]):
                k = grid.members[place]
                distance = squared_distance(x, y, segments[k, 0], segments[k, 1], segments[k, 2], segments[k, 3])
                if distance >= limit:
                    continue
                if not _touches(segments, k, ends[0], ends[1]) and not _touches(segments, k, ends[2], ends[3]):
                    return True
    return False
