"""From a preset and labelled files to an interpreter's folder."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from atlas.digests import sha256_json
from atlas.drafts import draft_of
from atlas.errors import ConfigError, InputError
from atlas.expression.units import Unit
from atlas.interpreter.answers import read_texts
from atlas.interpreter.cell_genes import GeneReader
from atlas.interpreter.checkpoint import InterpreterParts, write_interpreter
from atlas.interpreter.config import DomainModel, InterpreterConfig, NetworkConfig, ReaderConfig
from atlas.interpreter.gene_vectors import GeneVectors
from atlas.interpreter.interpreter import Interpreter, domain_model, learned_of
from atlas.interpreter.network import Network
from atlas.interpreter.reader import Reader, load_reader
from atlas.locks import one_writer
from atlas.model.config import Source
from atlas.model.joint import JointModel
from atlas.settings import Settings
from indexer.interpreter.gene_vectors import make_gene_vectors
from indexer.interpreter.labelled_cells import LabelledCells, expect_columns, read_labelled
from indexer.interpreter.presets import Preset, absolute
from indexer.interpreter.trainer import CHECKPOINT, train
from indexer.stage import Progress, silent_progress
from indexer.training.at_rest import low_rank_changes
from indexer.training.presets import LoraSpec
from indexer.training.towers import with_adapter

RECORD = "training.json"


@dataclass(frozen=True)
class Ingredients:
    """What a preset names, loaded: the reader, the vectors of genes, the joint model, and what is read of a cell."""

    preset: Preset
    reader: Reader
    vectors: GeneVectors
    domain: JointModel | None
    genes: GeneReader

    @classmethod
    def load(
        cls,
        preset: Preset,
        *,
        work: Path,
        settings: Settings | None = None,
        device: str | None = None,
        progress: Progress = silent_progress,
    ) -> Ingredients:
        """Load them.

        Raises
        ------
        ArtifactError, ConfigError, InputError, UpstreamError, MissingExtraError
            If one cannot be had.
        """
        domain = None if preset.domain is None else domain_model(preset.domain.source)
        vectors = make_gene_vectors(
            preset.vectors, work=work, domain=domain, settings=settings, seed=preset.training.seed, progress=progress
        )
        told = preset.reader
        source = None if told.source is None else Source(path=absolute(told.source) or "", revision=told.revision)
        reader = load_reader(source, precision=told.precision, quantised=told.quantised, device=device)
        token = preset.domain is not None and preset.domain.token
        if told.adapter is not None and preset.training.answers and reader.kind == "encoder":
            raise ConfigError(
                "An encoder with low-rank changes would read the labels' texts otherwise after learning than while it learns. "
                "Ask for one of the two: training.answers=0, or no reader.adapter."
            )
        genes = GeneReader(vectors.gene_map, vectors.has_vector, preset.genes, domain, token=token)
        return cls(preset, reader, vectors, domain, genes)

    def network(self, texts: Sequence[str], *, seed: int) -> Network:
        """Return a network that has learned nothing, the same for the same seed.

        Parameters
        ----------
        texts
            The labels in words.

        Raises
        ------
        ConfigError
            If instruction and genes together are longer than the reader reads.
        """
        preset = self.preset
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Network(
                self.reader,
                torch.from_numpy(self.vectors.table()),
                self.network_config,
                n_labels=len(texts),
                domain_dim=self.domain.dim if self.domain is not None and self.genes.token else 0,
                strength=preset.genes.strength,
                label_texts=self._label_texts(texts),
                label_words=read_texts(self.reader, texts) if self.network_config.words else None,
            )
        _refuse_too_long(network, texts if preset.training.answers else (), preset=preset)
        return network.beside_reader()

    def _label_texts(self, texts: Sequence[str]) -> torch.Tensor | None:
        told = self.preset.domain
        if self.domain is None or told is None or not told.opinion:
            return None
        return torch.from_numpy(self.domain.embed_texts(list(texts)))

    def told(self) -> dict[str, object]:
        """Return everything that makes them what they are, as JSON."""
        codes = self.vectors.codes
        rows = self.vectors.rows
        return {
            "preset": self.preset.model_dump(mode="json"),
            "network": self.network_config.model_dump(mode="json"),
            "reader": self.reader.fingerprint,
            "vectors": sha256(codes.codes.tobytes() + codes.scales.tobytes() + rows.tobytes()).hexdigest(),
            "domain": None if self.domain is None else self.domain.hash,
        }

    @property
    def network_config(self) -> NetworkConfig:
        """Sizes and instruction."""
        told, answers = self.preset.network, self.preset.training.answers > 0
        return NetworkConfig(
            gene_dim=self.vectors.dim, hidden=told.hidden, instruction=told.instruction, dropout=told.dropout,
            domain_noise=told.domain_noise, answers=answers, words=answers and self.reader.kind == "encoder",
        )  # fmt: skip

    def parts(self, network: Network, *, labels: Sequence[str], organisms: Sequence[str]) -> InterpreterParts:
        """Return a trained network at rest."""
        preset, told = self.preset, self.preset.reader
        record, tensors = (None, {}) if told.adapter is None else low_rank_changes(network.reader.backbone)
        domain = None
        if self.domain is not None:
            source = None if preset.domain is None else absolute(preset.domain.source)
            domain = DomainModel(
                source=source, hash=self.domain.hash, dim=self.domain.dim, token=self.genes.token,
                opinion=network.opinion is not None,
            )  # fmt: skip
        config = InterpreterConfig(
            preset=preset.name,
            labels=tuple(labels),
            organisms=tuple(organisms),
            reader=ReaderConfig(
                source=None
                if told.source is None
                else Source(path=absolute(told.source) or "", revision=told.revision),
                fingerprint=self.reader.fingerprint,
                width=self.reader.width,
                precision=told.precision,
                quantised=told.quantised,
                adapter=record,
            ),
            genes=preset.genes,
            vectors=self.vectors.record,
            network=self.network_config,
            domain=domain,
            vocabulary=self.vectors.vocabulary,
        )
        return InterpreterParts(config, self.vectors, {**learned_of(network), **tensors})


@dataclass(frozen=True)
class Trained:
    """A network that learned, and how it went."""

    network: Network
    losses: list[float]


def learn(
    ingredients: Ingredients,
    cells: LabelledCells,
    *,
    rows: np.ndarray | None = None,
    seed: int | None = None,
    folder: Path | None = None,
    progress: Progress = silent_progress,
) -> Trained:
    """Train a fresh network on some of the cells.

    Parameters
    ----------
    rows
        Which; ``None``: all.
    seed
        Of all that is drawn; ``None``: the preset's.
    folder
        Where a run that is killed is kept.

    Raises
    ------
    InputError, ResourceError
        See :func:`indexer.interpreter.trainer.train`.
    """
    spec = ingredients.preset.training
    spec = spec if seed is None else spec.model_copy(update={"seed": seed})
    chosen = np.arange(len(cells)) if rows is None else rows
    network = ingredients.network(cells.texts, seed=spec.seed)
    if ingredients.preset.reader.adapter is not None:
        _adapt(network, ingredients.preset.reader.adapter, seed=spec.seed)
    told = sha256_json({**ingredients.told(), "labels": cells.labels})
    losses = train(
        network, cells.cells.take(chosen), cells.codes[chosen], spec=spec, texts=cells.texts, folder=folder,
        told=told,
        progress=progress,
    )  # fmt: skip
    return Trained(network, losses)


def train_interpreter(
    files: Sequence[Path],
    out: Path,
    *,
    preset: Preset,
    label: str = "cell_type",
    layer: str | None = None,
    unit: Unit | None = None,
    organism: str | None = None,
    force: bool = False,
    settings: Settings | None = None,
    device: str | None = None,
    progress: Progress = silent_progress,
) -> tuple[Interpreter, LabelledCells]:
    """Train on labelled files and write the folder; the same call after a kill goes on where it stopped.

    Parameters
    ----------
    files
        ``.h5ad`` files, of one species or two.
    out
        Folder to write.
    label
        Column of ``obs`` with the labels.
    layer, unit
        Of all files, see :func:`atlas.cells.rows.open_rows`.
    organism
        Of all files; ``None``: of each, the one whose genes the names are.
    force
        Replace an interpreter that is there.

    Raises
    ------
    BusyError
        If another process trains into the folder.
    InputError, ArtifactError, ConfigError, ResourceError
        If files, preset, reader or memory do not serve.
    """
    _refuse_folder(out, force=force)
    expect_columns(files, label=label, layer=layer, unit=unit)
    with one_writer(out, purpose="training an interpreter", who="training", option="--out"):
        ingredients = Ingredients.load(preset, work=out / "parts", settings=settings, device=device, progress=progress)
        cells = read_labelled(files, ingredients.genes, label=label, layer=layer, unit=unit, organism=organism)
        trained = learn(ingredients, cells, folder=out / "parts", progress=progress)
        parts = ingredients.parts(trained.network, labels=cells.labels, organisms=sorted(set(cells.organisms.tolist())))
        write_interpreter(out, parts)
        _write_record(out / RECORD, preset=preset, cells=cells, losses=trained.losses)
        (out / "parts" / CHECKPOINT).unlink(missing_ok=True)
    return Interpreter.load(out, device=device), cells


def own_labels(made: Interpreter, cells: LabelledCells) -> float:
    """Return the share of cells, among those given, that get their own label; at most a thousand are asked, drawn by seed."""
    rows = np.random.default_rng(0).permutation(len(cells))[:1_000]
    found = made.interpret(cells.cells.take(rows)).best
    return float(np.mean([one == cells.labels[cells.codes[row]] for one, row in zip(found, rows, strict=True)]))


def _refuse_folder(out: Path, *, force: bool) -> None:
    """Refuse a place that is no folder, or holds an interpreter that nobody said may go."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give the folder of the new interpreter (--out).")
    if (out / "config.json").is_file() and not force:
        raise InputError(f"{out} holds an interpreter already; give another --out, or --force to replace it.")


