"""The building table: one row per source feature, whatever became of it.

Like the mesh it is written chunk by chunk, so that no task holds the table of a whole country.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ....outcomes import Outcome, is_skipped, reasons, status_words
from ....store.chunks import Array
from ....store.city_store import TEXT, create_table, write_table_chunk
from ....store.schema import TABLE_CHUNK_ROWS
from ..job import ROWS_PER_RANGE, CityJob, load_job, partial_store
from ..outlines.footprints import kept_columns, read_kept_columns
from ..tiles.levels import LEVEL_COLUMNS
from ..tiles.skipping import skipped_name

HEIGHT_SOURCES = ("none", "attribute", "points", "surface raster", "building-height raster", "default height")
"""Words for the evidence codes of the stage roof_evidence."""
TABLE = "table"
MOST_EXAMPLES = 5
"""Ids that are kept for each reason."""
_COMPUTED = {
    **dict.fromkeys(("ground_z", "roof_z", "area", "volume"), "float64"),
    "merged_into": "int64",
    **dict.fromkeys(("status", "reason", "height_source"), TEXT),
}


def n_table_chunks(job: CityJob) -> int:
    """Return the number of chunks, and of tasks, in which the table is written."""
    return -(-job.n_rows // TABLE_CHUNK_ROWS)


def write_table_head(job_path: str, index: int = 0) -> dict[str, Any]:
    """Make the empty columns of the group ``buildings`` of the store.

    Writes group ``table``: ``merged_into``, the building at the end of each chain of merges, and as attribute
    ``columns`` what the table keeps of the sources (`kept_columns`).
    """
    del index  # one task
    job = load_job(job_path)
    columns = kept_columns(job)
    into = [job.scratch.read(f"levels/{k:04d}", "merged_into") for k in range(job.n_row_ranges)]
    into = [np.empty(0, np.int64), *into]
    job.scratch.write(TABLE, {"merged_into": follow_merges(np.concatenate(into))}, {"columns": columns})
    dtypes = {"id": TEXT, **{name: column["dtype"] for name, column in columns.items()}, **_COMPUTED}
    create_table(partial_store(job) / "buildings", dtypes, job.n_rows)
    return {"columns": len(dtypes)}


def write_table_rows(job_path: str, skipped: tuple[int, ...], index: int) -> dict[str, Any]:
    """Write chunk ``index`` of all columns; returns the outcomes and their reasons by count.

    ``skipped`` are the tiles that the mesh does without, and with them their buildings.
    """
    job = load_job(job_path)
    rows = (index * TABLE_CHUNK_ROWS, min((index + 1) * TABLE_CHUNK_ROWS, job.n_rows))
    levels = {name: _level_rows(job, name, rows) for name in LEVEL_COLUMNS if name not in ("level", "merged_into")}
    outcome = levels.pop("outcome")
    lost = _lost_rows(job, skipped, rows)
    outcome[list(lost)] = Outcome.SKIPPED_TILE
    for name, nothing in (("ground_z", np.nan), ("roof_z", np.nan), ("area", 0.0), ("volume", 0.0)):
        levels[name][list(lost)] = nothing
    words, why = status_words(outcome), reasons(outcome)
    for row, cause in lost.items():
        why[row] = f"{why[row]}: {cause}"
    table: dict[str, Array] = _source_rows(job, rows)
    table["height_source"] = np.array(HEIGHT_SOURCES, dtype=object)[levels.pop("evidence")]
    table["merged_into"] = job.scratch.read(TABLE, "merged_into", rows)
    table["status"], table["reason"] = np.array(words, dtype=object), np.array(why, dtype=object)
    written = write_table_chunk(partial_store(job) / "buildings", index, table | levels)
    counts = _count_reasons(words, why, table["id"])
    return {"rows": len(words), "skipped": int(is_skipped(outcome).sum()), "reasons": counts, "bytes": written}


def _lost_rows(job: CityJob, tiles: tuple[int, ...], rows: tuple[int, int]) -> dict[int, str]:
    """Return what went wrong with the tiles of the buildings of a chunk that went missing, by row of the chunk."""
    causes = {one.tile: one.cause for one in job.tiling.skipped} if tiles else {}
    lost: dict[int, str] = {}
    for tile in tiles:
        found = job.scratch.read(skipped_name(tile), "rows")
        lost |= dict.fromkeys((found[(found >= rows[0]) & (found < rows[1])] - rows[0]).tolist(), causes[tile])
    return lost


def _level_rows(job: CityJob, name: str, rows: tuple[int, int]) -> Array:
    """Return what the levels stage decided about some rows."""
    parts = []
    for k in range(rows[0] // ROWS_PER_RANGE, -(-rows[1] // ROWS_PER_RANGE)):
        first = k * ROWS_PER_RANGE
        parts.append(job.scratch.read(f"levels/{k:04d}", name, (max(rows[0] - first, 0), rows[1] - first)))
    return np.concatenate(parts)


def _source_rows(job: CityJob, rows: tuple[int, int]) -> dict[str, Array]:
    """Return ``id`` and the attributes of the sources for some rows."""
    columns = job.scratch.attributes(TABLE)["columns"]
    parts = []
    for index, low, high in job.ranges_of_rows(*rows):
        parts.append(read_kept_columns(job, index, columns, rows=(low, high)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


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


def _count_reasons(words: list[str], why: list[str], ids: Array) -> list[dict[str, Any]]:
    """Return one entry per status and reason with its count and the first ids."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row, key in enumerate(zip(words, why, strict=True)):
        entry = found.setdefault(key, {"status": key[0], "reason": key[1], "count": 0, "examples": []})
        entry["count"] += 1
        if len(entry["examples"]) < MOST_EXAMPLES:
            entry["examples"].append(str(ids[row]))
    return [found[key] for key in sorted(found)]
