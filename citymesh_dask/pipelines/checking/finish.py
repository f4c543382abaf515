"""The last proof of a check held against the store: rim, area, buildings, and the names of faults."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from ...geometry.joining.boundary import along_frame
from ...geometry.proof.diagnosis import Fault, Finding, diagnose
from ...geometry.proof.face_measures import DEGENERATE, INVERTED, MISMARKED, NOT_FINITE, OUT_OF_RANGE
from ...geometry.proof.proof import FLAWS, KEPT_SUSPECTS, PieceProof, are_usable, find_suspects
from ...outcomes import MEANINGS, Outcome
from ...outlines import Bool, Float64, Int64
from ...store.city_store import CityStore
from ...store.schema import TABLE_CHUNK_ROWS
from ...tiles import MESH_UNITS
from .reading import frame_units, hole_boxes, is_solid, read_table, read_vertices, to_plan
from .report import KEPT_PLACES, CheckReport, Place, Problem

FLAW_NAMES = {
    DEGENERATE: "degenerate face",
    INVERTED: "inverted triangle",
    MISMARKED: "marker and building at odds",
    NOT_FINITE: "coordinate that is not finite",
    OUT_OF_RANGE: "vertex index out of range",
}
MESHED_WORDS = ("meshed", "repaired", "clipped")
"""Words in the column ``status`` of buildings that have faces of their own."""
AREA_TOLERANCE = 1e-9
ROOF_TOLERANCE = 1e-6
"""Relative; vertices that refinement put on an outline are rounded to mesh units, hence a little more
for small buildings."""

_LOST = MEANINGS[Outcome.SKIPPED_TILE].reason

Pieces = Sequence[tuple[int, int]]


def finish_check(proof: PieceProof, store: CityStore, pieces: Pieces) -> CheckReport:
    """Say what the proof of all faces shows.

    Parameters
    ----------
    proof : PieceProof
        The sum of the proofs of all pieces.
    store : CityStore
        The store.
    pieces : sequence of (int, int)
        Ranges of faces in which they are read again where something is wrong.

    Returns
    -------
    CheckReport
        With the same problems, counts and places whatever the pieces were.
    """
    _read_all_columns(store)
    x0, y0, x1, y1 = frame_units(store)
    frame_area, rim_length = (x1 - x0) * (y1 - y0), 2 * (x1 - x0 + y1 - y0)
    on_rim, at_hole, length = _rim_edges(proof, store)
    holes = _hole_problems(store, int(at_hole.sum()))
    buildings, n_meshed = _building_problems(proof, store)
    problems = [
        *_flaw_problems(proof, store),
        *_edge_problems(proof, store, on_rim, at_hole=at_hole, pieces=pieces),
        *(holes or _area_problems(proof, frame_area)),
        *buildings,
        *_range_problems(store),
    ]
    if not problems and length != (0 if is_solid(store) else rim_length):
        note = f"{length / MESH_UNITS} m along a domain of {rim_length / MESH_UNITS} m around"
        problems.append(Problem("rim that is not the frame run through once", 1, (Place(note=note),)))
    return CheckReport(
        path=str(store.path),
        n_vertices=store.n_vertices,
        n_faces=store.n_faces,
        n_buildings=store.n_buildings,
        n_meshed=n_meshed,
        solid=is_solid(store),
        rim_length=length / MESH_UNITS,
        mesh_area=proof.doubled_area / 2 / MESH_UNITS**2,
        domain_area=frame_area / MESH_UNITS**2,
        area_exact=proof.doubled_area == 2 * frame_area,
        problems=tuple(problems),
    )


def _read_all_columns(store: CityStore) -> None:
    """Read the whole building table, so that damage anywhere in it is noticed."""
    for name in store.column_names():
        for start in range(0, store.n_buildings, TABLE_CHUNK_ROWS):
            read_table(store, name, start=start, stop=min(start + TABLE_CHUNK_ROWS, store.n_buildings))


def _rim_edges(proof: PieceProof, store: CityStore) -> tuple[Bool, Bool, int]:
    """Return which boundary edges may be there, those of them around holes, and the length in plan of all others."""
    plan, _ = to_plan(read_vertices(store, proof.vertices), store)
    start, stop = (plan[proof.edges[:, end]] for end in (0, 1))
    on_rim = _may_be_open(start, stop, store)
    on_frame = on_rim & along_frame(start, stop, frame_units(store))
    return on_rim, on_rim & ~on_frame, int(np.abs(stop[on_frame] - start[on_frame]).sum())


def _may_be_open(start: Int64, stop: Int64, store: CityStore) -> Bool:
    """Return which edges, given by their ends in plan, run along the frame of an open mesh, or around its holes."""
    if is_solid(store):
        return np.zeros(len(start), np.bool_)
    found = along_frame(start, stop, frame_units(store))
    for x0, y0, x1, y1 in hole_boxes(store):
        for_both = [(p >= (x0, y0)) & (p <= (x1, y1)) for p in (start, stop)]
        found |= np.concatenate(for_both, axis=1).all(axis=1)
    return found


def _hole_problems(store: CityStore, n_edges: int) -> list[Problem]:
    """Return the tiles that are missing, and whether the edges around them are as many as were proved."""
    holes = store.attributes.get("holes") or []
    places = []
    for hole in holes:
        x0, y0, x1, y1 = hole["bounds"]
        lost = f"{hole['buildings']} buildings missing with it; {hole['cause']}"
        note = f"x {x0:.1f} to {x1:.1f} m, y {y0:.1f} to {y1:.1f} m; {lost}"
        places.append(Place(tile=hole["tile"], note=note))
    problems = [Problem("hole where a tile failed", len(places), tuple(places[:KEPT_PLACES]))] if places else []
    proved = store.attributes.get("hole_rim_edges", 0)
    if holes and n_edges != proved:
        place = Place(note=f"{n_edges} edges of one face, {proved} when it was built")
        problems.append(Problem("rim of a hole that is not as it was built", 1, (place,)))
    return problems


def _are_rim(edges: Int64, store: CityStore) -> Bool:
    """Return which edges, (k, 2) vertex numbers, run along the frame of an open mesh."""
    numbers, place = np.unique(edges, return_inverse=True)
    plan, _ = to_plan(read_vertices(store, numbers), store)
    start, stop = (plan[place.reshape(-1, 2)[:, end]] for end in (0, 1))
    return _may_be_open(start, stop, store)


def _edge_problems(
    proof: PieceProof, store: CityStore, on_rim: Bool, *, at_hole: Bool, pieces: Pieces
) -> list[Problem]:
    """Return what is wrong with edges and vertices, found again among all faces.

    What is left of the mesh may meet itself in a vertex at a hole: that belongs to the hole.
    """
    suspects, count = find_suspects(proof, store.n_vertices, on_rim)
    if not len(suspects):
        return []
    findings = diagnose(suspects, *_faces_at(suspects, store, pieces), on_rim=lambda edges: _are_rim(edges, store))
    truncated = count > KEPT_SUSPECTS
    by_kind: dict[str, list[Finding]] = defaultdict(list)
    around = set(proof.vertices[proof.edges[at_hole]].ravel().tolist())
    for finding in findings:
        if finding.fault != Fault.NON_MANIFOLD_VERTEX or finding.vertices[0] not in around:
            by_kind[str(finding.fault)].append(finding)
    if not findings:  # cannot be, unless a proof is at odds with its faces
        place = Place(note=f"vertices {suspects[:KEPT_PLACES].tolist()}")
        return [Problem("vertex whose faces could not be proved", len(suspects), (place,))]
    return [
        Problem(kind, len(found), tuple(_finding_place(finding, store) for finding in found[:KEPT_PLACES]), truncated)
        for kind, found in by_kind.items()
    ]


def _faces_at(suspects: Int64, store: CityStore, pieces: Pieces) -> tuple[Int64, Int64]:
    """Return the usable faces that touch some vertices, and their numbers."""
    corners, numbers = [np.empty((0, 3), np.int64)], [np.empty(0, np.int64)]
    for start, stop in pieces:
        faces = store.read("faces", start, stop)
        touching = np.flatnonzero(np.isin(faces, suspects).any(axis=1))
        usable = touching[are_usable(faces[touching]) & (faces[touching] < store.n_vertices).all(axis=1)]
        corners.append(faces[usable].astype(np.int64))
        numbers.append(usable + start)
    return np.concatenate(corners), np.concatenate(numbers)


def _flaw_problems(proof: PieceProof, store: CityStore) -> list[Problem]:
    problems = []
    for flaw, count in zip(FLAWS, proof.flaw_counts.tolist(), strict=True):
        faces = proof.flaw_faces[proof.flaw_faces[:, 0] == flaw, 1]
        if count:
            places = tuple(_face_place(face, store) for face in faces[:KEPT_PLACES].tolist())
            problems.append(Problem(FLAW_NAMES[flaw], count, places))
    return problems


def _area_problems(proof: PieceProof, frame_area: int) -> list[Problem]:
    if abs(proof.doubled_area - 2 * frame_area) <= AREA_TOLERANCE * 2 * frame_area:
        return []
    found, wanted = (area / MESH_UNITS**2 for area in (proof.doubled_area / 2, frame_area))
    note = f"terrain and roofs cover {found} m2, the domain has {wanted} m2"
    return [Problem("area that is not the domain's", 1, (Place(note=note),))]


def _building_problems(proof: PieceProof, store: CityStore) -> tuple[list[Problem], int]:
    """Hold roofs against the building table; return problems and the number of meshed buildings."""
    counts: Counter[str] = Counter()
    places: dict[str, list[Place]] = defaultdict(list)
    n_meshed = 0
    for start in range(0, store.n_buildings, TABLE_CHUNK_ROWS):
        stop = min(start + TABLE_CHUNK_ROWS, store.n_buildings)
        status = read_table(store, "status", start=start, stop=stop).tolist()
        meshed = np.array([word in MESHED_WORDS for word in status], np.bool_)
        n_meshed += int(meshed.sum())
        area, found = read_table(store, "area", start=start, stop=stop), _roof_areas(proof, start, stop)
        if store.attributes.get("holes"):  # of a large cluster, a part may be there
            reasons = read_table(store, "reason", start=start, stop=stop).tolist()
            found[[reason.startswith(_LOST) for reason in reasons]] = np.nan
        for kind, wrong in _wrong_buildings(meshed, area, found).items():
            counts[kind] += int(wrong.sum())
            for k in np.flatnonzero(wrong)[: KEPT_PLACES - len(places[kind])].tolist():
                name = read_table(store, "id", start=start + k, stop=start + k + 1).tolist()[0]
                roof = "no face" if np.isnan(found[k]) else f"a roof of {found[k]} m2"
                note = f"id {name}: {roof}, the table says {status[k]}, {area[k]} m2"
                places[kind].append(Place(building=start + k, note=note))
    return [Problem(kind, count, tuple(places[kind])) for kind, count in counts.items() if count], n_meshed


def _wrong_buildings(meshed: Bool, area: Float64, found: Float64) -> dict[str, Bool]:
    """Return by kind of problem which buildings have it; ``found`` is NaN where there is no face."""
    tolerance = ROOF_TOLERANCE * area + 4 * np.sqrt(np.maximum(area, 0.0)) / MESH_UNITS
    absent = np.isnan(found)
    return {
        "building without a face": meshed & absent,
        "roof area that is not the table's": meshed & ~absent & ~(np.abs(found - area) <= tolerance),
        "building that should not be there": ~meshed & ~absent,
    }


def _roof_areas(proof: PieceProof, start: int, stop: int) -> Float64:
    """Return the roof area in plan of some buildings, square metres; NaN where there is no face."""
    first, last = np.searchsorted(proof.rows, (start, stop))
    found = np.full(stop - start, np.nan)
    found[proof.rows[first:last] - start] = proof.doubled_roofs[first:last] / (2 * MESH_UNITS**2)
    return found


def _range_problems(store: CityStore) -> list[Problem]:
    """Return whether the ranges of the tiles cover vertices and faces without gap or overlap."""
    problems = []
    for name, count in (("vertex_range", store.n_vertices), ("face_range", store.n_faces)):
        ranges = store.read(f"tiles/{name}")
        begins, ends = np.append(ranges[:, 0], count), np.append(0, ranges[:, 1])
        wrong = np.flatnonzero((begins != ends) | (np.append(ranges[:, 1] < ranges[:, 0], False)))
        if len(wrong):
            places = tuple(Place(tile=min(k, len(ranges) - 1), note=name) for k in wrong[:KEPT_PLACES].tolist())
            problems.append(Problem("tile ranges with gaps or overlaps", len(wrong), places))
    return problems


def _face_place(face: int, store: CityStore) -> Place:
    corners = store.read("faces", face, face + 1)[0]
    known = np.unique(corners[(corners >= 0) & (corners < store.n_vertices)])
    note = f"face {face} ({', '.join(map(str, corners.tolist()))})"
    return Place(_centre(known, store), _tile_of(face, "face_range", store), _building_of(face, store), note)


def _finding_place(finding: Finding, store: CityStore) -> Place:
    what = {1: "vertex", 2: "edge", 3: "face"}[len(finding.vertices)]
    note = f"{what} {'-'.join(map(str, finding.vertices))}"
    position = _centre(np.unique(finding.vertices), store)
    if finding.face < 0:
        return Place(position, _tile_of(finding.vertices[0], "vertex_range", store), None, note)
    return Place(position, _tile_of(finding.face, "face_range", store), _building_of(finding.face, store), note)


def _centre(vertices: Int64, store: CityStore) -> tuple[float, float, float] | None:
    """Return the mean position of some vertices; None where it is no place."""
    positions = read_vertices(store, vertices)
    positions = positions[np.isfinite(positions).all(axis=1)]
    if not len(positions):
        return None
    x, y, z = positions.mean(axis=0).tolist()
    return x, y, z


def _tile_of(number: int, ranges: str, store: CityStore) -> int | None:
    bounds = store.read(f"tiles/{ranges}")
    tiles = np.flatnonzero((bounds[:, 0] <= number) & (number < bounds[:, 1]))
    return int(tiles[0]) if len(tiles) else None


def _building_of(face: int, store: CityStore) -> int | None:
    row = int(store.read("building", face, face + 1)[0])
    return row if row >= 0 else None
