"""A trained interpreter: which type each cell is, how sure, and where it lies among the others.

In: a folder written by ``geo-atlas interpreter train`` and cells. Out: labels, probabilities, the class token's state (the
papers' cell embedding), and the fit of labels it never learned. A cell's answer depends on that cell alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlas.cells.rows import open_rows
from atlas.cells.scoring import Reading, softmax
from atlas.errors import ArtifactError, ConfigError, InputError, ResourceError, UpstreamError
from atlas.expression.units import Unit
from atlas.interpreter.answers import Answers
from atlas.interpreter.cell_genes import CellGenes, GeneReader, explain_unread
from atlas.interpreter.checkpoint import InterpreterParts, interpreter_hash, read_interpreter
from atlas.interpreter.config import AGAIN, DomainModel, InterpreterConfig
from atlas.interpreter.network import Cells, Network
from atlas.interpreter.reader import Reader, load_reader
from atlas.model.config import Source
from atlas.model.encoding import merge_adapter
from atlas.model.joint import JointModel
from atlas.model.tensors import ADAPTER_PREFIX
from atlas.resources import resource_path

CELLS_AT_ONCE = 64
_MOVED = "Say where the one it was trained with is now ({option}; a service: {setting})."
_MOVED_READER = _MOVED.format(option="--reader", setting="GEO_ATLAS_INTERPRETER_READER")
_MOVED_DOMAIN = _MOVED.format(option="--domain", setting="GEO_ATLAS_INTERPRETER_DOMAIN")


@dataclass(frozen=True)
class Interpretation:
    """What an interpreter says of some cells.

    Attributes
    ----------
    row_ids
        One a cell, in the order of the source.
    labels
        One a column of ``probabilities``.
    probabilities
        ``(n, n_labels)`` float32, rows add up to 1; NaN for a cell of which nothing can be read.
    states
        ``(n, width)`` float32, the class token's state: the cell's embedding; NaN likewise.
    notes
        What a person should know, in sentences.
    """

    row_ids: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: np.ndarray
    states: np.ndarray
    notes: tuple[str, ...]

    @property
    def best(self) -> tuple[str | None, ...]:
        """The likeliest label of each cell, the first of equal ones; ``None`` for a cell of which nothing can be read."""
        known = ~np.isnan(self.probabilities[:, 0])
        places = np.argmax(np.where(known[:, None], self.probabilities, 0.0), axis=1)
        return tuple(self.labels[place] if ok else None for place, ok in zip(places, known, strict=True))


class Interpreter:
    """A network in evaluation mode with the reader and the domain model it was trained with.

    Parameters
    ----------
    parts
        Content of the folder.
    reader
        The language model the configuration names.
    domain
        The joint model it names, or ``None``.
    digest
        See :func:`atlas.interpreter.checkpoint.interpreter_hash`; empty for one in memory.
    """

    def __init__(self, parts: InterpreterParts, *, reader: Reader, domain: JointModel | None, digest: str = "") -> None:
        config = parts.config
        if reader.width != config.reader.width:
            raise ArtifactError(
                f"Tokens of the reader have {reader.width:,} numbers; the interpreter was trained on {config.reader.width:,}. "
                "Give the language model it was trained with.",
                kind="incompatible",
                details={"seen": reader.width, "expected": config.reader.width},
            )
        if config.reader.adapter is not None:
            reader = copy.deepcopy(reader)  # others read with it, too
            merge_adapter(reader.backbone, config.reader.adapter, parts.learned)
        self.config: InterpreterConfig = config
        self.hash = digest
        self.vectors = parts.vectors
        self.network = _network(parts, reader)
        self.genes = GeneReader(
            parts.vectors.gene_map, parts.vectors.has_vector, config.genes, domain,
            token=config.domain is not None and config.domain.token,
        )  # fmt: skip

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        reader: str | None = None,
        domain: str | None = None,
        device: str | None = None,
        threads: int | None = None,
    ) -> Interpreter:
        """Read a folder, its reader and its domain model.

        Parameters
        ----------
        reader, domain
            Where the language model and the joint model are now; ``None``: where they were when it was trained. They must be
            the same to the bit.
        device
            ``cpu`` or ``cuda``; ``None``: the processor.
        threads
            Torch threads; ``None`` leaves torch's own choice.

        Raises
        ------
        ArtifactError
            If a file is missing or damaged, or reader or joint model are not those it was trained with.
        UpstreamError
            If the reader has to come from the hub, which cannot be reached.
        """
        parts = read_interpreter(folder)
        told = parts.config.reader
        source = told.source if reader is None or _same_place(reader, told.source) else Source(path=reader)
        try:
            made = load_reader(
                source, precision=told.precision, quantised=told.quantised, device=device, threads=threads
            )
        except ArtifactError as error:
            raise _moved(error, _MOVED_READER) from error
        except UpstreamError as error:
            raise UpstreamError(f"{error.message} {_MOVED_READER}", details=error.details) from error
        if made.fingerprint != told.fingerprint:
            raise ArtifactError(
                f"The language model {'MiniLM' if source is None else source.path} is not the one "
                f"the interpreter in {folder} was trained with: fingerprint {made.fingerprint[:12]}, expected "
                f"{told.fingerprint[:12]}. {_MOVED_READER}",
                kind="incompatible",
                details={"seen": made.fingerprint, "expected": told.fingerprint},
            )
        found = load_domain(parts.config.domain, source=domain)
        return cls(parts, reader=made, domain=found, digest=interpreter_hash(folder))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels it learned."""
        return self.config.labels

    def predict(
        self, data: object, *, layer: str | None = None, unit: Unit | None = None, organism: str | None = None
    ) -> Interpretation:
        """Say of every row of a file or object which type it is.

        Parameters
        ----------
        data, layer, unit
            See :func:`atlas.cells.rows.open_rows`.
        organism
            ``human`` or ``mouse``; ``None``: the one whose genes the names are.

        Raises
        ------
        InputError, NotFoundError
            If the source cannot be read, or none of its genes is known.
        """
        cells, reading = self.read(data, layer=layer, unit=unit, organism=organism)
        return self.interpret(cells, notes=reading.notes)

    def read(
        self, data: object, *, layer: str | None = None, unit: Unit | None = None, organism: str | None = None
    ) -> tuple[CellGenes, Reading]:
        """Return what is read of every row, and how the source was understood; see :meth:`predict`."""
        with open_rows(data, layer=layer, unit=unit) as rows:
            return self.genes.read(rows, organism=organism)

    def interpret(self, cells: CellGenes, *, notes: Sequence[str] = ()) -> Interpretation:
        """Say of every cell which type it is.

        Raises
        ------
        InputError
            If of no cell anything can be read.
        ArtifactError
            If an answer is no number.
        ResourceError
            If memory does not suffice.
        """
        logits, states = self.logits(cells)
        said = [*notes, *self.genes.few_described(cells), *([found] if (found := explain_unread(cells)) else [])]
        return Interpretation(cells.row_ids, self.labels, softmax(logits, logit_scale=1.0), states, tuple(said))

    def logits(self, cells: CellGenes) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(n, n_labels)`` float32 logits and ``(n, width)`` float32 states of cells; see :meth:`interpret`."""
        logits = np.full((len(cells), len(self.labels)), np.nan, np.float32)
        states = np.full((len(cells), self.config.reader.width), np.nan, np.float32)
        with torch.inference_mode(), memory_told(training=False):
            for rows, batch in self._batches(cells):
                found, state = self.network(batch)
                logits[rows], states[rows] = found.cpu().numpy(), state.cpu().numpy()
        _expect_numbers(logits[cells.has_genes])
        return logits, states

    def ask(self, cells: CellGenes, texts: Sequence[str]) -> np.ndarray:
        """Return how well each text fits each cell, ``(n, n_texts)`` float32 shares; NaN for a cell of which nothing can be read.

        Parameters
        ----------
        texts
            Labels in words, learned or not.

        Raises
        ------
        InputError
            If the interpreter did not learn with answers, a text is empty or too long.
        """
        if not self.config.network.answers:
            raise InputError(
                "This interpreter learned its labels alone, so that other texts cannot be asked for. Train one with answers "
                "(training.answers above 0, as the preset starter has)."
            )
        fit = np.full((len(cells), len(texts)), np.nan, np.float32)
        with torch.inference_mode(), memory_told(training=False):
            answers = Answers(self.network, texts, self._texts_of_domain(texts))
            for rows, batch in self._batches(cells):
                fit[rows] = answers.scores(batch).cpu().numpy()
        _expect_numbers(fit[cells.has_genes])
        return softmax(fit, logit_scale=1.0)

    def _texts_of_domain(self, texts: Sequence[str]) -> torch.Tensor | None:
        if self.network.opinion is None or self.genes.domain is None:
            return None
        return torch.from_numpy(self.genes.domain.embed_texts(list(texts)))

    def _batches(self, cells: CellGenes) -> Iterator[tuple[np.ndarray, Cells]]:
        """Yield rows and batches of the cells of which something can be read."""
        known = np.flatnonzero(cells.has_genes)
        if not known.size:
            raise InputError(f"{explain_unread(cells)} Give cells with counts of genes that have a description.")
        device = self.network.class_token.device
        for start in range(0, len(known), CELLS_AT_ONCE):
            rows = known[start : start + CELLS_AT_ONCE]
            yield rows, batch_of(cells, rows, device=device)


def _expect_numbers(answers: np.ndarray) -> None:
    """Refuse answers beyond all numbers: a cell that can be read has one."""
    wrong = ~np.isfinite(answers).all(axis=1)
    if wrong.any():
        raise ArtifactError(
            f"The interpreter's answer is no number for {int(wrong.sum()):,} of {len(wrong):,} cells: its weights, or its "
            "language model at this precision (reader.precision), run over. Train it again, in fp32.",
            kind="corrupt",
            details={"cells": int(wrong.sum())},
        )


def batch_of(cells: CellGenes, rows: np.ndarray, *, device: Any = None) -> Cells:
    """Return some cells as tensors."""
    domain = None if cells.domain is None else torch.from_numpy(cells.domain[rows]).to(device)
    return Cells(
        torch.from_numpy(cells.genes[rows].astype(np.int64)).to(device),
        torch.from_numpy(cells.strengths[rows]).to(device),
        domain,
    )


def domain_model(source: str | None) -> JointModel:
    """Load the joint model in a folder; ``None``: the packaged one.

    Raises
    ------
    ArtifactError
        If it cannot be loaded.
    """
    return JointModel.load(resource_path("starter/model") if source is None else Path(source))


def load_domain(told: DomainModel | None, *, source: str | None = None) -> JointModel | None:
    """Load the joint model that a configuration names.

    Parameters
    ----------
    source
        Where it is now; ``None``: where it was.

    Raises
    ------
    ArtifactError
        If it is not there, or not the one it was.
    """
    if told is None:
        if source is not None:
            raise ConfigError(
                "The interpreter was trained without a joint model, and can use none. Leave it (--domain) away."
            )
        return None
    folder = told.source if source is None else source
    try:
        model = domain_model(folder)
    except ArtifactError as error:
        raise _moved(error, _MOVED_DOMAIN) from error
    if model.hash != told.hash:
        raise ArtifactError(
            f"The joint model in {folder or 'the package'} is not the one the interpreter was trained with: "
            f"{model.hash[:12]}, expected {told.hash[:12]}. {_MOVED_DOMAIN}",
            kind="incompatible",
            details={"seen": model.hash, "expected": told.hash},
        )
    return model


def _moved(error: ArtifactError, advice: str) -> ArtifactError:
    """Return the error with advice where nothing is there: a damaged model is no moved one."""
    told = f"{error.message} {advice}" if error.kind == "missing" else error.message
    return ArtifactError(told, kind=error.kind, details=error.details)


def _same_place(path: str, source: Source | None) -> bool:
    return source is not None and path == source.path


@contextmanager
def memory_told(*, training: bool) -> Iterator[None]:
    """Turn a failed allocation into advice.

    Parameters
    ----------
    training
        Whether what failed was learning, which has settings that reading has not.

    Raises
    ------
    ResourceError
        If memory did not suffice.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if (
            isinstance(error, RuntimeError)
            and not isinstance(error, torch.OutOfMemoryError)
            and "alloc" not in str(error)
        ):
            raise
        advice = (
            "Take fewer cells at once (training.batch), fewer genes (genes.top_k), recompute hidden states "
            "(training.recompute=true), hold the weights in bf16 or in 8 bits (reader.quantised=8bit), or take a smaller model."
            if training
            else "Use a machine with more memory, or an interpreter whose language model is smaller or held in fewer bits."
        )
        raise ResourceError(f"Memory did not suffice for the language model. {advice}") from error


