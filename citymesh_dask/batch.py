"""Jobs to runs: those of configuration files and the one of a command line.

Here a `JobSpec` meets the Python interface; what a job may hold is the business of `config`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .city_mesh import CityMesh, PartialMesh
from .config import JobSpec, load_config
from .engine.data_limit import data_limited, load_libraries
from .engine.run import Run
from .engine.signals import signals_held_back
from .errors import ConfigError
from .pipelines.city.inputs.survey import CityInputs
from .starting import start_city
from .store.city_store import open_store


def start_job(job: JobSpec, *, progress: bool = True, typed: str = "") -> Run[CityMesh]:
    """Check a job and start it; return at once with the future of its mesh.

    Parameters
    ----------
    job : JobSpec
        What to run.
    progress : bool
        Whether to show progress.
    typed : str
        The command that was typed, where one was.

    Raises
    ------
    InputError, OptionError, OutputError, PlanError
        If the job cannot be run; nothing has been started then.
    """
    inputs = CityInputs(job.footprints, job.layer, job.points, job.terrain, job.surface, job.building_heights)
    return start_city(inputs, job.options, out=job.out, settings=job.settings, progress=progress, typed=typed)


def finish_run(run: Run[CityMesh], *, own_process: bool = False) -> CityMesh:
    """Wait for a run and return its mesh; cancel it if the waiting is interrupted.

    Parameters
    ----------
    run : Run
        A run.
    own_process : bool
        Whether this process is there for nothing else: where the tasks work in it, its data are limited to the
        memory that is allowed.
    """
    limited = own_process and run.in_process
    if limited:
        load_libraries()
    try:
        with data_limited(run.plan.allowed_bytes) if limited else contextlib.nullcontext():
            return run.result()
    except BaseException:
        with signals_held_back():
            run.cancel()
        raise


def mesh_summary(mesh: CityMesh) -> str:
    """Return one line on what a mesh holds."""
    if isinstance(mesh, PartialMesh):
        done = mesh.attributes["partial"]
        size = f"{mesh.n_faces:,} faces, {mesh.n_vertices:,} vertices so far"
        return f"not finished: {done['tiles']:,} of {done['of']:,} tiles, {done['tasks']:,} tasks done; {size}"
    words = Counter(open_store(mesh.path).column("status").tolist())
    outcomes = ", ".join(f"{count:,} {word}" for word, count in sorted(words.items())) or "none"
    return f"{mesh.n_faces:,} faces, {mesh.n_vertices:,} vertices; buildings: {outcomes}"


def load_jobs(paths: Sequence[str | Path], overrides: Sequence[str] = ()) -> list[JobSpec]:
    """Return the jobs of several configuration files, all read before any is run.

    Raises
    ------
    ConfigError
        If a file cannot be understood, or two jobs write the same store.
    """
    jobs = [job for path in paths for job in load_config(path, overrides)]
    writers: dict[Path, JobSpec] = {}
    for job in jobs:
        out = Path(job.out).absolute()
        if out in writers:
            found = f"writes {job.out}, as {writers[out].name} does"
            raise ConfigError(job.name, found, "a store of its own for every job", "change its key 'out'")
        writers[out] = job
    return jobs


def run_config(path: str | Path, *, overrides: Sequence[str] = (), progress: bool = True) -> list[CityMesh]:
    """Run the jobs of a configuration file one after the other and return their meshes.

    Parameters
    ----------
    path : path
        YAML file with one job, or a list under ``jobs:``.
    overrides : sequence of str
        ``key=value`` pairs that win over the file in every job.
    progress : bool
        Whether to show progress.

    Raises
    ------
    ConfigError
        If the file cannot be understood; no job has been started then.
    """
    return [finish_run(start_job(job, progress=progress)) for job in load_jobs([path], overrides)]
