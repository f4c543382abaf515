"""Sorting, searching, growing and joining of integer arrays inside kernels.

Nothing here knows geometry, except that a position packs into one int64 key.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ...outlines import Int64

KEY_SHIFT = 1 << 32
"""A position's key is ``x * KEY_SHIFT + y``: ascending keys are ascending (x, y)."""
_RUN = 24


@njit(cache=True, nogil=True)
def sort_order(keys: Int64, n: int) -> Int64:
    """Return the stable ascending order of the first ``n`` keys (merge sort of short sorted runs).

    An own sort because most arrays here have less than 50 entries, where it is several times
    faster than ``np.argsort``, and because it compiles in a fraction of the time.

    Parameters
    ----------
    keys : (>= n,) int64
        The keys.
    n : int
        How many of them to sort.
    """
    order = np.empty(n, np.int64)
    for i in range(n):
        order[i] = i
    for low in range(0, n, _RUN):
        for i in range(low + 1, min(low + _RUN, n)):
            item = order[i]
            key = keys[item]
            j = i - 1
            while j >= low and keys[order[j]] > key:
                order[j + 1] = order[j]
                j -= 1
            order[j + 1] = item
    if n <= _RUN:
        return order
    spare = np.empty(n, np.int64)
    width = _RUN
    while width < n:
        for low in range(0, n, 2 * width):
            middle, high = min(low + width, n), min(low + 2 * width, n)
            i, j = low, middle
            for k in range(low, high):
                if i < middle and (j >= high or keys[order[i]] <= keys[order[j]]):
                    spare[k] = order[i]
                    i += 1
                else:
                    spare[k] = order[j]
                    j += 1
        order, spare = spare, order
        width *= 2
    return order


@njit(cache=True, nogil=True)
def lower_bound(values: Int64, value: int) -> int:
    """Return the first index whose value is not below ``value`` (values ascending)."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def grown(array: Int64, room: int) -> Int64:
    """Return the array itself if it holds ``room`` entries, else a copy at least twice as long."""
    if room <= len(array):
        return array
    longer = np.empty(max(2 * len(array), room), np.int64)
    for k in range(len(array)):  # a slice assignment takes numba two seconds longer to compile
        longer[k] = array[k]
    return longer


@njit(cache=True, nogil=True)
def bucket_intervals(low: Int64, high: Int64, n_rows: int) -> tuple[int, int, Int64, Int64]:
    """Sort intervals into rows of equal height, each interval into every row that it meets.

    Parameters
    ----------
    low, high : (n,) int64
        Ends of the intervals, ``n > 0``.
    n_rows : int
        Wanted number of rows.

    Returns
    -------
    base, height : int
        Row ``r`` reaches from ``base + r * height`` to ``base + (r + 1) * height``.
    start : (rows + 1,) int64
        Where the members of each row begin.
    members : int64
        Intervals of each row, ascending.
    """
    base, top = low[0], high[0]
    for i in range(len(low)):
        base, top = min(base, low[i]), max(top, high[i])
    height = (top - base) // n_rows + 1
    rows = (top - base) // height + 1
    start = np.zeros(rows + 1, np.int64)
    for i in range(len(low)):
        for row in range((low[i] - base) // height, (high[i] - base) // height + 1):
            start[row + 1] += 1
    for row in range(rows):
        start[row + 1] += start[row]
    members = np.empty(start[rows], np.int64)
    fill = start[:rows].copy()
    for i in range(len(low)):
        for row in range((low[i] - base) // height, (high[i] - base) // height + 1):
            members[fill[row]] = i
            fill[row] += 1
    return base, height, start, members
