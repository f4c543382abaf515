"""Task that reads a range of footprints, and what the tasks know together about the building table."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from ....errors import InputError
from ....formats.footprints import Features, FootprintSource, read_features
from ....geometry.polygons import PreparedFootprints, prepare_footprints
from ....options import CityOptions
from ....outcomes import Outcome
from ....store.fingerprint import note_input
from ....store.trace import digest_of
from ....tiles import OUTLINE_UNITS, Domain
from ..inputs.attributes import bad_numbers, gaps, may_have_gaps, numbers, read_table, table_columns
from ..job import CityJob, asked, load_job

Array = npt.NDArray[Any]

_BEYOND_M = 200
"""So far beyond the frame points on a clipped building tell of its height."""
HEIGHTS = {"roof": "roof_field", "height": "height_field", "ground": "ground_field"}
"""Arrays of heights, and the option that names the attribute of each."""


def read_footprints(job_path: str, index: int) -> dict[str, Any]:
    """Read range ``index`` of the footprints into scratch group ``footprints/{index:05d}``.

    The group holds the arrays of `Parts`, ``boxes``, and per feature ``status``, ``repair``, ``roof``,
    ``height`` and ``ground`` (metres, NaN where no attribute says). Where features were clipped by the frame, their
    parts before that are there, too, under the same names with ``whole_`` before them.

    Returns
    -------
    dict
        ``features``, ``parts``, ``outcomes`` (the number of features by `Outcome` name) and ``bad_heights``, the
        number of height attributes that are text but no numbers.
    """
    job = load_job(job_path)
    task = job.footprint_ranges[index]
    source = job.survey.footprints[task.source]
    features = features_of_range(job, index)
    prepared = prepare_footprints(features.geometries, job.domain)
    prepared.status[features.unreadable] = Outcome.SKIPPED_NOT_A_POLYGON
    _refuse_if_none_is_finite(source, prepared.status)
    whole = _whole_outlines(features.geometries, prepared, job.domain, first_row=task.first_row)
    summary = {**_summary(prepared), "bad_heights": _bad_heights(features, job.options)}
    attributes = {
        "first_row": task.first_row,
        "n_features": task.stop - task.start,
        "box": _union(prepared.boxes),
        "clipped_box": _union(whole["whole_boxes"]) if whole else None,
        "gaps": gaps(source, {name: features.columns[name] for name in may_have_gaps(source)}),
        **summary,
    }
    arrays = {**_part_arrays(prepared, task.first_row), **whole, **_heights(features, job.options)}
    job.scratch.write(footprint_group(index), arrays, attributes)
    return summary


def _features_digest(features: Features) -> str:
    wkb = shapely.to_wkb(features.geometries).tolist()  # shapely's own objects have no bytes to hash
    return digest_of((wkb, features.unreadable, features.columns))


@asked(_features_digest)
def features_of_range(job: CityJob, index: int) -> Features:
    """Read the features of range ``index``, with the attributes that `read_footprints` must see."""
    task = job.footprint_ranges[index]
    source = job.survey.footprints[task.source]
    note_input(source)
    return read_features(source, task.start, task.stop, columns=_columns(source, job.options), crs=job.crs)


def footprint_group(index: int) -> str:
    """Return the name of the scratch group of a range."""
    return f"footprints/{index:05d}"


def kept_columns(job: CityJob) -> dict[str, dict[str, Any]]:
    """Return the source attributes that the building table keeps (`table_columns`); all ranges must be read."""
    found: set[tuple[int, str]] = set()
    for index, task in enumerate(job.footprint_ranges):
        for name in job.scratch.attributes(footprint_group(index))["gaps"]:
            found.add((task.source, name))
    return table_columns(job.survey.footprints, found)


def read_kept_columns(
    job: CityJob, index: int, columns: dict[str, dict[str, Any]], *, rows: tuple[int, int] | None = None
) -> dict[str, Array]:
    """Return ``id`` and the kept attributes of range ``index``, or of its features ``rows[0]:rows[1]`` only.

    ``columns`` comes from `kept_columns`.
    """
    task = job.footprint_ranges[index]
    low, high = rows or (0, task.stop - task.start)
    source = job.survey.footprints[task.source]
    note_input(source)
    return read_table(source, task.start + low, task.start + high, place=task.source, columns=columns)


def _columns(source: FootprintSource, options: CityOptions) -> list[str]:
    """Return the attributes that the task must see: heights, and those that may have gaps."""
    named = [getattr(options, option) for option in HEIGHTS.values()]
    return list(dict.fromkeys([*filter(None, named), *may_have_gaps(source)]))


def _heights(features: Features, options: CityOptions) -> dict[str, Array]:
    arrays = {}
    for array, option in HEIGHTS.items():
        name = getattr(options, option)
        known = np.full(len(features.fids), np.nan) if name is None else numbers(features.columns[name])
        arrays[array] = known * options.z_scale
    return arrays


def _bad_heights(features: Features, options: CityOptions) -> int:
    named = [getattr(options, option) for option in HEIGHTS.values()]
    return sum(len(bad_numbers(features.columns[name])) for name in named if name is not None)


def _part_arrays(prepared: PreparedFootprints, first_row: int) -> dict[str, Array]:
    parts = prepared.parts
    return {
        "rows": parts.rows + first_row,
        "ring_start": parts.ring_start,
        "point_start": parts.point_start,
        "points": parts.points,
        "boxes": prepared.boxes,
        "status": prepared.status,
        "repair": prepared.repair,
    }


def _whole_outlines(
    geometries: Array, prepared: PreparedFootprints, domain: Domain, *, first_row: int
) -> dict[str, Array]:
    """Return the parts that clipped features have as far as `_BEYOND_M` beyond the frame; nothing if there are none."""
    clipped = np.flatnonzero(prepared.repair & Outcome.CLIPPED)
    if not len(clipped):
        return {}
    x0, y0, x1, y1 = domain.frame
    beyond = _BEYOND_M * OUTLINE_UNITS
    whole = prepare_footprints(
        geometries[clipped], Domain(domain.origin, (x0 - beyond, y0 - beyond, x1 + beyond, y1 + beyond))
    )
    arrays = _part_arrays(whole, 0)
    arrays["rows"] = clipped[whole.parts.rows] + first_row
    return {f"whole_{name}": arrays[name] for name in ("rows", "ring_start", "point_start", "points", "boxes")}


def _refuse_if_none_is_finite(source: FootprintSource, status: Array) -> None:
    """Features with NaN coordinates are skipped; where a whole file has no others, it is broken."""
    count = len(status)
    if count and (status == Outcome.SKIPPED_BAD_COORDINATES).all() and count == source.n_features:
        found = f"all its features ({count}) have NaN or infinite coordinates"
        advice = "repair the file, for example by writing it anew; check the CRS that it states"
        raise InputError(source.path, found, "finite coordinates", advice)


def _summary(prepared: PreparedFootprints) -> dict[str, Any]:
    codes = np.where(prepared.status == Outcome.MESHED, prepared.repair, prepared.status)
    outcomes = Counter(Outcome(code).name for code in codes.tolist())
    return {"features": len(codes), "parts": len(prepared.parts), "outcomes": dict(sorted(outcomes.items()))}


def _union(boxes: Array) -> list[int] | None:
    if not len(boxes):
        return None
    return [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]
