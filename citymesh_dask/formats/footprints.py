"""Building footprints in vector files: what the headers say, and features read range by range.

Everything that asks pyogrio belongs here. What is done with the polygons is in ``geometry``, and which
files fit together is decided in ``pipelines``.
"""

from __future__ import annotations

import dataclasses
import difflib
import glob
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import pyogrio.raw
import shapely

from ..errors import CRSError, InputError
from .crs import Bounds, is_geographic, parse_crs, reprojection
from .vector_errors import reading_vectors
from .vector_integrity import EXPECTED, check_whole
from .vector_layers import choose_layer, is_polygonal

Array = npt.NDArray[Any]

_ID_NAMES = ("id", "gml_id", "identificatie", "osm_id", "fid")
_FEATURES_PER_RANGE = 20_000
_SOUGHT_FEATURES = 8_000
_MOST_PER_RANGE = 200_000
_PASSES = 10
_ONE_LAYER_SUFFIXES = (".geojson", ".geojsonl")
_SEEKING_DRIVERS = ("GPKG", "ESRI Shapefile", "FlatGeobuf", "OpenFileGDB")
_SAMPLE_ROWS = 1000


@dataclass(frozen=True)
class FootprintSource:
    """One layer of one file, as its header describes it.

    Parameters
    ----------
    path, layer, driver : str
        The file, its layer and the GDAL driver that reads it.
    n_features : int
        Features, those without geometry included.
    crs : str or None
        WKT; None where the file states none.
    bounds : (xmin, ymin, xmax, ymax) or None
        Box of the finite coordinates in ``crs``; None where there are none.
    geometry_type : str
        As in the header, for example ``MultiPolygon Z``.
    fields, dtypes : tuple of str
        Names and NumPy types of the attributes.
    id_field : str or None
        Attribute that identifies a feature; None: its number in the file (FID).
    by_number : bool
        True where features are found by number: an indexed FlatGeobuf skips by reading otherwise.
    content : str
        Hash of all bytes of the file and of those beside it, where the run was asked to verify its inputs; else "".
    """

    path: str
    layer: str
    driver: str
    n_features: int
    crs: str | None
    bounds: Bounds | None
    geometry_type: str
    fields: tuple[str, ...]
    dtypes: tuple[str, ...]
    id_field: str | None
    by_number: bool
    content: str = ""

    @property
    def seeks(self) -> bool:
        """Whether features are found without reading the file from its start."""
        return self.driver in _SEEKING_DRIVERS

    @property
    def features_per_range(self) -> int:
        """Features that are read at once: more where a file must be read from its start each time."""
        if self.seeks:
            return _SOUGHT_FEATURES
        return min(max(_FEATURES_PER_RANGE, self.n_features // _PASSES), _MOST_PER_RANGE)


@dataclass(frozen=True)
class Features:
    """Features of one range, in file order.

    Parameters
    ----------
    geometries : (n,) object
        shapely geometries in two dimensions, None where there is none.
    unreadable : (n,) bool
        True where there is a geometry of a kind that shapely does not know.
    fids : (n,) int64
        Numbers in the file.
    columns : dict of str to (n,) array
        Attributes by name; dates are ISO text, whole numbers with gaps are ``float64``.
    """

    geometries: Array
    unreadable: npt.NDArray[np.bool_]
    fids: npt.NDArray[np.int64]
    columns: dict[str, Array]


def survey_footprints(paths: Iterable[Any], layer: str | None = None) -> tuple[FootprintSource, ...]:
    """Return what the headers of footprint files say.

    Parameters
    ----------
    paths : iterable of path
        Files or patterns such as ``tiles/*.shp`` (whose files are sorted by name), in the order that becomes the
        order of the building table.
    layer : str, optional
        Layer in every file; needed only where a file has several with polygons.

    Raises
    ------
    InputMissingError, InputError
        If a file is missing, given twice, empty, cut off, of another kind, lacks the layer, or holds no polygon.
        The message names the file.
    """
    files: dict[str, str] = {}
    for path in paths:
        for file in _expand(str(path)):
            real = os.path.realpath(file)
            if real in files:
                raise InputError(file, "given twice", "each file once, or every building stands twice", "leave one out")
            files[real] = file
    return tuple(_survey_file(file, layer) for file in files.values())


def read_features(
    source: FootprintSource, start: int, stop: int, *, columns: Sequence[str] = (), crs: str | None = None
) -> Features:
    """Read features ``start:stop`` of a layer, each once and in file order.

    Parameters
    ----------
    source : FootprintSource
        The layer.
    start, stop : int
        First and past-the-end feature.
    columns : sequence of str
        Attributes to read.
    crs : str, optional
        CRS to which geometries are taken; those of a source without a CRS are taken to be in it.

    Raises
    ------
    InputError
        If the file cannot be read there.
    """
    fids, wkb, values = _read_raw(source, start, stop, columns=columns)
    with np.errstate(invalid="ignore"):  # NaN coordinates are found later, one by one
        geometries = shapely.force_2d(shapely.from_wkb(wkb, on_invalid="fix"))
    missing = np.array([item is None for item in wkb], dtype=bool)
    unreadable = shapely.is_missing(geometries) & ~missing
    transform = reprojection(source.crs, crs) if source.crs and crs else None
    if transform is not None:
        geometries = shapely.transform(geometries, transform)
    return Features(geometries, unreadable, fids, values)


def read_columns(source: FootprintSource, start: int, stop: int, *, columns: Sequence[str]) -> dict[str, Array]:
    """Read attributes of features ``start:stop`` without their geometries."""
    return _read_raw(source, start, stop, columns=columns, geometry=False)[2]


def read_ids(source: FootprintSource, start: int, stop: int) -> list[str]:
    """Return the identifiers of features ``start:stop`` as text, as they stand in the source."""
    names = (source.id_field,) if source.id_field else ()
    fids, _, columns = _read_raw(source, start, stop, columns=names, geometry=False)
    if source.id_field is None:
        return [str(fid) for fid in fids.tolist()]
    return [_id_text(value) for value in columns[source.id_field].tolist()]


def read_boxes(source: FootprintSource, *, every: int = 1, crs: str | None = None) -> npt.NDArray[np.float64]:
    """Return the boxes of a layer's features in one pass, or of one in ``every`` features.

    Parameters
    ----------
    source : FootprintSource
        The layer.
    every : int
        1 for all; else features whose number in the file (FID) is a multiple of it.
    crs : str, optional
        CRS to which boxes are taken, as in `read_features`: the box around their four corners there.

    Returns
    -------
    (n, 4) float64
        x0, y0, x1, y1 of those features that have finite coordinates, in file order.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    chosen = None if every == 1 else f"FID % {every} = 0"
    with reading_vectors(source.path):
        _, bounds = pyogrio.read_bounds(source.path, layer=source.layer, where=chosen)
    boxes: npt.NDArray[np.float64] = np.asarray(bounds, np.float64).T
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    transform = reprojection(source.crs, crs) if source.crs and crs else None
    if transform is None or not len(boxes):
        return boxes
    corners = transform(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)).reshape(-1, 4, 2)
    moved = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    finite: npt.NDArray[np.float64] = moved[np.isfinite(moved).all(axis=1)]
    return finite


def require_field(source: FootprintSource, name: str, option: str) -> None:
    """Raise where a source lacks an attribute, with the nearest name that it has.

    Raises
    ------
    InputError
        Naming file, layer, option and attributes.
    """
    if name in source.fields:
        return
    lower = {field.lower(): field for field in source.fields}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f"did you mean {lower[near[0]]!r}?" if near else "name one of them"
    found = f"layer {source.layer!r} has no attribute {name!r}"
    listed = ", ".join(source.fields) or "none at all"
    raise InputError(source.path, found, f"the attribute of option {option}; it has {listed}", hint)


def typical_size(source: FootprintSource) -> float | None:
    """Return the median of the longer box sides of the first features, units of the file; None if there are none."""
    geometries = read_features(source, 0, min(source.n_features, _SAMPLE_ROWS)).geometries
    boxes = shapely.bounds(geometries)
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    return float(np.median((boxes[:, 2:] - boxes[:, :2]).max(axis=1))) if len(boxes) else None


def _id_text(value: Any) -> str:
    if value is None or value != value:  # NaN
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _expand(path: str) -> list[str]:
    """Return the files that a pattern stands for; any other name stands for itself."""
    if glob.has_magic(path) and not Path(path).exists():
        return sorted(glob.glob(path)) or [path]  # noqa: PTH207 (the pattern may have folders)
    return [path]


def _survey_file(path: str, layer: str | None) -> FootprintSource:
    check_whole(path)
    chosen, info = _read_header(path, layer)
    names, dtypes = _kept_fields(info)
    source = FootprintSource(
        path=path,
        layer=chosen,
        driver=str(info["driver"]),
        n_features=int(info["features"]),
        crs=_stated_crs(path, info),
        bounds=_finite_bounds(info["total_bounds"]),
        geometry_type=str(info["geometry_type"]),
        fields=names,
        dtypes=dtypes,
        id_field=_id_field(names),
        by_number=info["driver"] == "FlatGeobuf" and bool(info["capabilities"]["random_read"]),
    )
    return _checked(source)


def _read_header(path: str, layer: str | None) -> tuple[str, dict[str, Any]]:
    """Return the layer to read and what GDAL says about it."""
    if path.lower().endswith(_ONE_LAYER_SUFFIXES):  # asking for the layers first would parse it all twice
        info = _read_info(path, None)
        return choose_layer(path, {str(info["layer_name"]): str(info["geometry_type"])}, layer), info
    with reading_vectors(path):
        layers = {str(name): str(kind) for name, kind in pyogrio.list_layers(path)}
    chosen = choose_layer(path, layers, layer)
    return chosen, _read_info(path, chosen)


def _read_info(path: str, layer: str | None) -> dict[str, Any]:
    with reading_vectors(path):
        info: dict[str, Any] = pyogrio.read_info(path, layer=layer, force_feature_count=True, force_total_bounds=True)
    return info


def _kept_fields(info: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the attributes that a table can hold: all but raw bytes."""
    rows = zip(info["fields"], info["dtypes"], info["ogr_types"], strict=True)
    kept = [(str(name), str(dtype)) for name, dtype, kind in rows if kind != "OFTBinary"]
    return tuple(name for name, _ in kept), tuple(dtype for _, dtype in kept)


def _id_field(fields: Sequence[str]) -> str | None:
    lower = {field.lower(): field for field in reversed(fields)}
    return next((lower[name] for name in _ID_NAMES if name in lower), None)


def _stated_crs(path: str, info: dict[str, Any]) -> str | None:
    """Return the CRS as WKT; None for GeoJSON in metres, which GDAL takes for degrees where it states none."""
    if not info["crs"]:
        return None
    try:
        text = str(parse_crs(str(info["crs"]), path).to_wkt())
    except CRSError:
        return None
    bounds = _finite_bounds(info["total_bounds"])
    assumed = str(info["driver"]).startswith("GeoJSON") and is_geographic(text)
    return None if assumed and bounds is not None and not _within_degrees(bounds) else text


def _within_degrees(bounds: Bounds) -> bool:
    return bounds[0] >= -361 and bounds[2] <= 361 and bounds[1] >= -91 and bounds[3] <= 91


def _finite_bounds(bounds: Sequence[float] | None) -> Bounds | None:
    if bounds is None or not all(math.isfinite(value) for value in bounds):
        return None
    x0, y0, x1, y1 = (float(value) for value in bounds)
    return (x0, y0, x1, y1)


def _checked(source: FootprintSource) -> FootprintSource:
    """Return the source, its bounds made finite; raise where it is cut off or holds no polygon."""
    if source.n_features == 0:
        return source
    if source.driver == "FlatGeobuf":
        _read_raw(source, source.n_features - 1, source.n_features)  # its header does not tell its length
    if source.bounds is None or not is_polygonal(source.geometry_type):
        return _scanned(source)
    return source


def _scanned(source: FootprintSource) -> FootprintSource:
    """Look for polygons, and for the box of finite coordinates where the header gives none."""
    boxes: list[Array] = []
    has_polygon = False
    for start in range(0, source.n_features, _FEATURES_PER_RANGE):
        geometries = read_features(source, start, min(start + _FEATURES_PER_RANGE, source.n_features)).geometries
        has_polygon = has_polygon or bool((shapely.get_dimensions(geometries) == 2).any())
        bounds = shapely.bounds(geometries)
        boxes.append(bounds[np.isfinite(bounds).all(axis=1)])
        if has_polygon and source.bounds is not None:
            return source
    if not has_polygon:
        raise InputError(source.path, f"no polygon in layer {source.layer!r}", EXPECTED, "give the file of footprints")
    found = np.concatenate(boxes)
    if not len(found):
        what = f"no coordinate in layer {source.layer!r} is a finite number (all are NaN, infinite or missing)"
        raise InputError(source.path, what, EXPECTED, "repair the file, for example by writing it anew")
    low, high = found[:, :2].min(axis=0), found[:, 2:].max(axis=0)
    bounds_found = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return dataclasses.replace(source, bounds=bounds_found)


def _read_raw(
    source: FootprintSource, start: int, stop: int, *, columns: Sequence[str] = (), geometry: bool = True
) -> tuple[npt.NDArray[np.int64], Array, dict[str, Array]]:
    """Read FIDs, WKB and attributes; the number of features read must be the number asked for."""
    where: dict[str, Any] = (
        {"fids": np.arange(start, stop)} if source.by_number else {"skip_features": start, "max_features": stop - start}
    )
    with reading_vectors(source.path):
        meta, fids, wkb, values = pyogrio.raw.read(
            source.path,
            layer=source.layer,
            columns=list(columns),
            read_geometry=geometry,
            return_fids=True,
            datetime_as_string=True,
            **where,
        )
    if len(fids) != stop - start:
        found = f"features {start} to {stop - 1} were asked for, {len(fids)} came"
        raise InputError(source.path, found, f"{source.n_features} features as its header says", "is the file whole?")
    return fids, wkb, dict(zip((str(name) for name in meta["fields"]), values, strict=True))
