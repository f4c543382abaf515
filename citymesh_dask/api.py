"""The Python interface: options, headers and plan are checked in the call, a `Run` does the rest."""

from __future__ import annotations

import dataclasses
import shutil
import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array
from distributed import Client

from .engine.cluster import (
    ClusterExecutor,
    Executor,
    LocalExecutor,
    check_main_guard,
    check_scheduler_name,
    cluster_resources,
    connect_address,
    local_cluster,
)
from .engine.machine import Resources, choose_resources
from .engine.memory import check_projection
from .engine.plan import Plan
from .engine.progress import choose_listener
from .engine.run import Run
from .errors import OptionError, OutputError, RunError
from .options import CityOptions
from .pipelines.city.begin import begin_job, choose_job, describe_inputs, is_finished, output_path
from .pipelines.city.ending.finish import seal_store
from .pipelines.city.ending.summary import run_facts
from .pipelines.city.inputs.survey import CityInputs, PathLike, Paths, survey_city
from .pipelines.city.job import CityJob, job_file
from .pipelines.city.plan import plan_city
from .report import read_facts, write_report
from .store.chunks import Array
from .store.city_store import CityStore, open_store
from .store.fingerprint import combined_fingerprint
from .store.manifest import ReceiptFolder


class CityMesh:
    """A finished city mesh, read lazily.

    Parameters
    ----------
    store : CityStore
        The open store.
    """

    def __init__(self, store: CityStore) -> None:
        self._store = store

    @property
    def path(self) -> Path:
        """Folder of the store."""
        return self._store.path

    @property
    def attributes(self) -> dict[str, Any]:
        """Group attributes: CRS, options, certificate and more (see ``docs/store.md``)."""
        return self._store.attributes

    @property
    def n_vertices(self) -> int:
        """Number of vertices."""
        return self._store.n_vertices

    @property
    def n_faces(self) -> int:
        """Number of faces."""
        return self._store.n_faces

    @property
    def n_buildings(self) -> int:
        """Rows of the building table."""
        return self._store.n_buildings

    @property
    def vertices(self) -> dask.array.Array:
        """(n, 3) float64 Dask array, metres in the project CRS."""
        return self._lazy("vertices")

    @property
    def faces(self) -> dask.array.Array:
        """(m, 3) int32 or int64 Dask array of vertex indices, counter-clockwise seen from outside."""
        return self._lazy("faces")

    @property
    def markers(self) -> dask.array.Array:
        """(m,) int32 Dask array: -2 terrain, i wall and N + i roof of building i, -3 side, -4 base."""
        return self._lazy("markers")

    @property
    def building(self) -> dask.array.Array:
        """(m,) int32 Dask array: row of the building table, -1 where there is no building."""
        return self._lazy("building")

    @property
    def buildings(self) -> dict[str, Array]:
        """The building table: column name to (N,) array."""
        return {name: self._store.column(name) for name in self._store.column_names()}

    def save(self, path: PathLike) -> Path:
        """Copy the store to another folder and return it.

        Raises
        ------
        OutputError
            If the folder exists.
        """
        target = Path(path)
        if target.exists():
            raise OutputError(str(target), "it exists already", advice="choose another path")
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(self.path, partial)
        partial.rename(target)
        return target

    def __repr__(self) -> str:
        sizes = f"{self.n_vertices:,} vertices, {self.n_faces:,} faces, {self.n_buildings:,} buildings"
        return f"CityMesh({str(self.path)!r}: {sizes})"

    def _lazy(self, name: str) -> dask.array.Array:
        return dask.array.from_zarr(str(self.path / name))


def open_mesh(path: PathLike) -> CityMesh:
    """Open a finished city mesh.

    Raises
    ------
    StoreError
        If the path is no city store, or one of a newer format version.
    """
    return CityMesh(open_store(Path(path)))


def connect(address: str | None = None, *, memory_limit: str | int = "auto", n_workers: int | str = "auto") -> Client:
    """Return a Dask client: of a new memory-limited local cluster, or of a running scheduler.

    The workers of a local cluster live until ``client.shutdown()`` or the end of the script.

    Parameters
    ----------
    address : str, optional
        Address of a running scheduler, such as ``tcp://10.0.0.1:8786``; a local cluster if not given.
    memory_limit : str or int
        Memory of the whole local cluster, such as ``"4GB"``; "auto" takes 0.6 of what is free.
    n_workers : int or "auto"
        Worker processes of the local cluster, one thread each.
    """
    if address is not None:
        return connect_address(address)
    resources = choose_resources(memory_limit, n_workers)
    client, _ = local_cluster(n_workers=resources.n_workers, worker_bytes=resources.worker_bytes)
    return client


