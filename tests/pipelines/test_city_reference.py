"""Heights of Delft against an independent LOD1 model of the same place (3dfier)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cities import CITIES
from tests.conftest import city_data
from tests.oracle import judge, load
from tests.pipelines.city_runs import build


def reference_heights() -> dict[str, tuple[float, float]]:
    """Return lowest and highest z of every building of the reference, by its gml_id."""
    model = json.loads(city_data("delft_3dfier", "reference_lod1_3dfier_testarea.city.json").read_text())
    z = np.array([vertex[2] for vertex in model["vertices"]])
    heights = {}
    for name, item in model["CityObjects"].items():
        used = np.unique([v for g in item["geometry"] for v in _flatten(g["boundaries"])])
        if item["type"].startswith("Building") and len(used):
            heights[item.get("attributes", {}).get("gml_id", name)] = (z[used].min(), z[used].max())
    return heights


def _flatten(nested: object) -> list[int]:
    return [v for part in nested for v in _flatten(part)] if isinstance(nested, list) else [nested]  # type: ignore[list-item]


def test_delft_heights_agree_with_the_reference(tmp_path: Path) -> None:
    out = tmp_path / "delft.zarr"
    build(CITIES["delft"]() | {"min_building_area": 0.0}, out)
    assert judge(out).good()
    _, table, _ = load(out)
    reference = reference_heights()
    ids = [str(value) for value in table["id"]]
    assert set(ids) == set(reference)
    assert len(ids) == 160
    meshed = table["area"] > 0
    low, high = np.array([reference[name] for name in ids]).T
    roof = np.abs(table["roof_z"] - high)[meshed]
    ground = np.abs(table["ground_z"] - low)[meshed]
    print(f"{meshed.sum()} of 160 meshed; median roof {np.median(roof):.3f} m, ground {np.median(ground):.3f} m")
    for k in np.flatnonzero(meshed & ((np.abs(table["roof_z"] - high) > 2) | (np.abs(table["ground_z"] - low) > 2))):
        found, wanted = (table["ground_z"][k], table["roof_z"][k]), (low[k], high[k])
        print(ids[k], "area", round(table["area"][k], 1), "found", np.round(found, 2), "reference", np.round(wanted, 2))
    assert meshed.sum() >= 155
    assert np.median(roof) <= 0.2
    assert np.median(ground) <= 0.1
    assert pytest.approx(table["volume"][meshed]) == (table["area"] * (table["roof_z"] - table["ground_z"]))[meshed]
