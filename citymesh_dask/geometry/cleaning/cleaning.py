"""Cleaning of groups of footprints: from overlapping polygons to labelled planar graphs.

The order of the steps and what is done where they fail belong here; the steps themselves are in the
modules beside this one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...outcomes import Outcome
from ...outlines import BEYOND, GROUND, Bool, Float64, Int8, Int64, Outlines, Parts
from ...tiles import OUTLINE_UNITS, Box
from ..part_sets import part_boxes, take_parts
from .chamfer import chamfer_groups
from .checking import find_defects
from .fates import Fates, trace_fates
from .graphs import planar_groups
from .merging import merge_neighbours
from .simplifying import doubled_areas, simplify_parts
from .tidying import edges_on_frame

LINK_DISTANCE = 1.0
"""Metres; polygons nearer than this are cleaned together."""
_DEVIATION = 0.4
"""Simplified rings stay within this share of the tolerance."""
_HARDER = 4.0
"""Offenders are simplified this much more at the second attempt."""
_NEARBY = 4
"""Polygons within this many tolerances of a defect are its offenders."""
_DROP_ONE, _DROP_NEAR, _DROP_ALL = 2, 8, 16
"""Attempts from which one offender, all offenders, or the whole group are taken out."""


def link_distance(tolerance: float, merge_tolerance: float = 0.0) -> float:
    """Return the distance, in metres, under which polygons must be cleaned together.

    Parameters
    ----------
    tolerance : float
        Cleaning tolerance, metres. What cleaning does reaches four times as far.
    merge_tolerance : float
        Distance under which buildings are joined, metres.
    """
    return max(LINK_DISTANCE, 4 * tolerance, merge_tolerance)


def clean_groups(
    parts: Parts,
    group_start: Int64,
    frame: Box,
    *,
    tolerance: float,
    min_area: float,
    merge_tolerance: float = 0.0,
) -> tuple[Outlines, Fates]:
    """Turn groups of polygons into labelled planar graphs, each group by itself.

    Of polygons that overlap the smaller wins, of equal ones the smaller row. What comes out is valid
    whatever went in: no edges cross or repeat, every vertex has two or three edges, every edge has
    different labels on its sides, and every face is bounded by one label. No two vertices are nearer than
    the tolerance and no vertex is nearer than `tidying.EDGE_SHARE` of it to an edge, except where a chamfer
    finds no such place. A group comes out the same whatever the other groups are.

    Parameters
    ----------
    parts : Parts
        Polygons inside the frame, group after group.
    group_start : (g + 1,) int64
        Polygons ``group_start[i]:group_start[i + 1]`` are group ``i``.
    frame : (x0, y0, x1, y1)
        Frame of the domain, outline units. Vertices near it are put onto it; edges on it have the label
        `BEYOND` outside.
    tolerance : float
        Metres; smaller details are simplified away.
    min_area : float
        Square metres; smaller buildings are absorbed by a neighbour or left out.
    merge_tolerance : float
        Metres; buildings at most this far apart become one. 0 keeps all apart.

    Returns
    -------
    outlines : Outlines
        One graph per group, in their order; a group can be empty.
    fates : Fates
        What became of each polygon, in the order given.
    """
    rules = _Rules(
        np.array(frame, np.int64), max(1, round(tolerance * OUTLINE_UNITS)), round(2 * min_area * OUTLINE_UNITS**2)
    )
    start = np.asarray(group_start, np.int64)
    groups, rows = parts, parts.rows
    if merge_tolerance > 0 and len(parts):
        groups, start, rows = merge_neighbours(
            parts, start, frame=frame, distance=round(merge_tolerance * OUTLINE_UNITS)
        )
    groups = _winners_first(groups, start)
    own = _row_labels(groups, start)
    outlines, events, task = _clean_until_valid(groups, start, own, rules)
    fate, into = trace_fates(groups, start, own=own, outlines=outlines, events=events)
    fate[(task.deviation > rules.tolerance * _DEVIATION) & (fate == Outcome.MESHED)] = Outcome.SIMPLIFIED
    left_out = ~task.used & (fate != Outcome.MESHED)
    fate[left_out], into[left_out] = Outcome.SKIPPED_NOT_CLEANABLE, -1
    into[into >= 0] = groups.rows[into[into >= 0]]
    fates = _fates_of_given(parts, rows, group_start, _Cleaned(groups, start, fate, into))
    labels = outlines.edges[:, 2:]
    labels[labels >= 0] = groups.rows[labels[labels >= 0]]
    _label_beyond(outlines, rules.frame)
    return outlines, fates


@dataclass(frozen=True)
class _Rules:
    """Frame (4,) int64, tolerance in outline units, least doubled area in outline units squared."""

    frame: Int64
    tolerance: int
    min_area: int


@dataclass(frozen=True)
class _Cleaned:
    """Polygons in the order in which they were cleaned, and what became of them."""

    parts: Parts
    group_start: Int64
    fate: Int8
    into: Int64


def _winners_first(parts: Parts, group_start: Int64) -> Parts:
    """Sort the polygons of each group by (area, row)."""
    group_of = np.repeat(np.arange(len(group_start) - 1), np.diff(group_start))
    return take_parts(parts, np.lexsort((parts.rows, doubled_areas(parts), group_of)))


def _row_labels(parts: Parts, group_start: Int64) -> Int64:
    """Return for each polygon the first polygon of its group with the same row."""
    n = len(parts)
    group_of = np.repeat(np.arange(len(group_start) - 1), np.diff(group_start))
    order = np.lexsort((parts.rows, group_of))
    fresh = np.ones(n, np.bool_)
    fresh[1:] = (np.diff(group_of[order]) != 0) | (np.diff(parts.rows[order]) != 0)
    labels = np.empty(n, np.int64)
    labels[order] = order[np.maximum.accumulate(np.where(fresh, np.arange(n), 0))] if n else order
    return labels


def _clean_until_valid(parts: Parts, group_start: Int64, own: Int64, rules: _Rules) -> tuple[Outlines, Int64, _Task]:
    """Clean, and clean again without what stands in the way, until every group is valid."""
    deviation = np.full(len(parts), rules.tolerance * _DEVIATION)
    task = _Task(parts, group_start, own, np.ones(len(parts), np.bool_), deviation)
    outlines, events = _clean_once(parts, group_start, own, deviation, rules)
    defects = _defects(outlines)
    attempt = 0
    while len(defects):
        attempt += 1
        groups = np.unique(defects[:, 0])
        for group in groups:
            _ease(task, int(group), defects[defects[:, 0] == group, 1:], attempt, rules.tolerance)
        outlines = _clean_again(outlines, events, groups, task, rules)
        defects = _defects(outlines)
    return outlines, events, task


def _ease(task: _Task, group: int, defects: Int64, attempt: int, tolerance: int) -> None:
    """Simplify what makes the defects of a group harder, then take it out."""
    here = np.arange(task.group_start[group], task.group_start[group + 1])
    here = here[task.used[here]]
    offenders = _offenders(task.parts, here, defects, tolerance)
    if attempt < _DROP_ONE:
        task.deviation[np.unique(np.concatenate(offenders))] *= _HARDER
    elif attempt < _DROP_NEAR:
        task.used[[near[0] for near in offenders]] = False
    else:
        task.used[np.concatenate(offenders) if attempt < _DROP_ALL else here] = False


@dataclass(frozen=True)
class _Task:
    """Polygons to clean and how: which are used, and how far each may be simplified."""

    parts: Parts
    group_start: Int64
    own: Int64
    used: Bool
    deviation: Float64


def _clean_once(
    parts: Parts, group_start: Int64, own: Int64, deviation: Float64, rules: _Rules
) -> tuple[Outlines, Int64]:
    simple = simplify_parts(parts.ring_start, parts.point_start, parts.points, deviation, rules.frame)
    shapes = (part_boxes(parts), parts.ring_start, parts.point_start, parts.points)
    *graphs, events = planar_groups(group_start, shapes, simple, own, rules.frame, rules.tolerance, rules.min_area)
    *graphs, _ = chamfer_groups(*graphs, rules.tolerance, rules.frame)
    return Outlines(*graphs), events


def _defects(outlines: Outlines) -> Int64:
    defects: Int64 = find_defects(outlines.points, outlines.edges, outlines.point_start, outlines.edge_start)
    return defects


def _offenders(parts: Parts, here: Int64, defects: Int64, tolerance: int) -> list[Int64]:
    """Return for each defect the polygons whose outlines pass near it, at least the nearest one."""
    local = take_parts(parts, here)
    segments = np.ones(len(local.points), np.bool_)
    segments[local.point_start[1:] - 1] = False
    a = local.points[segments]
    along = local.points[np.flatnonzero(segments) + 1] - a
    corners = np.diff(local.point_start[local.ring_start])
    part_of = np.repeat(np.arange(len(local)), corners)[segments]
    length2 = np.maximum((along * along).sum(axis=1), 1)
    found = []
    for place in defects:
        share = np.clip(((place - a) * along).sum(axis=1) / length2, 0.0, 1.0)
        gap = np.hypot(*(place - a - share[:, None] * along).T)
        near = np.unique(part_of[gap <= max(_NEARBY * tolerance, float(gap.min()))])
        found.append(here[near])
    return found


def _clean_again(outlines: Outlines, events: Int64, groups: Int64, task: _Task, rules: _Rules) -> Outlines:
    """Clean some groups with what is still used of them; enter their events; return all groups."""
    which = [np.arange(task.group_start[g], task.group_start[g + 1]) for g in groups]
    kept = [members[task.used[members]] for members in which]
    index = np.concatenate(kept)
    start = np.concatenate(([0], np.cumsum([len(members) for members in kept])))
    parts = take_parts(task.parts, index)
    again, again_events = _clean_once(parts, start, _row_labels(parts, start), task.deviation[index], rules)
    # Back to the labels of all polygons; a negative label stands for itself.
    names = np.append(task.own[index], (BEYOND, GROUND))
    again.edges[:, 2:] = names[again.edges[:, 2:]]
    events[np.concatenate(which)] = -1
    back = again_events.copy()
    back[:, 1] = names[again_events[:, 1]]
    events[task.own[index]] = np.where(again_events[:, :1] >= 0, back, events[task.own[index]])
    return _replace_groups(outlines, groups, again)


def _replace_groups(outlines: Outlines, groups: Int64, again: Outlines) -> Outlines:
    """Put other graphs in the place of some groups."""
    sources = [(outlines, g) for g in range(len(outlines.point_start) - 1)]
    for k, group in enumerate(groups):
        sources[group] = (again, k)
    points, edges, point_start, edge_start = [], [], [0], [0]
    for source, g in sources:
        low, high = source.point_start[g], source.point_start[g + 1]
        own_edges = source.edges[source.edge_start[g] : source.edge_start[g + 1]].copy()
        own_edges[:, :2] += point_start[-1] - low
        points.append(source.points[low:high])
        edges.append(own_edges)
        point_start.append(point_start[-1] + int(high - low))
        edge_start.append(edge_start[-1] + len(own_edges))
    return Outlines(np.concatenate(points), np.concatenate(edges), np.array(point_start), np.array(edge_start))


def _label_beyond(outlines: Outlines, frame: Int64) -> None:
    """Mark the outer side of the edges that lie on the frame."""
    on_frame = np.flatnonzero(edges_on_frame(outlines.points, outlines.edges, frame))
    labels = outlines.edges[on_frame, 2:]
    outlines.edges[on_frame, 2:] = np.where(labels == GROUND, BEYOND, labels)


def _fates_of_given(parts: Parts, rows: Int64, group_start: Int64, cleaned: _Cleaned) -> Fates:
    """Return the fates of the polygons given, by the group and the row under which each was cleaned."""
    order = np.lexsort((cleaned.fate, cleaned.parts.rows, _group_numbers(cleaned.group_start)))
    keys = np.stack((_group_numbers(cleaned.group_start), cleaned.parts.rows), axis=1)[order]
    wanted = np.stack((_group_numbers(group_start), rows), axis=1)
    place = order[_first_places(keys, wanted)] if len(rows) else order
    fate, into = cleaned.fate[place], cleaned.into[place]
    moved = (fate < Outcome.MERGED) & (rows != parts.rows)
    return Fates(parts.rows.copy(), np.where(moved, np.int8(Outcome.MERGED), fate), np.where(moved, rows, into))


def _group_numbers(group_start: Int64) -> Int64:
    return np.repeat(np.arange(len(group_start) - 1), np.diff(group_start))


def _first_places(keys: Int64, wanted: Int64) -> Int64:
    """Return the first place of each wanted (group, row) among ascending keys."""
    both = np.concatenate((wanted, keys))
    _, number = np.unique(both, axis=0, return_inverse=True)
    number = number.ravel()
    places: Int64 = np.searchsorted(number[len(wanted) :], number[: len(wanted)])
    return places
