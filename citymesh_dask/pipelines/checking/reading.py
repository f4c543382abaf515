"""What a check reads from a store: scattered vertices, the frame, positions in mesh units."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

from ...errors import StoreError
from ...outlines import Bool, Float64, Int32, Int64
from ...store.chunks import Array
from ...store.city_store import CityStore
from ...store.schema import VERTEX_CHUNK_ROWS
from ...tiles import MESH_UNITS, Box

_FARTHEST = 2.0**44
"""Mesh units from the corner of the domain that still count as a place on earth: 67,000 km."""


Indices = npt.NDArray[np.int32] | npt.NDArray[np.int64]


def is_solid(store: CityStore) -> bool:
    """Return whether the mesh of a store must be a closed solid; one with holes was not closed."""
    wanted = store.attributes.get("options", {}).get("solid", False)
    return bool(wanted and not store.attributes.get("holes"))


def read_faces(store: CityStore, start: int, stop: int) -> tuple[Indices, Int32, Int32]:
    """Read ``faces``, ``markers`` and ``building`` of some faces.

    Raises
    ------
    StoreError
        If an array is shorter than ``faces`` or of another kind than the format says.
    """
    faces = store.read("faces", start, stop)
    markers, building = store.read("markers", start, stop), store.read("building", start, stop)
    for name, array, shape in (
        ("faces", faces, (stop - start, 3)),
        ("markers", markers, (stop - start,)),
        ("building", building, (stop - start,)),
    ):
        if array.shape != shape or array.dtype.kind != "i":
            raise _at_odds(store, name, f"{array.shape} {array.dtype} for faces {start} to {stop}", f"{shape} integers")
    return faces, markers.astype(np.int32, copy=False), building.astype(np.int32, copy=False)


def read_table(store: CityStore, name: str, *, start: int, stop: int) -> Array:
    """Read rows of a column of the building table.

    Raises
    ------
    StoreError
        If the column is missing or too short.
    """
    if name not in store.column_names():
        raise _at_odds(store, f"buildings/{name}", "no such column", "every column of the format")
    column = store.column(name, start, stop)
    if len(column) != stop - start:
        raise _at_odds(store, f"buildings/{name}", f"{start + len(column)} rows", f"{store.n_buildings} rows")
    return column


def _at_odds(store: CityStore, name: str, found: str, expected: str) -> StoreError:
    return StoreError(str(store.path / name), found, expected, "the store is damaged: build it again")


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
        rows = store.read("vertices", first, int(wanted[-1]) + 1)
        if rows.shape[1:] != (3,):
            raise _at_odds(store, "vertices", f"rows of shape {rows.shape[1:]}", "x, y, z")
        positions[begin:end] = rows[wanted - first]
    return positions


def frame_units(store: CityStore) -> Box:
    """Return the domain's rectangle in mesh units relative to whole metres near its corner."""
    x0, y0, x1, y1 = _bounds(store)
    x, y = math.floor(x0), math.floor(y0)
    return _units(x0 - x), _units(y0 - y), _units(x1 - x), _units(y1 - y)


def hole_boxes(store: CityStore) -> list[Box]:
    """Return the boxes that the rims of holes lie in, in the units of `frame_units`."""
    x, y = (math.floor(value) for value in _bounds(store)[:2])
    reaches = [hole["reach"] for hole in store.attributes.get("holes") or [] if hole["reach"]]
    return [(_units(x0 - x), _units(y0 - y), _units(x1 - x), _units(y1 - y)) for x0, y0, x1, y1 in reaches]


def _bounds(store: CityStore) -> list[float]:
    bounds = store.attributes.get("bounds")
    if not isinstance(bounds, list) or len(bounds) != 4 or not all(map(math.isfinite, bounds)):
        raise _at_odds(store, "zarr.json", f"bounds {bounds}", "xmin, ymin, xmax, ymax")
    return bounds


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
    x0, y0 = _bounds(store)[:2]
    units = (positions[:, :2] - (math.floor(x0), math.floor(y0))) * MESH_UNITS
    good: Bool = np.isfinite(positions[:, 2]) & (np.abs(units) < _FARTHEST).all(axis=1)
    plan = np.rint(np.where(good[:, None], units, 0.0)).astype(np.int64)
    return plan, np.where(good, positions[:, 2], np.nan)
