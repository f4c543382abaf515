"""Receipts of a run that is being sealed are taken as they are, by this run only."""

from __future__ import annotations

from pathlib import Path

from citymesh_dask.engine.graph import perform
from citymesh_dask.engine.plan import TaskCall
from citymesh_dask.store.manifest import ReceiptFolder
from citymesh_dask.store.scratch import Scratch


def write_one(folder: str, index: int) -> dict[str, int]:
    """Write a scratch group, and say how often."""
    Scratch(Path(folder)).write("one", {})
    with open(f"{folder}/times", "a", encoding="utf8") as file:
        file.write("x")
    return {"index": index}


def test_nothing_is_done_again_after_sealing(tmp_path: Path) -> None:
    ledger, call = ReceiptFolder(str(tmp_path / "receipts"), "a"), TaskCall("one-0000", write_one, (str(tmp_path), 0))

    def times() -> int:
        return len((tmp_path / "times").read_text())

    ledger.begin()
    perform(ledger, call, ())
    (tmp_path / "one.arrays").unlink()
    assert ledger.find(call) is None, "what it wrote is gone"
    ledger.seal()
    assert perform(ledger, call, ()).facts == {"index": 0}
    assert times() == 1
    other = ReceiptFolder(str(tmp_path / "receipts"), "b")
    other.begin()
    assert perform(other, call, ()).facts == {"index": 0}
    assert times() == 2, "the seal is that of another run"
    assert [receipt.key for receipt in other.all()] == ["one-0000"]
