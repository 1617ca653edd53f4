"""The retrieval tables of an evaluation: pools of captions and samples inside folds of studies, the model and its rivals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.cells.scoring import take_rows
from atlas.errors import InputError
from atlas.model.joint import JointModel
from indexer.evaluation.baselines import LabelSet
from indexer.evaluation.corpus import Corpus
from indexer.evaluation.folds import parts_of_models
from indexer.evaluation.lexical import shared_words
from indexer.evaluation.retrieval import Pool, Retrieval, chance, evaluate_retrieval
from indexer.evaluation.rivals import Rivals
from indexer.evaluation.tables import markdown, number, show
from indexer.training.hold_out import representatives
from indexer.training.retrieval import CUTOFFS

POOL_SIZE = 100
RETRIEVAL_NOTES = (
    "Mean over the pools; inside a pool each caption looks for its sample, and each sample for its caption. *lexical*: the "
    "genes that a caption names. *text only*: a sample as the list of its 20 strongest genes, compared by the text tower alone. "
    "*markers*: mean standing of the markers of the cell type nearest in name. *dictionary*: gene sets of cells and tissues as "
    "they are. *On the stated material*: a sample is its depositor's words for what it is made of, which no transcriptome tells: "
    "what a search of annotations finds."
)


@dataclass(frozen=True)
class CaptionPool:
    """Samples and captions that are to find each other.

    Attributes
    ----------
    rows
        Samples, increasing.
    captions, materials
        What each says of itself in full, and of its material alone.
    """

    rows: np.ndarray
    captions: tuple[str, ...]
    materials: tuple[str, ...]


@dataclass(frozen=True)
class RetrievalTables:
    """Retrieval by scorer, means over the pools, the model first; and the model's, pool by pool."""

    by_scorer: Mapping[str, Retrieval]
    by_pool: Mapping[str, Retrieval]


def measure_retrieval(
    corpus: Corpus, models: Sequence[JointModel], *, folds: np.ndarray, rivals: Rivals, seed: int, n_draws: int
) -> RetrievalTables:
    """Measure retrieval over all studies by one model, or inside each fold by its own; rivals meet the same pools.

    Raises
    ------
    InputError
        If a pool holds fewer than two captions.
    """
    said, parts = corpus.captions(), parts_of_models(models, folds)
    pools = [draw_pool(said, np.flatnonzero(mine), rivals=rivals, seed=seed) for _, mine in parts]
    scores = {
        "model": [
            _cosines(model, corpus.embed(model, wanted=mine), pool)
            for (model, mine), pool in zip(parts, pools, strict=True)
        ]
    }
    scores |= {
        name: [_cosines(model, corpus.embed(model), pool) for pool in pools] for name, model in rivals.models.items()
    }
    scores |= _without_model(corpus, models[0], pools, rivals)

    def measured(matrices: Sequence[np.ndarray], these: Sequence[CaptionPool]) -> Retrieval:
        studies = [corpus.samples.studies[pool.rows] for pool in these]
        joined = [Pool(one, whose) for one, whose in zip(matrices, studies, strict=True)]
        return evaluate_retrieval(joined, seed=seed, n_draws=n_draws)

    names = ["all studies"] if len(parts) == 1 else [f"fold {place}" for place in range(len(parts))]
    return RetrievalTables(
        by_scorer={name: measured(matrices, pools) for name, matrices in scores.items()},
        by_pool={name: measured([one], [pool]) for name, one, pool in zip(names, scores["model"], pools, strict=True)},
    )


def draw_pool(said: Sequence[tuple[str, ...]], rows: np.ndarray, *, rivals: Rivals, seed: int) -> CaptionPool:
    """Return samples of ``rows`` whose captions are unlike each other.

    The packaged text tower embeds the captions, whichever model is measured, so that all models meet the same pool.

    Raises
    ------
    InputError
        If there are fewer than two captions.
    """
    rows = np.array([row for row in rows if said[row]], dtype=np.int64)
    chosen = rows[representatives([said[row][0] for row in rows], n=POOL_SIZE, embed=rivals.embed, seed=seed)]
    if len(chosen) < 2:
        raise InputError(
            f"Retrieval needs two different captions or more, a pool of {len(rows)} samples has {len(chosen)}; fewer folds make "
            "larger pools."
        )
    materials = [next((text for text in said[row] if text.startswith("A sample of ")), said[row][-1]) for row in chosen]
    return CaptionPool(chosen, tuple(said[row][0] for row in chosen), tuple(materials))


def _cosines(model: JointModel, vectors: np.ndarray, pool: CaptionPool) -> np.ndarray:
    texts = model.embed_texts(list(pool.captions)).astype(np.float64)
    return np.asarray(texts @ vectors[pool.rows].astype(np.float64).T)


def _without_model(
    corpus: Corpus, model: JointModel, pools: Sequence[CaptionPool], rivals: Rivals
) -> dict[str, list[np.ndarray]]:
    """Scores, texts by samples, of what needs no joint model; of ``model`` the genes count alone."""
    scorers = [rivals.scorers(LabelSet(pool.captions, pool.captions, model.genes, "human")) for pool in pools]
    found = {name: [np.empty((len(pool.rows), len(pool.rows))) for pool in pools] for name in scorers[0]}
    start = 0
    for aligned in corpus.blocks(model):
        here = np.arange(start, start + len(aligned.values))
        start += len(here)
        for place, pool in enumerate(pools):
            wanted = np.isin(here, pool.rows)
            if wanted.any():
                block, columns = take_rows(aligned, wanted), np.isin(pool.rows, here)
                for name, score in scorers[place].items():
                    found[name][place][:, columns] = score(block).T
    found["lexical, on the stated material"] = [shared_words(pool.captions, pool.materials) for pool in pools]
    found["text only, on the stated material"] = [
        rivals.embed(pool.captions) @ rivals.embed(pool.materials).T for pool in pools
    ]
    return found


def retrieval_table(found: RetrievalTables) -> str:
    """Markdown: recall in both directions beside rivals and chance, and of the model pool by pool."""
    sizes = found.by_scorer["model"].sizes
    rows = [row for name, one in found.by_scorer.items() for row in _directions(name, one)]
    guessed = chance(sizes)
    rows.append(("chance", "", *(number(guessed[k]) for k in CUTOFFS), "0.500"))
    recalls = (*(f"R@{k} [95 %]" for k in CUTOFFS), "ROC-AUC [95 %]")
    parts = [
        (name, f"{one.sizes[0]} of {one.n_studies} studies", *row[1:])
        for name, one in found.by_pool.items()
        for row in _directions(name, one)
    ]
    pools = " + ".join(map(str, sizes))
    return "\n\n".join(
        [
            f"Pools of {pools} captions, of {found.by_scorer['model'].n_studies} studies.",
            markdown(("", "direction", *recalls), rows),
            RETRIEVAL_NOTES,
            "The model, pool by pool:",
            markdown(("samples", "pool", "direction", *recalls), parts),
        ]
    )


def _directions(name: str, one: Retrieval) -> list[tuple[object, ...]]:
    named = (("text to transcriptome", one.text_to_transcriptome), ("transcriptome to text", one.transcriptome_to_text))
    return [
        (name, direction, *(show(part.recall[k]) for k in CUTOFFS), show(part.roc_auc)) for direction, part in named
    ]
