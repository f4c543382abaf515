"""The page of a run on Dask's dashboard, at ``/citymesh``: tiles by state, stages, memory by worker and stage.

A plugin of the scheduler marks one byte for every change of a task; what the page shows is counted when somebody
looks at it, twice a second at most. What the scheduler cannot know (memory that tasks took, tiles that were split)
the run tells it, once a second at most. Nothing here knows what a tile is: some stage has places in the plane.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tornado.web
from distributed import Client, SchedulerPlugin

WAITING, RUNNING, DONE, FAILED, SPLIT, SKIPPED = range(6)
STATES = ("waiting", "running", "done", "failed", "split", "skipped")
"""States of a task, by the number that stands for them."""

PAGE = "citymesh"
"""Path of the page on the dashboard."""
REFRESH_SECONDS = 0.5
"""What is shown is at least so old; however many people look, it is counted once in this time."""
TELL_SECONDS = 1.0
"""A run tells the scheduler what it measured so often at most."""
_MOST_RUNS = 8
_TEMPLATE = Path(__file__).parents[1] / "templates" / "run.html"
_SETTING = "citymesh_runs"
_CODES = {"processing": RUNNING, "memory": DONE, "erred": FAILED, "waiting": WAITING, "queued": WAITING}

Place = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoardStage:
    """A stage as the page shows it.

    Parameters
    ----------
    name : str
        Its name; the keys of its tasks are the name, a hyphen and a number.
    total : int
        Tasks of the stage.
    projected_bytes : int
        Memory projected for a worker during one of its tasks, idle worker included.
    """

    name: str
    total: int
    projected_bytes: int = 0


@dataclass(frozen=True)
class Board:
    """What the page of a run shows, as far as it is known before the first task.

    Parameters
    ----------
    run_id : str
        Name of the run; begins the last part of the keys that Dask sees.
    title : str
        Heading of the page.
    stages : tuple of BoardStage
        All stages in order.
    placed : str
        The stage whose tasks have places.
    places : tuple of (float, float, float, float)
        x0, y0, x1, y1 of these tasks, in any unit.
    allowed_bytes, worker_bytes : int
        Memory allowed for all, and for one worker.
    """

    run_id: str
    title: str
    stages: tuple[BoardStage, ...]
    placed: str = ""
    places: tuple[Place, ...] = ()
    allowed_bytes: int = 0
    worker_bytes: int = 0


@dataclass
class _Measured:
    """What a run told of its tasks: highest memory, by stage and by worker."""

    stages: dict[str, int] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)


class RunPlugin(SchedulerPlugin):  # type: ignore[misc]  # distributed has no types
    """Follows the tasks of one run on the scheduler.

    Parameters
    ----------
    board : Board
        What is known before the first task.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self.name: Any = f"{PAGE}-{board.run_id}"
        self._stages = {stage.name: stage for stage in board.stages}
        self._states = {stage.name: bytearray(stage.total) for stage in board.stages}
        self._places = list(board.places)
        self._changed = 1
        self._measured = _Measured()
        self._begun = time.time()
        self._ended: tuple[str, float] | None = None
        self._scheduler: Any = None
        self._shown: tuple[float, bytes] = (0.0, b"")

    async def start(self, scheduler: Any) -> None:
        """Put the page on the dashboard of the scheduler."""
        self._scheduler = scheduler
        application = scheduler.http_application
        runs: dict[str, RunPlugin] | None = application.settings.get(_SETTING)
        if runs is None:
            runs = application.settings[_SETTING] = {}
            application.add_handlers(r".*", _routes(runs))
        runs[self.board.run_id] = self
        while len(runs) > _MOST_RUNS:
            del runs[next(iter(runs))]

    def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
        """Mark the new state of a task."""
        del start
        code = _CODES.get(finish)
        if code is None or type(key) is not str:
            return
        task, run = key.rpartition("-")[::2]
        if run.startswith(self.board.run_id):
            self._mark(task, code)

    def _mark(self, task: str, code: int) -> None:
        stage, _, number = task.rpartition("-")
        states = self._states.get(stage)
        if states is None or not number.isdecimal():
            return
        index = int(number)
        if index >= len(states):
            states.extend(bytes(index + 1 - len(states)))
        if states[index] < SPLIT:  # what is split or skipped stays so
            states[index] = code

    def log_event(self, topic: Any, msg: Any) -> None:
        """Take what the run tells."""
        if topic != self.name:
            return
        for mine, told in ((self._measured.stages, msg["stages"]), (self._measured.workers, msg["workers"])):
            for name, peak in told.items():
                mine[name] = max(peak, mine.get(name, 0))
        for name, total in msg["totals"].items():
            states = self._states.setdefault(name, bytearray())
            states.extend(bytes(max(total - len(states), 0)))
            self._stages.setdefault(name, BoardStage(name, total))
        for task, state in msg["states"]:
            self._mark(task, STATES.index(state))
        if msg["places"]:
            self._places, self._changed = list(map(tuple, msg["places"])), self._changed + 1
        if msg["ended"]:
            self._ended = (msg["ended"], time.time())
            self._shown = (0.0, b"")

    @property
    def places(self) -> list[Place]:
        """Where the tasks of the placed stage are."""
        return self._places

    def shown(self) -> bytes:
        """Return the state as JSON, counted anew where the last count is old."""
        now = time.monotonic()
        if now - self._shown[0] > REFRESH_SECONDS:
            self._shown = (now, json.dumps(self.state()).encode())
        return self._shown[1]

    def state(self) -> dict[str, Any]:
        """Return what the page shows now."""
        status, until = self._ended or ("running", time.time())
        placed = self._states.get(self.board.placed, bytearray())
        return {
            "run": self.board.run_id,
            "title": self.board.title,
            "status": status,
            "seconds": round(until - self._begun, 1),
            "states": STATES,
            "stages": [self._stage_state(name) for name in self._states],
            "tiles": placed[: len(self._places)].translate(_DIGITS).decode(),
            "places": self._changed,
            "allowed": self.board.allowed_bytes,
            "worker_bytes": self.board.worker_bytes,
            "workers": [] if self._ended else list(map(self._worker_state, self._scheduler.workers.values())),
        }

    def _stage_state(self, name: str) -> dict[str, Any]:
        states = self._states[name]
        counts = {word: states.count(code) for code, word in enumerate(STATES)}
        memory = {"projected": self._stages[name].projected_bytes, "measured": self._measured.stages.get(name, 0)}
        return {"name": name, "total": len(states), **memory, **counts}

    def _worker_state(self, worker: Any) -> dict[str, Any]:
        """Return what one worker does, and its memory: allowed, projected for its tasks, measured."""
        tasks = [str(key.key).rpartition("-")[0] for key in list(worker.processing)]
        stages = {task.rpartition("-")[0] for task in tasks} & self._stages.keys()
        name = worker.address if str(worker.name) == worker.address else f"{worker.name} ({worker.address})"
        now = int(worker.metrics.get("memory", 0))
        return {
            "name": name,
            "tasks": tasks[:4],
            "allowed": int(worker.memory_limit or 0),
            "projected": max((self._stages[stage].projected_bytes for stage in stages), default=0),
            "memory": now,
            "peak": max(self._measured.workers.get(name, 0), now),
        }


