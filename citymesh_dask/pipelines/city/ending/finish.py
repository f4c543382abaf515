"""The end of a city run: what was proved, written into the store, and the store given its name."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ....engine.ledger import Receipt
from ....errors import CheckError, StoreError
from ....formats.crs import authority_code
from ....store.city_store import require_whole, write_arrays, write_attributes
from ....store.durability import sync_file_system, sync_folder
from ....tiles import MESH_UNITS
from ..job import CityJob, partial_store
from ..resume import BEGUN, keep_for_later, old_name
from .assembly import read_numbering

PACKAGES = (
    "citymesh_dask",
    "dask",
    "distributed",
    "zarr",
    "numpy",
    "numba",
    "numcodecs",
    "pythoncdt",
    "shapely",
    "laspy",
)
RESULT_PACKAGES = (
    "citymesh_dask",
    "numpy",
    "numba",
    "numcodecs",
    "pythoncdt",
    "shapely",
    "pyproj",
    "pyogrio",
    "rasterio",
    "laspy",
    "lazrs",
)


def certificate(job: CityJob, receipts: Mapping[str, Receipt]) -> dict[str, Any]:
    """Return what the reduction over all tiles proved.

    Raises
    ------
    CheckError
        If an edge is open inside the domain, used more than twice or in one direction only, if the
        area is not that of the domain, or a triangle is inverted; with places and tiles.
    """
    facts = [receipt.facts for receipt in receipts.values()]
    defects = [defect for fact in facts for defect in fact.get("defects", [])]
    n_defects = sum(int(fact.get("n_defects", 0)) for fact in facts)
    quality = [fact["quality"] for fact in facts if "quality" in fact]
    doubled = sum(int(entry["doubled_area"]) for entry in quality)
    x0, y0, x1, y1 = job.domain.mesh_frame
    wanted = 2 * (x1 - x0) * (y1 - y0)
    inverted = sum(int(entry["inverted"]) for entry in quality)
    number = receipts["close_mesh-0000"].facts
    kinds = [str(defect["fault"]) for defect in defects]
    proof = {
        "open_edges": kinds.count("open"),
        "overused_edges": kinds.count("overused"),
        "inconsistent_edges": kinds.count("inconsistent"),
        "inverted_triangles": inverted,
        "rim_length": 0.0 if job.options.solid else number["rim_length"] / MESH_UNITS,
        "domain_area": wanted / 2 / MESH_UNITS**2,
        "mesh_area": doubled / 2 / MESH_UNITS**2,
        "area_exact": doubled == wanted,
    }
    whole = doubled == wanted and number["rim_length"] == number["frame_length"]
    if "missing" in number:
        whole = _holds_around(number["missing"], doubled, wanted, number)
    if n_defects or inverted or not whole:
        places = "; ".join(f"{d['fault']} edge at {_place(d['at'])} (tiles {d['tiles']})" for d in defects[:5])
        raise CheckError(
            "the finished mesh",
            f"{n_defects} faulty edges, {inverted} inverted triangles, area {proof['mesh_area']} m2. {places}",
            f"a closed mesh of {proof['domain_area']} m2",
            "this is a defect of citymesh_dask: please report it with this message and, if possible, the inputs",
        )
    return proof


def _holds_around(missing: Mapping[str, Any], doubled: int, wanted: int, number: Mapping[str, Any]) -> bool:
    """Whether what is missing, area and rim, is all that the mesh lacks; believed where that was not computed."""
    if not missing["exact"]:
        return doubled <= wanted and number["rim_length"] <= number["frame_length"]
    rim = number["rim_length"] + missing["frame_length"]
    return doubled + int(missing["doubled_area"]) == wanted and rim == int(number["frame_length"])


def find_holes(receipts: Mapping[str, Receipt]) -> list[dict[str, Any]]:
    """Return the tiles that the mesh does without: ``tile``, ``bounds``, ``cause``, ``buildings`` and more."""
    holes = [dict(receipt.facts["missing_tile"]) for receipt in receipts.values() if "missing_tile" in receipt.facts]
    return sorted(holes, key=lambda hole: int(hole["tile"]))


def _place(at: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.3f}" for value in at) + ")"


def quality_totals(receipts: Mapping[str, Receipt]) -> dict[str, Any]:
    """Return the quality of all tiles together."""
    entries = [r.facts["quality"] for r in receipts.values() if "quality" in r.facts]
    worst = sorted((row for entry in entries for row in entry["worst"]), key=lambda row: float(row[2]))
    return {
        "angles": _sum_rows([entry["angles"] for entry in entries]),
        "wall_angles": _sum_rows([entry["wall_angles"] for entry in entries]),
        "below_angle": sum(int(entry["below_angle"]) for entry in entries),
        "above_area": sum(int(entry["above_area"]) for entry in entries),
        "inverted": sum(int(entry["inverted"]) for entry in entries),
        "worst": worst[:20],
    }


def _sum_rows(rows: Sequence[Sequence[int]]) -> list[int]:
    total: list[int] = np.sum(np.array(rows, np.int64).reshape(-1, 90), axis=0).tolist()
    return total


def seal_store(job: CityJob, receipts: Mapping[str, Receipt], *, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write tiles and attributes of the store and give it its final name; return the attributes."""
    proof, holes = certificate(job, receipts), find_holes(receipts)
    path = partial_store(job)
    try:
        require_whole(path)
    except StoreError as error:
        raise job.scratch.damaged("store", error) from error
    for leftover in path.rglob("*.partial"):  # of a process that was killed while it wrote
        leftover.unlink(missing_ok=True)
    _write_tiles(job, path)
    attributes: dict[str, Any] = {
        "crs": {"wkt": job.crs, "authority": authority_code(job.crs)},
        "bounds": list(job.domain.bounds),
        "n_buildings": job.n_rows,
        "options": asdict(job.options),
        "inputs": [dict(entry) for entry in inputs],
        "fingerprint": job.fingerprint,
        "software": software_versions(),
        "terrain": receipts["fill_top-0000"].facts,
        "certificate": proof,
        "holes": holes,
        "hole_rim_edges": receipts["close_mesh-0000"].facts["missing"]["rim_edges"] if holes else 0,
        "quality": quality_totals(receipts),
    }
    keep_for_later(job.scratch.root, path)
    write_attributes(path, attributes)
    publish(path, Path(job.out))
    return attributes


