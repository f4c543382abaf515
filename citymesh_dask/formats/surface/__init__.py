"""Surface formats: one module per format, and the table from extension to writer."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, NamedTuple

from .obj import write_obj
from .ply import write_ply
from .source import Advance, MeshSource
from .stl import write_stl
from .vtu import write_vtu


class SurfaceFormat(NamedTuple):
    """How a surface format is written, and what it takes on disk.

    Parameters
    ----------
    write : callable
        ``write(source, file, advance)`` streams a mesh into a binary file.
    vertex_bytes, face_bytes : int
        Bytes per vertex and face; for text the usual length.
    single_precision : bool
        Whether coordinates are shifted to a local origin, which is also written to a JSON file beside.
    """

    write: Callable[[MeshSource, IO[bytes], Advance], None]
    vertex_bytes: int
    face_bytes: int
    single_precision: bool = False


SURFACE_FORMATS: dict[str, SurfaceFormat] = {
    ".obj": SurfaceFormat(write_obj, 55, 26),
    ".ply": SurfaceFormat(write_ply, 24, 21),
    ".stl": SurfaceFormat(write_stl, 0, 50, single_precision=True),
    ".vtu": SurfaceFormat(write_vtu, 24, 25),
}
"""Every format by its extension."""

__all__ = ["SURFACE_FORMATS", "Advance", "MeshSource", "SurfaceFormat"]
