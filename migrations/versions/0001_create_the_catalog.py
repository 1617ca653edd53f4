"""Create the catalog: releases and everything derived from them, in the schema `atlas`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
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


def _belongs_to(table: str, *columns: str, name: str) -> sa.ForeignKeyConstraint:
    """Return the foreign key to a row of the same release."""
    keys = ("release_id", *columns)
    return sa.ForeignKeyConstraint(keys, [f"{SCHEMA}.{table}.{key}" for key in keys], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "releases",
        sa.Column("release_id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model_hash", sa.Text(), nullable=False),
        sa.Column("content_key", sa.Text(), nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="rows loaded, by table"),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("release_id", name="pk_releases"),
        sa.UniqueConstraint("name", name="uq_releases_name"),
        schema=SCHEMA,
    )
    op.create_table(
        "clusters",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("cluster", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=True),
        sa.Column("raw_reply", sa.Text(), nullable=True),
        sa.Column("n_samples", sa.Integer(), nullable=False),
        sa.Column("n_series", sa.Integer(), nullable=False),
        sa.Column("top_series", sa.Text(), nullable=True),
        sa.Column("top_series_share", sa.REAL(), nullable=True),
        sa.Column("single_study", sa.Boolean(), nullable=False),
        _belongs_to("releases", name="fk_clusters_releases"),
        sa.PrimaryKeyConstraint("release_id", "cluster", name="pk_clusters"),
        sa.UniqueConstraint("release_id", "label", name="uq_clusters_release_id_label"),
        schema=SCHEMA,
    )
    op.create_table(
        "samples",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("id_kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("source_name", sa.Text(), nullable=False),
        sa.Column("characteristics", sa.Text(), nullable=False),
        sa.Column("organism", sa.Text(), nullable=False),
        sa.Column("molecule", sa.Text(), nullable=False),
        sa.Column("tissue", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("caption", sa.Text(), nullable=False),
        sa.Column("caption_method", sa.Text(), nullable=False),
        sa.Column("series_text", sa.Text(), nullable=False, comment="accessions of its series, joined by blanks"),
        sa.Column("series_titles", sa.Text(), nullable=False, comment="titles of its series, joined by line ends"),
        sa.Column("n_genes_measured", sa.Integer(), nullable=True),
        sa.Column("n_genes_detected", sa.Integer(), nullable=True),
        sa.Column("total", sa.Double(), nullable=True),
        sa.Column("organism_folded", sa.Text(), nullable=False),
        sa.Column(
            "tissue_folded",
            sa.Text(),
            nullable=False,
            comment="words of tissue and of source name, each between blanks",
        ),
        sa.Column(
            "tissue_words", postgresql.ARRAY(sa.Text()), nullable=False, comment="the same as a set, for the index"
        ),
        sa.Column(
            "text_folded",
            sa.Text(),
            nullable=False,
            comment="what `exclude` looks into; a substring test needs no index",
        ),
        sa.Column(
            "document",
            postgresql.TSVECTOR(),
            sa.Computed(DOCUMENT, persisted=True),
            nullable=False,
        ),
        _belongs_to("releases", name="fk_samples_releases"),
        sa.PrimaryKeyConstraint("release_id", "sample_id", name="pk_samples"),
        schema=SCHEMA,
    )
    op.create_index("ix_samples_document", "samples", ["document"], schema=SCHEMA, postgresql_using="gin")
    op.create_index(
        "ix_samples_release_id_organism_folded",
        "samples",
        ["release_id", "organism_folded"],
        schema=SCHEMA,
    )
    op.create_index("ix_samples_release_id_tissue", "samples", ["release_id", "tissue"], schema=SCHEMA)
    op.create_index("ix_samples_tissue_words", "samples", ["tissue_words"], schema=SCHEMA, postgresql_using="gin")
    op.create_table(
        "series",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("n_samples", sa.Integer(), nullable=False),
        _belongs_to("releases", name="fk_series_releases"),
        sa.PrimaryKeyConstraint("release_id", "series_id", name="pk_series"),
        schema=SCHEMA,
    )
    op.create_table(
        "vocabularies",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("library", sa.Text(), nullable=False),
        sa.Column("n_terms", sa.Integer(), nullable=False),
        _belongs_to("releases", name="fk_vocabularies_releases"),
        sa.PrimaryKeyConstraint("release_id", "library", name="pk_vocabularies"),
        schema=SCHEMA,
    )
    op.create_table(
        "cluster_keywords",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("cluster", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("library", sa.Text(), nullable=False),
        sa.Column("rank", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("term", sa.Text(), nullable=False),
        sa.Column("score", sa.REAL(), nullable=False),
        sa.Column("z", sa.REAL(), nullable=False),
        _belongs_to("clusters", "cluster", name="fk_cluster_keywords_clusters"),
        _belongs_to("releases", name="fk_cluster_keywords_releases"),
        sa.PrimaryKeyConstraint("release_id", "cluster", "library", "rank", name="pk_cluster_keywords"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_cluster_keywords_release_id_library_term",
        "cluster_keywords",
        ["release_id", "library", "term"],
        schema=SCHEMA,
    )
    op.create_table(
        "release_samples",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("x", sa.REAL(), nullable=False),
        sa.Column("y", sa.REAL(), nullable=False),
        sa.Column("cluster", sa.Integer(), nullable=False),
        _belongs_to("clusters", "cluster", name="fk_release_samples_clusters"),
        _belongs_to("samples", "sample_id", name="fk_release_samples_samples"),
        _belongs_to("releases", name="fk_release_samples_releases"),
        sa.PrimaryKeyConstraint("release_id", "row", name="pk_release_samples"),
        sa.UniqueConstraint("release_id", "sample_id", name="uq_release_samples_release_id_sample_id"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_release_samples_release_id_cluster",
        "release_samples",
        ["release_id", "cluster"],
        schema=SCHEMA,
    )
    op.create_table(
        "sample_series",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("series_id", sa.Text(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        _belongs_to("samples", "sample_id", name="fk_sample_series_samples"),
        _belongs_to("series", "series_id", name="fk_sample_series_series"),
        _belongs_to("releases", name="fk_sample_series_releases"),
        sa.PrimaryKeyConstraint("release_id", "sample_id", "series_id", name="pk_sample_series"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_sample_series_release_id_series_id",
        "sample_series",
        ["release_id", "series_id"],
        schema=SCHEMA,
    )
    op.create_table(
        "scans",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("library", sa.Text(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        _belongs_to("vocabularies", "library", name="fk_scans_vocabularies"),
        _belongs_to("releases", name="fk_scans_releases"),
        sa.PrimaryKeyConstraint("release_id", "library", name="pk_scans"),
        schema=SCHEMA,
    )
    op.create_table(
        "terms",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("term_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("library", sa.Text(), nullable=False),
        sa.Column("term", sa.Text(), nullable=False),
        _belongs_to("vocabularies", "library", name="fk_terms_vocabularies"),
        _belongs_to("releases", name="fk_terms_releases"),
        sa.PrimaryKeyConstraint("release_id", "term_id", name="pk_terms"),
        schema=SCHEMA,
    )
    op.create_index("ix_terms_release_id_library_term", "terms", ["release_id", "library", "term"], schema=SCHEMA)
    op.create_table(
        "scan_results",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("term_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cluster", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("library", sa.Text(), nullable=False),
        sa.Column("score", sa.REAL(), nullable=False),
        sa.Column("z", sa.REAL(), nullable=False),
        sa.Column("p_value", sa.Double(), nullable=True),
        sa.Column("q_value", sa.Double(), nullable=True),
        _belongs_to("clusters", "cluster", name="fk_scan_results_clusters"),
        _belongs_to("scans", "library", name="fk_scan_results_scans"),
        _belongs_to("terms", "term_id", name="fk_scan_results_terms"),
        _belongs_to("releases", name="fk_scan_results_releases"),
        sa.PrimaryKeyConstraint("release_id", "term_id", "cluster", name="pk_scan_results"),
        schema=SCHEMA,
    )
    op.create_index("ix_scan_results_release_id_cluster", "scan_results", ["release_id", "cluster"], schema=SCHEMA)
    op.create_index(
        "ix_scan_results_release_id_library_q_value",
        "scan_results",
        ["release_id", "library", "q_value"],
        schema=SCHEMA,
    )


def downgrade() -> None:
    for table in (
        "scan_results",
        "scans",
        "terms",
        "vocabularies",
        "cluster_keywords",
        "release_samples",
        "clusters",
        "sample_series",
        "samples",
        "series",
        "releases",
    ):
        op.drop_table(table, schema=SCHEMA)
