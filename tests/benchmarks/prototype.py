"""The research prototype, run in a process of its own: it has module names and caches that must not meet ours.

It is looked for in ``$CITYMESH_PROTOTYPE``, else in ``../shared/prototype``; no code of it is here.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numba

from tests.benchmarks.sample import KEPT

HOME = Path(os.environ.get("CITYMESH_PROTOTYPE") or Path(__file__).parents[3] / "shared" / "prototype")
ABSENT = f"the prototype is not at {HOME} (set CITYMESH_PROTOTYPE)"


def is_there() -> bool:
    """Whether the prototype can be run."""
    return (HOME / "fastmesh.py").is_file() and (HOME / "fastclean" / "fc.py").is_file()


@contextmanager
def prototype_process(*folders: str) -> Iterator[ProcessPoolExecutor]:
    """Give a process that can import the prototype's modules in some of its folders."""
    paths = [str(HOME / folder) for folder in folders]
    with (
        tempfile.TemporaryDirectory() as work,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _enter, (paths, work)) as pool,
    ):
        yield pool


def _enter(paths: list[str], work: str) -> None:
    """Prepare this process: nothing is written into the prototype's folder."""
    os.chdir(work)
    sys.path[:0] = paths
    sys.pycache_prefix = str(KEPT / "prototype-bytecode")
    numba.config.CACHE_DIR = str(KEPT / "prototype-kernels")
