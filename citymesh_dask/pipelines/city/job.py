"""What every task of the city pipeline must know, kept once in the scratch folder.

Tasks get the path of the job, not its content: a task carries a few hundred bytes.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import numpy as np

from ...formats.crs import authority_code
from ...formats.footprints import FootprintSource
from ...formats.lidar import PointSource
from ...formats.rasters import RasterSource
from ...geometry.terrain.terrain import TerrainLattice
from ...options import CityOptions
from ...store.chunks import write_whole
from ...store.memory_scratch import MemoryScratch
from ...store.partial import describe_tiles
from ...store.plain import from_json, to_json
from ...store.scratch import Scratch
from ...store.trace import Question, active_trace, digest_of, named, note_value, qualified_name
from ...store.watched import look_up, watched
from ...tiles import Box, Domain, SkippedTile, Tiling
from .inputs.survey import Survey
from .planning.density import Density
from .planning.estimates import OutlineSample

P = ParamSpec("P")
T = TypeVar("T")

POINTS_PER_RANGE = 2_000_000
PARTS_PER_PACK = 1000
ROWS_PER_RANGE = 1 << 14


@dataclass(frozen=True)
class FootprintRange:
    """Features ``start:stop`` of one footprint source; the first is row ``first_row`` of the table."""

    source: int
    start: int
    stop: int
    first_row: int


@dataclass(frozen=True)
class PointRange:
    """Points ``start:stop`` of one point source."""

    source: int
    start: int
    stop: int


@dataclass(frozen=True)
class CityJob:
    """A city run, decided before its first task.

    Parameters
    ----------
    scratch : Scratch
        Where tasks leave data for one another.
    out : str
        Final path of the store.
    options : CityOptions
        What the mesh shall look like.
    survey : Survey
        Inputs, project CRS and domain.
    footprint_ranges, point_ranges : tuple
        Pieces in which the inputs are read.
    lattice : TerrainLattice
        Cells of the terrain raster.
    tiling : Tiling
        The tiles.
    n_packs : int
        Number of packs of footprint groups that are cleaned together.
    fan_in : int
        Most children of a node of the merging tree.
    fingerprint : str
        Of the inputs and options that were asked for. It stands in the job itself: there is no moment at which a
        scratch folder holds the job of one request and the fingerprint of another.
    """

    scratch: Scratch
    out: str
    options: CityOptions
    survey: Survey
    footprint_ranges: tuple[FootprintRange, ...]
    point_ranges: tuple[PointRange, ...]
    lattice: TerrainLattice
    tiling: Tiling
    n_packs: int
    fan_in: int
    fingerprint: str = ""

    @property
    def domain(self) -> Domain:
        """The rectangle that is meshed."""
        return self.survey.domain

    @property
    def crs(self) -> str:
        """Project CRS as WKT."""
        return self.survey.crs

    @property
    def n_rows(self) -> int:
        """Rows of the building table: features of all footprint files."""
        return sum(source.n_features for source in self.survey.footprints)

    @property
    def n_tiles(self) -> int:
        """Tiles of the mesh; sides and base of a solid are one more."""
        return len(self.tiling) + int(self.options.solid)

    @property
    def n_row_ranges(self) -> int:
        """Pieces in which per-building arrays are kept."""
        return -(-self.n_rows // ROWS_PER_RANGE)

    def tile_box(self, index: int) -> Box:
        """Return the box of one tile, mesh units; a task that calls this depends on no other tile's."""
        return _tile_box(self, index)

    def row_range(self, index: int) -> tuple[int, int]:
        """Return the first and the past-the-end row of a piece of the building table."""
        return _row_range(self, index)

    def ranges_of_rows(self, start: int, stop: int) -> tuple[tuple[int, int, int], ...]:
        """Return the footprint ranges that hold rows ``start:stop``: number, first and past-the-end feature in it."""
        return _ranges_of_rows(self, start, stop)


_KINDS: tuple[type, ...] = (
    *(CityJob, Scratch, CityOptions, Survey, FootprintSource, PointSource, RasterSource, Domain, OutlineSample),
    *(Density, FootprintRange, PointRange, TerrainLattice, Tiling, SkippedTile),
)
"""All that a job consists of."""


def partial_store(job: CityJob) -> Path:
    """Return where the store is built."""
    return partial_path(Path(job.out), in_memory=isinstance(job.scratch, MemoryScratch))


def partial_path(out: Path, *, in_memory: bool) -> Path:
    """Return where a store is built: beside its final name, and where no other kind of run goes on."""
    kind = ".memory" if in_memory else ""
    return out.with_name(f".{out.name}{kind}.partial")


def job_file(scratch: Path) -> Path:
    """Return where the job of a scratch folder is kept."""
    return scratch / "job.json"


