"""Published models that can be fetched by name: which files, from where, and the sha256 of each.

The facts are in ``published.tsv`` beside this module. A revision is a commit where one is known; the sum decides in any case.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal

from atlas.errors import NotFoundError

TABLE = Path(__file__).with_name("published.tsv")


@dataclass(frozen=True)
class PublishedFile:
    """One file on a model hub.

    Attributes
    ----------
    repository, revision, path
        Where it is.
    sha256
        Of its bytes.
    n_bytes
        Its size, ``None`` where that is not known beforehand.
    """

    repository: str
    revision: str
    path: str
    sha256: str
    n_bytes: int | None

    @property
    def name(self) -> str:
        """Last part of the path."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class PublishedModel:
    """A model and all its files; ``kind`` tells which tower it is for."""

    name: str
    kind: Literal["geneformer", "text"]
    files: tuple[PublishedFile, ...]

    @property
    def n_bytes(self) -> int:
        """Size of the files whose size is known."""
        return sum(file.n_bytes or 0 for file in self.files)


@cache
def published_models(table: Path = TABLE) -> Mapping[str, PublishedModel]:
    """Return the models of the table by name, in its order."""
    files: dict[tuple[str, str], list[PublishedFile]] = {}
    with table.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            size = int(row["bytes"]) if row["bytes"] else None
            file = PublishedFile(row["repository"], row["revision"], row["path"], row["sha256"], size)
            files.setdefault((row["name"], row["kind"]), []).append(file)
    return {
        name: PublishedModel(name, "geneformer" if kind == "geneformer" else "text", tuple(parts))
        for (name, kind), parts in files.items()
    }


def find_model(name: str) -> PublishedModel:
    """Return a model by name.

    Raises
    ------
    NotFoundError
        If there is none of that name; ``details['near_matches']`` may help.
    """
    known = published_models()
    if name in known:
        return known[name]
    near = get_close_matches(name.lower(), known, n=3, cutoff=0.4)
    raise NotFoundError(
        f"There is no published model {name!r}. Known: {', '.join(known)}.",
        details={"name": name, "near_matches": near},
    )


def name_of_file(sha256: str) -> str | None:
    """Return the model whose weights have this sum, if it is a published one."""
    for model in published_models().values():
        if any(file.sha256 == sha256 and not file.name.endswith((".json", ".pkl", ".txt")) for file in model.files):
            return model.name
    return None
