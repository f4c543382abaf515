"""Where the real data are, and the fixtures that every folder uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.hostile import write_town

DATA = Path(os.environ.get("CITYMESH_DATA") or Path(__file__).parents[2] / "shared" / "data")


def city_data(*parts: str) -> Path:
    """Return a real data file; skip the test where it is absent, fail in CI."""
    path = DATA.joinpath("city", *parts)
    if not path.exists():
        if os.environ.get("CI") == "true" and os.environ.get("CITYMESH_DATA"):
            pytest.fail(f"{path} is missing although CITYMESH_DATA is set")
        pytest.skip(f"real data not found: {path}")
    return path


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of two houses that make a city."""
    return write_town(tmp_path_factory.mktemp("town"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
