"""The log of a run: one JSON object a line, appended by the process that began the run and by nobody else.

Every line has ``time`` (ISO 8601, UTC), ``run`` (its name) and ``event``. A log that cannot be written any more ends;
the run does not.
"""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..errors import OutputError
from .plan import Plan, Stage
from .progress import Event, PlanChanged, TaskDone, TaskTrouble, Waiting


class RunLog:
    """Writes the log of one run; a listener of it.

    Parameters
    ----------
    path : Path
        The file; it is appended to.
    run : str
        Name of the run.

    Attributes
    ----------
    trouble : str
        Why the log ended before the run did; nothing as long as it can be written.

    Raises
    ------
    OutputError
        If the file cannot be opened.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.trouble = ""
        self._run = run
        self._projected: dict[str, int] = {}
        self._lock = threading.Lock()
        try:
            # a line is written as soon as it is whole, so that others may follow
            self._file: IO[str] = open(path, "a", buffering=1, encoding="utf8", errors="backslashreplace")  # noqa: SIM115
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            found = f"it cannot be written ({reason})"
            raise OutputError(str(path), found, "a place for the log", "choose another with --log PATH") from error

    def begin(self, plan: Plan, facts: Mapping[str, Any]) -> None:
        """Write the beginning: the plan, what it may use, and whatever else is known."""
        self._learn(plan.stages)
        resources = {"allowed_bytes": plan.allowed_bytes, "workers": plan.n_workers}
        self.write("begun", {**facts, "resources": resources, "plan": plan.rows()})

    def __call__(self, event: Event) -> None:
        if isinstance(event, TaskDone):
            self.write("done", self._task(event))
        elif isinstance(event, TaskTrouble):
            facts = {"key": event.key, "stage": event.stage, "cause": event.cause}
            self.write(event.kind, {**facts, "parts": list(event.parts)} if event.parts else facts)
        elif isinstance(event, Waiting):
            self.write("waiting", {"for": event.what})
        elif isinstance(event, PlanChanged):
            self._learn(event.stages)
            tasks = {stage.name: len(stage.tasks) for stage in event.stages}
            self.write("planned_again", {"tasks": tasks, "done": len(event.done)})

    def warn(self, text: str) -> None:
        """Write a warning."""
        self.write("warning", {"message": text})

    def end(self, status: str, facts: Mapping[str, Any]) -> None:
        """Write the end and close the file."""
        self.write("end", {"status": status, **facts})
        with self._lock:
            self._file.close()

    def write(self, event: str, facts: Mapping[str, Any]) -> None:
        """Write one line."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "run": self._run, "event": event, **facts}, default=str)
        with self._lock:
            if self._file.closed:
                return
            try:
                self._file.write(f"{line}\n")
            except OSError as error:
                self.trouble = f"the log ended early: {error.strerror or error}"
                self._abandon()

    def _abandon(self) -> None:
        try:
            self._file.close()
        except OSError:
            return  # what could not be written cannot be written at the end either

    def _learn(self, stages: Sequence[Stage]) -> None:
        self._projected |= {s.name: s.process_bytes for s in stages if s.projected_bytes}

    def _task(self, event: TaskDone) -> dict[str, Any]:
        """Return what is told of a task that is done."""
        told: dict[str, Any] = {"key": event.key, "stage": event.stage, "done": event.done, "total": event.total}
        receipt = event.receipt
        if receipt is not None:
            told |= {
                "seconds": round(receipt.seconds, 4),
                "peak_bytes": receipt.peak_bytes,
                "projected_bytes": self._projected.get(event.stage, 0),
                "bytes_written": int(receipt.facts.get("bytes", 0)),
                "worker": receipt.worker,
                "reused": receipt.reused,
            }
        return told
