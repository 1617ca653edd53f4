"""Every form in which a list of samples leaves the atlas, read back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.answers import Hit, SampleRecord, SearchResult
from atlas.errors import InputError, TooLargeError
from atlas.exports import hit_lists
from atlas.exports.hit_lists import read_hits
from cli.output import hit_line
from ui.tables import download_rows
from ui.text import csv_table


def hit(rank: int, accession: str) -> Hit:
    sample = SampleRecord(
        accession=accession, id_kind="GSM", series=("GSE1", "GSE2"), title="=a, \"b\"", source_name="heart",
        characteristics=(("age", "5"), ("sex", "f")), organism="Homo sapiens", molecule="total RNA", tissue="heart",
        caption="heart; age 5", unit="counts", n_genes_detected=9, url="https://x.org/1", series_urls=(None, None), cluster=3,
        cluster_label="Heart", x=0.1, y=0.2,
    )  # fmt: skip
    return Hit(rank, sample, score=1.0 / rank, percentile=99.0)


HITS = tuple(hit(rank, accession) for rank, accession in enumerate(("GSM7", "GSM2", "MADE:x-1"), start=1))


def answer() -> dict[str, Any]:
    result = SearchResult("r1", "heart muscle", "semantic", HITS, (), 3, no_match=False)
    return json.loads(json.dumps(dataclasses.asdict(result)))  # type: ignore[no-any-return]


def as_api_json() -> bytes:
    return json.dumps(answer()).encode()


def as_command_lines() -> bytes:
    return "\n".join(json.dumps(hit_line(one, release="r1")) for one in HITS).encode()


def as_download() -> bytes:
    return ("\ufeff" + csv_table(download_rows(answer()["hits"], release="r1"))).encode()


def as_parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(download_rows(answer()["hits"], release="r1")), sink)
    return sink.getvalue().to_pybytes()


def as_transcriptomes() -> bytes:
    halves = [{"query": "mine", "hits": answer()["hits"][:2]}, {"query": "yours", "hits": answer()["hits"][2:]}]
    return json.dumps({"release": "r1", "results": halves}).encode()


@pytest.mark.parametrize("write", [as_api_json, as_command_lines, as_download, as_parquet, as_transcriptomes])
def test_answers_of_command_service_and_pages_are_read(write: Any) -> None:
    found = read_hits(write())
    assert found.accessions == ("GSM7", "GSM2", "MADE:x-1")
    assert found.columns["rank"] == [1, 2, 3]
    assert found.columns["score"] == pytest.approx([1.0, 0.5, 1 / 3])
    assert found.columns["cluster"] == [3, 3, 3]
    assert found.columns["release"] == ["r1"] * 3
    assert {text.replace("; ", ",") for text in found.columns["series"]} == {"GSE1,GSE2"}
    if write is not as_command_lines:  # whose lines are short
        assert found.columns["characteristics"] == ["age: 5; sex: f"] * 3


def test_series_pages_of_samples_and_columns_are_read() -> None:
    records = [one["sample"] for one in answer()["hits"]]
    assert read_hits(json.dumps({"accession": "GSE1", "samples": records}).encode()).accessions[0] == "GSM7"
    columns = {"release": "r1", "accession": ["GSM1", "GSM2"], "score": [0.5, None]}
    found = read_hits(json.dumps(columns).encode())
    assert (found.accessions, found.columns["score"]) == (("GSM1", "GSM2"), [0.5, None])
    assert read_hits(b'["GSM1", "GSM2"]').accessions == ("GSM1", "GSM2")


@pytest.mark.parametrize(
    "text",
    ["GSM1\nGSM2\n", "GSM1, GSM2", "\ufeffGSM1\r\n\r\nGSM2 # the second\n", "accession\tscore\nGSM1\t.5\nGSM2\t\n"],
)
def test_plain_lists_are_read(text: str) -> None:
    assert read_hits(text.encode()).accessions == ("GSM1", "GSM2")


def test_sample_listed_twice_is_counted_and_its_first_line_stands() -> None:
    found = read_hits(b"accession,score\nGSM1,0.5\nGSM2,0.4\nGSM1,0.1\n")
    assert (found.accessions, found.n_duplicates) == (("GSM1", "GSM2"), 1)
    assert found.columns["score"] == [0.5, 0.4]


def test_numbers_that_are_none_are_left_open() -> None:
    found = read_hits(b"accession,score,rank\nGSM1,high,1\nGSM2,nan,2\nGSM3,1e999,3\nGSM4,0.5,4\n")
    assert found.columns["score"] == [None, None, None, 0.5]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"  \n",
        b"\xff\xfe\x00",
        b"{",
        b"[" * 100_000,
        b"{}",
        b'{"hits": []}',
        b'{"hits": [{"rank": 1}]}',
        b'[{"accession": {"a": 1}}]',
        b"[17]",
        b"accession,score\n",
        b'accession\n"GSM1\n',
        b"accession\n../../etc/passwd\n",
        b"GSM1\n<html>\n",
        b"PAR1 and no more",
        b"accession\n" + b"x" * 200_000,
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_what_is_no_list_is_refused_in_a_sentence(raw: bytes) -> None:
    with pytest.raises(InputError) as caught:
        read_hits(raw, name="mine.txt")
    assert "mine.txt" in caught.value.message


def test_missing_file_folder_and_too_large_a_list_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_hits(tmp_path / "none.json")
    with pytest.raises(InputError, match="directory"):
        read_hits(tmp_path)
    monkeypatch.setattr(hit_lists, "MAX_BYTES", 5)
    with pytest.raises(TooLargeError, match="larger than 5 bytes"):
        read_hits(b"GSM1\nGSM2\n")
