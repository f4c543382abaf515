"""Labelled scenes for meshing tests, noded and labelled by shapely alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from citymesh_dask.mesh import TileMesh
from citymesh_dask.outlines import BEYOND, GROUND, Constraints
from citymesh_dask.tiles import MESH_UNITS

Ring = Sequence[tuple[float, float]]


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Ring:
    """Return the corners of a rectangle, metres."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def turned(cx: float, cy: float, width: float, depth: float, angle: float) -> Ring:
    """Return the corners of a rectangle around a centre, turned by an angle in radians."""
    c, s = math.cos(angle), math.sin(angle)
    corners = ((-width, -depth), (width, -depth), (width, depth), (-width, depth))
    return [(cx + (x * c - y * s) / 2, cy + (x * s + y * c) / 2) for x, y in corners]


class Hills:
    """Terrain in whole millimetres; flat where the amplitude is 0."""

    def __init__(self, amplitude: float = 0.0, base: float = 20.0) -> None:
        self.amplitude = amplitude
        self.base = base

    def at(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        height = self.base + self.amplitude * np.sin(x / 17.0) * np.cos(y / 23.0)
        return np.rint(height * 1000.0) / 1000.0


@dataclass(frozen=True)
class Scene:
    """Directed segments with the label and the tile on both sides."""

    points: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]
    tiles: npt.NDArray[np.int32]
    n_buildings: int
    building_size: float

    def constraints(self, tile: int = 0) -> Constraints:
        """Return what one tile sees: segments it owns a side of, and those that touch the ends of them."""
        own = self.tiles == tile
        touched = np.zeros(len(self.points), dtype=bool)
        touched[self.ends[own.any(axis=1)]] = True
        seen = np.flatnonzero(own.any(axis=1) | touched[self.ends].any(axis=1))
        used, ends = np.unique(self.ends[seen], return_inverse=True)
        left, right = self.labels[seen].T
        rows = np.arange(self.n_buildings, dtype=np.int64) + 100
        return Constraints(
            self.points[used],
            ends.reshape(-1, 2).astype(np.int32),
            np.ascontiguousarray(left),
            np.ascontiguousarray(right),
            np.ascontiguousarray(own[seen, 0]),
            np.ascontiguousarray(own[seen, 1]),
            rows,
            self.wall_steps()[used],
        )

    def wall_steps(self) -> npt.NDArray[np.int8]:
        outline = (self.labels >= 0).any(axis=1)
        total, count = np.zeros(len(self.points)), np.zeros(len(self.points))
        for end in (0, 1):
            np.add.at(total, self.ends[outline, end], self.lengths()[outline])
            np.add.at(count, self.ends[outline, end], 1)
        steps = np.zeros(len(self.points), dtype=np.int8)
        on = count > 0
        mean = total[on] / count[on]
        steps[on] = np.clip(np.rint(np.log2(self.building_size / (1.5 * mean))), 0, 4)
        return steps

    def lengths(self) -> npt.NDArray[np.float64]:
        difference = (self.points[self.ends[:, 1]] - self.points[self.ends[:, 0]]) / MESH_UNITS
        return np.hypot(difference[:, 0], difference[:, 1])

    def doubled_area(self, tile: int = 0, label: int | None = None) -> int:
        """Return the exact doubled area of a tile, or of one region in it, square mesh units."""
        inside = self.tiles == tile
        if label is not None:
            inside = inside & (self.labels == label)
        total = 0
        for (a, b), (left, right) in zip(self.ends.tolist(), inside.tolist(), strict=True):
            (ax, ay), (bx, by) = self.points[a].tolist(), self.points[b].tolist()
            total += (int(left) - int(right)) * (ax * by - ay * bx)
        return total


