"""Tasks that number all vertices and write the final arrays, each output chunk once by one task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from ....geometry.joining.numbering import vertex_offsets
from ....outlines import Int32, Int64
from ....store.chunks import Array
from ....store.city_store import create_mesh_arrays, face_dtype, write_mesh_chunk
from ....store.schema import FACE_CHUNK_ROWS, VERTEX_CHUNK_ROWS
from ....store.trace import unnoticed
from ..job import CityJob, load_job, partial_store
from ..tiles.meshes import boundary_name
from .tails import TileTails

NUMBERING = "numbering"


@dataclass(frozen=True)
class Numbering:
    """Where each tile's vertices and faces stand in the final arrays.

    Parameters
    ----------
    offsets : (t + 1,) int64
        First vertex of each tile.
    faces : (t + 1,) int64
        First face of each tile.
    n_interior : (t,) int64
        Interior vertices of each tile.
    """

    offsets: Int64
    faces: Int64
    n_interior: Int64


def number_vertices(job_path: str, index: int = 0) -> dict[str, Any]:
    """Count what every tile owns and prepare the final arrays; writes group ``numbering``."""
    del index  # one task
    job = load_job(job_path)
    tiles = range(job.n_tiles)
    sizes = [_tile_sizes(job, tile) for tile in tiles]
    n_interior = np.array([interior for interior, _ in sizes], np.int64)
    tails = TileTails(job)
    owned = np.array([tails.owned(tile).sum() for tile in tiles], np.int64)
    offsets = vertex_offsets(n_interior, owned)
    faces = np.concatenate([[0], np.cumsum([count for _, count in sizes])]).astype(np.int64)
    job.scratch.write(NUMBERING, {"offsets": offsets, "faces": faces, "n_interior": n_interior})
    create_mesh_arrays(partial_store(job), int(offsets[-1]), int(faces[-1]))
    return {"vertices": int(offsets[-1]), "faces": int(faces[-1])}


def _tile_sizes(job: CityJob, tile: int) -> tuple[int, int]:
    """Return the interior vertices and the faces of a tile, from its metadata."""
    name = f"tiles/{tile:05d}"
    tail = job.scratch.length(boundary_name(0, tile), "keys")
    return job.scratch.length(name, "vertices") - tail, job.scratch.length(name, "faces")


def assemble(job_path: str, n_tasks: int, index: int) -> dict[str, Any]:
    """Write a run of output chunks of the final mesh arrays.

    The chunks of faces (with markers and building) come first, then those of vertices; task
    ``index`` of ``n_tasks`` takes an even share of them.
    """
    job = load_job(job_path)
    numbering = read_numbering(job)
    n_face_chunks = -(-int(numbering.faces[-1]) // FACE_CHUNK_ROWS)
    total = n_face_chunks + -(-int(numbering.offsets[-1]) // VERTEX_CHUNK_ROWS)
    tails, written = TileTails(job, keep=True), 0
    for chunk in range(index * total // n_tasks, (index + 1) * total // n_tasks):
        if chunk < n_face_chunks:
            written += write_faces(job, numbering, chunk, tails=tails)
        else:
            written += write_vertices(job, numbering, chunk - n_face_chunks, tails=tails)
    return {"bytes": written}


def read_numbering(job: CityJob) -> Numbering:
    """Read where each tile's vertices and faces go."""
    return Numbering(*(job.scratch.read(NUMBERING, name) for name in ("offsets", "faces", "n_interior")))


def write_faces(job: CityJob, numbering: Numbering, chunk: int, *, tails: TileTails) -> int:
    """Write one chunk of faces, markers and building; return the bytes."""
    start = chunk * FACE_CHUNK_ROWS
    stop = min(start + FACE_CHUNK_ROWS, int(numbering.faces[-1]))
    faces = np.empty((stop - start, 3), face_dtype(int(numbering.offsets[-1])))
    markers = np.empty(stop - start, np.int32)
    for tile, low, high in tiles_of(numbering.faces, start, stop):
        first = int(numbering.faces[tile])
        rows = slice(low - start, high - start)
        local = _tile_rows(job, tile, "faces", rows=(low - first, high - first))
        ids = tails.ids(tile, offsets=numbering.offsets, n_interior=numbering.n_interior).astype(faces.dtype)
        renumber(local, faces[rows], int(numbering.offsets[tile]), int(numbering.n_interior[tile]), ids)
        markers[rows] = _tile_rows(job, tile, "markers", rows=(low - first, high - first))
    building = building_of(markers, job.n_rows)
    path = partial_store(job)
    columns: dict[str, Array] = {"faces": faces, "markers": markers, "building": building}
    return sum(write_mesh_chunk(path, name, chunk, rows) for name, rows in columns.items())


