"""Which CRS the project takes, and whether every input can be brought into it. Never a silent guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....errors import CRSError
from ....formats.crs import (
    Bounds,
    crs_name,
    is_geographic,
    reproject_bounds,
    require_metres,
    same_horizontal,
    utm_code,
)
from ....formats.footprints import FootprintSource, typical_size

_SMALL_AS_DEGREES = 0.02
"""Footprints in metres are longer than this, footprints in degrees (2 km) shorter."""
_TILE_IN_DEGREES = 2.0


@dataclass(frozen=True)
class Placed:
    """An input that fixes the project's place: points or a raster.

    Parameters
    ----------
    path : str
        The file.
    role : str
        Name of the input, as the option is called.
    crs : str or None
        WKT in its header.
    bounds : (xmin, ymin, xmax, ymax)
        Its box, units of its CRS.
    """

    path: str
    role: str
    crs: str | None
    bounds: Bounds


def decide_crs(option: str | None, ground: Sequence[Placed], footprints: Sequence[FootprintSource]) -> str:
    """Return the project CRS as WKT, after checking that every input fits it.

    Parameters
    ----------
    option : str or None
        What the user passed as ``crs``.
    ground : sequence of Placed
        Points and rasters, in the order in which they decide.
    footprints : sequence of FootprintSource
        Footprint layers; they decide where nothing else does.

    Raises
    ------
    CRSError
        If no CRS is known, or one is geographic, in feet, or at odds with the others.
    """
    crs = _project_crs(option, ground, footprints)
    for item in ground:
        _check_placed(item, crs, option)
    for source in footprints:
        _check_footprints(source, crs, option)
    return crs


def footprint_box(footprints: Sequence[FootprintSource], crs: str) -> Bounds | None:
    """Return the box around all footprints in the project CRS; None where there is no coordinate."""
    boxes = [reproject_bounds(s.bounds, s.crs or crs, crs, where=s.path) for s in footprints if s.bounds is not None]
    return union_box(boxes) if boxes else None


def union_box(boxes: Sequence[Bounds]) -> Bounds:
    """Return the box around boxes.

    >>> union_box([(0, 0, 1, 1), (5, -1, 6, 0)])
    (0, -1, 6, 1)
    """
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return (min(x0), min(y0), max(x1), max(y1))


def _project_crs(option: str | None, ground: Sequence[Placed], footprints: Sequence[FootprintSource]) -> str:
    if option is not None:
        return require_metres(option, "option crs", _degree_box(footprints))
    for item in ground:
        if item.crs is not None:
            return require_metres(item.crs, item.path, item.bounds)
    stated = [source for source in footprints if source.crs is not None]
    if not stated:
        raise _nothing_known(ground, footprints)
    first = stated[0]
    for other in stated[1:]:
        if not same_horizontal(str(first.crs), str(other.crs)):
            found = f"CRS {crs_name(str(other.crs))}, but {first.path} is in {crs_name(str(first.crs))}"
            raise CRSError(other.path, found, "one CRS, or a choice", "pass --crs with the CRS of the project")
    return require_metres(str(first.crs), first.path, first.bounds)


def _degree_box(footprints: Sequence[FootprintSource]) -> Bounds | None:
    """Return the box of the first footprints in degrees, from which a UTM zone can be named."""
    return next((s.bounds for s in footprints if s.crs and s.bounds and is_geographic(s.crs)), None)


def _nothing_known(ground: Sequence[Placed], footprints: Sequence[FootprintSource]) -> CRSError:
    paths = [item.path for item in ground] + [source.path for source in footprints]
    where = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    for source in footprints:
        box = _box_in_degrees(source)
        if box is not None:
            return _degrees_error(source.path, box)
    advice = "pass --crs EPSG:... of the projected CRS that their coordinates are in"
    return CRSError(where, "no CRS is stated in any input", "a CRS in a header or as an option", advice)


def _check_placed(item: Placed, crs: str, option: str | None) -> None:
    if item.crs is not None:
        if not same_horizontal(item.crs, crs):
            require_metres(item.crs, item.path, item.bounds)  # a geographic one has an advice of its own
            found = f"the CRS of {item.role} is {crs_name(item.crs)}, that of the project {crs_name(crs)}"
            advice = f"reproject the file, or pass --crs {_short(item.crs)} if all is meant to be there"
            raise CRSError(item.path, found, "the CRS of the project", advice)
    elif option is None:
        raise _silent(item.path, crs)
    elif _looks_like_degrees(item):
        box = tuple(round(value, 6) for value in item.bounds)
        found = f"its box {box} looks like degrees"
        raise CRSError(item.path, found, f"coordinates in {crs_name(crs)}", "reproject the file to the CRS of --crs")


def _check_footprints(source: FootprintSource, crs: str, option: str | None) -> None:
    if source.crs is not None:
        return
    if option is None:
        raise _silent(source.path, crs)
    box = _box_in_degrees(source)
    if box is not None:
        raise _degrees_error(source.path, box)


def _silent(path: str, crs: str) -> CRSError:
    found = f"states no CRS, while the project is in {crs_name(crs)}"
    return CRSError(path, found, "a CRS in every header or as an option", f"pass --crs {_short(crs)} if it is the same")


def _short(crs: str) -> str:
    name = crs_name(crs).split(" ")[0]
    return name if ":" in name else "EPSG:..."


def _looks_like_degrees(item: Placed) -> bool:
    x0, y0, x1, y1 = item.bounds
    return _on_globe(item.bounds) and max(x1 - x0, y1 - y0) < _TILE_IN_DEGREES


def _box_in_degrees(source: FootprintSource) -> Bounds | None:
    """Return the box of footprints that look like degrees; None where they do not."""
    if source.bounds is None or not _on_globe(source.bounds):
        return None
    size = typical_size(source)
    return source.bounds if size is not None and size < _SMALL_AS_DEGREES else None


def _on_globe(bounds: Bounds) -> bool:
    return bounds[0] >= -180 and bounds[2] <= 180 and bounds[1] >= -90 and bounds[3] <= 90


def _degrees_error(path: str, box: Bounds) -> CRSError:
    x0, y0, x1, y1 = box
    place = utm_code((x0 + x1) / 2, (y0 + y1) / 2) or "EPSG:..."
    found = f"states no CRS, and its box ({x0:.5f}, {y0:.5f}, {x1:.5f}, {y1:.5f}) looks like degrees"
    advice = f"name its CRS in the file (for a Shapefile a .prj of EPSG:4326) and pass --crs {place} for the project"
    return CRSError(path, found, "a projected CRS in metres, or a stated geographic one", advice)
