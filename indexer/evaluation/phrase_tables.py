"""The phrase tables of an evaluation: three tables, wordings, and what the model is held against.

Every sample is scored by the model of its fold, which was trained without its study; a model that saw no sample at all scores
every fold.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.errors import InputError
from atlas.model.joint import JointModel
from indexer.evaluation.baselines import Embed, LabelSet, marker_scorer
from indexer.evaluation.corpus import Corpus
from indexer.evaluation.curated import (
    CONTRAST_RULES,
    PHRASE_RULES,
    WORDINGS,
    PhraseRule,
    read_phrase_rules,
    read_wordings,
)
from indexer.evaluation.dictionary import Dictionary
from indexer.evaluation.metrics import Estimate, draw_counts, interval, macro
from indexer.evaluation.phrases import (
    CaseControlResult,
    FoldedResult,
    WordingResult,
    contrast_auc,
    evaluate_case_control,
    evaluate_in_folds,
    evaluate_wordings,
    first_phrases,
    mean_in_folds,
)
from indexer.evaluation.retrieval import shared_words
from indexer.evaluation.tables import markdown, number, show

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhraseScores:
    """Scores of one scorer; columns are phrases, contrasts, and the wordings one phrase after another."""

    phrases: np.ndarray
    contrasts: np.ndarray
    wordings: np.ndarray | None = None


@dataclass(frozen=True)
class PhraseFigures:
    """Means of one scorer over its tables."""

    located: Estimate  # tissue, cell and tumour phrases
    diseases: Estimate
    every: Estimate
    contrasts: Estimate
    n_labelled: int
    top_1: float
    top_5: float


@dataclass(frozen=True)
class PhraseTables:
    """Everything measured with phrases."""

    n_samples: int
    n_studies: int
    n_folds: int
    n_models: int
    figures: Mapping[str, PhraseFigures]  # by scorer, the model first
    phrases: tuple[FoldedResult, ...]
    contrasts: tuple[CaseControlResult, ...]
    wordings: tuple[WordingResult, ...]


@dataclass(frozen=True)
class Questions:
    """What is asked: rules of phrases and contrasts, and the wordings of each phrase."""

    phrases: tuple[PhraseRule, ...]
    contrasts: tuple[PhraseRule, ...]
    wordings: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls) -> Questions:
        """Read the packaged tables."""
        return cls(read_phrase_rules(PHRASE_RULES), read_phrase_rules(CONTRAST_RULES), read_wordings(WORDINGS))

    @property
    def texts(self) -> list[str]:
        """Phrases, contrasts and wordings, the columns of :class:`PhraseScores` in one list."""
        said = [wording for rule in self.phrases for wording in self.wordings.get(rule.phrase, (rule.phrase,))]
        return [*(rule.phrase for rule in self.phrases), *(rule.phrase for rule in self.contrasts), *said]

    def split(self, scores: np.ndarray) -> PhraseScores:
        """Cut ``(n_samples, n_texts)`` scores of :attr:`texts` apart."""
        first = len(self.phrases)
        then = first + len(self.contrasts)
        return PhraseScores(scores[:, :first], scores[:, first:then], scores[:, then:])


def measure_phrases(
    corpus: Corpus,
    models: Sequence[JointModel],
    *,
    folds: np.ndarray,
    others: Mapping[str, JointModel],
    markers: Mapping[str, Sequence[str]],
    embed: Embed,
    dictionary: Dictionary | None = None,
    seed: int,
    n_draws: int,
) -> PhraseTables:
    """Measure phrases.

    Parameters
    ----------
    models
        One model for all folds, or one a fold in the order of the folds' numbers.
    folds
        ``(n_samples,)`` fold of each sample; a study lies in one fold.
    others, markers, embed, dictionary
        Other models by name, a table of markers, a text tower alone, and gene sets as they are, for the baselines.

    Raises
    ------
    InputError
        If there is neither one model nor one a fold.
    """
    asked = Questions.read()
    scores = asked.split(scores_in_folds(corpus, models, texts=asked.texts, folds=folds))
    held = {name: asked.split(_scores(corpus, model, asked.texts)) for name, model in others.items()}
    held |= {
        name: asked.split(part)
        for name, part in _baselines(corpus, asked, models[0], markers, embed, dictionary).items()
    }
    samples = corpus.samples
    draws = [
        draw_counts(samples.studies, seed=seed, n_draws=n_draws, redraw_members=redraw) for redraw in (False, True)
    ]
    figures = {
        name: _figures(asked, part, corpus, folds=folds, draws=draws)
        for name, part in {"model": scores, **held}.items()
    }
    return PhraseTables(
        n_samples=len(samples),
        n_studies=len(np.unique(samples.studies)),
        n_folds=len(np.unique(folds)),
        n_models=len(models),
        figures=figures,
        phrases=tuple(
            evaluate_in_folds(rule, scores.phrases[:, i], samples=samples, folds=folds, counts=draws[0])
            for i, rule in enumerate(asked.phrases)
        ),
        contrasts=tuple(
            evaluate_case_control(
                rule, scores.contrasts[:, i], samples=samples, within="series", seed=seed, n_draws=n_draws
            )
            for i, rule in enumerate(asked.contrasts)
        ),
        wordings=_wordings(asked, scores, corpus, folds=folds),
    )


def scores_in_folds(
    corpus: Corpus, models: Sequence[JointModel], *, texts: Sequence[str], folds: np.ndarray
) -> np.ndarray:
    """Return ``(n_samples, n_texts)`` cosines, each sample's by the model of its fold."""
    numbers = np.unique(folds)
    if len(models) not in (1, len(numbers)):
        raise InputError(f"{len(models)} models were given for {len(numbers)} folds; give one model, or one a fold.")
    if len(models) == 1:
        return _scores(corpus, models[0], texts)
    found = np.zeros((len(folds), len(texts)), dtype=np.float32)
    for fold, model in zip(numbers, models, strict=True):
        logger.info("phrases: fold %d", fold)
        mine = folds == fold
        vectors = corpus.embed(model, wanted=mine)[mine]
        found[mine] = vectors @ model.embed_texts(list(texts)).T
    return found


