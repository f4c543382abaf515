"""Small point files and rasters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import laspy
import numpy as np
import rasterio
from rasterio.transform import Affine

NORTH_UP = Affine(2.0, 0, 1000, 0, -3.0, 5060)
"""Cells of 2 x 3 m, the north-west corner at (1000, 5060)."""


def write_points(
    path: Path, xyz: np.ndarray, classes: np.ndarray, *, point_format: int = 6, scale: float = 0.001
) -> laspy.LasData:
    """Write points (n, 3) with their classes as LAS or LAZ and return them."""
    header = laspy.LasHeader(point_format=point_format, version="1.2" if point_format < 6 else "1.4")
    header.scales, header.offsets = [scale] * 3, np.floor(xyz.min(axis=0))
    las = laspy.LasData(header)
    las.x, las.y, las.z = xyz.T
    las.classification = classes.astype(np.uint8)
    las.write(path)
    return las


def write_raster(path: Path, values: np.ndarray, transform: Affine | None = NORTH_UP, **profile: Any) -> Path:
    """Write a GeoTIFF; values are (rows, cols) or (bands, rows, cols), the first row in the north."""
    bands = values[None] if values.ndim == 2 else values
    facts = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": values.dtype}
    facts |= {"crs": "EPSG:28992", **profile} | ({"transform": transform} if transform is not None else {})
    with rasterio.open(path, "w", driver="GTiff", **facts) as dataset:
        dataset.write(bands)
    return path
