from __future__ import annotations

import csv
import io

import pytest

from ui.tables import download_rows, hit_rows
from ui.text import chart_text, csv_table, markup, safe_url, shorten
from ui.views import as_markdown


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


def test_hit_rows_link_only_public_records() -> None:
    sample = {
        "accession": "MADE:x-1", "series": ["MADE:x", "GSE1"], "title": "t", "source_name": "s",
        "cluster_label": None, "cluster": None,
        "url": None, "series_urls": [None, "https://www.ncbi.nlm.nih.gov/geo/query/acc.cgi?acc=GSE1"], "organism": "Homo sapiens",
        "characteristics": [["age", "3"], ["sex", "male"]], "tissue": "",
    }  # fmt: skip
    hits = [{"rank": 1, "sample": sample, "score": None, "percentile": None}]
    (row,) = hit_rows(hits)
    assert row["Record"] is None
    assert str(row["Series record"]).endswith("GSE1")
    assert row["Series"] == "MADE:x, GSE1"
    (saved,) = download_rows(hits, release="r")
    assert saved["characteristics"] == "age: 3; sex: male"
    assert saved["release"] == "r"