_DIGITS = bytes(min(code, 9) + ord("0") if code < len(STATES) else ord("0") for code in range(256))


class _Handler(tornado.web.RequestHandler):
    """What the answers for all runs of a scheduler have in common."""

    def initialize(self, runs: dict[str, RunPlugin]) -> None:
        """Take the runs that the dashboard shows; tornado calls this once for each request."""
        self.runs = runs

    def chosen(self) -> RunPlugin:
        """Return the run that was asked for, else the latest."""
        name = self.get_query_argument("run", "") or next(reversed(self.runs), "")
        if name not in self.runs:
            raise tornado.web.HTTPError(404, "no such run")
        return self.runs[name]


class _PageHandler(_Handler):
    """Answers with the page itself, the same for all runs."""

    def get(self) -> None:
        """Send HTML."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(_TEMPLATE.read_bytes())


class _StateHandler(_Handler):
    """Answers with what the page shows of a run now."""

    def get(self) -> None:
        """Send `RunPlugin.shown`."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(self.chosen().shown())


class _PlacesHandler(_Handler):
    """Answers with the places of a run's tasks, asked for once and again when they change."""

    def get(self) -> None:
        """Send a list of x0, y0, x1, y1 as JSON."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(self.chosen().places))


class _RunsHandler(_Handler):
    """Answers with the runs that a page can show."""

    def get(self) -> None:
        """Send title by name as JSON."""
        names = {name: run.board.title for name, run in self.runs.items()}
        self.finish(json.dumps(names))


def _routes(runs: dict[str, RunPlugin]) -> list[tuple[str, type[_Handler], dict[str, Any]]]:
    """Return the addresses; a dashboard behind a proxy has something before them."""
    handlers: dict[str, type[_Handler]] = {"": _PageHandler, "/runs.json": _RunsHandler}
    handlers |= {"/state.json": _StateHandler, "/places.json": _PlacesHandler}
    return [(rf"(?:/.*)?/{PAGE}{end}", handler, {"runs": runs}) for end, handler in handlers.items()]


class BoardFeed:
    """Puts the page of a run on the dashboard of its cluster, and tells it what the scheduler cannot know.

    A scheduler that cannot have the page (it lacks this package, or has no dashboard) goes without.

    Parameters
    ----------
    client : distributed.Client
        Client of the cluster.
    board : Board
        What the page shows.

    Attributes
    ----------
    link : str or None
        Address of the page.
    """

    def __init__(self, client: Client, board: Board) -> None:
        self.link: str | None = None
        self._client = client
        self._plugin = RunPlugin(board)
        self._news = self._nothing_new()
        self._told = 0.0
        with contextlib.suppress(Exception):  # a run is worth more than its page
            client.register_plugin(self._plugin)
            self.link = f"{str(client.dashboard_link).rpartition('/')[0]}/{PAGE}"

    def measured(self, stage: str, worker: str, peak_bytes: int) -> None:
        """Take the highest memory of a task."""
        for name, where in ((stage, self._news["stages"]), (worker, self._news["workers"])):
            where[name] = max(peak_bytes, where.get(name, 0))
        if time.monotonic() - self._told > TELL_SECONDS:
            self._tell()

    def changed(self, task: str, state: str) -> None:
        """Take the state of a task that Dask does not know, such as ``split`` or ``skipped``."""
        self._news["states"].append((task, state))

    def planned(self, stages: tuple[BoardStage, ...], places: tuple[Place, ...]) -> None:
        """Take stages and places where the run goes on with another plan."""
        self._news["totals"] = {stage.name: stage.total for stage in stages}
        self._news["places"] = places

    def close(self, status: str) -> None:
        """Say how the run ended; the page stays as it is then, as long as the scheduler lives."""
        self._news["ended"] = status
        self._tell()
        if self.link is not None and self._client.status == "running":
            with contextlib.suppress(Exception):
                self._client.unregister_scheduler_plugin(self._plugin.name)

    def _tell(self) -> None:
        news, self._news = self._news, self._nothing_new()
        self._told = time.monotonic()
        if self.link is not None and self._client.status == "running":
            with contextlib.suppress(Exception):
                self._client.log_event(self._plugin.name, news)

    @staticmethod
    def _nothing_new() -> dict[str, Any]:
        return {"stages": {}, "workers": {}, "states": [], "totals": {}, "places": (), "ended": ""}