def build_city_mesh(
    footprints: Paths = None,
    out: PathLike | None = None,
    *,
    layer: str | None = None,
    points: Paths = None,
    terrain: PathLike | None = None,
    surface: PathLike | None = None,
    building_heights: PathLike | None = None,
    options: CityOptions | None = None,
    memory_limit: str | int = "auto",
    n_workers: int | str = "auto",
    scheduler: str = "processes",
    client: Client | None = None,
    batch_size: int = 8,
    use_disk_store: bool = True,
    temp_dir: PathLike | None = None,
    keep_intermediate: bool = False,
    on_error: str = "raise",
    retries: int = 1,
    overwrite: bool = False,
    progress: bool = True,
    **geometry: Any,
) -> Run[CityMesh]:
    """Build one watertight city mesh; return at once with a future of it.

    Parameters
    ----------
    footprints : path or sequence of path, optional
        Footprint files (GPKG, GeoJSON, Shapefile, FlatGeobuf). Without any, the terrain is meshed alone.
    out : path
        Folder of the Zarr store to be written.
    layer : str, optional
        Layer of the footprint files.
    points : path or sequence of path, optional
        LAS, LAZ or COPC files, globs included.
    terrain, surface, building_heights : path, optional
        Rasters of the ground, of the surface with roofs, and of heights above ground.
    options : CityOptions, optional
        Geometry; single fields may also be given as keywords.
    memory_limit : str or int
        Memory of the whole process tree; "auto" takes 0.6 of what is free, or what the workers of ``client`` may use.
    n_workers : int or "auto"
        Processes (or threads) that work side by side.
    scheduler : {"processes", "threads", "synchronous"}
        A local cluster of processes, or this process.
    client : distributed.Client, optional
        A running cluster to use instead.
    batch_size : int
        Fan-in of the merging tree, at least 2.
    use_disk_store : bool
        Only True in this version.
    temp_dir : path, optional
        Where the scratch folder goes; beside ``out`` by default.
    keep_intermediate : bool
        Keep the scratch folder.
    on_error : {"raise"}
        What a task that fails after its retries does to the run.
    retries : int
        How often a failed task is tried again.
    overwrite : bool
        Replace a store of another run.
    progress : bool
        Show progress on standard error or in the notebook.
    **geometry
        Fields of `CityOptions`.

    Returns
    -------
    Run
        ``result()`` is a `CityMesh`. Where the store is there already, of the same inputs and options, the run has
        no stages and ends at once; its ``report`` is then that of the run which made the store, or None where
        that report is gone.

    Raises
    ------
    InputError, OptionError, OutputError, PlanError
        Before anything is run, where inputs, options, output or plan are not usable.
    """
    chosen = _options(options, geometry)
    check_scheduler_name(scheduler)
    _check_settings(batch_size=batch_size, use_disk_store=use_disk_store, on_error=on_error, retries=retries)
    check_main_guard()
    resources = _resources(client, memory_limit, n_workers)
    target = output_path(out)
    inputs = CityInputs(footprints or (), layer, points or (), terrain, surface, building_heights)
    survey = survey_city(inputs, chosen)
    described = describe_inputs(survey)
    fingerprint = combined_fingerprint({"inputs": described, "options": dataclasses.asdict(chosen), "layer": layer})
    if is_finished(target, fingerprint, overwrite=overwrite):
        return _finished_run(target, resources)
    _refuse_second_run(target)
    job, resumed = choose_job(survey, chosen, out=target, fingerprint=fingerprint, temp_dir=temp_dir, fan_in=batch_size)
    plan = plan_city(job, str(job_file(job.scratch.root)), resources)
    check_projection(plan, resources.worker_bytes)
    begin_job(job, fingerprint, resumed=resumed)
    ending = _Ending(job, fingerprint, tuple(described), keep_intermediate, plan)
    run = _start(plan, job, ending, client=client, scheduler=scheduler, retries=retries, progress=progress)
    _runs[target] = run
    return run


_runs: weakref.WeakValueDictionary[Path, Run[CityMesh]] = weakref.WeakValueDictionary()
"""Runs of this process by store; those of other processes are found by their scratch folders."""


