"""The rasteriser: coverage, depth, light, shadow, colours and projections."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from citymesh_dask.errors import OptionError
from citymesh_dask.geometry.drawing.camera import View, fit_projection, viewing_axes
from citymesh_dask.geometry.drawing.colours import EARTH, ROOF, TERRAIN, WALL, Colouring, height_ramp
from citymesh_dask.geometry.drawing.drawing import Canvas

Corners = npt.NDArray[np.float64]
BOX = np.array([[0.0, 0.0, 0.0], [40.0, 40.0, 10.0]])
MAP = View(azimuth=0.0, elevation=90.0, crop=(0.0, 0.0, 40.0, 40.0))
GREY = np.array([[0, 0, 0], [200, 200, 200], [200, 0, 0], [0, 0, 200]], np.uint8)


def square(low: tuple[float, float], high: tuple[float, float], z: float) -> Corners:
    """Return a level square as two triangles that look up."""
    (x0, y0), (x1, y1) = low, high
    a, b, c, d = (x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)
    return np.array([[a, b, c], [a, c, d]])


def fan(points: Corners) -> Corners:
    """Return the triangles of a convex face."""
    return np.array([[points[0], points[i], points[i + 1]] for i in range(1, len(points) - 1)])


def draw(*pieces: tuple[Corners, int], view: View = MAP, size: tuple[int, int] = (80, 80)) -> npt.NDArray[np.int64]:
    canvas = Canvas(view, BOX, size=size)
    for corners, number in pieces:
        canvas.add(corners, np.full(len(corners), number, np.uint8))
    return canvas.develop(GREY).astype(np.int64)


def test_a_square_covers_its_pixels_and_no_others() -> None:
    pixels = draw((square((10, 20), (30, 40), 0.0), 1))
    covered = (pixels < 255).all(axis=2)
    wanted = np.zeros((80, 80), bool)
    wanted[0:40, 20:60] = True
    assert np.array_equal(covered, wanted)


def test_a_fan_of_slivers_has_no_holes() -> None:
    turn = np.linspace(0, 2 * np.pi, 400)
    disc = np.stack([20 + 15 * np.cos(turn), 20 + 15 * np.sin(turn), np.zeros_like(turn)], axis=1)
    pixels = draw((fan(disc), 1), size=(200, 200))
    y, x = np.indices((200, 200)) + 0.5
    inside = np.hypot(x - 100, y - 100) < 73
    assert (pixels[inside] < 250).all()
    assert (pixels[np.hypot(x - 100, y - 100) > 77] == 255).all()


def test_what_is_nearer_hides_what_is_farther_in_any_order() -> None:
    low, high = (square((0, 0), (40, 40), 0.0), 2), (square((10, 10), (30, 30), 8.0), 3)
    pixels = draw(low, high)
    assert np.array_equal(pixels, draw(high, low))
    assert pixels[40, 40, 2] > pixels[40, 40, 0]
    assert pixels[5, 5, 0] > pixels[5, 5, 2]


def test_pieces_give_the_same_picture_as_the_whole() -> None:
    rng = np.random.default_rng(5)
    corners = rng.uniform(0, 40, (300, 1, 3)) * (1, 1, 0.25) + rng.normal(0, 2, (300, 3, 3))
    paint = rng.integers(0, 4, 300).astype(np.uint8)
    view = View(azimuth=200.0, elevation=35.0)
    pictures = []
    for cuts in ([0, 300], [0, 1, 120, 121, 300]):
        canvas = Canvas(view, BOX, size=(90, 70))
        for start, stop in itertools.pairwise(cuts):
            canvas.add(corners[start:stop], paint[start:stop])
        pictures.append(canvas.develop(GREY))
    assert np.array_equal(*pictures)


def test_faces_towards_the_light_are_brighter_whichever_way_they_are_turned() -> None:
    def roof(sign: float) -> Corners:
        corners = square((10, 10), (30, 30), 0.0)
        corners[:, :, 2] = sign * 0.3 * (corners[:, :, 0] - corners[:, :, 1]) + 5  # falls to the north-west if positive
        return corners

    north_west, south_east = (draw((roof(sign), 1))[40, 40].mean() for sign in (1.0, -1.0))
    assert north_west > south_east + 15
    turned = roof(1.0)[:, ::-1]
    assert draw((np.ascontiguousarray(turned), 1))[40, 40].mean() == pytest.approx(north_west, abs=1)


def test_a_raised_plate_throws_its_shadow_to_the_south_east() -> None:
    ground, plate = (square((0, 0), (40, 40), 0.0), 1), (square((15, 15), (25, 25), 8.0), 1)
    pixels = draw(ground, plate).mean(axis=2)
    open_ground = pixels[6, 6]
    assert pixels[58, 62] < 0.8 * open_ground, "south-east of the plate"
    assert pixels[20, 20] > 0.9 * open_ground, "north-west of it"


def test_lines_appear_only_on_triangles_that_are_large_on_the_screen() -> None:
    near = draw((square((0, 0), (40, 40), 0.0), 1), size=(300, 300))[:, :, 0]
    diagonal = near[np.arange(299, -1, -1), np.arange(300)][20:280]
    assert diagonal.mean() < near[75, 75] - 20
    far = draw((square((0, 0), (40, 40), 0.0), 1), size=(4, 4))[:, :, 0]
    assert np.ptp(far) == 0


def test_nothing_gives_a_white_picture() -> None:
    assert (draw() == 255).all()
    flat = np.zeros((1, 3, 3))
    assert (draw((flat, 1)) == 255).all(), "a triangle without area is not drawn"


@pytest.mark.parametrize("azimuth", [0.0, 28.0, 215.0])
@pytest.mark.parametrize("size", [(300, 100), (100, 300)])
def test_the_box_fits_and_touches_the_margin(azimuth: float, size: tuple[int, int]) -> None:
    projection = fit_projection(View(azimuth=azimuth), BOX, size=size, margin=0.1)
    corners = np.array([[x, y, z] for x in (0, 40) for y in (0, 40) for z in (0, 10)], float)
    seen = projection.apply(corners)[:, :2]
    share = (seen / size).round(9)
    assert share.min() >= 0.1 and share.max() <= 0.9
    assert min(abs(share.min() - 0.1), abs(0.9 - share.max())) < 1e-6
    assert np.allclose((share.min(axis=0) + share.max(axis=0)) / 2, 0.5)


def test_projections_chain() -> None:
    first = fit_projection(View(azimuth=30.0), BOX, size=(200, 100), margin=0.0)
    second = fit_projection(View(azimuth=120.0, elevation=60.0), BOX + 5.0, size=(50, 50), margin=0.0)
    points = np.random.default_rng(2).uniform(0, 40, (20, 3))
    assert np.allclose(first.to(second).apply(first.apply(points)), second.apply(points))
    axes = viewing_axes(77.0, 21.0)
    assert np.allclose(axes @ axes.T, np.eye(3)) and np.linalg.det(axes) == pytest.approx(1.0)


def test_options_out_of_their_limits_are_refused() -> None:
    for arguments in ({"elevation": 5.0}, {"azimuth": float("nan")}, {"crop": (1.0, 0.0, 0.0, 1.0)}):
        with pytest.raises(OptionError):
            View(**arguments)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="marker, building, height"):
        Colouring("age", 3)


def test_colours_tell_part_building_and_height() -> None:
    markers = np.array([-2, 0, 3, 2, -3, -4], np.int32)
    building = np.array([-1, 0, 0, 2, -1, -1], np.int32)
    corners = np.zeros((6, 3, 3))
    corners[:, 0, 2] = [0, 9, 9, 20, 0, 0]
    parts = Colouring("marker", 3).paint(markers, building, corners)
    assert parts.tolist() == [TERRAIN, WALL, ROOF, WALL, EARTH, EARTH]
    rows = np.arange(3, 60, dtype=np.int32)
    roofs = Colouring("marker", 60).paint(rows + 60, rows, np.zeros((57, 3, 3)))
    assert not {TERRAIN, WALL, EARTH} & set(roofs.tolist()), "other tones are roofs too"
    assert len(set(roofs.tolist())) > 3
    tints = Colouring("building", 3).paint(markers, building, corners)
    assert tints[1] == tints[2] != tints[3] and tints[0] == TERRAIN
    heights = Colouring("height", 3, (0.0, 20.0)).paint(markers, building, corners)
    assert heights[1] == heights[2] and heights[0] < heights[1] < heights[3] == 255
    for by in ("marker", "building", "height"):
        palette = Colouring(by, 3).palette()
        assert palette.dtype == np.uint8 and len(palette) <= 256
        assert Colouring(by, 3).paint(markers, building, corners).max() < len(palette)


def test_neighbouring_rows_get_different_tints_evenly() -> None:
    rows = np.arange(12_000, dtype=np.int32)
    tints = Colouring("building", 12_000).paint(rows, rows, np.zeros((len(rows), 3, 3)))
    counts = np.bincount(tints)[4:]
    assert (tints[1:] == tints[:-1]).mean() < 0.15
    assert counts.min() > 0.8 * counts.max()


def test_the_ramp_darkens_evenly() -> None:
    linear = (height_ramp(64) / 255.0) ** 2.2
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16
    steps = -np.diff(lightness)
    assert steps.min() > 0
    assert steps.max() < 3 * steps.mean()
