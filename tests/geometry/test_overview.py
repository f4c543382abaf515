"""A city from far away: sums of tiles in any order, and the surface that is drawn of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from citymesh_dask.geometry.drawing.overview import Overview, OverviewGrid, field_faces, lay_over, sum_up
from citymesh_dask.mesh import TERRAIN_MARKER

GRID = OverviewGrid.over((100.0, 200.0, 130.0, 220.0), 6)
N_ROWS = 3


def quad(x: float, y: float, z: float, size: float = 5.0) -> np.ndarray:
    return np.array([[x, y, z], [x + size, y, z], [x + size, y + size, z], [x, y + size, z]])


def mesh(*quads: tuple[np.ndarray, int]) -> dict[str, np.ndarray]:
    vertices = np.concatenate([corners for corners, _ in quads])
    faces = np.concatenate([4 * k + np.array([[0, 1, 2], [0, 2, 3]]) for k in range(len(quads))]).astype(np.int32)
    return {"vertices": vertices, "faces": faces, "markers": np.repeat([m for _, m in quads], 2).astype(np.int32)}


def summed(*quads: tuple[np.ndarray, int]) -> Overview:
    found = mesh(*quads)
    return sum_up(GRID, found["vertices"], faces=found["faces"], markers=found["markers"], n_rows=N_ROWS)


def whole_of(*pieces: Overview) -> Overview:
    whole = Overview.empty(0, 0, GRID.shape)
    for piece in pieces:
        lay_over(whole, piece)
    return whole


def test_a_cell_shows_the_roof_that_covers_it() -> None:
    found = summed((quad(105, 205, 10), TERRAIN_MARKER), (quad(105, 205, 18), N_ROWS + 1))
    assert (found.row, found.column) == (1, 1)
    assert found.heights[0, 0] == 18
    assert found.markers[0, 0] == N_ROWS + 1


def test_a_roof_that_covers_little_is_not_shown() -> None:
    found = summed((quad(105, 205, 10), TERRAIN_MARKER), (quad(106, 206, 18, size=2.0), N_ROWS + 1))
    assert found.heights[0, 0] == 10
    assert found.markers[0, 0] == TERRAIN_MARKER


def test_walls_are_not_looked_at() -> None:
    found = summed((quad(105, 205, 10), 1))
    assert np.isnan(found.heights).all()


def test_nothing_sums_up_to_nothing() -> None:
    none = np.empty((0, 3))
    found = sum_up(GRID, none, faces=none.astype(np.int32), markers=np.empty(0, np.int32), n_rows=N_ROWS)
    assert found.heights.size == 0
    assert np.isnan(whole_of(found).heights).all()


def test_the_order_of_tiles_does_not_matter() -> None:
    pieces = [
        summed((quad(100, 200, 5, size=20), TERRAIN_MARKER)),
        summed((quad(105, 205, 7), TERRAIN_MARKER), (quad(110, 205, 9), N_ROWS)),
        summed((quad(105, 205, 6), N_ROWS + 2)),
        summed((quad(105, 205, 6), N_ROWS + 1)),
    ]
    wholes = [whole_of(*order) for order in itertools.permutations(pieces)]
    for whole in wholes:
        np.testing.assert_array_equal(whole.heights, wholes[0].heights)
        np.testing.assert_array_equal(whole.markers, wholes[0].markers)
    assert wholes[0].markers[1, 1] == N_ROWS + 2  # of equal heights the higher marker


def test_the_surface_covers_the_domain_once_and_has_walls_around_roofs() -> None:
    ground = [(quad(100.0 + x, 200.0 + y, 5.0), TERRAIN_MARKER) for x in range(0, 30, 5) for y in range(0, 20, 5)]
    whole = whole_of(summed(*ground), summed((quad(105, 205, 12), N_ROWS + 1)))
    parts = list(field_faces(GRID, whole, n_rows=N_ROWS))
    corners, markers, building = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    flat = (markers == TERRAIN_MARKER) | (markers >= N_ROWS)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
    assert area[flat].sum() == pytest.approx(600.0)
    assert area[flat].min() > 0
    assert set(markers.tolist()) == {TERRAIN_MARKER, 1, N_ROWS + 1}
    assert set(building.tolist()) == {-1, 1}
    walls = np.linalg.norm(np.cross(first, second), axis=1)[~flat] / 2
    assert walls.sum() == pytest.approx(4 * 5 * 7)
    assert corners[:, :, :2].min(axis=(0, 1)).tolist() == [100, 200]
    assert corners[:, :, :2].max(axis=(0, 1)).tolist() == [130, 220]
    assert np.isfinite(corners).all()


def test_holes_and_large_roofs_get_a_ground_from_around() -> None:
    whole = Overview.empty(0, 0, GRID.shape)
    whole.heights[0, 0] = 3.0
    corners = np.concatenate([part[0] for part in field_faces(GRID, whole, n_rows=N_ROWS)])
    assert (corners[:, :, 2] == 3.0).all()
