"""What exactly is wrong at the suspects of a proof, whatever the pieces it was made of.

Given all faces at some vertices, every edge there is counted and every umbrella followed; this is
the slow and exact answer for a few thousand vertices, the fast one for a whole mesh is ``proof``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ...outlines import Bool, Int64

Edge = tuple[int, int]
RimTest = Callable[[Int64], Bool]


class Fault(StrEnum):
    """What can be wrong with edges and vertices."""

    OPEN_EDGE = "open edge"
    OVERUSED_EDGE = "edge used more than twice"
    INCONSISTENT_EDGE = "edge used twice in one direction"
    DUPLICATE_FACE = "face that is there twice"
    NON_MANIFOLD_VERTEX = "non-manifold vertex"
    UNUSED_VERTEX = "unused vertex"


@dataclass(frozen=True)
class Finding:
    """One fault and where it is.

    Parameters
    ----------
    fault : Fault
        What is wrong.
    vertices : tuple of int
        The vertices of the edge or face, or the vertex, by number.
    face : int
        A face that has it, by number; -1 where none has.
    """

    fault: Fault
    vertices: tuple[int, ...]
    face: int


def diagnose(suspects: Int64, corners: Int64, numbers: Int64, *, on_rim: RimTest) -> list[Finding]:
    """Name every fault of edges and faces at some vertices, and of the vertices themselves.

    Parameters
    ----------
    suspects : (s,) int64
        Vertices by number.
    corners : (m, 3) int64
        All faces at them that name three different vertices.
    numbers : (m,) int64
        Number of each face in the store.
    on_rim : callable
        Says of edges, (k, 2) int64, which may have one face only.

    Returns
    -------
    list of Finding
        In the order of `Fault`, each by vertices.
    """
    around = set(suspects.tolist())
    uses = _edge_uses(corners, numbers, around)
    findings = [*_edge_findings(uses, on_rim), *_duplicates(corners, numbers)]
    faulty = {vertex for finding in findings for vertex in finding.vertices}
    findings += _vertex_findings(corners, numbers, around, faulty)
    order = list(Fault)
    return sorted(findings, key=lambda finding: (order.index(finding.fault), finding.vertices))


def _edge_uses(corners: Int64, numbers: Int64, around: set[int]) -> dict[Edge, list[tuple[Edge, int]]]:
    """Return the oriented uses of each edge with an end among the suspects, and their faces."""
    uses: dict[Edge, list[tuple[Edge, int]]] = defaultdict(list)
    for (a, b, c), face in zip(corners.tolist(), numbers.tolist(), strict=True):
        for start, stop in ((a, b), (b, c), (c, a)):
            if start in around or stop in around:
                uses[min(start, stop), max(start, stop)].append(((start, stop), face))
    return uses


def _edge_findings(uses: dict[Edge, list[tuple[Edge, int]]], on_rim: RimTest) -> list[Finding]:
    findings, single = [], []
    for edge, runs in uses.items():
        if len(runs) > 2:
            findings.append(Finding(Fault.OVERUSED_EDGE, edge, runs[0][1]))
        elif len(runs) == 1:
            single.append(runs[0])
        elif runs[0][0] == runs[1][0]:
            findings.append(Finding(Fault.INCONSISTENT_EDGE, runs[0][0], runs[0][1]))
    rim = on_rim(np.array([edge for edge, _ in single], np.int64).reshape(-1, 2))
    findings += [Finding(Fault.OPEN_EDGE, *run) for run, good in zip(single, rim.tolist(), strict=True) if not good]
    return findings


def _duplicates(corners: Int64, numbers: Int64) -> list[Finding]:
    """Return the faces with the same three vertices as an earlier one."""
    ordered = np.sort(corners, axis=1)
    kinds, first, count = np.unique(ordered, axis=0, return_index=True, return_counts=True)
    return [
        Finding(Fault.DUPLICATE_FACE, (a, b, c), int(numbers[face]))
        for (a, b, c), face, uses in zip(kinds.tolist(), first, count, strict=True)
        if uses > 1
    ]


def _vertex_findings(corners: Int64, numbers: Int64, around: set[int], faulty: set[int]) -> list[Finding]:
    """Return unused vertices, and those with several fans where no edge is to blame."""
    arcs: dict[int, list[Edge]] = defaultdict(list)
    a_face: dict[int, int] = {}
    for (a, b, c), face in zip(corners.tolist(), numbers.tolist(), strict=True):
        for vertex, arc in ((a, (b, c)), (b, (c, a)), (c, (a, b))):
            if vertex in around:
                arcs[vertex].append(arc)
                a_face[vertex] = face
    findings = []
    for vertex in sorted(around):
        if vertex not in arcs:
            findings.append(Finding(Fault.UNUSED_VERTEX, (vertex,), -1))
        elif vertex not in faulty and count_fans(arcs[vertex]) > 1:
            findings.append(Finding(Fault.NON_MANIFOLD_VERTEX, (vertex,), a_face[vertex]))
    return findings


def count_fans(arcs: Sequence[Edge]) -> int:
    """Return the number of umbrellas and fans that the corners at a vertex make.

    Parameters
    ----------
    arcs : sequence of (int, int)
        Next and previous vertex of each corner; every vertex at most once in either place.

    Examples
    --------
    >>> count_fans([(1, 2), (2, 3), (3, 1), (8, 9), (7, 8)])
    2
    """
    follower = dict(arcs)
    begins = follower.keys() - set(follower.values())
    chains = 0
    for begin in [*begins, *follower]:  # fans from where they begin, then umbrellas from anywhere
        if begin in follower:
            chains += 1
            at: int | None = begin
            while at is not None:
                at = follower.pop(at, None)
    return chains
