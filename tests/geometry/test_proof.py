"""Proofs of pieces add up to what counting edges and walking around vertices says of the whole."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citymesh_dask.geometry.proof.diagnosis import Fault, diagnose
from citymesh_dask.geometry.proof.face_measures import DEGENERATE, INVERTED, MISMARKED, FaceMeasures, measure_faces
from citymesh_dask.geometry.proof.fans import CLOSED, DOUBTFUL, OPEN, UNUSED, trace_fans
from citymesh_dask.geometry.proof.intervals import expand_intervals, gaps, merge_intervals, to_intervals
from citymesh_dask.geometry.proof.proof import PieceProof, combine_proofs, find_suspects, number_piece, prove_piece
from citymesh_dask.store.chunks import Array


def torus(rows: int, columns: int) -> Array:
    """Faces of a closed mesh in which every vertex has six faces."""
    faces = []
    for i in range(rows):
        for j in range(columns):
            a, b = i * columns + j, i * columns + (j + 1) % columns
            c, d = ((i + 1) % rows) * columns + (j + 1) % columns, ((i + 1) % rows) * columns + j
            faces += [(a, b, c), (a, c, d)]
    return np.array(faces, np.int64)


def no_measures(count: int) -> FaceMeasures:
    nothing = np.empty(0, np.int64)
    return FaceMeasures(np.zeros(count, np.uint8), 0, nothing, nothing)


def prove(faces: Array, n_vertices: int, start: int = 0) -> PieceProof:
    return prove_piece(number_piece(faces, n_vertices), no_measures(len(faces)), start=start)


def brute_state(faces: Array, n_vertices: int) -> tuple[list[int], set[tuple[int, int]], bool]:
    """State of each vertex, open edges, and whether all edges are used rightly."""
    runs = Counter((a, b) for face in faces.tolist() for a, b in zip(face, face[1:] + face[:1], strict=True))
    right = all(count == 1 for count in runs.values())
    open_edges = {(a, b) for a, b in runs if (b, a) not in runs}
    arcs: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for a, b, c in faces.tolist():
        for vertex, arc in ((a, (b, c)), (b, (c, a)), (c, (a, b))):
            arcs[vertex].append(arc)
    state = []
    for vertex in range(n_vertices):
        groups = [{*arc} for arc in arcs[vertex]]
        merged = True
        while merged:
            merged = False
            for one in groups:
                for other in groups:
                    if one is not other and one & other:
                        one |= other
                        groups.remove(other)
                        merged = True
                        break
                if merged:
                    break
        border = sum(vertex in edge for edge in open_edges)
        if not groups:
            state.append(UNUSED)
        elif len(groups) == 1 and border == 0:
            state.append(CLOSED)
        elif 2 * len(groups) == border:
            state.append(OPEN)
        else:
            state.append(DOUBTFUL)
    return state, open_edges, right


@st.composite
def pinched_tori(draw: st.DrawFn) -> tuple[Array, int]:
    """Part of a torus, some faces missing, some vertices made one: seams, holes and bow-ties."""
    faces = torus(draw(st.integers(3, 6)), draw(st.integers(3, 6)))
    n_vertices = int(faces.max()) + 1
    into = np.arange(n_vertices)
    for one, other in draw(st.lists(st.tuples(*[st.integers(0, n_vertices - 1)] * 2), max_size=2)):
        into[one] = into[other]
    faces = into[faces]
    missing = draw(st.sets(st.integers(0, len(faces) - 1), max_size=len(faces)))
    faces = faces[~np.isin(np.arange(len(faces)), list(missing))]
    different = [len(set(face)) == 3 for face in faces.tolist()]
    faces = faces[np.array(different, bool)] if len(faces) else faces
    order = draw(st.permutations(range(len(faces))))
    return faces[list(order)].reshape(-1, 3), n_vertices


@settings(max_examples=150, deadline=None)
@given(pinched_tori())
def test_fans_of_one_piece_are_those_of_a_walk_around_each_vertex(mesh: tuple[Array, int]) -> None:
    faces, n_vertices = mesh
    expected, open_edges, right = brute_state(faces, n_vertices)
    state, edges, follow, _ = trace_fans(faces.astype(np.int32), n_vertices)
    if right:
        assert state.tolist() == expected
        assert {tuple(edge) for edge in edges.tolist()} == open_edges and len(edges) == len(open_edges)
        assert sorted(follow.tolist()) == list(range(len(edges)))
        assert (edges[follow, 0] == edges[:, 1]).all()
    else:
        assert DOUBTFUL in state.tolist()


def prove_in_pieces(faces: Array, n_vertices: int, data: st.DataObject) -> PieceProof:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(faces)), max_size=6)))
    bounds = list(zip([0, *cuts], [*cuts, len(faces)], strict=True))
    nodes = [prove(faces[a:b], n_vertices, a) for a, b in bounds]
    while len(nodes) > 1:
        width = data.draw(st.integers(2, len(nodes)))
        start = data.draw(st.integers(0, len(nodes) - width))
        nodes[start : start + width] = [combine_proofs(nodes[start : start + width])]
    return nodes[0]


def no_rim(edges: Array) -> Array:
    return np.zeros(len(edges), bool)


@settings(max_examples=250, deadline=None)
@given(pinched_tori(), st.data())
def test_faults_have_the_same_names_whatever_the_pieces(mesh: tuple[Array, int], data: st.DataObject) -> None:
    faces, n_vertices = mesh
    proof = prove_in_pieces(faces, n_vertices, data)
    suspects, count = find_suspects(proof, n_vertices, no_rim(proof.edges))
    assert count == len(suspects)
    at_suspects = np.flatnonzero(np.isin(faces, suspects).any(axis=1))
    found = diagnose(suspects, faces[at_suspects], at_suspects, on_rim=no_rim)
    everything = diagnose(np.arange(n_vertices), faces, np.arange(len(faces)), on_rim=no_rim)
    assert found == everything
    assert bool(found) == bool(len(suspects))


@settings(max_examples=250, deadline=None)
@given(pinched_tori(), st.data())
def test_pieces_in_any_tree_prove_what_the_whole_proves(mesh: tuple[Array, int], data: st.DataObject) -> None:
    faces, n_vertices = mesh
    expected, open_edges, right = brute_state(faces, n_vertices)
    proof = prove_in_pieces(faces, n_vertices, data)
    border = np.unique(proof.vertices)
    closed, twice = merge_intervals([proof.closed, to_intervals(border)])
    never = expand_intervals(gaps(closed, n_vertices))
    suspects = {*proof.suspects.tolist(), *twice.tolist()}
    if not right:
        assert suspects
        return
    doubtful = {v for v, state in enumerate(expected) if state == DOUBTFUL}
    # several umbrellas at one vertex may close in different pieces: then the vertex is closed twice
    assert suspects == doubtful
    assert {v for v, state in enumerate(expected) if state == UNUSED} == set(never.tolist()) - doubtful
    assert {tuple(edge) for edge in proof.vertices[proof.edges].tolist()} == open_edges
    assert (proof.edges[proof.follow, 0] == proof.edges[:, 1]).all()
    assert proof.n_faces == len(faces)


def test_the_diagnosis_names_what_is_wrong_at_a_vertex() -> None:
    faces = torus(4, 4)
    broken = np.concatenate([faces, faces[:1]])
    broken[5] = broken[5][::-1]
    suspects = np.unique(broken)
    found = diagnose(suspects, broken, np.arange(len(broken)), on_rim=no_rim)
    kinds = Counter(finding.fault for finding in found)
    shared = len({*map(frozenset, _edges(faces[0]))} & {*map(frozenset, _edges(faces[5]))})
    assert kinds == {Fault.OVERUSED_EDGE: 3, Fault.INCONSISTENT_EDGE: 3 - shared, Fault.DUPLICATE_FACE: 1}


def _edges(face: Array) -> list[tuple[int, int]]:
    a, b, c = face.tolist()
    return [(a, b), (b, c), (c, a)]


def test_a_larger_sphere_agrees_with_trimesh() -> None:
    trimesh = pytest.importorskip("trimesh")
    sphere = trimesh.creation.icosphere(subdivisions=5)
    rng = np.random.default_rng(3)
    faces = np.asarray(sphere.faces)[rng.permutation(len(sphere.faces))]
    for damaged in (faces, faces[1:], np.concatenate([faces[:-1], faces[-1:, ::-1]])):
        proof = combine_proofs([prove(part, len(sphere.vertices)) for part in np.array_split(damaged, 7)])
        oracle = trimesh.Trimesh(sphere.vertices, damaged, process=False)
        holds = len(proof.edges) == 0 and len(proof.suspects) == 0
        assert holds == bool(oracle.is_watertight and oracle.is_winding_consistent)
    assert len(proof.suspects) == 3


def test_scattered_vertices_are_numbered_without_pages() -> None:
    faces = np.random.default_rng(0).permutation(3000).reshape(-1, 3) * 1_000_000
    faces[5, 1] = -7
    piece = number_piece(faces, 3_000_000_000)
    assert len(piece) == 2999
    known = faces >= 0
    assert np.array_equal(piece.numbers(piece.faces[known]), faces[known])
    assert (piece.faces[~known] == -1).all()


def test_areas_beyond_64_bits_are_exact() -> None:
    side = 2**40
    plan = np.array([(0, 0), (side, 0), (side, side + 1), (7, 3)], np.int64)
    faces = np.array([(0, 1, 2), (0, 2, 3), (0, 3, 1)], np.int32)
    building = np.array([-1, 4, -1], np.int32)
    found = measure_faces(
        faces, np.array([-2, 14, -2], np.int32), building, plan=plan, z=np.zeros(4), n_buildings=10, closed=False
    )
    triangles = [plan[face].astype(object) for face in faces]
    areas = [(b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0] for a, b, c in triangles]
    assert found.doubled_area == sum(areas)
    assert [bool(code & INVERTED) for code in found.codes] == [area <= 0 for area in areas]
    assert found.rows.tolist() == [4] and abs(found.doubled_roofs[0]) == min(abs(areas[1]), 2**63 - 1)


def test_faces_without_area_and_markers_without_sense_are_found() -> None:
    plan = np.array([(0, 0), (4, 0), (4, 4), (8, 8), (0, 0)], np.int64)
    z = np.array([0.0, 0, 0, 0, 5.0])
    faces = np.array([(0, 1, 2), (0, 2, 3), (0, 1, 4), (0, 2, 3), (0, 0, 1), (0, 1, 2), (0, 1, 2)], np.int32)
    markers = np.array([-2, -2, 0, 0, -2, -3, 2], np.int32)
    building = np.array([-1, -1, 0, 0, -1, -1, 1], np.int32)
    found = measure_faces(faces, markers, building, plan=plan, z=z, n_buildings=1, closed=False)
    assert found.codes.tolist() == [0, INVERTED, 0, DEGENERATE, DEGENERATE, MISMARKED, MISMARKED]
    closed = measure_faces(faces, markers, building, plan=plan, z=z, n_buildings=1, closed=True)
    assert closed.codes[5] == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=5))
def test_intervals_are_sets_of_numbers(sets: list[set[int]]) -> None:
    parts = [to_intervals(np.array(sorted(numbers), np.int64)) for numbers in sets]
    union, twice = merge_intervals(parts)
    counts = Counter(number for numbers in sets for number in numbers)
    assert expand_intervals(union).tolist() == sorted(counts)
    assert twice.tolist() == sorted(number for number, count in counts.items() if count > 1)
    assert expand_intervals(gaps(union, 31)).tolist() == sorted(set(range(31)) - set(counts))
