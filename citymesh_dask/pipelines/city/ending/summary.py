"""The facts of a finished run, gathered from its receipts for the report."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ....engine.ledger import Receipt
from ....engine.plan import Plan, Stage
from ....facts import QualityFacts, RunFacts, StageFacts
from ....formats.crs import TALL_MEDIAN
from ....options import CityOptions
from ....settings import RunSettings
from ..job import CityJob
from ..planning.description import run_notes
from .finish import certificate, find_holes, quality_totals, software_versions
from .table import MOST_EXAMPLES


def run_facts(
    job: CityJob,
    plan: Plan,
    receipts: Mapping[str, Receipt],
    *,
    command: str,
    inputs: Sequence[Mapping[str, Any]],
    begun: float,
) -> RunFacts:
    """Return what the report of a city run shows.

    Parameters
    ----------
    job : CityJob
        The run.
    plan : Plan
        Its stages.
    receipts : mapping of str to Receipt
        Receipts of all tasks.
    command : str
        The command that does the same.
    inputs : sequence of mapping
        Role and fingerprint of the input files.
    begun : float
        When this call of the run began, seconds since the epoch; older receipts were reused.
    """
    reasons = _reasons(receipts)
    number = receipts["number_vertices-0000"].facts
    quality = quality_totals(receipts)
    outcomes: dict[str, int] = {}
    for entry in reasons:
        outcomes[entry["status"]] = outcomes.get(entry["status"], 0) + entry["count"]
    return RunFacts(
        command=command,
        store=job.out,
        inputs=tuple(dict(entry) for entry in inputs),
        plan=tuple(plan.rows()),
        stages=tuple(stage_facts(stage, receipts, begun) for stage in plan.stages),
        outcomes=outcomes,
        reasons=tuple(entry for entry in reasons if entry["reason"]),
        holes=tuple(map(describe_hole, find_holes(receipts))),
        splits=split_facts(job),
        warnings=_warnings(job, plan, receipts),
        n_vertices=number["vertices"],
        n_faces=number["faces"],
        face_counts=_sums(receipts, "face_counts"),
        quality=QualityFacts(
            tuple(quality["angles"]),
            tuple(quality["wall_angles"]),
            quality["below_angle"],
            quality["above_area"],
            quality["inverted"],
            job.options.min_mesh_angle,
        ),
        certificate=certificate(job, receipts),
        terrain=receipts["fill_top-0000"].facts,
        seconds=time.time() - begun,
        peak_memory=max((receipt.peak_bytes for receipt in receipts.values()), default=0),
        allowed_memory=plan.allowed_bytes,
        workers=plan.n_workers,
        worker_names=tuple(sorted({r.worker for r in receipts.values() if r.worker and not r.reused})),
        versions=software_versions(),
    )


def describe_hole(hole: Mapping[str, Any]) -> str:
    """Return a tile that is missing as one line."""
    x0, y0, x1, y1 = hole["bounds"]
    lost = f"{hole['buildings']:,} building{'s'[: hole['buildings'] != 1]} missing with it"
    return f"tile {hole['tile']}, x {x0:.1f} to {x1:.1f} m, y {y0:.1f} to {y1:.1f} m: {hole['cause']}; {lost}"


def split_facts(job: CityJob) -> tuple[dict[str, Any], ...]:
    """Return the tiles that were split, each with those that do its work."""
    tiling = job.tiling
    parts: dict[int, list[int]] = {}
    for tile in range(tiling.n_positions, len(tiling)):
        parts.setdefault(tiling.parents[tile - tiling.n_positions], []).append(tile)
    return tuple({"tile": tile, "parts": some} for tile, some in sorted(parts.items()))


def _warnings(job: CityJob, plan: Plan, receipts: Mapping[str, Receipt]) -> tuple[str, ...]:
    peaks = (receipt.peak_bytes for receipt in receipts.values() if not receipt.reused)
    return (*run_notes(plan, peaks), *job.survey.notes, *late_notes(job.options, receipts))


def late_notes(options: CityOptions, receipts: Mapping[str, Receipt]) -> list[str]:
    """Return the warnings for which the inputs had to be read.

    Parameters
    ----------
    options : CityOptions
        ``z_scale`` and the names of height attributes.
    receipts : mapping of str to Receipt
        Receipts of all tasks.
    """
    notes = []
    bad = sum(receipt.facts["bad_heights"] for receipt in _of_stage(receipts, "read_footprints"))
    if bad:
        notes.append(f"{bad} values of height attributes are text that is no number; they count as not given")
    levels = [receipt.facts for receipt in _of_stage(receipts, "building_levels")]
    sampled, tall = (sum(facts[name] for facts in levels) for name in ("sampled", "tall"))
    if options.z_scale == 1 and 2 * tall > sampled:
        found = f"half of the buildings measured by points or rasters are taller than {TALL_MEDIAN:g}"
        notes.append(f"{found}; if heights are in feet, pass --z-scale 0.3048")
    return notes


def _of_stage(receipts: Mapping[str, Receipt], stage: str) -> list[Receipt]:
    """Return the receipts of a stage in the order of its tasks."""
    return [receipts[key] for key in sorted(receipts) if key.rpartition("-")[0] == stage]


def _reasons(receipts: Mapping[str, Receipt]) -> list[dict[str, Any]]:
    """Return what became of the buildings, the pieces of the table put together."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for receipt in _of_stage(receipts, "write_table"):
        for entry in receipt.facts["reasons"]:
            whole = found.setdefault((entry["status"], entry["reason"]), {**entry, "count": 0, "examples": []})
            whole["count"] += entry["count"]
            whole["examples"] = [*whole["examples"], *entry["examples"]][:MOST_EXAMPLES]
    return [found[key] for key in sorted(found)]


