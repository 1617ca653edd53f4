"""The tables of what people made, all in the schema ``app``.

Nothing here refers to a row of the schema ``atlas``: a load or the removal of a release never reaches these tables. What
belongs to a cluster is keyed by the cluster's members, what belongs to a release by its name.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import REAL, ForeignKey, Identity, Index, MetaData, SmallInteger, Text, false, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from atlas.catalog.tables import NAMING

SCHEMA = "app"

REVISION = "0002"
"""The last migration that changed these tables; a backup tells it."""

_Time = TIMESTAMP(timezone=True)


class WorkspaceBase(DeclarativeBase):
    """Declarative base of the schema ``app``."""

    metadata = MetaData(schema=SCHEMA, naming_convention=NAMING)
    type_annotation_map = {
        str: Text,
        float: REAL,
        dict[str, Any]: JSONB(none_as_null=True),
        list[str]: ARRAY(Text),
        datetime: _Time,
    }


class JobRow(WorkspaceBase):
    """A piece of work. ``request`` is kept only until the work is done; ``summary`` is what is shown of it."""

    __tablename__ = "jobs"
    job_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    status: Mapped[str] = mapped_column(comment="queued, running, done, failed, cancelled or expired")
    release: Mapped[str]
    client: Mapped[str] = mapped_column(comment="opaque; bounds how many jobs one client may have")
    request: Mapped[dict[str, Any] | None]
    request_key: Mapped[str] = mapped_column(comment="sha256 of kind, release and request")
    summary: Mapped[dict[str, Any]]
    progress: Mapped[float] = mapped_column(server_default=text("0"))
    message: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    cancel_requested: Mapped[bool] = mapped_column(server_default=false())
    worker: Mapped[str | None] = mapped_column(comment="who holds the lease")
    lease_until: Mapped[datetime | None] = mapped_column(comment="then the work goes back to the queue")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    keep_days: Mapped[float] = mapped_column(comment="how long the result is kept once the work is finished")
    expires_at: Mapped[datetime | None]
    __table_args__ = (
        Index(
            "ix_jobs_waiting",
            "created_at",
            "job_id",
            postgresql_where=text("status = ANY ('{queued,running}'::text[])"),
        ),
        Index(None, "client", "status"),
        Index(None, "expires_at"),
    )


class MemberSetRow(WorkspaceBase):
    """The samples of a cluster at the time somebody labelled it; kept once, however often it is labelled."""

    __tablename__ = "member_sets"
    member_key: Mapped[str] = mapped_column(primary_key=True, comment="sha256 of the sorted sample ids")
    n_members: Mapped[int]
    members: Mapped[list[str]]


class LabelEditRow(WorkspaceBase):
    """A person's label. Rows are never deleted: an edit in force has neither ``superseded_at`` nor ``removed_at``."""

    __tablename__ = "label_edits"
    edit_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    member_key: Mapped[str] = mapped_column(ForeignKey("member_sets.member_key"))
    label: Mapped[str]
    machine_label: Mapped[str]
    author: Mapped[str]
    note: Mapped[str | None]
    made_on_release: Mapped[str]
    made_on_cluster: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    superseded_at: Mapped[datetime | None]
    superseded_by: Mapped[int | None] = mapped_column(ForeignKey("label_edits.edit_id"))
    removed_at: Mapped[datetime | None]
    removed_by: Mapped[str | None]
    __table_args__ = (
        Index(
            "uq_label_edits_in_force",
            "member_key",
            unique=True,
            postgresql_where=text("superseded_at IS NULL AND removed_at IS NULL"),
        ),
    )
