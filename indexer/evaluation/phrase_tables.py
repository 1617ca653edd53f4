"""The phrase tables of an evaluation: three tables, wordings, and what the model is held against.

Every sample is scored by the model of its fold, which was trained without its study; a model that saw no sample at all scores
every fold.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.model.joint import JointModel
from indexer.evaluation.baselines import LabelSet
from indexer.evaluation.corpus import Corpus
from indexer.evaluation.curated import (
    CONTRAST_RULES,
    PHRASE_RULES,
    WORDINGS,
    PhraseRule,
    read_phrase_rules,
    read_wordings,
)
from indexer.evaluation.folds import parts_of_models
from indexer.evaluation.lexical import shared_words
from indexer.evaluation.metrics import Estimate, draw_counts, interval, macro
from indexer.evaluation.phrases import (
    CaseControlResult,
    FirstPhrases,
    FoldedResult,
    WordingResult,
    auc_in_folds,
    contrast_auc,
    evaluate_case_control,
    evaluate_in_folds,
    evaluate_wordings,
    first_phrases,
    mean_in_folds,
)
from indexer.evaluation.rivals import Rivals
from indexer.evaluation.tables import markdown, number, show

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhraseScores:
    """Scores of one scorer; columns are phrases, contrasts, and the wordings one phrase after another."""

    phrases: np.ndarray
    contrasts: np.ndarray
    wordings: np.ndarray


@dataclass(frozen=True)
class PhraseFigures:
    """Means of one scorer over its tables."""

    located: Estimate  # tissue, cell and tumour phrases
    diseases: Estimate
    every: Estimate
    contrasts: Estimate
    first: Mapping[str, FirstPhrases]  # phrases of the table that come first; by "located", "every", "contrasts"


@dataclass(frozen=True)
class PhraseTables:
    """Everything measured with phrases; rivals by the names of ``figures``, all but the model."""

    n_samples: int
    n_studies: int
    n_folds: int
    n_models: int
    figures: Mapping[str, PhraseFigures]  # by scorer, the model first
    phrases: tuple[FoldedResult, ...]
    contrasts: tuple[CaseControlResult, ...]
    wordings: tuple[WordingResult, ...]
    beside: Mapping[str, Beside]


@dataclass(frozen=True)
class Beside:
    """AUROC of one rival: of each phrase in folds, each contrast, and of each phrase the mean over its wordings."""

    phrases: tuple[float, ...]
    contrasts: tuple[float, ...]
    wordings: tuple[float, ...]


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
    corpus: Corpus, models: Sequence[JointModel], *, folds: np.ndarray, rivals: Rivals, seed: int, n_draws: int
) -> PhraseTables:
    """Measure phrases.

    Parameters
    ----------
    models
        One model for all folds, or one a fold in the order of the folds' numbers.
    folds
        ``(n_samples,)`` fold of each sample; a study lies in one fold.

    Raises
    ------
    InputError
        If there is neither one model nor one a fold.
    """
    asked, samples = Questions.read(), corpus.samples
    scores = asked.split(scores_in_folds(corpus, models, texts=asked.texts, folds=folds))
    held = {name: asked.split(_scores(corpus, model, asked.texts)) for name, model in rivals.models.items()}
    held |= {name: asked.split(part) for name, part in _without_model(corpus, asked, models[0], rivals).items()}
    draws = [
        draw_counts(samples.studies, seed=seed, n_draws=n_draws, redraw_members=redraw) for redraw in (False, True)
    ]
    return PhraseTables(
        n_samples=len(samples),
        n_studies=len(np.unique(samples.studies)),
        n_folds=len(np.unique(folds)),
        n_models=len(models),
        figures={
            name: _figures(asked, part, corpus, folds=folds, draws=draws)
            for name, part in {"model": scores, **held}.items()
        },
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
        beside={name: _beside(asked, part, corpus, folds=folds) for name, part in held.items()},
    )


def scores_in_folds(
    corpus: Corpus, models: Sequence[JointModel], *, texts: Sequence[str], folds: np.ndarray
) -> np.ndarray:
    """Return ``(n_samples, n_texts)`` cosines, each sample's by the model of its fold."""
    found = np.zeros((len(folds), len(texts)), dtype=np.float32)
    for place, (model, mine) in enumerate(parts_of_models(models, folds)):
        logger.info("phrases: model %d of %d", place + 1, len(models))
        found[mine] = corpus.embed(model, wanted=mine)[mine] @ model.embed_texts(list(texts)).T
    return found


def phrase_table(tables: PhraseTables, *, kinds: Sequence[str]) -> str:
    """Markdown: phrases of some kinds against all other samples of their folds, beside rivals."""
    rows = [
        (
            one.phrase, one.n_positive, one.n_studies, one.n_folds, show(one.auroc),
            *(number(other.phrases[i]) for other in tables.beside.values()),
            "unseen in training" if one.unseen and tables.n_models > 1 else "one study" if one.unseen else "",
        )
        for i, one in enumerate(tables.phrases)
        if one.kind in kinds
    ]  # fmt: skip
    return markdown(("phrase", "positives", "studies", "folds", "AUROC [95 %]", *tables.beside, ""), rows)


def contrast_table(tables: PhraseTables) -> str:
    """Markdown: diseases against controls of the same study, beside rivals."""
    rows = [
        (
            one.phrase, one.n_cases, one.n_controls, one.n_studies,
            show(one.auroc) + (" †" if one.n_studies < 3 else ""),
            *(number(other.contrasts[i]) for other in tables.beside.values()),
        )
        for i, one in enumerate(tables.contrasts)
    ]  # fmt: skip
    return markdown(("disease", "cases", "controls", "studies", "AUROC [95 %]", *tables.beside), rows)


