"""Packs are cut one by one into what cutting everything at once gives, and tiles find what they need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from citymesh_dask.geometry.outline_groups import group_boxes, select_groups
from citymesh_dask.geometry.pieces.domain_frame import subdivide_frame as subdivide_sides
from citymesh_dask.geometry.pieces.piece_sets import join_pieces
from citymesh_dask.geometry.pieces.subdivision import subdivide
from citymesh_dask.geometry.seams.seams import tile_constraints, window_of
from citymesh_dask.geometry.terrain.terrain import TerrainLattice
from citymesh_dask.options import CityOptions
from citymesh_dask.outlines import Outlines, Pieces
from citymesh_dask.pipelines.city.inputs.survey import Survey
from citymesh_dask.pipelines.city.job import CityJob, save_job
from citymesh_dask.pipelines.city.outlines.pieces import read_pieces, subdivide_frame, subdivide_outlines
from citymesh_dask.store.scratch import Scratch
from citymesh_dask.tiles import MESH_UNITS, Box, Domain, regular_tiling
from tests.outline_scenes import outlines_of_rings, square

DOMAIN = Domain.from_bounds((1000, 2000, 1400, 2300))
COLUMNS = ("points", "ends", "left", "right", "cluster", "boxes", "divided", "spacing", "wall_step")


def all_outlines() -> Outlines:
    """Return five groups; the alley between the first two is 1 m wide, the last stands on the frame."""
    rings = [
        square(0, 20, 20, 30),
        (1, [(51, 20), (81, 20), (81, 32), (81, 50), (51, 50)]),
        square(2, 81, 20, 12),
        square(3, 200, 100, 40),
        square(4, 240.5, 100, 40),
        square(5, 380, 280, 20),
    ]
    return outlines_of_rings(rings, DOMAIN.frame, group=[0, 1, 1, 2, 3, 4])


def empty_survey() -> Survey:
    nothing = dict.fromkeys(("terrain", "surface", "building_heights"))
    return Survey(footprints=(), points=(), crs="EPSG:28992", domain=DOMAIN, notes=(), **nothing)


def write_outlines(scratch: Scratch, name: str, outlines: Outlines, removed: list[tuple[int, int]]) -> None:
    arrays = {field: getattr(outlines, field) for field in ("points", "edges", "point_start", "edge_start")}
    arrays |= {"group_box": group_boxes(outlines), "removed": np.array(removed, np.int64).reshape(-1, 2)}
    scratch.write(name, arrays)


def pack_box(outlines: Outlines) -> np.ndarray:
    return np.concatenate([outlines.points.min(axis=0), outlines.points.max(axis=0)])


@pytest.fixture
def job(tmp_path: Path) -> CityJob:
    """Two packs; a group of the first is settled in a pack of its own."""
    scratch = Scratch(tmp_path)
    outlines = all_outlines()
    lattice = TerrainLattice.over_domain(DOMAIN, 1.0)
    member = np.array([0, 0, 1, 1, 1])
    settled = np.array([False, True, False, False, False])
    packs = [select_groups(outlines, member == pack) for pack in range(2)]
    for pack in range(2):
        write_outlines(scratch, f"outlines/{pack:05d}", packs[pack], [])
    scratch.write("groups", {"pack_box": np.stack([pack_box(pack) for pack in packs])})
    write_outlines(scratch, "outlines/settled", select_groups(outlines, settled), [(0, 1)])
    heights = np.add.outer(np.arange(lattice.rows) * 10, np.zeros(lattice.cols)).astype(np.int32)
    scratch.write("terrain/00000", {"heights": heights})
    return CityJob(
        scratch=scratch,
        out="none.zarr",
        options=CityOptions(),
        survey=empty_survey(),
        footprint_ranges=(),
        point_ranges=(),
        lattice=lattice,
        tiling=regular_tiling(DOMAIN, 100.0),
        n_packs=2,
        fan_in=8,
    )


def run(job: CityJob) -> str:
    path = save_job(job)
    for index in range(job.n_packs + 1):
        subdivide_outlines(path, index)
    subdivide_frame(path, 0)
    return path


def described(pieces: Pieces) -> set[tuple]:
    ends = pieces.points[pieces.ends].reshape(-1, 4).tolist()
    known = np.concatenate([pieces.spacing[pieces.ends], pieces.wall_step[pieces.ends]], axis=1).tolist()
    boxes = np.concatenate([pieces.boxes, [[-1] * 4]])[pieces.cluster].tolist()
    labels = np.stack([pieces.left, pieces.right], axis=1).tolist()
    return {tuple(map(tuple, item)) for item in zip(ends, known, boxes, labels, strict=True)}


def all_pieces() -> Pieces:
    outlines = all_outlines()
    edges = outlines.points[outlines.edges[:, :2]].reshape(-1, 4)
    inside = subdivide(outlines, edges[:0], frame=DOMAIN.frame, ground_size=10.0, building_size=5.0)
    return join_pieces([inside, subdivide_sides(DOMAIN.frame, edges, ground_size=10.0)])


def test_packs_give_the_pieces_of_the_whole(job: CityJob) -> None:
    run(job)
    assert described(read_pieces(job, DOMAIN.mesh_frame)) == described(all_pieces())


def test_a_tile_reads_its_window_and_no_more(job: CityJob, monkeypatch: pytest.MonkeyPatch) -> None:
    run(job)
    unit = MESH_UNITS
    tile = (0, 0, 100 * unit, 100 * unit)
    opened = []
    read_all = Scratch.read_all

    def noted(self: Scratch, name: str) -> dict[str, np.ndarray]:
        opened.append(name)
        return read_all(self, name)

    monkeypatch.setattr(Scratch, "read_all", noted)
    pieces = read_pieces(job, tile)
    assert set(opened) == {"pieces/frame", "pieces/00000", "pieces/00002"}
    assert set(pieces.left[pieces.left >= 0].tolist()) == {0, 1, 2}
    ends = pieces.points[pieces.ends[pieces.cluster < 0]]
    assert (ends.min(axis=1) <= np.array(window_of(tile, 10.0)[2:])).all()


def test_tiles_of_the_job_share_everything(job: CityJob) -> None:
    run(job)
    pieces = all_pieces()
    sizes = {"frame": DOMAIN.mesh_frame, "ground_size": 10.0, "building_size": 5.0}
    total = 0
    for box in job.tiling.boxes.tolist():
        tile: Box = (box[0], box[1], box[2], box[3])
        part = tile_constraints(read_pieces(job, tile), tile, **sizes)
        whole = tile_constraints(pieces, tile, **sizes)
        assert part is not None and whole is not None
        x, y = part.points.astype(object).T
        a, b = part.ends.T
        cross = x[a] * y[b] - y[a] * x[b]
        total += int(cross[part.own_left].sum() - cross[part.own_right].sum())
        assert sorted(map(tuple, part.points.tolist())) == sorted(map(tuple, whole.points.tolist()))
    assert total == 2 * 400 * 300 * MESH_UNITS**2


def test_buildings_are_measured(job: CityJob) -> None:
    run(job)
    rows = [job.scratch.read(f"pieces/{pack:05d}", "rows").tolist() for pack in range(3)]
    assert rows == [[0], [3, 4, 5], [1, 2]]
    # Heights rise 10 mm per row of 1 m; the lattice begins 1 m south of the domain.
    assert job.scratch.read("pieces/00002", "terrain_low").tolist() == [205, 205]
    assert job.scratch.read("pieces/00002", "terrain_high").tolist() == [505, 325]
    assert job.scratch.read("pieces/00002", "doubled_area").tolist() == [2 * 900 * 1024**2, 2 * 144 * 1024**2]
    assert job.scratch.read("pieces/00002", "perimeter").tolist() == [120.0, 48.0]


def test_a_task_run_twice_writes_the_same_bytes(job: CityJob) -> None:
    path = run(job)
    root = job.scratch.root / "pieces"
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    subdivide_outlines(path, 1)
    subdivide_frame(path)
    assert before == {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    assert len(before) == job.n_packs + 2


def test_a_city_without_buildings(job: CityJob) -> None:
    nothing = outlines_of_rings([], DOMAIN.frame)
    for name in ("outlines/00000", "outlines/00001", "outlines/settled"):
        write_outlines(job.scratch, name, nothing, [])
    run(job)
    pieces = read_pieces(job, DOMAIN.mesh_frame)
    assert len(pieces.boxes) == 0 and len(pieces.ends) == 2 * (64 + 32)
