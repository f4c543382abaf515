"""How long a task may run before it is taken for one that never ends: a library that loops, a disk that hangs.

The figures are generous: a task that is ended by mistake costs its work, one that is ended late costs some minutes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from .plan import Plan

LEAST_SECONDS = 600.0
"""No task is given less: machines swap, disks are far away, and what is projected small is not measured well."""
PROJECTED_TIMES = 20.0
"""No task is given less than so many times its projection, which is that of a fast machine, and of a mean task."""
LOOK_SECONDS = 30.0
"""So often workers are looked at; more often where the limit is short."""
_LOOKS = 5
"""At least so many looks fall into the time that a task is given."""

Place = tuple[str, str]
"""Address of a worker, and the key of a task that runs there."""


@dataclass(frozen=True)
class TimeLimits:
    """How long tasks may run.

    Parameters
    ----------
    limit : "auto" or float
        Seconds for every task, 0 for no limit; "auto" goes by what is projected.
    projected : mapping of str to float
        Projected seconds of one task, by stage.
    """

    limit: str | float = "auto"
    projected: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_plan(cls, plan: Plan, limit: str | float = "auto") -> TimeLimits:
        """Return the limits for the stages of a whole plan."""
        return cls(limit, {stage.name: stage.seconds / len(stage.tasks) for stage in plan.stages if stage.tasks})

    def seconds(self, task: str) -> float:
        """Return how long a task may run; its name is that of its stage, a hyphen and a number."""
        if self.limit == "auto":
            return max(LEAST_SECONDS, PROJECTED_TIMES * self._projection(task))
        return float(self.limit) or math.inf

    def look_seconds(self) -> float:
        """Return how often to look at what runs."""
        least = self.seconds("")
        return min(LOOK_SECONDS, least / _LOOKS) if math.isfinite(least) else math.inf

    def describe(self, task: str, seconds: float) -> str:
        """Return what is said of a task that has run for so long.

        >>> TimeLimits(projected={"mesh_tile": 0.25}).describe("mesh_tile-0007", 600)
        '10 min without an end (projected 0.2 s)'
        """
        projection = self._projection(task)
        return f"{_shown(seconds)} without an end" + (f" (projected {_shown(projection)})" if projection else "")

    def _projection(self, task: str) -> float:
        return self.projected.get(task.rpartition("-")[0], 0.0)


class Sightings:
    """How long tasks were seen running, by looks at the workers from time to time.

    Of what passes between two looks no more counts than is usual: a client that was stopped, swapped out or suspended
    with its machine does not know whether the workers were, too.

    Parameters
    ----------
    pause : float
        Usual time between two looks, seconds.
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._last = -math.inf
        self._seen: dict[Place, float] = {}

    def is_due(self, now: float) -> bool:
        """Whether it is time for the next look."""
        return now - self._last >= self._pause

    def add(self, running: Collection[Place], now: float) -> Mapping[Place, float]:
        """Take note of what runs now; return for how many seconds each was seen."""
        passed = min(now - self._last, 2 * self._pause)
        self._last = now
        self._seen = {place: self._seen[place] + passed if place in self._seen else 0.0 for place in running}
        return self._seen


def _shown(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
