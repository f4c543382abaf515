"""Parallel projections of a city onto a picture: where the viewer stands and what fits in.

Only linear algebra belongs here; pixels are filled in `citymesh_dask.geometry.drawing.drawing`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import OptionError

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """From where a city is looked at.

    Parameters
    ----------
    azimuth : float
        Compass direction in which the viewer looks, degrees clockwise from north.
    elevation : float
        Height of the viewer above the horizon, degrees; 90 looks straight down.
    crop : tuple of 4 float, optional
        xmin, ymin, xmax, ymax in the project CRS, metres: the part to look at, else the whole city.

    Raises
    ------
    OptionError
        If the elevation is not from 10 to 90 degrees, or the crop is not a box.
    """

    azimuth: float = 28.0
    elevation: float = 42.0
    crop: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if not 10.0 <= self.elevation <= 90.0:
            raise OptionError("option elevation", f"{self.elevation:g}", "10 to 90 degrees")
        if not math.isfinite(self.azimuth):
            raise OptionError("option azimuth", f"{self.azimuth:g}", "a compass direction in degrees")
        box = self.crop
        if box is not None and not (len(box) == 4 and box[0] < box[2] and box[1] < box[3]):
            raise OptionError("option crop", str(box), "xmin ymin xmax ymax with xmin < xmax and ymin < ymax")


@dataclass(frozen=True)
class Projection:
    """An affine map from metres to a picture: ``pixel = matrix @ (point - origin) + offset``.

    Parameters
    ----------
    origin : (3,) float64
        Point near the middle of the scene, project CRS, metres; subtracted first for precision.
    matrix : (3, 3) float64
        Rows: column and row in pixels (rows run down), and nearness to the viewer in metres.
    offset : (3,) float64
        Pixel and nearness of the origin.
    """

    origin: Vector
    matrix: Vector
    offset: Vector

    def apply(self, points: Vector) -> Vector:
        """Return column, row (pixels) and nearness (metres) of points, all (..., 3) float64."""
        pixels: Vector = (points - self.origin) @ self.matrix.T + self.offset
        return pixels

    def to(self, other: Projection) -> Projection:
        """Return the projection from this picture's pixels and nearness to those of another picture."""
        back = np.linalg.inv(self.matrix)
        matrix = other.matrix @ back
        shift = other.matrix @ (self.origin - other.origin) + other.offset
        return Projection(self.offset, matrix, shift)


def viewing_axes(azimuth: float, elevation: float) -> Vector:
    """Return the unit vectors to the right, up and towards the viewer as the rows of a (3, 3) array.

    >>> viewing_axes(0.0, 90.0).round(12).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    True
    """
    turn, tilt = math.radians(azimuth), math.radians(elevation)
    across, along = math.sin(turn), math.cos(turn)
    return np.array(
        [
            [along, -across, 0.0],
            [across * math.sin(tilt), along * math.sin(tilt), math.cos(tilt)],
            [-across * math.cos(tilt), -along * math.cos(tilt), math.sin(tilt)],
        ]
    )


def fit_projection(view: View, box: Vector, *, size: tuple[int, int], margin: float) -> Projection:
    """Return the projection that shows a box as large as it fits into a picture.

    Parameters
    ----------
    view : View
        Direction of sight; its crop is not looked at.
    box : (2, 3) float64
        Lowest and highest corner, metres.
    size : tuple of 2 int
        Width and height of the picture, pixels.
    margin : float
        Share of the picture left free on each side.
    """
    middle = box.mean(axis=0)
    axes = viewing_axes(view.azimuth, view.elevation)
    corners = np.array([[box[i & 1, 0], box[i >> 1 & 1, 1], box[i >> 2, 2]] for i in range(8)]) - middle
    seen = corners @ axes[:2].T
    low, high = seen.min(axis=0), seen.max(axis=0)
    extent = np.maximum(high - low, 1e-3)
    scale = (1.0 - 2.0 * margin) * min(size[0] / extent[0], size[1] / extent[1])
    matrix = axes * np.array([[scale], [-scale], [1.0]])
    centre = (low + high) / 2
    offset = np.array([size[0] / 2 - scale * centre[0], size[1] / 2 + scale * centre[1], 0.0])
    return Projection(middle, matrix, offset)
