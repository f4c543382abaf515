"""The sample cities that benchmarks run on, made once per machine and kept in the folder for temporary files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from citymesh_dask.demo import generate_demo
from citymesh_dask.sample_city.landscape import SampleCity

KEPT = Path(tempfile.gettempdir()) / "citymesh-benchmarks"
"""Where cities, stores and compiled prototypes are kept between benchmarks."""

SOURCES = ("raster", "points")
"""Where terrain and heights may come from."""


def sample_city(size_m: float, folder: Path = KEPT) -> Path:
    """Return the folder with the survey files of a sample city."""
    path = folder / f"city-{size_m:.0f}"
    path.mkdir(parents=True, exist_ok=True)
    generate_demo(path, SampleCity(size_m), tell=lambda line: None)
    return path


def city_inputs(city: Path, source: str) -> dict[str, Any]:
    """Return the arguments of `build_city_mesh` for a sample city.

    Parameters
    ----------
    city : Path
        Its folder.
    source : {"raster", "points"}
        Terrain from the raster and heights from the attribute, or both from the laser returns.
    """
    footprints = {"footprints": str(city / "footprints.gpkg")}
    if source == "raster":
        return footprints | {"terrain": str(city / "terrain.tif"), "height_field": "height"}
    return footprints | {"points": str(city / "points" / "*.laz")}
