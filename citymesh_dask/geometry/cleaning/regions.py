"""Regions of one label: which are too small or too thin, and which neighbour takes them over.

Regions are unions of faces. Areas and lengths are integers, so that ties are ties in every grouping.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ...outcomes import Outcome
from ...outlines import GROUND, Int64
from ..grouping import find_root, join
from .faces import DEAD
from .ordering import sort_order

_ABSORBED, _SMALL, _THIN = int(Outcome.ABSORBED), int(Outcome.SKIPPED_TOO_SMALL), int(Outcome.SKIPPED_TOO_THIN)
THIN_AREA = 320
"""Regions of at least this many squared tolerances are not thin: 20 m2 at 0.25 m."""
HOLE_AREA = 64
"""Holes of less than this many squared tolerances are filled: 4 m2 at 0.25 m."""


@njit(cache=True, nogil=True)
def absorb_regions(
    edges: tuple[Int64, Int64, Int64, Int64],
    faces: tuple[Int64, Int64, Int64, Int64],
    label: Int64,
    tolerance: int,
    min_area: int,
    events: Int64,
) -> int:
    """Give small and thin regions to a neighbour, smallest first; the labels of faces are changed.

    A building's region goes to the kept building with which it shares the longest wall, else to the small
    one with which it does, else to the ground. A hole goes to the building with the longest common wall.

    Parameters
    ----------
    edges : (x, y, tail, head)
        Planar graph.
    faces : (face, area, start, members)
        From `find_faces` and `edges_by_face`.
    label : (f,) int64
        Label of each face: index of a polygon or `GROUND`.
    tolerance : int
        A region whose doubled area is below tolerance times its perimeter is thin; outline units.
    min_area : int
        Doubled area under which a building's region is small, outline units squared.
    events : (n, 3) int64
        Per label: `Outcome`, label into which it went (or -1), doubled area of the largest region that went.

    Returns
    -------
    int
        Number of regions that changed their label.
    """
    x, y, tail, head = edges
    face, area, start, members = faces
    n_faces, m = len(label), len(tail)
    parent = np.arange(n_faces)
    length = np.empty(m, np.int64)
    for e in range(m):
        a, b = face[2 * e], face[2 * e + 1]
        dx, dy = float(x[head[e]] - x[tail[e]]), float(y[head[e]] - y[tail[e]])
        length[e] = int(math.sqrt(dx * dx + dy * dy) + 0.5)
        if a != DEAD and label[a] == label[b]:
            join(parent, a, b)
    size, border = np.zeros(n_faces, np.int64), np.zeros(n_faces, np.int64)
    for e in range(m):
        if face[2 * e] != DEAD:
            a, b = find_root(parent, face[2 * e]), find_root(parent, face[2 * e + 1])
            if a != b:
                border[a] += length[e]
                border[b] += length[e]
    following, last = np.full(n_faces, -1), np.arange(n_faces)
    for f in range(n_faces):
        root = find_root(parent, f)
        size[root] += area[f]
        if f != root:  # roots are the smallest faces, so each is met before its members
            following[last[root]] = f
            last[root] = f
    shared, near = np.zeros(n_faces, np.int64), np.empty(n_faces, np.int64)
    keys, small = np.empty(n_faces, np.int64), np.empty(n_faces, np.int64)
    changes, before = 0, -1
    while changes > before:  # what a region takes over may make it thin
        before, count = changes, np.int64(0)
        for f in range(1, n_faces):
            if parent[f] == f and _is_small(label[f], size[f], border[f], tolerance, min_area):
                keys[count], small[count] = size[f], f
                count += 1
        order = sort_order(keys, count)
        for i in range(count):
            region = find_root(parent, small[order[i]])
            if region == 0 or not _is_small(label[region], size[region], border[region], tolerance, min_area):
                continue
            found = 0
            f = region
            while f >= 0:
                for k in range(start[f], start[f + 1]):
                    other = find_root(parent, face[members[k] ^ 1])
                    if other != region:
                        if shared[other] == 0:
                            near[found] = other
                            found += 1
                        shared[other] += length[members[k] >> 1]
                f = following[f]
            taker, best = np.int64(-1), 0
            for k in range(found):
                other = near[k]
                rank = 1
                if label[other] >= 0:
                    rank = 2 if _is_small(label[other], size[other], border[other], tolerance, min_area) else 3
                if taker < 0 or rank > best or (rank == best and _is_better(other, taker, shared, label)):
                    taker, best = other, rank
            if taker >= 0:
                target = label[taker]
                _record(events, label[region], target, size[region], min_area)
                changes += 1
                label[region] = target
                for k in range(found):
                    if label[near[k]] == target:  # it may close a gap between regions of that label
                        region = _unite(
                            region, near[k], shared[near[k]], target, label, parent, size, border, following, last
                        )
            for k in range(found):
                shared[near[k]] = 0
    for f in range(n_faces):
        label[f] = label[find_root(parent, f)]
    return changes


@njit(cache=True, nogil=True)
def _is_small(label: int, size: int, border: int, tolerance: int, min_area: int) -> bool:
    thin = size < border * tolerance and size < 2 * THIN_AREA * tolerance * tolerance
    if label == GROUND:
        return thin or size < 2 * HOLE_AREA * tolerance * tolerance
    return thin or size < min_area


@njit(cache=True, nogil=True)
def _is_better(a: int, b: int, shared: Int64, label: Int64) -> bool:
    """Longer common wall first, then the smaller label, then the smaller face."""
    if shared[a] != shared[b]:
        return bool(shared[a] > shared[b])
    if label[a] != label[b]:
        return bool(label[a] < label[b])
    return a < b


@njit(cache=True, nogil=True)
def _record(events: Int64, label: int, target: int, size: int, min_area: int) -> None:
    """Note where a building's largest lost region went."""
    if label == GROUND or size < events[label, 2]:
        return
    events[label, 2] = size
    events[label, 1] = target
    if target != GROUND:
        events[label, 0] = _ABSORBED
    else:
        events[label, 0] = _SMALL if size < min_area else _THIN


@njit(cache=True, nogil=True)
def _unite(
    a: int,
    b: int,
    common: int,
    target: int,
    label: Int64,
    parent: Int64,
    size: Int64,
    border: Int64,
    following: Int64,
    last: Int64,
) -> int:
    """Make two regions one and return its root, the smaller of both."""
    root, other = min(a, b), max(a, b)
    parent[other] = root
    label[root] = target
    size[root] += size[other]
    border[root] += border[other] - 2 * common
    following[last[root]] = other
    last[root] = last[other]
    return root
