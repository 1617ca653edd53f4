"""Data that travels with the package: migrations, starter, vocabularies, prompts.

A wheel carries ``migrations`` and ``starter`` inside ``atlas/_resources``; in a checkout they lie at its top level. The
package's own copy wins, so an unrelated folder of the same name beside an installed wheel is never read.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from atlas.errors import ArtifactError

_PACKAGE = Path(str(files("atlas")))


def resource_path(name: str) -> Path:
    """Return the folder or file ``name`` that was shipped with the package.

    Parameters
    ----------
    name
        ``migrations``, ``starter``, ``vocabularies/...`` or ``prompts/...``.

    Raises
    ------
    ArtifactError
        If the installation lacks it.
    """
    candidates = [_PACKAGE / "_resources" / name, _PACKAGE / name]
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file():  # never true in site-packages
        candidates.append(checkout / name)
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise ArtifactError(
        f"This installation lacks its packaged data {name!r}. Reinstall geo-atlas.",
        kind="missing",
        details={"resource": name},
    )
