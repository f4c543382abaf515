"""Task that decides how high each building is, from all evidence that was found.

What wins: attributes, points, the surface raster, the raster of building heights, the default height.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from ....geometry.terrain.histograms import BINS_PER_METRE, Histogram, merge_histograms, percentiles
from ..job import CityJob, asked, load_job
from ..outlines.part_index import reach_of_points
from .samples import points_group, read_histogram, surface_blocks, surface_group

Float64 = npt.NDArray[np.float64]

Place = tuple[str, str, list[int]]
"""Group, name of the histogram in it, and where the entries of a range of rows begin and end."""

LEAST_POINTS = 3
"""A building with fewer points on its roof has no height from points."""
_PREFIXES = {"points": "", "whole": "whole_"}
"""Points inside the outlines, and inside those that the frame clips before it does: where the former are too few."""
ROWS_AT_ONCE = 4096
"""Buildings whose histograms are added up together: with dense points they are what this task takes memory for."""


class Evidence(IntEnum):
    """Where the height of a building comes from; the column ``evidence`` of group ``roofs``."""

    NONE = 0
    ATTRIBUTE = 1
    POINTS = 2
    SURFACE = 3
    BUILDING_HEIGHTS = 4
    DEFAULT = 5


SAMPLED = (Evidence.POINTS, Evidence.SURFACE, Evidence.BUILDING_HEIGHTS)
"""Evidence whose unit is known from points and rasters only."""


def roof_evidence(job_path: str, index: int) -> dict[str, Any]:
    """Decide the height of every building of a range of rows.

    Writes group ``roofs/{index}``: ``roof`` (absolute) and ``height`` (above ground), of which one
    at most is given, ``ground`` (from the attribute), all float64 metres, NaN where there is none;
    ``evidence`` int8 (`Evidence`) and ``samples`` int32, the number of points on the roof.
    """
    job = load_job(job_path)
    start, stop = job.row_range(index)
    roof, height, ground = (
        attribute_heights(job, name, start=start, stop=stop) for name in ("roof", "height", "ground")
    )
    height[np.isfinite(roof)] = np.nan
    evidence = np.where(np.isfinite(roof) | np.isfinite(height), Evidence.ATTRIBUTE, Evidence.NONE).astype(np.int8)
    samples = np.zeros(stop - start, np.int32)
    for kind, code, column, least in (
        ("points", Evidence.POINTS, roof, LEAST_POINTS),
        ("whole", Evidence.POINTS, roof, LEAST_POINTS),
        ("surface", Evidence.SURFACE, roof, 1),
        ("building_heights", Evidence.BUILDING_HEIGHTS, height, 1),
    ):
        for histogram in _histograms(job, kind, index):
            rows, totals, bins = percentiles(histogram, job.options.roof_percentile)
            at = rows - start
            if kind == "points":
                samples[at] = totals
            wanted = (evidence[at] == Evidence.NONE) & (totals >= least)
            column[at[wanted]] = bins[wanted] / BINS_PER_METRE
            evidence[at[wanted]] = code
    if job.options.default_height is not None:
        missing = evidence == Evidence.NONE
        height[missing], evidence[missing] = job.options.default_height, Evidence.DEFAULT
    arrays: dict[str, npt.NDArray[Any]] = {
        "roof": roof,
        "height": height,
        "ground": ground,
        "evidence": evidence,
        "samples": samples,
    }
    job.scratch.write(f"roofs/{index:04d}", arrays)
    found = np.bincount(evidence, minlength=len(Evidence)).tolist()
    return {code.name.lower(): found[code] for code in Evidence}


def attribute_heights(job: CityJob, name: str, *, start: int, stop: int) -> Float64:
    """Return heights from attributes for a range of rows, metres; NaN where there is none."""
    heights = np.full(stop - start, np.nan)
    place = 0
    for number, low, high in job.ranges_of_rows(start, stop):
        heights[place : place + high - low] = job.scratch.read(f"footprints/{number:05d}", name, (low, high))
        place += high - low
    return np.where(np.isfinite(heights), heights, np.nan)


@asked()
def _histograms(job: CityJob, kind: str, index: int) -> Iterator[Histogram]:
    """Yield the histograms of one kind of evidence, some rows at a time, of the same rows the better one first."""
    if kind == "whole" and reach_of_points(job) == job.domain.frame:
        return  # nothing is clipped
    places = _point_places(job, kind, index) if kind in _PREFIXES else _surface_places(job, kind, index)
    start, stop = job.row_range(index)
    for low in range(start, stop, ROWS_AT_ONCE):
        rows = (low, min(low + ROWS_AT_ONCE, stop))
        for found in places:
            several = [read_histogram(job, group, name, place=place, rows=rows) for group, name, place in found]
            yield merge_histograms(several)


def _surface_places(job: CityJob, kind: str, index: int) -> list[list[Place]]:
    """Return where cells inside a footprint are kept, then where the cell under one that holds no centre is."""
    attributes = {
        surface_group(k): job.scratch.attributes(surface_group(k))
        for k, block in enumerate(surface_blocks(job))
        if block[0] == kind
    }
    return [
        [
            (group, name, place)
            for group, facts in attributes.items()
            if (place := facts[f"{name}_ranges"].get(str(index))) is not None
        ]
        for name in ("roof", "open")
    ]


def _point_places(job: CityJob, kind: str, index: int) -> list[list[Place]]:
    """Return where points on roofs are kept: those of roof classes, and of files without any, unclassified ones."""
    facts = [job.scratch.attributes(points_group(k)) for k in range(len(job.point_ranges))]
    classified = {fact["source"] for fact in facts if fact["n_roof"] > 0}
    found = []
    for k, fact in enumerate(facts):
        name = _PREFIXES[kind] + ("roof" if fact["source"] in classified else "open")
        place = fact[f"{name}_ranges"].get(str(index))
        if place is not None:
            found.append((points_group(k), name, place))
    return [found]
