"""Coordinate reference systems: parsing, comparing, reprojecting, and units of height.

Everything that asks pyproj belongs here, with errors that say what to pass; which system a project
takes is decided by the pipelines.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyproj
from pyproj.enums import TransformDirection
from pyproj.exceptions import CRSError as ProjError
from pyproj.exceptions import ProjError as TransformError

from ..errors import CRSError

Bounds = tuple[float, float, float, float]
Float64 = npt.NDArray[np.float64]

_HIGHEST_LAND_M = 8849.0
TALL_MEDIAN = 25.0
"""A city whose median building is taller than this (in whatever unit) is probably measured in feet:
the median of real European cities is 6 to 22 m, of American ones in feet 15 to 60."""


@functools.lru_cache(maxsize=64)
def parse_crs(text: str, where: str = "option crs") -> pyproj.CRS:
    """Return the CRS that a text stands for.

    Parameters
    ----------
    text : str
        Authority code (``EPSG:28992``), WKT, PROJ string or PROJJSON.
    where : str
        File or option that the text comes from, for the message.

    Raises
    ------
    CRSError
        If PROJ does not know it.

    Examples
    --------
    >>> parse_crs("EPSG:28992").name
    'Amersfoort / RD New'
    """
    try:
        return pyproj.CRS.from_user_input(text)
    except ProjError as error:
        shown = text if len(text) <= 60 else text[:57] + "..."
        expected = "a CRS that PROJ knows, as an EPSG code or WKT"
        raise CRSError(where, f"{shown!r} is not a known CRS", expected, "pass for example --crs EPSG:28992") from error


def horizontal_part(crs: pyproj.CRS) -> pyproj.CRS:
    """Return the horizontal part of a compound, bound or three-dimensional CRS.

    >>> horizontal_part(parse_crs("EPSG:7415")).to_authority()
    ('EPSG', '28992')
    """
    while crs.is_compound or crs.is_bound:
        inner = crs.source_crs if crs.is_bound else crs.sub_crs_list[0]
        if inner is None:
            break
        crs = inner
    return crs.to_2d() if len(crs.axis_info) == 3 and not crs.is_geocentric else crs


@functools.lru_cache(maxsize=256)
def same_horizontal(first: str, second: str) -> bool:
    """Return whether the horizontal parts of two CRSs (any text of `parse_crs`) are the same.

    Axis order and names are ignored, as WKT of Esri and of LAS headers differs from EPSG in both.

    >>> same_horizontal("EPSG:7415", "EPSG:28992"), same_horizontal("EPSG:2154", "EPSG:28992")
    (True, False)
    """
    a, b = (horizontal_part(parse_crs(text)) for text in (first, second))
    if a.equals(b, ignore_axis_order=True):
        return True
    code = a.to_authority(min_confidence=70)
    if code is not None and code == b.to_authority(min_confidence=70):
        return True
    return _same_projection(a, b)


def _same_projection(a: pyproj.CRS, b: pyproj.CRS) -> bool:
    """Compare datum and parameters: PROJ's own comparison ignores the axis order of a few CRSs only."""
    if not (a.is_projected and b.is_projected):
        return False
    if not a.geodetic_crs.equals(b.geodetic_crs, ignore_axis_order=True):
        return False
    return bool(_projection_parameters(a) == _projection_parameters(b))


def _projection_parameters(crs: pyproj.CRS) -> tuple[str, set[tuple[str, float]], set[tuple[str, float]]]:
    operation = crs.coordinate_operation
    values = {(item.name, round(item.value * item.unit_conversion_factor, 9)) for item in operation.params}
    axes = {(axis.direction, axis.unit_conversion_factor) for axis in crs.axis_info}
    return operation.method_name, values, axes


def crs_name(text: str) -> str:
    """Return a CRS as people write it: authority code and name.

    >>> crs_name("EPSG:28992")
    'EPSG:28992 (Amersfoort / RD New)'
    """
    crs = parse_crs(text)
    code = authority_code(text)
    return f"{code} ({crs.name})" if code else crs.name


def authority_code(text: str) -> str | None:
    """Return the authority code of a CRS, else that of its horizontal part, else None.

    >>> authority_code(parse_crs("EPSG:2154").to_wkt())
    'EPSG:2154'
    """
    crs = parse_crs(text)
    for candidate in (crs, horizontal_part(crs)):
        found = candidate.to_authority(min_confidence=70)
        if found:
            return ":".join(found)
    return None


def is_geographic(text: str) -> bool:
    """Return whether the horizontal part is in degrees."""
    return bool(horizontal_part(parse_crs(text)).is_geographic)


def require_metres(text: str, where: str, bounds: Bounds | None = None) -> str:
    """Return the WKT of a CRS in which a mesh can be made: projected, in metres.

    Parameters
    ----------
    text : str
        Any text of `parse_crs`.
    where : str
        File or option that it comes from.
    bounds : (xmin, ymin, xmax, ymax), optional
        Where the input lies, in this CRS, for advice on a better one.

    Raises
    ------
    CRSError
        If it is geographic, geocentric or in another unit than metres.
    """
    crs = parse_crs(text, where)
    flat = horizontal_part(crs)
    if flat.is_geographic or flat.is_geocentric:
        kind = "geographic (degrees)" if flat.is_geographic else "geocentric"
        advice = _projected_advice(flat, bounds)
        raise CRSError(where, f"CRS {crs_name(text)} is {kind}", "a projected CRS in metres", advice)
    unit = flat.axis_info[0] if flat.axis_info else None
    if unit is not None and not math.isclose(unit.unit_conversion_factor, 1.0, rel_tol=1e-12):
        found = f"CRS {crs_name(text)} is in {unit.unit_name}"
        raise CRSError(where, found, "a projected CRS in metres", _projected_advice(flat, bounds))
    # A vertical unit other than metres would contradict the mesh, whose heights are metres.
    return str((crs if height_unit(text) in (None, ("metre", 1.0)) else flat).to_wkt())


