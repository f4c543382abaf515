"""Push-pull filling against a plain implementation, and smoothing against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve

from citymesh_dask.geometry.terrain.filling import (
    RELAXATION_PASSES,
    VOID,
    cells_inside,
    fill_span,
    fill_top,
    largest_hole,
    level_shapes,
    push,
    push_all,
    smooth,
)
from citymesh_dask.geometry.terrain.terrain import TerrainLattice


def holey(seed: int, rows: int, cols: int, share: float) -> np.ndarray:
    """Return a bumpy raster of which a share of the cells, and a rectangle, hold no data."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-4000, 60_000, (rows, cols)).astype(np.int32)
    values[rng.random(values.shape) < share] = VOID
    values[rows // 4 : rows // 2, cols // 5 : cols // 2] = VOID
    values[-1, -1] = 1234
    return values


def plain_push_pull(values: np.ndarray) -> np.ndarray:
    """Fill voids as the module says it does, whole raster, one cell at a time, in Python integers."""
    if values.shape == (1, 1):
        return values
    rows, cols = values.shape
    coarse = np.full((-(-rows // 2), -(-cols // 2)), VOID, np.int64)
    for r in range(coarse.shape[0]):
        for c in range(coarse.shape[1]):
            known = [int(v) for v in values[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].ravel() if v != VOID]
            if known:
                coarse[r, c] = (2 * sum(known) + len(known)) // (2 * len(known))
    coarse = plain_push_pull(coarse)
    out = values.astype(np.int64)
    void = values == VOID
    for r, c in zip(*np.nonzero(void), strict=True):
        rr = min(max(r // 2 + (1 if r % 2 else -1), 0), coarse.shape[0] - 1)
        cc = min(max(c // 2 + (1 if c % 2 else -1), 0), coarse.shape[1] - 1)
        near, far = (3 * int(coarse[k, c // 2]) + int(coarse[k, cc]) for k in (r // 2, rr))
        out[r, c] = (3 * near + far + 8) // 16
    for _ in range(RELAXATION_PASSES):
        padded = np.pad(out, 1, mode="edge")
        mean = (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] + 2) // 4
        out = np.where(void, mean, out)
    return out


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 9), (37, 29), (64, 64), (65, 33), (2, 50)])
def test_filling_is_plain_push_pull(rows: int, cols: int):
    values = holey(rows, rows, cols, 0.6)
    assert np.array_equal(fill_top(values), plain_push_pull(values))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), level=st.integers(1, 6), share=st.sampled_from([0.0, 0.5, 0.97]))
def test_any_window_from_any_level_is_the_same(seed: int, level: int, share: float):
    values = holey(seed, 75, 53, share)
    shapes = level_shapes(*values.shape)
    pyramid = push_all(values, len(shapes) - 1)
    whole = fill_top(values)
    asked: list[int] = []

    def read_level(k: int, span: tuple[int, int, int, int]) -> np.ndarray:
        asked.append(k)
        return pyramid[k][span[0] : span[2], span[1] : span[3]]

    rng = np.random.default_rng(seed)
    row, col = rng.integers(0, 60), rng.integers(0, 40)
    span = (int(row), int(col), int(row + rng.integers(1, 15)), int(col + rng.integers(1, 13)))
    window = fill_span(read_level, shapes, span, level=0, top=(level, fill_top(pyramid[level])))
    rows, cols = slice(span[0], span[2]), slice(span[1], span[3])
    assert np.array_equal(window, whole[rows, cols])
    assert max(asked) < level
    assert (values[rows, cols] == VOID).any() or asked == [0]  # without voids nobody looks at a coarser level


def test_data_stay_as_they_are_and_nothing_is_void():
    values = holey(3, 40, 40, 0.5)
    filled = fill_top(values)
    known = values != VOID
    assert np.array_equal(filled[known], values[known])
    assert filled.min() >= values[known].min() and filled.max() <= values[known].max()


def test_a_plane_with_a_hole_is_filled_with_the_plane():
    y, x = np.mgrid[:256, :256]
    plane = (100 * x + 20 * y).astype(np.int32)
    values = plane.copy()
    values[100:140, 90:150] = VOID  # the plane rises 6.8 m over it
    error = np.abs(fill_top(values) - plane)
    assert error.max() < 250 and error[100:140, 90:150].mean() < 100


def test_one_known_cell_fills_all():
    values = np.full((50, 70), VOID, np.int32)
    values[20, 31] = -777
    assert (fill_top(values) == -777).all()


def test_push_rounds_halves_up_and_ignores_voids():
    values = np.array([[1, 2, VOID], [VOID, VOID, -3], [-1, -2, VOID]], np.int32)
    assert push(values).tolist() == [[2, -3], [-1, VOID]]


def test_smoothing_is_the_binomial_filter():
    heights = np.random.default_rng(0).integers(0, 50_000, (30, 40)).astype(np.int32)
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    expected = heights.astype(float)
    for _ in range(3):
        expected = convolve(expected, kernel, mode="nearest")
    assert np.abs(smooth(heights, 3) - expected).max() < 2
    assert np.array_equal(smooth(heights, 0), heights)
    window = smooth(heights[5:25, 5:30], 3)[3:-3, 3:-3]
    assert np.array_equal(window, smooth(heights, 3)[8:22, 8:27])


def test_largest_hole_is_a_square_of_the_pyramid_inside_the_domain():
    values = np.zeros((64, 64), np.int32)
    values[16:32, 32:48] = VOID
    pyramid = push_all(values, 6)
    assert largest_hole(pyramid, (0, 0), (0, 0, 64, 64), cell=(2.0, 2.0)) == 32.0
    assert largest_hole(pyramid, (0, 0), (0, 0, 64, 40), cell=(2.0, 2.0)) == 16.0
    assert largest_hole(pyramid, (0, 0), (40, 0, 64, 64), cell=(2.0, 2.0)) == 0.0


def test_cells_inside_have_their_centres_in_the_frame():
    lattice = TerrainLattice(-1.0, -1.0, 1.0, 1.0, 12, 12)
    assert cells_inside(lattice, (0.0, 0.0, 10.0, 10.0)) == (1, 1, 11, 11)
    assert cells_inside(lattice, (0.6, 0.0, 9.4, 10.0)) == (1, 2, 11, 10)
