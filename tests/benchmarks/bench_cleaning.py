"""Time of cleaning footprints, without reading, repairing and writing.

Isolates `link_parts`, `clean_groups` and `check_outlines` on one core, by processor time per polygon, on real
footprints or on n x n touching houses. Run it as a script::

    python -m tests.benchmarks.bench_cleaning --footprints FILE [--layer NAME] --houses 100
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import shapely

from citymesh_dask.formats.footprints import read_features, survey_footprints
from citymesh_dask.geometry.cleaning.checking import check_outlines
from citymesh_dask.geometry.cleaning.cleaning import clean_groups, link_distance
from citymesh_dask.geometry.cleaning.linking import group_labels, link_parts
from citymesh_dask.geometry.cleaning.part_sets import take_parts
from citymesh_dask.geometry.polygons import prepare_footprints
from citymesh_dask.outlines import Parts
from citymesh_dask.tiles import OUTLINE_UNITS, Domain

T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """Processor time of one run, seconds, and what it had to do.

    Parameters
    ----------
    parts, groups : int
        Polygons, and groups that they fall into.
    link_s, clean_s, check_s : float
        Seconds; the best of the repeats.
    """

    parts: int
    groups: int
    link_s: float
    clean_s: float
    check_s: float

    def __str__(self) -> str:
        steps = [f"{name} {1e6 * s / self.parts:6.2f}" for name, s in self._steps().items()]
        total = 1e6 * sum(self._steps().values()) / self.parts
        return f"{self.parts:>8,} parts in {self.groups:>7,} groups  us/part: {'  '.join(steps)}  all {total:6.2f}"

    def _steps(self) -> dict[str, float]:
        return {"link": self.link_s, "clean": self.clean_s, "check": self.check_s}


def time_cleaning(parts: Parts, domain: Domain, *, tolerance: float = 0.25, repeats: int = 3) -> Sample:
    """Clean polygons some times and return the best times; the first run compiles and is not counted."""
    samples = []
    for _ in range(repeats + 1):
        link_s, (grouped, start) = _timed(lambda: _grouped(parts, tolerance))
        clean_s, (outlines, _) = _timed(
            lambda given=grouped, first=start: clean_groups(
                given, first, domain.frame, tolerance=tolerance, min_area=15.0
            )
        )
        check_s, _ = _timed(lambda found=outlines: check_outlines(found, tolerance))
        samples.append((link_s, clean_s, check_s))
    best = np.array(samples[1:]).min(axis=0)
    return Sample(len(parts), len(start) - 1, *best.tolist())


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def _grouped(parts: Parts, tolerance: float) -> tuple[Parts, np.ndarray]:
    labels = group_labels(len(parts), link_parts(parts, round(link_distance(tolerance) * OUTLINE_UNITS)))
    order = np.argsort(labels, kind="stable")
    return take_parts(parts, order), np.append(np.flatnonzero(np.diff(labels[order], prepend=-1)), len(parts))


def houses(n: int) -> tuple[Parts, Domain]:
    """Return n x n touching houses of 10 m with uneven corners: one group."""
    rng = np.random.default_rng(1)
    lines = np.arange(n + 1) * 10 + 20
    corners = np.stack(np.meshgrid(lines, lines, indexing="ij"), -1) + rng.uniform(-2, 2, (n + 1, n + 1, 2))
    quads = np.stack((corners[:-1, :-1], corners[1:, :-1], corners[1:, 1:], corners[:-1, 1:]), axis=2)
    domain = Domain.from_bounds((0, 0, 10 * n + 40, 10 * n + 40))
    return prepare_footprints(shapely.polygons(quads.reshape(-1, 4, 2)), domain).parts, domain


def read_parts(path: str, layer: str | None) -> tuple[Parts, Domain]:
    """Return the footprints of a file within their own box."""
    (source,) = survey_footprints([path], layer)
    domain = Domain.from_bounds(source.bounds or (0, 0, 1, 1))
    return prepare_footprints(read_features(source, 0, source.n_features).geometries, domain).parts, domain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--footprints", nargs="*", default=[], metavar="FILE")
    parser.add_argument("--layer")
    parser.add_argument("--houses", nargs="*", type=int, default=[30], metavar="N", help="N x N touching houses")
    arguments = parser.parse_args()
    for path in arguments.footprints:
        print(time_cleaning(*read_parts(path, arguments.layer)), path)
    for n in arguments.houses:
        print(time_cleaning(*houses(n)), f"{n} x {n} touching houses")


if __name__ == "__main__":
    main()
