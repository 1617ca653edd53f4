"""Questions to the catalog: lexical search, and which releases it holds."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import ColumnElement, Connection, Text, func, literal, literal_column, select, text
from sqlalchemy.dialects.postgresql import REGCONFIG, TSQUERY
from sqlalchemy.sql.expression import cast

from atlas.catalog.contents import content_key
from atlas.catalog.filters import SampleFilter, fold_one
from atlas.catalog.tables import (
    NOT_WORDS,
    SCHEMA,
    ReleaseRow,
    SampleRow,
)
from atlas.errors import ArtifactError, InputError, NotFoundError
from atlas.texts import valid_utf8

if TYPE_CHECKING:
    from atlas.manifest import Manifest


class ReadableDatabase(Protocol):
    """What questions need of ``atlas.catalog.database.Database``."""

    def connect(self) -> AbstractContextManager[Connection]:
        """Lend a connection in a read-only transaction."""


MOST_RANKED = 2_000
"""Samples ranked of those that match: ranking reads each one's text, and the most frequent words are in most texts."""

_AS_LOADED = (
    "SET LOCAL synchronize_seqscans = off; SET LOCAL max_parallel_workers_per_gather = 0; "
    "SET LOCAL plan_cache_mode = force_custom_plan"
)
"""Samples are found in the order they lie in, so the first ones are the same every time; each phrase has a plan of its own:
rare words are looked up, the most frequent ones are met soon by reading on."""

_RANK_BOUNDED = 32  # rank / (rank + 1): in [0, 1)
_INNER_HYPHEN = re.compile(r"(?<=\w)[-‐‑](?=\w)")  # a leading hyphen means "without"
_JOINERS = str.maketrans(dict.fromkeys(NOT_WORDS.replace("-", "") + "\0", " "))


@dataclass(frozen=True)
class LexicalHit:
    """A sample whose text matches; ``rank`` is the cover density rank in [0, 1), 0 if the words decide nothing."""

    sample_id: str
    row: int
    rank: float


@dataclass(frozen=True)
class LoadedRelease:
    """A release the database holds; rows per table in ``counts``."""

    name: str
    model_hash: str
    content_key: str
    created_at: datetime
    counts: dict[str, int]


def lexical_search(
    database: ReadableDatabase,
    release: str,
    phrase: str,
    *,
    k: int,
    filters: SampleFilter | None = None,
    manifest: Manifest | None = None,
) -> list[LexicalHit]:
    """Return up to ``k`` samples whose text contains the words of ``phrase``, best first, ties by row.

    Words are stemmed English and must all occur; ``"..."`` asks for a phrase, ``or`` and a leading ``-`` mean what they do
    on the web. A phrase of stop words or signs alone is looked up letter for letter instead. Where more samples match than
    ``k`` and ``MOST_RANKED``, so many are ranked, spread evenly over the release, and always the same ones.

    Parameters
    ----------
    manifest
        If given, that of the release: what the database holds must come from its files.

    Raises
    ------
    InputError
        If the phrase is blank or ``k`` is below 1.
    NotFoundError
        If the database does not hold the release.
    ArtifactError
        ``stale`` if it holds other files or another model under this name.
    DatabaseUnavailableError
        If the database cannot be reached.
    """
    if not phrase.strip() or k < 1:
        raise InputError("Lexical search needs a phrase and k of at least 1.", details={"k": k})
    with database.connect() as connection:
        release_id = _release_id(connection, release, manifest)
        connection.execute(text(_AS_LOADED))
        query = func.websearch_to_tsquery(cast("english", REGCONFIG), _query_text(phrase))
        words = connection.scalar(select(cast(query, Text)))
        if words:
            wanted = cast(words, TSQUERY)
            found: ColumnElement[bool] = SampleRow.document.op("@@")(wanted)
        else:
            found = func.strpos(SampleRow.text_folded, fold_one(phrase.strip())) > 0
        matching = (
            select(SampleRow.sample_id, SampleRow.row, SampleRow.document)
            .where(SampleRow.release_id == release_id, found, *(filters.conditions() if filters else ()))
            .limit(max(k, MOST_RANKED))
            .subquery()
        )
        rank: ColumnElement[Any] = (
            func.ts_rank_cd(matching.c.document, wanted, _RANK_BOUNDED) if words else literal(0.0)
        )
        statement = select(matching.c.sample_id, matching.c.row, rank.label("rank"))
        statement = statement.order_by(literal_column("rank").desc(), matching.c.row).limit(k)
        return [LexicalHit(hit.sample_id, hit.row, float(hit.rank)) for hit in connection.execute(statement)]


def loaded_release(database: ReadableDatabase, name: str) -> LoadedRelease | None:
    """Return what the database holds under this name, or ``None``, also where it has no tables yet."""
    with database.connect() as connection:
        if not _has_tables(connection):
            return None
        row = connection.execute(select(ReleaseRow.__table__).where(ReleaseRow.name == name)).one_or_none()
    if row is None:
        return None
    return LoadedRelease(row.name, row.model_hash, row.content_key, row.created_at, dict(row.counts))


def holds(database: ReadableDatabase, manifest: Manifest) -> bool:
    """Tell whether the database holds exactly this release: same name, same files, same model."""
    loaded = loaded_release(database, manifest.name)
    return loaded is not None and (loaded.content_key, loaded.model_hash) == _identity(manifest)


def _release_id(connection: Connection, release: str, manifest: Manifest | None) -> int:
    found = None
    if _has_tables(connection):
        # A load drops the samples of the one before in the end: not before this transaction is over.
        connection.execute(text(f"LOCK TABLE {SCHEMA}.samples IN ACCESS SHARE MODE"))
        found = connection.execute(select(ReleaseRow.__table__).where(ReleaseRow.name == release)).one_or_none()
    if found is None:
        raise NotFoundError(
            f"The database does not hold release {release!r}. Load it with: geo-atlas release load {release}",
            details={"release": release},
        )
    if manifest is not None and (found.content_key, found.model_hash) != _identity(manifest):
        raise ArtifactError(
            f"The database does not hold release {release!r} as it is on disk. Load it with: geo-atlas release load {release}",
            kind="stale",
            details={"release": release},
        )
    return int(found.release_id)


def _identity(manifest: Manifest) -> tuple[str, str]:
    """Return the key of the files and the hash of the model that the database must name."""
    return content_key({file.path: file.sha256 for file in manifest.files}), manifest.model_hash


def _has_tables(connection: Connection) -> bool:
    return connection.scalar(select(func.to_regclass(f"{SCHEMA}.releases"))) is not None


def _query_text(phrase: str) -> str:
    """Return the phrase with the same characters blanked as the loader blanked in the texts."""
    plain = _INNER_HYPHEN.sub(" ", valid_utf8(phrase).translate(_JOINERS))
    words = plain.split()
    if '"' in plain or "or" in map(str.lower, words):  # order has a meaning
        return plain
    return " ".join(dict.fromkeys(words))  # what is said fifty times would be ranked fifty times
