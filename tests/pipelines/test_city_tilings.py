"""Tilings of uneven cities: what the quadtree keeps to, that seams between its levels hold, how good estimates are."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
import zarr

import citymesh_dask as cm
from citymesh_dask.engine.machine import Machine
from citymesh_dask.errors import CRSError, InputMissingError, OptionError, PlanError
from citymesh_dask.formats.footprints import read_boxes, survey_footprints
from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.city.inputs.survey import CityInputs, survey_city
from citymesh_dask.pipelines.city.planning import density as densities
from citymesh_dask.pipelines.city.planning.costs import TILE_SAFETY, Costs, projected_costs, projected_tile
from citymesh_dask.pipelines.city.planning.density import footprint_density
from citymesh_dask.pipelines.city.planning.estimates import OutlineSample
from citymesh_dask.pipelines.city.planning.quadtree import TileRules, choose_tiling, plan_tiles
from citymesh_dask.tiles import MESH_UNITS, Domain, Tiling, regular_tiling
from tests.cities import inputs_of
from tests.oracle import load
from tests.pipelines.city_runs import FILES, build
from tests.pipelines.scene_runs import build_scene, check_city, mesh_again, write_scene
from tests.vector_samples import write_vectors

RD = "EPSG:28992"
DOMAIN = Domain.from_bounds((1000.5, 2000, 4100, 4048.25))
RULES = TileRules(math.inf, 50.0, aim=1000.0)


def uneven(*, peak: float = 50.0, domain: Domain = DOMAIN) -> Costs:
    """Return costs that rise steeply towards one place."""
    y, x = np.mgrid[0:40, 0:60]
    triangles = 1 + peak * np.exp(-((x - 45) ** 2 + (y - 10) ** 2) / 30)
    sums = np.zeros((41, 61))
    sums[1:, 1:] = triangles.cumsum(axis=0).cumsum(axis=1)
    return Costs(domain.mesh_frame, sums)


def covers_once(tiling: Tiling, domain: Domain) -> bool:
    """Whether tiles cover the domain without overlap: by their whole area and by the tiles over sorted corners."""
    boxes = tiling.boxes
    x0, y0, x1, y1 = domain.mesh_frame
    area = sum((c - a) * (d - b) for a, b, c, d in boxes.tolist())
    inside = (boxes[:, :2] >= (x0, y0)).all() and (boxes[:, 2:] <= (x1, y1)).all()
    apart = not any(
        (np.maximum(boxes[k, :2], boxes[k + 1 :, :2]) < np.minimum(boxes[k, 2:], boxes[k + 1 :, 2:])).all(axis=1).any()
        for k in range(len(boxes))
    )
    return bool(inside and apart and area == (x1 - x0) * (y1 - y0))


def test_costs_of_boxes_add_up() -> None:
    costs = uneven()
    tiling = regular_tiling(DOMAIN, 333.3)
    assert costs.inside(tiling.boxes).sum() == pytest.approx(costs.total)
    x0, y0, x1, y1 = DOMAIN.mesh_frame
    halves = np.array([[x0, y0, x1, (y0 + y1) // 2], [x0 - 10**9, (y0 + y1) // 2, x1 + 10**9, y1 + 10**9]])
    assert costs.inside(halves).sum() == pytest.approx(costs.total)


@pytest.mark.parametrize("most", [math.inf, 700.0, 150.0])
def test_no_tile_costs_too_much(most: float) -> None:
    costs = uneven()
    tiling = plan_tiles(DOMAIN, costs, dataclasses.replace(RULES, most_triangles=most))
    assert covers_once(tiling, DOMAIN)
    assert costs.inside(tiling.boxes).max() <= min(most, 4 * RULES.aim)
    again = plan_tiles(DOMAIN, costs, dataclasses.replace(RULES, most_triangles=most))
    np.testing.assert_array_equal(tiling.boxes, again.boxes)
    edges = (tiling.boxes[:, 2:] - tiling.boxes[:, :2]) / MESH_UNITS
    assert edges.max() > 1.9 * edges.min()  # it is uneven
    assert edges.min() >= RULES.least_edge / 2


def test_cheap_tiles_are_joined_and_neighbours_stay_together() -> None:
    costs = uneven(peak=500.0)
    tiling = plan_tiles(DOMAIN, costs, dataclasses.replace(RULES, most_triangles=2000.0))
    regular = regular_tiling(DOMAIN, RULES.equal_edge(DOMAIN, costs.total))
    assert costs.inside(tiling.boxes).max() < costs.inside(regular.boxes).max() / 4
    assert np.median(costs.inside(tiling.boxes)) > 2 * np.median(costs.inside(regular.boxes))
    boxes = tiling.boxes
    touch = (boxes[:-1, :2] <= boxes[1:, 2:]).all(axis=1) & (boxes[1:, :2] <= boxes[:-1, 2:]).all(axis=1)
    assert touch.mean() > 0.7


def test_an_even_city_has_equal_tiles() -> None:
    for domain in (DOMAIN, Domain.from_bounds((0, 0, 9000, 250)), Domain.from_bounds((0, 0, 120, 77))):
        costs = projected_costs(domain, OutlineSample(domain.area / 500), CityOptions())
        rules = TileRules.of(CityOptions())
        expected = regular_tiling(domain, rules.equal_edge(domain, costs.total))
        np.testing.assert_array_equal(plan_tiles(domain, costs, rules).boxes, expected.boxes)
        sized = choose_tiling(domain, costs, CityOptions(tile_size=30.0))
        np.testing.assert_array_equal(sized.boxes, regular_tiling(domain, 30.0).boxes)
    assert len(choose_tiling(DOMAIN, uneven(), CityOptions(use_tiling=False))) == 1


def test_tiles_are_never_larger_than_is_exact() -> None:
    domain = Domain.from_bounds((0, 0, 90_000, 70_000))
    costs = projected_costs(domain, OutlineSample(), CityOptions(max_mesh_size=500.0))
    tiling = choose_tiling(domain, costs, CityOptions(max_mesh_size=500.0))
    assert covers_once(tiling, domain)
    assert (tiling.boxes[:, 2:] - tiling.boxes[:, :2]).max() < 2**30


def test_a_place_too_dense_is_named() -> None:
    with pytest.raises(PlanError, match=r"place from \(33\d\d, .* is projected to have [\d,]+ triangles.* 25 m"):
        plan_tiles(DOMAIN, uneven(peak=5000.0), dataclasses.replace(RULES, most_triangles=60.0))


def footprint_file(folder: Path, suffix: str = "gpkg") -> Path:
    """Write 400 houses in the south-west and 30 elsewhere, some of them outside of the first km2."""
    place = np.random.default_rng(7)
    near, far = place.uniform(0, 250, (400, 2)), place.uniform(0, 1500, (30, 2))
    corners = np.concatenate([near, far]) + np.array([100_000, 400_000])
    shapes = shapely.box(corners[:, 0], corners[:, 1], corners[:, 0] + 12, corners[:, 1] + 8)
    path = folder / f"houses.{suffix}"
    write_vectors(path, shapes, {"height": np.full(len(shapes), 6.0)}, crs=RD)
    return path


@pytest.mark.parametrize("suffix", ["gpkg", "shp", "fgb", "geojson"])
def test_footprints_are_counted_where_they_stand(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = survey_footprints([footprint_file(tmp_path, suffix)])
    domain = Domain.from_bounds((100_000, 400_000, 101_000, 401_000))
    found = footprint_density(sources, domain, RD)
    boxes = read_boxes(sources[0], crs=RD)
    assert len(boxes) == 430
    inside = ((boxes[:, :2] <= domain.bounds[2:]) & (boxes[:, 2:] >= domain.bounds[:2])).all(axis=1)
    assert found.total == inside.sum()
    quarter = found.dense(found.count)[: found.shape[0] * 27 // 100, : found.shape[1] * 27 // 100].sum()
    assert quarter >= 400
    assert found.dense(found.area_m2).sum() == pytest.approx(96 * inside.sum(), rel=0.02)
    assert 400 <= found.most_in(2, 2) < found.most_in(1, 1) == found.total
    monkeypatch.setattr(densities, "MOST_BOXES", 100)
    few = footprint_density(sources, domain, RD)
    assert few.total == pytest.approx(inside.sum(), rel=0.1)
    assert len(few.cells) < len(found.cells)


def test_boxes_are_reprojected(tmp_path: Path) -> None:
    (source,) = survey_footprints([footprint_file(tmp_path)])
    here, there = read_boxes(source), read_boxes(source, crs="EPSG:32631")
    assert here.shape == there.shape
    assert np.abs(here - there).min() > 1000
    np.testing.assert_allclose(there[:, 2:] - there[:, :2], [[12, 8]] * 430, atol=1.0)


def test_seams_between_different_levels_hold(tmp_path: Path) -> None:
    """The tiles of one scene from a whole km down to a few metres beside one another: areas and volumes stay."""
    houses = [shapely.box(5 + 14 * i, 5 + 11 * j, 15 + 14 * i, 14 + 11 * j) for i in range(4) for j in range(5)]
    scene = build_scene(write_scene(tmp_path / "in", [*houses, shapely.box(20, 70, 95, 90)], side=100.0), tmp_path)
    for number, (aim, most) in enumerate([(600.0, math.inf), (3000.0, 900.0), (1500.0, 700.0)]):

        def tile(domain: Domain, aim: float = aim, most: float = most) -> Tiling:
            y, x = np.mgrid[0:25, 0:25]
            triangles = 1 + 300 * np.exp(-((x - 6) ** 2 + (y - 8) ** 2) / 20)
            sums = np.zeros((26, 26))
            sums[1:, 1:] = triangles.cumsum(axis=0).cumsum(axis=1)
            return plan_tiles(domain, Costs(domain.mesh_frame, sums), TileRules(most, 8.0, aim=aim))

        tiling = tile(scene.job.domain)
        edges = np.unique((tiling.boxes[:, 2] - tiling.boxes[:, 0]) // 2**16)
        assert len(edges) >= 2
        mesh_again(scene, tile, tmp_path / f"{number}.zarr")


def check_city_is_projected(name: str, folder: Path, *, most: float) -> list[float]:
    """Build a real city in uneven tiles; return measured over projected triangles of each tile."""
    inputs = inputs_of(name, folder / "in")
    options = CityOptions.from_mapping({key: value for key, value in inputs.items() if key not in FILES})
    survey = survey_city(CityInputs(**{key: value for key, value in inputs.items() if key in FILES}), options)
    costs = projected_costs(survey.domain, survey.outlines, options)
    rules = dataclasses.replace(TileRules.of(options, most), least_edge=100.0)
    tiling = plan_tiles(survey.domain, costs, rules)
    out = folder / "city.zarr"
    build(inputs, out, lambda _: tiling)
    check_city(out)
    ranges = np.asarray(zarr.open_group(out, mode="r")["tiles/face_range"][...])
    measured = np.diff(ranges, axis=1)[:, 0]
    assert measured.max() <= TILE_SAFETY * projected_tile(costs, tiling)
    assert 2 / 3 < measured.sum() / costs.total < 1.5
    return (measured / costs.inside(tiling.boxes)).tolist()


def test_small_city_in_uneven_tiles(tmp_path: Path) -> None:
    assert len(check_city_is_projected("delft", tmp_path, most=12_000.0)) > 3


@pytest.mark.full
@pytest.mark.parametrize("name", ["lyon", "bengaluru", "demo", "wageningen", "bilbao", "ign_0292"])
def test_real_city_in_uneven_tiles(name: str, tmp_path: Path) -> None:
    whole = build(inputs_of(name, tmp_path / "whole"), tmp_path / "whole.zarr", lambda d: regular_tiling(d, 1000.0))
    ratios = check_city_is_projected(name, tmp_path, most=60_000.0)
    assert 0.6 < np.median(ratios) < 1.5
    first, second = load(Path(whole.out))[1], load(tmp_path / "city.zarr")[1]
    for column in ("area", "volume", "roof_z", "ground_z"):
        np.testing.assert_array_equal(first[column], second[column])


def test_advice_follows_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(4_000_000_000, 2)
    for module in ("engine.machine", "pipelines.city.planning.advice"):
        monkeypatch.setattr(f"citymesh_dask.{module}.survey_machine", lambda: machine)
    most = cm.calculate_optimal_tile_size(1)
    assert 200 <= cm.calculate_optimal_tile_size(0.212) < cm.calculate_optimal_tile_size(0.22) < most <= 1000
    with pytest.raises(PlanError, match=r"400 MB for a run.* at least \d+ MB"):
        cm.calculate_optimal_tile_size(0.1)
    for wrong in (0, -1, 1.01, math.nan):
        with pytest.raises(OptionError, match="above 0"):
            cm.calculate_optimal_tile_size(wrong)
    houses = footprint_file(tmp_path)
    assert not cm.should_use_tiling(houses)
    machine = Machine(500_000_000, 2)
    with pytest.raises(PlanError, match="300 MB for a run"):
        cm.should_use_tiling(houses)
    with monkeypatch.context() as patched:
        costs = SimpleNamespace(total=400_000.0)
        patched.setattr("citymesh_dask.pipelines.city.planning.advice.projected_costs", lambda *_: costs)
        machine = Machine(800_000_000, 2)
        assert cm.should_use_tiling(houses), "one tile of so many triangles would not fit"
        machine = Machine(4_000_000_000, 2)
        assert not cm.should_use_tiling(houses)
    assert cm.should_use_tiling([houses], tile_size=1000.0)
    assert not cm.should_use_tiling(str(houses), tile_size=2000.0)
    with pytest.raises(OptionError):
        cm.should_use_tiling(houses, tile_size=-5.0)
    with pytest.raises(InputMissingError):
        cm.should_use_tiling(tmp_path / "none.gpkg")
    degrees = tmp_path / "degrees.shp"
    write_vectors(degrees, [shapely.box(4.35, 52.01, 4.3501, 52.0101)], crs=None)
    with pytest.raises(CRSError):
        cm.should_use_tiling(degrees)