def _adapt(network: Network, spec: LoraSpec, *, seed: int) -> None:
    """Put low-rank matrices beside the layers of the network's own copy of the reader; they alone of it learn."""
    network.reader = copy.deepcopy(network.reader)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network.reader.backbone = with_adapter(network.reader.backbone, spec)


def _refuse_too_long(network: Network, texts: Sequence[str], *, preset: Preset) -> None:
    """Refuse more tokens than are read; a causal reader reads a label's words after the class token."""
    frame, reader = network.frame, network.reader
    words = max((len(reader.frame(text).text) for text in texts), default=0) if reader.kind == "causal" else 0
    rest = len(frame.before) + len(frame.text) + max(len(frame.after), words) + 1 + (network.domain is not None)
    if preset.genes.top_k + rest > reader.n_positions:
        raise ConfigError(
            f"{preset.genes.top_k:,} genes and {rest} other tokens are more than the reader's {reader.n_positions:,} positions. "
            f"Choose genes.top_k of at most {max(reader.n_positions - rest, 0):,}.",
            details={"seen": preset.genes.top_k + rest, "maximum": reader.n_positions},
        )


def _write_record(path: Path, *, preset: Preset, cells: LabelledCells, losses: Sequence[float]) -> None:
    """Write what the run was told and saw."""
    counts = np.bincount(cells.codes, minlength=len(cells.labels)).tolist()
    told = {
        "preset": preset.model_dump(mode="json"),
        "n_cells": len(cells),
        "labels": dict(zip(cells.labels, counts, strict=True)),
        "texts": dict(zip(cells.labels, cells.texts, strict=True)),
        "left_out": cells.left_out,
        "organisms": {name: int((cells.organisms == name).sum()) for name in np.unique(cells.organisms).tolist()},
        "losses": [round(loss, 6) for loss in losses],
    }
    with draft_of(path) as draft:
        draft.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
