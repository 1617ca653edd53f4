"""``GeneSetSource``: gene-set libraries as pseudo-transcriptomes, paired with the names of their sets.

A set teaches that its name means "these genes are high" (and, of a signed signature, "those are low"). Drawn with randomness it
is never the same twice: some genes are left out, weights vary, and up to 600 genes that have nothing to do with it are mixed in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from atlas.cells.label_text import MAX_LABEL_CHARS, label_paraphrases
from atlas.digests import sha256_file, sha256_json
from atlas.errors import ConfigError
from atlas.expression.align import AlignedExpression, Coverage
from atlas.expression.genes import GeneMap
from atlas.expression.units import Unit
from indexer.studies import study_of
from indexer.training.blocking import STUDY
from indexer.training.sources.gene_set_files import GeneSets, read_gene_sets
from indexer.training.sources.items import Items
from indexer.training.sources.source import RowRandom, Rows, SourceKind

_MAX_CAPTIONS = 5
_FEWEST = 5
_BASELINE_GENES = 500  # measured at 1 beside the set, so that high and low have something to differ from
_FOLD = 3.0  # log2 fold change of a gene of the largest weight


@dataclass(frozen=True)
class SetNoise:
    """How a set varies from draw to draw.

    Attributes
    ----------
    keep
        Smallest share of its genes that is kept; at least five are.
    weight_spread
        Standard deviation of the log of each gene's weight.
    background
        Most genes from outside the set, 0 or more; the number is uniform.
    background_level
        Their typical weight as a part of the set's mean weight; half-normal, of either sign in signed sets.
    """

    keep: float = 0.3
    weight_spread: float = 0.5
    background: int = 600
    background_level: float = 0.3

    def __post_init__(self) -> None:
        if not (0 < self.keep <= 1 and self.weight_spread >= 0 and self.background >= 0 and self.background_level >= 0):
            raise ConfigError(f"{self}: expected 0 < keep <= 1 and no negative number.")


class GeneSetSource(Items):
    """Gene sets with their names.

    Parameters
    ----------
    paths, libraries, leave_out, drop_series, organism
        As for :func:`read_gene_sets`.
    genes
        The model's genes.
    noise
        How sets vary when they are asked for with randomness.
    name
        Name in reports.

    Attributes
    ----------
    sets
        What was read, with the reasons why sets were dropped.

    Raises
    ------
    InputError, TooLargeError
        As for :func:`read_gene_sets`.
    """

    kind: SourceKind = "genesets"

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        genes: GeneMap,
        libraries: Collection[str] | None = None,
        leave_out: Collection[str] = (),
        drop_series: Collection[str] = (),
        noise: SetNoise | None = None,
        name: str = "genesets",
        organism: str = "human",
    ) -> None:
        self.sets: GeneSets = read_gene_sets(
            paths, genes=genes, libraries=libraries, leave_out=leave_out, drop_series=drop_series, organism=organism
        )
        self._noise = noise or SetNoise()
        self._organism = organism
        self._genes_digest = sha256_json(genes.ensembl_ids)
        self._pool = np.flatnonzero(genes.mask(organism))
        self._n_genes = len(genes)
        super().__init__(
            name, [f"{library}: {key}" for library, key in zip(self.sets.libraries, self.sets.keys, strict=True)]
        )

    @property
    def libraries(self) -> tuple[str, ...]:
        """Libraries read, sorted."""
        return tuple(sorted(set(self.sets.libraries)))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the files and everything that decides items and captions."""
        files = [[path.name, sha256_file(path)] for path in self.sets.files]
        items = sha256_json([list(self.item_ids), list(self.sets.texts)])
        return sha256_json({"kind": self.kind, "files": files, "items": items, "genes": self._genes_digest})

    def links(self) -> Iterator[tuple[int, str]]:
        """Yield the studies a set was made from; sets of no known study are tied by their text."""
        for row, (text, accessions) in enumerate(zip(self.sets.texts, self.sets.accessions, strict=True)):
            for accession in accessions:
                yield row, f"{STUDY}{study_of(accession)}"
            if not accessions:
                yield row, f"text:{text.lower()}"

    def captions(self, row: int) -> tuple[str, ...]:
        """Return the readable name, then what the Cell Ontology calls the same."""
        text = self.sets.texts[row]
        distinct: dict[str, str] = {}
        for name in (text, *label_paraphrases(text[:MAX_LABEL_CHARS])):
            distinct.setdefault(name.lower(), name)
        return tuple(distinct.values())[:_MAX_CAPTIONS]

    def gene_weights(self, rows: Rows, *, rng: RowRandom | None = None) -> npt.NDArray[np.float32]:
        """Return (n_rows, n_model_genes) signed weights, L2-normalised; see ``GeneWeightSource``."""
        wanted = self._checked(rows)
        weights = np.zeros((wanted.size, self._n_genes), dtype=np.float32)
        for i, row in enumerate(wanted):
            places, values = self._draw(int(row), rng)
            weights[i, places] = values / np.linalg.norm(values)
        return weights

    def expression(self, rows: Rows, *, rng: RowRandom | None = None) -> AlignedExpression:
        """Return pseudo-transcriptomes: a panel of the set's genes, the background, and 500 genes at the level of 1.

        A gene of weight w lies at ``2 ** (3 w / max |w|)`` on a linear scale; all other genes count as not measured.
        """
        wanted = self._checked(rows)
        values = np.zeros((wanted.size, self._n_genes), dtype=np.float32)
        measured = np.zeros(values.shape, dtype=bool)
        for i, row in enumerate(wanted):
            places, weights = self._draw(int(row), rng)
            baseline = self._baseline(int(row))
            values[i, baseline] = 1.0
            values[i, places] = np.exp2(_FOLD * weights / np.abs(weights).max())
            measured[i, baseline] = measured[i, places] = True
        ids = tuple(self.item_ids[row] for row in wanted)
        return AlignedExpression(values, measured, (Unit.NORMALISED,) * wanted.size, ids, self._coverage())

    def _draw(self, row: int, rng: RowRandom | None) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Return (genes, weights) of one set: as it is without randomness."""
        start, stop = self.sets.matrix.indptr[row : row + 2]
        places = self.sets.matrix.indices[start:stop].astype(np.int64)
        weights = self.sets.matrix.data[start:stop]
        return (places, weights) if rng is None else self._vary(places, weights, rng.of(self.name, row))

    def _vary(
        self, places: npt.NDArray[np.int64], weights: npt.NDArray[np.float32], random: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        noise = self._noise
        n_kept = max(min(_FEWEST, places.size), round(random.uniform(noise.keep, 1.0) * places.size))
        chosen = np.sort(random.choice(places.size, size=n_kept, replace=False))
        kept = weights[chosen] * np.exp(random.normal(0.0, noise.weight_spread, size=n_kept))
        others = random.choice(
            self._pool, size=min(int(random.integers(0, noise.background + 1)), self._pool.size), replace=False
        )
        others = others[~np.isin(others, places)]
        level = np.abs(random.normal(0.0, noise.background_level * float(np.abs(weights).mean()), size=others.size))
        if (weights < 0).any():
            level *= random.choice((-1.0, 1.0), size=others.size)
        level[level == 0] = 1e-6
        return np.concatenate([places[chosen], others]), np.concatenate([kept, level]).astype(np.float32)

    def _baseline(self, row: int) -> npt.NDArray[np.int64]:
        """Genes that stand for the rest of the transcriptome, the same at every draw of a set."""
        random = RowRandom(0).of(f"{self.item_ids[row]} baseline", 0)
        return random.choice(self._pool, size=min(_BASELINE_GENES, self._pool.size), replace=False)

    def _coverage(self) -> Coverage:
        n = self._pool.size
        return Coverage(n, n, n, n, 0, "ensembl", self._organism, ())
