"""From seams to global vertex numbers: pure arithmetic on small arrays.

A tile's vertices get consecutive numbers: first its interior ones, then those tail entries that it
owns. A tail entry that another tile owns has that tile's number. Who owns what is decided where
boundaries are added (``boundary``); here owners become numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import CheckError
from ...outlines import Bool, Int32, Int64


def tail_rows(tile: int, seams: Sequence[Int32]) -> Int32:
    """Gather the seam rows of one tile from the nodes of the tree above it.

    Parameters
    ----------
    tile : int
        Index of the tile.
    seams : sequence of (s, 4) int32
        Seam rows (tile, index, owner tile, owner index) of the tile's ancestors, the root's
        included, each ascending.

    Returns
    -------
    (n_tail, 4) int32
        One row per tail entry: row ``k`` is about index ``k``.

    Raises
    ------
    CheckError
        If a tail entry is missing or appears twice: then some node of the tree was not given.
    """
    parts = [rows[slice(*np.searchsorted(rows[:, 0], (tile, tile + 1)))] for rows in seams]
    rows = np.concatenate([np.empty((0, 4), np.int32), *parts])
    rows = rows[np.argsort(rows[:, 1], kind="stable")]
    if not np.array_equal(rows[:, 1], np.arange(len(rows))):
        raise CheckError(f"tile {tile}", "its seam rows do not name each tail entry once", "rows of all ancestors")
    return rows


def owned_tail(tile: int, rows: Int32) -> Bool:
    """Return which tail entries a tile owns.

    Parameters
    ----------
    tile : int
        Index of the tile.
    rows : (n_tail, 4) int32
        From `tail_rows`.

    Returns
    -------
    (n_tail,) bool

    Examples
    --------
    >>> owned_tail(1, np.array([[1, 0, 0, 7], [1, 1, 1, 1]], dtype=np.int32)).tolist()
    [False, True]
    """
    owned: Bool = (rows[:, 2] == tile) & (rows[:, 3] == rows[:, 1])
    return owned


def owned_ranks(owned: Bool) -> Int64:
    """Return the place of each owned tail entry among the owned ones of its tile.

    Parameters
    ----------
    owned : (n_tail,) bool
        From `owned_tail`.

    Returns
    -------
    (n_tail,) int64
        -1 where the entry is not owned.

    Examples
    --------
    >>> owned_ranks(np.array([True, False, True])).tolist()
    [0, -1, 1]
    """
    return np.where(owned, np.cumsum(owned) - 1, -1)


def vertex_offsets(n_interior: Int64, n_owned: Int64) -> Int64:
    """Return the first global vertex number of each tile, and the number of all vertices.

    Parameters
    ----------
    n_interior, n_owned : (t,) int64
        Interior vertices and owned tail entries of each tile.

    Returns
    -------
    (t + 1,) int64
        Tile ``t`` has the numbers ``offsets[t]`` to ``offsets[t + 1] - 1``.

    Examples
    --------
    >>> vertex_offsets(np.array([5, 3]), np.array([2, 0])).tolist()
    [0, 7, 10]
    """
    return np.concatenate([[0], np.cumsum(n_interior.astype(np.int64) + n_owned)])


def tail_ids(rows: Int32, *, offsets: Int64, n_interior: Int64, ranks: Mapping[int, Int64]) -> Int64:
    """Return the global vertex number of each tail entry of a tile.

    Parameters
    ----------
    rows : (n_tail, 4) int32
        From `tail_rows`.
    offsets : (t + 1,) int64
        From `vertex_offsets`.
    n_interior : (t,) int64
        Interior vertices of each tile.
    ranks : mapping of int to (k,) int64
        `owned_ranks` of every tile in the column owner tile of ``rows``; `owner_tiles` names them.

    Returns
    -------
    (n_tail,) int64
        Interior vertex ``v`` of tile ``t`` has the number ``offsets[t] + v``.

    Raises
    ------
    CheckError
        If an owner does not own what it is said to own.
    """
    owners, place = rows[:, 2], np.empty(len(rows), np.int64)
    for owner in owner_tiles(rows):
        mine = owners == owner
        place[mine] = ranks[owner][rows[mine, 3]]
    if (place < 0).any():
        raise CheckError(f"tile {int(owners[place < 0][0])}", "it does not own a vertex that its neighbour gave it")
    ids: Int64 = offsets[owners] + n_interior[owners] + place
    return ids


def owner_tiles(rows: Int32) -> list[int]:
    """Return the tiles that own some tail entry of a tile, ascending."""
    owners: list[int] = np.unique(rows[:, 2]).tolist()
    return owners
