"""Rasters of heights: what their headers say, and windows of them with rows going north.

Everything GDAL knows about a raster stays here; what the heights mean is decided elsewhere.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from ..errors import InputError, InputMissingError
from .input_names import is_virtual

EXPECTED = "a raster of heights with a georeference, such as a GeoTIFF"
LEAST_HEIGHT = -9998.0
"""Lower values count as no data although the file does not say so (-9999 and -32768 are customary)."""
HIGHEST_M = 100_000.0
"""Values further from zero, after the height factor, are no heights but marks for no data."""
_SKEW = 1e-9


@dataclass(frozen=True)
class RasterSource:
    """A raster, from its header. Rows are counted from the south, whatever the file does.

    Parameters
    ----------
    path : str
        The file.
    shape : (int, int)
        Rows and columns.
    x0, y0 : float
        South-west corner, units of its CRS.
    dx, dy : float
        Width and height of a cell, both positive.
    nodata : float or None
        Value that stands for no data.
    dtype : str
        Type of the values.
    crs : str or None
        WKT, None where the file states none.
    top_down : bool
        Whether the first row of the file is the northernmost.
    bands : int
        Number of bands; the first one is read.
    content : str
        Hash of all bytes of the file and of those beside it, where the run was asked to verify its inputs; else "".
    """

    path: str
    shape: tuple[int, int]
    x0: float
    y0: float
    dx: float
    dy: float
    nodata: float | None
    dtype: str
    crs: str | None
    top_down: bool
    bands: int
    content: str = ""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Box of the cells (xmin, ymin, xmax, ymax), units of its CRS."""
        return (self.x0, self.y0, self.x0 + self.shape[1] * self.dx, self.y0 + self.shape[0] * self.dy)


def survey_raster(path: str | Path) -> RasterSource:
    """Return what the header of a raster says.

    Raises
    ------
    InputMissingError
        If there is no such file.
    InputError
        If it is no raster, empty, rotated, without georeference, or of complex numbers.
    """
    name = str(path)
    _check_file(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # refused below, with advice
            with rasterio.open(name) as dataset:
                return _described(name, dataset)
    except RasterioError as error:
        advice = "check that it is a raster and that it is whole"
        raise InputError(name, f"it cannot be read: {error}", EXPECTED, advice) from error


def read_window(
    source: RasterSource, rows: tuple[int, int], cols: tuple[int, int], *, z_scale: float = 1.0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Read a window of the first band.

    Parameters
    ----------
    source : RasterSource
        The raster.
    rows, cols : (int, int)
        First and past-the-end index; rows are counted from the south. The window may reach beyond
        the raster, where nothing is valid.
    z_scale : float
        Factor from values to metres.

    Returns
    -------
    heights : (r, c) float64
        Metres, scale and offset of the band applied; 0 where not valid. Rows go north.
    valid : (r, c) bool
        False where the value is no data: by the file's own word or mask, not finite, below
        `LEAST_HEIGHT`, or beyond `HIGHEST_M`.

    Raises
    ------
    InputError
        If the file is cut off or damaged.
    """
    heights = np.zeros((rows[1] - rows[0], cols[1] - cols[0]))
    valid = np.zeros(heights.shape, bool)
    low_row, high_row = max(rows[0], 0), min(rows[1], source.shape[0])
    low_col, high_col = max(cols[0], 0), min(cols[1], source.shape[1])
    if low_row < high_row and low_col < high_col:
        values = _read(source, (low_row, high_row), (low_col, high_col))
        data = np.ma.getdata(values).astype(np.float64)
        known = ~np.ma.getmaskarray(values) & np.isfinite(data)
        with np.errstate(over="ignore"):
            data = np.where(known & (data >= LEAST_HEIGHT), data, np.nan) * z_scale
        known = np.abs(data) <= HIGHEST_M  # not so for NaN
        inner = np.s_[low_row - rows[0] : high_row - rows[0], low_col - cols[0] : high_col - cols[0]]
        heights[inner] = np.where(known, data, 0.0)
        valid[inner] = known
    return heights, valid


def _read(source: RasterSource, rows: tuple[int, int], cols: tuple[int, int]) -> np.ma.MaskedArray:
    first = source.shape[0] - rows[1] if source.top_down else rows[0]
    window = Window(cols[0], first, cols[1] - cols[0], rows[1] - rows[0])
    try:
        with rasterio.open(source.path) as dataset:
            values = dataset.read(1, window=window, masked=True)
            scale, offset = dataset.scales[0], dataset.offsets[0]
    except RasterioError as error:
        found = (
            f"rows {rows[0]} to {rows[1]} cannot be read; the file is cut off or damaged ({error.__cause__ or error})"
        )
        raise InputError(source.path, found, EXPECTED, "copy or download it again") from error
    if (scale, offset) != (1.0, 0.0):
        values = values.astype(np.float64) * scale + offset
    flipped: np.ma.MaskedArray = values[::-1] if source.top_down else values
    return flipped


def _check_file(path: str) -> None:
    if is_virtual(path):
        return
    file = Path(path)
    if not file.exists():
        raise InputMissingError(path, "no such file", EXPECTED, "check the path")
    if file.is_file() and file.stat().st_size == 0:
        raise InputError(path, "the file is empty (0 bytes)", EXPECTED, "copy or download it again")


def _described(path: str, dataset: DatasetReader) -> RasterSource:
    if dataset.count == 0:
        raise InputError(path, "it holds no band", EXPECTED, "name one of its subdatasets")
    grid = dataset.transform
    numbers = (grid.a, grid.b, grid.c, grid.d, grid.e, grid.f)
    if grid.is_identity or not all(map(math.isfinite, numbers)):
        raise InputError(path, "it has no georeference", EXPECTED, "add one, for example with gdal_edit.py -a_ullr")
    if abs(grid.b) > _SKEW * abs(grid.a) or abs(grid.d) > _SKEW * abs(grid.e) or grid.a <= 0 or grid.e == 0:
        advice = "make it axis-parallel, for example with gdalwarp"
        raise InputError(path, f"a rotated or mirrored grid {numbers}", "rows from west to east", advice)
    if dataset.dtypes[0].startswith("complex"):
        raise InputError(path, f"values of type {dataset.dtypes[0]}", "real numbers", "give a raster of heights")
    top_down = grid.e < 0
    south = grid.f + grid.e * dataset.height if top_down else grid.f
    crs = dataset.crs.to_wkt() if dataset.crs else None
    return RasterSource(
        path=path,
        shape=(dataset.height, dataset.width),
        x0=grid.c,
        y0=south,
        dx=grid.a,
        dy=abs(grid.e),
        nodata=dataset.nodata,
        dtype=dataset.dtypes[0],
        crs=crs,
        top_down=top_down,
        bands=dataset.count,
    )
