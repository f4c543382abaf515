"""Connected sets of numbered nodes. Union-find only; what the nodes are, callers know."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..outlines import Int64


@njit(cache=True, nogil=True)
def joined(count: int, pairs: Int64) -> Int64:
    """Return the smallest member of each node's set.

    Union by smallest root with path halving (Tarjan and van Leeuwen, "Worst-case analysis of set
    union algorithms", Journal of the ACM 31, 1984).

    Parameters
    ----------
    count : int
        Number of nodes.
    pairs : (k, 2) int64
        Nodes that belong together, in any order.

    Returns
    -------
    (count,) int64
        Does not depend on the order of the pairs.
    """
    parent = np.arange(count)
    for k in range(len(pairs)):
        a = pairs[k, 0]
        b = pairs[k, 1]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a < b:
            parent[b] = a
        else:
            parent[a] = b
    for node in range(count):
        parent[node] = parent[parent[node]]
    return parent
