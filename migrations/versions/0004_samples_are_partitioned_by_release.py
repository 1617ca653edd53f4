"""Keep of each sample what is searched and filtered, and the samples of a release in a partition of their own.

The catalog is derived: releases that were loaded before are dropped from it, and loaded again with `geo-atlas release load`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SCHEMA = "atlas"
DOCUMENT = " || ".join(
    f"setweight(to_tsvector('english'::regconfig, translate(left({text}, 50000), '/_.-<>&@', '        ')), '{weight}')"
    for weight, text in (
        ("A", "' of of of ' || sample_id || ' of of of ' || series_text || ' of of of ' || title"),
        ("B", "' of of of ' || tissue || ' of of of ' || source_name"),
        ("C", "' of of of ' || characteristics || ' of of of ' || caption"),
        ("D", "' of of of ' || series_titles"),
    )
)


def _text(name: str, comment: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, comment=comment)


def _number(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), autoincrement=False, nullable=False, comment=comment)


def _belongs_to(table: str, *columns: str, name: str) -> sa.ForeignKeyConstraint:
    """Return the foreign key to a row of the same release."""
    keys = ("release_id", *columns)
    return sa.ForeignKeyConstraint(keys, [f"{SCHEMA}.{table}.{key}" for key in keys], name=name, ondelete="CASCADE")


def upgrade() -> None:
    for table in ("release_samples", "sample_series", "samples"):
        op.drop_table(table, schema=SCHEMA)
    op.execute("DELETE FROM atlas.releases")
    op.create_table(
        "samples",
        _number("release_id"),
        _number("row", "its row in vectors.npy"),
        _text("sample_id"),
        _number("cluster"),
        *(_text(name) for name in ("id_kind", "unit", "molecule", "organism_folded")),
        sa.Column("series_ids", postgresql.ARRAY(sa.Text()), nullable=False),
        _text("tissue_folded", "words of tissue and of source name, each between blanks"),
        sa.Column(
            "tissue_words", postgresql.ARRAY(sa.Text()), nullable=False, comment="the same as a set, for the index"
        ),
        _text("text_folded", "what `exclude` looks into; a substring test needs no index"),
        sa.Column("document", postgresql.TSVECTOR(), nullable=False),
        sa.PrimaryKeyConstraint("release_id", "row", name="pk_samples"),
        sa.UniqueConstraint("release_id", "sample_id", name="uq_samples_release_id_sample_id"),
        schema=SCHEMA,
        postgresql_partition_by="LIST (release_id)",
    )
    words = ["document", "tissue_words", "series_ids"]
    op.create_index("ix_samples_words", "samples", words, schema=SCHEMA, postgresql_using="gin")
    for name in ("cluster", "id_kind", "unit", "molecule", "organism_folded"):
        op.create_index(f"ix_samples_{name}", "samples", [name], schema=SCHEMA)


def downgrade() -> None:
    op.drop_table("samples", schema=SCHEMA)
    op.execute("DELETE FROM atlas.releases")
    op.create_table(
        "samples",
        _number("release_id"),
        *(
            _text(name)
            for name in ("sample_id", "id_kind", "title", "source_name", "characteristics", "organism", "molecule")
        ),
        *(_text(name) for name in ("tissue", "unit", "caption", "caption_method")),
        _text("series_text", "accessions of its series, joined by blanks"),
        _text("series_titles", "titles of its series, joined by line ends"),
        sa.Column("n_genes_measured", sa.Integer(), nullable=True),
        sa.Column("n_genes_detected", sa.Integer(), nullable=True),
        sa.Column("total", sa.Double(), nullable=True),
        _text("organism_folded"),
        _text("tissue_folded", "words of tissue and of source name, each between blanks"),
        sa.Column(
            "tissue_words", postgresql.ARRAY(sa.Text()), nullable=False, comment="the same as a set, for the index"
        ),
        _text("text_folded", "what `exclude` looks into; a substring test needs no index"),
        sa.Column("document", postgresql.TSVECTOR(), sa.Computed(DOCUMENT, persisted=True), nullable=False),
        _belongs_to("releases", name="fk_samples_releases"),
        sa.PrimaryKeyConstraint("release_id", "sample_id", name="pk_samples"),
        schema=SCHEMA,
    )
    for name, columns in (
        ("organism_folded", ["release_id", "organism_folded"]),
        ("tissue", ["release_id", "tissue"]),
    ):
        op.create_index(f"ix_samples_release_id_{name}", "samples", columns, schema=SCHEMA)
    for name in ("document", "tissue_words"):
        op.create_index(f"ix_samples_{name}", "samples", [name], schema=SCHEMA, postgresql_using="gin")
    op.create_table(
        "sample_series",
        _number("release_id"),
        _text("sample_id"),
        _text("series_id"),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        _belongs_to("samples", "sample_id", name="fk_sample_series_samples"),
        _belongs_to("series", "series_id", name="fk_sample_series_series"),
        _belongs_to("releases", name="fk_sample_series_releases"),
        sa.PrimaryKeyConstraint("release_id", "sample_id", "series_id", name="pk_sample_series"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_sample_series_release_id_series_id", "sample_series", ["release_id", "series_id"], schema=SCHEMA
    )
    op.create_table(
        "release_samples",
        _number("release_id"),
        _number("row"),
        _text("sample_id"),
        sa.Column("x", sa.REAL(), nullable=False),
        sa.Column("y", sa.REAL(), nullable=False),
        _number("cluster"),
        _belongs_to("clusters", "cluster", name="fk_release_samples_clusters"),
        _belongs_to("samples", "sample_id", name="fk_release_samples_samples"),
        _belongs_to("releases", name="fk_release_samples_releases"),
        sa.PrimaryKeyConstraint("release_id", "row", name="pk_release_samples"),
        sa.UniqueConstraint("release_id", "sample_id", name="uq_release_samples_release_id_sample_id"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_release_samples_release_id_cluster", "release_samples", ["release_id", "cluster"], schema=SCHEMA
    )
