"""Look-ups and records of the sample table against a plain reading of its rows."""

from __future__ import annotations

import numpy as np
import pytest
from sample_tables import sample_table

from atlas.answers import LabelEdit
from atlas.errors import NotFoundError


def test_accession_is_found_as_spelled_before_another_case() -> None:
    table = sample_table([{"sample_id": one} for one in ("gsm2", "GSM1", "GSM2", "made: x", "Gsm2", "ŒUF", "GSM10")])
    assert table.find("GSM2") == 2
    assert table.find("gsm2") == 0
    assert table.find("gSm2") == 0
    assert table.find("MADE: X") == 3
    assert table.find("œuf") == 5
    assert [table.find(one) for one in ("GSM", "GSM11", "", "\ud800", "zzz")] == [None] * 5
    with pytest.raises(NotFoundError, match="Near: GSM10"):
        table.row("GSM100")


def test_a_series_asked_for_as_a_sample_is_called_a_series() -> None:
    table = sample_table([{"sample_id": "GSM1", "series_ids": ["GSE1"]}, {"sample_id": "GSM2", "series_ids": ["GSE1"]}])
    with pytest.raises(NotFoundError, match="'GSE1' is a series of 2 samples, not a sample") as raised:
        table.row("gse1")
    assert raised.value.details["series"] == "GSE1"


def test_every_accession_of_many_is_found() -> None:
    names = [f"GSM{number}" for number in np.random.default_rng(0).permutation(3_000)]
    table = sample_table([{"sample_id": name} for name in names])
    assert [table.find(name.lower()) for name in names] == list(range(3_000))


def test_series_members_and_clusters_are_those_of_the_rows() -> None:
    rng = np.random.default_rng(1)
    rows = [
        {"series_ids": [f"GSE{n}" for n in rng.integers(0, 5, rng.integers(0, 4))], "cluster": int(rng.integers(0, 4))}
        for _ in range(200)
    ]
    table = sample_table([*rows, {"series_ids": None, "cluster": 3}])
    for name in [f"GSE{n}" for n in range(6)]:
        assert table.rows_of_series(name).tolist() == [i for i, row in enumerate(rows) if name in row["series_ids"]]
    for cluster in range(4):
        assert table.members(cluster).tolist() == np.flatnonzero(table.cluster == cluster).tolist()
    assert table.members(-1).size == table.members(4).size == 0
    values = table.series.values
    for i, row in enumerate(rows):
        assert [values[code] for code in table.series.codes_of(i)] == list(dict.fromkeys(row["series_ids"]))


def test_records_come_in_the_order_asked_for_with_no_null() -> None:
    table = sample_table([{"title": None, "tissue": None, "n_genes_detected": None}, {"title": "b"}, {"title": "c"}])
    assert [one.title for one in table.records(np.array([2, 0, 1, 2]))] == ["c", "", "b", "c"]
    assert table.records([]) == ()
    assert table.record(0).n_genes_detected == 0


def edit(label: str, cluster: int) -> LabelEdit:
    return LabelEdit(
        edit_id=1, label=label, machine_label="", author="a", note=None, created_at="2026-01-01T00:00:00Z",
        made_on_release="r", cluster=cluster, overlap=1.0, carried="exact",
    )  # fmt: skip


def test_edited_label_is_shown_until_it_is_taken_back() -> None:
    table = sample_table([{"cluster": 0}, {"cluster": 1}])
    table.names.relabel({1: edit("Mine", 1), 7: edit("Elsewhere", 7)})
    assert [one.cluster_label for one in table.records([0, 1])] == ["label 0", "Mine"]
    assert dict(table.names.labels) == {0: "label 0", 1: "Mine"}
    assert list(table.names.edits) == [1]
    table.names.relabel({})
    assert table.record(1).cluster_label == "label 1"


def test_the_date_of_deposition_is_shown_where_the_source_states_one() -> None:
    table = sample_table([{"date": "2013-10-31"}, {}])
    assert [one.date for one in table.records([0, 1])] == ["2013-10-31", None]
