"""Receipts of finished tasks as files; `ReceiptFolder` is the engine's ledger on disk.

A receipt is believed when the call is the same, what the task wrote is still there, undamaged, and everything that it
read is as it was (see `trace`). Nothing here looks at times: clocks jump.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c

from ..engine.ledger import Receipt
from ..engine.plan import TaskCall
from ..errors import RunError
from .chunks import file_check, write_whole
from .fingerprint import combined_fingerprint, known_file
from .scratch import Scratch
from .trace import Question, Trace, active_trace, by_name, qualified_name, tracing, unnoticed

_RUN = "run-"
"""What the name of the file begins with that tells whose a folder is. Every run has a file of its own: network file
systems may show another one's content for a while, a name that they have not seen before they look up."""
_NAMES = ("key", "seconds", "peak_bytes", "started", "facts", "worker")


@dataclass(frozen=True)
class ReceiptFolder:
    """One JSON file per receipt.

    Parameters
    ----------
    path : str
        The folder, in that of the run; made when the first receipt is recorded.
    run : str
        Name of the present run, which must `begin`; receipts of others count as reused. Without one nobody looks
        whose the folder is.
    restore : str
        Name (see `trace.by_name`) of a function that brings a scratch group back that a task once wrote:
        ``restore(folder of the run, name of the group)`` returns whether it could.
    """

    path: str
    run: str = ""
    restore: str = ""

    def begin(self) -> None:
        """Make the folder that of this run.

        What tasks of runs before it still do, on workers where nobody could stop them, comes to nothing: neither data
        nor receipts get their names.
        """
        folder = Path(self.path)
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.glob(f"{_RUN}*"):
            other.unlink(missing_ok=True)
        write_whole(self._token, b"")

    def find(self, call: TaskCall) -> Receipt | None:
        """Return the valid receipt of a call; None where there is none or it does not hold.

        Raises
        ------
        RunError
            If the folder is another run's by now.
        """
        self._refuse_if_superseded()
        kept = self._read(call.key)
        if kept is None or kept["call"] != self._digest(call):
            return None
        if self._is_sealed():
            return self._receipt(kept)
        with unnoticed():
            if not self._outputs_hold(kept) or not self._reads_hold(kept["trace"]):
                return None
        return self._receipt(kept)

    @contextlib.contextmanager
    def watching(self, call: TaskCall) -> Iterator[Trace]:
        """Return the context in which a call is done and recorded: what it reads and writes is seen there.

        Raises
        ------
        RunError
            If the folder is another run's by now; also later, wherever something is written.
        """
        self._refuse_if_superseded()
        with contextlib.suppress(OSError):
            self._file(call.key).unlink()  # what it says of the output holds no more
        with tracing() as trace:
            trace.call, trace.guard = self._digest(call), self._refuse_if_superseded
            yield trace

    def record(self, receipt: Receipt) -> None:
        """Write a receipt by temporary file and rename, without waiting for the disk.

        A loss of power may leave a receipt without its data, or half a receipt. Both are noticed: receipts end in a
        checksum, and those of other runs are believed only after all that they speak of has been read. To wait for
        the disk took 5 ms for each task.
        """
        trace = active_trace() or Trace()
        Path(self.path).mkdir(parents=True, exist_ok=True)
        kept = {name: getattr(receipt, name) for name in _NAMES}
        kept |= {"run": self.run, "call": trace.call, "trace": self._placed(trace)}
        text = json.dumps(kept, allow_nan=False, separators=(",", ":")).encode()
        check = f',"check":"{google_crc32c.value(text):08x}"}}'.encode()
        write_whole(self._file(receipt.key), text[:-1] + check)

    def all(self) -> list[Receipt]:
        """Return every readable receipt, by key, whether it holds or not."""
        keys = sorted(path.stem for path in Path(self.path).glob("*.json"))
        return [self._receipt(kept) for key in keys if (kept := self._read(key)) is not None]

    def seal(self) -> None:
        """Let this run take its receipts as they are from now on.

        What they speak of is being moved to its final place. A worker that dies now must not make Dask do the tasks
        again whose results were lost with it.
        """
        write_whole(self._seal, self.run.encode())

    def _is_sealed(self) -> bool:
        try:
            return self._seal.read_text(encoding="utf8") == self.run
        except OSError:
            return False

    def _refuse_if_superseded(self) -> None:
        if not self.run:
            return
        try:
            with open(self._token, "rb"):  # to open a file is to ask the server for it, where there is one
                return
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
        found = "it was removed, or another run has begun there"
        raise RunError(str(self._root), found, "the folder of the run that this task belongs to")

    @property
    def _token(self) -> Path:
        return Path(self.path) / f"{_RUN}{self.run}"

    @property
    def _seal(self) -> Path:
        return Path(self.path) / "sealed"

    def _file(self, key: str) -> Path:
        return Path(self.path) / f"{key}.json"

    def _read(self, key: str) -> dict[str, Any] | None:
        """Return a receipt file; None where there is none, or a byte of it is not what was written."""
        try:
            text, _, check = self._file(key).read_bytes().rpartition(b',"check":"')
            if f'{google_crc32c.value(text + b"}"):08x}"}}'.encode() != check:
                return None
            kept: dict[str, Any] = json.loads(text + b"}")
        except (OSError, ValueError):
            return None
        return kept

    def _receipt(self, kept: Mapping[str, Any]) -> Receipt:
        return Receipt(**{name: kept[name] for name in _NAMES}, reused=kept["run"] != self.run)

    def _digest(self, call: TaskCall) -> str:
        """Return a hash of function and arguments; the folder of the run may have moved."""
        here = f"{self._root}/"
        arguments = [item.removeprefix(here) if isinstance(item, str) else item for item in call.arguments]
        return combined_fingerprint([qualified_name(call.function), arguments])

    @property
    def _root(self) -> Path:
        return Path(self.path).parent

    def _outputs_hold(self, kept: Mapping[str, Any]) -> bool:
        """Whether everything that a task wrote is there; all of it is read where another run wrote it."""
        trace, scratch = kept["trace"], Scratch(self._root)
        known = scratch.digest if kept["run"] == self.run else scratch.verified_digest
        for path, check in trace.get("files_written", {}).items():
            if _check_of(os.path.normpath(self._root / path)) != check:
                return False
        for name, digest in trace.get("written", {}).items():
            if known(name) != digest and not self._restored(name, digest):
                return False
        return True

    def _placed(self, trace: Trace) -> dict[str, Any]:
        """Return a trace JSON-able; files beside the folder of the run are found again when both have moved."""
        kept = trace.to_json()
        if "files_written" in kept:
            kept["files_written"] = {_relative(path, self._root): c for path, c in trace.files_written.items()}
        return kept

    def _restored(self, name: str, digest: str) -> bool:
        if not self.restore:
            return False
        return bool(by_name(self.restore)(self._root, name)) and Scratch(self._root).digest(name) == digest

    def _reads_hold(self, trace: Mapping[str, Any]) -> bool:
        try:
            return (
                self._values_hold(trace)
                and all(known_file(path) == known for path, known in trace.get("files", {}).items())
                and self._groups_hold(trace)
                and all(self._answer_holds(key, *kept) for key, kept in trace.get("answers", {}).items())
            )
        except LookupError:  # it names something that there is no more
            return False

    def _values_hold(self, trace: Mapping[str, Any]) -> bool:
        values = trace.get("values", {})
        if not values:
            return True
        again: Callable[[Path, str], str] = by_name(trace["values_of"])
        return all(again(self._root, path) == digest for path, digest in values.items())

    def _groups_hold(self, trace: Mapping[str, Any]) -> bool:
        """Whether the groups that were read are the same, or else what was taken from them."""
        scratch, taken = Scratch(self._root), trace.get("rows", {})
        for name, digest in trace.get("groups", {}).items():
            if scratch.digest(name) == digest:
                continue
            rows = taken.get(name, {})
            if not rows or any(scratch.taken_digest(name, what) != known for what, known in rows.items()):
                return False
        return True

    def _answer_holds(self, key: str, digest: str, read: Mapping[str, Any]) -> bool:
        if self._reads_hold(read):
            return True
        function, arguments = json.loads(key)
        question: Question[Any, Any, Any] = by_name(function)
        return question.ask_again(self._root, arguments) == digest


def _relative(path: str, root: Path) -> str:
    try:
        return os.path.relpath(path, root)
    except ValueError:  # on another drive of Windows
        return path


def _check_of(path: str) -> str:
    try:
        return file_check(Path(path).read_bytes())
    except OSError:
        return ""
