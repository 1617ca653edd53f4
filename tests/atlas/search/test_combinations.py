"""Weighted questions, pages, series, keywords and edited labels, asked of a real small release."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from atlas.answers import LabelEdit, QueryPart, SearchResult
from atlas.atlas import Atlas
from atlas.catalog.filters import SampleFilter
from atlas.errors import ArtifactError, InputError, NotFoundError
from atlas.search.combination import combine, strengths
from atlas.search.queries import MAX_PARTS, read_part
from atlas.settings import Settings
from atlas.vectors.calibration import subjects, unit_rows
from atlas.vectors.moments import Moments
from atlas.vectors.store import VectorStore, write_vectors

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def atlas(tiny_settings: Settings) -> Atlas:
    return Atlas.open(tiny_settings)


def text(value: str, weight: float = 1.0) -> QueryPart:
    return QueryPart("text", value, weight)


def sample(value: str, weight: float = 1.0) -> QueryPart:
    return QueryPart("sample", value, weight)


def accessions(result: SearchResult) -> list[str]:
    return [hit.sample.accession for hit in result.hits]


def standardised(atlas: Atlas, parts: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """The definition: the weighted sum of each part's z-scores over all samples."""
    vectors = np.load(atlas.release.path("vectors.npy")).astype(np.float64)
    scores = [(vectors @ vector.astype(np.float64), weight) for vector, weight in parts]
    total: np.ndarray = sum(weight * (score - score.mean()) / score.std() for score, weight in scores)  # type: ignore[assignment]
    return total


@slow
def test_parts_rank_by_the_weighted_sum_of_their_z_scores(atlas: Atlas) -> None:
    rows = {name: atlas.opened.samples.row(name) for name in ("GSM9000100", "GSM9000303")}
    vectors = {name: atlas.opened.store.rows(np.array([row]))[0] for name, row in rows.items()}
    embedded = atlas.embed_texts(["heart failure", "blood"])
    parts = [text("heart failure", 2), sample("gsm9000100", 0.7), text("blood", -1.5), sample("GSM9000303", -0.2)]
    pairs = [(embedded[0], 2.0), (vectors["GSM9000100"], 0.7), (embedded[1], -1.5), (vectors["GSM9000303"], -0.2)]
    total = standardised(atlas, pairs)
    result = atlas.search_parts(parts, k=64)
    found = [atlas.opened.samples.row(one) for one in accessions(result)]
    assert set(range(64)) - set(found) == set(rows.values()), "samples that are part of the question are no hits"
    assert all(total[a] >= total[b] - 1e-3 for a, b in zip(found, found[1:], strict=False))
    assert result.n_candidates == 62
    assert result.query == "heart failure^2 + GSM9000100^0.7 - blood^1.5 - GSM9000303^0.2"
    assert [one.value for one in result.parts] == ["heart failure", "GSM9000100", "blood", "GSM9000303"]
    scores = [hit.score or 0.0 for hit in result.hits]
    assert scores == sorted(scores, reverse=True)
    assert {hit.percentile for hit in result.hits} == {None}, "no null describes phrases mixed with samples"


@slow
def test_phrase_alone_ranks_as_ever(atlas: Atlas) -> None:
    plain = atlas.search_text("cardiac muscle", k=64)
    assert atlas.search_parts([text("cardiac muscle", 3.5)], k=64).hits == plain.hits
    assert plain.parts == ()


@slow
def test_sample_alone_ranks_as_its_neighbours(atlas: Atlas) -> None:
    alone, near = atlas.search_parts([sample("GSM9000012")], k=20), atlas.similar_samples("GSM9000012", k=20)
    assert accessions(alone) == [hit.sample.accession for hit in near.hits]
    for name in ("score", "percentile"):
        found, expected = ([getattr(hit, name) for hit in result.hits] for result in (alone, near))
        np.testing.assert_allclose(found, expected, atol=2e-3 if name == "percentile" else 2e-6)
    series = atlas.search_parts([sample("gse910")], k=64)
    assert {one for hit in series.hits for one in hit.sample.series}.isdisjoint({"GSE910"})
    assert series.hits[0].sample.tissue == "liver"


