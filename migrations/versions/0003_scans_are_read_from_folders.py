"""Drop the tables of scans: their results are read from the release folder and the home, never from the database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCHEMA = "atlas"


def _belongs_to(table: str, *columns: str, name: str) -> sa.ForeignKeyConstraint:
    """Return the foreign key to a row of the same release."""
    keys = ("release_id", *columns)
    return sa.ForeignKeyConstraint(keys, [f"{SCHEMA}.{table}.{key}" for key in keys], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.drop_table("scan_results", schema=SCHEMA)
    op.drop_table("scans", schema=SCHEMA)


def downgrade() -> None:
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
