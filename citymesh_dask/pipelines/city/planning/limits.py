"""Is a city too large for the disk, or its tiles for the arithmetic? Asked before anything is written."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ....engine.machine import free_space
from ....errors import OptionError, PlanError
from ....options import CityOptions
from ....store.memory_scratch import MemoryScratch
from ....tiles import Domain
from ..job import CityJob, partial_store
from .work import result_bytes, scratch_bytes

_BYTES_PER_TRIANGLE = 8
"""What a triangle takes at least on a disk, compressed, once in the scratch folder and once in the store."""
_LARGEST_TILE_M = 4000.0
"""Differences inside a tile must stay below 2**30 mesh units to be exact."""
MOST_TILES = 200_000
_MOST_CELLS = 1e12


def check_tiles(domain: Domain, tile_size: float | None) -> None:
    """Raise where tiles are too large to be exact, or too many to be planned.

    Parameters
    ----------
    domain : Domain
        What is meshed.
    tile_size : float or None
        Metres; None for one tile.

    Raises
    ------
    OptionError, PlanError
        With a tile size that would do.
    """
    x0, y0, x1, y1 = domain.bounds
    width, height = x1 - x0, y1 - y0
    if tile_size is None:
        if max(width, height) > _LARGEST_TILE_M:
            found = f"False, for a domain of {width:g} x {height:g} m"
            advice = "leave it out, or pass smaller --bounds"
            raise OptionError("option use_tiling", found, f"True beyond {_LARGEST_TILE_M:g} m", advice)
        return
    count = math.ceil(width / tile_size) * math.ceil(height / tile_size)
    if count > MOST_TILES:
        found = f"{tile_size:g} m makes {count:,} tiles of a domain of {width:g} x {height:g} m"
        least = math.ceil(1.01 * math.sqrt(width * height / MOST_TILES))
        advice = f"pass --tile-size {least} or more, or leave it out to have it chosen"
        raise PlanError("option tile_size", found, f"at most {MOST_TILES:,} tiles", advice)


def check_cells(domain: Domain, cell: float) -> None:
    """Raise where the terrain raster would have more cells than any disk holds.

    Raises
    ------
    PlanError
        With a cell size that would do.
    """
    count = domain.area / cell**2
    if count > _MOST_CELLS:
        least = math.ceil(math.sqrt(domain.area / _MOST_CELLS))
        found = f"{cell:g} m makes a terrain raster of {count:.2g} cells"
        advice = f"pass --terrain-cell {least} or smaller --bounds"
        raise PlanError("option terrain_cell", found, f"at most {_MOST_CELLS:.2g} cells", advice)


def check_disks(triangles: float, places: Mapping[str, Path], options: CityOptions) -> None:
    """Raise where a mesh certainly does not fit on the disks.

    Parameters
    ----------
    triangles : float
        Projected number of triangles.
    places : mapping of str to Path
        Flag and folder of each place that takes the mesh once; the folders need not exist yet.
    options : CityOptions
        ``max_mesh_size`` stands in the message.

    Raises
    ------
    PlanError
        With what will be written and what is free.
    """
    needed: dict[int, float] = {}
    flags: dict[int, str] = {}
    for name, place in places.items():
        folder = next(folder for folder in (place, *place.parents) if folder.is_dir())
        device = folder.stat().st_dev
        flag = flags.setdefault(device, name)
        needed[device] = needed.get(device, 0.0) + triangles * _BYTES_PER_TRIANGLE
        total, _, free = shutil.disk_usage(folder)
        if total and needed[device] > free:  # what is no disk, such as /proc, will say so itself
            found = f"at least {_amount(needed[device])} will be written, {_amount(free)} are free"
            advice = f"free some room, choose another disk with {flag}, a --max-mesh-size larger than "
            advice += f"{options.max_mesh_size:g} m, or smaller --bounds"
            raise PlanError(str(folder), found, "room for the whole run", advice)


@dataclass(frozen=True)
class DiskNeed:
    """What a run writes to one place.

    Parameters
    ----------
    flag : str
        Option that chooses the place.
    folder : Path
        The place; it need not exist yet.
    needed_bytes : int
        Projected to be written there, without what a former run has left.
    device : int
        The file system.
    free_bytes : int
        Room on it.
    """

    flag: str
    folder: Path
    needed_bytes: int
    device: int
    free_bytes: int


def disk_needs(job: CityJob) -> tuple[DiskNeed, ...]:
    """Return what a run needs for its scratch folder and for its store, both of which are there at its end."""
    places = [("--out", Path(job.out), result_bytes(job))]
    if not isinstance(job.scratch, MemoryScratch):
        places.insert(0, ("--temp-dir", job.scratch.root, scratch_bytes(job)))
    return tuple(DiskNeed(flag, folder, int(size), *free_space(folder)) for flag, folder, size in places)


def check_room(job: CityJob) -> None:
    """Raise where scratch folder and store are projected to be larger than what is free.

    Raises
    ------
    PlanError
        With what will be written and what is free.
    """
    needs = disk_needs(job)
    for device in {need.device for need in needs}:
        here = [need for need in needs if need.device == device]
        needed, free = sum(need.needed_bytes for need in here), here[0].free_bytes
        if needed > free and needed - sum(_size(need.folder) for need in here) > free:
            found = f"about {_amount(needed)} will be written, {_amount(free)} are free"
            advice = f"free some room, choose another disk with {here[-1].flag}, a --max-mesh-size larger than "
            advice += f"{job.options.max_mesh_size:g} m, or smaller --bounds"
            raise PlanError(str(here[-1].folder.parent), found, "room for the whole run", advice)


def missing_room(job: CityJob, full: str | Path) -> str:
    """Return how much room a run is projected to miss on the disk of a file that could not be written.

    "some room" where the projection says that there is enough.
    """
    device, free = free_space(Path(full).parent)
    needs = [need for need in disk_needs(job) if need.device == device]
    written = sum(_size(partial_store(job) if need.flag == "--out" else need.folder) for need in needs)
    missing = sum(need.needed_bytes for need in needs) - written - free
    return f"about {_amount(missing)}" if missing > 0 else "some room"


def _size(folder: Path) -> int:
    """Return the bytes that a former run has left in a folder."""
    sizes = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            sizes += path.lstat().st_size
    return sizes


def _amount(size: float) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"
