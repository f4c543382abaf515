"""Tasks that link near footprints and join them to groups, packs of which are cleaned together.

Files and groups only; the geometry is in `citymesh_dask.geometry.cleaning`. Which parts make a group does not
depend on the cells of the link grid.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ....geometry.cleaning.cleaning import link_distance
from ....geometry.cleaning.linking import link_parts as find_links
from ....geometry.grouping import group_labels
from ....outlines import Int64
from ....store.chunks import Array
from ....tiles import OUTLINE_UNITS, Box, Domain, morton_code
from ..job import ROWS_PER_RANGE, CityJob, load_job
from .footprints import footprint_group
from .part_index import part_starts
from .part_reading import GROUPS, parts_in_box, read_boxes, usable_parts

LINK_CELL = 1000.0
"""Least edge of a cell of the link grid, metres."""
MOST_LINK_CELLS = 4096


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
    what cleaning can make of the pack; ``row_packs`` tells which packs have parts of a range of rows (`packs_of_rows`).
    """
    job = load_job(job_path)
    links = [job.scratch.read(f"links/{cell:05d}", "pairs") for cell in range(n_link_cells(job))]
    labels = group_labels(int(part_starts(job)[-1]), np.concatenate(links))
    del links
    parts, labels, places = _in_spatial_order(job, labels)
    first = np.flatnonzero(np.diff(labels, prepend=-1))
    group_start = np.append(first, len(parts))
    pack_start = deal_groups(group_start, places[first], n_packs=job.n_packs)
    arrays = {"pack_start": pack_start, "group_start": group_start, "parts": parts}
    arrays |= _pack_facts(job, parts, group_start[pack_start])
    job.scratch.write(GROUPS, arrays, {"groups": len(first), "parts": len(parts)})
    largest = int(np.diff(group_start).max(initial=0))
    return {"groups": len(first), "parts": len(parts), "largest_group": largest}


def deal_groups(group_start: Int64, places: Int64, *, n_packs: int) -> Int64:
    """Return the first group of each pack, and the number of groups.

    Packs have about equal numbers of parts. Near each even share the pack begins with the group whose place has the
    smallest hash, so that a part more or less somewhere moves hardly any pack (content-defined chunking, Muthitacharoen
    et al. 2001).

    Parameters
    ----------
    group_start : (g + 1,) int64
        First part of each group, and the number of parts.
    places : (g,) int64
        Place of each group along a curve.
    n_packs : int
        Number of packs.
    """
    first, total = group_start[:-1], int(group_start[-1])
    with np.errstate(over="ignore"):
        mixed = places.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # Knuth's multiplicative hash
    mixed ^= mixed >> np.uint64(31)
    reach = total // (8 * max(n_packs, 1))
    dealt = np.zeros(n_packs + 1, np.int64)
    for pack in range(1, n_packs):
        share = pack * total // n_packs
        low, high = np.searchsorted(first, (share - reach, share + reach + 1)).tolist()
        dealt[pack] = low + int(np.argmin(mixed[low:high])) if low < high else np.searchsorted(first, share)
    dealt[-1] = len(first)
    return dealt


def packs_of_rows(job: CityJob, first_row: int) -> list[int]:
    """Return the packs that have parts of a range of rows, and the pack of settled groups, which may have."""
    row_range = first_row // ROWS_PER_RANGE
    flags = np.unpackbits(job.scratch.read(GROUPS, "row_packs", (row_range, row_range + 1))[0], count=job.n_packs)
    return [*np.flatnonzero(flags).tolist(), job.n_packs]


def merge_tolerance(job: CityJob) -> float:
    """Return the distance within which buildings are joined into one, metres; 0 where they keep their own."""
    return job.options.merge_tolerance if job.options.merge_buildings else 0.0


def _link_units(job: CityJob) -> int:
    return math.ceil(link_distance(job.options.tolerance, merge_tolerance(job)) * OUTLINE_UNITS)


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


def _in_spatial_order(job: CityJob, labels: Int64) -> tuple[Int64, Int64, Int64]:
    """Return the usable parts in the order of their groups along a Z-order curve, their labels and their places on it.

    A group stands where its first part stands: labels are the smallest part of each group.
    """
    starts = part_starts(job)
    codes, usable = np.empty(len(labels), np.int64), np.empty(len(labels), np.bool_)
    for index in range(len(starts) - 1):
        span = slice(starts[index], starts[index + 1])
        codes[span], usable[span] = _spatial_codes(job.domain, read_boxes(job, index)), usable_parts(job, index)
    parts = np.flatnonzero(usable)
    labels = labels[parts]
    places = codes[labels]
    order = np.lexsort((labels, places))  # stable: parts stay ascending inside a group
    return parts[order], labels[order], places[order]


def _pack_facts(job: CityJob, parts: Int64, start: Int64) -> dict[str, Array]:
    """Return ``pack_box`` and ``row_packs`` of `group_parts`; ``parts[start[k]:start[k + 1]]`` are pack ``k``.

    All boxes of a large city need not be in memory at once.
    """
    starts = part_starts(job)
    pack_of = np.full(int(starts[-1]), -1, np.int32)
    pack_of[parts] = np.repeat(np.arange(job.n_packs, dtype=np.int32), np.diff(start))
    limits = np.iinfo(np.int64)
    low, high = np.full((job.n_packs, 2), limits.max), np.full((job.n_packs, 2), limits.min)
    n_rows = max((part.first_row + part.stop - part.start for part in job.footprint_ranges), default=0)
    row_packs = np.zeros((-(-n_rows // ROWS_PER_RANGE), job.n_packs), np.bool_)
    for index in range(len(starts) - 1):
        pack = pack_of[starts[index] : starts[index + 1]]
        kept = pack >= 0
        boxes, rows = read_boxes(job, index)[kept], job.scratch.read(footprint_group(index), "rows")[kept]
        np.minimum.at(low, pack[kept], boxes[:, :2])
        np.maximum.at(high, pack[kept], boxes[:, 2:])
        row_packs[rows // ROWS_PER_RANGE, pack[kept]] = True
    # Cleaning moves outlines by a few tolerances.
    margin = 8 * math.ceil(job.options.tolerance * OUTLINE_UNITS)
    some = np.diff(start) > 0
    low[some] -= margin
    high[some] += margin
    return {"pack_box": np.concatenate((low, high), axis=1), "row_packs": np.packbits(row_packs, axis=1)}


def _spatial_codes(domain: Domain, boxes: Int64) -> Int64:
    """Return the place of each box on a Z-order curve through metres."""
    corner = np.array(domain.frame[:2], np.int64)
    metres = np.maximum(((boxes[:, :2] + boxes[:, 2:]) // 2 - corner) // OUTLINE_UNITS, 0)
    codes: Int64 = morton_code(metres[:, 0], metres[:, 1]).astype(np.int64)
    return codes