@slow
def test_minus_takes_away_what_plus_adds(atlas: Atlas) -> None:
    assert {hit.sample.tissue for hit in atlas.search_text("heart", plus=["liver^5"], k=8).hits} == {"liver"}
    both = atlas.search_text("heart", plus=["liver"], k=64)
    without = atlas.search_text("heart", plus=["liver"], minus=["liver^2"], k=64)
    rank = {name: i for i, name in enumerate(accessions(without))}
    livers = [hit.sample.accession for hit in both.hits if hit.sample.tissue == "liver"]
    assert np.mean([rank[one] for one in livers]) > 40
    from_list = atlas.search_parts([text("heart"), text("liver"), text("liver", -2)], k=64)
    assert from_list == without


@slow
def test_minus_that_takes_the_wanted_along_is_said_with_a_lighter_weight(atlas: Atlas) -> None:
    heavy = atlas.search_text("heart", minus=["cardiac muscle^3"])
    assert "Give them less weight, e.g. cardiac muscle^1.5." in (heavy.message or "")
    assert atlas.search_text("heart", minus=["liver^0.1"]).message is None
    assert "outweigh" not in (atlas.search_parts([text("liver", -1)]).message or "")
    # two samples a series leave mostly hits that are no heart, which is no fault of the unwanted part
    assert "less weight" not in (atlas.search_text("heart", minus=["liver^0.1"], per_series=1, k=8).message or "")


@slow
def test_accessions_in_plus_and_minus_are_samples(atlas: Atlas) -> None:
    result = atlas.search_text("gsm9000000", plus=["gse901^0.5"], minus=["GSM9000200"], k=5)
    assert [(one.kind, one.value) for one in result.parts] == [
        ("sample", "GSM9000000"), ("sample", "GSE901"), ("sample", "GSM9000200"),
    ]  # fmt: skip
    assert {hit.sample.tissue for hit in result.hits} == {"heart"}
    assert result.hits[0].sample.series == ("GSE900",)
    assert atlas.read_parts("gsm9000000", plus=["gse901^0.5"], minus=["GSM9000200"]) == (
        sample("gsm9000000"), sample("gse901", 0.5), sample("GSM9000200", -1.0),
    )  # fmt: skip


@slow
def test_percentile_of_phrases_joins_their_answers(atlas: Atlas) -> None:
    result = atlas.search_text("heart", plus=["cardiac muscle"], k=5)
    calibration, rows = atlas.opened.calibration, [atlas.opened.samples.row(one) for one in accessions(result)]
    vectors = atlas.opened.store.rows(np.array(rows)).astype(np.float64)
    embedded = atlas.embed_texts(["heart", "cardiac muscle"])
    whole = np.load(atlas.release.path("vectors.npy")).astype(np.float64)
    factors = [1 / (whole @ one.astype(np.float64)).std() for one in embedded]
    mean, deviation = calibration.mean[rows], calibration.deviation[rows]
    responses = [(vectors @ one.astype(np.float64) - mean) / deviation for one in embedded]
    of_null = np.array(calibration.table.subjects)
    near = subjects(
        atlas.opened.model.embed_raw_texts(["heart", "cardiac muscle"]), unit_rows(calibration.vocabulary.vectors())
    )
    answers = [r + (s - of_null.mean()) / of_null.std() for r, s in zip(responses, near, strict=True)]
    joined = sum(f * a for f, a in zip(factors, answers, strict=True)) / np.hypot(*factors)
    null = np.array(calibration.table.answers)
    expected = [100 * float((null < one).mean()) for one in joined]
    np.testing.assert_allclose([hit.percentile for hit in result.hits], expected, atol=0.2)


@slow
def test_phrase_that_nothing_answers_is_named_among_others(atlas: Atlas) -> None:
    result = atlas.search_text("heart", plus=["quarterly invoice for office furniture"])
    assert not result.no_match
    assert "Nothing in this atlas matches 'quarterly invoice" in (result.message or "")
    assert atlas.search_text(
        "annual invoice for office chairs", plus=["quarterly invoice for office furniture"]
    ).no_match