def write_vertices(job: CityJob, numbering: Numbering, chunk: int, *, tails: TileTails) -> int:
    """Write one chunk of vertices; return the bytes."""
    start = chunk * VERTEX_CHUNK_ROWS
    stop = min(start + VERTEX_CHUNK_ROWS, int(numbering.offsets[-1]))
    vertices = np.empty((stop - start, 3))
    for tile, low, high in tiles_of(numbering.offsets, start, stop):
        first, interior = int(numbering.offsets[tile]), int(numbering.n_interior[tile])
        low_index, high_index = low - first, high - first
        inner = _tile_rows(job, tile, "vertices", rows=(low_index, min(high_index, interior)))
        rows = [inner] if low_index < interior else []
        if high_index > interior:
            tail = _tile_rows(job, tile, "vertices", rows=(interior, None))[tails.owned(tile)]
            rows.append(tail[max(low_index - interior, 0) : high_index - interior])
        vertices[low - start : high - start] = np.concatenate(rows)
    return write_mesh_chunk(partial_store(job), "vertices", chunk, vertices)


def tiles_of(offsets: Int64, start: int, stop: int) -> list[tuple[int, int, int]]:
    """Return (tile, low, high) for the tiles whose rows ``offsets[tile]:offsets[tile + 1]`` meet a range.

    >>> tiles_of(np.array([0, 4, 4, 10]), 2, 6)
    [(0, 2, 4), (2, 4, 6)]
    """
    found = []
    tile = int(np.searchsorted(offsets, start, side="right")) - 1
    while tile < len(offsets) - 1 and offsets[tile] < stop:
        low, high = max(start, int(offsets[tile])), min(stop, int(offsets[tile + 1]))
        if low < high:
            found.append((tile, low, high))
        tile += 1
    return found


def tail_ids_of(job: CityJob, numbering: Numbering, tile: int) -> Int64:
    """Return the global numbers of the vertices on the boundary of a tile, in the order of the tile."""
    return TileTails(job).ids(tile, offsets=numbering.offsets, n_interior=numbering.n_interior)


def _tile_rows(job: CityJob, tile: int, array: str, *, rows: tuple[int, int | None]) -> Array:
    """Read rows of a tile; what counts as read is the tile, whose digest is known without a look at the rows."""
    name = f"tiles/{tile:05d}"
    job.scratch.digest(name)
    with unnoticed():
        return job.scratch.read(name, array, rows)


@njit(cache=True, nogil=True)
def renumber(
    local: Int32, out: npt.NDArray[np.integer[Any]], offset: int, n_interior: int, ids: npt.NDArray[np.integer[Any]]
) -> None:
    """Write global vertex numbers: one addition per corner, a table for the tile's tail.

    Parameters
    ----------
    local : (k, 3) int32
        Faces of a tile.
    out : (k, 3) int32 or int64
        Filled with the global numbers.
    offset : int
        Global number of the tile's first vertex.
    n_interior : int
        Local numbers below this are the tile's own.
    ids : (n_tail,) int32 or int64
        Global numbers of the tail.
    """
    for face in range(len(local)):
        for corner in range(3):
            vertex = local[face, corner]
            out[face, corner] = offset + vertex if vertex < n_interior else ids[vertex - n_interior]


def building_of(markers: Int32, n_rows: int) -> Int32:
    """Return the row of the building table for each marker, -1 where there is no building.

    >>> building_of(np.array([-2, 0, 1, 2, 3, -3], dtype=np.int32), 2).tolist()
    [-1, 0, 1, 0, 1, -1]
    """
    building = np.empty(len(markers), np.int32)
    _fill_building(markers, n_rows, building)
    return building


@njit(cache=True, nogil=True)
def _fill_building(markers: Int32, n_rows: int, out: Int32) -> None:
    for face in range(len(markers)):
        marker = markers[face]
        out[face] = -1 if marker < 0 else (marker if marker < n_rows else marker - n_rows)
