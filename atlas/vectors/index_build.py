"""Building the FAISS index: parameters chosen by measured recall, nothing written below the bar.

In: a store, and phrases to measure with. Out: the files of ``atlas.vectors.faiss_index``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import ArtifactError
from atlas.vectors.axes import Axes
from atlas.vectors.faiss_index import (
    INDEX_FILE,
    MEASURED_K,
    PARAMETER_FILE,
    ROTATION_FILE,
    FaissIndex,
    IndexParameters,
    pin_threads,
)
from atlas.vectors.index import ExactIndex, Neighbours
from atlas.vectors.inverted_lists import FEWEST_ROWS, InvertedLists, build_lists, faiss_module, write_lists
from atlas.vectors.recall import RecallQueries, draw_queries, measure_recall
from atlas.vectors.store import VectorStore

_DEPTHS = (10, 100)
_SHORTLISTS = (400, 800, 1_600)
_OPENED = (1 / 16, 3 / 32, 1 / 8, 3 / 16, 1 / 4, 1 / 2, 1)
_FEW = 200
_FILTERS = (0.01, 0.5)
"""Shares of the rows that the filters of a measurement let pass, drawn at random."""


@dataclass(frozen=True)
class IndexPlan:
    """What a build may choose from.

    Attributes
    ----------
    flat_below
        Atlases with fewer rows keep all dimensions of all rows (float16 codes).
    recall_bar, deep_bar, filtered_bar
        Lowest recall that may be stored, of rows and of phrases alike: of 10 and of 100 hits, of more, of ten behind a filter.
        The first hits of a row are its own study; what lies beyond is what a sample of a new study finds first.
    n_queries
        Queries the recall is measured on.
    exact_below
        Filters that leave fewer rows than this are scanned exactly.
    seed
        Seed of query sampling, axes and k-means.
    threads
        Threads of FAISS while building; 0 = as it likes.
    """

    flat_below: int = 20_000
    recall_bar: float = 0.995
    deep_bar: float = 0.98
    filtered_bar: float = 0.99
    n_queries: int = 1_000
    exact_below: int = 2_000
    seed: int = 0
    threads: int = 0

    def reached(self, recall: dict[str, float]) -> bool:
        """Tell whether every measured recall reaches its bar."""
        return all(value >= self._bar(what) for what, value in recall.items())

    def _bar(self, what: str) -> float:
        if " of " in what:
            return self.filtered_bar
        return self.deep_bar if what.endswith(f"@{MEASURED_K}") else self.recall_bar


def build_index(
    store: VectorStore, folder: Path, *, plan: IndexPlan | None = None, text_queries: np.ndarray | None = None
) -> IndexParameters:
    """Build the index, choose its parameters by measured recall, and write it into ``folder``.

    Parameters
    ----------
    store
        The vectors.
    folder
        Existing folder that receives the files.
    plan
        What may be chosen.
    text_queries
        (m, dim) float32 embedded phrases; half of the queries where given. Phrases lie farther from samples than samples
        do, so their recall is measured by itself.

    Raises
    ------
    ArtifactError
        If no choice reaches the recall bar.
    """
    plan = plan or IndexPlan()
    pin_threads(plan.threads)
    trial = Trial.of(store, draw_queries(store, text_queries, n=plan.n_queries, seed=plan.seed), seed=plan.seed)
    best: IndexParameters | None = None
    for index, parameters in _attempts(trial, plan):
        chosen = replace(parameters, recall=trial.glance(index, parameters), n_queries=trial.queries.counts)
        if plan.reached(chosen.recall):
            chosen = replace(chosen, recall=trial.recall(index, chosen))
            if plan.reached(chosen.recall):
                chosen = _shortest(trial, index, chosen, plan)
                _write(folder, index, chosen)
                return chosen
        best = chosen if best is None or chosen.lowest_recall > best.lowest_recall else best
    raise _below_bar(best, plan)


@dataclass(frozen=True)
class Trial:
    """Queries with their exact answers, open and behind random filters."""

    store: VectorStore
    queries: RecallQueries
    truth: Neighbours
    deep: tuple[RecallQueries, Neighbours]
    filters: dict[str, tuple[np.ndarray, RecallQueries, Neighbours]]

    @classmethod
    def of(cls, store: VectorStore, queries: RecallQueries, *, seed: int) -> Trial:
        """Ask the exact twin."""
        exact = ExactIndex(store)
        few = queries.some(_FEW)
        filters = {}
        for share in _FILTERS:
            mask = np.asarray(np.random.default_rng([seed, round(1_000 * share)]).random(store.n) < share)
            if mask.any():
                truth = exact.search(few.vectors, _DEPTHS[0], allowed=mask)
                filters[f" of {100 * share:g} %"] = (mask, few, truth)
        deep = (few, exact.search(few.vectors, MEASURED_K))
        return cls(store, queries, exact.search(queries.vectors, max(_DEPTHS)), deep, filters)

    def glance(self, index: Any, parameters: IndexParameters) -> dict[str, float]:
        """Return the recall of a part of the queries."""
        few, truth = self.deep
        return measure_recall(FaissIndex(index, self.store, parameters), few, truth, depths=_DEPTHS)

    def recall(self, index: Any, parameters: IndexParameters) -> dict[str, float]:
        """Return the recall of each kind of query at each depth, and of ten hits behind each filter."""
        engine = FaissIndex(index, self.store, parameters)
        found = measure_recall(engine, self.queries, self.truth, depths=_DEPTHS)
        found |= measure_recall(engine, *self.deep, depths=(MEASURED_K,))
        for name, (mask, queries, truth) in self.filters.items():
            filtered = measure_recall(engine, queries, truth, depths=_DEPTHS[:1], allowed=mask)
            found |= {what + name: value for what, value in filtered.items()}
        return found


def _attempts(trial: Trial, plan: IndexPlan) -> Iterator[tuple[Any, IndexParameters]]:
    """Yield indexes with their parameters, cheapest to search first."""
    store = trial.store
    base = IndexParameters(
        kind="flat",
        n=store.n,
        dim=store.dim,
        width=store.dim,
        n_lists=1,
        n_opened=1,
        shortlist=_SHORTLISTS[0],
        measured_k=MEASURED_K,
        exact_below=plan.exact_below,
    )
    if store.n < max(plan.flat_below, FEWEST_ROWS):
        yield _flat(store), base
        return
    axes = Axes.measure(store, seed=plan.seed)
    for width in _widths(trial, axes, plan):
        lists = build_lists(store, axes, width=width, seed=plan.seed)
        for share in _OPENED:
            n_opened = max(1, round(lists.n_lists * share))
            sizes: dict[str, Any] = {"width": width, "n_lists": lists.n_lists, "n_opened": n_opened}
            yield lists, replace(base, kind="lists", shortlist=_SHORTLISTS[-1], **sizes)


def _widths(trial: Trial, axes: Axes, plan: IndexPlan) -> Iterator[int]:
    """Yield the width whose shortlists should hold the true hits, then wider ones."""
    dim = trial.store.dim
    few, truth = trial.deep
    hits = Neighbours(truth.rows[:, : max(_DEPTHS)], truth.scores[:, : max(_DEPTHS)])
    wanted = (1 + plan.recall_bar) / 2  # codes and lists lose some more
    width = axes.width(trial.store, few.vectors, hits, shortlist=_SHORTLISTS[1], wanted=wanted)
    while width < dim:
        yield width
        width = min(dim, 64 * -(-3 * width // 128))  # half as wide again
    yield dim


def _shortest(trial: Trial, index: Any, chosen: IndexParameters, plan: IndexPlan) -> IndexParameters:
    """Return the parameters with the shortest shortlist that reaches the bars."""
    if chosen.kind == "flat":
        return chosen
    for shortlist in _SHORTLISTS[:-1]:
        shorter = replace(chosen, shortlist=shortlist)
        shorter = replace(shorter, recall=trial.recall(index, shorter))
        if plan.reached(shorter.recall):
            return shorter
    return chosen


def _flat(store: VectorStore) -> Any:
    faiss = faiss_module()
    index = faiss.IndexScalarQuantizer(store.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True  # float16 codes have nothing to learn
    for _, block in store.blocks():
        index.add(block)
    return index


def _write(folder: Path, index: Any, parameters: IndexParameters) -> None:
    if isinstance(index, InvertedLists):
        write_lists(index, folder / INDEX_FILE, folder / ROTATION_FILE)
    else:
        faiss_module().write_index(index, str(folder / INDEX_FILE))
    text = json.dumps(asdict(parameters), indent=1, sort_keys=True)
    (folder / PARAMETER_FILE).write_text(text + "\n", encoding="utf-8")


def _below_bar(best: IndexParameters | None, plan: IndexPlan) -> ArtifactError:
    seen = {} if best is None else best.recall
    return ArtifactError(
        f"No index reaches the recall bars ({plan.recall_bar} of 10 and 100 hits, {plan.deep_bar} of more, {plan.filtered_bar} "
        f"behind a filter); the best has {seen}. A release is not published below them. Build with a larger flat limit.",
        kind="corrupt",
        details={"recall_bar": plan.recall_bar, "recall": seen},
    )
