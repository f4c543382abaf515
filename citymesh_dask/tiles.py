"""The fixed-point plane, the domain and its tiles: pure integers, no files, no meshes.

Two-dimensional coordinates are integers relative to a project origin of whole metres. Footprints
and outlines live on multiples of 2**-10 m (*outline units*), mesh vertices on multiples of 2**-18 m
(*mesh units*), so that differences inside a tile are exact in ``int64`` and in ``float64``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

OUTLINE_UNITS = 2**10
"""Outline units per metre."""
MESH_UNITS = 2**18
"""Mesh units per metre."""
MESH_PER_OUTLINE = MESH_UNITS // OUTLINE_UNITS

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in the units that the name or the docstring says."""


@dataclass(frozen=True)
class Domain:
    """The axis-parallel rectangle that is meshed.

    Parameters
    ----------
    origin : (int, int)
        Project origin, whole metres in the project CRS.
    frame : (int, int, int, int)
        The rectangle, outline units relative to the origin.
    """

    origin: tuple[int, int]
    frame: Box

    @classmethod
    def from_bounds(cls, bounds: tuple[float, float, float, float]) -> Domain:
        """Return the domain with the given bounds (metres), rounded to outline units.

        >>> Domain.from_bounds((84808.5, 447423, 85072, 447650)).frame
        (512, 0, 270336, 232448)
        """
        x0, y0 = math.floor(bounds[0]), math.floor(bounds[1])
        shift = (x0, y0, x0, y0)
        frame = tuple(round((value - offset) * OUTLINE_UNITS) for value, offset in zip(bounds, shift, strict=True))
        return cls((x0, y0), (frame[0], frame[1], frame[2], frame[3]))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Bounds in the project CRS, metres."""
        x, y = self.origin
        x0, y0, x1, y1 = (value / OUTLINE_UNITS for value in self.frame)
        return (x + x0, y + y0, x + x1, y + y1)

    @property
    def mesh_frame(self) -> Box:
        """The rectangle in mesh units relative to the origin."""
        x0, y0, x1, y1 = (value * MESH_PER_OUTLINE for value in self.frame)
        return (x0, y0, x1, y1)

    @property
    def area(self) -> float:
        """Area in square metres."""
        x0, y0, x1, y1 = self.frame
        return (x1 - x0) * (y1 - y0) / OUTLINE_UNITS**2


@dataclass(frozen=True)
class SkippedTile:
    """A tile that the mesh does without.

    Parameters
    ----------
    tile : int
        Its index.
    cause : str
        What went wrong with it.
    traced : bool
        Whether it is computed what exactly is missing; that can go wrong, too.
    """

    tile: int
    cause: str
    traced: bool = True


@dataclass(frozen=True)
class Tiling:
    """Tiles that cover the domain without overlap; a tile's index is its place in the array.

    Parameters
    ----------
    boxes : (n, 4) int64
        x0, y0, x1, y1 of every tile, mesh units relative to the origin; a tile owns what lies in
        ``[x0, x1) x [y0, y1)``. Neighbours stand near one another in the array (Morton order), so
        that siblings of the reduction tree share long borders. A tile that was split has an empty box.
    parents : tuple of int
        The tiles that the last ``len(parents)`` tiles were split from.
    skipped : tuple of SkippedTile
        Tiles that the mesh does without.
    """

    boxes: npt.NDArray[np.int64]
    parents: tuple[int, ...] = ()
    skipped: tuple[SkippedTile, ...] = ()

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def n_positions(self) -> int:
        """Places at the foot of the reduction tree: the tiles there were before any was split."""
        return len(self.boxes) - len(self.parents)

    def position(self, tile: int) -> int:
        """Return the place at the foot of the tree at which a tile stands: that of the tile it comes from."""
        while tile >= self.n_positions:
            tile = self.parents[tile - self.n_positions]
        return tile

    def descendants(self) -> dict[int, tuple[int, ...]]:
        """Return the tiles that stand at a place beside the one that was first there, by place.

        >>> Tiling(np.array([[0, 0, 8, 8], [8, 0, 16, 8]])).split(1).split(4).descendants()
        {1: (2, 3, 4, 5, 6, 7, 8, 9)}
        """
        found: dict[int, tuple[int, ...]] = {}
        for tile in range(self.n_positions, len(self.boxes)):
            place = self.position(tile)
            found[place] = (*found.get(place, ()), tile)
        return found

    def split(self, tile: int) -> Tiling:
        """Return a tiling in which four quarters do the work of a tile: they come last, the tile's own box is empty.

        >>> Tiling(np.array([[0, 0, 8, 6]])).split(0).boxes.tolist()
        [[0, 0, 0, 0], [0, 0, 4, 3], [4, 0, 8, 3], [0, 3, 4, 6], [4, 3, 8, 6]]
        """
        x0, y0, x1, y1 = self.boxes[tile].tolist()
        x, y = (x0 + x1) // 2, (y0 + y1) // 2
        boxes = np.concatenate([self.boxes, [(x0, y0, x, y), (x, y0, x1, y), (x0, y, x, y1), (x, y, x1, y1)]])
        boxes[tile] = (x0, y0, x0, y0)
        return replace(self, boxes=boxes, parents=(*self.parents, *[tile] * 4))

    def skip(self, skipped: SkippedTile) -> Tiling:
        """Return a tiling in which the mesh does without a tile, whatever was said of it before."""
        others = (other for other in self.skipped if other.tile != skipped.tile)
        return replace(self, skipped=tuple(sorted((*others, skipped), key=lambda one: one.tile)))

    @classmethod
    def from_lines(cls, xs: npt.ArrayLike, ys: npt.ArrayLike) -> Tiling:
        """Return the tiles between ascending lines (mesh units), frame included at both ends."""
        x = np.asarray(xs, dtype=np.int64)
        y = np.asarray(ys, dtype=np.int64)
        i, j = (a.ravel() for a in np.meshgrid(np.arange(len(x) - 1), np.arange(len(y) - 1)))
        order = np.argsort(morton_code(i, j), kind="stable")
        i, j = i[order], j[order]
        return cls(np.stack([x[i], y[j], x[i + 1], y[j + 1]], axis=1))


def regular_tiling(domain: Domain, tile_size: float | None) -> Tiling:
    """Return equal tiles of at most ``tile_size`` metres; one tile where it is None."""
    x0, y0, x1, y1 = domain.mesh_frame
    return Tiling.from_lines(_lines(x0, x1, tile_size), _lines(y0, y1, tile_size))


def _lines(start: int, stop: int, tile_size: float | None) -> list[int]:
    step = stop - start if tile_size is None else tile_size * MESH_UNITS
    count = max(1, math.ceil((stop - start) / step - 1e-9))
    return [start + (stop - start) * k // count for k in range(count + 1)]


def morton_code(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return the Z-order of non-negative integer positions below 2**31 (Morton 1966).

    >>> morton_code(np.array([0, 1, 0, 1, 2]), np.array([0, 0, 1, 1, 0])).tolist()
    [0, 1, 2, 3, 4]
    """
    return _spread(x) | (_spread(y) << np.uint64(1))


def _spread(value: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    v = value.astype(np.uint64)
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF),
        (8, 0x00FF00FF00FF00FF),
        (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333),
        (1, 0x5555555555555555),
    ):
        v = (v | (v << np.uint64(shift))) & np.uint64(mask)
    return v
