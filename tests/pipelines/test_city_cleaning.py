"""Tasks from footprints to settled outlines: the same whatever the packs, files and cells are."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from shapely.affinity import translate
from shapely.geometry import box

from citymesh_dask.geometry.cleaning import cleaning as geometry
from citymesh_dask.geometry.cleaning.checking import check_outlines as check_distances
from citymesh_dask.geometry.part_sets import join_parts, part_boxes
from citymesh_dask.geometry.polygons import prepare_footprints
from citymesh_dask.geometry.terrain.terrain import TerrainLattice
from citymesh_dask.options import CityOptions
from citymesh_dask.outcomes import Outcome
from citymesh_dask.outlines import Outlines, Parts
from citymesh_dask.pipelines.city.inputs.survey import Survey
from citymesh_dask.pipelines.city.job import CityJob, FootprintRange, save_job
from citymesh_dask.pipelines.city.outlines import grouping, part_reading
from citymesh_dask.pipelines.city.outlines.cleaning import (
    check_outlines,
    clean_outlines,
    pack_name,
    read_fates,
    read_outlines,
    settle_outlines,
)
from citymesh_dask.pipelines.city.outlines.grouping import group_parts, link_cells, link_parts, n_link_cells
from citymesh_dask.pipelines.city.outlines.part_index import index_parts
from citymesh_dask.store.scratch import Scratch
from citymesh_dask.tiles import Domain, regular_tiling
from tests.geometry.cleaning_oracle import Cleaned, clean, graph_problems
from tests.geometry.cleaning_scenes import grid, jittered_quads, random_boxes

DOMAIN = Domain.from_bounds((0, 0, 2300, 1200.5))


def city() -> list[shapely.Geometry]:
    """Return blocks here and there, also across the borders of link cells, and across the frame."""
    blocks = [(0, 0, 7), (950, 950, 8), (990, 100, 9), (2150, 1080, 10)]
    shapes = [translate(shape, x, y) for x, y, seed in blocks for shape in random_boxes(20, 60, seed=seed)]
    shapes += [translate(shape, 1500, 500) for shape in jittered_quads(5, gap=0.3)]
    shapes += [translate(shape, 500, 700) for shape in grid(4, 8)]
    return [*shapes, box(900, 500, 1100, 520), box(1100.9, 500, 1120, 520), box(-5, 600, 20, 610)]


def make_job(
    tmp_path: Path, shapes: list[shapely.Geometry], *, files: int = 3, packs: int = 4, **options: object
) -> CityJob:
    """Return a job whose footprints are read; every building has evidence of height."""
    survey = Survey(
        footprints=(),
        points=(),
        terrain=None,
        surface=None,
        building_heights=None,
        crs="EPSG:28992",
        domain=DOMAIN,
        notes=(),
    )
    lines = np.linspace(0, len(shapes), files + 1).astype(int).tolist()
    ranges = tuple(FootprintRange(0, low, high, low) for low, high in pairwise(lines))
    scratch = Scratch(tmp_path)
    for index, part in enumerate(ranges):
        prepared = prepare_footprints(np.array(shapes[part.start : part.stop], dtype=object), DOMAIN)
        parts = prepared.parts
        arrays = {field.name: getattr(parts, field.name) for field in fields(Parts)} | {"boxes": part_boxes(parts)}
        arrays["rows"] = parts.rows + part.first_row
        extent = (
            [*arrays["boxes"][:, :2].min(0).tolist(), *arrays["boxes"][:, 2:].max(0).tolist()] if len(parts) else None
        )
        attributes = {"parts": len(parts), "box": extent, "first_row": part.first_row}
        scratch.write(f"footprints/{index:05d}", arrays, attributes)
    scratch.write("roofs/0000", {"evidence": np.ones(len(shapes), np.int8)})
    return CityJob(
        scratch=scratch,
        out="none.zarr",
        options=CityOptions(**options),  # type: ignore[arg-type]
        survey=survey,
        footprint_ranges=ranges,
        point_ranges=(),
        lattice=TerrainLattice.over_domain(DOMAIN, 1.0),
        tiling=regular_tiling(DOMAIN, None),
        n_packs=packs,
        fan_in=8,
    )


def run(job: CityJob) -> str:
    path = save_job(job)
    index_parts(path)
    for cell in range(n_link_cells(job)):
        link_parts(path, cell)
    group_parts(path, 0)
    for pack in range(job.n_packs):
        clean_outlines(path, pack)
    for pack in range(job.n_packs):
        check_outlines(path, pack)
    settle_outlines(path, 0)
    return path


def result(job: CityJob) -> Cleaned:
    """Return all kept outlines and fates of all packs as one."""
    packs = [read_outlines(job, pack) for pack in range(job.n_packs + 1)]
    fates = [read_fates(job, pack) for pack in range(job.n_packs + 1)]
    shift = np.cumsum([0, *(len(pack.points) for pack in packs)])
    edge_shift = np.cumsum([0, *(len(pack.edges) for pack in packs)])
    outlines = Outlines(
        np.concatenate([pack.points for pack in packs]),
        np.concatenate([pack.edges + np.array([s, s, 0, 0]) for pack, s in zip(packs, shift[:-1], strict=True)]),
        np.concatenate([[0], *(pack.point_start[1:] + s for pack, s in zip(packs, shift[:-1], strict=True))]),
        np.concatenate([[0], *(pack.edge_start[1:] + s for pack, s in zip(packs, edge_shift[:-1], strict=True))]),
    )
    together = [np.concatenate([getattr(f, name) for f in fates]) for name in ("rows", "fate", "into")]
    return Cleaned(outlines, type(fates[0])(*together), join_parts([]))


def whole(job: CityJob) -> Cleaned:
    """Return the city cleaned in one call."""
    parts = prepare_footprints(np.array(city(), dtype=object), DOMAIN).parts
    return clean(parts, DOMAIN, min_area=job.options.min_building_area)


@dataclass(frozen=True)
class Layout:
    files: int
    packs: int


@pytest.mark.parametrize("layout", [Layout(1, 1), Layout(3, 4), Layout(7, 60)], ids=str)
def test_packs_give_what_one_call_gives(tmp_path: Path, layout: Layout) -> None:
    job = make_job(tmp_path, city(), files=layout.files, packs=layout.packs)
    run(job)
    found, expected = result(job), whole(job)
    assert found.edges() == expected.edges()
    assert graph_problems(found, DOMAIN) == []
    key = lambda c: sorted(zip(c.fates.rows, c.fates.fate, c.fates.into, strict=True))  # noqa: E731
    assert key(found) == key(expected)


def test_packs_are_balanced_and_hold_every_part_once(tmp_path: Path) -> None:
    job = make_job(tmp_path, city(), packs=5)
    run(job)
    read = job.scratch.read
    parts, pack_start, group_start = (read("groups", name) for name in ("parts", "pack_start", "group_start"))
    total = sum(job.scratch.attributes(f"footprints/{f:05d}")["parts"] for f in range(3))
    assert sorted(parts.tolist()) == list(range(total))
    assert len(pack_start) == 6
    counts = np.diff(group_start[pack_start])
    assert counts.max() - counts.min() <= 2 * np.diff(group_start).max()
    for pack in range(job.n_packs):
        inside = read(pack_name(job, pack), "group_box")
        around = read("groups", "pack_box")[pack]
        assert (inside[:, :2] >= around[:2]).all()
        assert (inside[:, 2:] <= around[2:]).all()


def opened(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the set that the names of all groups go into that are read from now on."""
    found: set[str] = set()
    for method in ("read", "attributes"):
        plain = getattr(Scratch, method)
        monkeypatch.setattr(
            Scratch, method, lambda self, name, *rest, plain=plain: found.add(name) or plain(self, name, *rest)
        )
    return found


