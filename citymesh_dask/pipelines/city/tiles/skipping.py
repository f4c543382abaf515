"""Tiles that the mesh does without: what is missing then, so that the hole has a clean rim and nothing goes unsaid."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....geometry.seams.seams import tile_constraints, window_of
from ....outlines import Bool, Constraints, Int64, Pieces
from ....store.chunks import Array
from ....tiles import MESH_UNITS, Box
from ..job import CityJob, load_job
from ..outlines.pieces import read_pieces
from .meshes import write_empty_tile


def skip_tile(job_path: str, index: int, cause: str, traced: bool) -> dict[str, Any]:
    """Write an empty tile in place of one that failed, and what is missing with it.

    Writes beside the groups of an empty tile ``skipped/{index}``: ``rows`` (n,) int64 of the building table,
    ``rim`` (k, 4) int64, the edges in plan around what is missing, which lies left of them, mesh units, and
    ``boxes`` (b, 4) int64: where ``traced`` is false, everything in them may be missing, and the rim is empty.
    """
    job = load_job(job_path)
    box = job.tile_box(index)
    facts = write_empty_tile(job, index)
    pieces: Pieces = read_pieces(job, box)
    arrays: dict[str, Array]
    if traced:
        arrays = traced_share(_share(job, pieces, box))
    else:
        boxes = np.concatenate([[window_of(box, job.options.max_mesh_size)], pieces.boxes[_own_clusters(pieces, box)]])
        arrays = {"rows": _rows_within(pieces, box), "rim": np.empty((0, 4), np.int64), "boxes": boxes}
    job.scratch.write(skipped_name(index), arrays)
    hole = {"tile": index, "cause": cause, "buildings": len(arrays["rows"]), "bounds": _metres(job, box)}
    return facts | {"missing_tile": {**hole, "reach": _metres(job, _reach(arrays)), "exact": traced}}


def skipped_name(tile: int) -> str:
    """Return the group with what is missing with a tile."""
    return f"skipped/{tile:05d}"


def traced_share(constraints: Constraints | None) -> dict[str, Array]:
    """Return rows and rim of what a tile would have meshed, from its constraints."""
    empty = np.empty((0, 4), np.int64)
    if constraints is None:
        return {"rows": empty[:, 0], "rim": empty, "boxes": empty}
    c = constraints
    labels = np.concatenate([c.left[c.own_left], c.right[c.own_right]])
    rows = c.rows[np.unique(labels[labels >= 0])]
    ends = c.points[c.ends].reshape(-1, 4)
    left, right = ends[c.own_left & ~c.own_right], ends[c.own_right & ~c.own_left]
    return {"rows": rows, "rim": np.concatenate([left, right[:, [2, 3, 0, 1]]]), "boxes": empty}


def _share(job: CityJob, pieces: Pieces, box: Box) -> Constraints | None:
    options = job.options
    return tile_constraints(
        pieces,
        box,
        frame=job.domain.mesh_frame,
        ground_size=options.max_mesh_size,
        building_size=options.building_mesh_triangle_size,
    )


def _own_clusters(pieces: Pieces, box: Box) -> Bool:
    centre = (pieces.boxes[:, :2] + pieces.boxes[:, 2:]) >> 1
    inside = (centre >= box[:2]).all(axis=1) & (centre < box[2:]).all(axis=1)
    owned: Bool = inside & ~pieces.divided
    return owned


def _rows_within(pieces: Pieces, box: Box) -> Int64:
    """Return the buildings that a tile owns as a whole, and those of divided clusters with an outline in its box."""
    owned = np.append(_own_clusters(pieces, box), False)[pieces.cluster]
    middle = (pieces.points[pieces.ends[:, 0]] + pieces.points[pieces.ends[:, 1]]) >> 1
    near = (middle >= box[:2]).all(axis=1) & (middle < box[2:]).all(axis=1)
    touched = owned | (near & np.append(pieces.divided, False)[pieces.cluster])
    labels = np.unique(np.concatenate([pieces.left[touched], pieces.right[touched]]))
    rows: Int64 = labels[labels >= 0]
    return rows


def _reach(arrays: dict[str, Array]) -> Box | None:
    """Return the box around the rim."""
    corners = np.concatenate([arrays["rim"].reshape(-1, 2), arrays["boxes"].reshape(-1, 2)])
    if not len(corners):
        return None
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return x0, y0, x1, y1


def _metres(job: CityJob, box: Box | None) -> list[float] | None:
    if box is None:
        return None
    x, y = job.domain.origin
    return [value / MESH_UNITS + offset for value, offset in zip(box, (x, y, x, y), strict=True)]
