"""A small rasteriser: pieces of a surface mesh to a shaded picture, without any graphics library.

Faces go into a depth buffer as the camera sees them and into a second one as the light sees them, in
any number of pieces; light, cast shadows and lines are laid over the pixels at the end, so the cost of
shading does not depend on the mesh. Drawn at twice the size and averaged. Projections belong to
`citymesh_dask.geometry.drawing.camera`, colours to `citymesh_dask.geometry.drawing.colours`, files to the caller.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from .camera import Projection, Vector, View, fit_projection, viewing_axes

SUPERSAMPLING = 2
LIGHT_AZIMUTH = 308.0
"""The light comes from the north-west, as on hill-shaded maps; compass degrees."""
LIGHT_ELEVATION = 44.0

_NOTHING = np.float32(-np.inf)
_BAND_ROWS = 64

Depth = npt.NDArray[np.float32]
Surface = npt.NDArray[np.uint8]


@njit(cache=True, nogil=True)
def _face_light(corners: Vector, to_viewer: Vector, light: Vector) -> tuple[float, float]:
    """Return the cosine between a face and the light (J. H. Lambert, Photometria, 1760), and its ambient light."""
    ax, ay, az = corners[1, 0] - corners[0, 0], corners[1, 1] - corners[0, 1], corners[1, 2] - corners[0, 2]
    bx, by, bz = corners[2, 0] - corners[0, 0], corners[2, 1] - corners[0, 1], corners[2, 2] - corners[0, 2]
    nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    if length == 0.0:
        return 0.0, 0.5
    # both sides are drawn: a face turned the wrong way shall be seen, not be a hole
    if to_viewer[0] * nx + to_viewer[1] * ny + to_viewer[2] * nz < 0.0:
        length = -length
    direct = (nx * light[0] + ny * light[1] + nz * light[2]) / length
    # the sky is brighter than what the ground throws back, and the west a little brighter than the east
    ambient = 0.74 + (0.2 * nz - 0.06 * nx) / length
    return max(direct, 0.0), ambient


@njit(cache=True, nogil=True)
def _rasterise(
    corners: Vector,
    paint: npt.NDArray[np.uint8],
    projection: Vector,
    light: Vector,
    depth: Depth,
    surface: Surface,
) -> None:
    """Draw triangles into a depth buffer and, where the surface buffer has pixels, their colour and light.

    Edge functions after J. Pineda, A parallel algorithm for polygon rasterization, SIGGRAPH 1988.
    ``projection`` is (4, 3): the matrix, and the offset that already holds the origin.
    Channels of ``surface``: colour number, cosine to the light, ambient light.
    """
    height, width = depth.shape
    shaded = surface.shape[0] > 0
    xx, xy, xz, x_offset = projection[0, 0], projection[0, 1], projection[0, 2], projection[3, 0]
    yx, yy, yz, y_offset = projection[1, 0], projection[1, 1], projection[1, 2], projection[3, 1]
    zx, zy, zz, z_offset = projection[2, 0], projection[2, 1], projection[2, 2], projection[3, 2]
    for t in range(len(corners)):
        a, b, c = corners[t, 0], corners[t, 1], corners[t, 2]
        ax = xx * a[0] + xy * a[1] + xz * a[2] + x_offset
        bx = xx * b[0] + xy * b[1] + xz * b[2] + x_offset
        cx = xx * c[0] + xy * c[1] + xz * c[2] + x_offset
        first = max(math.ceil(min(ax, bx, cx) - 0.5), 0)
        last = min(math.floor(max(ax, bx, cx) - 0.5), width - 1)
        # most triangles of a large city are smaller than a pixel and end here
        if first > last:
            continue
        ay = yx * a[0] + yy * a[1] + yz * a[2] + y_offset
        by = yx * b[0] + yy * b[1] + yz * b[2] + y_offset
        cy = yx * c[0] + yy * c[1] + yz * c[2] + y_offset
        top = max(math.ceil(min(ay, by, cy) - 0.5), 0)
        bottom = min(math.floor(max(ay, by, cy) - 0.5), height - 1)
        if top > bottom:
            continue
        doubled = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if abs(doubled) < 1e-9:
            continue
        az = zx * a[0] + zy * a[1] + zz * a[2] + z_offset
        bz = zx * b[0] + zy * b[1] + zz * b[2] + z_offset
        cz = zx * c[0] + zy * c[1] + zz * c[2] + z_offset
        # weights of corners a and b, and the nearness, change by these steps from pixel to pixel
        a_right, a_down = (by - cy) / doubled, (cx - bx) / doubled
        b_right, b_down = (cy - ay) / doubled, (ax - cx) / doubled
        z_right = a_right * (az - cz) + b_right * (bz - cz)
        lit = False
        colour, direct, ambient, line = np.uint8(0), 0.0, 0.0, 0.0
        reach_a, reach_b, reach_c = 1.0, 1.0, 1.0
        for row in range(top, bottom + 1):
            right, down = first + 0.5 - cx, row + 0.5 - cy
            a_weight = a_right * right + a_down * down - a_right
            b_weight = b_right * right + b_down * down - b_right
            near = cz + a_weight * (az - cz) + b_weight * (bz - cz)
            for column in range(first, last + 1):
                a_weight += a_right
                b_weight += b_right
                near += z_right
                c_weight = 1.0 - a_weight - b_weight
                if a_weight < 0.0 or b_weight < 0.0 or c_weight < 0.0 or near <= depth[row, column]:
                    continue
                depth[row, column] = near
                if not shaded:
                    continue
                # light is worked out for a triangle only when its first pixel is seen
                if not lit:
                    lit = True
                    colour = paint[t]
                    direct, ambient = _face_light(corners[t], projection[2], light)
                    # a weight divided by the length of its steps is the distance to the opposite edge in pixels
                    reach_a, reach_b = math.hypot(a_right, a_down), math.hypot(b_right, b_down)
                    reach_c = math.hypot(a_right + b_right, a_down + b_down)
                    # lines appear as triangles grow on the screen: by their smallest height in pixels
                    line = min(max((1.0 / max(reach_a, reach_b, reach_c) - 7.0) / 30.0, 0.0), 1.0) * 0.28
                edge = min(a_weight / reach_a, b_weight / reach_b, c_weight / reach_c)
                keep = 1.0 - line * min(max(1.3 - edge, 0.0), 1.0)
                surface[row, column, 0] = colour
                surface[row, column, 1] = np.uint8(255.0 * direct * keep)
                surface[row, column, 2] = np.uint8(255.0 * ambient * keep)


class Canvas:
    """A picture in the making: add pieces of the mesh, then develop it.

    Parameters
    ----------
    view : View
        From where, and which part.
    box : (2, 3) float64
        Lowest and highest corner of what is looked at, metres.
    size : tuple of 2 int
        Width and height of the picture, pixels.
    """

    def __init__(self, view: View, box: Vector, *, size: tuple[int, int]) -> None:
        width, height = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
        self._camera = fit_projection(view, box, size=(width, height), margin=0.025 if view.crop is None else 0.0)
        self._depth = np.full((height, width), _NOTHING)
        self._surface = np.zeros((height, width, 3), np.uint8)
        sun = View(azimuth=(LIGHT_AZIMUTH + 180.0) % 360.0, elevation=LIGHT_ELEVATION)
        shadow_size = (max(width, height) * 3 // 4,) * 2
        self._sun = fit_projection(sun, _with_shadows(box, view), size=shadow_size, margin=0.0)
        self._sun_depth = np.full(shadow_size, _NOTHING)
        self._to_light = viewing_axes(sun.azimuth, sun.elevation)[2]

    def add(self, corners: Vector, paint: npt.NDArray[np.uint8], *, shadows: bool = True) -> None:
        """Draw a piece of the mesh.

        Parameters
        ----------
        corners : (m, 3, 3) float64
            Face, corner, coordinate, metres.
        paint : (m,) uint8
            Colour number of each face.
        shadows : bool
            Whether these faces cast shadows.
        """
        _rasterise(corners, paint, _stacked(self._camera), self._to_light, self._depth, self._surface)
        if shadows:
            unshaded = np.empty((0, 0, 3), np.uint8)
            _rasterise(corners, paint, _stacked(self._sun), self._to_light, self._sun_depth, unshaded)

    def develop(self, palette: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the picture, (height, width, 3) uint8 red, green and blue on white.

        Parameters
        ----------
        palette : (k, 3) uint8
            Colours by number.
        """
        height = len(self._depth) // SUPERSAMPLING
        bands = []
        for start in range(0, height, _BAND_ROWS):
            stop = min(start + _BAND_ROWS, height)
            hidden = self._hidden(start, stop).repeat(SUPERSAMPLING, axis=0).repeat(SUPERSAMPLING, axis=1)
            rows = slice(start * SUPERSAMPLING, stop * SUPERSAMPLING)
            bands.append(self._develop_band(rows, palette, hidden))
        return np.concatenate(bands)

    def _hidden(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return what `_crevices` says of some rows of the picture, from as many rows as it looks at."""
        coarse = self._depth[::SUPERSAMPLING, ::SUPERSAMPLING]
        reach = max(max(coarse.shape) // 130, 1)
        first = max(start - 2 * reach, 0)
        window = coarse[first : stop + 2 * reach]
        return _crevices(window, self._camera, reach=reach)[start - first : stop - first]

    def _develop_band(
        self, rows: slice, palette: npt.NDArray[np.uint8], occlusion: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.uint8]:
        surface = self._surface[rows].astype(np.float32)
        direct, ambient = surface[:, :, 1] / 255, surface[:, :, 2] / 255
        light = 0.74 * ambient * (1.0 - occlusion) + 0.5 * direct * self._lit(rows, direct)
        colour = palette[self._surface[rows, :, 0]] * light[:, :, None]
        # shadows look blue because the sky lights them
        colour += (1.0 - np.minimum(light, 1.0))[:, :, None] * np.array([-3.0, 2.0, 12.0], np.float32)
        colour = np.where(np.isfinite(self._depth[rows])[:, :, None], np.clip(colour, 0, 255), 255.0)
        averaged = colour.reshape(-1, SUPERSAMPLING, colour.shape[1] // SUPERSAMPLING, SUPERSAMPLING, 3)
        picture: npt.NDArray[np.uint8] = np.rint(averaged.mean(axis=(1, 3))).astype(np.uint8)
        return picture

    def _lit(self, rows: slice, direct: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Return 1 where the light reaches a pixel and 0 in cast shadows (L. Williams, SIGGRAPH 1978)."""
        change = self._camera.to(self._sun)
        near = np.where(np.isfinite(self._depth[rows]), self._depth[rows], 0.0).astype(np.float64)
        column = np.arange(near.shape[1]) + 0.5 - change.origin[0]
        row = (np.arange(rows.start, rows.stop) + 0.5 - change.origin[1])[:, None]
        seen = [m[0] * column + m[1] * row + m[2] * (near - change.origin[2]) for m in change.matrix]
        x, y, z = (value + shift for value, shift in zip(seen, change.offset, strict=True))
        limit = len(self._sun_depth) - 1
        x, y = (np.clip(v.astype(np.int64), 0, limit) for v in (x, y))
        pixel = 1.0 / np.linalg.norm(self._sun.matrix[0])
        # a slanting face changes its depth inside one pixel of the light's picture
        slack = pixel * (0.75 + 1.5 / np.maximum(direct, 0.15))
        return np.asarray(self._sun_depth[y, x] <= z + slack, np.float32)


def _stacked(projection: Projection) -> Vector:
    offset = projection.offset - projection.matrix @ projection.origin
    return np.vstack([projection.matrix, offset])


def _with_shadows(box: Vector, view: View) -> Vector:
    """Return the box that the light must see: around a crop, also what throws shadows into it."""
    if view.crop is None:
        return box
    reach = (box[1, 2] - box[0, 2]) / math.tan(math.radians(LIGHT_ELEVATION))
    grown = box.copy()
    grown[0, :2] -= reach
    grown[1, :2] += reach
    return grown


def _crevices(depth: Depth, camera: Projection, *, reach: int) -> npt.NDArray[np.float32]:
    """Return how much of the sky each pixel loses to what stands around it, 0 to 0.26.

    Its height is compared with the mean height in a window (after T. Luft and others, Image enhancement
    by unsharp masking the depth buffer, SIGGRAPH 2006; heights instead of depths leave level ground alone).
    """
    solid = np.isfinite(depth)
    back = np.linalg.inv(camera.matrix)[2]
    rows, columns = np.ogrid[: depth.shape[0], : depth.shape[1]]
    height = back[0] * columns * SUPERSAMPLING + back[1] * rows * SUPERSAMPLING + back[2] * np.where(solid, depth, 0.0)
    height[~solid] = 0.0
    # two passes of a square window make a soft one
    weight = np.maximum(_window_sum(_window_sum(solid, reach), reach), 1e-3)
    excess = _window_sum(_window_sum(height, reach), reach) / weight - height
    window = reach * SUPERSAMPLING / np.linalg.norm(camera.matrix[0])
    return np.where(solid, np.clip(excess / window * 0.22, 0.0, 0.26), 0.0).astype(np.float32)


def _window_sum(values: npt.NDArray[np.floating], reach: int) -> npt.NDArray[np.float64]:
    """Return the sum over a square window of ``2 reach + 1`` pixels around each pixel."""
    total = np.asarray(values, np.float64)
    for axis in (0, 1):
        padded = np.concatenate([np.zeros_like(total.take([0], axis)), np.cumsum(total, axis)], axis)
        count = total.shape[axis]
        high = np.minimum(np.arange(count) + reach + 1, count)
        low = np.maximum(np.arange(count) - reach, 0)
        total = padded.take(high, axis) - padded.take(low, axis)
    return total
