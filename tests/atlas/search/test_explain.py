"""The genes behind a score, against sums made anew without the gene and against embedding without it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_release import MARKERS
from toy_model import ToyTextTower, toy_features_parts, toy_memory_parts

from atlas.errors import ArtifactError, InputError
from atlas.expression.align import AlignedExpression, Coverage, GeneAligner
from atlas.expression.source import open_source
from atlas.expression.units import Unit
from atlas.manifest import read_manifest, write_json
from atlas.model.gene_tower import _largest
from atlas.model.joint import JointModel
from atlas.model.text_tower import TEXT_TOWERS
from atlas.model.transcriptome import InputKind
from atlas.release import Home, Release
from atlas.search.explain import GeneExplanation, contributions, explain_hit
from atlas.vectors.gene_weights import N_KEPT, GeneWeights, open_records, pack, unpack
from atlas.vectors.store import VectorStore

HEART_ROW = 3


@pytest.fixture(scope="module")
def release(tiny_home: Path) -> Release:
    return Release.open(Home(tiny_home))


@pytest.fixture(scope="module")
def model(release: Release) -> JointModel:
    return JointModel.load(release.path("model"))


@pytest.fixture(scope="module")
def heart(model: JointModel) -> np.ndarray:
    return np.asarray(model.embed_texts(["heart muscle"])[0])


@pytest.fixture
def _toy_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_TOWERS, "toy", ToyTextTower)


def aligned_rows(path: Path, model: JointModel, *, rows: list[int]) -> AlignedExpression:
    with open_source(path) as source:
        ((_, matrix),) = source.blocks(np.array(rows))
        return GeneAligner(source.genes, source.symbols, genes=model.genes).align(matrix)


def tower_sum(model: JointModel, aligned: AlignedExpression, *, without: int | None = None) -> np.ndarray:
    """The unnormalised sum over all genes, spelled out, with one weight set to nothing."""
    weights = model._loaded_transcriptome_tower().weights(aligned, 0)  # type: ignore[attr-defined]
    if without is not None:
        weights[without] = 0.0
    genes = np.flatnonzero(weights)
    return np.asarray(weights[genes] @ model.gene_vectors(genes))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def test_embedding_with_weights_changes_no_bit_of_the_vectors(model: JointModel, tiny_counts: Path) -> None:
    aligned = aligned_rows(tiny_counts, model, rows=[0, 1, 2, HEART_ROW])
    vectors, weights = model.embed_with_weights(aligned, top=5)
    np.testing.assert_array_equal(vectors, model.embed_expression(aligned))
    assert [sample.genes.size for sample in weights] == [5] * 4


def test_strongest_genes_are_those_of_the_tower_with_its_weights(model: JointModel, tiny_counts: Path) -> None:
    aligned = aligned_rows(tiny_counts, model, rows=[HEART_ROW])
    (sample,) = model.embed_with_weights(aligned, top=N_KEPT)[1]
    plain = model._loaded_transcriptome_tower().weights(aligned, 0)  # type: ignore[attr-defined]
    genes = np.flatnonzero(plain)
    pull = plain[genes] * np.linalg.norm(model.gene_vectors(genes), axis=1)
    assert set(sample.genes) == set(genes[np.argsort(-pull)[:N_KEPT]])
    assert sample.norm == pytest.approx(np.linalg.norm(tower_sum(model, aligned)), rel=1e-6)
    np.testing.assert_allclose(sample.weights * sample.norm, plain[sample.genes], rtol=1e-5)
    assert sample.kept == pytest.approx(np.sort(pull)[-N_KEPT:].sum() / pull.sum(), rel=1e-6)


def test_largest_values_are_those_of_a_whole_stable_sort() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 5, 64, 300):
        values = rng.integers(0, 20, 200).astype(np.float64)  # many ties
        np.testing.assert_array_equal(_largest(values, n), np.argsort(-values, kind="stable")[:n])


def test_contribution_is_the_score_less_the_score_of_the_sum_without_the_gene(
    release: Release, model: JointModel, heart: np.ndarray, tiny_counts: Path
) -> None:
    aligned = aligned_rows(tiny_counts, model, rows=[HEART_ROW])
    found = explain_hit(release, model, row=HEART_ROW, query=heart, top=10)
    whole = cosine(tower_sum(model, aligned), heart)
    row_of = {gene: row for row, gene in enumerate(model.genes.ensembl_ids)}
    assert len(found.genes) == len(found.against) == 10
    for gene in (*found.genes, *found.against):
        left = cosine(tower_sum(model, aligned, without=row_of[gene.ensembl_id]), heart)
        assert gene.contribution == pytest.approx(whole - left, abs=2e-5)
        assert model.genes.symbols[row_of[gene.ensembl_id]] == gene.symbol


def test_leaving_a_gene_out_agrees_with_embedding_the_sample_without_it(
    release: Release, model: JointModel, heart: np.ndarray, tiny_counts: Path
) -> None:
    """Without the gene the ranks of all others move by a hair; the contributions must survive that."""
    aligned = aligned_rows(tiny_counts, model, rows=[HEART_ROW])
    found = explain_hit(release, model, row=HEART_ROW, query=heart, top=8)
    row_of = {gene: row for row, gene in enumerate(model.genes.ensembl_ids)}
    for gene in (*found.genes, *found.against):
        measured = np.array(aligned.measured)
        measured[0, row_of[gene.ensembl_id]] = False
        values = np.where(measured, aligned.values, np.float32(0))
        less = AlignedExpression(values, measured, aligned.units, aligned.sample_ids, aligned.coverage)
        again = found.score - float(model.embed_expression(less)[0] @ heart)
        assert gene.contribution == pytest.approx(again, abs=6e-4)


def test_heart_sample_answers_heart_by_heart_genes(release: Release, model: JointModel, heart: np.ndarray) -> None:
    found = explain_hit(release, model, row=HEART_ROW, query=heart, top=10)
    assert {gene.symbol for gene in found.genes[:5]} <= set(MARKERS["heart"])
    assert [g.contribution for g in found.genes] == sorted((g.contribution for g in found.genes), reverse=True)
    assert [g.contribution for g in found.against] == sorted(g.contribution for g in found.against)
    assert found.against[0].contribution < 0 < found.genes[-1].contribution
    assert 0 < found.kept_weight <= 1
    assert found.n_genes == N_KEPT


def test_score_is_the_one_the_search_gives(release: Release, model: JointModel, heart: np.ndarray) -> None:
    with VectorStore.open(release.path("vectors.npy")) as store:
        score = float(store.exact_scores(heart, np.array([HEART_ROW]))[0])
    assert explain_hit(release, model, row=HEART_ROW, query=heart).score == score


def test_question_turned_round_turns_the_genes_round(release: Release, model: JointModel, heart: np.ndarray) -> None:
    towards = explain_hit(release, model, row=HEART_ROW, query=heart, top=N_KEPT)
    away = explain_hit(release, model, row=HEART_ROW, query=-heart, top=N_KEPT)
    assert [g.symbol for g in towards.genes] == [g.symbol for g in away.against]
    assert [g.contribution for g in towards.genes] == [-g.contribution for g in away.against]


def test_combined_question_is_explained_by_its_one_vector(release: Release, model: JointModel) -> None:
    texts = model.embed_texts(["heart muscle", "liver"]).astype(np.float64)
    query = texts[0] - 0.5 * texts[1]
    query /= np.linalg.norm(query)
    combined = explain_hit(release, model, row=HEART_ROW, query=query, top=N_KEPT)
    parts = [_by_gene(explain_hit(release, model, row=HEART_ROW, query=text, top=N_KEPT)) for text in texts]
    length = np.linalg.norm(texts[0] - 0.5 * texts[1])
    for gene in combined.genes:  # contributions are linear in the question
        expected = (parts[0].get(gene.symbol, 0.0) - 0.5 * parts[1].get(gene.symbol, 0.0)) / length
        assert gene.contribution == pytest.approx(expected, abs=1e-6)


def _by_gene(found: GeneExplanation) -> dict[str, float]:
    return {gene.symbol: gene.contribution for gene in (*found.genes, *found.against)}


def test_only_gene_of_a_sample_carries_all_of_its_score() -> None:
    gene = np.array([[3.0, 4.0]])
    weights = GeneWeights(np.array([0]), np.array([0.2]), 5.0, 1.0)
    vector = np.array([0.6, 0.8], dtype=np.float32)
    lost = contributions(weights, vector=vector, query=np.array([1.0, 0.0]), gene_vectors=gene)
    assert lost == pytest.approx([0.6])


@pytest.mark.parametrize("kind", ["bulk", "cells"])
@pytest.mark.usefixtures("_toy_tower")
def test_genes_below_their_usual_level_are_left_out_as_exactly(kind: InputKind) -> None:
    """Signed weights: against sums made anew without each gene."""
    model = JointModel.of_parts(toy_memory_parts(64))
    values = np.random.default_rng(0).gamma(0.4, 30.0, size=(1, 64)).astype(np.float32)
    coverage = Coverage(64, 64, 64, 64, 0, "ensembl", "human", ())
    aligned = AlignedExpression(values, np.ones((1, 64), bool), (Unit.COUNTS,), ("s",), coverage)
    vectors, (weights,) = model.embed_with_weights(aligned, top=N_KEPT, kind=kind)
    query = np.random.default_rng(1).normal(size=model.dim)
    query /= np.linalg.norm(query)
    lost = contributions(weights, vector=vectors[0], query=query, gene_vectors=model.gene_vectors(weights.genes))
    plain = model._loaded_transcriptome_tower().weights(aligned, 0, kind=kind)  # type: ignore[attr-defined]
    assert plain.min() < 0 < plain.max()
    whole = cosine(plain @ model.gene_vectors(np.arange(64)), query)
    for gene, mine in zip(weights.genes, lost, strict=True):
        without = np.where(np.arange(64) == gene, 0.0, plain)
        assert mine == pytest.approx(whole - cosine(without @ model.gene_vectors(np.arange(64)), query), abs=1e-6)
    (record,) = pack([weights], n_genes=64)
    np.testing.assert_allclose(record["weight"][: weights.genes.size], weights.weights, rtol=1e-3, atol=1e-7)


@pytest.mark.usefixtures("_toy_tower")
def test_model_whose_vectors_are_no_sums_over_genes_cannot_explain(release: Release, heart: np.ndarray) -> None:
    other = JointModel.of_parts(toy_features_parts(16))
    with pytest.raises(ArtifactError, match="no weighted sums of gene vectors") as caught:
        explain_hit(release, other, row=0, query=heart)
    assert caught.value.kind == "incompatible"
    for call in (lambda: other.gene_vectors(np.arange(2)), lambda: other.embed_with_weights(None, top=1)):  # type: ignore[arg-type]
        with pytest.raises(ArtifactError, match="no weighted sums"):
            call()


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_weights_that_half_precision_cannot_hold_are_refused(size: float) -> None:
    with pytest.raises(ArtifactError, match="mean length is 1"):
        pack([GeneWeights(np.array([0]), np.array([size]), 1.0, 1.0)], n_genes=4)


def test_weak_gene_keeps_its_sign_in_half_precision() -> None:
    records = pack([GeneWeights(np.array([0, 1]), np.array([0.5, -1e-12]), 1.0, 1.0)], n_genes=4)
    assert unpack(records, row=0).weights[1] < 0


@pytest.mark.parametrize("top", [0, -1, N_KEPT + 1])
def test_number_of_genes_is_bounded(release: Release, model: JointModel, heart: np.ndarray, top: int) -> None:
    with pytest.raises(InputError, match="between 1 and 256"):
        explain_hit(release, model, row=0, query=heart, top=top)


def _copy(release: Release, home: Path, *, records: np.ndarray | None) -> Release:
    """The release with other gene weights, or as one built before there were any."""
    folder = home / "releases" / "tiny"
    shutil.copytree(release.folder, folder)
    manifest = read_manifest(folder / "manifest.json")
    files = [entry for entry in manifest.files if entry.path != "gene_weights.npy"]
    (folder / "gene_weights.npy").unlink()
    if records is not None:
        np.save(folder / "gene_weights.npy", records)
    write_json(folder / "manifest.json", manifest.model_copy(update={"files": files}).model_dump(mode="json"))
    return Release(folder)


def test_release_without_gene_weights_says_so(
    release: Release, model: JointModel, heart: np.ndarray, tmp_path: Path
) -> None:
    old = _copy(release, tmp_path, records=None)
    with pytest.raises(ArtifactError, match="before gene weights were kept") as caught:
        explain_hit(old, model, row=0, query=heart)
    assert caught.value.kind == "missing"


def test_sample_without_gene_weights_says_so(
    release: Release, model: JointModel, heart: np.ndarray, tmp_path: Path
) -> None:
    records = np.array(open_records(release.path("gene_weights.npy")))
    records[0] = np.zeros((), dtype=records.dtype)
    old = _copy(release, tmp_path, records=records)
    with pytest.raises(ArtifactError, match="starter without them") as caught:
        explain_hit(old, model, row=0, query=heart)
    assert caught.value.kind == "missing"
    assert explain_hit(old, model, row=1, query=heart).n_genes == N_KEPT


def test_records_keep_genes_and_weights_to_their_precision() -> None:
    rng = np.random.default_rng(0)
    samples = [
        GeneWeights(rng.permutation(60_000)[:n], np.sort(rng.gamma(1.0, size=n))[::-1], 7.5, 0.25)
        for n in (1, N_KEPT, N_KEPT + 40)
    ]
    records = pack(samples, n_genes=60_000)
    for row, sample in enumerate(samples):
        back = unpack(records, row=row)
        np.testing.assert_array_equal(back.genes, sample.genes[:N_KEPT])
        np.testing.assert_allclose(back.weights, sample.weights[:N_KEPT], rtol=1e-3)
        assert (back.norm, back.kept) == (7.5, 0.25)


def test_model_with_more_genes_than_a_record_can_number_is_refused() -> None:
    with pytest.raises(ArtifactError, match="at most 65,536"):
        pack([], n_genes=65_537)


def test_real_heart_failure_hits_are_carried_by_heart_genes() -> None:
    """The packaged gene weights belong to the packaged vectors, and real hits are explained by the genes one expects."""
    from atlas.resources import resource_path
    from indexer.sources.starter import read_starter

    starter = read_starter(resource_path("starter"))
    model = JointModel.load(resource_path("starter/model"))
    query = model.embed_texts(["cardiomyopathy"])[0]
    best = int(np.argmax(starter.vectors.astype(np.float32) @ query))
    weights = unpack(starter.gene_weights, row=best)
    lost = contributions(
        weights, vector=starter.vectors[best], query=query, gene_vectors=model.gene_vectors(weights.genes)
    )
    strongest = {model.genes.symbols[weights.genes[i]] for i in np.argsort(-lost)[:20]}
    assert strongest & {"MYH7", "MYH6", "MYBPC3", "TNNT2", "TNNI3", "TTN", "NPPA", "NPPB", "ACTC1", "MYL2", "CSRP3"}
