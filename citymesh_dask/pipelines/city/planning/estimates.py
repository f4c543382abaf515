"""What the footprints are like: where their boxes stand, and a handful of them looked at closely.

Nothing that the mesh itself depends on but its tiles; what follows for their size is in `costs`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import shapely

from ....errors import CityMeshError
from ....formats.crs import Bounds
from ....formats.footprints import FootprintSource, read_features
from ....tiles import Domain
from .density import Density, footprint_density

Float64 = npt.NDArray[np.float64]
Geometries = npt.NDArray[np.object_]

_SAMPLED_FILES, _SAMPLED_PLACES, _SAMPLED_FEATURES = 4, 12, 20
_WALL_HEIGHT_M = 10.0
"""Height of walls where nothing says."""
_SHORTEST_EDGE_M = 0.25
"""Shorter edges do not survive cleaning."""


@dataclass(frozen=True)
class OutlineSample:
    """What the footprints are like.

    Parameters
    ----------
    count : float
        Footprints inside the domain.
    looked_at : int
        Footprints that were looked at.
    edges : (k, 2) float32
        Of all edges of their outlines: the length, and that of the shorter neighbour or its own, metres.
    area_m2 : float
        Mean area of those.
    perimeter_share, area_share : float
        Perimeter and area as shares of those of their boxes.
    wall_height_m : float
        Mean height above ground of those whose attributes tell, metres; else a guess.
    density : Density or None
        Where they stand; None: spread evenly.
    """

    count: float = 0.0
    looked_at: int = 1
    edges: npt.NDArray[np.float32] = field(default_factory=lambda: np.full((6, 2), 8, np.float32), compare=False)
    area_m2: float = 150.0
    perimeter_share: float = 1.0
    area_share: float = 0.8
    wall_height_m: float = _WALL_HEIGHT_M
    density: Density | None = field(default=None, compare=False)

    @property
    def corners(self) -> float:
        """Mean number of corners of a footprint."""
        return len(self.edges) / self.looked_at

    @property
    def perimeter_m(self) -> float:
        """Mean length of the outline of a footprint, metres."""
        return float(self.edges[:, 0].sum(dtype=np.float64)) / self.looked_at


def sample_outlines(
    footprints: Sequence[FootprintSource],
    domain: Domain,
    *,
    crs: str,
    box: Bounds | None,
    heights: Float64 | None = None,
) -> OutlineSample:
    """Count the footprints by place and look at a handful of them.

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
    heights : (n,) float64, optional
        Heights above ground of some buildings, metres, NaN where there is none.
    """
    density = footprint_density(footprints, domain, crs)
    sample = _looked_at(footprints, crs)
    if density.total:
        sample = replace(sample, count=density.total, density=density)
    else:  # none inside, or none whose box could be read: evenly spread over their box
        even = _share_inside(domain.bounds, box)
        sample = replace(sample, count=even * sum(source.n_features for source in footprints))
    known = np.empty(0) if heights is None else heights[np.isfinite(heights) & (heights > 0)]
    return replace(sample, wall_height_m=float(known.mean())) if len(known) else sample


def _looked_at(footprints: Sequence[FootprintSource], crs: str) -> OutlineSample:
    geometries = np.concatenate([np.empty(0, object), *(_some(source, crs) for source in _spread(footprints))])
    geometries = geometries[~shapely.is_missing(geometries)]
    boxes = shapely.bounds(geometries)
    finite = np.isfinite(boxes).all(axis=1)
    geometries, boxes = geometries[finite], boxes[finite]
    edges = _edges(geometries)
    if not len(edges):
        return OutlineSample()
    area = float(np.nan_to_num(shapely.area(geometries)).sum())
    sides = boxes[:, 2:] - boxes[:, :2]
    perimeter_share = float(edges[:, 0].sum(dtype=np.float64) / max(2 * sides.sum(), 1e-9))
    area_share = min(area / max(float(sides.prod(axis=1).sum()), 1e-9), 1.0)
    n = len(geometries)
    return OutlineSample(0.0, n, edges, area / n, perimeter_share, area_share)


def _edges(geometries: Geometries) -> npt.NDArray[np.float32]:
    """Return the lengths of all edges, and of the shorter of each and the next one, (k, 2) metres."""
    rings = shapely.get_rings(shapely.get_parts(geometries))
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    steps = np.diff(xy, axis=0)[ring[1:] == ring[:-1]]
    ring = ring[1:][ring[1:] == ring[:-1]]
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    kept = np.isfinite(lengths) & (lengths > _SHORTEST_EDGE_M)
    lengths, ring = lengths[kept], ring[kept]
    if not len(lengths):
        return np.empty((0, 2), np.float32)
    first = np.flatnonzero(np.diff(ring, prepend=-1))
    after = np.roll(lengths, -1)
    after[np.append(first[1:], len(ring)) - 1] = lengths[first]
    return np.stack([lengths, np.minimum(lengths, after)], axis=1).astype(np.float32)


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


def _share_inside(frame: Bounds, box: Bounds | None) -> float:
    """Return which share of a box lies inside a frame."""
    even = 1.0
    if box is not None:
        for axis in (0, 1):
            inside = min(box[axis + 2], frame[axis + 2]) - max(box[axis], frame[axis])
            even *= min(max(inside, 0.0) / max(box[axis + 2] - box[axis], 1e-9), 1.0)
    return even
