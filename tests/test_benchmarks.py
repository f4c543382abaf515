"""The benchmarks run, on a city so small that their figures mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.__main__ import BENCHMARKS
from tests.benchmarks.figures import TINY, table

LONG = ("scale", "survival")
"""Too long for every run of the tests, even with the smallest inputs."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full) if name in LONG else name for name in BENCHMARKS]
)
def test_every_benchmark_gives_figures(name: str, tmp_path: Path) -> None:
    figures = list(BENCHMARKS[name](TINY, tmp_path))
    assert any(figure.measured is not None for figure in figures)
    assert all(figure.measured is None or figure.measured >= 0 for figure in figures)
    assert len(table(figures).splitlines()) == 2 + len(figures)
