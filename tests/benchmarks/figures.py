"""What a benchmark hands back: figures with their targets, and the table that shows them.

Nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """How large a benchmark is run.

    Parameters
    ----------
    name : {"tiny", "quick", "full"}
        Tiny is for the tests, quick for a look, full for the targets.
    city_m : float
        Edge of the sample city, metres.
    repeats : int
        How often a time is taken; the best counts.
    """

    name: str
    city_m: float
    repeats: int

    @property
    def full(self) -> bool:
        """Whether the targets are meant for figures of this scale."""
        return self.name == "full"


TINY = Scale("tiny", 200.0, 1)
QUICK = Scale("quick", 1500.0, 2)
FULL = Scale("full", 4000.0, 3)


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Parameters
    ----------
    name : str
        What was measured, on what.
    measured : float or None
        None where it could not be measured; ``note`` says why.
    unit : str
        Of ``measured`` and ``target``.
    target : float, optional
        None where the figure is only shown.
    at_least : bool
        Whether the target is a lower bound, else an upper one.
    peak_bytes : int
        Highest resident memory of the process that worked; 0 where not measured.
    note : str
        What one needs to know to read it.
    failed : bool
        Whether there is nothing measured because the run for it failed: no target of it is met then.
    """

    name: str
    measured: float | None
    unit: str = ""
    target: float | None = None
    at_least: bool = False
    peak_bytes: int = 0
    note: str = ""
    failed: bool = False

    @property
    def ratio(self) -> float | None:
        """``measured / target``."""
        return None if self.measured is None or not self.target else self.measured / self.target

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.failed:
            return False
        if self.measured is None or self.target is None:
            return None
        return self.measured >= self.target if self.at_least else self.measured <= self.target


def skipped(name: str, why: str) -> Figure:
    """Return the row of a figure that cannot be measured here."""
    return Figure(name, None, note=f"skipped: {why}")


def failed(name: str, why: str) -> Figure:
    """Return the row of what should have been measured, and was not because its run failed."""
    return Figure(name, None, note=" ".join(f"failed: {why}".replace("|", "/").split()), failed=True)


HEAD = ("figure", "measured", "target", "ratio", "peak memory", "holds", "note")


def table(figures: Iterable[Figure]) -> str:
    """Return figures as a Markdown table."""
    rows = [HEAD, tuple("---" for _ in HEAD), *(_row(figure) for figure in figures)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _row(figure: Figure) -> tuple[str, ...]:
    bound = "" if figure.target is None else f"{'>=' if figure.at_least else '<='} {_number(figure.target)}"
    return (
        figure.name,
        "-" if figure.measured is None else f"{_number(figure.measured)} {figure.unit}".rstrip(),
        f"{bound} {figure.unit}".strip() if bound else "",
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        f"{figure.peak_bytes / 2**20:.0f} MiB" if figure.peak_bytes else "",
        {None: "", True: "yes", False: "**no**"}[figure.holds],
        figure.note,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
