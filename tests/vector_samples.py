"""Small vector files, written without geopandas."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import shapely

DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".shp": "ESRI Shapefile", ".fgb": "FlatGeobuf"}


def write_vectors(
    path: Path,
    geometries: Any,
    fields: Mapping[str, Any] | None = None,
    *,
    crs: str | None = "EPSG:28992",
    kind: str = "Polygon",
    layer: str | None = None,
    append: bool = False,
    options: Mapping[str, str] | None = None,
) -> Path:
    """Write shapely geometries (None allowed) and columns in the format that the name of the file says."""
    array = np.empty(len(geometries), dtype=object)
    for index, item in enumerate(geometries):
        array[index] = None if item is None else shapely.to_wkb(item)
    columns = dict(fields or {"number": np.arange(len(array))})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about files without a CRS, which are wanted here
        pyogrio.raw.write(
            path,
            array,
            [np.asarray(values) for values in columns.values()],
            list(columns),
            geometry_type=kind,
            crs=crs,
            driver=DRIVERS[path.suffix],
            layer=layer,
            append=append,
            layer_options=dict(options or {}),
        )
    return path


def squares(count: int, *, x: float = 1000.0, y: float = 2000.0, size: float = 10.0) -> list[shapely.Polygon]:
    """Return squares in a row, their corners at whole metres, twice their size apart."""
    return [shapely.box(x + 2 * size * i, y, x + 2 * size * i + size, y + size) for i in range(count)]