def save_job(job: CityJob) -> str:
    """Keep the job in its scratch folder and return its path."""
    path = job_file(job.scratch.root)
    write_whole(path, to_json(job).encode(), durable=True)
    _describe(job)
    return str(path)


def _describe(job: CityJob) -> None:
    """Tell those who look at the finished tiles what they are pieces of."""
    boxes = job.tiling.boxes
    describe_tiles(
        job.scratch.root,
        out=job.out,
        partial=partial_store(job),
        n_tiles=job.n_tiles,
        retired=np.flatnonzero((boxes[:, :2] >= boxes[:, 2:]).any(axis=1)).tolist(),
        attributes={
            "n_buildings": job.n_rows,
            "bounds": list(job.domain.bounds),
            "crs": {"authority": authority_code(job.crs), "wkt": job.crs},
            "options": asdict(job.options),
        },
        fingerprint=job.fingerprint,
    )


_held: dict[str, CityJob] = {}
"""Jobs of this process that are kept in memory, by the name that stands for their path."""


def hold_job(job: CityJob) -> str:
    """Keep a job in memory, and return what its tasks get for a path."""
    name = str(job_file(job.scratch.root))
    _held[name] = job
    return name


def release_job(name: str) -> None:
    """Forget a job that was kept in memory."""
    _held.pop(name, None)


def change_job(job: CityJob) -> str:
    """Keep a job in place of an earlier state of it, where that is kept."""
    return hold_job(job) if str(job_file(job.scratch.root)) in _held else save_job(job)


def load_job(path: str) -> CityJob:
    """Return the job kept at a path, read once per process; it tells the trace of the task what is looked at."""
    if path in _held:
        return _held[path]
    return _load_job(path, _stamp(path))


def _stamp(path: str) -> tuple[int, int]:
    """Return what tells a job from one that was kept at the same path before."""
    stat = Path(path).stat()
    return stat.st_mtime_ns, stat.st_ino


@functools.lru_cache(maxsize=4)
def _load_job(path: str, modified: tuple[int, int]) -> CityJob:
    del modified  # part of the cache key: another job may come to the same path
    job: CityJob = from_json(Path(path).read_bytes(), _KINDS)
    digests: dict[str, str] = {}

    def tell(name: str, value: Any) -> None:
        if active_trace() is not None:
            if name not in digests:
                digests[name] = digest_of(value)
            note_value(name, digests[name], again=_VALUE_DIGEST)

    return watched(job, tell, silent=_PLACES)


def plain_job(job: CityJob) -> CityJob:
    """Return a job that tells nobody what is looked at."""
    return job if type(job) is CityJob else pickle.loads(pickle.dumps(job))


@named
def value_digest(folder: Path, path: str) -> str:
    """Return the digest of a value of the job in the folder of a run, by the path that was told; "" for none."""
    file = job_file(folder)
    return _value_digest(str(file), _stamp(str(file)), path)


@functools.lru_cache(maxsize=1 << 14)
def _value_digest(file: str, modified: tuple[int, int], path: str) -> str:
    try:
        return digest_of(look_up(_load_job(file, modified), path))
    except LookupError:
        return ""


_VALUE_DIGEST = qualified_name(value_digest)
_PLACES = frozenset(("scratch", "out"))
"""Fields that say where things are: nothing in them depends on it."""


class _Asked(Protocol):
    def __call__(self, function: Callable[Concatenate[CityJob, P], T]) -> Question[CityJob, P, T]: ...


def asked(digest: Callable[[Any], str] = digest_of) -> _Asked:
    """Return a decorator: of what a function of the job and numbers reads, a task depends on the answer alone.

    Parameters
    ----------
    digest : callable
        Returns the digest of an answer that `digest_of` does not understand.
    """

    def decorate(function: Callable[Concatenate[CityJob, P], T]) -> Question[CityJob, P, T]:
        return Question(function, _job_of, digest)

    return decorate


def _job_of(folder: Path) -> CityJob:
    return load_job(str(job_file(folder)))


@asked()
def _tile_box(job: CityJob, index: int) -> Box:
    x0, y0, x1, y1 = (int(value) for value in job.tiling.boxes[index])
    return (x0, y0, x1, y1)


@asked()
def _row_range(job: CityJob, index: int) -> tuple[int, int]:
    return index * ROWS_PER_RANGE, min((index + 1) * ROWS_PER_RANGE, job.n_rows)


@asked()
def _ranges_of_rows(job: CityJob, start: int, stop: int) -> tuple[tuple[int, int, int], ...]:
    found = []
    for index, part in enumerate(job.footprint_ranges):
        low, high = max(part.first_row, start), min(part.first_row + part.stop - part.start, stop)
        if low < high:
            found.append((index, low - part.first_row, high - part.first_row))
    return tuple(found)
