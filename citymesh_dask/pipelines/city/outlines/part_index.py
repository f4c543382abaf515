"""Task that notes where each range of footprints lies, so that nobody has to open all of them to find a few.

The parts of all ranges are numbered on from range to range; that number is a part's global id.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....geometry.part_sets import starts_of
from ....outlines import Int64
from ....tiles import Box
from ..job import CityJob, asked, load_job
from .footprints import footprint_group

INDEX = "parts"
"""Scratch group of the stage index_parts."""
_NOWHERE = (1, 1, 0, 0)


def index_parts(job_path: str, index: int = 0) -> dict[str, Any]:
    """Note the boxes and sizes of all footprint groups.

    Writes group ``parts``: ``boxes`` (f, 4) int64, around the parts of each footprint group, outline units
    (of a group without any it meets nothing), ``clipped_boxes`` likewise around those that the frame clips, before
    it does, and ``part_start`` (f + 1,) int64, the global id of its first part.
    """
    job = load_job(job_path)
    facts = [job.scratch.attributes(footprint_group(f)) for f in range(len(job.footprint_ranges))]
    boxes, clipped = (
        np.array([fact.get(name) or _NOWHERE for fact in facts], np.int64).reshape(-1, 4)
        for name in ("box", "clipped_box")
    )
    counts = np.array([fact["parts"] for fact in facts], np.int64)
    job.scratch.write(INDEX, {"boxes": boxes, "clipped_boxes": clipped, "part_start": starts_of(counts)})
    return {"parts": int(counts.sum())}


def part_starts(job: CityJob) -> Int64:
    """Return the global id of the first part of each footprint group, and the number of all: (f + 1,) int64."""
    starts: Int64 = job.scratch.read(INDEX, "part_start")
    return starts


@asked()
def reach_of_points(job: CityJob) -> Box:
    """Return the box of points that may tell of heights: the frame and the whole of what it clips, outline units."""
    clipped = job.scratch.read(INDEX, "clipped_boxes")
    clipped = clipped[clipped[:, 0] <= clipped[:, 2]]
    both = np.concatenate([clipped, np.array([job.domain.frame], np.int64)])
    low, high = both[:, :2].min(axis=0), both[:, 2:].max(axis=0)
    return (int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def groups_near(job: CityJob, box: tuple[float, float, float, float], *, clipped: bool = False) -> list[int]:
    """Return the footprint groups whose parts, or ``clipped`` ones, may meet a box, outline units, borders included."""
    boxes = job.scratch.read(INDEX, "clipped_boxes" if clipped else "boxes")
    some = boxes[:, 0] <= boxes[:, 2]
    meet = (boxes[:, 0] <= box[2]) & (boxes[:, 2] >= box[0]) & (boxes[:, 1] <= box[3]) & (boxes[:, 3] >= box[1])
    near: list[int] = np.flatnonzero(some & meet).tolist()
    return near
