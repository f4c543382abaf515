"""Real data sets as arguments of `build_city_mesh`, one function per set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from citymesh_dask.demo import generate_demo
from citymesh_dask.sample_city.survey_files import CRS
from tests.conftest import city_data

Inputs = dict[str, Any]


def delft() -> Inputs:
    """160 party-walled houses, two LAZ tiles without CRS."""
    points = [city_data("delft_3dfier", f"ahn3_cropped_{k}.laz") for k in (1, 2)]
    return {
        "footprints": city_data("delft_3dfier", "bgt.gpkg"),
        "layer": "pand",
        "points": points,
        "crs": "EPSG:28992",
    }


def kronenhuset() -> Inputs:
    """Terrain and surface raster smaller than the footprints, two of which are invalid."""
    return {
        "footprints": city_data("kronenhuset_goteborg", "buildings.shp"),
        "terrain": city_data("kronenhuset_goteborg", "DEM_KRbig.tif"),
        "surface": city_data("kronenhuset_goteborg", "DSM_KRbig.tif"),
        "crs": "EPSG:3007",
    }


def lyon() -> Inputs:
    """Footprints with heights, partly outside a 10 m terrain raster of whole metres."""
    return {
        "footprints": city_data("lyon_dtm_bdtopo", "buildings_lyon1.geojson"),
        "terrain": city_data("lyon_dtm_bdtopo", "dem_10m.tif"),
        "height_field": "HAUTEUR",
        "crs": "EPSG:3946",
    }


def bilbao() -> Inputs:
    """Terrain at 5 m, building heights at 2.5 m."""
    return {
        "footprints": city_data("bilbao_dtm_bhm", "footprints_DERIVED.gpkg"),
        "terrain": city_data("bilbao_dtm_bhm", "DEM.tif"),
        "building_heights": city_data("bilbao_dtm_bhm", "BDSM.tif"),
        "crs": "EPSG:25830",
    }


def wageningen() -> Inputs:
    """Heights from attributes alone, dense and messy outlines."""
    return {
        "footprints": city_data("wageningen_heights", "buildings.shp"),
        "roof_field": "dd_h_dak_7",
        "ground_field": "h_maaiveld",
        "default_height": 6.0,
        "crs": "EPSG:28992",
    }


def ign_77050() -> Inputs:
    """Six dense LAZ tiles of 50 m, one of them also as COPC."""
    folder = city_data("ign_77050_six_tiles")
    return {
        "footprints": folder / "footprints_DERIVED.gpkg",
        "points": sorted(path for path in folder.glob("*.laz") if "copc" not in path.name),
    }


def ign_0292() -> Inputs:
    """One sparse LAZ tile of 1 km2."""
    folder = city_data("ign_0292_6833_1km2")
    return {
        "footprints": folder / "footprints_DERIVED.gpkg",
        "points": folder / "test_semis_2023_0292_6833_LA93_IGN69.laz",
    }


CITIES: dict[str, Callable[[], Inputs]] = {
    "delft": delft,
    "kronenhuset": kronenhuset,
    "lyon": lyon,
    "bilbao": bilbao,
    "wageningen": wageningen,
    "ign_77050": ign_77050,
    "ign_0292": ign_0292,
}


def bengaluru(folder: Path) -> Inputs:
    """10,724 messy footprints without heights on a made-up terrain."""
    import numpy as np
    import rasterio
    from rasterio.transform import Affine

    footprints = city_data("footprints_bengaluru_osm", "BuildingFootprintsOSM.gpkg")
    import pyogrio

    xmin, ymin, xmax, ymax = pyogrio.read_info(footprints)["total_bounds"]
    west, north = np.floor(xmin) - 20, np.ceil(ymax) + 20
    cols, rows = int((xmax - west + 40) // 5), int((north - ymin + 40) // 5)
    x, y = np.meshgrid(np.arange(cols) * 5.0, np.arange(rows) * 5.0)
    heights = 900 + 8 * np.sin(x / 173) * np.cos(y / 131) + 2 * np.sin(x / 31 + y / 47)
    path = folder / "terrain.tif"
    profile = {"driver": "GTiff", "width": cols, "height": rows, "count": 1, "dtype": "float32", "crs": "EPSG:32643"}
    with rasterio.open(path, "w", transform=Affine(5, 0, west, 0, -5, north), **profile) as file:
        file.write(heights.astype("float32"), 1)
    return {"footprints": footprints, "terrain": path, "default_height": 7.0}


def demo(folder: Path) -> Inputs:
    """The sample city of the package, from its laser returns."""
    generate_demo(folder, tell=lambda line: None)
    return {"footprints": folder / "footprints.gpkg", "points": str(folder / "points" / "*.laz"), "crs": CRS}


MADE: dict[str, Callable[[Path], Inputs]] = {"bengaluru": bengaluru, "demo": demo}
"""Cities of which a part must be written first, into a given folder."""


def inputs_of(name: str, folder: Path) -> Inputs:
    """Return the inputs of a city, real or made."""
    if name not in MADE:
        return CITIES[name]()
    folder.mkdir(parents=True, exist_ok=True)
    return MADE[name](folder)
