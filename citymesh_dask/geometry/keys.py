"""Integer keys, such as points of the fixed-point plane: finding equal ones without sorting.

Only their hashing belongs here; what they mean is known by the callers.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..outlines import Int32, Int64


@njit(cache=True, nogil=True)
def hash_point(x: int, y: int) -> np.uint64:
    """Return a well-mixed 64-bit hash of an integer point.

    The mixing steps are those of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators", OOPSLA 2014) on a product hash of the two coordinates.

    Parameters
    ----------
    x, y : int
        Coordinates; any int64.

    Returns
    -------
    uint64
        The same in every process and on every machine.
    """
    value = np.uint64(x) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(y) * np.uint64(0xC2B2AE3D27D4EB4F)
    value ^= value >> np.uint64(29)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(32)
    return value


@njit(cache=True, nogil=True)
def number_rows(keys: Int64) -> tuple[Int32, Int32]:
    """Number equal rows alike, in the order of first appearance.

    Parameters
    ----------
    keys : (n, c) int64
        Keys of one or more columns.

    Returns
    -------
    ids : (n,) int32
        Number of each row among the distinct ones.
    first : (k,) int32
        Where each distinct row appears first: ``keys[first][ids]`` is ``keys``.
    """
    count, columns = keys.shape
    slots = 16
    while slots < 2 * count:
        slots *= 2
    mask = np.uint64(slots - 1)
    table = np.full(slots, -1, np.int32)
    ids = np.empty(count, np.int32)
    first = np.empty(count, np.int32)
    found = 0
    for row in range(count):
        value = np.uint64(columns)
        for column in range(columns):
            value = hash_point(np.int64(value), keys[row, column])
        slot = np.int64(value & mask)
        while True:
            other = table[slot]
            if other < 0:
                table[slot] = found
                first[found] = row
                ids[row] = found
                found += 1
                break
            same = True
            for column in range(columns):
                same = same and keys[first[other], column] == keys[row, column]
            if same:
                ids[row] = other
                break
            slot = (slot + 1) & np.int64(mask)
    return ids, first[:found]
