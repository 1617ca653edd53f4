"""The errors of geo-atlas: every failure a person can meet has one type, one code and one sentence.

A message says what is wrong, what was seen, what is expected and what to do. ``details`` repeats the facts for programs;
it never holds secrets or a user's expression values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal


class AtlasError(Exception):
    """Base of all errors raised on purpose.

    Parameters
    ----------
    message
        One or two sentences for a person.
    details
        The same facts for a program, JSON-serialisable.
    """

    code = "atlas_error"
    exit_code = 1

    def __init__(self, message: str, *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details or {})


class ConfigError(AtlasError):
    """A setting or a command-line option is wrong."""

    code = "config"
    exit_code = 2


class InputError(AtlasError):
    """A file, a phrase or an expression table cannot be used as it is."""

    code = "invalid_input"
    exit_code = 2


class NoSignalError(InputError):
    """A sample or cell measured enough genes, and none of them says anything: its expression is empty or constant."""


class TooLargeError(InputError):
    """An input is larger than the configured limit (HTTP 413)."""

    code = "too_large"


class NotFoundError(AtlasError):
    """An accession, cluster, release or vocabulary does not exist; ``details['near_matches']`` may help."""

    code = "not_found"


class ArtifactError(AtlasError):
    """A file of a release or a model cannot be used.

    Parameters
    ----------
    kind
        ``missing``, ``corrupt`` (bytes differ from the manifest), ``stale`` (made by other inputs or parameters) or
        ``incompatible`` (another schema or another model).
    """

    code = "artifact"

    def __init__(
        self,
        message: str,
        *,
        kind: Literal["missing", "corrupt", "stale", "incompatible"],
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, details={"kind": kind, **(details or {})})
        self.kind = kind
        self.exit_code = 3 if kind == "stale" else 1


class MissingExtraError(AtlasError):
    """An optional package is not installed; the message carries the command that installs it."""

    code = "missing_extra"


class UpstreamError(AtlasError):
    """A service we depend on (database, model hub, Enrichr, language model) failed; trying again may help (HTTP 503)."""

    code = "upstream"


class DatabaseUnavailableError(UpstreamError):
    """Postgres cannot be reached right now."""

    code = "database_unavailable"


class BusyError(AtlasError):
    """Another process holds the lock of this home, build or port."""

    code = "busy"


class ResourceError(AtlasError):
    """The machine refuses: disk full, folder read-only, no memory."""

    code = "resource"
