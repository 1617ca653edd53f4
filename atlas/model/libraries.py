"""The libraries that decide what a vector is, and whether those installed can read a model written with others."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from atlas.errors import ArtifactError

logger = logging.getLogger(__name__)

_LIBRARIES = ("numpy", "scipy", "tokenizers", "torch", "transformers")


def installed_libraries() -> dict[str, str]:
    """Return name -> version of the installed ones, without build tags, so that processor builds are alike."""
    return {name: found for name in _LIBRARIES if (found := _installed(name)) is not None}


def check_libraries(written_with: Mapping[str, str], *, folder: Path) -> None:
    """Compare the libraries a model was written with to those installed.

    Another major version is logged: it reads the model, though last digits may differ.

    Raises
    ------
    ArtifactError
        ``incompatible`` if a library is not there at all.
    """
    for name, wanted in sorted(written_with.items()):
        seen = _installed(name)
        if seen is None:
            raise ArtifactError(
                f"The model in {folder} was written with {name} {wanted}, which is not installed. "
                f"Run: pip install '{name}>={wanted}'",
                kind="incompatible",
                details={"library": name, "seen": None, "expected": wanted},
            )
        if _major(seen) != _major(wanted):
            logger.warning("the model in %s was written with %s %s; installed is %s", folder, name, wanted, seen)


def _installed(name: str) -> str | None:
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return None


def _major(found: str) -> int:
    head = found.split(".")[0]
    return int(head) if head.isdigit() else 0
