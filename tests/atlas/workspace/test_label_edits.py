"""Label edits: what overrides what, where an edit lies in another release, and that no row is ever lost."""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from workspace_cases import atlas_of

from atlas.answers import LabelEdit
from atlas.catalog.database import Database
from atlas.errors import InputError, NotFoundError
from atlas.workspace.label_edits import LabelEdits
from atlas.workspace.members import ClusterMembers, member_key

OLD = atlas_of("old", {0: range(10), 1: range(10, 20), 2: range(20, 30)})
SETS = st.lists(st.sets(st.integers(0, 30), max_size=12), max_size=6)
CLUSTERS = st.lists(st.integers(-1, 4), min_size=31, max_size=31)


def label(edits: LabelEdits, cluster: int, text: str, *, members: ClusterMembers = OLD) -> LabelEdit:
    return edits.set(members, cluster, label=text, machine_label=f"machine {cluster}", author="Ada", note="because")


@pytest.fixture
def edits(workspace: Database) -> LabelEdits:
    return LabelEdits(workspace)


@given(SETS, CLUSTERS)
@settings(max_examples=200, deadline=None)
def test_overlaps_are_those_of_plain_sets(sets: list[set[int]], clusters: list[int]) -> None:
    ids = pa.array([f"GSM{n}" for n in range(25)])  # samples 25 to 30 are not in this release
    assigned = np.array(clusters[:25])
    members = ClusterMembers("r", "k", sample_ids=ids, clusters=assigned)
    found, overlaps = members.best_matches([[f"GSM{n}" for n in sorted(one)] for one in sets])
    for one, cluster, overlap in zip(sets, found.tolist(), overlaps.tolist(), strict=True):
        exact = {}
        for c in set(assigned.tolist()) - {-1}:
            of_c = set(np.flatnonzero(assigned == c).tolist())
            exact[c] = len(one & of_c) / len(one | of_c)
        best = max(exact.values(), default=0.0)
        assert overlap == pytest.approx(best)
        assert cluster == -1 if best == 0 else exact[cluster] == best
    for c in set(assigned.tolist()) - {-1}:
        assert members.of_cluster(c) == sorted(f"GSM{n}" for n in np.flatnonzero(assigned == c))


def test_the_key_of_a_set_knows_neither_order_nor_repetition() -> None:
    assert member_key(["b", "a", "b"]) == member_key(["a", "b"])
    assert member_key(["a", "b"]) != member_key(["ab"])


def test_an_edit_keeps_the_machines_label_author_and_date(edits: LabelEdits) -> None:
    made = label(edits, 1, "  Heart   muscle ")
    assert (made.label, made.machine_label, made.author, made.note) == ("Heart muscle", "machine 1", "Ada", "because")
    assert (made.cluster, made.overlap, made.carried, made.made_on_release) == (1, 1.0, "exact", "old")
    assert made.created_at.endswith("+00:00")
    assert edits.for_release(OLD) == (made,)


def test_a_new_edit_supersedes_and_history_keeps_both(edits: LabelEdits) -> None:
    first, second = label(edits, 1, "first"), label(edits, 1, "second")
    assert [one.label for one in edits.for_release(OLD)] == ["second"]
    assert [(one.label, one.superseded_by) for one in edits.history(OLD)] == [
        ("second", None),
        ("first", second.edit_id),
    ]
    with pytest.raises(NotFoundError):
        edits.remove(first.edit_id, author="Ben")


def test_a_removed_edit_gives_way_to_the_machine_and_stays_in_history(edits: LabelEdits) -> None:
    made = label(edits, 1, "first")
    edits.remove(made.edit_id, author="Ben")
    assert edits.for_release(OLD) == ()
    (kept,) = edits.history(OLD)
    assert kept.removed_by == "Ben"
    assert kept.removed_at is not None
    with pytest.raises(NotFoundError):
        edits.remove(made.edit_id, author="Ben")
    assert label(edits, 1, "again").edit_id > made.edit_id