def wording_table(tables: PhraseTables) -> str:
    """Markdown: how much the wording of a phrase matters; of rivals the mean over the wordings."""
    others = tables.beside.values()
    rows: list[Sequence[object]] = [
        (
            one.phrase, number(one.aurocs[0]), number(one.mean), number(one.deviation), *_worst(one),
            *(number(other.wordings[i]) for other in others),
        )
        for i, one in enumerate(tables.wordings)
    ]  # fmt: skip
    means = [_mean(getattr(one, name) for one in tables.wordings) for name in ("mean", "deviation")]
    rows.append(("**mean**", "", *means, "", "", *(_mean(other.wordings) for other in others)))
    columns = ("phrase", "as written", "mean of wordings", "deviation", "lowest", "of")
    return markdown((*columns, *(f"{name}, mean" for name in tables.beside)), rows)


def figure_table(tables: PhraseTables) -> str:
    """Markdown: means of the model and of what it is held against."""
    rows: list[tuple[object, ...]] = [
        (
            name, show(one.located), show(one.diseases), show(one.every), show(one.contrasts),
            str(one.first["every"]), str(one.first["contrasts"]),
        )
        for name, one in tables.figures.items()
    ]  # fmt: skip
    n, n_contrasts = len(tables.phrases), len(tables.contrasts)
    guessed = [f"{1 / many:.2f} / {5 / many:.2f}" for many in (n, n_contrasts)]
    rows.append(("chance", "0.500", "0.500", "0.500", "0.500", *guessed))
    columns = (
        "", "tissue, cell, tumour [95 %]", "disease v all [95 %]", f"all {n} [95 %]",
        f"disease v controls, {n_contrasts} contrasts [95 %]", "right phrase among a sample's first 1 / 5",
        f"right disease among a case's first 1 / 5 of {n_contrasts}",
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
        "beside": {name: vars(one) for name, one in tables.beside.items()},
    }


def _scores(corpus: Corpus, model: JointModel, texts: Sequence[str]) -> np.ndarray:
    return np.asarray(corpus.embed(model) @ model.embed_texts(list(texts)).T, dtype=np.float32)


def _without_model(corpus: Corpus, asked: Questions, model: JointModel, rivals: Rivals) -> dict[str, np.ndarray]:
    """Scores of ``asked.texts`` by words in captions and by what needs no joint model; of ``model`` the genes count alone."""
    captions = [said[0] if said else "" for said in corpus.captions()]
    found = {
        "lexical, on captions": shared_words(asked.texts, captions).T,
        "text only, on captions": rivals.embed(captions) @ rivals.embed(asked.texts).T,
    }
    scorers = rivals.scorers(LabelSet(tuple(asked.texts), tuple(asked.texts), model.genes, "human"))
    del scorers["lexical"], scorers["text only"]  # phrases name no gene; on captions, text knows more than on genes
    parts: dict[str, list[np.ndarray]] = {name: [] for name in scorers}
    for block in corpus.blocks(model):
        for name, score in scorers.items():
            parts[name].append(score(block))
    return found | {name: np.concatenate(part) for name, part in parts.items()}


def _figures(
    asked: Questions, scores: PhraseScores, corpus: Corpus, *, folds: np.ndarray, draws: Sequence[np.ndarray]
) -> PhraseFigures:
    """Means over the tables; ``draws`` are of studies, and of studies and samples within them (for contrasts)."""
    samples = corpus.samples

    located, diseases = (
        [i for i, rule in enumerate(asked.phrases) if (rule.kind == "disease") is told] for told in (False, True)
    )

    def mean(columns: Sequence[int]) -> Estimate:
        rules = [asked.phrases[i] for i in columns]
        return mean_in_folds(rules, scores.phrases[:, columns], samples=samples, folds=folds, counts=draws[0])

    def of_contrasts(counts: np.ndarray | None) -> np.ndarray:
        found = [
            contrast_auc(rule, scores.contrasts[:, i], samples=samples, counts=counts)
            for i, rule in enumerate(asked.contrasts)
        ]
        return macro(np.stack(found, axis=1))

    asks = {
        "located": ([asked.phrases[i] for i in located], scores.phrases[:, located]),
        "every": (asked.phrases, scores.phrases),
        "contrasts": (asked.contrasts, scores.contrasts),
    }
    return PhraseFigures(
        located=mean(located),
        diseases=mean(diseases),
        every=mean(range(len(asked.phrases))),
        contrasts=Estimate(float(of_contrasts(None)[0]), *interval(of_contrasts(draws[1]))),
        first={name: first_phrases(rules, of, samples=samples) for name, (rules, of) in asks.items()},
    )


def _beside(asked: Questions, scores: PhraseScores, corpus: Corpus, *, folds: np.ndarray) -> Beside:
    samples = corpus.samples
    return Beside(
        phrases=tuple(
            float(auc_in_folds(scores.phrases[:, i], rule.positives(samples), folds=folds)[0])
            for i, rule in enumerate(asked.phrases)
        ),
        contrasts=tuple(
            float(contrast_auc(rule, scores.contrasts[:, i], samples=samples)[0])
            for i, rule in enumerate(asked.contrasts)
        ),
        wordings=tuple(one.mean for one in _wordings(asked, scores, corpus, folds=folds)),
    )


def _wordings(
    asked: Questions, scores: PhraseScores, corpus: Corpus, *, folds: np.ndarray
) -> tuple[WordingResult, ...]:
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


def _mean(values: Iterable[float]) -> str:
    """Write the mean of the values that are there."""
    return number(float(macro(np.array(list(values)))))
