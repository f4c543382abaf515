"""Time and peak memory of meshing and extruding one tile, without reading, cleaning, seams or writing.

Isolates `mesh_constraints` and `extrude_tile` on a regular town of turned houses. Run it as a script::

    python -m tests.benchmarks.bench_meshing --blocks 12 --sizes 10,5 2,2 1,1
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass

import numpy as np
import psutil

from citymesh_dask.geometry.meshing.extrusion import extrude_tile
from citymesh_dask.geometry.meshing.meshing import mesh_constraints
from tests.geometry.scenes import Hills, Scene, make_scene, turned

if sys.platform != "win32":
    import resource

_SPACING_M = 30.0


@dataclass(frozen=True)
class Sample:
    """What one run took.

    Parameters
    ----------
    faces : int
        Faces of the surface.
    planar_s, extrude_s : float
        Processor time of the planar mesh and of the extrusion, seconds; the best of the repeats.
    peak_mb : float
        Largest resident memory of the process so far.
    below_angle : float
        Share of planar triangles under the asked angle.
    """

    faces: int
    planar_s: float
    extrude_s: float
    peak_mb: float
    below_angle: float

    def __str__(self) -> str:
        total = self.planar_s + self.extrude_s
        return (
            f"{self.faces:>10,} faces  {self.faces / total / 1e6:5.2f} M faces/s  planar {self.planar_s:6.3f} s  "
            f"extrusion {self.extrude_s:6.3f} s  peak {self.peak_mb:5.0f} MB  below angle {self.below_angle:.3%}"
        )


def town(blocks: int, *, piece: float) -> Scene:
    """Return ``blocks`` x ``blocks`` houses, each turned and sized on its own."""
    rng = np.random.default_rng(20)
    houses = [
        turned((i + 0.5) * _SPACING_M, (j + 0.5) * _SPACING_M, *rng.uniform(8, 18, 2), rng.uniform(0, math.pi))
        for i in range(blocks)
        for j in range(blocks)
    ]
    return make_scene((0.0, 0.0, blocks * _SPACING_M, blocks * _SPACING_M), houses, piece=piece)


def _peak_mb() -> float:
    """Return the largest resident memory of this process so far."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def measure(
    blocks: int, sizes: tuple[float, float], *, repeats: int = 3, mesh_walls: bool = False, refine_area: bool = True
) -> Sample:
    """Mesh a town of ``blocks`` x ``blocks`` houses at (ground, building) sizes."""
    constraints = town(blocks, piece=min(sizes)).constraints()
    levels = np.random.default_rng(21).integers(260_000, 400_000, len(constraints.rows)).astype(np.int32)
    best = (math.inf, math.inf)
    for _ in range(repeats):
        start = time.process_time()
        planar = mesh_constraints(
            constraints, ground_size=sizes[0], building_size=sizes[1], min_angle=25.0, refine_area=refine_area
        )
        middle = time.process_time()
        surface = extrude_tile(
            planar,
            constraints,
            levels=levels,
            n_rows=len(constraints.rows),
            terrain=Hills(2.0),
            origin=(0, 0),
            mesh_walls=mesh_walls,
        )
        best = min(best, (middle - start, time.process_time() - middle), key=sum)
    quality = surface.quality
    return Sample(len(surface.mesh.faces), *best, _peak_mb(), quality.below_angle / int(quality.angles.sum()))


def main() -> None:
    """Print one line per pair of sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--sizes", nargs="+", default=["10,5", "2,2", "1,1"], help="pairs ground,building in metres")
    parser.add_argument("--mesh-walls", action="store_true")
    parser.add_argument("--angle-only", action="store_true", help="leave areas alone")
    arguments = parser.parse_args()
    measure(2, (10.0, 5.0), repeats=1)  # loads the compiled kernels
    for pair in arguments.sizes:
        ground, building = (float(size) for size in pair.split(","))
        sample = measure(
            arguments.blocks,
            (ground, building),
            mesh_walls=arguments.mesh_walls,
            refine_area=not arguments.angle_only,
        )
        sys.stdout.write(f"{pair:>8} m {sample}\n")


if __name__ == "__main__":
    main()
