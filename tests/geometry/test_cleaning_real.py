"""Real footprints: valid, without near misses, the same in groups as together, every building accounted for."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from citymesh_dask.formats.footprints import read_features, survey_footprints
from citymesh_dask.geometry.cleaning.checking import check_outlines
from citymesh_dask.outcomes import Outcome
from citymesh_dask.outlines import Parts
from citymesh_dask.tiles import Domain
from tests.conftest import city_data
from tests.geometry.cleaning_oracle import TOLERANCE, Cleaned, clean, graph_problems, make_parts, near_misses

DELFT = ("delft_3dfier", "bgt.gpkg")
LYON = ("lyon_dtm_bdtopo", "buildings_lyon1.geojson")
BENGALURU = ("footprints_bengaluru_osm", "BuildingFootprintsOSM.gpkg")
WAGENINGEN = ("wageningen_heights", "buildings.shp")


def footprints(*path: str, layer: str | None = None, window: float | None = None) -> tuple[Parts, Domain]:
    """Return the parts of a data set, or of a square window where most of it is (metres), which cuts buildings."""
    (source,) = survey_footprints([city_data(*path)], layer)
    shapes = read_features(source, 0, source.n_features).geometries
    assert source.bounds is not None
    bounds = source.bounds
    if window is not None:
        x, y = np.round(np.nanmedian(shapely.bounds(shapes), axis=0))[:2].tolist()
        bounds = (x - window / 2, y - window / 2, x + window / 2, y + window / 2)
    domain = Domain.from_bounds(bounds)
    return make_parts(shapes, domain), domain


def require_clean(parts: Parts, domain: Domain) -> Cleaned:
    cleaned = clean(parts, domain, min_area=15.0)
    assert graph_problems(cleaned, domain) == []
    assert near_misses(cleaned.outlines, domain) == 0
    conflicts = check_outlines(cleaned.outlines, TOLERANCE)
    assert len(conflicts.crossings) == len(conflicts.near) == len(conflicts.groups) == 0
    assert clean(parts, domain, min_area=15.0, one_group=True).edges() == cleaned.edges()
    assert not np.isin(cleaned.fates.fate, (Outcome.SIMPLIFIED, Outcome.SKIPPED_NOT_CLEANABLE)).any()
    return cleaned


def test_delft() -> None:
    parts, domain = footprints(*DELFT, layer="pand")
    assert len(parts) == 160
    cleaned = require_clean(parts, domain)
    assert np.bincount(cleaned.fates.fate, minlength=50)[[0, 9, 32]].tolist() == [134, 13, 13]


@pytest.mark.parametrize("path", [LYON, WAGENINGEN, BENGALURU], ids=lambda path: path[0])
def test_a_window_that_cuts_buildings(path: tuple[str, str]) -> None:
    parts, domain = footprints(*path, window=400)
    assert len(parts) > 50
    require_clean(parts, domain)


@pytest.mark.full
@pytest.mark.parametrize("path", [LYON, WAGENINGEN, BENGALURU], ids=lambda path: path[0])
def test_whole_sets(path: tuple[str, str]) -> None:
    require_clean(*footprints(*path))
