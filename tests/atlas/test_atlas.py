"""The questions of an atlas, asked of a real small release: real stages, real FAISS, real text tower."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_release import MARKERS, human_genes

from atlas.atlas import Atlas
from atlas.catalog.filters import SampleFilter
from atlas.errors import ArtifactError, ConfigError, InputError, NotFoundError
from atlas.expression.matrix import ExpressionMatrix
from atlas.expression.units import Unit
from atlas.settings import Settings
from atlas.vectors.index import Neighbours

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def atlas(tiny_settings: Settings) -> Atlas:
    return Atlas.open(tiny_settings)


@pytest.mark.parametrize("tissue", ["heart", "liver", "brain"])
def test_phrase_finds_the_tissue_it_names(atlas: Atlas, tissue: str) -> None:
    result = atlas.search_text(tissue, k=16)
    assert sum(hit.sample.tissue == tissue for hit in result.hits) >= 14
    assert not result.no_match


def test_scores_are_the_exact_cosines_in_descending_order(atlas: Atlas) -> None:
    result = atlas.search_text("cardiac muscle", k=64)
    vectors = np.load(atlas.release.path("vectors.npy")).astype(np.float32)
    query = atlas.opened.model.embed_texts(["cardiac muscle"])[0]
    exact = np.sort(vectors @ query)[::-1]
    np.testing.assert_allclose([hit.score for hit in result.hits], exact, atol=2e-3)
    assert [hit.rank for hit in result.hits] == list(range(1, 65))
    assert len({hit.sample.accession for hit in result.hits}) == 64


def test_k_beyond_the_atlas_returns_every_sample(atlas: Atlas) -> None:
    assert len(atlas.search_text("heart", k=10_000).hits) == 64


def test_no_match_is_said_and_the_list_stays_whole(atlas: Atlas) -> None:
    result = atlas.search_text("quarterly invoice for office furniture", k=10)
    assert result.no_match
    assert result.message is not None
    assert "Nothing in this atlas matches" in result.message
    assert len(result.hits) == 10


def test_filters_keep_what_they_say(atlas: Atlas) -> None:
    only = atlas.search_text("heart", k=64, filters=SampleFilter(tissue=("liver",)))
    assert {hit.sample.tissue for hit in only.hits} == {"liver"}
    assert only.n_candidates == 16
    one = atlas.search_text("heart", k=64, filters=SampleFilter(series=("GSE900",)))
    assert len(one.hits) == 8
    without = atlas.search_text("heart", k=64, filters=SampleFilter(exclude="HEART"))
    assert "heart" not in {hit.sample.tissue for hit in without.hits}
    assert atlas.search_text("heart", filters=SampleFilter(organism=("Mus musculus",))).hits == ()


def test_accession_as_phrase_goes_to_its_record(atlas: Atlas) -> None:
    result = atlas.search_text("gsm9000003", k=5)
    assert result.hits[0].sample.accession == "GSM9000003"
    assert result.hits[0].score == pytest.approx(1.0, abs=2e-3)
    series = atlas.search_text("GSE910", k=8)
    assert {hit.sample.tissue for hit in series.hits} == {"liver"}


def test_record_leads_though_others_have_its_vector_or_the_index_passed_it_over(
    tiny_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Atlas.open(tiny_settings)
    found_first = lambda vectors, k, *, allowed: Neighbours(np.arange(k)[None], np.ones((1, k)))  # noqa: E731
    monkeypatch.setattr(opened.opened.index, "search", found_first)
    found = [hit.sample.accession for hit in opened.search_text("GSM9000106", k=3).hits]
    assert found == ["GSM9000106", "GSM9000000", "GSM9000001"]
    elsewhere = opened.search_text("GSM9000106", k=3, filters=SampleFilter(tissue=("heart",))).hits
    assert elsewhere[0].sample.accession == "GSM9000106"  # it was asked for by name: filters are for the others


def test_bytes_that_are_no_text_match_nothing_and_break_nothing(atlas: Atlas) -> None:
    found = atlas.search_text("he\udcffart \ud800", k=64, filters=SampleFilter(exclude="\udcff"))
    assert len(found.hits) == 64
    found.query.encode("utf-8")
    with pytest.raises(NotFoundError):
        atlas.sample("GSM\udcff")
    assert len(atlas.search_expression(own_expression(), k=64, exclude_series=("\udcff",))[0].hits) == 64


def test_unknown_accession_names_near_ones(atlas: Atlas) -> None:
    with pytest.raises(NotFoundError, match="neither a sample nor a series") as caught:
        atlas.search_text("GSM90000031")
    assert "GSM9000003" in caught.value.details["near_matches"]


def test_gene_symbol_is_said_to_be_searched_as_text(atlas: Atlas) -> None:
    message = atlas.search_text("TNNT2").message
    assert message is not None
    assert "gene symbol" in message or "Nothing" in message


def test_series_roll_up_counts_hits_and_samples(atlas: Atlas) -> None:
    result = atlas.search_text("liver", k=12)
    assert sum(series.n_hits for series in result.series) == 12
    assert result.series[0].best_rank == 1
    assert all(series.n_samples == 8 for series in result.series)


def test_neighbors_leave_out_the_sample_and_its_series(atlas: Atlas) -> None:
    near = atlas.similar_samples("GSM9000000", k=10)
    assert "GSM9000000" not in {hit.sample.accession for hit in near.hits}
    assert {hit.sample.tissue for hit in near.hits} == {"heart"}
    other = atlas.similar_samples("GSM9000000", k=8, exclude_same_series=True)
    assert {hit.sample.series for hit in other.hits} == {("GSE901",)}
    assert near.keywords[0].z > 0
    assert near.position is not None


def own_expression(symbols: bool = True, scale: float = 1.0) -> ExpressionMatrix:
    genes = human_genes()
    names = tuple(symbol if symbols else f"{ensembl}.7" for ensembl, symbol in genes)
    values = np.random.default_rng(5).poisson(3.0, (1, len(genes))).astype(np.float32)
    values[0, [i for i, (_, symbol) in enumerate(genes) if symbol in MARKERS["liver"]]] = 4_000
    return ExpressionMatrix(values=values * scale, genes=names, sample_ids=("mine",), units=(Unit.COUNTS,))


@pytest.mark.parametrize("symbols", [True, False])
def test_own_expression_finds_its_tissue_by_symbol_or_ensembl_id(atlas: Atlas, symbols: bool) -> None:
    (result,) = atlas.search_expression(own_expression(symbols), k=10)
    assert {hit.sample.tissue for hit in result.hits} == {"liver"}
    assert result.coverage is not None
    assert result.coverage.n_recognised > 0.95 * result.coverage.n_given
    assert result.position is not None
    assert result.query == "mine"
    left = atlas.search_expression(own_expression(symbols), k=10, exclude_series=("GSE910",))[0]
    assert "GSE910" not in {one for hit in left.hits for one in hit.sample.series}


def test_table_without_samples_is_refused(atlas: Atlas) -> None:
    empty = ExpressionMatrix(values=np.zeros((0, 2), np.float32), genes=("ALB", "HBB"), sample_ids=(), units=())
    with pytest.raises(InputError, match="no sample"):
        atlas.search_expression(empty)


def test_clusters_follow_the_tissues(atlas: Atlas) -> None:
    summaries = atlas.clusters()
    assert sum(one.n_samples for one in summaries) == 64
    assert len({one.label for one in summaries}) == len(summaries)
    detail = atlas.cluster(summaries[0].cluster)
    assert detail.by_tissue[0].share > 0.9
    assert detail.top_samples[0].score is not None
    assert sum(share.n for share in detail.by_series) == detail.summary.n_samples
    with pytest.raises(NotFoundError, match="no cluster 999"):
        atlas.cluster(999)


def test_map_gives_columns_of_equal_length(atlas: Atlas) -> None:
    columns = atlas.map("liver")
    assert columns.score is not None
    assert (
        len(columns.x) == len(columns.y) == len(columns.cluster) == len(columns.score) == len(columns.accession) == 64
    )
    best = columns.accession[int(np.argmax(columns.score))]
    assert best == atlas.search_text("liver", k=1).hits[0].sample.accession
    assert atlas.map().score is None


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_words_without_a_database_say_what_is_missing(atlas: Atlas, mode: str) -> None:
    with pytest.raises(ConfigError, match="need the database"):
        atlas.search_text("heart", mode=mode)  # type: ignore[arg-type]


def test_every_name_in_the_manifest_is_one_release(atlas: Atlas) -> None:
    assert atlas.release.manifest.n_samples == 64
    assert atlas.search_text("heart").release == atlas.map().release == "tiny"


def test_model_of_another_hash_is_refused(
    atlas: Atlas, monkeypatch: pytest.MonkeyPatch, tiny_settings: Settings
) -> None:
    other = Atlas.open(tiny_settings)
    monkeypatch.setattr(other.release, "manifest", other.release.manifest.model_copy(update={"model_hash": "0" * 64}))
    with pytest.raises(ArtifactError, match="another model"):
        other.search_text("heart")


def test_file_found_changed_in_the_background_stops_the_answers(tiny_settings: Settings) -> None:
    opened = Atlas.open(tiny_settings)
    opened.release._failure = ArtifactError("vectors.npy was changed", kind="corrupt")
    with pytest.raises(ArtifactError, match="vectors.npy"):
        opened.search_text("heart")


def test_vectors_depend_on_expression_alone(tiny_counts: Path, atlas: Atlas) -> None:
    """The full check, with shuffled text of the input file, lives with the stage; here: rows are unit vectors."""
    vectors = np.load(atlas.release.path("vectors.npy")).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=2e-3)


def test_series_is_found_whatever_its_case_and_its_samples_come_first(atlas: Atlas) -> None:
    result = atlas.search_text("gse911", k=20)
    assert {hit.sample.series for hit in result.hits[:8]} == {("GSE911",)}
    assert len(result.hits) == 20
    assert result.message is not None
    assert "a series with 8 samples" in result.message
    scores = [hit.score or 0.0 for hit in result.hits]
    assert scores[:8] == sorted(scores[:8], reverse=True)


def test_named_sample_comes_first_even_against_the_filters(atlas: Atlas) -> None:
    result = atlas.search_text("GSM9000000", k=5, filters=SampleFilter(tissue=("liver",)))
    assert [hit.sample.tissue for hit in result.hits] == ["heart", *["liver"] * 4]


def test_id_without_the_form_of_an_accession_is_found_all_the_same(
    atlas: Atlas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atlas.opened.samples, "find", lambda text: 3 if text == "HPA-blood: T cells" else None)
    assert (
        atlas.search_text("HPA-blood: T cells", k=1).hits[0].sample.accession
        == atlas.opened.samples.record(3).accession
    )


def test_gene_symbol_is_said_beside_no_match(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.vectors.calibration.Calibration.no_match", lambda self, query, **_: True)
    message = atlas.search_text("TTN").message
    assert message is not None
    assert "Nothing in this atlas matches" in message
    assert "TTN is a gene symbol" in message


def test_filters_that_leave_nothing_are_said(atlas: Atlas) -> None:
    result = atlas.search_text("heart", filters=SampleFilter(tissue=("no such tissue",)))
    assert result.hits == ()
    assert result.message == "No sample passes the filters."
    assert len(atlas.search_text("heart", filters=SampleFilter(series=("gse900",))).hits) == 8


def words(atlas: Atlas, monkeypatch: pytest.MonkeyPatch, rows: list[int]) -> None:
    """Let the word search find these rows, in this order."""
    monkeypatch.setattr(
        "atlas.search.phrases.lexical_ranks", lambda *a, **k: {row: i for i, row in enumerate(rows, start=1)}
    )


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_longer_answer_begins_like_the_shorter_one(atlas: Atlas, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    words(atlas, monkeypatch, [40, 3, 17, 60])
    rows = [
        [hit.sample.accession for hit in atlas.search_text("heart", k=k, mode=mode).hits]  # type: ignore[arg-type]
        for k in (3, 10, 64)
    ]
    assert rows[2][:3] == rows[1][:3] == rows[0]
    assert rows[2][:10] == rows[1]
    assert len(rows[2]) == 64


def test_words_that_nobody_wrote_are_no_match(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    words(atlas, monkeypatch, [])
    result = atlas.search_text("zzzq xylo", k=5, mode="lexical")
    assert result.no_match
    assert len(result.hits) == 5
    assert result.message is not None
    assert "No sample's text contains the words" in result.message


def test_keywords_of_a_cluster_s_mean_are_the_keywords_the_build_stored(atlas: Atlas) -> None:
    members = np.flatnonzero(atlas.opened.samples.cluster == 0)
    now = atlas.opened.terms.keywords(atlas.opened.clusters.centroid(members))
    stored = atlas.cluster(0).keywords
    assert {(one.library, one.term) for one in now} == {(one.library, one.term) for one in stored}
    np.testing.assert_allclose([one.z for one in now], [one.z for one in stored], atol=1e-3)


def test_many_columns_are_answered_as_each_alone(atlas: Atlas) -> None:
    one, other = own_expression(), own_expression(scale=2.0)
    both = replace(
        one, values=np.vstack([one.values, other.values[:, ::-1]]), sample_ids=("a", "b"), units=one.units * 2
    )
    together = atlas.search_expression(both, k=20)
    for i, name in enumerate(both.sample_ids):
        alone = replace(both, values=both.values[i : i + 1], sample_ids=(name,), units=one.units)
        assert atlas.search_expression(alone, k=20)[0] == together[i]
