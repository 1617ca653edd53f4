"""What a score means in one release: percentiles against null questions, and when to say that nothing matches.

Null questions are packaged off-topic phrases (everyday talk, other sciences, nonsense); null pairs are random samples of
different series. A cosine says little by itself: some samples lie near any phrase. So a phrase's *response* at a sample is its
cosine less the mean of the off-topic phrases' cosines with that very sample, divided by their standard deviation. A phrase's
*subject* is how near it lies to the vocabularies, as the text tower reads both: a head that was made for biology sees biology
in anything, and its responses to nonsense are as strong as to a disease. The *answer* of a sample to a phrase is its response
plus the phrase's subject in standard deviations of off-topic phrases.

In: ``calibration.json`` (sorted null values and thresholds), ``calibration.npz`` (mean and deviation of each sample, float32,
row = row of ``samples.parquet``; the vocabularies' raw text vectors, int8 with scales). The error rates of the decision are
measured in ``docs/measurements.md``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from atlas.errors import ArtifactError, InputError
from atlas.model.quantised import Int8Rows
from atlas.vectors.index import VectorIndex, check_queries
from atlas.vectors.passes import rows_in_order
from atlas.vectors.store import VectorStore

ScoreKind = Literal["text", "sample"]
DEPTH = 100
"""A phrase's response is the strongest among this many nearest samples."""
N_TERMS = 3
"""A phrase's subject is the mean cosine of its raw vector with those of this many nearest vocabulary terms."""
QUANTILE = 0.98
"""Share of off-topic phrases that the decision calls unmatched."""
GRID = 1_001
"""Quantiles that are kept of a distribution."""
_MIN_DEVIATION = 1e-6


