"""One labelled set under an interpreter and everything it is held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas.expression.units import Unit
from atlas.interpreter.gene_vectors import GeneVectors
from atlas.interpreter.interpreter import Interpreter
from atlas.model.text_tower import MiniLmTower
from indexer.evaluation.metrics import Estimate
from indexer.interpreter import floors
from indexer.interpreter.comparison import Outcome, Predict, Split, difference, digest, estimate, folds, run
from indexer.interpreter.labelled_cells import LabelledCells, read_labelled
from indexer.interpreter.making import Ingredients, learn
from indexer.stage import Progress, silent_progress

MIN_CELLS = 10
"""Labels with fewer cells are left out of figures, and named."""
RULES = "of the labels that are learned from"
"""What kept answers of interpreters are kept under: other rules, other answers."""
LOG, GENEPT_W, GENEPT_S, RANDOM = "log expression", "GenePT-w", "GenePT-s", "random gene vectors"
ZERO_SHOT = "domain model, labels' texts alone"
DESCRIBED = ("descriptions", "endpoint")
"""Kinds of vectors that GenePT is made of; beside others stand the packaged descriptions."""
MEASURES = ("accuracy", "precision", "recall", "f1")


@dataclass(frozen=True)
class LabelledSet:
    """One set, read once for every method.

    Attributes
    ----------
    name
        For messages and kept results.
    cells
        What an interpreter reads.
    features
        Name -> ``(n, dim)`` of what classifiers are fitted on, same cells in the same order.
    zero_shot
        ``(n,)`` int64, the label whose text fits each cell's domain vector best: nothing is learned. ``None``: no domain model.
    """

    name: str
    cells: LabelledCells
    features: Mapping[str, np.ndarray]
    zero_shot: np.ndarray | None = None


def read_set(
    file: Path,
    ingredients: Ingredients,
    *,
    label: str,
    donor: str | None = None,
    layer: str | None = None,
    unit: Unit | None = None,
    organism: str | None = None,
    min_cells: int = MIN_CELLS,
    seed: int = 0,
) -> LabelledSet:
    """Read a file as interpreter and floors see it.

    Raises
    ------
    InputError, NotFoundError
        If the file, its genes or a column cannot be used.
    """
    how: dict[str, Any] = {"layer": layer, "unit": unit, "organism": organism}
    cells = read_labelled([file], ingredients.genes, label=label, group=donor, min_cells=min_cells, **how)
    vectors = ingredients.vectors if ingredients.vectors.record.kind in DESCRIBED else GeneVectors.packaged()
    found = floors.read_expression(file, vectors, **how)
    random = floors.random_table(len(vectors.rows), vectors.dim, seed=seed)
    features = {
        LOG: found.values[cells.rows],
        GENEPT_W: floors.weighted_means(found, vectors.table())[cells.rows],
        GENEPT_S: floors.sentences(found, MiniLmTower())[cells.rows],
        RANDOM: floors.weighted_means(found, random)[cells.rows],
    }
    if cells.cells.domain is not None:
        features["domain vector"] = cells.cells.domain
    return LabelledSet(file.stem, cells, features, nothing_learned(cells, ingredients))


def measure_floors(
    one: LabelledSet, splits: Callable[[int], Sequence[Split]], *, seeds: Sequence[int], keep: Path | None = None
) -> dict[str, Outcome]:
    """Return name -> what each floor says: every feature with logistic regression; descriptions with nearest neighbours, too."""
    found: dict[str, Outcome] = {}
    for feature, values in one.features.items():
        for how, fit in floors.classifiers().items():
            if how == floors.CLASSIFIERS[1] and feature in (LOG, RANDOM):
                continue
            key = {"feature": feature, "how": how, "rules": floors.RULES, "values": digest(values)}
            fitted = _fitted(values, one.cells.codes, fit)
            found[f"{feature}, {how}"] = run(
                fitted, one.cells.codes, splits, seeds=seeds, keep=keep, key=key, groups=one.cells.groups
            )
    if one.zero_shot is not None:
        fitting = one.zero_shot
        found[ZERO_SHOT] = run(
            lambda train, test, seed: fitting[test], one.cells.codes, splits, seeds=seeds, groups=one.cells.groups
        )
    return found


def measure_interpreter(
    one: LabelledSet,
    ingredients: Ingredients,
    splits: Callable[[int], Sequence[Split]],
    *,
    seeds: Sequence[int],
    keep: Path | None = None,
    progress: Progress = silent_progress,
) -> Outcome:
    """Return what an interpreter says that is trained anew for every split."""
    key = {**ingredients.told(), "cells": digest_of_cells(one.cells), "rules": RULES}
    taught = _taught(one, ingredients, progress)
    return run(taught, one.cells.codes, splits, seeds=seeds, keep=keep, key=key, groups=one.cells.groups)


def digest_of_cells(cells: LabelledCells) -> str:
    """Return what tells read cells from others: genes, strengths, domain vectors, labels in words."""
    read = cells.cells
    words = np.array("\n".join(cells.texts))
    return digest(read.genes, read.strengths, np.zeros(0) if read.domain is None else read.domain, words)


def by_folds(one: LabelledSet, *, n_folds: int) -> Callable[[int], Sequence[Split]]:
    """Return seed -> folds of a set, by donor where donors are known."""
    return lambda seed: folds(one.cells.codes, one.cells.groups, seed=seed, n_folds=n_folds)


def without_example(
    one: LabelledSet, splits: Callable[[int], Sequence[Split]], *, seeds: Sequence[int]
) -> tuple[str, ...]:
    """Return a sentence on the labels of which a fold judges cells and learns from none."""
    codes = one.cells.codes
    missed: Counter[str] = Counter()
    for seed in seeds:
        for split in splits(seed):
            lacking = np.setdiff1d(codes[split.test], codes[split.train])
            missed.update({one.cells.labels[code]: int((codes[split.test] == code).sum()) for code in lacking})
    if not missed:
        return ()
    told = ", ".join(f"{name} ({n:,})" for name, n in sorted(missed.items()))
    return (
        f"Labels judged in folds that learn from no cell of them, and judgements over all seeds: {told}. No method that "
        "learns from cells can have them right; with donors, give labels that several donors have.",
    )


def figures(outcomes: Mapping[str, Outcome], *, n_draws: int) -> dict[str, dict[str, Estimate]]:
    """Return method -> measure -> value with interval."""
    return {
        name: {measure: estimate(one, measure, n_draws=n_draws) for measure in MEASURES}
        for name, one in outcomes.items()
    }


def against(one: Outcome, others: Mapping[str, Outcome], *, n_draws: int) -> dict[str, Estimate]:
    """Return method -> how much better ``one`` is in macro F1, by paired bootstrap."""
    return {name: difference(one, other, n_draws=n_draws) for name, other in others.items()}


def nothing_learned(cells: LabelledCells, ingredients: Ingredients) -> np.ndarray | None:
    """Return the label whose text fits each cell's domain vector best, ``(n,)`` int64; without a domain model ``None``."""
    if cells.cells.domain is None or ingredients.domain is None:
        return None
    return np.asarray(np.argmax(cells.cells.domain @ ingredients.domain.embed_texts(list(cells.texts)).T, axis=1))


def _fitted(values: np.ndarray, codes: np.ndarray, fit: floors.Fit) -> Predict:
    return lambda train, test, seed: fit(values[train], codes[train], values[test])


def _taught(one: LabelledSet, ingredients: Ingredients, progress: Progress) -> Predict:
    def predict(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        cells = one.cells.take(train)  # with the labels of these alone: the floors know no others either
        present = np.unique(one.cells.codes[train])
        if len(present) == 1:
            return np.full(len(test), present[0])
        trained = learn(ingredients, cells, seed=seed, progress=progress)
        parts = ingredients.parts(trained.network, labels=cells.labels, organisms=("human", "mouse"))
        judge = Interpreter(parts, reader=ingredients.reader, domain=ingredients.domain)
        said = judge.interpret(one.cells.cells.take(test)).probabilities
        return np.asarray(present[np.argmax(said, axis=1)])

    return predict
