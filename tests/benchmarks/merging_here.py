"""What merging costs here: the tile meshes of a finished run written, merged and put together once more.

All in one process, so that it stands beside `baseline_hdf5`: tiles and boundaries to the scratch folder, the tree over
the boundaries, the numbering, and the final arrays.

python -m tests.benchmarks.merging_here TASKS.pickle TILES
"""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from citymesh_dask.engine.plan import Plan, TaskCall
from citymesh_dask.pipelines.city.job import CityJob, load_job, partial_store, save_job
from citymesh_dask.pipelines.city.tiles.meshes import boundary_name
from citymesh_dask.store.scratch import Scratch
from tests.benchmarks.process_figures import peak_bytes, written_bytes

MERGING = ("merge_l", "close_mesh", "number_vertices")
ASSEMBLING = ("assemble",)


@dataclass(frozen=True)
class Merging:
    """What is to be done again.

    Parameters
    ----------
    job_path : str
        The job of the finished run, whose scratch folder was kept.
    merging, assembling : tuple of TaskCall
        Its tasks in order.
    """

    job_path: str
    merging: tuple[TaskCall, ...]
    assembling: tuple[TaskCall, ...]


def merging_of(plan: Plan, job_path: Path) -> Merging:
    """Return the tasks of a plan that merge and assemble."""
    merging, assembling = (
        tuple(task.call for task in plan.tasks() if task.key.startswith(names)) for names in (MERGING, ASSEMBLING)
    )
    return Merging(str(job_path), merging, assembling)


def save_tiles(job_path: Path, folder: Path) -> int:
    """Write the tile meshes of a run as NumPy files, for everybody to begin with; return their number."""
    job = load_job(str(job_path))
    for index in range(len(job.tiling)):
        place = folder / f"{index:05d}"
        place.mkdir(parents=True)
        for name in ("vertices", "faces", "markers"):
            np.save(place / f"{name}.npy", job.scratch.read(f"tiles/{index:05d}", name))
    return len(job.tiling)


def merge_again(work: Merging, tiles: Path, place: Path) -> dict[str, float]:
    """Write the tiles and all that follows into an empty folder; return what it took."""
    kept = load_job(work.job_path)
    job = replace(kept, scratch=Scratch(place / "scratch"), out=str(place / "out.zarr"))
    job.scratch.root.mkdir(parents=True)
    path = save_job(job)
    start = time.perf_counter()
    for index in range(len(job.tiling)):
        arrays = {name: np.load(tiles / f"{index:05d}" / f"{name}.npy") for name in ("vertices", "faces", "markers")}
        job.scratch.write(f"tiles/{index:05d}", arrays, kept.scratch.attributes(f"tiles/{index:05d}"))
        job.scratch.write(boundary_name(0, index), kept.scratch.read_all(boundary_name(0, index)))
    for call in work.merging[:1]:  # loads libraries and kernels
        call.function(path, *call.arguments[1:])
    merging = time.process_time()
    for call in work.merging:
        facts = call.function(path, *call.arguments[1:])
    merged = time.process_time()
    for call in work.assembling:
        call.function(path, *call.arguments[1:])
    end = time.perf_counter()
    raw = _raw_bytes(job, facts["vertices"], facts["faces"])
    seconds = {"seconds": end - start, "merging": merged - merging}
    return {"raw": raw, "written": written_bytes(), "peak": peak_bytes(), **seconds}


def _raw_bytes(job: CityJob, n_vertices: int, n_faces: int) -> int:
    """Return the size of the final arrays as plain arrays; make sure that they are there."""
    for name in ("vertices", "faces", "markers", "building"):
        assert (partial_store(job) / name / "c" / "0").exists()
    return 24 * n_vertices + 20 * n_faces


def main() -> None:
    """Do it as the command line says and print what it took as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", type=Path)
    parser.add_argument("tiles", type=Path)
    given = parser.parse_args()
    place = given.tasks.parent / "again"
    shutil.rmtree(place, ignore_errors=True)
    work: Merging = pickle.loads(given.tasks.read_bytes())
    sys.stdout.write(json.dumps(merge_again(work, given.tiles, place)) + "\n")
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
