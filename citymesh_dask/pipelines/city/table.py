"""The building table: one row per source feature, whatever became of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ...outcomes import is_skipped, reasons, status_words
from ...store.chunks import Array
from ...store.city_store import write_table
from .assembly import partial_store
from .footprints import kept_columns, read_kept_columns
from .job import CityJob, load_job
from .levels import LEVEL_COLUMNS

HEIGHT_SOURCES = ("none", "attribute", "points", "surface raster", "building-height raster", "default height")
"""Words for the evidence codes of the stage roof_evidence."""


def write_building_table(job_path: str, index: int = 0) -> dict[str, Any]:
    """Write the group ``buildings`` of the store; returns the outcomes and their reasons by count."""
    del index  # one task
    job = load_job(job_path)
    columns = _level_columns(job)
    outcome = columns.pop("outcome").astype(np.int8)
    evidence = columns.pop("evidence")
    del columns["level"]
    columns["merged_into"] = follow_merges(columns["merged_into"])
    words, why = status_words(outcome), reasons(outcome)
    table: dict[str, Array] = {**_source_columns(job), **columns}
    table["status"] = np.array(words, dtype=object)
    table["reason"] = np.array(why, dtype=object)
    table["height_source"] = np.array(HEIGHT_SOURCES, dtype=object)[evidence]
    write_table(partial_store(job) / "buildings", table)
    skipped = int(is_skipped(outcome).sum())
    return {"rows": job.n_rows, "skipped": skipped, "reasons": _count_reasons(words, why, table["id"])}


def _level_columns(job: CityJob) -> dict[str, Array]:
    """Return what the levels stage decided, over all rows."""
    empty = {"level": np.int32, "outcome": np.int8, "merged_into": np.int64, "evidence": np.int8}
    columns = {}
    for name in LEVEL_COLUMNS:
        parts = [job.scratch.read(f"levels/{k:04d}", name) for k in range(job.n_row_ranges)]
        columns[name] = np.concatenate(parts) if parts else np.empty(0, empty.get(name, np.float64))
    return columns


def follow_merges(into: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return, for each merged building, the building at the end of its chain of merges.

    >>> follow_merges(np.array([-1, 0, 1, -1])).tolist()
    [-1, 0, 0, -1]
    """
    into = into.copy()
    for _ in range(64):  # chains are short; a cycle cannot be followed for ever
        merged = np.flatnonzero(into >= 0)
        onward = into[into[merged]]
        longer = (onward >= 0) & (onward != merged)
        if not longer.any():
            break
        into[merged[longer]] = onward[longer]
    return into


def _source_columns(job: CityJob) -> dict[str, Array]:
    """Return ``id`` and the attributes of the sources, over all rows."""
    columns = kept_columns(job)
    ranges = [read_kept_columns(job, index, columns) for index in range(len(job.footprint_ranges))]
    if not ranges:
        return {"id": np.empty(0, object)}
    return {name: np.concatenate([part[name] for part in ranges]) for name in ranges[0]}


def _count_reasons(words: list[str], why: list[str], ids: Array) -> list[dict[str, Any]]:
    """Return one entry per status and reason with its count and the first ids."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row, key in enumerate(zip(words, why, strict=True)):
        entry = found.setdefault(key, {"status": key[0], "reason": key[1], "count": 0, "examples": []})
        entry["count"] += 1
        if len(entry["examples"]) < 5:
            entry["examples"].append(str(ids[row]))
    return [found[key] for key in sorted(found)]
