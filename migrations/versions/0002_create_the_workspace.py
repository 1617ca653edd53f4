"""Create the workspace: jobs and label edits, in the schema `app`; undoing it deletes them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = "app"


def _json(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=nullable)


def _time(name: str, **more: object) -> sa.Column[object]:
    return sa.Column(name, postgresql.TIMESTAMP(timezone=True), nullable=True, **more)


def _created() -> sa.Column[object]:
    return sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False)


def upgrade() -> None:
    op.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, comment="queued, running, done, failed, cancelled or expired"),
        sa.Column("release", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False, comment="opaque; bounds how many jobs one client may have"),
        _json("request"),
        sa.Column("request_key", sa.Text(), nullable=False, comment="sha256 of kind, release and request"),
        _json("summary", nullable=False),
        sa.Column("progress", sa.REAL(), server_default=sa.text("0"), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        _json("result"),
        _json("error"),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True, comment="who holds the lease"),
        _time("lease_until", comment="then the work goes back to the queue"),
        _created(),
        _time("started_at"),
        _time("finished_at"),
        sa.Column(
            "keep_days", sa.REAL(), nullable=False, comment="how long the result is kept once the work is finished"
        ),
        _time("expires_at"),
        sa.PrimaryKeyConstraint("job_id", name="pk_jobs"),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_jobs_waiting",
        "jobs",
        ["created_at", "job_id"],
        schema=SCHEMA,
        postgresql_where=sa.text("status = ANY ('{queued,running}'::text[])"),
    )
    op.create_index("ix_jobs_client_status", "jobs", ["client", "status"], schema=SCHEMA)
    op.create_index("ix_jobs_expires_at", "jobs", ["expires_at"], schema=SCHEMA)
    op.create_table(
        "member_sets",
        sa.Column("member_key", sa.Text(), nullable=False, comment="sha256 of the sorted sample ids"),
        sa.Column("n_members", sa.Integer(), nullable=False),
        sa.Column("members", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("member_key", name="pk_member_sets"),
        schema=SCHEMA,
    )
    op.create_table(
        "label_edits",
        sa.Column("edit_id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("member_key", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("machine_label", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("made_on_release", sa.Text(), nullable=False),
        sa.Column("made_on_cluster", sa.Integer(), nullable=False),
        _created(),
        _time("superseded_at"),
        sa.Column("superseded_by", sa.Integer(), nullable=True),
        _time("removed_at"),
        sa.Column("removed_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["member_key"], [f"{SCHEMA}.member_sets.member_key"], name="fk_label_edits_member_sets"
        ),
        sa.ForeignKeyConstraint(
            ["superseded_by"], [f"{SCHEMA}.label_edits.edit_id"], name="fk_label_edits_label_edits"
        ),
        sa.PrimaryKeyConstraint("edit_id", name="pk_label_edits"),
        schema=SCHEMA,
    )
    op.create_index(
        "uq_label_edits_in_force",
        "label_edits",
        ["member_key"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("superseded_at IS NULL AND removed_at IS NULL"),
    )


def downgrade() -> None:
    for table in ("label_edits", "member_sets", "jobs"):
        op.drop_table(table, schema=SCHEMA)
    op.execute(f"DROP SCHEMA {SCHEMA}")
