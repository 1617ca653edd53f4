"""``GeneformerTower``: expression in the model's gene order in, one hidden vector a sample out.

In: ``AlignedExpression`` of the model's genes, in any unit. Out: ``(n_samples, hidden)`` float32, not normalised. Samples are
tokenised in blocks and run through the encoder in batches of similar length, each bounded in tokens; memory does not grow
with the number of samples. Padding does not reach a vector, but matrix products of other shapes round differently: in
float32 a row moves by about 1e-6 of its length with its neighbours, and not at all if each batch is one sample
(``batch_tokens=1``). In bfloat16, on a GPU, by about 1e-2.

Values are made linear first (``LOG2`` is undone); TPM and FPKM are ranked as they are, though the medians are of counts. Mouse
genes stand for their human orthologs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas.errors import ArtifactError, InputError
from atlas.expression.align import AlignedExpression
from atlas.expression.log import linear_values
from atlas.model.config import GeneformerConfig
from atlas.model.geneformer.folder import GeneformerFolder, read_geneformer
from atlas.model.geneformer.tokenizer import GeneColumns, RankTokens, RankValueTokenizer
from atlas.model.transcriptome import InputKind

CPU_BATCH_TOKENS = 2_048
GPU_BATCH_TOKENS = 65_536
_ROWS_AT_ONCE = 256


class GeneformerTower:
    """The tower ``geneformer`` of a model.

    Parameters
    ----------
    config
        Which folder, which hidden layer, which pooling.
    folder
        The model's folder: a relative source starts from here.
    genes
        The model's ``genes.parquet``: ``ensembl_id``, ``organism``, ``ortholog``.
    threads
        Torch threads to set on loading; ``None`` leaves torch's own choice.
    device
        ``cpu``, ``cuda``, ...; ``auto`` is a GPU if there is one.
    batch_tokens
        Upper bound of tokens (samples times the longest of them) in one forward pass; default: by device.

    Raises
    ------
    ArtifactError
        ``missing`` or ``corrupt`` folder; ``incompatible`` if it is not the one the model was made with.
    InputError
        If the model and Geneformer have no gene in common.
    """

    def __init__(
        self,
        config: GeneformerConfig,
        folder: Path,
        *,
        genes: pa.Table,
        threads: int | None = None,
        device: str = "auto",
        batch_tokens: int | None = None,
    ) -> None:
        source = read_geneformer(folder / config.source.path)
        _refuse_other(source, config)
        self.dim = config.dim
        self._config = config
        self._tokenizer = RankValueTokenizer(source.vocabulary, max_length=config.max_length)
        self._columns = self._tokenizer.columns(human_ids(genes))
        self._encoder = TokenEncoder(
            source.path,
            layer=config.layer,
            pooling=config.pooling,
            threads=threads,
            device=device,
            batch_tokens=batch_tokens,
        )

    def tokenize(self, aligned: AlignedExpression) -> RankTokens:
        """Return the tokens of every sample.

        Raises
        ------
        InputError
            If a sample measured fewer ranked genes than the model wants, or expresses none.
        """
        return tokenize_aligned(
            aligned, tokenizer=self._tokenizer, columns=self._columns, min_genes=self._config.min_genes
        )

    def embed(self, aligned: AlignedExpression, *, kind: InputKind = "auto") -> np.ndarray:
        """Return ``(n_samples, dim)`` float32, not normalised; bulk and single cells are read alike.

        Raises
        ------
        InputError
            As :meth:`tokenize`.
        """
        return self._encoder.embed(self.tokenize(aligned))


class TokenEncoder:
    """An encoder on its device, fed with batches of similar length.

    Parameters
    ----------
    folder
        A Geneformer folder, see ``atlas.model.geneformer.folder``.
    layer, pooling
        As in ``GeneformerEncoder``.
    threads, device, batch_tokens
        As in :class:`GeneformerTower`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        layer: int = -2,
        pooling: Literal["mean", "mean_genes", "cls"] = "mean",
        threads: int | None = None,
        device: str = "auto",
        batch_tokens: int | None = None,
    ) -> None:
        import torch

        from atlas.model.geneformer.encoder import load_encoder

        if threads is not None:
            torch.set_num_threads(threads)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = device
        is_gpu = torch.device(device).type == "cuda"
        dtype = torch.bfloat16 if is_gpu and torch.cuda.is_bf16_supported() else torch.float32
        self._model: Any = load_encoder(folder, layer=layer, pooling=pooling, dtype=dtype).to(device)
        self._batch_tokens = batch_tokens or (GPU_BATCH_TOKENS if is_gpu else CPU_BATCH_TOKENS)
        self.dim: int = self._model.dim

    def embed(self, tokens: RankTokens, *, progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Return ``(n_samples, dim)`` float32, not normalised, in the order given.

        Parameters
        ----------
        tokens
            Samples of at least one token each.
        progress
            Called with the number of samples done since the last call.
        """
        import torch

        vectors = np.zeros((len(tokens), self.dim), dtype=np.float32)
        with torch.inference_mode():
            for batch in length_batches(tokens.lengths, batch_tokens=self._batch_tokens):
                ids = torch.from_numpy(tokens.padded(batch)).to(self._device)
                vectors[batch] = self._model(ids).cpu().numpy()
                if progress is not None:
                    progress(len(batch))
        return vectors


def length_batches(lengths: npt.NDArray[np.integer], *, batch_tokens: int) -> list[npt.NDArray[np.intp]]:
    """Return batches of row numbers, longest rows first, each at most ``batch_tokens`` wide times long.

    Longest first: what does not fit into memory fails at once, and the allocator finds every later batch smaller.
    """
    order = np.argsort(-lengths, kind="stable")
    batches: list[npt.NDArray[np.intp]] = []
    start = 0
    while start < len(order):
        n = max(1, int(batch_tokens // max(int(lengths[order[start]]), 1)))
        batches.append(order[start : start + n])
        start += n
    return batches


def tokenize_aligned(
    aligned: AlignedExpression, *, tokenizer: RankValueTokenizer, columns: GeneColumns, min_genes: int = 1
) -> RankTokens:
    """Return the tokens of expression in the model's gene order, a bounded number of samples at once.

    Parameters
    ----------
    aligned
        Samples in any unit.
    tokenizer, columns
        The tokenizer, and its columns of the model's genes.
    min_genes
        Fewest measured genes with a token.

    Raises
    ------
    InputError
        If a sample measured fewer, or expresses none.
    """
    parts = []
    for start in range(0, len(aligned.sample_ids), _ROWS_AT_ONCE):
        rows = range(start, min(start + _ROWS_AT_ONCE, len(aligned.sample_ids)))
        values = np.stack([_linear(aligned, row, columns=columns, min_genes=min_genes) for row in rows])
        names = aligned.sample_ids[rows.start : rows.stop]
        parts.append(tokenizer.tokenize(values, genes=columns, sample_ids=names))
    return RankTokens.from_rows([part.row(i) for part in parts for i in range(len(part))])


def human_ids(genes: pa.Table) -> list[str]:
    """Return the human Ensembl id of each gene of a model, a mouse gene's being its ortholog's; empty if it has none."""
    columns = (genes[name].to_pylist() for name in ("ensembl_id", "organism", "ortholog"))
    return [own if organism == "human" else other or "" for own, organism, other in zip(*columns, strict=True)]


def _linear(aligned: AlignedExpression, row: int, *, columns: GeneColumns, min_genes: int) -> npt.NDArray[np.float64]:
    """Return one sample on a linear scale, 0 where it was not measured."""
    measured = aligned.measured[row]
    n_ranked = int(measured[columns.columns].sum())
    if n_ranked < min_genes:
        raise InputError(
            f"Sample {aligned.sample_ids[row]!r} measured {n_ranked:,} genes that Geneformer ranks; the model wants at least "
            f"{min_genes:,}. Leave it out.",
            details={"sample_id": aligned.sample_ids[row], "n_genes": n_ranked, "min_genes": min_genes},
        )
    values = np.zeros(measured.shape, dtype=np.float64)
    values[measured] = linear_values(aligned.values[row][measured], unit=aligned.units[row])
    return values


def _refuse_other(source: GeneformerFolder, config: GeneformerConfig) -> None:
    if source.fingerprint != config.fingerprint or source.vocabulary.version != config.vocabulary:
        raise ArtifactError(
            f"The Geneformer in {source.path} ({source.vocabulary.version}) is not the one the model was made with "
            f"({config.vocabulary}): fingerprint {source.fingerprint[:12]}, expected {config.fingerprint[:12]}. "
            "Fetch or import the right one.",
            kind="incompatible",
            details={"seen": source.fingerprint, "expected": config.fingerprint},
        )
