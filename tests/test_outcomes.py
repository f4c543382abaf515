"""The table of outcomes is complete and says what the store documents."""

from __future__ import annotations

import numpy as np
import pytest

from citymesh_dask.outcomes import MEANINGS, Outcome, is_skipped, reasons, status_words
from citymesh_dask.store.schema import ARRAYS


def test_every_outcome_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Outcome)
    documented = next(spec.meaning for spec in ARRAYS if spec.name == "buildings/status")
    for meaning in MEANINGS.values():
        assert meaning.status in documented


def test_codes_fit_their_type_and_bits_add_up() -> None:
    codes = np.array(list(Outcome), dtype=np.int8)
    assert codes.tolist() == [int(code) for code in Outcome]
    assert Outcome.REPAIRED | Outcome.CLIPPED == Outcome.REPAIRED_AND_CLIPPED


@pytest.mark.parametrize("outcome", list(Outcome))
def test_skipped_is_what_it_says(outcome: Outcome) -> None:
    code = np.array([outcome], dtype=np.int8)
    assert is_skipped(code)[0] == (status_words(code) == ["skipped"]) == outcome.name.startswith("SKIPPED")
    assert (reasons(code) == [""]) == (outcome == Outcome.MESHED)
