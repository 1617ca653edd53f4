"""Rows of the workspace as JSON and back; what comes back is checked column by column before it is believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import Column, Table
from sqlalchemy.dialects.postgresql import JSONB

from atlas.errors import InputError
from atlas.release import check_name
from atlas.workspace.kinds import scan_folder
from atlas.workspace.members import member_key

_MAX_KEEP_DAYS = 1_000_000
_STATUSES = {"queued", "running", "done", "failed", "cancelled", "expired"}


def to_line(row: Mapping[str, Any]) -> bytes:
    """Return a row as one line of JSON; times are ISO 8601."""
    return json.dumps(row, ensure_ascii=False, default=_plain).encode() + b"\n"


def from_line(line: bytes, *, table: Table) -> dict[str, Any]:
    """Return the row of a line, its values by column.

    Raises
    ------
    ValueError
        If the line is not a row of this table.
    """
    try:
        given = json.loads(line)
    except (RecursionError, UnicodeDecodeError) as error:
        raise ValueError("not JSON") from error
    if not isinstance(given, dict) or set(given) != set(table.columns.keys()):
        raise ValueError("its columns are others")
    row = {name: _value(given[name], column=table.columns[name]) for name in given}
    if table.name == "member_sets":
        members: list[str] = row["members"]
        if row["member_key"] != member_key(members) or not row["n_members"] == len(members) == len(set(members)):
            raise ValueError("its key is not that of its members")
    if table.name == "jobs":
        _check_job(row)
    return row


def _check_job(row: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for what no job can be: a worker that met it later could go no further."""
    if row["status"] not in _STATUSES:
        raise ValueError("its status is none")
    if not 0 < row["keep_days"] <= _MAX_KEEP_DAYS:  # NaN is refused too
        raise ValueError("its time to be kept is none")
    try:
        check_name(row["release"])
        scan_folder(Path(), row["release"], row["result"] or {})
    except InputError as error:
        raise ValueError("its release or result has no name that could be one") from error


def revived(row: dict[str, Any], *, table: Table) -> dict[str, Any]:
    """Return a row as it is restored: what ran waits again, and the time of a result counts anew."""
    if table.name != "jobs":
        return row
    if row["status"] == "running":
        return row | {"status": "queued", "worker": None, "lease_until": None, "attempts": 0, "progress": 0.0}
    if row["status"] == "done":
        return row | {"expires_at": datetime.now(UTC) + timedelta(days=row["keep_days"])}
    return row


def copied(row: Mapping[str, Any], *, table: Table) -> list[Any]:
    """Return a row's values in the order of the table's columns, as psycopg copies them."""
    return [
        Jsonb(row[column.name]) if isinstance(column.type, JSONB) and row[column.name] is not None else row[column.name]
        for column in table.columns
    ]


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"a row holds a {type(value).__name__}")


def _value(value: Any, *, column: Column[Any]) -> Any:
    if value is None:
        if not column.nullable:
            raise ValueError(f"{column.name} is empty")
        return None
    expected: type = dict if isinstance(column.type, JSONB) else column.type.python_type
    if expected is datetime:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None or moment.tzinfo is None:
            raise ValueError(f"{column.name} is no time")
        return moment
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not expected:
        raise ValueError(f"{column.name} is no {expected.__name__}")
    if isinstance(value, str):
        value.encode()  # half a surrogate pair is a ValueError too
    if isinstance(value, list) and not all(isinstance(one, str) for one in value):
        raise ValueError(f"{column.name} holds what is no text")
    return value
