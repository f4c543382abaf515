"""Cleaning of groups of footprints: from overlapping polygons to labelled planar graphs.

The order of the steps and what is done where they fail belong here; the steps themselves are in the
modules beside this one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...outlines import BEYOND, GROUND, Bool, Float64, Int8, Int64, Outlines, Parts
from ...tiles import OUTLINE_UNITS, Box
from .chamfer import chamfer_groups
from .checking import find_defects
from .fates import Fate, Fates, trace_fates
from .graphs import planar_groups
from .linking import part_boxes
from .merging import merge_neighbours, take_parts
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
    rules = _Rules(frame, max(1, round(tolerance * OUTLINE_UNITS)), round(2 * min_area * OUTLINE_UNITS**2))
    given_rows, rows = parts.rows, parts.rows
    groups, start = parts, group_start
    if merge_tolerance > 0 and len(parts):
        groups, start, rows = merge_neighbours(parts, group_start, frame, round(merge_tolerance * OUTLINE_UNITS))
    groups, order = _in_order(groups, start)
    own = _labels_of_rows(groups, start)
    twins = _find_twins(groups, start)
    state = _Work(groups, start, own, np.full(len(groups), rules.tolerance * _DEVIATION), twins < 0)
    outlines, events = _clean_until_valid(state, rules)
    fate, into = trace_fates(groups, start, own, outlines, events)
    fate[~state.used & (twins < 0)] = Fate.UNCLEANABLE
    into[~state.used & (twins < 0)] = -1
    _follow_twins(twins, own, fate, into)
    into = np.where(into >= 0, groups.rows[into], -1) if len(groups) else into
    fates = _fates_of_given(given_rows, rows, group_start, start, groups.rows, fate, into)
    del order
    return _with_rows(outlines, groups.rows, frame), fates