def phrase_table(tables: PhraseTables, *, kinds: Sequence[str]) -> str:
    """Markdown: phrases of some kinds against all other samples of their folds."""
    rows = [
        (
            one.phrase, one.n_positive, one.n_studies, one.n_folds, show(one.auroc),
            "unseen in training" if one.unseen and tables.n_models > 1 else "one study" if one.unseen else "",
        )
        for one in tables.phrases
        if one.kind in kinds
    ]  # fmt: skip
    return markdown(("phrase", "positives", "studies", "folds", "AUROC [95 %]", ""), rows)


def contrast_table(tables: PhraseTables) -> str:
    """Markdown: diseases against controls of the same study."""
    rows = [
        (one.phrase, one.n_cases, one.n_controls, one.n_studies, show(one.auroc) + (" †" if one.n_studies < 3 else ""))
        for one in tables.contrasts
    ]
    return markdown(("disease", "cases", "controls", "studies", "AUROC [95 %]"), rows)


def wording_table(tables: PhraseTables) -> str:
    """Markdown: how much the wording of a phrase matters."""
    rows = [
        (one.phrase, number(one.aurocs[0]), number(one.mean), number(one.deviation), *_worst(one))
        for one in tables.wordings
    ]
    spread = [one.deviation for one in tables.wordings]
    rows.append(
        (
            "**mean**",
            "",
            number(float(np.mean([one.mean for one in tables.wordings]))),
            number(float(np.mean(spread))),
            "",
            "",
        )
    )
    return markdown(("phrase", "as written", "mean of wordings", "deviation", "lowest", "of"), rows)


def figure_table(tables: PhraseTables) -> str:
    """Markdown: means of the model and of what it is held against."""
    rows = [
        (
            name, show(one.located), show(one.diseases), show(one.every), show(one.contrasts),
            f"{one.top_1:.2f} / {one.top_5:.2f}",
        )
        for name, one in tables.figures.items()
    ]  # fmt: skip
    n = len(tables.phrases)
    rows.append(("chance", "0.500", "0.500", "0.500", "0.500", f"{1 / n:.2f} / {5 / n:.2f}"))
    columns = (
        "", "tissue, cell, tumour [95 %]", "disease v all [95 %]", f"all {n} [95 %]",
        f"disease v controls, {len(tables.contrasts)} contrasts [95 %]", "phrase among a sample's first 1 / 5",
    )  # fmt: skip
    return markdown(columns, rows)


