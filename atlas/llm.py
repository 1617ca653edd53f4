"""Small clients of any OpenAI-compatible endpoint, for chat and for embeddings; an atlas works without one.

Prompts are files under ``atlas/prompts``. Callers keep the prompt and the raw reply beside what they made of it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import UpstreamError
from atlas.resources import resource_path

if TYPE_CHECKING:
    from atlas.settings import Settings

logger = logging.getLogger(__name__)

MAX_REPLY_CHARS = 100_000
_TEXTS_AT_ONCE = 128


class LanguageModel:
    """A chat model behind ``<base_url>/chat/completions``.

    Parameters
    ----------
    base_url
        Address that ends before ``/chat/completions``, e.g. ``http://127.0.0.1:8080/v1``.
    model
        Name of the model at that endpoint.
    api_key
        Key, if the endpoint wants one; never logged.
    timeout_s
        Longest wait for one attempt, seconds.
    max_retries
        Further attempts after a connection error, a time-out, 408, 409, 429 or 5xx.
    """

    def __init__(
        self, base_url: str, *, model: str, api_key: str | None = None, timeout_s: float = 60.0, max_retries: int = 3
    ) -> None:
        import openai

        self.base_url = base_url
        self.model = model
        self._client = openai.OpenAI(
            base_url=base_url, api_key=api_key or "none", timeout=timeout_s, max_retries=max_retries
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> LanguageModel | None:
        """Return the configured model, or ``None`` where no endpoint and model name are configured."""
        if not settings.llm_base_url or not settings.llm_model:
            return None
        key = settings.llm_api_key.get_secret_value() if settings.llm_api_key else None
        return cls(settings.llm_base_url, model=settings.llm_model, api_key=key, timeout_s=settings.llm_timeout_s)

    def complete(
        self, prompt: str, *, system: str | None = None, max_tokens: int = 64, temperature: float = 0.0, seed: int = 0
    ) -> str:
        """Return the model's reply to one prompt, as it came.

        Raises
        ------
        UpstreamError
            If the endpoint fails, is too slow, or answers with something else than a chat completion.
        """
        import openai

        messages: list[Any] = [] if system is None else [{"role": "system", "content": system}]
        messages.append({"role": "user", "content": prompt})
        try:
            response: Any = self._client.chat.completions.create(
                model=self.model, messages=messages, max_tokens=max_tokens, temperature=temperature, seed=seed
            )
        except (openai.OpenAIError, ValueError) as error:  # ValueError: a body that is not JSON
            logger.warning("language model %s: %s", self.model, type(error).__name__)
            raise UpstreamError(
                f"The language model at {self.base_url} failed ({type(error).__name__}). Check GEO_ATLAS_LLM_BASE_URL, "
                "GEO_ATLAS_LLM_MODEL and GEO_ATLAS_LLM_API_KEY, or try again.",
                details={"model": self.model},
            ) from error
        return self._text_of(response)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _text_of(self, response: Any) -> str:
        choices = getattr(response, "choices", None)
        message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
        content = getattr(message, "content", None)
        if not isinstance(content, str):
            raise UpstreamError(
                f"The language model at {self.base_url} answered with something else than a chat completion. Check that "
                "GEO_ATLAS_LLM_BASE_URL points at an OpenAI-compatible API.",
                details={"model": self.model},
            )
        return content[:MAX_REPLY_CHARS]


class EmbeddingEndpoint:
    """A sentence encoder behind ``<base_url>/embeddings``; a text tower like any other, though its weights are nobody's to check.

    Parameters
    ----------
    base_url, api_key, timeout_s, max_retries
        As for :class:`LanguageModel`.
    model
        Name of the model at that endpoint, for instance ``text-embedding-ada-002``.
    """

    name = "endpoint"

    def __init__(
        self, base_url: str, *, model: str, api_key: str | None = None, timeout_s: float = 60.0, max_retries: int = 3
    ) -> None:
        import openai

        self.base_url = base_url
        self.model = model
        self._dim: int | None = None
        self._client = openai.OpenAI(
            base_url=base_url, api_key=api_key or "none", timeout=timeout_s, max_retries=max_retries
        )

    @classmethod
    def from_settings(cls, settings: Settings, *, model: str | None) -> EmbeddingEndpoint | None:
        """Return the configured endpoint with the model named, or ``None`` where there is no endpoint or no name."""
        if not settings.llm_base_url or not model:
            return None
        key = settings.llm_api_key.get_secret_value() if settings.llm_api_key else None
        return cls(settings.llm_base_url, model=model, api_key=key, timeout_s=settings.llm_timeout_s)

    @property
    def dim(self) -> int:
        """Length of a vector; asks once."""
        if self._dim is None:
            self._dim = int(self.embed(["gene"]).shape[1])
        return self._dim

    @property
    def fingerprint(self) -> str:
        """sha256 of address and model name: all that is known of it."""
        return hashlib.sha256(f"endpoint {self.base_url} {self.model}".encode()).hexdigest()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return ``(n_texts, dim)`` float32, L2-normalised, in the order given.

        Raises
        ------
        UpstreamError
            If the endpoint fails, is too slow, or answers with something else than one vector a text.
        """
        parts = [self._some(texts[start : start + _TEXTS_AT_ONCE]) for start in range(0, len(texts), _TEXTS_AT_ONCE)]
        if len({part.shape[1] for part in parts}) > 1:
            raise self._strange("vectors of several lengths")
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def n_truncated(self, texts: Sequence[str]) -> int:
        """Return 0: the endpoint does not say what it cuts."""
        return 0

    def _some(self, texts: Sequence[str]) -> np.ndarray:
        import openai

        try:
            response: Any = self._client.embeddings.create(model=self.model, input=list(texts), encoding_format="float")
            rows = sorted(response.data, key=lambda one: one.index)
            found = np.array([one.embedding for one in rows], dtype=np.float32)
        except openai.OpenAIError as error:
            logger.warning("embeddings of %s: %s", self.model, type(error).__name__)
            raise UpstreamError(
                f"The embeddings endpoint at {self.base_url} failed ({type(error).__name__}). Check GEO_ATLAS_LLM_BASE_URL, "
                "GEO_ATLAS_LLM_API_KEY and the name of the model, or try again: what is done is kept.",
                details={"model": self.model},
            ) from error
        except (AttributeError, TypeError, ValueError) as error:  # a body that is no list of vectors
            raise self._strange("something else than vectors") from error
        if found.ndim != 2 or len(found) != len(texts) or not np.isfinite(found).all():
            raise self._strange(f"{len(found):,} vectors for {len(texts):,} texts")
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)

    def _strange(self, what: str) -> UpstreamError:
        return UpstreamError(
            f"The embeddings endpoint at {self.base_url} answered with {what}. Check that it is an OpenAI-compatible API and "
            f"that {self.model!r} is a model of embeddings.",
            details={"model": self.model},
        )


def read_prompt(name: str) -> str:
    """Return the text of ``atlas/prompts/<name>.txt``."""
    return resource_path(f"prompts/{name}.txt").read_text(encoding="utf-8")