def make_scene(
    frame: tuple[float, float, float, float],
    buildings: Sequence[Ring],
    *,
    piece: float = 5.0,
    seams: Sequence[Ring] = (),
    tile_of: Callable[[float, float], int] = lambda x, y: 0,
    courtyards: Sequence[Ring] = (),
) -> Scene:
    """Return a scene; where buildings overlap the first wins, courtyards are ground, seams only cut.

    ``tile_of`` gives the tile of each face from a point inside it.
    """
    rings = [rectangle(*frame), *buildings, *courtyards]
    lines = [shapely.LinearRing(ring) for ring in rings] + [shapely.LineString(seam) for seam in seams]
    noded = shapely.union_all(lines, grid_size=2.0**-10)
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(noded)))
    polygons = [shapely.Polygon(ring) for ring in buildings]
    holes = [shapely.Polygon(ring) for ring in courtyards]
    sides: dict[tuple[tuple[int, int], tuple[int, int]], tuple[int, int]] = {}
    for face in faces:
        inner = face.representative_point()
        if not shapely.box(*frame).contains(inner):
            continue
        label = next((i for i, polygon in enumerate(polygons) if polygon.contains(inner)), GROUND)
        if any(hole.contains(inner) for hole in holes):
            label = GROUND
        value = (label, tile_of(inner.x, inner.y))
        face = shapely.geometry.polygon.orient(face)
        for ring in (face.exterior, *face.interiors):
            corners = [(round(x * 1024), round(y * 1024)) for x, y in ring.coords]
            for a, b in itertools.pairwise(corners):
                sides[a, b] = value
    return _cut(sides, piece=piece, n_buildings=len(buildings))


def _cut(
    sides: dict[tuple[tuple[int, int], tuple[int, int]], tuple[int, int]], *, piece: float, n_buildings: int
) -> Scene:
    ids: dict[tuple[int, int], int] = {}
    ends, labels, tiles = [], [], []
    for (a, b), left in sides.items():
        right = sides.get((b, a), (BEYOND, -1))
        if (b, a) in sides and a > b:
            continue
        count = max(1, math.ceil(math.dist(a, b) / 1024 / piece))
        low, high = min(a, b), max(a, b)
        chain = [
            tuple(256 * p + (256 * (q - p) * k) // count for p, q in zip(low, high, strict=True))
            for k in range(count + 1)
        ]
        if a > b:
            chain.reverse()
        numbers = [ids.setdefault((x, y), len(ids)) for x, y in chain]
        for u, v in itertools.pairwise(numbers):
            ends.append((u, v))
            labels.append((left[0], right[0]))
            tiles.append((left[1], right[1]))
    return Scene(
        np.array(list(ids), dtype=np.int64),
        np.array(ends, dtype=np.int32),
        np.array(labels, dtype=np.int32),
        np.array(tiles, dtype=np.int32),
        n_buildings,
        piece,
    )


def open_edges(faces: npt.NDArray[np.integer], n_vertices: int) -> tuple[npt.NDArray[np.int64], int, int]:
    """Return edges used once (as they run), and the numbers of overused and of inconsistent ones (by sorting)."""
    start, stop = faces.ravel().astype(np.int64), faces[:, [1, 2, 0]].ravel().astype(np.int64)
    key = np.minimum(start, stop) * n_vertices + np.maximum(start, stop)
    _, first, inverse, count = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    balance = np.bincount(inverse, weights=np.where(start < stop, 1, -1))
    once = first[count == 1]
    over = int((count > 2).sum())
    return np.stack([start[once], stop[once]], axis=1), over, int(((count == 2) & (balance != 0)).sum())


def join(meshes: Sequence[TileMesh]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return several tiles as one mesh: vertices with equal x, y and level become one."""
    keys = np.concatenate([np.column_stack([mesh.vertices[:, :2], mesh.levels]) for mesh in meshes])
    shift = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = np.concatenate([mesh.faces + s for mesh, s in zip(meshes, shift, strict=False)])
    _, first, number = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    assert np.array_equal(vertices[first][number.ravel()][:, 2], vertices[:, 2])
    return vertices[first], number.ravel()[faces], np.concatenate([mesh.markers for mesh in meshes])
