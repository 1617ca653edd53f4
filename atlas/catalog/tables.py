"""The tables of the catalog, all in the schema ``atlas``.

Everything here is derived from release folders and carries its release: each primary key begins with ``release_id``, so a
load or a removal touches one release only, and deleting a row of ``releases`` takes the rest along.

Columns whose name ends in ``_folded`` or ``_words`` are written by :mod:`atlas.catalog.filters`, which also folds what
people ask for: two servers with different locales, and the filter that works without a server, then agree to the letter.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    REAL,
    Computed,
    Double,
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


def _document() -> str:
    """Return the expression of the searchable text; immutable, since it names its configuration."""
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
    """A sample's text and facts."""

    __tablename__ = "samples"
    release_id: Mapped[int] = _release_key()
    sample_id: Mapped[str] = mapped_column(primary_key=True)
    id_kind: Mapped[str]
    title: Mapped[str]
    source_name: Mapped[str]
    characteristics: Mapped[str]
    organism: Mapped[str]
    molecule: Mapped[str]
    tissue: Mapped[str]
    unit: Mapped[str]
    caption: Mapped[str]
    caption_method: Mapped[str]
    series_text: Mapped[str] = mapped_column(comment="accessions of its series, joined by blanks")
    series_titles: Mapped[str] = mapped_column(comment="titles of its series, joined by line ends")
    n_genes_measured: Mapped[int | None]
    n_genes_detected: Mapped[int | None]
    total: Mapped[float | None] = mapped_column(Double)
    organism_folded: Mapped[str]
    tissue_folded: Mapped[str] = mapped_column(comment="words of tissue and of source name, each between blanks")
    tissue_words: Mapped[list[str]] = mapped_column(comment="the same as a set, for the index")
    text_folded: Mapped[str] = mapped_column(comment="what `exclude` looks into; a substring test needs no index")
    document: Mapped[Any] = mapped_column(TSVECTOR, Computed(_document(), persisted=True))
    __table_args__ = (
        Index(None, "document", postgresql_using="gin"),
        Index(None, "tissue_words", postgresql_using="gin"),
        Index(None, "release_id", "tissue"),
        Index(None, "release_id", "organism_folded"),
    )


class SampleSeriesRow(Base):
    """A sample belongs to one or more series, in the order its source gives."""

    __tablename__ = "sample_series"
    release_id: Mapped[int] = _release_key()
    sample_id: Mapped[str] = mapped_column(primary_key=True)
    series_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(SmallInteger)
    __table_args__ = (
        _child_of("samples", "sample_id"),
        _child_of("series", "series_id"),
        Index(None, "release_id", "series_id"),
    )


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


class ReleaseSampleRow(Base):
    """Where a sample lies: its row in ``vectors.npy``, its place on the map, its cluster."""

    __tablename__ = "release_samples"
    release_id: Mapped[int] = _release_key()
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sample_id: Mapped[str]
    x: Mapped[float]
    y: Mapped[float]
    cluster: Mapped[int]
    __table_args__ = (
        UniqueConstraint("release_id", "sample_id"),
        _child_of("samples", "sample_id"),
        _child_of("clusters", "cluster"),
        Index(None, "release_id", "cluster"),
    )


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
