"""Tasks that cut outlines and the frame into pieces, and the window of pieces that a tile needs.

Files and groups only; the geometry is in `citymesh_dask.geometry.pieces.subdivision`,
`citymesh_dask.geometry.pieces.domain_frame` and `citymesh_dask.geometry.pieces.outline_measures`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import fields
from typing import Any

import numpy as np

from ....geometry.outline_groups import boxes_meet, edges_near, group_boxes
from ....geometry.pieces.domain_frame import frame_reach, frame_sides
from ....geometry.pieces.domain_frame import subdivide_frame as subdivide_sides
from ....geometry.pieces.outline_measures import OutlineMeasures, measure_outlines
from ....geometry.pieces.piece_sets import in_order, join_pieces, pieces_in_window
from ....geometry.pieces.subdivision import reach_of_features, subdivide
from ....geometry.seams.seams import window_of
from ....outlines import Int64, Outlines, Pieces
from ....store.scratch import Scratch
from ....tiles import OUTLINE_UNITS, Box
from ..ground.ground import read_height_field
from ..job import CityJob, asked, load_job
from .cleaning import SETTLED, box_around, read_outlines
from .part_reading import GROUPS

FRAME = "pieces/frame"


def subdivide_outlines(job_path: str, index: int) -> dict[str, Any]:
    """Cut the outlines of one pack into pieces and measure its buildings along them.

    Writes group ``pieces/{index}``: the arrays of `Pieces`, and per building of the pack those of
    `OutlineMeasures`. The last index is the pack of the groups that were settled together.
    """
    job = load_job(job_path)
    outlines = read_outlines(job, index)
    pieces = pieces_of_pack(job, index, outlines)
    measures = measure_outlines(outlines, pieces, functools.partial(read_height_field, job))
    job.scratch.write(f"pieces/{index:05d}", _columns(pieces) | _columns(measures))
    return {"pieces": len(pieces.ends), "clusters": len(pieces.boxes), "divided": int(pieces.divided.sum())}


def pieces_of_pack(job: CityJob, index: int, outlines: Outlines) -> Pieces:
    """Return the pieces of one pack, cut with regard to all other packs.

    Parameters
    ----------
    job : CityJob
        The run.
    index : int
        Pack that the outlines belong to.
    outlines : Outlines
        Its groups, without those that were settled elsewhere.
    """
    options = job.options
    return subdivide(
        outlines,
        _edges_near_pack(job, index),
        frame=job.domain.frame,
        ground_size=options.max_mesh_size,
        building_size=options.building_mesh_triangle_size,
    )


@asked()
def _edges_near_pack(job: CityJob, index: int) -> Int64:
    """Return the edges of other packs that the pieces of a pack must regard."""
    outlines = read_outlines(job, index)
    reach = reach_of_features(outlines, job.options.building_mesh_triangle_size)
    boxes = group_boxes(outlines) + np.array([-reach, -reach, reach, reach])
    return _edges_of_packs(job, boxes, leave_out=index)


def subdivide_frame(job_path: str, index: int = 0) -> dict[str, Any]:
    """Cut the frame of the domain into pieces.

    Writes group ``pieces/frame``: the arrays of `Pieces`, and ``pack_boxes`` (n_packs + 1, 4) int64,
    the box of each pack's clusters in mesh units, by which tiles find the packs that they need.
    """
    job = load_job(job_path)
    pieces = pieces_of_frame(job)
    job.scratch.write(FRAME, _columns(pieces) | {"pack_boxes": _boxes_of_pieces(job)})
    return {"pieces": len(pieces.ends)}


def pieces_of_frame(job: CityJob) -> Pieces:
    """Return the pieces of the frame, cut with regard to all packs."""
    return subdivide_sides(job.domain.frame, _edges_near_frame(job), ground_size=job.options.max_mesh_size)


@asked()
def _edges_near_frame(job: CityJob) -> Int64:
    reach = frame_reach(job.options.max_mesh_size)
    sides = frame_sides(job.domain.frame).reshape(4, 2, 2)
    strips = np.concatenate([sides.min(axis=1) - reach, sides.max(axis=1) + reach], axis=1)
    return _edges_of_packs(job, strips)


@asked()
def read_pieces(job: CityJob, box: Box) -> Pieces:
    """Return the pieces that a tile must know.

    Parameters
    ----------
    job : CityJob
        The run; its outlines and frame are subdivided.
    box : Box
        The tile, mesh units.

    Returns
    -------
    Pieces
        All clusters whose box meets `window_of` the tile, whole, and the frame's pieces there.
    """
    window = window_of(box, job.options.max_mesh_size)
    packs = boxes_meet(job.scratch.read(FRAME, "pack_boxes"), np.array([window]))
    groups = [*(f"pieces/{pack:05d}" for pack in np.flatnonzero(packs)), FRAME]
    return in_order(join_pieces([pieces_in_window(_read(job.scratch, group), window) for group in groups]))


def _read(scratch: Scratch, group: str) -> Pieces:
    arrays = scratch.read_all(group)
    return Pieces(**{field.name: arrays[field.name] for field in fields(Pieces)})


def _columns(record: Pieces | OutlineMeasures) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _edges_of_packs(job: CityJob, boxes: Int64, leave_out: int = -1) -> Int64:
    """Return the edges of all groups whose box meets one of some boxes, outline units."""
    pack_boxes = _outline_boxes(job)
    edges = [np.empty((0, 4), np.int64)]
    for pack in np.flatnonzero(boxes_meet(pack_boxes, boxes)).tolist():
        if pack != leave_out:
            near = boxes[boxes_meet(boxes, pack_boxes[pack : pack + 1])]
            edges.append(edges_near(read_outlines(job, pack), near))
    return np.concatenate(edges)


def _outline_boxes(job: CityJob) -> Int64:
    """Return a box around each pack's outlines, the settled ones last."""
    # Cleaning moves outlines by a few tolerances out of the boxes of the parts.
    margin = 4 * math.ceil(job.options.tolerance * OUTLINE_UNITS)
    packs = job.scratch.read(GROUPS, "pack_box") + np.array([-margin, -margin, margin, margin])
    return np.concatenate([packs, box_around(job.scratch.read(SETTLED, "group_box"))[None]])


@asked()
def _boxes_of_pieces(job: CityJob) -> Int64:
    packs = (job.scratch.read(f"pieces/{pack:05d}", "boxes") for pack in range(job.n_packs + 1))
    return np.stack([box_around(boxes) for boxes in packs])
