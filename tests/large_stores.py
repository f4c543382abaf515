"""Meshes of several pieces for tests of streaming: a store on disk, and a source without any disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.builders import write_store

Array = npt.NDArray[Any]


def hill_store(path: Path, cells: int = 520) -> Path:
    """Write a hilly square of ``cells`` x ``cells`` metres as a store.

    With 520 cells it has 271,441 vertices and 540,800 faces: two blocks of vertices and three pieces of faces.
    Faces are shuffled, so that those of one piece need vertices from everywhere; every 1000th is called
    a roof of building 0 or 1.
    """
    side = np.arange(cells + 1.0)
    x, y = (values.ravel() for values in np.meshgrid(side, side))
    vertices = np.stack([x + 85000.125, y + 446000.25, 20 + 5 * np.sin(x / 40) * np.cos(y / 55)], axis=1)
    corner = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    right, above = corner + 1, corner + cells + 1
    faces = np.concatenate([np.stack([corner, right, above + 1], 1), np.stack([corner, above + 1, above], 1)])
    faces = np.random.default_rng(7).permutation(faces).astype(np.int32)
    number = np.arange(len(faces))
    markers = np.where(number % 1000 == 0, 2 + number // 1000 % 2, -2).astype(np.int32)
    building = np.where(markers >= 2, markers - 2, -1).astype(np.int32)
    mesh = {"vertices": vertices, "faces": faces, "markers": markers, "building": building}
    columns: dict[str, Array] = {"id": np.array(["first", 'nasty "id"\nv 1 2 3 \\'], dtype=object)}
    low = vertices[0]
    bounds = (float(low[0]), float(low[1]), float(low[0] + cells), float(low[1] + cells))
    return write_store(path, mesh, bounds=bounds, columns=columns)


class EndlessStrip:
    """A strip of triangles of any length that is computed where it is read (a mesh source without a store)."""

    def __init__(self, n_faces: int) -> None:
        self.n_faces = n_faces
        self.n_vertices = n_faces + 2
        self.n_buildings = 1
        self.attributes: dict[str, Any] = {"crs": {"authority": "EPSG:28992"}}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Return rows of the strip."""
        total = self.n_vertices if name == "vertices" else self.n_faces
        rows = np.arange(start, min(total if stop is None else stop, total))
        if name == "vertices":
            return np.stack([85000.0 + rows / 8, 446000.0 + rows % 2, rows * 1e-6], axis=1)
        if name == "faces":
            odd = rows % 2
            return np.stack([rows, rows + 1 + odd, rows + 2 - odd], axis=1).astype(np.int32)
        return np.full(len(rows), 0 if name == "building" else 1, np.int32)

    def column(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Return the id of the only building."""
        return np.array(["strip"], dtype=object)[start:stop]


class Sink:
    """A binary file that only counts."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, data: Any) -> int:
        """Count and forget some bytes."""
        size = memoryview(data).nbytes
        self.written += size
        return size