def _sums(receipts: Mapping[str, Receipt], name: str) -> dict[str, int]:
    """Return the sums of the numbers that some tasks told under a name, those that are zero left out."""
    total: Counter[str] = Counter()
    for receipt in receipts.values():
        total.update(receipt.facts.get(name, {}))
    return {part: count for part, count in total.items() if count}


def stage_facts(stage: Stage, receipts: Mapping[str, Receipt], begun: float) -> StageFacts:
    """Return time, memory and bytes of one stage."""
    found = [receipts[task.key] for task in stage.tasks if task.key in receipts]
    started = min((r.started for r in found), default=0.0)
    ended = max((r.started + r.seconds for r in found), default=0.0)
    return StageFacts(
        stage.name,
        tasks=len(stage.tasks),
        seconds=sum(r.seconds for r in found),
        wall=ended - started,
        peak_memory=max((r.peak_bytes for r in found), default=0),
        projected=stage.process_bytes,
        bytes_written=sum(int(r.facts.get("bytes", 0)) for r in found),
        reused=sum(r.reused for r in found),
    )


def command_line(job: CityJob, settings: RunSettings, address: str | None = None) -> str:
    """Return the command that does the same as a run that was begun from Python.

    Parameters
    ----------
    job : CityJob
        The run.
    settings : RunSettings
        How it is run.
    address : str, optional
        Of the scheduler of the client that it was given.
    """
    survey, words = job.survey, ["citymesh", "build"]
    files = {
        "--footprints": [source.path for source in survey.footprints],
        "--points": [source.path for source in survey.points],
        "--terrain": [survey.terrain.path] if survey.terrain else [],
        "--surface": [survey.surface.path] if survey.surface else [],
        "--building-heights": [survey.building_heights.path] if survey.building_heights else [],
    }
    for flag, paths in files.items():
        words += [flag, *paths] if paths else []
    layers = {source.layer for source in survey.footprints}
    words += ["--layer", *layers] if len(layers) == 1 else []
    settings = dataclasses.replace(settings, scheduler_address=address or settings.scheduler_address)
    for given in (job.options, settings):
        for item in dataclasses.fields(given):
            words += _flag(item.name, getattr(given, item.name), item.default)
    return shlex.join([*words, "--out", job.out])


def _flag(name: str, value: Any, default: Any) -> list[str]:
    """Return the words that set an option, none where it has its default."""
    flag = name.removeprefix("n_").replace("_", "-")
    if value == default:
        return []
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