def test_an_edit_is_carried_at_four_fifths_and_orphaned_below(edits: LabelEdits) -> None:
    for cluster in (0, 1, 2):
        label(edits, cluster, f"label {cluster}")
    new = atlas_of(
        "new",
        {
            7: range(10),  # the same members under another number
            8: [*range(10, 18), 90],  # 8 shared of 11: .727
            9: [*range(20, 28)],  # 8 shared of 10: .8
        },
    )
    carried = {one.label: one for one in edits.for_release(new)}
    assert (carried["label 0"].cluster, carried["label 0"].carried) == (7, "exact")
    assert (carried["label 2"].cluster, carried["label 2"].carried, carried["label 2"].overlap) == (9, "carried", 0.8)
    assert (carried["label 1"].cluster, carried["label 1"].carried) == (None, "orphaned")
    assert carried["label 1"].overlap == pytest.approx(8 / 11, abs=1e-4)
    assert [one.label for one in edits.for_release(new)][-1] == "label 1"


def test_an_edit_of_a_carried_label_supersedes_it_in_every_release(edits: LabelEdits) -> None:
    label(edits, 0, "old name")
    new = atlas_of("new", {4: [*range(9), 50]})  # 9 of 11
    assert [one.carried for one in edits.for_release(new)] == ["carried"]
    label(edits, 4, "new name", members=new)
    assert [one.label for one in edits.for_release(new)] == ["new name"]
    assert [(one.label, one.carried, one.cluster) for one in edits.for_release(OLD)] == [("new name", "carried", 0)]


def test_two_edits_never_name_one_cluster(edits: LabelEdits) -> None:
    far, near = atlas_of("far", {0: range(8)}), atlas_of("near", {0: range(1, 11)})  # they overlap by .7
    label(edits, 0, "of far", members=far)
    label(edits, 0, "of near", members=near)
    both = atlas_of("both", {3: range(10)})  # .8 with far, 9 of 11 with near
    found = edits.for_release(both)
    assert [(one.label, one.carried, one.cluster) for one in found] == [
        ("of near", "carried", 3),
        ("of far", "orphaned", None),
    ]


def test_the_version_changes_with_every_change(edits: LabelEdits) -> None:
    seen = [edits.version()]
    made = label(edits, 0, "a")
    seen.append(edits.version())
    label(edits, 0, "b")
    seen.append(edits.version())
    label(edits, 1, "c")
    seen.append(edits.version())
    edits.remove(made.edit_id + 1, author="Ben")
    seen.append(edits.version())
    assert len(set(seen)) == len(seen)
    assert edits.version() == seen[-1]


@pytest.mark.parametrize("bad", ["", "   ", "x" * 121, "a\nb\0", "tab\x07", "\u202etxet", "\ud800"])
def test_a_label_that_is_no_line_of_text_is_refused(edits: LabelEdits, bad: str) -> None:
    with pytest.raises(InputError):
        label(edits, 0, bad)
    with pytest.raises(InputError):
        edits.set(OLD, 0, label="good", machine_label="m", author=bad)
    assert edits.history(OLD) == ()


def test_other_bad_input_is_refused(edits: LabelEdits) -> None:
    with pytest.raises(InputError, match="note"):
        edits.set(OLD, 0, label="good", machine_label="m", author="Ada", note="x" * 2_001)
    for cluster in (-1, 3, 99):
        with pytest.raises(NotFoundError, match="no cluster"):
            label(edits, cluster, "good")


def test_many_editors_at_once_leave_one_edit_in_force(edits: LabelEdits) -> None:
    threads = [threading.Thread(target=label, args=(edits, 0, f"label {n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = edits.history(OLD)
    assert len(history) == 8
    assert len([one for one in history if one.superseded_by is None]) == 1
    assert len(edits.for_release(OLD)) == 1


def test_members_are_kept_once_and_in_batches(
    edits: LabelEdits, workspace: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        for cluster in range(3):
            label(edits, cluster, f"label {n}")
    with workspace.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM app.member_sets")) == 3
    monkeypatch.setattr("atlas.workspace.label_edits._IDS_AT_ONCE", 15)
    fresh = LabelEdits(workspace)
    assert [one.cluster for one in fresh.for_release(OLD)] == [0, 1, 2]
    assert fresh.history(OLD) == edits.history(OLD)


def test_nothing_of_another_release_is_remembered_for_this_one(edits: LabelEdits) -> None:
    label(edits, 0, "a")
    assert edits.for_release(OLD)[0].cluster == 0
    assert edits.for_release(atlas_of("moved", {5: range(10)}))[0].cluster == 5
    assert edits.for_release(atlas_of("empty", {}))[0].carried == "orphaned"
