"""What a check found: problems with their places, as objects, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

KEPT_PLACES = 20
"""Places that are kept for each kind of problem; all are counted."""


@dataclass(frozen=True)
class Place:
    """Where a problem is.

    Parameters
    ----------
    position : (float, float, float) or None
        Metres in the project CRS; None where there is no place in space.
    tile : int or None
        Tile of the face or vertex.
    building : int or None
        Row of the building table.
    note : str
        Which vertices or faces, or what was found instead of what.
    """

    position: tuple[float, float, float] | None = None
    tile: int | None = None
    building: int | None = None
    note: str = ""

    def describe(self) -> str:
        """Return the place as one line."""
        parts = []
        if self.position is not None:
            parts.append("({:.3f}, {:.3f}, {:.3f})".format(*self.position))
        parts += [
            f"{name} {value}" for name, value in (("tile", self.tile), ("building", self.building)) if value is not None
        ]
        return ", ".join([*parts, *([self.note] if self.note else [])])


@dataclass(frozen=True)
class Problem:
    """Something that a mesh must hold and does not.

    Parameters
    ----------
    kind : str
        Name of the problem, such as ``open edge``.
    count : int
        How often it was found.
    places : tuple of Place
        The first `KEPT_PLACES` of them.
    at_least : bool
        Whether there may be more: too many were found to name each exactly.
    """

    kind: str
    count: int
    places: tuple[Place, ...] = ()
    at_least: bool = False

    def describe(self) -> str:
        """Return the problem as a line, its places under it."""
        lines = [f"{self.kind}: {'at least ' if self.at_least else ''}{self.count:,}"]
        lines += [f"    {place.describe()}" for place in self.places]
        if self.count > len(self.places) > 0:
            lines.append(f"    and {self.count - len(self.places):,} more")
        return "\n".join(lines)


@dataclass(frozen=True)
class CheckReport:
    """What a check proved of a store.

    Parameters
    ----------
    path : str
        The store.
    n_vertices, n_faces, n_buildings : int
        Sizes; buildings are rows of the table.
    n_meshed : int
        Buildings that the table calls meshed.
    solid : bool
        Whether the mesh must be closed; otherwise it must end at the domain's rectangle.
    rim_length : float
        Length of the edges that run along the rectangle, metres.
    mesh_area, domain_area : float
        Area of terrain and roofs in plan and of the domain, square metres.
    area_exact : bool
        Whether both are the same integer in the fixed-point plane.
    problems : tuple of Problem
        Empty for a mesh that holds everything.
    """

    path: str
    n_vertices: int
    n_faces: int
    n_buildings: int
    n_meshed: int
    solid: bool
    rim_length: float
    mesh_area: float
    domain_area: float
    area_exact: bool
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def describe(self) -> str:
        """Return the report as text."""
        lines = [
            f"{self.path}: {self.n_faces:,} faces, {self.n_vertices:,} vertices, "
            f"{self.n_meshed:,} of {self.n_buildings:,} buildings meshed"
        ]
        if not self.ok:
            return "\n".join([*lines, "The mesh does not hold:", *(problem.describe() for problem in self.problems)])
        shape = "a closed solid" if self.solid else f"one surface with a rim of {self.rim_length:,.3f} m"
        same = "exactly the domain" if self.area_exact else f"the domain has {self.domain_area:,.3f} m2"
        lines += [
            f"It is {shape}: every edge has its two faces, every vertex one umbrella or fan of them.",
            f"Terrain and roofs cover {self.mesh_area:,.3f} m2 in plan, {same}; no triangle is inverted.",
            "Every building that the table calls meshed is there with the area of the table, no other is.",
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain dicts, lists, strings and numbers."""
        return {**asdict(self), "ok": self.ok}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CheckReport:
        """Return the report that `to_json` was called on."""
        facts = {name: fact for name, fact in value.items() if name not in ("ok", "problems")}
        return cls(**facts, problems=tuple(_problem(problem) for problem in value["problems"]))


def _problem(value: Mapping[str, Any]) -> Problem:
    places = []
    for place in value["places"]:
        x, y, z = place["position"] or (0.0, 0.0, 0.0)
        position = (x, y, z) if place["position"] else None
        places.append(Place(position, place["tile"], place["building"], place["note"]))
    return Problem(value["kind"], value["count"], tuple(places), value["at_least"])
