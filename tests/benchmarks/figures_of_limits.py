"""Rows that users know: cities of 12, 60 and 120 thousand buildings in hard limits of 0.5, 1, 2 and 4 GB.

Isolates the promise of the plan: the kernel kills nothing, no task takes more than was projected for it, and as much
is written as was said. Coarse meshes, terrain from a raster, so that a row takes a minute or two.

python -m tests.benchmarks.figures_of_limits [EDGE GIGABYTES]
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from citymesh_dask.sample_city.landscape import SampleCity
from citymesh_dask.sample_city.survey_files import write_footprints, write_terrain
from tests.benchmarks.figures import FULL, TINY, Figure, Scale, skipped, table
from tests.benchmarks.sample import KEPT
from tests.hard_limits import Limited, can_limit, run_limited

CITIES_M = {FULL.name: (2500.0, 5600.0, 7900.0), TINY.name: (TINY.city_m,)}
MEMORIES_GB = {FULL.name: (0.5, 1.0, 2.0, 4.0), TINY.name: (0.5,)}
COARSE = ("--max-mesh-size", "30", "--building-mesh-triangle-size", "15")
_FINE_BELOW_M = 2000.0
"""Cities smaller than this are meshed with the default sizes."""
_TERRAIN_CELL_M = 2.0


@dataclass(frozen=True)
class Row:
    """What one city took in one limit.

    Parameters
    ----------
    allowed_bytes : int
        The limit, and what the run was told.
    limited : Limited
        What became of it.
    report : dict
        Report of the run; empty where it failed.
    """

    allowed_bytes: int
    limited: Limited
    report: dict[str, Any]

    @property
    def over(self) -> list[str]:
        """Stages with a task that took more memory than was projected, with both in MiB."""
        stages = self.report.get("stages", ())
        over = [stage for stage in stages if stage["peak_memory"] > stage["projected"] > 0]
        return [f"{stage['name']} {stage['peak_memory'] >> 20} of {stage['projected'] >> 20}" for stage in over]

    @property
    def written_share(self) -> float:
        """Bytes that were written to tiles and store, as a share of those projected."""
        planned = {row["stage"]: row["written_bytes"] for row in self.report["plan"]}
        pairs = [(s["bytes_written"], planned[s["name"]]) for s in self.report["stages"] if s["bytes_written"]]
        return sum(written for written, _ in pairs) / max(sum(projected for _, projected in pairs), 1)


def measure(scale: Scale, folder: Path = KEPT) -> Iterator[Figure]:
    """Yield the figures of all rows."""
    if not can_limit():
        yield skipped("hard limits", "no right to make control groups")
        return
    for size in CITIES_M.get(scale.name, (1000.0,)):
        for memory in MEMORIES_GB.get(scale.name, (0.5, 1.0)):
            yield from figures_of_row(size, memory, folder=folder)


def figures_of_row(size_m: float, memory_gb: float, *, folder: Path) -> Iterator[Figure]:
    """Yield the figures of one city in one limit."""
    row = limited_run(limits_city(size_m, folder), int(memory_gb * 1e9), folder=folder)
    if not row.report:
        yield Figure(f"{size_m / 1000:g} km city in {memory_gb:g} GB", None, note=row.limited.output[-300:])
        return
    buildings = sum(row.report["outcomes"].values())
    what = f"{buildings:,} buildings in {memory_gb:g} GB"
    note = f"{row.report['workers']} worker(s), {row.report['n_faces']:,} triangles, {row.limited.seconds:.0f} s"
    yield Figure(f"{what}: killed for memory", row.limited.oom_kills, "", 0, note=note)
    yield Figure(f"{what}: stages over their projection", len(row.over), "", 0, note=", ".join(row.over))
    share = row.limited.anonymous_peak / row.allowed_bytes
    note = f"{row.limited.anonymous_peak / 1e6:.0f} MB, with page cache {row.limited.total_peak / 1e6:.0f} MB"
    yield Figure(f"{what}: anonymous peak / allowed", share, "", 1.0, note=note)
    yield Figure(f"{what}: bytes written / projected", row.written_share, "", 1.0, note="tiles and store")


def limited_run(city: Path, allowed_bytes: int, *, folder: Path, more: Sequence[str] = ()) -> Row:
    """Build a city in a hard limit, told to take just as much."""
    out = folder / "limited.zarr"
    command = [sys.executable, "-m", "citymesh_dask", "build", "--footprints", str(city / "footprints.gpkg")]
    command += ["--terrain", str(city / "terrain.tif"), "--height-field", "height", "--out", str(out)]
    command += ["--memory-limit", str(allowed_bytes), "--overwrite", "--quiet", "--json", *more]
    coarse = () if float(city.name.rpartition("-")[2]) < _FINE_BELOW_M else COARSE
    for path in (out, out.with_name(f"{out.name}.scratch")):
        shutil.rmtree(path, ignore_errors=True)
    limited = run_limited([*command, *coarse], allowed_bytes)
    for path in (out, out.with_name(f"{out.name}.scratch")):
        shutil.rmtree(path, ignore_errors=True)
    lines = [line for line in limited.output.splitlines() if line.startswith('{"status": "finished"')]
    return Row(allowed_bytes, limited, json.loads(lines[0])["report"] if lines else {})


def limits_city(size_m: float, folder: Path = KEPT) -> Path:
    """Return the folder with footprints and terrain of a sample city, made where it is missing."""
    path = folder / f"limits-{size_m:.0f}"
    if not (path / "terrain.tif").exists():
        path.mkdir(parents=True, exist_ok=True)
        city = SampleCity(size_m)
        write_footprints(city, path / "footprints.gpkg")
        write_terrain(city, path / "partial.tif", _TERRAIN_CELL_M)
        (path / "partial.tif").rename(path / "terrain.tif")
    return path


def main() -> None:
    """Measure one row, or all."""
    size, memory = (float(word) for word in sys.argv[1:]) if len(sys.argv) == 3 else (None, None)
    figures = measure(FULL) if size is None or memory is None else figures_of_row(size, memory, folder=KEPT)
    sys.stdout.write(table(figures))


if __name__ == "__main__":
    main()
