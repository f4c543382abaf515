"""An independent judge of a finished store: whole arrays, sorts, SciPy; slow, simple, and not ours.

It shares no code with the package, so that a mistake there cannot hide itself here.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Arrays = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Verdict:
    """What a mesh is worth."""

    open_inside: int
    overused: int
    inconsistent: int
    nonmanifold_vertices: int
    unused_vertices: int
    inverted: int
    area_error: float
    missing_buildings: int
    misplaced_rim: int

    def good(self) -> bool:
        """Whether nothing is wrong."""
        counts = (self.open_inside, self.overused, self.inconsistent, self.nonmanifold_vertices, self.unused_vertices)
        return not any((*counts, self.inverted, self.missing_buildings, self.misplaced_rim)) and self.area_error < 1e-9


def load(path: Path) -> tuple[Arrays, Arrays, dict[str, Any]]:
    """Return mesh arrays, building table and attributes, read by plain Zarr."""
    group = zarr.open_group(path, mode="r")
    mesh = {name: np.asarray(group[name][...]) for name in ("vertices", "faces", "markers", "building")}
    table = {name: np.asarray(array[...]) for name, array in group["buildings"].arrays()}
    return mesh, table, dict(group.attrs)


def judge(path: Path) -> Verdict:
    """Judge a finished store."""
    mesh, table, attributes = load(path)
    vertices, faces, markers = mesh["vertices"], mesh["faces"].astype(np.int64), mesh["markers"]
    bounds = attributes["bounds"]
    n = len(vertices)
    start, stop = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    key = np.minimum(start, stop) * n + np.maximum(start, stop)
    order = np.argsort(key, kind="stable")
    unique, first, count = np.unique(key[order], return_index=True, return_counts=True)
    forward = np.add.reduceat(np.where(start < stop, 1, -1)[order], first)
    single = count == 1
    low, high = np.divmod(unique[single], n)
    on_rim = np.zeros(single.sum(), bool)
    for axis, value in ((0, bounds[0]), (1, bounds[1]), (0, bounds[2]), (1, bounds[3])):
        on_rim |= (vertices[low, axis] == value) & (vertices[high, axis] == value)
    solid = bool(attributes["options"]["solid"])
    flat = (markers == -2) | (markers >= len(table["id"]))
    doubled, inverted = plan_area(vertices, faces[flat], bounds)
    wanted = (bounds[2] - bounds[0]) * (bounds[3] - bounds[1])
    meshed = np.flatnonzero(table["area"] > 0)
    roofs = np.unique(markers[markers >= len(table["id"])]) - len(table["id"])
    perimeter = 2 * (bounds[2] - bounds[0] + bounds[3] - bounds[1])
    rim_length = np.hypot(*(vertices[low, :2] - vertices[high, :2])[on_rim].T).sum()
    return Verdict(
        open_inside=int(single.sum()) if solid else int((~on_rim).sum()),
        overused=int((count > 2).sum()),
        inconsistent=int(((count == 2) & (forward != 0)).sum()),
        nonmanifold_vertices=nonmanifold(faces, n),
        unused_vertices=n - len(np.unique(faces)),
        inverted=inverted,
        area_error=abs(doubled / 2 - wanted) / wanted,
        missing_buildings=len(set(meshed.tolist()) ^ set(roofs.tolist())),
        misplaced_rim=0 if solid else int(abs(rim_length - perimeter) > 1e-6 * perimeter),
    )


def plan_area(vertices: np.ndarray[Any, Any], faces: np.ndarray[Any, Any], bounds: list[float]) -> tuple[float, int]:
    """Return the exact doubled area in plan and the number of triangles of no or negative area."""
    units = np.rint((vertices[:, :2] - np.floor(bounds[:2])) * 2**18).astype(np.int64)
    a, b, c = (units[faces[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    total = sum(int(part) for part in np.add.reduceat(area, np.arange(0, len(area), 1000))) if len(area) else 0
    return float(Fraction(total, 2**36)), int((area <= 0).sum())


def nonmanifold(faces: np.ndarray[Any, Any], n: int) -> int:
    """Return the number of vertices whose faces do not hang together in one fan."""
    corner = np.arange(3 * len(faces)).reshape(-1, 3)
    after = np.roll(corner, -1, axis=1).ravel()
    start, stop = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    key = np.minimum(start, stop) * n + np.maximum(start, stop)
    order = np.argsort(key, kind="stable")
    pair = np.flatnonzero(key[order][1:] == key[order][:-1])
    e, f = order[pair], order[pair + 1]
    same = start[e] == start[f]
    rows = np.concatenate([e, after[e]])
    cols = np.concatenate([np.where(same, f, after[f]), np.where(same, after[f], f)])
    size = 3 * len(faces)
    fans = connected_components(coo_matrix((np.ones(len(rows)), (rows, cols)), shape=(size, size)), directed=False)[1]
    fans_per_vertex = np.bincount(np.unique(np.stack([faces.ravel(), fans], axis=1), axis=0)[:, 0], minlength=n)
    return int((fans_per_vertex > 1).sum())


def building_measures(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return roof area and volume under the roof (down to z = 0) of each building, from the faces."""
    mesh, table, _ = load(path)
    vertices, faces, markers = mesh["vertices"], mesh["faces"], mesh["markers"]
    rows = len(table["id"])
    roof = markers >= rows
    corners = vertices[faces[roof]]
    edge, other = corners[:, 1, :2] - corners[:, 0, :2], corners[:, 2, :2] - corners[:, 0, :2]
    area = (edge[:, 0] * other[:, 1] - edge[:, 1] * other[:, 0]) / 2
    volume = area * corners[:, :, 2].mean(axis=1)
    where = markers[roof] - rows
    return np.bincount(where, area, rows), np.bincount(where, volume, rows)
