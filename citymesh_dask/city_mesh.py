"""Meshes as people hold them: opened from a store, read lazily."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array
import numpy as np

from .errors import OutputError
from .pipelines.city.inputs.survey import PathLike
from .store.chunks import Array
from .store.city_store import CityStore, open_store
from .store.partial import PartialStore, open_finished_tiles


class CityMesh:
    """A finished city mesh, read lazily.

    Parameters
    ----------
    store : CityStore
        The open store.
    """

    def __init__(self, store: CityStore) -> None:
        self._store = store

    @property
    def path(self) -> Path:
        """Folder of the store."""
        return self._store.path

    @property
    def attributes(self) -> dict[str, Any]:
        """Group attributes: CRS, options, certificate and more (see ``docs/store.md``)."""
        return self._store.attributes

    @property
    def n_vertices(self) -> int:
        """Number of vertices."""
        return self._store.n_vertices

    @property
    def n_faces(self) -> int:
        """Number of faces."""
        return self._store.n_faces

    @property
    def n_buildings(self) -> int:
        """Rows of the building table."""
        return self._store.n_buildings

    @property
    def vertices(self) -> dask.array.Array:
        """(n, 3) float64 Dask array, metres in the project CRS."""
        return self._lazy("vertices")

    @property
    def faces(self) -> dask.array.Array:
        """(m, 3) int32 or int64 Dask array of vertex indices, counter-clockwise seen from outside."""
        return self._lazy("faces")

    @property
    def markers(self) -> dask.array.Array:
        """(m,) int32 Dask array: -2 terrain, i wall and N + i roof of building i, -3 side, -4 base."""
        return self._lazy("markers")

    @property
    def building(self) -> dask.array.Array:
        """(m,) int32 Dask array: row of the building table, -1 where there is no building."""
        return self._lazy("building")

    @property
    def buildings(self) -> dict[str, Array]:
        """The building table: column name to (N,) array."""
        return {name: self._store.column(name) for name in self._store.column_names()}

    def save(self, path: PathLike) -> Path:
        """Copy the store to another folder and return it.

        Raises
        ------
        OutputError
            If the folder exists.
        """
        target = Path(path)
        if target.exists():
            raise OutputError(str(target), "it exists already", advice="choose another path")
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(self.path, partial)
        partial.rename(target)
        return target

    def __repr__(self) -> str:
        sizes = f"{self.n_vertices:,} vertices, {self.n_faces:,} faces, {self.n_buildings:,} buildings"
        return f"CityMesh({str(self.path)!r}: {sizes})"

    def _lazy(self, name: str) -> dask.array.Array:
        return dask.array.from_zarr(str(self.path / name))


class PartialMesh(CityMesh):
    """The finished tiles of a run that has not ended, with one Dask chunk per tile.

    ``attributes["partial"]`` tells how many ``tiles`` ``of`` how many are there, how many ``tasks`` are done, and where
    the mesh will be (``out``).
    Vertices on seams are not joined: each tile has its own.
    """

    def __init__(self, store: PartialStore) -> None:
        super().__init__(store)
        self._tiles = store

    def save(self, path: PathLike) -> Path:
        """Refuse: only a finished mesh can be saved.

        Raises
        ------
        OutputError
            Always.
        """
        found = f"{self._tiles.path} is the scratch folder of a run that has not ended"
        raise OutputError(str(path), found, "a finished mesh", "finish the run, or write a file with 'citymesh export'")

    def __repr__(self) -> str:
        done = self.attributes["partial"]
        return f"{super().__repr__()[:-1]}; {done['tiles']} of {done['of']} tiles)"

    def _lazy(self, name: str) -> dask.array.Array:
        starts = self._tiles.vertex_starts if name == "vertices" else self._tiles.face_starts
        rows = _Rows(self._tiles, name)
        sizes = tuple(np.diff(starts).tolist()) or (0,)
        return dask.array.from_array(rows, chunks=(sizes, *rows.shape[1:]), name=False, meta=rows.nothing)


@dataclass(frozen=True)
class _Rows:
    """One array of the finished tiles, in the form in which Dask slices arrays."""

    store: PartialStore
    name: str

    @property
    def nothing(self) -> Array:
        """No rows at all, of the type and the other axes of the array."""
        return self.store.read(self.name, 0, 0)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.nothing.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows of all finished tiles, then the other axes."""
        rows = self.store.n_vertices if self.name == "vertices" else self.store.n_faces
        return (rows, *self.nothing.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __getitem__(self, index: tuple[slice, ...]) -> Array:
        start, stop, step = index[0].indices(self.shape[0])
        rows: Array = self.store.read(self.name, start, stop)[::step]
        return rows[(slice(None), *index[1:])]


def open_mesh(path: PathLike, *, partial: bool = False) -> CityMesh:
    """Open a finished city mesh, or what there is of one.

    Parameters
    ----------
    path : path
        The store; with ``partial`` also the scratch folder of a run.
    partial : bool
        Where the store is not finished, take the finished tiles of its run, which may go on meanwhile.

    Returns
    -------
    CityMesh
        A `PartialMesh` where the store is not finished.

    Raises
    ------
    StoreError
        If the path is no city store, or one of a newer format version.
    """
    store = open_finished_tiles(Path(path)) if partial else open_store(Path(path))
    return PartialMesh(store) if isinstance(store, PartialStore) else CityMesh(store)
