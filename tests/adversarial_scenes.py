"""Footprints that break meshers: touching corners, narrow alleys, rings, needles, circles, wedges.

Every scene fits into a square of `SIDE` metres with its corner at (0, 0), which is the domain.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
from shapely import LineString, Point, Polygon, affinity, box

SIDE = 200.0
"""Edge of the domain, metres."""
CENTRE = (SIDE / 2, SIDE / 2)

Footprints = list[Polygon]


def hollow(x0: float, y0: float, x1: float, y1: float, *, thickness: float) -> Polygon:
    """Return a rectangle with a rectangular courtyard."""
    t = thickness
    return box(x0, y0, x1, y1).difference(box(x0 + t, y0 + t, x1 - t, y1 - t))


def lattice(step: float, size: float, count: int, *, start: float = 20.0) -> Footprints:
    """Return squares at the points of a square lattice."""
    corners = [start + step * k for k in range(count)]
    return [box(x, y, x + size, y + size) for x in corners for y in corners]


def wedges(count: int) -> Footprints:
    """Return slices of a disc that meet in one point."""
    turn = 2 * np.pi / count
    angles = np.arange(count + 1) * turn + 0.1
    rim = [(100 + 60 * np.cos(a), 100 + 60 * np.sin(a)) for a in angles]
    return [Polygon([CENTRE, rim[k], rim[k + 1]]) for k in range(count)]


def rings_with_buildings_inside() -> Footprints:
    """Two rings, one in the other, around two touching houses."""
    rings = [hollow(20, 20, 180, 180, thickness=10), hollow(60, 60, 140, 140, thickness=6)]
    return [*rings, box(90, 90, 110, 110), box(110, 90, 120, 110)]


def checkerboard() -> Footprints:
    """The black fields: squares that touch in corners only."""
    return [p for k, p in enumerate(lattice(8, 8, 12)) if (k // 12 + k) % 2]


def row_houses() -> Footprints:
    """A block of houses wall to wall, all vertices on straight lines."""
    return lattice(8, 8, 12)


def alleys(width: float, count: int = 8) -> Footprints:
    """Return squares of 6 m with alleys between them."""
    return lattice(6 + width, 6, count)


def comb() -> Footprints:
    """One building with 30 teeth 2 m wide."""
    teeth = [box(20 + 4 * k, 25, 22 + 4 * k, 170) for k in range(40)]
    return [shapely.union_all([box(20, 20, 180, 30), *teeth])]


def spiral() -> Footprints:
    """One long wall wound around itself."""
    turns = range(0, 230, 3)
    line = [(100 + (5 + t * 0.35) * np.cos(t * 0.12), 100 + (5 + t * 0.35) * np.sin(t * 0.12)) for t in turns]
    return [LineString(line).buffer(1.2, join_style="mitre")]


def dense_circles() -> Footprints:
    """Circles of 256 vertices."""
    return [Point(30 + 35 * i, 30 + 35 * j).buffer(15, quad_segs=64) for i in range(5) for j in range(5)]


def tangent_circles() -> Footprints:
    """Circles that touch their neighbours in one vertex."""
    return [Point(30 + 30 * i, 30 + 30 * j).buffer(15, quad_segs=16) for i in range(5) for j in range(5)]


def star() -> Footprints:
    """Sixteen needles."""
    radius = [80 if k % 2 == 0 else 6 for k in range(32)]
    turn = np.arange(32) * np.pi / 16
    return [Polygon([(100 + r * np.cos(t), 100 + r * np.sin(t)) for r, t in zip(radius, turn, strict=True)])]


def bowtie_and_hourglass() -> Footprints:
    """A ring that crosses itself, and two courtyards that touch in a point."""
    west, east = Polygon([(70, 70), (100, 100), (70, 130)]), Polygon([(130, 70), (100, 100), (130, 130)])
    return [box(50, 50, 150, 150).difference(west).difference(east), Polygon([(10, 10), (30, 30), (30, 10), (10, 30)])]


def courtyard_open_in_a_corner() -> Footprints:
    """A courtyard that touches the outside in one point."""
    return [box(50, 50, 150, 150).difference(box(60, 60, 100, 100)).difference(box(100, 100, 160, 160))]


def duplicates() -> Footprints:
    """The same house three times, also backwards and with a vertex more; one inside another."""
    house = box(20, 20, 40, 40)
    more = Polygon([(20, 20), (30, 20), (40, 20), (40, 40), (20, 40)])
    return [house, house.reverse(), more, box(60, 20, 100, 60), box(70, 30, 80, 40), box(70, 30, 80, 40)]


def overlapping() -> Footprints:
    """Sixty rectangles thrown down at random."""
    random = np.random.default_rng(5)
    thrown = []
    for _ in range(60):
        x, y, width, height, angle = random.uniform((5, 5, 5, 5, 0), (150, 150, 40, 40, 180))
        thrown.append(affinity.rotate(box(x, y, x + width, y + height), angle))
    return thrown


def rotated_rows() -> Footprints:
    """Row houses turned by one degree."""
    rows = [box(20 + 8 * i, 20 + 30 * j, 28 + 8 * i, 32 + 30 * j) for i in range(20) for j in range(5)]
    return [affinity.rotate(house, 1.0, origin=CENTRE) for house in rows]


def nearly_parallel_walls() -> Footprints:
    """Long walls at a tenth of a degree to the tile lines."""
    return [affinity.rotate(box(40, 20 + 20 * j, 160, 32 + 20 * j), 0.1, origin=CENTRE) for j in range(8)]


def whole_domain() -> Footprints:
    """One building over everything."""
    return [box(-50, -50, 300, 300)]


def nearly_whole_domain() -> Footprints:
    """One building over all but a rim of 2 m."""
    return [box(2, 2, 198, 198)]


def at_the_frame() -> Footprints:
    """Buildings across a side, across a corner, along a side, touching a corner, near a side, a ring around."""
    return [
        box(-20, 40, 20, 60),
        box(-20, 60, 15, 80),
        box(190, 190, 230, 220),
        box(0, 100, 10, 120),
        Polygon([(200, 0), (190, 5), (195, 10)]),
        box(100, 0.1, 120, 10),
        box(140, 0.3, 160, 10),
        hollow(60, 160, 100, 240, thickness=8),
        Polygon([(-30, 150), (40, 150), (-30, 151)]),
    ]


def touching_the_corner() -> Footprints:
    """Buildings that share one corner, or one side, with the domain from outside."""
    return [box(200, 200, 220, 220), box(-20, -20, 0, 0), box(200, 50, 220, 60), box(0, 180, 20, 200)]


def houses_in_hundreds() -> Footprints:
    """A checkerboard of pairs: walls, corners and alleys of 0.3 m in one cluster."""
    return [*lattice(8, 8, 4), *lattice(8.3, 8, 4, start=60.0), *checkerboard()[40:]]


def nothing() -> Footprints:
    """No building at all."""
    return []


def ten_thousand_vertices() -> Footprints:
    """One footprint of 10,000 vertices: a disc with a wavy rim."""
    turn = np.arange(10_000) * (2 * np.pi / 10_000)
    radius = 80 + 5 * np.sin(40 * turn) + 0.2 * np.sin(1500 * turn)
    return [Polygon(np.stack([100 + radius * np.cos(turn), 100 + radius * np.sin(turn)], axis=1))]


SCENES: dict[str, Callable[[], Footprints]] = {
    "checkerboard": checkerboard,
    "row houses": row_houses,
    "alleys of 0.26 m": lambda: alleys(0.26),
    "alleys of 0.24 m": lambda: alleys(0.24),
    "rings": rings_with_buildings_inside,
    "comb": comb,
    "spiral": spiral,
    "dense circles": dense_circles,
    "tangent circles": tangent_circles,
    "star": star,
    "8 wedges": lambda: wedges(8),
    "24 wedges": lambda: wedges(24),
    "bowtie and hourglass": bowtie_and_hourglass,
    "open courtyard": courtyard_open_in_a_corner,
    "duplicates": duplicates,
    "overlapping": overlapping,
    "rotated rows": rotated_rows,
    "nearly parallel walls": nearly_parallel_walls,
    "whole domain": whole_domain,
    "nearly whole domain": nearly_whole_domain,
    "at the frame": at_the_frame,
    "touching the corner": touching_the_corner,
    "hundreds": houses_in_hundreds,
    "nothing": nothing,
    "10,000 vertices": ten_thousand_vertices,
}


def mixed() -> Footprints:
    """A bit of everything in one place, for options."""
    rows = [affinity.rotate(house, 17.0, origin=(40, 140)) for house in lattice(8, 8, 3, start=0.0)]
    return [
        *(affinity.translate(house, 20, 120) for house in rows),
        *(affinity.translate(field, 90, 5) for field in checkerboard()[:20]),
        *(affinity.translate(house, 20, 20) for house in alleys(0.26, 3)),
        hollow(110, 110, 170, 170, thickness=7),
        box(125, 125, 140, 140),
        box(140, 130, 150, 139),
        Point(60, 90).buffer(12, quad_segs=24),
        Point(84, 90).buffer(12, quad_segs=24),
        box(-20, 60, 12, 75),
        box(-20, 75, 9, 90),
        box(190, 190, 230, 220),
        Polygon([(200, 0), (185, 5), (195, 15)]),
        box(100, 185, 103, 188),
        box(103, 185, 120, 188.4),
        box(120.3, 180, 126, 190),
        box(127, 180, 131, 190),
    ]
