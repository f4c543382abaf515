"""Tile meshes of a finished store, brought back as they were when their tasks wrote them.

A run that replaces a store takes over what its tasks left, but for the tile meshes, of which the store has only one
copy: joined and numbered. Here they are taken apart again. What comes back has the digest that its receipt knows,
or else the tile is meshed again.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import CityMeshError
from ...outlines import Int32, Int64
from ...store.chunks import Array
from ...store.city_store import CityStore, open_store
from ...store.scratch import Scratch
from ...store.trace import named, qualified_name
from ...tiles import MESH_UNITS
from .ending.assembly import Numbering, read_numbering, tail_ids_of
from .job import CityJob, job_file, load_job, plain_job
from .resume import former_store, kept_folder
from .tiles.meshes import boundary_name, write_tile_arrays

_TILE = re.compile(r"tiles/(\d{5,})")


@dataclass(frozen=True)
class Former:
    """A finished store and what it has kept.

    Parameters
    ----------
    store : CityStore
        The store.
    job : CityJob
        The job that made it; its scratch folder is what was kept.
    numbering : Numbering
        Where each tile's vertices and faces stand.
    """

    store: CityStore
    job: CityJob
    numbering: Numbering

    def tile(self, tile: int) -> tuple[Array, Int32, Int32]:
        """Return vertices, faces and markers of a tile as they were before they were joined."""
        face_rows = (int(self.numbering.faces[tile]), int(self.numbering.faces[tile + 1]))
        faces = self._local_faces(tile, self.store.read("faces", *face_rows))
        return self._vertices(tile), faces, self.store.read("markers", *face_rows)

    def _local_faces(self, tile: int, faces: Array) -> Int32:
        offset, interior = int(self.numbering.offsets[tile]), int(self.numbering.n_interior[tile])
        ids = tail_ids_of(self.job, self.numbering, tile)
        order = np.argsort(ids)
        own = (faces >= offset) & (faces < offset + interior)
        tail = np.searchsorted(ids[order], faces[~own])
        local = (faces - offset).astype(np.int32)
        local[~own] = interior + order[np.minimum(tail, len(ids) - 1)]
        return local

    def _vertices(self, tile: int) -> Array:
        """Return the interior vertices from the store, and those of the boundary, which was kept."""
        offset, interior = int(self.numbering.offsets[tile]), int(self.numbering.n_interior[tile])
        name = boundary_name(0, tile)
        keys: Int64 = self.job.scratch.read(name, "keys")
        plane = keys[:, :2] / MESH_UNITS + np.array(self.job.domain.origin, np.float64)
        tail = np.concatenate([plane, self.job.scratch.read(name, "z")[:, None]], axis=1)
        return np.concatenate([self.store.read("vertices", offset, offset + interior), tail])


@named
def restore_group(folder: Path, name: str) -> bool:
    """Write the mesh of a tile into a scratch folder again, from the store that the run is to replace.

    Parameters
    ----------
    folder : Path
        The scratch folder.
    name : str
        A scratch group; none but those of tile meshes can be brought back.

    Returns
    -------
    bool
        Whether it is there.
    """
    found = _TILE.fullmatch(name)
    job = load_job(str(job_file(folder)))
    former = _former(former_store(Path(job.out))) if found else None
    if former is None or found is None or int(found[1]) >= len(former.numbering.n_interior):
        return False
    tile = int(found[1])
    try:
        vertices, faces, markers = former.tile(tile)
    except (CityMeshError, OSError, IndexError, ValueError):
        return False  # something of the store is damaged: the tile is meshed again
    write_tile_arrays(job, tile, vertices, faces=faces, markers=markers)
    return True


RESTORE = qualified_name(restore_group)


def _former(out: Path) -> Former | None:
    try:
        kept = job_file(kept_folder(out)).stat()
        return _read_former(out, (kept.st_mtime_ns, kept.st_ino))
    except (OSError, CityMeshError):
        return None


@functools.lru_cache(maxsize=2)
def _read_former(out: Path, stamp: tuple[int, int]) -> Former:
    del stamp  # part of the key: another store may come to the same path
    folder = kept_folder(out)
    job = replace(plain_job(load_job(str(job_file(folder)))), scratch=Scratch(folder))
    return Former(open_store(out), job, read_numbering(job))
