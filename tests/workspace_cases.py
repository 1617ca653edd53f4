"""What tests of the workspace share: empty tables in the session's database, and small atlases of named samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest
from sqlalchemy import text

from atlas.catalog.database import Database
from atlas.workspace.members import ClusterMembers


@pytest.fixture
def workspace(database: Database) -> Iterator[Database]:
    """The session's database with empty tables of the workspace."""
    empty(database)
    yield database
    empty(database)


def empty(database: Database) -> None:
    """Delete all rows of the workspace."""
    with database.begin() as connection:
        connection.execute(text("TRUNCATE app.jobs, app.label_edits, app.member_sets RESTART IDENTITY"))


def atlas_of(name: str, sets: Mapping[int, Sequence[int]]) -> ClusterMembers:
    """Return the clusters of a release whose samples are GSM1, GSM2, ..."""
    return ClusterMembers.from_sets(
        name, f"key of {name}", {cluster: [f"GSM{n}" for n in members] for cluster, members in sets.items()}
    )
