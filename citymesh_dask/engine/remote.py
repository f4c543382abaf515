"""Other people's clusters: finding them, asking them, what their workers may use, and whether a run can work there.

Nothing is set on workers that are not ours; they are asked. Clusters of our own are the business of `cluster`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import importlib.metadata
import logging
import os
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from distributed import Client, get_worker

from ..errors import InputMissingError, OptionError, OutputError
from .machine import Resources, share_resources

ANSWER_SECONDS = 10.0
"""So long a scheduler may take to answer."""
FIRST_WORKER_SECONDS = 60.0
"""So long a run waits for the first worker: the queue of a cluster may give them late."""
SEEN_SECONDS = 15.0
"""So long a file may take to be seen elsewhere: network file systems remember for seconds what was not there."""

T = TypeVar("T")

_PACKAGE = "citymesh_dask"
_LOOK_SECONDS = 1.0
"""So often it is looked around while an answer is waited for."""
_POLL_SECONDS = 0.05
_CHOOSE = "put --out (and --temp-dir) on a file system that all machines share"

Security = Any
"""A `distributed.Security`, or what else a `distributed.Client` takes for it."""


def is_closed(client: Client) -> bool:
    """Whether a client was closed, or is about to be."""
    return client.status in ("closing", "closed")


def answer_of(client: Client, question: Callable[[], T], look_around: Callable[[], object] = lambda: None) -> T:
    """Ask a cluster something, and return what it answers.

    A client that is closed meanwhile waits for ever (distributed 2026.8), so it is another thread that asks.

    Parameters
    ----------
    client : distributed.Client
        The client that is asked.
    question : callable
        Asks it.
    look_around : callable
        Called every second until the answer is there; may raise.

    Raises
    ------
    concurrent.futures.CancelledError
        If the client was closed.
    """
    answer: concurrent.futures.Future[T] = concurrent.futures.Future()

    def ask() -> None:
        try:
            answer.set_result(question())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name="citymesh-question", daemon=True).start()
    while not concurrent.futures.wait([answer], _LOOK_SECONDS).done:
        if is_closed(client):
            raise concurrent.futures.CancelledError
        look_around()
    error = answer.exception()
    if error is not None and is_closed(client):
        raise concurrent.futures.CancelledError from error
    return answer.result()


def scheduler_address(client: Client) -> str:
    """Return the address of the scheduler of a client, for messages."""
    return str(client.scheduler.address) if client.scheduler is not None else "of the client"


def connect_address(address: str, timeout_seconds: float = ANSWER_SECONDS, *, security: Security = None) -> Client:
    """Return a client of a running scheduler.

    Parameters
    ----------
    address : str
        Such as ``tcp://10.0.0.1:8786`` or ``tls://10.0.0.1:8786``.
    timeout_seconds : float
        So long the scheduler may take to answer.
    security : distributed.Security, optional
        Certificates for TLS; those of Dask's configuration if not given.

    Raises
    ------
    OptionError
        If nothing answers at the address in time, or the text is no address.
    """
    where, advice = f"scheduler {address}", "check the address and that 'dask scheduler' runs there"
    try:
        # A client makes itself the scheduler of everything in this process before it connects, and leaves that
        # behind where it cannot: the first one only asks.
        Client(address, timeout=timeout_seconds, security=security, set_as_default=False).close()
        return Client(address, timeout=timeout_seconds, security=security)
    except (OSError, AssertionError) as error:  # the latter for a name that no server knows
        _forget(error)
        found = f"no answer within {timeout_seconds:g} s"
        if address.startswith("tls:"):
            advice += "; with TLS also the certificates of both sides"
        raise OptionError(where, found, "a running Dask scheduler", advice) from error
    except (ValueError, TypeError, RuntimeError) as error:  # the last two for certificates
        _forget(error)
        raise OptionError(where, str(error), "an address such as tcp://10.0.0.1:8786", advice) from error


def _forget(error: BaseException) -> None:
    """Let the client go that could not be made, now.

    The garbage collector would close it some time, maybe in the middle of the making of the next one, which holds
    the lock that closing waits for: the process would wait for ever (distributed 2026.8).
    """
    traceback.clear_frames(error.__traceback__)
    gc.collect()


def client_of(address: str | None, client: Client | None = None) -> Client | None:
    """Return the client given, or the one of this process for an address; None where neither is given.

    Raises
    ------
    OptionError
        If both are given, or nothing answers at the address.
    """
    if address is None:
        return client
    if client is not None:
        raise OptionError("option scheduler_address", address, "either an address or a client, not both")
    known = _clients.get(address)
    if known is None or known.status != "running":
        known = _clients[address] = connect_address(address)
        # Where the scheduler goes, it would show the traceback of every attempt to reach it; the run says it once.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    return known


_clients: dict[str, Client] = {}
"""One connection for each address that this process was given, for all jobs; they end with the process."""


def cluster_resources(client: Client) -> Resources | None:
    """Return what the workers of a running cluster may use; None where it has none yet."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    limits = [(int(worker["nthreads"]), int(worker["memory_limit"] or 0)) for worker in workers]
    return share_resources(limits) if limits else None


