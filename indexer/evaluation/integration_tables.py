"""The integration tables of an evaluation: the model's vectors beside others of the same rows.

Rivals describe the same rows: other models, marker genes, gene sets as they are and, where rows have captions, words and text
vectors of those. Principal components of log expression are the usual floor, as scIB takes unintegrated data; a model's own
vectors dealt out to other rows are chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from atlas.cells.rows import open_rows
from atlas.cells.scoring import embed_blocks, read_genes, take_rows
from atlas.errors import InputError
from atlas.expression.align import AlignedExpression, GeneAligner
from atlas.expression.log import log_expression
from atlas.expression.units import Unit
from atlas.model.joint import JointModel
from atlas.model.transcriptome import InputKind
from indexer.evaluation.baselines import LabelSet, Scorer
from indexer.evaluation.corpus import Corpus
from indexer.evaluation.integration import Integration, evaluate_integration
from indexer.evaluation.lexical import WordVectors
from indexer.evaluation.rivals import Rivals
from indexer.evaluation.tables import markdown, number

N_COMPONENTS = 50
N_DIRECTIONS = 512  # of rivals that describe a row by thousands of numbers; as many as a packaged model has
_MOST_FITTED = 2_000  # rows that principal components are fitted on; all are projected
_SCORES = (
    ("**biology, mean**", "mean_biology"),
    ("**batch, mean**", "mean_batch"),
    ("**total (.6 biology, .4 batch)**", "total"),
    ("same label among the 10 nearest", "same_label"),
    ("same batch among the 10 nearest", "same_batch"),
    ("same batch among 10 random rows", "random_same_batch"),
)
INTEGRATION_NOTES = (
    "*lexical* and *text only, on captions*: TF-IDF and text vectors of what depositors wrote, which no transcriptome tells. "
    "*markers*: mean standing of each cell type's markers. *dictionary*: "
    "cosines with gene sets of cells and tissues as they are. *components*: 50 principal components of log expression. *chance*: "
    "the model's vectors dealt out to other rows. What has more than 512 numbers a row is cut to its 512 leading directions."
)
Blocks = Callable[[], Iterable[AlignedExpression]]


def measure_integration(corpus: Corpus, model: JointModel, rivals: Rivals, *, seed: int) -> dict[str, Integration]:
    """Score how tissues keep together and series mix, over samples whose tissue occurs in two series or more.

    Raises
    ------
    InputError
        If no tissue does.
    """
    tissues = np.char.lower(corpus.samples.tissues)
    shared = [
        name for name in np.unique(tissues) if name and len(np.unique(corpus.samples.series[tissues == name])) > 1
    ]
    used = np.isin(tissues, shared)
    if not used.any():
        raise InputError("No curated tissue occurs in two series; integration cannot be measured.")
    said = [one[0] if one else "" for one, mine in zip(corpus.captions(), used, strict=True) if mine]
    vectors = {"model": corpus.embed(model)[used]}
    vectors |= {name: corpus.embed(other)[used] for name, other in rivals.models.items()}
    vectors["lexical, on captions"] = narrow(WordVectors.fit(said).of(said))
    vectors["text only, on captions"] = rivals.embed(said)
    asked = LabelSet((), (), model.genes, "human")
    vectors |= profiles(lambda: corpus.blocks(model), rivals.profilers(asked), used=used)
    vectors["components"] = components(lambda: corpus.blocks(model), used=used, seed=seed)
    return _beside_chance(vectors, labels=tissues[used], batches=corpus.samples.series[used], seed=seed)


def integrate_file(
    data: object,
    *,
    label: str,
    batch: str,
    model: JointModel,
    others: Mapping[str, JointModel],
    input: InputKind = "auto",
    layer: str | None = None,
    unit: Unit | None = None,
    organism: str | None = None,
    seed: int = 0,
) -> dict[str, Integration]:
    """Score the embedding of a labelled file beside other models, principal components and chance.

    Rows without label, batch or signal are left out.

    Raises
    ------
    InputError, NotFoundError
        If the file or a column cannot be used.
    """
    with open_rows(data, layer=layer, unit=unit) as rows:
        labels, batches = (np.array([value or "" for value in rows.labels(name)]) for name in (label, batch))
        known = read_genes(rows, model=model, organism=organism).coverage.organism
        whole = {
            name: np.concatenate([part for _, part in embed_blocks(rows, model=one, organism=known, input=input)])
            for name, one in {"model": model, **others}.items()
        }
        used = (labels != "") & (batches != "")
        used &= ~np.any([np.isnan(vectors[:, 0]) for vectors in whole.values()], axis=0)
        aligner = GeneAligner(rows.genes, rows.symbols, genes=model.genes, organism=known)
        vectors = {name: one[used] for name, one in whole.items()}
        if used.any():
            vectors["components"] = components(
                lambda: (aligner.align(matrix) for matrix in rows.matrices()), used=used, seed=seed
            )
    return _beside_chance(vectors, labels=labels[used], batches=batches[used], seed=seed)


def profiles(blocks: Blocks, profilers: Mapping[str, Scorer], *, used: np.ndarray) -> dict[str, np.ndarray]:
    """Describe the rows in ``used`` (``(n_rows,)`` bool) by each profiler, as unit vectors."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in profilers}
    for block in _used_blocks(blocks, used):
        for name, describe in profilers.items():
            parts[name].append(_unit(describe(block)))
    return {name: narrow(np.concatenate(part)) for name, part in parts.items()}


