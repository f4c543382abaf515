"""The terrain lattice, heights looked up in windows of it, and sums gathered into its cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from citymesh_dask.geometry.terrain.cell_sums import CellSums, block_means, cell_keys, gather_points, merge_sums
from citymesh_dask.geometry.terrain.filling import VOID
from citymesh_dask.geometry.terrain.terrain import HeightField, TerrainLattice
from citymesh_dask.tiles import Domain


def small_lattice(block: int = 16) -> TerrainLattice:
    """Return 1.5 m cells over 60 x 45 m."""
    return TerrainLattice.over_domain(Domain.from_bounds((100.25, 200, 160, 245)), 1.5, block)


def field_over(lattice: TerrainLattice, seed: int = 0) -> HeightField:
    heights = np.random.default_rng(seed).integers(-5_000, 90_000, (lattice.rows, lattice.cols)).astype(np.int32)
    return HeightField(heights, 0, 0, lattice)


def test_lattice_stands_on_multiples_of_the_cell_and_covers_the_domain_and_a_cell_more():
    lattice = small_lattice()
    assert lattice.x0 / 1.5 == round(lattice.x0 / 1.5) and lattice.y0 / 1.5 == round(lattice.y0 / 1.5)
    assert lattice.x0 <= 0.25 - 1.5 and lattice.y0 <= -1.5
    assert lattice.x0 + lattice.cols * 1.5 >= 60 + 1.5 and lattice.y0 + lattice.rows * 1.5 >= 45 + 1.5
    assert lattice.cols <= 60 / 1.5 + 4 and lattice.rows <= 45 / 1.5 + 4


def test_lattice_through_a_corner_keeps_the_cells_of_a_raster():
    domain = Domain.from_bounds((1841373, 5174641, 1844890, 5176327))
    corner = (1841372.165967 - 1841373, 5174640.031139 - 5174641)
    lattice = TerrainLattice.through_corner(domain, corner, (9.996318738636381, 9.982381325441043))
    for got, want, cell in ((lattice.x0, corner[0], lattice.dx), (lattice.y0, corner[1], lattice.dy)):
        assert abs((got - want) / cell - round((got - want) / cell)) < 1e-9
    assert (lattice.rows, lattice.cols) == (171, 354)  # the raster has 169 x 352: one more on each side


def test_blocks_cover_every_cell_once():
    lattice = small_lattice()
    seen = np.zeros((lattice.rows, lattice.cols), int)
    for block in range(lattice.n_blocks):
        row, col, end_row, end_col = lattice.block_span(block)
        seen[row:end_row, col:end_col] += 1
    assert (seen == 1).all()
    assert lattice.blocks_of((15, 15, 17, 17)) == [0, 1, lattice.block_cols, lattice.block_cols + 1]
    assert lattice.blocks_of((0, 0, 16, 16)) == [0]


def test_heights_are_bilinear_between_cell_centres():
    lattice = small_lattice()
    field = field_over(lattice)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0.25, 60, 500), rng.uniform(0, 45, 500)
    centres = [
        low + (np.arange(count) + 0.5) * 1.5 for low, count in ((lattice.y0, lattice.rows), (lattice.x0, lattice.cols))
    ]
    exact = RegularGridInterpolator(centres, field.heights.astype(float))(np.stack([y, x], axis=1)) / 1000
    got = field.at(x, y)
    assert np.abs(got - exact).max() <= 0.0005 + 1e-9
    assert np.array_equal(np.round(got, 3), got)


def test_heights_go_on_unchanged_beyond_the_last_centres():
    lattice = small_lattice()
    field = field_over(lattice)
    far = field.at(np.array([-500.0, 900, -500, 900]), np.array([-500.0, -500, 900, 900]))
    corners = field.heights[[0, 0, -1, -1], [0, -1, 0, -1]] / 1000
    assert np.array_equal(far, corners)


@settings(max_examples=40, deadline=None)
@given(
    x=st.floats(0.25, 60), y=st.floats(0, 45), width=st.floats(0, 20), height=st.floats(0, 20), seed=st.integers(0, 99)
)
def test_every_window_gives_the_same_bits(x: float, y: float, width: float, height: float, seed: int):
    lattice = small_lattice()
    whole = field_over(lattice, seed)
    span = lattice.span_of((x, y, x + width, y + height))
    part = HeightField(
        np.ascontiguousarray(whole.heights[span[0] : span[2], span[1] : span[3]]), span[0], span[1], lattice
    )
    rng = np.random.default_rng(seed)
    px, py = rng.uniform(x, x + width, 20), rng.uniform(y, y + height, 20)
    px[:2], py[:2] = (x, x + width), (y, y + height)
    assert np.array_equal(part.at(px, py), whole.at(px, py))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), pieces=st.integers(1, 6))
def test_means_do_not_depend_on_order_or_division(seed: int, pieces: int):
    rng = np.random.default_rng(seed)
    lattice = small_lattice()
    x, y = rng.uniform(-10, 70, 400), rng.uniform(-10, 55, 400)
    z = rng.integers(-3000, 50_000, 400)
    together = gather_points(lattice, x, y, heights=z)
    order = rng.permutation(400)
    apart = [gather_points(lattice, x[k], y[k], heights=z[k]) for k in np.array_split(order, pieces)]
    merged = merge_sums(apart)
    for name in ("keys", "sums", "counts"):
        assert np.array_equal(getattr(merged, name), getattr(together, name))


def test_means_are_those_of_a_plain_loop():
    lattice = small_lattice()
    rng = np.random.default_rng(5)
    x, y = rng.uniform(-10, 70, 3000), rng.uniform(-10, 55, 3000)
    z = rng.integers(-3000, 50_000, 3000)
    found: dict[tuple[int, int], list[int]] = {}
    for px, py, pz in zip(x, y, z, strict=True):
        cell = (int((py - lattice.y0) // 1.5), int((px - lattice.x0) // 1.5))
        if 0 <= cell[0] < lattice.rows and 0 <= cell[1] < lattice.cols:
            found.setdefault(cell, []).append(int(pz))
    expected = np.full((lattice.rows, lattice.cols), VOID, np.int64)
    for (row, col), values in found.items():
        expected[row, col] = int(np.floor(sum(values) / len(values) + 0.5))
    sums = gather_points(lattice, x, y, heights=z)
    for block in range(lattice.n_blocks):
        row, col, end_row, end_col = lattice.block_span(block)
        own = sums.keys // 256 == block
        part = CellSums(sums.keys[own], sums.sums[own], sums.counts[own])
        assert np.array_equal(block_means(lattice, block, [part], void=VOID), expected[row:end_row, col:end_col])


def test_keys_tell_block_and_cell():
    lattice = small_lattice()
    keys = cell_keys(lattice, np.array([0, 15, 16, 17]), np.array([0, 3, 3, 18]))
    assert keys.tolist() == [0, 15 * 16 + 3, lattice.block_cols * 256 + 3, (lattice.block_cols + 1) * 256 + 16 + 2]


def test_nothing_gathered_is_all_void():
    lattice = small_lattice()
    assert not len(merge_sums([]).keys)
    assert (block_means(lattice, 0, [], void=VOID) == VOID).all()


@pytest.mark.parametrize("cell", [0.1, 0.25, 1.0, 7.3])
def test_any_cell_covers_the_domain(cell: float):
    lattice = TerrainLattice.over_domain(Domain.from_bounds((10.5, 20.25, 40.75, 60.5)), cell)
    assert lattice.x0 <= 0.5 - cell * 0.999 and lattice.x0 + lattice.cols * cell >= 30.75 + cell * 0.999
    assert lattice.y0 <= 0.25 - cell * 0.999 and lattice.y0 + lattice.rows * cell >= 40.5 + cell * 0.999