def _write_tiles(job: CityJob, path: Path) -> None:
    numbering = read_numbering(job)
    bounds = job.tiling.boxes / MESH_UNITS + np.array([*job.domain.origin, *job.domain.origin], np.float64)
    if job.options.solid:  # sides and base are the last tile
        bounds = np.concatenate([bounds, [job.domain.bounds]])
    ranges = {
        "vertex_range": np.stack([numbering.offsets[:-1], numbering.offsets[1:]], axis=1),
        "face_range": np.stack([numbering.faces[:-1], numbering.faces[1:]], axis=1),
    }
    write_arrays(path / "tiles", {"bounds": bounds, **ranges})


def publish(partial: Path, out: Path) -> None:
    """Give a finished store its name when all of it is on the disk; an older store of that name goes only then.

    What has its name must never lack a chunk, not even after a loss of power: nobody would make it again.
    """
    sync_file_system(partial)
    old = old_name(out)
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
        out.rename(old)
    (partial / BEGUN).unlink(missing_ok=True)
    partial.rename(out)
    sync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def result_versions() -> dict[str, str]:
    """Return the versions that the last bit of a result may depend on, kernels and formats: not those of schedulers."""
    versions = software_versions(RESULT_PACKAGES)
    del versions["python"]
    return versions


def software_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions that a result may depend on."""
    versions = {"python": platform.python_version()}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
