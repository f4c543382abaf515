"""What a city is made from: inputs as given, and what their headers say, checked against one another.

No feature, point or pixel is meshed here; what can be refused is refused here, before the first task.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ....errors import InputError
from ....formats.crs import Bounds, crs_name, feet_warning, same_horizontal
from ....formats.footprints import FootprintSource, survey_footprints
from ....formats.input_names import absolute_name
from ....formats.lidar import PointSource, survey_points
from ....formats.rasters import RasterSource, survey_raster
from ....options import CityOptions
from ....tiles import Domain
from ..planning.estimates import OutlineSample, sample_outlines
from .input_checks import (
    HEIGHT_FIELDS,
    attribute_notes,
    box_text,
    boxes_meet,
    check_combination,
    check_extent,
    check_fields,
    check_finite,
    check_overlap,
    heights_above_ground,
)
from .project_crs import Placed, decide_crs, footprint_box, union_box

PathLike = str | os.PathLike[str]
Paths = PathLike | Sequence[PathLike] | None

_FOOTPRINT_MARGIN_M = 20


@dataclass(frozen=True)
class CityInputs:
    """The input files of a city.

    Parameters
    ----------
    footprints, points : path or sequence of path
        Files; stored as tuples of absolute names, in the order given: workers may have another working folder.
    layer : str, optional
        Layer of the footprints.
    terrain, surface, building_heights : path, optional
        Rasters of the ground, of the surface with roofs, and of heights above ground.
    """

    footprints: Paths = ()
    layer: str | None = None
    points: Paths = ()
    terrain: PathLike | None = None
    surface: PathLike | None = None
    building_heights: PathLike | None = None

    def __post_init__(self) -> None:
        for name in ("footprints", "points"):
            object.__setattr__(self, name, _as_tuple(getattr(self, name), name))
        for name in ("terrain", "surface", "building_heights"):
            files = _as_tuple(getattr(self, name), name)
            if len(files) > 1:
                advice = "merge the rasters first, for example with gdalbuildvrt"
                raise InputError(f"input {name}", f"{len(files)} files", "one raster", advice)
            object.__setattr__(self, name, files[0] if files else None)

    @property
    def footprint_paths(self) -> tuple[str, ...]:
        """Footprint files."""
        return _as_tuple(self.footprints, "footprints")

    @property
    def point_paths(self) -> tuple[str, ...]:
        """Point files."""
        return _as_tuple(self.points, "points")

    @property
    def rasters(self) -> dict[str, str]:
        """Rasters that are given, by name."""
        named = (("terrain", self.terrain), ("surface", self.surface), ("building_heights", self.building_heights))
        return {name: str(path) for name, path in named if path is not None}


@dataclass(frozen=True)
class Survey:
    """What the headers of the inputs say, and what follows for the project.

    Parameters
    ----------
    footprints : tuple of FootprintSource
        Footprint layers; their features, in order, are the rows of the building table.
    points : tuple of PointSource
        Point files.
    terrain, surface, building_heights : RasterSource or None
        Rasters.
    crs : str
        Project CRS, WKT.
    domain : Domain
        What is meshed.
    notes : tuple of str
        Warnings for the user and the report.
    outlines : OutlineSample
        What the footprints are like.
    """

    footprints: tuple[FootprintSource, ...]
    points: tuple[PointSource, ...]
    terrain: RasterSource | None
    surface: RasterSource | None
    building_heights: RasterSource | None
    crs: str
    domain: Domain
    notes: tuple[str, ...]
    outlines: OutlineSample = field(default_factory=OutlineSample)


def survey_city(inputs: CityInputs, options: CityOptions) -> Survey:
    """Open the headers of all inputs, decide project CRS and domain, and check that all fits together.

    Parameters
    ----------
    inputs : CityInputs
        The files.
    options : CityOptions
        ``crs``, ``bounds``, ``z_scale``, ``lod`` and the names of height attributes matter here.

    Raises
    ------
    InputMissingError, InputError, CRSError
        If a file is missing or damaged, or the inputs do not make a city together.
    """
    check_combination(_given(inputs, options))
    footprints = survey_footprints(inputs.footprint_paths, inputs.layer)
    points = tuple(survey_points(inputs.point_paths)) if inputs.point_paths else ()
    rasters = {name: survey_raster(path) for name, path in inputs.rasters.items()}
    samples = check_fields(footprints, options)
    placed = _placed(points, rasters)
    crs = decide_crs(options.crs, placed, footprints)
    buildings = footprint_box(footprints, crs)
    domain = _decide_domain(options.bounds, placed, buildings)
    return Survey(
        footprints=footprints,
        points=points,
        terrain=rasters.get("terrain"),
        surface=rasters.get("surface"),
        building_heights=rasters.get("building_heights"),
        crs=crs,
        domain=domain,
        notes=(
            *_feet_notes(placed, points, crs=crs, z_scale=options.z_scale),
            *attribute_notes(samples, options),
            *_footprint_notes(footprints, crs, domain),
            *_void_notes(placed, domain),
        ),
        outlines=sample_outlines(
            footprints, domain, crs=crs, box=buildings, heights=heights_above_ground(samples, options)
        ),
    )


def _as_tuple(value: Paths, name: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, (str, os.PathLike)):
        value = (value,)
    if not isinstance(value, Iterable):
        raise InputError(f"input {name}", repr(value), "a path or several", "give names of files")
    files = tuple(str(Path(item)) if isinstance(item, os.PathLike) else item for item in value)
    for item in files:
        if not isinstance(item, str) or not item:
            raise InputError(f"input {name}", repr(item), "a path", "give names of files")
    return tuple(map(absolute_name, files))


def _given(inputs: CityInputs, options: CityOptions) -> set[str]:
    """Return the names of inputs and options that count in combinations."""
    given = set(inputs.rasters)
    given |= {"footprints"} if inputs.footprint_paths else set()
    given |= {"points"} if inputs.point_paths else set()
    given |= {name for name in (*HEIGHT_FIELDS, "default_height") if getattr(options, name) is not None}
    return given | ({"flat"} if options.lod == 0 else set())


def _placed(points: Sequence[PointSource], rasters: dict[str, RasterSource]) -> list[Placed]:
    """Return points and rasters in the order in which they decide CRS and domain: terrain first."""
    items = [Placed(source.path, name, source.crs, source.bounds) for name, source in rasters.items()]
    for source in points:
        check_finite(source.path, source.bounds)
        x0, y0, _, x1, y1, _ = source.bounds
        items.append(Placed(source.path, "points", source.crs, (x0, y0, x1, y1)))
    return sorted(items, key=lambda item: ("terrain", "points", "surface", "building_heights").index(item.role))


def _decide_domain(bounds: Bounds | None, placed: Sequence[Placed], buildings: Bounds | None) -> Domain:
    """Return the domain: bounds, else the ground source rounded inwards, else the footprints and a margin."""
    boxes = {role: union_box([p.bounds for p in placed if p.role == role]) for role in {p.role for p in placed}}
    source = next((role for role in ("terrain", "points") if role in boxes), None)
    if source is not None:
        frame = _inwards(boxes[source])
    elif buildings is not None:
        frame = _outwards(buildings)
    else:
        advice = "give footprints with coordinates, points or a terrain raster"
        raise InputError("footprints", "no coordinates in any of them", "at least one footprint", advice)
    if buildings is not None:
        check_overlap(("footprints", buildings), (source or "footprints", boxes[source] if source else buildings))
    if bounds is not None:
        check_overlap(("option bounds", bounds), (source or "footprints", frame))
        frame = bounds
    check_extent(frame, "option bounds" if bounds is not None else source or "footprints")
    for role, box in sorted(boxes.items()):
        check_overlap((role, box), ("the domain", frame))
    return Domain.from_bounds(frame)


def _inwards(box: Bounds) -> Bounds:
    return (math.ceil(box[0]), math.ceil(box[1]), math.floor(box[2]), math.floor(box[3]))


def _outwards(box: Bounds) -> Bounds:
    x0, y0 = (math.floor(value - _FOOTPRINT_MARGIN_M) for value in box[:2])
    x1, y1 = (math.ceil(value + _FOOTPRINT_MARGIN_M) for value in box[2:])
    return (x0, y0, x1, y1)


def _feet_notes(placed: Sequence[Placed], points: Sequence[PointSource], *, crs: str, z_scale: float) -> list[str]:
    """Return warnings about heights in feet, the first of each kind of input with the number of the others."""
    headers = {source.path: source for source in points}
    by_role: dict[str, list[str]] = {}
    for item in placed:
        header = headers.get(item.path)
        warning = feet_warning(
            item.path,
            item.crs or (crs if header else None),
            z_range=(header.bounds[2], header.bounds[5]) if header else None,
            metres_per_height=header.metres_per_height if header else None,
            z_scale=z_scale,
        )
        if warning is not None:
            by_role.setdefault(item.role, []).append(warning)
    return [first[0] + (f" (and {len(first) - 1} other files)" if first[1:] else "") for first in by_role.values()]


def _footprint_notes(footprints: Sequence[FootprintSource], crs: str, domain: Domain) -> list[str]:
    notes = []
    for source in footprints:
        box = footprint_box([source], crs)
        if source.n_features == 0:
            notes.append(f"{source.path}: no features in layer {source.layer!r}")
        elif box is not None and not boxes_meet(box, domain.bounds):
            notes.append(f"{source.path}: all of it {box_text(box)} lies outside the domain {box_text(domain.bounds)}")
        if source.crs is not None and not same_horizontal(source.crs, crs):
            notes.append(f"{source.path}: reprojected from {crs_name(source.crs)} to {crs_name(crs)}")
    return notes


def _void_notes(placed: Sequence[Placed], domain: Domain) -> list[str]:
    """Return a warning where ``bounds`` reach beyond the source of the terrain."""
    for role in ("terrain", "points"):
        boxes = [item.bounds for item in placed if item.role == role]
        if boxes:
            box, frame = union_box(boxes), domain.bounds
            if frame[0] < box[0] or frame[1] < box[1] or frame[2] > box[2] or frame[3] > box[3]:
                return [f"the domain {box_text(frame)} reaches beyond {role} {box_text(box)}; terrain there is filled"]
            return []
    return []
