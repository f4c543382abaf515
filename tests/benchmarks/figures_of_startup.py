"""The command line without work, and the graph without data.

Isolates: a new interpreter that prints the help; the plan and the graph of a city whose files do not exist.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from citymesh_dask.engine.graph import plan_to_graph
from citymesh_dask.engine.machine import Resources
from citymesh_dask.engine.memory import measure_peak
from citymesh_dask.formats.footprints import FootprintSource
from citymesh_dask.formats.lidar import PointSource
from citymesh_dask.options import CityOptions
from citymesh_dask.pipelines.city.inputs.survey import Survey
from citymesh_dask.pipelines.city.plan import city_job, plan_city
from citymesh_dask.store.manifest import ReceiptFolder
from citymesh_dask.tiles import Domain
from tests.benchmarks.figures import TINY, Figure, Scale

HEAVY = ("dask", "distributed", "zarr", "numba", "numpy")
_HELP = "import sys; from citymesh_dask.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
_LOADED = f"{_HELP}import json; sys.stderr.write(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"


def measure(scale: Scale, folder: Path | None = None) -> Iterator[Figure]:
    """Yield the figures of starting."""
    times = [_time_help() for _ in range(2 * scale.repeats + 1)]
    yield Figure("`citymesh --help`", min(times), "s", 0.3, note=f"best of {len(times)} new processes")
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stderr)
    yield Figure("heavy libraries that it loads", len(loaded), "", 0, note=", ".join(loaded) or "none")
    tiles = 100 if scale == TINY else 10_000
    with measure_peak() as memory:
        seconds, largest = _time_graph(tiles)
    note = f"fake inputs, {tiles:,} tiles, 2,000 point files"
    yield Figure("plan and graph", seconds, "s", 2.0, peak_bytes=memory.peak_bytes, note=note)
    yield Figure("largest task of the graph", largest / 1000, "kB", 10.0, note="pickled, keys it waits for included")


def _time_help() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "citymesh_dask", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def _time_graph(tiles: int) -> tuple[float, int]:
    """Return the time of plan and graph, seconds, and the bytes of the largest task."""
    edge = round(tiles**0.5) * 500
    start = time.perf_counter()
    job = city_job(fake_survey(edge), CityOptions(tile_size=500), out=Path("none"), scratch=Path("none"), fan_in=8)
    plan = plan_city(job, "none/job.json", Resources(8 << 30, 2))
    graph = plan_to_graph(plan, ReceiptFolder("none/receipts"), run_id="0" * 8)
    seconds = time.perf_counter() - start
    layer = dict(next(iter(graph.values())).__dask_graph__())
    return seconds, max(len(pickle.dumps(task)) for task in layer.values())


def fake_survey(edge: int) -> Survey:
    """Return the survey of a city of files that do not exist, ``edge`` metres wide."""
    box = (0.0, 0.0, float(edge), float(edge))
    layer = FootprintSource(
        "none.gpkg", "none", "GPKG", edge**2 // 1000, None, box, "Polygon", ("id",), ("int64",), "id", True
    )
    points = PointSource(
        "none.laz", 4_000_000, (0.0, 0.0, 0.0, box[2], box[3], 9.0), None, (0.01,) * 3, "1.4", 6, False, None
    )
    return Survey((layer,), (points,) * 2000, None, None, None, "", Domain.from_bounds(box), ())
