"""An index of words against looking through every text."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.catalog import text_index
from atlas.catalog.text_index import TextIndex

TEXT = st.text(alphabet="ab \n\tä%_", max_size=12)


@given(st.lists(TEXT, max_size=20, unique=True), TEXT.filter(bool))
def test_index_finds_what_looking_through_every_text_finds(texts: list[str], wanted: str) -> None:
    found = TextIndex(pa.array(texts, pa.string())).contains(wanted)
    assert found.tolist() == [wanted in text for text in texts]


@pytest.mark.parametrize("few", [0, 10**6])
def test_many_and_few_words_are_put_together_alike(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(text_index, "_FEW_WORDS", few)
    texts = [f"lung {i} heart{i % 7}" for i in range(300)]
    found = TextIndex(pa.array(texts)).contains("heart3")
    assert found.tolist() == ["heart3" in text for text in texts]
