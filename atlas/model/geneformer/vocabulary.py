"""``GeneVocabulary``: which token a gene is, and how strongly it is expressed where it is expressed at all.

In: the published dictionaries, converted once. Out: one Parquet file ``vocabulary.parquet`` (name, token, median), genes and
special tokens in token order. A gene without a token, or without a median, cannot be ranked and is left out.

Source: Theodoris et al., Nature 2023, Methods, "Rank value encoding"; token 0 pads and token 1 masks, the second version adds
``<cls>`` and ``<eos>``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import ArtifactError

VocabularyVersion = Literal["v1", "v2"]
PAD, MASK = 0, 1
SPECIALS = ("<pad>", "<mask>", "<cls>", "<eos>")
MAX_LENGTH: Mapping[str, int] = {"v1": 2_048, "v2": 4_096}
_SCHEMA = pa.schema([("name", pa.string()), ("token", pa.int32()), ("median", pa.float64())])


@dataclass(frozen=True)
class GeneVocabulary:
    """Genes that can be ranked, in token order.

    Attributes
    ----------
    gene_ids
        ``(n_genes,)`` Ensembl gene ids without version.
    tokens
        ``(n_genes,)`` int32, increasing.
    medians
        ``(n_genes,)`` float64, > 0: median over the cells that express the gene of its count per 10,000.
    specials
        ``<pad>``, ``<mask>`` and, in the second version, ``<cls>``, ``<eos>``.
    n_tokens
        Length of the model's embedding table.
    """

    gene_ids: tuple[str, ...]
    tokens: npt.NDArray[np.int32]
    medians: npt.NDArray[np.float64]
    specials: Mapping[str, int]
    n_tokens: int

    @classmethod
    def from_dictionaries(
        cls, tokens: Mapping[str, int | float], medians: Mapping[str, int | float], *, name: str = "the dictionaries"
    ) -> GeneVocabulary:
        """Join the two published dictionaries, Ensembl id to token and to median.

        Raises
        ------
        ArtifactError
            ``corrupt`` if tokens are not 0, 1, 2, ... once each, a median is not above 0, or ``<pad>`` is not 0.
        """
        numbers = sorted(tokens.values())
        if not numbers or numbers != list(range(len(numbers))) or any(isinstance(number, float) for number in numbers):
            raise _broken(name, f"its {len(numbers):,} tokens are not 0, 1, 2, ... once each")
        specials = {key: int(tokens[key]) for key in SPECIALS if key in tokens}
        if specials.get("<pad>") != PAD or specials.get("<mask>") != MASK:
            raise _broken(name, "<pad> is not token 0 or <mask> is not token 1")
        if ("<cls>" in specials) != ("<eos>" in specials):
            raise _broken(name, "it has only one of <cls> and <eos>")
        ranked = sorted((int(token), key) for key, token in tokens.items() if key in medians and key not in specials)
        if not ranked:
            raise _broken(name, "no gene has both a token and a median")
        values = np.array([float(medians[key]) for _, key in ranked])
        if not (np.isfinite(values) & (values > 0)).all():
            bad = ranked[int(np.flatnonzero(~(np.isfinite(values) & (values > 0)))[0])][1]
            raise _broken(name, f"the median of {bad} is {medians[bad]}; expected a number above 0")
        return cls(
            gene_ids=tuple(key for _, key in ranked),
            tokens=np.array([token for token, _ in ranked], dtype=np.int32),
            medians=values,
            specials=specials,
            n_tokens=len(numbers),
        )

    @classmethod
    def read(cls, path: Path) -> GeneVocabulary:
        """Read ``vocabulary.parquet``.

        Raises
        ------
        ArtifactError
            ``missing`` or ``corrupt``.
        """
        try:
            table = pq.read_table(path)
        except FileNotFoundError as error:
            raise ArtifactError(
                f"{path} is missing. Make the folder with: geo-atlas model import DIR", kind="missing"
            ) from error
        except (pa.ArrowException, OSError) as error:
            raise ArtifactError(
                f"{path} is not a readable table: {error}. Import the model again.", kind="corrupt"
            ) from error
        if table.schema.names != _SCHEMA.names:
            raise _broken(str(path), f"it has the columns {table.schema.names}, expected {_SCHEMA.names}")
        try:
            columns = table.cast(_SCHEMA).to_pydict()
        except pa.ArrowException as error:
            raise _broken(str(path), f"a column has another type than expected ({error})") from error
        if None in columns["name"] or None in columns["token"] or len(set(columns["name"])) != len(columns["name"]):
            raise _broken(str(path), "a name or a token is empty, or a name stands there twice")
        tokens = dict(zip(columns["name"], columns["token"], strict=True))
        medians = {key: m for key, m in zip(columns["name"], columns["median"], strict=True) if m is not None}
        return cls.from_dictionaries(tokens, medians, name=str(path))

    def write(self, path: Path) -> None:
        """Write ``vocabulary.parquet``; equal vocabularies give equal bytes.

        A token whose gene has no median keeps its number and is named after it, for the embedding table has its row.
        """
        named = {token: (key, None) for key, token in self.specials.items()}
        rows: dict[int, tuple[str, float | None]] = {
            token: (f"<unused {token}>", None) for token in range(self.n_tokens)
        }
        rows |= named
        for token, key, median in zip(self.tokens.tolist(), self.gene_ids, self.medians.tolist(), strict=True):
            rows[token] = (key, median)
        names, medians = zip(*(rows[token] for token in sorted(rows)), strict=True)
        pq.write_table(pa.table([names, sorted(rows), medians], schema=_SCHEMA), path, compression="zstd")

    def __len__(self) -> int:
        return len(self.gene_ids)

    @property
    def version(self) -> VocabularyVersion:
        """``v2`` if samples are wrapped in ``<cls>`` and ``<eos>``."""
        return "v2" if "<cls>" in self.specials else "v1"

    @property
    def max_length(self) -> int:
        """Tokens that the published models of this version read."""
        return MAX_LENGTH[self.version]

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Ensembl id to row."""
        return {gene: row for row, gene in enumerate(self.gene_ids)}

    @cached_property
    def digest(self) -> str:
        """sha256 of everything a token depends on, whatever file it was read from."""
        digest = hashlib.sha256(repr((sorted(self.specials.items()), self.n_tokens, self.gene_ids)).encode())
        digest.update(self.tokens.astype("<i4").tobytes() + self.medians.astype("<f8").tobytes())
        return digest.hexdigest()


def _broken(name: str, problem: str) -> ArtifactError:
    return ArtifactError(
        f"{name} is no Geneformer vocabulary: {problem}. Download the published files again.", kind="corrupt"
    )
