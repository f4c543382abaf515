"""Boundaries add up to the same rim, owners and numbers whatever the tiles and the tree."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citymesh_dask.errors import CheckError
from citymesh_dask.geometry.joining.boundary import MergedBoundary, SeamFault, close_rim, merge_boundaries
from citymesh_dask.geometry.joining.edges import tile_edges
from citymesh_dask.geometry.joining.numbering import (
    owned_ranks,
    owned_tail,
    owner_tiles,
    tail_ids,
    tail_rows,
    vertex_offsets,
)
from citymesh_dask.mesh import TERRAIN_LEVEL, Boundary
from citymesh_dask.store.chunks import Array

SIZE = 5
FRAME = (0, 0, SIZE, SIZE)


def stepped_city() -> tuple[Array, Array]:
    """Keys and faces of a 5 x 5 grid of which three cells are raised, two of them touching, one on the frame."""
    level_of = {(1, 2): 70, (2, 2): 90, (3, 4): 40}
    number: dict[tuple[int, int, int], int] = {}
    faces = []

    def corner(x: int, y: int, level: int) -> int:
        return number.setdefault((x, y, level), len(number))

    def wall(a: tuple[int, int], b: tuple[int, int], high: int) -> None:
        levels = [level for level in (TERRAIN_LEVEL, 40, 70, 90) if level <= high]
        left, right = ([corner(*p, level) for level in levels if (*p, level) in number] for p in (a, b))
        while len(left) > 1 or len(right) > 1:
            if len(right) > 1:
                faces.append((left[0], right[0], right[1]))
                right = right[1:]
            else:
                faces.append((left[0], right[0], left[1]))
                left = left[1:]

    cells = [(i, j) for j in range(SIZE) for i in range(SIZE)]
    for i, j in cells:
        level = level_of.get((i, j), TERRAIN_LEVEL)
        a, b, c, d = (corner(i + x, j + y, level) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1)))
        faces.extend([(a, b, c), (a, c, d)])
    for i, j in level_of:
        if j == SIZE - 1:  # a wall on the frame stands on terrain
            corner(i, j + 1, TERRAIN_LEVEL)
            corner(i + 1, j + 1, TERRAIN_LEVEL)
    for (i, j), level in level_of.items():
        sides = [((i, j), (i + 1, j)), ((i + 1, j), (i + 1, j + 1)), ((i + 1, j + 1), (i, j + 1)), ((i, j + 1), (i, j))]
        outside = [(i, j - 1), (i + 1, j), (i, j + 1), (i - 1, j)]
        for (a, b), neighbour in zip(sides, outside, strict=True):
            low = level_of.get(neighbour, TERRAIN_LEVEL)
            if low == TERRAIN_LEVEL:
                wall(a, b, level)
            elif low < level:
                lo, hi = (corner(*a, low), corner(*b, low)), (corner(*a, level), corner(*b, level))
                faces.extend([(lo[0], lo[1], hi[1]), (lo[0], hi[1], hi[0])])
    return np.array(list(number), np.int64), np.array(faces, np.int32)


KEYS, FACES = stepped_city()


@dataclass(frozen=True)
class SplitTile:
    """A tile of a test mesh: the global vertices of its local ones, the tail last."""

    vertices: Array
    n_interior: int
    boundary: Boundary


def split_tile(faces: Array, tile: int, keys: Array) -> SplitTile:
    """Number the vertices of some faces locally, boundary last, and take their boundary."""
    used, local = np.unique(faces, return_inverse=True)
    local = local.reshape(-1, 3).astype(np.int32)
    edges, overused, inconsistent = tile_edges(local, len(used))
    assert not len(overused) and not len(inconsistent)
    tail = np.unique(edges)
    interior = np.setdiff1d(np.arange(len(used)), tail)
    place = np.zeros(len(used), np.int32)
    place[tail] = np.arange(len(tail))
    index = np.arange(len(tail), dtype=np.int32)
    refs = np.stack([index, np.full(len(tail), tile, np.int32), index], axis=1)
    z = used[tail] * 0.5
    boundary = Boundary(keys[used[tail]], z, place[edges], refs)
    return SplitTile(used[np.concatenate([interior, tail])], len(interior), boundary)


def reduce_tree(leaves: list[Boundary], shape: st.DataObject | int) -> tuple[Boundary, list[MergedBoundary]]:
    """Add boundaries pair by pair or in larger handfuls until one is left."""
    nodes, steps = list(leaves), []
    while True:
        width = min(shape if isinstance(shape, int) else shape.draw(st.integers(2, 5)), len(nodes))
        start = 0 if isinstance(shape, int) else shape.draw(st.integers(0, len(nodes) - width))
        step = merge_boundaries(nodes[start : start + width])
        steps.append(step)
        nodes[start : start + width] = []
        nodes.append(step.boundary)
        if len(nodes) == 1:
            return nodes[0], steps


def assemble(tiles: list[SplitTile], seams: list[Array]) -> Array:
    """Return the global number of each vertex of the original mesh."""
    rows = [tail_rows(t, seams) for t in range(len(tiles))]
    owned = [owned_tail(t, rows[t]) for t in range(len(tiles))]
    n_interior = np.array([tile.n_interior for tile in tiles])
    offsets = vertex_offsets(n_interior, np.array([mask.sum() for mask in owned]))
    number = np.full(len(KEYS), -1)
    for t, tile in enumerate(tiles):
        ranks = {owner: owned_ranks(owned[owner]) for owner in owner_tiles(rows[t])}
        tail = tail_ids(rows[t], offsets=offsets, n_interior=n_interior, ranks=ranks)
        ids = np.concatenate([offsets[t] + np.arange(tile.n_interior), tail])
        known = number[tile.vertices]
        assert np.all((known < 0) | (known == ids))
        number[tile.vertices] = ids
    assert offsets[-1] == len(KEYS)
    return number


def expected_owners(tiles: list[SplitTile]) -> set[tuple[int, int, int, int]]:
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for t, tile in enumerate(tiles):
        for index, vertex in enumerate(tile.vertices[tile.n_interior :].tolist()):
            places[vertex].append((t, index))
    return {(*place, *min(found)) for found in places.values() for place in found}


def all_rows(seams: list[Array]) -> Counter[tuple[int, ...]]:
    return Counter(tuple(row) for rows in seams for row in rows.tolist())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_partition_and_any_tree_give_the_same_owners_and_numbers(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 9))
    tile_of = np.array(data.draw(st.lists(st.integers(0, count - 1), min_size=len(FACES), max_size=len(FACES))))
    tiles = [split_tile(FACES[tile_of == t], i, KEYS) for i, t in enumerate(np.unique(tile_of))]
    root, steps = reduce_tree([tile.boundary for tile in tiles], data)
    rim = close_rim(root, FRAME)
    assert not len(rim.defects) and not any(len(step.defects) for step in steps)
    assert rim.length == rim.frame_length == 4 * SIZE
    seams = [*(step.seams for step in steps), rim.seams]
    assert all_rows(seams) == Counter(expected_owners(tiles))
    assert np.array_equal(np.sort(assemble(tiles, seams)), np.arange(len(KEYS)))


def checkerboard(count: int) -> list[SplitTile]:
    return [split_tile(FACES[np.arange(len(FACES)) % count == t], t, KEYS) for t in range(count)]


def test_the_root_is_the_same_array_for_array_for_every_fan_in() -> None:
    leaves = [tile.boundary for tile in checkerboard(6)]
    roots = [reduce_tree(leaves, fan_in)[0] for fan_in in (2, 3, 6)]
    for root in roots[1:]:
        for name in ("keys", "z", "edges", "refs"):
            assert np.array_equal(getattr(root, name), getattr(roots[0], name))
    assert len(roots[0].edges) == 4 * SIZE


def test_tiles_without_faces_change_nothing() -> None:
    leaves = [tile.boundary for tile in checkerboard(3)]
    empty = Boundary(np.empty((0, 3), np.int64), np.empty(0), np.empty((0, 2), np.int32), np.empty((0, 3), np.int32))
    assert len(merge_boundaries([empty, empty]).boundary.edges) == 0
    with_empty, without = merge_boundaries([empty, *leaves, empty]), merge_boundaries(leaves)
    assert np.array_equal(with_empty.boundary.edges, without.boundary.edges)
    assert np.array_equal(with_empty.seams, without.seams)
    rim = close_rim(empty, FRAME)
    assert rim.length == 0 and not len(rim.defects) and not len(rim.seams)


def test_a_missing_tile_leaves_open_edges_with_their_tile() -> None:
    leaves = [tile.boundary for tile in checkerboard(4)]
    rim = close_rim(merge_boundaries(leaves[:3]).boundary, FRAME)
    assert rim.length < rim.frame_length
    assert set(rim.defects.faults.tolist()) == {SeamFault.OPEN}
    for start, (first, second) in zip(rim.defects.keys[:, 0], rim.defects.tiles, strict=True):
        assert first in (0, 1, 2) and second in (-1, first + 1, first + 2)
        assert (leaves[first].keys == start).all(axis=1).any()


def test_a_tile_given_twice_overlaps_itself() -> None:
    leaves = [tile.boundary for tile in checkerboard(2)]
    twin = replace(leaves[1], refs=leaves[1].refs + np.array([0, 1, 0], np.int32))
    merged = merge_boundaries([*leaves, twin])
    faults = Counter(merged.defects.faults.tolist())
    assert faults[SeamFault.OVERUSED] > 0
    inner = merged.defects.keys[merged.defects.faults == SeamFault.OVERUSED]
    assert inner.shape[1:] == (2, 3)
    assert faults[SeamFault.INCONSISTENT] == 4 * SIZE - len(
        [1 for edge in leaves[0].edges.tolist() if _on_frame(leaves[0].keys[edge])]
    )


def _on_frame(ends: Array) -> bool:
    return any((ends[:, axis] == at).all() for axis in (0, 1) for at in (0, SIZE)) and bool(
        (ends[:, 2] == TERRAIN_LEVEL).all()
    )


def test_a_vertex_with_two_heights_is_named() -> None:
    leaves = [tile.boundary for tile in checkerboard(2)]
    z = leaves[1].z.copy()
    z[0] = np.nextafter(z[0], np.inf)
    merged = merge_boundaries([leaves[0], replace(leaves[1], z=z)])
    assert merged.defects.faults.tolist() == [SeamFault.HEIGHT]
    assert np.array_equal(merged.defects.keys[0, 0], leaves[1].keys[0])
    assert merged.defects.z[0, 0] != merged.defects.z[0, 1]
    assert merged.defects.tiles.tolist() == [[0, 1]]


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_keys_may_have_any_number_of_columns(columns: int) -> None:
    keys = np.stack([np.arange(len(KEYS)) * (k + 1) for k in range(columns)], axis=1).astype(np.int64)
    leaves = [split_tile(FACES[k::3], k, keys).boundary for k in range(3)]
    assert len(merge_boundaries(leaves).boundary.edges) == 4 * SIZE


def test_a_rim_edge_above_the_terrain_or_backwards_is_open() -> None:
    keys = np.array([(0, 0, TERRAIN_LEVEL), (SIZE, 0, TERRAIN_LEVEL), (SIZE, 0, 7), (0, 0, 7)], np.int64)
    refs = np.stack([np.arange(4), np.zeros(4), np.arange(4)], axis=1).astype(np.int32)
    edges = np.array([(0, 1), (1, 2), (2, 3)], np.int32)
    rim = close_rim(Boundary(keys, np.zeros(4), edges, refs), FRAME)
    assert rim.length == SIZE
    assert len(rim.defects) == 2
    backwards = close_rim(Boundary(keys, np.zeros(4), np.array([(1, 0)], np.int32), refs), FRAME)
    assert backwards.length == 0 and len(backwards.defects) == 1


def test_a_forgotten_node_of_the_tree_is_noticed() -> None:
    tiles = checkerboard(4)
    _, steps = reduce_tree([tile.boundary for tile in tiles], 2)
    with pytest.raises(CheckError, match="tile 0"):
        tail_rows(0, [step.seams for step in steps])


def brute_edges(faces: Array) -> tuple[set[tuple[int, int]], set[tuple[int, int]], set[tuple[int, int]]]:
    uses: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for face in faces.tolist():
        for a, b in zip(face, face[1:] + face[:1], strict=True):
            uses[min(a, b), max(a, b)].append((a, b))
    once = {runs[0] for (a, b), runs in uses.items() if len(runs) == 1 and a != b}
    over = {edge for edge, runs in uses.items() if len(runs) > 2 and edge[0] != edge[1]}
    twice = {runs[0] for runs in uses.values() if len(runs) == 2 and runs[0] == runs[1]}
    return once, over, twice | {edge for edge in uses if edge[0] == edge[1]}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 7)] * 3), max_size=40), st.integers(0, 60))
def test_tile_edges_finds_what_counting_finds(triples: list[tuple[int, int, int]], hub: int) -> None:
    star = [(3, 8 + k, 9 + k) for k in range(hub)]  # long lists take the indexed way
    faces = np.array(triples + star, np.int32).reshape(-1, 3)
    found = tile_edges(faces, 80)
    for edges, expected in zip(found, brute_edges(faces), strict=True):
        rows = [tuple(edge) for edge in edges.tolist()]
        assert len(set(rows)) == len(rows)
        assert set(rows) == expected
