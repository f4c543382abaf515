"""Runs on a small disk that others fill at a moment of choice; it is freed, and the same command runs once more."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.disturbances import (
    OWN_WORKERS,
    Moment,
    Outcome,
    Scene,
    decoded_arrays,
    differences,
    note_end,
    run_command,
)
from tests.work_log import FILL, FILL_CHANGE, FILL_LINE, done_twice, was_struck

MISSING = r"free about [0-9.]+ [MG]B"
"""What a run says that the disk was filled under."""


def filled_run(scene: Scene, where: str, moment: Moment, disk: Path, *, own: Sequence[str] = OWN_WORKERS) -> Outcome:
    """Run on a small disk that others fill at a moment; free it, and run the same command again.

    Parameters
    ----------
    scene : Scene
        The run.
    where : {"scratch", "store"}
        What lies on the small disk.
    moment : Moment
        When it is filled; its seconds do not count.
    disk : Path
        The small disk, empty; so it is left.
    own : sequence of str
        Arguments that say by what the run is done.
    """
    outcome, start = Outcome(), time.monotonic()
    place = disk.parent / f"{disk.name}-beside"
    place.mkdir()
    stores, scratch = (disk, place) if where == "store" else (place, disk)
    log, out = place / "work.log", stores / "out.zarr"
    (scratch / "temp").mkdir()
    words = [*scene.arguments, *own, "--out", str(out), "--temp-dir", str(scratch / "temp"), "--allow-tmpfs"]
    ballast = disk / "ballast"
    # by the run itself: what fills a disk from outside is overtaken by the last tasks
    when = {FILL_CHANGE: str(moment.change)} if moment.change else {FILL_LINE: str(moment.lines)}
    ended = run_command(words, log, **when, **{FILL: str(ballast)})
    outcome.hit, outcome.lines_before = was_struck(log), moment.lines
    note_end(ended, outcome, expected=(1,) if moment.lines else (2, 1))
    outcome.wrong += _wrong_messages(ended.stderr, disk)
    outcome.wrong += ["something passes for a result"] * out.exists()
    ballast.unlink(missing_ok=True)
    if ended.returncode:
        note_end(run_command(words, log), outcome, expected=(0,))
    outcome.seconds = time.monotonic() - start
    outcome.wrong += _wrong_on_disks(scene, out, log)
    for folder in (disk, place):
        _empty(folder)
    place.rmdir()
    return outcome


def _wrong_messages(errors: str, disk: Path) -> list[str]:
    """Return what a run whose disk was full did not say: which one, and how many bytes are missing."""
    facts = ("the disk is full", re.escape(str(disk)), MISSING)
    return [f"{fact!r} is not in {errors!r}" for fact in facts if not re.search(fact, errors)]


def _wrong_on_disks(scene: Scene, out: Path, log: Path) -> list[str]:
    if not out.is_dir():
        return ["no result came out"]
    wrong = differences(decoded_arrays(out), scene.expected)
    twice = done_twice(log)
    if twice:
        wrong.append(f"done again although their receipts were on disk: {' '.join(sorted(set(twice)))[:500]}")
    return wrong


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path | None]:
    """Mount a small disk in memory; give None where this process may not."""
    place.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        mounted = shutil.which("mount") is not None and not subprocess.run(words, capture_output=True).returncode
        yield place if mounted else None
    finally:
        if place.is_mount():
            subprocess.run(["umount", "-l", str(place)], check=True)