def await_resources(client: Client, timeout_seconds: float = FIRST_WORKER_SECONDS) -> Resources:
    """Wait for the first worker of a running cluster and return what all that are there may use.

    Raises
    ------
    OptionError
        If none comes in time, or the client is an asynchronous one.
    """
    if client.asynchronous:
        raise OptionError("option client", "an asynchronous client", "a synchronous one", "make it in a plain thread")
    where = f"scheduler {scheduler_address(client)}"
    try:
        client.wait_for_workers(1, timeout=timeout_seconds)
        found = cluster_resources(client)
    except TimeoutError:
        found = None
    except (OSError, RuntimeError) as error:  # a client that was closed, a scheduler that is gone
        raise OptionError(where, f"it is gone ({error})", "a client of a running cluster") from error
    if found is None:
        advice = f"start some with 'dask worker {scheduler_address(client)}', and look for what keeps them from coming"
        raise OptionError(where, f"no worker came within {timeout_seconds:g} s", "at least one worker", advice)
    return found


def check_versions(client: Client) -> None:
    """Refuse a cluster with a worker whose Python or citymesh_dask is not the one of this process.

    Raises
    ------
    OptionError
        Naming the worker and both versions.
    """
    here = (f"{sys.version_info.major}.{sys.version_info.minor}", importlib.metadata.version(_PACKAGE))
    answers = client.get_versions(packages=[_PACKAGE])["workers"]
    names = worker_names(client)
    for address, answer in answers.items():
        packages = answer["packages"]
        python, package = ".".join(packages["python"].split(".")[:2]), packages.get(_PACKAGE)
        where = f"worker {names.get(address, address)}"
        if package is None:
            advice = f"install it where the workers run: pip install {_PACKAGE}=={here[1]}"
            raise OptionError(where, f"it has no {_PACKAGE}", f"{_PACKAGE} {here[1]} on every worker", advice)
        if (python, package) != here:
            found, expected = (f"Python {p} and {_PACKAGE} {v}" for p, v in ((python, package), here))
            raise OptionError(where, found, f"{expected}, as in this process", "use one environment everywhere")


