"""LAS, LAZ and COPC point clouds: what their headers say, and their points in chunks.

COPC files are LAZ files and are read as such. Where points go is decided elsewhere.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import laspy
import lazrs
import numpy as np
import numpy.typing as npt
from laspy import DecompressionSelection, LazBackend
from laspy.errors import LaspyException

from ..errors import InputError, InputMissingError
from .las_header import EXPECTED, WHOLE, read_las_header
from .laz_chunks import laz_chunks, read_chunks

_Float64 = npt.NDArray[np.float64]

POINTS_PER_CHUNK = 500_000
SUFFIXES = (".las", ".laz")
NOISE_CLASSES = (7, 18)
"""Low and high noise; such points are never used."""
HIGHEST_M = 100_000.0
"""Points further from height zero, after the height factor, are errors and never used."""
_OVERLAP_CLASS = 12
_OLD_FORMATS = 6
_HEADER_BOX_MARGIN_M = 1.0
_HEADER_HEIGHT_MARGIN = 10_000.0
_VERTICAL_UNITS_KEY = 4099
_METRES_PER_UNIT = {9001: 1.0, 9002: 0.3048, 9003: 1200 / 3937}
_FIELDS = (
    DecompressionSelection.XY_RETURNS_CHANNEL
    | DecompressionSelection.Z
    | DecompressionSelection.CLASSIFICATION
    | DecompressionSelection.FLAGS
)


@dataclass(frozen=True)
class PointSource:
    """A point file, from its header.

    Parameters
    ----------
    path : str
        The file.
    n_points : int
        Number of points.
    bounds : (x0, y0, z0, x1, y1, z1)
        Box in the units of the file.
    crs : str or None
        WKT, None where the header states none.
    scales : (float, float, float)
        Steps of the coordinates.
    version : str
        LAS version.
    point_format : int
        LAS point format.
    copc : bool
        Whether it is a cloud-optimised point cloud.
    metres_per_height : float or None
        Unit of heights stated by a GeoTIFF key, metres; None where there is none.
    content : str
        Hash of all bytes of the file and of those beside it, where the run was asked to verify its inputs; else "".
    """

    path: str
    n_points: int
    bounds: tuple[float, float, float, float, float, float]
    crs: str | None
    scales: tuple[float, float, float]
    version: str
    point_format: int
    copc: bool
    metres_per_height: float | None
    content: str = ""


@dataclass(frozen=True)
class PointChunk:
    """Some points of a file.

    Parameters
    ----------
    x, y : (n,) float64
        Metres in the CRS of the file.
    z : (n,) int64
        Millimetres, after the height factor.
    classification : (n,) uint8
        LAS class.
    keep : (n,) bool
        False for points flagged withheld, synthetic or overlap, for noise, and for heights beyond `HIGHEST_M`.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    z: npt.NDArray[np.int64]
    classification: npt.NDArray[np.uint8]
    keep: npt.NDArray[np.bool_]


def survey_points(paths: Sequence[str | Path]) -> tuple[PointSource, ...]:
    """Return the sources that names stand for, each file once, from their headers alone.

    Parameters
    ----------
    paths : sequence of path
        Files, patterns such as ``tiles/*.laz``, or folders (all LAS and LAZ files in them); files of
        a pattern or folder are sorted by name.

    Raises
    ------
    InputMissingError
        If a file does not exist or a pattern matches none.
    InputError
        If a file is empty, cut off, damaged, without points or no LAS file.
    """
    files: dict[Path, str] = {}
    for path in paths:
        for file in _expand(str(path)):
            files.setdefault(Path(file).resolve(), file)
    return tuple(_survey(file) for file in files.values())


