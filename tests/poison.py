"""Tiles that fail on purpose: importing this module, in a test or in a worker, poisons `mesh_tile` by the environment.

POISON is ``KIND:TILE`` with one of the kinds below, or ``KIND:TILE:BYTES``. Workers of our own clusters import it where
a test passes it as ``preload`` (`poisoned_workers`).
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from citymesh_dask.pipelines.city.job import load_job
from citymesh_dask.pipelines.city.tiles import meshes, skipping
from citymesh_dask.tiles import MESH_UNITS

_mesh_tile = meshes.mesh_tile
_skip_tile = skipping.skip_tile


def _fail(tile_m: float, amount: int) -> None:
    raise ZeroDivisionError("poisoned")


def _abort(tile_m: float, amount: int) -> None:
    os.abort()


def _exhaust(tile_m: float, amount: int) -> None:
    """Take ``amount`` bytes, by a real allocation, where the tile is longer than 15 m."""
    if tile_m > 15:
        np.ones(amount, np.uint8)


def _abort_large(tile_m: float, amount: int) -> None:
    if tile_m > 15:
        os.abort()


def _loop(tile_m: float, amount: int) -> None:
    while True:
        pass


def _loop_large(tile_m: float, amount: int) -> None:
    if tile_m > 15:
        _loop(tile_m, amount)


def _hold(tile_m: float, amount: int) -> None:
    """Never come back from a library, which keeps the interpreter all the time: the worker falls silent."""
    re.match(r"(a+)+$", "a" * 100 + "b")


def _fail_once(tile_m: float, amount: int) -> None:
    mark = Path(os.environ["POISON_MARK"])
    if not mark.exists():
        mark.touch()
        raise OSError(5, "poisoned once")


KINDS: dict[str, Callable[[float, int], None]] = {
    "fail": _fail,
    "abort": _abort,
    "exhaust": _exhaust,
    "abort_large": _abort_large,
    "loop": _loop,
    "loop_large": _loop_large,
    "hold": _hold,
    "fail_once": _fail_once,
    "fail_trace": _fail,
}


def _poison(job_path: str, index: int) -> str:
    kind, tile, amount = (os.environ.get("POISON", "none:-1") + ":0").split(":")[:3]
    tiling = load_job(job_path).tiling
    if kind != "none" and tiling.position(index) == int(tile):
        x0, y0, x1, y1 = tiling.boxes[index].tolist()
        if x0 < x1:
            KINDS[kind](max(x1 - x0, y1 - y0) / MESH_UNITS, int(amount))
    return kind


@functools.wraps(_mesh_tile)
def mesh_tile(job_path: str, index: int) -> dict[str, Any]:
    _poison(job_path, index)
    return _mesh_tile(job_path, index)


@functools.wraps(_skip_tile)
def skip_tile(job_path: str, index: int, cause: str, traced: bool) -> dict[str, Any]:
    if traced and os.environ.get("POISON", "").startswith("fail_trace"):
        raise ZeroDivisionError("poisoned, too")
    return _skip_tile(job_path, index, cause, traced)


meshes.mesh_tile = mesh_tile
skipping.skip_tile = skip_tile


def poisoned_workers(patch: Any) -> None:
    """Have the workers of our own clusters import this module; ``patch`` is the fixture ``monkeypatch``."""
    from citymesh_dask import starting  # not in the workers
    from citymesh_dask.engine import local_cluster as own

    def local_cluster(**settings: Any) -> Any:
        return own.local_cluster(**{**settings, "preload": (*settings.get("preload", ()), __name__)})

    patch.setattr(starting, "local_cluster", local_cluster)
