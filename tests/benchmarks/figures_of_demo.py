"""The demo as a new user meets it: with nothing compiled, then once more; and how good its triangles are.

Isolates the whole command in a process of its own, sample city, check and picture included.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

import citymesh_dask
from tests.benchmarks.figures import FULL, TINY, Figure, Scale
from tests.benchmarks.sample import KEPT

SIZE_M = {FULL.name: 1000.0, TINY.name: TINY.city_m}
_STEEP_WALL_DEG = 20


def measure(scale: Scale, folder: Path = KEPT) -> Iterator[Figure]:
    """Yield the figures of the demo at its default size."""
    size = SIZE_M.get(scale.name, 500.0)
    demo, kernels = folder / "demo", folder / "demo-kernels"
    shutil.rmtree(kernels, ignore_errors=True)
    for state in ("nothing compiled", "once more") if scale != TINY else ("compiled before",):
        shutil.rmtree(demo, ignore_errors=True)
        seconds = _time_demo(demo, size, {"NUMBA_CACHE_DIR": str(kernels)} if scale != TINY else {})
        yield Figure(f"`citymesh demo`, {state}", seconds, "s", 60.0, note=f"{size:g} m x {size:g} m")
    yield from quality_figures(citymesh_dask.open_mesh(demo / "city.zarr").attributes["quality"], "demo city")
    shutil.rmtree(demo)


def _time_demo(demo: Path, size: float, settings: Mapping[str, str]) -> float:
    start = time.perf_counter()
    line = [sys.executable, "-m", "citymesh_dask", "demo", str(demo), "--size", f"{size:g}"]
    subprocess.run(line, env=os.environ | settings, capture_output=True, check=True)
    return time.perf_counter() - start


def quality_figures(quality: Mapping[str, object], what: str) -> Iterator[Figure]:
    """Yield the shares of good triangles that a store tells of."""
    angles, walls = np.array(quality["angles"]), np.array(quality["wall_angles"])
    flat = angles.sum()
    for name, short in (("at the asked angle", "below_angle"), ("within 1.01 of the asked area", "above_area")):
        share = 100 * (1 - int(str(quality[short])) / flat)
        yield Figure(f"{what}: terrain and roofs {name}", share, "%", 99.9, at_least=True, note=f"of {flat:,}")
    share = 100 * walls[_STEEP_WALL_DEG:].sum() / walls.sum()
    note = f"of {walls.sum():,}"
    yield Figure(f"{what}: walls over {_STEEP_WALL_DEG} degrees", share, "%", 95.0, at_least=True, note=note)
