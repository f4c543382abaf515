"""How large the mesh will be, from headers and a handful of footprints: what tiles and memory are planned by.

Arithmetic and one look into the footprint files; nothing that the mesh itself depends on but the size of its tiles.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from ....errors import CityMeshError
from ....formats.crs import Bounds
from ....formats.footprints import FootprintSource, read_features
from ....options import CityOptions
from ....tiles import Domain

Geometries = npt.NDArray[np.object_]

TRIANGLES_PER_TILE = 150_000
"""Aim of the automatic tile size: tiles of 0.1 to 1 M triangles are the fastest."""
_LEAST_TILES, _LEAST_TRIANGLES = 8, 40_000
"""A small city is divided, too, so that there is work for several workers, but not into crumbs."""

_SAMPLED_FILES, _SAMPLED_PLACES, _SAMPLED_FEATURES = 4, 4, 60
_BAND, _WALL_HEIGHT_M = 7.0, 10.0
"""Triangles on the ground and on the roof beside a piece of an outline, and the height of a wall."""


@dataclass(frozen=True)
class OutlineSample:
    """What the footprints are like.

    Parameters
    ----------
    count : float
        Footprints inside the domain.
    corners, perimeter_m, area_m2 : float
        Means of those that were looked at: points of the rings, and metres.
    """

    count: float = 0.0
    corners: float = 6.0
    perimeter_m: float = 50.0
    area_m2: float = 150.0

    def pieces(self, size: float) -> float:
        """Return into how many pieces of at most ``size`` metres the outline of a footprint is cut."""
        return self.corners + self.perimeter_m / size


def sample_outlines(
    footprints: Sequence[FootprintSource], domain: Domain, *, crs: str, box: Bounds | None
) -> OutlineSample:
    """Look at a handful of footprints.

    Parameters
    ----------
    footprints : sequence of FootprintSource
        All layers.
    domain : Domain
        What will be meshed.
    crs : str
        Project CRS, WKT.
    box : (xmin, ymin, xmax, ymax) or None
        Around all footprints, project CRS.
    """
    found = [(source, _some(source, crs)) for source in _spread(footprints)]
    geometries = np.concatenate([np.empty(0, object), *(some for _, some in found)])
    geometries = geometries[~shapely.is_missing(geometries)]
    count = sum(source.n_features for source in footprints) * _share_inside(found, domain.bounds, box=box)
    if not len(geometries):
        return OutlineSample(count)
    means = (shapely.get_num_coordinates(geometries), shapely.length(geometries), shapely.area(geometries))
    corners, perimeter, area = (float(np.nan_to_num(np.mean(values), posinf=0.0)) for values in means)
    return OutlineSample(count, corners, perimeter, area)


def _spread(footprints: Sequence[FootprintSource]) -> list[FootprintSource]:
    full = [source for source in footprints if source.n_features]
    step = max(len(full) // _SAMPLED_FILES, 1)
    return full[::step][:_SAMPLED_FILES]


def _some(source: FootprintSource, crs: str) -> Geometries:
    """Return some geometries of a layer: from several places where it need not be read from its start."""
    places = _SAMPLED_PLACES if source.seeks else 1
    found = [np.empty(0, object)]
    for place in range(places):
        start = source.n_features * place // places
        stop = min(start + _SAMPLED_FEATURES * _SAMPLED_PLACES // places, source.n_features)
        with contextlib.suppress(CityMeshError):  # the task that reads them all says it better
            found.append(read_features(source, start, stop, crs=crs).geometries)
    return np.concatenate(found)


def _share_inside(found: Sequence[tuple[FootprintSource, Geometries]], frame: Bounds, *, box: Bounds | None) -> float:
    """Return which share of the footprints lies inside a frame.

    Where footprints from all over the files were looked at, that is counted; else, and where none of them
    lies inside, footprints are taken to be spread evenly over their box.
    """
    even = 1.0
    if box is not None:
        for axis in (0, 1):
            inside = min(box[axis + 2], frame[axis + 2]) - max(box[axis], frame[axis])
            even *= min(max(inside, 0.0) / max(box[axis + 2] - box[axis], 1e-9), 1.0)
    bounds = [shapely.bounds(geometries) for source, geometries in found if source.seeks]
    looked_at = np.concatenate([np.empty((0, 4)), *bounds])
    meet = (looked_at[:, :2] < frame[2:]).all(axis=1) & (looked_at[:, 2:] > frame[:2]).all(axis=1)
    return float(meet.mean()) if meet.any() else even


def estimated_triangles(domain: Domain, outlines: OutlineSample, options: CityOptions) -> float:
    """Return a rough number of triangles of the mesh, within a factor of two on all cities tried.

    Terrain: two triangles per point of a hexagonal lattice. Buildings: per piece of an outline a band of
    small triangles on either side and the wall above it, and the lattice on the roof.
    """
    h, b = options.max_mesh_size, options.building_mesh_triangle_size
    walls = 2 * max(_WALL_HEIGHT_M / (1.2 * b), 1.0) if options.mesh_walls else 2.0
    pieces = outlines.pieces(b) * (_BAND + (walls if options.lod else 0.0))
    return _lattice(domain.area, h) + outlines.count * (pieces + _lattice(outlines.area_m2, b))


def _lattice(area: float, size: float) -> float:
    return area * 4 / (math.sqrt(3) * size * size)


def automatic_tile_size(domain: Domain, triangles: float, options: CityOptions) -> float:
    """Return a tile size in metres that gives tiles of about `TRIANGLES_PER_TILE`."""
    count = max(triangles / TRIANGLES_PER_TILE, min(triangles / _LEAST_TRIANGLES, _LEAST_TILES), 1.0)
    return min(max(math.sqrt(domain.area / count), 20 * options.max_mesh_size, 50.0), 4000.0)
