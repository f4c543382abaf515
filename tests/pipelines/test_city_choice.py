"""Workers and sizes chosen from the memory allowed: what fits is taken, what cannot is refused with what would."""

from __future__ import annotations

import itertools
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from citymesh_dask.engine.machine import Resources, least_ulimit, resources_of, share_resources
from citymesh_dask.engine.memory import RESERVED_BYTES
from citymesh_dask.errors import PlanError
from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.city import compiling, rehearsal
from citymesh_dask.pipelines.city.inputs.survey import CityInputs, Survey, survey_city
from citymesh_dask.pipelines.city.job import CityJob, partial_store
from citymesh_dask.pipelines.city.plan import city_job, plan_city
from citymesh_dask.pipelines.city.planning.choice import (
    LADDER,
    Choice,
    Sizes,
    choose,
    demand_of,
    smallest_memory,
    stage_bytes,
    with_tasks,
)
from citymesh_dask.pipelines.city.planning.costs import job_costs, projected_tile
from citymesh_dask.pipelines.city.planning.description import run_notes
from citymesh_dask.pipelines.city.planning.in_memory import choose_in_memory, held_bytes, needed_in_memory
from citymesh_dask.pipelines.city.planning.limits import check_room, disk_needs
from citymesh_dask.pipelines.city.planning.projections import ENDING_BYTES, tile_bytes
from citymesh_dask.pipelines.city.planning.work import result_bytes, scratch_bytes, wall_seconds
from tests.hostile import write_town

BOUNDS = (1000.0, 2000.0, 1400.0, 2400.0)
FINE = {"max_mesh_size": 0.4, "building_mesh_triangle_size": 0.4}
"""More than two million triangles inside these bounds."""


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    town = write_town(tmp_path_factory.mktemp("town"))
    return survey_city(CityInputs((town / "town.gpkg",), None, (town / "town.laz",)), CityOptions(bounds=BOUNDS))


def candidates(allowed: float, n_workers: int = 3) -> list[Resources]:
    several = [Resources(int(allowed), count) for count in range(n_workers, 0, -1)]
    return [*several, Resources(int(allowed), 1, "synchronous")]


def chosen(survey: Survey, folder: Path, some: list[Resources], **options: float | bool) -> Choice[None]:
    def make(sizes: Sizes) -> tuple[CityJob, None]:
        wanted = CityOptions(**options)  # type: ignore[arg-type]
        return city_job(survey, wanted, out=folder / "out", scratch=folder / "s", fan_in=8, sizes=sizes), None

    return choose(make, some)


def test_with_much_memory_nothing_is_small(survey: Survey, tmp_path: Path) -> None:
    found = chosen(survey, tmp_path, candidates(8e9))
    assert found.resources.n_workers == 3
    assert found.job.fan_in == 8


def test_less_memory_means_smaller_pieces_then_fewer_workers_then_one_process(survey: Survey, tmp_path: Path) -> None:
    found = [chosen(survey, tmp_path, candidates(size), **FINE) for size in (8e9, 1.1e9, 0.75e9, 0.5e9)]
    for choice in found:
        assert demand_of(choice.job).misfit(choice.resources) is None
    workers = [choice.resources.n_workers for choice in found]
    assert workers == sorted(workers, reverse=True)
    assert found[0].resources.scheduler == "processes"
    assert found[-1].resources.scheduler == "synchronous"


def test_smaller_sizes_make_smaller_pieces(survey: Survey, tmp_path: Path) -> None:
    jobs = [
        city_job(survey, CityOptions(**FINE), out=tmp_path / "out", scratch=tmp_path / "s", fan_in=8, sizes=sizes)
        for sizes in (LADDER[0], LADDER[-1])
    ]
    assert len(jobs[1].tiling) > len(jobs[0].tiling)
    assert projected_tile(job_costs(jobs[1]), jobs[1].tiling) <= LADDER[-1].most_triangles
    assert jobs[1].fan_in == LADDER[-1].fan_in < jobs[0].fan_in == 8
    assert tile_bytes(jobs[1]) < tile_bytes(jobs[0])


