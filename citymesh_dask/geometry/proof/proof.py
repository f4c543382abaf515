"""The proof of a mesh, made from its faces alone: of a piece, and of the union of pieces.

A piece's proof says which vertices are closed (one umbrella of faces and nothing else), which edges
are left with which fans, and what its faces add up to. Adding proofs cancels edges and joins fans.
Each vertex must close exactly once: closed vertices are kept as intervals of vertex numbers, so that
one that closes twice (two surfaces that touch in a point) or never (unused) is found exactly. Vertices
at which something does not hold are *suspects*; what is wrong there is named by ``diagnosis``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ...outlines import Bool, Int32, Int64
from ..joining.matching import ONCE, match_edges
from . import face_measures, fans
from .face_measures import DEGENERATE, INVERTED, MISMARKED, NOT_FINITE, OUT_OF_RANGE, FaceMeasures
from .intervals import KEPT_NUMBERS, expand_intervals, gaps, merge_intervals, to_intervals

FLAWS = (DEGENERATE, INVERTED, MISMARKED, NOT_FINITE, OUT_OF_RANGE)
KEPT_FACES = 20
"""Faces that are kept by number for each flaw; all are counted."""
KEPT_SUSPECTS = KEPT_NUMBERS
"""Vertices that are kept by number; all are counted."""

_PAGE_BITS = 10

Indices = npt.NDArray[np.int32] | npt.NDArray[np.int64]


@dataclass(frozen=True)
class PieceVertices:
    """The vertices of a piece of mesh, numbered from 0.

    Parameters
    ----------
    pages : (p,) int64
        Ascending; page ``q`` stands for the vertices ``q * 2**bits`` to ``(q + 1) * 2**bits - 1``.
    bits : int
        Size of a page.
    faces : (m, 3) int32
        The faces by local numbers; -1 for an index that no vertex has.
    """

    pages: Int64
    bits: int
    faces: Int32

    def __len__(self) -> int:
        return len(self.pages) << self.bits

    def numbers(self, local: Int64) -> Int64:
        """Return the vertex numbers in the store of local ones."""
        mask = (1 << self.bits) - 1
        numbers: Int64 = (self.pages[local >> self.bits] << self.bits) | (local & mask)
        return numbers


@dataclass(frozen=True)
class PieceProof:
    """What is known of a piece of mesh, of a size that grows with its boundary.

    Parameters
    ----------
    n_faces : int
        Number of faces.
    vertices : (k,) int64
        Vertices of the boundary by number, ascending.
    edges : (e, 2) int32
        Boundary edges, indices into ``vertices``.
    follow : (e,) int32
        The edge that leaves the end of each edge in the same fan of faces; -1 where unknown.
    chords : (c, 2) int32
        Edges that have their two faces although both ends are on the boundary: no other piece may
        use them again (two buildings that touch along one edge would).
    closed : (r, 2) int64
        Intervals of vertex numbers, ascending and apart: vertices with one umbrella.
    suspects : (s,) int64
        Vertices, ascending, at which something is wrong; at most `KEPT_SUSPECTS`.
    n_suspects : int
        How many there were, some perhaps counted twice.
    flaw_counts : (5,) int64
        Faces with each of `FLAWS`.
    flaw_faces : (f, 2) int64
        (flaw, face) for the first `KEPT_FACES` of each flaw.
    doubled_area : int
        Doubled area in plan of terrain and roofs, square mesh units.
    rows : (b,) int64
        Buildings that have faces, ascending.
    doubled_roofs : (b,) int64
        Doubled area in plan of their roofs, square mesh units.
    """

    n_faces: int
    vertices: Int64
    edges: Int32
    follow: Int32
    chords: Int32
    closed: Int64
    suspects: Int64
    n_suspects: int
    flaw_counts: Int64
    flaw_faces: Int64
    doubled_area: int
    rows: Int64
    doubled_roofs: Int64


def number_piece(faces: Indices, n_vertices: int) -> PieceVertices:
    """Number the vertices of a piece of mesh from 0.

    Parameters
    ----------
    faces : (m, 3) int32 or int64
        Vertex numbers in the store, right or wrong.
    n_vertices : int
        Vertices in the store.
    """
    slots = np.zeros((n_vertices >> _PAGE_BITS) + 1, np.int32)
    _touch_pages(faces, n_vertices, slots)
    pages = np.flatnonzero(slots)
    if len(pages) << _PAGE_BITS > 12 * len(faces) + (1 << 16):  # scattered: every vertex is a page
        pages, local = np.unique(faces, return_inverse=True)
        inside = (pages >= 0) & (pages < n_vertices)
        number = np.where(inside, np.cumsum(inside) - 1, -1).astype(np.int32)
        return PieceVertices(pages[inside].astype(np.int64), 0, number[local.reshape(-1, 3)])
    slots[pages] = np.arange(len(pages))
    return PieceVertices(pages, _PAGE_BITS, _local_faces(faces, n_vertices, slots))


@njit(cache=True, nogil=True)
def _touch_pages(faces: Indices, n_vertices: int, touched: Int32) -> None:
    for face in range(len(faces)):
        for corner in range(3):
            vertex = faces[face, corner]
            if 0 <= vertex < n_vertices:
                touched[vertex >> _PAGE_BITS] = 1


@njit(cache=True, nogil=True)
def _local_faces(faces: Indices, n_vertices: int, slots: Int32) -> Int32:
    local = np.empty((len(faces), 3), np.int32)
    for face in range(len(faces)):
        for corner in range(3):
            vertex = faces[face, corner]
            if 0 <= vertex < n_vertices:
                inside = vertex & ((1 << _PAGE_BITS) - 1)
                local[face, corner] = (np.int64(slots[vertex >> _PAGE_BITS]) << _PAGE_BITS) | inside
            else:
                local[face, corner] = -1
    return local


def are_usable(faces: Indices) -> Bool:
    """Return which faces name three different vertices, none of them negative."""
    a, b, c = faces[:, 0], faces[:, 1], faces[:, 2]
    usable: Bool = (a != b) & (b != c) & (c != a) & (faces >= 0).all(axis=1)
    return usable


def prove_piece(piece: PieceVertices, measures: FaceMeasures, *, start: int) -> PieceProof:
    """Make the proof of a piece.

    Parameters
    ----------
    piece : PieceVertices
        From `number_piece`.
    measures : FaceMeasures
        Of the same faces, from `measure_faces`.
    start : int
        Number of the first face in the store.
    """
    faces = piece.faces
    if measures.codes.any():
        faces = np.ascontiguousarray(faces[are_usable(faces)])
    state, edges, follow, chords = fans.trace_fans(faces, len(piece))
    used = np.unique(edges)
    closed = piece.numbers(np.flatnonzero(state == fans.CLOSED))
    suspects = piece.numbers(np.flatnonzero(state == fans.DOUBTFUL))
    return PieceProof(
        n_faces=len(piece.faces),
        vertices=piece.numbers(used),
        edges=np.searchsorted(used, edges).astype(np.int32),
        follow=follow,
        chords=np.searchsorted(used, chords).astype(np.int32),
        closed=to_intervals(closed),
        suspects=suspects[:KEPT_SUSPECTS],
        n_suspects=len(suspects),
        flaw_counts=np.array([np.count_nonzero(measures.codes & flaw) for flaw in FLAWS], np.int64),
        flaw_faces=_first_faces(measures.codes, start),
        doubled_area=measures.doubled_area,
        rows=measures.rows,
        doubled_roofs=measures.doubled_roofs,
    )


def _first_faces(codes: face_measures.Codes, start: int) -> Int64:
    flawed = np.flatnonzero(codes)
    kept = [np.empty((0, 2), np.int64)]
    for flaw in FLAWS:
        faces = flawed[(codes[flawed] & flaw) > 0][:KEPT_FACES] + start
        kept.append(np.stack([np.full(len(faces), flaw), faces], axis=1))
    return np.concatenate(kept)


def combine_proofs(proofs: Sequence[PieceProof]) -> PieceProof:
    """Add the proofs of pieces without common faces; associative.

    Parameters
    ----------
    proofs : sequence of PieceProof
        One or more.
    """
    vertices, edges, follow, chords = _join_edges(proofs)
    count = len(edges)
    # a chord counts as an edge and its opposite: alone they match, any further use is one too many
    every = np.concatenate([edges, chords, chords[:, ::-1]])
    matches = match_edges(every, len(vertices))
    partner = matches[:count]
    closings = np.bincount(fans.join_fans(edges, partner, follow), minlength=len(vertices))
    left = partner == ONCE
    alive = np.zeros(len(vertices), np.bool_)
    alive[edges[left]] = True
    closed_once = (closings == 1) & ~alive
    wrong = ~alive & ~closed_once | alive & (closings > 0)
    wrong[every[matches < ONCE]] = True
    pairs = np.concatenate([chords, edges[partner > np.arange(count)]])
    number = (np.cumsum(alive) - 1).astype(np.int32)
    parts = [proof.closed for proof in proofs]
    closed, twice = merge_intervals([*parts, to_intervals(vertices[closed_once])])
    suspects = np.unique(np.concatenate([*(p.suspects for p in proofs), vertices[wrong], twice]))
    rows, roofs = _add_roofs(proofs)
    return PieceProof(
        n_faces=sum(p.n_faces for p in proofs),
        vertices=vertices[alive],
        edges=number[edges[left]],
        follow=_renumber(follow, left),
        chords=number[pairs[alive[pairs].all(axis=1)]],
        closed=closed,
        suspects=suspects[:KEPT_SUSPECTS],
        n_suspects=sum(p.n_suspects for p in proofs) + int(wrong.sum()) + len(twice),
        flaw_counts=np.sum([p.flaw_counts for p in proofs], axis=0),
        flaw_faces=_first_flaws(np.concatenate([p.flaw_faces for p in proofs])),
        doubled_area=sum(p.doubled_area for p in proofs),
        rows=rows,
        doubled_roofs=roofs,
    )


def _join_edges(proofs: Sequence[PieceProof]) -> tuple[Int64, Int32, Int32, Int32]:
    """Return vertices, edges, followers and chords side by side, equal vertices being one."""
    vertices, local = np.unique(np.concatenate([p.vertices for p in proofs]), return_inverse=True)
    local = local.astype(np.int32)
    shifts = np.cumsum([0, *(len(p.vertices) for p in proofs)])
    edge_shifts = np.cumsum([0, *(len(p.edges) for p in proofs)])
    edges, follow, chords = [], [], []
    for proof, shift, edge_shift in zip(proofs, shifts, edge_shifts, strict=False):
        edges.append(local[proof.edges + shift])
        chords.append(local[proof.chords + shift])
        follow.append(np.where(proof.follow < 0, -1, proof.follow + edge_shift).astype(np.int32))
    return vertices, np.concatenate(edges), np.concatenate(follow), np.concatenate(chords)


def _renumber(follow: Int32, left: Bool) -> Int32:
    """Return the followers of the edges that are left; -1 where the follower is not left itself."""
    number = np.where(left, np.cumsum(left) - 1, -1)
    kept = follow[left]
    return np.where(kept < 0, -1, number[kept]).astype(np.int32)


def _add_roofs(proofs: Sequence[PieceProof]) -> tuple[Int64, Int64]:
    rows, place = np.unique(np.concatenate([p.rows for p in proofs]), return_inverse=True)
    areas = np.zeros(len(rows), np.int64)
    np.add.at(areas, place, np.concatenate([p.doubled_roofs for p in proofs]))
    return rows, areas


def _first_flaws(flaw_faces: Int64) -> Int64:
    ordered = flaw_faces[np.lexsort((flaw_faces[:, 1], flaw_faces[:, 0]))]
    first = np.searchsorted(ordered[:, 0], ordered[:, 0])
    kept: Int64 = ordered[np.arange(len(ordered)) - first < KEPT_FACES]
    return kept


def find_suspects(proof: PieceProof, n_vertices: int, on_rim: Bool) -> tuple[Int64, int]:
    """Return all vertices at which the proof of a whole mesh does not hold.

    None means: every edge has its two faces or is allowed on the rim, every vertex is used and has
    one umbrella, or one fan where the rim passes.

    Parameters
    ----------
    proof : PieceProof
        The sum of the proofs of all pieces.
    n_vertices : int
        Number of vertices.
    on_rim : (e,) bool
        Which of the edges that are left may be there.

    Returns
    -------
    suspects : (s,) int64
        Ascending; at most `KEPT_SUSPECTS`.
    count : int
        How many there are; where that is more than `KEPT_SUSPECTS`, at most.
    """
    size = len(proof.vertices)
    leaving, coming = (np.bincount(proof.edges[:, end], minlength=size) for end in (0, 1))
    wrong = (leaving != 1) | (coming != 1)
    wrong[proof.edges[~on_rim | (proof.follow < 0)]] = True
    closed, twice = merge_intervals([proof.closed, to_intervals(proof.vertices)])
    missing = gaps(closed, n_vertices)
    never = expand_intervals(missing)
    suspects = np.unique(np.concatenate([proof.suspects, proof.vertices[wrong], twice, never]))
    if len(suspects) < KEPT_SUSPECTS:
        return suspects, len(suspects)
    unused = int((missing[:, 1] - missing[:, 0]).sum())
    return suspects[:KEPT_SUSPECTS], proof.n_suspects + int(wrong.sum()) + len(twice) + unused
