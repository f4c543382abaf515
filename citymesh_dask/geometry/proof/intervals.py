"""Sets of vertex numbers as intervals: small, because what a piece of mesh closes is mostly contiguous."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...outlines import Int64

KEPT_NUMBERS = 1 << 16
"""Most numbers that are written out one by one."""


def to_intervals(numbers: Int64) -> Int64:
    """Return the runs of consecutive numbers.

    Parameters
    ----------
    numbers : (n,) int64
        Ascending.

    Returns
    -------
    (r, 2) int64
        First and past-the-end number of each run.

    Examples
    --------
    >>> to_intervals(np.array([3, 4, 5, 9])).tolist()
    [[3, 6], [9, 10]]
    """
    begins = np.flatnonzero(np.diff(numbers, prepend=-2) != 1)
    ends = np.append(begins[1:], len(numbers))[: len(begins)] - 1
    return np.stack([numbers[begins], numbers[ends] + 1], axis=1).astype(np.int64)


def merge_intervals(parts: Sequence[Int64]) -> tuple[Int64, Int64]:
    """Return the union of intervals and the first numbers that are in more than one of them.

    Parameters
    ----------
    parts : sequence of (r, 2) int64
        Intervals (first, past the end).

    Returns
    -------
    union : (r, 2) int64
        Ascending and apart.
    twice : (k,) int64
        Ascending; at most `KEPT_NUMBERS` of the numbers that appear more than once.

    Examples
    --------
    >>> union, twice = merge_intervals([np.array([[0, 4], [6, 8]]), np.array([[3, 6]])])
    >>> union.tolist(), twice.tolist()
    ([[0, 8]], [3])
    """
    intervals = np.concatenate(parts)
    intervals = intervals[np.argsort(intervals[:, 0], kind="stable")]
    if not len(intervals):
        return intervals, np.empty(0, np.int64)
    reach = np.maximum.accumulate(intervals[:, 1])
    begins = np.flatnonzero(np.append(True, intervals[1:, 0] > reach[:-1]))
    union = np.stack([intervals[begins, 0], reach[np.append(begins[1:], len(intervals)) - 1]], axis=1)
    low, high = intervals[1:, 0], np.minimum(intervals[1:, 1], reach[:-1])
    return union, expand_intervals(np.stack([low, high], axis=1)[low < high])


def expand_intervals(intervals: Int64) -> Int64:
    """Return the numbers in some intervals, ascending, at most `KEPT_NUMBERS` of them.

    >>> expand_intervals(np.array([[5, 7], [1, 2]])).tolist()
    [1, 5, 6]
    """
    numbers: list[Int64] = [np.empty(0, np.int64)]
    room = KEPT_NUMBERS
    for first, stop in intervals[np.argsort(intervals[:, 0])].tolist():
        if room <= 0:
            break
        numbers.append(np.arange(first, min(stop, first + room)))
        room -= stop - first
    return np.unique(np.concatenate(numbers))


def gaps(intervals: Int64, stop: int) -> Int64:
    """Return the intervals of ``0 .. stop - 1`` that are in none of some ascending ones.

    >>> gaps(np.array([[1, 3], [3, 5]]), 7).tolist()
    [[0, 1], [5, 7]]
    """
    low = np.append(0, intervals[:, 1])
    high = np.append(intervals[:, 0], stop)
    return np.stack([low, high], axis=1)[low < high].astype(np.int64)
