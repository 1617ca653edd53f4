"""Labels that people gave to clusters: history that is never deleted, found again in every release.

An edit belongs to the set of samples that its cluster held, not to the cluster's number. In another release it meets the
cluster with the same members (``exact``), or the one whose members overlap with Jaccard >= .8 (``carried``); else it is shown
as ``orphaned``. A new edit of a cluster supersedes all edits that meet this cluster.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as upsert

from atlas.answers import LabelEdit
from atlas.errors import InputError, NotFoundError
from atlas.workspace.members import ClusterMembers, member_key
from atlas.workspace.session import WorkspaceDatabase, iso, reading, storable, writing
from atlas.workspace.tables import LabelEditRow, MemberSetRow

CARRIED_FROM = 0.8
"""Jaccard overlap from which a cluster of another release counts as the same."""

MAX_LABEL_CHARS = 120
MAX_AUTHOR_CHARS = 120
MAX_NOTE_CHARS = 2_000

_IDS_AT_ONCE = 500_000
_TURN = "label_edits"

_Place = tuple[int, float]


class LabelEdits:
    """The label edits of one database; threads may share it. It remembers where each edit lies in which release."""

    def __init__(self, database: WorkspaceDatabase) -> None:
        self._database = database
        self._places: dict[tuple[str, str], _Place] = {}
        self._guard = threading.Lock()

    def set(
        self,
        members: ClusterMembers,
        cluster: int,
        *,
        label: str,
        machine_label: str,
        author: str,
        note: str | None = None,
    ) -> LabelEdit:
        """Label a cluster; edits of it that were in force are superseded and kept.

        Raises
        ------
        InputError
            If label or author are empty, too long or not plain text.
        NotFoundError
            If the release has no such cluster.
        """
        label = _line(label, what="label", longest=MAX_LABEL_CHARS)
        author = _line(author, what="author", longest=MAX_AUTHOR_CHARS)
        note = _text(note, what="note", longest=MAX_NOTE_CHARS)
        ids = members.of_cluster(cluster)
        key = member_key(ids)
        with writing(self._database, turn=_TURN) as connection:
            in_force = self._placed(connection, members, connection.execute(_query(in_force=True)).all())
            old = [edit.edit_id for edit in in_force if edit.overlap >= CARRIED_FROM and edit.cluster == cluster]
            ended = update(LabelEditRow).where(LabelEditRow.edit_id.in_(old))
            connection.execute(ended.values(superseded_at=func.now()))
            kept = upsert(MemberSetRow).values(member_key=key, n_members=len(ids), members=ids)
            connection.execute(kept.on_conflict_do_nothing())
            made = insert(LabelEditRow).values(
                member_key=key,
                label=label,
                machine_label=storable(machine_label, what="machine label"),
                author=author,
                note=note,
                made_on_release=members.release,
                made_on_cluster=cluster,
            )
            edit_id = connection.scalar(made.returning(LabelEditRow.edit_id))
            connection.execute(ended.values(superseded_by=edit_id))
            row = connection.execute(_query().where(LabelEditRow.edit_id == edit_id)).one()
        with self._guard:
            self._places[members.content_key, key] = (cluster, 1.0)
        return _edit(row, place=(cluster, 1.0))

    def remove(self, edit_id: int, *, author: str) -> None:
        """Take an edit out of force, so that the machine's label is shown again; its row stays, with who removed it.

        Raises
        ------
        NotFoundError
            If no edit of this number is in force.
        """
        author = _line(author, what="author", longest=MAX_AUTHOR_CHARS)
        with writing(self._database, turn=_TURN) as connection:
            mine = update(LabelEditRow).where(LabelEditRow.edit_id == edit_id, *_IN_FORCE)
            if not connection.execute(mine.values(removed_at=func.now(), removed_by=author)).rowcount:
                raise NotFoundError(
                    f"No label edit {edit_id} is in force. It may have been removed or replaced meanwhile.",
                    details={"edit_id": edit_id},
                )

    def for_release(self, members: ClusterMembers) -> tuple[LabelEdit, ...]:
        """Return the edits in force with the cluster of this release each of them meets, orphaned ones last.

        Two edits never name one cluster: the greater overlap wins, then the newer edit, and the other is orphaned.
        """
        with reading(self._database) as connection:
            edits = self._placed(connection, members, connection.execute(_query(in_force=True)).all())
        return _one_a_cluster(edits)

    def history(self, members: ClusterMembers, *, limit: int = 10_000) -> tuple[LabelEdit, ...]:
        """Return every edit ever made, newest first, with the cluster of this release it would meet."""
        with reading(self._database) as connection:
            query = _query().order_by(LabelEditRow.edit_id.desc()).limit(limit)
            return tuple(self._placed(connection, members, connection.execute(query).all()))

    def version(self) -> str:
        """Return a token that changes with every edit and every removal; one cheap question to the database."""
        times = (LabelEditRow.created_at, LabelEditRow.superseded_at, LabelEditRow.removed_at)
        line = func.concat_ws(" ", LabelEditRow.edit_id, *(func.extract("epoch", time) for time in times))
        whole = func.md5(
            func.coalesce(func.string_agg(line, aggregate_order_by(literal(","), LabelEditRow.edit_id)), "")
        )
        with reading(self._database) as connection:
            return str(connection.scalar(select(whole)))[:16]

    def _placed(self, connection: Connection, members: ClusterMembers, rows: Sequence[Row[Any]]) -> list[LabelEdit]:
        """Return the edits of some rows with their place among the clusters of a release."""
        keys = {row.member_key for row in rows}
        with self._guard:
            unknown = sorted(key for key in keys if (members.content_key, key) not in self._places)
        for batch in _batches(connection, unknown):
            clusters, overlaps = members.best_matches([ids for _, ids in batch])
            with self._guard:
                for (key, _), cluster, overlap in zip(batch, clusters.tolist(), overlaps.tolist(), strict=True):
                    self._places[members.content_key, key] = (cluster, overlap)
        with self._guard:
            return [_edit(row, place=self._places[members.content_key, row.member_key]) for row in rows]


_IN_FORCE = (LabelEditRow.superseded_at.is_(None), LabelEditRow.removed_at.is_(None))


def _query(*, in_force: bool = False) -> Any:
    query = select(*LabelEditRow.__table__.columns)
    return query.where(*_IN_FORCE).order_by(LabelEditRow.edit_id) if in_force else query


def _batches(connection: Connection, keys: Sequence[str]) -> Iterator[list[tuple[str, list[str]]]]:
    """Fetch member sets, some hundred thousand ids at a time."""
    sizes = select(MemberSetRow.member_key, MemberSetRow.n_members).where(MemberSetRow.member_key.in_(keys))
    n_of = {row.member_key: row.n_members for row in connection.execute(sizes)} if keys else {}
    waiting: list[str] = []
    for key in keys:
        waiting.append(key)
        if sum(n_of[one] for one in waiting) >= _IDS_AT_ONCE:
            yield _sets(connection, waiting)
            waiting = []
    if waiting:
        yield _sets(connection, waiting)


def _sets(connection: Connection, keys: Sequence[str]) -> list[tuple[str, list[str]]]:
    query = select(MemberSetRow.member_key, MemberSetRow.members).where(MemberSetRow.member_key.in_(keys))
    return [(row.member_key, row.members) for row in connection.execute(query)]


def _one_a_cluster(edits: Iterable[LabelEdit]) -> tuple[LabelEdit, ...]:
    taken: dict[int, LabelEdit] = {}
    orphaned: list[LabelEdit] = []
    for edit in sorted(edits, key=lambda one: (-one.overlap, -one.edit_id)):
        if edit.cluster is None or edit.carried == "orphaned":
            orphaned.append(edit)
        elif edit.cluster in taken:
            orphaned.append(replace(edit, carried="orphaned", cluster=None))
        else:
            taken[edit.cluster] = edit
    return (*(taken[cluster] for cluster in sorted(taken)), *sorted(orphaned, key=lambda one: one.edit_id))


def _edit(row: Row[Any], *, place: _Place) -> LabelEdit:
    cluster, overlap = place
    met = overlap >= CARRIED_FROM
    return LabelEdit(
        edit_id=row.edit_id,
        label=row.label,
        machine_label=row.machine_label,
        author=row.author,
        note=row.note,
        created_at=iso(row.created_at) or "",
        made_on_release=row.made_on_release,
        cluster=cluster if met else None,
        overlap=round(overlap, 4),
        carried="exact" if overlap == 1.0 else "carried" if met else "orphaned",
        superseded_by=row.superseded_by,
        removed_at=iso(row.removed_at),
        removed_by=row.removed_by,
    )


def _line(value: str, *, what: str, longest: int) -> str:
    """Return a one-line text without blanks at its ends, blanks inside made single."""
    line = " ".join(storable(value, what=what).split())
    if not line or len(line) > longest or any(unicodedata.category(sign) in ("Cc", "Cf") for sign in line):
        raise InputError(
            f"The {what} has {len(line)} characters; expected one line of 1 to {longest} printable ones.",
            details={"seen": len(line), "limit": longest},
        )
    return line


def _text(value: str | None, *, what: str, longest: int) -> str | None:
    text = storable(value or "", what=what).strip()
    if len(text) > longest:
        raise InputError(
            f"The {what} has {len(text)} characters; at most {longest} are allowed.",
            details={"seen": len(text), "limit": longest},
        )
    return text or None
