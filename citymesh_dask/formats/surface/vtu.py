"""VTK unstructured grids (``.vtu``), written in pieces with appended raw data.

The sizes of all arrays are known from the start, so their offsets stand in the header and the data
follow in one pass. Format: VTK file formats, XML, https://docs.vtk.org/en/latest/vtk_file_formats/
"""

from __future__ import annotations

import struct
from typing import IO

import numpy as np

from .source import PIECE_ROWS, Advance, MeshSource, authority_of, read_pieces, write_rows

TRIANGLE = 5
"""VTK's number for a triangle cell."""

_VTK_NAMES = {"float64": "Float64", "int32": "Int32", "int64": "Int64", "uint8": "UInt8"}


def write_vtu(source: MeshSource, file: IO[bytes], advance: Advance) -> None:
    """Write a mesh as a VTK unstructured grid with ``markers`` and ``building`` as cell data.

    Coordinates are float64 in the project CRS, connectivity has the type that it has in the store.

    Parameters
    ----------
    source : MeshSource
        The mesh; only pieces of it are in memory.
    file : binary file
        Where it goes.
    advance : callable
        Called with the rows written since the last call.
    """
    index_dtype = np.int32 if source.n_vertices <= np.iinfo(np.int32).max else np.int64
    offset_dtype = np.int32 if 3 * source.n_faces <= np.iinfo(np.int32).max else np.int64
    m = source.n_faces
    sizes = [source.n_vertices * 24, m * 3 * index_dtype().itemsize, m * offset_dtype().itemsize, m, m * 4, m * 4]
    file.write(_header(source, index_dtype().dtype.name, offset_dtype().dtype.name, offsets=_offsets(sizes)))
    for name, size in zip(("vertices", "faces"), sizes[:2], strict=True):
        file.write(struct.pack("<Q", size))
        for piece in read_pieces(source, name):
            write_rows(file, piece if name == "vertices" else piece.astype(index_dtype, copy=False))
            advance(len(piece))
    file.write(struct.pack("<Q", sizes[2]))
    for start in range(0, m, PIECE_ROWS):
        write_rows(file, np.arange(start + 1, min(start + PIECE_ROWS, m) + 1, dtype=offset_dtype) * 3)
    file.write(struct.pack("<Q", m))
    for start in range(0, m, PIECE_ROWS):
        write_rows(file, np.full(min(PIECE_ROWS, m - start), TRIANGLE, np.uint8))
    for name in ("markers", "building"):
        file.write(struct.pack("<Q", m * 4))
        for piece in read_pieces(source, name):
            write_rows(file, piece)
    file.write(b"\n</AppendedData>\n</VTKFile>\n")


def _offsets(sizes: list[int]) -> list[int]:
    """Return where each array begins after the underscore; each has 8 bytes of length before it."""
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + 8 + size)
    return starts[:-1]


def _header(source: MeshSource, index_name: str, offset_name: str, *, offsets: list[int]) -> bytes:
    def array(name: str, dtype: str, position: int, extra: str = "") -> str:
        kind = _VTK_NAMES[dtype]
        return f'<DataArray type="{kind}" Name="{name}"{extra} format="appended" offset="{offsets[position]}"/>'

    note = f"{authority_of(source)}; markers: -2 terrain, i wall and {source.n_buildings} + i roof of building i"
    lines = [
        '<?xml version="1.0"?>',
        f"<!-- citymesh: coordinates in metres, {note.replace('--', '- -')} -->",
        '<VTKFile type="UnstructuredGrid" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
        "<UnstructuredGrid>",
        f'<Piece NumberOfPoints="{source.n_vertices}" NumberOfCells="{source.n_faces}">',
        "<Points>",
        array("Points", "float64", 0, ' NumberOfComponents="3"'),
        "</Points>",
        "<Cells>",
        array("connectivity", index_name, 1),
        array("offsets", offset_name, 2),
        array("types", "uint8", 3),
        "</Cells>",
        '<CellData Scalars="markers">',
        array("markers", "int32", 4),
        array("building", "int32", 5),
        "</CellData>",
        "</Piece>",
        "</UnstructuredGrid>",
        '<AppendedData encoding="raw">',
    ]
    return ("\n".join(lines) + "\n_").encode("utf8")
