"""Which region a position lies in, without a triangulation; exact, and slow for many positions.

Needed where a window shows no outline at all: open ground, or the inside of a very large building.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ...outlines import GROUND, Int32, Int64

_SCALE = 6


def label_at(position: tuple[int, int], *, points: Int64, ends: Int32, labels: Int64) -> int:
    """Return the label of the first piece to the west of a position, on the side that faces it.

    Parameters
    ----------
    position : (int, int)
        Three times x and y, mesh units.
    points : (n, 2) int64
        Mesh units.
    ends : (m, 2) int32
        Pieces; whole rings of the clusters around the position.
    labels : (m, 2) int64
        Labels on their left and right.

    Returns
    -------
    int
        The label; `GROUND` where there is nothing to the west.
    """
    # Six times the coordinates of points are even, the ray's height is odd: it meets no vertex.
    x, y = 2 * position[0], 2 * position[1] + 1
    rises = _SCALE * points[:, 1] > y
    crossing = np.flatnonzero(rises[ends[:, 0]] != rises[ends[:, 1]])
    best, label = None, GROUND
    for k in crossing.tolist():
        (ax, ay), (bx, by) = (points[end].tolist() for end in ends[k])
        at = _SCALE * ax + Fraction((y - _SCALE * ay) * (bx - ax), by - ay)
        if at < x and (best is None or at > best):
            best, label = at, int(labels[k, 1 if by > ay else 0])
    return label
