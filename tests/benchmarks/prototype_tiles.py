"""What the benchmark of tile tasks asks of the prototype; runs in the prototype's process."""

from __future__ import annotations

import importlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Outlined:
    """Cleaned outlines with heights and terrain, in the prototype's form.

    Parameters
    ----------
    points : (n, 2) int64
        Outline units from the corner of the domain.
    edges : (m, 4) int64
        Start, end, label left and right; labels from 0, -1 for ground.
    extent : (2,) float64
        Width and height of the domain, metres.
    levels : (k,) int32
        Height of the roof of each label, centimetres.
    terrain : (r, c) float32
        Metres; cells of 1 m from the corner of the domain.
    """

    points: npt.NDArray[np.int64]
    edges: npt.NDArray[np.int64]
    extent: npt.NDArray[np.float64]
    levels: npt.NDArray[np.int32]
    terrain: npt.NDArray[np.float32]


_kept: dict[str, Any] = {}


def prepare(outlined: Outlined) -> None:
    """Subdivide the outlines once; kept in this process for `mesh_tiles`."""
    city = importlib.import_module("city").City(outlined.points, outlined.edges, outlined.extent)
    _kept["city"], _kept["outlined"] = city, outlined
    _kept["preparation"] = importlib.import_module("fastprep").Prep(city)


def mesh_tiles(count: int, sizes: tuple[float, float]) -> tuple[int, float, int]:
    """Mesh ``count`` x ``count`` tiles at (ground, building) sizes; return triangles, seconds and peak memory."""
    bench = importlib.import_module("bench")
    lines = importlib.import_module("drive").lattice(_kept["city"], count, count)
    outlined: Outlined = _kept["outlined"]
    halo = int(20 / bench.U)
    shutil.rmtree("tiles", ignore_errors=True)
    bench.hwm_reset()
    triangles = 0
    start = time.process_time()
    for x in range(count):
        for y in range(count):
            job, _ = _kept["preparation"].job(lines, x, y, halo)
            result = bench.tile(
                job,
                lev=outlined.levels,
                ras=outlined.terrain,
                nl=len(outlined.levels),
                hg=sizes[0],
                hb=sizes[1],
                out=str(Path("tiles") / f"{x}-{y}"),
                check="full",
                rings=1,
                minedge=min(0.1, 0.1 * sizes[0]),
            )
            triangles += int(result[2]["tri3"])
    return triangles, time.process_time() - start, int(bench.PEAK() * 2**20)
