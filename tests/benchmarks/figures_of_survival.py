"""Runs that are killed, or whose disk fills up, at random moments: how many end with the result of an undisturbed run.

Isolates nothing: the whole command with its worker processes, as a user has it. No times are meant here.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks.figures import TINY, Figure, Scale, skipped
from tests.benchmarks.sample import KEPT, sample_city
from tests.disturbances import OWN_WORKERS, TARGETS, Moment, Outcome, Scene, killed_run, random_moment, undisturbed
from tests.full_disks import filled_run, small_disk

KILLS = {"tiny": 1, "quick": 12, "full": 50}
FILLINGS = {"tiny": 0, "quick": 4, "full": 10}
"""Of each place: the scratch folder and the store."""
_MOST_DRAWS = 10
"""So often a moment is drawn again where the run had ended before."""
_BY_WORKERS = 3
"""One of so many runs on a disk that fills up is done by worker processes, the others by one process."""
_ONE_PROCESS = ("--scheduler", "synchronous")


def measure(scale: Scale, folder: Path = KEPT) -> Iterator[Figure]:
    """Yield how many disturbed runs ended well."""
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="survival-", dir=folder))
    city = sample_city(200.0 if scale == TINY else 300.0, folder)
    try:
        scene = undisturbed(city_arguments(city), place / "undisturbed")
        yield from figures_of_kills(scene, KILLS[scale.name], place)
        if FILLINGS[scale.name]:
            yield from figures_of_full_disks(scene, FILLINGS[scale.name], place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def city_arguments(city: Path) -> list[str]:
    """Return the arguments of a small city of many tasks."""
    points = sorted(str(path) for path in (city / "points").glob("*.laz"))
    words = ["--footprints", str(city / "footprints.gpkg"), "--points", *points, "--quiet"]
    return [*words, "--tile-size", "60", "--max-mesh-size", "2.5"]


# ---- kills ---------------------------------------------------------------------------------------


def figures_of_kills(scene: Scene, count: int, place: Path, seed: int = 4) -> Iterator[Figure]:
    """Yield how many killed runs ended well, by what was killed."""
    chance = random.Random(seed)
    found: dict[str, list[Outcome]] = {target: [] for target in TARGETS}
    for number in range(count):
        target = TARGETS[number % len(TARGETS)]
        found[target].append(_hit_run(scene, target, chance, place / f"kill-{number:03d}"))
    for target, outcomes in found.items():
        if outcomes:
            yield _figure(f"kill -9 of the {target}", outcomes, _moments(outcomes, scene))


def _hit_run(scene: Scene, target: str, chance: random.Random, place: Path) -> Outcome:
    """Kill a run at a moment that is drawn until it hits."""
    outcome = Outcome()
    for _ in range(_MOST_DRAWS):
        moment = random_moment(scene, target, chance)
        outcome = killed_run(scene, target, moment, place)
        _tell(f"{place.name}: {target} at {moment}", outcome)
        if outcome.hit:
            break
    return outcome


def _moments(outcomes: Sequence[Outcome], scene: Scene) -> str:
    """Return in words when runs were hit, and how many needed no second command."""
    early = sum(not outcome.lines_before for outcome in outcomes)
    late = sum(outcome.lines_before >= scene.lines for outcome in outcomes)
    alone = sum(outcome.codes[:1] == [0] for outcome in outcomes)
    between = len(outcomes) - early - late
    note = f"{early} hit before the first task, {between} while tasks ran, {late} after the last"
    return note + f"; {alone} survived by the run itself, the others by the same command once"


# ---- full disks ----------------------------------------------------------------------------------


def figures_of_full_disks(scene: Scene, count: int, place: Path) -> Iterator[Figure]:
    """Yield how many runs whose disk filled up ended well, by what lay on it."""
    one = undisturbed(scene.arguments, place / "undisturbed", own=_ONE_PROCESS)
    for where in ("scratch", "store"):
        with small_disk(place / f"disk-{where}", "256m") as disk:
            if disk is None:
                yield skipped(f"full disk under the {where}", "no small disk can be mounted here")
                continue
            outcomes = []
            for number in range(count):
                by_workers = number % _BY_WORKERS == _BY_WORKERS - 1
                moment = filling_moment(one, number, count)
                own = OWN_WORKERS if by_workers else _ONE_PROCESS
                outcomes.append(filled_run(one, where, moment, disk, own=own))
                _tell(f"full disk {number}: {where} at {moment}, {own[1]}", outcomes[-1])
            workers = count // _BY_WORKERS
            note = f"the first before the first task, {workers} with worker processes, the others in one process"
            yield _figure(f"full disk under the {where}, bytes missing named", outcomes, note)


def filling_moment(scene: Scene, number: int, count: int) -> Moment:
    """Return one of some moments: the first when the run has made its folders, the others spread over the work."""
    return Moment(lines=number * scene.lines // count) if number else Moment(change=scene.first_changes // 2)


def _figure(what: str, outcomes: Sequence[Outcome], moments: str) -> Figure:
    well = sum(outcome.hit and not outcome.wrong for outcome in outcomes)
    missed = sum(not outcome.hit for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes) / len(outcomes)
    note = f"{moments}; {seconds:.1f} s each, both commands together" + f"; {missed} NOT HIT" * bool(missed)
    return Figure(f"{what}: the same result, nothing done twice", well, "runs", len(outcomes), at_least=True, note=note)


def _tell(what: str, outcome: Outcome) -> None:
    """Say what went wrong, for those who have to find out why; the table has no room for it."""
    if outcome.wrong or os.environ.get("SURVIVAL_VERBOSE"):
        codes = " ".join(map(str, outcome.codes))
        wrong = "; ".join(outcome.wrong) or ("well" if outcome.hit else "not hit")
        sys.stderr.write(
            f"{what}: exit codes {codes}, {outcome.lines_before} lines, {outcome.seconds:.1f} s: {wrong}\n"
        )