def test_what_is_refused_fits_with_the_memory_that_the_message_names(survey: Survey, tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        chosen(survey, tmp_path, candidates(1e8))
    match = re.search(r"--memory-limit (\d+)MB", str(caught.value))
    assert match and caught.value.where.startswith("stage ")
    named = int(match[1])
    assert chosen(survey, tmp_path, candidates(named * 1e6)).resources.scheduler == "synchronous"
    with pytest.raises(PlanError):
        chosen(survey, tmp_path, candidates((named - 1) * 1e6))


def test_workers_that_were_asked_for_are_kept_or_refused_with_how_many_fit(survey: Survey, tmp_path: Path) -> None:
    asked = Resources(int(1.3e9), 8)
    with pytest.raises(PlanError, match=r"8 worker\(s\)") as caught:
        chosen(survey, tmp_path, [asked])
    match = re.search(r"at most --workers (\d+)", str(caught.value))
    assert match
    assert chosen(survey, tmp_path, [replace(asked, n_workers=int(match[1]))]).resources.n_workers == int(match[1])
    with pytest.raises(PlanError):
        chosen(survey, tmp_path, [replace(asked, n_workers=int(match[1]) + 1)])


def test_a_tile_size_that_was_asked_for_is_kept_or_refused_with_the_largest_that_fits(
    survey: Survey, tmp_path: Path
) -> None:
    some = candidates(0.6e9)
    for asked in ({"tile_size": 400.0}, {"use_tiling": False}):
        with pytest.raises(PlanError, match="stage mesh_tile") as caught:
            chosen(survey, tmp_path, some, **FINE, **asked)
        match = re.search(r"at most --tile-size (\d+)", str(caught.value))
        assert match
        found = chosen(survey, tmp_path, some, **FINE, tile_size=float(match[1]))
        assert found.job.options.tile_size == float(match[1])


@pytest.mark.parametrize("ulimit", ["-v", "-d"])
@pytest.mark.parametrize("scheduler", ["processes", "synchronous"])
def test_a_limit_of_the_process_is_named_with_the_least_that_fits(
    ulimit: str, scheduler: str, survey: Survey, tmp_path: Path
) -> None:
    def under(kilobytes: int, allowed: float = 4e9) -> list[Resources]:
        room = RESERVED_BYTES + 1024 * (kilobytes - least_ulimit(ulimit, RESERVED_BYTES))
        return [Resources(int(allowed), 1, scheduler, max(room, 0), ulimit=ulimit)]

    with pytest.raises(PlanError, match=rf"ulimit {ulimit} leaves it (0|81) MB") as caught:
        chosen(survey, tmp_path, under(100_000))
    assert "--memory-limit" not in str(caught.value)
    least = int(str(caught.value).rpartition(f"ulimit {ulimit} ")[2].rstrip("'"))
    assert chosen(survey, tmp_path, under(least)).resources.process_bytes
    with pytest.raises(PlanError, match=f"raise it with 'ulimit {ulimit} {least}'"):
        chosen(survey, tmp_path, under(least - 1))
    with pytest.raises(PlanError, match=rf"ulimit {ulimit} {least}', and give --memory-limit \d+MB"):
        chosen(survey, tmp_path, under(least - 1, allowed=1e8))
    with pytest.raises(PlanError, match=r"the 100 MB allowed.*give --memory-limit \d+MB$"):
        chosen(survey, tmp_path, under(least, allowed=1e8))


def test_the_workers_of_a_cluster_are_refused_by_what_each_thread_has(survey: Survey, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="400 MB for each of their threads") as caught:
        chosen(survey, tmp_path, [share_resources([(2, 800_000_000), (1, 0)])], **FINE, tile_size=200.0)
    message = str(caught.value)
    assert "--workers" not in message and "allowed" not in message
    named = re.search(r"--nthreads 1 --memory-limit (\d+)MB", message)
    edge = re.search(r"at most --tile-size (\d+)", message)
    assert named and edge is None, "the least task does not fit either"
    needed = int(named[1]) * 10**6
    assert chosen(survey, tmp_path, [share_resources([(1, needed)] * 3)], **FINE, tile_size=200.0).resources.foreign
    with pytest.raises(PlanError):
        chosen(survey, tmp_path, [share_resources([(1, needed - 10**6)] * 3)], **FINE, tile_size=200.0)
    with pytest.raises(PlanError) as caught:
        chosen(survey, tmp_path, [share_resources([(1, 500_000_000)])], **FINE, tile_size=400.0)
    edge = re.search(r"at most --tile-size (\d+)", str(caught.value))
    assert edge
    assert chosen(survey, tmp_path, [share_resources([(1, 500_000_000)])], **FINE, tile_size=float(edge[1]))


def test_a_run_in_memory_keeps_to_the_limits_of_a_process(survey: Survey, tmp_path: Path) -> None:
    job = chosen(survey, tmp_path, candidates(8e9), **FINE).job
    (needed,) = needed_in_memory(job, [Resources(0, 1)])
    demand = demand_of(job)
    assert needed == held_bytes(job) + RESERVED_BYTES + max(demand.task_bytes, ENDING_BYTES) + 10240 * demand.n_tasks
    assert choose_in_memory(job, [Resources(needed, 1)]).scheduler == "threads"
    assert choose_in_memory(job, [Resources(8 << 30, 1, process_bytes=needed, ulimit="-v")])
    with pytest.raises(PlanError, match=r"use_disk_store.*give --memory-limit"):
        choose_in_memory(job, [Resources(needed - 1, 1)])
    with pytest.raises(PlanError, match=rf"use_disk_store.*or raise it with 'ulimit -v {least_ulimit('-v', needed)}'"):
        choose_in_memory(job, [Resources(8 << 30, 1, process_bytes=needed - 1, ulimit="-v")])


def test_workers_that_hold_more_than_their_reserve_are_noted(survey: Survey, tmp_path: Path) -> None:
    found = chosen(survey, tmp_path, [replace(candidates(4e9)[0], notes=("slow",))])
    plan = plan_city(found.job, "job", found.resources)
    assert run_notes(plan, [0, RESERVED_BYTES, 2 * RESERVED_BYTES]) == ["slow"]
    (_, note) = run_notes(plan, [2 * RESERVED_BYTES])
    assert "hold at least 671 MB" in note and "336 MB reserved" in note
    assert resources_of(plan) == found.resources
    foreign = chosen(survey, tmp_path, [share_resources([(1, 4 << 30)])])
    assert resources_of(plan_city(foreign.job, "job", foreign.resources)) == foreign.resources


def test_a_run_that_goes_on_keeps_its_job(survey: Survey, tmp_path: Path) -> None:
    job = chosen(survey, tmp_path, candidates(8e9), **FINE).job
    assert choose(lambda sizes: (job, "kept"), candidates(4e9)) == Choice(
        job, "kept", with_tasks(candidates(4e9)[0], job)
    )
    with pytest.raises(PlanError, match="stage "):
        choose(lambda sizes: (job, None), candidates(4.4e8))


def test_needs_are_those_of_the_largest_stage_and_of_the_end(survey: Survey, tmp_path: Path) -> None:
    job = chosen(survey, tmp_path, candidates(8e9), **FINE).job
    largest = max(stage_bytes(job).values())
    for resources in candidates(8e9):
        taken = with_tasks(resources, job).reserved_bytes
        assert demand_of(job).needed_bytes(resources) >= taken + resources.n_workers * largest
        enough = replace(resources, allowed_bytes=demand_of(job).needed_bytes(resources) + resources.n_workers)
        assert demand_of(job).misfit(enough) is None
        less = replace(enough, allowed_bytes=enough.allowed_bytes - 2 * enough.n_workers)
        assert demand_of(job).misfit(less) is not None
    assert smallest_memory([job], candidates(8e9)) == demand_of(job).needed_bytes(candidates(8e9)[-1])


def test_sizes_become_smaller_all_down_the_ladder() -> None:
    for larger, smaller in itertools.pairwise(LADDER):
        assert smaller.most_triangles < larger.most_triangles
        assert smaller.points <= larger.points
        assert smaller.features <= larger.features
        assert smaller.fan_in <= larger.fan_in


def test_a_full_disk_is_told_before_anything_is_written(
    survey: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = chosen(survey, tmp_path, candidates(8e9), **FINE).job
    check_room(job)
    needed = int(scratch_bytes(job) + result_bytes(job))
    assert sum(need.needed_bytes for need in disk_needs(job)) == pytest.approx(needed, abs=2)
    monkeypatch.setattr("citymesh_dask.pipelines.city.planning.limits.free_space", lambda folder: (1, needed - 10))
    with pytest.raises(PlanError, match=r"will be written, .* are free"):
        check_room(job)
    for folder in (job.scratch.root, partial_store(job)):
        folder.mkdir()
        (folder / "left").write_bytes(bytes(100))
        check_room(job)  # what is there already need not be written again
        shutil.rmtree(folder)
    finished = Path(job.out)
    finished.mkdir()
    (finished / "old").write_bytes(bytes(100))
    with pytest.raises(PlanError, match="will be written"):
        check_room(job)  # a store that is to be replaced stands until the new one is whole


def test_the_plan_tells_everything(survey: Survey, tmp_path: Path) -> None:
    found = chosen(survey, tmp_path, candidates(4e9))
    plan = plan_city(found.job, "job", found.resources)
    tiles = next(row for row in plan.rows() if row["stage"] == "mesh_tile")
    assert tiles["tasks"] == plan.facts["tiles"]
    assert tiles["written_bytes"] > 0 and tiles["seconds"] > 0
    assert plan.facts["reserved_bytes"] == found.resources.reserved_bytes > candidates(4e9)[0].reserved_bytes
    for word in ("reserved", "per worker", "tiles: ", "merged by 8", "MB free", "time: about"):
        assert word in plan.describe()
    assert wall_seconds([(8, 8.0)], 4) < wall_seconds([(8, 8.0)], 1)


def test_every_rehearsal_has_its_place_among_the_tasks() -> None:
    assert len(compiling.NEEDS) == len(rehearsal.REHEARSALS)
    begun = [{k for k, needs in enumerate(compiling.NEEDS) if not needs}]
    while begun[-1]:
        begun.append({k for k, needs in enumerate(compiling.NEEDS) if set(needs) & begun[-1]})
    assert all(len(some) <= 2 for some in begun), "two at a time"
    assert set().union(*begun) == set(range(len(rehearsal.REHEARSALS)))
