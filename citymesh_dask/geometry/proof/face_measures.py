"""Areas and flaws of single faces, each face looked at by itself.

Areas are exact: positions in plan are rounded to mesh units, doubled areas are integers and are
summed as such. Edges, and what faces are to one another, are looked at in ``fans``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ...mesh import BASE_MARKER, TERRAIN_MARKER
from ...outlines import Float64, Int32, Int64

DEGENERATE = 1
"""The face names a vertex twice, or its area in space is zero."""
INVERTED = 2
"""A terrain or roof face whose area in plan is not positive."""
MISMARKED = 4
"""``markers`` and ``building`` contradict one another, or the marker has no meaning."""
NOT_FINITE = 8
"""A coordinate of the face is not a number or infinite."""
OUT_OF_RANGE = 16
"""A vertex index of the face is negative or too large."""
_LARGE = 32

_EXACT = 2.0**60
_UNIQUE = np.uint64(0x9E3779B97F4A7C15)

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FaceMeasures:
    """What the faces of a piece of mesh are like.

    Parameters
    ----------
    codes : (m,) uint8
        Sum of the flaws of each face, 0 for most.
    doubled_area : int
        Doubled area in plan of all terrain and roof faces, square mesh units.
    rows : (k,) int64
        Buildings that some wall or roof belongs to, ascending.
    doubled_roofs : (k,) int64
        Doubled area in plan of the roof faces of each, square mesh units.
    """

    codes: Codes
    doubled_area: int
    rows: Int64
    doubled_roofs: Int64


def measure_faces(
    faces: Int32,
    markers: Int32,
    building: Int32,
    *,
    plan: Int64,
    z: Float64,
    n_buildings: int,
    closed: bool,
) -> FaceMeasures:
    """Measure the faces of a piece of mesh.

    Parameters
    ----------
    faces : (m, 3) int32
        Indices into ``plan`` and ``z``; a face with a negative index is left out.
    markers, building : (m,) int32
        As in the store.
    plan : (n, 2) int64
        Positions in plan, mesh units relative to some near origin.
    z : (n,) float64
        Heights, metres; not finite where some coordinate of the vertex is not.
    n_buildings : int
        Rows of the building table.
    closed : bool
        Whether the markers of sides and base may appear.
    """
    lowest = BASE_MARKER if closed else TERRAIN_MARKER
    codes, low, high, rows, roofs = _measure(faces, markers, building, plan, z, (n_buildings, lowest))
    total = (int(high) << 32) + int(low)
    large = np.flatnonzero(codes & _LARGE)
    sums = dict(zip(rows[rows >= 0].tolist(), roofs[rows >= 0].tolist(), strict=True))
    for face in large.tolist():  # beyond 4 km: too large for int64, so rare that Python integers do
        (ax, ay), (bx, by), (cx, cy) = plan[faces[face]].tolist()
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        total += area
        if building[face] in sums and not codes[face] & MISMARKED:
            sums[int(building[face])] += area
        codes[face] = (codes[face] & ~np.uint8(_LARGE)) | (INVERTED if area <= 0 else 0)
    order = sorted(sums)
    limit = np.iinfo(np.int64).max
    areas = [min(max(sums[row], -limit), limit) for row in order]
    return FaceMeasures(codes, total, np.array(order, np.int64), np.array(areas, np.int64))


@njit(cache=True, nogil=True)
def _measure(
    faces: Int32, markers: Int32, building: Int32, plan: Int64, z: Float64, limits: tuple[int, int]
) -> tuple[Codes, np.int64, np.int64, Int64, Int64]:
    """Return codes, the area sum as low and high half, and a table of buildings and roof areas."""
    n_buildings, lowest = limits
    codes = np.zeros(len(faces), np.uint8)
    low = np.int64(0)
    high = np.int64(0)
    keys = np.full(64, -1, np.int64)
    sums = np.zeros(64, np.int64)
    used = 0
    for face in range(len(faces)):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        marker = np.int64(markers[face])
        row = np.int64(building[face])
        is_roof = n_buildings <= marker < 2 * n_buildings
        expected = np.int64(-1)
        if marker >= 0:
            expected = marker - n_buildings if is_roof else marker
        known = marker >= lowest and marker != -1 and marker < 2 * n_buildings
        if not known or row != expected:
            codes[face] |= MISMARKED
        if min(a, b, c) < 0:
            codes[face] |= OUT_OF_RANGE
            continue
        if a == b or b == c or c == a:
            codes[face] |= DEGENERATE
            continue
        if not (np.isfinite(z[a]) and np.isfinite(z[b]) and np.isfinite(z[c])):
            codes[face] |= NOT_FINITE
            continue
        slot = np.int64(0)
        if known and row == expected and row >= 0:
            slot = _slot(keys, row)
            if keys[slot] < 0:
                keys[slot] = row
                used += 1
                if 2 * used > len(keys):
                    keys, sums = _grow(keys, sums)
                    slot = _slot(keys, row)
        ux, uy = plan[b, 0] - plan[a, 0], plan[b, 1] - plan[a, 1]
        vx, vy = plan[c, 0] - plan[a, 0], plan[c, 1] - plan[a, 1]
        if marker == TERRAIN_MARKER or is_roof:
            if abs(float(ux) * float(vy)) + abs(float(uy) * float(vx)) > _EXACT:
                codes[face] |= _LARGE
                continue
            area = ux * vy - uy * vx
            low += area & 0xFFFFFFFF
            high += area >> 32
            if area <= 0:
                codes[face] |= INVERTED
            if is_roof and row == expected:  # then ``slot`` is its place
                sums[slot] += area
        else:
            uz, vz = z[b] - z[a], z[c] - z[a]
            flat = float(ux) * float(vy) == float(uy) * float(vx)
            if flat and uy * vz == uz * vy and uz * vx == ux * vz:
                codes[face] |= DEGENERATE
    return codes, low, high, keys, sums


@njit(cache=True, nogil=True)
def _slot(keys: Int64, row: np.int64) -> np.int64:
    """Return where a building stands, or would stand, in an open-addressed table."""
    slot = np.int64((np.uint64(row) * _UNIQUE) >> np.uint64(32)) & (len(keys) - 1)
    while keys[slot] >= 0 and keys[slot] != row:
        slot = (slot + 1) & (len(keys) - 1)
    return slot


@njit(cache=True, nogil=True)
def _grow(keys: Int64, sums: Int64) -> tuple[Int64, Int64]:
    """Return the table in twice the space."""
    wider = np.full(2 * len(keys), -1, np.int64)
    wider_sums = np.zeros(2 * len(keys), np.int64)
    for old in range(len(keys)):
        if keys[old] >= 0:
            slot = _slot(wider, keys[old])
            wider[slot] = keys[old]
            wider_sums[slot] = sums[old]
    return wider, wider_sums
