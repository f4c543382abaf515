"""Reading of single polygons across the footprint groups by global part id.

Parts of buildings without evidence of height have ids, but are never cleaned where buildings get walls.
"""

from __future__ import annotations

import numpy as np

from ....geometry.part_sets import join_parts, take_parts
from ....outlines import Bool, Int64, Parts
from ....tiles import Box
from ..job import ROWS_PER_RANGE, CityJob, asked
from .footprints import footprint_group
from .part_index import groups_near, part_starts

GROUPS = "groups"
"""Scratch group of the stage group_parts."""


def usable_parts(job: CityJob, index: int) -> Bool:
    """Return which parts of a footprint group are meshed: with evidence of height, or all without walls, (n,) bool."""
    task = job.footprint_ranges[index]
    rows = job.scratch.read(footprint_group(index), "rows")
    if len(rows) == 0 or job.options.lod == 0:
        return np.ones(len(rows), np.bool_)
    low, high = task.first_row, task.first_row + task.stop - task.start
    evidence = []
    for block in range(low // ROWS_PER_RANGE, (high - 1) // ROWS_PER_RANGE + 1):
        first = block * ROWS_PER_RANGE
        evidence.append(job.scratch.read(f"roofs/{block:04d}", "evidence", (max(low - first, 0), high - first)))
    found: Bool = np.concatenate(evidence)[rows - low] != 0
    return found


def read_boxes(job: CityJob, index: int) -> Int64:
    """Return the boxes of the parts of a footprint group, (n, 4) int64, outline units."""
    boxes: Int64 = job.scratch.read(footprint_group(index), "boxes")
    return boxes


@asked()
def parts_in_box(job: CityJob, box: Box) -> tuple[Parts, Int64]:
    """Return the usable parts whose boxes meet a box, ascending by global id, and these ids.

    Parameters
    ----------
    job : CityJob
        The run; its footprints are read and their evidence known.
    box : Box
        Outline units, borders included.
    """
    starts = part_starts(job)
    found, ids = [], [np.empty(0, np.int64)]
    for index in groups_near(job, box):
        local = np.flatnonzero(_meet(read_boxes(job, index), box) & usable_parts(job, index))
        if len(local):
            found.append(_read_local(job, index, local))
            ids.append(local + starts[index])
    return join_parts(found), np.concatenate(ids)


def read_parts(job: CityJob, ids: Int64) -> Parts:
    """Return parts by global id, in the order asked for.

    Parameters
    ----------
    job : CityJob
        The run; its parts are grouped.
    ids : (n,) int64
        Global ids.
    """
    starts = part_starts(job)
    order = np.argsort(ids, kind="stable")
    ascending = ids[order]
    found = []
    for index in np.unique(np.searchsorted(starts, ids, side="right") - 1).tolist():
        low, high = np.searchsorted(ascending, starts[index : index + 2])
        found.append(_read_local(job, index, ascending[low:high] - starts[index]))
    place = np.empty(len(ids), np.int64)
    place[order] = np.arange(len(ids))
    return take_parts(join_parts(found), place)


def _read_local(job: CityJob, index: int, local: Int64) -> Parts:
    """Read ascending parts of one footprint group: only the stretch of the group from the first to the last."""
    group, scratch = footprint_group(index), job.scratch
    low, high = int(local[0]), int(local[-1]) + 1
    rings = scratch.read(group, "ring_start", (low, high + 1))
    points = scratch.read(group, "point_start", (int(rings[0]), int(rings[-1]) + 1))
    stretch = Parts(
        scratch.read(group, "rows", (low, high)),
        rings - rings[0],
        points - points[0],
        scratch.read(group, "points", (int(points[0]), int(points[-1]))),
    )
    return stretch if len(local) == high - low else take_parts(stretch, local - low)


def _meet(boxes: Int64, box: Box) -> Bool:
    meet: Bool = (boxes[:, 0] <= box[2]) & (boxes[:, 2] >= box[0]) & (boxes[:, 1] <= box[3]) & (boxes[:, 3] >= box[1])
    return meet
