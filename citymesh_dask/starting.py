"""The start of a run and its end: what it may use, where it works, who watches it, how the store is sealed."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
import uuid
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client

from .city_mesh import CityMesh, open_mesh
from .engine.cluster import ClusterExecutor
from .engine.executor import Executor
from .engine.in_process import LocalExecutor
from .engine.local_cluster import local_cluster
from .engine.machine import Resources, candidate_resources, resources_of
from .engine.main_guard import check_main_guard, refuse_unguarded_script
from .engine.plan import Plan
from .engine.remote import await_resources, check_storage, check_versions, client_of
from .engine.run import Run
from .engine.time_limits import TimeLimits
from .errors import OutputError, RunError
from .options import CityOptions
from .pipelines.city.begin import Origin, begin_job, is_finished, remove_leftovers, scratch_folder
from .pipelines.city.choosing import Chooser, city_chooser
from .pipelines.city.ending.finish import seal_store
from .pipelines.city.ending.summary import command_line, run_facts
from .pipelines.city.former import RESTORE
from .pipelines.city.in_memory import begin_memory_job, end_memory_job, refuse_disk_settings
from .pipelines.city.inputs.survey import CityInputs, PathLike
from .pipelines.city.job import CityJob, job_file, load_job, partial_store, plain_job
from .pipelines.city.places import claim
from .pipelines.city.plan import plan_city
from .pipelines.city.planning.choice import Choice
from .pipelines.city.recovery import TileRecovery, how_to_go_on
from .pipelines.city.request import Request, refuse_changed, survey_request
from .pipelines.city.resume import discard
from .report import read_facts, report_path, write_report
from .settings import RunSettings
from .store.city_store import open_store
from .store.manifest import ReceiptFolder
from .store.memory_scratch import MemoryLedger, MemoryScratch
from .watching import Watchers, begun_facts, log_path


@dataclass(frozen=True)
class Ending:
    """What happens when all tasks are done: the store is sealed, the report written, the scratch removed.

    Parameters
    ----------
    job : CityJob
        The run.
    inputs : tuple of dict
        Role and fingerprint of the input files.
    keep_intermediate : bool
        Whether the scratch folder stays.
    plan : Plan
        Its first plan.
    typed, command : str
        The command that was typed, "" where the run was begun from Python; and the one that does the same.
    begun : float
        When it began, seconds since the epoch.
    name : str
        Tells its receipts from those of other runs.
    """

    job: CityJob
    inputs: tuple[dict[str, Any], ...]
    keep_intermediate: bool
    plan: Plan
    typed: str = ""
    command: str = ""
    begun: float = dataclasses.field(default_factory=time.time)
    name: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex[:12])

    def __call__(self, run: Run[CityMesh]) -> CityMesh:
        planned = {task.key for task in run.plan.tasks()}  # tasks of former plans have receipts, too
        receipts = {receipt.key: receipt for receipt in self.ledger.all() if receipt.key in planned}
        job = plain_job(load_job(str(job_file(self.job.scratch.root))))  # tiles may have been split since it was begun
        refuse_changed(self.inputs, job.survey)
        self.ledger.seal()
        seal_store(job, receipts, inputs=self.inputs)
        run.report = run_facts(job, run.plan, receipts, command=self.command, inputs=self.inputs, begun=self.begun)
        run.raise_if_cancelled()
        try:
            write_report(open_store(self.job.out), run.report)
        except (OutputError, RunError) as error:  # the store is whole without it
            note = f"the report could not be written: {error}"
            run.report = dataclasses.replace(run.report, warnings=(*run.report.warnings, note))
        if not self.keep_intermediate:
            discard(self.job.scratch.root)
        return open_mesh(self.job.out)

    @property
    def ledger(self) -> ReceiptFolder | MemoryLedger:
        """Receipts of the run."""
        scratch = self.job.scratch
        if isinstance(scratch, MemoryScratch):
            return scratch.ledger
        return ReceiptFolder(str(scratch.root / "receipts"), self.name, RESTORE)


def start_city(
    inputs: CityInputs,
    options: CityOptions,
    *,
    out: PathLike | None,
    settings: RunSettings,
    client: Client | None = None,
    progress: bool = True,
    typed: str = "",
) -> Run[CityMesh]:
    """Check, plan and start the building of a city; return at once with its future.

    Parameters
    ----------
    inputs : CityInputs
        Files.
    options : CityOptions
        What the mesh shall look like.
    out : path
        Folder of the store.
    settings : RunSettings
        How it is run.
    client : distributed.Client, optional
        A running cluster to work on.
    progress : bool
        Whether to show progress.
    typed : str
        The command that was typed, where one was.

    Raises
    ------
    InputError, OptionError, OutputError, PlanError
        Before anything is run, where inputs, options, output or plan are not usable.
    """
    client = find_client(settings, client)
    candidates = run_candidates(settings, client)
    request = survey_request(inputs, options, out, verify_inputs=settings.verify_inputs)
    if is_finished(request, settings):
        return _finished_run(request, settings, candidates[0])
    _await_former_run(request.out)
    chooser = find_chooser(request, settings, client)
    with contextlib.ExitStack() as undo:
        undo.callback(claim(request.out).release)
        if is_finished(request, settings):  # by a run that ended before the claim
            undo.close()
            return _finished_run(request, settings, candidates[0])
        choice = chooser.choose(candidates)
        ending = _begin(choice, request, settings)
        undo.callback(end_memory_job, ending.job)
        command = typed or command_line(ending.job, settings, client.scheduler.address if client else None)
        ending = dataclasses.replace(ending, typed=typed, command=command)
        run = _start(ending, settings, scheduler=choice.resources.scheduler, client=client, progress=progress)
        at_end = undo.pop_all()
    run.add_done_callback(lambda _: at_end.close())
    _runs[request.out] = run
    return run


def find_client(settings: RunSettings, client: Client | None = None) -> Client | None:
    """Return the client of the cluster that was asked for; None where a run begins its own, or needs none.

    Raises
    ------
    OptionError
        If nothing answers at the address, or a cluster of our own could not be begun by this script.
    """
    check_main_guard()
    if client is None and settings.scheduler_address is None and settings.scheduler == "processes":
        refuse_unguarded_script()
    return client_of(settings.scheduler_address, client)


def run_candidates(settings: RunSettings, client: Client | None = None) -> list[Resources]:
    """Return what a run may use, the best first: what the caller's cluster has, else what is asked for.

    Raises
    ------
    OptionError
        If memory or workers cannot be understood.
    """
    found = candidate_resources(settings.memory_limit, settings.n_workers, scheduler=settings.scheduler)
    if client is None:
        return found
    shared = await_resources(client)
    check_versions(client)
    ignored = settings.memory_limit != "auto" or settings.n_workers != "auto"
    note = "memory_limit and n_workers are ignored: the workers of the cluster have their own"
    return [dataclasses.replace(shared, notes=(note,) * ignored)]


def find_chooser(request: Request, settings: RunSettings, client: Client | None) -> Chooser:
    """Return what chooses for a request, where its settings go together.

    Raises
    ------
    OptionError, OutputError, PlanError
        If they do not, there can be no scratch folder, or the disks are far too small.
    """
    if not settings.use_disk_store:
        refuse_disk_settings(client=client, temp_dir=settings.temp_dir, keep_intermediate=settings.keep_intermediate)
    return city_chooser(request, settings)


_runs: weakref.WeakValueDictionary[Path, Run[CityMesh]] = weakref.WeakValueDictionary()
"""Runs of this process by store."""


def _await_former_run(out: Path) -> None:
    """Refuse to begin while a run of this process writes the store; wait for what one does that has just ended."""
    run = _runs.get(out)
    if run is None:
        return
    if not run.done():
        found = "a run of this process is writing it"
        raise OutputError(str(out), found, "one run at a time", "wait for its result(), or cancel() it first")
    run.exception()


def _begin(choice: Choice[Origin], request: Request, settings: RunSettings) -> Ending:
    """Prepare the places of a run, keep its job there, and return its end."""
    job = choice.job
    plan = plan_city(job, str(job_file(job.scratch.root)), choice.resources)
    if settings.use_disk_store:
        begin_job(job, resumed=choice.beside)
    else:
        begin_memory_job(job)
    return Ending(job, tuple(map(dict, request.inputs)), settings.keep_intermediate, plan)


def _start(
    ending: Ending, settings: RunSettings, *, scheduler: str, client: Client | None, progress: bool
) -> Run[CityMesh]:
    """Start a planned run whose places are prepared."""
    job, plan = ending.job, ending.plan
    if client is not None:
        _check_storage(client, ending)
    ending.ledger.begin()
    watchers = Watchers()
    log = log_path(Path(job.out), settings.log)
    if log is not None:
        watchers.write_log(log, plan, begun_facts(job, ending.inputs, ending.command))
    with watchers.until_begun():
        limits = TimeLimits.of_plan(plan, settings.task_time_limit)
        executor = _executor(plan, job, client=client, scheduler=scheduler, limits=limits)
        run = _watched_run(ending, settings, executor, watchers, progress=progress)
    run.page_link = watchers.page.link if watchers.page else None
    run.add_done_callback(watchers.end)
    return run


def _watched_run(
    ending: Ending, settings: RunSettings, executor: Executor, watchers: Watchers, *, progress: bool
) -> Run[CityMesh]:
    """Begin to watch, and submit the tasks; the executor is closed where that cannot be."""
    try:
        watchers.show_page(executor, ending.plan, ending.job)
        if progress:
            watchers.show_progress(ending.plan)
    except BaseException:
        executor.close()
        raise
    again = how_to_go_on(ending.typed, kept=not isinstance(ending.job.scratch, MemoryScratch))
    return Run(
        ending.plan,
        ending.ledger,
        executor,
        finish=ending,
        listeners=watchers.listeners,
        retries=settings.retries,
        recovery=_recovery(ending, on_error=settings.on_error, again=again),
        name=watchers.name,
        again=again,
    )


def _recovery(ending: Ending, *, on_error: str, again: str) -> TileRecovery:
    path, resources = str(job_file(ending.job.scratch.root)), resources_of(ending.plan)
    return TileRecovery(path, lambda changed: plan_city(changed, path, resources), on_error=on_error, again=again)


def _check_storage(client: Client, ending: Ending) -> None:
    """Refuse a cluster that does not share our storage; leave nothing behind that was made for this run."""
    scratch, partial = ending.job.scratch.root, partial_store(ending.job)
    begun_before = any(scratch.glob("receipts/*"))
    try:
        check_storage(client, (scratch, partial), {e["path"]: e["bytes"] for e in ending.inputs if e["bytes"]})
    except BaseException:
        if not begun_before:
            discard(scratch)
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _executor(plan: Plan, job: CityJob, *, client: Client | None, scheduler: str, limits: TimeLimits) -> Executor:
    if client is not None:
        return ClusterExecutor(client, time_limits=limits)
    if isinstance(job.scratch, MemoryScratch) and scheduler == "processes":
        scheduler = "threads"
    if scheduler != "processes":
        return LocalExecutor(scheduler, plan.n_workers)
    resources = resources_of(plan)
    client, cluster = local_cluster(
        n_workers=plan.n_workers,
        worker_bytes=resources.worker_bytes,
        local_directory=str(job.scratch.root / "dask"),
        preload=("citymesh_dask.pipelines.city.plan",),
    )
    return ClusterExecutor(client, cluster, limits)


def _finished_run(request: Request, settings: RunSettings, resources: Resources) -> Run[CityMesh]:
    """Return a run with nothing to do, with the report of the run that did it.

    The store is there, from the same inputs and options.
    """
    out = request.out
    goes = settings.use_disk_store and not settings.keep_intermediate
    scratch = scratch_folder(out, settings.temp_dir) if goes else None
    remove_leftovers(request, scratch, report=report_path(out))

    def finish(run: Run[CityMesh]) -> CityMesh:
        store = open_store(out)
        run.report = read_facts(store)
        return CityMesh(store)

    plan = Plan((), resources.allowed_bytes, resources.n_workers)
    return Run(plan, ReceiptFolder(str(out / "none")), LocalExecutor("synchronous", 1), finish=finish)
