"""Receipts: which of them are believed, task by task, with functions of the test's own."""

from __future__ import annotations

import contextvars
import itertools
import json
import operator
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import google_crc32c
import numpy as np
import pytest

from citymesh_dask.engine.graph import perform
from citymesh_dask.engine.ledger import Receipt
from citymesh_dask.engine.plan import TaskCall
from citymesh_dask.errors import RunError
from citymesh_dask.store import trace
from citymesh_dask.store.chunks import create_array, write_chunk
from citymesh_dask.store.fingerprint import note_input
from citymesh_dask.store.manifest import ReceiptFolder
from citymesh_dask.store.scratch import Scratch
from citymesh_dask.store.trace import Question, digest_of, named, note_value, pack_integers, unpack_integers
from citymesh_dask.store.watched import look_up, watched


def _scratch(folder: Path) -> Scratch:
    return Scratch(folder)


def _is_long(scratch: Scratch, least: int) -> bool:
    return len(scratch.read("source", "a")) >= least


def _tens(scratch: Scratch, first: int) -> Iterator[np.ndarray]:
    for start in range(first, 30, 10):
        yield scratch.read("source", "a", (start, start + 10))


is_long: Question[Scratch, Any, bool] = Question(_is_long, _scratch, digest_of)
tens: Question[Scratch, Any, Iterator[np.ndarray]] = Question(_tens, _scratch, digest_of)


def take_rows(folder: str, start: int, stop: int) -> dict[str, Any]:
    scratch = Scratch(Path(folder))
    scratch.write("sum", {"a": scratch.read("source", "a", (start, stop)).sum(keepdims=True)})
    return {}


def take_other(folder: str) -> dict[str, Any]:
    return {"n": Scratch(Path(folder)).length("source", "b"), "x": Scratch(Path(folder)).attributes("source")["x"]}


def ask(folder: str) -> dict[str, Any]:
    return {"long": is_long(Scratch(Path(folder)), 20)}


def ask_twice(folder: str) -> dict[str, Any]:
    return {"sums": [int(item.sum()) for item in tens(Scratch(Path(folder)), 10)]}


def take_file(folder: str, name: str) -> dict[str, Any]:
    note_input(SimpleNamespace(path=name, content=""))
    return {"text": Path(name).read_text()}


def write_outside(folder: str, place: str) -> dict[str, Any]:
    create_array(Path(place) / "a", (10,), np.int64, chunk_rows=10)
    write_chunk(Path(place) / "a", 0, np.arange(10), chunk_rows=10)
    return {}


def write_source(folder: Path, a: np.ndarray, b: int = 3, x: int = 1) -> None:
    Scratch(folder).write("source", {"a": a, "b": np.zeros(b)}, {"x": x}, chunk_rows=7)


runs = itertools.count()


def is_done(folder: Path, function: Any, *arguments: Any) -> bool:
    """Whether a task is not done again by another run; it is otherwise."""
    call = TaskCall(function.__name__, function, (str(folder), *arguments))
    ledger = ReceiptFolder(str(folder / "receipts"), f"run-{next(runs)}")
    ledger.begin()
    found = ledger.find(call) is not None
    perform(ledger, call, ())
    return found


def test_rows_that_stay_the_same(tmp_path: Path) -> None:
    write_source(tmp_path, np.arange(40))
    assert not is_done(tmp_path, take_rows, 0, 10)
    assert is_done(tmp_path, take_rows, 0, 10)
    assert not is_done(tmp_path, take_rows, 0, 11), "another call"
    changed = np.arange(40)
    changed[30] = 0
    write_source(tmp_path, changed, x=2)
    assert is_done(tmp_path, take_rows, 0, 11), "what it took is the same"
    changed[10] = 0
    write_source(tmp_path, changed)
    assert not is_done(tmp_path, take_rows, 0, 11)


def test_lengths_and_attributes(tmp_path: Path) -> None:
    write_source(tmp_path, np.arange(40))
    assert not is_done(tmp_path, take_other)
    write_source(tmp_path, np.arange(50))
    assert is_done(tmp_path, take_other)
    write_source(tmp_path, np.arange(50), b=4)
    assert not is_done(tmp_path, take_other)
    write_source(tmp_path, np.arange(50), b=4, x=5)
    assert not is_done(tmp_path, take_other)


