from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.accessions import id_kind, near_matches, parse_characteristics, record_url


@pytest.mark.parametrize(
    ("accession", "kind"),
    [
        ("GSM1275862", "GSM"),
        ("SRR3053567", "run"),
        ("ERR127302", "run"),
        ("DRR000001", "run"),
        ("TCGA-4N-A93T-01A-11R", "TCGA"),
        ("TCGA-OR-A5J1", "TCGA"),
        ("MADE:GSE94116:c01", "made"),
        ("GSM12x", "made"),
        ("xGSM12", "made"),
        ("cell0", "made"),
        ("", "made"),
    ],
)
def test_id_kind(accession: str, kind: str) -> None:
    assert id_kind(accession) == kind


@pytest.mark.parametrize(
    ("accession", "address"),
    [
        ("GSM1275862", "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSM1275862"),
        ("GSE52778", "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE52778"),
        ("SRR3053567", "https://www.ncbi.nlm.nih.gov/sra/?term=SRR3053567"),
        ("SRP029880", "https://www.ncbi.nlm.nih.gov/sra/?term=SRP029880"),
        ("ERR127302", "https://www.ebi.ac.uk/ena/browser/view/ERR127302"),
        ("E-MTAB-1147", "https://www.ebi.ac.uk/biostudies/arrayexpress/studies/E-MTAB-1147"),
        ("TCGA-ACC", "https://portal.gdc.cancer.gov/projects/TCGA-ACC"),
    ],
)
def test_record_url(accession: str, address: str) -> None:
    assert record_url(accession) == address


def test_record_url_of_a_tcga_barcode_names_the_patient_only() -> None:
    address = record_url("TCGA-4N-A93T-01A-11R", "TCGA")
    assert address is not None
    assert "gdc.cancer.gov" in address
    assert "TCGA-4N-A93T" in address
    assert "01A" not in address


@pytest.mark.parametrize(
    "accession", ["MADE:x", "HPA-blood:basophil", "GTEX-average:Liver", "GSE1,GSE2", "javascript:alert(1)", ""]
)
def test_record_url_without_a_record_is_none(accession: str) -> None:
    assert record_url(accession) is None


def test_record_url_made_never_has_a_record() -> None:
    assert record_url("GSM1", "made") is None


@pytest.mark.parametrize(
    ("raw", "pairs"),
    [
        ("tissue: liver,age: 5", (("tissue", "liver"), ("age", "5"))),
        ("center: B1, A1,sex: M", (("center", "B1, A1"), ("sex", "M"))),
        ("type: Myeloid cell (progenitor: Myoblast)", (("type", "Myeloid cell (progenitor: Myoblast)"),)),
        ("condition: 1 ug/ml, doxycycline,x: y", (("condition", "1 ug/ml, doxycycline"), ("x", "y"))),
        ("time: 12:30", (("time", "12:30"),)),
        ("genotype: wt\ttissue: lung", (("genotype", "wt"), ("tissue", "lung"))),
        ("tissue: lungXx-xXxage: 3", (("tissue", "lung"), ("age", "3"))),
        ("male", (("", "male"),)),
        ("male,age: 3", (("", "male"), ("age", "3"))),
        ("sex:", (("sex", ""),)),
        ("", ()),
        (" , ,", ()),
    ],
)
def test_parse_characteristics(raw: str, pairs: tuple[tuple[str, str], ...]) -> None:
    assert parse_characteristics(raw) == pairs


WORD = st.text("abcdefgh XYZ019-()/", min_size=1, max_size=12).map(str.strip).filter(bool)


@given(st.lists(st.tuples(WORD, WORD), max_size=6))
def test_parse_characteristics_undoes_writing(pairs: list[tuple[str, str]]) -> None:
    raw = ",".join(f"{key}: {value}" for key, value in pairs)
    assert parse_characteristics(raw) == tuple(pairs)


@given(st.text(max_size=200))
def test_parse_characteristics_takes_any_text(raw: str) -> None:
    parse_characteristics(raw)


def test_near_matches_best_first_and_only_near_ones() -> None:
    candidates = ["GSM1275862", "GSM1275863", "GSM9999999", "SRR1", "gsm1275862x"]
    found = near_matches("gsm127586", candidates, 3)
    assert set(found) == {"GSM1275862", "GSM1275863", "gsm1275862x"}
    assert near_matches("liver", candidates) == ()
    assert near_matches("GSM1275863", candidates)[0] == "GSM1275863"


def test_near_matches_does_not_depend_on_the_order_of_candidates() -> None:
    candidates = [f"GSM{i}" for i in range(100, 200)]
    assert near_matches("GSM15", candidates) == near_matches("GSM15", candidates[::-1])
