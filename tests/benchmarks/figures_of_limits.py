"""Rows that users know: cities of 12, 60 and 120 thousand buildings in hard limits of 0.5, 1, 2, 4 and 8 GB.

Isolates the promise of the plan: the kernel kills nothing, no task takes more than was projected for it or must be done
again for want of memory, no worker dies, and as much is written as was said. Coarse meshes, terrain from a raster, so
that a row takes a minute or two; the smallest city also from LAZ points, in the limits that are tight for reading.

python -m tests.benchmarks.figures_of_limits [EDGE GIGABYTES [raster|points]]
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from citymesh_dask.sample_city.landscape import SampleCity
from citymesh_dask.sample_city.survey_files import city_pieces, write_footprints, write_points, write_terrain
from tests.benchmarks.figures import FULL, TINY, Figure, Scale, failed, skipped, table
from tests.benchmarks.sample import KEPT
from tests.hard_limits import Limited, can_limit, run_limited

CITIES_M = {FULL.name: (2500.0, 5600.0, 7900.0), TINY.name: (TINY.city_m,)}
MEMORIES_GB = {FULL.name: (0.5, 1.0, 2.0, 4.0, 8.0), TINY.name: (0.5,)}
FROM_POINTS_GB: dict[str, tuple[float, ...]] = {TINY.name: ()}
"""Limits in which the smallest city is built from points, too."""
COARSE = ("--max-mesh-size", "30", "--building-mesh-triangle-size", "15")
_FINE_BELOW_M = 2000.0
"""Cities smaller than this are meshed with the default sizes."""
_TERRAIN_CELL_M = 2.0
_TROUBLES = ("retried", "alone", "split", "skipped")
"""Events of the log of a run that tell of a task which did not go well at once."""


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
    log : tuple of dict
        Lines of its log.
    """

    allowed_bytes: int
    limited: Limited
    report: dict[str, Any]
    log: tuple[dict[str, Any], ...] = ()

    @property
    def over(self) -> list[str]:
        """Stages with a task that took more memory than was projected for it, or for which nothing was, in MiB."""
        stages = (stage for stage in self.report.get("stages", ()) if stage["tasks"])
        over = [stage for stage in stages if stage["peak_memory"] > stage["projected"] or not stage["peak_memory"]]
        return [f"{stage['name']} {stage['peak_memory'] >> 20} of {stage['projected'] >> 20}" for stage in over]

    @property
    def troubles(self) -> list[str]:
        """Tasks that did not go well at once, each with what was done about it."""
        return [f"{line['event']} {line['key']}" for line in self.log if line["event"] in _TROUBLES]

    @property
    def workers_lost(self) -> int:
        """How many more workers did something than there were to be: others have taken the place of dead ones.

        Dask does the tasks of a worker that died again without a word, so that `troubles` may be none.
        """
        names = {line["worker"] for line in self.log if line["event"] == "done" and line.get("worker")}
        return max(len(names) - int(self.report.get("workers", 0)), 0)

    @property
    def written_share(self) -> float:
        """Bytes that were written to tiles and store, as a share of those projected."""
        planned = {row["stage"]: row["written_bytes"] for row in self.report["plan"]}
        pairs = [(s["bytes_written"], planned[s["name"]]) for s in self.report["stages"] if s["bytes_written"]]
        return float(sum(written for written, _ in pairs) / max(sum(projected for _, projected in pairs), 1))


def measure(scale: Scale, folder: Path = KEPT) -> Iterator[Figure]:
    """Yield the figures of all rows."""
    if not can_limit():
        yield skipped("hard limits", "no right to make control groups")
        return
    cities = CITIES_M.get(scale.name, (1000.0,))
    for size in cities:
        for memory in MEMORIES_GB.get(scale.name, (0.5, 1.0)):
            yield from figures_of_row(size, memory, folder=folder)
    for memory in FROM_POINTS_GB.get(scale.name, (0.5, 1.0)):
        yield from figures_of_row(cities[0], memory, folder=folder, source="points")


