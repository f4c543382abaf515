"""Receipts of finished tasks as files; `ReceiptFolder` is the engine's ledger on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ..engine.ledger import Receipt
from .chunks import write_json


@dataclass(frozen=True)
class ReceiptFolder:
    """One JSON file per receipt.

    Parameters
    ----------
    path : str
        The folder; made when the first receipt is recorded.
    """

    path: str

    def find(self, key: str) -> Receipt | None:
        """Return the receipt of a task; None where there is none or it cannot be read whole."""
        try:
            with open(Path(self.path) / f"{key}.json", encoding="utf8") as file:
                return Receipt(**json.load(file))
        except (OSError, ValueError, TypeError):
            return None

    def record(self, receipt: Receipt) -> None:
        """Write a receipt by temporary file, fsync and rename."""
        folder = Path(self.path)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{receipt.key}.json", asdict(receipt))

    def all(self) -> list[Receipt]:
        """Return every readable receipt, by key."""
        keys = sorted(path.stem for path in Path(self.path).glob("*.json"))
        return [receipt for key in keys if (receipt := self.find(key)) is not None]
