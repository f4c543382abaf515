"""What merging costs elsewhere: tile meshes in one HDF5 file, merged in pairs, whole meshes rewritten at every level.

Written as such builders are, with what can be said for them: neighbours are merged first, vertices are welded by one
sort of their rounded coordinates (faster than a KD-tree), and the space of meshes that were merged is used again.
Nothing of `citymesh_dask` is used but its tile meshes, which are read as plain NumPy files.

python -m tests.benchmarks.baseline_hdf5 TILES COUNT FILE
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from tests.benchmarks.process_figures import peak_bytes, written_bytes

Mesh = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int32]]
"""Vertices (n, 3) in metres, faces (m, 3), markers (m,)."""

_ROUNDED = 1e3
"""Vertices that agree in so many parts of a metre become one."""


def build(tiles: Path, count: int, file: Path) -> dict[str, float]:
    """Merge tiles into one mesh in an HDF5 file; return what it took."""
    start = time.perf_counter()
    with h5py.File(file, "w") as store:
        raw = 0
        for index in range(count):
            raw += _write(store, f"0/{index}", _read_tile(tiles / f"{index:05d}"))
        merging = time.process_time()
        mesh_bytes, level = _merge_all(store, count) if count > 1 else (raw, 0)
        store.flush()
        merged = time.process_time()
    end = time.perf_counter()
    return {
        "raw": mesh_bytes,
        "tiles": raw,
        "levels": level,
        "seconds": end - start,
        "merging": merged - merging,
        "written": written_bytes(),
        "peak": peak_bytes(),
        "file": file.stat().st_size,
    }


def _merge_all(store: h5py.File, count: int) -> tuple[int, int]:
    """Merge in pairs until one is left; return its bytes and the number of levels."""
    level, written = 0, 0
    while count > 1:
        for index in range(0, count, 2):
            pair = [k for k in (index, index + 1) if k < count]
            mesh = _weld([_read(store, f"{level}/{k}") for k in pair])
            for k in pair:
                del store[f"{level}/{k}"]
            written = _write(store, f"{level + 1}/{index // 2}", mesh)
        count, level = -(-count // 2), level + 1
    return written, level


def _weld(meshes: list[Mesh]) -> Mesh:
    """Join meshes; vertices at one place become one."""
    if len(meshes) == 1:
        return meshes[0]
    starts = np.cumsum([0, *(len(vertices) for vertices, _, _ in meshes)])
    vertices = np.concatenate([vertices for vertices, _, _ in meshes])
    faces = np.concatenate([faces + start for (_, faces, _), start in zip(meshes, starts, strict=False)])
    keys = np.rint((vertices - vertices.min(axis=0)) * _ROUNDED).astype(np.int64)
    # one key of 63 bits: 22 for x, 22 for y (4 km in millimetres), 19 for z
    key = (keys[:, 0] << 41) | (keys[:, 1] << 19) | keys[:, 2]
    _, first, number = np.unique(key, return_index=True, return_inverse=True)
    return vertices[first], number[faces], np.concatenate([markers for _, _, markers in meshes])


def _write(store: h5py.File, name: str, mesh: Mesh) -> int:
    """Write a mesh and return its bytes."""
    group = store.create_group(name)
    arrays = {"vertices": mesh[0], "faces": mesh[1].astype(np.int32), "markers": mesh[2]}
    for part, array in arrays.items():
        group.create_dataset(part, data=array)
    return sum(array.nbytes for array in arrays.values())


def _read(store: h5py.File, name: str) -> Mesh:
    group = store[name]
    return group["vertices"][:], group["faces"][:].astype(np.int64), group["markers"][:]


def _read_tile(path: Path) -> Mesh:
    vertices, faces, markers = (np.load(path / f"{name}.npy") for name in ("vertices", "faces", "markers"))
    return vertices, faces.astype(np.int64), markers


def main() -> None:
    """Do it as the command line says and print what it took as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    sys.stdout.write(json.dumps(build(given.tiles, given.count, given.file)) + "\n")


if __name__ == "__main__":
    main()