class CalibrationTable(BaseModel):
    """Content of ``calibration.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[2] = 2
    n_phrases: int
    answers: list[float]
    """Strongest answer to each off-topic phrase, ascending; the strongest response without vocabulary."""
    subjects: list[float]
    """Subject of each off-topic phrase, ascending; empty without vocabulary."""
    quantile: float
    """Of subjects (of answers without vocabulary): a phrase that is not above it matches nothing."""
    n_pairs: int
    pair_scores: list[float]
    """Quantiles 0, 0.001 ... 1 of the cosines of random pairs; empty where there is no pair."""
    pairs_across_series: bool
    pairs_of_model: bool = False
    """Whether the pairs are those that travel with the model, for the release has too few series of its own."""
    phrase_scores: list[float]
    """Quantiles 0, 0.001 ... 1 of the cosines of off-topic phrases with all samples, for the record."""


@dataclass(frozen=True)
class Calibration:
    """The null distributions of one release.

    Attributes
    ----------
    table
        Sorted null values and thresholds.
    mean, deviation
        (n,) float32: of the off-topic phrases' cosines with each sample.
    vocabulary
        Raw text vectors of the distinct terms of the vocabularies.
    """

    table: CalibrationTable
    mean: np.ndarray
    deviation: np.ndarray
    vocabulary: Int8Rows

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read ``calibration.json`` and ``calibration.npz`` beside it.

        Raises
        ------
        ArtifactError
            If one is missing, unreadable or of another schema.
        """
        try:
            table = CalibrationTable.model_validate_json(path.read_text(encoding="utf-8"))
            with path.with_suffix(".npz").open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
                mean, deviation = arrays["mean"], arrays["deviation"]
                vocabulary = Int8Rows(arrays["vocabulary_codes"], arrays["vocabulary_scales"])
        except FileNotFoundError as error:
            raise ArtifactError(f"{error.filename} does not exist. Verify the release.", kind="missing") from error
        except (ValidationError, ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise ArtifactError(
                f"{path} and the file beside it are no calibration of this version ({error}). Build the release again.",
                kind="corrupt",
            ) from error
        return cls(table, mean, deviation, vocabulary)

    def with_pairs(self, pair_scores: list[float]) -> Calibration:
        """Return a copy whose random pairs are those that travel with the model."""
        table = self.table.model_copy(update={"pair_scores": pair_scores, "pairs_of_model": True})
        return Calibration(table, self.mean, self.deviation, self.vocabulary)

    def save(self, folder: Path) -> None:
        """Write ``calibration.json`` and ``calibration.npz``; the same calibration gives the same bytes."""
        text = json.dumps(self.table.model_dump(), indent=1, sort_keys=True)
        (folder / "calibration.json").write_text(text + "\n", encoding="utf-8")
        np.savez(
            folder / "calibration.npz",
            mean=self.mean,
            deviation=self.deviation,
            vocabulary_codes=self.vocabulary.codes,
            vocabulary_scales=self.vocabulary.scales,
        )

    def percentile(
        self, scores: np.ndarray, *, kind: ScoreKind, rows: np.ndarray | None = None, raw: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the place of hits among null hits, (m,) float64 in [0, 100].

        ``text``: the share of off-topic phrases whose *strongest* answer in this atlas is below the hit's. An off-topic
        phrase's own best hit is uniform over 0-100; 99 means that one off-topic phrase in a hundred finds anything that
        answers as strongly. Answers, not cosines, are compared, so percentiles need not fall with rank.
        ``sample``: the share of random pairs of samples of different series with a lower cosine.

        Parameters
        ----------
        scores
            (m,) cosines.
        rows
            (m,) rows of the hits; needed for ``text``.
        raw
            (text dim,) the phrase's raw text vector; needed for ``text``.
        """
        if kind == "sample":
            return self._share_of_pairs(np.asarray(scores, dtype=np.float64))
        if rows is None or raw is None:
            raise InputError("The percentile of a phrase's hit depends on phrase and sample: give rows and raw.")
        return self.percentile_of_parts(scores[None, :], factors=np.ones(1), rows=rows, raw=raw[None, :])

    def percentile_of_parts(
        self, scores: np.ndarray, *, factors: np.ndarray, rows: np.ndarray, raw: np.ndarray
    ) -> np.ndarray:
        """Return the place of hits of several weighted phrases among null hits, (m,) float64 in [0, 100].

        Responses r_j and subjects s_j of the parts are joined as independent ones would be,
        (sum_j f_j r_j + sum_j |f_j| s_j) / sqrt(sum_j f_j^2), which has the mean and deviation of one off-topic phrase's
        answer if all parts are off topic. One phrase of positive weight gets its ``percentile`` of kind ``text``.

        Parameters
        ----------
        scores
            (n_parts, m) cosines of each phrase with the hits.
        factors
            (n_parts,) of any sign, not all zero.
        rows
            (m,) rows of the hits.
        raw
            (n_parts, text dim) raw text vectors of the phrases.

        Source: the weighted combination of z-scores of Stouffer et al. (1949).
        """
        joined = factors @ self._responses(scores, rows) + np.abs(factors) @ self._standard_subjects(raw)
        return 100.0 * _share_below(joined / np.linalg.norm(factors), self.table.answers)

    def no_match(self, query: np.ndarray, *, raw: np.ndarray, index: VectorIndex) -> bool:
        """Return whether a phrase means as little here as phrases that mean nothing.

        True if its subject is not above the stated quantile of off-topic phrases' subjects. It depends on the phrase and the
        vocabularies alone: not on filters, k or mode. It recognises phrases that are no biology; a disease that the atlas
        happens to lack still resembles what it has. Without vocabulary, the strongest answer decides.

        Parameters
        ----------
        query
            (dim,) the embedded phrase.
        raw
            (text dim,) its raw text vector.
        index
            Engine over the whole release.
        """
        if self.table.subjects:
            return self._subjects(raw[None, :])[0] <= _quantile(self.table.subjects, self.table.quantile)
        found = index.search(check_queries(query, index.dim), DEPTH)
        answer = float(self._responses(found.scores[0], found.rows[0]).max())
        return answer <= _quantile(self.table.answers, self.table.quantile)

    def _subjects(self, raw: np.ndarray) -> list[float]:
        return [self._subject(np.asarray(one, dtype=np.float32).tobytes()) for one in raw]

    @cached_property
    def _subject(self) -> Callable[[bytes], float]:
        """Subject of one phrase by the bytes of its raw vector; a question asks twice, and people ask again."""
        return lru_cache(512)(lambda raw: float(subjects(np.frombuffer(raw, np.float32)[None, :], self._terms)[0]))

    def _standard_subjects(self, raw: np.ndarray) -> np.ndarray:
        """Return (n,) subjects in standard deviations of off-topic phrases; zeros without vocabulary."""
        if not self.table.subjects:
            return np.zeros(len(raw))
        return _standardised(np.asarray(self._subjects(raw)), self.table.subjects)

    @cached_property
    def _terms(self) -> np.ndarray:
        return unit_rows(self.vocabulary.vectors())

    def _responses(self, scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
        responses: np.ndarray = (np.asarray(scores, dtype=np.float64) - self.mean[rows]) / self.deviation[rows]
        return responses

    def _share_of_pairs(self, scores: np.ndarray) -> np.ndarray:
        if not self.table.pair_scores:
            return np.zeros(scores.shape)
        shares: np.ndarray = np.interp(scores, self.table.pair_scores, np.linspace(0.0, 100.0, GRID))
        return shares


def calibrate(
    store: VectorStore,
    index: VectorIndex,
    *,
    phrases: np.ndarray,
    raw_phrases: np.ndarray,
    vocabulary: Int8Rows,
    pairs: np.ndarray,
    pairs_across_series: bool,
    quantile: float = QUANTILE,
) -> Calibration:
    """Measure the null distributions of a release.

    Parameters
    ----------
    phrases
        (m, dim) float32 embedded off-topic phrases.
    raw_phrases
        (m, text dim) float32 their raw text vectors.
    vocabulary
        Raw text vectors of the distinct terms of the vocabularies; may be empty.
    pairs
        (n_pairs, 2) rows of random pairs of samples.
    pairs_across_series
        Whether no pair shares a series.
    quantile
        Share of off-topic phrases that the decision calls unmatched.
    """
    unit = check_queries(phrases, store.dim)
    mean, deviation, spectrum = _null_of_samples(store, unit)
    found = index.search(unit, DEPTH)
    answers = ((found.scores.astype(np.float64) - mean[found.rows]) / deviation[found.rows]).max(axis=1)
    seen: list[float] = []
    if len(vocabulary):
        near = subjects(raw_phrases, unit_rows(vocabulary.vectors()))
        seen = _sorted(near)
        answers = answers + _standardised(near, seen)
    scores = _pair_scores(store, pairs)
    table = CalibrationTable(
        n_phrases=unit.shape[0],
        answers=_sorted(answers),
        subjects=seen,
        quantile=quantile,
        n_pairs=len(pairs),
        pair_scores=quantile_grid(scores) if len(pairs) else [],
        pairs_across_series=pairs_across_series,
        phrase_scores=quantile_grid(spectrum),
    )
    return Calibration(table, mean, deviation, vocabulary)


def subjects(raw: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Return how near phrases are to the vocabularies, (n,) float32: the mean cosine with the nearest terms.

    Parameters
    ----------
    raw
        (n, text dim) raw text vectors of phrases.
    terms
        (n_terms, text dim) float32 those of the terms, unit rows.
    """
    nearest = min(N_TERMS, terms.shape[0])
    scores = unit_rows(raw) @ terms.T
    best = np.partition(scores, scores.shape[1] - nearest, axis=1)[:, scores.shape[1] - nearest :]
    found: np.ndarray = best.mean(axis=1)
    return found


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Return rows as float32 of unit length; a row of zeros stays."""
    wide = vectors.astype(np.float32)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.finfo(np.float32).tiny))


def random_pairs(series: list[list[str]], *, n_pairs: int = 20_000, seed: int = 0) -> tuple[np.ndarray, bool]:
    """Draw pairs of samples that share no series; of any two samples where the atlas has one study alone.

    Returns
    -------
    ((m, 2) int64 rows, whether the pairs cross series). Empty for an atlas of one sample.
    """
    n = len(series)
    if n < 2:
        return np.empty((0, 2), dtype=np.int64), False
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n, size=n_pairs)
    second = (first + rng.integers(1, n, size=n_pairs)) % n
    sets = [frozenset(ids) for ids in series]
    across = np.fromiter((sets[a].isdisjoint(sets[b]) for a, b in zip(first, second, strict=True)), bool, n_pairs)
    pairs = np.column_stack([first, second])
    return (pairs[across], True) if across.any() else (pairs, False)


def _null_of_samples(store: VectorStore, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each sample's mean and deviation over the phrases, and a sample of all the cosines."""
    mean = np.empty(store.n, dtype=np.float32)
    deviation = np.empty(store.n, dtype=np.float32)
    kept = []
    thin = max(1, store.n * unit.shape[0] // 2_000_000)
    for start, block in rows_in_order(store):
        scores = block @ unit.T
        mean[start : start + block.shape[0]] = scores.mean(axis=1, dtype=np.float64)
        deviation[start : start + block.shape[0]] = scores.std(axis=1, dtype=np.float64)
        kept.append(scores.ravel()[::thin].astype(np.float64))
    return mean, np.maximum(deviation, _MIN_DEVIATION), np.concatenate(kept)


def _pair_scores(store: VectorStore, pairs: np.ndarray) -> np.ndarray:
    parts = [
        np.einsum("ij,ij->i", store.rows(part[:, 0]), store.rows(part[:, 1]))
        for part in np.array_split(pairs, max(1, len(pairs) // 4_096))
    ]
    return np.concatenate(parts)


def _standardised(values: np.ndarray, null: list[float]) -> np.ndarray:
    standard: np.ndarray = (values.astype(np.float64) - np.mean(null)) / max(float(np.std(null)), _MIN_DEVIATION)
    return standard


def _share_below(values: np.ndarray, null: list[float]) -> np.ndarray:
    share: np.ndarray = np.searchsorted(np.asarray(null), values, side="left") / max(len(null), 1)
    return share


def _quantile(null: list[float], quantile: float) -> float:
    return float(np.quantile(np.asarray(null), quantile))


def _sorted(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in np.sort(values)]


def quantile_grid(values: np.ndarray) -> list[float]:
    """Return the quantiles 0, 0.001 ... 1 of values."""
    return [round(float(value), 6) for value in np.quantile(values, np.linspace(0.0, 1.0, GRID))]
