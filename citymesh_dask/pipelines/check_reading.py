"""What a check reads from a store: scattered vertices, the frame, positions in mesh units."""

from __future__ import annotations

import itertools
import math

import numpy as np

from ..outlines import Float64, Int64
from ..store.city_store import CityStore
from ..store.schema import VERTEX_CHUNK_ROWS
from ..tiles import MESH_UNITS, Box

_FARTHEST = 2.0**44
"""Mesh units from the corner of the domain that still count as a place on earth: 67,000 km."""


def is_solid(store: CityStore) -> bool:
    """Return whether the mesh of a store is a closed solid."""
    return bool(store.attributes.get("options", {}).get("solid", False))


def read_vertices(store: CityStore, numbers: Int64) -> Float64:
    """Read some vertices, each chunk once.

    Parameters
    ----------
    store : CityStore
        The store.
    numbers : (k,) int64
        Vertices, ascending.

    Returns
    -------
    (k, 3) float64
    """
    positions = np.empty((len(numbers), 3))
    chunks = numbers // VERTEX_CHUNK_ROWS
    bounds = np.append(np.flatnonzero(np.diff(chunks, prepend=-1)), len(numbers))
    for begin, end in itertools.pairwise(bounds.tolist()):
        wanted = numbers[begin:end]
        first = int(wanted[0])
        positions[begin:end] = store.read("vertices", first, int(wanted[-1]) + 1)[wanted - first]
    return positions


def frame_units(store: CityStore) -> Box:
    """Return the domain's rectangle in mesh units relative to whole metres near its corner."""
    x0, y0, x1, y1 = store.attributes["bounds"]
    x, y = math.floor(x0), math.floor(y0)
    return _units(x0 - x), _units(y0 - y), _units(x1 - x), _units(y1 - y)


def _units(metres: float) -> int:
    return round(metres * MESH_UNITS)


def to_plan(positions: Float64, store: CityStore) -> tuple[Int64, Float64]:
    """Return positions in plan as mesh units, and heights.

    Parameters
    ----------
    positions : (n, 3) float64
        Metres in the project CRS.
    store : CityStore
        The store, whose domain gives the origin.

    Returns
    -------
    plan : (n, 2) int64
        Mesh units relative to whole metres near the corner of the domain, rounded; 0 where not finite.
    z : (n,) float64
        Metres; NaN where any coordinate is not finite or farther away than the earth is wide.
    """
    x0, y0 = store.attributes["bounds"][:2]
    units = (positions[:, :2] - (math.floor(x0), math.floor(y0))) * MESH_UNITS
    good = np.isfinite(positions).all(axis=1) & (np.abs(units) < _FARTHEST).all(axis=1)
    plan = np.rint(np.where(good[:, None], units, 0.0)).astype(np.int64)
    return plan, np.where(good, positions[:, 2], np.nan)
