"""Near spellings of an accession against a comparison with every accession there is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from atlas.accessions import near_matches
from atlas.opened.accession_index import AccessionIndex

NAMES = [f"GSM{number}" for number in np.random.default_rng(0).permutation(np.arange(1_000_000, 1_030_000))]


@pytest.fixture(scope="module")
def index() -> AccessionIndex:
    return AccessionIndex(NAMES)


@pytest.mark.parametrize(
    "mistyped",
    [
        "GSM100500",  # a letter left out
        "GSM10105000",  # one too many
        "GMS1005000",  # two exchanged
        "XSM1005000",  # the first one wrong
        "gsm1O05000",  # one wrong within
        "GSM10050OO",  # two wrong at the end
        " GSM1005000 ",
    ],
)
def test_the_nearest_of_all_are_found(index: AccessionIndex, mistyped: str) -> None:
    assert "GSM1005000" in NAMES
    expected = near_matches(mistyped, NAMES)
    assert expected[0] == index.near(mistyped)[0]


@pytest.mark.parametrize("nonsense", ["", "   ", "liver", "x" * 5_000, "\ud800", "\0", "œ"])
def test_what_is_like_nothing_has_nothing_near(index: AccessionIndex, nonsense: str) -> None:
    assert index.near(nonsense) == ()


def test_near_names_keep_their_spelling_and_few_candidates_are_compared(
    index: AccessionIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert AccessionIndex(pa.chunked_array([["phs001234.v1"], ["GSE1"]])).near("PHS001234.V2") == ("phs001234.v1",)
    seen: list[int] = []
    monkeypatch.setattr("atlas.opened.accession_index.near_matches", lambda name, among: seen.append(len(among)) or ())
    index.near("GSM1005000x")
    assert 0 < seen[0] < 1_000
    assert AccessionIndex([]).near("GSM1") == ()
