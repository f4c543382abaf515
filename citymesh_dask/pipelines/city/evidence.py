"""Task that decides how high each building is, from all evidence that was found.

What wins: attributes, points, the surface raster, the raster of building heights, the default height.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from ...geometry.histograms import BINS_PER_METRE, Histogram, merge_histograms, percentiles
from .job import CityJob, load_job
from .samples import points_group, read_histogram, surface_blocks, surface_group

Float64 = npt.NDArray[np.float64]

LEAST_POINTS = 3
"""A building with fewer points on its roof has no height from points."""


class Evidence(IntEnum):
    """Where the height of a building comes from; the column ``evidence`` of group ``roofs``."""

    NONE = 0
    ATTRIBUTE = 1
    POINTS = 2
    SURFACE = 3
    BUILDING_HEIGHTS = 4
    DEFAULT = 5


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
    for number, part in enumerate(job.footprint_ranges):
        low, high = max(part.first_row, start), min(part.first_row + part.stop - part.start, stop)
        if low < high:
            read = job.scratch.read(f"footprints/{number:05d}", name, (low - part.first_row, high - part.first_row))
            heights[low - start : high - start] = read
    return np.where(np.isfinite(heights), heights, np.nan)


def _histograms(job: CityJob, kind: str, index: int) -> Iterator[Histogram]:
    """Yield the histograms of one kind of evidence, the better one first."""
    if kind == "points":
        yield _point_histogram(job, index)
        return
    for name in ("roof", "open"):  # cells inside a footprint, then the cell under one that holds no centre
        yield merge_histograms(
            [
                read_histogram(job, surface_group(k), name, place=place)
                for k, block in enumerate(surface_blocks(job))
                if block[0] == kind
                and (place := job.scratch.attributes(surface_group(k))[f"{name}_ranges"].get(str(index)))
            ]
        )


def _point_histogram(job: CityJob, index: int) -> Histogram:
    """Return points on roofs: those of roof classes, and of files without any, the unclassified ones."""
    facts = [job.scratch.attributes(points_group(k)) for k in range(len(job.point_ranges))]
    classified = {fact["source"] for fact in facts if fact["n_roof"] > 0}
    several = []
    for k, fact in enumerate(facts):
        name = "roof" if fact["source"] in classified else "open"
        place = fact[f"{name}_ranges"].get(str(index))
        if place is not None:
            several.append(read_histogram(job, points_group(k), name, place=place))
    return merge_histograms(several)