@slow
@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([], "0 parts"),
        ([text("heart")] * (MAX_PARTS + 1), "17 parts"),
        ([text("heart"), text("heart", -1)], "cancel out"),
        ([sample("GSM9000000"), sample("gsm9000000", -1)], "cancel out"),
        ([text("heart", 0)], "weight"),
        ([text("heart", float("nan"))], "weight"),
        ([text("heart", float("inf"))], "weight"),
        ([text("heart", 10.1)], "weight"),
        ([text("")], "empty"),
        ([text("x" * 5_000)], "5000 characters"),
        ([QueryPart("vector", "heart")], "no kind of part"),  # type: ignore[arg-type]
    ],
)
def test_bad_parts_are_refused(atlas: Atlas, parts: list[QueryPart], said: str) -> None:
    with pytest.raises(InputError, match=said):
        atlas.search_parts(parts)


@slow
def test_unknown_sample_in_a_combination_names_near_ones(atlas: Atlas) -> None:
    with pytest.raises(NotFoundError) as caught:
        atlas.search_text("heart", minus=["GSM90000031^2"])
    assert "GSM9000003" in caught.value.details["near_matches"]
    with pytest.raises(NotFoundError) as caught:
        atlas.search_text("GSM90000031", plus=["heart"])
    assert "GSM9000003" in caught.value.details["near_matches"]


@slow
def test_spread_hits_come_of_many_series(atlas: Atlas) -> None:
    result = atlas.search_text("heart", k=20, per_series=2)
    assert len(result.hits) == 16
    assert all(series.n_hits == 2 for series in result.series)
    assert "leave 16 hits" in (result.message or "")
    assert result.hits[0] == atlas.search_text("heart", k=1).hits[0]
    diverse = atlas.search_text("heart", k=8, diversity=0.9)
    assert len({hit.sample.tissue for hit in diverse.hits}) > 1
    near = atlas.search_text("GSM9000000", k=9, per_series=1)
    assert [len(series) for series in ([h.sample.series for h in near.hits],)] == [9]
    assert near.hits[0].sample.accession == "GSM9000000"


