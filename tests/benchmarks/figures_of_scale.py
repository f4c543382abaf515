"""A mesh far larger than memory, in a hard limit; what grows with the number of tiles, and what does not.

python -m tests.benchmarks --only scale          600 km2, 51 GB of mesh: needs 65 GB of room and 15 minutes
python -m tests.benchmarks --only scale --quick  6 km2

Isolates what a user sees: commands are run as a user would, in a memory control group of their own.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import citymesh_dask
from citymesh_dask.engine.memory import parse_bytes
from citymesh_dask.facts import RunFacts
from citymesh_dask.report import read_facts, report_path
from citymesh_dask.store.city_store import open_store
from tests.benchmarks.figures import FULL, TINY, Figure, Scale, failed, skipped
from tests.benchmarks.figures_of_runs import MERGING, RAW_BYTES_PER_FACE, WORKERS, written_bytes
from tests.benchmarks.large_city import SQUARE_M, LargeCity, large_city
from tests.benchmarks.sample import KEPT
from tests.hard_limits import Limited, can_limit, run_limited

MEMORY = "4GB"
ANONYMOUS_BYTES = 2e9
SECONDS = 600.0
DISK_SHARE = 1.25
RAW_BYTES = 50e9
MOST_GROWTH = 1.1
MOST_WRITTEN = 2.3
MOST_GROWTH_WRITTEN = 1.1
_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Built:
    """What a build in a hard limit took.

    Parameters
    ----------
    limited : Limited
        Memory, time, exit code.
    facts : RunFacts or None
        Its report; None where it failed.
    disk_peak : int
        Bytes on the disk beyond those before, at most: scratch folder and result.
    """

    limited: Limited
    facts: RunFacts | None
    disk_peak: int


class DiskPeak:
    """The most bytes that a file system has held more than at first, sampled: nothing else should write there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._before = shutil.disk_usage(folder).used
        self.peak = 0

    def __enter__(self) -> DiskPeak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        # to add up thousands of files took a twentieth of a core
        while not self._stop.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, shutil.disk_usage(self._folder).used - self._before)


def measure(scale: Scale, folder: Path = KEPT) -> Iterator[Figure]:
    """Yield the figures of a large city, of memory against tiles, and of bytes written against tiles."""
    folder.mkdir(parents=True, exist_ok=True)
    if not can_limit():
        yield skipped("scale", "no right to make memory control groups")
        return
    yield from _headline(scale, folder)
    yield from _tiles_and_memory(scale, folder)
    yield from _tiles_and_bytes(scale, folder)


def _headline(scale: Scale, folder: Path) -> Iterator[Figure]:
    """Build and check a city of at least 50 GB raw."""
    columns, rows = (48, 50) if scale == FULL else (1, 1) if scale == TINY else (4, 6)
    city = large_city(columns, rows, folder)
    size = 5.0 if scale == TINY else 1.07
    out = folder / "scale.zarr"
    built = build(city, out, size=size)
    what = f"{city.km2:g} km2, {city.n_buildings:,} buildings"
    targets = scale == FULL
    yield from _build_figures(built, what, targets=targets)
    if built.facts is not None:
        yield from _check_figures(out, what)
    _remove(out)


def build(city: LargeCity, out: Path, *, size: float, more: Sequence[str] = ()) -> Built:
    """Build a city with triangles of one size everywhere, in a hard limit of `MEMORY`."""
    _remove(out)
    words = ["build", "--footprints", city.footprints, "--terrain", city.terrain, "--height-field", "height"]
    words += ["--max-mesh-size", size, "--building-mesh-triangle-size", size]
    words += ["--memory-limit", MEMORY, "--workers", WORKERS, "--out", out, "--quiet", *more]
    with DiskPeak(out.parent) as disk:
        limited = _limited(words)
    facts = read_facts(open_store(out)) if limited.returncode == 0 else None
    return Built(limited, facts, disk.peak)


def _limited(words: Sequence[object]) -> Limited:
    return run_limited([sys.executable, "-m", "citymesh_dask", *map(str, words)], parse_bytes(MEMORY))


def _folders(out: Path) -> list[Path]:
    """Return where a run writes: the result, and on the way to it."""
    return [out, out.with_name(f"{out.name}.scratch"), out.with_name(f".{out.name}.partial")]


def _remove(out: Path) -> None:
    for path in _folders(out):
        shutil.rmtree(path, ignore_errors=True)
    report_path(out).unlink(missing_ok=True)


def _build_figures(built: Built, what: str, *, targets: bool) -> Iterator[Figure]:
    limited = built.limited
    if built.facts is None:
        yield Figure(f"{what}: processes killed for want of memory", limited.oom_kills, "", 0.0)
        yield failed(f"{what}: build in a hard {MEMORY}", f"exit code {limited.returncode}: {limited.output[-300:]}")
        return
    faces = built.facts.n_faces
    raw = RAW_BYTES_PER_FACE * faces
    note = f"{faces:,} triangles, {RAW_BYTES_PER_FACE} bytes each"
    least = RAW_BYTES / 1e9 if targets else None
    yield Figure(f"{what}: mesh as plain arrays", raw / 1e9, "GB", least, at_least=True, note=note)
    note = f"{faces / limited.seconds / 1e6:.2f} M triangles/s, {WORKERS} workers; from the command to its end"
    yield Figure(f"{what}: build in a hard {MEMORY}", limited.seconds, "s", SECONDS if targets else None, note=note)
    yield _memory_figure(limited, f"{what}: build")
    yield Figure(f"{what}: processes killed for want of memory", limited.oom_kills, "", 0.0)
    note = f"{built.disk_peak / 1e9:.1f} GB on the disk at most, beyond those before"
    disk = DISK_SHARE if targets else None
    yield Figure(f"{what}: peak of the disk / mesh", built.disk_peak / raw, "", disk, note=note)
    for stage in built.facts.stages:
        if stage.tasks and stage.wall > 0.01 * limited.seconds:
            note = f"{stage.tasks} tasks, {stage.seconds:.1f} s of work"
            yield Figure(f"{what}: {stage.name}", stage.wall, "s", peak_bytes=stage.peak_memory, note=note)


