"""A city seen from far away: a raster of heights and markers, and the surface that stands for it in a picture.

A mesh of a thousand million faces has hundreds for every pixel. Tiles sum theirs up in the cells of a grid that is
the same for all (`sum_up`), sums are laid over one another in any order (`lay_over`), and the result is drawn as a
height field with houses as blocks (`field_faces`): the picture costs the same however large the mesh is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ...mesh import TERRAIN_MARKER
from ...outlines import Bool, Float64, Int32
from ..terrain.filling import VOID, fill_top

CELLS = 1536
"""Cells along the longer edge of the domain: about one for each pixel of a picture."""
_ROOF_SHARE = 0.3
"""A cell is that of a house if a roof covers so much of it."""
_TERRAIN_FACES = 12
_BAND_ROWS = 32

Float32 = npt.NDArray[np.float32]
Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class OverviewGrid:
    """Square cells over the domain, rows going north.

    Parameters
    ----------
    bounds : (xmin, ymin, xmax, ymax)
        Domain, metres in the project CRS; the last row and column may reach beyond it.
    cell : float
        Metres.
    """

    bounds: Bounds
    cell: float

    @classmethod
    def over(cls, bounds: Bounds, cells: int = CELLS) -> OverviewGrid:
        """Return the grid with so many cells along the longer edge of a domain.

        >>> OverviewGrid.over((0.0, 0.0, 30.0, 20.0), 6).shape
        (4, 6)
        """
        return cls(bounds, max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / cells)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        width, height = self.bounds[2] - self.bounds[0], self.bounds[3] - self.bounds[1]
        return math.ceil(height / self.cell - 1e-9), math.ceil(width / self.cell - 1e-9)

    def lines(self) -> tuple[Float64, Float64]:
        """Return where columns and rows begin and end, cut off at the bounds: x (columns + 1,) and y (rows + 1,)."""
        xmin, ymin, xmax, ymax = self.bounds
        rows, columns = self.shape
        return (
            np.minimum(xmin + np.arange(columns + 1) * self.cell, xmax),
            np.minimum(ymin + np.arange(rows + 1) * self.cell, ymax),
        )


@dataclass(frozen=True)
class Overview:
    """What the cells of a window of the grid show.

    Parameters
    ----------
    row, column : int
        First cell of the window.
    heights : (rows, columns) float32
        Of the highest roof, else of the highest terrain, metres; NaN where there is nothing.
    markers : (rows, columns) int32
        Marker of that roof, as in the mesh, or -2.
    """

    row: int
    column: int
    heights: Float32
    markers: Int32

    @classmethod
    def empty(cls, row: int, column: int, shape: tuple[int, int]) -> Overview:
        """Return a window with nothing in it."""
        return cls(row, column, np.full(shape, np.nan, np.float32), np.full(shape, TERRAIN_MARKER, np.int32))


def sum_up(grid: OverviewGrid, vertices: Float64, *, faces: Int32, markers: Int32, n_rows: int) -> Overview:
    """Return what a piece of mesh shows in the cells of a grid.

    Parameters
    ----------
    grid : OverviewGrid
        The cells.
    vertices : (n, 3) float64
        Metres in the project CRS.
    faces, markers : (m, 3) and (m,) int32
        The mesh; walls are not looked at.
    n_rows : int
        Rows of the building table, which tells roofs from walls.
    """
    if not len(faces):
        return Overview.empty(0, 0, (0, 0))
    corner = np.array(grid.bounds[:2])
    last = np.array(grid.shape[::-1]) - 1
    # column by column: a reduction along the first axis takes ten times as long
    box = np.array([[end(vertices[:, axis]) for axis in (0, 1)] for end in (np.min, np.max)])
    low, high = np.clip((box - corner) // grid.cell, 0, last)
    column, row = low.astype(int).tolist()
    columns, rows = (high - low).astype(int).tolist()
    found = Overview.empty(row, column, (rows + 1, columns + 1))
    start = corner + np.array([column, row]) * grid.cell
    _sum_up(vertices, faces, markers, n_rows, start, grid.cell, found.heights, found.markers)
    return found


@njit(cache=True, nogil=True)
def _sum_up(
    vertices: Float64,
    faces: Int32,
    markers: Int32,
    n_rows: int,
    start: Float64,
    cell: float,
    heights: Float32,
    shown: Int32,
) -> None:
    rows, columns = heights.shape
    covered = np.zeros((rows, columns))
    roof = np.full((rows, columns), -np.inf, np.float32)
    owner = np.full((rows, columns), TERRAIN_MARKER, np.int32)
    third = 1.0 / (3.0 * cell)
    # where a cell has many faces of terrain some of them will do
    step = max(len(faces) // (_TERRAIN_FACES * rows * columns), 1)
    for face in range(len(faces)):
        marker = markers[face]
        if marker == TERRAIN_MARKER:
            if face % step:
                continue
        elif marker < n_rows:
            continue
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ax, ay = vertices[a, 0] - start[0], vertices[a, 1] - start[1]
        bx, by = vertices[b, 0] - start[0], vertices[b, 1] - start[1]
        cx, cy = vertices[c, 0] - start[0], vertices[c, 1] - start[1]
        column = min(max(int((ax + bx + cx) * third), 0), columns - 1)
        row = min(max(int((ay + by + cy) * third), 0), rows - 1)
        z = np.float32((vertices[a, 2] + vertices[b, 2] + vertices[c, 2]) / 3.0)
        if marker == TERRAIN_MARKER:
            if not z <= heights[row, column]:
                heights[row, column] = z
            continue
        covered[row, column] += 0.5 * abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay))
        if z > roof[row, column] or (z == roof[row, column] and marker > owner[row, column]):
            roof[row, column], owner[row, column] = z, marker
    for row in range(rows):
        for column in range(columns):
            if covered[row, column] >= _ROOF_SHARE * cell * cell:
                heights[row, column], shown[row, column] = roof[row, column], owner[row, column]


def lay_over(whole: Overview, piece: Overview) -> None:
    """Lay a piece over a whole that begins at the first cell: roofs hide terrain, the higher hides the lower."""
    rows, columns = piece.heights.shape
    place = np.s_[piece.row : piece.row + rows, piece.column : piece.column + columns]
    heights, markers = whole.heights[place], whole.markers[place]
    is_roof, was_roof = piece.markers != TERRAIN_MARKER, markers != TERRAIN_MARKER
    higher = (piece.heights > heights) | ((piece.heights == heights) & (piece.markers > markers))
    better = np.where(is_roof == was_roof, higher, is_roof) | np.isnan(heights)
    better &= ~np.isnan(piece.heights)
    heights[better], markers[better] = piece.heights[better], piece.markers[better]


def field_faces(grid: OverviewGrid, overview: Overview, *, n_rows: int) -> Iterator[tuple[Float64, Int32, Int32]]:
    """Yield the surface that stands for a city, some rows of cells at a time.

    Parameters
    ----------
    grid : OverviewGrid
        All cells.
    overview : Overview
        What they show.
    n_rows : int
        Rows of the building table.

    Yields
    ------
    corners : (k, 3, 3) float64
        Face, corner, coordinate, metres.
    markers, building : (k,) int32
        As in the store.
    """
    is_roof = overview.markers != TERRAIN_MARKER
    ground = _corner_heights(np.where(is_roof, np.nan, overview.heights))
    # beyond the edge nothing stands
    padded = np.pad(np.where(is_roof, overview.heights, -np.inf), 1, constant_values=-np.inf)
    x, y = grid.lines()
    for start in range(0, len(is_roof), _BAND_ROWS):
        rows = slice(start, min(start + _BAND_ROWS, len(is_roof)))
        band = _Band(x, y[rows.start : rows.stop + 1], ground[rows.start : rows.stop + 1], is_roof[rows])
        flat, faces = padded[rows.start : rows.stop + 2], [*band.terrain()]
        roofs = overview.markers[rows]
        faces += band.roofs(flat, roofs)
        faces += band.walls(flat, roofs - np.int32(n_rows))
        corners = np.concatenate([part for part, _ in faces])
        markers = np.concatenate([marker for _, marker in faces]).astype(np.int32)
        building = np.where(markers < 0, -1, markers % max(n_rows, 1)).astype(np.int32)
        yield corners, markers, building


@dataclass(frozen=True)
class _Band:
    """Some rows of cells: lines between them, heights of the ground at their corners, and which hold houses."""

    x: Float64
    y: Float64
    ground: Float64
    is_roof: Bool

    def terrain(self) -> list[tuple[Float64, Int32]]:
        row, column = np.nonzero(~self.is_roof)
        quads = self._quads(row, column, self._corners(row, column))
        return _triangles(quads, np.full(len(row), TERRAIN_MARKER, np.int32))

    def roofs(self, flat: Float32, markers: Int32) -> list[tuple[Float64, Int32]]:
        row, column = np.nonzero(self.is_roof)
        z = np.repeat(flat[row + 1, column + 1, None], 4, axis=1)
        return _triangles(self._quads(row, column, z), markers[row, column])

    def walls(self, flat: Float32, markers: Int32) -> list[tuple[Float64, Int32]]:
        """Return the walls from each roof down to what is beside it."""
        found = []
        own = flat[1:-1, 1:-1]
        # neighbour, and the corners of the side towards it, counter-clockwise from the south-west one
        for down, right, first, second in ((-1, 0, 0, 1), (0, 1, 1, 2), (1, 0, 2, 3), (0, -1, 3, 0)):
            rows, columns = own.shape
            beside = flat[1 + down : 1 + down + rows, 1 + right : 1 + right + columns]
            row, column = np.nonzero(self.is_roof & (beside < own))
            low = self._corners(row, column)[:, [first, second]]
            low = np.where(np.isfinite(beside[row, column, None]), beside[row, column, None], low)
            high = np.repeat(own[row, column, None], 2, axis=1)
            plan = self._plan(row, column)[:, [first, second, second, first]]
            z = np.concatenate([np.minimum(low, high), high[:, ::-1]], axis=1)
            found += _triangles(np.concatenate([plan, z[:, :, None]], axis=2), markers[row, column])
        return found

    def _corners(self, row: npt.NDArray[np.intp], column: npt.NDArray[np.intp]) -> Float64:
        ground = self.ground
        return np.stack(
            [ground[row, column], ground[row, column + 1], ground[row + 1, column + 1], ground[row + 1, column]], axis=1
        )

    def _plan(self, row: npt.NDArray[np.intp], column: npt.NDArray[np.intp]) -> Float64:
        west, east, south, north = self.x[column], self.x[column + 1], self.y[row], self.y[row + 1]
        return np.stack([west, south, east, south, east, north, west, north], axis=1).reshape(-1, 4, 2)

    def _quads(self, row: npt.NDArray[np.intp], column: npt.NDArray[np.intp], z: npt.NDArray[np.floating]) -> Float64:
        return np.concatenate([self._plan(row, column), z[:, :, None]], axis=2)


def _triangles(quads: Float64, markers: Int32) -> list[tuple[Float64, Int32]]:
    """Return quadrangles (k, 4, 3) as two triangles each."""
    return [(quads[:, [0, 1, 2]], markers), (quads[:, [0, 2, 3]], markers)]


def _corner_heights(terrain: npt.NDArray[np.floating]) -> Float64:
    """Return the ground at the corners of cells: the mean of the cells around, filled up under large roofs."""
    total, count = np.zeros(np.add(terrain.shape, 1)), np.zeros(np.add(terrain.shape, 1), np.int64)
    known = np.isfinite(terrain)
    for down in (0, 1):
        for right in (0, 1):
            place = np.s_[down : down + terrain.shape[0], right : right + terrain.shape[1]]
            total[place] += np.where(known, terrain, 0.0)
            count[place] += known
    if not known.any():
        return np.full(total.shape, np.nan)
    millimetres = np.where(count > 0, np.rint(1000 * total / np.maximum(count, 1)), VOID).astype(np.int32)
    return fill_top(millimetres) / 1000.0
