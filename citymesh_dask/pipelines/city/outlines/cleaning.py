"""Tasks from groups of footprints to cleaned outlines: clean, check, settle.

Files and groups only; the geometry is in `citymesh_dask.geometry.cleaning`. Nothing that comes out
depends on the number of packs, on the cells of the link grid or on the order of tasks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ....geometry.cleaning.checking import check_outlines as check_distances
from ....geometry.cleaning.cleaning import clean_groups
from ....geometry.cleaning.fates import Fates
from ....geometry.grouping import group_labels
from ....geometry.outline_groups import boxes_meet, group_boxes, select_groups
from ....geometry.part_sets import join_parts, starts_of
from ....outlines import Bool, Int64, Outlines, Parts
from ....tiles import OUTLINE_UNITS
from ..job import CityJob, asked, load_job
from .grouping import merge_tolerance
from .part_reading import GROUPS, read_parts

SETTLED = "outlines/settled"


def clean_outlines(job_path: str, index: int) -> dict[str, Any]:
    """Clean the groups of pack ``index``.

    Writes group ``outlines/{index:05d}``: the arrays of `Outlines`, ``group_box`` (g, 4), and per part
    ``fate_rows``, ``fate``, ``fate_into`` (`Fates`) and ``fate_group``, the group in the pack that it is in.
    """
    job = load_job(job_path)
    cleaned = _clean(job, *_parts_of_pack(job, index))
    return _write_pack(job, index, cleaned, np.empty((0, 2), np.int64))


def check_outlines(job_path: str, index: int) -> dict[str, Any]:
    """Look for groups of pack ``index`` that came too near to others, of this pack or of later ones.

    Writes group ``conflicts/{index:05d}`` with ``pairs`` (k, 4): pack and group of either side.
    """
    job = load_job(job_path)
    own = _all_of_pack(job, index)
    places = _places_of(index, len(own.point_start) - 1)
    conflicts = check_distances(own, job.options.tolerance)
    later = (_groups_near_pack(job, index, pack) for pack in _packs_near_pack(job, index) if pack > index)
    found = [_conflicts_between(_Placed(own, places), others, job) for others in later]
    pairs = np.concatenate([places[conflicts.groups].reshape(-1, 4), *found])
    job.scratch.write(f"conflicts/{index:05d}", {"pairs": np.unique(pairs, axis=0).reshape(-1, 4)})
    return {"near": len(conflicts.near), "crossings": len(conflicts.crossings), "conflicts": len(pairs)}


def settle_outlines(job_path: str, index: int = 0) -> dict[str, Any]:
    """Clean groups in conflict together, and again with what they then conflict with, until none is left.

    Writes group ``outlines/settled``, a pack like the others, and ``removed`` (k, 2): pack and group of the
    groups that are in it and count no more in their own packs.
    """
    job = load_job(job_path)
    pairs = [job.scratch.read(f"conflicts/{pack:05d}", "pairs") for pack in range(job.n_packs)]
    links = np.unique(np.concatenate([np.empty((0, 4), np.int64), *pairs]), axis=0).reshape(-1, 4)
    cleaned, removed = _clean(job, join_parts([]), np.zeros(1, np.int64)), np.empty((0, 2), np.int64)
    while len(links):
        removed, labels = _clusters(links)
        ids, start, places = _parts_of_clusters(job, removed, labels)
        cleaned = _clean(job, read_parts(job, ids), start)
        found = _new_conflicts(job, cleaned.outlines, removed, places)
        if not len(found):
            break
        links = np.concatenate((links, found))
    return _write_pack(job, job.n_packs, cleaned, removed)


def pack_name(job: CityJob, pack: int) -> str:
    """Return the scratch group of a pack; pack ``job.n_packs`` holds the settled groups."""
    return SETTLED if pack == job.n_packs else f"outlines/{pack:05d}"


def read_outlines(job: CityJob, pack: int) -> Outlines:
    """Return the outlines of a pack without the groups that were settled elsewhere."""
    return select_groups(_all_of_pack(job, pack), _kept(job, pack, len(_boxes_of_pack(job, pack))))


def read_fates(job: CityJob, pack: int) -> Fates:
    """Return what became of the parts of a pack, those of groups settled elsewhere left out."""
    name = pack_name(job, pack)
    kept = _kept(job, pack, len(_boxes_of_pack(job, pack)))[job.scratch.read(name, "fate_group")]
    rows, fate, into = (job.scratch.read(name, array)[kept] for array in ("fate_rows", "fate", "fate_into"))
    return Fates(rows, fate, into)


@dataclass(frozen=True)
class _CleanedPack:
    """Cleaned groups, the index of the first part of each, and the fates of the parts."""

    outlines: Outlines
    start: Int64
    fates: Fates


@dataclass(frozen=True)
class _Placed:
    """Outlines and the (pack, group) of each of their groups."""

    outlines: Outlines
    places: Int64


def box_around(boxes: Int64) -> Int64:
    """Return the box around some boxes, (4,) int64; around none, one that meets nothing."""
    limits = np.iinfo(np.int64)
    low, high = boxes[:, :2].min(axis=0, initial=limits.max), boxes[:, 2:].max(axis=0, initial=limits.min)
    return np.concatenate((low, high))


@asked()
def _parts_of_pack(job: CityJob, index: int) -> tuple[Parts, Int64]:
    """Return the parts of a pack, and where each of its groups begins."""
    low, high = job.scratch.read(GROUPS, "pack_start", (index, index + 2)).tolist()
    start = job.scratch.read(GROUPS, "group_start", (low, high + 1))
    ids = job.scratch.read(GROUPS, "parts", (int(start[0]), int(start[-1])))
    return read_parts(job, ids), start - start[0]


def _clean(job: CityJob, parts: Parts, start: Int64) -> _CleanedPack:
    outlines, fates = clean_groups(
        parts,
        start,
        job.domain.frame,
        tolerance=job.options.tolerance,
        min_area=job.options.min_building_area,
        merge_tolerance=merge_tolerance(job),
    )
    return _CleanedPack(outlines, start, fates)


def _write_pack(job: CityJob, pack: int, cleaned: _CleanedPack, removed: Int64) -> dict[str, Any]:
    outlines, fates = cleaned.outlines, cleaned.fates
    arrays = {field.name: getattr(outlines, field.name) for field in fields(outlines)}
    arrays |= {"fate_rows": fates.rows, "fate": fates.fate, "fate_into": fates.into}
    arrays["fate_group"] = np.repeat(np.arange(len(cleaned.start) - 1), np.diff(cleaned.start))
    arrays["group_box"] = group_boxes(outlines)
    if pack == job.n_packs:
        arrays["removed"] = removed
    job.scratch.write(pack_name(job, pack), arrays)
    return {"groups": len(cleaned.start) - 1, "parts": int(cleaned.start[-1]), "edges": len(outlines.edges)}


def _all_of_pack(job: CityJob, pack: int) -> Outlines:
    name = pack_name(job, pack)
    return Outlines(**{field.name: job.scratch.read(name, field.name) for field in fields(Outlines)})


def _boxes_of_pack(job: CityJob, pack: int) -> Int64:
    boxes: Int64 = job.scratch.read(pack_name(job, pack), "group_box")
    return boxes


def _kept(job: CityJob, pack: int, n_groups: int) -> Bool:
    removed = job.scratch.read(SETTLED, "removed").reshape(-1, 2)
    kept = np.ones(n_groups, np.bool_)
    kept[removed[removed[:, 0] == pack, 1]] = False
    return kept


def _places_of(pack: int, n_groups: int) -> Int64:
    return np.stack((np.full(n_groups, pack), np.arange(n_groups)), axis=1)


def _conflicts_with_packs(job: CityJob, own: _Placed, leave_out: Int64) -> Int64:
    """Return conflicts (k, 4) between some groups and those of packs that come near them, but for some."""
    found = [np.empty((0, 4), np.int64)]
    for pack in _packs_near(job, own.outlines):
        others = _groups_near(job, own.outlines, pack, leave_out=leave_out)
        found.append(_conflicts_between(own, others, job))
    return np.concatenate(found)


@asked()
def _packs_near_pack(job: CityJob, index: int) -> list[int]:
    return _packs_near(job, _all_of_pack(job, index))


@asked()
def _groups_near_pack(job: CityJob, index: int, pack: int) -> _Placed:
    return _groups_near(job, _all_of_pack(job, index), pack)


def _packs_near(job: CityJob, outlines: Outlines) -> list[int]:
    """Return the packs that come near some groups."""
    boxes = _boxes_with_margin(job, outlines)
    if not len(boxes):
        return []
    near: list[int] = np.flatnonzero(boxes_meet(job.scratch.read(GROUPS, "pack_box"), box_around(boxes)[None])).tolist()
    return near


def _groups_near(job: CityJob, outlines: Outlines, pack: int, *, leave_out: Int64 | None = None) -> _Placed:
    """Return the groups of a pack that come near some others, but for those to be left out."""
    own, others = _boxes_with_margin(job, outlines), _boxes_of_pack(job, pack)
    near = boxes_meet(others, own[boxes_meet(own, box_around(others)[None])])
    if leave_out is not None:
        near[leave_out[leave_out[:, 0] == pack, 1]] = False
    return _Placed(select_groups(_all_of_pack(job, pack), near), _places_of(pack, len(near))[near])


def _boxes_with_margin(job: CityJob, outlines: Outlines) -> Int64:
    margin = math.ceil(job.options.tolerance * OUTLINE_UNITS)
    boxes = group_boxes(outlines)[np.diff(outlines.point_start) > 0]
    wider: Int64 = boxes + np.array([-margin, -margin, margin, margin])
    return wider


def _conflicts_between(own: _Placed, others: _Placed, job: CityJob) -> Int64:
    if not len(others.places):
        return np.empty((0, 4), np.int64)
    a, b = own.outlines, others.outlines
    shift = np.array([len(a.points), len(a.points), 0, 0])
    both = Outlines(
        np.concatenate((a.points, b.points)),
        np.concatenate((a.edges, b.edges + shift)),
        np.concatenate((a.point_start, b.point_start[1:] + len(a.points))),
        np.concatenate((a.edge_start, b.edge_start[1:] + len(a.edges))),
    )
    pairs = check_distances(both, job.options.tolerance).groups
    n_own = len(a.point_start) - 1
    pairs = pairs[(pairs[:, 0] < n_own) & (pairs[:, 1] >= n_own)]
    return np.concatenate((own.places, others.places))[pairs].reshape(-1, 4)


def _clusters(links: Int64) -> tuple[Int64, Int64]:
    """Return the groups in conflict, (k, 2) pack and group, and for each the smallest one it is linked with."""
    nodes, number = np.unique(links.reshape(-1, 2), axis=0, return_inverse=True)
    return nodes, group_labels(len(nodes), number.reshape(-1, 2))


def _parts_of_clusters(job: CityJob, nodes: Int64, labels: Int64) -> tuple[Int64, Int64, Int64]:
    """Return the parts of clusters of groups: global ids, where each cluster begins, and one (pack, group) of each.

    The cluster with the smallest id comes first. A conflict with one group of a cluster is one with all of it.
    """
    pack_start = job.scratch.read(GROUPS, "pack_start")
    members: dict[int, list[Int64]] = {}
    for (pack, group), label in zip(nodes.tolist(), labels.tolist(), strict=True):
        low, high = job.scratch.read(GROUPS, "group_start", (pack_start[pack] + group, pack_start[pack] + group + 2))
        members.setdefault(label, []).append(job.scratch.read(GROUPS, "parts", (int(low), int(high))))
    clusters = {label: np.sort(np.concatenate(ids)) for label, ids in members.items()}
    order = sorted(clusters, key=lambda label: int(clusters[label][0]))
    start = starts_of(np.array([len(clusters[label]) for label in order]))
    return np.concatenate([clusters[label] for label in order]), start, nodes[order]


def _new_conflicts(job: CityJob, outlines: Outlines, removed: Int64, places: Int64) -> Int64:
    """Return the conflicts of settled clusters with one another and with the groups still in packs."""
    among = places[check_distances(outlines, job.options.tolerance).groups].reshape(-1, 4)
    placed = _Placed(outlines, places)
    return np.concatenate((among, _conflicts_with_packs(job, placed, removed)))
