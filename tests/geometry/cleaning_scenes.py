"""Footprints that break cleaning, each scene within 200 m x 200 m."""

from __future__ import annotations

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import LineString, Point, Polygon, box

Shapes = list[shapely.Geometry]


def wedges(count: int) -> Shapes:
    """Return triangles that meet in one point and leave no ground between them."""
    turns = np.arange(count + 1) * 2 * np.pi / count + 0.1
    corners = [(100 + 60 * np.cos(turn), 100 + 60 * np.sin(turn)) for turn in turns]
    return [Polygon([(100, 100), corners[k], corners[k + 1]]) for k in range(count)]


def random_wedges(seed: int) -> Shapes:
    """Return triangles with gaps of any angle between them, all in one point."""
    rng = np.random.default_rng(seed)
    count, radius = int(rng.integers(5, 26)), rng.uniform(10, 40)
    turns = np.sort(rng.uniform(0, 2 * np.pi, 2 * count))
    corners = np.column_stack((np.cos(turns), np.sin(turns))) * radius + 100
    return [Polygon([(100, 100), *corners[2 * k : 2 * k + 2]]) for k in range(count)]


def jittered_quads(n: int, *, gap: float = 0.0, seed: int = 0) -> Shapes:
    """Return n x n touching quadrilaterals; with a gap each shrinks or grows by up to as much."""
    rng = np.random.default_rng(seed)
    lines = np.arange(n + 1) * 10 + 20
    grid = np.stack(np.meshgrid(lines, lines, indexing="ij"), -1) + rng.uniform(-2, 2, (n + 1, n + 1, 2))
    quads = [
        Polygon([grid[i, j], grid[i + 1, j], grid[i + 1, j + 1], grid[i, j + 1]]) for i in range(n) for j in range(n)
    ]
    return [quad.buffer(rng.uniform(-gap, gap / 2), join_style="mitre") for quad in quads] if gap else quads


def random_boxes(count: int, extent: float, *, seed: int = 0) -> Shapes:
    """Return turned rectangles of 3 to 15 m in a square of the given edge."""
    rng = np.random.default_rng(seed)
    shapes = []
    for _ in range(count):
        shape = affinity.translate(
            box(20, 20, 20 + rng.uniform(3, 15), 20 + rng.uniform(3, 15)), *rng.uniform(0, extent, 2)
        )
        shapes.append(affinity.rotate(shape, rng.uniform(0, 90)))
    return shapes


def stars(count: int, *, seed: int = 0) -> Shapes:
    """Return polygons with needles."""
    rng = np.random.default_rng(seed)
    shapes: Shapes = []
    for _ in range(count):
        spikes = int(rng.integers(5, 40))
        turn, radius = np.sort(rng.uniform(0, 2 * np.pi, spikes)), rng.uniform(1, 14, spikes)
        shapes.append(Polygon(np.c_[radius * np.cos(turn), radius * np.sin(turn)] + rng.uniform(30, 130, 2)))
    return shapes


def strips(count: int, *, seed: int = 0) -> Shapes:
    """Return crossing strips of 0.15 m to 1 m width."""
    rng = np.random.default_rng(seed)
    shapes = []
    for _ in range(count):
        shape = box(60, 60, 60 + rng.uniform(10, 40), 60 + rng.uniform(0.15, 1.0))
        shapes.append(affinity.rotate(affinity.translate(shape, *rng.uniform(0, 60, 2)), rng.uniform(0, 180)))
    return shapes


def grid(n: int, size: float, gap: float = 0.0, *, every: int = 1) -> Shapes:
    """Return n x n squares with alleys between them; with ``every`` 2 a checkerboard."""
    step = size + gap
    return [
        box(20 + step * i, 20 + step * j, 20 + step * i + size, 20 + step * j + size)
        for i in range(n)
        for j in range(n)
        if (i + j) % every == 0
    ]


def _ring(x0: float, y0: float, x1: float, y1: float, width: float) -> shapely.Geometry:
    return box(x0, y0, x1, y1).difference(box(x0 + width, y0 + width, x1 - width, y1 - width))


