"""Finished tiles of a run that has not ended, read as one mesh.

Tile meshes are put one behind the other: their faces are renumbered, but the vertices on seams are not joined,
which is left to the run itself. Nothing is written into the scratch folder, so that a run may go on meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StoreError
from .bundles import SUFFIX, bundle_shape, read_bundle_rows
from .chunks import Array, write_json
from .city_store import CityStore, face_dtype, open_store

DESCRIPTION = "tiles.json"
"""File of a scratch folder that tells what its tiles are pieces of."""

_ADVICE = "the run has gone on or ended: open it again, or the finished store"


@dataclass(frozen=True)
class PartialStore(CityStore):
    """The finished tiles of a run as one mesh, read in pieces.

    Parameters
    ----------
    tiles : tuple of int
        Numbers of the tiles that are finished and have faces.
    vertex_starts, face_starts : (len(tiles) + 1,) int64
        First vertex and first face of every tile.
    table : Path
        Folder of the building table, which is written late.
    """

    tiles: tuple[int, ...]
    vertex_starts: npt.NDArray[np.int64]
    face_starts: npt.NDArray[np.int64]
    table: Path

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Read rows ``start:stop`` of ``vertices``, ``faces``, ``markers`` or ``building``."""
        starts = self.vertex_starts if name == "vertices" else self.face_starts
        stop = int(starts[-1]) if stop is None else min(stop, int(starts[-1]))
        first = int(np.searchsorted(starts, start, side="right")) - 1
        pieces = [self._nothing(name)]
        for place in range(first, len(self.tiles)):
            low, high = max(start, int(starts[place])), min(stop, int(starts[place + 1]))
            if low >= high:
                break
            begin = int(starts[place])
            pieces.append(self._tile_rows(name, place, (low - begin, high - begin)))
        return np.concatenate(pieces)

    def _nothing(self, name: str) -> Array:
        """Return no rows, of the type that the array has."""
        if name == "vertices":
            return np.empty((0, 3))
        return np.empty((0, 3), face_dtype(self.n_vertices)) if name == "faces" else np.empty(0, np.int32)

    def _tile_rows(self, name: str, place: int, rows: tuple[int, int]) -> Array:
        stored = "markers" if name == "building" else name
        found = _read_tile(self.path, self.tiles[place], stored, rows)
        if name == "faces":
            return found.astype(face_dtype(self.n_vertices)) + int(self.vertex_starts[place])
        if name == "building":
            return np.where(found < 0, -1, found % max(self.n_buildings, 1)).astype(np.int32)
        return found

    def column_names(self) -> list[str]:
        """Return the names of the columns of the building table that can be read."""
        return sorted({"id", *(path.name for path in self.table.glob("*") if path.is_dir())})

    def column(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Return rows of one column of the building table; as long as there is none, ``id`` is the row's number.

        Raises
        ------
        StoreError
            If the column is not written yet.
        """
        try:
            whole = CityStore(self.table.parent, {}, 0, 0, self.n_buildings)
            return whole.column(name, start, stop)
        except StoreError as error:
            if name != "id":
                found = "it is not written yet"
                raise StoreError(str(self.table / name), found, "a column of the building table", _ADVICE) from error
        numbers = range(*slice(start, stop).indices(self.n_buildings))
        return np.array([str(row) for row in numbers], dtype=object)


def describe_tiles(
    scratch: Path,
    *,
    out: str,
    partial: Path,
    n_tiles: int,
    retired: Sequence[int],
    attributes: Mapping[str, Any],
    fingerprint: str = "",
) -> None:
    """Tell in a scratch folder what its tiles are pieces of; again where a tile was split.

    Parameters
    ----------
    scratch : Path
        The folder.
    out : str
        Final path of the store.
    partial : Path
        Where the store is built.
    n_tiles : int
        Tiles of the mesh, those that were split among them.
    retired : sequence of int
        Numbers of tiles that were split: others have their place.
    attributes : mapping
        ``n_buildings``, ``bounds`` and whatever else the store will tell.
    fingerprint : str
        Of inputs and options: tiles that are there already from a run with others do not count until they are written
        anew.
    """
    facts = {"out": out, "partial": str(partial), "n_tiles": n_tiles, "retired": list(retired)}
    facts |= {"fingerprint": fingerprint, "former": _former_tiles(scratch, fingerprint)}
    write_json(scratch / DESCRIPTION, {**facts, "attributes": dict(attributes)}, durable=False)


def _former_tiles(scratch: Path, fingerprint: str) -> dict[str, list[int]]:
    """Return the stamps of the tiles that a run with other inputs or options has left, by number."""
    try:
        before = json.loads((scratch / DESCRIPTION).read_text(encoding="utf8"))
        if before["fingerprint"] == fingerprint:
            former: dict[str, list[int]] = before["former"]
            return former
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return {str(tile): _stamp(_tile_file(scratch, tile)) for tile in _tiles_there(scratch)}


def _stamp(path: Path) -> list[int]:
    """Return what tells a file from another one that was written in its place."""
    try:
        stat = path.stat()
    except OSError:  # gone meanwhile
        return []
    return [stat.st_mtime_ns, stat.st_ino]


def is_unfinished(path: str | Path) -> bool:
    """Whether a path is the scratch folder of a run, of which finished tiles can be read."""
    return (Path(path) / DESCRIPTION).is_file()


def open_finished_tiles(path: str | Path) -> CityStore:
    """Open what there is of a mesh: the finished store, or else the finished tiles of its run.

    Parameters
    ----------
    path : path
        A scratch folder, or a store, finished or not, beside which its scratch folder stands.

    Returns
    -------
    CityStore
        A `PartialStore` where the store is not finished; its attribute ``partial`` tells how far the run is.

    Raises
    ------
    StoreError
        If neither is there.
    """
    root = Path(path)
    for scratch in (root, root.with_name(f"{root.name}.scratch")):
        if is_unfinished(scratch) and not (root / "zarr.json").exists():
            return _open_scratch(scratch)
    return open_store(root)


def open_any(path: str | Path) -> CityStore:
    """Open a finished store, or the finished tiles in a scratch folder."""
    return open_finished_tiles(path) if is_unfinished(path) else open_store(path)


def _open_scratch(root: Path) -> PartialStore:
    try:
        facts = json.loads((root / DESCRIPTION).read_text(encoding="utf8"))
        total, retired, former = int(facts["n_tiles"]), set(facts["retired"]), dict(facts.get("former", {}))
        attributes = dict(facts["attributes"])
        partial, n_buildings = Path(facts["partial"]), int(attributes["n_buildings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(str(root), f"it cannot be understood ({error})", "a scratch folder of a run") from error
    done = [
        tile
        for tile in _tiles_there(root)
        if tile < total and tile not in retired and former.get(str(tile)) != _stamp(_tile_file(root, tile))
    ]
    counts = {tile: [bundle_shape(_tile_file(root, tile), name)[0] for name in ("vertices", "faces")] for tile in done}
    tiles = tuple(tile for tile in done if counts[tile][1])
    starts = np.concatenate([[[0, 0]], np.cumsum([counts[tile] for tile in tiles] or np.empty((0, 2)), axis=0)])
    vertex_starts, face_starts = starts.astype(np.int64).T
    n_tasks = sum(1 for _ in root.glob("receipts/*.json"))
    attributes["partial"] = {"tiles": len(done), "of": total - len(retired), "tasks": n_tasks, "out": facts["out"]}
    return PartialStore(
        path=root,
        attributes=attributes,
        n_vertices=int(vertex_starts[-1]),
        n_faces=int(face_starts[-1]),
        n_buildings=n_buildings,
        tiles=tiles,
        vertex_starts=vertex_starts,
        face_starts=face_starts,
        table=partial / "buildings",
    )


def _tiles_there(root: Path) -> list[int]:
    """Return the numbers of the tiles that are written."""
    found = (path.name.removesuffix(SUFFIX) for path in root.glob(f"tiles/*{SUFFIX}"))
    return sorted(int(name) for name in found if name.isdecimal())


def _read_tile(root: Path, tile: int, name: str, rows: tuple[int, int]) -> Array:
    try:
        return read_bundle_rows(_tile_file(root, tile), name, rows)
    except StoreError as error:
        raise StoreError(error.where, error.found, "a finished tile", _ADVICE) from error


def _tile_file(root: Path, tile: int) -> Path:
    return root / "tiles" / f"{tile:05d}{SUFFIX}"
