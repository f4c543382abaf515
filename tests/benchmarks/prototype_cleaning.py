"""What the benchmark of cleaning asks of the prototype; runs in the prototype's process."""

from __future__ import annotations

import importlib

import numpy as np
import shapely

_SHARED = ("valid", "parts")
"""What both do alike in Shapely before the work that is compared."""


def time_cleaning(outlines: list[bytes], repeats: int) -> tuple[int, float]:
    """Clean polygons, given as WKB, and return their number and the best processor time, seconds."""
    clean = importlib.import_module("allin").allin
    geometries = shapely.from_wkb(outlines)
    origin = np.floor(shapely.total_bounds(geometries)[:2]) - 20.0
    best, count = float("inf"), 0
    for _ in range(repeats + 1):  # the first one compiles
        times: dict[str, float] = {}
        count = int(clean(geometries, origin, times)[4])
        best = min(best, sum(seconds for step, seconds in times.items() if step not in _SHARED))
    return count, best