def components(blocks: Blocks, *, used: np.ndarray, seed: int, n: int = N_COMPONENTS) -> np.ndarray:
    """Return ``(n_used, n)`` unit vectors: principal components of log expression, fitted on at most 2,000 rows.

    Genes that a fitted row does not measure are left out; where another row lacks one, it counts as the mean.
    """
    rows = np.flatnonzero(used)
    chosen = np.random.default_rng(seed).choice(rows, size=min(_MOST_FITTED, len(rows)), replace=False)
    fitted = np.isin(np.arange(len(used)), chosen)
    logs = np.concatenate([log_expression(block) for block in _used_blocks(blocks, fitted)])
    panel = ~np.isnan(logs).any(axis=0)
    mean = logs[:, panel].mean(axis=0)
    centred = logs[:, panel] - mean
    directions, sizes = _leading(centred, n=min(n, len(logs) - 1))
    axes = centred.T @ (directions / sizes)
    return np.concatenate(
        [_unit(np.nan_to_num(log_expression(block)[:, panel] - mean) @ axes) for block in _used_blocks(blocks, used)]
    )


def narrow(vectors: np.ndarray, *, n: int = N_DIRECTIONS) -> np.ndarray:
    """Return unit vectors of at most ``n`` numbers: where there are more, the leading directions of the rows.

    Scores of scIB cluster the rows again and again, which takes minutes with the thousands of numbers of words or gene sets.
    """
    if vectors.shape[1] <= n:
        return _unit(vectors)
    directions, sizes = _leading(vectors.astype(np.float64), n=n)
    return _unit(directions * sizes)


def _leading(rows: np.ndarray, *, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``n`` leading left singular vectors, ``(n_rows, n)``, and singular values of rows fewer than their numbers."""
    squares, directions = np.linalg.eigh(rows @ rows.T)
    kept = np.argsort(-squares)[:n]
    return directions[:, kept], np.sqrt(np.maximum(squares[kept], 1e-12))


def _used_blocks(blocks: Blocks, used: np.ndarray) -> Iterable[AlignedExpression]:
    start = 0
    for block in blocks():
        wanted = used[start : start + len(block.values)]
        start += len(block.values)
        if wanted.any():
            yield take_rows(block, wanted)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def _beside_chance(
    vectors: Mapping[str, np.ndarray], *, labels: np.ndarray, batches: np.ndarray, seed: int
) -> dict[str, Integration]:
    order, width = np.random.default_rng(seed).permutation(len(labels)), max(one.shape[1] for one in vectors.values())
    wide = {  # zeros change no distance, and the scores are compiled once
        name: np.pad(one, ((0, 0), (0, width - one.shape[1]))) for name, one in vectors.items()
    }
    return {
        name: evaluate_integration(one, labels=labels, batches=batches, seed=seed)
        for name, one in {**wide, "chance": wide["model"][order]}.items()
    }


def integration_table(found: Mapping[str, Integration]) -> str:
    """Markdown: scores of scIB and the mixing of batches, one column an embedding."""
    one, every = found["model"], found.values()
    rows = [(f"biology: {name}", *(number(each.biology[name]) for each in every)) for name in one.biology]
    rows += [(f"batch: {name}", *(number(each.batch[name]) for each in every)) for name in one.batch]
    rows += [(text, *(number(getattr(each, name)) for each in every)) for text, name in _SCORES]
    about = f"{one.n:,} rows, {one.n_labels} labels, {one.n_batches} batches; every embedding of the same rows."
    return f"{about}\n\n" + markdown(("score", *found), rows)