def test_answers_that_stay_the_same(tmp_path: Path) -> None:
    write_source(tmp_path, np.arange(40))
    assert not is_done(tmp_path, ask) and not is_done(tmp_path, ask_twice)
    write_source(tmp_path, np.concatenate([np.arange(5, 15), np.arange(10, 30)]))
    assert is_done(tmp_path, ask) and is_done(tmp_path, ask_twice)
    write_source(tmp_path, np.arange(19))
    assert not is_done(tmp_path, ask) and not is_done(tmp_path, ask_twice)


def test_what_was_written_must_be_there(tmp_path: Path) -> None:
    write_source(tmp_path, np.arange(40))
    assert not is_done(tmp_path, take_rows, 0, 10)
    written = tmp_path / "sum.arrays"
    for harm in (written.unlink, lambda: written.write_bytes(written.read_bytes()[:-5] + b"12345")):
        harm()
        assert not is_done(tmp_path, take_rows, 0, 10)
        assert is_done(tmp_path, take_rows, 0, 10)
    Scratch(tmp_path).write("sum", {"a": np.zeros(1)})
    assert not is_done(tmp_path, take_rows, 0, 10), "something else, whole, is there"


def test_files_beside_the_scratch_folder(tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    assert not is_done(tmp_path / "run", write_outside, str(place))
    chunk = place / "a/c/0"
    whole = chunk.read_bytes()
    for data in (whole[:-1], whole[:-9] + b"x" + whole[-8:]):
        chunk.write_bytes(data)
        assert not is_done(tmp_path / "run", write_outside, str(place))
        assert chunk.read_bytes() == whole
    assert is_done(tmp_path / "run", write_outside, str(place))


def test_input_files(tmp_path: Path) -> None:
    name = tmp_path / "input.txt"
    name.write_text("a")
    assert not is_done(tmp_path, take_file, str(name))
    assert is_done(tmp_path, take_file, str(name))
    name.write_text("bc")
    assert not is_done(tmp_path, take_file, str(name))


def test_any_flipped_or_missing_byte_of_a_receipt(tmp_path: Path) -> None:
    write_source(tmp_path, np.arange(40))
    call = TaskCall("take_rows", take_rows, (str(tmp_path), 0, 10))
    ledger = ReceiptFolder(str(tmp_path / "receipts"))
    perform(ledger, call, ())
    path = tmp_path / "receipts" / "take_rows.json"
    whole = path.read_bytes()
    assert json.loads(whole)["key"] == "take_rows"
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert ledger.find(call) is None and not ledger.all()
        path.write_bytes(whole[:place])
        assert ledger.find(call) is None
    path.write_bytes(whole)
    assert ledger.find(call) is not None


def test_a_folder_that_moved(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    write_source(tmp_path / "one", np.arange(40))
    assert not is_done(tmp_path / "one", take_rows, 0, 10)
    (tmp_path / "one").rename(tmp_path / "other")
    call = TaskCall("take_rows", take_rows, (f"{tmp_path}/other/job", 0, 10))
    assert ReceiptFolder(str(tmp_path / "other" / "receipts")).find(call) is None
    assert is_done(tmp_path / "other", take_rows, 0, 10) is False, "the folder itself is an argument here"


def test_reused_is_what_another_run_did(tmp_path: Path) -> None:
    write_source(tmp_path, np.arange(40))
    call = TaskCall("take_rows", take_rows, (str(tmp_path), 0, 10))
    first, second = (ReceiptFolder(str(tmp_path / "receipts"), run) for run in ("first", "second"))
    first.begin()
    assert not perform(first, call, ()).reused and not first.all()[0].reused
    second.begin()
    found = perform(second, call, ())
    assert found.reused and second.all() == [found]
    assert isinstance(found, Receipt)


def test_a_task_that_fails_leaves_no_old_receipt(tmp_path: Path) -> None:
    write_source(tmp_path, np.arange(40))
    assert not is_done(tmp_path, take_rows, 0, 10)
    (tmp_path / "source.arrays").unlink()
    with pytest.raises(Exception, match="source"):
        is_done(tmp_path, take_rows, 0, 10)
    assert not list((tmp_path / "receipts").glob("*.json"))


def late(folder: str, act: Any) -> dict[str, Any]:
    """Let something happen elsewhere, then write."""
    contextvars.Context().run(act)
    Scratch(Path(folder)).write("late", {"a": np.ones(3)})
    return {}


@pytest.mark.parametrize("kind", ["another run", "removed"])
def test_what_a_task_of_a_run_that_is_over_still_does_comes_to_nothing(kind: str, tmp_path: Path) -> None:
    """Nobody can stop a task that runs on a cluster of others; by then the folder may be another run's."""
    folder = tmp_path / "scratch"
    old, new = (ReceiptFolder(str(folder / "receipts"), name) for name in ("old", "new"))
    old.begin()

    def meanwhile() -> None:
        if kind == "removed":
            shutil.rmtree(folder)
            return
        new.begin()
        perform(new, TaskCall("late", late, (str(folder), lambda: None)), ())

    with pytest.raises(RunError, match="removed, or another run has begun there") as caught:
        perform(old, TaskCall("late", late, (str(folder), meanwhile)), ())
    assert "in task late" in caught.value.__notes__
    with pytest.raises(RunError, match="another run has begun there"):
        perform(old, TaskCall("other", late, (str(folder), pytest.fail)), ())
    if kind == "removed":
        assert not folder.exists()
    else:
        assert [receipt.key for receipt in new.all()] == ["late"] and not new.all()[0].reused
        assert sorted(path.name for path in folder.rglob("*")) == ["late.arrays", "late.json", "receipts", "run-new"]


def test_receipts_name_nothing_but_what_is_made_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receipt may have come with a store from anywhere."""
    (tmp_path / "harm.py").write_text("raise SystemExit('loaded')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("harm:run", "os:system", "citymesh_dask.pipelines.city.resume:discard", "citymesh_dask.no:thing", ""):
        with pytest.raises(LookupError):
            trace.by_name(name)
    write_source(tmp_path, np.arange(40))
    assert not is_done(tmp_path, ask)
    receipt = tmp_path / "receipts" / "ask.json"
    kept = json.loads(receipt.read_bytes())
    del kept["check"]
    kept["trace"] |= {"values": {"x": "y"}, "values_of": "harm:run"}
    text = json.dumps(kept, separators=(",", ":")).encode()
    receipt.write_bytes(text[:-1] + f',"check":"{google_crc32c.value(text):08x}"}}'.encode())
    assert not is_done(tmp_path, ask)


# ---- stand-ins -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    size: int
    name: str


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    first: Part
    place: str

    @property
    def total(self) -> int:
        return sum(part.size for part in self.parts)


WHOLE = Whole((Part(1, "a"), Part(2, "b")), Part(3, "c"), "here")


def test_a_stand_in_tells_what_is_looked_at() -> None:
    told: dict[str, Any] = {}
    seen = watched(WHOLE, told.__setitem__, silent=frozenset(["place"]))
    assert isinstance(seen, Whole) and seen.place == "here" and not told
    assert seen.parts[-1].name == "b" and seen.first.size == 3
    kinds = {"parts.@": "tuple", "parts.1.@": "Part", "first.@": "Part"}
    assert told == {"parts.1.name": "b", "first.size": 3, "parts.#": 2} | kinds, (
        "which is the last depends on how many there are"
    )
    assert seen.total == 3 and len(seen.parts) == 2 and [part.size for part in seen.parts] == [1, 2]
    assert {path: look_up(WHOLE, path) for path in told} == told
    names = {"parts.1.name", "first.size", "total", "parts.#", "parts.0.size", "parts.1.size"}
    assert told.keys() == names | {"first.@", "parts.@", "parts.0.@", "parts.1.@"}
    for wrong in ("parts.2.size", "nothing", "first.size.more"):
        with pytest.raises(LookupError):
            look_up(WHOLE, wrong)


@dataclass(frozen=True)
class Other:
    size: int


@dataclass(frozen=True)
class Loose:
    """Whatever a field of a job may hold."""

    one: Any


LOOKS: dict[str, Callable[[Any], Any]] = {
    "is None": lambda one: one is None,
    "truth": bool,
    "kind": lambda one: tuple if isinstance(one, tuple) else type(one).__name__,
    "is a": lambda one: isinstance(one, Part),
    "length": lambda one: len(one) if isinstance(one, tuple) else -1,
    "first": lambda one: one[:1] if isinstance(one, tuple) else (),
    "last": lambda one: one[-1].size if isinstance(one, tuple) and one else None,
    "third": lambda one: one[2].size if isinstance(one, tuple) and len(one) > 2 else None,
    "has": lambda one: Part(2, "b") in one if isinstance(one, tuple) else None,
    "equal": lambda one: one == (Part(1, "a"), Part(2, "b")),
    "other way": lambda one: (Part(1, "a"), Part(2, "b")) == one,
    "count": lambda one: one.count(Part(1, "a")) if isinstance(one, tuple) else None,
    "sum": lambda one: [part.size for part in (*one, *())] if isinstance(one, tuple) else None,
    "joined": lambda one: [part.size for part in operator.add((), one)] if isinstance(one, tuple) else None,
    "text": repr,
}
"""Ways to look at a value."""
VALUES = (None, Part(1, "a"), Other(1), (), (Part(1, "a"),), (Part(2, "b"),), (Part(1, "a"), Part(2, "b")))
VALUES += ((Part(1, "a"), Part(3, "b")), (Part(1, "a"), Part(2, "b"), Part(2, "b")), (Other(1),), 0, 1, "", "x")


@pytest.mark.parametrize("look", LOOKS)
def test_whoever_sees_something_else_has_been_told_something_else(look: str) -> None:
    """Of any two values, whatever is done to look at them: if it gives another answer, what was told does not hold."""

    def seen(value: Any) -> tuple[Any, dict[str, Any]]:
        told: dict[str, Any] = {}
        return LOOKS[look](watched(Loose(value), told.__setitem__).one), told

    for before in VALUES:
        answer, told = seen(before)
        for after in VALUES:
            if seen(after)[0] == answer:
                continue
            assert not all(still(after, path, value) for path, value in told.items()), (look, before, after, told)


def still(value: Any, path: str, told: Any) -> bool:
    try:
        return digest_of(look_up(Loose(value), path)) == digest_of(told)
    except LookupError:
        return False


def test_a_stand_in_is_pickled_as_that_for_which_it_stands() -> None:
    import dataclasses
    import pickle

    seen = watched(WHOLE, lambda *_: None)
    for one in (seen, dataclasses.replace(seen, place="there"), dataclasses.replace(WHOLE, first=seen.first)):
        copy = pickle.loads(pickle.dumps(one))
        assert type(copy) is Whole and type(copy.first) is Part and type(copy.parts) is tuple
        assert copy == dataclasses.replace(WHOLE, place=one.place)


def test_digests() -> None:
    values = [
        1,
        2.0,
        "1",
        None,
        (1,),
        ((1,),),
        (1, 1),
        np.arange(2),
        np.arange(2.0),
        np.zeros((2, 1)),
        np.zeros((1, 2)),
    ]
    values += [{"a": 1}, {"a": 2}, Part(1, "a"), Part(2, "a"), np.zeros(0), np.array(["a"], object)]
    assert len({digest_of(value) for value in values}) == len(values)
    assert digest_of(np.float64(2.0)) == digest_of(2.0)
    rows = np.array([3, 90_000, 4, 4], np.int64)
    np.testing.assert_array_equal(unpack_integers(pack_integers(rows)), rows)
    assert len(unpack_integers(pack_integers(rows[:0]))) == 0


def test_what_a_receipt_costs(tmp_path: Path) -> None:
    """A tile reads some thirty groups."""
    scratch = Scratch(tmp_path)
    for k in range(30):
        scratch.write(f"g/{k}", {name: np.arange(1000.0) for name in "abcd"})

    def tile(folder: str) -> dict[str, Any]:
        for k in range(30):
            Scratch(Path(folder)).read_all(f"g/{k}")
            note_value(f"options.{k}", "x", again="tests.store.test_manifest:same")
        return {}

    ledger, call = ReceiptFolder(str(tmp_path / "receipts")), TaskCall("tile", tile, (str(tmp_path),))
    perform(ledger, call, ())
    start = time.perf_counter()
    for _ in range(20):
        assert ledger.find(call) is not None
    seconds = (time.perf_counter() - start) / 20
    assert seconds < 0.05, f"{seconds * 1e3:.1f} ms"


@named
def same(folder: Path, path: str) -> str:
    del folder, path
    return "x"


def test_nothing_is_noted_outside_of_tasks(tmp_path: Path) -> None:
    write_source(tmp_path, np.arange(40))
    assert is_long(Scratch(tmp_path), 5) and trace.active_trace() is None
