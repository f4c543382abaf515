"""Blocks of the sample city: which buildings stand between four streets.

A block is a rectangle in the street grid; its buildings are made from its own random numbers alone.
Where the grid lies in the city, and what a laser sees of it, is none of this module's business.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Random = np.random.Generator

PITCH = (100.0, 500.0 / 7)
"""Length and width of a block from the middle of one street to the next, metres."""
_STREET = 13.0
LENGTH, WIDTH = PITCH[0] - _STREET, PITCH[1] - _STREET


@dataclass(frozen=True)
class Building:
    """One building of a block.

    Parameters
    ----------
    shell : (n, 2) float64
        Open ring, counter-clockwise, metres from a corner of the block along the streets.
    height : float
        Height of the eaves, or of the flat roof, above the lowest ground, metres.
    function : str
        What it is used for.
    rise : float
        How far the ridge of a gable roof rises above the eaves; 0 for a flat roof.
    hole : (n, 2) float64, optional
        Courtyard.
    """

    shell: Float64
    height: float
    function: str
    rise: float = 0.0
    hole: Float64 | None = None


def block_buildings(rng: Random, urban: float) -> list[Building]:
    """Return the buildings of one block.

    Parameters
    ----------
    rng : numpy.random.Generator
        Random numbers of this block.
    urban : float
        0 at the edge of a town, 1 in its middle.
    """
    kinds: list[Callable[[Random], list[Building]]]
    kinds = [_perimeter_block, _monolith, _towers, _church, _offices, _terraces, _houses, _park]
    inner = np.array([0.58, 0.08, 0.10, 0.03, 0.10, 0.06, 0.00, 0.05])
    outer = np.array([0.08, 0.01, 0.02, 0.02, 0.05, 0.24, 0.52, 0.06])
    weights = urban * inner + (1 - urban) * outer
    return kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))](rng)


def faulty_buildings() -> list[Building]:
    """Return the footprints that every real data set has and no one wants, side by side."""
    whole = _rectangle((2, 2), (16, 12))
    return [
        Building(np.array([(22.0, 2.0), (34, 14), (34, 2), (22, 14)]), 8.0, "bowtie"),
        Building(whole, 9.0, "office"),
        Building(whole.copy(), 9.0, "duplicate"),
        Building(_rectangle((12, 4), (8, 8)), 6.0, "overlapping"),
        Building(_rectangle((2, 24), (20, 0.1)), 5.0, "sliver"),
        Building(_rectangle((30, 24), (2, 2)), 3.0, "tiny"),
    ]


def _rectangle(corner: tuple[float, float], size: tuple[float, float]) -> Float64:
    (x, y), (w, h) = corner, size
    return np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], dtype=np.float64)


def _turned(ring: Float64, angle: float) -> Float64:
    middle = ring.mean(axis=0)
    cosine, sine = np.cos(angle), np.sin(angle)
    turned: Float64 = (ring - middle) @ np.array([[cosine, sine], [-sine, cosine]]) + middle
    return turned


def _polygon(middle: tuple[float, float], radius: float, corners: int) -> Float64:
    angle = 2 * np.pi * np.arange(corners) / corners
    return np.stack([middle[0] + radius * np.cos(angle), middle[1] + radius * np.sin(angle)], axis=1)


def _storeys(rng: Random, low: int, high: int) -> float:
    return round(3.1 * int(rng.integers(low, high + 1)) + rng.uniform(0.2, 1.4), 2)


def _cuts(rng: Random, start: float, stop: float, width: float) -> list[float]:
    """Return places that divide a street front into houses of about a width."""
    count = max(1, round((stop - start) / width))
    inner = np.arange(1, count) + rng.uniform(-0.25, 0.25, count - 1)
    return [start, *(start + (stop - start) * inner / count), stop]


def _perimeter_block(rng: Random) -> list[Building]:
    """Houses wall to wall around a courtyard, here and there a gate or a building in the yard."""
    depth = rng.uniform(10.5, 13.0)
    fronts: list[tuple[tuple[float, float], tuple[float, float]]] = []
    cuts = _cuts(rng, 0, LENGTH, 14)
    fronts += [((a, 0.0), (b - a, depth)) for a, b in itertools.pairwise(cuts)]
    cuts = _cuts(rng, 0, LENGTH, 14)
    fronts += [((a, WIDTH - depth), (b - a, depth)) for a, b in itertools.pairwise(cuts)]
    for x in (0.0, LENGTH - depth):
        cuts = _cuts(rng, depth, WIDTH - depth, 12)
        fronts += [((x, a), (depth, b - a)) for a, b in itertools.pairwise(cuts)]
    houses = [
        Building(_rectangle(*front), _storeys(rng, 3, 6), "residential", rng.choice([0.0, 0.0, 2.5]))
        for front in fronts
        if rng.random() > 0.05
    ]
    if rng.random() < 0.6:
        houses.append(Building(_rectangle((30, WIDTH / 2 - 6), (22, 11)), _storeys(rng, 1, 2), "workshop"))
    return houses


def _monolith(rng: Random) -> list[Building]:
    """One large building around its courtyard."""
    depth = rng.uniform(12, 16)
    shell = _rectangle((4, 3), (LENGTH - 8, WIDTH - 6))
    hole = _rectangle((4 + depth, 3 + depth), (LENGTH - 8 - 2 * depth, WIDTH - 6 - 2 * depth))
    return [Building(shell, _storeys(rng, 4, 6), "public", hole=hole[::-1])]


def _towers(rng: Random) -> list[Building]:
    """Towers among lower blocks, one of them round."""
    round_tower = Building(_polygon((18, WIDTH / 2), 11, 24), _storeys(rng, 10, 24), "office")
    square = Building(_turned(_rectangle((42, 14), (22, 22)), rng.uniform(0, 0.7)), _storeys(rng, 9, 20), "office")
    slab = Building(_rectangle((70, 4), (13, WIDTH - 8)), _storeys(rng, 5, 9), "residential")
    kiosk = Building(_rectangle((36, 48), (9, 6)), 3.2, "shop")
    return [round_tower, square, slab, kiosk]


def _church(rng: Random) -> list[Building]:
    """A church with transept and round apse, its tower wall to wall, a parish house beside it."""
    apse = np.array([(52 + 7 * np.cos(a), 29 + 7 * np.sin(a)) for a in np.linspace(-np.pi / 2, np.pi / 2, 9)])
    north = [(44, 36), (44, 45), (36, 45), (36, 36), (20, 36)]
    south = [(20, 22), (36, 22), (36, 13), (44, 13), (44, 22)]
    nave = np.concatenate([np.array(south, dtype=np.float64), apse, np.array(north, dtype=np.float64)])
    tower = Building(_rectangle((11, 24.5), (9, 9)), rng.uniform(38, 55), "church")
    parish = Building(
        _turned(_rectangle((64, 38), (14, 10)), rng.uniform(-0.3, 0.3)), _storeys(rng, 2, 2), "public", 3.0
    )
    return [Building(nave, rng.uniform(15, 19), "church"), tower, parish]


def _offices(rng: Random) -> list[Building]:
    """L-shaped and plain office buildings with car parks between them."""
    a, b = rng.uniform(30, 38), rng.uniform(24, 32)
    shape = np.array([(3.0, 3.0), (3 + a, 3), (3 + a, 17), (17, 17), (17, 3 + b), (3, 3 + b)])
    offices = [Building(shape, _storeys(rng, 3, 7), "office")]
    offices.append(Building(_rectangle((52, 4), (30, rng.uniform(18, 30))), _storeys(rng, 2, 6), "office"))
    offices.append(Building(_rectangle((30, 40), (rng.uniform(30, 50), 15)), _storeys(rng, 1, 3), "shop"))
    return offices


def _terraces(rng: Random) -> list[Building]:
    """Two rows of narrow houses, wall to wall, some with an annexe into the garden."""
    houses = []
    for front, garden in ((4.0, 1.0), (WIDTH - 14.0, -1.0)):
        cuts = _cuts(rng, 3, LENGTH - 3, 6.5)
        height = _storeys(rng, 2, 3)
        for a, b in itertools.pairwise(cuts):
            houses.append(
                Building(_rectangle((a, front), (b - a, 10)), height + rng.choice([0, 0, 0.6]), "residential", 2.8)
            )
            if rng.random() < 0.3:
                y = front + 10 if garden > 0 else front - 4
                houses.append(Building(_rectangle((a, y), ((b - a) * 0.8, 4)), 2.9, "annexe"))
    return houses


def _houses(rng: Random) -> list[Building]:
    """Detached houses in gardens, turned a little, some in the shape of an L, some with a garage."""
    houses = []
    for y in (4.0, WIDTH - 16.0):
        for x in np.arange(2.0, LENGTH - 14, 14.5):
            w, h = rng.uniform(8, 11), rng.uniform(8, 11)
            at = (float(x), y + rng.uniform(0, 3))
            angle = rng.uniform(-0.3, 0.3) if rng.random() < 0.5 else 0.0
            if rng.random() < 0.2:
                shape = np.array([(0, 0), (w, 0), (w, h * 0.55), (w * 0.5, h * 0.55), (w * 0.5, h), (0, h)]) + at
                houses.append(Building(_turned(shape, angle), _storeys(rng, 1, 2), "residential"))
                continue
            houses.append(Building(_turned(_rectangle(at, (w, h)), angle), _storeys(rng, 1, 2), "residential", 3.0))
            if angle == 0.0 and rng.random() < 0.4:
                houses.append(Building(_rectangle((at[0] + w, at[1]), (3.0, rng.uniform(4, 6))), 2.7, "garage"))
    return houses


def _park(rng: Random) -> list[Building]:
    """Trees and a pavilion."""
    return [Building(_polygon((40, 28), rng.uniform(4, 6), 8), 4.5, "pavilion")]
