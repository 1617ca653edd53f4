from __future__ import annotations

import numpy as np
import pytest

from atlas.errors import InputError
from atlas.expression.units import Unit, check_scale, detect_scale, parse_unit


@pytest.mark.parametrize(
    ("words", "unit"),
    [
        ("counts", Unit.COUNTS),
        ("RSEM counts", Unit.COUNTS),
        ("RSEM expected counts", Unit.COUNTS),
        ("counts (recount scale_counts, 40M)", Unit.COUNTS),
        ("recount2 base coverage scaled to 40M per sample", Unit.COUNTS),
        ("Salmon estimated counts summed over transcripts", Unit.COUNTS),
        ("TPM", Unit.TPM),
        ("FPKM", Unit.FPKM),
        ("rpkm", Unit.FPKM),
        ("RSEM normalised", Unit.NORMALISED),
        ("NX (HPA consensus normalised expression)", Unit.NORMALISED),
        ("average recount2 scaled counts (40M)", Unit.NORMALISED),
        ("log2 normalised (as deposited)", Unit.LOG2),
        ("log2(TPM+1)", Unit.LOG2),
    ],
)
def test_parse_unit_reads_the_words_of_sources(words: str, unit: Unit) -> None:
    assert parse_unit(words) is unit


@pytest.mark.parametrize("unit", list(Unit))
def test_parse_unit_reads_its_own_names(unit: Unit) -> None:
    assert parse_unit(unit.value) is unit


def test_parse_unit_flag_wins_over_the_words() -> None:
    assert parse_unit("TPM", is_log2=True) is Unit.LOG2


def test_parse_unit_unknown_words_are_refused() -> None:
    with pytest.raises(InputError, match="z-scores"):
        parse_unit("z-scores")


def test_check_scale_looks_only_at_measured_values() -> None:
    values = np.array([1.0, 0.5, 3.0])
    assert check_scale(values, np.array([True, False, True])) is Unit.COUNTS
    with pytest.raises(InputError, match="fractional"):
        check_scale(values)


def test_check_scale_trusts_a_declared_unit() -> None:
    assert check_scale(np.array([-3.5]), unit=Unit.LOG2) is Unit.LOG2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1, 2], "counts"),
        ([0.5, 12.0], "log2"),
        ([0.5, 900.0], "TPM"),
        ([-1.0, 5.0], "negative"),
        ([np.inf, 1], "infinite"),
    ],
)
def test_detect_scale_names_what_it_sees(values: list[float], words: str) -> None:
    assert words in detect_scale(np.array(values, dtype=float))
