"""Geneformer as a module that learns, and back into a folder of the same layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from atlas.errors import InputError
from atlas.expression.align import AlignedExpression
from atlas.model.config import GeneformerConfig, ProjectionHead
from atlas.model.geneformer.encoder import layers_to_run, load_encoder
from atlas.model.geneformer.folder import SOURCE_FILE, FileRecord, GeneformerFolder, SourceRecord, read_geneformer
from atlas.model.geneformer.tokenizer import RankTokens, RankValueTokenizer
from atlas.model.geneformer.tower import human_ids, tokenize_aligned
from indexer.training.presets import TranscriptomeSpec
from indexer.training.sources.source import PairSource, RowRandom, Rows


class GeneformerModule(nn.Module):
    """The tower ``geneformer``: rank tokens in, one hidden layer's pooled features out.

    Parameters
    ----------
    folder
        A Geneformer folder, see ``atlas.model.geneformer.folder``.
    ids
        Human Ensembl id of each gene of the model.
    spec
        Layer and pooling.
    """

    def __init__(self, folder: GeneformerFolder, *, ids: Sequence[str], spec: TranscriptomeSpec) -> None:
        super().__init__()
        self.encoder = load_encoder(folder.path, layer=spec.layer, pooling=spec.pooling)
        self.folder = folder
        self.dim = folder.dim
        self.fingerprint = f"{folder.fingerprint}-{spec.layer}-{spec.pooling}"
        self.locked = False
        longest = min(folder.vocabulary.max_length, int(folder.encoder_config["max_position_embeddings"]))
        self._tokenizer = RankValueTokenizer(folder.vocabulary, max_length=longest)
        self._columns = self._tokenizer.columns(ids)

    def tunable(self) -> Iterator[nn.Parameter]:
        """Yield all of the encoder's parameters."""
        yield from self.encoder.parameters()

    def read(self, source: PairSource, rows: Rows, *, rng: RowRandom | None) -> list[np.ndarray | None]:
        """Return the int32 tokens of each sample."""
        aligned = source.expression(rows, rng=rng)
        try:
            tokens = self._tokens(aligned)
        except InputError:  # one sample has nothing to rank: find out which
            return [self._of_one(aligned, row) for row in range(len(aligned.sample_ids))]
        return [tokens.row(i) for i in range(len(tokens))]

    def collate(self, rows: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return ``ids`` ``(n, longest)``."""
        return {"ids": torch.from_numpy(RankTokens.from_rows(list(rows)).padded(np.arange(len(rows))))}

    def forward(self, ids: Tensor) -> Tensor:
        """Return ``(n, dim)``, not normalised."""
        width = int((ids != 0).sum(dim=1).max())  # a chunk may be narrower than its batch
        features: Tensor = self.encoder(ids[:, :width])
        return features

    def _tokens(self, aligned: AlignedExpression) -> RankTokens:
        return tokenize_aligned(aligned, tokenizer=self._tokenizer, columns=self._columns)

    def _of_one(self, aligned: AlignedExpression, row: int) -> np.ndarray | None:
        one = AlignedExpression(
            values=aligned.values[row : row + 1],
            measured=aligned.measured[row : row + 1],
            units=aligned.units[row : row + 1],
            sample_ids=aligned.sample_ids[row : row + 1],
            coverage=aligned.coverage,
        )
        try:
            return self._tokens(one).row(0)
        except InputError:
            return None


def open_geneformer(folder: Path, *, genes: object, spec: TranscriptomeSpec) -> GeneformerModule:
    """Open a Geneformer folder for training.

    Parameters
    ----------
    folder
        Made by ``geo-atlas model fetch`` or ``import``.
    genes
        ``genes.parquet`` of the model to be.
    spec
        Layer and pooling.

    Raises
    ------
    ArtifactError
        If it is no such folder, or its weights do not fit.
    """
    return GeneformerModule(read_geneformer(folder), ids=human_ids(genes), spec=spec)


def geneformer_at_rest(module: GeneformerModule, *, spec: TranscriptomeSpec, out: Path | None) -> GeneformerConfig:
    """Return the model's configuration of the tower.

    Parameters
    ----------
    module
        The tower after training.
    spec
        Layer, pooling, head.
    out
        Model folder that takes a tower which learned; ``None``: it was locked, and its own folder is named.
    """
    head = None if spec.head is None else ProjectionHead()
    if out is None:
        return module.folder.config(layer=spec.layer, pooling=spec.pooling, head=head)
    name = "transcriptome_tower"
    saved = _save(module, spec=spec, folder=out / name)
    return saved.config(path=name, layer=-1, pooling=spec.pooling, head=head)


def _save(module: GeneformerModule, *, spec: TranscriptomeSpec, folder: Path) -> GeneformerFolder:
    """Write the layers there are; what lay above the one that is read was never trained and is left out."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = dict(module.folder.encoder_config)
    config["num_hidden_layers"] = layers_to_run(int(config["num_hidden_layers"]), spec.layer)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    state = {name: tensor.detach().float().cpu().contiguous() for name, tensor in module.encoder.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    module.folder.vocabulary.write(folder / "vocabulary.parquet")
    files = {name: FileRecord.of(folder / name) for name in ("config.json", "model.safetensors", "vocabulary.parquet")}
    record = SourceRecord(made_from=module.folder.source.files, files=files)
    (folder / SOURCE_FILE).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return read_geneformer(folder)
