"""The root of the tree: the rim is held against the frame, and closed where a solid is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ....engine.tree import tree_levels
from ....geometry.joining.boundary import Hole, Rim, along_frame, close_rim, merge_boundaries, merge_defects
from ....geometry.joining.solid import SolidClosing, close_solid
from ....geometry.keys import number_rows
from ....mesh import Boundary
from ....outlines import Int64
from ..job import CityJob, load_job
from ..tiles.meshes import (
    boundary_name,
    count_faces,
    defect_facts,
    read_boundary,
    write_boundary,
    write_empty_tile,
    write_tile_arrays,
)
from ..tiles.skipping import skipped_name

RIM_SEAMS = "seams/rim"


def close_mesh(job_path: str, index: int = 0) -> dict[str, Any]:
    """Hold the last boundary against the frame; with ``solid`` close it with one more tile.

    Writes ``seams/rim``, the seams of all vertices that were still open.
    """
    del index  # one task
    job = load_job(job_path)
    levels = len(tree_levels(job.tiling.n_positions, job.fan_in))
    boundary = read_boundary(job, boundary_name(levels, 0))
    missing = _missing(job)
    rim = close_rim(boundary, job.domain.mesh_frame, missing.hole if missing else None)
    seams, defects, written = rim.seams, rim.defects, 0
    counts: dict[str, int] = {}
    if job.options.solid and (missing or len(defects)):
        # There is nothing to close; the run goes on, to end with what is wrong, or missing, and where.
        write_empty_tile(job, len(job.tiling))
    elif job.options.solid:
        closing, written = _write_closing(job, boundary)
        merged = merge_boundaries([boundary, closing.boundary])
        counts = count_faces(closing.mesh.markers, job.n_rows)
        seams, defects = merged.seams, merge_defects([defects, merged.defects])
    written += job.scratch.write(RIM_SEAMS, {"seams": seams})
    return {
        "rim_length": rim.length,
        "frame_length": rim.frame_length,
        "bytes": written,
        "face_counts": counts,
        "defects": defect_facts(job, defects),
        "n_defects": len(defects),
        **({"missing": missing.facts(rim)} if missing else {}),
    }


@dataclass(frozen=True)
class _Missing:
    """What is missing with the tiles that were skipped.

    Parameters
    ----------
    hole : Hole
        What the mesh around must end with.
    rim : (k, 4) int64
        Edges in plan around what is missing, which lies left of them, those along the frame included.
    frame_length : int
        Length of those, mesh units.
    """

    hole: Hole
    rim: Int64
    frame_length: int

    def facts(self, rim: Rim) -> dict[str, Any]:
        """Return what the certificate needs; the area is exact where everything was traced, as text."""
        doubled = sum(x0 * y1 - x1 * y0 for x0, y0, x1, y1 in self.rim.tolist())
        length = float(np.hypot(*(self.hole.rim[:, 2:] - self.hole.rim[:, :2]).T).sum())
        exact = not len(self.hole.boxes)
        area = {"doubled_area": str(doubled), "frame_length": self.frame_length} if exact else {}
        return {"rim_edges": rim.n_hole, "rim_length": length, "exact": exact, **area}


def _missing(job: CityJob) -> _Missing | None:
    """Gather what all skipped tiles leave out; None where there are none."""
    groups = [job.scratch.read_all(skipped_name(one.tile)) for one in job.tiling.skipped]
    if not groups:
        return None
    rim, boxes = (np.concatenate([group[name] for group in groups]) for name in ("rim", "boxes"))
    ids, _ = number_rows(np.concatenate([rim, rim[:, [2, 3, 0, 1]]]))
    once = ~np.isin(ids[: len(rim)], ids[len(rim) :])  # what is missing on both sides is no rim
    rim = rim[once]
    outer = along_frame(rim[:, :2], rim[:, 2:], job.domain.mesh_frame)
    length = int(np.abs(rim[outer, 2:] - rim[outer, :2]).sum())
    return _Missing(Hole(rim[~outer][:, [2, 3, 0, 1]], boxes), rim, length)


def _write_closing(job: CityJob, rim: Boundary) -> tuple[SolidClosing, int]:
    """Write sides and base as the tile behind all others; return them and the bytes."""
    tile = len(job.tiling)
    lows = [job.scratch.attributes(f"tiles/{k:05d}")["lowest"] for k in range(tile)]
    lowest = min(low for low in lows if low is not None)
    closing = close_solid(rim, job.domain, lowest_z=lowest, base_depth=job.options.base_depth, tile=tile)
    mesh = closing.mesh
    written = write_tile_arrays(job, tile, mesh.vertices, faces=mesh.faces, markers=mesh.markers)
    return closing, written + write_boundary(job, boundary_name(0, tile), closing.boundary)