def _memory_figure(limited: Limited, what: str) -> Figure:
    resident, total = limited.resident_peak / 1e9, limited.total_peak / 1e9
    note = f"{resident:.2f} GB resident, shared pages counted for each process; {total:.2f} GB with the page cache"
    peak = limited.anonymous_peak
    return Figure(f"{what}: anonymous memory of all processes", peak / 1e9, "GB", ANONYMOUS_BYTES / 1e9, note=note)


def _check_figures(out: Path, what: str) -> Iterator[Figure]:
    """Yield time and memory of ``citymesh check`` in the same limit; it must say that the mesh holds."""
    limited = _limited(["check", out, "--memory-limit", MEMORY, "--workers", WORKERS])
    said = "it holds" if limited.returncode == 0 else f"exit code {limited.returncode}: {limited.output[-300:]}"
    yield Figure(f"{what}: exit code of check in the same limit", abs(limited.returncode), "", 0.0, note=said)
    yield Figure(f"{what}: check", limited.seconds, "s")
    yield _memory_figure(limited, f"{what}: check")


def _tiles_and_memory(scale: Scale, folder: Path) -> Iterator[Figure]:
    """Hold memory and merging of 100 tiles against those of 10 of the same size."""
    size = 20.0 if scale == TINY else 2.0
    few, many = ((2, 1), (3, 3)) if scale == TINY else ((5, 2), (10, 10))
    took, merging = [], []
    for columns, rows in (few, many):
        out = folder / "tiles.zarr"
        built = build(large_city(columns, rows, folder), out, size=size, more=("--tile-size", str(SQUARE_M)))
        _remove(out)
        if built.facts is None:
            limited = built.limited
            yield failed("memory against tiles", f"exit code {limited.returncode}: {limited.output[-300:]}")
            return
        took.append(built.limited)
        seconds = sum(s.seconds for s in built.facts.stages if s.name.startswith(MERGING))
        merging.append(seconds / (columns * rows))
    most = None if scale == TINY else MOST_GROWTH
    for what, peaks in (
        ("anonymous memory of all processes", [limited.anonymous_peak for limited in took]),
        ("resident memory of all processes, libraries included", [limited.resident_peak for limited in took]),
    ):
        note = f"{peaks[0] / 1e6:.0f} and {peaks[1] / 1e6:.0f} MB"
        yield Figure(f"{what}, of 100 tiles / of 10 tiles", peaks[1] / max(peaks[0], 1), "", most, note=note)
    note = f"{1e3 * merging[0]:.1f} and {1e3 * merging[1]:.1f} ms per tile; log N alone makes it 2"
    most = None if scale == TINY else 2.0
    yield Figure("merging per tile, of 100 / of 10 tiles", merging[1] / max(merging[0], 1e-9), "", most, note=note)


def _tiles_and_bytes(scale: Scale, folder: Path) -> Iterator[Figure]:
    """Hold what is written for a city against its mesh, in few tiles and in many."""
    city = large_city(1, 1, folder) if scale == TINY else large_city(4, 4, folder)
    counts = (1, 4) if scale == TINY else (16, 64, 256)
    shares = []
    client = citymesh_dask.connect(n_workers=WORKERS)
    try:
        for count in counts:
            out, size = folder / "bytes.zarr", 10.0 if scale == TINY else 2.0
            figure = _written_figure(client, city, count, out=out, size=size)
            shares.append(figure.measured or 0.0)
            yield figure
    finally:
        client.close()
    most = None if scale == TINY else MOST_GROWTH_WRITTEN
    what = f"bytes written / raw mesh, {counts[-1]} tiles / {counts[0]} tiles"
    yield Figure(what, shares[-1] / shares[0], "", most) if shares[0] else skipped(what, "this system does not count")


def _written_figure(client: object, city: LargeCity, count: int, *, out: Path, size: float) -> Figure:
    _remove(out)
    before = written_bytes(client)
    run = citymesh_dask.build_city_mesh(
        city.footprints,
        out,
        terrain=city.terrain,
        height_field="height",
        max_mesh_size=size,
        building_mesh_triangle_size=size,
        tile_size=(city.km2 * 1e6 / count) ** 0.5,
        client=client,
        progress=False,
    )
    mesh = run.result()
    raw, written = RAW_BYTES_PER_FACE * mesh.n_faces, written_bytes(client) - before
    _remove(out)
    what, note = f"bytes written / raw mesh, {count} tiles", f"{written / 1e6:,.0f} MB, mesh of {raw / 1e6:,.0f} MB"
    if not written:
        return skipped(what, "this system does not count them")
    return Figure(what, written / raw, "", MOST_WRITTEN, note=note)
