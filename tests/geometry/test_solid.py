"""Sides and base close the rim into a manifold solid of known volume."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citymesh_dask.errors import CheckError
from citymesh_dask.geometry.joining.boundary import merge_boundaries
from citymesh_dask.geometry.joining.edges import tile_edges
from citymesh_dask.geometry.joining.solid import close_solid
from citymesh_dask.mesh import BASE_MARKER, SIDE_MARKER, TERRAIN_LEVEL, Boundary
from citymesh_dask.store.chunks import Array
from citymesh_dask.tiles import MESH_UNITS, Domain


def frame_rim(domain: Domain, xs: Array, ys: Array, *, shift: int = 0) -> Boundary:
    """The rim over the given lines, sloping ground, vertices and edges in a scrambled order."""
    x0, y0, x1, y1 = domain.mesh_frame
    bottom, right = [(x, y0) for x in xs[:-1]], [(x1, y) for y in ys[:-1]]
    top, left = [(x, y1) for x in xs[:0:-1]], [(x0, y) for y in ys[:0:-1]]
    loop = np.array(bottom + right + top + left, np.int64)
    n = len(loop)
    place = np.random.default_rng(shift).permutation(n)
    keys = np.empty((n, 3), np.int64)
    keys[place] = np.concatenate([loop, np.full((n, 1), TERRAIN_LEVEL)], axis=1)
    edges = np.stack([place, np.roll(place, -1)], axis=1).astype(np.int32)
    index = np.arange(n, dtype=np.int32)
    z = 3.0 + (keys[:, 0] - x0) / (x1 - x0)
    return Boundary(keys, z, edges, np.stack([index, index * 0, index], axis=1).astype(np.int32))


def volume(vertices: Array, faces: Array) -> float:
    a, b, c = (vertices[faces[:, k]] - vertices[0] for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def lines(start: int, stop: int, inner: list[int]) -> Array:
    return np.unique([start, stop, *(start + (stop - start) * k // 1000 for k in inner)])


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(40.0, 30.0), (400.0, 30.0), (7.5, 1200.0)]),
    st.lists(st.integers(1, 999), max_size=60),
    st.lists(st.integers(1, 999), max_size=60),
)
def test_sides_and_base_hang_on_the_rim_without_a_gap(
    size: tuple[float, float], across: list[int], up: list[int]
) -> None:
    domain = Domain.from_bounds((1000.0, 2000.0, 1000.0 + size[0], 2000.0 + size[1]))
    x0, y0, x1, y1 = domain.mesh_frame
    rim = frame_rim(domain, lines(x0, x1, across), lines(y0, y1, up), shift=len(across))
    closing = close_solid(rim, domain, lowest_z=3.0, base_depth=10.0, tile=9)
    mesh = closing.mesh
    edges, overused, inconsistent = tile_edges(mesh.faces, len(mesh.vertices))
    assert not len(overused) and not len(inconsistent)
    wanted = {tuple(edge) for edge in (closing.boundary.edges + mesh.n_interior).tolist()}
    assert {tuple(edge) for edge in edges.tolist()} == wanted
    assert np.unique(mesh.faces).size == len(mesh.vertices)
    merged = merge_boundaries([rim, closing.boundary])
    assert len(merged.boundary.edges) == 0 and len(merged.defects) == 0
    assert set(merged.seams[:, 2].tolist()) == {0}
    base = mesh.faces[mesh.markers == BASE_MARKER]
    a, b, c = (mesh.vertices[base[:, k], :2] for k in range(3))
    doubled = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (doubled < 0).all() and doubled.sum() == pytest.approx(-2 * size[0] * size[1], rel=1e-12)
    assert (mesh.vertices[: mesh.n_interior, 2] == -7.0).all()
    assert set(mesh.markers.tolist()) == {SIDE_MARKER, BASE_MARKER}


def test_the_closed_solid_has_the_volume_under_the_terrain() -> None:
    domain = Domain.from_bounds((0.0, 0.0, 40.0, 40.0))
    side = np.arange(0, 41, 4) * MESH_UNITS
    rim = frame_rim(domain, side, side)
    mesh = close_solid(rim, domain, lowest_z=3.0, base_depth=2.0, tile=1).mesh
    # terrain: a fan from a point in the middle whose height lies on the slope
    middle = np.array([[20.0, 20.0, 3.5]])
    tail = rim.edges + mesh.n_interior
    top = np.column_stack([tail, np.full(len(tail), len(mesh.vertices))])
    vertices, faces = np.concatenate([mesh.vertices, middle]), np.concatenate([mesh.faces, top])
    assert volume(vertices, faces) == pytest.approx(40 * 40 * 2.5)
    trimesh = pytest.importorskip("trimesh")
    solid = trimesh.Trimesh(vertices, faces, process=False)
    assert solid.is_watertight and solid.is_winding_consistent


def test_base_triangles_of_an_even_rim_are_no_needles() -> None:
    domain = Domain.from_bounds((0.0, 0.0, 900.0, 600.0))
    rim = frame_rim(domain, np.arange(0, 901, 10) * MESH_UNITS, np.arange(0, 601, 10) * MESH_UNITS)
    mesh = close_solid(rim, domain, lowest_z=0.0, base_depth=1.0, tile=1).mesh
    base = mesh.vertices[mesh.faces[mesh.markers == BASE_MARKER]][:, :, :2]
    sides = np.linalg.norm(np.roll(base, -1, axis=1) - base, axis=2)
    cosines = [
        (sides[:, k] ** 2 + sides[:, k - 1] ** 2 - sides[:, k - 2] ** 2) / (2 * sides[:, k] * sides[:, k - 1])
        for k in range(3)
    ]
    smallest = np.degrees(np.arccos(np.max(cosines, axis=0)))
    assert smallest.min() > 15
    assert len(base) < 4 * len(rim.keys)


@pytest.mark.parametrize("damage", ["gap", "level", "backwards", "inside"])
def test_a_rim_that_is_not_the_frame_is_refused(damage: str) -> None:
    domain = Domain.from_bounds((0.0, 0.0, 40.0, 40.0))
    side = np.arange(0, 41, 4) * MESH_UNITS
    rim = frame_rim(domain, side, side)
    keys, edges = rim.keys.copy(), rim.edges
    if damage == "gap":
        edges = edges[1:]
    elif damage == "level":
        keys[5, 2] = 12
    elif damage == "backwards":
        edges = edges[:, ::-1]
    else:
        keys[5, :2] += MESH_UNITS
    with pytest.raises(CheckError, match="rim"):
        close_solid(Boundary(keys, rim.z, edges, rim.refs), domain, lowest_z=3.0, base_depth=1.0, tile=1)
