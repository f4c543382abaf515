"""A command in a memory control group of its own: the limit is the kernel's, nobody's wish.

python -m tests.hard_limits 4GB -- citymesh build ...

Needs the right to make control groups (root, or a delegated group); `can_limit` tells. Version 1 and 2 are understood.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from citymesh_dask.engine.memory import parse_bytes

_ROOTS = {1: Path("/sys/fs/cgroup/memory"), 2: Path("/sys/fs/cgroup")}
_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Limited:
    """What became of a command in a hard limit.

    Parameters
    ----------
    returncode : int
        Of the command; -9 where it was killed.
    seconds : float
        Wall time.
    anonymous_peak, total_peak : int
        Bytes of the whole tree: memory that cannot be dropped (sampled), and with the page cache (the kernel's figure).
    resident_peak : int
        Sum of the resident memory of all its processes (sampled): the page of a library that several have loaded counts
        for each of them.
    oom_kills : int
        Processes that the kernel killed for want of memory.
    output : str
        Standard output and error; empty where they were not captured.
    """

    returncode: int
    seconds: float
    anonymous_peak: int
    total_peak: int
    resident_peak: int
    oom_kills: int
    output: str = ""


def version() -> int:
    """Return 1 or 2, the control groups of which this process may make; 0 for none."""
    for number, probe in ((1, "memory.limit_in_bytes"), (2, "memory.max")):
        with contextlib.suppress(OSError), _group(number) as folder:
            if (folder / probe).exists() and os.access(folder / probe, os.W_OK):
                return number
    return 0


def can_limit() -> bool:
    """Whether this process may limit the memory of others."""
    return version() > 0


def run_limited(
    command: Sequence[str],
    limit_bytes: int,
    *,
    capture: bool = True,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    pass_on: Sequence[int] = (),
) -> Limited:
    """Run a command and all that it begins inside a hard limit; what is left of it is killed at the end.

    Signals ``pass_on`` that come meanwhile go to the process group of the command, and only there.
    """
    with _received(pass_on) as signals, _group(number := version()) as group:
        _limit(group, number, limit_bytes)
        begun = time.monotonic()
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE if capture else None,
            stderr=subprocess.STDOUT if capture else None,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(environment or {})},
            cwd=folder,
            preexec_fn=lambda: (group / "cgroup.procs").write_text("0"),
            start_new_session=True,
        )
        deadline = None if timeout is None else begun + timeout
        (anonymous, resident), output = _follow(process, group, number, deadline=deadline, signals=signals)
        return Limited(
            process.returncode,
            time.monotonic() - begun,
            anonymous,
            _total_peak(group, number),
            resident,
            _oom_kills(group, number),
            output,
        )


def _follow(
    process: subprocess.Popen[str], group: Path, number: int, *, deadline: float | None, signals: list[int]
) -> tuple[tuple[int, int], str]:
    """Return the peaks of anonymous and of resident memory, and the output."""
    anonymous, resident = 0, 0
    while True:
        try:
            return (anonymous, resident), process.communicate(timeout=_SAMPLE_SECONDS)[0] or ""
        except subprocess.TimeoutExpired:
            anonymous, resident = max(anonymous, _anonymous(group, number)), max(resident, _resident(group))
            if deadline is not None and time.monotonic() > deadline:
                signals.append(signal.SIGKILL)
                deadline = None
            while signals:
                os.killpg(process.pid, signals.pop(0))


@contextlib.contextmanager
def _received(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Collect signals instead of handling them."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _group(number: int) -> Iterator[Path]:
    folder = _ROOTS[number] / f"citymesh-test-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    folder.mkdir()
    try:
        yield folder
    finally:
        for _ in range(100):
            for pid in (folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.05)


def _limit(group: Path, number: int, limit_bytes: int) -> None:
    if number == 1:
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        with contextlib.suppress(OSError):  # only where swap is accounted
            (group / "memory.memsw.limit_in_bytes").write_text(str(limit_bytes))
    else:
        (group / "memory.max").write_text(str(limit_bytes))
        with contextlib.suppress(OSError):
            (group / "memory.swap.max").write_text("0")


def _words(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in path.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _anonymous(group: Path, number: int) -> int:
    stat = _words(group / "memory.stat")
    return stat["total_rss"] if number == 1 else stat["anon"]


def _resident(group: Path) -> int:
    pages = 0
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):  # gone meanwhile
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _total_peak(group: Path, number: int) -> int:
    name = "memory.max_usage_in_bytes" if number == 1 else "memory.peak"
    try:
        return int((group / name).read_text())
    except OSError:
        return 0


def _oom_kills(group: Path, number: int) -> int:
    return _words(group / ("memory.oom_control" if number == 1 else "memory.events")).get("oom_kill", 0)


def main() -> int:
    """Run the command of the command line and print what it took as JSON on standard error."""
    parser = argparse.ArgumentParser(prog="python -m tests.hard_limits", description=__doc__)
    parser.add_argument("limit", type=parse_bytes)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    found = run_limited(command, given.limit, capture=False, pass_on=(signal.SIGTERM, signal.SIGINT))
    sys.stderr.write(json.dumps(asdict(found)) + "\n")
    return found.returncode


if __name__ == "__main__":
    sys.exit(main())
