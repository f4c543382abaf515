"""How many triangles every place of a city will take: what tiles, memory and room on disk are planned by.

Arithmetic on what `estimates` and `density` found; no file is read here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....options import CityOptions
from ....tiles import Box, Domain, Tiling
from ..job import CityJob
from .density import grid_shape
from .estimates import OutlineSample

Float64 = npt.NDArray[np.float64]

TILE_SAFETY = 2.0
"""So many times what is projected may the triangles of the largest tile be."""

_TERRAIN_BAND, _ROOF_BAND, _WALL_BAND, _BARE_WALL = 1.7, 1.1, 3.5, 2.5
"""Triangles that a piece of an outline adds to the lattices of terrain, roof and wall, and those of a bare strip."""


@dataclass(frozen=True)
class Costs:
    """Projected triangles by place.

    Parameters
    ----------
    frame : (int, int, int, int)
        The domain, mesh units relative to the project origin.
    sums : (rows + 1, columns + 1) float64
        Triangles south-west of each corner of a regular grid over the domain.
    """

    frame: Box
    sums: Float64

    @property
    def total(self) -> float:
        """Projected triangles of the whole mesh."""
        return float(self.sums[-1, -1])

    def inside(self, boxes: npt.NDArray[np.int64]) -> Float64:
        """Return the projected triangles inside boxes.

        Parameters
        ----------
        boxes : (n, 4) int64
            x0, y0, x1, y1, mesh units. Inside a cell of the grid triangles are spread evenly.

        Returns
        -------
        (n,) float64
        """
        x0, y0, x1, y1 = np.asarray(boxes, np.float64).reshape(-1, 4).T
        return self._below(x1, y1) - self._below(x0, y1) - self._below(x1, y0) + self._below(x0, y0)

    def _below(self, x: Float64, y: Float64) -> Float64:
        """Return the triangles south-west of points, bilinear between the corners of the grid."""
        fx, fy = (
            np.clip((value - self.frame[axis]) / (self.frame[axis + 2] - self.frame[axis]), 0, 1) * cells
            for axis, value, cells in ((0, x, self.sums.shape[1] - 1), (1, y, self.sums.shape[0] - 1))
        )
        col = np.minimum(fx.astype(np.int64), self.sums.shape[1] - 2)
        row = np.minimum(fy.astype(np.int64), self.sums.shape[0] - 2)
        fx, fy = fx - col, fy - row
        south = self.sums[row, col] * (1 - fx) + self.sums[row, col + 1] * fx
        north = self.sums[row + 1, col] * (1 - fx) + self.sums[row + 1, col + 1] * fx
        below: Float64 = south * (1 - fy) + north * fy
        return below


def projected_costs(domain: Domain, outlines: OutlineSample, options: CityOptions) -> Costs:
    """Return the projected triangles of a city by place.

    Terrain and roofs: two triangles per point of a hexagonal lattice, and some more per piece of an outline on
    either side. Walls: at each vertex of an outline levels stand about as far apart as its pieces are long; where
    houses share their walls that is twice too much, and the lattice fits better: the mean of both is taken.

    Parameters
    ----------
    domain : Domain
        What is meshed.
    outlines : OutlineSample
        What the footprints are like, and where.
    options : CityOptions
        Mesh sizes, walls or not.
    """
    density = outlines.density
    if density is None:
        shape = grid_shape(domain)
        count = np.full(shape, outlines.count / (shape[0] * shape[1]))
        perimeter, area = count * outlines.perimeter_m, count * outlines.area_m2
    else:
        count = density.dense(density.count)
        perimeter = density.dense(density.perimeter_m) * outlines.perimeter_share
        area = density.dense(density.area_m2) * outlines.area_share
    h, b = options.max_mesh_size, options.building_mesh_triangle_size
    pieces = count * outlines.corners + perimeter / min(h, b)
    open_ground = np.maximum(domain.area / count.size - area, 0.0)
    triangles = _lattice(open_ground, h) + _lattice(area, b) + (_TERRAIN_BAND + _ROOF_BAND) * pieces
    if options.lod:
        lattice = _lattice(perimeter * outlines.wall_height_m, b) + _WALL_BAND * pieces
        walls = (pieces * _wall_triangles(outlines, b) + lattice) / 2
        triangles += walls if options.mesh_walls else _BARE_WALL * pieces
    sums = np.zeros((count.shape[0] + 1, count.shape[1] + 1))
    sums[1:, 1:] = triangles.cumsum(axis=0).cumsum(axis=1)
    return Costs(domain.mesh_frame, sums)


def estimated_triangles(domain: Domain, outlines: OutlineSample, options: CityOptions) -> float:
    """Return the projected number of triangles of the whole mesh; see `projected_costs`."""
    return projected_costs(domain, outlines, options).total


def job_costs(job: CityJob) -> Costs:
    """Return the projected triangles of a job by place."""
    return projected_costs(job.domain, job.survey.outlines, job.options)


def largest_tile(job: CityJob) -> float:
    """Return the triangles that no tile of a job has more of: the most projected of any, times `TILE_SAFETY`."""
    return TILE_SAFETY * projected_tile(job_costs(job), job.tiling)


def projected_tile(costs: Costs, tiling: Tiling) -> float:
    """Return the most projected triangles of a tile."""
    return float(costs.inside(tiling.boxes).max())


def _wall_triangles(outlines: OutlineSample, size: float) -> float:
    """Return the mean number of wall triangles above a piece of an outline."""
    length, shorter = outlines.edges.astype(np.float64).T
    counts = np.maximum(np.ceil(length / size), 1.0)
    between = np.maximum(outlines.wall_height_m / np.minimum(length / counts, size), 1.0)
    at_corner = np.maximum(outlines.wall_height_m / np.minimum(shorter, length / counts), 1.0)
    return float(2 * (at_corner + (counts - 1) * between).sum() / counts.sum())


def _lattice(area: Float64, size: float) -> Float64:
    """Return the triangles of a hexagonal lattice with a spacing on an area."""
    triangles: Float64 = area * (4 / (math.sqrt(3) * size * size))
    return triangles