def read_points(
    source: PointSource, start: int = 0, stop: int | None = None, *, z_scale: float = 1.0, chunk: int = POINTS_PER_CHUNK
) -> Iterator[PointChunk]:
    """Read points ``start:stop`` of a file, chunk by chunk.

    Parameters
    ----------
    source : PointSource
        The file.
    start, stop : int
        Points, in file order.
    z_scale : float
        Factor from heights in the file to metres.
    chunk : int
        Most points per chunk.

    Yields
    ------
    PointChunk

    Raises
    ------
    InputError
        If the file is cut off or damaged, has changed since its header was read, or holds points
        outside the box in its header.
    """
    stop = source.n_points if stop is None else min(stop, source.n_points)
    try:
        with laspy.open(
            source.path, laz_backend=LazBackend.Lazrs, read_evlrs=False, decompression_selection=_FIELDS
        ) as reader:
            if reader.header.point_count != source.n_points:
                found = f"{reader.header.point_count} points, {source.n_points} when the run began"
                raise InputError(source.path, found, "an unchanged file", "run the command again")
            found_points = 0
            for points in _records(reader, source.path, start, stop, chunk):
                found_points += len(points)
                yield _decode(source, points, z_scale)
        if found_points != stop - start:
            raise _cut_off(source, f"points {start + found_points} to {stop} are missing")
    except (LaspyException, lazrs.LazrsError, OSError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise _cut_off(source, f"points {start} to {stop}: {error}") from error


def _records(reader: laspy.LasReader, path: str, start: int, stop: int, most: int) -> Iterator[Any]:
    """Yield points ``start:stop``, at most so many at a time, until the file ends."""
    if start >= stop:
        return
    if not reader.header.are_points_compressed:
        reader.seek(start)
    else:
        chunks = laz_chunks(path, reader.header)
        if chunks.largest <= most:
            yield from read_chunks(chunks, start, stop, most=most, fields=_FIELDS)
            return
        for first in range(0, start, most):  # chunks that are too large to be unpacked whole
            reader.read_points(min(most, start - first))
    for first in range(start, stop, most):
        points = reader.read_points(min(most, stop - first))
        if not len(points):
            return
        yield points


def _cut_off(source: PointSource, what: str) -> InputError:
    found = f"the points cannot be read; the file is cut off or damaged ({what})"
    return InputError(source.path, found, EXPECTED, WHOLE)


def _expand(path: str) -> list[str]:
    if Path(path).is_dir():
        found = sorted(str(p) for p in Path(path).iterdir() if p.suffix.lower() in SUFFIXES)
        if not found:
            raise InputMissingError(path, "the folder holds no LAS or LAZ file", EXPECTED, "check the path")
        return found
    if not Path(path).exists() and glob.has_magic(path):
        matches = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if not matches:
            raise InputMissingError(path, "no file matches the pattern", EXPECTED, "check the pattern")
        return matches
    return [path]


def _survey(path: str) -> PointSource:
    header = read_las_header(path)
    try:
        with laspy.open(path, read_evlrs=False) as reader:
            las = reader.header
            crs = _stated_crs(las)
            if crs is None and las.version >= laspy.header.Version(1, 4) and las.number_of_evlrs:
                reader.read_evlrs()
                crs = _stated_crs(las)
            copc = any(record.user_id == "copc" for record in las.vlrs)
            unit = _height_unit(las)
    except (LaspyException, lazrs.LazrsError, OSError, ValueError, EOFError) as error:
        found = f"the header cannot be read: {error}"
        raise InputError(path, found, EXPECTED, WHOLE) from error
    if las.are_points_compressed:
        laz_chunks(path, las)
    version = ".".join(map(str, header.version))
    return PointSource(
        path, header.n_points, header.bounds, crs, header.scales, version, header.point_format, copc, unit
    )


def _stated_crs(header: Any) -> str | None:
    """Return the CRS as WKT; what pyproj does not understand counts as not stated."""
    try:
        crs = header.parse_crs()
    except Exception:  # pyproj and laspy raise many kinds for broken records
        return None
    return None if crs is None else str(crs.to_wkt())


def _height_unit(header: Any) -> float | None:
    for record in header.vlrs.get("GeoKeyDirectoryVlr"):
        for key in record.geo_keys:
            if key.id == _VERTICAL_UNITS_KEY:
                return _METRES_PER_UNIT.get(key.value_offset)
    return None


def _decode(source: PointSource, points: Any, z_scale: float) -> PointChunk:
    x, y = np.array(points.x, dtype=np.float64), np.array(points.y, dtype=np.float64)
    heights = np.array(points.z, dtype=np.float64)
    _check_inside(source, x, y, heights)
    highest = HIGHEST_M * 1000
    z = np.rint(heights * (z_scale * 1000))
    z = np.clip(z, -highest - 1, highest + 1).astype(np.int64)
    classes = np.array(points.classification, dtype=np.uint8)
    dropped = np.logical_or.reduce([np.abs(z) > highest, *(classes == number for number in NOISE_CLASSES)])
    flags = ["withheld", "synthetic"]
    if source.point_format < _OLD_FORMATS:
        dropped |= classes == _OVERLAP_CLASS
    else:
        flags.append("overlap")
    for flag in flags:
        dropped |= np.array(points[flag], dtype=bool)
    return PointChunk(x, y, z, classes, ~dropped)


def _check_inside(source: PointSource, x: _Float64, y: _Float64, z: _Float64) -> None:
    """Other tasks rely on the box in the header to know which files concern them.

    Damaged LAZ data may also be decompressed into any numbers without an error: then their heights, which
    are kept apart from the rest, lie far from those in the header. A header that is only stale does not.
    """
    low, high = np.array(source.bounds[:3]), np.array(source.bounds[3:])
    margin = np.array([_HEADER_BOX_MARGIN_M, _HEADER_BOX_MARGIN_M, _HEADER_HEIGHT_MARGIN])
    box = np.array([(values.min(), values.max()) for values in (x, y, z)]).T
    if (box[0] < low - margin).any() or (box[1] > high + margin).any():
        found = f"points in {_box_text(*box)}, outside the box in its header {_box_text(low, high)}"
        advice = "the file is damaged, or rewrite it so that its header is made anew (for example pdal translate)"
        raise InputError(source.path, found, "points inside that box", advice)


def _box_text(low: _Float64, high: _Float64) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in (*low, *high)) + ")"
