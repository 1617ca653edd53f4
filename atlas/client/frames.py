"""Answers as pandas tables. pandas is imported when a table is asked for, never before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_LISTS = (
    "hits",
    "samples",
    "clusters",
    "terms",
    "cells",
    "genes",
    "keywords",
    "scans",
    "vocabularies",
    "edits",
    "releases",
)
"""Fields that hold the rows of an answer; the first that is there is the table."""

_FACETS = ("tissue", "organism", "series", "cluster", "unit", "molecule", "id_kind")


def frame(answer: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the table of an answer.

    Parameters
    ----------
    answer
        An answer of the service, or a list of records such as ``Client.clusters()`` gives.

    Returns
    -------
    pandas.DataFrame
        One row a record, the sample of a hit spread over columns, lists of words joined by ``"; "``. Columns of a map or of
        sums over a sweep stay columns; a matrix has terms as rows and clusters as columns; facets have a row a value.

    Raises
    ------
    ValueError
        If the answer has no table.
    """
    import pandas as pd

    if not isinstance(answer, Mapping):
        return pd.DataFrame([_flat(record) for record in answer])
    if "effects" in answer:
        return pd.DataFrame(answer["effects"], index=list(answer["terms"]), columns=list(answer["clusters"]))
    if "accession" in answer and isinstance(answer["accession"], list):
        n = len(answer["accession"])
        return pd.DataFrame(
            {k: v for k, v in answer.items() if isinstance(v, list) and len(v) == n and k != "clusters"}
        )
    if "vectors" in answer:
        return pd.DataFrame(answer["vectors"])
    if "results" in answer:
        rows = [{"query": one["query"], **_flat(hit)} for one in answer["results"] for hit in one["hits"]]
        return pd.DataFrame(rows)
    if isinstance(answer.get("tissue"), list):
        return pd.DataFrame([{"facet": facet, **value} for facet in _FACETS for value in answer[facet]])
    for name in _LISTS:
        if isinstance(answer.get(name), list):
            return pd.DataFrame([_flat(record) for record in answer[name]])
    raise ValueError(f"this answer has no table: expected one of the fields {', '.join(_LISTS)}")


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in record.items():
        if name == "sample" and isinstance(value, Mapping):
            row |= _flat(value)
        elif isinstance(value, list):
            row[name] = "; ".join(_word(one) for one in value)
        else:
            row[name] = value
    return row


def _word(one: Any) -> str:
    if isinstance(one, list):
        return ": ".join(map(str, one))
    return "" if one is None else str(one)
