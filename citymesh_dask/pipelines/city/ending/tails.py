"""The vertices on the boundaries of tiles: what the seams of the tree say of them, read by whoever numbers them."""

from __future__ import annotations

import functools

import numpy as np

from ....engine.tree import tree_levels
from ....geometry.joining.numbering import owned_ranks, owned_tail, owner_tiles, tail_ids, tail_rows
from ....outlines import Bool, Int32, Int64
from ....store.scratch import Scratch
from ....store.trace import unnoticed
from ..job import CityJob
from ..tiles.meshes import seam_name
from .closing import RIM_SEAMS


class TileTails:
    """The tails of tiles: their vertices on boundaries, by the order in the tile.

    Parameters
    ----------
    job : CityJob
        The run.
    keep : bool
        Whether what was read is kept, for a task that asks for few tiles and their neighbours.
    """

    def __init__(self, job: CityJob, *, keep: bool = False) -> None:
        self._job = job
        self._keep = keep
        self._levels = len(tree_levels(job.tiling.n_positions, job.fan_in))
        self._n_tiles = len(job.tiling)
        self._seams: dict[str, tuple[Int32, Int32]] = {}
        self._ranks: dict[int, Int64] = {}

    def rows(self, tile: int) -> Int32:
        """Return the seam rows of a tile from all nodes above it and from the rim; see `tail_rows`."""
        return tail_rows(tile, [self._rows_of(tile, name) for name in (*self._nodes(tile), RIM_SEAMS)])

    def owned(self, tile: int) -> Bool:
        """Return which entries of its tail a tile owns."""
        return owned_tail(tile, self.rows(tile))

    def ids(self, tile: int, *, offsets: Int64, n_interior: Int64) -> Int64:
        """Return the global numbers of a tile's tail; see `tail_ids`."""
        rows = self.rows(tile)
        ranks = {owner: self._ranks_of(owner) for owner in owner_tiles(rows)}
        return tail_ids(rows, offsets=offsets, n_interior=n_interior, ranks=ranks)

    def _ranks_of(self, tile: int) -> Int64:
        found = self._ranks.get(tile)
        if found is None:
            found = owned_ranks(self.owned(tile))
            if self._keep:
                self._ranks[tile] = found
        return found

    def _nodes(self, tile: int) -> list[str]:
        """Return the groups of the seams that the nodes above a tile close; a tile beside the tree has none."""
        if tile >= self._n_tiles:
            return []
        names, node = [], self._job.tiling.position(tile)
        for level in range(1, self._levels + 1):
            node //= self._job.fan_in
            names.append(seam_name(level, node))
        return names

    def _rows_of(self, tile: int, name: str) -> Int32:
        """Return what the seams of a node say of a tile."""
        found = self._seams.get(name)
        if found is None:
            # The digest is part of the key, as another run may use the same folder; asking for it counts as reading.
            found = _cached_seams(self._job.scratch, name, self._job.scratch.digest(name))
            if self._keep:
                self._seams[name] = found
        rows, tiles = found
        return rows[slice(*np.searchsorted(tiles, np.array([tile, tile + 1], tiles.dtype)))]


@functools.lru_cache(maxsize=64)
def _cached_seams(scratch: Scratch, name: str, digest: str) -> tuple[Int32, Int32]:
    """Return the seams of a node and, side by side in memory so that they are quickly looked through, their tiles."""
    del digest
    with unnoticed():
        rows = scratch.read(name, "seams")
    return rows, np.ascontiguousarray(rows[:, 0])
