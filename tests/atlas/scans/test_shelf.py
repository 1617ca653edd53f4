"""The shelf of sweeps: which are shown, what is read of them when they span many parts, and what a damaged one tells."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scan_fixtures import N_CLUSTERS, ToyAtlas, random_terms, toy_atlas

from atlas.errors import ArtifactError, NotFoundError
from atlas.scans import files
from atlas.scans.files import summarise, write_scan
from atlas.scans.shelf import ScanShelf, similar_order
from atlas.scans.sweep import Scan, sweep

TERMS = ("Heart", "heart", "Liver disease", "lung", "brain", "kidney", "skin", "eye", "bone", "ear", "tooth")
BUILT, OLDER, NEWER = "omim", "00000000000000aa", "00000000000000bb"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyAtlas:
    return toy_atlas(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def scan(toy: ToyAtlas) -> Scan:
    return sweep(toy.store, toy.ground, random_terms(len(TERMS), seed=3), background=random_terms(300, seed=4))


@pytest.fixture
def home(tmp_path: Path, toy: ToyAtlas, scan: Scan, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with one sweep of the release and two of people's lists, each in parts of two terms."""
    monkeypatch.setattr(files, "_ROWS", 2 * N_CLUSTERS)
    places = {BUILT: tmp_path / "release" / "scans", OLDER: tmp_path / "scans" / "r", NEWER: tmp_path / "scans" / "r"}
    for name, place in places.items():
        folder = place / name
        folder.mkdir(parents=True)
        summary = summarise(scan, name=name, title=name, stored="release" if name == BUILT else "home")
        summary = replace(
            summary, created_at={OLDER: "2026-01-01T00:00:00+00:00", NEWER: "2026-02-01T00:00:00+00:00"}.get(name)
        )
        ids = pa.chunked_array([[f"GSM{row}" for row in range(toy.store.n)]])
        write_scan(folder, scan, terms=TERMS, sample_ids=ids, members=toy.ground.members, summary=summary)
    return tmp_path


@pytest.fixture
def shelf(home: Path, toy: ToyAtlas) -> ScanShelf:
    paths = {"vectors.npy": Path(toy.store.path)}
    release: Any = SimpleNamespace(
        name="r", folder=home / "release", checked=lambda name: paths.get(name, home / "release" / name)
    )
    return ScanShelf(release, home, labels=lambda: {cluster: f"label {cluster}" for cluster in range(N_CLUSTERS)})


def effect_of(scan: Scan, term: str) -> np.ndarray:
    return scan.measured.effects[TERMS.index(term)]


def test_sweeps_of_the_release_come_first_then_the_newest(shelf: ScanShelf) -> None:
    assert [one.name for one in shelf.summaries()] == [BUILT, NEWER, OLDER]
    assert {one.release for one in shelf.summaries()} == {"r"}
    assert set(shelf.names()) == {BUILT, NEWER, OLDER}


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"calibration": 3}', "\udcff"])
def test_one_that_cannot_be_read_is_left_out_and_the_others_are_shown(
    shelf: ScanShelf, home: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "scans" / "r" / NEWER / "scan.json").write_text(content, encoding="utf-8", errors="surrogateescape")
    with caplog.at_level(logging.WARNING):
        assert [one.name for one in shelf.summaries()] == [BUILT, OLDER]
    assert NEWER in caplog.text
    with pytest.raises(ArtifactError, match="Run it again"):
        shelf.report(NEWER)
    assert len(shelf.report(OLDER).terms) == len(TERMS)


def test_what_is_no_finished_sweep_is_not_shown(shelf: ScanShelf, home: Path) -> None:
    place = home / "scans" / "r"
    (place / NEWER / "scan.json").unlink()
    for name in (".00000000000000cc-1.tmp", "notes", "00000000000000CC", BUILT):
        shutil.copytree(place / OLDER, place / name)
    assert [one.name for one in shelf.summaries()] == [BUILT, OLDER]
    assert shelf.summaries()[0].stored == "release"  # a folder of the home cannot stand in for it
    with pytest.raises(NotFoundError, match=OLDER):
        shelf.report("notes")


def test_a_home_without_scans_holds_those_of_the_release(shelf: ScanShelf, home: Path) -> None:
    shutil.rmtree(home / "scans")
    assert shelf.names() == (BUILT,)


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_read_from_the_part_it_lies_in(shelf: ScanShelf, toy: ToyAtlas, scan: Scan, term: str) -> None:
    assert pq.read_metadata(shelf.tables(OLDER)["clusters"]).num_row_groups == 6
    found = shelf.term(OLDER, f" {term} ")
    assert found.term.term == term
    order = np.argsort(-effect_of(scan, term))
    assert [cell.cluster for cell in found.cells] == order.tolist()
    assert [cell.effect for cell in found.cells] == pytest.approx(effect_of(scan, term)[order], abs=1e-6)
    answering = scan.streamed.answering[TERMS.index(term)] / np.bincount(toy.clusters)
    assert [cell.share_answering for cell in found.cells] == pytest.approx(answering[order], abs=1e-6)
    assert [cell.cluster_label for cell in found.cells] == [f"label {cluster}" for cluster in order]


