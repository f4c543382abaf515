"""The Python interface: options, headers and plan are checked in the call, a `Run` does the rest."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from distributed import Client

from .city_mesh import CityMesh, open_mesh
from .engine.local_cluster import local_cluster
from .engine.machine import choose_resources
from .engine.main_guard import refuse_unguarded_script
from .engine.remote import connect_address
from .engine.run import Run
from .options import CityOptions
from .pipelines.city.inputs.survey import CityInputs, PathLike, Paths
from .pipelines.city.planning.advice import calculate_optimal_tile_size, should_use_tiling
from .settings import RunSettings
from .starting import start_city


def connect(
    address: str | None = None,
    *,
    memory_limit: str | int = "auto",
    n_workers: int | str = "auto",
    security: Any = None,
) -> Client:
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
    security : distributed.Security, optional
        Certificates for TLS.
    """
    if address is not None:
        return connect_address(address, security=security)
    refuse_unguarded_script()
    resources = choose_resources(memory_limit, n_workers)
    client, _ = local_cluster(n_workers=resources.n_workers, worker_bytes=resources.worker_bytes, security=security)
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
    scheduler_address: str | None = None,
    batch_size: int = 8,
    use_disk_store: bool = True,
    temp_dir: PathLike | None = None,
    keep_intermediate: bool = False,
    on_error: str = "raise",
    retries: int = 1,
    task_time_limit: str | int = "auto",
    overwrite: bool = False,
    restart: bool = False,
    verify_inputs: bool = False,
    allow_tmpfs: bool = False,
    log: bool | PathLike = False,
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
        A running cluster to use instead; see ``docs/clusters.md``.
    scheduler_address : str, optional
        Address of its scheduler, such as ``tcp://10.0.0.1:8786``, in place of a client.
    batch_size : int
        Fan-in of the merging tree, at least 2.
    use_disk_store : bool
        False keeps everything between the tasks in memory: threads of this process, no scratch folder, nothing to go
        on with after a failure. Refused where city and tasks together would not fit into the memory.
    temp_dir : path, optional
        Where the scratch folder goes; beside ``out`` by default.
    keep_intermediate : bool
        Keep the scratch folder.
    on_error : {"raise", "skip"}
        What a tile that fails after its retries does to the run: fail it, once what runs is done, or be left out;
        the mesh then has a hole, which certificate and report name.
    retries : int
        How often a failed task is tried again. Tasks that memory is short for are done once more alone instead;
        then their tile is split in four.
    task_time_limit : int or "auto"
        Seconds after which a task that has not ended is taken for one that never will, and is stopped, done once more
        alone, and then split in four; 0 for never. "auto" takes 10 minutes, or 20 times what is projected if that is
        more. In this process nothing can be stopped; on workers of others nothing is, it is only said.
    overwrite : bool
        Replace a store of another run; what does not depend on the changed inputs or options is taken from it.
    restart : bool
        Do all tasks again, whatever earlier runs left.
    verify_inputs : bool
        Read all bytes of all inputs before anything is decided, and tell by them, too, whether an input has
        changed; by default size, time and samples alone tell. A run that was begun without it is done again where it
        read inputs.
    allow_tmpfs : bool
        Accept a scratch folder that is in memory.
    log : bool or path
        Write a log of JSON lines: beside the store where True, or to a file.
    progress : bool
        Show progress on standard error or in the notebook.
    **geometry
        Fields of `CityOptions`.

    Returns
    -------
    Run
        ``result()`` is a `CityMesh`. While it goes on with worker processes, they are what Dask takes by default;
        ``compute(scheduler="threads")`` does other work here. Where the store is there already, of the same inputs and
        options, the run has no stages and ends at once; its ``report`` is then that of the run which made the store,
        or None where that report is gone.

    Raises
    ------
    InputError, OptionError, OutputError, PlanError
        Before anything is run, where inputs, options, output or plan are not usable.
    """
    settings = RunSettings(
        memory_limit=memory_limit,
        n_workers=n_workers,
        scheduler=scheduler,
        scheduler_address=scheduler_address,
        batch_size=batch_size,
        use_disk_store=use_disk_store,
        temp_dir=None if temp_dir is None else os.fspath(temp_dir),
        keep_intermediate=keep_intermediate,
        on_error=on_error,
        retries=retries,
        task_time_limit=task_time_limit,
        overwrite=overwrite,
        restart=restart,
        verify_inputs=verify_inputs,
        allow_tmpfs=allow_tmpfs,
        log=log if isinstance(log, bool) else os.fspath(log),
    )
    inputs = CityInputs(footprints or (), layer, points or (), terrain, surface, building_heights)
    return start_city(inputs, _options(options, geometry), out=out, settings=settings, client=client, progress=progress)


def _options(options: CityOptions | None, geometry: Mapping[str, Any]) -> CityOptions:
    given = dict(geometry)
    if given.pop("tile_overlap", None) is not None:
        warnings.warn("tile_overlap is ignored: halos are computed", stacklevel=3)
    if options is None:
        return CityOptions.from_mapping(given)
    return CityOptions.from_mapping(dataclasses.asdict(options) | given) if given else options


__all__: Sequence[str] = (
    "CityMesh",
    "build_city_mesh",
    "calculate_optimal_tile_size",
    "connect",
    "open_mesh",
    "should_use_tiling",
)
