"""Where the real data are, and the fixtures that every folder uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("CITYMESH_DATA") or Path(__file__).parents[2] / "shared" / "data")


def city_data(*parts: str) -> Path:
    """Return a real data file; skip the test where it is absent, fail in CI."""
    path = DATA.joinpath("city", *parts)
    if not path.exists():
        if os.environ.get("CI") == "true" and os.environ.get("CITYMESH_DATA"):
            pytest.fail(f"{path} is missing although CITYMESH_DATA is set")
        pytest.skip(f"real data not found: {path}")
    return path
