"""Options of the city pipeline: defaults, units and limits, each written once.

An option's default is the dataclass default, its unit and help text its metadata; the command line,
the configuration files and the documentation are made from here.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from .errors import OptionError


def _option(default: Any, help: str, *, unit: str = "", low: float | None = None, high: float | None = None) -> Any:
    """Return a dataclass field that knows its help text, unit and limits (both inclusive)."""
    return field(default=default, metadata={"help": help, "unit": unit, "low": low, "high": high})


@dataclass(frozen=True)
class CityOptions:
    """What the mesh shall look like and how the inputs are read.

    Every field is also a keyword of `build_city_mesh`, a flag of ``citymesh build`` (its name with
    hyphens) and a key of a configuration file. Limits are checked when an object is made.

    Raises
    ------
    OptionError
        If a value is of the wrong type or outside its limits.
    """

    tile_size: float | None = _option(
        None, "edge of a tile; chosen from the input if not given", unit="m", low=1.0, high=4000.0
    )
    use_tiling: bool = _option(True, "false meshes the whole domain as one tile")
    lod: int = _option(1, "1: flat-roofed blocks, 0: footprints imprinted in the terrain, no walls", low=0, high=1)
    merge_buildings: bool = _option(False, "join buildings nearer than the merge tolerance into one")
    merge_tolerance: float = _option(0.5, "distance under which buildings are joined", unit="m", low=0.0, high=20.0)
    min_building_detail: float = _option(
        0.5, "details of footprints below this are simplified", unit="m", low=0.1, high=20.0
    )
    min_building_area: float = _option(
        15.0, "smaller buildings are absorbed by a neighbour or skipped", unit="m2", low=0.0, high=1e9
    )
    min_building_height: float = _option(
        2.0, "lower buildings are raised to this above their highest terrain", unit="m", low=0.1, high=1000.0
    )
    building_mesh_triangle_size: float = _option(
        5.0, "edge length of triangles on roofs and walls", unit="m", low=0.1, high=1000.0
    )
    max_mesh_size: float = _option(10.0, "edge length of triangles on terrain", unit="m", low=0.1, high=1000.0)
    min_mesh_angle: float = _option(
        25.0, "smallest angle of terrain and roof triangles", unit="degrees", low=0.0, high=30.0
    )
    mesh_walls: bool = _option(True, "false leaves walls as bare strips, a quarter of the wall triangles")
    roof_percentile: float = _option(0.9, "quantile of the roof points that becomes the roof height", low=0.0, high=1.0)
    terrain_cell: float = _option(1.0, "cell of the terrain raster made from points", unit="m", low=0.1, high=100.0)
    smoothing: int = _option(0, "passes of a 3 x 3 binomial filter over the terrain raster", low=0, high=50)
    ground_classes: tuple[int, ...] = _option((2,), "LAS classes that are ground", low=0, high=255)
    roof_classes: tuple[int, ...] = _option(
        (6,),
        "LAS classes that are roofs; where a file has none, unclassified points inside the footprints",
        low=0,
        high=255,
    )
    roof_field: str | None = _option(None, "attribute with the absolute height of the roof")
    height_field: str | None = _option(None, "attribute with the height above ground")
    ground_field: str | None = _option(None, "attribute with the absolute height of the ground")
    default_height: float | None = _option(
        None,
        "height of buildings without any evidence of height; without it they are skipped",
        unit="m",
        low=0.1,
        high=2000.0,
    )
    crs: str | None = _option(None, "CRS of the project and of inputs without one, for example EPSG:28992")
    z_scale: float = _option(1.0, "factor from heights in the inputs to metres; 0.3048 for feet", low=1e-6, high=1e6)
    bounds: tuple[float, float, float, float] | None = _option(
        None, "xmin ymin xmax ymax of the domain in the project CRS", unit="m"
    )
    sort_triangles: bool = _option(False, "order the faces inside a tile by marker")
    solid: bool = _option(False, "close the mesh with side walls and a flat base")
    base_depth: float = _option(10.0, "depth of the base under the lowest terrain", unit="m", low=0.01, high=10000.0)

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = _coerce(item, getattr(self, item.name))
            object.__setattr__(self, item.name, value)
        if self.bounds is not None and not (self.bounds[0] < self.bounds[2] and self.bounds[1] < self.bounds[3]):
            raise OptionError(
                "option bounds", str(self.bounds), "xmin < xmax and ymin < ymax", "give them as xmin ymin xmax ymax"
            )

    @property
    def tolerance(self) -> float:
        """Cleaning tolerance in metres: half the smallest detail that is kept."""
        return self.min_building_detail / 2

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> CityOptions:
        """Return options from names and values, with a clear error for an unknown name."""
        known = {item.name for item in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "see the option table in the README"
                raise OptionError(f"option {name!r}", "no such option", "one of the documented names", hint)
        return cls(**dict(values))


def _coerce(item: dataclasses.Field[Any], value: Any) -> Any:
    """Return the value in the field's own type; raise where it does not fit."""
    kind = str(item.type)
    if value is None:
        if "None" in kind:
            return None
        raise _misfit(item, value, kind)
    if kind.startswith("tuple"):
        return _coerce_tuple(item, value, kind)
    if kind.startswith("bool"):
        if isinstance(value, bool):
            return value
        raise _misfit(item, value, "true or false")
    if kind.startswith("str"):
        if isinstance(value, str):
            return value
        raise _misfit(item, value, "text")
    return _number(item, value, whole=kind.startswith("int"))


def _coerce_tuple(item: dataclasses.Field[Any], value: Any, kind: str) -> tuple[Any, ...]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise _misfit(item, value, "a list of numbers")
    whole = "int" in kind
    numbers = tuple(_number(item, v, whole=whole) for v in value)
    if "float" in kind and len(numbers) != 4:
        raise _misfit(item, value, "four numbers: xmin ymin xmax ymax")
    if whole and not numbers:
        raise _misfit(item, value, "at least one class")
    return numbers


def _number(item: dataclasses.Field[Any], value: Any, *, whole: bool) -> float | int:
    if isinstance(value, bool) or not isinstance(value, Real):  # a NumPy number is one, too
        raise _misfit(item, value, "a whole number" if whole else "a number")
    number = _as_float(value)
    if not math.isfinite(number) or (whole and not number.is_integer()):
        raise _misfit(item, value, "a whole number" if whole else "a finite number")
    low, high = item.metadata["low"], item.metadata["high"]
    if (low is not None and number < low) or (high is not None and number > high):
        raise _misfit(item, value, f"a value from {low:g} to {high:g} {item.metadata['unit']}".rstrip())
    return int(number) if whole else number


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _misfit(item: dataclasses.Field[Any], value: Any, expected: str) -> OptionError:
    return OptionError(f"option {item.name}", repr(value), expected, item.metadata["help"])
