"""What will be done, before anything is: tasks, stages and their projected memory.

The engine knows no meshes, tiles or options: a task is a function of small arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .memory import RESERVED_BYTES
from .tree import tree_levels

TaskFunction = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class TaskCall:
    """What travels to a worker.

    Parameters
    ----------
    key : str
        Name of the task.
    function : callable
        Importable function that returns a small JSON-able dict.
    arguments : tuple
        Small picklable arguments: paths and numbers, never arrays.
    """

    key: str
    function: TaskFunction
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Task:
    """One call that leaves its output on disk and returns a few facts.

    Parameters
    ----------
    call : TaskCall
        The call; its key is unique in the plan, such as ``mesh_tile-0007``.
    needs : tuple of str
        Keys of the tasks that must be done before.
    """

    call: TaskCall
    needs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Name of the task."""
        return self.call.key


@dataclass(frozen=True)
class Stage:
    """Tasks of one kind.

    Parameters
    ----------
    name : str
        Kind of the tasks; their keys begin with it.
    tasks : tuple of Task
        The tasks.
    after : tuple of str
        Stages that must be done before any of these tasks begins.
    projected_bytes : int
        Memory that one task takes at most beyond an idle worker.
    written_bytes : int
        Projected bytes that all its tasks write to disk.
    seconds : float
        Projected working time of all its tasks on one core.
    """

    name: str
    tasks: tuple[Task, ...]
    after: tuple[str, ...] = ()
    projected_bytes: int = 0
    written_bytes: int = 0
    seconds: float = 0.0

    @property
    def process_bytes(self) -> int:
        """Projected memory of a worker at one of the tasks; 0 where nothing is projected."""
        return RESERVED_BYTES + self.projected_bytes if self.projected_bytes else 0


@dataclass(frozen=True)
class Plan:
    """Stages in an order in which they can be done.

    Parameters
    ----------
    stages : tuple of Stage
        All stages.
    allowed_bytes : int
        Memory of the whole process tree.
    n_workers : int
        Processes that work side by side.
    facts : mapping of str to Any
        What else there is to tell, JSON-able; lines of the description under ``lines``.
    """

    stages: tuple[Stage, ...]
    allowed_bytes: int
    n_workers: int
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def tasks(self) -> Iterator[Task]:
        """Iterate over all tasks, stage by stage."""
        for stage in self.stages:
            yield from stage.tasks

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict per stage: name, tasks, projected memory of a task, projected bytes written and seconds."""
        return [
            {
                "stage": s.name,
                "tasks": len(s.tasks),
                "projected_bytes": s.projected_bytes,
                "written_bytes": s.written_bytes,
                "seconds": round(s.seconds, 3),
            }
            for s in self.stages
        ]

    def describe(self) -> str:
        """Return the plan as a table."""
        lines = [f"{'stage':22} {'tasks':>7} {'projected memory per task':>26} {'written':>12} {'work':>10}"]
        lines += [
            f"{r['stage']:22} {r['tasks']:7,d} {r['projected_bytes'] / 1e6:23,.0f} MB "
            f"{r['written_bytes'] / 1e6:9,.1f} MB {r['seconds']:8,.1f} s"
            for r in self.rows()
        ]
        lines.append(f"allowed {self.allowed_bytes / 1e9:.2f} GB for {self.n_workers} worker(s)")
        return "\n".join([*lines, *self.facts.get("lines", ())])


def numbered_stage(
    name: str,
    function: TaskFunction,
    count: int,
    *,
    arguments: tuple[Any, ...],
    after: Sequence[str] = (),
    projected_bytes: int = 0,
    digits: int = 0,
) -> Stage:
    """Return a stage of ``count`` tasks that call ``function(*arguments, index)``.

    Keys end with the index, in as many digits as the last one needs; in ``digits`` digits where that is given, so
    that keys stay what they are when more tasks come.
    """
    width = digits or max(4, len(str(count - 1)))
    tasks = tuple(Task(TaskCall(f"{name}-{i:0{width}d}", function, (*arguments, i))) for i in range(count))
    return Stage(name, tasks, tuple(after), projected_bytes)


@dataclass(frozen=True)
class Reduction:
    """A tree reduction: leaves, a combining task, and the fan-in.

    Parameters
    ----------
    leaves : Stage
        Its tasks are the leaves, neighbours side by side.
    combine : callable
        ``combine(*arguments, level, index, children)`` merges nodes ``children`` (a range given as
        start and stop) of the level below into node ``index`` of ``level``; level 0 are the leaves.
    arguments : tuple
        First arguments of ``combine``.
    fan_in : int
        Most children of a node.
    projected_bytes : int
        Memory that one combination takes at most beyond an idle worker.
    beside : mapping of int to tuple of int
        The last tasks of ``leaves`` may stand beside others, and have no place of their own in the tree: by place,
        their numbers. ``combine`` gets those of its children as one more argument, ``(number, ...)``.
    """

    leaves: Stage
    combine: TaskFunction
    arguments: tuple[Any, ...]
    fan_in: int
    projected_bytes: int = 0
    beside: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def stages(self, name: str) -> list[Stage]:
        """Return one stage per level; the last has one task, the root."""
        leaves = [task.key for task in self.leaves.tasks]
        below = leaves[: len(leaves) - sum(map(len, self.beside.values()))]
        stages = []
        for level, nodes in enumerate(tree_levels(len(below), self.fan_in), start=1):
            tasks = []
            for j, children in enumerate(nodes):
                more = tuple(leaf for child in children for leaf in self.beside.get(child, ()) if level == 1)
                arguments = (*self.arguments, level, j, (children.start, children.stop), *[more] * bool(more))
                needs = tuple(below[child] for child in children) + tuple(leaves[leaf] for leaf in more)
                tasks.append(Task(TaskCall(f"{name}_l{level}-{j:04d}", self.combine, arguments), needs))
            stages.append(Stage(f"{name}_l{level}", tuple(tasks), (), self.projected_bytes))
            below = [task.key for task in tasks]
        return stages
