"""The tables of the catalog, all in the schema ``atlas``.

Everything here is derived from release folders and carries its release: each primary key begins with ``release_id``, so a
load or a removal touches one release only. Deleting a row of ``releases`` takes the small tables along; the samples of each
release are a partition of their own, which is built beside the others, attached, and in the end dropped whole.

Columns whose name ends in ``_folded`` or ``_words`` are written by :mod:`atlas.catalog.filters`, which also folds what
people ask for: two servers with different locales, and the filter that works without a server, then agree to the letter.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from sqlalchemy import (
    REAL,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "atlas"

NAMING = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
}

NOT_WORDS = "/_.-<>&@"
"""Characters read as blanks, also in queries: the English parser would keep them inside one token ("heart/lung",
"SARS-CoV-2"), or take what follows for markup and drop it ("<script>")."""

_GAP = "of of of"  # stop words count as positions: no "quoted phrase" spans two fields
_MAX_PART_CHARS = 50_000  # a tsvector holds at most 1 MiB; one monstrous field must not stop a whole load


class Base(DeclarativeBase):
    """Declarative base of the schema ``atlas``."""

    metadata = MetaData(schema=SCHEMA, naming_convention=NAMING)
    type_annotation_map = {str: Text, float: REAL, dict[str, Any]: JSONB, list[str]: ARRAY(Text)}


def _release_key() -> Mapped[int]:
    return mapped_column(ForeignKey("releases.release_id", ondelete="CASCADE"), primary_key=True)


def _child_of(table: str, *columns: str) -> ForeignKeyConstraint:
    """Return the foreign key to a row of the same release."""
    return ForeignKeyConstraint(
        ["release_id", *columns],
        [f"{table}.release_id", *(f"{table}.{column}" for column in columns)],
        ondelete="CASCADE",
    )


def document_expression() -> str:
    """Return the SQL of the searchable text, over the texts that the loader stages (``_STAGED`` there)."""
    parts = (
        ("A", ("sample_id", "series_text", "title")),
        ("B", ("tissue", "source_name")),
        ("C", ("characteristics", "caption")),
        ("D", ("series_titles",)),
    )
    blanks = " " * len(NOT_WORDS)
    vectors = []
    for weight, fields in parts:
        joined = " || ".join(f"' {_GAP} ' || {field}" for field in fields)
        plain = f"translate(left({joined}, {_MAX_PART_CHARS}), '{NOT_WORDS}', '{blanks}')"
        vectors.append(f"setweight(to_tsvector('english'::regconfig, {plain}), '{weight}')")
    return " || ".join(vectors)


class ReleaseRow(Base):
    """One loaded release; ``content_key`` tells which files the rows came from."""

    __tablename__ = "releases"
    release_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    model_hash: Mapped[str]
    content_key: Mapped[str]
    counts: Mapped[dict[str, Any]] = mapped_column(comment="rows loaded, by table")
    created_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True), server_default=func.now())


class SeriesRow(Base):
    """A study."""

    __tablename__ = "series"
    release_id: Mapped[int] = _release_key()
    series_id: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    n_samples: Mapped[int]


class SampleRow(Base):
    """What is searched and filtered of a sample; its facts are read from the release folder.

    Samples lie in an order that has nothing to do with their rows (see the loader), so that the first ones found of many are
    spread evenly over the release.
    """

    __tablename__ = "samples"
    release_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="its row in vectors.npy")
    sample_id: Mapped[str]
    cluster: Mapped[int]
    id_kind: Mapped[str]
    unit: Mapped[str]
    molecule: Mapped[str]
    organism_folded: Mapped[str]
    series_ids: Mapped[list[str]]
    tissue_folded: Mapped[str] = mapped_column(comment="words of tissue and of source name, each between blanks")
    tissue_words: Mapped[list[str]] = mapped_column(comment="the same as a set, for the index")
    text_folded: Mapped[str] = mapped_column(comment="what `exclude` looks into; a substring test needs no index")
    document: Mapped[Any] = mapped_column(TSVECTOR)
    __table_args__ = (
        UniqueConstraint("release_id", "sample_id"),
        # one index for words and lists: what a question asks of both is intersected inside it
        Index("ix_samples_words", "document", "tissue_words", "series_ids", postgresql_using="gin"),
        *(Index(None, name) for name in ("cluster", "id_kind", "unit", "molecule", "organism_folded")),
        {"postgresql_partition_by": "LIST (release_id)"},
    )


PARTITION = re.compile(r"samples_\d+")
"""Names of the partitions of ``samples``; no migration makes them."""


class ClusterRow(Base):
    """A labelled cluster with the evidence of its label."""

    __tablename__ = "clusters"
    release_id: Mapped[int] = _release_key()
    cluster: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    label: Mapped[str]
    method: Mapped[str]
    evidence: Mapped[Any] = mapped_column(JSONB)
    prompt: Mapped[str | None]
    raw_reply: Mapped[str | None]
    n_samples: Mapped[int]
    n_series: Mapped[int]
    top_series: Mapped[str | None]
    top_series_share: Mapped[float | None]
    single_study: Mapped[bool]
    __table_args__ = (UniqueConstraint("release_id", "label"),)


class ClusterKeywordRow(Base):
    """A term that matches a cluster: raw cosine and its z-score over all terms."""

    __tablename__ = "cluster_keywords"
    release_id: Mapped[int] = _release_key()
    cluster: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    library: Mapped[str] = mapped_column(primary_key=True)
    rank: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    term: Mapped[str]
    score: Mapped[float]
    z: Mapped[float]
    __table_args__ = (_child_of("clusters", "cluster"), Index(None, "release_id", "library", "term"))


class VocabularyRow(Base):
    """A library of terms the release was matched against."""

    __tablename__ = "vocabularies"
    release_id: Mapped[int] = _release_key()
    library: Mapped[str] = mapped_column(primary_key=True)
    n_terms: Mapped[int]


class TermRow(Base):
    """A term of a vocabulary; ``term_id`` is its row in ``term_vectors.npy``."""

    __tablename__ = "terms"
    release_id: Mapped[int] = _release_key()
    term_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    library: Mapped[str]
    term: Mapped[str]
    __table_args__ = (_child_of("vocabularies", "library"), Index(None, "release_id", "library", "term"))
