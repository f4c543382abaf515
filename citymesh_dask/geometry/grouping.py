"""Groups of things that pairs connect: a disjoint-set forest (Tarjan, JACM 1975) that keeps the smallest as root."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..outlines import Int64


def group_labels(n: int, pairs: Int64) -> Int64:
    """Return for each of ``n`` items the smallest item that pairs connect it with, (n,) int64."""
    labels: Int64 = _group(n, pairs)
    return labels


@njit(cache=True, nogil=True)
def _group(n: int, pairs: Int64) -> Int64:
    parent = np.arange(n)
    for k in range(len(pairs)):
        join(parent, pairs[k, 0], pairs[k, 1])
    for i in range(n):
        parent[i] = find_root(parent, i)
    return parent


@njit(cache=True, nogil=True)
def find_root(parent: Int64, item: int) -> int:
    """Return the representative of an item of a disjoint-set forest, halving the path to it."""
    while parent[item] != item:
        parent[item] = parent[parent[item]]
        item = parent[item]
    return item


@njit(cache=True, nogil=True)
def join(parent: Int64, a: int, b: int) -> None:
    """Join two sets; the smaller root becomes the root of both."""
    a, b = find_root(parent, a), find_root(parent, b)
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b
