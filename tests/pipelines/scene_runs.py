"""Scenes of footprints on made-up terrain, built once and then meshed again with other tilings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from rasterio.transform import from_origin

from citymesh_dask.engine.cluster import LocalExecutor
from citymesh_dask.engine.machine import Resources
from citymesh_dask.engine.run import Run
from citymesh_dask.pipelines.check import check_store
from citymesh_dask.pipelines.city.cleaning import read_outlines
from citymesh_dask.pipelines.city.finish import seal_store
from citymesh_dask.pipelines.city.job import CityJob, save_job
from citymesh_dask.pipelines.city.plan import plan_city
from citymesh_dask.store.manifest import ReceiptFolder
from citymesh_dask.tiles import MESH_PER_OUTLINE, Domain, Tiling

from ..adversarial_scenes import SIDE
from ..oracle import building_measures, judge, load
from ..vector_samples import write_vectors
from .city_runs import Tiler, build, grid

Height = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]]

ROOFS = (28.0, 28.0, 31.0, 31.0, 31.01, 34.0, 37.0)
"""Absolute roof heights, building after building: equal, alternating and 1 cm different beside one another."""
CRS = "EPSG:28992"
AFTER_TILING = ("mesh_tile", "merge", "close_mesh", "number", "assemble")


def hills(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return terrain heights from 9 to 21 m, metres from the corner of the scene."""
    return 15 + 4 * np.sin(x / 31) * np.cos(y / 23) + 2 * np.sin(x / 9 + y / 13)


def write_scene(
    folder: Path,
    footprints: Sequence[shapely.Geometry],
    *,
    terrain: Height = hills,
    roofs: Sequence[float] = ROOFS,
    origin: tuple[float, float] = (100_000.0, 400_000.0),
    crs: str = CRS,
    side: float = SIDE,
) -> dict[str, Any]:
    """Write footprints with absolute roof heights and a terrain raster; return the arguments of a city."""
    folder.mkdir(parents=True, exist_ok=True)
    moved = [shapely.transform(item, lambda xy: xy + np.array(origin)) for item in footprints]
    levels = [roofs[k % len(roofs)] for k in range(len(moved))]
    write_vectors(folder / "footprints.gpkg", moved, {"roof": np.array(levels, float)}, crs=crs)
    cell = side / 40
    x, y = np.meshgrid((np.arange(40) + 0.5) * cell, side - (np.arange(40) + 0.5) * cell)
    profile = {"driver": "GTiff", "width": 40, "height": 40, "count": 1, "dtype": "float32", "crs": crs}
    transform = from_origin(origin[0], origin[1] + side, cell, cell)
    with rasterio.open(folder / "terrain.tif", "w", transform=transform, **profile) as file:
        file.write(np.broadcast_to(terrain(x, y), x.shape).astype("float32"), 1)
    return {"footprints": folder / "footprints.gpkg", "terrain": folder / "terrain.tif", "roof_field": "roof"}


def mesh_again(job: CityJob, out: Path, tiler: Tiler) -> CityJob:
    """Mesh a finished job with another tiling; what does not depend on the tiling is not done again."""
    job = dataclasses.replace(job, out=str(out), tiling=tiler(job.domain))
    receipts = job.scratch.root / "receipts"
    for path in receipts.iterdir():
        if path.name.startswith(AFTER_TILING) or path.name.startswith("write_table"):
            path.unlink()
    ledger = ReceiptFolder(str(receipts))

    def finish(run: Run[None]) -> None:
        seal_store(job, {r.key: r for r in ledger.all()}, inputs=[], fingerprint="test")

    plan = plan_city(job, save_job(job), Resources(1 << 32, 2))
    Run(plan, ledger, LocalExecutor("synchronous", 2), finish=finish).result(600)
    return job


def outline_points(job: CityJob) -> npt.NDArray[np.int64]:
    """Return the cleaned vertices of a finished job, mesh units."""
    packs = [read_outlines(job, pack).points for pack in range(job.n_packs + 1)]
    return np.concatenate(packs) * MESH_PER_OUTLINE


def through_vertices(points: npt.NDArray[np.int64], nx: int, ny: int, *, beside: int = 0) -> Tiler:
    """Return a tiler whose inner lines run exactly through vertices, or ``beside`` mesh units from them."""

    def tile(domain: Domain) -> Tiling:
        x0, y0, x1, y1 = domain.mesh_frame
        lines = []
        for axis, low, high, count in ((0, x0, x1, nx), (1, y0, y1, ny)):
            even = low + (high - low) * np.arange(count + 1) // count
            values = np.unique(points[:, axis])
            values = values[(values > low + 1) & (values < high - 1)]
            if len(values):
                even[1:-1] = [values[np.abs(values - line).argmin()] + beside for line in even[1:-1]]
            lines.append(np.unique(even))
        return Tiling.from_lines(*lines)

    return tile


def check_store_of(out: Path) -> None:
    """Fail unless a finished store is perfect, by the oracle and by ``citymesh check``."""
    verdict = judge(out)
    assert verdict.good(), verdict
    report = check_store(out)
    assert report.ok, report.describe()