def test_a_term_is_found_as_spelled_before_another_case(shelf: ScanShelf) -> None:
    assert [shelf.term(OLDER, one).term.term for one in ("heart", "Heart", "LIVER  disease")] == [
        "heart",
        "Heart",
        "Liver disease",
    ]
    with pytest.raises(NotFoundError, match="Near: .*tooth"):
        shelf.term(OLDER, "tooh")


def test_matrix_and_best_terms_are_those_of_the_effects(shelf: ScanShelf, scan: Scan) -> None:
    report, matrix = shelf.report(OLDER, n_top=2), shelf.matrix(OLDER, max_terms=7)
    assert set(matrix.terms) == {term.term for term in report.terms[:7]}
    for term, row in zip(matrix.terms, matrix.effects, strict=True):
        assert row == pytest.approx(effect_of(scan, term)[list(matrix.clusters)], abs=1e-4)
    for cluster in range(N_CLUSTERS):
        best = np.argsort(-scan.measured.effects[:, cluster])
        of_cluster = [cell.term for cell in report.top_terms_of_clusters if cell.cluster == cluster]
        assert of_cluster == [TERMS[row] for row in best[:2]]
        assert [cell.term for cell in shelf.cluster(OLDER, cluster)] == [TERMS[row] for row in best]


def test_scores_of_a_term_are_z(shelf: ScanShelf, toy: ToyAtlas, scan: Scan) -> None:
    similarity = toy.vectors @ scan.vectors[TERMS.index("lung")]
    expected = (similarity - similarity.mean()) / similarity.std()
    np.testing.assert_allclose(
        shelf.term_scores(OLDER, "lung"), expected, atol=1e-2
    )  # terms are kept in half precision


@pytest.mark.parametrize("n_bytes", [None, 0, 40])
@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("terms.parquet", lambda shelf: shelf.report(OLDER)),
        ("terms.parquet", lambda shelf: shelf.term(OLDER, "lung")),
        ("clusters.parquet", lambda shelf: shelf.report(OLDER)),
        ("clusters.parquet", lambda shelf: shelf.term(OLDER, "lung")),
        ("clusters.parquet", lambda shelf: shelf.matrix(OLDER)),
        ("clusters.parquet", lambda shelf: shelf.cluster(OLDER, 0)),
        ("samples.parquet", lambda shelf: shelf.samples(OLDER)),
        ("samples.parquet", lambda shelf: shelf.sums(OLDER)),
        ("vectors.npy", lambda shelf: shelf.term_scores(OLDER, "lung")),
    ],
)
def test_a_file_that_is_missing_or_cut_is_named(
    shelf: ScanShelf, home: Path, name: str, ask: Callable[[ScanShelf], object], n_bytes: int | None
) -> None:
    path = home / "scans" / "r" / OLDER / name
    content = path.read_bytes()
    path.unlink()
    if n_bytes is not None:
        path.write_bytes(content[:n_bytes])
    with pytest.raises(ArtifactError, match=f"{name} .*Run the scan again"):
        ask(shelf)


@pytest.mark.parametrize("ask", [lambda shelf: shelf.term(OLDER, TERMS[-1]), lambda shelf: shelf.matrix(OLDER)])
def test_a_table_that_lacks_rows_is_named(shelf: ScanShelf, ask: Callable[[ScanShelf], object]) -> None:
    path = shelf.tables(OLDER)["clusters"]
    pq.write_table(pq.read_table(path).slice(0, 3), path)
    with pytest.raises(ArtifactError, match="clusters.parquet .*Run the scan again"):
        ask(shelf)


def test_similar_rows_stand_beside_each_other() -> None:
    values = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.1, 0.9]])
    order = similar_order(values).tolist()
    assert sorted(order) == [0, 1, 2, 3]
    assert abs(order.index(0) - order.index(2)) == abs(order.index(1) - order.index(3)) == 1
    assert similar_order(values[:2]).tolist() == [0, 1]
    assert similar_order(values[:0]).tolist() == []


def test_q_that_is_not_known_is_none_in_the_matrix(shelf: ScanShelf, scan: Scan) -> None:
    matrix = shelf.matrix(OLDER)
    for term, q_values, q_within in zip(matrix.terms, matrix.q_values, matrix.q_within, strict=True):
        row = TERMS.index(term)
        expected = [scan.q_cells[row, cluster] for cluster in matrix.clusters]
        assert q_values == tuple(None if np.isnan(one) else one for one in expected)
        assert q_within == pytest.approx([scan.q_within[row, cluster] for cluster in matrix.clusters])
    assert not scan.selected.all()
