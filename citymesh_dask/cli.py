"""The command ``citymesh``: flags to options, exceptions to exit codes, and nothing else.

What people read goes to standard error; with ``--json`` one JSON object goes to standard output.
Heavy modules are imported inside the commands, so that ``--help`` costs nothing.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import difflib
import json
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from .arguments import CommandParser, build_parser
from .config import OPTION_KEYS, SETTING_KEYS, JobSpec
from .engine.signals import CommandSignals, signals_held_back
from .errors import CheckError, CityMeshError, RunError
from .options import CityOptions
from .settings import RunSettings

if TYPE_CHECKING:
    from .api import CityMesh
    from .engine.run import Run
    from .facts import RunFacts

_GO_ON = "the same command goes on with the tasks that are finished"
_ANEW = "the same command begins anew, for without a scratch folder nothing is kept"
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143


class _Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Arguments without the name of the program; those of the process by default.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is there: each of its threads keeps a buffer
    parser, commands = build_parser()
    given, unknown = parser.parse_known_args(arguments)
    if unknown:
        _refuse(commands[given.command], unknown)
    given.typed = shlex.join(["citymesh", *(sys.argv[1:] if arguments is None else arguments)])
    errors: dict[int, type[BaseException]] = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: _Terminated}

    def last_words() -> None:
        _say(f"citymesh: error: stopped at once; {_go_on(given)}")

    with CommandSignals(errors, last_words, to_the_end=arguments is None):
        try:
            return _COMMANDS[given.command](given)
        except BaseException as error:
            if os.environ.get("CITYMESH_TRACEBACK"):
                traceback.print_exc()
            return _report_failure(error, given)


def _refuse(command: CommandParser, unknown: list[str]) -> NoReturn:
    flag = unknown[0].partition("=")[0]
    near = difflib.get_close_matches(flag, command.flags(), n=1) if flag.startswith("-") else []
    hint = f", did you mean {near[0]}?" if near else ""
    command.error(f"unknown argument {unknown[0]!r}{hint}")


def _go_on(given: argparse.Namespace) -> str:
    """Return what the same command does when it is given again."""
    return _GO_ON if getattr(given, "use_disk_store", True) else _ANEW


def _report_failure(error: BaseException, given: argparse.Namespace) -> int:
    """Say what went wrong, once, and return the exit code."""
    if isinstance(error, SystemExit):
        raise error
    code, message = _exit_code(error), _message(error, _go_on(given))
    if code in (EXIT_INTERRUPTED, EXIT_TERMINATED):
        message += f": {given.typed}"
    _say(f"citymesh: error: {message}")
    if getattr(given, "json", False):
        facts = {"type": type(error).__name__, "message": message}
        if isinstance(error, CityMeshError):
            facts |= {name: getattr(error, name) for name in ("where", "found", "expected", "advice")}
        with contextlib.suppress(RunError):
            _print_json({"status": "error", "exit_code": code, "error": facts})
    return code


def _exit_code(error: BaseException) -> int:
    if isinstance(error, (KeyboardInterrupt, concurrent.futures.CancelledError)):
        return EXIT_INTERRUPTED
    if isinstance(error, _Terminated):
        return EXIT_TERMINATED
    if isinstance(error, CityMeshError) and not isinstance(error, (RunError, CheckError)):
        return EXIT_USAGE
    return EXIT_FAILED


def _message(error: BaseException, go_on: str) -> str:
    if isinstance(error, CityMeshError):
        return str(error)
    if isinstance(error, (KeyboardInterrupt, _Terminated, concurrent.futures.CancelledError)):
        word = "terminated" if isinstance(error, _Terminated) else "interrupted"
        return f"{word}; {go_on}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'operating system'}: {error.strerror}"
    return f"{type(error).__name__}: {error} (CITYMESH_TRACEBACK=1 shows where)"


def _say(text: str) -> None:
    encoding = sys.stderr.encoding or "utf8"  # names of files may hold bytes that are no text
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)
    except OSError:  # nobody reads it any more
        _let_go(sys.stderr)


def _let_go(stream: TextIO) -> None:
    """Write nowhere what else is written: Python would complain once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _print_json(value: object) -> None:
    try:
        print(json.dumps(value, default=str), flush=True)
    except OSError as error:
        _let_go(sys.stdout)
        if not isinstance(error, BrokenPipeError):  # a reader that has seen enough is no failure
            raise RunError("standard output", f"cannot be written ({error.strerror})") from error


