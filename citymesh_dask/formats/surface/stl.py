"""Stereolithography files (``.stl``), binary, written in pieces.

Coordinates have single precision, so they are shifted to a local origin of whole metres; the shift
stands in the header of the file and in a JSON file beside it. Format: M. Burns, Automated Fabrication,
1993, section 6.5.
"""

from __future__ import annotations

import math
import struct
from typing import IO

import numpy as np
import numpy.typing as npt

from ...errors import OutputError
from .source import Advance, CornerReader, MeshSource, read_pieces, write_rows

FACE_PIECE_ROWS = 1 << 16
"""Faces in memory at a time: with corners, edges and normals they take about 350 bytes each."""

_ROW = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def local_origin(source: MeshSource) -> tuple[float, float, float]:
    """Return what is subtracted from coordinates in single precision: whole metres, heights unchanged.

    A vertex of a city of 16 km is then exact to 1 mm, of one of 2 km to 0.1 mm.
    """
    low = np.full(2, np.inf)
    for piece in read_pieces(source, "vertices"):
        low = np.minimum(low, piece[:, :2].min(axis=0))
    if not np.isfinite(low).all():
        return (0.0, 0.0, 0.0)
    return (float(math.floor(low[0])), float(math.floor(low[1])), 0.0)


def write_stl(source: MeshSource, file: IO[bytes], advance: Advance) -> None:
    """Write a mesh as a binary STL file, shifted by `local_origin`.

    Parameters
    ----------
    source : MeshSource
        The mesh; only pieces of it are in memory.
    file : binary file
        Where it goes.
    advance : callable
        Called with the rows written since the last call.

    Raises
    ------
    OutputError
        If the mesh has more faces than 32 bits can count.
    """
    if source.n_faces > np.iinfo(np.uint32).max:
        raise OutputError("STL file", f"{source.n_faces} faces", "at most 4294967295", "export to vtu")
    origin = local_origin(source)
    advance(source.n_vertices)
    # must not begin with "solid", by which readers know STL text
    title = f"citymesh binary STL, metres; add shift {origin[0]:.0f} {origin[1]:.0f} {origin[2]:.0f}"
    file.write(title.encode("ascii")[:80].ljust(80))
    file.write(struct.pack("<I", source.n_faces))
    reader = CornerReader(source)
    shift = np.array(origin)
    for start in range(0, source.n_faces, FACE_PIECE_ROWS):
        faces = source.read("faces", start, min(start + FACE_PIECE_ROWS, source.n_faces))
        write_rows(file, _rows(reader.corners(faces) - shift))
        advance(len(faces))


def _rows(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.void]:
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    rows: npt.NDArray[np.void] = np.zeros(len(corners), _ROW)
    rows["normal"] = normals / np.where(lengths > 0, lengths, 1.0)
    rows["corners"] = corners
    return rows
