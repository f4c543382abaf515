"""What the triangles of a tile look like: angles, areas, orientation. Measures only, changes nothing."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ...mesh import Quality
from ...outlines import Float64, Int32, Int64
from ...tiles import MESH_UNITS
from .frozen import orientation
from .mending import squared_sine
from .meshing import PlanarMesh

_WORST = 10
_HALF_WORD = 2**32
_EXACT_IN_FLOATS_M = 256.0
"""Products of shorter differences have at most 52 bits, so that floats hold them and their differences."""
_LATTICE_DEGREES = 59
"""The equilateral triangle has no corners on a square grid: rounded, its smallest angle is just below 60."""


def measure_quality(planar: PlanarMesh, vertices: Float64, walls: Int32, *, origin: tuple[int, int]) -> Quality:
    """Measure the planar triangles and the walls of a tile.

    Parameters
    ----------
    planar : PlanarMesh
        Terrain and roof triangles.
    vertices : (n, 3) float64
        Metres.
    walls : (w, 3) int32
        Wall triangles, indices into ``vertices``.
    origin : (int, int)
        Project origin, metres, for the places of the worst triangles.

    Returns
    -------
    Quality
    """
    asked = planar.asked
    angles, below, above, sharpest, sines = _planar_angles(
        planar.points, planar.triangles, asked.area_limits(planar.labels), math.sin(math.radians(asked.min_angle)) ** 2
    )
    angles[_LATTICE_DEGREES] += len(planar.lattice_triangles)
    inverted = 0
    doubled = 0
    for triangles in (planar.triangles, planar.lattice_triangles):
        high, low, bad = _doubled_area(planar.points, triangles)
        doubled += int(high) * _HALF_WORD + int(low)
        inverted += int(bad)
    worst = np.empty((len(sharpest), 3))
    shift = np.array(planar.origin) / MESH_UNITS + np.array(origin)
    worst[:, :2] = planar.points[planar.triangles[sharpest]].mean(axis=1) + shift
    worst[:, 2] = np.degrees(np.arcsin(np.sqrt(np.maximum(sines, 0.0))))
    return Quality(angles, _wall_angles(vertices, walls), int(below), int(above), inverted, doubled, worst)


@njit(cache=True, nogil=True)
def _whole_degrees(squared: float) -> int:
    """Return the angle in whole degrees; a hair below a whole degree counts as that degree."""
    return int(math.degrees(math.asin(math.sqrt(max(squared, 0.0)))) + 1e-9)


@njit(cache=True, nogil=True)
def _planar_angles(
    points: Float64, triangles: Int32, area_limits: Float64, target: float
) -> tuple[Int64, int, int, Int64, Float64]:
    """Return the histogram, how many are too sharp or too large, and the sharpest with their squared sines."""
    histogram = np.zeros(90, np.int64)
    below = 0
    above = 0
    sharpest = np.zeros(_WORST + 1, np.int64)
    sines = np.empty(_WORST + 1)
    kept = 0
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        value = squared_sine(points, a, b, c)
        histogram[_whole_degrees(value)] += 1
        below += value < target * (1.0 - 1e-9)
        above += 0.5 * orientation(points, a, b, c) > area_limits[t]
        if kept < _WORST or value < sines[kept - 1]:
            q = kept
            while q > 0 and sines[q - 1] > value:
                sines[q], sharpest[q] = sines[q - 1], sharpest[q - 1]
                q -= 1
            sines[q], sharpest[q] = value, t
            kept = min(kept + 1, _WORST)
    return histogram, below, above, sharpest[:kept].copy(), sines[:kept].copy()


@njit(cache=True, nogil=True)
def _doubled_area(points: Float64, triangles: Int32) -> tuple[int, int, int]:
    """Return the exact doubled area in square mesh units as ``high * 2**32 + low``, and the number not positive.

    One triangle's doubled area fits 64 bits (edges up to 4 km), the sum of a large tile may not.
    """
    high = 0
    low = 0
    inverted = 0
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
        vx, vy = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1]
        if max(abs(ux), abs(uy), abs(vx), abs(vy)) < _EXACT_IN_FLOATS_M:
            doubled = int((ux * vy - uy * vx) * (MESH_UNITS * MESH_UNITS))
        else:
            first = int(ux * MESH_UNITS) * int(vy * MESH_UNITS)
            doubled = first - int(uy * MESH_UNITS) * int(vx * MESH_UNITS)
        inverted += doubled <= 0
        low += doubled
        high += low >> 32
        low &= _HALF_WORD - 1
    return high, low, inverted


@njit(cache=True, nogil=True)
def _wall_angles(vertices: Float64, walls: Int32) -> Int64:
    """Return the histogram of the smallest angles of triangles in space."""
    histogram = np.zeros(90, np.int64)
    squares = np.empty(3)
    for t in range(len(walls)):
        for e in range(3):
            a, b = walls[t, e], walls[t, (e + 1) % 3]
            dx, dy = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1]
            dz = vertices[b, 2] - vertices[a, 2]
            squares[e] = dx * dx + dy * dy + dz * dz
        first, second, third = squares[0], squares[1], squares[2]
        shortest, longest = min(first, second, third), max(first, second, third)
        middle = first + second + third - shortest - longest
        # Cosine law at the vertex opposite the shortest edge.
        cosine = (middle + longest - shortest) / (2.0 * math.sqrt(middle * longest))
        histogram[int(math.degrees(math.acos(min(cosine, 1.0))) + 1e-9)] += 1
    return histogram
