"""The benchmarks run, on a city so small that their figures mean nothing; their exit code tells what does not hold."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks.__main__ import BENCHMARKS
from tests.benchmarks.figures import TINY, Figure, Scale, failed, skipped, table

LONG = ("scale", "survival")
"""Too long for every run of the tests, even with the smallest inputs."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full) if name in LONG else name for name in BENCHMARKS]
)
def test_every_benchmark_gives_figures(name: str, tmp_path: Path) -> None:
    figures = list(BENCHMARKS[name](TINY, tmp_path))
    assert any(figure.measured is not None for figure in figures)
    assert all(figure.measured is None or figure.measured >= 0 for figure in figures)
    assert not [figure for figure in figures if figure.failed]
    assert len(table(figures).splitlines()) == 2 + len(figures)


@pytest.mark.parametrize(
    ("figure", "code"),
    [
        (Figure("met", 1.0, "s", 1.0), 0),
        (Figure("missed", 1.1, "s", 1.0), 1),
        (Figure("too few", 49, "runs", 50, at_least=True), 1),
        (Figure("only shown", 9.0), 0),
        (skipped("no rights", "not here"), 0),
        (failed("out of memory", "exit code -9: a | b\nc"), 1),
        (None, 1),
    ],
)
def test_the_exit_code_tells_what_does_not_hold(
    figure: Figure | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(scale: Scale) -> Iterator[Figure]:
        yield Figure("before", 1.0)
        if figure is None:
            raise ZeroDivisionError("broken")
        yield figure

    monkeypatch.setattr(command, "BENCHMARKS", {"one": measure, "other": lambda scale: iter([Figure("after", 2.0)])})
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick"])
    assert command.main() == code
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows[2].startswith("| before") and rows[-1].startswith("| after"), "one does not take the others along"
    assert ("**no**" in rows[3]) == bool(code)
    assert all(row.count("|") == 8 for row in rows)
