from __future__ import annotations

import pytest

from atlas.errors import InputError
from atlas.search.queries import check_k, read_part, read_phrase
from atlas.settings import Settings

SETTINGS = Settings()


@pytest.mark.parametrize("raw", ["", "   ", "\n\t", "\x00"])
def test_empty_phrase_is_refused(raw: str) -> None:
    with pytest.raises(InputError, match="empty"):
        read_phrase(raw, SETTINGS)


def test_phrase_of_ten_thousand_characters_is_refused() -> None:
    with pytest.raises(InputError, match="10000 characters; at most 2000"):
        read_phrase("x" * 10_000, SETTINGS)


@pytest.mark.parametrize(
    "raw", ["'; DROP TABLE samples; --", "<script>alert(1)</script>", "50% of_all\\", "日本語", "👩‍🔬"]
)
def test_odd_text_stays_text(raw: str) -> None:
    assert read_phrase(raw, SETTINGS).text == raw
    assert read_phrase(raw, SETTINGS).kind == "text"


@pytest.mark.parametrize(
    "raw", ["GSM1234567", " gse141910 ", "SRP009615", "E-MTAB-1147", "TCGA-OR-A5J1-01A", "SAMEA1234"]
)
def test_accessions_are_recognised(raw: str) -> None:
    assert read_phrase(raw, SETTINGS).kind == "accession"


@pytest.mark.parametrize("raw", ["heart", "GSM", "T cells", "GSM12 heart"])
def test_phrases_are_not_taken_for_accessions(raw: str) -> None:
    assert read_phrase(raw, SETTINGS).kind == "text"


@pytest.mark.parametrize("k", [0, -1, 10_001, 10**12])
def test_k_out_of_bounds_is_refused(k: int) -> None:
    with pytest.raises(InputError, match="expected 1 to 10000"):
        check_k(k, SETTINGS)


@pytest.mark.parametrize("weight", ["nan", "NaN", "inf", "-inf", "+Infinity", "1e999", "0", "-1", "11"])
def test_weight_that_is_no_number_in_range_is_refused(weight: str) -> None:
    with pytest.raises(InputError, match="more than 0 and at most 10"):
        read_part(f"heart^{weight}")


@pytest.mark.parametrize("raw", ["heart^nano", "10^6cells", "heart^"])
def test_caret_without_a_weight_belongs_to_the_phrase(raw: str) -> None:
    assert (read_part(raw).value, read_part(raw).weight) == (raw, 1.0)