def _overlapping_mess() -> Shapes:
    shapes = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        shape = affinity.rotate(box(0, 0, *rng.uniform(5, 40, 2)), rng.uniform(0, 180))
        shapes.append(affinity.translate(shape, *rng.uniform(5, 160, 2)))
    return shapes


def _spiral() -> Shapes:
    t = np.arange(0, 230, 3)
    radius = 5 + t * 0.35
    path = LineString(np.column_stack((100 + radius * np.cos(t * 0.12), 100 + radius * np.sin(t * 0.12))))
    return [path.buffer(1.2, join_style="mitre")]


SCENES: dict[str, Shapes] = {
    "checkerboard": grid(10, 8, every=2),
    "turned checkerboard": [affinity.rotate(shape, 31.7, origin=(80, 80)) for shape in grid(8, 8, every=2)],
    "alleys of 0.26 m": grid(12, 6, 0.26),
    "alleys of 0.24 m": grid(12, 6, 0.24),
    "row houses": grid(10, 8),
    "comb": [shapely.union_all([box(20, 20, 180, 30)] + [box(20 + 4 * i, 25, 22 + 4 * i, 170) for i in range(40)])],
    "spiral": _spiral(),
    "dense circles": [Point(30 + 35 * i, 30 + 35 * j).buffer(15, quad_segs=64) for i in range(3) for j in range(3)],
    "tangent circles": [Point(30 + 30 * i, 30 + 30 * j).buffer(15, quad_segs=16) for i in range(4) for j in range(4)],
    "8 wedges": wedges(8),
    "24 wedges": wedges(24),
    "48 wedges": wedges(48),
    "wedges with gaps": random_wedges(0),
    "more wedges with gaps": random_wedges(14),
    "bowtie": [Polygon([(10, 10), (30, 30), (30, 10), (10, 30)])],
    "hourglass": [
        box(50, 50, 150, 150)
        .difference(Polygon([(70, 70), (100, 100), (70, 130)]))
        .difference(Polygon([(130, 70), (100, 100), (130, 130)]))
    ],
    "courtyard that opens in a corner": [
        box(50, 50, 150, 150).difference(box(60, 60, 100, 100)).difference(box(100, 100, 160, 160))
    ],
    "duplicates": random_boxes(15, 90) + random_boxes(15, 90),
    "shifted duplicates": random_boxes(15, 90) + [affinity.translate(s, 0.1, -0.15) for s in random_boxes(15, 90)],
    "overlapping mess": _overlapping_mess(),
    "dense boxes": random_boxes(80, 40),
    "needles": stars(15),
    "star of needles": [
        Polygon(
            [
                (100 + (6, 80)[k % 2] * np.cos(k * np.pi / 16), 100 + (6, 80)[k % 2] * np.sin(k * np.pi / 16))
                for k in range(32)
            ]
        )
    ],
    "strips": strips(40),
    "quads with gaps": jittered_quads(8, gap=0.3),
    "touching quads": jittered_quads(8),
    "rings": [
        _ring(20, 20, 180, 180, 10),
        _ring(60, 60, 140, 140, 6),
        box(90, 90, 110, 110),
        box(110, 90, 120, 110),
    ],
    "over everything": [box(-50, -50, 300, 300)],
    "over everything with a courtyard": [
        box(-50, -50, 300, 300).difference(box(50, 50, 150, 150)),
        box(60, 60, 90, 90),
    ],
    "across every side and corner": [
        affinity.rotate(box(x - 6, y - 6, x + 6, y + 6), 10 * x + y)
        for x in (0, 50, 100, 150, 200)
        for y in (0, 70, 200)
    ],
    "along the frame": [
        box(0.1, 20, 12, 40),
        box(0.2, 40, 9, 60),
        box(0.3, 70, 9, 90),
        Polygon([(0, 0.3), (0.3, 0), (30, 30)]),
    ],
    "touching on the frame": [Polygon([(50, 0), (40, 20), (40, 0)]), Polygon([(50, 0), (60, 0), (60, 20)])],
    "nothing": [],
}
