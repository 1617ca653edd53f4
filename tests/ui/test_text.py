from __future__ import annotations

import csv
import io

import pytest

from ui.tables import description_of, download_rows, gene_rows, hit_rows, sample_rows
from ui.text import as_markdown, chart_text, csv_table, markup, percent, safe_url, shorten, strength


@pytest.mark.parametrize(
    "url",
    [None, "", "javascript:alert(1)", "data:text/html,x", "//elsewhere.example", "ftp://a.example/x", "https://", "http://[bad"],
)  # fmt: skip
def test_addresses_a_browser_should_not_follow_are_dropped(url: str | None) -> None:
    assert safe_url(url) is None


def test_public_record_address_is_kept_as_it_is() -> None:
    url = "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSM1"
    assert safe_url(url) == url


def test_markup_of_strangers_is_text_in_html_and_charts() -> None:
    evil = "<a href=\"javascript:x\">a</a> & 'b'"
    assert "<" not in markup(evil)
    assert '"' not in markup(evil)
    assert "<" not in chart_text(evil)


def test_markdown_shows_the_characters_it_is_given() -> None:
    shown = as_markdown("**a** [b](http://c) ![d](e) :red[f] $g$ `h`")
    for sign in ("**", "[b](", "![", ":red[", "$g$", "://"):
        assert sign not in shown
    assert shown.endswith("`h`")  # commands of ours keep their look


def test_shorten_keeps_one_line_within_the_limit() -> None:
    assert shorten("a  b\n c", limit=10) == "a b c"
    cut = shorten("x" * 50, limit=10)
    assert len(cut) == 10
    assert cut.endswith("…")


def test_download_disarms_formulas_and_keeps_numbers() -> None:
    rows = [{"title": "=HYPERLINK(1)", "score": -0.25, "n": 3}, {"title": 'a,"b"\nc', "score": 0.5, "n": 4}]
    read = list(csv.DictReader(io.StringIO(csv_table(rows))))
    assert read[0] == {"title": "'=HYPERLINK(1)", "score": "-0.25", "n": "3"}
    assert read[1]["title"] == 'a,"b"\nc'
    assert csv_table([]) == ""


def made_up(**other: object) -> dict[str, object]:
    return {
        "accession": "MADE:x-1", "series": ["MADE:x", "GSE1"], "title": "t", "source_name": "s", "cluster_label": None,
        "cluster": None, "url": None, "series_urls": [None, "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE1"],
        "organism": "Homo sapiens", "characteristics": [["age", "3"], ["sex", "male"]], "tissue": "", "molecule": "",
        "unit": "counts", "n_genes_detected": 3, "x": 0.5, "y": None, **other,
    }  # fmt: skip


def test_hit_rows_link_only_public_records() -> None:
    hits = [{"rank": 1, "sample": made_up(), "score": None, "percentile": None}]
    (row,) = hit_rows(hits)
    assert row["Record"] is None
    assert row["Series"] == "MADE:x +1"
    assert row["Description"] == "s · t"
    assert row["Answer"] == ""
    (saved,) = download_rows(hits, release="r")
    assert saved["series"] == "MADE:x,GSE1"
    assert saved["characteristics"] == "age: 3; sex: male"
    assert saved["release"] == "r"
    (shown,) = sample_rows([made_up(url="javascript:alert(1)")])
    assert shown["Record"] is None


def test_source_and_title_are_not_said_twice() -> None:
    assert description_of(made_up(title="liver", source_name="liver")) == "liver"
    assert description_of(made_up(title="", source_name="liver")) == "liver"
    assert description_of(made_up(title="P1", source_name=" ")) == "P1"


@pytest.mark.parametrize(
    ("percentile", "word"),
    [(None, ""), (100, "strong"), (99, "strong"), (98.9, "clear"), (75, "moderate"), (74.9, "weak"), (10, "chance")],
)  # fmt: skip
def test_percentile_in_words(percentile: float | None, word: str) -> None:
    assert strength(percentile) == word


def test_best_answer_of_all_is_not_called_a_hundred() -> None:
    assert percent(100.0) == "99.9 %"
    assert percent(12.34) == "12.3 %"


def test_genes_are_saved_for_and_against() -> None:
    gene = {"symbol": "A", "ensembl_id": "E", "contribution": 0.1, "weight": 2.0}
    found = {"accession": "GSM1", "release": "r", "genes": [gene], "against": [{**gene, "contribution": -0.1}]}
    rows = gene_rows(found)
    assert [row["contribution"] for row in rows] == [0.1, -0.1]
    assert rows[0]["accession"] == "GSM1"