def test_tasks_open_only_what_is_near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many ranges of footprints and packs a task reads a few, not the headers of all."""
    monkeypatch.setattr(grouping, "ROWS_PER_RANGE", 16)
    monkeypatch.setattr(part_reading, "ROWS_PER_RANGE", 16)
    shapes = [box(20 + 45 * k, 600, 40 + 45 * k, 620) for k in range(48)]  # from west to east, as most files are
    job = make_job(tmp_path, shapes, files=24, packs=12)
    for block in range(3):
        job.scratch.write(f"roofs/{block:04d}", {"evidence": np.ones(16, np.int8)})
    path = run(job)
    read = opened(monkeypatch)
    columns, _ = link_cells(DOMAIN)
    link_parts(path, columns - 1)
    west = {f"footprints/{k:05d}" for k in range(12)}
    assert "footprints/00023" in read
    assert not read & west
    read.clear()
    clean_outlines(path, 0)
    assert len({name for name in read if name.startswith("footprints/")}) <= 3
    packs = [set(grouping.packs_of_rows(job, 16 * block)) for block in range(3)]
    assert all(job.n_packs in some and len(some) <= 6 for some in packs)
    for pack in range(job.n_packs):
        blocks = {row // 16 for row in read_fates(job, pack).rows.tolist()}
        assert {block for block in range(3) if pack in packs[block]} == blocks


def test_tasks_may_run_twice(tmp_path: Path) -> None:
    job = make_job(tmp_path, city())
    path = run(job)
    files = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    for pack in (1, 3):
        clean_outlines(path, pack)
        check_outlines(path, pack)
    group_parts(path, 0)
    settle_outlines(path, 0)
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == files


def test_buildings_without_evidence_are_left_out(tmp_path: Path) -> None:
    shapes = [box(100, 100, 120, 120), box(120, 100, 140, 120), box(119, 120, 121, 122), box(300, 300, 310, 310)]
    job = make_job(tmp_path, shapes, packs=2)
    job.scratch.write("roofs/0000", {"evidence": np.array([1, 0, 1, 2], np.int8)})
    run(job)
    found = result(job)
    assert found.rows() == {0, 3}
    assert sorted(found.fates.rows.tolist()) == [0, 2, 3]
    assert found.fate(2) == (Outcome.ABSORBED, 0)
    assert found.area(0) == pytest.approx(404)


def test_merged_buildings_reach_across_cells(tmp_path: Path) -> None:
    # 2300 m x 1200.5 m are three columns and two rows of cells: their borders are at 766.67 m, 1533.33 m and 600.25 m.
    shapes = [box(755, 590, 766, 610), box(768.5, 590, 780, 610), box(800, 590, 810, 610)]
    job = make_job(tmp_path, shapes, merge_buildings=True, merge_tolerance=3.0)
    run(job)
    found = result(job)
    assert found.fate(1) == (Outcome.MERGED, 0)
    assert found.area(0) == pytest.approx(25 * 20, abs=0.5)


def test_cells_cover_the_domain_and_stay_few() -> None:
    assert link_cells(DOMAIN) == (3, 2)
    columns, rows = link_cells(Domain.from_bounds((0, 0, 1_000_000, 400_000)))
    assert columns * rows < 2 * grouping.MOST_LINK_CELLS
    boxes = [grouping._link_cell(DOMAIN, index) for index in range(6)]
    assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) == DOMAIN.frame[2] * DOMAIN.frame[3]


def test_no_buildings(tmp_path: Path) -> None:
    for files, packs in ((1, 1), (0, 0)):
        job = make_job(tmp_path / str(packs), [], files=files, packs=packs)
        run(job)
        assert len(result(job).outlines.edges) == 0


def test_groups_in_conflict_are_settled_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With parts linked only where they touch, near groups come out too near and must be joined."""
    monkeypatch.setattr(geometry, "LINK_DISTANCE", 0.0)
    monkeypatch.setattr(grouping, "link_distance", lambda tolerance, merge: 0.0)
    near = [box(100 + 10.1 * i, 100, 110 + 10.1 * i, 110) for i in range(4)]
    around = box(400, 100, 440, 140)
    inside = box(410, 110, 420, 120)
    shapes = [*near, *(box(200 + 20 * i, 300, 210 + 20 * i, 310) for i in range(6)), around, inside]
    job = make_job(tmp_path, shapes, packs=7)
    run(job)
    removed = job.scratch.read("outlines/settled", "removed")
    assert len(removed) == 4
    found = result(job)
    assert graph_problems(found, DOMAIN) == []
    assert len(check_distances(found.outlines, 0.25).groups) == 0
    assert found.rows() == set(range(len(shapes)))
    assert sorted(found.fates.rows.tolist()) == list(range(len(shapes)))
    assert len(read_outlines(job, job.n_packs).point_start) == 2
    again = replace(job, n_packs=2, scratch=Scratch(tmp_path / "two"))
    for name in ("footprints/00000", "footprints/00001", "footprints/00002", "roofs/0000"):
        source = job.scratch.root / f"{name}.arrays"
        target = again.scratch.root / f"{name}.arrays"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)
    run(again)
    assert result(again).edges() == found.edges()
