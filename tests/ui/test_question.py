"""A question goes to the address and back without loss, and an address of nonsense is a question all the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.question import FACETS, HIGHEST_WEIGHT, Ingredient, Question


def through_an_address(query: Mapping[str, str | Sequence[str]]) -> Question:
    read = parse_qs(urlencode(query, doseq=True))
    return Question.from_query(lambda key: read.get(key, [""])[0], lambda key: read.get(key, []))


FULL = Question(
    phrase="heart failure", parts=(Ingredient("more", "GSM12"), Ingredient("less", "ischemic", 0.5)), mode="hybrid", k=50,
    per_series=3, diversity=0.4, filters={"tissue": ("left ventricle", "blood, whole"), "cluster": ("7",)}, exclude="cell line",
    versus="liver", opened="GSM9", view="series",
)  # fmt: skip


def test_question_survives_its_address() -> None:
    assert through_an_address(FULL.to_query()) == FULL
    assert through_an_address({}) == Question()
    assert Question().to_query() == {}


words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30).map(str.strip).filter(bool)


@given(
    phrase=words,
    text=words,
    weight=st.integers(1, 100).map(lambda n: n / 10),
    values=st.lists(words, max_size=3, unique=True),
)
def test_any_words_survive_the_address(phrase: str, text: str, weight: float, values: list[str]) -> None:
    filters = {"tissue": tuple(values)} if values else {}
    question = Question(phrase=phrase, parts=(Ingredient("less", text, weight),), filters=filters)
    back = through_an_address(question.to_query())
    assert (back.phrase, back.filters) == (question.phrase, question.filters)
    # A text that itself ends like a weight may be read with that weight; the service reads it the same way.
    if "^" not in text:
        assert back.parts == question.parts


@pytest.mark.parametrize(
    "query",
    [
        {"k": "many"}, {"k": "-3"}, {"k": "999999999"}, {"k": "nan"}, {"diversity": "nan"}, {"diversity": "inf"},
        {"mode": "<script>"},
        {"view": "../"}, {"per_series": "1e9"}, {"cluster": "x"}, {"plus": "^"}, {"minus": "^9"}, {"plus": ["a"] * 100},
    ],
)  # fmt: skip
def test_nonsense_in_an_address_counts_as_not_given(query: dict[str, str]) -> None:
    question = through_an_address({"q": "liver", **query})
    assert question.phrase == "liver"
    assert 1 <= question.k <= 500
    assert 0 <= question.diversity <= 1
    assert question.mode == "semantic"
    assert len(question.parts) <= 16
    assert "cluster" not in question.filters
    question.asked()


@pytest.mark.parametrize(
    ("raw", "text", "weight"),
    [("ischemic^0.5", "ischemic", 0.5), ("GSM1", "GSM1", 1.0), ("a^b", "a^b", 1.0), ("x^0", "x^0", 1.0), ("^2", "^2", 1.0),
     ("x^99", "x^99", 1.0), ("a^2^3", "a^2", 3.0), ("x^nan", "x^nan", 1.0)],
)  # fmt: skip
def test_weight_is_read_only_where_it_is_one(raw: str, text: str, weight: float) -> None:
    part = Ingredient.read(raw, sign="more")
    assert (part.text, part.weight) == (text, weight)
    assert part.weight <= HIGHEST_WEIGHT


def test_what_the_client_is_asked() -> None:
    phrase, options = FULL.asked()
    assert phrase == "heart failure"
    assert options == {
        "k": 50, "mode": "semantic", "tissue": ("left ventricle", "blood, whole"), "cluster": (7,), "exclude": "cell line",
        "plus": ("GSM12",), "minus": ("ischemic^0.5",), "per_series": 3, "diversity": 0.4,
    }  # fmt: skip


def test_first_ingredient_stands_in_for_a_phrase_that_is_missing() -> None:
    parts = (Ingredient("less", "ischemic"), Ingredient("more", "GSM1", 2.0), Ingredient("more", "GSM2", 3.0))
    phrase, options = Question(parts=parts).asked()
    assert phrase == "GSM1"
    assert options["plus"] == ("GSM2^1.5",)
    assert options["minus"] == ("ischemic^0.5",)


def test_less_of_something_alone_is_no_question() -> None:
    assert not Question(parts=(Ingredient("less", "ischemic"),)).is_asked
    assert Question(parts=(Ingredient("more", "ischemic"),)).is_asked


def test_other_side_of_a_comparison_keeps_filters_and_options_alone() -> None:
    other = FULL.compared()
    assert other.phrase == "liver"
    assert other.parts == ()
    assert (other.filters, other.exclude, other.k) == (FULL.filters, FULL.exclude, FULL.k)
    assert set(other.filters) <= set(FACETS)