def figures_of_row(size_m: float, memory_gb: float, *, folder: Path, source: str = "raster") -> Iterator[Figure]:
    """Yield the figures of one city in one limit."""
    allowed = int(memory_gb * 1e9)
    name = f"{size_m / 1000:g} km city from {source} in {memory_gb:g} GB"
    if psutil.virtual_memory().available < allowed:
        yield skipped(name, "this machine has less")
        return
    row = limited_run(limits_city(size_m, folder), allowed, folder=folder, source=source)
    what = (
        f"{sum(row.report['outcomes'].values()):,} buildings from {source} in {memory_gb:g} GB" if row.report else name
    )
    yield Figure(f"{what}: killed for memory", row.limited.oom_kills, "", 0, note=_note(row))
    if not row.report:
        yield failed(name, f"exit code {row.limited.returncode}: {row.limited.output[-300:]}")
        return
    yield Figure(f"{what}: stages over their projection", len(row.over), "", 0, note=", ".join(row.over))
    note = ", ".join([*row.troubles[:5], *["..."][: len(row.troubles) - 5]])
    yield Figure(f"{what}: tasks retried, done alone or split", len(row.troubles), "", 0, note=note)
    yield Figure(f"{what}: workers that died", row.workers_lost, "", 0)
    share = row.limited.anonymous_peak / row.allowed_bytes
    note = f"{row.limited.anonymous_peak / 1e6:.0f} MB, with page cache {row.limited.total_peak / 1e6:.0f} MB"
    yield Figure(f"{what}: anonymous peak / allowed", share, "", 1.0, note=note)
    yield Figure(f"{what}: bytes written / projected", row.written_share, "", 1.0, note="tiles and store")


def _note(row: Row) -> str:
    if not row.report:
        return ""
    return f"{row.report['workers']} worker(s), {row.report['n_faces']:,} triangles, {row.limited.seconds:.0f} s"


def limited_run(
    city: Path, allowed_bytes: int, *, folder: Path, source: str = "raster", more: Sequence[str] = ()
) -> Row:
    """Build a city in a hard limit, told to take just as much; ``source`` is "raster" or "points"."""
    out = folder / "limited.zarr"
    log = out.with_name("limited.jsonl")
    command = [sys.executable, "-m", "citymesh_dask", "build", "--footprints", str(city / "footprints.gpkg")]
    command += [*_ground(city, source), "--out", str(out), f"--log={log}"]
    command += ["--memory-limit", str(allowed_bytes), "--overwrite", "--quiet", "--json", *more]
    coarse = () if float(city.name.rpartition("-")[2]) < _FINE_BELOW_M else COARSE
    _remove(out, log)
    limited = run_limited([*command, *coarse], allowed_bytes)
    told = tuple(map(json.loads, log.read_text().splitlines())) if log.exists() else ()
    _remove(out, log)
    lines = [line for line in limited.output.splitlines() if line.startswith('{"status": "finished"')]
    return Row(allowed_bytes, limited, json.loads(lines[0])["report"] if lines else {}, told)


def _remove(out: Path, log: Path) -> None:
    for path in (out, out.with_name(f"{out.name}.scratch")):
        shutil.rmtree(path, ignore_errors=True)
    log.unlink(missing_ok=True)


def _ground(city: Path, source: str) -> list[str]:
    """Return the words for terrain and heights: from the raster and an attribute, or both from points."""
    if source == "raster":
        return ["--terrain", str(city / "terrain.tif"), "--height-field", "height"]
    return ["--points", *map(str, sorted(_points(city).glob("*.laz")))]


def _points(city: Path) -> Path:
    """Return the folder with the laser returns of a sample city, made where they are missing."""
    folder, partial = city / "points", city / "partial-points"
    if not folder.exists():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        sample = SampleCity(float(city.name.rpartition("-")[2]))
        for piece in city_pieces(sample):
            write_points(sample, piece, partial)
        partial.rename(folder)
    return folder


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
    given = sys.argv[1:]
    if len(given) < 2:
        figures = measure(FULL)
    else:
        figures = figures_of_row(float(given[0]), float(given[1]), folder=KEPT, source=(*given[2:], "raster")[0])
    sys.stdout.write(table(figures))


if __name__ == "__main__":
    main()
