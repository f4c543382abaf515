"""Filling the cells of the terrain raster that hold no data: push-pull, and smoothing.

Push-pull (Gortler, Grzeszczuk, Szeliski and Cohen, "The Lumigraph", SIGGRAPH 1996, section 3.4):
*push* halves the raster again and again, a coarse cell being the mean of those of its four children
that hold data; *pull* goes back and gives a cell without data the bilinear interpolation of the
coarse level, after which a few passes of relaxation take the steps out. All of it is integer
arithmetic on whole millimetres over global indices, and each level needs only a few cells around
what is asked for. So any window of the result can be made by itself, and is the same whatever the
blocks, the order and the workers. No files and no sums of points here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from numba import njit

from .terrain import Span, TerrainLattice

Int32 = npt.NDArray[np.int32]
Shape = tuple[int, int]
LevelReader = Callable[[int, Span], Int32]
"""Gives the pushed values of a span of a level, `VOID` where there is no data."""

VOID = -(2**31)
"""Value of a cell without data."""
RELAXATION_PASSES = 4
"""Passes of relaxation after each pull."""


def push(values: Int32) -> Int32:
    """Return the next coarser level.

    Parameters
    ----------
    values : (r, c) int32
        Millimetres, `VOID` where there is no data.

    Returns
    -------
    (ceil(r / 2), ceil(c / 2)) int32
        Mean of the children with data, halves rounded up; `VOID` where none has any.
    """
    rows, cols = values.shape
    padded = np.full((rows + rows % 2, cols + cols % 2), VOID, np.int32)
    padded[:rows, :cols] = values
    children = [padded[i::2, j::2] for i in (0, 1) for j in (0, 1)]
    total = np.zeros(children[0].shape, np.int64)
    count = np.zeros(children[0].shape, np.int64)
    for child in children:
        total += np.where(child == VOID, 0, child)
        count += child != VOID
    mean = (2 * total + count) // np.maximum(2 * count, 1)
    return np.where(count > 0, mean, VOID).astype(np.int32)


def push_all(values: Int32, levels: int) -> list[Int32]:
    """Return ``values`` and ``levels`` coarser levels of it."""
    pyramid = [values]
    for _ in range(levels):
        pyramid.append(push(pyramid[-1]))
    return pyramid


def level_shapes(rows: int, cols: int) -> list[Shape]:
    """Return the shape of every level, the last being one cell.

    >>> level_shapes(5, 3)
    [(5, 3), (3, 2), (2, 1), (1, 1)]
    """
    shapes = [(rows, cols)]
    while shapes[-1] != (1, 1):
        rows, cols = -(-rows // 2), -(-cols // 2)
        shapes.append((rows, cols))
    return shapes


def grow_span(span: Span, margin: int, shape: Shape) -> Span:
    """Return a span with a margin all round, cut off at the edge of its level."""
    return (
        max(span[0] - margin, 0),
        max(span[1] - margin, 0),
        min(span[2] + margin, shape[0]),
        min(span[3] + margin, shape[1]),
    )


def crop(values: Int32, held: Span, wanted: Span) -> Int32:
    """Return the cells of ``wanted`` out of values that cover ``held``."""
    row, col = wanted[0] - held[0], wanted[1] - held[1]
    return values[row : row + wanted[2] - wanted[0], col : col + wanted[3] - wanted[1]]


def fill_span(read_level: LevelReader, shapes: list[Shape], span: Span, *, level: int, top: tuple[int, Int32]) -> Int32:
    """Return the filled values of a span of one level.

    Parameters
    ----------
    read_level : callable
        Gives pushed values; see `LevelReader`.
    shapes : list of (int, int)
        Shape of every level of the whole raster; see `level_shapes`.
    span : (int, int, int, int)
        What is wanted, indices of ``level``.
    level : int
        Level of the span; 0 is the raster itself.
    top : (int, (r, c) int32)
        A level that is filled already, and its values, whole.

    Returns
    -------
    (r, c) int32
        Millimetres, no voids; cells with data as they were.
    """
    if level == top[0]:
        return top[1][span[0] : span[2], span[1] : span[3]]
    held = grow_span(span, RELAXATION_PASSES, shapes[level])
    values = read_level(level, held)
    wanted = crop(values, held, span)
    if not (wanted == VOID).any():  # nothing to fill, so nobody needs the levels above
        return wanted
    # The centre of cell 2 p lies a quarter of a coarse cell before that of p, 2 p + 1 one after.
    parents = ((held[0] - 1) // 2, (held[1] - 1) // 2, held[2] // 2 + 1, held[3] // 2 + 1)
    parents = grow_span(parents, 0, shapes[level + 1])
    coarse = fill_span(read_level, shapes, parents, level=level + 1, top=top)
    return crop(_pull(values, held[0], held[1], coarse, parents[0], parents[1]), held, span)


def fill_top(values: Int32) -> Int32:
    """Return a whole coarse level without voids.

    Parameters
    ----------
    values : (r, c) int32
        Pushed values of the whole level, at least one of them with data.
    """
    shapes = level_shapes(*values.shape)
    pyramid = push_all(values, len(shapes) - 1)

    def read_level(level: int, span: Span) -> Int32:
        return pyramid[level][span[0] : span[2], span[1] : span[3]]

    whole = (0, 0, values.shape[0], values.shape[1])
    return fill_span(read_level, shapes, whole, level=0, top=(len(shapes) - 1, pyramid[-1]))


def smooth(heights: Int32, passes: int) -> Int32:
    """Return heights after passes of the 3 x 3 binomial filter (1 2 1) x (1 2 1) / 16.

    Parameters
    ----------
    heights : (r, c) int32
        Millimetres. The edge counts as if it went on; a window must therefore come with ``passes``
        cells all round, save where the raster itself ends.
    passes : int
        Number of passes, each rounded to millimetres.
    """
    current: npt.NDArray[np.int64] = heights.astype(np.int64)
    for _ in range(passes):
        padded = np.pad(current, 1, mode="edge")
        across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
        current = (across[:-2] + 2 * across[1:-1] + across[2:] + 8) >> 4
    return current.astype(np.int32)


def largest_hole(
    pyramid: list[Int32], corner: tuple[int, int], inside: Span, *, cell: tuple[float, float], first_level: int = 0
) -> float:
    """Return the side of the largest square of the pyramid without data, metres.

    Such squares have ``2**k`` cells at multiples of ``2**k``, so that the number does not depend on
    blocks; a hole is up to four times as wide as the largest of them inside it. Of a square that
    crosses the edge of the domain the part inside counts, by its shorter side.

    Parameters
    ----------
    pyramid : list of (r, c) int32
        Pushed levels of a block or of the whole raster, the finest first.
    corner : (int, int)
        Row and column of the first cell of the block.
    inside : (int, int, int, int)
        Cells inside the domain.
    cell : (float, float)
        Width and height of a cell, metres.
    first_level : int
        Level of the first array of ``pyramid``.
    """
    largest = 0.0
    for level, values in enumerate(pyramid, first_level):
        step = 2**level
        void = values == VOID
        if void.any():
            tall = _inside_lengths(corner[0], step, values.shape[0], (inside[0], inside[2])) * cell[1]
            wide = _inside_lengths(corner[1], step, values.shape[1], (inside[1], inside[3])) * cell[0]
            largest = max(largest, float(np.minimum.outer(tall, wide)[void].max()))
    return largest


def _inside_lengths(first: int, step: int, count: int, inside: tuple[int, int]) -> npt.NDArray[np.int64]:
    starts = first + step * np.arange(count)
    lengths: npt.NDArray[np.int64] = np.maximum(np.minimum(starts + step, inside[1]) - np.maximum(starts, inside[0]), 0)
    return lengths


def cells_inside(lattice: TerrainLattice, frame: tuple[float, float, float, float]) -> Span:
    """Return the cells whose centres lie in a frame (metres relative to the origin)."""
    cols = [int(np.ceil((x - lattice.x0) / lattice.dx - 0.5)) for x in (frame[0], frame[2])]
    rows = [int(np.ceil((y - lattice.y0) / lattice.dy - 0.5)) for y in (frame[1], frame[3])]
    return (rows[0], cols[0], max(rows[1], rows[0] + 1), max(cols[1], cols[0] + 1))


@njit(cache=True, nogil=True)
def _pull(values: Int32, row0: int, col0: int, coarse: Int32, coarse_row0: int, coarse_col0: int) -> Int32:
    """Fill voids from the coarse level, weights 9 3 3 1 sixteenths, then relax them."""
    rows, cols = values.shape
    last_row, last_col = coarse.shape[0] - 1, coarse.shape[1] - 1
    filled = values.copy()
    n_void = 0
    for r in range(rows):
        for c in range(cols):
            n_void += values[r, c] == VOID
    void_row = np.empty(n_void, np.int32)
    void_col = np.empty(n_void, np.int32)
    n_void = 0
    for r in range(rows):
        near_row = (row0 + r) // 2 - coarse_row0
        far_row = min(max(near_row + (1 if (row0 + r) % 2 else -1), 0), last_row)
        for c in range(cols):
            if values[r, c] != VOID:
                continue
            near_col = (col0 + c) // 2 - coarse_col0
            far_col = min(max(near_col + (1 if (col0 + c) % 2 else -1), 0), last_col)
            near = 3 * np.int64(coarse[near_row, near_col]) + np.int64(coarse[near_row, far_col])
            far = 3 * np.int64(coarse[far_row, near_col]) + np.int64(coarse[far_row, far_col])
            filled[r, c] = (3 * near + far + 8) >> 4
            void_row[n_void], void_col[n_void] = r, c
            n_void += 1
    relaxed = np.empty(n_void, np.int32)
    for _ in range(RELAXATION_PASSES):
        for i in range(n_void):
            r, c = void_row[i], void_col[i]
            total = np.int64(filled[max(r - 1, 0), c]) + np.int64(filled[min(r + 1, rows - 1), c])
            total += np.int64(filled[r, max(c - 1, 0)]) + np.int64(filled[r, min(c + 1, cols - 1)])
            relaxed[i] = (total + 2) >> 2
        for i in range(n_void):
            filled[void_row[i], void_col[i]] = relaxed[i]
    return filled
