"""Runs that are killed, or whose disk fills up, at random moments: how many end with the result of an undisturbed run.

Isolates nothing: the whole command with its worker processes, as a user has it. No times are meant here.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.figures import TINY, Figure, Scale, skipped
from tests.benchmarks.sample import KEPT, sample_city
from tests.disturbances import (
    TARGETS,
    Moment,
    Outcome,
    filled_run,
    killed_run,
    random_moment,
    small_disk,
    undisturbed,
)

KILLS = {"tiny": 1, "quick": 12, "full": 50}
FILLINGS = {"tiny": 0, "quick": 4, "full": 10}
"""Of each place: the scratch folder and the store."""


def measure(scale: Scale, folder: Path = KEPT) -> Iterator[Figure]:
    """Yield how many disturbed runs ended well."""
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="survival-", dir=folder))
    city = sample_city(200.0 if scale == TINY else 300.0, folder)
    try:
        yield from figures_of_kills(city_arguments(city), KILLS[scale.name], place)
        yield from figures_of_full_disks(city_arguments(city), FILLINGS[scale.name], place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def city_arguments(city: Path) -> list[str]:
    """Return the arguments of a small city of many tasks."""
    points = sorted(str(path) for path in (city / "points").glob("*.laz"))
    words = ["--footprints", str(city / "footprints.gpkg"), "--points", *points, "--quiet"]
    return [*words, "--tile-size", "60", "--max-mesh-size", "2.5"]


def figures_of_kills(arguments: list[str], count: int, place: Path, seed: int = 4) -> Iterator[Figure]:
    """Yield how many killed runs ended well, by what was killed."""
    scene = undisturbed(arguments, place / "undisturbed")
    chance = random.Random(seed)
    found: dict[str, list[Outcome]] = {target: [] for target in TARGETS}
    for number in range(count):
        target, moment = TARGETS[number % len(TARGETS)], random_moment(scene, chance)
        outcome = killed_run(scene, target, moment, place / f"kill-{number:03d}")
        _tell(f"kill {number}: {target} at {moment}", outcome)
        found[target].append(outcome)
    for target, outcomes in found.items():
        if outcomes:
            yield _figure(f"kill -9 of the {target}", outcomes)


def figures_of_full_disks(arguments: list[str], count: int, place: Path) -> Iterator[Figure]:
    """Yield how many runs whose disk filled up ended well, by what lay on it."""
    if not count:
        return
    words = [*arguments, "--scheduler", "synchronous"]
    scene = undisturbed(words, place / "undisturbed")
    for where in ("scratch", "store"):
        with small_disk(place / f"disk-{where}", "256m") as disk:
            if disk is None:
                yield skipped(f"full disk under the {where}", "no small disk can be mounted here")
                continue
            outcomes = []
            for number in range(count):
                moment = Moment(1 + number * scene.lines // count, 0.0)
                outcomes.append(filled_run(scene, where, moment, disk))
                _tell(f"full disk {number}: {where} at {moment}", outcomes[-1])
            yield _figure(f"full disk under the {where}", outcomes)


def _figure(what: str, outcomes: list[Outcome]) -> Figure:
    well = sum(not outcome.wrong for outcome in outcomes)
    hit = sum(outcome.lines_before > 0 for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes) / len(outcomes)
    note = f"of {len(outcomes)}, {hit} of them while tasks ran; {seconds:.1f} s each, all attempts together"
    return Figure(f"{what}: the same result, nothing done twice", well, "runs", len(outcomes), at_least=True, note=note)


def _tell(what: str, outcome: Outcome) -> None:
    """Say what went wrong, for those who have to find out why; the table has no room for it."""
    if outcome.wrong or os.environ.get("SURVIVAL_VERBOSE"):
        codes = " ".join(map(str, outcome.codes))
        wrong = "; ".join(outcome.wrong) or "well"
        sys.stderr.write(
            f"{what}: exit codes {codes}, {outcome.lines_before} lines, {outcome.seconds:.1f} s: {wrong}\n"
        )
