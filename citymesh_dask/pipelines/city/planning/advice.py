"""Two questions that scripts ask before a run: how large should tiles be, and are tiles needed at all?

The answers come from the arithmetic that plans a run; nothing is planned or written here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ....engine.machine import Resources, candidate_resources, survey_machine
from ....engine.memory import RESERVED_BYTES
from ....errors import InputError, OptionError, PlanError
from ....formats.crs import is_geographic, utm_code
from ....formats.footprints import FootprintSource, survey_footprints
from ....options import CityOptions
from ....tiles import Domain
from ..inputs.project_crs import decide_crs, footprint_box
from ..inputs.survey import CityInputs, Paths
from .choice import LADDER, Demand
from .costs import TILE_SAFETY, projected_costs
from .estimates import OutlineSample, sample_outlines
from .projections import BYTES_PER_TRIANGLE, TILE_BYTES
from .quadtree import TRIANGLES_PER_TILE, TileRules

_TYPICAL_PER_KM2 = 2000.0
"""Footprints in a dense quarter of a city."""
_MARGIN_M = 20.0
_ANY_METRES = "EPSG:32631"
"""Stands for the CRS of files that state none: their coordinates are taken as they are."""


def calculate_optimal_tile_size(available_memory_fraction: float = 0.3) -> float:
    """Return a good ``tile_size`` for a dense city with default options on this machine.

    Without ``tile_size`` a run does better: it knows the city, and makes small tiles where much is built.

    Parameters
    ----------
    available_memory_fraction : float
        Share of the free memory that the run may take, above 0 and up to 1.

    Returns
    -------
    float
        Metres, a multiple of 10: tiles of 150,000 triangles, smaller ones where a worker has memory for less.

    Raises
    ------
    OptionError
        If the share is no number above 0 and up to 1.
    PlanError
        If that is too little memory for a run.
    """
    if not 0 < available_memory_fraction <= 1:  # also where it is NaN
        found = repr(available_memory_fraction)
        raise OptionError("available_memory_fraction", found, "a number above 0 and up to 1")
    allowed = max(int(survey_machine().available_bytes * available_memory_fraction), 1)
    options, quarter = CityOptions(), Domain.from_bounds((0.0, 0.0, 1000.0, 1000.0))
    typical = projected_costs(quarter, OutlineSample(_TYPICAL_PER_KM2), options).total / quarter.area
    triangles = min(TRIANGLES_PER_TILE, most_triangles(_fitting(candidate_resources(allowed))[0]))
    least = TileRules.of(options).least_edge / 2  # no plan divides tiles any further
    return 10.0 * math.floor(max(math.sqrt(triangles / typical), least) / 10)


def should_use_tiling(footprints: Paths, tile_size: float | None = None) -> bool:
    """Return whether a city is better meshed in several tiles than in one.

    Parameters
    ----------
    footprints : path or sequence of path
        Footprint files, as for `build_city_mesh`.
    tile_size : float, optional
        Metres. With it the answer is whether the city is larger than one such tile; without it, whether one tile
        would be too much for the memory of this machine, too large to be exact, or slow.

    Raises
    ------
    InputMissingError, InputError, CRSError, OptionError
        If a file cannot be used, or the tile size is no length.
    PlanError
        If this machine has too little memory for any tiles.
    """
    options = CityOptions(tile_size=tile_size)
    sources = survey_footprints(CityInputs(footprints=footprints).footprint_paths)
    crs = _crs_in_metres(sources)
    box = footprint_box(sources, crs)
    if box is None:
        raise InputError("footprints", "no coordinates in any of them", "at least one footprint")
    domain = Domain.from_bounds((box[0] - _MARGIN_M, box[1] - _MARGIN_M, box[2] + _MARGIN_M, box[3] + _MARGIN_M))
    rules = TileRules.of(options)
    side = max(box[2] - box[0], box[3] - box[1])
    if tile_size is not None or side > rules.largest_edge:
        return side > (tile_size or rules.largest_edge)
    total = projected_costs(domain, sample_outlines(sources, domain, crs=crs, box=box), options).total
    return total > min(rules.most_of_one, max(map(most_triangles, _fitting(candidate_resources()))))


def most_triangles(resources: Resources) -> float:
    """Return how many triangles a tile may be projected to have, for it to fit into a worker; see `TILE_SAFETY`."""
    return (resources.worker_bytes - RESERVED_BYTES - TILE_BYTES) / (BYTES_PER_TRIANGLE * TILE_SAFETY)


def _fitting(candidates: Sequence[Resources]) -> list[Resources]:
    """Return those in which the smallest tiles that a plan makes fit, the best first.

    Raises
    ------
    PlanError
        If there are none.
    """
    demand = Demand("mesh_tile", int(LADDER[-1].most_triangles * BYTES_PER_TRIANGLE * TILE_SAFETY) + TILE_BYTES, 0)
    found = [resources for resources in candidates if demand.misfit(resources) is None]
    if found:
        return found
    first, needed = candidates[0], min(map(demand.needed_bytes, candidates))
    here = f"{first.allowed_bytes / 1e6:.0f} MB for a run"
    if first.process_bytes is not None:
        here += f", {first.process_bytes / 1e6:.0f} MB for one process by ulimit {first.ulimit}"
    raise PlanError("the memory of this machine", here, f"at least {needed / 1e6:.0f} MB", "free some, or allow more")


def _crs_in_metres(sources: tuple[FootprintSource, ...]) -> str:
    """Return the CRS of the first layer that states one, or the UTM zone there if it is in degrees."""
    stated = next((source for source in sources if source.crs is not None), None)
    option = stated.crs if stated else _ANY_METRES
    if stated and stated.crs and stated.bounds and is_geographic(stated.crs):
        x0, y0, x1, y1 = stated.bounds
        option = utm_code((x0 + x1) / 2, (y0 + y1) / 2) or stated.crs
    return decide_crs(option, (), sources)
