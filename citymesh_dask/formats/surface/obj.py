"""Wavefront files (``.obj``), text with one group per building, written in pieces.

Coordinates have all their digits, so they need no local origin. Format: Wavefront Technologies,
Object files (.obj), Advanced Visualizer manual, appendix B1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ...mesh import BASE_MARKER, SIDE_MARKER
from .source import Advance, MeshSource, authority_of, read_pieces

TEXT_PIECE_ROWS = 1 << 16
"""Rows in memory at a time: as text and Python numbers they take about 300 bytes each."""

_NO_BUILDING = {SIDE_MARKER: "side", BASE_MARKER: "base"}


def write_obj(source: MeshSource, file: IO[bytes], advance: Advance) -> None:
    """Write a mesh as an OBJ file with groups ``terrain`` and ``building_<row>`` (``side``, ``base`` of solids).

    The id of each building in the source stands in a comment at the top. Faces are grouped inside
    pieces of the mesh, so a group may occur more than once.

    Parameters
    ----------
    source : MeshSource
        The mesh; only pieces of it are in memory.
    file : binary file
        Where it goes.
    advance : callable
        Called with the rows written since the last call.
    """
    file.write(f"# citymesh: coordinates in metres, {authority_of(source)}\n".encode("ascii", "replace"))
    file.write(f"# {source.n_vertices} vertices, {source.n_faces} faces, {source.n_buildings} buildings\n".encode())
    for start in range(0, source.n_buildings, TEXT_PIECE_ROWS):
        file.write(_identifiers(source, start))
    for piece in read_pieces(source, "vertices", TEXT_PIECE_ROWS):
        # repr is the shortest text that reads back to the same bits
        file.write("".join([f"v {x!r} {y!r} {z!r}\n" for x, y, z in piece.tolist()]).encode("ascii"))
        advance(len(piece))
    for start in range(0, source.n_faces, TEXT_PIECE_ROWS):
        stop = min(start + TEXT_PIECE_ROWS, source.n_faces)
        groups = _group_numbers(source.read("markers", start, stop), source.read("building", start, stop))
        for text in _grouped_faces(source.read("faces", start, stop), groups):
            file.write(text.encode("ascii"))
        advance(stop - start)


def _identifiers(source: MeshSource, start: int) -> bytes:
    """Return comments with the ids of some buildings; JSON quotes keep line ends and backslashes harmless."""
    names = source.column("id", start, min(start + TEXT_PIECE_ROWS, source.n_buildings))
    return "".join(f"# building_{start + i} id {json.dumps(str(name))}\n" for i, name in enumerate(names)).encode()


def _group_numbers(markers: npt.NDArray[np.int32], building: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the building row of each face, or its marker where it belongs to none."""
    numbers: npt.NDArray[np.int32] = np.where(building >= 0, building, np.minimum(markers, -2))
    return numbers


def _grouped_faces(faces: npt.NDArray[Any], groups: npt.NDArray[np.int32]) -> Iterator[str]:
    order = np.argsort(groups, kind="stable")
    numbers = groups[order]
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1)) if len(numbers) else np.empty(0, np.int64)
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(numbers)], strict=True):
        number = int(numbers[start])
        name = f"building_{number}" if number >= 0 else _NO_BUILDING.get(number, "terrain")
        corners = (faces[order[start:stop]] + 1).tolist()  # OBJ counts from one
        yield f"g {name}\n" + "".join([f"f {a} {b} {c}\n" for a, b, c in corners])