def _run_build(given: argparse.Namespace) -> int:
    return _run_jobs([_job_of(given)], given)


def _job_of(given: argparse.Namespace) -> JobSpec:
    """Return the job that the arguments of ``build`` describe."""
    values = vars(given)
    return JobSpec(
        name=f"citymesh {given.command}",
        out=given.out,
        footprints=tuple(given.footprints),
        points=tuple(given.points),
        layer=given.layer,
        terrain=given.terrain,
        surface=given.surface,
        building_heights=given.building_heights,
        options=CityOptions.from_mapping({key: values[key] for key in OPTION_KEYS if key in values}),
        settings=RunSettings(**{key: values[key] for key in SETTING_KEYS if key in values}),
    )


def _run_configs(given: argparse.Namespace) -> int:
    with signals_held_back():  # an import may swallow an interruption
        from .batch import load_jobs

    return _run_jobs(load_jobs(given.configs, given.overrides), given)


def _run_plan(given: argparse.Namespace) -> int:
    with signals_held_back():
        from .batch import load_jobs
        from .planner import plan_job

    if bool(given.configs) == bool(given.out):
        _, commands = build_parser()
        commands["plan"].error("either --out and the other arguments of build, or CONFIG files")
    jobs = load_jobs(given.configs, given.overrides) if given.configs else [_job_of(given)]
    plans = []
    for job in jobs:
        found = plan_job(job)
        if not given.quiet:
            _say(f"{job.name}: {job.out}" if len(jobs) > 1 else f"plan for {job.out}; nothing is written")
            _say(found.describe())
        plans.append({"out": job.out, **found.to_json()})
    if given.json:
        _print_json(plans[0] if len(plans) == 1 else plans)
    return 0


def _run_jobs(jobs: list[JobSpec], given: argparse.Namespace) -> int:
    with signals_held_back():
        from .batch import finish_run, start_job

    results, holes = [], 0
    for job in jobs:
        if len(jobs) > 1 and not given.quiet:
            _say(f"{job.name}: {job.out}")
        given.use_disk_store = job.settings.use_disk_store
        run = start_job(job, progress=not given.quiet, typed=given.typed)
        if run.page_link and not given.quiet:
            _say(f"page of the run: {run.page_link}")
        mesh = finish_run(run, own_process=True)
        holes += len(mesh.attributes.get("holes", ()))
        if not given.quiet:
            _tell_result(mesh, run)
        results.append(_result(mesh, run))
    if given.json:
        _print_json(results[0] if len(results) == 1 and given.command == "build" else results)
    return EXIT_FAILED if holes else 0


def _tell_result(mesh: CityMesh, run: Run[CityMesh]) -> None:
    """Say what came out; a run without stages had nothing to do."""
    from .batch import mesh_summary
    from .report import describe, report_path

    if not run.plan.stages:
        holes = len(mesh.attributes.get("holes", ()))
        missing = f", but for {holes} tile{'s'[: holes != 1]} that failed: --overwrite tries again" if holes else ""
        _say(f"{mesh.path}: complete already, from the same inputs and options{missing}")
    _say(describe(run.report) if run.report else f"{mesh.path}: {mesh_summary(mesh)}")
    _say(f"report: {report_path(mesh.path)}")