def _projected_advice(crs: pyproj.CRS, bounds: Bounds | None) -> str:
    """Return what to pass instead, with the UTM zone of the place where it is known."""
    place = _utm_code(crs, bounds)
    example = f"--crs {place} (UTM here)" if place else "--crs EPSG:... of a projected CRS in metres"
    return f"pass {example} for footprints; reproject points and rasters to it first"


def _utm_code(crs: pyproj.CRS, bounds: Bounds | None) -> str | None:
    if bounds is None or not all(map(math.isfinite, bounds)):
        return None
    x, y = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
    try:
        longitude, latitude = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    except (TransformError, ProjError):
        return None
    return utm_code(longitude, latitude)


def utm_code(longitude: float, latitude: float) -> str | None:
    """Return the EPSG code of the UTM zone (WGS 84) of a place in degrees; None where there is none.

    >>> utm_code(-89.4, 30.3), utm_code(151.2, -33.9), utm_code(0, 88)
    ('EPSG:32616', 'EPSG:32756', None)
    """
    if not (-180 <= longitude <= 180 and -80 <= latitude <= 84):
        return None
    zone = min(int((longitude + 180) // 6) + 1, 60)
    return f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"


def reprojection(source: str, target: str) -> Callable[[Float64], Float64] | None:
    """Return the function that takes (n, 2) coordinates of one CRS to another; None if they are the same.

    x is the first axis (east, longitude) on both sides whatever the axis order of the CRS. What cannot be
    transformed becomes ``inf``.
    """
    if same_horizontal(source, target):
        return None
    transformer = _transformer(source, target)

    def transform(points: Float64) -> Float64:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pyproj makes a number of an array of one
            x, y = transformer.transform(points[:, 0], points[:, 1])
        return np.column_stack([x, y])

    return transform


@functools.lru_cache(maxsize=16)
def _transformer(source: str, target: str) -> pyproj.Transformer:
    ends = (horizontal_part(parse_crs(text)) for text in (source, target))
    return pyproj.Transformer.from_crs(*ends, always_xy=True)


def reproject_bounds(bounds: Bounds, source: str, target: str, *, where: str = "footprints") -> Bounds:
    """Return the box around a box in another CRS; its edges are followed in 21 steps.

    Raises
    ------
    CRSError
        If the box does not lie where the target CRS is defined.
    """
    if same_horizontal(source, target):
        return bounds
    try:
        x0, y0, x1, y1 = _transformer(source, target).transform_bounds(
            *bounds, densify_pts=21, direction=TransformDirection.FORWARD
        )
    except TransformError:
        x0 = y0 = x1 = y1 = math.inf
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        found = f"box {bounds} in {crs_name(source)} cannot be taken to {crs_name(target)}"
        advice = "check the CRS in the file and --crs"
        raise CRSError(where, found, "coordinates that lie where both are defined", advice)
    return (x0, y0, x1, y1)


def height_unit(text: str) -> tuple[str, float] | None:
    """Return name and metres per unit of the vertical axis of a CRS; None where it has no such axis.

    >>> height_unit("EPSG:7415"), height_unit("EPSG:28992")
    (('metre', 1.0), None)
    """
    crs = parse_crs(text)
    for part in crs.sub_crs_list if crs.is_compound else [crs]:
        for axis in part.axis_info:
            if axis.direction in ("up", "down"):
                return axis.unit_name, float(axis.unit_conversion_factor)
    return None


def feet_warning(
    where: str,
    crs: str | None,
    *,
    z_range: tuple[float, float] | None = None,
    metres_per_height: float | None = None,
    z_scale: float = 1.0,
) -> str | None:
    """Return a warning that names ``--z-scale`` where heights are, or look like, feet.

    Parameters
    ----------
    where : str
        The input.
    crs : str or None
        Its CRS.
    z_range : (float, float), optional
        Lowest and highest height of points in the header, units of the input.
    metres_per_height : float, optional
        Unit of heights that the header states apart from the CRS.
    z_scale : float
        The option; anything but 1 says that the user knows.
    """
    if z_scale != 1:
        return None
    unit = height_unit(crs) if crs else None
    factor = unit[1] if unit is not None else metres_per_height
    if factor is not None and not math.isclose(factor, 1.0, rel_tol=1e-9):
        name = f" ({unit[0]})" if unit is not None else ""
        return f"{where}: the header gives heights in units of {factor:.10g} m{name}; pass --z-scale {factor:.10g}"
    if z_range is not None and z_range[1] > _HIGHEST_LAND_M:
        return f"{where}: heights up to {z_range[1]:g} are no metres; if they are feet, pass --z-scale 0.3048"
    if z_range is not None and factor is None and crs and _heights_often_in_feet(crs):
        found = "the header states no unit of height, and in this country heights are often feet"
        return f"{where}: {found}; if they are, pass --z-scale 0.3048"
    return None


def _heights_often_in_feet(text: str) -> bool:
    area = parse_crs(text).area_of_use or horizontal_part(parse_crs(text)).area_of_use
    return area is not None and area.name.startswith("United States")


def looks_like_feet(heights: Float64) -> bool:
    """Return whether building heights (any shape, NaN ignored) are so large that they are probably feet.

    >>> looks_like_feet(np.array([6.0, 8.0, 11.0, 40.0])), looks_like_feet(np.array([26.0, 30.0, 36.0]))
    (False, True)
    """
    known = heights[np.isfinite(heights)]
    return bool(len(known) and np.median(known) > TALL_MEDIAN)
