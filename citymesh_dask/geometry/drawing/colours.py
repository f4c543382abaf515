"""Colours of faces: by marker, by building or by height.

A face gets the number of a colour in a small palette; light and shadow are laid over it later, in
`citymesh_dask.geometry.drawing.drawing`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import OptionError
from ...mesh import BASE_MARKER, SIDE_MARKER

COLOURINGS = ("marker", "building", "height")

TERRAIN, WALL, ROOF, EARTH = 0, 1, 2, 3
"""Numbers of the first colours of every palette; `EARTH` is the cut through the ground under the rim."""

_PARTS = ((203, 210, 193), (244, 237, 223), (186, 108, 82), (168, 158, 143))
_FIRST = len(_PARTS)

# Roofs differ a little in tone, so that neighbours under one height can be told apart.
_ROOF_TINTS = ((174, 98, 75), (196, 117, 90), (180, 110, 90), (200, 122, 86), (169, 99, 82))

# Hues of equal lightness and chroma in CIE L*a*b*, so that no building stands out by chance.
_BUILDING_TINTS = (
    (214, 140, 124),
    (206, 150, 98),
    (184, 160, 86),
    (154, 169, 93),
    (121, 176, 116),
    (96, 178, 147),
    (88, 176, 178),
    (104, 169, 203),
    (136, 159, 216),
    (168, 148, 214),
    (194, 139, 197),
    (209, 135, 167),
)

# Lightness falls evenly along the ramp; control points after ColorBrewer's YlGnBu (C. Brewer, 2003).
_RAMP_POSITIONS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.88, 1.0)
_RAMP = (
    (240, 240, 214),
    (208, 232, 184),
    (150, 211, 182),
    (90, 187, 192),
    (52, 152, 191),
    (38, 106, 171),
    (40, 66, 143),
    (14, 32, 88),
)


@dataclass(frozen=True)
class Colouring:
    """How faces get their colours.

    Parameters
    ----------
    by : {"marker", "building", "height"}
        What the colour tells.
    n_buildings : int
        Rows of the building table, which tells walls from roofs.
    heights : tuple of 2 float
        Heights of the first and last colour, metres; used by ``height`` only.

    Raises
    ------
    OptionError
        If there is no such colouring.
    """

    by: str
    n_buildings: int
    heights: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.by not in COLOURINGS:
            raise OptionError("option colour", repr(self.by), f"one of {', '.join(COLOURINGS)}")

    def palette(self) -> npt.NDArray[np.uint8]:
        """Return the colours, (k, 3) uint8 red, green and blue, at most 256."""
        if self.by == "building":
            return np.array([*_PARTS, *_BUILDING_TINTS], np.uint8)
        if self.by == "height":
            return np.concatenate([np.array(_PARTS, np.uint8), height_ramp(256 - _FIRST)])
        return np.array([*_PARTS, *_ROOF_TINTS], np.uint8)

    def paint(
        self, markers: npt.NDArray[np.int32], building: npt.NDArray[np.int32], corners: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.uint8]:
        """Return the number of each face's colour in the palette.

        Parameters
        ----------
        markers, building : (m,) int32
            As in the store.
        corners : (m, 3, 3) float64
            Face, corner, coordinate, metres.

        Returns
        -------
        (m,) uint8
        """
        if self.by == "height":
            return self._height_numbers(building, corners)
        if self.by == "building":
            tints = _spread(building) % len(_BUILDING_TINTS) + _FIRST
            return np.where(building >= 0, tints, _ground_numbers(markers)).astype(np.uint8)
        tone = _spread(building) % (1 + len(_ROOF_TINTS))
        roofs = np.where(tone == 0, ROOF, _FIRST - 1 + tone)
        parts = np.where(markers >= self.n_buildings, roofs, WALL)
        return np.where(markers >= 0, parts, _ground_numbers(markers)).astype(np.uint8)

    def _height_numbers(
        self, building: npt.NDArray[np.int32], corners: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.uint8]:
        z = corners[:, :, 2]
        # the highest corner gives the wall of a building the colour of its roof
        height = np.where(building >= 0, z.max(axis=1), z.mean(axis=1))
        low, high = self.heights
        share = np.clip((height - low) / max(high - low, 1e-9), 0.0, 1.0)
        numbers: npt.NDArray[np.uint8] = (_FIRST + np.rint(share * (255 - _FIRST))).astype(np.uint8)
        return numbers


def height_ramp(count: int) -> npt.NDArray[np.uint8]:
    """Return a perceptual ramp from light to dark, (count, 3) uint8."""
    places = np.linspace(0.0, 1.0, count)
    channels = [np.interp(places, _RAMP_POSITIONS, [c[i] for c in _RAMP]) for i in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def _ground_numbers(markers: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    return np.where((markers == SIDE_MARKER) | (markers == BASE_MARKER), EARTH, TERRAIN)


def _spread(rows: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return numbers >= 0 that differ between neighbouring rows (Knuth's multiplicative hash, TAOCP 3, 6.4)."""
    return ((rows.astype(np.uint32) * np.uint32(2654435761)) >> np.uint32(12)).astype(np.int64)
