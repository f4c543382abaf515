"""All benchmarks by one command; a Markdown table of figures, targets, ratios and peak memory on standard output.

python -m tests.benchmarks [--quick] [--only NAME ...] [--out FILE]

The exit code is 1 where a figure misses its target, or is not there because a run failed. What cannot be measured on
this machine is skipped, and fails nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import timeit
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.benchmarks import (
    figures_of_cleaning,
    figures_of_demo,
    figures_of_limits,
    figures_of_merging,
    figures_of_runs,
    figures_of_scale,
    figures_of_scheduling,
    figures_of_startup,
    figures_of_survival,
    figures_of_tiles,
)
from tests.benchmarks.figures import FULL, QUICK, Figure, Scale, failed, table

BENCHMARKS: dict[str, Callable[..., Iterator[Figure]]] = {
    "startup": figures_of_startup.measure,
    "tile": figures_of_tiles.measure,
    "cleaning": figures_of_cleaning.measure,
    "run": figures_of_runs.measure,
    "demo": figures_of_demo.measure,
    "limits": figures_of_limits.measure,
    "scale": figures_of_scale.measure,
    "merging": figures_of_merging.measure,
    "scheduling": figures_of_scheduling.measure,
    "survival": figures_of_survival.measure,
}


def main() -> int:
    """Run the benchmarks that were asked for and write the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=tuple(BENCHMARKS), default=tuple(BENCHMARKS), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="small inputs: a look, not the targets")
    parser.add_argument("--out", type=Path, help="write the table to this file, too")
    given = parser.parse_args()
    scale = QUICK if given.quick else FULL
    parts = [f"citymesh_dask benchmarks, {scale.name}: {machine()}\n"]
    sys.stdout.write(parts[0])
    holds = True
    for name in given.only:
        figures = list(measured(name, scale))
        holds &= all(figure.holds is not False for figure in figures)
        parts.append(f"\n## {name}\n\n{table(figures)}\n{speed()}\n")
        sys.stdout.write(parts[-1])
        sys.stdout.flush()
    if given.out:
        given.out.write_text("".join(parts), encoding="utf8")
    return 0 if holds else 1


def measured(name: str, scale: Scale) -> Iterator[Figure]:
    """Yield the figures of a benchmark; where it breaks, those before and what happened."""
    try:
        yield from BENCHMARKS[name](scale)
    except Exception as error:
        # the others shall be measured all the same, and the table has no room for a traceback
        traceback.print_exc()
        yield failed(name, f"{type(error).__name__}: {error}")


def machine() -> str:
    """Return a few words on where this runs; the load tells how much else did."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"Python {platform.python_version()}, {os.cpu_count()} CPUs{load}; {speed()}"


def speed() -> str:
    """Return how fast this machine is now: that of one may differ by half from hour to hour."""
    spent = min(timeit.repeat("for i in range(2_000_000): s += i * i", "s = 0", number=1, repeat=5))
    return f"2,000,000 turns of a loop in Python: {spent:.3f} s"


if __name__ == "__main__":
    sys.exit(main())