def phrase_json(tables: PhraseTables) -> dict[str, Any]:
    """Return everything for the JSON report."""
    return {
        "n_samples": tables.n_samples,
        "n_studies": tables.n_studies,
        "n_folds": tables.n_folds,
        "n_models": tables.n_models,
        "figures": {name: vars(one) for name, one in tables.figures.items()},
        "phrases": [vars(one) for one in tables.phrases],
        "contrasts": [vars(one) for one in tables.contrasts],
        "wordings": [vars(one) for one in tables.wordings],
    }


def _scores(corpus: Corpus, model: JointModel, texts: Sequence[str]) -> np.ndarray:
    return np.asarray(corpus.embed(model) @ model.embed_texts(list(texts)).T, dtype=np.float32)


def _baselines(
    corpus: Corpus,
    asked: Questions,
    model: JointModel,
    markers: Mapping[str, Sequence[str]],
    embed: Embed,
    dictionary: Dictionary | None,
) -> dict[str, np.ndarray]:
    """Scores of ``asked.texts`` by words in captions, by their text vectors, and by marker genes."""
    captions = corpus.captions()
    found = {
        "lexical, on captions": shared_words(asked.texts, captions).T,
        "text only, on captions": embed(captions) @ embed(asked.texts).T,
    }
    labels = LabelSet(tuple(asked.texts), tuple(asked.texts), model.genes, "human")
    scorers = {"markers": marker_scorer(labels, markers=markers, embed=embed)} if markers else {}
    if dictionary is not None:
        scorers["dictionary"] = dictionary.scorer(labels)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in scorers}
    for block in corpus.blocks(model) if scorers else ():
        for name, score in scorers.items():
            parts[name].append(score(block))
    return found | {name: np.concatenate(part) for name, part in parts.items()}


def _figures(
    asked: Questions, scores: PhraseScores, corpus: Corpus, *, folds: np.ndarray, draws: Sequence[np.ndarray]
) -> PhraseFigures:
    """Means over the tables; ``draws`` are of studies, and of studies and samples within them (for contrasts)."""
    samples = corpus.samples

    def mean(kinds: Sequence[str]) -> Estimate:
        columns = [i for i, rule in enumerate(asked.phrases) if rule.kind in kinds]
        rules = [asked.phrases[i] for i in columns]
        return mean_in_folds(rules, scores.phrases[:, columns], samples=samples, folds=folds, counts=draws[0])

    def of_contrasts(counts: np.ndarray | None) -> np.ndarray:
        found = [
            contrast_auc(rule, scores.contrasts[:, i], samples=samples, counts=counts)
            for i, rule in enumerate(asked.contrasts)
        ]
        return macro(np.stack(found, axis=1))

    n_labelled, top_1, top_5 = first_phrases(asked.phrases, scores.phrases, samples=samples)
    return PhraseFigures(
        located=mean(("tissue", "tumour")),
        diseases=mean(("disease",)),
        every=mean(("tissue", "tumour", "disease")),
        contrasts=Estimate(float(of_contrasts(None)[0]), *interval(of_contrasts(draws[1]))),
        n_labelled=n_labelled,
        top_1=top_1,
        top_5=top_5,
    )


def _wordings(
    asked: Questions, scores: PhraseScores, corpus: Corpus, *, folds: np.ndarray
) -> tuple[WordingResult, ...]:
    if scores.wordings is None:
        return ()
    found, start = [], 0
    for rule in asked.phrases:
        said = asked.wordings.get(rule.phrase, (rule.phrase,))
        columns = scores.wordings[:, start : start + len(said)]
        found.append(evaluate_wordings(rule, said, columns, samples=corpus.samples, folds=folds))
        start += len(said)
    return tuple(found)


def _worst(one: WordingResult) -> tuple[str, str]:
    place = int(np.argmin(one.aurocs))
    return number(one.aurocs[place]), one.wordings[place]
