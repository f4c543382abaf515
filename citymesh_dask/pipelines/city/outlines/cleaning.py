"""Tasks from footprints to cleaned outlines: link, group, clean, check, settle.

Files and groups only; the geometry is in `citymesh_dask.geometry.cleaning`. Nothing that comes out
depends on the number of packs, on the cells of the link grid or on the order of tasks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np

from ....geometry.cleaning.checking import check_outlines as check_distances
from ....geometry.cleaning.cleaning import clean_groups, link_distance
from ....geometry.cleaning.fates import Fates
from ....geometry.cleaning.linking import link_parts as find_links
from ....geometry.grouping import group_labels
from ....geometry.outline_groups import boxes_meet, group_boxes, select_groups
from ....geometry.part_sets import starts_of
from ....outlines import Bool, Int64, Outlines
from ....tiles import OUTLINE_UNITS, Box, Domain, morton_code
from ..job import CityJob, load_job
from .part_reading import GROUPS, part_starts, parts_in_box, read_boxes, read_parts, usable_parts

LINK_CELL = 1000.0
"""Least edge of a cell of the link grid, metres."""
MOST_LINK_CELLS = 4096
SETTLED = "outlines/settled"


def link_cells(domain: Domain) -> tuple[int, int]:
    """Return the columns and rows of the grid of cells in which near parts are linked."""
    x0, y0, x1, y1 = domain.bounds
    cell = max(LINK_CELL, math.sqrt(domain.area / MOST_LINK_CELLS))
    return math.ceil((x1 - x0) / cell), math.ceil((y1 - y0) / cell)


def n_link_cells(job: CityJob) -> int:
    """Return the number of link tasks."""
    columns, rows = link_cells(job.domain)
    return columns * rows


def link_parts(job_path: str, index: int) -> dict[str, Any]:
    """Find the parts that stand near one another in cell ``index`` of the link grid.

    Writes group ``links/{index:05d}`` with ``pairs`` (k, 2) int64 of global part ids.
    """
    job = load_job(job_path)
    distance = _link_units(job)
    x0, y0, x1, y1 = _link_cell(job.domain, index)
    parts, ids = parts_in_box(job, (x0 - distance, y0 - distance, x1 + distance, y1 + distance))
    pairs = ids[find_links(parts, distance)]
    job.scratch.write(f"links/{index:05d}", {"pairs": pairs})
    return {"parts": len(parts), "links": len(pairs)}


def group_parts(job_path: str, index: int = 0) -> dict[str, Any]:
    """Join linked parts to groups and deal these out to the packs, neighbours together.

    Writes group ``groups``: pack ``k`` has groups ``pack_start[k]:pack_start[k + 1]``, group ``g`` the global
    part ids ``parts[group_start[g]:group_start[g + 1]]``; ``pack_box`` (n_packs, 4) is around
    what cleaning can make of the pack; ``part_start`` is the first part of each footprint group (`part_starts`).
    """
    job = load_job(job_path)
    n_files = len(job.footprint_ranges)
    usable = np.concatenate([np.zeros(0, np.bool_), *(usable_parts(job, f) for f in range(n_files))])
    boxes = np.concatenate([np.empty((0, 4), np.int64), *(read_boxes(job, f) for f in range(n_files))])
    links = [job.scratch.read(f"links/{cell:05d}", "pairs") for cell in range(n_link_cells(job))]
    labels = group_labels(len(usable), np.concatenate(links))
    parts = np.flatnonzero(usable)
    labels, boxes = labels[parts], boxes[parts]
    codes = _spatial_codes(job.domain, boxes)
    # A group stands where its first part stands; parts ascend, so that is the part its label names.
    order = np.lexsort((parts, labels, codes[np.searchsorted(parts, labels)]))
    parts, labels, boxes = parts[order], labels[order], boxes[order]
    first = np.flatnonzero(np.diff(labels, prepend=-1))
    group_start = np.append(first, len(parts))
    shares = np.arange(job.n_packs + 1) * len(parts) // max(job.n_packs, 1)
    pack_start = np.searchsorted(first, shares)
    pack_start[-1] = len(first)
    # Cleaning moves outlines by a few tolerances.
    margin = 8 * math.ceil(job.options.tolerance * OUTLINE_UNITS) * np.array([-1, -1, 1, 1])
    ranges = pairwise(group_start[pack_start].tolist())
    around = [box_around(boxes[low:high] + margin) for low, high in ranges]
    pack_box = np.array(around, np.int64).reshape(-1, 4)
    arrays = {"pack_start": pack_start, "group_start": group_start, "parts": parts, "pack_box": pack_box}
    arrays["part_start"] = part_starts(job)
    job.scratch.write(GROUPS, arrays, {"groups": len(first), "parts": len(parts)})
    largest = int(np.diff(group_start).max(initial=0))
    return {"groups": len(first), "parts": len(parts), "largest_group": largest}


def clean_outlines(job_path: str, index: int) -> dict[str, Any]:
    """Clean the groups of pack ``index``.

    Writes group ``outlines/{index:05d}``: the arrays of `Outlines`, ``group_box`` (g, 4), and per part
    ``fate_rows``, ``fate``, ``fate_into`` (`Fates`) and ``fate_group``, the group in the pack that it is in.
    """
    job = load_job(job_path)
    low, high = job.scratch.read(GROUPS, "pack_start", (index, index + 2)).tolist()
    start = job.scratch.read(GROUPS, "group_start", (low, high + 1))
    ids = job.scratch.read(GROUPS, "parts", (int(start[0]), int(start[-1])))
    cleaned = _clean(job, ids, start - start[0])
    return _write_pack(job, index, cleaned, np.empty((0, 2), np.int64))


def check_outlines(job_path: str, index: int) -> dict[str, Any]:
    """Look for groups of pack ``index`` that came too near to others, of this pack or of later ones.

    Writes group ``conflicts/{index:05d}`` with ``pairs`` (k, 4): pack and group of either side.
    """
    job = load_job(job_path)
    own = _all_of_pack(job, index)
    places = _places_of(index, len(own.point_start) - 1)
    conflicts = check_distances(own, job.options.tolerance)
    pairs = _conflicts_with_packs(job, _Placed(own, places), packs=range(index + 1, job.n_packs))
    pairs = np.concatenate((places[conflicts.groups].reshape(-1, 4), pairs))
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
    cleaned, removed = _clean(job, np.empty(0, np.int64), np.zeros(1, np.int64)), np.empty((0, 2), np.int64)
    while len(links):
        removed, labels = _clusters(links)
        ids, start, places = _parts_of_clusters(job, removed, labels)
        cleaned = _clean(job, ids, start)
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
    """Cleaned groups, the global ids of their parts, where each group begins, and the fates."""

    outlines: Outlines
    ids: Int64
    start: Int64
    fates: Fates


@dataclass(frozen=True)
class _Placed:
    """Outlines and the (pack, group) of each of their groups."""

    outlines: Outlines
    places: Int64


def _link_units(job: CityJob) -> int:
    return math.ceil(link_distance(job.options.tolerance, _merge_tolerance(job)) * OUTLINE_UNITS)


def _merge_tolerance(job: CityJob) -> float:
    return job.options.merge_tolerance if job.options.merge_buildings else 0.0


def _link_cell(domain: Domain, index: int) -> Box:
    columns, rows = link_cells(domain)
    x0, y0, x1, y1 = domain.frame
    column, row = index % columns, index // columns
    return (
        x0 + (x1 - x0) * column // columns,
        y0 + (y1 - y0) * row // rows,
        x0 + (x1 - x0) * (column + 1) // columns,
        y0 + (y1 - y0) * (row + 1) // rows,
    )


def _spatial_codes(domain: Domain, boxes: Int64) -> Int64:
    """Return the place of each box on a Z-order curve through metres."""
    corner = np.array(domain.frame[:2], np.int64)
    metres = np.maximum(((boxes[:, :2] + boxes[:, 2:]) // 2 - corner) // OUTLINE_UNITS, 0)
    codes: Int64 = morton_code(metres[:, 0], metres[:, 1]).astype(np.int64)
    return codes


def box_around(boxes: Int64) -> Int64:
    """Return the box around some boxes, (4,) int64; around none, one that meets nothing."""
    limits = np.iinfo(np.int64)
    low, high = boxes[:, :2].min(axis=0, initial=limits.max), boxes[:, 2:].max(axis=0, initial=limits.min)
    return np.concatenate((low, high))


def _clean(job: CityJob, ids: Int64, start: Int64) -> _CleanedPack:
    outlines, fates = clean_groups(
        read_parts(job, ids),
        start,
        job.domain.frame,
        tolerance=job.options.tolerance,
        min_area=job.options.min_building_area,
        merge_tolerance=_merge_tolerance(job),
    )
    return _CleanedPack(outlines, ids, start, fates)


def _write_pack(job: CityJob, pack: int, cleaned: _CleanedPack, removed: Int64) -> dict[str, Any]:
    outlines, fates = cleaned.outlines, cleaned.fates
    arrays = {field.name: getattr(outlines, field.name) for field in fields(outlines)}
    arrays |= {"fate_rows": fates.rows, "fate": fates.fate, "fate_into": fates.into}
    arrays["fate_group"] = np.repeat(np.arange(len(cleaned.start) - 1), np.diff(cleaned.start))
    arrays["group_box"] = group_boxes(outlines)
    if pack == job.n_packs:
        arrays["removed"] = removed
    job.scratch.write(pack_name(job, pack), arrays)
    return {"groups": len(cleaned.start) - 1, "parts": len(cleaned.ids), "edges": len(outlines.edges)}


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


def _conflicts_with_packs(job: CityJob, own: _Placed, *, packs: range, leave_out: Int64 | None = None) -> Int64:
    """Return conflicts (k, 4) between some groups and those of packs that come near them."""
    margin = math.ceil(job.options.tolerance * OUTLINE_UNITS)
    boxes = group_boxes(own.outlines)
    boxes = boxes[np.diff(own.outlines.point_start) > 0] + np.array([-margin, -margin, margin, margin])
    around = box_around(boxes)
    pack_boxes = job.scratch.read(GROUPS, "pack_box")
    found = [np.empty((0, 4), np.int64)]
    for pack in np.flatnonzero(boxes_meet(pack_boxes, around[None]) if len(boxes) else []).tolist():
        if pack not in packs:
            continue
        near = boxes_meet(_boxes_of_pack(job, pack), boxes[boxes_meet(boxes, pack_boxes[pack : pack + 1])])
        if leave_out is not None:
            near[leave_out[leave_out[:, 0] == pack, 1]] = False
        if near.any():
            others = select_groups(_all_of_pack(job, pack), near)
            found.append(_conflicts_between(own, _Placed(others, _places_of(pack, len(near))[near]), job))
    return np.concatenate(found)


def _conflicts_between(own: _Placed, others: _Placed, job: CityJob) -> Int64:
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
    return np.concatenate((among, _conflicts_with_packs(job, placed, packs=range(job.n_packs), leave_out=removed)))
