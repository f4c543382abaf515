"""The claim of an output: one run at a time, whatever became of the one before."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from citymesh_dask.errors import OutputError
from citymesh_dask.pipelines.city import places

posix = pytest.mark.skipif(os.name == "nt", reason="locks and links of POSIX")
HOLD = "import sys, pathlib; from citymesh_dask.pipelines.city.places import claim\n"
HOLD += "held = claim(pathlib.Path(sys.argv[1])); print('claimed', flush=True); input()"


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has claimed the output."""
    line = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


def try_to_claim(out: str, barrier: Any, answers: Any) -> None:
    barrier.wait()
    try:
        held = places.claim(Path(out))
        answers.put("claimed")
    except OutputError as error:
        held = None
        answers.put(str(error))
    barrier.wait()  # who has it keeps it until all have tried
    del held


def test_one_of_many_that_begin_at_the_same_moment(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(6), context.Queue()
    tasks = [context.Process(target=try_to_claim, args=(str(tmp_path / "out"), barrier, answers)) for _ in range(6)]
    for task in tasks:
        task.start()
    said = sorted(answers.get(timeout=60) for _ in tasks)
    for task in tasks:
        task.join(60)
    assert said.count("claimed") == 1
    assert sum("another run works on it (process " in text for text in said) == 5, said
    places.claim(tmp_path / "out").release()
    assert list(tmp_path.iterdir()) == []


def test_the_second_is_refused_while_the_first_lives(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    for _ in range(2):
        with pytest.raises(OutputError, match=rf"another run works on it \(process {other.pid}\).*wait for it"):
            places.claim(tmp_path / "out")
    places.claim(tmp_path / "another").release()
    other.send_signal(signal.SIGTERM)
    other.wait()
    assert [path.name for path in tmp_path.iterdir()] == [".out.lock"], "it was killed"
    places.claim(tmp_path / "out").release()
    assert list(tmp_path.iterdir()) == []


def test_the_second_of_this_process_is_refused(tmp_path: Path) -> None:
    first = places.claim(tmp_path / "out")
    with pytest.raises(OutputError, match=f"process {os.getpid()}"):
        places.claim(tmp_path / "out")
    first.release()
    first.release()
    places.claim(tmp_path / "out").release()


@posix
def test_a_lock_of_others_is_not_taken_away(tmp_path: Path) -> None:
    first = places.claim(tmp_path / "out")
    (tmp_path / ".out.lock").unlink()
    second = places.claim(tmp_path / "out")
    first.release()
    with pytest.raises(OutputError, match="another run"):
        places.claim(tmp_path / "out")
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_folders_that_were_made_in_vain_go_again(tmp_path: Path) -> None:
    held = places.claim(tmp_path / "a" / "b" / "out")
    assert (tmp_path / "a" / "b").is_dir()
    held.release()
    assert list(tmp_path.iterdir()) == []
    held = places.claim(tmp_path / "a" / "b" / "out")
    (tmp_path / "a" / "result").touch()
    held.release()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["result"]


@posix
def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    (tmp_path / ".out.lock").symlink_to(precious)
    with pytest.raises(OutputError, match="cannot be made"):
        places.claim(tmp_path / "out")
    assert precious.read_text() == "data"


@pytest.mark.parametrize("alive", [True, False])
def test_where_there_are_no_locks_the_note_must_do(
    alive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: subprocess.Popen[str]
) -> None:
    monkeypatch.setattr(places, "fcntl", None)
    began = psutil.Process(other.pid).create_time() - (0 if alive else 100)  # else it was another one of that number
    note = {"pid": other.pid, "began": began, "host": socket.gethostname()}
    (tmp_path / ".there.lock").write_text(json.dumps(note))
    if alive:
        with pytest.raises(OutputError, match=f"process {other.pid}"):
            places.claim(tmp_path / "there")
    else:
        places.claim(tmp_path / "there").release()
        assert not (tmp_path / ".there.lock").exists()


def test_a_note_that_makes_no_sense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "fcntl", None)
    for text in ("", "{", "[]", '{"host": 1}', json.dumps({"host": socket.gethostname(), "pid": "x", "began": 0})):
        (tmp_path / ".out.lock").write_text(text)
        places.claim(tmp_path / "out").release()
