"""Is a city too large for the disk, or its tiles for the arithmetic? Asked before anything is written."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

from ....engine.machine import free_space
from ....errors import OptionError, PlanError
from ....options import CityOptions
from ....store.memory_scratch import MemoryScratch
from ....tiles import Domain
from ..inputs.survey import Survey
from ..job import CityJob, partial_path
from .costs import estimated_triangles
from .work import result_bytes, scratch_bytes

_BYTES_PER_TRIANGLE = 8
"""What a triangle takes at least on a disk, compressed, once in the scratch folder and once in the store."""
LARGEST_TILE_M = 4000.0
"""Differences inside a tile must stay below 2**30 mesh units to be exact."""
MOST_TILES = 200_000
_LEAST_SHARE = 0.1
"""Of what a run is projected to write: what is missing at least where a disk is full."""
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
        if max(width, height) > LARGEST_TILE_M:
            found = f"False, for a domain of {width:g} x {height:g} m"
            advice = "leave it out, or pass smaller --bounds"
            raise OptionError("option use_tiling", found, f"True beyond {LARGEST_TILE_M:g} m", advice)
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
        Projected to be written there, what a former run has left of it included.
    device : int
        The file system.
    free_bytes : int
        Room on it.
    former : Path
        Folder with what a former run has left of it. A store that is to be replaced stands until the new one is whole.
    """

    flag: str
    folder: Path
    needed_bytes: int
    device: int
    free_bytes: int
    former: Path


def disk_needs(job: CityJob) -> tuple[DiskNeed, ...]:
    """Return what a run needs for its scratch folder and for its store, both of which are there at its end."""
    scratch = None if isinstance(job.scratch, MemoryScratch) else job.scratch.root
    return _needs(Path(job.out), scratch, (int(result_bytes(job)), int(scratch_bytes(job))))


def _needs(out: Path, scratch: Path | None, sizes: tuple[int, int]) -> tuple[DiskNeed, ...]:
    """Return the needs of a store and of a scratch folder, None in memory, from their sizes in bytes."""
    found = [DiskNeed("--out", out, sizes[0], *free_space(out), partial_path(out, in_memory=scratch is None))]
    if scratch is not None:
        found.insert(0, DiskNeed("--temp-dir", scratch, sizes[1], *free_space(scratch), scratch))
    return tuple(found)


def check_room(job: CityJob) -> None:
    """Raise where scratch folder and store are projected to be larger than what is free.

    Raises
    ------
    PlanError
        With what will be written and what is free.
    """
    _refuse_lack(disk_needs(job), job.options, "about")


def check_least_room(survey: Survey, options: CityOptions, *, out: Path, scratch: Path | None) -> None:
    """Raise where not even the triangles of a city fit on the disks: there may be too many for a plan to be made.

    Parameters
    ----------
    survey, options : Survey, CityOptions
        The city.
    out, scratch : Path
        Store and scratch folder, which need not exist yet; no scratch folder for a run in memory.

    Raises
    ------
    PlanError
        With what will be written and what is free.
    """
    least = int(_BYTES_PER_TRIANGLE * estimated_triangles(survey.domain, survey.outlines, options))
    _refuse_lack(_needs(out, scratch, (least, least)), options, "at least")


def _refuse_lack(needs: tuple[DiskNeed, ...], options: CityOptions, how: str) -> None:
    for device in {need.device for need in needs}:
        here = [need for need in needs if need.device == device]
        needed, free = sum(need.needed_bytes for need in here), here[0].free_bytes
        if needed > free and needed - sum(_size(need.former) for need in here) > free:
            found = f"{how} {_amount(needed)} will be written, {_amount(free)} are free"
            advice = f"free some room, choose another disk with {here[-1].flag}, a --max-mesh-size larger than "
            advice += f"{options.max_mesh_size:g} m, or smaller --bounds"
            raise PlanError(str(here[-1].folder.parent), found, "room for the whole run", advice)


def missing_room(job: CityJob, full: str | Path) -> str:
    """Return how much room a run is projected to miss on the disk of a file that could not be written.

    A tenth of the projection at least: a full disk says that it was too low.
    """
    device, free = free_space(Path(full).parent)
    needs = [need for need in disk_needs(job) if need.device == device]
    written = sum(_size(need.former) for need in needs)
    needed = sum(need.needed_bytes for need in needs)
    return f"about {_amount(max(needed - written - free, _LEAST_SHARE * needed))}" if needs else "some room"


def _size(folder: Path) -> int:
    """Return the bytes that a former run has left in a folder."""
    sizes = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            sizes += path.lstat().st_size
    return sizes


def _amount(size: float) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"