def _network(parts: InterpreterParts, reader: Reader) -> Network:
    config = parts.config
    network = Network(
        reader,
        torch.from_numpy(parts.vectors.table()),
        config.network,
        n_labels=len(config.labels),
        domain_dim=config.domain.dim if config.domain is not None and config.domain.token else 0,
        strength=config.genes.strength,
        label_texts=_label_texts(config),
        label_words=torch.zeros((len(config.labels), config.reader.width)) if config.network.words else None,
    )
    load_learned(network, {name: one for name, one in parts.learned.items() if not name.startswith(ADAPTER_PREFIX)})
    return network.beside_reader().eval()


def _label_texts(config: InterpreterConfig) -> torch.Tensor | None:
    """Return room for the labels' texts, which lie with what was learned."""
    told = config.domain
    return None if told is None or not told.opinion else torch.zeros((len(config.labels), told.dim))


def load_learned(network: Network, learned: Mapping[str, np.ndarray]) -> None:
    """Put what was learned into a network.

    Raises
    ------
    ArtifactError
        If a tensor is missing, is not the network's, or has another shape.
    """
    wanted = dict(network.kept())
    if set(wanted) != set(learned):
        lacking, strange = sorted(set(wanted) - set(learned)), sorted(set(learned) - set(wanted))
        raise ArtifactError(
            f"The interpreter's tensors are not those of its network: {lacking[:5]} are missing, {strange[:5]} are not "
            f"asked for. {AGAIN}",
            kind="corrupt",
            details={"missing": lacking, "unexpected": strange},
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            if tuple(parameter.shape) != learned[name].shape:
                raise ArtifactError(
                    f"The interpreter's {name} has the shape {learned[name].shape}, expected {tuple(parameter.shape)}: "
                    f"config.json and interpreter.safetensors are not of one training. {AGAIN}",
                    kind="corrupt",
                    details={"tensor": name, "seen": list(learned[name].shape), "expected": list(parameter.shape)},
                )
            parameter.copy_(torch.from_numpy(learned[name]))


def learned_of(network: Network) -> dict[str, np.ndarray]:
    """Return what makes a network the trained one, as :func:`load_learned` takes it."""
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in network.kept()}
