"""Kernels are compiled before they are needed, side by side, each share in a process of its own.

numba compiles a kernel where it is first called and keeps it on disk. Compiling leaves up to 160 MB in the process
that did it (measured: 71 MB anonymous before, 232 MB after the first rehearsal), so no worker does it: a task
begins a child process per rehearsal, only where its kernels are not on disk yet. A stamp beside the compiled kernels
tells: it names their files and the sources they were made from. Workers load what they need when they need it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing.spawn
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding
import numba
import numba.core.config
from numba.extending import is_jitted

from ...geometry.keys import hash_point

NEEDS: tuple[tuple[int, ...], ...] = ((), (), (0,), (1,), (7,), (2,), (4,), (3,))
"""For each rehearsal, those that come before it: two chains, so that two are done at a time at most. Meshing finds
the kernels of constraints on disk, extrusion those of meshing; the short ones come after the longest, whose kernels
they share."""
_PACKAGE = __package__.partition(".")[0]
_MODULE = f"{__package__}.rehearsal"


def compile_kernels(job_path: str, index: int) -> dict[str, Any]:
    """Have one rehearsal done by a child process, unless its kernels are on disk; writes nothing of the run.

    Where no child can be begun, or it fails, nothing is lost: kernels are then compiled where they are needed.
    """
    del job_path  # the same for every job
    start = time.perf_counter()
    stamp = stamp_path(index)
    if stamp is None or is_compiled(stamp):
        return {"compiled": False}
    code, message = _run_child(index, stamp)
    return {"compiled": code == 0, "compiling": time.perf_counter() - start} | ({"note": message} if code else {})


def needs_compiling(index: int) -> bool:
    """Whether a rehearsal has something to compile on this machine."""
    stamp = stamp_path(index)
    return stamp is not None and not is_compiled(stamp)


def stamp_path(index: int) -> Path | None:
    """Return where the stamp of a rehearsal stands; None where nothing is compiled or no child can be begun.

    A frozen program has no interpreter that could be told to run a module.
    """
    folder = _cache_folder()
    if folder is None or getattr(sys, "frozen", False):
        return None
    return folder / f"rehearsal-{index}-{_compiler_digest()}.json"


def is_compiled(stamp: Path) -> bool:
    """Whether everything is as the stamp says: compiled files are there, their sources unchanged."""
    try:
        found = json.loads(stamp.read_text(encoding="utf8"))
        sources = all(_state(name) == state for name, state in found["sources"].items())
        return sources and all(Path(name).exists() for name in found["kernels"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def write_stamp(path: str) -> None:
    """Write which kernels this process has compiled or loaded, and their sources."""
    sources: dict[str, list[int]] = {}
    compiled: set[str] = set()
    for kernel in _used_kernels():
        code = kernel.py_func.__code__
        sources[code.co_filename] = _state(code.co_filename)
        # numba's own naming: module.function-line.python.nbi
        names = Path(kernel.stats.cache_path).glob(f"*.{code.co_name}-{code.co_firstlineno}.*nbi")
        compiled.update(map(str, names))
    temporary = Path(f"{path}.{os.getpid()}.partial")
    temporary.write_text(json.dumps({"sources": sources, "kernels": sorted(compiled)}), encoding="utf8")
    temporary.replace(path)


def free_of_limits() -> None:
    """Lift the data limit that a worker passes on to its children: this one has a share of its own."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def stop_with_parent() -> None:
    """End this process when its parent is gone: it holds the other end of standard input."""

    def watch() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run_child(index: int, stamp: Path) -> tuple[int, str]:
    """Return exit code and last words of the child."""
    settings = {"PYTHONPATH": os.pathsep.join(_search_path())}
    if numba.core.config.CACHE_DIR:  # a private folder that this process has chosen
        settings["NUMBA_CACHE_DIR"] = numba.core.config.CACHE_DIR
    command = [multiprocessing.spawn.get_executable(), "-m", _MODULE, str(index), str(stamp)]
    try:
        child = subprocess.Popen(
            command,
            env=os.environ | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return 1, str(error)
    with child:
        words = child.stderr.read() if child.stderr else ""
        return child.wait(), words[-500:]


def _search_path() -> list[str]:
    """Return where the child finds this package, wherever its own main script would look."""
    found = Path(__file__).parents[2].parent
    return [str(found), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]


def _used_kernels() -> Iterator[Any]:
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == _PACKAGE]
    for module in modules:
        for value in vars(module).values():
            if is_jitted(value) and value.signatures and value.stats.cache_path:
                yield value


def _cache_folder() -> Path | None:
    """Return the folder in which numba keeps what it compiles of this package."""
    found = hash_point.stats.cache_path if is_jitted(hash_point) else None
    return Path(found) if found else None


def _compiler_digest() -> str:
    """Return a digest of everything but the sources that compiled kernels depend on."""
    features = llvmlite.binding.get_host_cpu_features().flatten()
    host = (llvmlite.binding.get_host_cpu_name(), features)
    asked = (numba.core.config.CPU_NAME, numba.core.config.CPU_FEATURES)
    versions = (numba.__version__, llvmlite.__version__, platform.python_implementation(), sys.version)
    return hashlib.blake2b(repr((host, asked, versions)).encode(), digest_size=8).hexdigest()


def _state(path: str) -> list[int]:
    """Return what numba tells sources by: the time of the last change and the size."""
    found = Path(path).stat()
    return [found.st_mtime_ns, found.st_size]
