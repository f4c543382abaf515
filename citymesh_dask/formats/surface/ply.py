"""Polygon files (``.ply``), binary little endian, written in pieces.

Format: G. Turk, The PLY polygon file format, 1994; its integers have at most 32 bits.
"""

from __future__ import annotations

from typing import IO

import numpy as np

from ...errors import OutputError
from .source import PIECE_ROWS, Advance, MeshSource, authority_of, read_pieces, write_rows


def write_ply(source: MeshSource, file: IO[bytes], advance: Advance) -> None:
    """Write a mesh as a binary PLY file with ``markers`` and ``building`` as properties of its faces.

    Coordinates are doubles in the project CRS.

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
        If the mesh has more vertices than 32 bits can count.
    """
    if source.n_vertices > np.iinfo(np.uint32).max:
        raise OutputError(
            "PLY file",
            f"{source.n_vertices} vertices",
            "at most 4294967295, its integers have 32 bits",
            "export to vtu",
        )
    wide = source.n_vertices > np.iinfo(np.int32).max
    file.write(_header(source, "uint" if wide else "int"))
    for piece in read_pieces(source, "vertices"):
        write_rows(file, piece)
        advance(len(piece))
    index = "<u4" if wide else "<i4"
    row = np.dtype([("count", "u1"), ("corners", index, (3,)), ("markers", "<i4"), ("building", "<i4")])
    for start in range(0, source.n_faces, PIECE_ROWS):
        stop = min(start + PIECE_ROWS, source.n_faces)
        rows = np.empty(stop - start, row)
        rows["count"] = 3
        rows["corners"] = source.read("faces", start, stop)
        rows["markers"] = source.read("markers", start, stop)
        rows["building"] = source.read("building", start, stop)
        write_rows(file, rows)
        advance(len(rows))


def _header(source: MeshSource, index: str) -> bytes:
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment citymesh: coordinates in metres, {authority_of(source)}",
        f"comment markers: -2 terrain, i wall and {source.n_buildings} + i roof of building i, -3 side, -4 base",
        f"element vertex {source.n_vertices}",
        "property double x",
        "property double y",
        "property double z",
        f"element face {source.n_faces}",
        f"property list uchar {index} vertex_indices",
        "property int markers",
        "property int building",
        "end_header",
    ]
    return ("\n".join(lines) + "\n").encode("ascii", "replace")
