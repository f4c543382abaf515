"""The planar mesh of one tile: from labelled constraints to labelled triangles.

This is the main path; the steps live in `lattice_fill` (inside of regions), `band` (around the
constraints), `frozen` (edges that must stay) and `mending` (the last sharp triangles). Heights come
later, in `extrusion`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...outlines import BEYOND, Constraints, Float64, Int32
from ...tiles import MESH_UNITS
from .band import AREA_TOLERANCE, Band, Segments, triangulate_band
from .frozen import give_back_edges
from .lattice_fill import ANY_LABEL, BUILDINGS_ONLY, FILLED, GROUND_ONLY, UNOWNED, LatticeFill, fill_lattice
from .mending import FIXED, FREE, ON_PIECE, mend_triangles


@dataclass(frozen=True)
class Asked:
    """What triangles are asked to be.

    Parameters
    ----------
    ground_size, building_size : float
        Edge length h, metres; the largest area is sqrt(3)/4 h**2.
    min_angle : float
        Smallest planar angle, degrees.
    """

    ground_size: float
    building_size: float
    min_angle: float

    def area_limits(self, labels: Int32) -> Float64:
        """Return the largest area in square metres, tolerance included, for regions (n,) int32."""
        ground, building = (
            math.sqrt(3.0) / 4 * AREA_TOLERANCE * size**2 for size in (self.ground_size, self.building_size)
        )
        return np.where(labels >= 0, building, ground)


@dataclass(frozen=True)
class PlanarMesh:
    """Triangles in the plane, those of the band apart from those of the lattices.

    Parameters
    ----------
    asked : Asked
        Sizes and angle that were asked for.
    origin : (int, int)
        Mesh units relative to the project origin.
    points : (n, 2) float64
        Metres relative to ``origin``, multiples of 2**-18: the constraints' points in their order,
        then the lattice points, then those that refinement added. Some may be unused.
    lattice_labels : (n_lattice,) int32
        Region of each lattice point; they start at ``n_given``.
    n_given : int
        Number of constraint points.
    triangles, neighbours : (t, 3) int32
        The band: vertices counter-clockwise, and the neighbour over edge ``i, i + 1``: a band
        triangle, `regions.LATTICE_RIM`, or the `regions.outside_code` of a region of another tile.
    labels : (t,) int32
        Region of each band triangle.
    lattice_triangles : (z, 3) int32
        The rest of the triangles.
    lattice_triangle_labels : (z,) int32
        Their regions.
    split_vertices, split_sources : (s,) int32
        Vertices that refinement put on constraints, and those constraints.
    """

    asked: Asked
    origin: tuple[int, int]
    points: Float64
    lattice_labels: Int32
    n_given: int
    triangles: Int32
    neighbours: Int32
    labels: Int32
    lattice_triangles: Int32
    lattice_triangle_labels: Int32
    split_vertices: Int32
    split_sources: Int32


@dataclass(frozen=True)
class _Input:
    """Constraints of a tile in local coordinates, without those it does not touch."""

    origin: tuple[int, int]
    points: Float64
    segments: Segments


def mesh_constraints(
    constraints: Constraints,
    *,
    ground_size: float,
    building_size: float,
    min_angle: float,
    refine_area: bool = True,
    mend: bool = True,
) -> PlanarMesh:
    """Mesh the regions that a tile owns.

    Parameters
    ----------
    constraints : Constraints
        Segments of the tile. Segments with one owned side come out as they went in; segments with
        none are left out.
    ground_size, building_size : float
        Asked edge length of triangles, metres.
    min_angle : float
        Asked smallest angle, degrees.
    refine_area : bool
        False asks for angles alone: triangles near constraints may then exceed the asked area.
    mend : bool
        False leaves triangles below the angle as refinement and frozen edges made them.

    Returns
    -------
    PlanarMesh
        The same bits for the same input.

    Raises
    ------
    RunError
        If the constraints cross or contradict one another.
    """
    asked = Asked(ground_size, building_size, min_angle)
    given = _localise(constraints)
    lattice = _fill(given, asked)
    n_given, n_old = len(given.points), len(given.points) + len(lattice.points)
    band_points, vertex_of, segments = _band_input(given, lattice, np.flatnonzero(lattice.in_band).astype(np.int32))
    band = triangulate_band(
        band_points, segments, sizes=(ground_size, building_size), min_angle=min_angle, refine_area=refine_area
    )
    vertex_of = np.concatenate([vertex_of, n_old + np.arange(len(band.added), dtype=np.int32)])
    points = np.concatenate([given.points, lattice.points, np.rint(band.added * MESH_UNITS) / MESH_UNITS])
    ends = vertex_of[band.pieces.ends]
    triangles, neighbours, labels = _give_back(points, band, vertex_of, n_old=n_old)
    if mend:
        mend_triangles(
            points,
            triangles,
            neighbours,
            mobility=_mobility(len(points), ends, lattice.rim, n_given=n_given),
            area_limits=asked.area_limits(labels) if refine_area else np.full(len(labels), np.inf),
            min_angle=min_angle,
        )
    return PlanarMesh(
        asked,
        given.origin,
        points,
        lattice.labels,
        n_given,
        triangles,
        neighbours,
        labels,
        lattice.triangles + np.int32(n_given),
        lattice.triangle_labels,
        *_split_vertices(ends, band.pieces, n_old=n_old),
    )


def _localise(constraints: Constraints) -> _Input:
    """Return the constraints in metres around the middle of the tile, with the labels this tile meshes."""
    middle = [(int(column.min()) + int(column.max())) >> 1 for column in constraints.points.T]
    owned = np.flatnonzero(constraints.own_left | constraints.own_right).astype(np.int32)
    true = np.stack([constraints.left, constraints.right], axis=1)[owned].astype(np.int32)
    own = np.stack([constraints.own_left, constraints.own_right], axis=1)[owned]
    segments = Segments(
        constraints.ends[owned].astype(np.int32),
        np.where(own, true, np.int32(UNOWNED)),
        true,
        owned,
        # Nobody meshes beyond the frame: edges there may be cut like those between two regions of this tile.
        ~(own | (true == BEYOND)).all(axis=1),
    )
    return _Input((middle[0], middle[1]), (constraints.points - middle) / MESH_UNITS, segments)


def _fill(given: _Input, asked: Asked) -> LatticeFill:
    """Fill ground and buildings from their lattices: one where both have the same spacing."""
    starts, stops = given.points[given.segments.ends[:, 0]], given.points[given.segments.ends[:, 1]]
    kinds = [(asked.ground_size, GROUND_ONLY), (asked.building_size, BUILDINGS_ONLY)]
    if asked.ground_size == asked.building_size:
        kinds = [(asked.ground_size, ANY_LABEL)]
    fills = [
        fill_lattice(starts, stops, given.segments.sides, spacing=spacing, origin=given.origin, only=only)
        for spacing, only in kinds
    ]
    if len(fills) == 1:
        return fills[0]
    return _join(*fills)


def _join(first: LatticeFill, second: LatticeFill) -> LatticeFill:
    shift = np.int32(len(first.points))
    return LatticeFill(
        np.concatenate([first.points, second.points]),
        np.concatenate([first.labels, second.labels]),
        np.concatenate([first.in_band, second.in_band]),
        np.concatenate([first.triangles, second.triangles + shift]),
        np.concatenate([first.triangle_labels, second.triangle_labels]),
        np.concatenate([first.rim, second.rim + shift]),
        np.concatenate([first.rim_labels, second.rim_labels]),
    )


def _band_input(given: _Input, lattice: LatticeFill, near: Int32) -> tuple[Float64, Int32, Segments]:
    """Return the points of the band, the planar vertex of each, and its segments with the lattice rim."""
    n_given = len(given.points)
    touched = np.zeros(n_given, dtype=bool)
    touched[given.segments.ends] = True
    used = np.flatnonzero(touched).astype(np.int32)
    vertex_of = np.concatenate([used, near + np.int32(n_given)])
    number = np.full(n_given + len(lattice.points), -1, dtype=np.int32)
    number[vertex_of] = np.arange(len(vertex_of), dtype=np.int32)
    n_rim = len(lattice.rim)
    rim_sides = np.stack([np.full(n_rim, FILLED, dtype=np.int32), lattice.rim_labels], axis=1)
    old = given.segments
    segments = Segments(
        number[np.concatenate([old.ends, lattice.rim + np.int32(n_given)])],
        np.concatenate([old.sides, rim_sides]),
        np.concatenate([old.beyond, rim_sides]),
        np.concatenate([old.source, np.full(n_rim, -1, dtype=np.int32)]),
        np.concatenate([old.frozen, np.ones(n_rim, dtype=bool)]),
    )
    points = np.concatenate([given.points[used], lattice.points[near]])
    return points, vertex_of, segments


def _give_back(points: Float64, band: Band, vertex_of: Int32, *, n_old: int) -> tuple[Int32, Int32, Int32]:
    """Return the band's triangles, neighbours and labels without the vertices that refinement put on frozen edges."""
    triangles = vertex_of[band.triangles]
    dropped = np.zeros(len(points), dtype=bool)
    dropped[vertex_of[band.pieces.ends[band.pieces.frozen]]] = True
    dropped[:n_old] = False
    if not dropped.any():
        return triangles, band.neighbours, band.labels
    return give_back_edges(points, triangles, band.neighbours, labels=band.labels, dropped=dropped)


def _mobility(n_points: int, ends: Int32, rim: Int32, *, n_given: int) -> npt.NDArray[np.uint8]:
    """Return which vertices may be moved: none that was given, none that lattice triangles use."""
    mobility = np.full(n_points, FREE, dtype=np.uint8)
    mobility[ends] = ON_PIECE
    mobility[:n_given] = FIXED
    mobility[n_given + rim] = FIXED
    return mobility


def _split_vertices(ends: Int32, pieces: Segments, *, n_old: int) -> tuple[Int32, Int32]:
    """Return the vertices that refinement put on unfrozen constraints, each once, and those constraints."""
    # Every inner vertex of a cut constraint ends one of its pieces.
    at_end = (ends[:, 1] >= n_old) & ~pieces.frozen
    return ends[at_end, 1], pieces.source[at_end]
