"""Phrase evaluation against slow, spelled-out versions; the rules against the labels they speak of."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from atlas.errors import InputError
from indexer.evaluation.corpus import Corpus, study_folds
from indexer.evaluation.curated import (
    CONTRAST_RULES,
    WORDINGS,
    CuratedSamples,
    PhraseRule,
    read_curated,
    read_phrase_rules,
    read_wordings,
)
from indexer.evaluation.curated import PHRASE_RULES as RULES
from indexer.evaluation.metrics import bootstrap, draw_counts, precision_at, roc_auc, stratified_auc
from indexer.evaluation.phrases import (
    FirstPhrases,
    auc_in_folds,
    contrast_auc,
    evaluate_case_control,
    evaluate_in_folds,
    evaluate_phrase,
    evaluate_wordings,
    first_phrases,
    mean_in_folds,
)

N_PHRASES = 16
N_CONTRASTS = 11


def samples(rows: list[tuple[str, str, str]]) -> CuratedSamples:
    """Samples from (tissue, condition, series); the study is the series."""
    tissues, conditions, series = (np.array(column) for column in zip(*rows, strict=True))
    return CuratedSamples(np.array([f"s{i}" for i in range(len(rows))]), tissues, conditions, series, series)


def disease(phrase: str, condition: str, control: str) -> PhraseRule:
    return PhraseRule(phrase, "disease", None, re.compile(condition), re.compile(control))


def pairwise_auc(scores: np.ndarray, positive: np.ndarray, counts: np.ndarray) -> float:
    wins = pairs = 0.0
    for i in np.flatnonzero(positive):
        for j in np.flatnonzero(~positive):
            weight = counts[i] * counts[j]
            pairs += weight
            wins += weight * (1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0)
    return wins / pairs


@pytest.mark.parametrize("seed", range(5))
def test_roc_auc_counts_pairs_ties_half_and_draws_as_often_as_drawn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, size=40).astype(float)
    positive = rng.random(40) < 0.3
    counts = rng.integers(0, 3, size=40)
    assert roc_auc(scores, positive, counts=counts) == pytest.approx(pairwise_auc(scores, positive, counts))
    assert roc_auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def test_roc_auc_without_a_class_is_nan() -> None:
    assert np.isnan(roc_auc(np.array([1.0, 2.0]), np.array([True, True])))


def test_precision_takes_the_smaller_row_of_a_tie() -> None:
    positive = np.array([True, False, True, False])
    assert precision_at(np.array([1.0, 1.0, 0.5, 2.0]), positive, k=2) == 0.5


def test_stratified_auc_compares_only_inside_a_stratum() -> None:
    scores = np.array([0.1, 0.2, 0.8, 0.9])
    positive = np.array([False, True, False, True])
    strata = np.array(["a", "a", "b", "b"])
    assert stratified_auc(scores, positive, strata=strata) == 1.0
    assert roc_auc(scores, positive) == 0.75
    assert np.isnan(stratified_auc(scores[::2], positive[::2], strata=strata[::2]))


def test_bootstrap_draws_whole_groups() -> None:
    groups = np.array(["a", "a", "b", "c", "c", "c"])
    seen: list[np.ndarray] = []

    def keep(counts: np.ndarray) -> float:
        seen.append(counts)
        return float(counts.sum())

    bootstrap(keep, groups=groups, seed=0, n_draws=50)
    for counts in seen:
        assert counts[0] == counts[1]
        assert counts[3] == counts[4] == counts[5]
        assert counts[0] + counts[2] + counts[3] == 3
    assert len({tuple(counts) for counts in seen}) > 3


def test_bootstrap_can_draw_the_members_of_a_drawn_group_again() -> None:
    groups = np.array(["a"] * 4 + ["b"] * 2)
    seen: list[tuple[int, ...]] = []

    def keep(counts: np.ndarray) -> float:
        seen.append(tuple(counts))
        return float(counts[:4].sum())

    bootstrap(keep, groups=groups, seed=0, n_draws=50, redraw_members=True)
    assert {(sum(counts[:4]), sum(counts[4:])) for counts in seen} == {(8, 0), (4, 2), (0, 4)}
    assert any(counts[0] != counts[1] for counts in seen)


def test_bootstrap_is_repeatable_and_holds_the_mean() -> None:
    values = np.random.default_rng(0).normal(size=200)
    groups = np.arange(200).astype(str)

    def mean(counts: np.ndarray) -> float:
        return float(np.average(values, weights=counts))

    low, high = bootstrap(mean, groups=groups, seed=1, n_draws=400)
    assert (low, high) == bootstrap(mean, groups=groups, seed=1, n_draws=400)
    assert low < values.mean() < high
    assert (high - low) == pytest.approx(2 * 1.96 * values.std() / np.sqrt(200), rel=0.25)


def test_case_control_separates_tissue_from_disease() -> None:
    rows = [("heart", "sick", "A")] * 4 + [("heart", "well", "A")] * 4 + [("liver", "well", "B")] * 20
    corpus = samples(rows)
    rng = np.random.default_rng(0)
    scores = np.where(corpus.tissues == "heart", 1.0, 0.0) + rng.normal(0, 1e-3, len(corpus))
    scores[:8] = [1, 2, 3, 4, 1, 2, 3, 4]  # within hearts the score knows nothing
    rule = disease("sickness", "sick", "well")
    assert evaluate_phrase(rule, scores, samples=corpus, n_draws=50).auroc.value > 0.9
    result = evaluate_case_control(rule, scores, samples=corpus, within="tissue", n_draws=50)
    assert result.auroc is not None
    assert result.auroc.value == 0.5
    assert (result.n_cases, result.n_controls, result.n_studies) == (4, 4, 1)
    assert result.auroc.low < 0.5 < result.auroc.high


def test_case_control_needs_both_in_the_series() -> None:
    rows = [("Heart", "sick", "A"), ("heart", "well", "B"), ("heart", "sick", "B"), ("heart", "well", "B")]
    corpus, rule = samples(rows), disease("sickness", "sick", "well")
    scores = np.array([0.0, 1.0, 2.0, 3.0])
    by_tissue = evaluate_case_control(rule, scores, samples=corpus, within="tissue", n_draws=20)
    by_series = evaluate_case_control(rule, scores, samples=corpus, within="series", n_draws=20)
    assert (by_tissue.n_cases, by_tissue.n_controls, by_tissue.n_studies) == (2, 2, 2)
    assert (by_series.n_cases, by_series.n_controls, by_series.n_studies) == (1, 2, 1)
    assert by_series.auroc is not None
    assert by_series.auroc.value == 0.5


def test_case_control_without_controls_gives_no_figure() -> None:
    corpus = samples([("eye", "uveal melanoma", "A"), ("skin", "normal", "B")])
    rule = disease("uveal melanoma", "uveal", "normal")
    result = evaluate_case_control(rule, np.zeros(2), samples=corpus, within="tissue")
    assert (result.auroc, result.n_cases, result.n_controls) == (None, 0, 0)


def test_read_curated_joins_files_and_studies(tmp_path: Path) -> None:
    for name, series in (("a.h5", "GSE107992"), ("b.h5", "GSE5,GSE6")):
        with h5py.File(tmp_path / name, "w") as file:
            for field in ("geo_accession", "curated_tissue", "curated_condition"):
                file[f"meta/samples/{field}"] = np.array([name], dtype=h5py.string_dtype())
            file["meta/samples/series_id"] = np.array([series], dtype=h5py.string_dtype())
    read = read_curated([tmp_path / "a.h5", tmp_path / "b.h5"])
    assert read.sample_ids.tolist() == ["a.h5", "b.h5"]
    assert read.series.tolist() == ["GSE107992", "GSE5"]
    assert read.studies.tolist() == ["GSE107991", "GSE5"]


def test_read_curated_refuses_a_file_without_labels(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["meta/samples/geo_accession"] = np.array(["s"], dtype=h5py.string_dtype())
    with pytest.raises(InputError, match="curated_tissue"):
        read_curated([tmp_path / "a.h5"])


def test_committed_rules_are_whole() -> None:
    rules = read_phrase_rules(RULES)
    assert len(rules) == len({rule.phrase for rule in rules}) == N_PHRASES
    assert all((rule.control is not None) == (rule.kind != "tissue") for rule in rules)


@pytest.mark.parametrize(
    "row",
    ["x\tgene\ta\t\t", "x\ttissue\t[\t\t", "x\ttissue\t\t\t"],
    ids=["kind", "pattern", "nothing asked"],
)
def test_wrong_rule_is_refused(tmp_path: Path, row: str) -> None:
    path = tmp_path / "rules.tsv"
    path.write_text(f"phrase\tkind\ttissue\tcondition\tcontrol\n{row}\n")
    with pytest.raises(InputError):
        read_phrase_rules(path)


def test_rules_with_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.tsv"
    path.write_text("phrase\ttissue\nheart\theart\n")
    with pytest.raises(InputError, match="columns"):
        read_phrase_rules(path)


@pytest.mark.data
def test_rules_find_the_samples_they_mean(data_root: Path) -> None:
    corpus = read_curated([data_root / "corpora" / name for name in ("counts.h5", "tpm.h5")])
    found = {rule.phrase: rule for rule in read_phrase_rules(RULES)}
    assert len(corpus) == 2_399
    numbers = {phrase: int(rule.positives(corpus).sum()) for phrase, rule in found.items()}
    assert numbers["cardiomyopathy"] == 200
    assert numbers["liver"] == 86
    assert numbers["tuberculosis"] == 97
    assert min(numbers.values()) >= 40
    latent = corpus.conditions == "latent tuberculosis infection"
    assert found["tuberculosis"].controls(corpus)[latent].all()
    assert not found["tuberculosis"].positives(corpus)[latent].any()


def test_folds_are_averaged_and_never_pooled() -> None:
    """Each fold is perfect on a scale of its own; pooled, the order would be wrong."""
    scores = np.array([0.9, 0.8, 0.2, 0.1])
    positive = np.array([True, False, True, False])
    folds = np.array([0, 0, 1, 1])
    assert auc_in_folds(scores, positive, folds=folds).tolist() == [1.0]
    assert roc_auc(scores, positive) == 0.75


def test_folds_without_both_classes_say_nothing() -> None:
    scores, positive = np.array([0.1, 0.9, 0.5]), np.array([False, True, False])
    assert auc_in_folds(scores, positive, folds=np.array([0, 0, 1])).tolist() == [1.0]
    assert np.isnan(auc_in_folds(scores, positive, folds=np.array([0, 1, 2]))).all()


def test_drawn_folds_and_contrasts_equal_those_of_copied_samples() -> None:
    rng = np.random.default_rng(0)
    rows = [("heart", rng.choice(["sick", "well"]), f"S{i % 6}") for i in range(60)]
    corpus, rule = samples(rows), disease("sickness", "sick", "well")
    scores, folds = rng.normal(size=60), study_folds(corpus.studies, n_folds=3)
    counts = draw_counts(corpus.studies, seed=0, n_draws=4, redraw_members=True)
    positive = rule.positives(corpus)
    in_folds = auc_in_folds(scores, positive, folds=folds, counts=counts)
    contrasts = contrast_auc(rule, scores, samples=corpus, counts=counts)
    for one, fold_auc, contrast in zip(counts, in_folds, contrasts, strict=True):
        copied = np.repeat(np.arange(60), one)
        assert fold_auc == pytest.approx(auc_in_folds(scores[copied], positive[copied], folds=folds[copied])[0])
        expected = stratified_auc(scores[copied], positive[copied], strata=corpus.series[copied])
        assert contrast == pytest.approx(expected)


def test_a_study_lies_in_one_fold_and_folds_are_even() -> None:
    studies = np.repeat([f"S{i}" for i in range(23)], 4)
    folds = study_folds(studies)
    assert {len(np.unique(folds[studies == name])) for name in np.unique(studies)} == {1}
    assert np.bincount(folds).tolist() == [20, 20, 20, 16, 16]
    assert (study_folds(studies) == folds).all()


def test_means_over_phrases_and_wordings() -> None:
    rows = [("heart", "well", "A"), ("liver", "well", "A"), ("heart", "well", "B"), ("liver", "well", "B")]
    corpus = samples(rows)
    rules = [PhraseRule(name, "tissue", re.compile(name), None, None) for name in ("heart", "liver")]
    scores = np.array([[2.0, 0.0], [1.0, 1.0], [2.0, 0.0], [1.0, -1.0]])
    folds, counts = np.array([0, 0, 1, 1]), np.ones((3, 4))
    mean = mean_in_folds(rules, scores, samples=corpus, folds=folds, counts=counts)
    assert (mean.value, mean.low, mean.high) == (0.75, 0.75, 0.75)
    one = evaluate_in_folds(rules[1], scores[:, 1], samples=corpus, folds=folds, counts=counts)
    assert (one.auroc.value, one.n_positive, one.n_studies, one.n_folds, one.unseen) == (0.5, 2, 2, 2, False)
    said = evaluate_wordings(rules[0], ["heart", "cardiac"], scores, samples=corpus, folds=folds)
    assert said.aurocs == (1.0, 0.5)
    assert (said.mean, said.deviation) == (0.75, pytest.approx(np.std([1.0, 0.5], ddof=1)))
    assert first_phrases(rules, scores, samples=corpus) == FirstPhrases(4, 0.5, 1.0)
    nobody = [PhraseRule("lung", "tissue", re.compile("lung"), None, None)]
    none = first_phrases(nobody, scores[:, :1], samples=corpus)
    assert (none.n, str(none)) == (0, "nan / nan")


def test_committed_contrasts_and_wordings_are_whole() -> None:
    contrasts = read_phrase_rules(CONTRAST_RULES)
    assert len(contrasts) == N_CONTRASTS
    assert all(rule.control is not None for rule in contrasts)
    wordings = read_wordings(WORDINGS)
    assert set(wordings) == {rule.phrase for rule in read_phrase_rules(RULES)}
    assert {len(set(said)) for said in wordings.values()} == {5}
    assert all(said[0] == phrase for phrase, said in wordings.items())


@pytest.mark.data
def test_every_contrast_has_cases_and_controls_in_a_study(data_root: Path) -> None:
    corpus = Corpus.open(data_root)
    assert len(corpus.captions()) == len(corpus.samples)
    for rule in read_phrase_rules(CONTRAST_RULES):
        value = contrast_auc(rule, rule.positives(corpus.samples).astype(float), samples=corpus.samples)
        assert value.tolist() == [1.0], rule.phrase