@slow
def test_words_of_a_combination_leave_the_unwanted_out(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ranks(opened: object, phrase: str, *, ask: object, queried: np.ndarray) -> dict[int, int]:
        asked.append(phrase)
        return {40: 1, 3: 2}

    monkeypatch.setattr("atlas.search.phrases.lexical_ranks", ranks)
    found = atlas.search_text("heart failure", minus=['ischemic "x"^0.5', "GSM9000001"], mode="lexical", k=5)
    assert asked == ['heart failure -"ischemic  x "']
    assert [hit.lexical_rank for hit in found.hits] == [1, 2, None, None, None]
    with pytest.raises(InputError, match="phrase with a weight above 0"):
        atlas.search_parts([sample("GSM9000001")], mode="hybrid")


@slow
def test_list_facets_series_and_central_samples_agree(atlas: Atlas) -> None:
    chosen = SampleFilter(tissue=("heart",), id_kind=("gsm",))
    page, n_total = atlas.samples_page(filters=chosen, sort="-accession", offset=3, limit=4)
    assert n_total == atlas.facets(chosen).n_samples == 16
    assert [one.accession for one in page] == sorted((one.accession for one in page), reverse=True)
    series = atlas.series("gse900")
    assert (series.accession, series.n_samples, len(series.samples)) == ("GSE900", 8, 8)
    assert sum(one.n for one in series.by_cluster) == 8
    few = atlas.series("GSE900", limit=3)
    assert (few.n_samples, few.samples, few.by_tissue) == (8, series.samples[:3], series.by_tissue)
    assert [(one.value, one.n, one.share) for one in series.by_tissue] == [("heart", 8, 1.0)]
    with pytest.raises(NotFoundError, match="not a series"):
        atlas.series("GSE90000")
    for cluster in atlas.clusters():
        first, n_members = atlas.cluster_samples(cluster.cluster, limit=5)
        rest, _ = atlas.cluster_samples(cluster.cluster, offset=5, limit=100)
        hits = [*first, *rest]
        assert n_members == cluster.n_samples == len(hits)
        assert [hit.rank for hit in hits] == list(range(1, n_members + 1))
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert {hit.sample.cluster for hit in hits} == {cluster.cluster}
        assert atlas.cluster(cluster.cluster).top_samples == tuple(hits[:20])
        only = atlas.search_text("heart", k=64, filters=SampleFilter(cluster=(cluster.cluster,)))
        assert only.n_candidates == cluster.n_samples
    with pytest.raises(NotFoundError):
        atlas.cluster_samples(99)
    with pytest.raises(InputError):
        atlas.samples_page(limit=0)


@slow
def test_keywords_of_a_selection_are_those_of_its_mean(atlas: Atlas) -> None:
    rows = np.array([0, 1, 9])
    names = [atlas.opened.samples.record(int(row)).accession for row in rows]
    mean = np.load(atlas.release.path("vectors.npy")).astype(np.float64)[rows].mean(axis=0)
    expected = atlas.keywords(vector=(mean / np.linalg.norm(mean)).astype(np.float32))
    found = atlas.keywords([*names, names[0]])
    assert [one.term for one in found] == [one.term for one in expected]
    np.testing.assert_allclose([one.z for one in found], [one.z for one in expected], atol=1e-3)
    assert atlas.keywords(["GSE900"], top=1)[0].score > 0
    for wrong in ([], None):
        with pytest.raises(InputError):
            atlas.keywords(wrong)


@slow
def test_edited_label_is_shown_everywhere_and_the_machine_s_is_kept(tiny_settings: Settings) -> None:
    atlas = Atlas.open(tiny_settings)
    before = atlas.clusters()[0]
    edit = LabelEdit(
        edit_id=1, label="Cardiac", machine_label=before.label, author="kim", note=None,
        created_at="2026-01-02T00:00:00Z", made_on_release="tiny", cluster=before.cluster, overlap=1.0, carried="exact",
    )  # fmt: skip
    atlas.relabel({before.cluster: edit})
    now = atlas.clusters()[0]
    assert (now.label, now.machine_label, now.edited_by) == ("Cardiac", before.label, "kim")
    hit = atlas.cluster(before.cluster).top_samples[0]
    assert hit.sample.cluster_label == "Cardiac"
    assert atlas.map().clusters[0].label == "Cardiac"
    position = atlas.similar_samples(hit.sample.accession).position
    assert position is not None
    assert position.cluster_label == "Cardiac"
    assert {one.label for one in atlas.facets().cluster if one.value == str(before.cluster)} == {"Cardiac"}
    atlas.relabel({})
    assert atlas.clusters()[0] == before


@slow
def test_map_shows_given_scores(atlas: Atlas) -> None:
    scores = np.linspace(-2, 3, 64)
    assert atlas.map(scores=scores).score == np.round(scores, 5).tolist()
    assert atlas.map().accession is atlas.map().accession, "made once a release"
    for wrong in (scores[:3], scores[None]):
        with pytest.raises(InputError, match="expected \\(64,\\)"):
            atlas.map(scores=wrong)
    with pytest.raises(InputError, match="one of the two"):
        atlas.map("heart", scores=scores)


@slow
def test_the_map_reads_an_accession_as_the_search_does(atlas: Atlas) -> None:
    name = atlas.opened.samples.record(3).accession
    np.testing.assert_array_equal(atlas.map_scores(name), atlas.map_scores(plus=[name]))
    assert int(np.argmax(atlas.map_scores(name))) == 3
    with pytest.raises(NotFoundError):
        atlas.map_scores("GSM0")


def test_map_of_a_combination_shows_the_scores_its_hits_have(atlas: Atlas) -> None:
    shown = atlas.map("heart", plus=["brain^0.5"], minus=["liver"])
    scores = dict(zip(shown.accession, shown.score or (), strict=True))
    found = atlas.search_text("heart", k=10, plus=["brain^0.5"], minus=["liver"])
    assert [scores[hit.sample.accession] for hit in found.hits] == pytest.approx(
        [hit.score for hit in found.hits], abs=1e-5
    )
    assert atlas.map("heart").score != shown.score
    with pytest.raises(InputError, match="one of the two"):
        atlas.map(plus=["heart"], scores=np.zeros(64))


@slow
def test_questions_work_again_after_closing(tiny_settings: Settings) -> None:
    atlas = Atlas.open(tiny_settings)
    atlas.warm()
    before = atlas.search_text("heart", minus=["liver"], filters=SampleFilter(tissue=("heart",)))
    atlas.close()
    assert atlas.search_text("heart", minus=["liver"], filters=SampleFilter(tissue=("heart",))) == before


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("ischemic", text("ischemic")),
        (" ischemic   heart ^ 0.5 ", text("ischemic heart", 0.5)),
        ("GSM12^2", sample("GSM12", 2)),
        ("CD4^high", text("CD4^high")),
        ("a^b^.25", text("a^b", 0.25)),
        ("x^1e-2", text("x", 0.01)),
        ("^2", text("", 2)),
        ("x^\u0663", text("x", 3)),
        (" " * 200_000 + "x", text("x")),
    ],
)
def test_part_is_read_with_its_weight(raw: str, expected: QueryPart) -> None:
    assert read_part(raw) == expected
    assert read_part(raw, -1).weight == -expected.weight


