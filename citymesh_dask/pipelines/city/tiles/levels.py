"""Heights and fates of buildings: evidence, terrain and cleaning come together here, row by row.

No geometry: every number was measured by an earlier stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....formats.crs import TALL_MEDIAN
from ....mesh import LEVELS_PER_METRE, TERRAIN_LEVEL
from ....outcomes import Outcome, is_skipped
from ....store.chunks import Array
from ....store.trace import pack_integers, unpack_integers
from ....tiles import OUTLINE_UNITS
from ..ground.evidence import SAMPLED
from ..job import CityJob, asked, load_job
from ..outlines.cleaning import read_fates
from ..outlines.grouping import packs_of_rows

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Int8 = npt.NDArray[np.int8]

LEVEL_COLUMNS = ("level", "outcome", "merged_into", "evidence", "ground_z", "roof_z", "area", "volume")


@dataclass(frozen=True)
class OutlineFacts:
    """What the outlines say about each building of a range.

    Parameters
    ----------
    terrain_low, terrain_high : (n,) float64
        Lowest and highest terrain along the outline, metres; NaN where there is no outline.
    area : (n,) float64
        Square metres; 0 where there is no outline.
    """

    terrain_low: Float64
    terrain_high: Float64
    area: Float64


def building_levels(job_path: str, index: int) -> dict[str, Any]:
    """Decide height and fate of every building of a range of rows.

    Writes group ``levels/{index}``: ``level`` int32 (0.1 mm), ``outcome`` int8, ``merged_into``
    int64, ``evidence`` int8, ``ground_z``, ``roof_z``, ``area``, ``volume`` float64. Returns also how many heights
    come from points and rasters (``sampled``), and how many of them are above `TALL_MEDIAN` (``tall``).
    """
    job = load_job(job_path)
    start, stop = job.row_range(index)
    facts = _outline_facts(job, start, stop)
    outcome, into = _outcomes(job, start, stop, facts.area > 0)
    meshed = ~is_skipped(outcome) & (facts.area > 0)
    group = f"roofs/{index:04d}"
    evidence = {name: job.scratch.read(group, name) for name in ("roof", "height", "ground", "evidence", "samples")}
    few = (outcome == Outcome.SKIPPED_NO_HEIGHT) & (evidence["samples"] > 0)
    outcome[few] = Outcome.SKIPPED_FEW_POINTS
    roof_z = roof_heights(facts, evidence, min_height=job.options.min_building_height)
    if job.options.lod == 0:
        roof_z = np.full(stop - start, np.nan)
    roof_z = np.where(meshed, roof_z, np.nan)
    ground_z = np.where(meshed, facts.terrain_low, np.nan)
    level = np.full(stop - start, TERRAIN_LEVEL, np.int32)
    raised = np.isfinite(roof_z)
    level[raised] = np.rint(roof_z[raised] * LEVELS_PER_METRE)
    volume = np.where(raised, facts.area * (roof_z - ground_z), 0.0)
    columns: dict[str, Array] = {
        "level": level,
        "outcome": outcome,
        "merged_into": into,
        "evidence": evidence["evidence"],
    }
    columns |= {"ground_z": ground_z, "roof_z": roof_z, "area": facts.area, "volume": volume}
    job.scratch.write(f"levels/{index:04d}", columns)
    sampled = raised & np.isin(evidence["evidence"], SAMPLED)
    tall = sampled & (roof_z - ground_z > TALL_MEDIAN)
    counted = {"meshed": meshed, "skipped": is_skipped(outcome), "sampled": sampled, "tall": tall}
    return {name: int(flags.sum()) for name, flags in counted.items()}


def roof_heights(facts: OutlineFacts, evidence: Mapping[str, Float64], *, min_height: float) -> Float64:
    """Return the height of each flat roof in metres, rounded to 1 cm.

    A roof known absolutely stays where it is; a height above ground stands on the ground given for
    the building, else on the lowest terrain along its outline. No roof is lower than the highest
    terrain along its outline plus ``min_height``.

    Parameters
    ----------
    facts : OutlineFacts
        What the outlines say.
    evidence : mapping
        ``roof`` and ``ground`` (absolute), ``height`` (above ground), each (n,) float64, metres, NaN where unknown.
    min_height : float
        Metres.

    Returns
    -------
    (n,) float64
        Metres; NaN where there is no outline.
    """
    roof, height, ground = (evidence[name] for name in ("roof", "height", "ground"))
    base = np.where(np.isfinite(ground), ground, facts.terrain_low)
    wanted = np.where(np.isfinite(roof), roof, base + height)
    least = np.ceil(np.round((facts.terrain_high + min_height) * 100, 6))
    heights: Float64 = np.fmax(np.rint(wanted * 100), least) / 100
    return heights


def read_levels(job: CityJob, rows: Int64) -> Int32:
    """Return the level codes of some rows of the building table."""
    return _levels_of(job, pack_integers(rows))


@asked()
def _levels_of(job: CityJob, packed_rows: str) -> Int32:
    rows = unpack_integers(packed_rows)
    levels = np.full(len(rows), TERRAIN_LEVEL, np.int32)
    for index in range(job.n_row_ranges):
        start, stop = job.row_range(index)
        here = (rows >= start) & (rows < stop)
        if here.any():
            levels[here] = job.scratch.read(f"levels/{index:04d}", "level")[rows[here] - start]
    return levels


@asked()
def _outline_facts(job: CityJob, start: int, stop: int) -> OutlineFacts:
    """Gather what the packs measured along the outlines of a range of rows."""
    low = np.full(stop - start, np.iinfo(np.int64).max)
    high = np.full(stop - start, np.iinfo(np.int64).min)
    doubled = np.zeros(stop - start, np.int64)
    for pack in packs_of_rows(job, start):
        group = f"pieces/{pack:05d}"
        rows = job.scratch.read(group, "rows")
        here = (rows >= start) & (rows < stop)
        if not here.any():
            continue
        at = rows[here] - start
        np.minimum.at(low, at, job.scratch.read(group, "terrain_low")[here].astype(np.int64))
        np.maximum.at(high, at, job.scratch.read(group, "terrain_high")[here].astype(np.int64))
        np.add.at(doubled, at, job.scratch.read(group, "doubled_area")[here])
    known = doubled > 0
    area = doubled / (2 * OUTLINE_UNITS**2)
    return OutlineFacts(np.where(known, low / 1000, np.nan), np.where(known, high / 1000, np.nan), area)


def _outcomes(job: CityJob, start: int, stop: int, has_outline: npt.NDArray[np.bool_]) -> tuple[Int8, Int64]:
    """Return what became of each building, and the row it was merged into (-1: none)."""
    outcome = np.empty(stop - start, np.int8)
    place = 0
    for index, low, high in job.ranges_of_rows(start, stop):
        status, repair = (
            job.scratch.read(f"footprints/{index:05d}", name, (low, high)) for name in ("status", "repair")
        )
        outcome[place : place + high - low] = np.where(status == Outcome.MESHED, repair, status)
        place += high - low
    fate, target = _mildest_fates(job, start, stop)
    lost = ~has_outline & ~is_skipped(outcome)
    outcome[lost] = fate[lost]
    outcome[has_outline & (outcome == Outcome.MESHED) & (fate == Outcome.SIMPLIFIED)] = Outcome.SIMPLIFIED
    return outcome, np.where(lost, target, -1)


@asked()
def _mildest_fates(job: CityJob, start: int, stop: int) -> tuple[Int8, Int64]:
    """Return the mildest fate of the parts of each building, and the row it names.

    Buildings without any part in the packs were left out of them for want of a height.
    """
    fate = np.full(stop - start, Outcome.SKIPPED_NO_HEIGHT, np.int8)
    into = np.full(stop - start, -1, np.int64)
    for pack in packs_of_rows(job, start):
        fates = read_fates(job, pack)
        here = (fates.rows >= start) & (fates.rows < stop)
        at, codes, targets = fates.rows[here] - start, fates.fate[here], fates.into[here]
        order = np.lexsort((targets, -codes.astype(np.int64)))  # mildest last, so that it stays
        better = order[codes[order] <= fate[at[order]]]
        fate[at[better]], into[at[better]] = codes[better], targets[better]
    return fate, into
