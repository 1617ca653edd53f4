"""Make a Geneformer folder of ours from a published one: weights checked, dictionaries converted, all or nothing.

In: a folder in the Hugging Face layout (``config.json`` and ``model.safetensors``, or ``pytorch_model.bin``), the published
dictionaries in it, beside it, or in a folder named. Out: a folder that :func:`~atlas.model.geneformer.folder.read_geneformer`
reads. The old weights format is a pickle: torch reads plain tensors from it and nothing else (``weights_only``), once.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atlas.errors import ArtifactError, InputError, ResourceError
from atlas.model.geneformer.encoder import load_encoder, read_encoder_config
from atlas.model.geneformer.folder import (
    SOURCE_FILE,
    FileRecord,
    GeneformerFolder,
    SourceRecord,
    read_geneformer,
    refuse_other_vocabulary,
)
from atlas.model.geneformer.published_pickle import read_published_dictionary
from atlas.model.geneformer.vocabulary import GeneVocabulary
from atlas.model.published import name_of_file

_BELOW = (".", "geneformer", "geneformer/gene_dictionaries_30m", "gene_dictionaries_30m")
_BESIDE = (
    "..",
    "../geneformer",
    "../geneformer/gene_dictionaries_30m",
)  # the model is a folder of the published repository
_TOKENS, _MEDIANS = "token_dictionary", "gene_median_dictionary"


def import_geneformer(source: Path, out: Path, *, dictionaries: Path | None = None) -> GeneformerFolder:
    """Write ``out`` from the published folder ``source``; it appears complete or not at all.

    Parameters
    ----------
    source
        Folder with ``config.json`` and weights.
    out
        A folder that does not exist yet.
    dictionaries
        Folder with ``token_dictionary*.pkl`` and ``gene_median_dictionary*.pkl``; default: looked for in and around
        ``source``, where the pair is taken that has as many tokens as the model.

    Raises
    ------
    ArtifactError
        ``missing``, ``corrupt`` or ``incompatible`` parts of the published folder.
    InputError
        If ``out`` exists.
    ResourceError
        If it cannot be written.
    """
    refuse_existing(out)
    if not (source / "config.json").is_file():
        raise ArtifactError(
            f"{source} is no folder of a published model: {'it has no config.json' if source.is_dir() else 'it is not there'}. "
            "Give the folder that holds config.json and the weights, such as Geneformer-V1-10M.",
            kind="missing",
            details={"path": str(source)},
        )
    config = read_encoder_config(source / "config.json")
    weights = _find_weights(source)
    vocabulary, pickles = _find_vocabulary(source, dictionaries, vocab_size=config["vocab_size"])
    refuse_other_vocabulary(vocabulary, config, path=source)
    made_from = {path.name: FileRecord.of(path) for path in (source / "config.json", weights, *pickles)}
    name = name_of_file(made_from[weights.name].sha256)
    with _new_folder(out) as work:
        shutil.copyfile(source / "config.json", work / "config.json")
        if weights.suffix == ".safetensors":
            shutil.copyfile(weights, work / "model.safetensors")
        else:
            _convert_weights(weights, work / "model.safetensors")
        vocabulary.write(work / "vocabulary.parquet")
        load_encoder(work, layer=-1)  # every tensor there, of the right shape, finite
        files = {path.name: FileRecord.of(path) for path in sorted(work.iterdir())}
        record = SourceRecord(name=name, made_from=made_from, files=files)
        (work / SOURCE_FILE).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return read_geneformer(out, verify=False)


def refuse_existing(out: Path) -> None:
    """Raise ``InputError`` if something is at ``out``."""
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} exists already. Give another folder (--out DIR), or remove it first.")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder that becomes ``out`` if all goes well and is removed otherwise."""
    work = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        work.mkdir(parents=True)
        yield work
        os.rename(work, out)
    except OSError as error:
        raise ResourceError(
            f"{out} cannot be written: {error.strerror or error}. Nothing was kept; make room or choose another folder.",
            details={"path": str(out)},
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _find_weights(source: Path) -> Path:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (source / name).is_file():
            return source / name
    raise ArtifactError(
        f"{source} holds no weights: neither model.safetensors nor pytorch_model.bin. "
        "Give the folder of one published model, such as Geneformer-V1-10M.",
        kind="missing",
        details={"path": str(source)},
    )


def _find_vocabulary(
    source: Path, dictionaries: Path | None, *, vocab_size: int
) -> tuple[GeneVocabulary, tuple[Path, ...]]:
    """Return the vocabulary and the files it was made from."""
    if dictionaries is None and (source / "vocabulary.parquet").is_file():  # a folder of ours, taken over once more
        return GeneVocabulary.read(source / "vocabulary.parquet"), (source / "vocabulary.parquet",)
    folders = [source / part for part in (*_BELOW, *_BESIDE)] if dictionaries is None else [dictionaries]
    seen = []
    for folder in folders:
        for tokens in sorted(folder.glob(f"{_TOKENS}*.pkl")) if folder.is_dir() else []:
            medians = folder / tokens.name.replace(_TOKENS, _MEDIANS)
            entries = read_published_dictionary(tokens)
            seen.append(f"{tokens} ({len(entries):,} tokens)")
            if len(entries) == vocab_size and medians.is_file():
                name = f"{tokens} with {medians.name}"
                return GeneVocabulary.from_dictionaries(entries, read_published_dictionary(medians), name=name), (
                    tokens,
                    medians,
                )
    raise ArtifactError(
        f"No dictionaries of {vocab_size:,} tokens were found for {source}; seen: {', '.join(seen) or 'none'}. "
        f"Expected {_TOKENS}*.pkl and {_MEDIANS}*.pkl of the same version; name their folder with --dictionaries DIR.",
        kind="incompatible" if seen else "missing",
        details={"expected": vocab_size, "seen": seen},
    )


def _convert_weights(source: Path, out: Path) -> None:
    """Write the tensors of a ``pytorch_model.bin`` as safetensors under the same names."""
    from pickle import UnpicklingError

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its doubts about old or forged files; they are refused or checked below
            state = torch.load(source, map_location="cpu", weights_only=True)
    except (
        UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ArtifactError(
            f"{source} is no file of plain tensors ({reason}). Nothing in it was run. "
            "Download it again, or give a folder with model.safetensors.",
            kind="corrupt",
            details={"path": str(source)},
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ArtifactError(f"{source} holds something else than named tensors. Download it again.", kind="corrupt")
    own = {str(name): tensor.contiguous().clone() for name, tensor in state.items()}  # tied tensors share memory
    if torch.equal(own.get("cls.predictions.decoder.weight", torch.empty(0)), _embedding(own)):
        del own["cls.predictions.decoder.weight"]  # as the published safetensors: the library ties it on loading
    try:
        save_file(own, out, metadata={"format": "pt"})
    except SafetensorError as error:  # also what it makes of a full disk
        raise OSError(f"{out.name} cannot be written: {error}") from error


def _embedding(state: dict[str, Any]) -> Any:
    import torch

    return state.get("bert.embeddings.word_embeddings.weight", torch.full((1,), torch.nan))