def _refuse_second_run(out: Path) -> None:
    run = _runs.get(out)
    if run is not None and not run.done():
        found = "a run of this process is writing it"
        raise OutputError(str(out), found, "one run at a time", "wait for its result(), or cancel() it first")


def _resources(client: Client | None, memory_limit: str | int, n_workers: int | str) -> Resources:
    """Return what the run may use: what is asked for, else what the caller's cluster has, or this machine."""
    asked = memory_limit != "auto" or n_workers != "auto"
    found = cluster_resources(client) if client is not None and not asked else None
    return found or choose_resources(memory_limit, n_workers)


def _options(options: CityOptions | None, geometry: Mapping[str, Any]) -> CityOptions:
    given = dict(geometry)
    if given.pop("tile_overlap", None) is not None:
        warnings.warn("tile_overlap is ignored: halos are computed", stacklevel=3)
    if options is None:
        return CityOptions.from_mapping(given)
    return CityOptions.from_mapping(dataclasses.asdict(options) | given) if given else options


def _check_settings(*, batch_size: int, use_disk_store: bool, on_error: str, retries: int) -> None:
    if not isinstance(batch_size, int) or batch_size < 2:
        raise OptionError("option batch_size", repr(batch_size), "a whole number of at least 2")
    if not use_disk_store:
        raise OptionError(
            "option use_disk_store", "False", "True", "this version always works through its scratch folder"
        )
    if on_error != "raise":
        raise OptionError(
            "option on_error", repr(on_error), "'raise'", "this version fails a run with its first failed task"
        )
    if not isinstance(retries, int) or retries < 0:
        raise OptionError("option retries", repr(retries), "a whole number of at least 0")


@dataclass(frozen=True)
class _Ending:
    """What happens when all tasks are done: the store is sealed, the report written, the scratch removed."""

    job: CityJob
    fingerprint: str
    inputs: tuple[dict[str, Any], ...]
    keep_intermediate: bool
    plan: Plan
    begun: float = dataclasses.field(default_factory=time.time)

    def __call__(self, run: Run[CityMesh]) -> CityMesh:
        receipts = {receipt.key: receipt for receipt in self.ledger.all()}
        seal_store(self.job, receipts, inputs=self.inputs, fingerprint=self.fingerprint)
        run.report = run_facts(self.job, self.plan, receipts, inputs=self.inputs, begun=self.begun)
        try:
            write_report(open_store(self.job.out), run.report)
        except (OutputError, RunError) as error:  # the store is whole without it
            note = f"the report could not be written: {error}"
            run.report = dataclasses.replace(run.report, warnings=(*run.report.warnings, note))
        if not self.keep_intermediate:
            shutil.rmtree(self.job.scratch.root, ignore_errors=True)
        return open_mesh(self.job.out)

    @property
    def ledger(self) -> ReceiptFolder:
        """Receipts of the run."""
        return ReceiptFolder(str(self.job.scratch.root / "receipts"))


def _start(
    plan: Plan,
    job: CityJob,
    ending: _Ending,
    *,
    client: Client | None,
    scheduler: str,
    retries: int,
    progress: bool,
) -> Run[CityMesh]:
    executor = _executor(plan, job, client=client, scheduler=scheduler)
    listener = choose_listener(plan.stages, quiet=not progress)
    listeners = [listener] if listener else []
    return Run(plan, ending.ledger, executor, finish=ending, listeners=listeners, retries=retries)


def _executor(plan: Plan, job: CityJob, *, client: Client | None, scheduler: str) -> Executor:
    if client is not None:
        return ClusterExecutor(client)
    if scheduler != "processes":
        return LocalExecutor(scheduler, plan.n_workers)
    resources = Resources(plan.allowed_bytes, plan.n_workers)
    return ClusterExecutor(
        *local_cluster(
            n_workers=plan.n_workers,
            worker_bytes=resources.worker_bytes,
            local_directory=str(job.scratch.root / "dask"),
        )
    )


def _finished_run(out: Path, resources: Resources) -> Run[CityMesh]:
    """Return a run with nothing to do, with the report of the run that did it.

    The store is there, from the same inputs and options.
    """

    def finish(run: Run[CityMesh]) -> CityMesh:
        store = open_store(out)
        run.report = read_facts(store)
        return CityMesh(store)

    plan = Plan((), resources.allowed_bytes, resources.n_workers)
    return Run(plan, ReceiptFolder(str(out / "none")), LocalExecutor("synchronous", 1), finish=finish)


__all__: Sequence[str] = ("CityMesh", "build_city_mesh", "connect", "open_mesh")
