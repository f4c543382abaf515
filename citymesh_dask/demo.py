"""The demo: a sample city, its configuration, the run, and what came out of it.

The city itself is made in `sample_city`; here its files get their places and the run is told of.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .api import CityMesh
from .batch import finish_run, load_jobs, mesh_summary, start_job
from .errors import CheckError, OutputError
from .options import CityOptions
from .pipelines.checking.check import check_store
from .pipelines.export import export_store
from .report import report_path
from .sample_city.landscape import SampleCity
from .sample_city.survey_files import CRS, LAYER, city_pieces, write_footprints, write_points, write_terrain
from .settings import RunSettings

Tell = Callable[[str], None]
"""Called with every line that a reader should see while the demo goes on."""

CONFIG = "city.yaml"
STORE = "city.zarr"
PICTURE = "city.png"
_FOOTPRINTS, _POINTS, _TERRAIN = "footprints.gpkg", "points", "terrain.tif"
_MARK = ".citymesh-demo"
_Names = tuple[tuple[str, str], ...]
_INPUTS: _Names = (
    ("footprints", _FOOTPRINTS),
    ("laser returns", _POINTS),
    ("terrain raster", _TERRAIN),
    ("configuration", CONFIG),
)
_RESULTS: _Names = (("mesh (Zarr)", STORE), ("report", report_path(STORE).name), ("picture", PICTURE))


@dataclass(frozen=True)
class DemoReport:
    """What the demo wrote.

    Parameters
    ----------
    folder : Path
        Where.
    rows : tuple of (str, str, int)
        What, path and size in bytes of every result.
    summary : str
        A few words on the mesh.
    """

    folder: Path
    rows: tuple[tuple[str, str, int], ...]
    summary: str = ""

    def describe(self) -> str:
        """Return the results as a table."""
        width = max(len(path) for _, path, _ in self.rows)
        lines = [f"  {what:28} {path:{width}}  {size / 1e6:8.2f} MB" for what, path, size in self.rows]
        return "\n".join(([self.summary] if self.summary else []) + lines)

    def next_commands(self) -> tuple[str, str]:
        """Return two commands worth trying next."""
        config, store, folder = (str(self.folder / name) for name in (CONFIG, STORE, ""))
        if not (self.folder / STORE).exists():
            return f"citymesh run {config}", f"citymesh export {store} {folder}/{PICTURE}"
        return (
            f"citymesh export {store} {folder}/city.vtu",
            f"citymesh run {config} --set out={folder}/solid.zarr --set solid=true",
        )


def generate_demo(folder: str | Path, city: SampleCity | None = None, *, tell: Tell) -> Path:
    """Write the survey files of a sample city and its configuration; return the path of the latter.

    Parameters
    ----------
    folder : path
        Where; what an earlier demo of the same city wrote there is kept.
    city : SampleCity, optional
        The city.
    tell : callable
        Gets a line for every step.

    Raises
    ------
    OutputError
        If the folder holds files of the same names that no demo wrote.
    """
    city = city or SampleCity()
    root = Path(folder)
    config = root / CONFIG
    text = _config_text(city)
    if config.is_file() and config.read_text(encoding="utf8") == text:
        tell(f"sample city: kept as it is in {root}")
        return config
    _claim(root)
    tell(f"sample city: {city.size:g} m x {city.size:g} m, seed {city.seed}, {city.density:g} returns per m2")
    count = write_footprints(city, root / _FOOTPRINTS)
    tell(f"  {count} footprints in {root / _FOOTPRINTS}")
    tiles = [write_points(city, piece, root / _POINTS) for piece in city_pieces(city)]
    size = sum(tile.stat().st_size for tile in tiles) / 1e6
    tell(f"  {len(tiles)} laser {'tile' if len(tiles) == 1 else 'tiles'}, {size:.1f} MB, in {root / _POINTS}")
    write_terrain(city, root / _TERRAIN)
    tell(f"  terrain raster in {root / _TERRAIN}")
    config.write_text(text, encoding="utf8")  # last: with it the city is complete
    return config


def run_demo(
    folder: str | Path,
    city: SampleCity | None = None,
    *,
    generate_only: bool = False,
    progress: bool,
    tell: Tell,
    typed: str = "",
) -> DemoReport:
    """Write a sample city, build its mesh, check it and draw it.

    Parameters
    ----------
    folder : path
        Where everything goes.
    city : SampleCity, optional
        The city.
    generate_only : bool
        Stop before the mesh is built.
    progress : bool
        Whether to show the progress of the run.
    tell : callable
        Gets a line for every step.
    typed : str
        The command that was typed, where one was.

    Raises
    ------
    CheckError
        If the finished mesh does not hold what it must.
    """
    config = generate_demo(folder, city, tell=tell)
    root = config.parent
    if generate_only:
        return DemoReport(root, _rows(root, _INPUTS))
    tell(f"building: the same as 'citymesh run {config}'")
    (job,) = load_jobs([config], ["overwrite=true"])
    mesh = finish_run(start_job(job, progress=progress, typed=typed))
    _check(mesh, tell)
    export_store(mesh.path, root / PICTURE, overwrite=True)
    return DemoReport(root, _rows(root, _INPUTS + _RESULTS), mesh_summary(mesh))


def _check(mesh: CityMesh, tell: Tell) -> None:
    report = check_store(mesh.path)
    if not report.ok:
        found = "; ".join(f"{problem.kind}: {problem.count}" for problem in report.problems)
        raise CheckError(str(mesh.path), found, "a closed surface", f"see 'citymesh check {mesh.path}'")
    tell("checked: the surface is closed, every edge is shared as it must be")


def _claim(root: Path) -> None:
    """Make the folder, or clear it of an earlier demo; never of anything else."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        found = f"the folder cannot be made ({error.strerror})"
        raise OutputError(str(root), found, "a place that can be written", "name another folder") from error
    mark = root / _MARK
    for name in (_FOOTPRINTS, _POINTS, _TERRAIN, CONFIG):
        path = root / name
        if path.exists() and not mark.exists():
            raise OutputError(str(path), "it exists, and no demo wrote it", "a new folder", "name another folder")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (root / _POINTS).mkdir(parents=True)
    mark.touch()


