"""Random footprints, options and tilings: every mesh is perfect, and all of them measure the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from citymesh_dask.geometry.pieces import subdivision
from citymesh_dask.pipelines.city import job as jobs
from citymesh_dask.pipelines.city import plan
from citymesh_dask.pipelines.city.ending import table
from citymesh_dask.pipelines.city.ground import samples
from citymesh_dask.pipelines.city.outlines import grouping, part_reading
from tests.oracle import load
from tests.pipelines.scene_runs import ORIGIN, Scene, build_scene, mesh_again, write_scene
from tests.strategies import EXTENT, city_options, footprints, tilings

BOUNDS = [None, None, (0.37, 0.123, 63.1, 60.777), (-10.0, -5.5, 70.25, 66.0)]
DIVIDED = [(20_000, 500.0), (20_000, 500.0), (6, 500.0), (20_000, 10.0)]

FEW = settings(
    max_examples=12, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
MANY = settings(FEW, max_examples=400)


@contextmanager
def constants(values: dict[tuple[Any, str], Any]) -> Iterator[None]:
    """Change constants of modules for a while."""
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), value in values.items():
            patch.setattr(module, name, value)
        yield


def divided(limits: tuple[int, float]) -> dict[tuple[Any, str], Any]:
    return {(subdivision, "DIVIDED_VERTICES"): limits[0], (subdivision, "DIVIDED_EXTENT"): limits[1]}


def random_scene(draw: Any, folder: Path) -> tuple[list[Any], dict[str, Any]]:
    """Write random footprints that meet the domain; return them and the arguments of a city."""
    houses = draw(footprints().filter(reaches_the_domain))
    inputs = write_scene(folder, houses, side=EXTENT) | draw(city_options())
    bounds = draw(st.sampled_from(BOUNDS))
    if bounds is not None:
        inputs["bounds"] = tuple(np.add(bounds, ORIGIN * 2).tolist())
    return houses, inputs


def reaches_the_domain(houses: list[Any]) -> bool:
    """Return whether a city of these is not refused from the start."""
    if not houses:
        return True
    x0, y0, x1, y1 = shapely.total_bounds(houses)
    return bool(x0 < 60 and y0 < 60 and x1 > 1 and y1 > 1)


def check_nothing_lost(scene: Scene, houses: list[Any]) -> None:
    """Where no building is too small, buildings cover what they covered but for details along outlines."""
    options = scene.job.options
    if options.merge_buildings or options.min_building_area > 0 or not houses:
        return
    frame = shapely.box(*np.subtract(scene.job.domain.bounds, ORIGIN * 2))
    valid = [shapely.make_valid(house, method="structure") for house in houses]
    covered = shapely.union_all(shapely.intersection(valid, frame))
    tolerance = options.tolerance
    without_details = covered.buffer(-tolerance).buffer(tolerance)
    margin = 1.5 * tolerance * covered.length + 2
    assert without_details.area - margin <= scene.area.sum() <= covered.area + margin


def check_any_tiling(data: st.DataObject, folder: Path) -> None:
    """Build a random city as one tile, then in two random tilings."""
    with constants(divided(data.draw(st.sampled_from(DIVIDED)))):
        houses, inputs = random_scene(data.draw, folder)
        scene = build_scene(inputs, folder)
        check_nothing_lost(scene, houses)
        for number in range(2):
            tiling = data.draw(tilings(scene.job.domain, scene.points()))
            mesh_again(scene, lambda _, tiling=tiling: tiling, folder / f"{number}.zarr")


def check_any_packs(data: st.DataObject, folder: Path) -> None:
    """Build a random city with all work in one task, then with little in each."""
    _, inputs = random_scene(data.draw, folder)
    scenes = [build_scene(inputs, folder / "whole")]
    rows = data.draw(st.sampled_from([1, 3]))
    modules = (jobs, grouping, part_reading, samples, table)
    little: dict[tuple[Any, str], Any] = {(module, "ROWS_PER_RANGE"): rows for module in modules}
    little[plan, "PARTS_PER_PACK"] = data.draw(st.sampled_from([1, 2, 5]))
    little[grouping, "LINK_CELL"] = data.draw(st.sampled_from([10.0, 25.0]))
    with constants(little):
        scenes.append(build_scene(inputs, folder / "parts"))
    (mesh, buildings, _), (other_mesh, others, _) = (load(scene.out) for scene in scenes)
    for name in buildings:
        np.testing.assert_array_equal(buildings[name], others[name], err_msg=name)
    for name in mesh:
        np.testing.assert_array_equal(mesh[name], other_mesh[name], err_msg=name)
    assert all_pieces(scenes[0].job) == all_pieces(scenes[1].job)


def all_pieces(job: jobs.CityJob) -> set[tuple[int, ...]]:
    """Return ends, labels and wall steps of all pieces of outlines and of the frame."""
    found: set[tuple[int, ...]] = set()
    for group in [*(f"pieces/{pack:05d}" for pack in range(job.n_packs + 1)), "pieces/frame"]:
        points, ends, left, right, steps = (
            job.scratch.read(group, name) for name in ("points", "ends", "left", "right", "wall_step")
        )
        rows = np.column_stack([points[ends[:, 0]], points[ends[:, 1]], left, right, steps[ends]])
        assert len(np.unique(rows, axis=0)) == len(rows)
        found |= set(map(tuple, rows.tolist()))
    return found


@FEW
@given(data=st.data())
def test_any_city_in_any_tiling(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    check_any_tiling(data, tmp_path_factory.mktemp("city"))


@FEW
@given(data=st.data())
def test_any_city_in_packs_of_any_size(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    check_any_packs(data, tmp_path_factory.mktemp("city"))


@pytest.mark.full
@pytest.mark.timeout(3600)
@MANY
@given(data=st.data())
def test_many_cities_in_any_tiling(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    check_any_tiling(data, tmp_path_factory.mktemp("city"))


@pytest.mark.full
@pytest.mark.timeout(3600)
@MANY
@given(data=st.data())
def test_many_cities_in_packs_of_any_size(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    check_any_packs(data, tmp_path_factory.mktemp("city"))
