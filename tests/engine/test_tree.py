"""Grouping of a tree reduction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citymesh_dask.engine.tree import tree_levels


@given(st.integers(1, 3000), st.integers(2, 20))
def test_every_child_has_one_parent_and_there_is_one_root(n_leaves: int, fan_in: int) -> None:
    width = n_leaves
    for level in tree_levels(n_leaves, fan_in):
        assert [child for node in level for child in node] == list(range(width))
        assert all(1 <= len(node) <= fan_in for node in level)
        width = len(level)
    assert width == 1


@pytest.mark.parametrize(("leaves", "fan_in", "depth"), [(1, 8, 1), (8, 8, 1), (9, 8, 2), (64, 8, 2), (65, 8, 3)])
def test_depth_is_the_logarithm(leaves: int, fan_in: int, depth: int) -> None:
    assert len(tree_levels(leaves, fan_in)) == depth
