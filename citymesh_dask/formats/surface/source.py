"""What a surface writer reads from: a mesh that is larger than memory, in pieces.

Only the protocol, the cutting into pieces and the gathering of corners belong here; bytes of a
format do not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

PIECE_ROWS = 1 << 18
"""Rows that are in memory at a time: 2^18 vertices are 6 MB, as many faces with corners 19 MB."""

Advance = Callable[[int], None]
"""Called with the number of rows that have been written since the last call."""


class MeshSource(Protocol):
    """A surface mesh with named parts that can be read in pieces, such as a `CityStore`.

    ``read`` knows ``vertices`` (n, 3) float64 metres, ``faces`` (m, 3) int32 or int64, ``markers`` (m,) int32
    and ``building`` (m,) int32; ``column`` knows the text column ``id`` with one row per building.
    """

    @property
    def attributes(self) -> dict[str, Any]:
        """What is known about the whole mesh."""

    @property
    def n_vertices(self) -> int:
        """Number of vertices."""

    @property
    def n_faces(self) -> int:
        """Number of faces."""

    @property
    def n_buildings(self) -> int:
        """Number of rows of the building table."""

    def read(self, name: str, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Return rows ``start:stop`` of an array."""

    def column(self, name: str, start: int = 0, stop: int | None = None) -> npt.NDArray[Any]:
        """Return rows ``start:stop`` of a column of the building table."""


def read_pieces(source: MeshSource, name: str, rows: int = PIECE_ROWS) -> Iterator[npt.NDArray[Any]]:
    """Iterate over an array of the mesh in pieces of so many rows, in order."""
    total = source.n_vertices if name == "vertices" else source.n_faces
    for start in range(0, total, rows):
        yield source.read(name, start, min(start + rows, total))


def authority_of(source: MeshSource) -> str:
    """Return the authority code of the mesh's CRS, such as EPSG:28992, or ``unknown CRS``."""
    return str((source.attributes.get("crs") or {}).get("authority") or "unknown CRS")


class CornerReader:
    """Coordinates of the corners of faces, read through a bounded cache of vertex blocks.

    The vertices of a tile lie together, so the faces of a piece need few blocks; whatever they need,
    no more than ``keep`` blocks are held.

    Parameters
    ----------
    source : MeshSource
        The mesh.
    keep : int
        Blocks of `PIECE_ROWS` vertices (6 MB each) that are held.
    """

    def __init__(self, source: MeshSource, keep: int = 6) -> None:
        self._source = source
        self._keep = keep
        self._blocks: OrderedDict[int, npt.NDArray[np.float64]] = OrderedDict()

    def corners(self, faces: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the corners of faces.

        Parameters
        ----------
        faces : (m, 3) int32 or int64
            Vertex indices.

        Returns
        -------
        (m, 3, 3) float64
            Face, corner, coordinate in metres.
        """
        flat = faces.ravel()
        blocks = flat // PIECE_ROWS
        present = np.flatnonzero(np.bincount(blocks)) if len(flat) else np.empty(0, np.int64)
        if len(present) == 1:
            inside_block = flat - present[0] * PIECE_ROWS
            corners: npt.NDArray[np.float64] = self._block(int(present[0]))[inside_block].reshape(-1, 3, 3)
            return corners
        out = np.empty((len(flat), 3))
        for number in present.tolist():
            inside = np.flatnonzero(blocks == number)
            out[inside] = self._block(number)[flat[inside] - number * PIECE_ROWS]
        return out.reshape(-1, 3, 3)

    def _block(self, number: int) -> npt.NDArray[np.float64]:
        if number not in self._blocks:
            start = number * PIECE_ROWS
            self._blocks[number] = self._source.read("vertices", start, start + PIECE_ROWS)
            if len(self._blocks) > self._keep:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]


def write_rows(file: IO[bytes], rows: npt.NDArray[Any]) -> None:
    """Write an array as raw bytes in row order, without a copy where it is contiguous."""
    if rows.size:
        file.write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
