"""What every task of the city pipeline must know, kept once in the scratch folder.

Tasks get the path of the job, not its content: a task carries a few hundred bytes.
"""

from __future__ import annotations

import functools
import os
import pickle
from dataclasses import dataclass
from pathlib import Path

from ...geometry.terrain.terrain import TerrainLattice
from ...options import CityOptions
from ...store.scratch import Scratch
from ...tiles import Domain, Tiling
from .inputs.survey import Survey

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

    def row_range(self, index: int) -> tuple[int, int]:
        """Return the first and the past-the-end row of a piece of the building table."""
        return index * ROWS_PER_RANGE, min((index + 1) * ROWS_PER_RANGE, self.n_rows)


def job_file(scratch: Path) -> Path:
    """Return where the job of a scratch folder is kept."""
    return scratch / "job.pickle"


def save_job(job: CityJob) -> str:
    """Keep the job in its scratch folder and return its path."""
    path = job_file(job.scratch.root)
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    temporary.write_bytes(pickle.dumps(job))
    temporary.replace(path)
    return str(path)


def load_job(path: str) -> CityJob:
    """Return the job kept at a path; read once per process."""
    return _load_job(path, Path(path).stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _load_job(path: str, modified: int) -> CityJob:
    del modified  # part of the cache key: another job may come to the same path
    job: CityJob = pickle.loads(Path(path).read_bytes())  # our own file in a private folder
    return job
