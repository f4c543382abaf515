"""Amounts of memory, and the peak of a task."""

from __future__ import annotations

import numpy as np
import pytest

from citymesh_dask.engine.memory import FreedMemory, measure_peak, parse_bytes
from citymesh_dask.errors import OptionError


@pytest.mark.parametrize(
    ("text", "expected"), [("4GB", 4e9), ("4 gib", 4 * 2**30), ("500M", 5e8), (123, 123), ("0.5GB", 5e8)]
)
def test_amounts(text: str | int, expected: float) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["4 gigs", "", "-1GB", "0", "GB", "1e400"])
def test_unreadable_amounts_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="memory_limit"):
        parse_bytes(text)


def test_peak_sees_an_array_that_is_gone_again() -> None:
    with measure_peak() as before:
        pass
    with measure_peak() as during:
        np.ones(30_000_000)
    if before.peak_bytes:
        assert during.peak_bytes - before.peak_bytes > 200e6


def test_freed_memory_is_given_back() -> None:
    arrays = [np.ones(12_000) for _ in range(2000)]  # below the size that is mapped by itself
    with measure_peak() as held:
        assert len(arrays) == 2000
    del arrays
    FreedMemory().give_back_before("other work")
    with measure_peak() as after:
        pass
    if held.peak_bytes:
        assert held.peak_bytes - after.peak_bytes > 150e6
