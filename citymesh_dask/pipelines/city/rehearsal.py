"""A rehearsal on one house: calls every kernel once, so that numba compiles it and keeps it on disk.

``python -m citymesh_dask.pipelines.city.rehearsal INDEX STAMP`` does one of `REHEARSALS` in a process of its own,
which takes the memory of compiling with it when it ends, and leaves a stamp; who begins it is `compiling`.
What comes after the run, the check and the picture, is rehearsed too. No file of the run is read or written.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

import numpy as np

from ...geometry.cleaning.chamfer import chamfer_groups
from ...geometry.cleaning.checking import check_outlines, find_defects
from ...geometry.cleaning.graphs import planar_groups
from ...geometry.cleaning.linking import link_parts
from ...geometry.cleaning.simplifying import doubled_areas, simplify_parts
from ...geometry.drawing.camera import View
from ...geometry.drawing.drawing import Canvas
from ...geometry.drawing.overview import OverviewGrid, sum_up
from ...geometry.grouping import group_labels
from ...geometry.joining.boundary import close_rim, merge_boundaries
from ...geometry.meshing.extrusion import extrude_tile
from ...geometry.meshing.mending import mend_triangles
from ...geometry.meshing.meshing import PlanarMesh, mesh_constraints
from ...geometry.outline_groups import boxes_meet
from ...geometry.part_sets import part_boxes
from ...geometry.pieces.domain_frame import subdivide_frame
from ...geometry.pieces.outline_measures import measure_outlines
from ...geometry.pieces.piece_sets import join_pieces
from ...geometry.pieces.subdivision import subdivide
from ...geometry.proof.face_measures import measure_faces
from ...geometry.proof.proof import combine_proofs, number_piece, prove_piece
from ...geometry.seams.seams import tile_constraints
from ...geometry.terrain.filling import VOID, fill_top
from ...geometry.terrain.roofs import points_in_parts
from ...geometry.terrain.terrain import HeightField, TerrainLattice
from ...outlines import GROUND, Constraints, Int64, Outlines, Parts, Pieces
from ...tiles import OUTLINE_UNITS, Domain

_DOMAIN = Domain.from_bounds((0.0, 0.0, 60.0, 40.0))
_FRAME = np.array(_DOMAIN.frame, np.int64)
_CORNERS = np.array([[10, 10], [20, 10], [20, 20], [10, 20]], np.int64) * OUTLINE_UNITS
_TOLERANCE = 256
_GROUND_SIZE, _BUILDING_SIZE = 10.0, 5.0


def _rehearse_graphs() -> None:
    parts = _two_houses()
    shapes = (part_boxes(parts), parts.ring_start, parts.point_start, parts.points)
    simple = (parts.point_start, parts.points)
    planar_groups(np.array([0, 2]), shapes, simple, np.arange(2), _FRAME, _TOLERANCE, 30 * OUTLINE_UNITS**2)


def _rehearse_constraints() -> None:
    """From the outlines of a house to what a tile must respect, with measures along the way."""
    _constraints()
    boxes_meet(_FRAME[None], _FRAME[None])
    measure_outlines(_house(), _house_pieces(), lambda _: _level_terrain())


def _rehearse_chamfers() -> None:
    house = _house()
    graph = (house.points, house.edges, house.point_start, house.edge_start)
    chamfer_groups(*graph, _TOLERANCE, _FRAME)
    find_defects(*graph)


def _rehearse_meshing() -> None:
    """Mesh one half of the domain in the plane."""
    _planar(_constraints())


def _rehearse_extrusion() -> None:
    """Extrude what was meshed, and add its boundary to nothing."""
    # here, because no other rehearsal needs the libraries that come with them, 20 MB of each process
    from .ending.assembly import building_of, renumber
    from .tiles.meshes import tile_boundary

    constraints = _constraints()
    planar = _planar(constraints)
    levels = np.full(len(constraints.rows), 100_000, np.int32)
    surface = extrude_tile(planar, constraints, levels=levels, n_rows=1, terrain=_level_terrain(), origin=(0, 0))
    merged = merge_boundaries([tile_boundary(surface.mesh, surface.edges, tile=0, origin=(0, 0))])
    close_rim(merged.boundary, _DOMAIN.mesh_frame)
    faces, markers = surface.mesh.faces, surface.mesh.markers
    renumber(faces, np.empty_like(faces), 0, len(surface.mesh.vertices), np.empty(0, np.int32))
    building_of(markers, 1)
    sum_up(OverviewGrid.over(_DOMAIN.bounds, 8), surface.mesh.vertices, faces=faces, markers=markers, n_rows=1)


def _rehearse_grouping() -> None:
    """Everything of cleaning that is not done group by group, and simplification."""
    parts = _two_houses()
    group_labels(2, link_parts(parts, OUTLINE_UNITS))
    doubled_areas(parts)
    simplify_parts(parts.ring_start, parts.point_start, parts.points, np.full(2, 100.0), _FRAME)
    check_outlines(_house(), 0.25)


def _rehearse_results() -> None:
    """Prove and draw two triangles."""
    faces, plan = np.array([[0, 1, 2], [2, 1, 3]], np.int32), np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.int64)
    piece = number_piece(faces, 4)
    markers, building = np.zeros(2, np.int32), np.full(2, -1, np.int32)
    measures = measure_faces(piece.faces, markers, building, plan=plan, z=np.zeros(4), n_buildings=0, closed=False)
    proof = prove_piece(piece, measures, start=0)
    combine_proofs([proof])
    positions = np.zeros((4, 3))
    positions[:, :2] = plan
    canvas = Canvas(View(), np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), size=(8, 8))
    canvas.add(positions[faces], np.zeros(2, np.uint8))


def _rehearse_heights() -> None:
    """A point on a roof, a hole in the terrain, a triangle that must be mended."""
    at = np.array([15 * OUTLINE_UNITS], np.int64)
    points_in_parts(_two_houses(), at, at, bins=np.zeros(1, np.int32))
    fill_top(np.array([[0, VOID], [VOID, VOID]], np.int32))
    points = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0625, 0.5]])
    triangles = np.array([[4, 0, 1], [4, 1, 2], [4, 2, 3], [4, 3, 0]], np.int32)
    neighbours = np.array([[-1, 1, 3], [-1, 2, 0], [-1, 3, 1], [-1, 0, 2]], np.int32)
    mobility = np.array([1, 1, 1, 1, 0], np.uint8)
    limits = np.full(4, np.inf)
    mend_triangles(points, triangles, neighbours, mobility=mobility, area_limits=limits, min_angle=25.0)


REHEARSALS: tuple[Callable[[], None], ...] = (
    _rehearse_graphs,
    _rehearse_constraints,
    _rehearse_chamfers,
    _rehearse_meshing,
    _rehearse_grouping,
    _rehearse_results,
    _rehearse_heights,
    _rehearse_extrusion,
)


def _two_houses() -> Parts:
    """Return two houses that touch in a corner, as read."""
    rings = [np.concatenate([corners, corners[:1]]) for corners in (_CORNERS, _CORNERS + 10 * OUTLINE_UNITS)]
    return Parts(np.arange(2), np.arange(3), np.array([0, 5, 10]), np.concatenate(rings))


def _house() -> Outlines:
    """Return one house, as cleaned."""
    edges = np.array([[0, 1, 0, GROUND], [1, 2, 0, GROUND], [3, 2, GROUND, 0], [0, 3, GROUND, 0]], np.int64)
    order = np.lexsort((_CORNERS[:, 1], _CORNERS[:, 0]))
    edges[:, :2] = np.argsort(order)[edges[:, :2]]
    return Outlines(_CORNERS[order], edges, np.array([0, 4]), np.array([0, 4]))


def _house_pieces() -> Pieces:
    nothing: Int64 = np.empty((0, 4), np.int64)
    frame = _DOMAIN.frame
    return subdivide(_house(), nothing, frame=frame, ground_size=_GROUND_SIZE, building_size=_BUILDING_SIZE)


def _constraints() -> Constraints:
    """Return what the western half of the domain must respect."""
    walls = _CORNERS[[[0, 1], [1, 2], [2, 3], [3, 0]]].reshape(-1, 4)
    frame = subdivide_frame(_DOMAIN.frame, walls, ground_size=_GROUND_SIZE)
    x0, y0, x1, y1 = _DOMAIN.mesh_frame
    pieces = join_pieces([_house_pieces(), frame])
    west = (x0, y0, (x0 + x1) // 2, y1)
    found = tile_constraints(
        pieces, west, frame=_DOMAIN.mesh_frame, ground_size=_GROUND_SIZE, building_size=_BUILDING_SIZE
    )
    if found is None:
        raise RuntimeError("the stage of the rehearsal is empty")
    return found


def _planar(constraints: Constraints) -> PlanarMesh:
    return mesh_constraints(constraints, ground_size=_GROUND_SIZE, building_size=_BUILDING_SIZE, min_angle=25.0)


def _level_terrain() -> HeightField:
    lattice = TerrainLattice.over_domain(_DOMAIN, 1.0)
    return HeightField(np.zeros((lattice.rows, lattice.cols), np.int32), 0, 0, lattice)


def main() -> None:
    """Do the rehearsal that the command line names; leave a stamp that tells what is compiled."""
    from .compiling import free_of_limits, stop_with_parent, write_stamp

    stop_with_parent()
    free_of_limits()
    gc.set_threshold(200_000, 20, 100)  # compiling makes so many objects that collecting takes a tenth of the time
    REHEARSALS[int(sys.argv[1])]()
    write_stamp(sys.argv[2])


if __name__ == "__main__":
    main()
