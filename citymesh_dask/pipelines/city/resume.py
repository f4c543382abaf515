"""Going on with a run: who works in a scratch folder, and which tasks must be done again where data are damaged.

A crash of the machine may leave receipts of tasks whose data never came to the disk. It is noticed when they are
read; the run fails, and the next one forgets the receipts of everything that does not hold.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import psutil

from ...errors import OutputError
from ...store.chunks import write_json
from ...store.scratch import DAMAGE_MARK
from .ending.assembly import partial_store
from .job import CityJob

_CLAIM = "running.json"
STORE = "store"
"""Stands for the unfinished store among the names of damaged groups."""

WRITERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("footprints/", ("read_footprints",)),
    ("samples/points-", ("sample_points",)),
    ("samples/surface-", ("sample_surface",)),
    ("samples/footprints-", ("sample_footprints",)),
    ("cells/", ("terrain_cells",)),
    ("terrain/top", ("fill_top",)),
    ("terrain/", ("fill_terrain",)),
    ("roofs/", ("roof_evidence",)),
    ("links/", ("link_parts",)),
    ("groups", ("group_parts",)),
    ("outlines/settled", ("settle_outlines",)),
    ("outlines/", ("clean_outlines",)),
    ("conflicts/", ("check_outlines",)),
    ("pieces/frame", ("subdivide_frame",)),
    ("pieces/", ("subdivide_outlines",)),
    ("levels/", ("building_levels",)),
    ("tiles/", ("mesh_tile", "close_mesh")),
    ("boundaries/tile-", ("mesh_tile", "close_mesh")),
    ("boundaries/", ("merge_l",)),
    ("seams/rim", ("close_mesh",)),
    ("seams/", ("merge_l",)),
    ("numbering", ("number_vertices",)),
    ("table", ("write_table_head",)),
    (STORE, ("number_vertices", "assemble", "write_table")),
)
"""How the names of scratch groups begin, and the stages that write them; the first that fits counts."""


def claim(scratch: Path) -> None:
    """Note in a scratch folder that this process works there."""
    me = psutil.Process()
    write_json(scratch / _CLAIM, {"pid": me.pid, "began": me.create_time(), "host": socket.gethostname()})


def refuse_second_run(scratch: Path) -> None:
    """Raise where another living process works in a scratch folder.

    Raises
    ------
    OutputError
        Naming the process.
    """
    try:
        found = json.loads((scratch / _CLAIM).read_text(encoding="utf8"))
        if found["host"] != socket.gethostname() or found["pid"] == os.getpid():
            return
        alive = abs(psutil.Process(found["pid"]).create_time() - found["began"]) < 1
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return  # nobody, or nobody any more
    if alive:
        what = f"another run works on it (process {found['pid']})"
        raise OutputError(str(scratch), what, "one run at a time", "wait for it, or stop it and run this command again")


def forget_damage(job: CityJob) -> None:
    """Forget the receipts of all tasks whose data are damaged, after a run that met with damage."""
    mark = job.scratch.root / DAMAGE_MARK
    damaged = set(mark.read_text(encoding="utf8").splitlines()) if mark.exists() else set()
    if damaged:
        damaged.update(job.scratch.damaged_groups())
    if not (partial_store(job) / "vertices" / "zarr.json").exists():
        damaged.add(STORE)
    for stage in {stage for name in damaged for stage in writers(name)}:
        for receipt in (job.scratch.root / "receipts").glob(f"{stage}*.json"):
            receipt.unlink(missing_ok=True)
    mark.unlink(missing_ok=True)


def writers(name: str) -> tuple[str, ...]:
    """Return the stages that write a scratch group; ``("",)``, which is all, for a name that nobody knows.

    >>> writers("terrain/top"), writers("tiles/00003")
    (('fill_top',), ('mesh_tile', 'close_mesh'))
    """
    return next((stages for start, stages in WRITERS if name.startswith(start)), ("",))