@pytest.mark.parametrize("raw", ["x^0", "x^-1", "x^10.5", "x^1e999", "x^99999999999"])
def test_weight_out_of_bounds_is_refused(raw: str) -> None:
    with pytest.raises(InputError, match="expected more than 0"):
        read_part(raw)


def test_moments_are_those_of_the_rows(tmp_path: object) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9_001, 12)) * np.linspace(0.2, 2, 12) + 0.3
    path = Path(str(tmp_path)) / "vectors.npy"
    write_vectors(path, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    store = VectorStore.open(path)
    rows = np.load(path).astype(np.float64)
    query = rng.normal(size=12).astype(np.float32)
    moments = Moments.of(store)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(moments.covariance, np.cov(rows.T, bias=True), atol=1e-6)
    assert moments.deviation(query) == pytest.approx((rows @ query).std(), rel=1e-4)
    drawn = Moments.of(store, max_rows=4_000)
    assert drawn.deviation(query) == pytest.approx((rows @ query).std(), rel=0.05)


def test_moments_are_kept_and_damaged_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "moments.npz"
    rng = np.random.default_rng(0)
    moments = Moments(rng.normal(size=5), np.cov(rng.normal(size=(5, 40))))
    moments.save(path)
    kept = Moments.load(path)
    np.testing.assert_allclose(kept.mean, moments.mean, rtol=1e-6)
    np.testing.assert_allclose(kept.covariance, moments.covariance, rtol=1e-5)
    again = tmp_path / "again.npz"
    moments.save(again)
    assert again.read_bytes() == path.read_bytes()
    Moments(np.zeros(4), np.zeros((5, 5))).save(again)
    with pytest.raises(ArtifactError, match="shape"):
        Moments.load(again)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="holds no moments"):
        Moments.load(path)
    with pytest.raises(ArtifactError, match="does not exist"):
        Moments.load(tmp_path / "none.npz")


def test_combinations_are_weighed_by_the_moments_of_the_release(atlas: Atlas, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Moments.of(atlas.opened.store)
    monkeypatch.setattr(Moments, "of", lambda store: pytest.fail("measured though the release has them"))
    kept = atlas.opened.moments
    np.testing.assert_allclose(kept.mean, measured.mean, atol=1e-6)
    np.testing.assert_allclose(kept.covariance, measured.covariance, atol=1e-6)


def test_parts_of_an_atlas_without_spread_count_by_weight_alone() -> None:
    flat = Moments(np.zeros(3), np.zeros((3, 3)))
    vectors = [np.array(one, dtype=np.float32) for one in ([1, 0, 0], [0, 1, 0])]
    factors = strengths(vectors, [3.0, -4.0], moments=flat)
    np.testing.assert_allclose(combine(vectors, factors), [0.6, -0.8, 0], atol=1e-7)
    assert combine(vectors[:1], np.array([2.0])) is vectors[0]
    np.testing.assert_array_equal(combine(vectors[:1], np.array([-2.0])), -vectors[0])