def worker_names(client: Client) -> dict[str, str]:
    """Return the name of every worker with its address, as people know it, by address."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {address: _named(address, worker.get("name", address)) for address, worker in workers.items()}


def this_worker() -> str:
    """Return the worker that a task runs on, named as `worker_names` does; the process where there is none."""
    try:
        worker = get_worker()
    except ValueError:
        return f"process {os.getpid()}"
    return _named(worker.address, worker.name)


def _named(address: str, name: object) -> str:
    return address if str(name) == address else f"{name} ({address})"


def check_storage(
    client: Client, folders: Sequence[Path], inputs: Mapping[str, int], *, timeout_seconds: float = SEEN_SECONDS
) -> None:
    """Refuse a cluster with a worker that does not share our storage.

    A file written here must be seen, with its content, by every worker, and the other way round.

    Parameters
    ----------
    client : distributed.Client
        Client of the cluster.
    folders : sequence of Path
        Folders in which tasks write and read.
    inputs : mapping of str to int
        Input files and their bytes.
    timeout_seconds : float
        So long a file may take to be seen.

    Raises
    ------
    OutputError
        Naming the worker and the folder.
    InputMissingError
        Naming the worker and the input file.
    """
    token = uuid.uuid4().hex
    visit = Visit(tuple(map(str, folders)), dict(inputs), token, timeout_seconds)
    marks = [folder / visit.mark("client") for folder in folders]
    try:
        for mark in marks:
            mark.write_text(token)
        answers = client.run(visit_storage, visit, on_error="return")
        names = worker_names(client)
        for address, answer in answers.items():
            _check_answer(f"worker {names.get(address, address)}", answer, visit)
    finally:
        for path in {path for folder in folders for path in folder.glob(visit.mark("*"))}:
            with contextlib.suppress(OSError):
                path.unlink()


@dataclass(frozen=True)
class Visit:
    """What a worker is to look at.

    Parameters
    ----------
    folders : tuple of str
        Folders that it must share.
    inputs : dict of str to int
        Files that it must see, with their bytes.
    token : str
        Content of the files that are written for this.
    timeout_seconds : float
        So long a file may take to be seen.
    """

    folders: tuple[str, ...]
    inputs: dict[str, int]
    token: str
    timeout_seconds: float

    def mark(self, writer: str) -> str:
        """Return the name of the file that somebody writes into every folder."""
        return f".citymesh-{self.token}-{writer}"


async def visit_storage(visit: Visit) -> dict[str, str]:
    """Look at the folders and inputs on a worker, and leave a file in each folder.

    Returns
    -------
    dict of str to str
        ``writer``, the end of the names of the files left; or ``folder`` or ``input`` that is not shared, and ``why``.
    """
    end = time.monotonic() + visit.timeout_seconds
    writer = uuid.uuid4().hex
    for folder in visit.folders:
        mark = Path(folder) / visit.mark("client")
        while why := _unlike(mark, visit.token):
            if time.monotonic() > end:
                return {"folder": folder, "why": f"it does not see what this machine writes there ({why})"}
            await asyncio.sleep(_POLL_SECONDS)
        try:
            mark.with_name(visit.mark(writer)).write_text(visit.token)
        except OSError as error:
            return {"folder": folder, "why": f"it cannot write there ({error.strerror})"}
    for path, n_bytes in visit.inputs.items():
        try:
            found = Path(path).stat().st_size
        except OSError as error:
            return {"input": path, "why": f"it cannot read it ({error.strerror})"}
        if found != n_bytes:
            return {"input": path, "why": f"it sees another file there, of {found} bytes instead of {n_bytes}"}
    return {"writer": writer}


def _unlike(path: Path, content: str) -> str:
    """Return why a file does not hold what it should; nothing where it does."""
    try:
        return "" if path.read_text() == content else "another content"
    except OSError as error:
        return error.strerror or str(error)


def _check_answer(worker: str, answer: Any, visit: Visit) -> None:
    """Raise where the answer of a worker tells that it does not share our storage."""
    if isinstance(answer, BaseException):
        raise OutputError(worker, f"it cannot be asked ({answer})", f"a worker with {_PACKAGE}") from answer
    if "input" in answer:
        found, expected = f"{worker}: {answer['why']}", "inputs that all workers see under the same path"
        raise InputMissingError(answer["input"], found, expected, "put the inputs on a file system that all share")
    expected = "storage that this machine and all workers share"
    if "folder" in answer:
        raise OutputError(answer["folder"], f"{worker}: {answer['why']}", expected, _CHOOSE)
    end = time.monotonic() + visit.timeout_seconds
    for folder in visit.folders:
        while why := _unlike(Path(folder) / visit.mark(answer["writer"]), visit.token):
            if time.monotonic() > end:
                raise OutputError(folder, f"what {worker} writes there is not seen here ({why})", expected, _CHOOSE)
            time.sleep(_POLL_SECONDS)