def _rows(root: Path, names: _Names) -> tuple[tuple[str, str, int], ...]:
    return tuple((what, str(root / name), _size(root / name)) for what, name in names)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [child for child in path.rglob("*") if child.is_file()]
    return sum(file.stat().st_size for file in files)


def _config_text(city: SampleCity) -> str:
    """Return the configuration, with every option as a comment: the defaults come from the dataclasses."""
    lines = [
        f"# Sample city of {city.size:g} m x {city.size:g} m, seed {city.seed}, {city.density:g} returns per m2.",
        f"# Run it with: citymesh run {CONFIG}        Paths are relative to this file.",
        "pipeline: city",
        f"footprints: {_FOOTPRINTS}",
        f"layer: {LAYER}",
        f"points: {_POINTS}/*.laz      # LAS or LAZ, one file or many; class 2 is ground, class 6 roofs",
        f"# terrain: {_TERRAIN}       # a terrain raster instead of the ground points",
        f"out: {STORE}",
        f"crs: {CRS}",
        "",
        "# Heights from an attribute of the footprints win over points:",
        "# height_field: height",
        "",
        "# What the mesh looks like; the values are the defaults.",
        *_commented(CityOptions(), skip=("crs", "height_field")),
        "",
        "# How it is run; has no influence on the mesh.",
        *_commented(RunSettings(), skip=()),
    ]
    return "\n".join(lines) + "\n"


def _commented(options: CityOptions | RunSettings, *, skip: tuple[str, ...]) -> list[str]:
    lines = []
    for item in dataclasses.fields(options):
        if item.name in skip:
            continue
        unit = item.metadata.get("unit", "")
        remark = f"{unit}; {item.metadata['help']}" if unit else item.metadata["help"]
        lines.append(f"# {f'{item.name}: {_yaml(item.default)}':34} # {remark}")
    return lines


def _yaml(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
