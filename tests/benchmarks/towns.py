"""Real and made footprints that benchmarks clean and mesh, on hills of their own.

Only what is put into a job; nothing is measured here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
import shapely
from rasterio.transform import Affine

from citymesh_dask.formats.footprints import read_features, survey_footprints
from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.city.inputs.survey import CityInputs, survey_city
from citymesh_dask.pipelines.city.job import CityJob
from citymesh_dask.pipelines.city.plan import city_job
from citymesh_dask.tiles import Domain, Tiling
from tests.benchmarks.figures import TINY, Scale
from tests.benchmarks.sample import KEPT, sample_city
from tests.conftest import DATA
from tests.vector_samples import write_vectors

_MARGIN_M = 40
_LARGE_M2 = 50e6


@dataclass(frozen=True)
class Town:
    """Footprints, whole inside their domain.

    Parameters
    ----------
    name : str
        What they are.
    footprints : Path
        The file.
    crs : str
        Its CRS.
    height_field : str, optional
        Attribute with the heights; 7 m for all where there is none.
    """

    name: str
    footprints: Path
    crs: str
    height_field: str | None = None

    @property
    def options(self) -> CityOptions:
        """The options that its file needs."""
        return CityOptions(crs=self.crs, height_field=self.height_field, default_height=7.0)


LYON = Town("Lyon", DATA / "city" / "lyon_dtm_bdtopo" / "buildings_lyon1.geojson", "EPSG:3946", "HAUTEUR")
BENGALURU = Town("Bengaluru", DATA / "city" / "footprints_bengaluru_osm" / "BuildingFootprintsOSM.gpkg", "EPSG:32643")


def sample_town(scale: Scale, folder: Path = KEPT) -> Town:
    """Return the footprints of a sample city."""
    city = sample_city(min(scale.city_m, 1500.0), folder)
    return Town("sample city", city / "footprints.gpkg", "EPSG:25832", "height")


def towns(scale: Scale, folder: Path = KEPT) -> list[Town]:
    """Return the real towns that are on this machine, else a sample city."""
    real = [town for town in (LYON, BENGALURU) if scale != TINY and town.footprints.exists()]
    return real or [sample_town(scale, folder)]


def town_job(
    town: Town, work: Path, *, options: CityOptions | None = None, tiler: Callable[[Domain], Tiling] | None = None
) -> CityJob:
    """Write the hills and return the job of a town, before its first task.

    Parameters
    ----------
    town : Town
        The footprints.
    work : Path
        An empty folder for the hills and the scratch folder.
    options : CityOptions, optional
        Instead of those of the town.
    tiler : callable, optional
        Gives the tiles of a domain.
    """
    options = options or town.options
    (source,) = survey_footprints([str(town.footprints)], None)
    x0, y0, x1, y1 = source.bounds or (0.0, 0.0, 1.0, 1.0)
    box = (math.floor(x0) - _MARGIN_M, math.floor(y0) - _MARGIN_M, math.ceil(x1) + _MARGIN_M, math.ceil(y1) + _MARGIN_M)
    terrain = write_hills(work / "terrain.tif", box, town.crs)
    survey = survey_city(CityInputs(footprints=str(town.footprints), terrain=str(terrain)), options)
    scratch = work / "scratch"
    scratch.mkdir()
    job = city_job(survey, options, out=work / "none.zarr", scratch=scratch, fan_in=8)
    return replace(job, tiling=tiler(job.domain)) if tiler else job


def write_hills(path: Path, bounds: tuple[float, float, float, float], crs: str) -> Path:
    """Write a terrain raster over bounds of whole metres: cells of 1 m, of 10 m for a large one."""
    x0, y0, x1, y1 = bounds
    cell = 1 if (x1 - x0) * (y1 - y0) < _LARGE_M2 else 10
    columns, rows = (math.ceil((high - low) / cell) for low, high in ((x0, x1), (y0, y1)))
    x, y = np.meshgrid((np.arange(columns) + 0.5) * cell, (np.arange(rows) + 0.5) * cell)
    heights = 20 + 8 * np.sin(x / 173) * np.cos(y / 131) + 2 * np.sin(x / 31 + y / 47)
    profile = {"driver": "GTiff", "width": columns, "height": rows, "count": 1, "dtype": "float32"}
    transform = Affine(cell, 0, x0, 0, -cell, y0 + rows * cell)
    with rasterio.open(path, "w", crs=crs, transform=transform, **profile) as file:
        file.write(heights[::-1].astype(np.float32), 1)
    return path


def repeated(town: Town, times: int, folder: Path) -> Town:
    """Return a town that is a town ``times`` x ``times`` side by side; its file is kept in a folder."""
    path = folder / f"{town.name}-{times}.gpkg"
    if not path.exists():
        shapes = _polygons(town)
        x0, y0, x1, y1 = shapely.total_bounds(shapes)
        step = np.array([math.ceil(x1 - x0) + _MARGIN_M, math.ceil(y1 - y0) + _MARGIN_M])
        moved = [shapely.transform(shapes, lambda xy, by=step * place: xy + by) for place in np.ndindex(times, times)]
        write_vectors(path, np.concatenate(moved), crs=town.crs)
    return Town(f"{town.name} {times} x {times} times", path, town.crs)


def _polygons(town: Town) -> np.ndarray:
    (source,) = survey_footprints([str(town.footprints)], None)
    shapes = shapely.get_parts(read_features(source, 0, source.n_features).geometries)
    return shapes[shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON]
