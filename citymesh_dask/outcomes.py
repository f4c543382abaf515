"""What became of each building: codes, status words and reasons in one table.

Only the codes and their meaning belong here; the decisions are made where the evidence is
(reading footprints, cleaning, roof evidence).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Outcome(IntEnum):
    """Code of what became of a building, stored as ``int8``.

    Codes below `Outcome.MERGED` are meshed buildings, made of the bits `REPAIRED` and `CLIPPED`;
    `MERGED` and up to 15 are buildings that live on inside another one; `SKIPPED_NO_GEOMETRY` and
    above left no trace in the mesh.

    >>> Outcome.REPAIRED | Outcome.CLIPPED == Outcome.REPAIRED_AND_CLIPPED
    True
    """

    MESHED = 0
    REPAIRED = 1
    CLIPPED = 2
    REPAIRED_AND_CLIPPED = 3
    SIMPLIFIED = 4

    MERGED = 8
    ABSORBED = 9
    DUPLICATE = 10

    SKIPPED_NO_GEOMETRY = 16
    SKIPPED_NOT_A_POLYGON = 17
    SKIPPED_BAD_COORDINATES = 18
    SKIPPED_NOT_REPAIRABLE = 19
    SKIPPED_OUTSIDE = 20
    SKIPPED_TOO_SMALL = 32
    SKIPPED_TOO_THIN = 33
    SKIPPED_COVERED = 34
    SKIPPED_NOT_CLEANABLE = 35
    SKIPPED_NO_HEIGHT = 48
    SKIPPED_FEW_POINTS = 49
    SKIPPED_TILE = 64


class Meaning(NamedTuple):
    """The two columns of the building table that a code stands for."""

    status: str
    reason: str


MEANINGS: dict[Outcome, Meaning] = {
    Outcome.MESHED: Meaning("meshed", ""),
    Outcome.REPAIRED: Meaning("repaired", "outline repaired"),
    Outcome.CLIPPED: Meaning("clipped", "clipped at the edge of the domain"),
    Outcome.REPAIRED_AND_CLIPPED: Meaning("clipped", "outline repaired, clipped at the edge of the domain"),
    Outcome.SIMPLIFIED: Meaning("repaired", "outline simplified harder to be clean"),
    Outcome.MERGED: Meaning("merged", "joined with a building nearer than the merge tolerance"),
    Outcome.ABSORBED: Meaning("merged", "too small, given to the neighbour with the longest common wall"),
    Outcome.DUPLICATE: Meaning("merged", "same outline as another building"),
    Outcome.SKIPPED_NO_GEOMETRY: Meaning("skipped", "no geometry"),
    Outcome.SKIPPED_NOT_A_POLYGON: Meaning("skipped", "not a polygon"),
    Outcome.SKIPPED_BAD_COORDINATES: Meaning("skipped", "coordinates that are not finite"),
    Outcome.SKIPPED_NOT_REPAIRABLE: Meaning("skipped", "outline without an area that could be repaired"),
    Outcome.SKIPPED_OUTSIDE: Meaning("skipped", "outside the domain"),
    Outcome.SKIPPED_TOO_SMALL: Meaning("skipped", "smaller than the least building area"),
    Outcome.SKIPPED_TOO_THIN: Meaning("skipped", "thinner than the cleaning tolerance"),
    Outcome.SKIPPED_COVERED: Meaning("skipped", "covered by other buildings"),
    Outcome.SKIPPED_NOT_CLEANABLE: Meaning("skipped", "outline could not be cleaned"),
    Outcome.SKIPPED_NO_HEIGHT: Meaning("skipped", "no evidence of height"),
    Outcome.SKIPPED_FEW_POINTS: Meaning("skipped", "too few points on the roof"),
    Outcome.SKIPPED_TILE: Meaning("skipped", "tile failed"),
}
"""Status word and reason of every code; the report and the building table are written from here."""


def is_skipped(codes: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """Return which buildings left no trace in the mesh.

    Parameters
    ----------
    codes : (n,) int8
        `Outcome` codes.

    Returns
    -------
    (n,) bool

    Examples
    --------
    >>> is_skipped(np.array([Outcome.CLIPPED, Outcome.MERGED, Outcome.SKIPPED_TOO_SMALL], dtype=np.int8)).tolist()
    [False, False, True]
    """
    skipped: npt.NDArray[np.bool_] = codes >= Outcome.SKIPPED_NO_GEOMETRY
    return skipped


def status_words(codes: npt.NDArray[np.int8]) -> list[str]:
    """Return the word in the column ``status`` of the building table for each code.

    >>> status_words(np.array([0, 9, 20], dtype=np.int8))
    ['meshed', 'merged', 'skipped']
    """
    return [MEANINGS[Outcome(code)].status for code in codes.tolist()]


def reasons(codes: npt.NDArray[np.int8]) -> list[str]:
    """Return the text in the column ``reason`` of the building table for each code.

    >>> reasons(np.array([0, 20], dtype=np.int8))
    ['', 'outside the domain']
    """
    return [MEANINGS[Outcome(code)].reason for code in codes.tolist()]
