"""Questions to the catalog: lexical search, and which releases it holds."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, select
from sqlalchemy.dialects.postgresql import REGCONFIG
from sqlalchemy.sql.expression import cast

from atlas.catalog.contents import content_key
from atlas.catalog.filters import SampleFilter, fold_one
from atlas.catalog.tables import (
    NOT_WORDS,
    SCHEMA,
    ReleaseRow,
    ReleaseSampleRow,
    SampleRow,
)
from atlas.errors import InputError, NotFoundError
from atlas.texts import valid_utf8

if TYPE_CHECKING:
    from atlas.manifest import Manifest


class ReadableDatabase(Protocol):
    """What questions need of ``atlas.catalog.database.Database``."""

    def connect(self) -> AbstractContextManager[Connection]:
        """Lend a connection in a read-only transaction."""


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
    database: ReadableDatabase, release: str, phrase: str, *, k: int, filters: SampleFilter | None = None
) -> list[LexicalHit]:
    """Return up to ``k`` samples whose text contains the words of ``phrase``, best first, ties by row.

    Words are stemmed English and must all occur; ``"..."`` asks for a phrase, ``or`` and a leading ``-`` mean what they do
    on the web. A phrase of stop words or signs alone is looked up letter for letter instead.

    Raises
    ------
    InputError
        If the phrase is blank or ``k`` is below 1.
    NotFoundError
        If the database does not hold the release.
    DatabaseUnavailableError
        If the database cannot be reached.
    """
    if not phrase.strip() or k < 1:
        raise InputError("Lexical search needs a phrase and k of at least 1.", details={"k": k})
    with database.connect() as connection:
        release_id = _release_id(connection, release)
        query = func.websearch_to_tsquery(cast("english", REGCONFIG), _query_text(phrase))
        if connection.scalar(select(func.numnode(query))):
            found: ColumnElement[bool] = SampleRow.document.op("@@")(query)
            rank: ColumnElement[Any] = func.ts_rank_cd(SampleRow.document, query, _RANK_BOUNDED)
        else:
            found = func.strpos(SampleRow.text_folded, fold_one(phrase.strip())) > 0
            rank = literal(0.0)
        statement = (
            _samples(release_id, filters, SampleRow.sample_id, ReleaseSampleRow.row, rank.label("rank"))
            .where(found)
            .order_by(rank.desc(), ReleaseSampleRow.row)
            .limit(k)
        )
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
    expected = content_key({file.path: file.sha256 for file in manifest.files})
    return loaded is not None and (loaded.content_key, loaded.model_hash) == (expected, manifest.model_hash)


def _samples(release_id: int, filters: SampleFilter | None, *columns: Any) -> Select[Any]:
    """Return a selection of ``columns`` from the samples of a release that pass the filters."""
    placed = and_(
        ReleaseSampleRow.release_id == SampleRow.release_id, ReleaseSampleRow.sample_id == SampleRow.sample_id
    )
    statement = select(*columns).select_from(SampleRow).join(ReleaseSampleRow, placed)
    return statement.where(SampleRow.release_id == release_id, *(filters.conditions() if filters else ()))


def _release_id(connection: Connection, release: str) -> int:
    found = None
    if _has_tables(connection):
        found = connection.scalar(select(ReleaseRow.release_id).where(ReleaseRow.name == release))
    if found is None:
        raise NotFoundError(
            f"The database does not hold release {release!r}. Load it with: geo-atlas release load {release}",
            details={"release": release},
        )
    return int(found)


def _has_tables(connection: Connection) -> bool:
    return connection.scalar(select(func.to_regclass(f"{SCHEMA}.releases"))) is not None


def _query_text(phrase: str) -> str:
    """Return the phrase with the same characters blanked as the loader blanked in the texts."""
    plain = valid_utf8(phrase).translate(_JOINERS)
    return _INNER_HYPHEN.sub(" ", plain)
