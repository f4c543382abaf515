"""Sets of ragged polygons: some of many, several in one.

Only copying and bounding boxes belong here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..outlines import Int64, Parts


def join_parts(sets: Sequence[Parts]) -> Parts:
    """Return the polygons of several sets one after the other.

    Parameters
    ----------
    sets : sequence of Parts
        Any number, also none.
    """
    rings = starts_of(np.array([len(s.point_start) - 1 for s in sets], np.int64))
    points = starts_of(np.array([len(s.points) for s in sets], np.int64))
    none = np.zeros(1, np.int64)
    return Parts(
        np.concatenate([none[:0], *(s.rows for s in sets)]),
        np.concatenate([none, *(s.ring_start[1:] + shift for s, shift in zip(sets, rings, strict=False))]),
        np.concatenate([none, *(s.point_start[1:] + shift for s, shift in zip(sets, points, strict=False))]),
        np.concatenate([np.empty((0, 2), np.int64), *(s.points for s in sets)]),
    )


def take_parts(parts: Parts, which: Int64) -> Parts:
    """Return some of the polygons, in the order asked for.

    Parameters
    ----------
    parts : Parts
        The polygons.
    which : (k,) int64
        Their indices.
    """
    rings = _ranges(parts.ring_start[which], parts.ring_start[which + 1])
    points = _ranges(parts.point_start[rings], parts.point_start[rings + 1])
    return Parts(
        parts.rows[which],
        starts_of(parts.ring_start[which + 1] - parts.ring_start[which]),
        starts_of(parts.point_start[rings + 1] - parts.point_start[rings]),
        parts.points[points],
    )


def part_boxes(parts: Parts) -> Int64:
    """Return x0, y0, x1, y1 of each polygon, (n, 4) int64, outline units."""
    if len(parts) == 0:
        return np.empty((0, 4), np.int64)
    starts = parts.point_start[parts.ring_start[:-1]]
    low = np.minimum.reduceat(parts.points, starts, axis=0)
    high = np.maximum.reduceat(parts.points, starts, axis=0)
    return np.concatenate((low, high), axis=1)


def _ranges(start: Int64, stop: Int64) -> Int64:
    """Return start[0] .. stop[0] - 1, start[1] .. stop[1] - 1 and so on in one array."""
    counts = stop - start
    total = np.cumsum(counts)
    if len(total) == 0 or total[-1] == 0:
        return np.empty(0, np.int64)
    indices: Int64 = np.arange(total[-1]) + np.repeat(start - total + counts, counts)
    return indices


def starts_of(counts: Int64) -> Int64:
    """Return where each of some runs begins, and where the last ends: (n + 1,) int64."""
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts
