"""The model that no gradient made: gene table and gene-set memory in closed form, where training starts.

In: gene-set libraries, and samples of corpora, as sources of training. Out: the parts of a model. Nothing is fitted to a label:
samples give each gene's usual level, how much each set's score varies, which directions of expression are worth keeping, and,
with what they state about themselves, further entries of the memory.

1. A sample weighs its genes as the model will (:class:`atlas.model.gene_scores.GeneScorer`), against the usual levels of these
   samples.
2. A set is its signed genes over the square root of their number, over the spread of its score among the samples.
3. With second moment C of the samples' weights (every study counts the same, trace 1) plus a ridge, L = C ** 1/2 and the
   matrix M of the sets, the truncated singular value decomposition of M L = U S V' keeps the scores of sets on samples, not the
   sets' genes: gene table L**-1 V S ** p, sets U S ** (1 - p).
4. Sets of tissues and cells are held against their namesakes (:mod:`indexer.training.corroboration`).
5. What samples of one study state (a tissue, a treatment) becomes an entry: their mean weights above the usual, brought to the
   same coordinates.

Source: latent semantic indexing (Deerwester et al. 1990) in the metric of the samples, as in reduced-rank regression (Izenman
1975). Groups of sets and entries made of samples are ours.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.errors import InputError
from atlas.expression.align import AlignedExpression
from atlas.expression.log import log_row
from atlas.model.checkpoint import ModelParts
from atlas.model.config import GeneTextConfig, StatisticsRecord
from atlas.model.gene_scores import GeneScorer
from atlas.model.gene_table import GeneTable
from atlas.model.quantised import Int8Rows
from atlas.model.statistics import GeneStatistics, StatisticsFitter, standardise
from atlas.model.text_heads import Memory
from indexer.training.closed_form_spec import ClosedFormSpec
from indexer.training.corroboration import corroborate
from indexer.training.factorisation import Factors, Metric, factorise
from indexer.training.sources.corpus import CorpusSource
from indexer.training.sources.gene_sets import GeneSetSource
from indexer.training.sources.source import PairSource

logger = logging.getLogger(__name__)

SAMPLES = "samples"  # the library that entries made of samples are listed under
_PLAIN, _SIGNATURES, _OF_SAMPLES = 0, 1, 2  # groups of the memory
_AT_ONCE = 64
_SPREAD_FLOOR = 0.02  # spreads below this quantile are raised to it

Embed = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class _Entries:
    """Entries of the memory: texts, libraries, group, and ``(n, n_rows)`` signed genes."""

    texts: tuple[str, ...]
    libraries: tuple[str, ...]
    groups: np.ndarray
    matrix: Any


@dataclass(frozen=True)
class _Samples:
    """Samples of the corpora: gene weights ``(n, n_rows)`` float32, share of each, its study, what it states."""

    weights: np.ndarray
    shares: np.ndarray
    studies: np.ndarray
    statements: tuple[tuple[str, ...], ...]

    @property
    def usual(self) -> np.ndarray:
        """``(n_rows,)`` mean weights, every study counting the same."""
        return np.asarray(self.shares @ self.weights)


def closed_form(
    parts: ModelParts, sources: Sequence[PairSource], *, rows: Sequence[np.ndarray], spec: ClosedFormSpec, embed: Embed
) -> ModelParts:
    """Make a model.

    Parameters
    ----------
    parts
        A model whose genes and text tower are taken.
    sources
        Gene sets and corpora; others are not used.
    rows
        Rows of each source that may be used.
    spec
        The recipe.
    embed
        Texts -> ``(n, text dim)`` vectors of the text tower, before any head.

    Raises
    ------
    InputError
        If there are no gene sets of the recipe's libraries, or no samples.
    """
    gene_rows, human = _shared_rows(parts)
    recipe = GeneTextConfig(
        n_rows=len(human),
        power=spec.power,
        clip=spec.clip,
        by_deviation=False,
        detected_only=spec.detected_only,
        usual_in_panel=spec.usual_in_panel,
        min_genes=spec.min_genes,
    )
    corpora = [(s, r) for s, r in zip(sources, rows, strict=True) if isinstance(s, CorpusSource)]
    statistics, record = _statistics(corpora, recipe=recipe, gene_rows=gene_rows, human=human)
    samples = _weigh(corpora, scorer=GeneScorer(recipe, statistics), human=human, n_at_most=spec.max_samples)
    sets = _sets(
        [(s, r) for s, r in zip(sources, rows, strict=True) if isinstance(s, GeneSetSource)], spec, human=human
    )
    metric = Metric.of(samples.weights, samples.shares, n_components=spec.components, ridge=spec.ridge)
    factors = factorise(_by_spread(sets.matrix, samples), metric, dim=spec.dim, power=spec.spectrum, seed=spec.seed)
    memory, listed = _memory(sets, samples, factors, spec=spec, embed=embed)
    logger.info("%d entries of %d samples and %d sets", len(listed), len(samples.shares), len(sets.texts))
    config = parts.config.model_copy(
        update={
            "dim": factors.genes.shape[1],
            "logit_scale": spec.scale,
            "text": parts.config.text.model_copy(update={"head": memory.config}),
            "transcriptome": recipe,
            "statistics": record,
        }
    )
    table = GeneTable.from_vectors(factors.genes, rows=gene_rows, rescaled=True)
    tensors = {**table.tensors(), **statistics.tensors(), **memory.tensors()}
    return replace(parts, config=config, tensors=tensors, memory=listed)


def _memory(
    sets: _Entries, samples: _Samples, factors: Factors, *, spec: ClosedFormSpec, embed: Embed
) -> tuple[Memory, pa.Table]:
    """Return the memory of sets and of what samples state, and the list of its entries."""
    texts, stated = _stated(samples)
    entries = factors.project(stated)
    entries /= _floored(_spread((samples.weights @ factors.genes) @ entries.T, samples.shares))[:, None]
    names = [*sets.texts, *texts]
    keys = embed(names)
    plain = np.flatnonzero(sets.groups == _PLAIN)
    terms = factors.terms.copy()
    terms[plain] = corroborate(
        keys[plain], terms[plain], [sets.libraries[place] for place in plain], borrowed=spec.borrowed
    )
    memory = Memory(
        Int8Rows.from_vectors(keys),
        Int8Rows.from_vectors(np.concatenate([terms, entries])),
        n_neighbours=spec.neighbours,
        temperature=spec.temperature,
        groups=np.concatenate([sets.groups, np.full(len(texts), _OF_SAMPLES)]).astype(np.uint8),
        gates=(spec.gate_of_signatures, spec.gate_of_samples),
    )
    return memory, pa.table({"set": names, "library": [*sets.libraries, *[SAMPLES] * len(texts)]})


def _shared_rows(parts: ModelParts) -> tuple[np.ndarray, np.ndarray]:
    """Return the table row of every gene, a mouse gene's being its human ortholog's, and the genes that own the rows."""
    ids, organisms, orthologs = (parts.genes[name].to_pylist() for name in ("ensembl_id", "organism", "ortholog"))
    human = np.array([i for i, organism in enumerate(organisms) if organism == "human"], dtype=np.int64)
    row_of = {ids[gene]: row for row, gene in enumerate(human)}
    own = [
        row_of.get(name if organism == "human" else other, -1)
        for name, organism, other in zip(ids, organisms, orthologs, strict=True)
    ]
    return np.array(own, dtype=np.int32), human


def _statistics(
    corpora: Sequence[tuple[CorpusSource, np.ndarray]],
    *,
    recipe: GeneTextConfig,
    gene_rows: np.ndarray,
    human: np.ndarray,
) -> tuple[GeneStatistics, StatisticsRecord]:
    """Return every gene's usual level among the samples, a mouse gene's being its human ortholog's."""
    fitter = StatisticsFitter(len(gene_rows))
    for source, rows in corpora:
        for some, aligned in _blocks(source, rows):
            for place, row in enumerate(some):
                measured = aligned.measured[place]
                scores = np.full(len(gene_rows), np.nan)
                scores[measured] = standardise(
                    log_row(aligned.values[place, measured], unit=aligned.units[place]), kind=recipe.standardisation
                )
                fitter.add(scores, study=str(source.blocks[row]))
    if not fitter.n_samples:
        raise InputError("The closed form needs samples to learn usual levels from; give --data corpus:FILE.")
    fallback = {gene: int(human[row]) for gene, row in enumerate(gene_rows) if row >= 0 and human[row] != gene}
    record = StatisticsRecord(
        n_samples=fitter.n_samples,
        n_studies=fitter.n_studies,
        excluded_series=tuple(sorted({name for source, _ in corpora for name in source.excluded})),
        sources=tuple(source.fingerprint for source, _ in corpora),
    )
    return fitter.finish(shrinkage_studies=recipe.shrinkage_studies, fallback=fallback), record


def _weigh(
    corpora: Sequence[tuple[CorpusSource, np.ndarray]], *, scorer: GeneScorer, human: np.ndarray, n_at_most: int
) -> _Samples:
    """Weigh the genes of the samples; of large corpora the largest studies give only some of theirs."""
    kept = _thinned(corpora, n_at_most)
    weights = np.zeros((sum(len(rows) for _, rows in kept), len(human)), dtype=np.float32)
    wide = np.zeros(int(human.max()) + 1)
    studies: list[str] = []
    statements: list[tuple[str, ...]] = []
    for source, rows in kept:
        for some, aligned in _blocks(source, rows):
            for place, row in enumerate(some):
                panel = scorer.panel(aligned.measured[place])
                values = aligned.values[place, panel.genes]
                own = panel.genes < wide.size
                wide[:] = 0.0
                wide[panel.genes[own]] = scorer.weights(values, panel, unit=aligned.units[place], kind="bulk")[own]
                weights[len(studies)] = wide[human]
                studies.append(str(source.blocks[row]))
                statements.append(source.statements(int(row)))
    names, member, counts = np.unique(studies, return_inverse=True, return_counts=True)
    return _Samples(weights, 1.0 / (counts[member] * len(names)), np.array(studies), tuple(statements))


def _thinned(
    corpora: Sequence[tuple[CorpusSource, np.ndarray]], n_at_most: int
) -> list[tuple[CorpusSource, np.ndarray]]:
    """Return rows of each source, at most so many in all, with one limit for the samples of a study."""
    studies = [source.blocks[rows] for source, rows in corpora]
    counts = np.unique(np.concatenate(studies), return_counts=True)[1]
    limit = int(counts.max())
    while limit > 1 and int(np.minimum(counts, limit).sum()) > n_at_most:
        limit -= max(1, limit // 10)
    seen: dict[str, int] = {}
    kept = []
    for (source, rows), names in zip(corpora, studies, strict=True):
        chosen = []
        for row, name in zip(rows, names, strict=True):
            seen[name] = seen.get(name, 0) + 1
            if seen[name] <= limit:
                chosen.append(row)
        kept.append((source, np.array(chosen, dtype=np.int64)))
    return kept


def _blocks(source: CorpusSource, rows: np.ndarray) -> Iterator[tuple[np.ndarray, AlignedExpression]]:
    """Yield rows and their expression, a bounded number at once."""
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        yield some, source.expression(some)


def _group(library: str, spec: ClosedFormSpec) -> int:
    """Return the group of a library's sets, -1 if the recipe does not use it."""
    return _SIGNATURES if library in spec.signatures else _PLAIN if library in spec.libraries else -1


def _sets(sources: Sequence[tuple[GeneSetSource, np.ndarray]], spec: ClosedFormSpec, *, human: np.ndarray) -> _Entries:
    """Return the sets of the recipe's libraries over the square root of their size; signatures of one name are averaged."""
    from scipy.sparse import csr_matrix, diags, vstack

    found: list[tuple[str, str, int]] = []
    parts = []
    for source, rows in sources:
        libraries = [source.sets.libraries[row] for row in rows]
        group = np.array([_group(name, spec) for name in libraries])
        wanted = np.asarray(rows)[group >= 0]
        found += [
            (source.sets.texts[row], source.sets.libraries[row], int(g))
            for row, g in zip(wanted, group[group >= 0], strict=True)
        ]
        parts.append(source.sets.matrix[wanted][:, human])
    if not found:
        raise InputError(
            f"There is no set of the libraries {', '.join((*spec.libraries, *spec.signatures))} in the data."
        )
    matrix = vstack(parts).sign().astype(np.float32).tocsr()
    sizes = np.maximum(np.asarray(abs(matrix).sum(axis=1)).ravel(), 1.0)
    names = [
        f"1 {text.lower()}" if group else f"0 {library} {place}" for place, (text, library, group) in enumerate(found)
    ]
    _, first, member, counts = np.unique(names, return_index=True, return_inverse=True, return_counts=True)
    mean = csr_matrix((1.0 / counts[member], (member, np.arange(len(member)))), shape=(len(first), len(member)))
    merged = (mean @ diags(1.0 / np.sqrt(sizes)) @ matrix).tocsr().astype(np.float32)
    return _Entries(
        tuple(found[place][0] for place in first),
        tuple(found[place][1] for place in first),
        np.array([found[place][2] for place in first]),
        merged,
    )


def _by_spread(matrix: Any, samples: _Samples) -> Any:
    """Divide each set by the spread of its score among the samples."""
    from scipy.sparse import diags

    sets = matrix
    spread = np.concatenate(
        [
            _spread(np.asarray((sets[start : start + 1024] @ samples.weights.T).T), samples.shares)
            for start in range(0, sets.shape[0], 1024)
        ]
    )
    return (diags(1.0 / _floored(spread)) @ sets).tocsr().astype(np.float32)


def _spread(scores: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each column of ``(n_samples, n)`` scores."""
    return np.asarray(np.sqrt(np.maximum(shares @ (scores - shares @ scores) ** 2, 0.0)))


def _floored(spread: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(spread, max(float(np.quantile(spread, _SPREAD_FLOOR)), 1e-12)))


def _stated(samples: _Samples) -> tuple[list[str], np.ndarray]:
    """Return texts, and the mean weights above the usual of the samples of one study that state them."""
    members: dict[tuple[str, str], list[int]] = {}
    for row, (study, texts) in enumerate(zip(samples.studies, samples.statements, strict=True)):
        for text in dict.fromkeys(texts):
            members.setdefault((str(study), text), []).append(row)
    usual = samples.usual
    means = [samples.weights[rows].mean(axis=0) - usual for rows in members.values()]
    return [text for _, text in members], np.array(means, dtype=np.float32).reshape(
        len(means), samples.weights.shape[1]
    )
