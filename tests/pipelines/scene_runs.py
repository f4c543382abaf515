"""Scenes of footprints on made-up terrain: built once, then meshed again with other tilings, and judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from rasterio import Affine

from citymesh_dask.engine.in_process import LocalExecutor
from citymesh_dask.engine.machine import Resources
from citymesh_dask.engine.run import Run
from citymesh_dask.pipelines.checking.check import check_store
from citymesh_dask.pipelines.city.ending.finish import seal_store
from citymesh_dask.pipelines.city.job import CityJob, save_job
from citymesh_dask.pipelines.city.outlines.cleaning import read_outlines
from citymesh_dask.pipelines.city.plan import plan_city
from citymesh_dask.store.manifest import ReceiptFolder
from citymesh_dask.tiles import MESH_PER_OUTLINE, Domain, Tiling
from tests.adversarial_scenes import SIDE
from tests.oracle import building_measures, judge, load
from tests.pipelines.city_runs import Tiler, build, grid
from tests.pipelines.test_city import check_table
from tests.vector_samples import write_vectors

Array = npt.NDArray[Any]
Height = Callable[[Array, Array], Array]

ROOFS = (28.0, 28.0, 31.0, 31.0, 31.01, 34.0, 37.0)
"""Absolute roof heights, building after building: equal, alternating and 1 cm different beside one another."""
ORIGIN = (100_000.0, 400_000.0)
CRS = "EPSG:28992"
AFTER_TILING = ("mesh_tile", "merge", "close_mesh", "number", "assemble", "write_table")


def hills(x: Array, y: Array) -> Array:
    """Return terrain heights from 9 to 21 m at metres from the corner of the scene."""
    return 15 + 4 * np.sin(x / 31) * np.cos(y / 23) + 2 * np.sin(x / 9 + y / 13)


def write_scene(
    folder: Path,
    footprints: Sequence[shapely.Geometry],
    *,
    terrain: Height = hills,
    roofs: Sequence[float] = ROOFS,
    origin: tuple[float, float] = ORIGIN,
    crs: str = CRS,
    side: float = SIDE,
) -> dict[str, Any]:
    """Write footprints with absolute roof heights and a terrain raster; return the arguments of a city."""
    folder.mkdir(parents=True, exist_ok=True)
    moved = [shapely.transform(item, lambda xy: xy + np.array(origin)) for item in footprints]
    levels = [roofs[k % len(roofs)] for k in range(len(moved))]
    write_vectors(folder / "footprints.gpkg", moved, {"roof": np.array(levels, float)}, crs=crs, kind="Unknown")
    cell = side / 40
    x, y = np.meshgrid((np.arange(40) + 0.5) * cell, side - (np.arange(40) + 0.5) * cell)
    profile = {"driver": "GTiff", "width": 40, "height": 40, "count": 1, "dtype": "float32", "crs": crs}
    transform = Affine(cell, 0, origin[0], 0, -cell, origin[1] + side)
    with rasterio.open(folder / "terrain.tif", "w", transform=transform, **profile) as file:
        file.write(np.broadcast_to(terrain(x, y), x.shape).astype("float32"), 1)
    return {"footprints": folder / "footprints.gpkg", "terrain": folder / "terrain.tif", "roof_field": "roof"}


@dataclasses.dataclass(frozen=True)
class Scene:
    """A scene that was built as one tile.

    Parameters
    ----------
    job : CityJob
        The finished job; its scratch folder is still there.
    area, volume : (n,) float64
        Of each building, from the faces of the one tile.
    """

    job: CityJob
    area: Array
    volume: Array

    @property
    def out(self) -> Path:
        """The store of the one tile."""
        return Path(self.job.out)

    def points(self) -> npt.NDArray[np.int64]:
        """Return the cleaned vertices of all buildings, mesh units."""
        packs = [read_outlines(self.job, pack).points for pack in range(self.job.n_packs + 1)]
        return np.concatenate(packs) * MESH_PER_OUTLINE


def build_scene(inputs: dict[str, Any], folder: Path) -> Scene:
    """Build a scene as one tile and judge it."""
    out = folder / "one.zarr"
    job = build(inputs, out, grid(1, 1))
    check_city(out)
    return Scene(job, *building_measures(out))


def mesh_again(scene: Scene, tiler: Tiler, out: Path) -> Path:
    """Mesh a scene with another tiling and judge it; what does not depend on the tiling is not done again."""
    job = dataclasses.replace(scene.job, out=str(out), tiling=tiler(scene.job.domain))
    receipts = job.scratch.root / "receipts"
    for path in receipts.iterdir():
        if path.name.startswith(AFTER_TILING):
            path.unlink()
    ledger = ReceiptFolder(str(receipts))

    def finish(run: Run[None]) -> None:
        seal_store(job, {r.key: r for r in ledger.all()}, inputs=[])

    plan = plan_city(job, save_job(job), Resources(1 << 32, 2))
    Run(plan, ledger, LocalExecutor("synchronous", 2), finish=finish).result(600)
    check_city(out)
    area, volume = building_measures(out)
    np.testing.assert_allclose(area, scene.area, rtol=1e-6, atol=1e-5)  # as in `check_table`
    if job.options.lod:  # a roof that lies on the terrain has no volume of its own
        np.testing.assert_allclose(volume, scene.volume, rtol=1e-6, atol=1e-3)
    return out


def mesh_in_tilings(scene: Scene, folder: Path, counts: Iterable[tuple[int, int, int]]) -> None:
    """Mesh a scene with lines through its vertices, (columns, rows, units beside them) for each tiling."""
    points = scene.points()
    for nx, ny, beside in counts:
        mesh_again(scene, through_vertices(points, nx, ny, beside=beside), folder / f"{nx}x{ny}.zarr")


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


def check_city(out: Path) -> None:
    """Fail unless a finished store is perfect: by the oracle, by ``citymesh check``, by its table, by its shapes."""
    verdict = judge(out)
    assert verdict.good(), verdict
    report = check_store(out)
    assert report.ok, report.describe()
    mesh, table, attributes = load(out)
    if attributes["options"]["lod"]:
        check_table(out)
    vertices, faces = mesh["vertices"], mesh["faces"]
    assert len(np.unique(vertices, axis=0)) == len(vertices), "two vertices at one place"
    doubled = np.linalg.norm(face_normals(vertices, faces), axis=1)
    assert doubled.min() > 1e-9, "a face without area"
    markers = np.unique(mesh["markers"])
    assert set(markers[markers < 0].tolist()) == set(range(-4 if attributes["options"]["solid"] else -2, 0)) - {-1} - (
        set() if (mesh["markers"] == -2).any() else {-2}
    )
    assert markers.max() < 2 * len(table["id"]) or not len(table["id"])


def face_normals(vertices: Array, faces: Array) -> Array:
    """Return the cross products of edges, twice the area long."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals: Array = np.cross(b - a, c - a)
    return normals
