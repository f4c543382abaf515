"""What a plan tells beside its stages: memory, workers, tiles, pieces of the input, disks, time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ....engine.machine import Resources, reader_threads
from ....engine.memory import RESERVED_BYTES
from ....engine.plan import Plan, Stage
from ....tiles import MESH_UNITS
from ..job import CityJob
from .costs import job_costs, projected_tile
from .limits import disk_needs
from .projections import ENDING_BYTES
from .work import wall_seconds

_RESERVE_SLACK = 1.1
"""Idle workers that hold so many times what is reserved for them are worth a note."""


def plan_facts(job: CityJob, resources: Resources, stages: Sequence[Stage]) -> dict[str, Any]:
    """Return the facts of a plan, JSON-able, with the lines that show them under ``lines``."""
    facts = _memory_facts(resources) | _size_facts(job)
    facts["written_bytes"] = sum(stage.written_bytes for stage in stages)
    facts["seconds"] = wall_seconds([(len(s.tasks), s.seconds) for s in stages], resources.n_workers)
    facts["disks"] = [
        {
            "flag": need.flag,
            "folder": str(need.folder),
            "needed_bytes": need.needed_bytes,
            "free_bytes": need.free_bytes,
            "device": need.device,
        }
        for need in disk_needs(job)
    ]
    facts["notes"] = list(resources.notes)
    return facts | {"lines": _lines(facts)}


def run_notes(plan: Plan, peaks: Iterable[int]) -> list[str]:
    """Return what the user should know at the end of a run: the notes of its plan, and whether its reserve was enough.

    Parameters
    ----------
    plan : Plan
        The plan.
    peaks : iterable of int
        Measured memory of the workers at their tasks, bytes: at the smallest one they hold little beyond idle ones.
    """
    notes = list(plan.facts.get("notes", ()))
    held = min((peak for peak in peaks if peak), default=0)
    if plan.facts.get("scheduler") == "processes" and held > _RESERVE_SLACK * RESERVED_BYTES:
        found = f"workers hold at least {held / 1e6:.0f} MB here, more than the {RESERVED_BYTES / 1e6:.0f} MB reserved"
        notes.append(f"{found} for an idle one: give --memory-limit less than there is")
    return notes


def _memory_facts(resources: Resources) -> dict[str, Any]:
    return {
        "allowed_bytes": resources.allowed_bytes,
        "reserved_bytes": resources.reserved_bytes,
        "worker_bytes": resources.worker_bytes,
        "worker_reserved_bytes": RESERVED_BYTES,
        "ending_bytes": ENDING_BYTES,
        "process_bytes": resources.process_bytes,
        "ulimit": resources.ulimit,
        "foreign": resources.foreign,
        "n_tasks": resources.n_tasks,
        "n_workers": resources.n_workers,
        "scheduler": resources.scheduler,
        "reader_threads": 0 if resources.foreign else reader_threads(resources.n_workers),
    }


def _size_facts(job: CityJob) -> dict[str, Any]:
    boxes = job.tiling.boxes
    edges = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / MESH_UNITS
    costs = job_costs(job)
    return {
        "tiles": len(job.tiling),
        "smallest_tile_m": float(edges[edges > 0].min(initial=np.inf)) if (edges > 0).any() else 0.0,
        "largest_tile_m": float(edges.max()),
        "triangles": int(costs.total),
        "triangles_of_a_tile": int(projected_tile(costs, job.tiling)),
        "fan_in": job.fan_in,
        "points_per_task": max((task.stop - task.start for task in job.point_ranges), default=0),
        "footprints_per_task": max((task.stop - task.start for task in job.footprint_ranges), default=0),
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    kind = "one process, no scheduler" if facts["scheduler"] == "synchronous" else facts["scheduler"]
    reserved = f"{facts['reserved_bytes'] / 1e6:,.0f} MB reserved for libraries, scheduler and idle workers"
    most = facts["process_bytes"]
    bound = "" if most is None else f"; ulimit {facts['ulimit']} leaves each process {most / 1e6:,.0f} MB"
    lines = [
        f"memory: {reserved}; {facts['worker_bytes'] / 1e6:,.0f} MB per worker ({kind}){bound}",
        f"tiles: {facts['tiles']:,} of {facts['smallest_tile_m']:,.0f} to {facts['largest_tile_m']:,.0f} m, "
        f"{facts['triangles']:,} triangles in all, at most {facts['triangles_of_a_tile']:,} in one; "
        f"merged by {facts['fan_in']}",
        f"input: {facts['footprints_per_task']:,} footprints and {facts['points_per_task']:,} points per task, "
        f"{facts['reader_threads'] or 'as many as CPUs'} reader thread(s) per worker",
    ]
    lines += [
        f"disk {disk['flag']} {disk['folder']}: {disk['needed_bytes'] / 1e6:,.1f} MB needed, "
        f"{disk['free_bytes'] / 1e6:,.0f} MB free"
        for disk in facts["disks"]
    ]
    lines.append(f"time: about {facts['seconds']:,.0f} s on {facts['n_workers']} core(s) like those measured")
    return lines + [f"note: {note}" for note in facts["notes"]]
