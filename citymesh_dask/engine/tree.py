"""Grouping of a tree reduction: pure integers."""

from __future__ import annotations


def tree_levels(n_leaves: int, fan_in: int) -> list[list[range]]:
    """Return, level by level, which children each node of the tree takes.

    Parameters
    ----------
    n_leaves : int
        Number of leaves, at least 1; neighbours must have neighbouring numbers.
    fan_in : int
        Most children of a node, at least 2.

    Returns
    -------
    list of list of range
        ``levels[k][j]`` are the indices of the children of node ``j`` on the level below; the last
        level has one node. One leaf still gets one level with one node, its root.

    >>> tree_levels(5, 2)
    [[range(0, 2), range(2, 4), range(4, 5)], [range(0, 2), range(2, 3)], [range(0, 2)]]
    """
    levels: list[list[range]] = []
    width = n_leaves
    while width > 1 or not levels:
        levels.append([range(start, min(start + fan_in, width)) for start in range(0, width, fan_in)])
        width = len(levels[-1])
    return levels
