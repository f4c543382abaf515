"""The root of the tree: the rim is held against the frame, and closed where a solid is wanted."""

from __future__ import annotations

from typing import Any

from ....engine.tree import tree_levels
from ....geometry.joining.boundary import close_rim, merge_boundaries, merge_defects
from ....geometry.joining.solid import SolidClosing, close_solid
from ....mesh import Boundary
from ....store.chunks import Array
from ..job import CityJob, load_job
from ..tiles.meshes import boundary_name, count_faces, defect_facts, read_boundary, write_boundary, write_empty_tile

RIM_SEAMS = "seams/rim"


def close_mesh(job_path: str, index: int = 0) -> dict[str, Any]:
    """Hold the last boundary against the frame; with ``solid`` close it with one more tile.

    Writes ``seams/rim``, the seams of all vertices that were still open.
    """
    del index  # one task
    job = load_job(job_path)
    levels = len(tree_levels(len(job.tiling), job.fan_in))
    boundary = read_boundary(job, boundary_name(levels, 0))
    rim = close_rim(boundary, job.domain.mesh_frame)
    seams, defects, written = rim.seams, rim.defects, 0
    counts: dict[str, int] = {}
    if job.options.solid and len(defects):
        # There is nothing to close; the run goes on, to end with what is wrong and where.
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
    }


def _write_closing(job: CityJob, rim: Boundary) -> tuple[SolidClosing, int]:
    """Write sides and base as the tile behind all others; return them and the bytes."""
    tile = len(job.tiling)
    lows = [job.scratch.attributes(f"tiles/{k:05d}")["lowest"] for k in range(tile)]
    lowest = min(low for low in lows if low is not None)
    closing = close_solid(rim, job.domain, lowest_z=lowest, base_depth=job.options.base_depth, tile=tile)
    mesh = closing.mesh
    arrays: dict[str, Array] = {"vertices": mesh.vertices, "faces": mesh.faces, "markers": mesh.markers}
    written = job.scratch.write_zarr(f"tiles/{tile:05d}", arrays)
    return closing, written + write_boundary(job, boundary_name(0, tile), closing.boundary)
