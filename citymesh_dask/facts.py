"""What a finished run has to tell: frozen facts that become JSON, the terminal text and the HTML report.

Only the facts and their JSON form belong here. Who runs something fills them in, `citymesh_dask.report`
shows them; neither needs to know the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StageFacts:
    """What one stage of a run took.

    Parameters
    ----------
    name : str
        Name of the stage, as on the dashboard.
    tasks : int
        Tasks of the stage.
    seconds : float
        Sum of the working times of its tasks.
    wall : float
        Time from the start of its first task to the end of its last, seconds.
    peak_memory : int
        Largest memory of a worker during one of its tasks, bytes; 0 where it could not be measured.
    projected : int
        Memory projected before the run for a worker during one of its tasks, idle worker included, bytes; 0
        where there was no projection.
    bytes_written : int
        Bytes written to disk.
    reused : int
        Tasks whose result was found finished on disk and read again.
    """

    name: str
    tasks: int
    seconds: float
    wall: float
    peak_memory: int = 0
    projected: int = 0
    bytes_written: int = 0
    reused: int = 0


@dataclass(frozen=True)
class QualityFacts:
    """What the triangles of the mesh look like.

    Parameters
    ----------
    angles, wall_angles : tuple of 90 int
        Triangles by smallest angle in whole degrees: terrain and roofs in plan, and walls.
    below_angle, above_area, inverted : int
        Terrain and roof triangles under the asked angle, over the asked area, and with an area of zero or less.
    asked_angle : float
        The option ``min_mesh_angle``, degrees.
    """

    angles: tuple[int, ...] = ()
    wall_angles: tuple[int, ...] = ()
    below_angle: int = 0
    above_area: int = 0
    inverted: int = 0
    asked_angle: float = 0.0


@dataclass(frozen=True)
class RunFacts:
    """Everything that the report of a run shows.

    Parameters
    ----------
    command : str
        What was asked for, as a line that can be run again.
    store : str
        Path of the finished store.
    inputs : tuple of dict
        One per input file: ``role``, ``path``, ``bytes`` and whatever else is known of it (``features``,
        ``points``, ``crs``).
    plan : tuple of dict
        Rows of the plan, each with the same keys; shown as a table in their order.
    stages : tuple of StageFacts
        Stages in the order in which they ran.
    outcomes : dict of str to int
        Buildings by status word (meshed, merged, skipped).
    reasons : tuple of dict
        ``status``, ``reason``, ``count`` and, where known, ``examples`` (a list of ids): one for every reason
        that is not empty.
    holes : tuple of str
        Tiles missing from the mesh because their task failed and the run was told to go on.
    splits : tuple of dict
        Tiles that memory was short for: ``tile`` and ``parts``, the tiles that did its work.
    warnings : tuple of str
        What the reader should know before trusting the mesh.
    n_vertices, n_faces : int
        Size of the mesh.
    face_counts : dict of str to int
        Faces by part (terrain, walls, roofs, sides, base), where counted.
    quality : QualityFacts
        Histograms of angles and counts of poor triangles.
    certificate : dict
        What the reduction proved; see ``docs/store.md``.
    terrain : dict
        ``filled_share`` (0 to 1) and ``largest_hole_m`` of the terrain raster.
    seconds : float
        Wall time of the run.
    peak_memory : int
        Largest memory of one worker, bytes; 0 where it could not be measured.
    allowed_memory : int
        What the user allowed for the whole process tree, bytes; 0 where not known.
    workers : int
        Worker processes.
    worker_names : tuple of str
        Name and address of the workers that did something, where they belong to a cluster of others.
    versions : dict of str to str
        Versions by package name.
    """

    command: str = ""
    store: str = ""
    inputs: tuple[dict[str, Any], ...] = ()
    plan: tuple[dict[str, Any], ...] = ()
    stages: tuple[StageFacts, ...] = ()
    outcomes: dict[str, int] = field(default_factory=dict)
    reasons: tuple[dict[str, Any], ...] = ()
    holes: tuple[str, ...] = ()
    splits: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    n_vertices: int = 0
    n_faces: int = 0
    face_counts: dict[str, int] = field(default_factory=dict)
    quality: QualityFacts = QualityFacts()
    certificate: dict[str, Any] = field(default_factory=dict)
    terrain: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory: int = 0
    allowed_memory: int = 0
    workers: int = 0
    worker_names: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain lists, dicts, numbers and text, ready for `json.dumps`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunFacts:
        """Return the facts that `to_json` wrote, also after a trip through JSON text.

        >>> facts = RunFacts(stages=(StageFacts("mesh_tile", 4, 2.0, 1.0),), outcomes={"meshed": 3})
        >>> RunFacts.from_json(facts.to_json()) == facts
        True
        """
        changed: dict[str, Any] = dict(value)
        changed["stages"] = tuple(StageFacts(**stage) for stage in value["stages"])
        quality = dict(value["quality"])
        quality |= {name: tuple(quality[name]) for name in ("angles", "wall_angles")}
        changed["quality"] = QualityFacts(**quality)
        for name in ("inputs", "plan", "reasons", "holes", "warnings"):
            changed[name] = tuple(value[name])
        changed["splits"] = tuple(value.get("splits", ()))
        changed["worker_names"] = tuple(value.get("worker_names", ()))
        return cls(**changed)
