"""Control groups of this process: what memory and CPU time they leave. Versions 1 and 2, nested, and side by side.

Dask reads the root of the hierarchy only; a process of a container or a service sits deeper, and each group above
it may hold it back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_NO_LIMIT = 1 << 60
"""Version 1 says "no limit" by a number about as large as this or larger."""


@dataclass(frozen=True)
class GroupMemory:
    """Memory of one control group.

    Parameters
    ----------
    folder : Path
        Where the kernel tells of it.
    limit, used : int
        Bytes; ``used`` without the page cache that can be dropped.
    """

    folder: Path
    limit: int
    used: int

    @property
    def left(self) -> int:
        """Bytes that can still be taken."""
        return max(self.limit - self.used, 0)


def memory_groups(root: Path = Path("/")) -> list[GroupMemory]:
    """Return every control group above this process that limits its memory.

    Parameters
    ----------
    root : Path
        Where ``proc`` and the mounts are found.
    """
    found = []
    for version, folder in _folders("memory", root):
        for level in _ancestors(folder):
            limit, used = _limit(level, version), _used(level, version)
            if limit is not None and used is not None:
                found.append(GroupMemory(level, limit, used))
    return found


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return how many CPUs' time the control groups of this process leave; None where they hold nothing back."""
    quotas = []
    for version, folder in _folders("cpu", root):
        for level in _ancestors(folder):
            words = _words(level / "cpu.max") if version == 2 else _v1_quota(level)
            if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
                quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def _v1_quota(folder: Path) -> list[str]:
    return _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")


def _folders(controller: str, root: Path) -> Iterator[tuple[int, Path]]:
    """Yield version and folder of the groups of this process that may know a controller."""
    mounts = list(_mounts(root))
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        version = 2 if controllers == "" else 1
        if version == 1 and controller not in controllers.split(","):
            continue
        for mounted, options, top, place in mounts:
            if mounted == version and (version == 2 or controller in options):
                yield version, _below(root / place.lstrip("/"), top, group)


def _mounts(root: Path) -> Iterator[tuple[int, list[str], str, str]]:
    """Yield version, options, the group that is mounted and the place of every mount of control groups.

    See ``proc_pid_mountinfo(5)``: id, parent, device, root, place, options, optional fields, ``-``, type, source,
    options of the file system.
    """
    for line in _lines(root / "proc/self/mountinfo"):
        front, _, back = line.partition(" - ")
        fields, end = front.split(), back.split()
        if len(fields) >= 5 and len(end) >= 3 and end[0] in ("cgroup", "cgroup2"):
            yield (2 if end[0] == "cgroup2" else 1), end[2].split(","), fields[3], fields[4]


def _below(place: Path, top: str, group: str) -> Path:
    """Return the folder of a group under a mount; the mount itself where the group lies outside of what is mounted.

    A container may see its own group mounted while ``/proc/self/cgroup`` still tells the path of the host.
    """
    path = PurePosixPath(group)
    try:
        return place / path.relative_to(top)
    except ValueError:
        return place


def _ancestors(folder: Path) -> Iterator[Path]:
    """Yield a group and those above it, as far as they are there."""
    for level in (folder, *folder.parents):
        if (level / "cgroup.procs").exists():
            yield level


def _limit(folder: Path, version: int) -> int | None:
    """Return the limit of a group; ``memory.high`` counts, too: beyond it processes are slowed down to a halt."""
    names = ("memory.max", "memory.high") if version == 2 else ("memory.limit_in_bytes",)
    limits = [value for value in (_number(folder / name) for name in names) if value is not None]
    return min((limit for limit in limits if limit < _NO_LIMIT), default=None)


def _used(folder: Path, version: int) -> int | None:
    used = _number(folder / ("memory.current" if version == 2 else "memory.usage_in_bytes"))
    if used is None:
        return None
    droppable = "inactive_file " if version == 2 else "total_inactive_file "
    lines = [line for line in _lines(folder / "memory.stat") if line.startswith(droppable)]
    return max(used - sum(int(line.split()[1]) for line in lines), 0)


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].isdigit() else None


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []
