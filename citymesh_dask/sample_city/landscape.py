"""Ground of the sample city: its hills, its river, its woods and the bent grid of its streets.

Only functions of position and seed belong here: any piece of the city can be made by itself, in any
order, and fits its neighbours. Coordinates are metres from the south-west corner of the city.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import OptionError

Float64 = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]

RIVER_LEVEL = 5.0
RIVER_HALF_WIDTH = 22.0
SMALLEST_SIZE = 200.0
_VALLEY_WIDTH = 260.0
_HILLS = 7
_STREET_ANGLE = 0.2
_BEND = 12.0
_BEND_LENGTHS = (140.0, 170.0)


@dataclass(frozen=True)
class SampleCity:
    """What the sample city is made from.

    Parameters
    ----------
    size : float
        Edge of its square, metres, at least 200.
    seed : int
        Another seed, another city.
    density : float
        Laser returns per square metre.

    Raises
    ------
    OptionError
        If a value is outside its limits.
    """

    size: float = 1000.0
    seed: int = 1
    density: float = 2.5

    def __post_init__(self) -> None:
        if not SMALLEST_SIZE <= self.size <= 100_000:
            raise OptionError("option size", f"{self.size:g}", f"{SMALLEST_SIZE:g} to 100000 m")
        if self.seed < 0:
            raise OptionError("option seed", f"{self.seed}", "a whole number from 0")
        if not 0 < self.density <= 100:
            raise OptionError("option density", f"{self.density:g}", "0 to 100 returns per square metre")


@functools.lru_cache(maxsize=8)
def _hill_waves(seed: int) -> tuple[Float64, Float64, Float64]:
    """Return wave vectors (k, 2), phases and amplitudes; amplitudes grow with the wave length."""
    rng = np.random.default_rng((seed, 0))
    length = np.geomspace(260.0, 2600.0, _HILLS)
    angle = rng.uniform(0, 2 * np.pi, _HILLS)
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (2 * np.pi / length)[:, None]
    return vectors, rng.uniform(0, 2 * np.pi, _HILLS), length * 0.0035


def river_distance(city: SampleCity, x: Float64, y: Float64) -> Float64:
    """Return the distance from the middle of the river, metres (to first order).

    Parameters
    ----------
    city : SampleCity
        The city.
    x, y : (n,) float64
        Metres from the south-west corner.
    """
    phase = np.random.default_rng((city.seed, 1)).uniform(0, 2 * np.pi)
    swing = min(70.0, 0.08 * city.size)
    middle = 0.3 * city.size + swing * np.sin(x / 230 + phase) + swing / 4 * np.sin(x / 90)
    slope = swing / 230 * np.cos(x / 230 + phase) + swing / 360 * np.cos(x / 90)
    distance: Float64 = np.abs(y - middle) / np.sqrt(1 + slope**2)
    return distance


def river_middle(city: SampleCity, x: float) -> float:
    """Return y of the middle of the river at x, metres."""
    y = np.linspace(0, city.size, 4001)
    return float(y[np.argmin(river_distance(city, np.full_like(y, x), y))])


def ground_height(city: SampleCity, x: Float64, y: Float64) -> Float64:
    """Return the height of the terrain, metres: hills that sink to the level of the river."""
    vectors, phases, amplitudes = _hill_waves(city.seed)
    hills = np.full(np.shape(x), amplitudes.sum())
    for vector, phase, amplitude in zip(vectors, phases, amplitudes, strict=True):
        hills += amplitude * np.sin(x * vector[0] + y * vector[1] + phase)
    bank = np.clip((river_distance(city, x, y) - RIVER_HALF_WIDTH) / _VALLEY_WIDTH, 0, 1)
    quay = np.clip((river_distance(city, x, y) - RIVER_HALF_WIDTH) / 4, 0, 3)
    height: Float64 = RIVER_LEVEL + quay + bank**2 * (3 - 2 * bank) * hills
    return height


def wood_share(city: SampleCity, x: Float64, y: Float64) -> Float64:
    """Return which share of the open ground trees cover around each position, 0 to 1."""
    phase = np.random.default_rng((city.seed, 2)).uniform(0, 2 * np.pi, 4)
    pattern = np.sin(x / 17 + phase[0]) * np.sin(y / 13 + phase[1]) + np.sin((x + y) / 71 + phase[2])
    share: Float64 = np.clip(pattern - 0.6, 0, 1)
    return share


def from_streets(city: SampleCity, streets: Float64) -> Float64:
    """Return where points of the street grid lie in the city: bent a little, then turned.

    Parameters
    ----------
    city : SampleCity
        The city.
    streets : (n, 2) float64
        Metres along the two directions of the streets, from the middle of the city.

    Returns
    -------
    (n, 2) float64
        Metres from the south-west corner.
    """
    s, t = streets.T
    bent = np.stack([s + _BEND * np.sin(t / _BEND_LENGTHS[0]), t + _BEND * np.sin(s / _BEND_LENGTHS[1])], axis=1)
    placed: Float64 = bent @ _turn().T + city.size / 2
    return placed


def street_box(city: SampleCity, box: Box) -> Box:
    """Return a box of the street grid that surely covers a box of the city."""
    x0, y0, x1, y1 = box
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) - city.size / 2
    turned = corners @ _turn()
    low, high = turned.min(axis=0) - _BEND, turned.max(axis=0) + _BEND
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def _turn() -> Float64:
    cosine, sine = np.cos(_STREET_ANGLE), np.sin(_STREET_ANGLE)
    return np.array([[cosine, -sine], [sine, cosine]])
