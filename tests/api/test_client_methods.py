"""The client's methods against every route, its typed answers against the records, and pandas tables of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_type_hints

import pytest
from api_checks import TOKEN
from fake_atlas import FakeBackend

from api import schemas
from atlas import answers, map_answers
from atlas import client as typed
from atlas.client import AtlasHTTPError, Client

RECORDS: dict[str, type] = {
    "Part": answers.QueryPart,
    "FacetValue": answers.FacetValue,
    "FacetsAnswer": answers.FacetCounts,
    "Sample": answers.SampleRecord,
    "Hit": answers.Hit,
    "SeriesHit": answers.SeriesHit,
    "SearchAnswer": schemas.SearchAnswer,
    "Keyword": answers.Keyword,
    "Coverage": answers.CoverageReport,
    "Position": answers.Position,
    "NeighborsAnswer": answers.NeighborsResult,
    "TranscriptomesAnswer": schemas.TranscriptomesAnswer,
    "GeneEffect": schemas.GeneEffectAnswer,
    "CellAnswer": schemas.CellAnswer,
    "CellsAnswer": schemas.CellsAnswer,
    "ClusterSummary": answers.ClusterSummary,
    "Share": answers.Share,
    "LabelQuality": answers.LabelQuality,
    "ClusterAnswer": answers.ClusterDetail,
    "MapAnswer": answers.MapColumns,
    "MapColumn": map_answers.MapColumn,
    "MapLayoutAnswer": map_answers.MapLayout,
    "SelectedShare": map_answers.SelectedShare,
    "NearCluster": map_answers.NearCluster,
    "SelectionAnswer": map_answers.Selection,
    "GeneContribution": answers.GeneContribution,
    "ExplanationAnswer": answers.HitExplanation,
    "SeriesAnswer": answers.SeriesRecord,
    "SampleAnswer": schemas.SampleAnswer,
    "SamplesAnswer": schemas.SamplePage,
    "MembersAnswer": schemas.MemberPage,
    "ScanCalibration": answers.ScanCalibration,
    "ScanSummary": answers.ScanSummary,
    "ScanTerm": answers.ScanTerm,
    "ScanCell": answers.ScanCell,
    "ScanAnswer": answers.ScanReport,
    "ScanTermAnswer": answers.ScanTermReport,
    "ScanMatrixAnswer": answers.ScanMatrix,
    "ScanSamplesAnswer": answers.ScanSamples,
    "ScansAnswer": schemas.ScanList,
    "Vocabulary": answers.VocabularySummary,
    "VocabulariesAnswer": schemas.VocabularyList,
    "Job": answers.Job,
    "LabelEdit": answers.LabelEdit,
    "LabelEditAnswer": schemas.LabelEditAnswer,
    "LabelEditsAnswer": schemas.LabelEditList,
    "EmbeddingAnswer": schemas.TextVectors,
    "KeywordsAnswer": schemas.KeywordList,
    "ReleaseEntry": schemas.ReleaseEntry,
    "ReleasesAnswer": schemas.ReleaseList,
}


@pytest.fixture
def client(base_url: str) -> Iterator[Client]:
    with Client(base_url, timeout=20, token=TOKEN) as client:
        yield client


@pytest.mark.parametrize(("name", "record"), RECORDS.items())
def test_typed_answer_has_the_fields_of_the_record(name: str, record: type) -> None:
    hints = get_type_hints(getattr(typed, name))
    assert set(hints) == {field.name for field in fields(record)}
    nullable = {field for field, hint in get_type_hints(record).items() if type(None) in getattr(hint, "__args__", ())}
    assert {field for field, hint in hints.items() if type(None) in getattr(hint, "__args__", ())} == nullable


def test_every_typed_answer_is_held_against_a_record() -> None:
    others = {"AtlasHTTPError", "Client", "ColumnBytes", "Filters", "UploadFilters", "Mode", "Sort", "Unit"}
    assert set(typed.__all__) == set(RECORDS) | others


def test_search_with_all_it_can_be_given(client: Client) -> None:
    answer = client.search(
        "heart", minus=["brain^0.5"], k=4, per_series=1, diversity=0.1, facets=True, cluster=[0, 1, 2], release="one"
    )
    assert answer["facets"] is not None
    assert answer["parts"][1]["weight"] == -0.5
    assert {hit["sample"]["cluster"] for hit in answer["hits"]} <= {0, 1, 2}
    parts = [{"kind": "sample", "value": "GSM1"}, {"kind": "text", "value": "liver", "weight": -1}]
    assert client.search_parts(parts, k=2, tissue=["heart"], release="one")["hits"][0]["sample"]["tissue"] == "heart"
    assert client.facets(cluster=[0])["n_samples"] == 2


def test_pages_are_followed_to_the_end(client: Client) -> None:
    assert [one["accession"] for one in client.iter_samples(sort="-accession", page_size=4)] == [
        f"GSM{n}" for n in (6, 5, 4, 3, 2, 1)
    ]
    first = client.samples(limit=4)
    assert client.samples(limit=4, cursor=first["next_cursor"])["samples"][0]["accession"] == "GSM5"
    page = client.cluster_samples(0, limit=1)
    assert page["n_samples"] == 2
    assert client.cluster_samples(0, limit=1, cursor=page["next_cursor"])["next_cursor"] is None


def test_records_of_the_atlas(client: Client) -> None:
    assert client.series("GSE1")["n_samples"] == 2
    assert client.explanation("GSM1", "heart", top=1)["genes"][0]["symbol"] == "MYH6"
    assert client.explanation("GSM1", minus=["liver"])["parts"][0]["weight"] == -1
    assert client.embed_texts(["heart"])["vectors"] == [[1.0, 0.0]]
    assert client.keywords(["GSM1", "GSM2"])["n_samples"] == 2
    assert [entry["name"] for entry in client.releases()["releases"]] == []
    assert client.release(release="one")["release"] == "one"


def test_sweeps(client: Client) -> None:
    (name,) = (one["name"] for one in client.vocabularies()["vocabularies"] if one["scanned"])
    assert [one["name"] for one in client.scans()["scans"]] == [name]
    assert len(client.scan(name)["terms"]) == 3
    assert client.scan_term(name, "hepatitis A/B")["term"]["term"] == "hepatitis A/B"
    assert len(client.scan_matrix(name, max_terms=2)["terms"]) == 2
    assert len(client.scan_samples(name)["sum_z"]) == 6
    assert client.map(scan=name, term="epilepsy")["score"] == [0, 0, 2, 0, 0, 0]


def test_job_is_begun_waited_for_and_cancelled(client: Client, backend: FakeBackend) -> None:
    job = client.start_scan(["a"], name="mine")
    with pytest.raises(TimeoutError, match="queued"):
        client.wait_for(job, timeout_s=0, poll_s=0)
    backend.jobs.finish(job["job_id"])
    assert client.wait_for(job["job_id"], poll_s=0)["result"] == {"scan": "omim_expanded"}
    other = client.start_scan(vocabulary="omim_expanded")
    assert client.cancel_job(other["job_id"])["status"] == "cancelled"


def test_label_is_edited_with_the_token_alone(client: Client, base_url: str) -> None:
    assert client.set_label(1, "Hearts", author="A", note="n")["summary"]["label"] == "Hearts"
    assert client.label_edits()["edits"][0]["author"] == "A"
    assert client.remove_label(1, author="A")["edit"] is None
    with Client(base_url, timeout=20) as other:
        with pytest.raises(AtlasHTTPError) as caught:
            other.set_label(1, "Hearts", author="A")
        assert (caught.value.status, caught.value.code) == (401, "unauthorized")
        assert other.set_label(1, "Hearts", author="A", token=TOKEN)["edit"] is not None
        other.remove_label(1, author="A", token=TOKEN)


def test_tables_come_as_bytes_and_refusals_as_errors(client: Client) -> None:
    assert client.table("/v1/clusters", limit=2).count(b"\n") == 3
    assert client.table("/v1/map", accept="application/vnd.apache.parquet")[:4] == b"PAR1"
    with pytest.raises(AtlasHTTPError) as caught:
        client.table("/v1/clusters", accept="image/png")
    assert caught.value.code == "not_acceptable"


def test_release_that_never_was_raises_from_every_kind_of_question(client: Client) -> None:
    for ask in (client.search, client.sample, client.series, client.scan):
        with pytest.raises(AtlasHTTPError) as caught:
            ask("x", release="never")
        assert caught.value.status == 404


FRAMES: dict[str, tuple[Any, int, set[str]]] = {
    "hits": (lambda c: c.search("heart", k=3), 3, {"rank", "score", "accession", "tissue", "characteristics"}),
    "samples": (lambda c: c.samples(limit=4), 4, {"accession", "series"}),
    "clusters": (lambda c: c.clusters(), 5, {"cluster", "label"}),
    "members": (lambda c: c.cluster_samples(0), 2, {"rank", "accession"}),
    "facets": (lambda c: c.facets(), 20, {"facet", "value", "n", "label"}),
    "genes": (lambda c: c.explanation("GSM1", "heart"), 2, {"symbol", "contribution"}),
    "terms": (lambda c: c.scan("omim_expanded"), 3, {"term", "q_value"}),
    "cells": (lambda c: c.scan_term("omim_expanded", "epilepsy"), 5, {"cluster", "effect"}),
    "matrix": (lambda c: c.scan_matrix("omim_expanded"), 3, {0, 4}),
    "sums": (lambda c: c.scan_samples("omim_expanded"), 6, {"accession", "sum_z", "percentile"}),
    "map": (lambda c: c.map("heart"), 6, {"accession", "x", "y", "cluster", "score"}),
    "vectors": (lambda c: c.embed_texts(["heart", "liver"]), 2, {0, 1}),
    "keywords": (lambda c: c.keywords(["GSM1"]), 1, {"library", "term"}),
    "series": (lambda c: c.series("GSE1"), 2, {"accession"}),
    "upload": (
        lambda c: c.transcriptome_neighbors({"a": {"MYH6": 1}, "b": {"MYH6": 2}}, k=2),
        4,
        {"query", "rank", "accession"},
    ),
}


@pytest.mark.parametrize("name", FRAMES)
def test_answer_becomes_a_frame(client: Client, name: str) -> None:
    ask, n_rows, columns = FRAMES[name]
    frame = client.frame(ask(client))
    assert len(frame) == n_rows
    assert columns <= set(frame.columns)


def test_words_of_a_list_are_joined_and_no_table_is_said_so(client: Client) -> None:
    frame = client.frame(client.search("heart", k=1))
    assert frame.loc[0, "characteristics"] == "tissue: heart"
    assert frame.loc[0, "series_urls"] == ""
    with pytest.raises(ValueError, match="no table"):
        client.frame({"status": "live"})
