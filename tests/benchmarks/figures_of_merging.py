"""Merging by boundaries against merging in pairs in one HDF5 file, on the same tile meshes; tiles stay of one size.

Isolates what comes after the tiles are meshed. Each of the two works in one process of its own: bytes written are the
kernel's count, the peak is that of the process (libraries included), merging is told in processor time.
"""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import rasterio

import citymesh_dask
from tests.benchmarks.figures import FULL, TINY, Figure, Scale
from tests.benchmarks.merging_here import merging_of, save_tiles
from tests.benchmarks.sample import KEPT, city_inputs, sample_city

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Tiles:
    """Tiles of one size and the cities that are cut into them.

    Parameters
    ----------
    edges : tuple of int
        Tiles along the edge of each city.
    tile_m, mesh_m : float
        Edges of tiles and triangles, metres.
    """

    edges: tuple[int, ...]
    tile_m: float
    mesh_m: float


SIZES = {"tiny": Tiles((1, 2), 100.0, 10.0), "quick": Tiles((2, 4), 250.0, 3.0), "full": Tiles((4, 8, 16), 250.0, 1.5)}


@dataclass(frozen=True)
class Sides:
    """What both sides took for the same tiles."""

    count: int
    ours: dict[str, float]
    baseline: dict[str, float]


def measure(scale: Scale, folder: Path = KEPT) -> Iterator[Figure]:
    """Yield the figures of both sides for growing numbers of tiles."""
    sizes = SIZES[scale.name]
    city = sample_city({TINY.name: TINY.city_m, FULL.name: FULL.city_m}.get(scale.name, 1500.0), folder)
    found = []
    for edge in sizes.edges:
        place = Path(tempfile.mkdtemp(prefix="merging-", dir=folder))
        try:
            found.append(both_sides(city, edge, sizes=sizes, place=place))
        finally:
            shutil.rmtree(place, ignore_errors=True)
        yield from figures_of_sides(found[-1])
    yield from growth(found[0], found[-1])


def both_sides(city: Path, edge: int, *, sizes: Tiles, place: Path) -> Sides:
    """Mesh a city of ``edge`` x ``edge`` tiles, then merge its tiles both ways."""
    with rasterio.open(city / "terrain.tif") as file:
        x, y = (round(file.bounds[k]) for k in (0, 1))
    size = edge * sizes.tile_m
    run = citymesh_dask.build_city_mesh(
        **city_inputs(city, "raster"),
        out=place / "city.zarr",
        bounds=(x, y, x + size, y + size),
        tile_size=sizes.tile_m,
        max_mesh_size=sizes.mesh_m,
        building_mesh_triangle_size=sizes.mesh_m,
        scheduler="threads",
        n_workers=2,
        memory_limit="8GB",
        keep_intermediate=True,
        progress=False,
    )
    run.result()
    job_path = place / "city.zarr.scratch" / "job.json"
    (place / "tasks.pickle").write_bytes(pickle.dumps(merging_of(run.plan, job_path)))
    count = save_tiles(job_path, place / "tiles")
    ours = _in_a_process("merging_here", place / "tasks.pickle", place / "tiles")
    baseline = _in_a_process("baseline_hdf5", place / "tiles", count, place / "all.h5")
    return Sides(count, ours, baseline)


def _in_a_process(module: str, *arguments: object) -> dict[str, float]:
    line = [sys.executable, "-m", f"tests.benchmarks.{module}", *map(str, arguments)]
    ended = subprocess.run(line, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True)
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def figures_of_sides(sides: Sides) -> Iterator[Figure]:
    """Yield bytes, memory and times of both sides for one number of tiles."""
    targets = {"ours": 2.3, "HDF5 in pairs": None}
    for (who, target), took in zip(targets.items(), (sides.ours, sides.baseline), strict=True):
        what = f"{sides.count} tiles, {who}"
        raw, peak = took["raw"], int(took["peak"])
        note = f"{took['written'] / 1e6:.0f} MB, mesh of {raw / 1e6:.0f} MB"
        yield Figure(f"{what}: bytes written / raw mesh", took["written"] / raw, "", target, note=note)
        yield Figure(f"{what}: peak memory", peak / 2**20, "MiB", peak_bytes=peak, note="one process")
        yield Figure(f"{what}: all after meshing", took["seconds"], "s", note="tiles written included")
        each = 1000 * took["merging"] / sides.count
        note = f"{took['merging']:.2f} s of processor time"
        yield Figure(f"{what}: merging, per tile", each, "ms", note=note)


def growth(first: Sides, last: Sides) -> Iterator[Figure]:
    """Yield how memory and bytes of ours grow from the fewest tiles to the most."""
    what = f"ours, {last.count} tiles / {first.count} tiles"
    yield Figure(f"{what}: peak memory", last.ours["peak"] / first.ours["peak"], "", 1.1)
    ratio = (last.ours["written"] / last.ours["raw"]) / (first.ours["written"] / first.ours["raw"])
    yield Figure(f"{what}: bytes written / raw mesh", ratio, "", 1.05)