def _result(mesh: CityMesh, run: Run[CityMesh]) -> dict[str, Any]:
    """Return what came out, for ``--json``."""
    from .report import report_path

    facts: RunFacts | None = run.report
    result = {"status": "finished", "store": str(mesh.path), "report_html": str(report_path(mesh.path))}
    return {**result, **_mesh_facts(mesh), "report": facts.to_json() if facts else None}


def _mesh_facts(mesh: CityMesh) -> dict[str, Any]:
    counts = {"n_vertices": mesh.n_vertices, "n_faces": mesh.n_faces, "n_buildings": mesh.n_buildings}
    return counts | {"certificate": mesh.attributes.get("certificate", {})}


def _run_check(given: argparse.Namespace) -> int:
    with signals_held_back():  # an import may swallow an interruption
        from .pipelines.checking.parallel import check_in_parallel

    report = check_in_parallel(
        given.store,
        memory_limit=getattr(given, "memory_limit", "auto"),
        n_workers=getattr(given, "n_workers", "auto"),
        progress=not given.quiet,
    )
    if not given.quiet or not report.ok:
        _say(report.describe())
    if given.json:
        _print_json(report.to_json())
    return 0 if report.ok else EXIT_FAILED


def _run_info(given: argparse.Namespace) -> int:
    from .batch import mesh_summary
    from .city_mesh import open_mesh
    from .store.partial import is_unfinished
    from .store.schema import CERTIFICATE

    mesh = open_mesh(given.store, partial=is_unfinished(given.store))
    attributes = mesh.attributes
    if given.json:
        _print_json({"store": str(mesh.path), **_mesh_facts(mesh), "attributes": attributes})
        return 0
    (xmin, ymin, xmax, ymax), proof = attributes["bounds"], attributes.get("certificate") or {}
    _say(f"{mesh.path}: {mesh_summary(mesh)}")
    _say(f"crs: {(attributes.get('crs') or {}).get('authority') or 'see the attribute crs.wkt'}")
    _say(
        f"bounds: x {xmin:.2f} to {xmax:.2f} m, y {ymin:.2f} to {ymax:.2f} m; {xmax - xmin:,.2f} x {ymax - ymin:,.2f} m"
    )
    for meaning, value in ((text, proof.get(name)) for name, text in CERTIFICATE if proof):
        _say(f"certificate: {meaning}: {json.dumps(value)}")
    for name in ("terrain", "options", "software"):
        if attributes.get(name):
            _say(f"{name}: {_pairs(attributes[name])}")
    return 0


def _pairs(values: Mapping[str, Any]) -> str:
    """Return named values as a line, those without a value left out."""
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in values.items() if value is not None)


def _run_export(given: argparse.Namespace) -> int:
    from .pipelines.export import export_store

    if given.size:
        report = export_store(
            given.store, given.out, colour=given.colour, size=tuple(given.size), overwrite=given.overwrite
        )
    else:
        report = export_store(given.store, given.out, colour=given.colour, overwrite=given.overwrite)
    if not given.quiet:
        _say(f"{report.path}: {report.bytes_written / 1e6:.2f} MB in {report.seconds:.1f} s")
    if given.json:
        _print_json(dataclasses.asdict(report))
    return 0


def _run_demo(given: argparse.Namespace) -> int:
    with signals_held_back():
        from .demo import run_demo
    from .sample_city.landscape import SampleCity

    city = SampleCity(given.size, given.seed, given.density)
    tell: Callable[[str], None] = (lambda line: None) if given.quiet else _say
    report = run_demo(
        given.folder,
        city,
        generate_only=given.generate_only,
        progress=not given.quiet,
        tell=tell,
        typed=given.typed,
    )
    tell(report.describe())
    tell("try next:\n  " + "\n  ".join(report.next_commands()))
    if given.json:
        _print_json({"folder": str(report.folder), "files": report.rows, "summary": report.summary})
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "build": _run_build,
    "plan": _run_plan,
    "run": _run_configs,
    "check": _run_check,
    "info": _run_info,
    "export": _run_export,
    "demo": _run_demo,
}
